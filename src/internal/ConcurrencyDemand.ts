/** From what work asks for, in the user's words, to the counters and weights the admission takes. */
import * as Duration from "effect/Duration"
import type {
  AdmissionReason,
  Demand,
  Limit,
  Priority,
  Rate,
  SharingOptions,
  TagLimit,
  TagLimits
} from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Admission } from "./ConcurrencyAdmission.ts"
import { KeyClock } from "./ConcurrencyKeys.ts"
import { shareOrigin } from "./ConcurrencyLending.ts"
import { Counter, Line, type Needs, Pending, Returned, type Slot, Waiting } from "./ConcurrencyLine.ts"
import { Pace, type Window } from "./ConcurrencyPace.ts"

const sameTags = (given: ReadonlyArray<string>, tags: ReadonlyArray<string> | undefined): boolean => {
  if (tags === undefined) return given.length === 0
  if (tags.length !== given.length) return false
  for (let i = 0; i < given.length; i++) if (given[i] !== tags[i]) return false
  return true
}

const priorities: Readonly<Record<string, number>> = { critical: 0, high: 10, normal: 20, low: 30 }

const invalid = (where: string, field: string, rule: string, value: unknown): never => {
  throw new InvalidOptionError({ where, field, rule, value })
}

export const checkPriority = (where: string, priority: Priority): number => {
  const value = typeof priority === "number"
    ? priority
    : Object.hasOwn(priorities, priority)
    ? priorities[priority]!
    : NaN
  if (Number.isFinite(value)) return value
  return invalid(where, "priority", `must be a finite number or one of "critical", "high", "normal", "low"`, priority)
}

/** A number from `least` up, or `Infinity` for "unbounded". */
export const checkLimit = (where: string, field: string, least: number, limit: Limit): number => {
  if (limit === "unbounded") return Infinity
  if (Number.isInteger(limit) && limit >= least) return limit
  return invalid(where, field, `must be an integer >= ${least} or "unbounded"`, limit)
}

export const checkDuration = (where: string, field: string, input: Duration.Input): Duration.Duration => {
  const duration = Duration.fromInput(input)
  const text = typeof input === "string" && input.trim().startsWith("-")
  if (duration._tag === "None" || text || isNegative(input)) {
    return invalid(where, field, "must be a duration >= 0", input)
  }
  return duration.value
}

const isNegative = (input: unknown): boolean =>
  typeof input === "number" ? !(input >= 0) : typeof input === "bigint" && input < 0n

/** The limits of tags in one place: given by name, by function, or at run time. */
export class TagTable {
  readonly counters = new Map<string, Counter>()
  /** Limits that count nothing until they are switched on. */
  readonly disabled = new Map<string, Counter>()
  private readonly find: ((tag: string) => Limit | TagLimit | undefined) | undefined
  private readonly removed = new Set<string>()
  private readonly where: string
  constructor(where: string, limits: TagLimits | undefined) {
    this.where = where
    this.find = typeof limits === "function" ? limits : undefined
    if (limits !== undefined && typeof limits !== "function") {
      for (const tag of Object.keys(limits)) this.make(tag, limits[tag]!)
    }
  }
  private make(tag: string, limit: Limit | TagLimit): Counter | undefined {
    const made = makeTag(this.where, tag, limit)
    const on = isEnabled(limit)
    this.place(made, on)
    return on ? made : undefined
  }
  /** Puts it among those that count, or those that do not. */
  place(counter: Counter, on: boolean): void {
    const replaced = this.counters.has(counter.name)
    ;(on ? this.disabled : this.counters).delete(counter.name)
    ;(on ? this.counters : this.disabled).set(counter.name, counter)
    this.removed.delete(counter.name)
    this.onChange(counter.name, replaced)
  }
  /** The limit of a tag came, went or, with nobody in it, took the place of another. */
  onChange: (tag: string, replaced: boolean) => void = () => {}
  get(tag: string): Counter | undefined {
    const counter = this.counters.get(tag)
    if (counter !== undefined || this.find === undefined || this.removed.has(tag) || this.disabled.has(tag)) {
      return counter
    }
    const limit = this.find(tag)
    if (limit === undefined) return undefined
    if (this.counters.size >= this.sweepAt) this.sweep()
    const made = this.make(tag, limit)
    if (made !== undefined) made.tracked = true
    return made
  }
  /** Demands that were worked out before are stale. */
  onSweep: () => void = () => {}
  private sweepAt = 1000
  /** The function knows them again: those that nobody has, or waits for, go, unless their rate remembers something. */
  private sweep(): void {
    for (const [tag, counter] of this.counters) {
      if (counter.tracked && counter.live === 0 && counter.waiting === 0 && counter.pace === undefined) {
        this.counters.delete(tag)
        this.onChange(tag, false)
      }
    }
    this.sweepAt = Math.max(1000, this.counters.size * 2)
    this.onSweep()
  }
  /** False when there was none, on or off. */
  remove(tag: string): boolean {
    const known = this.counters.delete(tag)
    const off = this.disabled.delete(tag)
    if (this.find !== undefined && (known || off)) this.removed.add(tag)
    if (known) this.onChange(tag, true)
    return known || off
  }
}

