/** The tag limits that all schedulers of one Concurrency share: made, resized, read, switched and removed while in use. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Stream from "effect/Stream"
import type { ConcurrencyEvent, Lease, Limit, LimitInfo, LimitsOptions, TagLimit } from "../Concurrency.ts"
import { type InvalidOptionError, orFail } from "../InvalidOptionError.ts"
import { Admission } from "./ConcurrencyAdmission.ts"
import {
  checkDuration,
  checkLimit,
  checkReserved,
  checkSharing,
  isEnabled,
  Limits,
  makeTag,
  paceOf,
  setRate,
  TagTable
} from "./ConcurrencyDemand.ts"
import { Facts, type Listener } from "./ConcurrencyFacts.ts"
import { holdersOf, limitName, usage } from "./ConcurrencyHolders.ts"
import { Counter, type Slot } from "./ConcurrencyLine.ts"

/** The shared limits of one `Concurrency`. */
export class Shared {
  readonly admission = new Admission()
  readonly table: TagTable
  /** What `withSlot` works under: tags, no pool. */
  readonly regions: Limits
  /** The regions that ask for something or have it. */
  readonly open = new Set<Slot>()
  readonly facts: Facts
  constructor(table: TagTable, context: Context.Context<never>) {
    this.table = table
    this.facts = new Facts(this.admission, table, context)
    this.admission.sources.add(this.open)
    this.regions = new Limits(this.admission, table, undefined, undefined, undefined)
    this.admission.onTime = (millis, slot, f) => {
      const sleep = slot.clock.sleep(Duration.millis(millis))
      const fiber = Effect.runForkWith(Context.make(Clock.Clock, slot.clock))(Effect.andThen(sleep, Effect.sync(f)))
      return () => fiber.interruptUnsafe()
    }
  }

  /** By token. */
  readonly leases = new Map<string, Lease>()

  get events(): Stream.Stream<ConcurrencyEvent> {
    return this.facts.stream
  }

  listen(listener: Listener): () => void {
    return this.facts.listen(listener)
  }

  /** Of a runner that has stopped, or all of it. */
  close(limits: Limits | undefined): void {
    if (limits === undefined) this.facts.close()
    else if (limits.own !== undefined) this.facts.exclude(limits.own)
  }

  watch(where: string, saturation: Duration.Input, context: Context.Context<never>): void {
    const threshold = checkDuration(where, "saturation", saturation)
    const millis = Duration.toMillis(threshold)
    if (!Number.isFinite(millis)) return
    this.admission.watch(millis, (counter, slot) => {
      const limit = limitName(counter)
      const { active, waiting } = counter
      const at = DateTime.makeUnsafe(slot.clock.currentTimeMillisUnsafe())
      this.facts.emit({ _tag: "Saturated", at, limit, active, waiting, run: slot.id })
      Effect.runForkWith(context)(Effect.logWarning(
        `"${slot.name}" (${slot.id}) has waited for "${limit}" longer than ${
          Duration.format(threshold)
        }: ${active} taken, ${waiting} waiting`
      ))
    })
  }

  /** Tags without a limit that somebody was told of. */
  readonly warned = new Set<string>()
  isKnown(tag: string): boolean {
    return this.table.get(tag) !== undefined || this.table.disabled.has(tag)
  }

  /** The rate of a tag, without its slots. */
  rateOf(tag: string): Counter | undefined {
    const counter = this.table.get(tag)
    const pace = counter?.pace
    if (counter === undefined || pace === undefined || pace.windows.length === 0) return undefined
    if (pace.counters.length === 1) {
      const alone = new Counter("tag", tag, Infinity, false)
      alone.pace = pace
      pace.counters.push(alone)
    }
    return pace.counters[1]
  }

  limitsFor(options: LimitsOptions): Limits {
    const { inline, maxParallelism, owner, sequential, tagLimits, where } = options
    const sharing = checkSharing(where, options)
    const reserved = sharing.reserved?.reduce((a, b) => a + b, 0) ?? 0
    const max = maxParallelism === undefined
      ? navigator.hardwareConcurrency + reserved
      : checkLimit(where, "maxParallelism", 1, maxParallelism)
    if (sharing.reserved !== undefined) checkReserved(where, sharing.reserved, max)
    const own = tagLimits === undefined || owner ? undefined : new TagTable(where, tagLimits)
    if (own !== undefined) this.facts.include(own)
    const pool = inline ? undefined : new Counter("pool", "maxParallelism", max, false)
    const trees = sequential ? new Counter("tree", "maxParallelism", 1, true) : undefined
    return new Limits(this.admission, this.table, own, pool, trees, sharing)
  }

  create(tag: string, limit: Limit | TagLimit): Effect.Effect<LimitInfo, InvalidOptionError> {
    return this.atNow((now) => {
      const where = "Concurrency.create"
      const made = makeTag(where, tag, limit)
      const old = this.table.get(tag)
      const known = old ?? this.table.disabled.get(tag)
      const off = !isEnabled(limit)
      const same = old !== undefined && !off && old.hold === made.hold ? old : undefined
      const counter = same ?? this.heir(made, known, !off)
      if (known !== undefined && typeof limit === "object") setRate(where, counter, limit.rate, now)
      if (same !== undefined) {
        const lowered = made.limit < same.limit
        same.limit = made.limit
        if (this.admission.facts !== undefined) this.facts.limitChanged(tag, false)
        this.admission.version++
        this.admission.resized(same, lowered)
        if (same.pace !== undefined) {
          this.admission.touchPace(same.pace)
          for (const alone of same.pace.counters) if (alone !== same) this.admission.resized(alone, false)
        }
        this.admission.drain()
        return this.info(same, now)
      }
      if (old !== undefined) this.forget(old)
      this.table.place(counter, !off)
      this.changed()
      return this.info(counter, now)
    })
  }

