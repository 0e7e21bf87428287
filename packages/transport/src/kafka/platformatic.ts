import {
  addOffsetsToTxnV3,
  addPartitionsToTxnV3,
  type Connection,
  ConnectionPool,
  compressionsAlgorithms,
  crc32c,
  createTopicsV7,
  describeConfigsV4,
  describeGroupsV5,
  endTxnV3,
  fetchV12,
  findCoordinatorV4,
  heartbeatV4,
  incrementalAlterConfigsV1,
  initProducerIdV4,
  joinGroupV7,
  leaveGroupV4,
  listGroupsV4,
  listOffsetsV7,
  metadataV12,
  offsetCommitV8,
  offsetFetchV8,
  produceV9,
  protocolErrorsCodesById,
  ResponseError,
  syncGroupV5,
  txnOffsetCommitV3,
  Writer,
} from '@platformatic/kafka'
import {
  type Broker,
  type Configs,
  type Driver,
  type Fetched,
  type FetchedBatch,
  type GroupOffsets,
  KafkaError,
  type Lane,
  type Place,
} from './driver.ts'
import { encodeBatch } from './record-batch.ts'

export interface DriverOptions {
  readonly brokers: readonly { readonly host: string; readonly port: number }[]
  readonly clientId: string
  readonly timeoutMs: number
}

/**
 * @platformatic/kafka's protocol and connections. Its Producer and Consumer are left aside: they allow one request in
 * flight, commit what is delivered rather than what is done, and share requests between concurrent calls of a transaction.
 */
export function platformatic(options: DriverOptions): Driver {
  const lanes = new Set<Lane>()
  return {
    lane({ timeoutMs = options.timeoutMs } = {}) {
      const pool = new ConnectionPool(options.clientId, {
        connectTimeout: Math.min(options.timeoutMs, 5_000),
        requestTimeout: timeoutMs,
        maxInflights: 1_000,
      })
      const lane = laneOf(pool, options.brokers, () => lanes.delete(lane))
      lanes.add(lane)
      return lane
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...lanes].map(lane => lane[Symbol.asyncDispose]()))
    },
  }
}