export const makeTag = (where: string, tag: string, given: Limit | TagLimit): Counter => {
  const { limit, rate, whileWaiting } = checkTagLimit(where, tag, given)
  const counter = new Counter("tag", tag, limit === "unbounded" ? Infinity : limit, whileWaiting === "hold")
  // Full from the beginning of time, whichever clock is asked.
  setRate(where, counter, rate, -Infinity)
  return counter
}

/** All but its rate, which `windowsOf` checks. */
export const checkTagLimit = (where: string, tag: string, given: Limit | TagLimit): TagLimit => {
  const spec: TagLimit = typeof given === "object" && given !== null ? given : { limit: given }
  const { enabled = true, limit, whileWaiting = "lend" } = spec
  const field = `tag limit "${tag}"`
  if (limit !== "unbounded" && !(Number.isInteger(limit) && limit >= 0)) {
    invalid(where, field, "must be an integer >= 0", limit)
  }
  if (whileWaiting !== "lend" && whileWaiting !== "hold") {
    invalid(where, `${field} whileWaiting`, `must be "lend" or "hold"`, whileWaiting)
  }
  if (typeof enabled !== "boolean") invalid(where, `${field} enabled`, "must be true or false", enabled)
  return spec
}

export const isEnabled = (limit: Limit | TagLimit): boolean => !(typeof limit === "object" && limit.enabled === false)

type Windows = ReadonlyArray<Omit<Window, "credit" | "at">>

/** The windows of a rate, checked. */
export const windowsOf = (where: string, tag: string, rate: TagLimit["rate"]): Windows => {
  const rates: ReadonlyArray<Rate> = rate === undefined ? [] : Array.isArray(rate) ? rate : [rate as Rate]
  return rates.map(({ burst, count, per }) => {
    const field = `tag limit "${tag}" rate`
    if (!(Number.isFinite(count) && count > 0)) invalid(where, `${field}.count`, "must be a number > 0", count)
    const millis = Duration.toMillis(checkDuration(where, `${field}.per`, per))
    if (!(millis > 0 && Number.isFinite(millis))) invalid(where, `${field}.per`, "must be a duration > 0", per)
    const most = burst ?? Math.max(1, count)
    if (!(Number.isFinite(most) && most >= 1)) invalid(where, `${field}.burst`, "must be a number >= 1", most)
    return { count, per: millis, burst: most }
  })
}

/** Makes or edits the rate of a limit; what is available now stays, within the new burst. */
export const setRate = (where: string, counter: Counter, rate: TagLimit["rate"], now: number): void => {
  const windows = windowsOf(where, counter.name, rate)
  if (windows.length === 0 && counter.pace === undefined) return
  paceOf(counter).edit(windows, now)
}

/** Its pace, made where there is none. */
export const paceOf = (counter: Counter): Pace => {
  const pace = counter.pace ??= new Pace()
  if (!pace.counters.includes(counter)) pace.counters.push(counter)
  return pace
}

/** How runs of one scheduler share it. */
export interface Sharing {
  /** Slots for critical, high and normal work and what ranks before. */
  readonly reserved: ReadonlyArray<number> | undefined
  readonly keyLimit: number
  readonly keyWeight: (key: string) => number
  readonly ageing: number | undefined
}

