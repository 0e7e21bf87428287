import { kafkaForTests } from '@weft/local/for-tests'
import { inject, test } from 'vitest'
import { conformance } from '../src/conformance/index.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { kafkaCluster } from './kafka-cluster.ts'

const server = await kafkaForTests(inject('servers'))

if (server)
  conformance('kafka', {
    guarantees: {
      durable: true,
      exactlyOnce: true,
      appendOnce: true,
      keyShared: true,
      compaction: true,
      tenants: 'convention',
      maxMessageBytes: 8_388_608,
    },
    start: () => kafkaCluster(server, openKafka),
  })
else test.skip('kafka keeps the transport contract: not run here, see the last lines', () => {})
