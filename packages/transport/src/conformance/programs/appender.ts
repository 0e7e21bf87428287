import { bytes } from '../../message.ts'
import { open } from '../../open.ts'
import { random } from '../observe.ts'
import { input, tell } from './program.ts'

/** Appends numbers over a few keys, four appends in flight, and tells which were acknowledged. */
const chance = random(input.seed)
const transport = await open(input.url)
let next = 0
const appendOne = async () => {
  for (;;) {
    const [first, count] = [next, 1 + Math.floor(chance() * 20)]
    next += count
    const messages = Array.from({ length: count }, (_, i) => ({
      key: bytes(`k${(first + i) % 7}`),
      value: bytes(`${input.round}.${first + i}`),
      time: first + i,
    }))
    await transport.append(input.topic, messages)
    tell('acknowledged', first, count)
  }
}
await Promise.all([appendOne(), appendOne(), appendOne(), appendOne()])
