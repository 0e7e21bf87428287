import { styleText } from 'node:util'
import Table from 'cli-table3'

/** JSON of anything a record holds: bytes become base64, maps become objects. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  if (typeof value === 'bigint') return Number(value)
  if (value instanceof Map) return plain(Object.fromEntries(value))
  if (Array.isArray(value)) return value.map(plain)
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]))
  return value
}

/** Writes and waits when the reader is slow. */
export async function print(text: string): Promise<void> {
  if (!process.stdout.write(text.endsWith('\n') ? text : `${text}\n`))
    await new Promise(resolve => process.stdout.once('drain', resolve))
}

/** One JSON object a line: what `--json` always means. */
export const printJson = (value: unknown): Promise<void> => print(JSON.stringify(plain(value)))

const BARE = Object.fromEntries(
  'top top-mid top-left top-right bottom bottom-mid bottom-left bottom-right left left-mid mid mid-mid right right-mid'
    .split(' ')
    .map(part => [part, '']),
)

/** Rows as a table without lines, or as JSON lines of the same columns. */
export async function printRows(
  rows: readonly Readonly<Record<string, unknown>>[],
  { json, columns, empty }: { json: boolean; columns: readonly string[]; empty: string },
): Promise<void> {
  if (json) {
    for (const row of rows) await printJson(row)
    return
  }
  if (!rows.length) return print(empty)
  const table = new Table({
    head: columns.map(column => styleText('bold', column)),
    chars: { ...BARE, middle: '  ' },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    colAligns: columns.map(column => (rows.every(row => typeof row[column] === 'number') ? 'right' : 'left')),
  })
  for (const row of rows) table.push(columns.map(column => cell(row[column])))
  await print(
    table
      .toString()
      .split('\n')
      .map(line => line.trimEnd())
      .join('\n'),
  )
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'number' ? value.toLocaleString('en') : String(value)
}

/** For people, on standard error, so that output stays for scripts. */
export const note = (text: string): void => void process.stderr.write(`${text}\n`)

/**
 * Says how far it is once a second from the second second on: in place on a terminal, as lines every 5 s elsewhere.
 * `quiet` for `--json`.
 */
export function progress(describe: () => string, { quiet = false }: { quiet?: boolean } = {}): Disposable {
  if (quiet) return { [Symbol.dispose]() {} }
  const { isTTY } = process.stderr
  let shown = false
  const timer = setInterval(
    () => {
      shown = true
      process.stderr.write(isTTY ? `\r\u001b[2K${describe()}` : `${describe()}\n`)
    },
    isTTY ? 1_000 : 5_000,
  ).unref()
  return {
    [Symbol.dispose]() {
      clearInterval(timer)
      if (shown && isTTY) process.stderr.write('\r\u001b[2K')
      shown = false
    },
  }
}

/** `1h`, `90s`, `2d`, `250ms` in milliseconds; undefined for anything else. */
export function milliseconds(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  return match ? Number(match[1]) * units[match[2] as keyof typeof units] : undefined
}

/** `7d`, `36h`, `90s`: the largest unit that divides it. */
export function duration(ms: number): string {
  const units = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1_000],
  ] as const
  const fit = units.find(([, size]) => ms >= size && ms % size === 0)
  return fit ? `${ms / fit[1]}${fit[0]}` : `${ms}ms`
}
