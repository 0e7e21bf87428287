import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { nearest } from '@weft/schema'
import { LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { EXIT, Exit } from './exit.ts'

const port = z.int().min(0).max(65_535)
const bytes = z.int().min(1)
const milliseconds = z.int().min(1)
const rate = z.strictObject({ rate: z.number().positive(), burst: z.number().positive() })
const tls = z.strictObject({ certFile: z.string(), keyFile: z.string() })

/** Everything that weft.yaml may say. What is absent here has its default where it is used. */
const Shape = z.strictObject({
  /** URL of the log: `embedded:DIRECTORY`. */
  log: z
    .string()
    .regex(/^[a-z][a-z0-9+]*:./, 'a URL such as embedded:.weft')
    .default('embedded:.weft'),
  /** With less room on the disk of an embedded log nothing starts, and what runs ends cleanly. */
  leastFreeBytes: z
    .int()
    .min(0)
    .default(64 << 20),
  /** Folder of catalogue.yaml; the project's own if absent. */
  schemas: z.string().optional(),
  dev: z
    .strictObject({
      /** The dashboard and alerts; the next port takes events over HTTP, the one after over HTTPS. */
      port: port.max(65_533).default(7070),
      demo: z.boolean().default(true),
      speed: z.number().positive().optional(),
      /** Of each partition, in a store that `weft dev` makes: more than that much of the past is let go. */
      retentionBytes: bytes.default(16 * 2 ** 20),
    })
    .prefault({}),
  auth: z
    .strictObject({
      /** A YAML file of `key: tenant` (or `sha256:…: tenant`); the variable WEFT_WRITE_KEYS is `key=tenant,…`. */
      writeKeysFile: z.string().optional(),
      jwt: z
        .strictObject({
          secretFile: z.string().optional(),
          publicKeyFile: z.string().optional(),
          jwksUrl: z.url({ protocol: /^https?$/ }).optional(),
          issuer: z.string().optional(),
          audience: z.string().optional(),
          algorithms: z.array(z.string()).min(1).optional(),
        })
        .prefault({}),
    })
    .prefault({}),
  gateway: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      /** HTTPS and HTTP/2. */
      port: port.default(7072),
      /** Plain HTTP: on loopback, elsewhere only with `plainHttpAnywhere`. */
      httpPort: port.default(7071),
      plainHttpAnywhere: z.boolean().default(false),
      /** /metrics, /healthz and /readyz also where others than this machine can reach them. */
      publicOps: z.boolean().default(false),
      tls: tls.optional(),
      /** The index of event ids; beside an embedded log if absent. */
      directory: z.string().optional(),
      maxBodyBytes: bytes.optional(),
      maxInFlightBytes: bytes.optional(),
      /** How long an event id is known as used. */
      duplicateWindowMs: milliseconds.optional(),
      /** Events a second of each tenant, and at once. */
      rate: rate.optional(),
      /** Tenants with a rate of their own. */
      tenants: z.record(z.string(), rate).optional(),
      /** Origins whose pages may send; any if absent. */
      corsOrigins: z.array(z.string()).optional(),
    })
    .prefault({}),
  pipeline: z
    .strictObject({
      /** The tasks of this process, each a list of stages; the default is one process with three tasks. */
      tasks: z.record(z.string(), z.array(z.string()).min(1)).optional(),
      modelFile: z.string().optional(),
      tickMs: milliseconds.optional(),
      /** How long windows and rules wait for events that are under way. */
      graceMs: milliseconds.optional(),
      /** Which alerts call for something to be done, and how long an entity is left alone afterwards. */
      interventions: z
        .array(
          z.strictObject({
            rule: z.string(),
            type: z.enum(['email', 'push', 'modal', 'script']),
            cooldownMs: milliseconds,
          }),
        )
        .optional(),
      /** Where commands are delivered to; the log if absent. */
      webhook: z.url({ protocol: /^https?$/ }).optional(),
      /** Of its `/metrics`, `/healthz` and `/readyz`. */
      opsPort: port.default(7073),
    })
    .prefault({}),
  alerts: z
    .strictObject({
      host: z.string().default('127.0.0.1'),
      port: port.default(7070),
      /** Without it plain HTTP, for loopback or behind a proxy. */
      tls: tls.optional(),
      connectionsPerTenant: z.int().min(1).optional(),
      /** A client that does not keep up: skips to the latest, or is sent away with its cursor. */
      slow: z.enum(['drop-to-latest', 'disconnect']).optional(),
      /** Origins whose pages may listen. */
      corsOrigins: z.array(z.string()).optional(),
    })
    .prefault({}),
  rules: z.array(z.unknown()).optional(),
})

