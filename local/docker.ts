import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Missing } from './servers/jars.ts'

const file = fileURLToPath(new URL('../docker-compose.yml', import.meta.url))

/** What docker-compose.yml calls them, and where it publishes them. */
export const SERVICES: Readonly<Record<string, { readonly service: string; readonly url: string }>> = {
  kafka: { service: 'redpanda', url: 'kafka://127.0.0.1:9092' },
  registry: { service: 'redpanda', url: 'http://127.0.0.1:8081' },
  redis: { service: 'redis', url: 'redis://127.0.0.1:6379' },
  pulsar: { service: 'pulsar', url: 'pulsar://127.0.0.1:6650, admin http://127.0.0.1:8080' },
}

export type Verb = 'up' | 'down' | 'status' | 'logs'

/** Whether a Docker engine answers here, with Compose. */
export const runs = (): boolean =>
  [['info'], ['compose', 'version']].every(
    args => spawnSync('docker', args, { stdio: 'ignore', timeout: 10_000 }).status === 0,
  )

/** Does with docker-compose.yml what the verb says; throws when Compose, whose own words are shown, fails. */
export async function compose(verb: Verb, names: readonly string[], clean: boolean): Promise<void> {
  const services = [...new Set(names.map(name => SERVICES[name]?.service ?? name))]
  const commands: Readonly<Record<Verb, readonly string[]>> = {
    // Waits for the health checks, each of which asks its server.
    up: ['up', '--detach', '--wait'],
    down: ['down', ...(clean ? ['--volumes'] : [])],
    status: ['stats', '--no-stream', '--format', 'table {{.Name}}\t{{.MemUsage}}'],
    logs: ['logs', '--tail', '200'],
  }
  await run(['compose', '-f', file, ...commands[verb], ...services])
  if (verb === 'up') await compose('status', names, false)
  if (verb === 'status') for (const name of names) process.stdout.write(`${name}: ${SERVICES[name]?.url}\n`)
}

async function run(args: readonly string[]): Promise<void> {
  const child = spawn('docker', args, { stdio: 'inherit' })
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  child.once('error', reject).once('close', resolve)
  const code = await promise
  if (code !== 0) throw new Missing(`docker ${args.slice(3).join(' ')} ended with ${code}; its own words are above`)
}
