import type { Address } from './driver.ts'

/** Asks brokers in turn until one answers; throws what the last one said. */
export async function firstToAnswer<T>(brokers: readonly Address[], ask: (broker: Address) => Promise<T>): Promise<T> {
  let failure: unknown
  for (const broker of brokers) {
    try {
      return await ask(broker)
    } catch (error) {
      failure = error
    }
  }
  throw failure
}
