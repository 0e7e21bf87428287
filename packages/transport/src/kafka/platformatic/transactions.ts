import {
  addOffsetsToTxnV3,
  addPartitionsToTxnV3,
  endTxnV3,
  initProducerIdV4,
  txnOffsetCommitV3,
} from '@platformatic/kafka'
import type { Lane } from '../driver.ts'
import { type Ask, type AskAny, check, failed, grouped } from './asking.ts'
import { committing, outcomes } from './groups.ts'

type Transactions = 'initProducer' | 'addPartitions' | 'addOffsets' | 'commitTransactionOffsets' | 'endTransaction'

export const transactions = (ask: Ask, askAny: AskAny): Pick<Lane, Transactions> => ({
  async initProducer(coordinator, transactionalId, timeoutMs, current = { id: -1n, epoch: -1 }) {
    const answer = coordinator
      ? await ask(coordinator, initProducerIdV4.api, transactionalId, timeoutMs, current.id, current.epoch)
      : await askAny(initProducerIdV4.api, transactionalId, timeoutMs, current.id, current.epoch)
    check(answer.errorCode, 'asking for a producer id')
    return { id: answer.producerId, epoch: answer.producerEpoch }
  },
  async addPartitions(coordinator, transactionalId, { id, epoch }, places) {
    const topics = grouped(places, ({ partition }) => partition).map(([name, partitions]) => ({ name, partitions }))
    const answer = await ask(coordinator, addPartitionsToTxnV3.api, [
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
    const { errorCode } = await ask(coordinator, addOffsetsToTxnV3.api, transactionalId, id, epoch, group)
    check(errorCode, `adding the offsets of group "${group}" to a transaction`)
  },
  async commitTransactionOffsets(coordinator, transactionalId, producer, member, offsets) {
    const answer = await ask(
      coordinator,
      txnOffsetCommitV3.api,
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
    const { errorCode } = await ask(coordinator, endTxnV3.api, transactionalId, id, epoch, commit)
    check(errorCode, commit ? 'committing a transaction' : 'taking a transaction back')
  },
})
