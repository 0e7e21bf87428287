import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { kafkaForTests, stop } from '@weft/local/for-tests'

/**
 * A broker of a test's own, whose topics nobody else uses and which can be killed. `url` is undefined where this machine
 * lacks what it takes.
 */
export async function ownBroker() {
  const folder = await mkdtemp(path.join(tmpdir(), 'weft-broker-'))
  const end = (signal: 'SIGKILL' | 'SIGTERM') => stop(path.join(folder, 'kafka'), { signal })
  const server = await kafkaForTests(folder)
  return {
    /** Who works on it waits for it while it is away. */
    url: server && `kafka://127.0.0.1:${server.port}?patienceMs=30000`,
    end,
    /** After `end`, at the same address, with all that it had. */
    start: () => kafkaForTests(folder),
    async restart(signal: 'SIGKILL' | 'SIGTERM') {
      await end(signal)
      await kafkaForTests(folder)
    },
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
      await rm(folder, { recursive: true, force: true })
    },
  }
}
