import { kafkaForTests } from '@weft/local/for-tests'
import { inject, test } from 'vitest'
import { conformance } from '../src/conformance/index.ts'
import { openKafka } from '../src/kafka/kafka.ts'
import { kafkaCluster } from './kafka-cluster.ts'

const server = await kafkaForTests(inject('servers'))

for (const driver of ['platformatic', 'kafkajs'])
  if (server)
    conformance(`kafka by ${driver}`, {
      guarantees: {
        durable: true,
        exactlyOnce: true,
        appendOnce: true,
        keyShared: true,
        compaction: true,
        tenants: 'convention',
        maxMessageBytes: 8_388_608,
      },
      start: () => kafkaCluster(server, openKafka, driver),
    })
  else test.skip(`kafka by ${driver} keeps the transport contract: not run here, see the last lines`, () => {})