function laneOf(pool: ConnectionPool, seeds: DriverOptions['brokers'], closed: () => void): Lane {
  let known: readonly Pick<Broker, 'host' | 'port'>[] = seeds

  /** One request, one answer. An answer with errors in its parts is still an answer. */
  async function ask<T, A extends unknown[]>(
    broker: Pick<Broker, 'host' | 'port'>,
    api: { async: (connection: Connection, ...args: A) => Promise<T> },
    ...args: A
  ): Promise<T> {
    try {
      const connection = (await pool.get(broker)) as Connection
      return await api.async(connection, ...args)
    } catch (error) {
      if (error instanceof ResponseError && error.response) return error.response as T
      throw new KafkaError('NETWORK', `${broker.host}:${broker.port}: ${(error as Error).message}`, error)
    }
  }

  async function askAny<T, A extends unknown[]>(
    api: { async: (connection: Connection, ...args: A) => Promise<T> },
    ...args: A
  ): Promise<T> {
    let failure: unknown
    for (const broker of [...known, ...seeds]) {
      try {
        return await ask(broker, api, ...args)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  return {
    async metadata(topics) {
      const found = await askAny(metadataV12.api, topics && [...topics], false, false)
      known = found.brokers
      return {
        cluster: found.clusterId ?? '',
        controller: found.controllerId,
        brokers: found.brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })),
        topics: found.topics.map(topic => {
          const leaders: number[] = []
          for (const { partitionIndex, leaderId, errorCode } of topic.partitions)
            leaders[partitionIndex] = errorCode === 0 || errorCode === 9 ? leaderId : -1
          return { name: topic.name ?? '', internal: topic.isInternal, leaders, ...failed(topic.errorCode) }
        }),
      }
    },
    async coordinator(kind, key) {
      const { coordinators } = await askAny(findCoordinatorV4.api, kind === 'group' ? 0 : 1, [key])
      const [found] = coordinators
      check(found?.errorCode ?? -1, `finding the coordinator of ${kind} "${key}"`)
      const { nodeId, host, port } = found as (typeof coordinators)[number]
      return { id: nodeId, host, port }
    },
    async produce(broker, { transactionalId, producer, batches, compression, timeoutMs }) {
      const algorithm = compression === 'none' ? undefined : compressionsAlgorithms[compression]
      const encoded = grouped(batches, ({ partition, sequence, records }) => ({
        partition,
        bytes: encodeBatch(records, {
          producer,
          sequence,
          transactional: transactionalId !== undefined,
          crc32c,
          compression: algorithm && { bitmask: algorithm.bitmask, compress: bytes => algorithm.compressSync(bytes) },
        }),
      }))
      const payload = Writer.create()
        .appendString(transactionalId)
        .appendInt16(ACKS_OF_ALL)
        .appendInt32(timeoutMs)
        .appendArray(encoded, (w, [topic, parts]) => {
          w.appendString(topic).appendArray(parts, (part, { partition, bytes }) => {
            part
              .appendInt32(partition)
              .appendUnsignedVarInt(bytes.length + 1)
              .append(bytes)
          })
        })
        .appendTaggedFields()
      const answer = await ask(broker, { async: (connection: Connection) => sendProduce(connection, payload) })
      return answer.responses.flatMap(({ name, partitionResponses }) =>
        partitionResponses.map(each => ({
          topic: name,
          partition: each.index,
          offset: each.baseOffset,
          ...(each.errorMessage ? { message: each.errorMessage } : {}),
          ...failed(each.errorCode),
        })),
      )
    },
    async fetch(broker, { places, maxWaitMs, maxBytes, uncommitted = false }) {
      const topics = grouped(places, ({ partition, offset, maxBytes: partitionMaxBytes }) => ({
        partition,
        currentLeaderEpoch: -1,
        fetchOffset: offset,
        lastFetchedEpoch: -1,
        partitionMaxBytes,
      })).map(([topicId, partitions]) => ({ topicId, partitions }))
      const answer = await ask(broker, fetchV12.api, maxWaitMs, 1, maxBytes, uncommitted ? 0 : 1, 0, -1, topics, [], '')
      check(answer.errorCode, 'fetching')
      return answer.responses.flatMap(({ topicId: topic, partitions }) =>
        partitions.map(
          (each): Fetched => ({
            topic,
            partition: each.partitionIndex,
            end: each.highWatermark,
            stable: each.lastStableOffset,
            first: each.logStartOffset,
            aborted: (each.abortedTransactions ?? []).map(({ producerId, firstOffset }) => ({
              producer: producerId,
              first: firstOffset,
            })),
            batches: (each.records ?? []).map(batchOf),
            ...failed(each.errorCode),
          }),
        ),
      )
    },
    async listOffsets(broker, places, { uncommitted = false } = {}) {
      const topics = grouped(places, ({ partition, time }) => ({
        partitionIndex: partition,
        currentLeaderEpoch: -1,
        timestamp: time,
      })).map(([name, partitions]) => ({ name, partitions }))
      const answer = await ask(broker, listOffsetsV7.api, -1, uncommitted ? 0 : 1, topics)
      return answer.topics.flatMap(({ name, partitions }) =>
        partitions.map(each => ({
          topic: name,
          partition: each.partitionIndex,
          offset: each.offset,
          ...failed(each.errorCode),
        })),
      )
    },
    async joinGroup(coordinator, { group, member, sessionMs, rebalanceMs, protocol, metadata }) {
      const join = (id: string) =>
        ask(coordinator, joinGroupV7.api, group, sessionMs, rebalanceMs, id, null, 'consumer', [
          { name: protocol, metadata: buffer(metadata) },
        ])
      let answer = await join(member)
      // MEMBER_ID_REQUIRED: the broker tells a new member its id first.
      if (answer.errorCode === 79) answer = await join(answer.memberId)
      check(answer.errorCode, `joining group "${group}"`)
      return {
        member: answer.memberId,
        generation: answer.generationId,
        leader: answer.leader,
        members: answer.members.map(({ memberId, metadata: own }) => ({ id: memberId, metadata: own })),
      }
    },
    async syncGroup(coordinator, { group, id, generation }, protocol, assignments) {
      const all = [...assignments].map(([memberId, assignment]) => ({ memberId, assignment: buffer(assignment) }))
      const answer = await ask(coordinator, syncGroupV5.api, group, generation, id, null, 'consumer', protocol, all)
      check(answer.errorCode, `synchronizing with group "${group}"`)
      return answer.assignment
    },
    async heartbeat(coordinator, { group, id, generation }) {
      const { errorCode } = await ask(coordinator, heartbeatV4.api, group, generation, id, null)
      check(errorCode, `staying in group "${group}"`)
    },
    async leaveGroup(coordinator, { group, id }) {
      const answer = await ask(coordinator, leaveGroupV4.api, group, [{ memberId: id }])
      check(answer.errorCode || (answer.members[0]?.errorCode ?? 0), `leaving group "${group}"`)
    },
    async fetchOffsets(coordinator, groups, stable) {
      const asked = groups.map(({ group, places }) => ({
        groupId: group,
        memberEpoch: -1,
        topics: places
          ? grouped(places, ({ partition }) => partition).map(([name, partitionIndexes]) => ({
              name,
              partitionIndexes,
            }))
          : null,
      }))
      const answer = await ask(coordinator, offsetFetchV8.api, asked, stable)
      return answer.groups.map(
        ({ groupId, topics, errorCode }): GroupOffsets => ({
          group: groupId,
          offsets: topics.flatMap(({ name, partitions }) =>
            partitions.map(each => ({
              topic: name,
              partition: each.partitionIndex,
              offset: each.committedOffset,
              metadata: each.metadata ?? '',
              ...failed(each.errorCode),
            })),
          ),
          ...failed(errorCode),
        }),
      )
    },
    async commitOffsets(coordinator, { group, id, generation }, offsets) {
      const answer = await ask(coordinator, offsetCommitV8.api, group, generation, id, null, committing(offsets))
      return outcomes(answer.topics)
    },
    async listGroups(broker) {
      const answer = await ask(broker, listGroupsV4.api, [], [])
      check(answer.errorCode, 'listing groups')
      return answer.groups.map(({ groupId, protocolType }) => ({ group: groupId, protocolType }))
    },
    async describeGroups(coordinator, groups) {
      const answer = await ask(coordinator, describeGroupsV5.api, [...groups], false)
      return answer.groups.map(each => ({
        group: each.groupId,
        state: each.groupState,
        members: each.members.map(({ memberId, clientId, memberAssignment }) => ({
          id: memberId,
          clientId,
          assignment: memberAssignment,
        })),
        ...failed(each.errorCode),
      }))
    },
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
    async createTopics(broker, topics) {
      const asked = topics.map(({ name, partitions, configs }) => ({
        name,
        numPartitions: partitions,
        replicationFactor: -1,
        assignments: [],
        configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
      }))
      const answer = await ask(broker, createTopicsV7.api, asked, 10_000, false)
      return answer.topics.map(({ name, errorCode, errorMessage }) => ({
        name,
        ...(errorMessage ? { message: errorMessage } : {}),
        ...failed(errorCode),
      }))
    },
    async describeTopicConfigs(topics, names) {
      const asked = topics.map(
        name => ({ resourceType: 2, resourceName: name, configurationKeys: [...names] }) as const,
      )
      const answer = await askAny(describeConfigsV4.api, asked as never, false, false)
      const found = new Map<string, Configs>()
      for (const { resourceName, configs, errorCode } of answer.results)
        if (errorCode === 0)
          found.set(resourceName, Object.fromEntries(configs.map(({ name, value }) => [name, value ?? ''])))
      return found
    },
    async alterConfigs({ kind, name }, configs) {
      const asked = Object.entries(configs).map(([key, value]) => ({ name: key, configOperation: 0, value }) as const)
      const resourceType = kind === 'topic' ? 2 : 4
      const answer = await askAny(
        incrementalAlterConfigsV1.api,
        [{ resourceType, resourceName: name, configs: asked }],
        false,
      )
      check(answer.responses[0]?.errorCode ?? -1, `setting ${Object.keys(configs).join(', ')}`)
    },
    async [Symbol.asyncDispose]() {
      closed()
      await pool.close()
    },
  }
}

