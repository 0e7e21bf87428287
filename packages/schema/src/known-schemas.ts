import type { SchemaRef } from '@weft/transport'
import type { AvroNode } from './avro-schema.ts'
import { fingerprint, type Registry, subjectOf } from './registry.ts'

/**
 * In front of the subject of a schema that others registered under a catalogue's subject: its version is the registry's own
 * number, which says nothing about the catalogue's.
 */
export const FOREIGN = 'registry:'

interface Current {
  readonly name: string
  readonly schema: SchemaRef
  readonly avro: AvroNode
}

/** Schemas by reference and by what they say: the catalogue's current ones, its releases, and what was learnt of others. */
export class KnownSchemas {
  readonly #schemas = new Map<string, AvroNode>()
  readonly #subjects = new Set<string>()
  readonly #refs = new Map<string, { readonly topic: string; readonly schema: SchemaRef }[]>()

  constructor(topics: Iterable<Current>, registry: Registry) {
    for (const { name, schema, avro } of topics) {
      this.#subjects.add(schema.subject)
      for (const release of registry.releases(name))
        this.#add(name, { subject: schema.subject, version: release.version }, release.schema)
      if (!this.#schemas.has(nameOf(schema))) this.#add(name, schema, avro)
    }
  }

  #add(topic: string, schema: SchemaRef, avro: AvroNode): void {
    this.#schemas.set(nameOf(schema), avro)
    const print = fingerprint(avro)
    const same = this.#refs.get(print) ?? []
    same.push({ topic, schema })
    this.#refs.set(print, same)
  }

  /** Whether a subject is of one of the catalogue's topics. */
  owns(subject: string): boolean {
    return this.#subjects.has(subject)
  }

  /** The schema of a reference. */
  schemaOf(ref: SchemaRef): AvroNode | undefined {
    return this.#schemas.get(nameOf(ref))
  }

  /** The catalogue's reference for a schema. Topics may share one: then that of the topic, or of the one its name begins with. */
  refOf(avro: AvroNode, topic: string): SchemaRef | undefined {
    const same = this.#refs.get(fingerprint(avro))
    const subject = subjectOf(topic)
    const own =
      same?.find(({ schema }) => schema.subject === subject) ?? same?.find(each => topic.startsWith(each.topic))
    return (own ?? same?.[0])?.schema
  }

  /** Makes a schema of others readable by its reference. */
  learn(ref: SchemaRef, avro: AvroNode): void {
    this.#schemas.set(nameOf(ref), avro)
  }
}

const nameOf = ({ subject, version }: SchemaRef): string => `${subject}/${version}`
