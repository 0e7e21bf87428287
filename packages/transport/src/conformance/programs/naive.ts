import { text } from '../../message.ts'
import { open } from '../../open.ts'
import { hear, input, tell } from './program.ts'

/** The control: what everybody writes who has no transaction. Consume, append, acknowledge; the counts in memory. */
const transport = await open(input.url)
const counts = new Map<string, number>()
await transport.subscribe(input.input, { group: input.group, maxUnacked: 50 }, async ({ key, value }) => {
  if (!key || !value) return
  const count = (counts.get(text(key)) ?? 0) + 1
  counts.set(text(key), count)
  await transport.append(input.output, [{ key, value: new TextEncoder().encode(`${text(value)}:${count}`), time: 0 }])
  tell('counted', 1)
})
tell('joined')
await hear('leave')
process.exit()
