export interface Random {
  /** From 0 up to 1. */
  (): number
  /** A whole number from `least` up to and with `most`. */
  between(least: number, most: number): number
  of<Item>(items: readonly Item[]): Item
}

/** Numbers that follow from the seed (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed | 0
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (least: number, most: number) => least + Math.floor(next() * (most - least + 1))
  return Object.assign(next, {
    between,
    of: <Item>(items: readonly Item[]): Item => items[between(0, items.length - 1)] as Item,
  })
}
