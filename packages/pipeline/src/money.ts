const CODES = new Set(Intl.supportedValuesOf('currency'))
const digits = new Map<string, number>()

/** An amount in the currency's smallest unit, such as cents, and its ISO 4217 code; nothing without an amount. */
export function moneyOf(amount: unknown, currency: unknown, fallback: string): Record<string, string> {
  if (typeof amount !== 'number' || !Number.isFinite(amount)) return {}
  const told = typeof currency === 'string' ? currency.trim().toUpperCase() : fallback
  if (!CODES.has(told)) return { 'money.currency': 'XXX' }
  return { 'money.currency': told, 'money.minor': String(minor(amount, digitsOf(told))) }
}

function digitsOf(currency: string): number {
  const known = digits.get(currency)
  if (known !== undefined) return known
  const format = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions()
  const count = format.maximumFractionDigits ?? 2
  digits.set(currency, count)
  return count
}

/** Shifts the decimal point as written, since 1.005 × 100 is less than 100.5 in binary. */
function minor(amount: number, digits: number): number {
  const shifted = Number(`${amount}e${digits}`)
  return Math.round(Number.isNaN(shifted) ? amount * 10 ** digits : shifted)
}
