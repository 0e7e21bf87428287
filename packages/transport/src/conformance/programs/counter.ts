import { open } from '../../open.ts'
import { counting, isPoison } from '../counting.ts'
import { hear, input, tell } from './program.ts'

/** Counts exactly once, until it is killed or hears "leave". */
const transport = await open(input.url)
const count = counting(input.output, isPoison)
const options = {
  group: input.group,
  commitEvery: { messages: 50, ms: 20 },
  retry: { maxAttempts: 2, minMs: 1, maxMs: 5 },
}
const running = await transport.transact([input.input], options, async (batch, transaction) => {
  await count(batch, transaction)
  tell('counted', batch.length)
})
tell('joined')
running.done.catch(error => tell('refused', error.code, error.message))
await hear('leave')
await running[Symbol.asyncDispose]()
process.exit()
