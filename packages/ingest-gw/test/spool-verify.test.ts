import { appendFile, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { bytes, HEADERS, type Message } from '@weft/transport'
import { expect, test } from 'vitest'
import { describeFault, repairSpool, verifySpool } from '../src/index.ts'
import { segmentNames } from '../src/spool/scan.ts'
import { Spool } from '../src/spool/spool.ts'
import { makeDirectory } from './fixture.ts'

const message = (n: number): Message => ({
  key: bytes('k'),
  value: bytes(`v-${n}`),
  time: n,
  headers: [[HEADERS.tenant, bytes(n % 3 ? 'aurora' : 'birch')]],
})
const openSpool = (directory: string, onFault = (_: { kind: string }) => {}) =>
  Spool.open({ directory, cluster: 'one', reserveBytes: 0, segmentBytes: 200, onFault })

/** Twelve events in several segments; resolves to their names. */
async function fill(directory: string): Promise<string[]> {
  await using spool = await openSpool(directory)
  for (let n = 0; n < 12; n++) await spool.write([message(n)])
  return await segmentNames(directory)
}

async function drained(directory: string): Promise<{ times: number[]; faults: string[] }> {
  const times: number[] = []
  const faults: string[] = []
  await using spool = await openSpool(directory, ({ kind }) => faults.push(kind))
  for (let batch = await spool.next(1000); batch; batch = await spool.next(1000)) {
    times.push(...batch.messages.map(({ time }) => time))
    await spool.done(batch.last, batch.messages.length)
  }
  expect(spool.isEmpty).toBe(true)
  return { times, faults }
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

async function flip(path: string, at: number): Promise<void> {
  const content = await readFile(path)
  const place = at < 0 ? content.length + at : at
  content[place] = (content[place] as number) ^ 4
  await writeFile(path, content)
}

test('tells what waits, of whom, since when and for which log, also while a gateway has it', async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  const names = await fill(directory)
  const from = Date.now() - 60_000
  await using spool = await openSpool(directory)
  const batch = await spool.next(1)
  await spool.done(batch?.last as number, 1)
  const report = await verifySpool(directory)
  expect(report).toMatchObject({
    cluster: 'one',
    segments: names.length,
    bytes: spool.bytes,
    waiting: 11,
    replayed: 1,
    tenants: { aurora: 8, birch: 3 },
    faults: [],
    markLost: false,
    givenUp: 0,
    setAside: [],
  })
  expect(report.oldestAt).toBeGreaterThan(from)
  await expect(repairSpool(directory)).rejects.toThrow('in use by process')
  await expect(verifySpool(join(directory, 'nowhere'))).rejects.toThrow('there is no spool in')
})

test('a repair cuts what is torn and says how much', async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  const last = (await fill(directory)).at(-1) as string
  await appendFile(join(directory, last), Uint8Array.of(0x91, 0x7d, 0xc0, 0x5e, 1, 2, 3))
  const { faults } = await verifySpool(directory)
  expect(faults.map(({ kind }) => kind)).toEqual(['torn'])
  expect(await repairSpool(directory)).toEqual([{ segment: last, action: 'cut', bytes: 7 }])
  expect((await verifySpool(directory)).faults).toEqual([])
  expect(await drained(directory)).toEqual({ times: upTo(12), faults: [] })
})

test('a repair keeps damaged segments aside, and what is left of them is replayed without a fault', async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  const names = await fill(directory)
  const damaged = names[0] as string
  await flip(join(directory, damaged), -3)
  await rm(join(directory, names[2] as string))
  const original = await readFile(join(directory, damaged))
  const before = await verifySpool(directory)
  // The last record of a segment: where it ends only its successor tells.
  expect(before.faults.map(({ kind }) => kind)).toEqual(['damaged', 'missing', 'missing'])
  const [, lost, gone] = before.faults
  expect(describeFault(before.faults[0] as typeof lost & object)).toContain(damaged)
  const repairs = await repairSpool(directory)
  expect(repairs.map(({ action }) => action)).toEqual(['rewritten', 'marked', 'marked'])
  const [aside] = await readdir(join(directory, 'set-aside'))
  expect(await readFile(join(directory, 'set-aside', aside as string))).toEqual(original)
  const after = await verifySpool(directory)
  expect(after).toMatchObject({ faults: [], setAside: [{ bytes: original.length }] })
  const missing = [lost, gone].flatMap(fault =>
    upTo((fault?.last as number) - (fault?.first as number) + 1).map(n => n + (fault?.first as number) - 1),
  )
  expect(after.givenUp).toBe(missing.length)
  expect(await repairSpool(directory)).toEqual([])
  expect(await drained(directory)).toEqual({ times: upTo(12).filter(n => !missing.includes(n)), faults: [] })
})

test('a repair mends damage anywhere in a segment, and numbers go on behind it', async () => {
  await using pattern = await makeDirectory()
  const [first = ''] = await fill(String(pattern))
  const { length } = await readFile(join(String(pattern), first))
  for (let at = 2; at < length; at += 17) {
    await using made = await makeDirectory()
    const directory = String(made)
    await fill(directory)
    await flip(join(directory, first), at)
    expect((await verifySpool(directory)).faults.length).toBeGreaterThan(0)
    await repairSpool(directory)
    const { faults, waiting, givenUp } = await verifySpool(directory)
    expect([faults, waiting + givenUp]).toEqual([[], 12])
    {
      await using spool = await openSpool(directory)
      await spool.write([message(12)])
    }
    const { times, faults: met } = await drained(directory)
    expect(met).toEqual([])
    expect(times).toHaveLength(waiting + 1)
    expect(times.at(-1)).toBe(12)
  }
})

test('a spool of nothing but damage is repaired to an empty one', async () => {
  await using made = await makeDirectory()
  const directory = String(made)
  {
    await using spool = await openSpool(directory)
    await spool.write([message(0)])
  }
  const [name = ''] = await segmentNames(directory)
  await writeFile(join(directory, name), 'nothing that was ever a segment')
  expect(await repairSpool(directory)).toMatchObject([{ segment: name, action: 'rewritten' }])
  expect(await verifySpool(directory)).toMatchObject({ segments: 0, waiting: 0, faults: [], setAside: [{}] })
  await truncate(join(directory, 'replayed'), 0)
  expect((await verifySpool(directory)).markLost).toBe(false)
  await writeFile(join(directory, 'replayed'), Buffer.alloc(40, 3))
  expect((await verifySpool(directory)).markLost).toBe(true)
})
