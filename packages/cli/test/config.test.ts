import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseRules } from '@weft/pipeline'
import { expect, test } from 'vitest'
import { loadConfig } from '../src/config.ts'
import { temporary } from './spawned.ts'

async function load(yaml: string | undefined, env: NodeJS.ProcessEnv = {}) {
  await using folder = await temporary()
  if (yaml !== undefined) await writeFile(path.join(folder.path, 'weft.yaml'), yaml)
  return await loadConfig({ cwd: folder.path, env, checkRules: parseRules })
}

const faults = async (yaml: string, env?: NodeJS.ProcessEnv) => {
  const error = await load(yaml, env).then(
    () => undefined,
    error => error,
  )
  return { code: error?.code, lines: String(error?.message).split('\n').slice(1) }
}

test('without a file everything has its default', async () => {
  const config = await load(undefined)
  expect(config).toMatchObject({ dev: { port: 7070, demo: true }, gateway: { port: 7072, httpPort: 7071 } })
  expect(config.log).toMatch(/^embedded:\/.*\/\.weft$/)
})

test('the file is found in a folder above, and its relative paths begin there', async () => {
  await using folder = await temporary()
  await writeFile(path.join(folder.path, 'weft.yaml'), 'log: embedded:data')
  const config = await loadConfig({ cwd: path.join(folder.path, 'deep/er'), env: {} })
  expect(config.log).toBe(`embedded:${path.join(folder.path, 'data')}`)
})

test('the example at the root is right as it is', async () => {
  const file = path.resolve(import.meta.dirname, '../../../weft.yaml')
  const config = await loadConfig({ file, env: {}, checkRules: parseRules })
  expect(config.rules?.length).toBeGreaterThan(0)
})

