/** `npm run local -- up kafka redis`: real servers on this machine, for development and tests, with Docker or without. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import * as docker from './docker.ts'
import { startKafka } from './servers/kafka.ts'
import { notedPorts } from './servers/ports.ts'
import { startPulsar } from './servers/pulsar.ts'
import { startRedis } from './servers/redis.ts'
import { startRegistry } from './servers/registry.ts'
import { lastWords, running, type ServerOptions, type ServerProcess, stop } from './servers/running-server.ts'

const USAGE = `usage: npm run local -- up [NAME…] | down [NAME…] | status [NAME…] | logs NAME

  up      starts servers that do not run yet, and waits until they answer
  down    stops them; --clean removes their data too
  status  tells what runs, where, and how much memory it takes
  logs    the last words of one

  kafka     Kafka 4.1         port 9092   heap 384 MB   needs Java 17 or later, and Maven the first time
  registry  Apicurio 2.6      port 8081   heap 256 MB   likewise; speaks Confluent's API
  pulsar    Pulsar 4.0        port 6650   heap 512 MB   likewise; its REST API is at pulsar-web, port 8080
  redis     the machine's     port 6379   heap 128 MB   needs redis-server

  --port NAME=N   another port, as in --port kafka=19092 --port pulsar-web=18080
  --heap NAME=MB  another size of its heap; of Redis: all that it may hold
  --folder DIR    where data and logs are (default: in node_modules/.cache)
  --no-docker     does not look for Docker

Where a Docker engine runs, \`up\` starts what docker-compose.yml has instead, with its own ports, and so do the others.`

const say = (text: string) => void process.stderr.write(`weft: ${text}\n`)
const print = (text: string) => void process.stdout.write(`${text}\n`)

interface Known {
  readonly start: (options: ServerOptions) => Promise<ServerProcess>
  /** By what `--port` calls them: the name in `ServerOptions.ports`, and the default. */
  readonly ports: Readonly<Record<string, readonly [name: string, port: number]>>
}

const SERVERS: Readonly<Record<string, Known>> = {
  kafka: { start: startKafka, ports: { kafka: ['port', 9092] } },
  registry: { start: startRegistry, ports: { registry: ['port', 8081] } },
  redis: { start: startRedis, ports: { redis: ['port', 6379] } },
  pulsar: { start: startPulsar, ports: { pulsar: ['port', 6650], 'pulsar-web': ['web', 8080] } },
}
const NAMES = Object.keys(SERVERS)
const PORTS = Object.values(SERVERS).flatMap(({ ports }) => Object.keys(ports))

class Mistake extends Error {}

/** `NAME=NUMBER` of a repeatable option. */
function numbers(option: string, texts: readonly string[], names: readonly string[], least: number, most: number) {
  const pairs = texts.map((text): [string, number] => {
    const [name = '', value] = text.split('=')
    if (!names.includes(name) || value === undefined)
      throw new Mistake(`--${option} takes NAME=NUMBER with a name of ${names.join(', ')}, not "${text}"`)
    const number = Number(value)
    if (!(Number.isInteger(number) && number >= least && number <= most))
      throw new Mistake(`--${option} ${name} is a whole number from ${least} to ${most}, not "${value}"`)
    return [name, number]
  })
  return Object.fromEntries(pairs)
}

/** Resident memory in MB, where the system tells it. */
function memoryOf(pid: number): string {
  const file = `/proc/${pid}/status`
  const [, kilobytes] = (existsSync(file) && /VmRSS:\s+(\d+)/.exec(readFileSync(file, 'utf8'))) || []
  return kilobytes ? `, ${Math.round(Number(kilobytes) / 1024)} MB` : ''
}

function describe(name: string, { url, pid, also = {} }: ServerProcess): string {
  const more = Object.entries(also).map(([what, text]) => `\n  ${what}: ${text}`)
  return `${name}: ${url} (process ${pid}${memoryOf(pid)})${more.join('')}`
}

/** Starts one that is not running; `asked` are ports by the names that `--port` knows. */
function up(name: string, folder: string, asked: Record<string, number>, heapMb?: number): Promise<ServerProcess> {
  const { start, ports: known } = SERVERS[name] as Known
  const noted = running(folder) && notedPorts<string>(folder)
  const ports: Record<string, number> = {}
  for (const [option, [port, usual]] of Object.entries(known)) {
    ports[port] = asked[option] ?? usual
    if (noted && asked[option] !== undefined && noted[port] !== asked[option])
      throw new Error(`it runs at port ${noted[port]}: stop it first (npm run local -- down ${name})`)
  }
  return start({ folder, ports, say, ...(heapMb !== undefined && { heapMb }) })
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: 'string', multiple: true, default: [] },
      heap: { type: 'string', multiple: true, default: [] },
      folder: {
        type: 'string',
        default: fileURLToPath(new URL('../node_modules/.cache/weft-servers/running/', import.meta.url)),
      },
      clean: { type: 'boolean', default: false },
      'no-docker': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (values.help) return print(USAGE)
  const [verb, ...asked] = positionals
  if (!['up', 'down', 'status', 'logs'].includes(verb ?? ''))
    throw new Mistake(`expected up, down, status or logs, not "${verb ?? ''}"`)
  const unknown = asked.find(name => !NAMES.includes(name))
  if (unknown !== undefined) throw new Mistake(`"${unknown}" is not a server: ${NAMES.join(', ')} can be started`)
  if (verb === 'logs' && asked.length !== 1) throw new Mistake('logs takes one name, as in: logs kafka')
  const names = asked.length > 0 ? [...new Set(asked)] : NAMES
  const ports = numbers('port', values.port, PORTS, 1, 65_535)
  const heaps = numbers('heap', values.heap, NAMES, 64, 65_536)
  const folderOf = (name: string) => path.join(path.resolve(values.folder), name)
  // What was started without Docker stays in our hands when an engine appears.
  const own = values['no-docker'] || names.some(name => running(folderOf(name))) || !docker.runs()
  if (!own) {
    if (values.port.length + values.heap.length > 0)
      throw new Mistake('a Docker engine runs: ports and memory are those of docker-compose.yml, or add --no-docker')
    return docker.compose(verb as docker.Verb, names, values.clean)
  }
  switch (verb) {
    case 'up':
      for (const name of names)
        try {
          print(describe(name, await up(name, folderOf(name), ports, heaps[name])))
        } catch (error) {
          // The others can start all the same.
          say(`${name} did not start: ${(error as Error).message}`)
          process.exitCode = 1
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
        print(server ? describe(name, server) : `${name}: not running`)
      }
      return
    case 'logs':
      print(lastWords(folderOf(names[0] as string), 200))
  }
}

main().catch(error => {
  const wrong = error instanceof Mistake || error.code?.startsWith('ERR_PARSE_ARGS')
  say(wrong ? `${error.message}\n\n${USAGE}` : error.message)
  process.exitCode = wrong ? 2 : 1
})
