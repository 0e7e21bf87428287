import { readdir, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { bytes, type Message, text } from '@weft/transport'
import { expect, test } from 'vitest'
import { segmentNames } from '../src/spool/scan.ts'
import { Spool, type SpoolOptions } from '../src/spool/spool.ts'
import { makeDirectory } from './fixture.ts'

const message = (n: number, size = 0): Message => ({
  key: bytes(`k-${n % 3}`),
  value: bytes(`v-${n}${' '.repeat(size)}`),
  time: n,
  headers: [
    ['weft-tenant', bytes('aurora')],
    ['blob', Uint8Array.of(0, 255, n)],
  ],
  schema: { subject: 'events.raw.v1', version: 1 },
})
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => message(from + n))

function spoolIn(directory: string, options: Partial<SpoolOptions> = {}): Promise<Spool> {
  return Spool.open({ directory, cluster: 'one', reserveBytes: 0, ...options })
}

/** Everything that waits, marked as replayed batch by batch. */
async function drain(spool: Spool, maxBytes = 500): Promise<Message[]> {
  const messages: Message[] = []
  for (let batch = await spool.next(maxBytes); batch; batch = await spool.next(maxBytes)) {
    messages.push(...batch.messages)
    await spool.done(batch.last, batch.messages.length)
  }
  return messages
}

const numbers = (messages: readonly Message[]) => messages.map(({ time }) => time)
const hex = (each: Uint8Array | null | undefined) => each && Buffer.from(each).toString('hex')
const plain = ({ key, value, headers, ...rest }: Message) => ({
  ...rest,
  key: hex(key),
  value: hex(value),
  headers: headers?.map(([name, value]) => [name, hex(value)]),
})
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

test('what was written comes out whole and in order, over segments and restarts, and then nothing is left', async () => {
  await using directory = await makeDirectory()
  const options = { segmentBytes: 1000 }
  {
    await using spool = await spoolIn(String(directory), options)
    await Promise.all([spool.write(range(0, 5)), spool.write(range(5, 6)), spool.write(range(6, 20))])
    for (let n = 20; n < 40; n++) await spool.write(range(n, n + 1))
    expect((await segmentNames(String(directory))).length).toBeGreaterThan(2)
    const batch = await spool.next(1)
    expect(batch?.messages.map(plain)).toEqual([message(0)].map(plain))
    await spool.done(batch?.last as number, 1)
    // Read, and not marked: comes again.
    await spool.next(1)
  }
  const waiting: unknown[] = []
  const onWaiting = (each: Message) => void waiting.push(plain(each))
  await using spool = await spoolIn(String(directory), { ...options, onWaiting })
  expect(spool.events).toBe(39)
  await spool.write(range(40, 45))
  const drained = await drain(spool)
  expect(numbers(drained)).toEqual(upTo(45).slice(1))
  expect(waiting).toEqual(range(1, 40).map(plain))
  expect(drained.map(plain)).toEqual(range(1, 45).map(plain))
  expect([spool.isEmpty, spool.events, spool.bytes, spool.oldestAt]).toEqual([true, 0, 0, undefined])
  expect(await segmentNames(String(directory))).toEqual([])
  await spool.write(range(45, 46))
  expect(numbers(await drain(spool))).toEqual([45])
})

test('messages without key, schema or headers, tombstones, empty and binary ones come out as they were', async () => {
  await using directory = await makeDirectory()
  await using spool = await spoolIn(String(directory))
  const kinds: Message[] = [
    { value: null, time: -1, headers: [] },
    { key: new Uint8Array(0), value: new Uint8Array(0), time: 0, headers: [] },
    { key: Uint8Array.of(0), value: new Uint8Array(1 << 20).fill(0x5e), time: 2 ** 52, headers: [['', bytes('')]] },
  ]
  await spool.write(kinds)
  expect((await drain(spool)).map(plain)).toEqual(kinds.map(plain))
})

