import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { open } from '@weft/transport'
import { afterEach, expect, test } from 'vitest'
import { logged, makeDirectory, pageView, send } from './fixture.ts'
import type { Outage } from './outage.ts'

const ROUNDS = 8
const SESSIONS = 6
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

async function start(directory: string): Promise<{ child: ChildProcess; url: string }> {
  const script = fileURLToPath(new URL('spooling-process.ts', import.meta.url))
  const child = spawn(process.execPath, [script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  child.once('exit', () => children.delete(child))
  const [line] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), once(child, 'exit')])
  if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}`)
  return { child, url: `${String(line).trim()}/v1/events` }
}

test(`nothing that was answered is lost and keys keep their order over ${ROUNDS} kills of a gateway that spools`, {
  timeout: 240_000,
}, async () => {
  const next = random(seed)
  console.info(`spool kill test: WEFT_SEED=${seed}`)
  await using made = await makeDirectory()
  const directory = String(made)
  const outage = async (now: Outage) => {
    await writeFile(join(directory, 'outage.new'), now)
    await rename(join(directory, 'outage.new'), join(directory, 'outage'))
  }
  await outage('well')
  /** Per session, what was answered, in the order of the answers; an unanswered event is sent again before the next. */
  const answered = Array.from({ length: SESSIONS }, (): string[] => [])
  let spooled = 0
  for (let round = 0; round < ROUNDS; round++) {
    const { child, url } = await start(directory)
    const death = once(child, 'exit')
    let going = true
    const senders = answered.map(async (ids, s) => {
      while (going) {
        const events = Array.from({ length: 1 + Math.floor(next() * 4) }, (_, n) =>
          pageView({ event_id: `${s}-${ids.length + n}`, session_id: `s-${s}` }),
        )
        const answer = await send(url, events).catch(error => {
          // What fetch throws when the connection is lost.
          if (error instanceof TypeError) return undefined
          throw error
        })
        if (!answer) return
        expect(answer.status).toBe(202)
        spooled += answer.body.spooled ?? 0
        ids.push(...events.map(({ event_id }) => event_id as string))
      }
    })
    const turns = (['refused', 'unanswered', 'silent', 'well'] as const).map(state => ({ state, at: next() }))
    for (const { state } of turns.sort((a, b) => a.at - b.at)) {
      await outage(state)
      await delay(next() * 250)
    }
    child.kill('SIGKILL')
    going = false
    await death
    await Promise.all(senders)
  }
  expect(spooled).toBeGreaterThan(20)
  await outage('well')
  const { child } = await start(directory)
  const spool = join(directory, 'spool')
  const segments = async () => (await readdir(spool)).filter(name => name.endsWith('.spool')).length
  await expect.poll(segments, { timeout: 60_000 }).toBe(0)
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(await readdir(spool)).not.toContain('set-aside')
  await using transport = await open(`embedded:${join(directory, 'store')}`)
  const firsts = Array.from({ length: SESSIONS }, () => new Set<string>())
  for (const { event } of await logged(transport)) firsts[Number(event.session_id?.slice(2))]?.add(event.event_id)
  for (const [s, ids] of answered.entries()) {
    const stored = [...(firsts[s] ?? [])]
    // Of the last request of a session the answer may be what was lost.
    expect(stored.slice(0, ids.length)).toEqual(ids)
    expect(stored.length - ids.length).toBeLessThan(5)
  }
})
