/** `npm run local -- up kafka`: real servers on this machine without Docker, for development and tests. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startKafka } from './servers/kafka.ts'
import { lastWords, running, type ServerProcess, stop } from './servers/running-server.ts'

const USAGE = `usage: npm run local -- up [NAME…] | down [NAME…] | status | logs NAME

  up      starts servers that do not run yet, and waits until they answer
  down    stops them; --clean removes their data too
  status  tells what runs, where, and how much memory it takes
  logs    the last words of one

  --port N      where Kafka listens (default 9092)
  --heap N      its heap in MB (default 384)
  --folder DIR  where data and logs are (default: in node_modules/.cache)

Known servers: kafka (4.1, from Maven Central; needs Java 17 or later, and Maven the first time).`

const folders = fileURLToPath(new URL('../node_modules/.cache/weft-servers/running/', import.meta.url))
const say = (text: string) => process.stderr.write(`weft: ${text}\n`)

interface Settings {
  readonly port: number
  readonly heapMb: number
}

const SERVERS: Readonly<Record<string, (folder: string, settings: Settings) => Promise<ServerProcess>>> = {
  kafka: (folder, { port, heapMb }) => startKafka({ folder, port, heapMb, say }),
}

/** Resident memory in MB, where the system tells it. */
function memoryOf(pid: number): string {
  const file = `/proc/${pid}/status`
  const [, kilobytes] = (existsSync(file) && /VmRSS:\s+(\d+)/.exec(readFileSync(file, 'utf8'))) || []
  return kilobytes ? `, ${Math.round(Number(kilobytes) / 1024)} MB` : ''
}

const line = (name: string, { url, pid }: ServerProcess) => `${name}: ${url} (process ${pid}${memoryOf(pid)})`

class Mistake extends Error {}

function whole(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (!(Number.isInteger(value) && value >= least && value <= most))
    throw new Mistake(`--${name} is a whole number from ${least} to ${most}, not "${text}"`)
  return value
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: 'string', default: '9092' },
      heap: { type: 'string', default: '384' },
      folder: { type: 'string', default: folders },
      clean: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  const [verb, ...asked] = positionals
  const folderOf = (name: string) => path.join(path.resolve(values.folder), name)
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const unknown = asked.find(name => !(name in SERVERS))
  if (unknown !== undefined)
    throw new Mistake(`"${unknown}" is not a server: ${Object.keys(SERVERS).join(', ')} can be started`)
  const names = asked.length > 0 ? asked : Object.keys(SERVERS)
  const settings = { port: whole('port', values.port, 1, 65_535), heapMb: whole('heap', values.heap, 128, 65_536) }
  switch (verb) {
    case 'up':
      for (const name of names) {
        const server = await (SERVERS[name] as (typeof SERVERS)[string])(folderOf(name), settings)
        process.stdout.write(`${line(name, server)}\n`)
      }
      return
    case 'down':
      for (const name of names) {
        say((await stop(folderOf(name))) ? `${name} was stopped` : `${name} was not running`)
        if (values.clean) rmSync(folderOf(name), { recursive: true, force: true })
      }
      return
    case 'status':
      for (const name of names) {
        const server = running(folderOf(name))
        process.stdout.write(server ? `${line(name, server)}\n` : `${name}: not running\n`)
      }
      return
    case 'logs':
      if (asked.length !== 1) throw new Mistake('logs takes one name, as in: logs kafka')
      process.stdout.write(`${lastWords(folderOf(asked[0] as string), 200)}\n`)
      return
    default:
      throw new Mistake(`expected up, down, status or logs, not "${verb ?? ''}"`)
  }
}

main().catch(error => {
  const wrong = error instanceof Mistake || error.code?.startsWith('ERR_PARSE_ARGS')
  say(wrong ? `${error.message}\n\n${USAGE}` : error.message)
  process.exitCode = wrong ? 2 : 1
})
