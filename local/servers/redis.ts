import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { Missing } from './jars.ts'
import { choosePorts, notedPorts } from './ports.ts'
import { answered, launch, running, type ServerOptions, type ServerProcess } from './running-server.ts'

export interface RedisServer extends ServerProcess {
  readonly port: number
}

/** Starts the machine's redis-server, or finds it running; what it holds outlives it. `heapMb`: all that it may hold. */
export async function startRedis({ folder, ports, heapMb = 128, say = () => {} }: ServerOptions): Promise<RedisServer> {
  mkdirSync(folder, { recursive: true })
  const found = running(folder)
  if (found) return { ...found, port: notedPorts<'port'>(folder)?.port ?? 0 }
  const command = redisServer()
  const { port } = await choosePorts(folder, ['port'], ports)
  const url = `redis://127.0.0.1:${port}`
  say(`starting Redis at ${url}`)
  const settings = {
    port,
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'yes',
    maxmemory: `${heapMb}mb`,
    'maxmemory-policy': 'noeviction',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)])
  const server = await launch(folder, [command, ...options], { url }, () => redisAnswers(port))
  return { ...server, port }
}

/** The command of the machine's Redis. Missing if there is none. */
export function redisServer(): string {
  if (spawnSync('redis-server', ['--version']).status === 0) return 'redis-server'
  throw new Missing('there is no redis-server: install Redis (Debian: apt-get install redis-server)')
}

/** Whether a Redis there takes commands. */
const redisAnswers = async (port: number): Promise<boolean> =>
  (await answered(port, Buffer.from('PING\r\n'), 7))?.toString() === '+PONG\r\n'
