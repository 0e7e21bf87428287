import { loadCatalogue } from '@weft/schema'
import { headerOf, type Received, text } from '@weft/transport'
import { expect, test } from 'vitest'
import {
  discardDeadLetters,
  type LetterSelection,
  listDeadLetters,
  retryDeadLetters,
  runTask,
  showDeadLetter,
  validate,
} from '../src/index.ts'
import { begins, raw, START } from './events.ts'
import { contents, processed, RAW, rawMessage, type Store, temporaryStore } from './store.ts'

const catalogue = await loadCatalogue()
const task = { name: 'ingest', stages: [validate()] }

/** A store in which three events of two tenants have failed and one has not. */
async function withLetters(): Promise<Store> {
  const store = await temporaryStore(catalogue)
  const events = [
    raw('page_view', { elapsed_ms: 1 }, { event_id: 'no-page', sent_at: START }),
    raw('page_veiw', { elapsed_ms: 1, page: 'product' }, { event_id: 'mistyped', sent_at: START + 1 }),
    raw('nonsense', {}, { event_id: 'foreign', store_id: 'birch', sent_at: START + 2 }),
    begins({ event_id: 'right', sent_at: START + 3 }),
  ]
  await store.transport.append(
    RAW,
    events.map(event => rawMessage(catalogue, event)),
  )
  await work(store)
  return store
}

async function work({ transport }: Store): Promise<void> {
  await using _ = await runTask(transport, catalogue, task)
  await processed(transport, [task])
}

const listed = async ({ transport }: Store, selection?: LetterSelection) =>
  (await listDeadLetters(transport, catalogue, selection)).map(({ letter, state }) => `${letter.event_id} ${state}`)

const all = async (letters: AsyncIterable<{ event_id: string | null }>) => {
  const ids: (string | null)[] = []
  for await (const { event_id } of letters) ids.push(event_id)
  return ids
}

test('open dead letters are listed in the order in which they failed, by tenant, topic, code and id', async () => {
  await using store = await withLetters()
  expect(await listed(store)).toEqual(['no-page open', 'mistyped open', 'foreign open'])
  expect(await listed(store, { tenant: 'birch' })).toEqual(['foreign open'])
  expect(await listed(store, { code: 'INVALID_PAYLOAD' })).toEqual(['no-page open'])
  expect(await listed(store, { topic: 'alerts.v1' })).toEqual([])
  const [first] = await listDeadLetters(store.transport, catalogue)
  expect(await listed(store, { ids: [first?.letter.dead_letter_id ?? ''] })).toEqual(['no-page open'])
})

test('a dead letter shows all that a repair needs', async () => {
  await using store = await withLetters()
  const [{ letter } = expect.fail('none')] = await listDeadLetters(store.transport, catalogue, { code: 'UNKNOWN_TYPE' })
  const shown = await showDeadLetter(store.transport, catalogue, letter.dead_letter_id)
  const [original] = (await contents(store.transport, RAW.name)).filter(message =>
    Buffer.from(message.value ?? []).includes('mistyped'),
  )
  expect(shown.letter).toMatchObject({
    original_topic: RAW.name,
    original_partition: original?.position.partition,
    original_position: original?.position.at,
    original_schema: 'events.raw.v1-value/1',
    original_time: START + 1,
    consumer: 'validate',
  })
  expect(shown.letter.error_reason).toContain('page_view')
  expect(Buffer.from(shown.letter.original_value ?? [])).toEqual(Buffer.from(original?.value ?? 'none'))
  await expect(showDeadLetter(store.transport, catalogue, 'none')).rejects.toThrow('there is no dead letter none')
})

test('a retry puts the record back byte for byte, with where it comes from, and it is open no more', async () => {
  await using store = await withLetters()
  expect(await all(retryDeadLetters(store.transport, catalogue, { tenant: 'birch' }))).toEqual(['foreign'])
  const before = (await contents(store.transport, RAW.name)).filter(({ key }) => key && text(key).startsWith('birch'))
  expect(before).toHaveLength(2)
  const [first, again] = before as [Received, Received]
  expect(again).toMatchObject({ key: first.key, value: first.value, time: first.time, schema: first.schema })
  expect(headerOf(again, 'weft-tenant')).toBe('birch')
  expect(headerOf(again, 'weft-retry-of')).toMatch(/^[0-9a-f]{32}$/)
  expect(await listed(store, { state: 'any' })).toEqual(['no-page open', 'mistyped open', 'foreign retried'])

  await work(store)
  expect(await listed(store, { tenant: 'birch', state: 'any' })).toEqual(['foreign retried', 'foreign open'])
})

test('a letter is put back once, however many ask for it at the same time and after', async () => {
  await using store = await withLetters()
  const selection = { tenant: 'aurora' }
  await Promise.allSettled([1, 2, 3].map(() => all(retryDeadLetters(store.transport, catalogue, selection))))
  await all(retryDeadLetters(store.transport, catalogue, selection))
  const back = (await contents(store.transport, RAW.name)).filter(message => headerOf(message, 'weft-retry-of'))
  expect(back).toHaveLength(2)
  expect(await listed(store, selection)).toEqual([])
})

test('a value that was edited goes through', async () => {
  await using store = await withLetters()
  const codec = catalogue.codec('events.raw.v1')
  const retried = retryDeadLetters(store.transport, catalogue, { tenant: 'aurora' }, letter => {
    const event = codec.decode({ value: letter.original_value })
    return { value: codec.encode({ ...event, type: 'page_view', payload: '{"elapsed_ms":1,"page":"product"}' }) }
  })
  expect(await all(retried)).toEqual(['no-page', 'mistyped'])
  await work(store)
  const validated = (await contents(store.transport, 'events.validated.v1')).map(
    message => catalogue.codec('events.validated.v1').decode(message).event_id,
  )
  expect(validated.toSorted()).toEqual(['mistyped', 'no-page', 'right'])
  expect(await listed(store)).toEqual(['foreign open'])
})

test('what was discarded is neither listed nor put back', async () => {
  await using store = await withLetters()
  expect(await all(discardDeadLetters(store.transport, catalogue, { code: 'INVALID_PAYLOAD' }))).toEqual(['no-page'])
  expect(await listed(store)).toEqual(['mistyped open', 'foreign open'])
  expect(await listed(store, { state: 'discarded' })).toEqual(['no-page discarded'])
  expect(await all(retryDeadLetters(store.transport, catalogue, { tenant: 'aurora' }))).toEqual(['mistyped'])
})

test('a letter without a body stays open until it is given one', async () => {
  await using store = await temporaryStore(catalogue)
  const message = rawMessage(catalogue, begins())
  await store.transport.append(RAW, [{ ...message, value: null }])
  await work(store)
  await expect(all(retryDeadLetters(store.transport, catalogue, {}))).rejects.toThrow('no body to put back')
  expect(await listed(store)).toEqual(['null open'])
  const edit = () => ({ value: message.value, ...(message.schema && { schema: message.schema }) })
  await all(retryDeadLetters(store.transport, catalogue, {}, edit))
  await work(store)
  expect(await contents(store.transport, 'events.validated.v1')).toHaveLength(1)
})

test('an empty topic of dead letters is listed as nothing', async () => {
  await using store = await temporaryStore(catalogue)
  expect(await listed(store)).toEqual([])
})
