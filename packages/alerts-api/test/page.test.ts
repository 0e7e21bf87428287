import { expect, test } from 'vitest'
import { serving, some, tokenFor } from './serving.ts'

interface Page {
  readonly alerts: { readonly alert_id: string; readonly severity: string }[]
  readonly cursor: string
  readonly more: boolean
  readonly reset?: { readonly reason: string; readonly from: string; readonly to: string }
}

async function setUp() {
  const about = await serving()
  const token = await tokenFor('aurora')
  const api = await about.start()
  const get = (query: string) =>
    fetch(`${api.url}/v1/alerts?${query}`, { headers: { authorization: `Bearer ${token}` } })
  return { ...about, get, page: async (query: string) => (await (await get(query)).json()) as Page }
}

test.each([300_000, 0])(
  'pages follow one another without a gap or a repeat, from memory or from the log (ringMs %i)',
  async ringMs => {
    const about = await serving()
    const ids = await about.raise(
      ...some(120),
      ...some(10, { severity: 'critical' }),
      ...some(5, { store_id: 'birch' }),
    )
    const { url } = await about.start({ ringMs })
    const authorization = `Bearer ${await tokenFor('aurora')}`
    for (const [filter, wanted] of [
      ['', ids.slice(0, 130)],
      ['&severity=critical', ids.slice(120, 130)],
    ] as const) {
      const seen: string[] = []
      let page: Page = { alerts: [], cursor: '', more: true }
      while (page.more) {
        page = (await (
          await fetch(`${url}/v1/alerts?limit=7&cursor=${page.cursor}${filter}`, { headers: { authorization } })
        ).json()) as Page
        expect(page.alerts.length).toBeLessThanOrEqual(7)
        seen.push(...page.alerts.map(({ alert_id }) => alert_id))
      }
      expect(seen.toSorted()).toEqual(wanted.toSorted())
    }
  },
)

test('a page that waits comes as soon as there is an alert that fits, or empty when the time is over', async () => {
  const { page, raise } = await setUp()
  const { cursor } = await page('from=latest')
  const waiting = page(`cursor=${cursor}&wait=30&severity=critical`)
  const empty = page(`cursor=${cursor}&wait=1&severity=critical&rule=none`)
  await raise(...some(3))
  const [id] = await raise({ severity: 'critical' })
  expect((await waiting).alerts.map(({ alert_id }) => alert_id)).toEqual([id])
  const late = await empty
  expect(late).toMatchObject({ alerts: [], more: false })
  expect((await page(`cursor=${late.cursor}`)).alerts.length).toBeLessThanOrEqual(4)
})

test('what retention removed is told in the page', async () => {
  const about = await serving({ retentionMs: 1 })
  await about.raise(...some(40))
  await about.expire()
  const [id] = await about.raise({})
  const { url } = await about.start({ ringMs: 0 })
  const authorization = `Bearer ${await tokenFor('aurora')}`
  const page = async (cursor: string) =>
    (await (await fetch(`${url}/v1/alerts?cursor=${cursor}`, { headers: { authorization } })).json()) as Page
  const lost = `c1.${about.transport.cluster}.${Array.from({ length: 12 }, (_, partition) => `${partition}:-1`)}`
  const { alerts, reset, cursor } = await page(lost)
  expect(alerts.map(({ alert_id }) => alert_id)).toEqual([id])
  expect(reset).toMatchObject({ reason: 'retention', from: lost })
  expect(await page(cursor)).toEqual({ alerts: [], cursor, more: false })
})

test.each([
  ['limit=0', /limit must be a whole number from 1 to 1000/],
  ['limit=1001', /limit must be/],
  ['limit=ten', /limit must be/],
  ['limit=1&limit=2', /limit may be given once/],
  ['wait=31', /wait must be a whole number from 0 to 30/],
  ['from=yesterday', /earliest, latest, a cursor, or an instant/],
  ['from=2026-13-45', /earliest, latest, a cursor, or an instant/],
  ['cursor=%0d%0a', /not a cursor/],
  ['state=open', /state: "open" is none of raised, cleared/],
  ['rule=rrr…', /rule: a value has at most 512 characters/],
  ['entity=0&entity=1…', /entity: at most 64 values/],
])('a page of %s is refused with what would be right', async (query, reason) => {
  const { get } = await setUp()
  const long: Record<string, string> = {
    'rule=rrr…': `rule=${'r'.repeat(600)}`,
    'entity=0&entity=1…': some(70)
      .map((_, i) => `entity=${i}`)
      .join('&'),
  }
  const response = await get(long[query] ?? query)
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({ message: expect.stringMatching(reason), retryable: false })
})
