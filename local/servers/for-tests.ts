import { appendFileSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestProject } from 'vitest/node'
import { Missing } from './jars.ts'
import { type KafkaServer, startKafka } from './kafka.ts'
import { stop } from './running-server.ts'

export { type Certificate, type CertificateFiles, createAuthority } from './certificates.ts'
export { type KafkaServer, startKafka } from './kafka.ts'
export { stop } from './running-server.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the servers of this run are. */
    servers: string
  }
}

/** vitest's global set-up: servers start when the first test asks for them, and end with the run. */
export default function setup(project: TestProject): () => Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), 'weft-servers-'))
  project.provide('servers', folder)
  return async () => {
    await stop(path.join(folder, 'kafka'), { graceMs: 5_000 })
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The run's Kafka. Undefined, and noted as not run, where this machine lacks what it takes. */
export async function kafkaForTests(servers: string): Promise<KafkaServer | undefined> {
  // Test files run in several processes: the first one starts it.
  const lock = path.join(servers, 'kafka.lock')
  while (!taken(lock)) await sleep(100)
  try {
    return await startKafka({
      folder: path.join(servers, 'kafka'),
      eager: true,
      heapMb: 512,
      say: text => process.stderr.write(`weft: ${text}\n`),
    })
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `tests against Kafka: ${error.message}\n`)
    return undefined
  } finally {
    rmdirSync(lock)
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
