import { setTimeout as sleep } from 'node:timers/promises'
import { type Code, WeftError } from '@weft/transport'
import type { Compatibility } from './catalogue-file.ts'

export interface ApiOptions {
  /** Where the API begins: `http://localhost:8081`, or `…/apis/ccompat/v7` of Apicurio. */
  readonly url: string
  /** Either of both, or none. */
  readonly credentials?: Credentials | undefined
  /** No answer in that many milliseconds is none. */
  readonly timeoutMs?: number
  /** How long a registry that does not answer is asked again before it is UNAVAILABLE, in milliseconds. */
  readonly patienceMs?: number
}

export type Credentials = { readonly user: string; readonly password: string } | { readonly token: string }

/** A schema as a registry has it under a subject. */
export interface Registered {
  readonly subject: string
  readonly id: number
  readonly version: number
  /** AVRO if absent. */
  readonly schemaType?: string
  readonly schema: string
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Requests to a registry that speaks Confluent's API, version 7. What passes is tried again, everything else is an error. */
export class ConfluentApi {
  readonly url: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #timeoutMs: number
  readonly #patienceMs: number

  constructor({ url, credentials, timeoutMs = 5_000, patienceMs = 10_000 }: ApiOptions) {
    this.url = addressOf(url)
    this.#timeoutMs = timeoutMs
    this.#patienceMs = patienceMs
    const type = 'application/vnd.schemaregistry.v1+json'
    this.#headers = { accept: `${type}, application/json`, 'content-type': type, ...authorization(credentials) }
  }

  async reach(): Promise<void> {
    this.#check(await this.#ask('GET', '/config'), 'asking')
  }

  /** undefined if there is no such id. */
  async schema(id: number): Promise<Pick<Registered, 'schema' | 'schemaType'> | undefined> {
    // Four bytes have room for more than a registry has numbers.
    if (id > 2 ** 31 - 1) return undefined
    return this.#find(`/schemas/ids/${id}`)
  }

