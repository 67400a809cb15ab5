/** The tag limits that all schedulers of one Concurrency share: made, resized, read and removed while in use. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Holder, Limit, LimitInfo, LimitsOptions, TagLimit, Usage } from "../Concurrency.ts"
import { type InvalidOptionError, orFail } from "../InvalidOptionError.ts"
import { Admission } from "./ConcurrencyAdmission.ts"
import { checkDuration, checkLimit, Limits, makeTag, setRate, TagTable } from "./ConcurrencyDemand.ts"
import { Away, Counter, Held, type Slot, toMillis } from "./ConcurrencyLine.ts"

/** The shared limits of one `Concurrency`. */
export class Shared {
  readonly admission = new Admission()
  readonly table: TagTable
  /** What `withSlot` works under: tags, no pool. */
  readonly regions: Limits
  /** The regions that ask for something or have it. */
  readonly open = new Set<Slot>()
  constructor(table: TagTable) {
    this.table = table
    this.admission.sources.add(this.open)
    this.regions = new Limits(this.admission, table, undefined, undefined, undefined)
    this.admission.onToken = (millis, slot, f) => {
      const sleep = slot.clock.sleep(millisToDuration(millis))
      Effect.runForkWith(Context.make(Clock.Clock, slot.clock))(sleep).addObserver(f)
    }
  }

  limitsFor(options: LimitsOptions): Limits {
    const { inline, maxParallelism, owner, sequential, tagLimits, where } = options
    const max = maxParallelism === undefined
      ? navigator.hardwareConcurrency
      : checkLimit(where, "maxParallelism", 1, maxParallelism)
    const own = tagLimits === undefined || owner ? undefined : new TagTable(where, tagLimits)
    const pool = inline ? undefined : new Counter("pool", "maxParallelism", max, false)
    const trees = sequential ? new Counter("tree", "maxParallelism", 1, true) : undefined
    return new Limits(this.admission, this.table, own, pool, trees)
  }

  create(tag: string, limit: Limit | TagLimit): Effect.Effect<LimitInfo, InvalidOptionError> {
    return Effect.suspend(() =>
      orFail(() => {
        const made = makeTag("Concurrency.create", tag, limit)
        const old = this.table.get(tag)
        if (old !== undefined && old.hold === made.hold) {
          const lowered = made.limit < old.limit
          old.limit = made.limit
          if (typeof limit === "object") setRate("Concurrency.create", old, limit)
          this.admission.version++
          this.admission.resized(old, lowered)
          return this.info(old)
        }
        if (old !== undefined) this.forget(old)
        this.table.counters.set(tag, made)
        this.changed()
        return this.info(made)
      })
    )
  }

  read(tag: string): Effect.Effect<Option.Option<LimitInfo>> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      return counter === undefined ? Option.none() : Option.some(this.info(counter))
    })
  }

  get list(): Effect.Effect<ReadonlyArray<LimitInfo>> {
    return Effect.sync(() =>
      [...this.table.counters.values()].map((counter) => this.info(counter)).sort((a, b) => a.tag < b.tag ? -1 : 1)
    )
  }

  remove(tag: string): Effect.Effect<boolean> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      if (counter === undefined) return false
      this.forget(counter)
      this.table.remove(tag)
      this.changed()
      return true
    })
  }

  private forget(counter: Counter): void {
    counter.removed = true
    counter.limit = Infinity
    counter.bucket = undefined
    this.admission.touch(counter)
  }

  private changed(): void {
    this.admission.version++
    this.admission.relineAll(() => true)
    this.admission.drain()
  }

  private info(counter: Counter): LimitInfo {
    return { tag: counter.name, ...usage(counter), holders: holdersOf(this.admission, counter) }
  }
}

const millisToDuration = (millis: number) => checkDuration("Concurrency", "rate", millis)

export const usage = (counter: Counter): Usage => ({
  limit: toLimit(counter.limit),
  active: counter.active,
  waiting: counter.waiting
})

/** Who holds `counter` itself: those on a share of it are covered by its holder. */
export const holdersOf = (admission: { readonly holders: Iterable<Slot> }, counter: Counter): ReadonlyArray<Holder> => {
  const holders: Array<Holder> = []
  for (const slot of admission.holders) {
    const weight = weightHeld(slot, counter)
    if (weight > 0) {
      holders.push({ id: slot.id, name: slot.name, weight, since: DateTime.makeUnsafe(toMillis(slot.since)) })
    }
  }
  return holders
}

const weightHeld = (slot: Slot, counter: Counter): number => {
  const needs = slot.needs
  if (needs === undefined) return 0
  const at = needs.counters.findIndex((one) => forwarded(one) === counter)
  if (at < 0 || slot.skips?.includes(needs.counters[at]!) === true) return 0
  const keeps = counter.hold || slot.region || slot.pins?.has(needs.counters[at]!) === true
  if (slot.phase !== Held && !(keeps && (slot.phase === Away || slot.retaker !== undefined))) return 0
  return counter.kind === "pool" ? slot.poolTaken : needs.weights[at]!
}

const forwarded = (counter: Counter): Counter => {
  while (counter.forward !== undefined) counter = counter.forward
  return counter
}

/** The name a user knows a limit by. */
export const limitName = (counter: Counter): string =>
  counter.kind === "pool" || counter.kind === "tree" ? "maxParallelism" : counter.name

export const toLimit = (limit: number): Limit => limit === Infinity ? "unbounded" : limit