export const checkSharing = (where: string, options: SharingOptions): Sharing => {
  const { ageing, keyLimit, keyWeight, reserved } = options
  const slots = (["critical", "high", "normal"] as const).map((name) => {
    const count = reserved?.[name] ?? 0
    if (Number.isInteger(count) && count >= 0) return count
    return invalid(where, `reserved.${name}`, "must be an integer >= 0", count)
  })
  const wait = ageing === undefined ? Infinity : Duration.toMillis(checkDuration(where, "ageing", ageing))
  if (wait === 0) invalid(where, "ageing", "must be a duration > 0", ageing)
  return {
    reserved: slots.some((count) => count > 0) ? slots : undefined,
    keyLimit: keyLimit === undefined ? Infinity : checkLimit(where, "keyLimit", 1, keyLimit),
    keyWeight: (key) => {
      const weight = keyWeight?.(key) ?? 1
      if (Number.isFinite(weight) && weight > 0) return weight
      return invalid(where, `keyWeight of "${key}"`, "must be a number > 0", weight)
    },
    ageing: wait === Infinity ? undefined : wait
  }
}

/** 0 critical, 1 high, 2 normal, 3 low: the nearest named class at or above. */
const classOf = (priority: number): number => priority <= 0 ? 0 : priority <= 10 ? 1 : priority <= 20 ? 2 : 3

export const checkReserved = (where: string, reserved: ReadonlyArray<number>, max: number): void => {
  const sum = reserved.reduce((a, b) => a + b, 0)
  if (sum > 0 && sum >= max) invalid(where, "reserved", `must be less in all than maxParallelism (${max})`, sum)
}

/** The limits one scheduler (or, without a pool, `withSlot`) works under. */
export class Limits {
  readonly admission: Admission
  readonly shared: TagTable
  readonly own: TagTable | undefined
  readonly pool: Counter | undefined
  /** layerSequential: one tree of runs at a time. */
  readonly trees: Counter | undefined
  readonly tasks = new Map<string, Counter>()
  readonly keys: KeyClock
  /** What is open to work below critical, below high, below normal; where slots are reserved. */
  readonly classes: ReadonlyArray<Counter> | undefined
  /** Milliseconds after which a waiting run ranks one level higher. */
  readonly ageing: number | undefined
  private readonly profiles = new Map<string, Profile>()
  private last: Profile | undefined
  constructor(
    admission: Admission,
    shared: TagTable,
    own: TagTable | undefined,
    pool: Counter | undefined,
    trees: Counter | undefined,
    sharing: Sharing = { reserved: undefined, keyLimit: Infinity, keyWeight: () => 1, ageing: undefined }
  ) {
    const { ageing, keyLimit, keyWeight, reserved } = sharing
    this.keys = new KeyClock(keyLimit, keyWeight)
    this.ageing = ageing
    this.reserved = reserved
    this.classes = reserved?.map(() => new Counter("class", "maxParallelism", 0, false))
    this.admission = admission
    for (const table of [shared, own]) if (table !== undefined) table.onSweep = () => void admission.version++
    this.shared = shared
    this.own = own
    this.pool = pool
    this.trees = trees
    if (pool !== undefined) this.open()
  }
  private readonly reserved: ReadonlyArray<number> | undefined

  /** A new `maxParallelism`: what is open to each class follows. */
  resize(where: string, limit: number): void {
    const { classes, pool, reserved } = this
    if (pool === undefined) return
    if (reserved !== undefined) checkReserved(where, reserved, limit)
    pool.limit = limit
    if (classes === undefined) return this.admission.touch(pool)
    this.open()
    this.admission.version++
    this.admission.relineAll((line) => line.needs.counters.includes(pool))
    for (const counter of [pool, ...classes]) this.admission.touch(counter)
  }

  private open(): void {
    let open = this.pool!.limit
    this.classes?.forEach((counter, i) => counter.limit = open -= this.reserved![i]!)
  }

