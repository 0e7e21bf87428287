import { describe, expect, test } from 'vitest'
import { addressesOf } from '../src/pulsar/wire/brokers.ts'
import { COMMANDS, METADATA } from '../src/pulsar/wire/commands.ts'
import { encodeCommand, encodeSend, entryOf, FrameReader } from '../src/pulsar/wire/frame.ts'
import { decode, encode, Malformed, Reader, type Shape, Writer } from '../src/pulsar/wire/protobuf.ts'

const all = {
  int: [1, 'int'],
  long: [2, 'long'],
  bool: [3, 'bool'],
  string: [4, 'string'],
  bytes: [5, 'bytes'],
  inner: [16, { required: [1, 'int', 'required'], list: [2, 'long', 'repeated'] }],
  inners: [17, { text: [1, 'string'] }, 'repeated'],
} as const satisfies Shape

const bytesOf = (shape: Shape, message: object) => {
  const writer = new Writer(1)
  encode(writer, shape, message as never)
  return Buffer.from(writer.done())
}

describe('the protobuf codec', () => {
  test.each([
    {},
    { int: 0, long: 0n, bool: false, string: '', bytes: Buffer.alloc(0) },
    { int: 127 },
    { int: 128 },
    { int: 2 ** 32 + 5 },
    { int: Number.MAX_SAFE_INTEGER },
    { int: -1, long: -1n },
    { long: 2n ** 63n - 1n },
    { long: -(2n ** 63n) },
    { string: 'ß漢🙂'.repeat(100), bytes: Buffer.alloc(70_000, 3), bool: true },
    { inner: { required: 5, list: [1n, -1n, 2n ** 62n] }, inners: [{ text: 'x'.repeat(200) }, {}, { text: '' }] },
  ])('gives back what it was given, case %#', message => {
    expect(decode(new Reader(bytesOf(all, message)), all)).toEqual(message)
  })

  test('leaves out fields it does not know, of every wire type', () => {
    const newer = { ...all, a: [900, 'int'], b: [901, 'string'], c: [902, { d: [1, 'int'] }] } as const
    const bytes = bytesOf(newer, { a: -1, int: 7, b: 'x', c: { d: 1 } })
    const fixed = Buffer.from([0x89, 0x40, 1, 2, 3, 4, 5, 6, 7, 8, 0x8d, 0x40, 1, 2, 3, 4])
    expect(decode(new Reader(Buffer.concat([bytes, fixed])), all)).toEqual({ int: 7 })
  })

  test('reads packed lists too', () => {
    const packed = Buffer.from([0x82, 0x01, 7, 0x08, 1, 0x12, 3, 1, 2, 3])
    expect(decode(new Reader(packed), all)).toEqual({ inner: { required: 1, list: [1n, 2n, 3n] } })
  })

  test('says what is malformed, wherever it is cut off', () => {
    const bytes = bytesOf(all, { int: 300, string: 'abc', inner: { required: 1 } })
    for (let length = 1; length < bytes.length; length++) {
      try {
        decode(new Reader(bytes.subarray(0, length)), all)
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed)
      }
    }
    expect(() => decode(new Reader(bytesOf({ inner: [16, { list: [2, 'long'] }] }, { inner: {} })), all)).toThrow(
      '"required" is missing',
    )
    expect(() => decode(new Reader(Buffer.alloc(20, 0xff)), all)).toThrow(Malformed)
  })
})

describe('frames', () => {
  const payload = Buffer.from('payload')
  const metadata = { producerName: 'p', sequenceId: 2n ** 60n, publishTime: 1_700_000_000_000, partitionKey: 'k' }
  const message = () => {
    const send = encodeSend({ producerId: 1, sequenceId: 5n }, metadata, payload)
    return Buffer.concat([send, payload])
  }

  test('are the same in whatever pieces they come', () => {
    const stream = Buffer.concat([
      encodeCommand('ping', {}),
      message(),
      encodeCommand('error', { requestId: 1, error: 3, message: 'no' }),
    ])
    const whole = new FrameReader().push(stream).map(({ command }) => command)
    expect(whole.map(command => command?.name)).toEqual(['ping', 'send', 'error'])
    for (let size = 1; size < stream.length; size++) {
      const reader = new FrameReader()
      const found = []
      for (let at = 0; at < stream.length; at += size) found.push(...reader.push(stream.subarray(at, at + size)))
      expect(found.map(({ command }) => command)).toEqual(whole)
    }
  })

  test('carry metadata and payload behind the command, and a checksum over them', () => {
    const [frame] = new FrameReader().push(message())
    expect(entryOf(frame?.rest as Buffer)).toMatchObject({ metadata, payload })
    for (const at of [0, 5, 12, (frame?.rest.length ?? 0) - 1]) {
      const spoilt = Buffer.from(frame?.rest as Buffer)
      spoilt[at] = (spoilt[at] as number) ^ 0x10
      expect(() => entryOf(spoilt)).toThrow(Malformed)
    }
  })

  test('that are none end the stream with what may be wrong', () => {
    expect(() => new FrameReader().push(Buffer.from('HTTP/1.1 400 Bad Request\r\n'))).toThrow(/binary port of a Pulsar/)
  })

  test('survive garbage: Malformed, or nothing known', () => {
    let seed = 12345
    const random = () => {
      seed = (seed * 1103515245 + 12345) % 2 ** 31
      return seed
    }
    for (let round = 0; round < 5000; round++) {
      const frame = Buffer.from(message())
      for (let flips = 0; flips < 4; flips++) frame[4 + (random() % (frame.length - 4))] = random() % 256
      try {
        for (const { rest } of new FrameReader().push(frame)) if (rest.length) entryOf(rest)
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed)
      }
    }
  })
})

test('every command has a number and fields of its own', () => {
  const numbers = Object.values(COMMANDS).map(([number]) => number)
  expect(new Set(numbers).size).toBe(numbers.length)
  for (const [name, [, shape]] of [...Object.entries(COMMANDS), ['metadata', [0, METADATA]] as const]) {
    const fields = Object.values(shape as Shape).map(([number]) => number)
    expect(new Set(fields).size, name).toBe(fields.length)
  }
})

test('service URLs name brokers, or what is wrong', () => {
  expect(addressesOf('pulsar://a,b:6660/')).toEqual({
    tls: false,
    addresses: [
      { host: 'a', port: 6650 },
      { host: 'b', port: 6660 },
    ],
  })
  expect(addressesOf('pulsar+ssl://[::1]')).toEqual({ tls: true, addresses: [{ host: '::1', port: 6651 }] })
  expect(() => addressesOf('http://a:8080')).toThrow('pulsar://HOST:6650')
})
