import { appendFileSync, existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const PLACES = [
  process.env.WEFT_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

/** The machine's own browser; none can be downloaded. */
export const executablePath = PLACES.find((place): place is string => place !== undefined && existsSync(place))

/** Reports at the end of the whole run that the browser's tests did not run, and why. */
export function reportMissing(name: string): string {
  const reason = 'there is no Chromium or Chrome here: install one, or name it in WEFT_CHROMIUM'
  if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `${name}: ${reason}\n`)
  return reason
}

export function launch(): Promise<Browser> {
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run']
  return chromium.launch({
    executablePath: executablePath as string,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet],
  })
}
