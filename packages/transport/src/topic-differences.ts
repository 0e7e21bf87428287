import { titleOf } from './checks.ts'
import type { Topic, TopicSpec } from './transport.ts'

/** One thing in which a topic is not as it was asked for. */
export interface TopicDifference {
  readonly topic: Topic
  readonly field: Field
  readonly is: number | string | undefined
  readonly wanted: number | string
  /** What is lost when it is changed; undefined if nothing is. */
  readonly loss?: string
  /** Why it is not changed in place, and the way out; undefined: admin.alter changes it. */
  readonly refusal?: string
}

const FIELDS = ['partitions', 'retentionMs', 'retentionBytes', 'cleanup', 'replicas', 'minInSync'] as const
type Field = (typeof FIELDS)[number]

/** In what a topic differs; what is not asked for is no difference, nor what the transport does not tell. */
export function topicDifferences(existing: TopicSpec, wanted: TopicSpec): TopicDifference[] {
  const untold = (field: Field) => (field === 'replicas' || field === 'minInSync') && existing[field] === undefined
  return FIELDS.flatMap(field => {
    const [is, asked] = [existing[field] ?? DEFAULTS[field], wanted[field]]
    if (asked === undefined || is === asked || untold(field)) return []
    const [refusal, loss] = [refusalOf(field, is, asked), lossOf(field, is, asked)]
    return [{ topic: wanted.topic, field, is, wanted: asked, ...(loss && { loss }), ...(refusal && { refusal }) }]
  })
}

const DEFAULTS: Partial<Record<Field, string>> = { cleanup: 'delete' }

export const describeTopicDifference = ({ topic, field, is, wanted }: TopicDifference): string =>
  `topic "${titleOf(topic)}" has ${field} ${is ?? 'unset'}, not ${wanted}`

const ANEW = 'make a topic of another name as it should be, and replay this one into it (weft replay)'

function refusalOf(field: Field, is: number | string | undefined, wanted: number | string): string | undefined {
  if (field === 'replicas')
    return 'copies are moved from broker to broker by kafka-reassign-partitions, which comes with Kafka'
  if (field === 'cleanup')
    return wanted === 'compact'
      ? `compaction would remove all but the last record of each key: ${ANEW}`
      : `keys that are not written again would be lost with time: ${ANEW}`
  if (field !== 'partitions') return undefined
  return Number(wanted) > Number(is)
    ? `with more partitions equal keys would go to others, and lose their order and state: ${ANEW}`
    : `a log cannot lose partitions: ${ANEW}`
}

function lossOf(field: Field, is: number | string | undefined, wanted: number | string): string | undefined {
  const shorter = is === undefined || Number(wanted) < Number(is)
  if (field === 'retentionMs' && shorter) return 'records that are older are removed'
  if (field === 'retentionBytes' && shorter) return 'the oldest records are removed'
  return undefined
}
