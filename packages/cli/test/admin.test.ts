import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { bytes, open, type Transport } from '@weft/transport'
import { describe, expect, test, vi } from 'vitest'
import { type Folder, jsonLines, temporary, weft } from './spawned.ts'

const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: bytes(`k${i}`), value: bytes(String(i)), time: i }))

/** A folder with a store, in which a group has read all of a topic. */
async function scene(group: string, work: (transport: Transport) => Promise<AsyncDisposable>): Promise<Folder> {
  const folder = await temporary()
  await using transport = await open(`embedded:${path.join(folder.path, '.weft')}`)
  await transport.admin.ensure([
    { topic: { name: 'notes' }, partitions: 2, retentionMs: 3_600_000 },
    { topic: { name: 'copies' }, partitions: 1 },
  ])
  await transport.append({ name: 'notes' }, numbered(20))
  await using _running = await work(transport)
  await vi.waitFor(async () => {
    const lags = (await transport.admin.groups()).filter(lag => lag.group === group)
    expect(lags.map(({ lag }) => lag)).toEqual([0, 0])
  })
  return folder
}

const reading = () =>
  scene('readers', transport => transport.subscribe({ name: 'notes' }, { group: 'readers' }, () => {}))

describe('weft groups reset', () => {
  test('moves a group and says from where to where, with --dry-run only the latter', async () => {
    await using folder = await reading()
    const lag = async () => jsonLines((await weft(folder.path, ['groups', '--json'])).out)[0]?.lag
    const args = ['groups', 'reset', 'readers', '--to', 'earliest', '--json']
    const would = await weft(folder.path, [...args, '--dry-run'])
    expect(jsonLines(would.out)).toMatchObject([
      { group: 'readers', topic: 'notes', partition: 0, now: '-1', dryRun: true },
      { group: 'readers', topic: 'notes', partition: 1, now: '-1', dryRun: true },
    ])
    expect(await lag()).toBe(0)
    const did = await weft(folder.path, args)
    expect(jsonLines(did.out)).toEqual(jsonLines(would.out).map(row => ({ ...row, dryRun: false })))
    expect(did.code).toBe(0)
    expect(await lag()).toBe(20)
    expect((await weft(folder.path, ['groups', 'reset', 'readers', '--to', '1:3'])).out).toMatch(/notes +1 +-1 +3\n$/)
  })

  test('names the members that are at work, and the group or topic that was meant', async () => {
    await using folder = await reading()
    const log = `embedded:${path.join(folder.path, '.weft')}`
    await using transport = await open(log, { clientId: 'busy-bee' })
    await using _running = await transport.subscribe({ name: 'notes' }, { group: 'readers' }, () => {})
    const busy = await weft(folder.path, ['groups', 'reset', 'readers', '--to', 'latest'])
    expect(busy).toMatchObject({
      code: 1,
      err: 'weft: group "readers" is at work (busy-bee): stop its members first\n',
    })
    const wrong = await weft(folder.path, ['groups', 'reset', 'reders', '--to', 'latest'])
    expect(wrong).toMatchObject({ code: 4, err: 'weft: there is no group "reders", did you mean "readers"?\n' })
    const other = await weft(folder.path, ['groups', 'reset', 'readers', '--to', 'latest', '--topic', 'copies'])
    expect(other).toMatchObject({ code: 4, err: expect.stringContaining('it has in notes') })
    expect((await weft(folder.path, ['groups', 'reset', 'readers', '--to', 'soon'])).code).toBe(2)
    expect((await weft(folder.path, ['groups', 'reset', 'readers'])).code).toBe(2)
  })

  test('leaves a group that keeps state alone, unless it is told that this is meant', async () => {
    await using folder = await scene('counters', transport =>
      transport.transact([{ name: 'notes' }], { group: 'counters' }, (batch, transaction) => {
        for (const { key } of batch) transaction.set('seen', key as Uint8Array, bytes('1'))
      }),
    )
    const args = ['groups', 'reset', 'counters', '--to', 'earliest', '--json']
    const { code, err, out } = await weft(folder.path, args)
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toMatch(/keeps state.*--keep-state/)
    expect(jsonLines((await weft(folder.path, [...args, '--keep-state'])).out)).toHaveLength(2)
  })
})

