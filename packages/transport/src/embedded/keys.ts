import { WeftError } from '../transport.ts'

/**
 * Keys of the store's `meta` database: one byte that says the kind, then big-endian numbers and text. Keys of the log are
 * topic u32, partition u16, base offset u64, and of state group u32, partition u16, store name (u8 length), key.
 */
const key = (kind: string, size: number): Buffer => {
  const bytes = Buffer.allocUnsafe(1 + size)
  bytes[0] = kind.charCodeAt(0)
  return bytes
}

const named = (kind: string, name: string): Buffer => Buffer.from(kind + name)

const place = (kind: string, group: number, topic: number, partition: number): Buffer => {
  const bytes = key(kind, 10)
  bytes.writeUInt32BE(group, 1)
  bytes.writeUInt32BE(topic, 5)
  bytes.writeUInt16BE(partition, 9)
  return bytes
}

export const KEY = {
  format: named('f', ''),
  cluster: named('c', ''),
  /** Next free ids of topics, groups and schemas. */
  ids: named('n', ''),
  /** Raised by every transaction: a reader that sees it unchanged has seen everything. */
  version: named('v', ''),
  /** Bytes of all logs together. */
  bytes: named('b', ''),
  janitor: named('j', ''),
  /** How far a compacted partition was cleaned. */
  cleaned(topic: number, partition: number) {
    const bytes = key('k', 6)
    bytes.writeUInt32BE(topic, 1)
    bytes.writeUInt16BE(partition, 5)
    return bytes
  },
  topic: (identity: string) => named('t', identity),
  partition(topic: number, partition: number) {
    const bytes = key('p', 6)
    bytes.writeUInt32BE(topic, 1)
    bytes.writeUInt16BE(partition, 5)
    return bytes
  },
  group: (name: string) => named('g', name),
  /** Raised when members or owners of the group change. */
  groupVersion: (group: number) => Buffer.concat([named('e', ''), u32(group)]),
  member: (group: number, member: string) => Buffer.concat([named('m', ''), u32(group), Buffer.from(member)]),
  owner: (group: number, topic: number, partition: number) => place('o', group, topic, partition),
  position: (group: number, topic: number, partition: number) => place('q', group, topic, partition),
  writer: (name: string) => named('w', name),
  sequence: (topic: number, name: string) => Buffer.concat([named('s', ''), u32(topic), Buffer.from(name)]),
  schema: (subject: string, version: number) => named('x', JSON.stringify([subject, version])),
  schemaId: (id: number) => Buffer.concat([named('y', ''), u32(id)]),
}

function u32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** The first key behind all that begin with `prefix`. */
export function after(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix)
  for (let i = end.length - 1; i >= 0; i--) {
    if ((end[i] as number) < 255) {
      end[i] = (end[i] as number) + 1
      return end.subarray(0, i + 1)
    }
  }
  return Buffer.alloc(prefix.length + 1, 255)
}

export function logKey(topic: number, partition: number, offset: number): Buffer {
  const bytes = Buffer.allocUnsafe(14)
  bytes.writeUInt32BE(topic, 0)
  bytes.writeUInt16BE(partition, 4)
  bytes.writeUInt32BE(Math.floor(offset / 2 ** 32), 6)
  bytes.writeUInt32BE(offset >>> 0, 10)
  return bytes
}

export const offsetOf = (logKey: Buffer): number => logKey.readUInt32BE(6) * 2 ** 32 + logKey.readUInt32BE(10)

export const STATE_KEY_BYTES = 1900

export function statePrefix(group: number, partition: number, store: string): Buffer {
  const name = Buffer.from(store)
  if (name.length > 255)
    throw new WeftError('INVALID', `a state store's name has up to 255 bytes, not ${name.length}: "${store}"`)
  const bytes = Buffer.allocUnsafe(7 + name.length)
  bytes.writeUInt32BE(group, 0)
  bytes.writeUInt16BE(partition, 4)
  bytes[6] = name.length
  bytes.set(name, 7)
  return bytes
}
