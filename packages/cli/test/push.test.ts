import { cp, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import path from 'node:path'
import { registryForTests } from '@weft/local/for-tests'
import { defaultCatalogueDir } from '@weft/schema'
import { describe, expect, inject, test } from 'vitest'
import { type Folder, jsonLines, temporary, weft } from './spawned.ts'

const server = await registryForTests(inject('servers'))

if (server) describe('weft schemas push', () => cases(server.url))
else test.skip('weft schemas push: not run here, see the last lines', () => {})

function cases(url: string) {
  /** The project's schemas under a name of their own, so that other tests' subjects are left alone. */
  async function schemas(folder: Folder): Promise<{ readonly dir: string; readonly topic: string }> {
    const dir = path.join(folder.path, 'schemas')
    const topic = `t${crypto.randomUUID().slice(0, 8)}.alerts.v1`
    await cp(new URL('alerts.v1.avsc', defaultCatalogueDir), path.join(dir, 'alerts.v1.avsc'))
    const entry = {
      purpose: 'Alerts.',
      schema: 'alerts.v1.avsc',
      key: '{entity}',
      partitions: 1,
      retention: '1d',
      cleanup: 'delete',
      compatibility: 'FULL',
      owner: 'tests',
      producers: ['tests'],
      consumers: ['tests'],
    }
    await writeFile(path.join(dir, 'catalogue.yaml'), JSON.stringify({ topics: { [topic]: entry } }))
    await weft(folder.path, ['schemas', 'release', 'all', '--dir', dir])
    return { dir, topic }
  }

  test('says what it would do, does it, and finds nothing to do the second time', async () => {
    await using folder = await temporary()
    const { dir, topic } = await schemas(folder)
    const push = (...args: string[]) =>
      weft(folder.path, ['schemas', 'push', '--dir', dir, ...args], '', { WEFT_REGISTRY: url })
    expect(await push('--dry-run')).toMatchObject({
      code: 0,
      out: `${topic}-value: would register version 1, would set compatibility FULL\n`,
    })
    const [row] = jsonLines((await push('--json')).out)
    expect(row).toMatchObject({ topic, action: 'registered', done: true, versions: [{ version: 1, isNew: true }] })
    const { out } = await push()
    expect(out).toMatch(new RegExp(`^${topic}-value: unchanged, version 1 \\(id \\d+\\), FULL\n$`))
  })

  test('changes nothing and ends with 3 when a schema breaks what is there, naming the field', async () => {
    await using folder = await temporary()
    const { dir, topic } = await schemas(folder)
    const file = path.join(dir, 'alerts.v1.avsc')
    const avro = JSON.parse(await readFile(file, 'utf8'))
    // Another has registered what ours does not go with.
    const theirs = {
      ...avro,
      fields: avro.fields.map((each: object) => ({ ...each, ...typeOf(each, 'message', 'int') })),
    }
    const body = JSON.stringify({ schema: JSON.stringify(theirs) })
    const headers = { 'content-type': 'application/json' }
    await fetch(`${url}/subjects/${topic}-value/versions`, { method: 'POST', headers, body })
    const { code, out, err } = await weft(folder.path, ['schemas', 'push', '--dir', dir, '--registry', url])
    expect({ code, err }).toEqual({ code: 3, err: `weft: ${topic}: refused, so nothing was changed in the registry\n` })
    expect(out).toMatch(/refused\n {2}in the registry, .* message \(.*version 1\): was changed from int to string/)
    expect(await (await fetch(`${url}/subjects/${topic}-value/versions`)).json()).toEqual([1])
  })

  test('takes credentials from the environment, and tells what is wrong with them without repeating them', async () => {
    await using folder = await temporary()
    const { dir } = await schemas(folder)
    const door = createServer((request, response) => {
      const right = request.headers.authorization === `Basic ${Buffer.from('weft:secret').toString('base64')}`
      response.writeHead(right ? 404 : 401).end('{}')
    }).listen(0, '127.0.0.1')
    await using _closed = { [Symbol.asyncDispose]: async () => void door.close() }
    await new Promise(resolve => door.once('listening', resolve))
    const { port } = door.address() as { port: number }
    const push = (env: NodeJS.ProcessEnv) =>
      weft(folder.path, ['schemas', 'push', '--dir', dir, '--registry', `http://127.0.0.1:${port}`], '', env)
    const wrong = await push({ WEFT_REGISTRY_USER: 'weft', WEFT_REGISTRY_PASSWORD: 'guessed' })
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('without the right credentials (401)') })
    expect(wrong.err).not.toContain('guessed')
    const half = await push({ WEFT_REGISTRY_USER: 'weft' })
    expect(half).toMatchObject({ code: 2, err: expect.stringContaining('WEFT_REGISTRY_PASSWORD: is missing') })
    const both = await push({ WEFT_REGISTRY_TOKEN: 't', WEFT_REGISTRY_USER: 'weft', WEFT_REGISTRY_PASSWORD: 'x' })
    expect(both).toMatchObject({ code: 2, err: expect.stringContaining('one or the other') })
    // Let in, it finds that this is no registry.
    const right = await push({ WEFT_REGISTRY_USER: 'weft', WEFT_REGISTRY_PASSWORD: 'secret' })
    expect(right).toMatchObject({ code: 2, err: expect.stringContaining("does not speak Confluent's API") })
    const none = await weft(folder.path, ['schemas', 'push', '--dir', dir])
    expect(none).toMatchObject({ code: 2, err: expect.stringContaining('--registry URL') })
  })
}

const typeOf = (field: object, name: string, type: string) => ('name' in field && field.name === name ? { type } : {})
