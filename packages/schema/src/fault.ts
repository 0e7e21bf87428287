import { WeftError } from '@weft/transport'

/** Something wrong in a document or a value: where, what, and what would be right. */
export interface Fault {
  /** JSON pointer, such as `/topics/events.raw.v1/partitions`; empty for the whole. */
  readonly path: string
  /** What is wrong, worded to follow the path. */
  readonly problem: string
  /** What would be valid. */
  readonly expected: string
}

/** One line a fault. */
export const describeFault = ({ path, problem, expected }: Fault): string =>
  `${path || '(document)'}: ${problem}; expected ${expected}`

/** Everything that is wrong, at once; the message lists it, a line each. */
export class SchemaFaults extends WeftError {
  readonly faults: readonly Fault[]
  constructor(what: string, faults: readonly Fault[]) {
    const [first] = faults
    const lines = faults.map(describeFault)
    super(
      'SCHEMA',
      faults.length === 1 && first ? `${what}: ${lines[0]}` : `${what}, ${lines.length} faults:\n${lines.join('\n')}`,
    )
    this.faults = faults
  }
}

/** A JSON pointer of these names. */
export const pointer = (...names: readonly (string | number)[]): string =>
  names.map(name => `/${String(name).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

/** The known word nearest to a mistyped one, undefined if none is near enough to be meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

/** `, did you mean "x"?` or nothing. */
export function suggestion(word: string, known: Iterable<string>): string {
  const meant = word.length > 200 ? undefined : nearest(word, known)
  return meant === undefined ? '' : `, did you mean ${JSON.stringify(meant)}?`
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min((previous[j] as number) + 1, (row[j - 1] as number) + 1, substitution))
    }
    previous = row
  }
  return previous[b.length] as number
}