  /** The subjects that have the schema of an id, and as which version; none if it was deleted from all. */
  async places(id: number): Promise<readonly Pick<Registered, 'subject' | 'version'>[]> {
    return (await this.#find(`/schemas/ids/${id}/versions`)) ?? []
  }

  /** In rising order; none for a subject that does not exist. */
  async versions(subject: string): Promise<readonly number[]> {
    return (await this.#find(`/subjects/${encodeURIComponent(subject)}/versions`)) ?? []
  }

  async version(subject: string, version: number): Promise<Registered | undefined> {
    return this.#find(`/subjects/${encodeURIComponent(subject)}/versions/${version}`)
  }

  /** The version of a subject that has this text; undefined if there is none. */
  async lookUp(subject: string, schema: string): Promise<Registered | undefined> {
    return this.#find(`/subjects/${encodeURIComponent(subject)}`, { schema })
  }

  /** The id. SCHEMA, with the registry's words, if it refuses the schema. */
  async register(subject: string, schema: string): Promise<number> {
    const answer = await this.#ask('POST', `/subjects/${encodeURIComponent(subject)}/versions`, { schema })
    if (answer.status === 409 || answer.status === 422)
      throw new WeftError('SCHEMA', `the registry refuses a schema of ${subject}: ${wordsOf(answer)}`)
    return (this.#check(answer, 'registering') as { id: number }).id
  }

  /** What keeps a schema from becoming the subject's next version, in the registry's words; undefined if nothing does. */
  async incompatibility(subject: string, schema: string): Promise<string | undefined> {
    const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions?verbose=true`
    const answer = await this.#ask('POST', path, { schema })
    // A subject without versions has nothing to be compared with.
    if (answer.status === 404 && codeOf(answer) >= 40_000) return undefined
    if (answer.status === 422) return wordsOf(answer)
    const verdict = this.#check(answer, 'comparing') as Verdict
    if (verdict.is_compatible) return undefined
    return [verdict.reason, ...(verdict.messages ?? [])].filter(Boolean).join('; ') || 'it gives no reason'
  }

  /** undefined if the subject has none of its own. */
  async compatibility(subject: string): Promise<Compatibility | undefined> {
    const found = await this.#find<{ compatibilityLevel: Compatibility }>(`/config/${encodeURIComponent(subject)}`)
    return found?.compatibilityLevel
  }

  async setCompatibility(subject: string, compatibility: Compatibility): Promise<void> {
    const path = `/config/${encodeURIComponent(subject)}`
    this.#check(await this.#ask('PUT', path, { compatibility }), 'setting the compatibility')
  }

  async #find<T>(path: string, body?: object): Promise<T | undefined> {
    const answer = await this.#ask(body ? 'POST' : 'GET', path, body)
    // A path that is not there at all has no code of Confluent's.
    if (answer.status === 404 && codeOf(answer) >= 40_000) return undefined
    return this.#check(answer, 'asking') as T
  }

  #check(answer: Answer, doing: string): unknown {
    const { status, body } = answer
    if (status >= 200 && status < 300 && typeof body === 'object' && body !== null) return body
    const where = `the schema registry at ${this.url}`
    if (status === 401 || status === 403)
      throw new WeftError('DENIED', `${where} lets nobody in without the right credentials (${status})`)
    const code: Code = status === 404 || (status >= 200 && status < 300) ? 'INVALID' : 'UNAVAILABLE'
    throw new WeftError(
      code,
      code === 'INVALID'
        ? `${where} does not speak Confluent's API (${status}): the URL is the API's root, such as http://localhost:8081`
        : `${where} answers ${status}, ${doing}: ${wordsOf(answer)}`,
    )
  }

  /** The last answer that came; UNAVAILABLE if none did. */
  async #ask(method: string, path: string, body?: object): Promise<Answer> {
    const end = performance.now() + this.#patienceMs
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#request(method, path, body)
      const passes = outcome instanceof Error || outcome.status >= 500 || outcome.status === 429
      const waitMs = Math.min(2_000, 50 * 2 ** attempt) * (0.5 + Math.random() / 2)
      if (!passes || performance.now() + waitMs > end) {
        if (!(outcome instanceof Error)) return outcome
        const problem = `the schema registry at ${this.url} does not answer (${reasonOf(outcome)})`
        throw new WeftError('UNAVAILABLE', `${problem}: is it running, and is that its address?`, { cause: outcome })
      }
      await sleep(waitMs)
    }
  }

  async #request(method: string, path: string, body: object | undefined): Promise<Answer | Error> {
    try {
      const response = await fetch(this.url + path, {
        method,
        headers: this.#headers,
        ...(body && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(this.#timeoutMs),
        redirect: 'error',
      })
      const text = await response.text()
      return { status: response.status, body: parsed(text) }
    } catch (error) {
      return error as Error
    }
  }
}

interface Verdict {
  readonly is_compatible: boolean
  readonly messages?: readonly string[]
  /** Apicurio's. */
  readonly reason?: string
}

function addressOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol))
    throw new WeftError(
      'INVALID',
      `"${text}" is not a schema registry's URL: expected http://HOST:PORT or https://HOST:PORT`,
    )
  if (url.username || url.password)
    throw new WeftError('INVALID', "a schema registry's credentials belong into the environment, not into its URL")
  return url.href.replace(/\/+$/, '')
}

function authorization(credentials: Credentials | undefined): Record<string, string> {
  if (!credentials) return {}
  if ('token' in credentials) return { authorization: `Bearer ${credentials.token}` }
  const { user, password } = credentials
  return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const codeOf = ({ body }: Answer): number => (body as { error_code?: number } | null)?.error_code ?? 0

function wordsOf({ body }: Answer): string {
  const message = (body as { message?: unknown } | null)?.message ?? body
  return String(message).replaceAll(/\s+/g, ' ').slice(0, 1_000)
}

/** What a failed fetch was about: the system's code lies one or two causes deep. */
function reasonOf(error: Error): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    if ('code' in at && typeof at.code === 'string') return at.code
  return error.name === 'TimeoutError' ? 'no answer in time' : error.message
}