type RecordsBatch = NonNullable<
  Awaited<ReturnType<typeof fetchV12.api.async>>['responses'][number]['partitions'][number]['records']
>[number]

const [PRODUCE, ACKS_OF_ALL] = [0, -1]

/** Produce, version 9, of batches that are encoded already: the library's own way takes several times as long. */
function sendProduce(connection: Connection, payload: Writer): Promise<ReturnType<typeof produceV9.parseResponse>> {
  const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof produceV9.parseResponse>>()
  const answered = (error: Error | null, answer: ReturnType<typeof produceV9.parseResponse>) =>
    error ? reject(error) : resolve(answer)
  connection.send(PRODUCE, 9, () => payload, produceV9.parseResponse, true, true, answered as never)
  return promise
}

const [TRANSACTIONAL, CONTROL, LOG_APPEND_TIME] = [0b01_0000, 0b10_0000, 0b1000]

function batchOf({ firstOffset, lastOffsetDelta, attributes, producerId, ...batch }: RecordsBatch): FetchedBatch {
  const marker = attributes & CONTROL ? batch.records[0]?.key : undefined
  return {
    first: firstOffset,
    last: firstOffset + BigInt(lastOffsetDelta),
    producer: producerId,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    ...(attributes & CONTROL ? { control: marker?.readInt16BE(2) === 0 ? 'abort' : 'commit' } : {}),
    ...(attributes & LOG_APPEND_TIME ? { appendedAt: Number(batch.maxTimestamp) } : {}),
    records: batch.records.map(({ key, value, headers, offsetDelta, timestampDelta }) => ({
      key,
      value,
      headers: headers as [Buffer, Buffer][],
      timestamp: batch.firstTimestamp + timestampDelta,
      offset: firstOffset + BigInt(offsetDelta),
    })),
  }
}

