/** The formats of Kafka's consumer protocol, so that everybody's tools can read who has what. Version 1: owned partitions. */
export interface TopicPartitions {
  readonly topic: string
  readonly partitions: readonly number[]
}

export interface Subscription {
  readonly topics: readonly string[]
  readonly userData: Uint8Array
  readonly owned: readonly TopicPartitions[]
}

const VERSION = 1

export function encodeSubscription({ topics, userData, owned }: Subscription): Uint8Array {
  return Buffer.concat([int16(VERSION), int32(topics.length), ...topics.map(string), bytes(userData), list(owned)])
}

export function decodeSubscription(encoded: Uint8Array): Subscription {
  const cursor = new Cursor(encoded)
  const version = cursor.int16()
  const topics = cursor.array(() => cursor.string())
  const userData = cursor.bytes()
  return { topics, userData, owned: version >= 1 && cursor.left > 0 ? cursor.list() : [] }
}

export const encodeAssignment = (assigned: readonly TopicPartitions[], userData: Uint8Array): Uint8Array =>
  Buffer.concat([int16(VERSION), list(assigned), bytes(userData)])

/** Empty for a member that was given nothing. */
export function decodeAssignment(encoded: Uint8Array): readonly TopicPartitions[] {
  if (encoded.length < 6) return []
  const cursor = new Cursor(encoded)
  cursor.int16()
  return cursor.list()
}

/** What the leader told a member beside its partitions. */
export function userDataOf(encoded: Uint8Array): Uint8Array {
  if (encoded.length < 6) return new Uint8Array()
  const cursor = new Cursor(encoded)
  cursor.int16()
  cursor.list()
  return cursor.left > 0 ? cursor.bytes() : new Uint8Array()
}

function int16(value: number): Buffer {
  const buffer = Buffer.alloc(2)
  buffer.writeInt16BE(value)
  return buffer
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value)
  return buffer
}

const string = (value: string): Buffer => {
  const encoded = Buffer.from(value)
  return Buffer.concat([int16(encoded.length), encoded])
}

const bytes = (value: Uint8Array): Buffer => Buffer.concat([int32(value.length), value])

const list = (all: readonly TopicPartitions[]): Buffer =>
  Buffer.concat([
    int32(all.length),
    ...all.flatMap(({ topic, partitions }) => [string(topic), int32(partitions.length), ...partitions.map(int32)]),
  ])

class Cursor {
  readonly #buffer: Buffer
  #at = 0

  constructor(encoded: Uint8Array) {
    this.#buffer = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.length)
  }

  get left(): number {
    return this.#buffer.length - this.#at
  }

  int16(): number {
    this.#at += 2
    return this.#buffer.readInt16BE(this.#at - 2)
  }

  int32(): number {
    this.#at += 4
    return this.#buffer.readInt32BE(this.#at - 4)
  }

  #take(length: number): Buffer {
    this.#at += length
    return this.#buffer.subarray(this.#at - length, this.#at)
  }

  string(): string {
    return this.#take(this.int16()).toString()
  }

  bytes(): Uint8Array {
    const length = this.int32()
    return length < 0 ? new Uint8Array() : this.#take(length)
  }

  array<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read)
  }

  list(): TopicPartitions[] {
    return this.array(() => ({ topic: this.string(), partitions: this.array(() => this.int32()) }))
  }
}
