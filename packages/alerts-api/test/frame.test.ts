import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Channels } from '../src/channel.ts'
import { parseFilter } from '../src/filter.ts'
import { type Alert, Frame } from '../src/frame.ts'
import { textFrame } from '../src/websocket-frame.ts'
import { WIRES } from '../src/wire.ts'

const place = { partition: 3, at: '7', appendedAt: 0, cursor: 'c1.main.3:7' }
const alertOf = (about: Partial<Alert>) =>
  ({
    alert_id: 'a',
    store_id: 's',
    severity: 'info',
    rule: 'r',
    entity: 'e',
    state: 'raised',
    raised_at: 1,
    ...about,
  }) as Alert

/** As a client of RFC 6455 reads a frame of a server. */
function payloadOf(frame: Buffer): Buffer {
  expect(frame[0]).toBe(0x81)
  const short = frame[1] as number
  const [head, length] =
    short < 126 ? [2, short] : short === 126 ? [4, frame.readUInt16BE(2)] : [10, Number(frame.readBigUInt64BE(2))]
  expect(frame.length).toBe(head + length)
  return frame.subarray(head)
}

test('whatever an alert holds, its event is one id, one data line and a blank line, and its message is the same alert', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: fc.constantFrom('\r', '\n', ':', 'd', '\u2028', '\0', ' ') }),
      (message, rule) => {
        const alert = alertOf({ message, rule })
        const frame = new Frame(alert, place)
        for (const cursor of [undefined, 'c1.main.3:7,4:1']) {
          const lines = frame
            .sse(cursor)
            .toString()
            .split(/\r\n|\r|\n/)
          expect(lines).toHaveLength(5)
          expect(lines.slice(0, 2)).toEqual([`id: ${cursor ?? place.cursor}`, 'event: alert'])
          const whole = JSON.parse(JSON.stringify(alert))
          expect(JSON.parse(lines[2]?.replace('data: ', '') ?? '')).toEqual(whole)
          expect(JSON.parse(payloadOf(frame.webSocket(cursor)).toString())).toEqual({
            type: 'alert',
            cursor: cursor ?? place.cursor,
            alert: whole,
          })
        }
      },
    ),
  )
})

test('the forms that all share are made once', () => {
  const frame = new Frame(alertOf({}), place)
  expect(frame.sse()).toBe(frame.sse(place.cursor))
  expect(frame.webSocket()).toBe(frame.webSocket(place.cursor))
})

test.each([0, 1, 125, 126, 127, 65_535, 65_536, 100_000])(
  'a WebSocket frame of %i bytes has the length that it says',
  length => {
    const payload = Buffer.alloc(length, 'x')
    expect(payloadOf(textFrame(payload)).equals(payload)).toBe(true)
  },
)

test('a channel is one for equal filters, is found by what it wants, and is gone with its last holder', () => {
  const channels = new Channels()
  const [severe, same] = [
    parseFilter({ severity: 'critical,warning' }, 's'),
    parseFilter({ severity: ['warning', 'critical'] }, 's'),
  ]
  const [one, two] = [channels.hold(severe), channels.hold(same)]
  const entities = channels.hold(parseFilter({ entity: ['e', 'f'] }))
  expect(one).toBe(two)
  const of = (about: Partial<Alert>) => [...channels.of(new Frame(alertOf(about), place))]
  expect(of({ severity: 'warning', entity: 'g' })).toEqual([one])
  expect(of({ severity: 'warning', entity: 'f' })).toEqual([one, entities])
  expect(of({ severity: 'info', entity: 'e', store_id: 'other' })).toEqual([entities])
  channels.release(one)
  channels.release(entities)
  expect(of({ severity: 'warning', entity: 'f' })).toEqual([one])
  channels.release(two)
  expect(of({ severity: 'warning', entity: 'f' })).toEqual([])
  expect(channels.hold(severe)).not.toBe(one)
})

test('chunks of HTTP say how long they are', () => {
  const parts = [Buffer.from('a'.repeat(10)), Buffer.from('ä'.repeat(10))]
  expect(WIRES.chunked.packet(parts).toString()).toBe(`1e\r\n${'a'.repeat(10)}${'ä'.repeat(10)}\r\n`)
})
