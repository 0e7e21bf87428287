// A gateway in a process of its own, to be killed: its directory, and after which append to kill itself (0: never).
import { join } from 'node:path'
import { open } from '@weft/transport'
import { startGateway } from '../src/index.ts'
import { auth, catalogue, RAW, withAppend } from './fixture.ts'

const [directory = '', name = '', killAfter = '0'] = process.argv.slice(2)
const transport = await open(`embedded:${join(directory, 'store')}`)
await transport.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === RAW.name))
let appends = 0
const mortal = withAppend(transport, async (topic, messages, options) => {
  const positions = await transport.append(topic, messages, options)
  // The events are durable, and nobody has been told.
  if (options?.partition === undefined && ++appends === Number(killAfter)) process.kill(process.pid, 'SIGKILL')
  return positions
})
const gateway = await startGateway({
  transport: mortal,
  catalogue,
  auth,
  directory: join(directory, name),
  http: { port: 0 },
  https: false,
})
process.on('SIGTERM', async () => {
  await gateway[Symbol.asyncDispose]()
  await transport[Symbol.asyncDispose]()
})
process.stdout.write(`${gateway.http}\n`)
