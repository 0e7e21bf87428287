import { Ajv, type AnySchemaObject, type ErrorObject, type SchemaObject } from 'ajv'
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml'
import { type Fault, pointer, suggestion } from './fault.ts'

export const COMPATIBILITIES = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
] as const
export type Compatibility = (typeof COMPATIBILITIES)[number]

/** A topic as catalogue.yaml states it. */
export interface TopicEntry {
  readonly purpose: string
  readonly schema: string
  readonly key: string
  readonly partitions: number
  readonly retention?: string
  readonly retentionBytes?: string
  readonly cleanup: 'delete' | 'compact'
  readonly replicas?: number
  readonly minInSync?: number
  readonly compatibility: Compatibility
  readonly owner: string
  readonly producers: readonly string[]
  readonly consumers: readonly string[]
}

/** What has the right shape: a field that does not fit is absent. */
export interface CatalogueFile {
  readonly copartitioned: Readonly<Record<string, readonly string[]>>
  readonly topics: Readonly<Record<string, Partial<TopicEntry>>>
}

const words = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true }
const names = (says: string) => ({ ...words, says })
const text = (says: string) => ({ type: 'string', minLength: 1, says })

const topic: SchemaObject = {
  type: 'object',
  says: 'a topic definition',
  required: ['purpose', 'schema', 'key', 'partitions', 'cleanup', 'compatibility', 'owner', 'producers', 'consumers'],
  additionalProperties: false,
  properties: {
    purpose: text('a sentence'),
    schema: { type: 'string', pattern: '^[\\w.-]+\\.avsc$', says: 'the name of an .avsc file beside the catalogue' },
    key: text("a template such as '{store_id}:{user_id}'"),
    partitions: { type: 'integer', minimum: 1, maximum: 10_000, says: 'a whole number from 1 to 10000' },
    retention: { type: 'string', pattern: '^[1-9]\\d*(ms|s|m|h|d)$', says: 'a duration such as 7d, 12h or 30m' },
    retentionBytes: { type: 'string', pattern: '^[1-9]\\d*(B|KiB|MiB|GiB)$', says: 'a size such as 512MiB' },
    cleanup: { type: 'string', enum: ['delete', 'compact'] },
    replicas: { type: 'integer', minimum: 1, maximum: 100, says: 'a whole number of copies, such as 3' },
    minInSync: { type: 'integer', minimum: 1, maximum: 100, says: 'a whole number of copies, such as 2' },
    compatibility: { type: 'string', enum: [...COMPATIBILITIES] },
    owner: text('the name of a domain'),
    producers: names('a list of services, such as [ingest-gw]'),
    consumers: names('a list of services, such as [pipeline.validate]'),
  },
}

const file: SchemaObject = {
  type: 'object',
  says: 'a catalogue with topics',
  required: ['topics'],
  additionalProperties: false,
  properties: {
    copartitioned: {
      type: 'object',
      says: 'named groups of topics',
      additionalProperties: { ...words, minItems: 2, says: 'a list of at least two topics' },
    },
    topics: {
      type: 'object',
      says: 'topics by name',
      minProperties: 1,
      propertyNames: { pattern: '^[a-z][a-z0-9]*(\\.[a-z0-9]+)*\\.v[1-9]\\d*$', maxLength: 200 },
      additionalProperties: topic,
    },
  },
}

const validate = new Ajv({ allErrors: true, verbose: true, keywords: ['says'] }).compile<CatalogueFile>(file)

