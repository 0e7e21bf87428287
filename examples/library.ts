/** The library alone: a durable, ordered log in a directory, three verbs, no broker. Run it: node examples/library.ts */
import { bytes, open, text } from '@weft/transport'

const directory = process.argv[2] ?? '.weft/example'
await using log = await open(`embedded:${directory}`)
const orders = { name: 'orders' }
await log.admin.ensure([{ topic: orders, partitions: 3 }])

const order = (id: number) => ({ key: bytes(`customer-${id % 2}`), value: bytes(`order ${id}`), time: Date.now() })
await log.append(orders, [order(1), order(2), order(3)]) // durable once this resolves

const three = Promise.withResolvers<void>()
let seen = 0
await using _worker = await log.subscribe(orders, { group: 'billing' }, message => {
  console.log(`billing got ${text(message.value ?? new Uint8Array())} of ${text(message.key ?? new Uint8Array())}`)
  if (++seen === 3) three.resolve()
})

const signal = AbortSignal.timeout(10_000)
for await (const batch of log.read(orders, { from: 'earliest', signal })) {
  for (const { position } of batch) console.log(`read ${position.partition}:${position.at}`)
  if (batch.length) break
}
await three.promise
