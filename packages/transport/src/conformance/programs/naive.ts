import { setTimeout as sleep } from 'node:timers/promises'
import { bytes, text } from '../../message.ts'
import { open } from '../../open.ts'
import { random } from '../observe.ts'
import { hear, input, tell } from './program.ts'

/**
 * The control: what everybody writes who has no transaction. Consume, append, and acknowledge after the work or, with
 * `early`, before it.
 */
const chance = random(input.seed)
const transport = await open(input.url)
await transport.subscribe(input.input, { group: input.group, maxUnacked: 50 }, async ({ key, value }) => {
  if (!key || !value) return
  // Work takes its time, some longer than other.
  const work = sleep(chance() * 200).then(() =>
    transport.append(input.output, [{ key, value: bytes(`${text(value)}:0`), time: 0 }]),
  )
  if (!input.early) await work
  tell('counted', text(value))
})
await hear('leave')
process.exit()
