import { open } from '../../open.ts'
import { input, tell } from './program.ts'

/** Takes one batch and then none, while another reader of the same client takes all; tells by how much memory grew. */
const used = async () => {
  // What was collected is only given back a turn later.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise(setImmediate)
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

await using transport = await open(input.url)
const [end] = (await transport.admin.describe(input.topic)).end
if (!end) throw new Error('the topic has one partition')
const options = { from: 'earliest', maxBytes: input.maxBytes } as const
const slow = transport.read(input.topic, options)[Symbol.asyncIterator]()
const before = await used()
const first = await slow.next()
let bytes = 0
reading: for await (const batch of transport.read(input.topic, options)) {
  for (const { value, position } of batch) {
    bytes += value?.length ?? 0
    if (transport.compare(position, end) >= 0) break reading
  }
}
tell('grown', (await used()) - before, bytes, first.value?.length)
await slow.return?.()
process.exit()
