import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, utimesSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bytes, openEmbedded } from '../src/index.ts'
import { LmdbGate } from '../src/lmdb-gate.ts'
import { hostProcess } from '../src/processes.ts'

let directory: string
let other: ChildProcess
/** Of this process, and of the other one. */
let mine: LmdbGate
let theirs: LmdbGate
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weft-gate-'))
  other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9)'], { stdio: 'ignore' })
  await once(other, 'spawn')
  mine = new LmdbGate(directory)
  theirs = new LmdbGate(directory, hostProcess(other.pid))
})
afterEach(async () => {
  await killOther()
  await rm(directory, { recursive: true })
})

async function killOther(): Promise<void> {
  if (other.signalCode !== null) return
  other.kill('SIGKILL')
  await once(other, 'exit')
}

const isTold = () => existsSync(join(directory, 'gate', 'opening'))

/** The gate taken for opening, until it is told to end. */
async function hold(gate: LmdbGate): Promise<() => void> {
  const held = Promise.withResolvers<void>()
  const { promise, resolve } = Promise.withResolvers<void>()
  void gate.close(() => {
    held.resolve()
    return promise
  })
  await held.promise
  return resolve
}

const waits = async (promise: Promise<unknown>) =>
  (await Promise.race([promise.then(() => 'done'), sleep(100, 'waits')])) === 'waits'

test('an opening waits for the commit that is under way, and lets others begin meanwhile', async () => {
  await theirs.enter()
  let opened = false
  const opening = mine.open(() => {
    opened = true
  })
  await expect.poll(isTold, { interval: 1 }).toBe(true)
  await expect.poll(isTold, { interval: 1 }).toBe(false)
  expect(opened).toBe(false)
  theirs.leave()
  await opening
  expect(opened).toBe(true)
})

test('a commit waits for the opening that is under way, and none is held up behind it', async () => {
  const end = await hold(theirs)
  const entered = mine.enter() as Promise<void>
  expect(await waits(entered)).toBe(true)
  end()
  await entered
  mine.leave()
  await expect.poll(isTold).toBe(false)
  expect(mine.enter()).toBe(undefined)
})

test('one of several that open or close has its turn at a time', async () => {
  let at = 0
  let most = 0
  const gates = Array.from({ length: 8 }, () => new LmdbGate(directory))
  await Promise.all(
    gates.map(gate =>
      gate.close(async () => {
        most = Math.max(most, ++at)
        await sleep(2)
        at--
      }),
    ),
  )
  expect(most).toBe(1)
  expect(isTold()).toBe(false)
})

test('what a process had told that is gone counts for nothing, and is cleared away', async () => {
  await theirs.enter()
  await hold(new LmdbGate(directory, hostProcess(other.pid)))
  await killOther()
  await mine.open(() => {})
  await mine.enter()
  expect(isTold()).toBe(false)
  expect(readdirSync(join(directory, 'gate', 'committing')).length).toBe(1)
})

test('a process of another namespace counts for nothing once it did not touch its file for a while', async () => {
  const far = new LmdbGate(directory, { ...hostProcess(other.pid), namespace: 'another' })
  await far.enter()
  const opening = mine.open(() => {})
  expect(await waits(opening)).toBe(true)
  const committing = join(directory, 'gate', 'committing')
  for (const name of readdirSync(committing)) utimesSync(join(committing, name), 0, 0)
  await opening
  expect(readdirSync(committing)).toEqual([])
  await far.enter()
  expect(readdirSync(committing).length).toBe(1)
})

test('a store is not opened while another process commits', async () => {
  await theirs.enter()
  const opening = openEmbedded(`embedded:${directory}`)
  expect(await waits(opening)).toBe(true)
  expect(existsSync(join(directory, 'data.mdb'))).toBe(false)
  theirs.leave()
  await using transport = await opening
  expect(await transport.admin.topics()).toEqual([])
})

test('a store commits nothing while another process opens it, also if that was stopped, until it is killed', async () => {
  await using transport = await openEmbedded(`embedded:${directory}`)
  const topic = { name: 'events' }
  await transport.admin.ensure([{ topic, partitions: 1 }])
  await hold(theirs)
  other.kill('SIGSTOP')
  const appending = transport.append(topic, [{ value: bytes('v'), time: 0 }])
  expect(await waits(appending)).toBe(true)
  expect((await transport.admin.describe(topic)).end).toEqual([{ partition: 0, at: '-1' }])
  await killOther()
  expect(await appending).toEqual([{ partition: 0, at: '0' }])
})