export type Settings = z.output<typeof Shape>

export interface Config extends Settings {
  /** The file it was read from; undefined when there is none and defaults hold. */
  readonly file?: string
  /** Relative paths of the configuration begin here: the file's folder, or the working directory. */
  readonly base: string
  readonly writeKeys: Readonly<Record<string, string>>
  readonly jwtSecret?: string
}

/** What a fault is about and what would be right. */
interface Wrong {
  readonly at: string
  readonly what: string
}

/** Names that hold secrets, and what to do instead. */
const SECRETS: Record<string, string> = {
  secret: 'set WEFT_JWT_SECRET, or name a file with secretFile',
  writekeys: 'set WEFT_WRITE_KEYS (key=tenant,…), or name a file with writeKeysFile',
  writekey: 'set WEFT_WRITE_KEYS (key=tenant,…), or name a file with writeKeysFile',
  key: 'name a file with keyFile',
  privatekey: 'name a file with keyFile',
  password: 'give it in the environment or a file',
  token: 'give it in the environment or a file',
  apikey: 'give it in the environment or a file',
}

export interface LoadOptions {
  /** Default: weft.yaml here or in a folder above; WEFT_CONFIG wins over that. */
  readonly file?: string | undefined
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Wins over the file and the environment. */
  readonly log?: string | undefined
  /** Throws what is wrong with the alert rules, a line each after the first. */
  readonly checkRules?: (written: unknown) => unknown
}

/** Reads weft.yaml and the environment that overrides it. Exit with code 2 lists every fault at once. */
export async function loadConfig({
  file,
  env = process.env,
  cwd = process.cwd(),
  log,
  checkRules,
}: LoadOptions = {}): Promise<Config> {
  const named = file ?? env.WEFT_CONFIG
  const found = await read(named, cwd)
  const base = found ? path.dirname(found.file) : cwd
  const wrong: Wrong[] = [...(found?.wrong ?? [])]
  const written = found?.value ?? {}
  wrong.push(...secretsIn(written))
  const raw = withEnvironment(written, env, wrong)
  if (log !== undefined) raw.log = log
  const parsed = Shape.safeParse(raw)
  if (!parsed.success) {
    const known = new Set(wrong.map(({ at }) => at))
    for (const issue of parsed.error.issues) wrong.push(...describe(issue, raw).filter(({ at }) => !known.has(at)))
  }
  if (checkRules && Array.isArray(raw.rules)) {
    try {
      checkRules(raw.rules)
    } catch (error) {
      for (const line of (error as Error).message.split('\n').slice(1)) wrong.push({ at: '', what: line.trim() })
    }
  }
  const writeKeys = await keysOf(parsed.data?.auth.writeKeysFile, env, base, wrong)
  const secretFile = parsed.data?.auth.jwt.secretFile
  const jwtSecret = env.WEFT_JWT_SECRET ?? (secretFile && (await secretOf(path.resolve(base, secretFile), wrong)))
  if (wrong.length || !parsed.data) {
    const where = found?.file ?? 'the environment'
    const lines = wrong.map(({ at, what }) => `  ${at}${at ? ': ' : ''}${what}`)
    throw new Exit(EXIT.usage, `wrong configuration in ${where}:\n${lines.join('\n')}`)
  }
  return {
    ...parsed.data,
    log: absolute(parsed.data.log, log === undefined ? base : cwd),
    base,
    writeKeys,
    ...(found && { file: found.file }),
    ...(jwtSecret && { jwtSecret }),
  }
}

