import { expect, test } from 'vitest'
import { gate, message } from '../src/conformance/observe.ts'
import { type Feed, Subscription } from '../src/subscription.ts'
import { type Position, type Received, WeftError } from '../src/transport.ts'

const received = (at: number, key = 'k'): Received => ({
  ...message(key, String(at)),
  topic: { name: 't' },
  position: { partition: 0, at: String(at) },
  appendedAt: 0,
})

/** Gives these, and then nothing more until its signal aborts. */
function feedOf(batches: Received[][], rest: Partial<Feed> = {}) {
  const stop = new AbortController()
  const committed: Position[] = []
  const feed: Feed = {
    signal: stop.signal,
    next: () =>
      batches.length > 0
        ? Promise.resolve(batches.shift())
        : new Promise(resolve => stop.signal.addEventListener('abort', () => resolve(undefined))),
    commit: async position => void committed.push(position),
    ...rest,
  }
  return { feed, stop, committed }
}

const options = { mode: 'key-shared', maxUnacked: 10, deadLetter: async () => {} } as const

test('ends with what made a dead letter impossible, although nothing more comes', async () => {
  const refused = new WeftError('NOT_FOUND', 'there is no such topic')
  const subscription = new Subscription({ ...options, deadLetter: () => Promise.reject(refused) }, () => {
    throw new WeftError('INVALID', 'never')
  })
  await expect(subscription.serve(feedOf([[received(0)]]).feed)).rejects.toBe(refused)
})

test('ends only when nothing is in flight any more, also when its feed fails', async () => {
  const [begun, finish] = [gate(), gate()]
  let handled = 0
  const subscription = new Subscription(options, async () => {
    begun.open()
    await finish.promise
    handled++
  })
  const batches = [[received(0)]]
  const { feed } = feedOf(batches, {
    next: async () => {
      const batch = batches.shift()
      if (batch) return batch
      await begun.promise
      throw new WeftError('UNAVAILABLE', 'away')
    },
  })
  let ended = false
  const serving = subscription.serve(feed).finally(() => {
    ended = true
  })
  serving.catch(() => {})
  await begun.promise
  await new Promise(setImmediate)
  expect(ended).toBe(false)
  finish.open()
  await expect(serving).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  expect(handled).toBe(1)
})
