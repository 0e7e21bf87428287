import {
  addOffsetsToTxnV1,
  addOffsetsToTxnV2,
  addOffsetsToTxnV3,
  addPartitionsToTxnV1,
  addPartitionsToTxnV2,
  addPartitionsToTxnV3,
  endTxnV1,
  endTxnV2,
  endTxnV3,
  initProducerIdV3,
  initProducerIdV4,
  txnOffsetCommitV3,
} from '@platformatic/kafka'
import { byTopic } from '../by-topic.ts'
import type { Lane } from '../driver.ts'
import { check, failed } from '../error-names.ts'
import { type Ask, type AskAny, api } from './asking.ts'
import { committing, outcomes } from './groups.ts'

const INIT_PRODUCER_ID = api('InitProducerId', initProducerIdV4, initProducerIdV3)
const ADD_PARTITIONS = api('AddPartitionsToTxn', addPartitionsToTxnV3, addPartitionsToTxnV2, addPartitionsToTxnV1)
const ADD_OFFSETS = api('AddOffsetsToTxn', addOffsetsToTxnV3, addOffsetsToTxnV2, addOffsetsToTxnV1)
const TXN_OFFSET_COMMIT = api('TxnOffsetCommit', txnOffsetCommitV3)
const END_TXN = api('EndTxn', endTxnV3, endTxnV2, endTxnV1)

type Transactions = 'initProducer' | 'addPartitions' | 'addOffsets' | 'commitTransactionOffsets' | 'endTransaction'

export const transactions = (ask: Ask, askAny: AskAny): Pick<Lane, Transactions> => ({
  async initProducer(coordinator, transactionalId, timeoutMs, current = { id: -1n, epoch: -1 }) {
    const answer = coordinator
      ? await ask(coordinator, INIT_PRODUCER_ID, transactionalId, timeoutMs, current.id, current.epoch)
      : await askAny(INIT_PRODUCER_ID, transactionalId, timeoutMs, current.id, current.epoch)
    check(answer.errorCode, 'asking for a producer id')
    return { id: answer.producerId, epoch: answer.producerEpoch }
  },
  async addPartitions(coordinator, transactionalId, { id, epoch }, places) {
    const topics = byTopic(places, ({ partition }) => partition).map(([name, partitions]) => ({ name, partitions }))
    const answer = await ask(coordinator, ADD_PARTITIONS, [
      { transactionalId, producerId: id, producerEpoch: epoch, verifyOnly: false, topics },
    ])
    return answer.resultsByTransaction.flatMap(({ topicResults }) =>
      topicResults.flatMap(({ name, resultsByPartition }) =>
        resultsByPartition.map(each => ({
          topic: name,
          partition: each.partitionIndex,
          ...failed(each.partitionErrorCode),
        })),
      ),
    )
  },
  async addOffsets(coordinator, transactionalId, { id, epoch }, group) {
    const { errorCode } = await ask(coordinator, ADD_OFFSETS, transactionalId, id, epoch, group)
    check(errorCode, `adding the offsets of group "${group}" to a transaction`)
  },
  async commitTransactionOffsets(coordinator, transactionalId, producer, member, offsets) {
    const answer = await ask(
      coordinator,
      TXN_OFFSET_COMMIT,
      transactionalId,
      member.group,
      producer.id,
      producer.epoch,
      member.generation,
      member.id,
      null,
      committing(offsets),
    )
    return outcomes(answer.topics)
  },
  async endTransaction(coordinator, transactionalId, { id, epoch }, commit) {
    const { errorCode } = await ask(coordinator, END_TXN, transactionalId, id, epoch, commit)
    check(errorCode, commit ? 'committing a transaction' : 'taking a transaction back')
  },
})