/** The folder of an embedded log is meant from where it was written. */
function absolute(url: string, base: string): string {
  const match = /^embedded:(?!\/)([^?]*)(.*)$/.exec(url)
  return match ? `embedded:${path.resolve(base, match[1] ?? '')}${match[2]}` : url
}

async function read(named: string | undefined, cwd: string) {
  for (let folder = cwd; ; folder = path.dirname(folder)) {
    const file = named === undefined ? path.join(folder, 'weft.yaml') : path.resolve(cwd, named)
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw new Exit(EXIT.usage, `${file} cannot be read (${error.code})`)
      if (named !== undefined) throw new Exit(EXIT.usage, `there is no configuration file ${file}`)
    })
    if (text !== undefined) return parseYaml(file, text)
    if (folder === path.dirname(folder)) return undefined
  }
}

function parseYaml(file: string, text: string): { file: string; value: Record<string, unknown>; wrong: Wrong[] } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  if (document.errors.length) {
    const wrong = document.errors.map(error => ({
      at: `line ${lines.linePos(error.pos[0]).line}`,
      what: `is not YAML: ${error.message}`,
    }))
    return { file, value: {}, wrong }
  }
  const value: unknown = document.toJS() ?? {}
  if (typeof value === 'object' && !Array.isArray(value))
    return { file, value: value as Record<string, unknown>, wrong: [] }
  return {
    file,
    value: {},
    wrong: [{ at: '(document)', what: 'expected names and values, such as log: embedded:.weft' }],
  }
}

function secretsIn(value: unknown, at = ''): Wrong[] {
  if (value === null || typeof value !== 'object') return []
  return Object.entries(value).flatMap(([name, inner]) => {
    const remedy = Array.isArray(value) ? undefined : SECRETS[name.toLowerCase().replace(/[_-]/g, '')]
    const here = `${at}/${name}`
    return remedy ? [{ at: here, what: `a secret must not be in the file: ${remedy}` }] : secretsIn(inner, here)
  })
}

interface Leaf {
  readonly path: readonly string[]
  readonly type: string | undefined
}

interface Described {
  readonly type?: string
  readonly properties?: Record<string, Described>
}

function* leaves({ properties, type }: Described, at: readonly string[] = []): Generator<Leaf> {
  if (!properties) yield { path: at, type }
  else for (const [name, inner] of Object.entries(properties)) yield* leaves(inner, [...at, name])
}

const variableOf = (at: readonly string[]) =>
  `WEFT_${at.map(name => name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()).join('_')}`

/** Variables and what they override, such as WEFT_GATEWAY_PORT and gateway.port. */
export const VARIABLES: ReadonlyMap<string, Leaf> = new Map(
  [...leaves(z.toJSONSchema(Shape, { io: 'input' }) as Described)].map(leaf => [variableOf(leaf.path), leaf]),
)

const OTHER_VARIABLES = ['WEFT_CONFIG', 'WEFT_WRITE_KEYS', 'WEFT_JWT_SECRET']

/** A misspelt override of a section would silently do nothing; other WEFT_ variables are none of ours. */
const OURS = /^WEFT_(DEV|AUTH|GATEWAY|PIPELINE|ALERTS)_/

function withEnvironment(written: Record<string, unknown>, env: NodeJS.ProcessEnv, wrong: Wrong[]) {
  const raw = structuredClone(written)
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith('WEFT_') || text === undefined || text === '') continue
    const leaf = VARIABLES.get(name)
    if (!leaf) {
      if (!OURS.test(name)) continue
      const meant = nearest(name, [...VARIABLES.keys(), ...OTHER_VARIABLES])
      wrong.push({ at: name, what: `is not a setting${meant ? `, did you mean ${meant}?` : ''}` })
      continue
    }
    let at = raw
    for (const step of leaf.path.slice(0, -1)) {
      const inner = at[step]
      at[step] = typeof inner === 'object' && inner !== null ? inner : {}
      at = at[step] as Record<string, unknown>
    }
    at[leaf.path.at(-1) as string] = parsedAs(text, leaf.type)
  }
  return raw
}

