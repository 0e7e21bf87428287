import { expect } from 'vitest'
import { bytes, header } from '../message.ts'
import type { Header, Message, Received, Topic, Transport } from '../transport.ts'
import type { Cases } from './fixture.ts'
import { message, take } from './observe.ts'

const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i)
const mebibyte = Uint8Array.from({ length: 1_048_576 }, (_, i) => (i * 31) % 251)

const messages: Record<string, Message> = {
  'an empty value, which is not a tombstone': message('k', ''),
  'a tombstone, which is not an empty value': message('k', '', { value: null }),
  'a value of every byte': message('k', '', { value: everyByte }),
  'a value of 1 MiB': message('k', '', { value: mebibyte }),
  'no key': message(undefined, 'v'),
  'an empty key, which is not no key': message('', 'v'),
  'a key of every byte': message(undefined, 'v', { key: everyByte }),
  'neither key nor value': { value: null, time: 1 },
  'headers in their order': message('k', 'v', { headers: [header('z', '1'), header('a', '2'), header('m', '3')] }),
  'headers of the same name': message('k', 'v', {
    headers: [header('a', '1'), header('b', '2'), header('a', '3'), header('a', '1')],
  }),
  'headers of every byte, and empty ones': message('k', 'v', {
    headers: [
      ['binary', everyByte],
      ['empty', new Uint8Array()],
    ],
  }),
  'header names beyond ASCII': message('k', 'v', { headers: [header('Grüße 織', 'ткань'), header(' ', ' ')] }),
  'a hundred headers on a tombstone': message('k', '', {
    value: null,
    headers: Array.from({ length: 100 }, (_, i): Header => [`h${i % 10}`, Uint8Array.of(i)]),
  }),
  'the event time 0': message('k', 'v', { time: 0 }),
  'an event time before 1970': message('k', 'v', { time: -86_400_001 }),
  'the event time −1': message('k', 'v', { time: -1 }),
  'an event time in the year 9999': message('k', 'v', { time: 253_402_300_799_999 }),
}

/** Nothing of a message is lost, changed or mistaken for something else on its way through the log. */
export function fidelity(test: Cases) {
  const roundTrip = async (transport: Transport, topic: Topic, sent: Message) => {
    await transport.append(topic, [message('first', 'neighbour'), sent, message('last', 'neighbour')], { partition: 0 })
    const found = await take(transport, topic, 3)
    expect(found.map(plain)).toEqual([message('first', 'neighbour'), sent, message('last', 'neighbour')].map(plain))
    expect(found[1]?.topic).toEqual(topic)
    return found[1]
  }

  for (const [what, sent] of Object.entries(messages)) {
    test(`round-trips ${what}`, async ({ transport, create }) => {
      await roundTrip(transport, await create({ partitions: 1 }), sent)
    })
  }

  test('round-trips schema references, several in a topic and none', async ({ cluster, transport, create }) => {
    const topic = await create({ partitions: 1 })
    const [one, other] = cluster.schemas
    const sent = [one, other, undefined, one].map(schema => message('k', 'v', schema ? { schema } : {}))
    await transport.append(topic, sent)
    expect((await take(transport, topic, 4)).map(each => each.schema)).toEqual([one, other, undefined, one])
  })

  test('does not let one message touch another, whatever is around it', async ({ transport, create }) => {
    const topic = await create({ partitions: 1 })
    const sent = Object.values(messages)
    await transport.append(topic, sent)
    expect((await take(transport, topic, sent.length)).map(plain)).toEqual(sent.map(plain))
  })

  test('takes messages whose bytes are parts of larger buffers', async ({ transport, create }) => {
    const topic = await create({ partitions: 1 })
    const around = bytes('....key-value-header....')
    const sent: Message = {
      key: around.subarray(4, 7),
      value: around.subarray(8, 13),
      headers: [['h', around.subarray(14, 20)]],
      time: 1,
    }
    await transport.append(topic, [sent])
    expect((await take(transport, topic, 1)).map(plain)).toEqual([
      plain(message('key', 'value', { headers: [header('h', 'header')], time: 1 })),
    ])
  })
}

/** A message as plain data, so that what is missing differs from what is empty and a Buffer equals its bytes. */
function plain(each: Message | Received) {
  const hex = (value: Uint8Array) => Buffer.from(value).toString('hex')
  return {
    key: each.key === undefined ? 'none' : hex(each.key),
    value: each.value === null ? 'tombstone' : hex(each.value),
    headers: (each.headers ?? []).map(([name, value]) => [name, hex(value)]),
    time: each.time,
    schema: each.schema,
  }
}