/** Reads catalogue.yaml: every fault of its text and shape, and what of it has the right shape. */
export function parseCatalogue(yaml: string): { readonly file?: CatalogueFile; readonly faults: readonly Fault[] } {
  const lines = new LineCounter()
  const document = parseDocument(yaml, { lineCounter: lines, uniqueKeys: false })
  const faults: Fault[] = document.errors.map(error => {
    const { line, col } = lines.linePos(error.pos[0])
    const problem = `is not YAML at line ${line}, column ${col}: ${error.message.split('\n')[0]}`
    return { path: '', problem, expected: 'valid YAML' }
  })
  if (faults.length > 0) return { faults }
  faults.push(...duplicates(document.contents, '', lines))
  let value: unknown
  try {
    value = document.toJS()
  } catch (error) {
    return {
      faults: [
        ...faults,
        { path: '', problem: (error as Error).message, expected: 'each alias after its anchor, and few' },
      ],
    }
  }
  validate(value)
  const errors = (validate.errors ?? []).filter(({ keyword }) => keyword !== 'propertyNames')
  faults.push(...errors.map(faultOf))
  if (!isObject(value)) return { faults }
  for (const { keyword, instancePath, propertyName } of errors) {
    if (!ABOUT_FIELDS.has(keyword) && propertyName === undefined) remove(value, instancePath)
  }
  if (!isObject(value.topics)) return { faults }
  return { file: { copartitioned: {}, ...value } as unknown as CatalogueFile, faults }
}

/** About a field inside, not about the value that holds it. */
const ABOUT_FIELDS: ReadonlySet<string> = new Set(['required', 'additionalProperties'])

/** Removes the section, the topic or group, or the field of a topic that a fault is about. */
function remove(value: Record<string, unknown>, instancePath: string): void {
  const names = instancePath.split('/').slice(1, 4)
  const last = names.pop()?.replaceAll('~1', '/').replaceAll('~0', '~')
  let holder: unknown = value
  for (const name of names) {
    if (isObject(holder)) holder = holder[name.replaceAll('~1', '/').replaceAll('~0', '~')]
  }
  if (isObject(holder) && last !== undefined) delete holder[last]
  else if (Array.isArray(holder)) holder.length = 0
}

function duplicates(node: unknown, path: string, lines: LineCounter): Fault[] {
  if (!isMap(node)) return []
  const seen = new Set<unknown>()
  return node.items.flatMap(({ key, value }) => {
    const name = isScalar(key) ? key.value : key
    const here = path + pointer(String(name))
    const inside = duplicates(value, here, lines)
    if (!seen.has(name)) {
      seen.add(name)
      return inside
    }
    const line = isScalar(key) && key.range ? lines.linePos(key.range[0]).line : undefined
    return [
      { path: here, problem: `is there twice${line ? `, again at line ${line}` : ''}`, expected: 'each name once' },
      ...inside,
    ]
  })
}

function faultOf({ instancePath, keyword, params, parentSchema, data, propertyName }: ErrorObject): Fault {
  const known = Object.keys(parentSchema?.properties ?? {})
  if (keyword === 'additionalProperties') {
    const field: string = params.additionalProperty
    const expected = `one of ${known.join(', ')}`
    return {
      path: instancePath + pointer(field),
      problem: `is not a field of the catalogue${suggestion(field, known)}`,
      expected,
    }
  }
  if (keyword === 'required') {
    const field: string = params.missingProperty
    return {
      path: instancePath + pointer(field),
      problem: 'is missing',
      expected: says(parentSchema?.properties?.[field]),
    }
  }
  if (propertyName !== undefined) {
    const expected = 'lower-case words with dots and a version, such as events.raw.v1'
    return { path: instancePath + pointer(propertyName), problem: 'is not a name for a topic', expected }
  }
  const hint = keyword === 'enum' && typeof data === 'string' ? suggestion(data, parentSchema?.enum) : ''
  return { path: instancePath, problem: `is ${JSON.stringify(data)}${hint}`, expected: says(parentSchema) }
}

function says(schema: AnySchemaObject | undefined): string {
  return schema?.enum ? `one of ${schema.enum.join(', ')}` : (schema?.says ?? 'a text')
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
}

/** Milliseconds of a duration such as 7d, bytes of a size such as 512MiB. */
export function amount(text: string): number {
  const [, digits, unit = ''] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? []
  return Number(digits) * (UNITS[unit] ?? Number.NaN)
}