test('a torn tail is cut wherever it was torn, and everything before it stays', async () => {
  await using directory = await makeDirectory()
  {
    await using spool = await spoolIn(String(directory))
    await spool.write(range(0, 3))
  }
  const [name = ''] = await segmentNames(String(directory))
  const path = join(String(directory), name)
  const whole = await readFile(path)
  const lengthOfRecord = await (async () => {
    await using made = await makeDirectory()
    await using spool = await spoolIn(String(made))
    await spool.write(range(0, 2))
    const two = spool.bytes
    await spool.write(range(2, 3))
    return spool.bytes - two
  })()
  for (let cut = 1; cut < lengthOfRecord; cut += 7) {
    await writeFile(path, whole.subarray(0, whole.length - cut))
    const faults: string[] = []
    {
      await using spool = await spoolIn(String(directory), { onFault: ({ kind }) => faults.push(kind) })
      expect(spool.events).toBe(2)
    }
    expect(faults).toEqual(['torn'])
    // Cut for good: the next start finds nothing wrong.
    await using again = await spoolIn(String(directory), { onFault: ({ kind }) => faults.push(kind) })
    expect([again.events, faults.length]).toEqual([2, 1])
  }
  await writeFile(path, Buffer.concat([whole, Buffer.alloc(4096)]))
  await using spool = await spoolIn(String(directory))
  expect(numbers(await drain(spool))).toEqual([0, 1, 2])
})

test('a segment that was torn in its head, or is empty, holds nothing and is in nobody’s way', async () => {
  for (const bytesLeft of [0, 1, 9, 20]) {
    await using directory = await makeDirectory()
    {
      await using spool = await spoolIn(String(directory))
      await spool.write(range(0, 1))
    }
    const [name = ''] = await segmentNames(String(directory))
    await truncate(join(String(directory), name), bytesLeft)
    await using spool = await spoolIn(String(directory))
    await spool.write(range(1, 3))
    expect(numbers(await drain(spool))).toEqual([1, 2])
    expect(spool.isEmpty).toBe(true)
  }
})

test('a flipped bit anywhere loses the record that it hits and no other, is told with its place, and the file is kept', async () => {
  await using directory = await makeDirectory()
  {
    await using spool = await spoolIn(String(directory))
    await spool.write(range(0, 4))
  }
  const [name = ''] = await segmentNames(String(directory))
  const path = join(String(directory), name)
  const whole = await readFile(path)
  for (let at = 3; at < whole.length; at += 11) {
    const flipped = Buffer.from(whole)
    flipped[at] = (flipped[at] as number) ^ 0x10
    await rm(String(directory), { recursive: true, maxRetries: 5 })
    const faults: { kind: string; segment: string; from: number; to: number; first: number; last: number }[] = []
    {
      await using fresh = await spoolIn(String(directory))
      expect(fresh.events).toBe(0)
    }
    await writeFile(path, flipped)
    await using spool = await spoolIn(String(directory), { onFault: fault => faults.push(fault) })
    const left = numbers(await drain(spool))
    expect(faults).toHaveLength(1)
    const [fault] = faults
    expect(fault).toMatchObject({ kind: 'damaged', segment: name })
    expect(fault?.from).toBeLessThanOrEqual(at)
    expect(fault?.to).toBeGreaterThan(at)
    // Records have the sequences 1 to 4. Of the last one it cannot be known that it was one; of the head none is lost.
    const lost = upTo(4).filter(n => !left.includes(n))
    if ((fault?.last as number) >= (fault?.first as number)) expect(lost).toEqual([(fault?.first as number) - 1])
    else expect(lost).toEqual((fault?.from as number) === 0 ? [] : [3])
    expect(spool.isEmpty).toBe(true)
    const kept = await readdir(join(String(directory), 'set-aside'))
    expect(kept).toHaveLength(1)
    expect(await readFile(join(String(directory), 'set-aside', kept[0] as string))).toEqual(flipped)
    await spool.write(range(9, 10))
    expect(numbers(await drain(spool))).toEqual([9])
  }
})

test('damage that comes while it is open is passed over with its place when it is read', async () => {
  await using directory = await makeDirectory()
  const faults: { kind: string; first: number; last: number }[] = []
  await using spool = await spoolIn(String(directory), { segmentBytes: 300, onFault: fault => faults.push(fault) })
  for (let n = 0; n < 12; n++) await spool.write(range(n, n + 1))
  const names = await segmentNames(String(directory))
  expect(names.length).toBeGreaterThan(3)
  const path = join(String(directory), names[1] as string)
  const damaged = await readFile(path)
  damaged[damaged.length - 5] = (damaged[damaged.length - 5] as number) ^ 1
  await writeFile(path, damaged)
  await rm(join(String(directory), names[2] as string))
  const left = numbers(await drain(spool))
  expect(faults.map(({ kind }) => kind)).toEqual(['damaged', 'missing'])
  const lost = upTo(12).filter(n => !left.includes(n))
  expect(faults.flatMap(({ first, last }) => upTo(last - first + 1).map(n => first + n - 1))).toEqual(lost)
  expect(spool.isEmpty).toBe(true)
})

