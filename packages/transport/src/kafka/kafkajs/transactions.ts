import { byTopic } from '../by-topic.ts'
import type { Committing, Lane, Membership, Producer } from '../driver.ts'
import { check, failed } from '../error-names.ts'
import { type Ask, type AskAny, api, noTags, ownApi, skipTags } from './asking.ts'

type Transactions = 'initProducer' | 'addPartitions' | 'addOffsets' | 'commitTransactionOffsets' | 'endTransaction'

interface Open {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly producerEpoch: number
}

/** The library ends at 1: without the producer that is to go on, and without PRODUCER_FENCED (KIP-360, KIP-588). */
const INIT_PRODUCER_ID = ownApi({
  name: 'InitProducerId',
  key: 22,
  versions: [3, 4],
  flexibleFrom: 2,
  encode(
    to,
    { transactionalId, timeoutMs, current }: { transactionalId: string | null; timeoutMs: number; current: Producer },
  ) {
    to.writeUVarIntString(transactionalId).writeInt32(timeoutMs)
    noTags(to.writeInt64(current.id).writeInt16(current.epoch))
  },
  decode(from) {
    from.readInt32()
    return { code: from.readInt16(), id: from.readInt64(), epoch: from.readInt16() }
  },
})

const ADD_PARTITIONS = api<
  Open & { readonly topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[] },
  {
    readonly errors: readonly {
      readonly topic: string
      readonly partitionErrors: readonly { readonly partition: number; readonly errorCode: number }[]
    }[]
  }
>('AddPartitionsToTxn', [0, 1])

const ADD_OFFSETS = api<Open & { readonly groupId: string }, { readonly errorCode: number }>('AddOffsetsToTxn', [0, 1])

const END_TXN = api<Open & { readonly transactionResult: boolean }, { readonly errorCode: number }>('EndTxn', [0, 1])

/** The library ends at 1: without the member and its generation, which is what fences one that was replaced (KIP-447). */
const TXN_OFFSET_COMMIT = ownApi({
  name: 'TxnOffsetCommit',
  key: 28,
  versions: [3],
  flexibleFrom: 3,
  encode(
    to,
    {
      transactionalId,
      producer,
      member,
      offsets,
    }: {
      transactionalId: string
      producer: Producer
      member: Membership
      offsets: readonly Committing[]
    },
  ) {
    to.writeUVarIntString(transactionalId).writeUVarIntString(member.group)
    to.writeInt64(producer.id).writeInt16(producer.epoch)
    to.writeInt32(member.generation).writeUVarIntString(member.id).writeUVarIntString(null)
    const topics = byTopic(offsets, each => each)
    to.writeUVarInt(topics.length + 1)
    for (const [topic, partitions] of topics) {
      to.writeUVarIntString(topic).writeUVarInt(partitions.length + 1)
      for (const { partition, offset, metadata } of partitions)
        noTags(to.writeInt32(partition).writeInt64(offset).writeInt32(-1).writeUVarIntString(metadata))
      noTags(to)
    }
    noTags(to)
  },
  decode(from) {
    from.readInt32()
    const outcomes = from.readUVarIntArray(topics => {
      const topic = topics.readUVarIntString() ?? ''
      const partitions = topics.readUVarIntArray(each => {
        const [partition, code] = [each.readInt32(), each.readInt16()]
        skipTags(each)
        return { topic, partition, ...failed(code) }
      })
      skipTags(topics)
      return partitions ?? []
    })
    return (outcomes ?? []).flat()
  },
})

const openOf = (transactionalId: string, { id, epoch }: Producer): Open => ({
  transactionalId,
  producerId: id,
  producerEpoch: epoch,
})

export const transactions = (ask: Ask, askAny: AskAny): Pick<Lane, Transactions> => ({
  async initProducer(coordinator, transactionalId, timeoutMs, current = { id: -1n, epoch: -1 }) {
    const asked = { transactionalId, timeoutMs, current }
    const { code, id, epoch } = coordinator
      ? await ask(coordinator, INIT_PRODUCER_ID, asked)
      : await askAny(INIT_PRODUCER_ID, asked)
    check(code, 'asking for a producer id')
    return { id, epoch }
  },
  async addPartitions(coordinator, transactionalId, producer, places) {
    const topics = byTopic(places, ({ partition }) => partition).map(([topic, partitions]) => ({ topic, partitions }))
    const { errors } = await ask(coordinator, ADD_PARTITIONS, { ...openOf(transactionalId, producer), topics })
    return errors.flatMap(({ topic, partitionErrors }) =>
      partitionErrors.map(({ partition, errorCode }) => ({ topic, partition, ...failed(errorCode) })),
    )
  },
  async addOffsets(coordinator, transactionalId, producer, group) {
    const { errorCode } = await ask(coordinator, ADD_OFFSETS, { ...openOf(transactionalId, producer), groupId: group })
    check(errorCode, `adding the offsets of group "${group}" to a transaction`)
  },
  async commitTransactionOffsets(coordinator, transactionalId, producer, member, offsets) {
    return ask(coordinator, TXN_OFFSET_COMMIT, { transactionalId, producer, member, offsets })
  },
  async endTransaction(coordinator, transactionalId, producer, commit) {
    const { errorCode } = await ask(coordinator, END_TXN, {
      ...openOf(transactionalId, producer),
      transactionResult: commit,
    })
    check(errorCode, commit ? 'committing a transaction' : 'taking a transaction back')
  },
})