  /** Validated and interned: equal demands share a profile, and with it their lines. */
  profile(where: string, demand: Asked, name: string): Profile {
    const last = this.last
    if (
      last !== undefined && last.weight === (demand.weight ?? 1) && last.limit === demand.limit &&
      last.strict === (demand.strict === true) &&
      (demand.limit === undefined || last.name === name) && sameTags(last.given, demand.tags)
    ) return last
    return this.last = this.intern(where, demand, name)
  }

  private intern(where: string, demand: Asked, name: string): Profile {
    const weight = demand.weight ?? 1
    if (!(Number.isInteger(weight) && weight >= 1)) invalid(where, "weight", "must be an integer >= 1", weight)
    const tags: ReadonlyArray<string> = demand.tags ?? []
    if (!Array.isArray(tags) || tags.some((tag) => typeof tag !== "string")) {
      invalid(where, "tags", "must be an array of strings", tags)
    }
    const limit = demand.limit
    if (limit !== undefined) {
      const max = checkLimit(where, "limit", 1, limit)
      const task = this.tasks.get(name)
      if (task === undefined) this.tasks.set(name, new Counter("task", name, max, false))
      else if (task.limit !== max) {
        const lowered = max < task.limit
        task.limit = max
        this.admission.resized(task, lowered)
      }
    }
    const strict = demand.strict === true
    const id = `${strict ? "strict " : ""}${weight} ${limit === undefined ? "" : `${JSON.stringify(name)}${limit}`} ${
      tags.length === 0 ? "" : JSON.stringify(tags)
    }`
    let profile = this.profiles.get(id)
    if (profile === undefined) {
      if (this.profiles.size >= 4096) this.profiles.clear()
      profile = new Profile(this, tags, weight, limit, name, strict)
      this.profiles.set(id, profile)
    }
    return profile
  }
}

export type Asked = Pick<Demand, "tags" | "weight" | "strict"> & { readonly limit?: Limit | undefined }

let profiles = 0

/** One validated demand under the limits of one scheduler. */
export class Profile {
  /** The tags as they were given; a copy, as the caller may go on to change its own. */
  readonly given: ReadonlyArray<string>
  private readonly seq = ++profiles
  private needs: Needs | AdmissionReason | undefined
  /** What depends on the class of the priority, or opens a tree. */
  private readonly variants = new Map<number, Needs | AdmissionReason>()
  private version = -1
  private line: Line | undefined
  readonly limits: Limits
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  readonly limit: Limit | undefined
  readonly name: string
  readonly strict: boolean
  constructor(
    limits: Limits,
    tags: ReadonlyArray<string>,
    weight: number,
    limit: Limit | undefined,
    name: string,
    strict: boolean
  ) {
    this.strict = strict
    this.limits = limits
    this.given = tags.slice()
    this.tags = Object.freeze([...new Set(tags)])
    this.weight = weight
    this.limit = limit
    this.name = name
  }

  /** What is needed, or why it can never be had. `opensTree`: a root that was not admitted before. */
  resolve(slot: Slot, opensTree: boolean, key: string | undefined): Needs | AdmissionReason {
    const { admission, classes, keys, trees } = this.limits
    if (this.version !== admission.version) {
      this.version = admission.version
      this.needs = undefined
      this.variants.clear()
    }
    const { enclosing } = slot
    const grade = slot.grade ?? slot.priority
    const plain = classes === undefined && (trees === undefined || !opensTree)
    const needs = enclosing !== undefined && admission.holding > 0
      ? this.compute(enclosing, opensTree, grade)
      : plain
      ? this.needs ??= this.compute(undefined, false, grade)
      : this.variant(opensTree, grade)
    if (key === undefined || keys.cap === Infinity || "_tag" in needs) return needs
    if (this.weight > keys.cap) return { _tag: "ExceedsLimit", limit: "keyLimit", weight: this.weight, max: keys.cap }
    return keys.get(key).under(needs, this.weight)
  }

  private variant(opensTree: boolean, priority: number): Needs | AdmissionReason {
    const id = classOf(priority) * 2 + (opensTree ? 1 : 0)
    let found = this.variants.get(id)
    if (found === undefined) this.variants.set(id, found = this.compute(undefined, opensTree, priority))
    return found
  }

