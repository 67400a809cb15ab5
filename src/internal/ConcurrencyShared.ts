/** The tag limits that all schedulers of one Concurrency share: made, resized, read, switched and removed while in use. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type {
  ConcurrencyEvent,
  Holder,
  Lease,
  Limit,
  LimitInfo,
  LimitsOptions,
  TagLimit,
  Usage
} from "../Concurrency.ts"
import { type InvalidOptionError, orFail } from "../InvalidOptionError.ts"
import { Admission } from "./ConcurrencyAdmission.ts"
import {
  checkDuration,
  checkLimit,
  checkReserved,
  checkSharing,
  Limits,
  makeTag,
  setRate,
  TagTable
} from "./ConcurrencyDemand.ts"
import { Away, Counter, Held, type Slot, toMillis } from "./ConcurrencyLine.ts"
import { Pace } from "./ConcurrencyPace.ts"

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
    this.admission.onTime = (millis, slot, f) => {
      const sleep = slot.clock.sleep(Duration.millis(millis))
      const fiber = Effect.runForkWith(Context.make(Clock.Clock, slot.clock))(Effect.andThen(sleep, Effect.sync(f)))
      return () => fiber.interruptUnsafe()
    }
  }

  /** By token. */
  readonly leases = new Map<string, Lease>()
  private readonly listeners = new Set<(event: ConcurrencyEvent) => void>()

  emit(event: ConcurrencyEvent): void {
    Object.freeze(event)
    for (const listener of [...this.listeners]) listener(event)
  }

  /** From the subscription on; a slow reader misses none. */
  readonly events: Stream.Stream<ConcurrencyEvent> = Stream.unwrap(Effect.gen({ self: this }, function*() {
    const queue = yield* Queue.unbounded<ConcurrencyEvent>()
    const listener = (event: ConcurrencyEvent) => void Queue.offerUnsafe(queue, event)
    yield* Effect.acquireRelease(
      Effect.sync(() => this.listeners.add(listener)),
      () => Effect.sync(() => this.listeners.delete(listener))
    )
    return Stream.fromQueue(queue)
  }))

  watch(where: string, saturation: Duration.Input, context: Context.Context<never>): void {
    const threshold = checkDuration(where, "saturation", saturation)
    const millis = Duration.toMillis(threshold)
    if (!Number.isFinite(millis)) return
    this.admission.watch(millis, (counter, slot) => {
      const limit = limitName(counter)
      const { active, waiting } = counter
      const at = DateTime.makeUnsafe(slot.clock.currentTimeMillisUnsafe())
      this.emit({ _tag: "Saturated", at, limit, active, waiting, run: slot.id })
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
    if (pace.counters.length === 0) {
      const alone = new Counter("tag", tag, Infinity, false)
      alone.pace = pace
      pace.counters.push(counter, alone)
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
    const pool = inline ? undefined : new Counter("pool", "maxParallelism", max, false)
    const trees = sequential ? new Counter("tree", "maxParallelism", 1, true) : undefined
    return new Limits(this.admission, this.table, own, pool, trees, sharing)
  }

  create(tag: string, limit: Limit | TagLimit): Effect.Effect<LimitInfo, InvalidOptionError> {
    return this.atNow((now) => {
      const where = "Concurrency.create"
      const made = makeTag(where, tag, limit)
      const old = this.table.get(tag)
      if (typeof limit === "object" && limit.enabled === false) {
        if (old !== undefined) this.forget(old)
        this.table.disable(made)
        this.changed()
        return this.info(made, now)
      }
      this.table.enable(tag)
      if (old !== undefined && old.hold === made.hold) {
        const lowered = made.limit < old.limit
        old.limit = made.limit
        if (typeof limit === "object") setRate(where, old, limit.rate, now)
        this.admission.version++
        this.admission.resized(old, lowered)
        return this.info(old, now)
      }
      if (old !== undefined) this.forget(old)
      this.table.counters.set(tag, made)
      this.changed()
      return this.info(made, now)
    })
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
      const off = this.table.disabled.get(tag)
      const counter = this.table.get(tag)
      if (on ? off === undefined : counter === undefined) return off !== undefined || counter !== undefined
      if (on) {
        this.table.enable(tag)
        this.table.counters.set(tag, this.copy(off!))
      } else {
        const copy = this.copy(counter!)
        this.forget(counter!)
        this.table.disable(copy)
      }
      this.changed()
      return true
    })
  }

  /** The same limit with nobody in it. What its rate has available stays. */
  private copy(counter: Counter): Counter {
    const copy = new Counter("tag", counter.name, counter.limit, counter.hold)
    const pace = copy.pace = counter.pace
    stopTimer(pace)
    return copy
  }

  /** Nothing that asks for the tag starts before then; a tag without a limit gets one without bound. */
  pauseUntil(tag: string, until: (now: number) => number): Effect.Effect<void, InvalidOptionError> {
    return this.atNow((now) => {
      let counter = this.table.get(tag)
      const time = until(now)
      const at = DateTime.makeUnsafe(now)
      this.emit(
        time <= now ? { _tag: "Resumed", at, tag } : {
          _tag: "Paused",
          at,
          tag,
          until: time === Infinity ? undefined : DateTime.makeUnsafe(time)
        }
      )
      if (counter === undefined) {
        if (time <= now) return
        this.table.counters.set(tag, counter = new Counter("tag", tag, Infinity, false))
        this.changed()
      }
      const pace = counter.pace ??= new Pace()
      pace.pausedUntil = time
      stopTimer(pace)
      this.admission.touch(counter)
      this.admission.drain()
    })
  }

  /** Takes the tag from those who hold it, or from one of them; they go on uncounted. How many. */
  revoke(tag: string, id: string | undefined): Effect.Effect<number> {
    return Effect.map(Clock.currentTimeMillis, (now) => {
      const counter = this.table.get(tag)
      let revoked = 0
      if (counter === undefined) return revoked
      this.admission.atOnce(() => {
        for (const slot of this.admission.holders) {
          if ((id !== undefined && slot.id !== id) || !this.admission.lending.revoke(slot, counter)) continue
          revoked++
          this.emit({ _tag: "Revoked", at: DateTime.makeUnsafe(now), tag, holder: slot.id, name: slot.name })
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
    counter.pace = undefined
    this.admission.touch(counter)
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

const stopTimer = (pace: Pace | undefined): void => {
  pace?.timer?.cancel()
  if (pace !== undefined) pace.timer = undefined
}

export const pausedFor = (where: string, duration: Duration.Input) => (now: number): number =>
  now + Duration.toMillis(checkDuration(where, "duration", duration))

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

export const weightHeld = (slot: Slot, counter: Counter): number => {
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
  counter.kind === "pool" || counter.kind === "tree"
    ? "maxParallelism"
    : counter.kind === "key"
    ? "keyLimit"
    : counter.name

export const toLimit = (limit: number): Limit => limit === Infinity ? "unbounded" : limit
