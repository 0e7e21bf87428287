import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { executablePath, launch, reportMissing } from './browser.ts'
import { type Folder, temporary, Weft } from './spawned.ts'

interface Places {
  readonly dashboard: string
  readonly events: readonly string[]
}

let folder: Folder
let weft: Weft
let places: Places
let page: Page

beforeAll(async () => {
  if (!executablePath) return
  folder = await temporary()
  await start(await freePort())
  const browser = await launch()
  page = await browser.newPage()
  await page.goto(places.dashboard)
  await connection('live')
}, 60_000)

afterAll(async () => {
  await page?.context().browser()?.close()
  await weft?.[Symbol.asyncDispose]()
  await folder?.[Symbol.asyncDispose]()
})

async function start(port: number): Promise<void> {
  weft = new Weft(['dev', '--no-demo', '--json', '--port', String(port)], { cwd: folder.path })
  places = JSON.parse((await weft.says(/^\{.*\}$/m))[0])
}

/** Three in a row that are likely free: below where systems take ports for outgoing connections. */
const freePort = async (): Promise<number> => 12_000 + Math.floor(Math.random() * 18_000)

const connection = (state: string) => page.waitForSelector(`#connection[data-state=${state}]`)
const rows = () => page.locator('#alerts li').evaluateAll(all => all.map(row => row.getAttribute('data-alert')))

/** Twenty page views at once are what the shipped rule `hasty-browsing` watches for. */
async function browseHastily(shopper: string): Promise<void> {
  const views = Array.from({ length: 20 }, (_, i) => ({
    type: 'page_view',
    user_id: shopper,
    session_id: shopper,
    payload: { elapsed_ms: i, page: 'product' },
  }))
  const answer = await fetch(places.events[0] ?? '', {
    method: 'POST',
    headers: { authorization: 'Bearer wk_aurora_demo', 'content-type': 'application/json' },
    body: JSON.stringify(views),
  })
  expect(answer.status).toBe(202)
}

const shown = (shopper: string) =>
  page.waitForSelector(`#alerts li:has-text("raised"):has-text("${shopper}"):has-text("hasty-browsing")`)

it('an event posted shows as an alert on the page', { timeout: 60_000 }, async context => {
  if (!executablePath) return context.skip(reportMissing('the dashboard in a browser'))
  await browseHastily('shopper-one')
  await shown('shopper-one')
  expect(await page.locator('#empty').isHidden()).toBe(true)
  await page.locator('#alerts-this-minute', { hasText: /[1-9]/ }).waitFor()
})

it('the page goes on after the server was killed, without a gap or a repeat', { timeout: 90_000 }, async context => {
  if (!executablePath) return context.skip(reportMissing('the dashboard in a browser, resuming'))
  const port = Number(new URL(places.dashboard).port)
  weft.child.kill('SIGKILL')
  await weft.ended
  await connection('lost')
  await start(port)
  await browseHastily('shopper-two')
  await connection('live')
  await browseHastily('shopper-three')
  for (const shopper of ['shopper-one', 'shopper-two', 'shopper-three']) await shown(shopper)
  const seen = await rows()
  expect(new Set(seen).size).toBe(seen.length)
  expect(await page.locator('#notice').isHidden()).toBe(true)
})

it('the filter by severity leaves out the others, and by tenant as well', { timeout: 60_000 }, async context => {
  if (!executablePath) return context.skip(reportMissing('the dashboard in a browser, filtering'))
  await page.uncheck('input[value=warning]')
  await connection('live')
  await page.locator('#alerts li[data-severity=warning]').first().waitFor({ state: 'detached' })
  await page.check('input[value=warning]')
  await shown('shopper-three')
  await page.waitForSelector('#tenant option[value=aurora]', { state: 'attached' })
  await page.selectOption('#tenant', 'aurora')
  await shown('shopper-three')
})

it('the page fits a phone, in light and dark, and every control has a name', { timeout: 60_000 }, async context => {
  if (!executablePath) return context.skip(reportMissing('the dashboard in a browser, on a phone'))
  await page.setViewportSize({ width: 375, height: 700 })
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    const [needed, given] = await page.locator('html').evaluate(root => [root.scrollWidth, root.clientWidth])
    expect(needed).toBeLessThanOrEqual(given ?? 0)
  }
  const unnamed = await page
    .locator('input, select, img, svg')
    .evaluateAll(all =>
      all
        .filter(
          each => !('labels' in each && each.labels) && !each.hasAttribute('alt') && !each.getAttribute('aria-label'),
        )
        .map(each => each.outerHTML),
    )
  expect(unnamed).toEqual([])
})
