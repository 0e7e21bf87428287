import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventsOf, sessions } from '@weft/local'
import { type Catalogue, type EventRaw, entityKey } from '@weft/schema'
import { bytes, HEADERS, header, type Message, open, type Received, type Transport } from '@weft/transport'
import { groupOf, inputsOf, type Task } from '../src/index.ts'
import { tickMessage } from '../src/ticks.ts'

export const RAW = { name: 'events.raw.v1' }

export interface Store extends AsyncDisposable {
  readonly transport: Transport
  readonly url: string
}

/** An embedded store of its own with the catalogue's topics, gone when it is disposed. */
export async function temporaryStore(catalogue: Catalogue): Promise<Store> {
  const directory = await mkdtemp(join(tmpdir(), 'weft-pipeline-'))
  const url = `embedded:${directory}`
  const transport = await open(url)
  await transport.admin.ensure(catalogue.specs())
  return {
    transport,
    url,
    async [Symbol.asyncDispose]() {
      await transport[Symbol.asyncDispose]()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

export function rawMessage(catalogue: Catalogue, event: EventRaw): Message {
  const headers = [
    header(HEADERS.tenant, event.store_id),
    header(HEADERS.trace, `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`),
  ]
  return catalogue.codec('events.raw.v1').message(event, { key: bytes(entityKey(event)), time: event.sent_at, headers })
}

/** Real sessions of three tenants, one beginning every two seconds, as the gateway would log them: in the order received. */
export function shopping(count: number, start: number): EventRaw[] {
  const events = sessions()
    .slice(0, count)
    .flatMap((session, n) =>
      eventsOf(session, start + n * 2000).map(({ sent_at, payload, ...event }) => ({
        ...event,
        store_id: ['aurora', 'birch', 'cobalt'][n % 3] as string,
        payload: JSON.stringify(payload),
        sent_at: Date.parse(sent_at),
        received_at: Date.parse(sent_at) + (n % 7) * 10,
        idempotency_key: null,
        user_agent: n % 2 ? null : 'Mozilla/5.0 (X11; Linux x64) Gecko/20100101 Firefox/120.0',
        referrer: n % 3 ? null : 'https://www.google.com/search?q=shoes',
      })),
    )
  return events.sort((a, b) => a.received_at - b.received_at)
}

/** A tick for each partition. */
export async function tickAll(transport: Transport, catalogue: Catalogue, tick: number): Promise<void> {
  const partitions = catalogue.topics.get(RAW.name)?.partitions ?? 0
  const message = tickMessage(catalogue, RAW.name, { tick, headers: [] })
  await Promise.all(
    Array.from({ length: partitions }, (_, partition) => transport.append(RAW, [message], { partition })),
  )
}

/** All that a topic holds now, partition by partition in order. */
export async function contents(transport: Transport, name: string): Promise<Received[]> {
  const { end } = await transport.admin.describe({ name })
  const found: Received[][] = end.map(() => [])
  for await (const batch of transport.read({ name }, { from: 'earliest', to: end }))
    found[batch[0]?.position.partition as number]?.push(...batch)
  return found.flat()
}

/** What two runs must have in common: everything but when the log took it. One line a message, in the order of the log. */
export function linesOf(messages: readonly Received[]): string[] {
  return messages.map(({ key, value, time, headers = [], schema, position }) => {
    const told = headers.map(([name, bytes]) => `${name}=${Buffer.from(bytes)}`).join(' ')
    const [text, body] = [key && Buffer.from(key).toString(), value && Buffer.from(value).toString('base64')]
    return `${position.partition} ${text} ${time} ${schema?.version} ${told} ${body}`
  })
}

/** Waits until the tasks, given in the order of the stream, have processed everything there is. */
export async function processed(transport: Transport, tasks: readonly Task[]): Promise<void> {
  for (const task of tasks) {
    for (const topic of inputsOf(task)) {
      for (;;) {
        const all = await transport.admin.groups()
        const lags = all.filter(each => each.group === groupOf(task) && each.topic.name === topic)
        if (lags.length > 0 && lags.every(({ lag }) => lag === 0)) break
        await new Promise(resolve => setTimeout(resolve, 10))
      }
    }
  }
}

/** Alert rules that real sessions set off often. */
export const rulesOfCrash = [
  { name: 'high', kind: 'threshold', raise: 0.2, clear: 0.1 },
  { name: 'lost', kind: 'threshold', raise: 0.05, clear: 0.01, on: 'session_end', unless: 'purchase' },
  { name: 'busy', kind: 'count', events: 'page_view', count: 8, within: '1m' },
]
