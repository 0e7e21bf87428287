import { bytes, header } from '../../message.ts'
import { open } from '../../open.ts'
import { hear, input, tell } from './program.ts'

/**
 * Owns a partition and stays inside its first transaction until it hears "commit"; whatever later transactions it is
 * given count as the suite's own do. It leaves when it hears "leave".
 */
const transport = await open(input.url)
let inside = false
const running = await transport.transact(input.topics, { group: input.group }, async (batch, transaction) => {
  const marker = bytes('sleeper')
  if (transaction.get('sleeper', marker)) tell('state', 'what was taken back is there')
  if (!inside) {
    inside = true
    transaction.set('sleeper', marker, marker)
    transaction.append(input.output, [{ key: bytes('sleeper'), value: bytes('by the sleeper'), time: 0 }])
    tell('inside')
    await hear('commit')
    tell('returned')
    return
  }
  for (const { key, value } of batch) {
    if (!key || !value) continue
    const count = Number(Buffer.from(transaction.get('counts', key) ?? bytes('0')).toString()) + 1
    transaction.set('counts', key, bytes(String(count)))
    const told = bytes(`${Buffer.from(value)}:${count}`)
    transaction.append(input.output, [{ key, value: told, time: 0, headers: [header('by', 'sleeper')] }])
  }
})
running.done.then(
  () => tell('done'),
  error => tell('refused', error.code, error.message),
)
await hear('leave')
await running[Symbol.asyncDispose]()
await transport[Symbol.asyncDispose]()
tell('left')
process.exit()
