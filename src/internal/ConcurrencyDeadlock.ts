/**
 * A wait that could never end, found before it begins.
 *
 * Slots that wait are assumed able to go on, unless what they wait for is stuck; what is left when no more of them can be set free is a
 * deadlock. Only what can be reached from the new wait is looked at, and nothing at all when nobody waits for the waiter and it holds nothing.
 */
import {
  Away,
  type Counter,
  current,
  Held,
  type Needs,
  Pending,
  Retaking,
  Returned,
  type Slot,
  type Wait,
  Waiting
} from "./ConcurrencyLine.ts"

/** The cycle that `wait` (and its demand for `needs`) would close, as names of runs and tags; `undefined` when it can end. */
export const findDeadlock = (wait: Wait, needs: Needs | undefined): ReadonlyArray<string> | undefined => {
  const chain = wait.chain
  if (chain.length === 0) return undefined
  const itself = wait.targets.filter((target) => chain.includes(target))
  if (itself.length > 0 && (!wait.any || itself.length === wait.targets.length)) {
    return [label(itself[0]!), label(itself[0]!)]
  }
  if (!chain.some((slot) => slot.awaited > 0 || slot.region || slot.pins !== undefined || slot.needs?.holds === true)) {
    return undefined
  }
  const world = new World(wait, needs)
  return world.cycle()
}

const label = (slot: Slot): string => slot.name

class World {
  private readonly stuck = new Set<Slot>()
  private readonly chain: ReadonlySet<Slot>
  private readonly wait: Wait
  private readonly needs: Needs | undefined
  constructor(wait: Wait, needs: Needs | undefined) {
    this.wait = wait
    this.needs = needs
    this.chain = new Set(wait.chain)
  }

  cycle(): ReadonlyArray<string> | undefined {
    const start = this.wait.chain[0]!
    const todo: Array<Slot> = [...this.wait.chain]
    let closes = false
    for (const slot of todo) this.stuck.add(slot)
    while (todo.length > 0) {
      const slot = todo.pop()!
      for (const [next] of this.edges(slot)) {
        if (this.chain.has(next)) closes = true
        if (this.stuck.has(next) || !waits(next)) continue
        this.stuck.add(next)
        todo.push(next)
      }
    }
    if (!closes) return undefined
    for (let changed = true; changed;) {
      changed = false
      for (const slot of this.stuck) {
        if (!this.free(slot)) continue
        this.stuck.delete(slot)
        changed = true
      }
    }
    return this.wait.chain.some((slot) => this.stuck.has(slot)) ? this.path(start) : undefined
  }

  private waitsOf(slot: Slot): ReadonlyArray<Wait> {
    const waits = slot.waits ?? []
    return this.chain.has(slot) ? [...waits, this.wait] : waits
  }

  /** It would lend what it has; one that still asks for its first slot has nothing. */
  private lends(slot: Slot): boolean {
    return this.chain.has(slot) && slot.phase !== Waiting && slot.phase !== Pending
  }

  /** What the slot itself must take before it goes on. */
  private wantedBack(slot: Slot): Array<[Counter, number]> {
    const wanted: Array<[Counter, number]> = []
    const needs = slot.needs
    const lent = slot.phase === Away || slot.phase === Retaking || this.lends(slot)
    if (needs !== undefined && (slot.phase === Waiting || slot.phase === Pending || lent)) {
      needs.counters.forEach((counter, i) => {
        const keeps = lent &&
          (slot.skips?.includes(counter) === true || counter.hold || slot.region || slot.pins?.has(counter) === true)
        if (counter.kind !== "tree" && !keeps) wanted.push([current(counter), counter.take(needs.weights[i]!)])
      })
    }
    if (lent && slot.shares !== undefined) {
      for (const share of slot.shares.values()) wanted.push([current(share), share.limit])
    }
    return wanted
  }

