import { spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from '@weft/transport'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { java, Missing } from '../servers/jars.ts'
import { freePorts } from '../servers/running-server.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weft-local-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const script = fileURLToPath(new URL('../servers.ts', import.meta.url))

/** What `npm run local -- …` says and how it ends. */
async function local(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [script, ...args, '--folder', folder], { env: { ...process.env, ...env } })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', data => {
    out += data
  })
  child.stderr.setEncoding('utf8').on('data', data => {
    err += data
  })
  const { promise, resolve } = Promise.withResolvers<number | null>()
  child.once('close', resolve)
  return { code: await promise, out, err }
}

/** A Java of that version, as far as it tells. */
async function javaThatSays(version: string): Promise<string> {
  const home = await mkdtemp(path.join(folder, 'java-'))
  await mkdir(path.join(home, 'bin'))
  await writeFile(path.join(home, 'bin', 'java'), `#!/bin/sh\necho 'openjdk version "${version}"' >&2\n`)
  await chmod(path.join(home, 'bin', 'java'), 0o755)
  return home
}

test.for([
  [['fly'], 'expected up, down, status or logs, not "fly"'],
  [['up', 'kafak'], '"kafak" is not a server: kafka can be started'],
  [['up', 'kafka', '--port', 'many'], '--port is a whole number'],
  [['logs'], 'logs takes one name'],
] as const)('says what is wrong with %j, and ends with 2', async ([args, why]) => {
  const { code, err } = await local(args)
  expect([code, err]).toEqual([2, expect.stringContaining(why)])
})

test('says in one sentence that Java is missing or too old, and what to do', async () => {
  const [old, none] = [await javaThatSays('11.0.2'), path.join(folder, 'nowhere')]
  for (const [home, why] of [
    [old, 'Java 11 is too old: install 17 or later'],
    [none, `there is no Java in JAVA_HOME (${none}): install a JDK or JRE, 17 or later`],
  ] as const) {
    const { code, err } = await local(['up', 'kafka'], { JAVA_HOME: home })
    expect([code, err]).toEqual([1, expect.stringContaining(why)])
    expect(err.trim().split('\n')).toHaveLength(1)
  }
})

/** Whether this machine can start servers: what it lacks is told by the suites that need them. */
const able = (() => {
  try {
    return java() !== ''
  } catch (error) {
    if (error instanceof Missing) return false
    throw error
  }
})()

test.runIf(able)('says that a port is in use', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as { port: number }
  const { code, err } = await local(['up', 'kafka', '--port', String(port)])
  server.close()
  expect([code, err]).toEqual([1, expect.stringContaining(`port ${port} is in use`)])
})

test.runIf(able)(
  'starts Kafka once however often it is asked, shows it, and stops it',
  { timeout: 180_000 },
  async () => {
    const [port] = (await freePorts(1)) as [number]
    const up = ['up', 'kafka', '--port', String(port), '--heap', '256']
    try {
      const first = await local(up)
      expect(first).toMatchObject({
        code: 0,
        out: expect.stringContaining(`kafka: kafka://127.0.0.1:${port} (process `),
      })
      const pid = /process (\d+)/.exec(first.out)?.[1]
      expect((await local(up)).out).toContain(`process ${pid}`)
      {
        await using client = await open(`kafka://127.0.0.1:${port}`)
        expect(await client.admin.topics()).toEqual([])
      }
      expect((await local(['status'])).out).toContain(`process ${pid}`)
      expect((await local(['logs', 'kafka'])).out).toContain('Kafka Server started')
    } finally {
      const down = await local(['down', '--clean'])
      expect([down.code, down.err]).toEqual([0, expect.stringContaining('kafka was stopped')])
    }
    expect((await local(['status'])).out).toBe('kafka: not running\n')
    expect((await local(['down'])).err).toContain('kafka was not running')
  },
)
