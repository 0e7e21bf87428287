import { setTimeout as sleep } from 'node:timers/promises'
import { bytes, header, headerOf, text } from '../message.ts'
import type { From, Message, Received, Topic, Transport } from '../transport.ts'

/** How long the suite waits for what was promised before it calls the promise broken, in milliseconds. */
export const PATIENCE = 20_000

// biome-ignore lint/suspicious/noConfusingVoidType: a condition that catches an error has this type
type Falsy = false | 0 | '' | null | undefined | void

/** Resolves with the condition's first truthy value; fails naming what was awaited. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  patience = PATIENCE,
): Promise<Exclude<T, Falsy>> {
  const end = Date.now() + patience
  for (;;) {
    const value = await condition()
    if (value) return value as Exclude<T, Falsy>
    if (Date.now() > end) throw new Error(`waited ${patience / 1000} s in vain until ${what}`)
    await sleep(5)
  }
}

/** The promise's value; fails, naming it, if it takes too long. */
export async function within<T>(what: string, promise: PromiseLike<T>): Promise<T> {
  const clock = new AbortController()
  const late = sleep(PATIENCE, undefined, { signal: clock.signal }).then(() => {
    throw new Error(`waited ${PATIENCE / 1000} s in vain for ${what}`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([promise, late])
  } finally {
    clock.abort()
  }
}

/** A message of texts. */
export function message(key: string | undefined, value: string, rest: Partial<Message> = {}): Message {
  return { ...(key === undefined ? {} : { key: bytes(key) }), value: bytes(value), time: 1_700_000_000_000, ...rest }
}

export const keyOf = (received: Pick<Message, 'key'>): string | undefined => received.key && text(received.key)
export const bodyOf = (received: Pick<Message, 'value'>): string => text(received.value ?? new Uint8Array())

/** `count` numbered messages over `keys` keys: value `n` has key `k<n % keys>`. */
export const numbered = (count: number, keys = 10, first = 0): Message[] =>
  Array.from({ length: count }, (_, i) => message(`k${(first + i) % keys}`, String(first + i)))

/** The values of each key, in the order in which they came. */
export function byKey(messages: Iterable<Pick<Message, 'key' | 'value'>>): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const each of messages) {
    const key = keyOf(each) ?? ''
    const values = found.get(key)
    if (values) values.push(bodyOf(each))
    else found.set(key, [bodyOf(each)])
  }
  return found
}

/** The next `count` messages after `from`. */
export async function take(
  transport: Transport,
  topic: Topic,
  count: number,
  from: From = 'earliest',
): Promise<Received[]> {
  const stop = new AbortController()
  const found: Received[] = []
  const reading = (async () => {
    for await (const batch of transport.read(topic, { from, signal: stop.signal })) {
      found.push(...batch)
      if (found.length >= count) break
    }
  })()
  try {
    await within(`${count} messages of ${topic.name}`, reading).catch(error => {
      throw new Error(`got ${found.length} of ${count} messages of ${topic.name}: ${error.message}`, { cause: error })
    })
  } finally {
    stop.abort()
  }
  return found.slice(0, count)
}

const MARK = 'conformance-mark'

/**
 * All that the topic holds. What ends it is a mark appended to each partition: unlike comparing with end positions it
 * cannot stop too early or wait in vain, whatever a transport keeps between messages.
 */
export async function contents(transport: Transport, topic: Topic, from: From = 'earliest'): Promise<Received[]> {
  const { partitions } = await transport.admin.describe(topic)
  const mark = crypto.randomUUID()
  for (let partition = 0; partition < partitions; partition++) {
    await transport.append(topic, [message(mark, '', { headers: [header(MARK, mark)] })], { partition })
  }
  const found: Received[] = []
  const stop = new AbortController()
  let open = partitions
  const reading = (async () => {
    for await (const batch of transport.read(topic, { from, signal: stop.signal })) {
      for (const each of batch) {
        const marked = headerOf(each, MARK)
        if (marked === undefined) found.push(each)
        else if (marked === mark) open--
      }
      if (open === 0) return
    }
  })()
  try {
    await within(`the end of ${topic.name}`, reading)
  } finally {
    stop.abort()
  }
  return found
}

/** Whether a message is one of the marks of `contents`. */
export const isMark = (received: Message): boolean => headerOf(received, MARK) !== undefined

/** Resolves when the group has nothing left to settle; waits as long as it gets less. */
export async function settled(transport: Transport, group: string): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  while (left > 0) {
    left = await until(`group ${group} settles what it has left (${left})`, async () => {
      const lags = (await transport.admin.groups()).filter(each => each.group === group)
      const now = lags.reduce((sum, each) => sum + each.lag, 0)
      return lags.length > 0 && now < left && { now }
    }).then(({ now }) => now)
  }
}

/**
 * Something to wait for, and the way to let it happen. It happens by itself after all patience is lost, so that a case
 * that failed ends with its own error and not in waiting for the handlers it holds.
 */
export function gate() {
  const { promise, resolve } = Promise.withResolvers<void>()
  setTimeout(resolve, PATIENCE + 2000).unref()
  return { promise, open: resolve }
}

/** A small seeded generator (mulberry32): numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
