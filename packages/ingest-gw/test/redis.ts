import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { Redis } from 'ioredis'
import { expect, type TestContext } from 'vitest'

export interface RedisServer extends AsyncDisposable {
  readonly url: string
  /** SIGKILL: all that it knew is gone. */
  kill(): Promise<void>
  /** After `kill`, at the same address. */
  start(): Promise<void>
  /** SIGSTOP: connections stay, nothing is answered. */
  stop(): void
  go(): void
  /** A client of the test's own. */
  client(): Redis
}

/** A real Redis; undefined, with the test skipped and noted as not run, where there is none. */
export async function redisServer(context: TestContext): Promise<RedisServer> {
  if (spawnSync('redis-server', ['--version']).status !== 0) {
    const reason = 'there is no redis-server here (Debian: apt install redis-server)'
    if (process.env.CI === 'true') expect.fail(reason)
    if (process.env.WEFT_NOT_RUN) appendFileSync(process.env.WEFT_NOT_RUN, `gateways that share ids: ${reason}\n`)
    return context.skip(reason)
  }
  const port = await freePort()
  const clients: Redis[] = []
  let child: ChildProcess
  const server: RedisServer = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
      child = spawn('redis-server', args, { cwd: tmpdir(), stdio: ['ignore', 'pipe', 'inherit'] })
      for await (const chunk of child.stdout as NodeJS.ReadableStream)
        if (/Ready to accept connections/.test(String(chunk))) break
      child.stdout?.resume()
    },
    async kill() {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    },
    stop: () => void child.kill('SIGSTOP'),
    go: () => void child.kill('SIGCONT'),
    client() {
      const client = new Redis(server.url)
      clients.push(client)
      return client
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.disconnect()
      await server.kill()
    },
  }
  await server.start()
  return server
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  return port
}
