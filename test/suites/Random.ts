/** A small seeded generator: the same seed, the same numbers. */
export interface Random {
  /** In [0, 1). */
  readonly next: () => number
  /** An integer in [from, to]. */
  readonly int: (from: number, to: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(items: ReadonlyArray<A>) => A
  /** Each item with this probability. */
  readonly some: <A>(items: ReadonlyArray<A>, probability: number) => Array<A>
}

/** mulberry32, seeded by any numbers. */
export const make = (...seeds: ReadonlyArray<number>): Random => {
  let state = 0x9e3779b9
  const next = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  for (const seed of seeds) {
    state = Math.imul(state ^ seed, 0x85ebca6b)
    next()
  }
  const int = (from: number, to: number) => from + Math.floor(next() * (to - from + 1))
  const chance = (probability: number) => next() < probability
  return {
    next,
    int,
    chance,
    pick: (items) => items[int(0, items.length - 1)]!,
    some: (items, probability) => items.filter(() => chance(probability))
  }
}

/** The seed of this run: `SEED` in the environment, or a new one. Printed, so that what failed can be run again. */
export const seedOf = (file: string): number => {
  const seed = process.env["SEED"] === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(process.env["SEED"])
  console.log(`${file}: SEED=${seed}`)
  return seed
}