/** What the shape then refuses if it is not right. */
function parsedAs(text: string, type: string | undefined): unknown {
  if ((type === 'number' || type === 'integer') && text.trim() !== '' && Number.isFinite(Number(text)))
    return Number(text)
  if (type === 'boolean' && /^(true|false|1|0|yes|no)$/i.test(text)) return /^(true|1|yes)$/i.test(text)
  if (type === 'array' && !text.trimStart().startsWith('[')) return text.split(',').map(each => each.trim())
  if (type === 'array' || type === 'object') {
    try {
      return JSON.parse(text)
    } catch {
      return text
    }
  }
  return text
}

function describe(issue: z.core.$ZodIssue, raw: unknown): Wrong[] {
  const at = `/${issue.path.join('/')}`
  let value = raw
  for (const step of issue.path) value = (value as Record<PropertyKey, unknown> | undefined)?.[step]
  const is = value === undefined ? 'is missing' : `is ${(JSON.stringify(value) ?? typeof value).slice(0, 60)}`
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownAt(issue.path)
      return issue.keys.map(key => {
        const meant = nearest(key, known)
        const hint = meant ? `did you mean ${meant}?` : `expected ${known.join(', ')}`
        return { at: `${issue.path.length ? at : ''}/${key}`, what: `is unknown, ${hint}` }
      })
    }
    case 'invalid_type':
      return [{ at, what: `${is}, expected ${issue.expected === 'int' ? 'a whole number' : aOr(issue.expected)}` }]
    case 'too_small':
      return [{ at, what: `${is}, expected ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}` }]
    case 'too_big':
      return [{ at, what: `${is}, expected at most ${issue.maximum}` }]
    case 'invalid_value':
      return [{ at, what: `${is}, expected ${issue.values.map(String).join(' or ')}` }]
    default:
      return [{ at, what: `${is}, expected ${issue.message.replace(/^Invalid URL$/, 'a URL of http or https')}` }]
  }
}

const NAMES: Record<string, string> = {
  array: 'a list',
  object: 'names and values',
  record: 'names and values',
  boolean: 'true or false',
}
const aOr = (type: string) => NAMES[type] ?? `a ${type}`

function knownAt(at: readonly PropertyKey[]): string[] {
  let described: Described | undefined = z.toJSONSchema(Shape, { io: 'input' }) as Described
  for (const step of at) described = described?.properties?.[String(step)]
  return Object.keys(described?.properties ?? {})
}

async function keysOf(file: string | undefined, env: NodeJS.ProcessEnv, base: string, wrong: Wrong[]) {
  const keys: Record<string, string> = {}
  if (file !== undefined) {
    const whole = path.resolve(base, file)
    const text = await readFile(whole, 'utf8').catch(() => undefined)
    const parsed: unknown = text === undefined ? undefined : parseDocument(text).toJS()
    if (parsed !== null && typeof parsed === 'object' && Object.values(parsed).every(each => typeof each === 'string'))
      Object.assign(keys, parsed)
    else
      wrong.push({
        at: '/auth/writeKeysFile',
        what: `${whole} ${text === undefined ? 'cannot be read' : 'is not a list of "key: tenant"'}`,
      })
  }
  for (const pair of (env.WEFT_WRITE_KEYS ?? '').split(',').filter(Boolean)) {
    const [key = '', tenant = ''] = pair.split('=').map(part => part.trim())
    if (key && tenant) keys[key] = tenant
    // Without its text: it is a secret.
    else wrong.push({ at: 'WEFT_WRITE_KEYS', what: 'expected key=tenant, several with commas between them' })
  }
  return keys
}

async function secretOf(file: string, wrong: Wrong[]): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text?.trim()) return text.trim()
  wrong.push({ at: '/auth/jwt/secretFile', what: `${file} ${text === undefined ? 'cannot be read' : 'is empty'}` })
}
