import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { DEFAULT_TASKS, loadScorer, parseRules, runTask, standardStages, tasksOf } from '@weft/pipeline'
import type { Catalogue } from '@weft/schema'
import { open, type Received, type Transport } from '@weft/transport'
import { parse } from 'yaml'
import { isTick } from '../../src/records.ts'
import { processed } from './fabric.ts'

const RAW = { name: 'events.raw.v1' }

/** What tasks make of their input and nobody else appends to. */
export const OUTPUTS = [
  'events.validated.v1',
  'events.enriched.v1',
  'events.late.v1',
  'events.dlq.v1',
  'features.stream.v1',
  'signals.scores.v1',
  'predictions.v1',
  'models.prediction.audit.v1',
  'alerts.v1',
  'alerts.analytics.v1',
] as const

/** Lets tasks that nobody disturbs work on the same input, in a store of its own, to the end. */
export async function undisturbed(
  from: Transport,
  catalogue: Catalogue,
  rules: string,
): Promise<AsyncDisposable & { readonly transport: Transport }> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(path.join(tmpdir(), 'weft-undisturbed-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  const transport = stack.use(await open(`embedded:${folder}`))
  await transport.admin.ensure(catalogue.specs())
  const { end } = await from.admin.describe(RAW)
  for await (const batch of from.read(RAW, { from: 'earliest', to: end }))
    await transport.append(RAW, batch, { partition: batch[0]?.position.partition as number })
  {
    await using running = new AsyncDisposableStack()
    const scorer = running.use(await loadScorer())
    const stages = standardStages({ scorer, rules: parseRules(parse(rules).rules) })
    for (const task of tasksOf(DEFAULT_TASKS, stages)) running.use(await runTask(transport, catalogue, task))
    await processed(transport)
  }
  const owned = stack.move()
  return { transport, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** A line for each record of a topic: all of it but where in its partition it lies and when the log took it. */
export async function linesOf(transport: Transport, name: string): Promise<string[]> {
  const { end } = await transport.admin.describe({ name })
  const lines: string[] = []
  for await (const batch of transport.read({ name }, { from: 'earliest', to: end }))
    lines.push(...batch.filter(message => !isTick(message)).map(lineOf))
  return lines.sort()
}

function lineOf({ key, value, time, headers = [], schema, position }: Received): string {
  const told = headers.map(([header, bytes]) => `${header}=${Buffer.from(bytes)}`).join(' ')
  const [text, body] = [key && Buffer.from(key), value && Buffer.from(value).toString('base64')]
  return `${position.partition} ${text} ${time} ${schema?.subject}/${schema?.version} ${told} ${body}`
}
