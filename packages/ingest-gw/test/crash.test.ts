import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from '@weft/transport'
import { afterEach, expect, test } from 'vitest'
import { logged, makeDirectory, pageView, send } from './fixture.ts'

const ROUNDS = 10
const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))

function random(state: number): () => number {
  let a = state
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const children = new Set<ChildProcess>()
afterEach(() => {
  for (const child of children) child.kill('SIGKILL')
})

async function start(directory: string, name: string, killAfter = 0): Promise<{ child: ChildProcess; url: string }> {
  const script = fileURLToPath(new URL('gateway-process.ts', import.meta.url))
  const child = spawn(process.execPath, [script, directory, name, String(killAfter)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  const [line] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'exit')])
  if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}`)
  return { child, url: `${String(line).trim()}/v1/events` }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGTERM')
  await once(child, 'exit')
}

test(`an event whose answer was lost in a crash is stored once, ${ROUNDS} kills between append and answer`, {
  timeout: 180_000,
}, async () => {
  const next = random(seed)
  console.info(`crash test: WEFT_SEED=${seed}`)
  await using made = await makeDirectory()
  const directory = String(made)
  /** What was promised: these were answered as stored. */
  const answered = new Set<string>()
  const batches = Array.from({ length: ROUNDS * 4 }, (_, batch) =>
    Array.from({ length: 1 + Math.floor(next() * 5) }, (_, n) =>
      pageView({ event_id: `e-${batch}-${n}`, session_id: `s-${Math.floor(next() * 20)}` }),
    ),
  )
  const lost: string[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    const last = round === ROUNDS
    const { child, url } = await start(directory, 'gateway', last ? 0 : 1 + Math.floor(next() * 2))
    const death = once(child, 'exit')
    // Everything that has no answer yet, lost ones included, is sent again; several at a time.
    const open = batches.filter(batch => batch.some(({ event_id }) => !answered.has(event_id ?? '')))
    const some = last ? open : open.slice(0, 6)
    for (const part of [some.slice(0, 3), some.slice(3)]) {
      const sending = part.map(async batch => {
        try {
          const { status, body } = await send(url, batch)
          expect(status).toBe(202)
          for (const { event_id } of body.results) answered.add(event_id)
        } catch (error) {
          // What fetch throws when the connection is lost.
          if (!(error instanceof TypeError)) throw error
          lost.push(`round ${round}`)
        }
      })
      await Promise.all(sending)
    }
    if (last) await stop(child)
    else {
      // All that was sent may have been in the log already; then it has not killed itself.
      child.kill('SIGKILL')
      await death
    }
  }
  expect(lost.length).toBeGreaterThanOrEqual(ROUNDS / 2)
  const sent = batches.flat().map(event => event.event_id as string)
  expect([...answered].sort()).toEqual([...sent].sort())
  await using transport = await open(`embedded:${join(directory, 'store')}`)
  expect((await logged(transport)).map(({ event }) => event.event_id).sort()).toEqual([...sent].sort())
})

test('a repeat sent to another gateway on the same store is a duplicate once that one has read the log', {
  timeout: 60_000,
}, async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  const [one, two] = [await start(directory, 'one'), await start(directory, 'two')]
  try {
    const event = pageView({ event_id: 'shared' })
    expect((await send(one.url, event)).body.status).toBe('accepted')
    await expect.poll(async () => (await send(two.url, event)).body.status, { timeout: 10_000 }).toBe('duplicate')
    expect((await send(one.url, event)).body.status).toBe('duplicate')
  } finally {
    await Promise.all([stop(one.child), stop(two.child)])
  }
})

test('a store that is put back to an earlier state takes again what it no longer has', {
  timeout: 60_000,
}, async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  const [store, copy] = [join(directory, 'store'), join(directory, 'copy')]
  const before = await start(directory, 'gateway')
  expect((await send(before.url, pageView({ event_id: 'kept' }))).status).toBe(202)
  await stop(before.child)
  await cp(store, copy, { recursive: true })
  const after = await start(directory, 'gateway')
  const headers = { 'idempotency-key': 'lost' }
  expect((await send(after.url, pageView({ event_id: 'lost' }), headers)).status).toBe(202)
  await stop(after.child)
  await rm(store, { recursive: true })
  await cp(copy, store, { recursive: true })
  const again = await start(directory, 'gateway')
  expect((await send(again.url, pageView({ event_id: 'kept' }))).body.status).toBe('duplicate')
  expect((await send(again.url, pageView({ event_id: 'lost' }), headers)).body.status).toBe('accepted')
  await stop(again.child)
})
