import { readFileSync } from 'node:fs'

/** What the pages of a store are used for; without `faults` each one is free or in one place of one tree. */
export interface Pages {
  readonly faults: readonly string[]
  readonly used: number
  readonly free: number
  readonly entries: number
}

const HEADER = 24
const [BRANCH, LEAF, OVERFLOW] = [1, 2, 4]
const [BIG, TREE] = [1, 2]
const NO_ROOT = 2n ** 64n - 1n

/**
 * Walks an LMDB file that nobody has open, as lmdb 3 writes it (LMDB 1.0: two pages with a meta record, the trees of free
 * pages and of databases in it), and finds pages that are used twice, or free and used, which damage shows long before
 * LMDB itself fails over it.
 */
export function pagesOf(path: string): Pages {
  const file = readFileSync(path)
  const faults: string[] = []
  const owners = new Map<number, string>()
  let entries = 0
  const size = file.readUInt32LE(48)
  const metas = [0, size].map(at => at + HEADER)
  const transaction = (meta: number) => file.readBigUInt64LE(meta + 128)
  const [a, b] = metas as [number, number]
  const meta = transaction(a) > transaction(b) ? a : b
  const last = Number(file.readBigUInt64LE(meta + 120))

  const take = (page: number, count: number, owner: string): boolean => {
    for (let n = page; n < page + count; n++) {
      const other = owners.get(n)
      if (other !== undefined) faults.push(`page ${n} is in ${owner} and in ${other}`)
      else if (n < 2 || n > last) faults.push(`page ${n} in ${owner} is none of 2 to ${last}`)
      else owners.set(n, owner)
      if (other !== undefined || n < 2 || n > last) return false
    }
    return true
  }

  const walk = (
    page: number,
    owner: string,
    depth: number,
    visit: (key: Buffer, value: Buffer, tree: boolean) => void,
  ) => {
    if (!take(page, 1, owner)) return
    const at = page * size
    if (Number(file.readBigUInt64LE(at)) !== page) faults.push(`page ${page} of ${owner} says it is another`)
    if (file.readBigUInt64LE(at + 8) > transaction(meta))
      faults.push(`page ${page} of ${owner} is of a later transaction`)
    const kind = file.readUInt16LE(at + 18)
    if (kind !== (depth > 1 ? BRANCH : LEAF)) return void faults.push(`page ${page} of ${owner} has flags ${kind}`)
    const count = file.readUInt16LE(at + 20) / 2
    let before: Buffer | undefined
    for (let i = 0; i < count; i++) {
      const node = at + HEADER + file.readUInt16LE(at + HEADER + 2 * i)
      const [low, flags] = [file.readUInt32LE(node), file.readUInt16LE(node + 4)]
      if (kind === BRANCH) {
        walk(low + flags * 2 ** 32, owner, depth - 1, visit)
        continue
      }
      const start = node + 8 + file.readUInt16LE(node + 6)
      const key = file.subarray(node + 8, start)
      if (before && owner !== 'the free list' && Buffer.compare(before, key) >= 0)
        faults.push(`page ${page} of ${owner} is out of order`)
      before = key
      visit(key, flags & BIG ? overflow(start, low, owner) : file.subarray(start, start + low), (flags & TREE) !== 0)
    }
  }

  const overflow = (place: number, length: number, owner: string): Buffer => {
    const page = Number(file.readBigUInt64LE(place))
    const at = page * size
    // A value that was made shorter in its transaction keeps the pages that it had.
    const count = Number(file.readBigUInt64LE(place + 16))
    if (!take(page, count, owner)) return Buffer.alloc(0)
    if (
      file.readUInt16LE(at + 18) !== OVERFLOW ||
      file.readUInt32LE(at + 20) !== count ||
      HEADER + length > count * size
    )
      faults.push(`page ${page} of ${owner} is no start of ${count} overflow pages`)
    return file.subarray(at + HEADER, at + HEADER + length)
  }

  const tree = (record: Buffer, owner: string, visit: (key: Buffer, value: Buffer, tree: boolean) => void) => {
    const root = record.readBigUInt64LE(40)
    let found = 0
    if (root !== NO_ROOT)
      walk(Number(root), owner, record.readUInt16LE(6), (...entry) => {
        found++
        visit(...entry)
      })
    if (BigInt(found) !== record.readBigUInt64LE(32))
      faults.push(`${owner} has ${found} entries, and says ${record.readBigUInt64LE(32)}`)
  }

  const lists: [Buffer, string][] = []
  tree(file.subarray(meta + 24, meta + 72), 'the free list', (key, value) =>
    lists.push([value, `the pages freed by ${key.readBigUInt64LE(0)}`]),
  )
  tree(file.subarray(meta + 72, meta + 120), 'the main tree', (name, record, isTree) => {
    if (isTree) tree(record, `the database ${name}`, () => entries++)
  })
  const used = owners.size
  for (const [list, owner] of lists) {
    const length = Number(list.readBigUInt64LE(0))
    for (let i = 1; i <= length; i++) {
      const entry = Number(list.readBigInt64LE(8 * i))
      // A negative number is the length of the stretch that begins at the next one.
      if (entry < 0) take(Number(list.readBigInt64LE(8 * ++i)), -entry, owner)
      else if (entry > 0) take(entry, 1, owner)
    }
  }
  if (owners.size < last - 1) faults.push(`${last - 1 - owners.size} pages are neither used nor free`)
  return { faults, used, free: owners.size - used, entries }
}
