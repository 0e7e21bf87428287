import { bytes, text } from '../message.ts'
import type { Message, Process, Received, Topic, Transaction } from '../transport.ts'
import { bodyOf, byKey, isMark, keyOf, message } from './observe.ts'

/** How often this key was counted, in the state of the transaction. */
export const countOf = (transaction: Transaction, key: Uint8Array): number =>
  Number(text(transaction.get('counts', key) ?? bytes('0')))

/**
 * Counts per key in the state and tells each count in the output, `value:count`, so that any loss, repeat or lost state
 * shows. Throws on values that `poison` names.
 */
export const counting =
  (output: Topic, poison: (value: string) => boolean = () => false): Process =>
  (batch, transaction) => {
    for (const each of batch) {
      if (isMark(each)) continue
      if (poison(bodyOf(each))) throw new Error(`${bodyOf(each)} is poison`)
      const key = each.key as Uint8Array
      const count = countOf(transaction, key) + 1
      transaction.set('counts', key, bytes(String(count)))
      transaction.append(output, [message(keyOf(each), `${bodyOf(each)}:${count}`)])
    }
  }

/** The output of `counting`, per key, when each of these messages counted exactly once and in order. */
export const counted = (messages: readonly Message[]): Map<string, string[]> =>
  new Map([...byKey(messages)].map(([key, values]) => [key, values.map((value, i) => `${value}:${i + 1}`)]))

/** Faults of an output, as values. */
export interface Faults {
  readonly missing: readonly string[]
  readonly doubled: readonly string[]
  /** Right in number, but out of order or with a count that is not the next. */
  readonly miscounted: readonly string[]
}

export const faultless: Faults = { missing: [], doubled: [], miscounted: [] }

/** What is wrong with an output of `counting`: nothing, if each message counted once, in order, and no state was lost. */
export function account(sent: readonly Message[], output: readonly Received[]): Faults {
  const found = byKey(output)
  const faults = { missing: [] as string[], doubled: [] as string[], miscounted: [] as string[] }
  for (const [key, expected] of counted(sent)) {
    const values = found.get(key) ?? []
    const times = new Map<string, number>()
    for (const value of values.map(each => each.slice(0, each.indexOf(':'))))
      times.set(value, (times.get(value) ?? 0) + 1)
    for (const value of expected.map(each => each.slice(0, each.indexOf(':')))) {
      const count = times.get(value) ?? 0
      if (count === 0) faults.missing.push(value)
      if (count > 1) faults.doubled.push(value)
    }
    for (const [i, value] of values.entries())
      if (value !== expected[i]) faults.miscounted.push(`${value} for ${expected[i]}`)
  }
  return faults
}

/** Every 197th number is poison, for programs and suite alike. */
export const isPoison = (value: string): boolean => Number(value) % 197 === 0
