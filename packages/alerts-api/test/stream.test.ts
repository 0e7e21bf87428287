import { expect, test } from 'vitest'
import { EventStream } from './event-stream.ts'
import { serving, some, tokenFor } from './serving.ts'

test('a stream gives what comes after it was opened, in the order of each entity, with a cursor each', async () => {
  const { start, raise } = await serving()
  await raise(...some(3))
  const { url } = await start()
  const stream = await EventStream.open(`${url}/v1/alerts/stream`, await tokenFor('aurora'))
  expect(stream.response.status).toBe(200)
  expect(Object.fromEntries(stream.response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  })
  await stream.until(({ lastEventId }) => lastEventId !== '')
  const ids = await raise(...some(20, { user_id: 'u1' }))
  await stream.until(({ alertIds }) => alertIds.length === 20)
  expect(stream.alertIds).toEqual(ids)
  expect(new Set(stream.of('alert').map(({ id }) => id)).size).toBe(20)
  expect(stream.retry).toBe(2000)
  stream.close()
})

test('what one stream has given is not given again to the one that resumes, and the rest is', async () => {
  const { start, raise } = await serving()
  const { url } = await start()
  const token = await tokenFor('aurora')
  const all = await raise(...some(50))
  const first = await EventStream.open(`${url}/v1/alerts/stream?from=earliest`, token)
  await first.until(({ alertIds }) => alertIds.length === 50)
  first.close()
  const { id } = first.of('alert')[19] as { id: string }
  const second = await EventStream.open(`${url}/v1/alerts/stream`, token, { 'last-event-id': id })
  await second.until(({ alertIds }) => alertIds.length === 30)
  expect([...first.alertIds.slice(0, 20), ...second.alertIds].sort()).toEqual(all.sort())
  second.close()
})
