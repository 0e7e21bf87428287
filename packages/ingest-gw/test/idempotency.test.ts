import { WeftError } from '@weft/transport'
import { describe, expect, test } from 'vitest'
import { logged, pageView, send, world } from './fixture.ts'
import { gate } from './gate.ts'

describe('an event id', () => {
  test('that was stored is answered as a duplicate, alone with 200, among several with 202', async () => {
    await using it = await world()
    const event = pageView({ event_id: 'again' })
    expect(await send(it.url, event)).toMatchObject({ status: 202, body: { event_id: 'again', status: 'accepted' } })
    expect(await send(it.url, event)).toMatchObject({ status: 200, body: { event_id: 'again', status: 'duplicate' } })
    expect(await send(it.url, [event, pageView({ event_id: 'new' })])).toMatchObject({
      status: 202,
      body: { accepted: 1, duplicate: 1, results: [{ status: 'duplicate' }, { status: 'accepted' }] },
    })
    expect(await logged(it.transport)).toHaveLength(2)
  })

  test('of one tenant is not that of another', async () => {
    await using it = await world()
    const event = pageView({ event_id: 'same' })
    await send(it.url, event)
    expect((await send(it.url, event, { authorization: 'Bearer wk_birch_test' })).status).toBe(202)
  })

  test('sent by a hundred requests at once is stored by one of them, the others wait for its outcome', async () => {
    await using it = await world()
    const event = pageView({ event_id: 'crowd' })
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(it.url, event)))
    const statuses = answers.map(({ body }) => body.status)
    expect(statuses.filter(status => status === 'accepted')).toHaveLength(1)
    expect(statuses.filter(status => status === 'duplicate')).toHaveLength(99)
    expect(await logged(it.transport)).toHaveLength(1)
  })

  test('is forgotten after the window', async () => {
    await using it = await world({ duplicateWindowMs: 1 })
    const event = pageView({ event_id: 'later' })
    expect((await send(it.url, event)).status).toBe(202)
    await expect.poll(async () => (await send(it.url, event)).status).toBe(202)
  })

  test('whose append failed is told as 503 to all who wait, and may be sent again', async () => {
    const held = gate()
    await using it = await world({}, held.wrap)
    held.close()
    const event = pageView({ event_id: 'unlucky' })
    const first = send(it.url, event)
    await held.arrived()
    const second = send(it.url, event)
    const batch = send(it.url, [event])
    // Answered while the others wait: both have been taken by then.
    await expect.poll(async () => (await send(it.url, [])).status).toBe(400)
    held.fail(new WeftError('UNAVAILABLE', 'the disk is full'))
    for (const answer of [await first, await second, await batch]) {
      expect(answer).toMatchObject({ status: 503, body: { error: { code: 'log_unavailable', retryable: true } } })
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      expect(JSON.stringify(answer.body)).not.toContain('disk')
    }
    held.close()
    held.open()
    expect((await send(it.url, event)).status).toBe(202)
    expect(await logged(it.transport)).toHaveLength(1)
  })
})

describe('an Idempotency-Key', () => {
  test('with the same body gets the same answer again, and nothing is stored twice', async () => {
    await using it = await world()
    const body = [pageView(), pageView({ type: 'nothing' })]
    const first = await send(it.url, body, { 'idempotency-key': 'k1' })
    const second = await send(it.url, body, { 'idempotency-key': 'k1' })
    expect(first.status).toBe(207)
    expect([second.status, second.body]).toEqual([207, first.body])
    expect([first, second].map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, 'true'])
    expect(await logged(it.transport)).toHaveLength(1)
  })

  test('with another body is 422, of another tenant it is another key', async () => {
    await using it = await world()
    await send(it.url, pageView(), { 'idempotency-key': 'k2' })
    const other = await send(it.url, pageView({ session_id: 'x' }), { 'idempotency-key': 'k2' })
    expect(other).toMatchObject({ status: 422, body: { error: { code: 'idempotency_key_reused' } } })
    const birch = { 'idempotency-key': 'k2', authorization: 'Bearer wk_birch_test' }
    expect((await send(it.url, pageView({ session_id: 'x' }), birch)).status).toBe(202)
  })

  test('while its request is worked on is 409, and afterwards the answer', async () => {
    const held = gate()
    await using it = await world({}, held.wrap)
    held.close()
    const headers = { 'idempotency-key': 'k3' }
    const first = send(it.url, pageView(), headers)
    await held.arrived()
    const during = await send(it.url, pageView(), headers)
    expect(during).toMatchObject({
      status: 409,
      body: { error: { code: 'idempotency_key_in_flight', retryable: true } },
    })
    held.open()
    const { body } = await first
    expect(await send(it.url, pageView(), headers)).toMatchObject({ status: 202, body })
  })

  test('whose request failed may be used again with the same body, which gets the same event ids', async () => {
    const held = gate()
    await using it = await world({}, held.wrap)
    held.close()
    const headers = { 'idempotency-key': 'k4' }
    const first = send(it.url, pageView(), headers)
    await held.arrived()
    held.fail(new WeftError('UNAVAILABLE', 'gone'))
    expect((await first).status).toBe(503)
    held.close()
    held.open()
    expect((await send(it.url, pageView({ session_id: 'x' }), headers)).status).toBe(422)
    expect((await send(it.url, pageView(), headers)).status).toBe(202)
  })
})