test('what the example shows as comments is right, too', async () => {
  const { readFile } = await import('node:fs/promises')
  const text = await readFile(path.resolve(import.meta.dirname, '../../../weft.yaml'), 'utf8')
  const shown = text.replace(/^# (?=( *)[a-zA-Z]+:( |$))/gm, '').replace(/^ {2}# (?=[a-z]+: )/gm, '  ')
  await expect(load(shown.replace(/ {2}writeKeysFile.*\n/, ''))).resolves.toMatchObject({
    gateway: { rate: { rate: 50_000, burst: 100_000 }, tls: { certFile: 'tls/cert.pem' } },
    pipeline: { tasks: { ingest: ['validate', 'enrich'] } },
  })
})

test('every fault is listed at once, with its path and what would be valid', async () => {
  const { code, lines } = await faults(`
log: nonsense
dev: { prot: 7070, demo: maybe, speed: -1 }
gateway: { port: 99999, httpPort: 12.5, rate: { rate: fast } }
alerts: { slow: wait }
whatever: true
rules: [{ name: a, kind: threshold, raise: 2 }]`)
  expect(code).toBe(2)
  expect(lines).toEqual([
    '  /log: is "nonsense", expected a URL such as embedded:.weft',
    '  /dev/demo: is "maybe", expected true or false',
    '  /dev/speed: is -1, expected more than 0',
    '  /dev/prot: is unknown, did you mean port?',
    '  /gateway/port: is 99999, expected at most 65535',
    '  /gateway/httpPort: is 12.5, expected a whole number',
    '  /gateway/rate/rate: is "fast", expected a number',
    '  /gateway/rate/burst: is missing, expected a number',
    '  /alerts/slow: is "wait", expected drop-to-latest or disconnect',
    '  /whatever: is unknown, expected log, registry, leastFreeBytes, schemas, dev, auth, gateway, pipeline, alerts, rules',
    '  rules/0/raise: is 2, expected a number from 0 to 1',
  ])
})

test('aliases that lead in a circle or blow up are a fault', async () => {
  const wrong = { code: 2, lines: ['  (document): its aliases (*name) are too many or lead in a circle'] }
  expect(await faults('rules: &a [*a]')).toEqual(wrong)
  const bomb = Array.from({ length: 9 }, (_, n) => `r${n}: &r${n} [${Array(9).fill(n ? `*r${n - 1}` : 'x')}]`)
  expect(await faults(bomb.join('\n'))).toEqual(wrong)
})

test('a file that is not YAML is told with its lines', async () => {
  const { lines } = await faults('dev:\n  port: [7070\nlog: x')
  expect(lines[0]).toMatch(/^ {2}line \d+: is not YAML: /)
})

test.for(['just words', '- a\n- list', '42'])('"%s" is no configuration', async yaml => {
  expect((await faults(yaml)).lines).toEqual(['  (document): expected names and values, such as log: embedded:.weft'])
})

test('an empty file is one without settings', async () => {
  await expect(load('# nothing yet\n')).resolves.toMatchObject({ dev: { port: 7070 } })
})

test('a secret in the file is refused with the remedy, and never shown', async () => {
  const { lines } = await faults(`
auth: { writeKeys: { wk_very_secret: aurora }, jwt: { secret: "tell-nobody" } }
gateway: { tls: { certFile: c.pem, keyFile: k.pem, key: "-----BEGIN" } }`)
  expect(lines).toEqual([
    '  /auth/writeKeys: a secret must not be in the file: set WEFT_WRITE_KEYS (key=tenant,…), or name a file with writeKeysFile',
    '  /auth/jwt/secret: a secret must not be in the file: set WEFT_JWT_SECRET, or name a file with secretFile',
    '  /gateway/tls/key: a secret must not be in the file: name a file with keyFile',
  ])
})

test('variables override the file, each parsed as what it sets', async () => {
  const config = await load('gateway: { port: 1 }\nlog: embedded:a', {
    WEFT_LOG: 'embedded:/elsewhere',
    WEFT_GATEWAY_PORT: '8443',
    WEFT_GATEWAY_PLAIN_HTTP_ANYWHERE: 'yes',
    WEFT_GATEWAY_RATE_RATE: '5',
    WEFT_GATEWAY_RATE_BURST: '10',
    WEFT_GATEWAY_CORS_ORIGINS: 'https://a.example, https://b.example',
    WEFT_DEV_DEMO: 'false',
    WEFT_PIPELINE_TASKS: '{"one":["validate"]}',
  })
  expect(config).toMatchObject({
    log: 'embedded:/elsewhere',
    dev: { demo: false },
    gateway: {
      port: 8443,
      plainHttpAnywhere: true,
      rate: { rate: 5, burst: 10 },
      corsOrigins: ['https://a.example', 'https://b.example'],
    },
    pipeline: { tasks: { one: ['validate'] } },
  })
})

test('a wrong variable is a fault as in the file, a misspelt one is not passed over', async () => {
  const { lines } = await faults('', { WEFT_GATEWAY_PORT: 'many', WEFT_GATEWAY_PROT: '1', WEFT_SOMETHING_ELSE: 'x' })
  expect(lines).toEqual([
    '  WEFT_GATEWAY_PROT: is not a setting, did you mean WEFT_GATEWAY_PORT?',
    '  /gateway/port: is "many", expected a number',
  ])
})

test('write keys and the secret come from the environment or from files', async () => {
  await using folder = await temporary()
  const at = (name: string) => path.join(folder.path, name)
  await writeFile(at('weft.yaml'), 'auth: { writeKeysFile: keys.yaml, jwt: { secretFile: secret } }')
  await writeFile(at('keys.yaml'), 'wk_of_birch: birch\n')
  await writeFile(at('secret'), 'a-secret-of-at-least-thirty-two-bytes\n')
  const config = await loadConfig({ cwd: folder.path, env: { WEFT_WRITE_KEYS: 'wk_a=aurora,wk_b=cobalt' } })
  expect(config.writeKeys).toEqual({ wk_of_birch: 'birch', wk_a: 'aurora', wk_b: 'cobalt' })
  expect(config.jwtSecret).toBe('a-secret-of-at-least-thirty-two-bytes')
})

test('files of secrets that are not there are faults, and a wrong pair is not shown', async () => {
  const { lines } = await faults('auth: { writeKeysFile: none.yaml, jwt: { secretFile: none } }', {
    WEFT_WRITE_KEYS: 'wk_secret_without_tenant',
  })
  expect(lines.map(line => line.replace(/ \S*none/, ' …none'))).toEqual([
    '  /auth/writeKeysFile: …none.yaml cannot be read',
    '  WEFT_WRITE_KEYS: expected key=tenant, several with commas between them',
    '  /auth/jwt/secretFile: …none cannot be read',
  ])
})

test('a configuration that is named and not there is an error', async () => {
  await expect(loadConfig({ file: 'other.yaml', cwd: '/', env: {} })).rejects.toMatchObject({
    code: 2,
    message: 'there is no configuration file /other.yaml',
  })
})