const buffer = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const errorOf = (code: number): string =>
  (protocolErrorsCodesById as Record<string, string>)[String(code)] ?? `UNKNOWN_ERROR_${code}`

const failed = (code: number): { error?: string } => (code === 0 ? {} : { error: errorOf(code) })

function check(code: number, what: string): void {
  if (code !== 0) throw new KafkaError(errorOf(code), `${what}: ${errorOf(code)}`)
}

function grouped<P extends Place, T>(places: readonly P[], map: (place: P) => T): [topic: string, parts: T[]][] {
  const topics = new Map<string, T[]>()
  for (const place of places) {
    const parts = topics.get(place.topic)
    if (parts) parts.push(map(place))
    else topics.set(place.topic, [map(place)])
  }
  return [...topics]
}

const committing = (offsets: Parameters<Lane['commitOffsets']>[2]) =>
  grouped(offsets, ({ partition, offset, metadata }) => ({
    partitionIndex: partition,
    committedOffset: offset,
    committedLeaderEpoch: -1,
    committedMetadata: metadata,
  })).map(([name, partitions]) => ({ name, partitions }))

const outcomes = (
  topics: readonly { name: string; partitions: readonly { partitionIndex: number; errorCode: number }[] }[],
) =>
  topics.flatMap(({ name, partitions }) =>
    partitions.map(each => ({ topic: name, partition: each.partitionIndex, ...failed(each.errorCode) })),
  )
