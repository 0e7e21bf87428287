import Bowser from 'bowser'

const CRAWLER = /bot\b|crawl|spider|slurp|headless|lighthouse/i
const KNOWN = 4096
const known = new Map<string, Record<string, string>>()

/** What a User-Agent tells of the device; parsed once for equal texts. */
export function deviceOf(userAgent: string): Record<string, string> {
  const before = known.get(userAgent)
  if (before) return before
  const { browser, os, platform } = Bowser.parse(userAgent)
  const found: Record<string, string | undefined> = {
    'device.kind': CRAWLER.test(userAgent) ? 'bot' : platform.type,
    'device.vendor': platform.vendor,
    'device.os': os.name,
    'device.os_version': os.version,
    'device.browser': browser.name,
    'device.browser_version': browser.version,
  }
  const device = Object.fromEntries(
    Object.entries(found).filter((entry): entry is [string, string] => Boolean(entry[1])),
  )
  if (known.size >= KNOWN) known.delete(known.keys().next().value as string)
  known.set(userAgent, device)
  return device
}
