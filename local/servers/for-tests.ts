import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestProject } from 'vitest/node'
import { Missing } from './jars.ts'
import { type KafkaServer, startKafka } from './kafka.ts'
import { type PulsarServer, startPulsar } from './pulsar.ts'
import { type RedisServer, startRedis } from './redis.ts'
import { type RegistryServer, startRegistry } from './registry.ts'
import { kill, stop } from './running-server.ts'

export * from './index.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the servers of this run are. */
    servers: string
  }
}

/** vitest's global set-up: servers start when the first test asks for them, and end with the run, however it ends. */
export default function setup(project: TestProject): () => Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'weft-servers-'))
  project.provide('servers', folder)
  const all = () => readdirSync(folder).map(name => path.join(folder, name))
  const interrupted = () => {
    for (const each of all()) kill(each)
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
  }
  process.once('exit', interrupted)
  return async () => {
    await Promise.all(all().map(each => stop(each, { graceMs: 5_000 })))
    process.off('exit', interrupted)
    rmSync(folder, { recursive: true, force: true })
  }
}

const say = (text: string) => void process.stderr.write(`weft: ${text}\n`)

/**
 * The run's Kafka, as `servers` of vitest's `inject` says where it is. Undefined, and noted as not run, where this
 * machine lacks what it takes: then the file registers one test that says so.
 */
export const kafkaForTests = (servers: string): Promise<KafkaServer | undefined> =>
  forTests(servers, 'kafka', folder => startKafka({ folder, eager: true, heapMb: 512, say }))

/** The run's schema registry, likewise. */
export const registryForTests = (servers: string): Promise<RegistryServer | undefined> =>
  forTests(servers, 'registry', folder => startRegistry({ folder, say }))

/** The run's Redis, likewise. */
export const redisForTests = (servers: string): Promise<RedisServer | undefined> =>
  forTests(servers, 'redis', folder => startRedis({ folder, say }))

/** The run's Pulsar, likewise. */
export const pulsarForTests = (servers: string): Promise<PulsarServer | undefined> =>
  forTests(servers, 'pulsar', folder => startPulsar({ folder, say }))

async function forTests<T>(
  servers: string,
  name: string,
  start: (folder: string) => Promise<T>,
): Promise<T | undefined> {
  // Test files run in several processes: the first one starts it.
  const lock = path.join(servers, `${name}.lock`)
  while (!taken(lock)) await sleep(100)
  try {
    return await orNotRun(`tests against ${name}`, () => start(path.join(servers, name)))
  } finally {
    rmdirSync(lock)
  }
}

/** What `start` gives; undefined, and `what` noted as not run with the reason, if this machine lacks what it takes. */
export async function orNotRun<T>(what: string, start: () => Promise<T>): Promise<T | undefined> {
  try {
    return await start()
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `${what}: ${error.message}\n`)
    return undefined
  }
}

function taken(lock: string): boolean {
  try {
    mkdirSync(lock)
    return true
  } catch {
    return false
  }
}
