import type { Database } from 'lmdb'
import type { SharedLmdb } from './shared-lmdb.ts'
import { written } from './written.ts'

const EVERY_MS = 250

/**
 * Removes expired entries in small steps, so that no step holds up a request: about a full round an hour, up to the
 * 18 million entries of which 1,250 a step make an hour. Whoever reads the entries looks at their time too.
 */
export function sweep<V>(
  lmdb: SharedLmdb,
  database: Database<V, string>,
  isExpired: (value: V) => boolean,
): Disposable {
  let from = ''
  const step = () => {
    const { entryCount } = database.getStats() as { entryCount: number }
    if (entryCount === 0) return
    const limit = Math.min(1250, Math.max(50, Math.ceil(entryCount / (3_600_000 / EVERY_MS))))
    let taken = 0
    let last = ''
    const expired: string[] = []
    for (const { key, value } of database.getRange({ start: from, limit })) {
      taken++
      last = key
      if (isExpired(value)) expired.push(key)
    }
    const remove = () => Promise.all(expired.map(key => written(database.remove(key))))
    // What could not be removed expires again in the next round.
    if (expired.length > 0) lmdb.write(remove).catch(() => undefined)
    from = taken < limit ? '' : last
  }
  const timer = setInterval(step, EVERY_MS)
  timer.unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}