describe('weft topics diff and apply', () => {
  const definition = {
    purpose: 'Notes.',
    schema: 'note.avsc',
    key: '{id}',
    partitions: 2,
    retention: '2h',
    cleanup: 'delete',
    compatibility: 'NONE',
    owner: 'tests',
    producers: ['tests'],
    consumers: ['tests'],
  }

  /** The catalogue that goes with the folder's store. */
  async function catalogue({ path: folder }: Folder, topics: Record<string, object>): Promise<void> {
    await mkdir(path.join(folder, 'schemas'), { recursive: true })
    const entries = Object.entries(topics).map(([name, rest]) => [name, { ...definition, ...rest }])
    await writeFile(
      path.join(folder, 'schemas', 'catalogue.yaml'),
      JSON.stringify({ topics: Object.fromEntries(entries) }),
    )
    const note = {
      type: 'record',
      name: 'Note',
      namespace: 'dev.weft',
      doc: 'A note.',
      fields: [{ name: 'id', type: 'string', doc: 'Its id.' }],
    }
    await writeFile(path.join(folder, 'schemas', 'note.avsc'), JSON.stringify(note))
    await writeFile(path.join(folder, 'weft.yaml'), 'schemas: schemas\n')
  }

  async function store(): Promise<Folder> {
    const folder = await temporary()
    await using transport = await open(`embedded:${path.join(folder.path, '.weft')}`)
    await transport.admin.ensure([
      { topic: { name: 'notes.v1' }, partitions: 2, retentionMs: 3_600_000, cleanup: 'delete' },
      { topic: { name: 'fixed.v1' }, partitions: 2, cleanup: 'delete' },
    ])
    return folder
  }

  test('what is missing is made and what differs is changed, once one says so', async () => {
    await using folder = await store()
    await catalogue(folder, { 'notes.v1': {}, 'new.v1': {} })
    const diff = await weft(folder.path, ['topics', 'diff', '--json'])
    expect(diff.code).toBe(3)
    expect(jsonLines(diff.out)).toEqual([
      { topic: 'notes.v1', field: 'retentionMs', is: '1h', wanted: '2h', how: 'weft topics apply' },
      { topic: 'new.v1', field: 'topic', is: 'missing', wanted: '2 partitions', how: 'weft topics apply' },
    ])
    const dry = await weft(folder.path, ['topics', 'apply', '--dry-run'])
    expect(dry).toMatchObject({ code: 0, out: expect.stringContaining('would be done') })
    expect((await weft(folder.path, ['topics', 'diff'])).code).toBe(3)
    expect((await weft(folder.path, ['topics', 'apply'])).code).toBe(0)
    expect(await weft(folder.path, ['topics', 'diff'])).toMatchObject({
      code: 0,
      out: 'all topics are as the catalogue says\n',
    })
  })

  test('what cannot be changed in place is left, with the way out, and what loses records needs a word', async () => {
    await using folder = await store()
    await catalogue(folder, { 'fixed.v1': { partitions: 3 }, 'notes.v1': { retention: '30m' } })
    const applied = await weft(folder.path, ['topics', 'apply', '--json'])
    expect(applied.code).toBe(3)
    expect(jsonLines(applied.out)).toMatchObject([
      {
        topic: 'fixed.v1',
        field: 'partitions',
        is: 2,
        wanted: 3,
        how: expect.stringMatching(/not in place: .*replay/),
      },
      {
        topic: 'fixed.v1',
        field: 'retentionMs',
        is: 'unset',
        wanted: '2h',
        how: expect.stringContaining('--allow-loss'),
      },
      { topic: 'notes.v1', field: 'retentionMs', wanted: '30m', how: expect.stringMatching(/--allow-loss; records/) },
    ])
    await weft(folder.path, ['topics', 'apply', '--allow-loss'])
    const left = jsonLines((await weft(folder.path, ['topics', 'diff', '--json'])).out)
    expect(left.map(({ topic, field }) => [topic, field])).toEqual([['fixed.v1', 'partitions']])
    expect((await weft(folder.path, ['topics', 'diff', 'note.v1'])).err).toContain('did you mean "notes.v1"?')
  })
})
