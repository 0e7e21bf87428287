import { bytes } from '../../message.ts'
import { open } from '../../open.ts'
import { random } from '../observe.ts'
import { hear, input, tell } from './program.ts'

/**
 * Writes the numbers of a source that begins at 1, in appends of random size that overlap what was written before, from
 * where the log says that it is. Pauses at `until`, if there is one, until it hears "go on".
 */
const chance = random(input.seed)
const transport = await open(input.url)
const writer = await transport.writer(input.writer)
const last = await writer.last(input.topic)
tell('resumed', String(last ?? 0n))
let next = (last ?? 0n) + 1n
try {
  for (;;) {
    const from = next > 3n ? next - 3n : 1n
    const to = input.until ? BigInt(input.until) : next + BigInt(Math.floor(chance() * 20))
    const batch = []
    for (let sequence = from; sequence <= to; sequence++) {
      const message = { key: bytes(`k${sequence % 5n}`), value: bytes(String(sequence)), time: Number(sequence) }
      batch.push({ sequence, message })
    }
    await writer.append(input.topic, batch)
    tell('written', String(to))
    next = to + 1n
    if (input.until) {
      await hear('go on')
      input.until++
    }
  }
} catch (error) {
  tell('refused', (error as { code?: string }).code, String(error))
}
