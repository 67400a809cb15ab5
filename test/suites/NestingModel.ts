/**
 * Nestings of tasks, and what they can come to: a model of its own, small enough to try every schedule.
 *
 * A run takes all it asks for at once, gives away what it lends while it waits, keeps the rest, and takes back what it lent before it goes
 * on. What its ancestors keep it takes from them. The only choice a schedule has is who is granted next; `explore` tries them all.
 */

export interface Node {
  readonly id: number
  readonly scheduler: number
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  /** `withSlot` around all the children, the first outermost. */
  readonly regions: ReadonlyArray<{ readonly tags: ReadonlyArray<string>; readonly weight: number }>
  /** The scheduler that a flow around the children starts. */
  readonly flow: number | undefined
  /** The children at once, or one after another. */
  together: boolean
  readonly yields: number
  readonly children: ReadonlyArray<Node>
}

export interface TagSpec {
  readonly limit: number
  readonly hold: boolean
}

export interface Nesting {
  /** `undefined`: no pool. */
  readonly schedulers: ReadonlyArray<
    { readonly max: number | undefined; readonly own: Readonly<Record<string, TagSpec>> }
  >
  readonly tags: Readonly<Record<string, TagSpec>>
  readonly roots: ReadonlyArray<Node>
}

/** So much of one counter. `keptFrom`: kept while waiting once so many regions were asked for; `Infinity` for what is lent. */
export interface Take {
  readonly base: string
  readonly key: string
  readonly weight: number
  keptFrom: number
}

export interface ModelSlot {
  readonly id: string
  readonly region: boolean
  readonly takes: ReadonlyArray<Take>
  /** Counters cut from what it keeps, for its descendants. */
  readonly shares: Array<string>
}

export interface NodePlan {
  readonly node: Node
  readonly parent: NodePlan | undefined
  readonly run: ModelSlot
  readonly regions: ReadonlyArray<ModelSlot>
  readonly children: ReadonlyArray<NodePlan>
  readonly index: number
}

export interface Plan {
  readonly roots: ReadonlyArray<NodePlan>
  readonly nodes: ReadonlyArray<NodePlan>
  readonly capacity: ReadonlyMap<string, number>
  /** Some demand can never be met. */
  readonly refused: boolean
}

export const plan = (nesting: Nesting): Plan => {
  const capacity = new Map<string, number>()
  const holds = new Map<string, boolean>()
  nesting.schedulers.forEach(({ max, own }, i) => {
    if (max !== undefined) capacity.set(`pool ${i}`, max)
    for (const [tag, spec] of Object.entries(own)) {
      capacity.set(`own ${i} ${tag}`, spec.limit)
      holds.set(`own ${i} ${tag}`, spec.hold)
    }
  })
  for (const [tag, spec] of Object.entries(nesting.tags)) {
    capacity.set(`tag ${tag}`, spec.limit)
    holds.set(`tag ${tag}`, spec.hold)
  }
  let refused = false
  const nodes: Array<NodePlan> = []

  /** The nearest slot around that keeps `base` lends its part of it. */
  const take = (base: string, weight: number, around: ReadonlyArray<ModelSlot>, region: boolean): Take => {
    for (const slot of around) {
      const held = slot.takes.find((one) => one.base === base)
      if (held === undefined || held.keptFrom === Infinity) continue
      const key = `share ${slot.id} ${base}`
      if (!capacity.has(key)) {
        capacity.set(key, held.weight)
        slot.shares.push(key)
      }
      if (weight > held.weight) refused = true
      return { base, key, weight, keptFrom: region || holds.get(base) === true ? 0 : Infinity }
    }
    if (weight > capacity.get(base)!) refused = true
    return { base, key: base, weight, keptFrom: region || holds.get(base) === true ? 0 : Infinity }
  }

  const visit = (node: Node, parent: NodePlan | undefined, around: ReadonlyArray<ModelSlot>): NodePlan => {
    const takes: Array<Take> = []
    const pool = `pool ${node.scheduler}`
    const max = capacity.get(pool)
    if (max !== undefined) takes.push({ base: pool, key: pool, weight: Math.min(node.weight, max), keptFrom: Infinity })
    for (const tag of new Set(node.tags)) {
      for (const base of [`own ${node.scheduler} ${tag}`, `tag ${tag}`]) {
        if (capacity.has(base)) takes.push(take(base, node.weight, around, false))
      }
    }
    const run: ModelSlot = { id: `${node.id}`, region: false, takes, shares: [] }
    const inside: Array<ModelSlot> = [run]
    node.regions.forEach((asked, j) => {
      const takes: Array<Take> = []
      for (const tag of new Set(asked.tags)) {
        const base = `tag ${tag}`
        if (!capacity.has(base)) continue
        const has = inside.find((slot) => slot.takes.some((one) => one.base === base))
        if (has === undefined) takes.push(take(base, asked.weight, [...inside, ...around], true))
        else if (!has.region) {
          const held = has.takes.find((one) => one.base === base)!
          held.keptFrom = Math.min(held.keptFrom, j + 1)
        }
      }
      inside.unshift({ id: `${node.id}.${j}`, region: true, takes, shares: [] })
    })
    const regions = inside.slice(0, -1).reverse()
    const children: Array<NodePlan> = []
    const made: NodePlan = { node, parent, run, regions, children, index: nodes.length }
    nodes.push(made)
    for (const child of node.children) children.push(visit(child, made, [...inside, ...around]))
    return made
  }
  const roots = nesting.roots.map((root) => visit(root, undefined, []))
  return { roots, nodes, capacity, refused }
}

