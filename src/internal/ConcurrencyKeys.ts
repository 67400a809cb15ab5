/**
 * Fairness between keys: who is served next among those that wait under different ones.
 *
 * Start-time fair queueing (Goyal, Vin and Cheng, 1996): a key that is served moves on in virtual time by the weight it took over its own
 * weight, and the key that is least far goes next. Virtual time itself moves on as the round does, by what is served over the weights of all
 * that wait (as in weighted fair queueing: Demers, Keshav and Shenker, 1989), so that a key which comes back is not behind those that stayed,
 * and newcomers without end are not before them. What is known of a key is forgotten when it has nothing waiting, nothing running under a cap,
 * and is no longer ahead of the others.
 */
import { Counter, type Key, type Line, type Needs } from "./ConcurrencyLine.ts"

export class KeyClock {
  virtual = 0
  /** How many keys have somebody waiting, and their weights together. */
  private waiting = 0
  private weights = 0
  private readonly keys = new Map<string | undefined, FairKey>()
  /** Keys that were served ahead of the others and have nobody waiting, in the order they fell idle. */
  private readonly ahead: Array<FairKey> = []
  /** How much of the weight of one key may run at once. */
  readonly cap: number
  private readonly weightOf: (key: string) => number
  constructor(cap: number, weightOf: (key: string) => number) {
    this.cap = cap
    this.weightOf = weightOf
  }
  get size(): number {
    return this.keys.size
  }
  get(name: string | undefined): FairKey {
    const last = this.last
    if (last !== undefined && last.name === name) return last
    let key = this.keys.get(name)
    if (key === undefined) {
      const cap = name === undefined || this.cap === Infinity ? undefined : new Counter("key", name, this.cap, false)
      key = new FairKey(this, name, name === undefined ? 1 : this.weightOf(name), this.virtual, cap)
      if (cap !== undefined) {
        cap.tracked = true
        cap.key = key
      }
      this.keys.set(name, key)
    }
    return this.last = key
  }
  private last: FairKey | undefined

  /** What all keys take: what was asked for and, of the cap, the weight. */
  weightsUnder(needs: Needs, weight: number): ReadonlyArray<number> {
    if (needs !== this.asked) {
      this.asked = needs
      this.weighed = [...needs.weights, weight]
    }
    return this.weighed
  }
  private asked: Needs | undefined
  private weighed: ReadonlyArray<number> = []

  /** Somebody waits under it who found nobody there. */
  busy(key: FairKey): void {
    this.waiting++
    this.weights += key.weight
    key.waits = true
    // It may have been forgotten on the way from one line to another.
    if (!this.keys.has(key.name)) this.keys.set(key.name, key)
    if (key.virtual < this.virtual) key.virtual = this.virtual
  }

  /** What it takes is served. While nobody waits there is nothing to be fair about. */
  serve(key: FairKey, weight: number): void {
    if (this.waiting === 0) return
    const start = key.waits ? key.virtual : Math.max(this.virtual, key.virtual)
    this.virtual = Math.max(this.virtual, start) + weight / (key.waits ? this.weights : this.weights + key.weight)
    key.virtual = start + weight / key.weight
    // Two looked at for one that is served: those the others have caught up with are let go in time.
    for (let i = 0; i < 2; i++) {
      const first = this.ahead.shift()
      if (first === undefined) return
      first.isAhead = false
      if (first.waiting === 0) this.idle(first)
    }
  }

  /** The last that waited under it is gone. */
  quiet(key: FairKey): void {
    this.waiting--
    this.weights -= key.weight
    key.waits = false
    if (this.waiting === 0) {
      this.weights = 0
      // Nobody waits: from here on all begin alike.
      for (const one of [...this.ahead, key]) this.virtual = Math.max(this.virtual, one.virtual)
      for (const one of this.ahead.splice(0)) {
        one.isAhead = false
        this.forget(one)
      }
    }
    this.idle(key)
  }

  /** Nobody waits under it, or its cap has come free. */
  idle(key: FairKey): void {
    if (key.waiting > 0 || (key.cap !== undefined && key.cap.live > 0)) return
    if (key.virtual <= this.virtual) return this.forget(key)
    if (key.isAhead || key.name === undefined) return
    key.isAhead = true
    this.ahead.push(key)
  }

  private forget(key: FairKey): void {
    if (key.waiting > 0 || key.name === undefined || (key.cap !== undefined && key.cap.live > 0)) return
    if (this.last === key) this.last = undefined
    if (this.keys.get(key.name) === key) this.keys.delete(key.name)
    key.clear()
  }
}

/** One key as its scheduler knows it, with the lines that ask under it. */
export class FairKey implements Key {
  waiting = 0
  /** It is among those that virtual time is shared by. */
  waits = false
  /** It has nobody waiting, and is remembered until the others have caught up. */
  isAhead = false
  /** Asked for last, and which demand did. */
  line: Line | undefined
  demand = 0
  /** By what is asked for, where that is more than one thing. */
  lines: Map<string, Line> | undefined
  private needs: Map<Needs, Needs> | undefined
  readonly clock: KeyClock | undefined
  readonly name: string | undefined
  readonly weight: number
  virtual: number
  readonly cap: Counter | undefined
  constructor(
    clock: KeyClock | undefined,
    name: string | undefined,
    weight: number,
    virtual: number,
    cap: Counter | undefined
  ) {
    this.clock = clock
    this.name = name
    this.weight = weight
    this.virtual = virtual
    this.cap = cap
  }

  /** What is needed under this key: its cap too. */
  under(needs: Needs, weight: number): Needs {
    if (this.cap === undefined) return needs
    if (needs === this.lastNeeds) return this.lastUnder!
    let found = this.needs?.get(needs)
    if (found === undefined) {
      found = new KeyNeeds(needs, this.cap, this.clock!.weightsUnder(needs, weight))
      if (this.lastNeeds !== undefined) {
        const all = this.needs ??= new Map([[this.lastNeeds, this.lastUnder!]])
        // Only the newest are asked for: the others belong to limits that have changed.
        if (all.size >= 16) all.clear()
        all.set(needs, found)
      }
    }
    this.lastNeeds = needs
    return this.lastUnder = found
  }
  private lastNeeds: Needs | undefined
  private lastUnder: Needs | undefined

  /** Forgotten: old tables of the map keep it alive until a full collection, and it keeps nothing. */
  clear(): void {
    this.line =
      this.lines =
      this.needs =
      this.lastNeeds =
      this.lastUnder =
        undefined
  }

  /** Nothing is running under its cap. */
  idle(): void {
    this.clock!.idle(this)
  }
}

/**
 * What is asked for, and the cap. No object literal, as a `Counter` has no array of its own: where many keys wait when the engine looks, it takes
 * what literals make for long-lived, and puts them, and what is made beside them, where only a full collection finds them.
 */
class KeyNeeds implements Needs {
  readonly counters: ReadonlyArray<Counter>
  readonly weights: ReadonlyArray<number>
  readonly holds: boolean
  constructor(needs: Needs, cap: Counter, weights: ReadonlyArray<number>) {
    this.counters = [...needs.counters, cap]
    this.weights = weights
    this.holds = needs.holds
  }
}

/** Of those that take back what they had: fairness was done when they were let in. */
export const idleKey = new FairKey(undefined, undefined, 1, 0, undefined)
