import { readFile } from 'node:fs/promises'
import path from 'node:path'
import type { Credentials } from '@weft/schema'
import { LineCounter, parseDocument } from 'yaml'
import { VARIABLES, withEnvironment } from './environment.ts'
import { EXIT, Exit } from './exit.ts'
import { describe, secretsIn, type Wrong } from './faults.ts'
import { type Settings, Shape } from './settings.ts'

export { type Settings, VARIABLES }

export interface Config extends Settings {
  /** The file it was read from; undefined when there is none and defaults hold. */
  readonly file?: string
  /** Relative paths of the configuration begin here: the file's folder, or the working directory. */
  readonly base: string
  readonly writeKeys: Readonly<Record<string, string>>
  readonly jwtSecret?: string
  readonly registryCredentials?: Credentials
}

export interface LoadOptions {
  /** Default: weft.yaml here or in a folder above; WEFT_CONFIG wins over that. */
  readonly file?: string | undefined
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Wins over the file and the environment. */
  readonly log?: string | undefined
  /** Likewise. */
  readonly registry?: string | undefined
  /** Throws what is wrong with the alert rules, a line each after the first. */
  readonly checkRules?: (written: unknown) => unknown
}

/** Reads weft.yaml and the environment that overrides it. Exit with code 2 lists every fault at once. */
export async function loadConfig({
  file,
  env = process.env,
  cwd = process.cwd(),
  log,
  registry,
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
  if (registry !== undefined) raw.registry = registry
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
  const registryCredentials = credentialsOf(env, wrong)
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
    ...(registryCredentials && { registryCredentials }),
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
  let value: unknown
  try {
    value = document.toJS() ?? {}
    // A value that is part of itself has no text.
    JSON.stringify(value)
  } catch {
    return {
      file,
      value: {},
      wrong: [{ at: '(document)', what: 'its aliases (*name) are too many or lead in a circle' }],
    }
  }
  if (typeof value === 'object' && !Array.isArray(value))
    return { file, value: value as Record<string, unknown>, wrong: [] }
  return {
    file,
    value: {},
    wrong: [{ at: '(document)', what: 'expected names and values, such as log: embedded:.weft' }],
  }
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

function credentialsOf(env: NodeJS.ProcessEnv, wrong: Wrong[]): Credentials | undefined {
  const { WEFT_REGISTRY_TOKEN: token, WEFT_REGISTRY_USER: user, WEFT_REGISTRY_PASSWORD: password } = env
  if (token && (user || password))
    wrong.push({ at: 'WEFT_REGISTRY_TOKEN', what: 'stands beside WEFT_REGISTRY_USER: set one or the other' })
  if (token) return { token }
  if (!user && !password) return undefined
  if (user && password !== undefined) return { user, password }
  wrong.push({ at: user ? 'WEFT_REGISTRY_PASSWORD' : 'WEFT_REGISTRY_USER', what: 'is missing beside the other' })
}

async function secretOf(file: string, wrong: Wrong[]): Promise<string | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text?.trim()) return text.trim()
  wrong.push({ at: '/auth/jwt/secretFile', what: `${file} ${text === undefined ? 'cannot be read' : 'is empty'}` })
}