/** The counters that something in the sub-trees keeps while it waits. */
export const kept = (plans: ReadonlyArray<NodePlan>): Set<string> => {
  const keys = new Set<string>()
  const visit = (one: NodePlan) => {
    for (const slot of [one.run, ...one.regions]) {
      for (const take of slot.takes) if (take.keptFrom !== Infinity) keys.add(take.base)
    }
    for (const child of one.children) visit(child)
  }
  for (const one of plans) visit(one)
  return keys
}

export interface Verdict {
  /** Some schedule runs to the end. */
  readonly ends: boolean
  /** Some schedule gets stuck. */
  readonly sticks: boolean
  readonly states: number
}

// The phases of a node: not submitted, asking, ended; from 8 on asking for region j; from 32 on waiting for children, then taking back.
const None = 0
const Asking = 1
const Ended = 2
const Region = 8
const Wait = 32
const Back = 128

/** Tries every schedule; `undefined` where there are more than `most` states. */
export const explore = (planned: Plan, most: number): Verdict | undefined => {
  if (planned.refused) return { ends: false, sticks: false, states: 0 }
  const { capacity, nodes } = planned
  const seen = new Set<string>()
  let ends = false
  let sticks = false

  /** What the node keeps or has in this phase. */
  const usage = (state: Uint8Array): Map<string, number> => {
    const used = new Map<string, number>()
    for (const one of nodes) {
      const phase = state[one.index]!
      if (phase < Region) continue
      const asked = phase < Wait ? phase - Region + 1 : one.regions.length
      const entered = phase < Wait ? phase - Region : one.regions.length
      for (const take of one.run.takes) {
        if (take.keptFrom <= asked) used.set(take.key, (used.get(take.key) ?? 0) + take.weight)
      }
      for (let j = 0; j < entered; j++) {
        for (const take of one.regions[j]!.takes) used.set(take.key, (used.get(take.key) ?? 0) + take.weight)
      }
    }
    return used
  }

  const fits = (used: Map<string, number>, takes: ReadonlyArray<Take>): boolean =>
    takes.every((take) => (used.get(take.key) ?? 0) + take.weight <= capacity.get(take.key)!)

  const wanted = (one: NodePlan, phase: number): ReadonlyArray<Take> => {
    if (phase === Asking) return one.run.takes
    if (phase >= Back) return one.run.takes.filter((take) => take.keptFrom === Infinity)
    const j = phase - Region
    return [...one.regions[j]!.takes, ...one.run.takes.filter((take) => take.keptFrom > j + 1)]
  }

  /** Granted: it goes on until it asks, waits or ends. */
  const advance = (state: Uint8Array, one: NodePlan, region: number, child: number): void => {
    for (let j = region; j < one.regions.length; j++) {
      if (one.regions[j]!.takes.length === 0) continue
      state[one.index] = Region + j
      return
    }
    if (child < one.children.length && !(one.node.together && child > 0)) {
      state[one.index] = Wait + child
      for (const next of one.node.together ? one.children : [one.children[child]!]) state[next.index] = Asking
      return
    }
    state[one.index] = Ended
    const parent = one.parent
    if (parent === undefined) return
    const waiting = state[parent.index]! - Wait
    const awaited = parent.node.together ? parent.children : [parent.children[waiting]!]
    if (awaited.every((next) => state[next.index] === Ended)) state[parent.index] = Back + waiting
  }

  const start = new Uint8Array(nodes.length).fill(None)
  for (const root of planned.roots) start[root.index] = Asking
  const todo = [start]
  seen.add(start.join())
  while (todo.length > 0 && !(ends && sticks)) {
    const state = todo.pop()!
    const used = usage(state)
    let moved = false
    let live = false
    for (const one of nodes) {
      const phase = state[one.index]!
      if (phase === None || phase === Ended) continue
      live = true
      if (phase >= Wait && phase < Back) continue
      if (!fits(used, wanted(one, phase))) continue
      moved = true
      const next = state.slice()
      if (phase === Asking) advance(next, one, 0, 0)
      else if (phase >= Back) advance(next, one, one.regions.length, phase - Back + 1)
      else advance(next, one, phase - Region + 1, 0)
      const key = next.join()
      if (seen.has(key)) continue
      if (seen.size >= most) return undefined
      seen.add(key)
      todo.push(next)
    }
    if (!live) ends = true
    else if (!moved) sticks = true
  }
  return { ends, sticks, states: seen.size }
}