  /** The line of all that ask for just this. */
  lineOf(needs: Needs, priority: number, name: string | undefined): Line {
    const last = this.line
    if (
      last !== undefined && last.needs === needs && last.priority === priority && last.key.name === name &&
      (name === undefined || last.size > 0)
    ) {
      return last
    }
    const { ageing, keys } = this.limits
    const key = keys.get(name)
    const asked = key.line
    if (asked !== undefined && asked.needs === needs && asked.priority === priority) return this.line = asked
    // Most keys are asked for one thing, and gone soon.
    const lines = asked === undefined
      ? undefined
      : key.lines ??= new Map([[`${key.demand} ${asked.priority}`, asked]])
    const id = lines === undefined ? "" : `${this.seq} ${priority}`
    let found = lines?.get(id)
    if (found === undefined || found.needs !== needs) {
      found = new Line(needs, false, priority, key)
      found.ageing = ageing
      if (lines !== undefined) {
        if (lines.size >= 1024) lines.clear()
        lines.set(id, found)
      }
    }
    key.demand = this.seq
    return this.line = key.line = found
  }

  private compute(enclosing: Slot | undefined, opensTree: boolean, priority: number): Needs | AdmissionReason {
    const { classes, own, pool, shared, tasks, trees } = this.limits
    if (this.strict) {
      const missing = this.tags.filter((tag) => !knows(shared, tag) && (own === undefined || !knows(own, tag)))
      if (missing.length > 0) return { _tag: "MissingLimits", limits: missing }
    }
    const counters: Array<Counter> = []
    const weights: Array<number> = []
    let holds = false
    if (pool !== undefined) {
      // Of what is open to its class a weight takes all there is at most.
      const closed = classes === undefined ? 0 : classOf(priority)
      const open = classes === undefined || closed === 0 ? pool.limit : classes[closed - 1]!.limit
      counters.push(pool)
      weights.push(classes === undefined ? this.weight : Math.min(this.weight, open))
      for (let i = 0; i < closed; i++) {
        counters.push(classes![i]!)
        weights.push(Math.min(this.weight, open))
      }
    }
    if (trees !== undefined && opensTree) {
      counters.push(trees)
      weights.push(1)
      holds = true
    }
    for (const tag of this.tags) {
      for (const table of own === undefined ? [shared] : [own, shared]) {
        let counter = table.get(tag)
        if (counter === undefined) continue
        counter = shareAround(this.limits.admission, enclosing, counter) ?? counter
        const max = counter.pace === undefined ? counter.limit : Math.min(counter.limit, counter.pace.most)
        if (counter.limit === 0) return { _tag: "LimitClosed", limit: tag }
        if (this.weight > max) return { _tag: "ExceedsLimit", limit: tag, weight: this.weight, max }
        counters.push(counter)
        weights.push(this.weight)
        if (counter.hold) holds = true
      }
    }
    if (this.limit !== undefined) {
      counters.push(tasks.get(this.name)!)
      weights.push(1)
    }
    return { counters, weights, holds }
  }
}

const knows = (table: TagTable, tag: string): boolean => table.get(tag) !== undefined || table.disabled.has(tag)

/** The counter a share, of a share, … was cut from. */
export const originOf = (counter: Counter): Counter => {
  for (;;) {
    const origin = shareOrigin.get(counter)
    if (origin === undefined) return counter
    counter = origin
  }
}

/** What the slot has of `counter`, itself or a share of it. */
export const holding = (slot: Slot, counter: Counter): Counter | undefined => {
  if (slot.needs === undefined || slot.phase === Pending || slot.phase === Waiting || slot.phase === Returned) {
    return undefined
  }
  const held = slot.needs.counters.find((one) => originOf(one) === counter)
  // What closed while it waited was not taken back.
  return held !== undefined && slot.skips?.includes(held) === true ? undefined : held
}

/** The share of the nearest slot around that holds on to `counter`. */
export const shareAround = (
  admission: Admission,
  enclosing: Slot | undefined,
  counter: Counter
): Counter | undefined => {
  for (let slot = enclosing; slot !== undefined; slot = slot.enclosing) {
    const held = holding(slot, counter)
    if (held !== undefined && admission.lending.persists(slot, held)) return admission.lending.share(slot, held)
  }
  return undefined
}
