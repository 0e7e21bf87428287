import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bodyOf, contents, random } from '../src/conformance/observe.ts'
import { bytes, openEmbedded, type Received, text } from '../src/index.ts'
import { pagesOf } from './lmdb-pages.ts'

const topic = { name: 'events' }
let directory: string
let url: string
let children: { readonly pid: number; readonly told: readonly unknown[][]; kill(): Promise<void> }[]
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'weft-processes-'))
  url = `embedded:${directory}`
  children = []
})
afterEach(async () => {
  await Promise.all(children.map(child => child.kill()))
  await rm(directory, { recursive: true, force: true })
})

/** The program beside this file in a process of its own. */
function start(what: string, at = url) {
  const program = fileURLToPath(new URL('embedded-program.ts', import.meta.url))
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program, at, what], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env,
  })
  const exited = once(child, 'exit')
  const said: unknown[][] = []
  const told: unknown[][] = []
  const waiting = new Set<() => void>()
  createInterface({ input: child.stdout }).on('line', line => {
    const words = JSON.parse(line)
    said.push(words)
    told.push(words)
    for (const wake of waiting) wake()
  })
  const it = {
    pid: child.pid as number,
    exited,
    /** Every line so far. */
    told,
    /** The next line that was not heard yet and that the test accepts. */
    async hears(accepts: (words: unknown[]) => boolean): Promise<unknown[]> {
      for (;;) {
        const at = said.findIndex(accepts)
        if (at >= 0) return said.splice(at, 1)[0] as unknown[]
        await new Promise<void>(resolve => waiting.add(resolve))
      }
    },
    call(line: string) {
      child.stdin.write(`${line}\n`)
      const [name] = line.split(' ')
      return it.hears(([first]) => first === name || first === 'failed')
    },
    signal(name: 'SIGSTOP' | 'SIGCONT') {
      child.kill(name)
    },
    async kill() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await exited
    },
  }
  children.push(it)
  return it
}

test('processes that open a missing store at the same moment share one, and lose nothing', async () => {
  const appenders = Array.from({ length: 5 }, () => start('append', `embedded:${directory}/new`))
  await Promise.all(appenders.map(each => each.hears(([, i]) => i === 20)))
  for (const each of appenders) await each.kill()
  await using transport = await openEmbedded(`embedded:${directory}/new`)
  const { first, end } = await transport.admin.describe(topic)
  const stored = end.reduce((sum, { at }, i) => sum + Number(at) - Number(first[i]?.at), 0)
  expect(stored).toBeGreaterThanOrEqual(5 * 21)
  expect((await transport.admin.topics()).length).toBe(1)
})

const seed = Number(process.env.WEFT_SEED ?? Math.floor(Math.random() * 2 ** 31))

test(`no commit is lost to processes that open the store, are stopped in it and killed in it (WEFT_SEED=${seed})`, async () => {
  const chance = random(seed)
  const own = { name: 'own' }
  const transport = await openEmbedded(url)
  await transport.admin.ensure([{ topic: own, partitions: 1 }])
  const others = [start('open'), start('open'), start('append')]
  let next = 0
  let atWork = false
  void Promise.all(others.map(each => each.hears(([, i]) => i === 1))).then(() => {
    atWork = true
  })
  const append = async () => {
    const positions = await transport.append(own, [{ value: bytes(`${next}`), time: 0 }])
    expect(positions).toEqual([{ partition: 0, at: `${next++}` }])
  }
  while (!atWork) await append()
  const openings = () => children.reduce((sum, { told }) => sum + told.filter(([word]) => word === 'opened').length, 0)
  for (let round = 1; openings() < 100; round++) {
    const i = Math.floor(chance() * others.length)
    const other = others[i] as (typeof others)[number]
    if (round % 100 === 0) {
      await other.kill()
      others[i] = start(i === 2 ? 'append' : 'open')
    }
    const stopped = chance() < 0.1
    if (stopped) other.signal('SIGSTOP')
    // Who was stopped while it opens or commits holds up the others.
    const committed = append()
    await Promise.race([committed, sleep(5)])
    if (stopped) other.signal('SIGCONT')
    await committed
  }
  await Promise.all(children.map(child => child.kill()))
  expect((await contents(transport, own)).map(bodyOf)).toEqual(Array.from({ length: next }, (_, i) => `${i}`))
  const theirs = new Set((await contents(transport, topic)).map(bodyOf))
  const told = children.flatMap(({ pid, told }) => told.map(([word, i]) => (word === 'appended' ? `${pid}.${i}` : '')))
  expect(told.filter(value => value && !theirs.has(value))).toEqual([])
  await transport[Symbol.asyncDispose]()
  expect(pagesOf(join(directory, 'data.mdb')).faults).toEqual([])
})