  /** Slots that come back together: a region goes on only once its run has its slot again. */
  private mates(slot: Slot): ReadonlySet<Slot> {
    const mates = new Set<Slot>()
    const waits = slot.retaker === undefined ? this.waitsOf(slot) : [...this.waitsOf(slot), slot.retaker]
    // One that waits for something else as well stays away when these have ended.
    for (const wait of waits) {
      for (const mate of wait.chain) {
        if (mate !== slot && this.waitsOf(mate).every((its) => waits.includes(its))) mates.add(mate)
      }
    }
    return mates
  }

  /** What has to be taken before it goes on. */
  private wanted(slot: Slot, mates: ReadonlySet<Slot>): Array<[Counter, number]> {
    const wanted = this.wantedBack(slot)
    for (const mate of mates) wanted.push(...this.wantedBack(mate))
    for (const wait of this.waitsOf(slot)) {
      const asked = (wait === this.wait ? this.needs : undefined) ?? wait.acquire?.needs
      if (asked !== undefined) {
        asked.counters.forEach((counter, i) => wanted.push([current(counter), counter.take(asked.weights[i]!)]))
      }
    }
    return wanted
  }

  private holders(counter: Counter): Array<Slot> {
    const holders = new Set(counter.heldBy)
    for (const slot of this.chain) {
      if (
        this.lends(slot) &&
        slot.needs?.counters.some((one) =>
          current(one) === counter && (one.hold || slot.region || slot.pins?.has(one) === true)
        )
      ) holders.add(slot)
    }
    return [...holders]
  }

  private free(slot: Slot): boolean {
    if (slot.phase === Returned) return true
    for (const wait of this.waitsOf(slot)) {
      if (wait.targets.length === 0) continue
      const ends = (target: Slot) => !this.stuck.has(target)
      if (!(wait.any ? wait.targets.some(ends) : wait.targets.every(ends))) return false
    }
    const mates = this.mates(slot)
    for (const [counter, weight] of this.wanted(slot, mates)) {
      if (weight > counter.limit) continue
      let kept = 0
      for (const holder of this.holders(counter)) {
        if (holder !== slot && !mates.has(holder) && this.stuck.has(holder)) kept += weightOf(holder, counter)
      }
      if (counter.limit - kept < weight) return false
    }
    return true
  }

  /** Whom the slot waits for, and through which tag. */
  private edges(slot: Slot): Array<[Slot, string | undefined]> {
    const edges: Array<[Slot, string | undefined]> = []
    for (const wait of this.waitsOf(slot)) for (const target of wait.targets) edges.push([target, undefined])
    const mates = this.mates(slot)
    for (const [counter] of this.wanted(slot, mates)) {
      if (counter.heldBy === undefined && !this.chainHolds) continue
      for (const holder of this.holders(counter)) {
        if (holder !== slot && !mates.has(holder)) edges.push([holder, counter.name])
      }
    }
    return edges
  }

  private get chainHolds(): boolean {
    for (const slot of this.chain) if (slot.region || slot.pins !== undefined || slot.needs?.holds === true) return true
    return false
  }

  private path(start: Slot): ReadonlyArray<string> {
    const from = new Map<Slot, [Slot, string | undefined]>()
    const todo = [...this.chain].filter((slot) => this.stuck.has(slot))
    const begin = todo[todo.length - 1] ?? start
    const queue = [begin]
    for (const slot of queue) {
      for (const [next, tag] of this.edges(slot)) {
        if (this.chain.has(next)) {
          const names: Array<string> = [label(next)]
          if (tag !== undefined) names.unshift(tag)
          for (let at = slot;;) {
            names.unshift(label(at))
            const step = from.get(at)
            if (step === undefined) return names
            if (step[1] !== undefined) names.unshift(step[1])
            at = step[0]
          }
        }
        if (!this.stuck.has(next) || from.has(next)) continue
        from.set(next, [slot, tag])
        queue.push(next)
      }
    }
    return [label(begin), label(begin)]
  }
}

const waits = (slot: Slot): boolean => slot.phase !== Returned && (slot.phase !== Held || slot.waits !== undefined)

const weightOf = (slot: Slot, counter: Counter): number => {
  const needs = slot.needs!
  const at = needs.counters.findIndex((one) => current(one) === counter)
  return at < 0 ? 0 : needs.weights[at]!
}
