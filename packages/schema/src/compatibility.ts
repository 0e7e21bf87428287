import avsc from 'avsc'
import type { AvroRecord } from './avro-schema.ts'

/** BACKWARD: readers with the current schema read released records. FORWARD: readers with a released one read new records. */
export type Direction = 'BACKWARD' | 'FORWARD'

export type Rule =
  | 'field-added-without-default'
  | 'field-removed-without-default'
  | 'type-changed'
  | 'logical-type-changed'
  | 'name-changed'
  | 'enum-symbols'
  | 'union-branch'
  | 'fixed-size'

/** Why records of one schema cannot be read with the other. */
export interface Mismatch {
  /** Dotted from the record's root; `[]` for an array's items, `{}` for a map's values; empty for the record itself. */
  readonly field: string
  readonly rule: Rule
  /** What was changed, whom it breaks and what to do instead. */
  readonly reason: string
}

class Named extends avsc.types.LogicalType {
  protected override _fromValue(value: unknown): unknown {
    return value
  }
  protected override _toValue(value: unknown): unknown {
    return value
  }
}

const LOGICAL_TYPES = Object.fromEntries(
  ['timestamp-millis', 'timestamp-micros', 'time-millis', 'time-micros', 'date', 'uuid'].map(name => [name, Named]),
)

const load = (schema: AvroRecord): avsc.Type =>
  avsc.Type.forSchema(schema as unknown as avsc.schema.AvroSchema, { logicalTypes: LOGICAL_TYPES })

/** Compares by Avro's schema resolution (specification 1.12, "Schema Resolution"), as avsc carries it out. */
export function mismatches(current: AvroRecord, released: AvroRecord, direction: Direction): Mismatch[] {
  const found: Mismatch[] = []
  const backward = direction === 'BACKWARD'
  const [reader, writer] = backward ? [load(current), load(released)] : [load(released), load(current)]
  resolve({ found, backward, seen: new Set() }, reader, writer, '')
  return found
}

interface Walk {
  readonly found: Mismatch[]
  readonly backward: boolean
  /** Pairs of named types already compared: schemas may be recursive. */
  readonly seen: Set<string>
}

const PROMOTIONS: Readonly<Record<string, readonly string[]>> = {
  int: ['long', 'float', 'double'],
  long: ['float', 'double'],
  float: ['double'],
  string: ['bytes'],
  bytes: ['string'],
}

function resolve(walk: Walk, reader: avsc.Type, writer: avsc.Type, field: string): void {
  if (isUnion(writer)) {
    resolveBranches(walk, reader, writer, field)
    return
  }
  if (isUnion(reader)) {
    resolveBranch(walk, reader, writer, field)
    return
  }
  const [read, written] = [logical(reader), logical(writer)]
  const [to, from] = [read.base.typeName, written.base.typeName]
  if (to !== from && !PROMOTIONS[from]?.includes(to)) {
    report(walk, field, 'type-changed', typeReason(walk, reader, writer))
  } else if (read.name !== written.name) {
    report(walk, field, 'logical-type-changed', logicalReason(walk, read.name, written.name))
  } else resolveSame(walk, read.base, written.base, field)
}

/** Every branch that may have been written has to be readable. */
function resolveBranches(walk: Walk, reader: avsc.Type, writer: avsc.types.UnwrappedUnionType, field: string): void {
  const kinds = isUnion(reader) ? reader.types.map(kind) : [kind(reader)]
  const tries = writer.types.map(branch => ({ branch, found: attempt(walk, reader, branch, field) }))
  const unread = tries.filter(({ found }) => found.length > 0)
  if (unread.length === tries.length && unread.every(({ branch }) => !kinds.includes(kind(branch)))) {
    report(walk, field, 'type-changed', typeReason(walk, reader, writer))
    return
  }
  for (const { branch, found } of unread) {
    if (kinds.includes(kind(branch))) walk.found.push(...found)
    else report(walk, field, 'union-branch', branchReason(walk, reader, writer, branch))
  }
}

function attempt(walk: Walk, reader: avsc.Type, writer: avsc.Type, field: string): Mismatch[] {
  const tried: Walk = { ...walk, found: [], seen: new Set(walk.seen) }
  resolve(tried, reader, writer, field)
  return tried.found
}

function resolveBranch(walk: Walk, reader: avsc.types.UnwrappedUnionType, writer: avsc.Type, field: string): void {
  const tries = reader.types.map(branch => ({ branch, found: attempt(walk, branch, writer, field) }))
  if (tries.some(({ found }) => found.length === 0)) return
  const same = tries.find(({ branch }) => kind(branch) === kind(writer))
  if (same) walk.found.push(...same.found)
  else report(walk, field, 'type-changed', typeReason(walk, reader, writer))
}

function resolveSame(walk: Walk, reader: avsc.Type, writer: avsc.Type, field: string): void {
  if (reader instanceof avsc.types.ArrayType && writer instanceof avsc.types.ArrayType) {
    resolve(walk, reader.itemsType, writer.itemsType, `${field}[]`)
  } else if (reader instanceof avsc.types.MapType && writer instanceof avsc.types.MapType) {
    resolve(walk, reader.valuesType, writer.valuesType, `${field}{}`)
  } else if (reader.name !== undefined && writer.name !== undefined) resolveNamed(walk, reader, writer, field)
}

