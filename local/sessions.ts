import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

export type Page = 'administrative' | 'informational' | 'product'
export const PAGES: readonly Page[] = ['administrative', 'informational', 'product']
export const TENANTS = ['aurora', 'birch', 'cobalt'] as const

/** One real shopping session: a row of data/online-shoppers.csv.gz (whose README names the columns and the credit). */
export interface Session {
  /** From 0, in the order of the file. */
  readonly row: number
  /** The demo tenant it is given to. */
  readonly tenant: (typeof TENANTS)[number]
  readonly views: Readonly<Record<Page, number>>
  /** Time on pages of each kind, whole milliseconds. */
  readonly dwellMs: Readonly<Record<Page, number>>
  /** Closeness to a special day, 0 to 1. */
  readonly specialDay: number
  /** 1 to 12. */
  readonly month: number
  readonly weekend: boolean
  readonly visitor: 'new' | 'returning' | 'other'
  readonly trafficSource: number
  readonly purchased: boolean
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'June', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const VISITORS: Readonly<Record<string, Session['visitor']>> = {
  New_Visitor: 'new',
  Returning_Visitor: 'returning',
  Other: 'other',
}

/** All 12,330 sessions, in the order of the file. */
export function sessions(): Session[] {
  const text = gunzipSync(readFileSync(new URL('./data/online-shoppers.csv.gz', import.meta.url))).toString()
  return text.trimEnd().split('\n').map(sessionOf)
}

function sessionOf(line: string, row: number): Session {
  const columns = line.split(',')
  const column = (index: number) => columns[index] as string
  const milliseconds = (index: number) => Math.round(Number(column(index)) * 1_000)
  const visitor = VISITORS[column(15)]
  const month = MONTHS.indexOf(column(10)) + 1
  if (columns.length !== 18 || !visitor || month === 0)
    throw new Error(`row ${row} of online-shoppers.csv.gz is not a session: ${line}`)
  return {
    row,
    tenant: TENANTS[(row % TENANTS.length) as 0 | 1 | 2],
    views: { administrative: Number(column(0)), informational: Number(column(2)), product: Number(column(4)) },
    dwellMs: { administrative: milliseconds(1), informational: milliseconds(3), product: milliseconds(5) },
    specialDay: Number(column(9)),
    month,
    weekend: column(16) === 'TRUE',
    visitor,
    trafficSource: Number(column(14)),
    purchased: column(17) === 'TRUE',
  }
}
