import { expect, test } from 'vitest'
import { jsonLines, temporary, Weft, weft } from './spawned.ts'

const raw = (id: string, payload: object) => ({
  event_id: id,
  store_id: 'aurora',
  session_id: 's1',
  type: 'page_view',
  payload: JSON.stringify(payload),
  sent_at: 1_795_000_000_000,
  received_at: 1_795_000_000_000,
})
const right = { elapsed_ms: 0, page: 'product' }

test('a bad record is listed, shown, repaired and put back, another is discarded', async () => {
  await using folder = await temporary()
  const cwd = folder.path
  await using dev = new Weft(['dev', '--json', '--no-demo', '--port', '0'], { cwd, env: { LOG_LEVEL: 'warn' } })
  await dev.says(/^\{"dashboard"/m)
  const bad = ['b1', 'b2', 'b3'].map(id => JSON.stringify(raw(id, { elapsed_ms: 'soon', page: 'product' }))).join('\n')
  expect(await weft(cwd, ['produce', 'events.raw.v1'], bad)).toMatchObject({ code: 0 })
  await weft(cwd, ['tail', 'events.dlq.v1', '-f', '--from', 'earliest', '-n', '3'])

  const listed = jsonLines((await weft(cwd, ['dlq', 'list', '--json', '--tenant', 'aurora'])).out)
  expect(listed.map(row => row.state)).toEqual(['open', 'open', 'open'])
  expect(listed[0]).toMatchObject({ tenant: 'aurora', topic: 'events.raw.v1' })
  expect(listed[0]?.reason).toContain('elapsed_ms')
  expect((await weft(cwd, ['dlq', 'list'])).out).toMatch(/^id +failed +tenant +topic +code +reason\n/)
  expect((await weft(cwd, ['dlq', 'list', '--tenant', 'birch'])).out).toBe('no dead letters\n')

  const [first, second, third] = listed.map(row => row.id as string) as [string, string, string]
  const [shown] = jsonLines((await weft(cwd, ['dlq', 'show', first, '--json'])).out)
  const value = shown?.value as ReturnType<typeof raw>
  expect(value).toMatchObject({ store_id: 'aurora', payload: '{"elapsed_ms":"soon","page":"product"}' })
  expect((await weft(cwd, ['dlq', 'show', first])).out).toMatch(/^id {8}\S+\nstate {5}open\n/)

  const repaired = JSON.stringify({ ...value, payload: JSON.stringify(right) })
  const retried = await weft(cwd, ['dlq', 'retry', first, '--value', '-', '--json'], repaired)
  expect(jsonLines(retried.out)).toEqual([{ id: first, state: 'retried' }])
  const passed = await weft(cwd, ['tail', 'events.validated.v1', '-f', '--from', 'earliest', '-n', '1', '--json'])
  expect(jsonLines(passed.out)[0]?.value).toMatchObject({ event_id: value.event_id, payload: JSON.stringify(right) })

  expect(await weft(cwd, ['dlq', 'discard', second])).toMatchObject({ code: 0, err: '1 discarded\n' })
  const again = await weft(cwd, ['dlq', 'discard', second])
  expect(again.code).toBe(4)
  expect(again.err).toContain(`no open dead letter with the id ${second}`)
  const all = jsonLines((await weft(cwd, ['dlq', 'list', '--state', 'any', '--json'])).out)
  expect(new Map(all.map(row => [row.id, row.state]))).toEqual(
    new Map([
      [first, 'retried'],
      [second, 'discarded'],
      [third, 'open'],
    ]),
  )
  expect((await weft(cwd, ['dlq', 'retry'])).code).toBe(2)
  dev.child.kill('SIGINT')
  expect((await dev.ended).code).toBe(0)
}, 120_000)
