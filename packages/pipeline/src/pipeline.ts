import type { Catalogue } from '@weft/schema'
import { type Health, logger, stalled } from '@weft/telemetry'
import { type Retry, type Running, type Transport, WeftError } from '@weft/transport'
import { type Deliver, startDelivery, toLog } from './delivery.ts'
import { showLag } from './metrics.ts'
import type { Rule } from './rules.ts'
import type { Scorer } from './scorer.ts'
import type { Stage } from './stage.ts'
import { alert } from './stages/alert.ts'
import { enrich } from './stages/enrich.ts'
import { features } from './stages/features.ts'
import { type Intervention, intervene } from './stages/intervene.ts'
import { score } from './stages/score.ts'
import { settle } from './stages/settle.ts'
import { validate } from './stages/validate.ts'
import { inputsOf, runTask, type Task } from './task.ts'
import { startTicker } from './ticker.ts'

export interface StagesOptions {
  readonly scorer: Scorer
  readonly rules?: readonly Rule[]
  readonly interventions?: readonly Intervention[]
  /** How long windows and rules wait for records that are under way. */
  readonly graceMs?: number
  /** How long an event id is remembered. */
  readonly dedupeMs?: number
  /** How long a silent session is. */
  readonly idleMs?: number
  /** Of amounts that name no currency. */
  readonly currency?: string
}

/** The stages that Weft comes with, in the order in which a record passes them. */
export const standardStages = ({
  scorer,
  rules,
  interventions = [],
  graceMs,
  dedupeMs,
  idleMs,
  currency,
}: StagesOptions): Stage[] => [
  validate({ dedupeMs }),
  enrich({ currency }),
  features({ idleMs }),
  score(scorer),
  alert({ rules, graceMs, idleMs }),
  intervene(interventions),
  settle(),
]

/** Which stages share a task: split one to scale its stages alone, fuse two to save the log in between. */
export const DEFAULT_TASKS: Readonly<Record<string, readonly string[]>> = {
  ingest: ['validate', 'enrich'],
  signal: ['features', 'score', 'alert'],
  action: ['intervene', 'settle'],
}

export interface PipelineOptions extends Omit<StagesOptions, 'rules'> {
  readonly transport: Transport
  readonly catalogue: Catalogue
  readonly health?: Health
  readonly log?: Pick<ReturnType<typeof logger>, 'info' | 'warn' | 'error'>
  /** Task names to the names of their stages. A task that is renamed or gets other stages starts over. */
  readonly tasks?: Readonly<Record<string, readonly string[]>>
  /** Asked at every tick; what it returns applies from that tick on, which logs it. */
  readonly rules?: () => readonly Rule[]
  /** What stages there are; `standardStages` with these options if absent. */
  readonly stages?: readonly Stage[]
  readonly deliver?: Deliver
  readonly retry?: Retry
  readonly tickMs?: number
  /** Red after so long without progress while there is lag. */
  readonly stalledMs?: number
}

export interface Pipeline extends AsyncDisposable {
  /** Rejects with the first task's error that cannot go on; resolves when it was disposed. */
  readonly done: Promise<void>
  /** The members at work by task, and the delivery worker. */
  readonly running: ReadonlyMap<string, Running>
}

/** Ensures the catalogue's topics and runs the tasks, their ticker and the delivery worker until it is disposed. */
export async function startPipeline(options: PipelineOptions): Promise<Pipeline> {
  const { transport, catalogue, health, rules = () => [], retry, tickMs, stalledMs = 30_000 } = options
  const log = options.log ?? logger('pipeline')
  const stages = options.stages ?? standardStages({ ...options, rules: rules() })
  const tasks = tasksOf(options.tasks ?? DEFAULT_TASKS, stages)
  for (const difference of await transport.admin.ensure(catalogue.specs())) log.warn(difference)

  const stack = new AsyncDisposableStack()
  try {
    const running = new Map<string, Running>()
    const started = (name: string, member: Running, stages = [name]) => {
      running.set(name, stack.use(member))
      stack.defer(showLag(stages, member))
      const forget = health?.add(`pipeline ${name}`, stalled(member, stalledMs))
      if (forget) stack.defer(forget)
    }
    for (const task of tasks) {
      const member = await runTask(transport, catalogue, task, {
        ...(retry && { retry }),
        onRetry: (err, attempts) => log.warn({ err, task: task.name, attempts }, 'a batch failed, trying again'),
      })
      started(
        task.name,
        member,
        task.stages.map(stage => stage.name),
      )
    }
    if (tasks.some(({ stages }) => stages.some(({ writes }) => writes.includes('interventions.commands.v1')))) {
      const deliver = options.deliver ?? toLog(log)
      started('delivery', await startDelivery({ transport, catalogue, deliver, ...(retry && { retry }) }))
    }
    const first = tasks.find(task => inputsOf(task).includes('events.raw.v1'))
    const reader = first && running.get(first.name)
    if (reader) {
      const onError = (err: unknown) => log.error({ err }, 'a tick could not be appended, trying again with the next')
      stack.use(startTicker({ transport, catalogue, reader, everyMs: tickMs, rules, onError }))
    }
    const done = Promise.all([...running.values()].map(member => member.done)).then(() => {})
    done.catch(err => log.error({ err }, 'a task cannot go on'))
    const owned = stack.move()
    return { done, running, [Symbol.asyncDispose]: () => owned.disposeAsync() }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

/** Throws one INVALID that lists every fault. */
export function tasksOf(config: Readonly<Record<string, readonly string[]>>, stages: readonly Stage[]): Task[] {
  const known = new Map(stages.map(stage => [stage.name, stage]))
  const faults: string[] = []
  const used = new Map<string, string>()
  const tasks = Object.entries(config).map(([name, names]) => {
    if (!/^[\w-]+$/.test(name)) faults.push(`tasks/${name}: expected a name of letters, digits, _ and -`)
    if (names.length === 0)
      faults.push(`tasks/${name}: has no stages, expected some of ${[...known.keys()].join(', ')}`)
    const found = names.flatMap((stage, index) => {
      const at = `tasks/${name}/${index}: ${stage}`
      if (used.has(stage)) faults.push(`${at} runs in task ${used.get(stage)} already, expected it once`)
      used.set(stage, name)
      if (!known.has(stage)) faults.push(`${at} is no stage, expected one of ${[...known.keys()].join(', ')}`)
      return known.get(stage) ?? []
    })
    return { name, stages: found }
  })
  for (const task of faults.length > 0 ? [] : tasks) {
    try {
      inputsOf(task)
    } catch (error) {
      faults.push((error as Error).message)
    }
  }
  if (faults.length > 0) throw new WeftError('INVALID', `wrong tasks:\n  ${faults.join('\n  ')}`)
  return tasks
}