  /** The limit that takes the place of `known`, with nobody in it. What its rate has available, and its pause, stay. */
  private heir(made: Counter, known: Counter | undefined, on: boolean): Counter {
    const pace = known?.pace
    if (pace !== undefined) {
      pace.timer?.cancel()
      made.pace = pace
      known!.pace = undefined
      // Whoever waits for the rate alone goes on waiting, unless it is switched off.
      const alone = pace.counters[1]
      pace.counters.splice(0, Infinity, made)
      if (alone !== undefined && on) pace.counters.push(alone)
      else if (alone !== undefined) this.unpace(alone)
    }
    return made
  }

  private unpace(counter: Counter): void {
    counter.pace = undefined
    this.admission.touch(counter)
  }

  read(tag: string): Effect.Effect<Option.Option<LimitInfo>> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      const counter = this.table.get(tag) ?? this.table.disabled.get(tag)
      return counter === undefined ? Option.none() : Option.some(this.info(counter, now))
    })
  }

  get list(): Effect.Effect<ReadonlyArray<LimitInfo>> {
    return Effect.map(
      Clock.currentTimeMillis,
      (now) =>
        [...this.table.counters.values(), ...this.table.disabled.values()]
          .map((counter) => this.info(counter, now))
          .sort((a, b) => a.tag < b.tag ? -1 : 1)
    )
  }

  remove(tag: string): Effect.Effect<boolean> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      if (counter !== undefined) this.forget(counter)
      const known = this.table.remove(tag)
      if (counter !== undefined) this.changed()
      return known
    })
  }

  // ─── switches

  /** As a limit that comes and goes: those let in while it was off are not counted. */
  switchTo(tag: string, on: boolean): Effect.Effect<boolean> {
    return Effect.sync(() => {
      const old = this.table.get(tag)
      const known = old ?? this.table.disabled.get(tag)
      if (known === undefined) return false
      if (on === (old !== undefined)) return true
      const heir = this.heir(new Counter("tag", tag, known.limit, known.hold), known, on)
      if (old !== undefined) this.forget(old)
      this.table.place(heir, on)
      this.changed()
      return true
    })
  }

  /** Nothing that asks for the tag starts before then; a tag without a limit gets one without bound. */
  pauseUntil(tag: string, until: (now: number, before: number) => number): Effect.Effect<void, InvalidOptionError> {
    return this.atNow((now) => {
      let counter = this.table.get(tag) ?? this.table.disabled.get(tag)
      const time = until(now, counter?.pace?.pausedUntil ?? -Infinity)
      const at = DateTime.makeUnsafe(now)
      this.facts.emit(
        time <= now ? { _tag: "Resumed", at, tag } : {
          _tag: "Paused",
          at,
          tag,
          until: time === Infinity ? undefined : DateTime.makeUnsafe(time)
        }
      )
      if (counter === undefined) {
        if (time <= now) return
        this.table.place(counter = new Counter("tag", tag, Infinity, false), true)
        this.changed()
      }
      const pace = paceOf(counter)
      pace.pausedUntil = time
      this.admission.touchPace(pace)
      this.admission.drain()
    })
  }

  /** Takes the tag from those who hold it, or from one of them; they go on uncounted. How many. */
  revoke(tag: string, id: string | undefined): Effect.Effect<number> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      let revoked = 0
      if (counter === undefined) return revoked
      this.admission.atOnce(() => {
        // What descendants have of a holder's part is theirs once it is taken from the holder.
        for (let before = -1; before !== revoked;) {
          before = revoked
          for (const slot of this.admission.holders) {
            if ((id !== undefined && slot.id !== id) || !this.admission.lending.revoke(slot, counter)) continue
            revoked++
            this.facts.revoked(slot, tag)
          }
        }
      })
      return revoked
    })
  }

  private atNow<A>(f: (now: number) => A): Effect.Effect<A, InvalidOptionError> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => orFail(() => f(now)))
  }

  private forget(counter: Counter): void {
    counter.removed = true
    counter.limit = Infinity
    counter.pace?.timer?.cancel()
    for (const one of counter.pace?.counters ?? [counter]) this.unpace(one)
  }

  private changed(): void {
    this.admission.version++
    this.admission.relineAll(() => true)
    this.admission.drain()
  }

  private info(counter: Counter, now: number): LimitInfo {
    const { pace } = counter
    const off = this.table.disabled.get(counter.name) === counter
    const available = pace?.available(now)
    return {
      tag: counter.name,
      ...usage(counter),
      holders: holdersOf(this.admission, counter),
      enabled: !off,
      rates: pace === undefined ? [] : pace.windows.map(({ burst, count, per }, i) => ({
        count,
        per: Duration.millis(per),
        burst,
        available: available![i]!
      })),
      pausedUntil: pace === undefined || pace.pausedUntil <= now
        ? undefined
        : pace.pausedUntil === Infinity
        ? "resumed"
        : DateTime.makeUnsafe(pace.pausedUntil)
    }
  }
}

/** A shorter pause does not end a longer one. */
export const pausedFor = (where: string, duration: Duration.Input) => (now: number, before: number): number =>
  Math.max(before, now + Duration.toMillis(checkDuration(where, "duration", duration)))