test('a reader sees what another process appends', async () => {
  await using transport = await openEmbedded(url)
  await transport.admin.ensure([{ topic, partitions: 4 }])
  const reading = transport.read(topic, { from: 'latest' })[Symbol.asyncIterator]()
  const other = start('calls')
  await other.hears(([word]) => word === 'ready')
  for (const value of ['a', 'b', 'c']) {
    const next = reading.next()
    await other.call(`append ${value}`)
    expect(((await next).value as Received[]).map(each => text(each.value as Uint8Array))).toEqual([value])
  }
})

test('what a killed process had is taken over at once, long before its session ends', async () => {
  url += '?sessionMs=3600000'
  const member = start('member')
  await member.hears(([word]) => word === 'joined')
  await using transport = await openEmbedded(url)
  const handled = Promise.withResolvers<string>()
  await using running = await transport.subscribe(topic, { group: 'g' }, ({ value }) =>
    handled.resolve(text(value as Uint8Array)),
  )
  await member.kill()
  const partitions = async () => (await running.lag()).length
  while ((await partitions()) < 4) await new Promise(setImmediate)
  await transport.append(topic, [{ key: bytes('k'), value: bytes('v'), time: 0 }])
  expect(await handled.promise).toBe('v')
})

test('a full disk rejects, keeps what it had, and takes more when there is room again', async () => {
  const child = start('calls')
  await child.hears(([word]) => word === 'ready')
  for (let i = 0; i < 10; i++) expect(await child.call(`append ${i}`)).toEqual(['append', null])
  execFileSync('prlimit', ['--pid', String(child.pid), '--fsize=4096:unlimited'])
  const refused = await child.call('append lost')
  expect(refused).toEqual(['failed', 'UNAVAILABLE', expect.stringContaining('could not write')])
  execFileSync('prlimit', ['--pid', String(child.pid), '--fsize=unlimited:unlimited'])
  expect(await child.call('append more')).toEqual(['append', null])
  await child.kill()
  await using transport = await openEmbedded(url)
  const { end } = await transport.admin.describe(topic)
  expect(end.reduce((sum, { at }) => sum + Number(at) + 1, 0)).toBe(11)
})

test('a failure after which LMDB is of no more use to the process is got over by opening the store anew', async () => {
  const child = start('calls')
  await child.hears(([word]) => word === 'ready')
  await child.call('append before')
  expect(await child.call('breakDisk')).toEqual(['breakDisk', 2])
  expect(await child.call('append lost')).toEqual(['failed', 'UNAVAILABLE', expect.stringContaining('could not write')])
  expect(await child.call('append after')).toEqual(['append', null])
  await child.kill()
  await using transport = await openEmbedded(url)
  const { end } = await transport.admin.describe(topic)
  expect(end.reduce((sum, { at }) => sum + Number(at) + 1, 0)).toBe(2)
})

test('a process that exits in the middle of its writes ends at once, and holds up no other', async () => {
  const exits = Array.from({ length: 6 }, () => start('exit'))
  await using transport = await openEmbedded(url)
  await transport.admin.ensure([{ topic, partitions: 4 }])
  for (const each of exits) {
    expect(await each.exited).toEqual([3, null])
    await transport.append(topic, [{ key: bytes('k'), value: bytes('v'), time: 0 }])
  }
})

test('a process that ends in order leaves no session behind', async () => {
  const transport = await openEmbedded(url)
  await transport.admin.ensure([{ topic, partitions: 1 }])
  await transport.subscribe(topic, { group: 'g' }, () => {})
  expect((await readdir(join(directory, 'sessions'))).length).toBeGreaterThan(0)
  await transport[Symbol.asyncDispose]()
  expect(existsSync(join(directory, 'sessions')) && (await readdir(join(directory, 'sessions')))).toEqual([])
})

test('a member that was killed is no longer named as who has its partitions, though nobody has taken them', async () => {
  await using transport = await openEmbedded(url)
  const member = start('member')
  const owned = async () => (await transport.admin.groups()).filter(each => each.member !== undefined).length
  await expect.poll(owned, { timeout: 20_000 }).toBe(4)
  await member.kill()
  expect(await owned()).toBe(0)
  expect(await transport.admin.groups()).toHaveLength(4)
})
