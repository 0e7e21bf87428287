import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from '@weft/transport'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { orNotRun } from '../servers/for-tests.ts'
import { fetched, java } from '../servers/jars.ts'
import { freePorts } from '../servers/ports.ts'
import { redisServer } from '../servers/redis.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weft-local-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const script = fileURLToPath(new URL('../servers.ts', import.meta.url))

/** What `npm run local -- …` says and how it ends. */
async function local(args: readonly string[], env: NodeJS.ProcessEnv = {}, flags = ['--no-docker']) {
  const child = spawn(process.execPath, [script, ...args, ...flags, '--folder', folder], {
    env: { ...process.env, ...env },
  })
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
  [['up', 'kafak'], '"kafak" is not a server: kafka, registry, redis, pulsar can be started'],
  [['up', 'kafka', '--port', 'kafka=many'], '--port kafka is a whole number from 1 to 65535, not "many"'],
  [['up', 'kafka', '--port', '9092'], '--port takes NAME=NUMBER with a name of kafka,'],
  [['up', 'kafka', '--heap', 'kafak=256'], 'not "kafak=256"'],
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

test('goes on with the others when one cannot start, and ends with 1', async () => {
  const none = path.join(folder, 'nowhere')
  const { code, err } = await local(['up', 'kafka', 'registry'], { JAVA_HOME: none })
  expect(code).toBe(1)
  for (const name of ['kafka', 'registry']) expect(err).toContain(`${name} did not start: there is no Java`)
})

test('leaves it to docker-compose.yml where a Docker engine runs', async () => {
  const bin = await mkdtemp(path.join(folder, 'docker-'))
  await writeFile(path.join(bin, 'docker'), '#!/bin/sh\necho "$@"\n', { mode: 0o755 })
  const env = { PATH: `${bin}${path.delimiter}${process.env.PATH}` }
  const asked = async (...args: string[]) => (await local(args, env, [])).out.replaceAll(/-f \S+\//g, '').split('\n')
  expect(await asked('up', 'kafka', 'registry', 'redis')).toEqual([
    'compose docker-compose.yml up --detach --wait redpanda redis',
    expect.stringMatching('^compose docker-compose.yml stats .* redpanda redis$'),
    'kafka: kafka://127.0.0.1:9092',
    'registry: http://127.0.0.1:8081',
    'redis: redis://127.0.0.1:6379',
    '',
  ])
  expect(await asked('down', 'pulsar', '--clean')).toEqual(['compose docker-compose.yml down --volumes pulsar', ''])
  const { code, err } = await local(['up', 'redis', '--port', 'redis=1'], env, [])
  expect([code, err]).toEqual([2, expect.stringContaining('ports and memory are those of docker-compose.yml')])
})

test('stops only what it started: not a later process with the same number', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  const home = path.join(folder, 'redis')
  await mkdir(home, { recursive: true })
  await writeFile(path.join(home, 'process.json'), JSON.stringify({ pid: child.pid, started: '1', url: 'redis://x' }))
  expect((await local(['status', 'redis'])).out).toBe('redis: not running\n')
  expect((await local(['down', 'redis', '--clean'])).err).toContain('redis was not running')
  expect(child.exitCode ?? child.signalCode).toBe(null)
  child.kill()
})

/** Each with what it has to answer at the port it was given; the second time is after a restart. */
const SERVERS: Record<string, (port: number, again: boolean) => Promise<void>> = {
  async kafka(port, again) {
    await using client = await open(`kafka://127.0.0.1:${port}`)
    if (!again) await client.admin.ensure([{ topic: { name: 'kept' }, partitions: 3 }])
    expect((await client.admin.topics()).map(({ topic }) => topic)).toEqual([{ name: 'kept' }])
  },
  async registry(port, again) {
    const url = `http://127.0.0.1:${port}/apis/ccompat/v7/subjects/kept-value/versions`
    const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' }
    const body = JSON.stringify({ schema: '{"type":"record","name":"Kept","fields":[]}' })
    if (!again) await fetch(url, { method: 'POST', headers, body })
    expect(await (await fetch(`${url}/1`)).json()).toMatchObject({ subject: 'kept-value', version: 1, id: 1 })
  },
  async redis(port, again) {
    const socket = connect(port, '127.0.0.1')
    socket.write(again ? 'GET kept\r\n' : 'SET kept 1\r\nGET kept\r\n')
    socket.write('QUIT\r\n')
    let answer = ''
    for await (const data of socket) answer += data
    expect(answer).toContain('$1\r\n1\r\n')
  },
  async pulsar(_port, again) {
    const home = path.join(folder, 'pulsar')
    const [ports, token] = [
      await readFile(path.join(home, 'ports.json'), 'utf8'),
      await readFile(path.join(home, 'admin.token'), 'utf8'),
    ]
    const admin = `http://127.0.0.1:${JSON.parse(ports).web}/admin`
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const kept = `${admin}/v2/persistent/public/default/kept`
    if (!again) {
      await fetch(kept, { method: 'PUT', headers })
      await fetch(`${kept}/deduplicationEnabled`, { method: 'POST', headers, body: 'true' })
    }
    const topics = await (await fetch(`${admin}/v2/persistent/public/default`, { headers })).json()
    const deduplicates = await (await fetch(`${kept}/deduplicationEnabled`, { headers })).json()
    const coordinators = await (await fetch(`${admin}/v3/transactions/coordinators`, { headers })).json()
    expect([topics, deduplicates]).toEqual([['persistent://public/default/kept'], true])
    expect(coordinators).not.toEqual([])
    expect((await fetch(`${admin}/v2/tenants`)).status).toBe(401)
  },
}

describe.each(Object.keys(SERVERS))('%s', async name => {
  const able = await orNotRun(`npm run local -- up ${name}`, async () => {
    if (name === 'redis') return redisServer()
    java()
    return await fetched(name, () => {})
  })
  if (!able) return test.skip('not run here, see the last lines', () => {})

  test('is not started where its port is in use: one sentence says so', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { code, err } = await local(['up', name, '--port', `${name}=${port}`])
    server.close()
    expect([code, err]).toEqual([1, expect.stringContaining(`port ${port} is in use`)])
    expect(err.trim().split('\n')).toHaveLength(1)
  })

  test('runs once however often it is asked, is shown, is stopped, and keeps what it has', {
    timeout: 180_000,
  }, async () => {
    const [port, web] = (await freePorts(2)) as [number, number]
    const ports = [`${name}=${port}`, ...(name === 'pulsar' ? [`pulsar-web=${web}`] : [])]
    const up = ['up', name, ...ports.flatMap(each => ['--port', each]), '--heap', `${name}=256`]
    const answers = SERVERS[name] as (typeof SERVERS)[string]
    try {
      const first = await local(up)
      expect(first).toMatchObject({
        code: 0,
        out: expect.stringMatching(`^${name}: [a-z]+://127.0.0.1:${port}\\b.* \\(process `),
      })
      const pid = /process (\d+)/.exec(first.out)?.[1]
      expect((await local(up)).out).toContain(`process ${pid}`)
      expect((await local(['up', name, '--port', `${name}=${web}`])).err).toContain(`it runs at port ${port}: stop it`)
      await answers(port, false)
      expect((await local(['status', name])).out).toContain(`process ${pid}`)
      expect((await local(['logs', name])).out.split('\n').length).toBeGreaterThan(5)
      expect((await local(['down', name])).err).toContain(`${name} was stopped`)
      expect((await local(up)).code).toBe(0)
      await answers(port, true)
    } finally {
      const down = await local(['down', name, '--clean'])
      expect([down.code, down.err]).toEqual([0, expect.stringContaining(`${name} was stopped`)])
    }
    expect((await local(['status', name])).out).toBe(`${name}: not running\n`)
    expect((await local(['down', name])).err).toContain(`${name} was not running`)
  })
})