function resolveNamed(walk: Walk, reader: avsc.Type, writer: avsc.Type, field: string): void {
  const pair = `${reader.name} ${writer.name}`
  if (![reader.name, ...(reader.aliases ?? [])].includes(writer.name as string)) {
    report(walk, field, 'name-changed', nameReason(walk, reader, writer))
  } else if (!walk.seen.has(pair)) {
    walk.seen.add(pair)
    if (reader instanceof avsc.types.RecordType && writer instanceof avsc.types.RecordType) {
      resolveFields(walk, reader, writer, field)
    } else if (reader instanceof avsc.types.EnumType && writer instanceof avsc.types.EnumType) {
      resolveSymbols(walk, reader, writer, field)
    } else if (reader instanceof avsc.types.FixedType && writer instanceof avsc.types.FixedType) {
      if (reader.size !== writer.size) report(walk, field, 'fixed-size', sizeReason(walk, reader.size, writer.size))
    }
  }
}

function resolveFields(walk: Walk, reader: avsc.types.RecordType, writer: avsc.types.RecordType, at: string): void {
  for (const wanted of reader.fields) {
    const field = at ? `${at}.${wanted.name}` : wanted.name
    const written = writer.fields.filter(({ name }) => name === wanted.name || wanted.aliases.includes(name))
    const [only] = written
    if (written.length > 1) {
      const names = written.map(({ name }) => name).join(' and ')
      report(
        walk,
        field,
        'name-changed',
        `its aliases stand for ${names} at once; leave one alias that was never a field beside it`,
      )
    } else if (only) resolve(walk, wanted.type, only.type, field)
    else if (wanted.defaultValue() === undefined) {
      if (walk.backward) {
        report(
          walk,
          field,
          'field-added-without-default',
          `was added without a default, so ${broken(walk)}; give it one, or an alias if it was renamed`,
        )
      } else {
        const renamed = writer.fields.find(({ aliases }) => aliases.includes(wanted.name))
        const what = renamed
          ? `was renamed to ${renamed.name}, and old readers do not know that alias`
          : 'was removed and had no default'
        report(walk, field, 'field-removed-without-default', `${what}, so ${broken(walk)}; keep it`)
      }
    }
  }
}

function resolveSymbols(walk: Walk, reader: avsc.types.EnumType, writer: avsc.types.EnumType, field: string): void {
  const unknown = writer.symbols.filter(symbol => !reader.symbols.includes(symbol))
  // avsc's typings leave out the default that a reader takes for a symbol that it does not know.
  if (unknown.length === 0 || (reader as { default?: string }).default !== undefined) return
  const what = walk.backward ? `symbols ${unknown.join(', ')} were removed` : `symbols ${unknown.join(', ')} were added`
  const remedy = walk.backward
    ? 'keep them, or give the enum a default symbol'
    : 'the released enum has no default symbol, so add a new field instead'
  report(walk, field, 'enum-symbols', `${what}, so ${broken(walk)}; ${remedy}`)
}

const report = (walk: Walk, field: string, rule: Rule, reason: string): void =>
  void walk.found.push({ field, rule, reason })

const broken = ({ backward }: Walk): string =>
  backward ? 'new readers cannot read records of that version' : 'readers of that version cannot read new records'

/** The change in the order of time, whichever side reads. */
const change = ({ backward }: Walk, reader: string, writer: string): string =>
  backward ? `from ${writer} to ${reader}` : `from ${reader} to ${writer}`

const typeReason = (walk: Walk, reader: avsc.Type, writer: avsc.Type): string =>
  `was changed ${change(walk, kind(reader), kind(writer))}, so ${broken(walk)}; keep the type, or add a new field with a default`

const logicalReason = (walk: Walk, reader = 'none', writer = 'none'): string =>
  `its logical type was changed ${change(walk, reader, writer)}, so the same number would mean something else; add a new field instead`

const nameReason = (walk: Walk, reader: avsc.Type, writer: avsc.Type): string =>
  `its type was renamed ${change(walk, reader.name as string, writer.name as string)}, so ${broken(walk)}; ${
    walk.backward ? 'give it the old name as an alias' : 'keep the name'
  }`

const sizeReason = (walk: Walk, reader: number, writer: number): string =>
  `its size was changed ${change(walk, String(reader), String(writer))}, so ${broken(walk)}; add a new field instead`

const branchReason = (walk: Walk, reader: avsc.Type, writer: avsc.Type, branch: avsc.Type): string =>
  `was changed ${change(walk, kind(reader), kind(writer))}, so ${broken(walk)} that hold ${kind(branch)}; ${
    walk.backward ? 'keep it' : 'add a new field instead'
  }`

const isUnion = (type: avsc.Type): type is avsc.types.UnwrappedUnionType => avsc.Type.isType(type, 'union')

function logical(type: avsc.Type): { readonly base: avsc.Type; readonly name?: string } {
  return type instanceof avsc.types.LogicalType
    ? { base: type.underlyingType, name: type.typeName.replace('logical:', '') }
    : { base: type }
}

/** A type in a few words: its name, or its kind. */
function kind(type: avsc.Type): string {
  if (isUnion(type)) return type.types.map(kind).join(' or ')
  return type.name ?? logical(type).base.typeName
}
