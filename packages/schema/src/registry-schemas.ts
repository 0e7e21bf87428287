import { type SchemaIds, type SchemaRef, UNKNOWN_ID, WeftError } from '@weft/transport'
import type { Catalogue } from './catalogue.ts'
import { type ApiOptions, ConfluentApi } from './confluent-api.ts'
import { FOREIGN } from './known-schemas.ts'
import { avroIn, findRegistered } from './registered.ts'
import { subjectOf } from './registry.ts'

export interface RegistryOptions extends ApiOptions {
  /**
   * Whose releases the registry's schemas are recognised as: references then say the catalogue's versions, and its codecs
   * learn the schemas of others. Without one, references say the registry's own versions.
   */
  readonly catalogue?: Catalogue | undefined
}

export interface RegistrySchemas extends SchemaIds {
  readonly url: string
  /** Throws what keeps the registry from being asked: UNAVAILABLE, DENIED, INVALID for what is not one. */
  reach(): Promise<void>
  /**
   * Asks for the current schema of each topic, so that nothing waits for the registry later. SCHEMA names every one that
   * was not pushed.
   */
  warm(topics?: readonly string[]): Promise<void>
}

/** How long an id that the registry did not have is believed to be unknown, in milliseconds, and of how many at most. */
const UNKNOWN_MS = 30_000
const MOST_UNKNOWN = 10_000
/** Requests at once. */
const AT_ONCE = 8

/** Ids of schemas by a registry that speaks Confluent's API: looked up when first seen, and then known. Nothing is registered. */
export function registrySchemas({ catalogue, ...api }: RegistryOptions): RegistrySchemas {
  return new Ids(new ConfluentApi(api), catalogue)
}

class Ids implements RegistrySchemas {
  readonly #api: ConfluentApi
  readonly #catalogue: Catalogue | undefined
  readonly #ids = new Map<string, Map<number, number>>()
  /** By topic, as its own subject is preferred. */
  readonly #schemas = new Map<string, Map<number, SchemaRef>>()
  readonly #unknown = new Map<number, number>()
  readonly #asking = new Map<string, Promise<unknown>>()
  #free = AT_ONCE
  readonly #queue: (() => void)[] = []

  constructor(api: ConfluentApi, catalogue: Catalogue | undefined) {
    this.#api = api
    this.#catalogue = catalogue
  }

  get url(): string {
    return this.#api.url
  }

  idOf({ subject, version }: SchemaRef): number | undefined {
    return this.#ids.get(subject)?.get(version)
  }

  findId(schema: SchemaRef): Promise<number> {
    return this.#once(`${schema.subject}/${schema.version}`, async () => {
      const id = await this.#findId(schema)
      this.#noteId(schema, id)
      return id
    })
  }

  schemaOf(id: number, topic: string): SchemaRef | undefined {
    return this.#schemas.get(topic)?.get(id)
  }

  findSchema(id: number, topic: string): Promise<SchemaRef> {
    const asked = this.#unknown.get(id)
    const unknown = { subject: UNKNOWN_ID, version: id }
    if (asked !== undefined && performance.now() - asked < UNKNOWN_MS) return Promise.resolve(unknown)
    return this.#once(`${id} ${topic}`, async () => {
      const schema = await this.#findSchema(id, topic)
      if (!schema) {
        if (this.#unknown.size >= MOST_UNKNOWN) this.#unknown.clear()
        this.#unknown.set(id, performance.now())
        return unknown
      }
      const known = this.#schemas.get(topic) ?? new Map<number, SchemaRef>()
      this.#schemas.set(topic, known.set(id, schema))
      // Others may have registered the same elsewhere: what the catalogue writes has the id of its own subject.
      if (!this.#catalogue?.known.owns(schema.subject)) this.#noteId(schema, id)
      return schema
    })
  }

  reach(): Promise<void> {
    return this.#api.reach()
  }

  async warm(topics: readonly string[] = [...(this.#catalogue?.topics.keys() ?? [])]): Promise<void> {
    const missing: string[] = []
    await Promise.all(
      topics.map(async name => {
        const schema = this.#catalogue?.topics.get(name)?.schema
        if (!schema) return
        const id = await this.findId(schema).catch((error: unknown) => {
          if (!(error instanceof WeftError && error.code === 'SCHEMA')) throw error
          missing.push(`${schema.subject} version ${schema.version}`)
        })
        if (id !== undefined) await this.findSchema(id, name)
      }),
    )
    if (missing.length > 0)
      throw new WeftError(
        'SCHEMA',
        `the schema registry at ${this.url} does not have ${missing.sort().join(', ')}: run "weft schemas push"`,
      )
  }

  #noteId({ subject, version }: SchemaRef, id: number): void {
    const versions = this.#ids.get(subject) ?? new Map<number, number>()
    this.#ids.set(subject, versions.set(version, id))
  }

  async #findId(schema: SchemaRef): Promise<number> {
    const { subject, version } = schema
    const avro = this.#catalogue?.known.owns(subject) ? this.#catalogue.known.schemaOf(schema) : undefined
    if (avro) {
      const registered = await findRegistered(this.#api, subject, avro)
      if (registered) return registered.id
      const problem = `the schema registry at ${this.url} does not have version ${version} of ${subject}`
      throw new WeftError('SCHEMA', `${problem}: run "weft schemas push"`, { retryable: true })
    }
    const plain = subject.startsWith(FOREIGN) ? subject.slice(FOREIGN.length) : subject
    const found = await this.#api.version(plain, version)
    if (found) return found.id
    throw new WeftError('SCHEMA', `the schema registry at ${this.url} has no version ${version} of ${plain}`)
  }

  async #findSchema(id: number, topic: string): Promise<SchemaRef | undefined> {
    const found = await this.#api.schema(id)
    if (!found) return undefined
    const avro = avroIn(found)
    const known = this.#catalogue?.known
    const released = avro && known?.refOf(avro, topic)
    if (released) return released
    const own = subjectOf(topic)
    const places = await this.#api.places(id)
    const place = places.find(({ subject }) => subject === own) ?? places[0] ?? { subject: `id-${id}`, version: id }
    const { subject, version } = place
    if (!known?.owns(subject)) return { subject, version }
    const foreign = { subject: FOREIGN + subject, version }
    if (avro) known.learn(foreign, avro)
    return foreign
  }

  /** One request for the same thing at a time, and few at all. */
  #once<T>(name: string, ask: () => Promise<T>): Promise<T> {
    const asking = this.#asking.get(name)
    if (asking) return asking as Promise<T>
    const answer = this.#limited(ask).finally(() => this.#asking.delete(name))
    this.#asking.set(name, answer)
    return answer
  }

  async #limited<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#queue.push(resolve))
    try {
      return await ask()
    } finally {
      const next = this.#queue.shift()
      if (next) next()
      else this.#free++
    }
  }
}
