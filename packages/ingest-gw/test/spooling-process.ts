// A gateway with a spool in a process of its own, to be killed: its directory. The file `outage` there tells how the log is.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from '@weft/transport'
import { startGateway } from '../src/index.ts'
import { auth, catalogue, RAW } from './fixture.ts'
import { type Outage, withOutages } from './outage.ts'

const [directory = ''] = process.argv.slice(2)
const transport = await open(`embedded:${join(directory, 'store')}`)
await transport.admin.ensure(catalogue.specs().filter(({ topic }) => topic.name === RAW.name))
const outage = (): Outage => readFileSync(join(directory, 'outage'), 'utf8') as Outage
const gateway = await startGateway({
  transport: withOutages(transport, outage),
  catalogue,
  auth,
  directory: join(directory, 'gateway'),
  http: { port: 0 },
  https: false,
  spool: { directory: join(directory, 'spool'), reserveBytes: 0, patienceMs: 50 },
})
process.stdout.write(`${gateway.http}\n`)
