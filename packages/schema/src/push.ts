import { WeftError } from '@weft/transport'
import type { AvroRecord } from './avro-schema.ts'
import type { Catalogue, TopicDefinition } from './catalogue.ts'
import type { Compatibility } from './catalogue-file.ts'
import { type ApiOptions, ConfluentApi, type Registered } from './confluent-api.ts'
import { avroIn, textOf } from './registered.ts'
import { fingerprint, type ReleasedSchema } from './registry.ts'
import { describeIncompatibility, incompatibilities } from './release.ts'

export interface PushOptions extends ApiOptions {
  /** Default: all of the catalogue. */
  readonly topics?: readonly string[] | undefined
  /** Only says what would be done. */
  readonly dryRun?: boolean
}

/** What was done for one subject, or would be. */
export interface Pushed {
  readonly topic: string
  readonly subject: string
  readonly action: 'unchanged' | 'registered' | 'configured' | 'refused'
  /** The catalogue's versions that the registry has, or gets; the id is missing from what it would get. */
  readonly versions: readonly { readonly version: number; readonly id?: number; readonly isNew: boolean }[]
  readonly compatibility: Compatibility
  /** What the registry had instead; undefined if the subject had none of its own. */
  readonly compatibilityWas?: Compatibility | undefined
  /** Why it cannot be pushed, a line each, with what to do. */
  readonly refusals: readonly string[]
}

interface Plan {
  readonly topic: TopicDefinition
  readonly known: readonly { readonly version: number; readonly id: number }[]
  readonly missing: readonly ReleasedSchema[]
  readonly level: Compatibility | undefined
  readonly refusals: readonly string[]
}

/**
 * Brings a registry to what the catalogue has released: registers the versions that it lacks, in their order, and sets
 * each subject's compatibility. All or nothing: if one of the topics is refused, nothing is changed. Doing it again changes
 * nothing.
 */
export async function pushSchemas(
  catalogue: Catalogue,
  { topics = [...catalogue.topics.keys()], dryRun = false, ...options }: PushOptions,
): Promise<readonly Pushed[]> {
  const api = new ConfluentApi(options)
  const plans: Plan[] = []
  for (const name of topics) {
    const topic = catalogue.topics.get(name)
    if (!topic) throw new WeftError('INVALID', `${JSON.stringify(name)} is not a topic of the catalogue`)
    plans.push(await planOf(api, catalogue, topic))
  }
  const idle = dryRun || plans.some(({ refusals }) => refusals.length > 0)
  const pushed: Pushed[] = []
  for (const plan of plans) pushed.push(idle ? outcome(plan, plan.known) : await carryOut(api, plan))
  return pushed
}

async function planOf(api: ConfluentApi, { registry }: Catalogue, topic: TopicDefinition): Promise<Plan> {
  const { name, schema, compatibility } = topic
  const there: (Registered & { readonly avro: AvroRecord | undefined })[] = []
  for (const version of await api.versions(schema.subject)) {
    const found = await api.version(schema.subject, version)
    if (found) there.push({ ...found, avro: avroIn(found) as AvroRecord | undefined })
  }
  const level = await api.compatibility(schema.subject)
  const releases = registry.releases(name)
  const prints = new Map(there.map(({ avro, id }) => [avro && fingerprint(avro), id]))
  const known = releases.flatMap(({ version, fingerprint: print }) => {
    const id = prints.get(print)
    return id === undefined ? [] : [{ version, id }]
  })
  // What is older than a version that is there would come after it, and nobody writes it any more.
  const missing = releases.filter(({ version }) => version > (known.at(-1)?.version ?? 0))
  const refusals: string[] = []
  if (releases.at(-1)?.version !== schema.version)
    refusals.push(`its schema was changed and not released: run "weft schemas release ${name}" first`)
  const [next] = missing
  if (next) {
    const before = there.flatMap(({ avro, version }) => (avro ? [{ version, schema: avro }] : []))
    const found = incompatibilities(name, next.schema, compatibility, before)
    for (const each of found) refusals.push(`in the registry, ${describeIncompatibility(each)}`)
    const verdict = found.length === 0 && level === compatibility && there.length > 0
    const words = verdict ? await api.incompatibility(schema.subject, textOf(next.schema)) : undefined
    if (words !== undefined) refusals.push(`the registry refuses version ${next.version}: ${words}`)
  }
  return { topic, known, missing, level, refusals }
}

async function carryOut(api: ConfluentApi, plan: Plan): Promise<Pushed> {
  const { topic, missing, level } = plan
  const { subject } = topic.schema
  const known = [...plan.known]
  try {
    if (known.length > 0 && level !== topic.compatibility) await api.setCompatibility(subject, topic.compatibility)
    for (const { version, schema } of missing) known.push({ version, id: await api.register(subject, textOf(schema)) })
    if ((await api.compatibility(subject)) !== topic.compatibility)
      await api.setCompatibility(subject, topic.compatibility)
  } catch (error) {
    // Another registered something in between.
    if (!(error instanceof WeftError && error.code === 'SCHEMA')) throw error
    return outcome({ ...plan, refusals: [error.message] }, known)
  }
  return outcome(plan, known)
}

function outcome(
  { topic, known, missing, level, refusals }: Plan,
  there: readonly { readonly version: number; readonly id: number }[],
): Pushed {
  const ids = new Map(there.map(({ version, id }) => [version, id]))
  const configured = level !== topic.compatibility
  const action = missing.length > 0 ? 'registered' : configured ? 'configured' : 'unchanged'
  return {
    topic: topic.name,
    subject: topic.schema.subject,
    action: refusals.length > 0 ? 'refused' : action,
    versions: [
      ...known.map(each => ({ ...each, isNew: false })),
      ...missing.map(({ version }) => {
        const id = ids.get(version)
        return { version, ...(id === undefined ? {} : { id }), isNew: true }
      }),
    ],
    compatibility: topic.compatibility,
    ...(configured && level !== undefined ? { compatibilityWas: level } : {}),
    refusals,
  }
}
