/** One broker for all contenders of a benchmark, on a core of its own; `kafka-broker` is no benchmark itself. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { argv } from 'node:process'
import { startKafka, stop } from '@weft/local/servers'
import { type Message, open, type Topic, type Transport } from '@weft/transport'
import { type Contest, sideBySide } from './side-by-side.ts'

export const PARTITIONS = 12

/** Where the broker of this run is: HOST:PORT. */
export const address = (): string => argv[argv.indexOf('--at') + 1] ?? ''
export const openKafka = (): Promise<Transport> => open(`kafka://${address()}?patienceMs=60000`)

/** Contenders side by side on core 0, against one broker on core 1. `prepare` fills what they all read. */
export async function onKafka(contest: Contest, prepare = async () => {}): Promise<void> {
  if (argv.includes('--run')) return await sideBySide(contest)
  const folder = await mkdtemp(join(tmpdir(), 'weft-bench-'))
  const under = existsSync('/usr/bin/taskset') ? ['taskset', '-c', '1'] : []
  try {
    const { port } = await startKafka({ folder, heapMb: 1024, fast: true, under, say: console.error })
    argv.push('--at', `127.0.0.1:${port}`)
    await prepare()
    await sideBySide({ cores: '0', ...contest, args: [...(contest.args ?? []), '--at', address()] })
  } finally {
    await stop(folder)
    await rm(folder, { recursive: true, force: true })
  }
}

/** A topic that was not there before. */
export async function freshTopic(transport: Transport, kind: string): Promise<Topic> {
  const topic = { name: `${kind}-${crypto.randomUUID().slice(0, 8)}` }
  await transport.admin.ensure([{ topic, partitions: PARTITIONS }])
  return topic
}

/** Appends messages in the order they come, a thousand at once and five times at once. */
export async function fill(transport: Transport, topic: Topic, messages: Iterable<Message>): Promise<void> {
  const flying: Promise<unknown>[] = []
  let batch: Message[] = []
  for (const message of messages) {
    if (batch.push(message) < 1_000) continue
    flying.push(transport.append(topic, batch))
    batch = []
    if (flying.length === 5) await flying.shift()
  }
  await Promise.all([...flying, transport.append(topic, batch)])
}

/** Messages that a topic of plain appends holds. */
export async function held(transport: Transport, topic: Topic): Promise<number> {
  const { end } = await transport.admin.describe(topic)
  return end.reduce((sum, { at }) => sum + Number(at) + 1, 0)
}

/** Fails the run whose result is not what it has to be. */
export function check(what: string, is: number, hasToBe: number): void {
  if (is !== hasToBe) throw new Error(`${what}: ${is}, and it has to be ${hasToBe}`)
}
