import { conformance } from '../src/conformance/index.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { kafkaCluster } from './kafka-cluster.ts'

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
  start: () => kafkaCluster(openKafka),
})