test('a missing segment is told with the records that it held', async () => {
  await using directory = await makeDirectory()
  {
    await using spool = await spoolIn(String(directory), { segmentBytes: 300 })
    for (let n = 0; n < 12; n++) await spool.write(range(n, n + 1))
  }
  const names = await segmentNames(String(directory))
  await rm(join(String(directory), names[1] as string))
  const faults: { kind: string; first: number; last: number }[] = []
  await using spool = await spoolIn(String(directory), { onFault: fault => faults.push(fault) })
  const left = numbers(await drain(spool))
  expect(faults).toHaveLength(1)
  const [{ kind, first, last } = { kind: '', first: 0, last: 0 }] = faults
  expect(kind).toBe('missing')
  expect(left).toEqual(upTo(12).filter(n => n < first - 1 || n > last - 1))
  expect(spool.isEmpty).toBe(true)
})

test('is refused beyond its bound, takes again what was replayed, and never grows beyond it', async () => {
  await using directory = await makeDirectory()
  const maxBytes = 20_000
  await using spool = await spoolIn(String(directory), { maxBytes, segmentBytes: 2000 })
  let kept = 0
  const writing = Array.from({ length: 400 }, (_, n) => spool.write(range(n, n + 1)).then(() => void kept++))
  const outcomes = await Promise.allSettled(writing)
  expect(kept).toBeGreaterThan(50)
  expect(kept).toBeLessThan(400)
  const refused = outcomes.filter(each => each.status === 'rejected')
  expect(refused[0]?.reason).toMatchObject({ code: 'UNAVAILABLE', retryable: true })
  const sizes = async () => {
    const names = await segmentNames(String(directory))
    const files = await Promise.all(names.map(name => readFile(join(String(directory), name))))
    return files.reduce((sum, file) => sum + file.length, 0)
  }
  expect(await sizes()).toBe(spool.bytes)
  expect(spool.bytes).toBeLessThanOrEqual(maxBytes)
  const batch = await spool.next(5000)
  await spool.done(batch?.last as number, batch?.messages.length as number)
  await spool.write(range(1000, 1001))
  expect(numbers(await drain(spool)).at(-1)).toBe(1000)
})

test('leaves the reserve of the disk free', async () => {
  await using directory = await makeDirectory()
  const { bavail, bsize } = await statfs(String(directory))
  await using spool = await spoolIn(String(directory), { reserveBytes: bavail * bsize * 2 })
  await expect(spool.write(range(0, 1))).rejects.toThrow('the disk of the spool')
  expect(await segmentNames(String(directory))).toEqual([])
  expect(spool.isEmpty).toBe(true)
})

test('a second process on the directory is refused by name, and the directory is free again afterwards', async () => {
  await using directory = await makeDirectory()
  {
    await using _first = await spoolIn(String(directory))
    await expect(spoolIn(String(directory))).rejects.toThrow(`in use by process ${process.pid} on`)
  }
  await using again = await spoolIn(String(directory))
  expect(again.isEmpty).toBe(true)
})

test('what waits for one log is not replayed to another', async () => {
  await using directory = await makeDirectory()
  {
    await using spool = await spoolIn(String(directory))
    await spool.write(range(0, 1))
  }
  await expect(spoolIn(String(directory), { cluster: 'two' })).rejects.toThrow('for the log one, and this is two')
  {
    await using spool = await spoolIn(String(directory))
    expect((await drain(spool)).map(({ value }) => text(value as Uint8Array))).toEqual(['v-0'])
  }
  await using other = await spoolIn(String(directory), { cluster: 'two' })
  expect(other.isEmpty).toBe(true)
})

test('without its mark of what was replayed, all that is there is replayed', async () => {
  await using directory = await makeDirectory()
  {
    await using spool = await spoolIn(String(directory))
    await spool.write(range(0, 6))
    const batch = await spool.next(1)
    await spool.done(batch?.last as number, 1)
  }
  await writeFile(join(String(directory), 'replayed'), Buffer.alloc(40, 7))
  await using spool = await spoolIn(String(directory))
  expect(numbers(await drain(spool))).toEqual(upTo(6))
})
