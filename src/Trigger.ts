/**
 * When work is due, as a pure function of time.
 *
 * A trigger is a value without state, so any number of users share one. Instants are whole milliseconds, each due at most once. What a calendar
 * says (`cron`, `at`, an anchored `every`) is due whoever asks; what counts from a start (`every`, `after`, `times`) is due as if it started at
 * the instant asked about, until a `Periodic` starts it for good, or `since` does.
 *
 * Constructors never throw. An invalid trigger carries its `InvalidOptionError`: `check` fails with it, `next`, `previous` and `upcoming` throw
 * it, a Layer that runs on it dies of it.
 */
import * as Cron from "effect/Cron"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Pipeable } from "effect/Pipeable"
import { hasProperty } from "effect/Predicate"
import { Calendar } from "./internal/TriggerCalendar.ts"
import { CronTimes } from "./internal/TriggerCron.ts"
import { Counted, Delayed, Ending, Merged, Numbered, Sought } from "./internal/TriggerCursor.ts"
import * as Describe from "./internal/TriggerDescribe.ts"
import { fromCron, parse } from "./internal/TriggerExpression.ts"
import { fraction, Grid } from "./internal/TriggerGrid.ts"
import { checkCount, toDuration, toInstant, toSeed, toZone } from "./internal/TriggerInput.ts"
import {
  absolute,
  beginAfter,
  latest,
  Made,
  type Parts,
  partsOf,
  toUtc,
  trigger,
  TypeId
} from "./internal/TriggerParts.ts"
import { utc, zoneOf } from "./internal/TriggerZone.ts"
import { InvalidOptionError } from "./InvalidOptionError.ts"

/** When work is due. */
export interface Trigger extends Pipeable {
  readonly [TypeId]: typeof TypeId
  /** The first due instant after `after`, as if the trigger started at `after`; `undefined`: never again. */
  readonly next: (after: DateTime.Utc) => DateTime.Utc | undefined
  /** The last due instant before `before`, as if it was started long ago; `undefined`: none, or counted from a start that is not known. */
  readonly previous: (before: DateTime.Utc) => DateTime.Utc | undefined
  /** In plain English: `at 07:00, Monday to Friday, Europe/Madrid`. */
  readonly description: string
  /** Starts it. First due after `start`; at `start` where the first delay is zero. Throws the `InvalidOptionError` of an invalid one. @internal */
  readonly begin: (start: DateTime.Utc) => Cursor
}

/** Where a started trigger stands: an immutable value, for what runs work on it. @internal */
export interface Cursor {
  /** `undefined`: never again. */
  readonly due: DateTime.Utc | undefined
  /** What is due depends on when the last run ended: runs never overlap, and `advance` is called when one has ended. */
  readonly fixedDelay: boolean
  /**
   * After `due`, and whatever else was due until `now`, was dealt with: first due after `now`; itself where it is due later already. `ended` is
   * when the last run ended, from which a fixed delay counts; default `now`.
   */
  readonly advance: (now: DateTime.Utc, ended?: DateTime.Utc | undefined) => Cursor
  /** `n` due instants further (default 1), however late they are. At once for `every` and `at`, one by one for others. */
  readonly step: (n?: number | undefined) => Cursor
  /** How many instants are due until `now`, both ends included, at most `max`: `step(count - 1).due` is the latest of them. */
  readonly count: (now: DateTime.Utc, max?: number | undefined) => number
}

export const isTrigger = (u: unknown): u is Trigger => hasProperty(u, TypeId)

/** A trigger of your own. `next` answers with an instant after the one it is given, whatever the start; without `previous` none is known. */
export const make = (
  next: (after: DateTime.Utc) => DateTime.Utc | undefined,
  options?: {
    readonly previous?: ((before: DateTime.Utc) => DateTime.Utc | undefined) | undefined
    readonly description?: string | undefined
  }
): Trigger =>
  trigger(() => {
    const find = (after: number): number | undefined => {
      const due = next(toUtc(after))
      if (due === undefined) return undefined
      if (due.epochMilliseconds > after) return Math.ceil(due.epochMilliseconds)
      const rule = `must answer with an instant after ${Describe.instant(after)}`
      throw new InvalidOptionError({ where: "Trigger.make", field: "next", rule, value: due })
    }
    return {
      description: options?.description ?? "custom",
      begin: (start, from) => new Sought(find, from ? start - 1 : start),
      previous: (before) => options?.previous?.(toUtc(before))?.epochMilliseconds
    }
  })

/**
 * A cron expression (second? minute hour day month weekday) in a time zone, default UTC. Names in any case, lists, steps, ranges that wrap
 * (`22-2`, `fri-mon`), 0 and 7 for Sunday, `@daily` and its like; or a `Cron` of effect, in its own zone where it has one. When both day and
 * weekday are restricted either will do, unless one of them begins with `*`, as in an every-other-day step: then both have to match. What never
 * matches (30 February) is never due.
 *
 * Each wall time is due once. One that does not exist, as the clocks go forward over it, is due as much later (02:30 at 03:30), and once where
 * 03:30 is due anyway. One that exists twice is due the first time: as the clocks go back from 03:00 to 02:00, `0,15,30,45 * * * *` is due at
 * 02:45 and next at 03:00, an hour and a quarter later. What is to be due at even distances is an `every`, or a `cron` in UTC.
 */
export const cron = (
  expression: string | Cron.Cron,
  options?: { readonly tz?: string | DateTime.TimeZone | undefined }
): Trigger =>
  trigger(() => {
    const made = Cron.isCron(expression) ? expression : undefined
    const fields = Cron.isCron(expression) ? fromCron(expression) : parse(expression)
    const tz = options?.tz ?? (made?.tz._tag === "Some" ? made.tz.value : undefined)
    const zone = optional(tz, (tz) => toZone("Trigger.cron", tz))
    const times = new CronTimes(
      new Calendar(fields),
      zone === undefined ? utc : zoneOf(zone),
      made?.onDstOverlap ?? "earlier"
    )
    const find = (after: number) => times.next(after)
    return {
      description: Describe.cron(fields, zone, tz),
      begin: (start, from) => new Sought(find, from ? start - 1 : start),
      previous: (before) => times.previous(before)
    }
  })

/** Options of `every`. */
export interface EveryOptions {
  /** From the start to the first due instant; default: the interval. Zero: due at the start. With `anchor`: shifts the grid. */
  readonly delay?: Duration.Input | undefined
  /**
   * Random lateness. From a start, gaps are `interval` to `interval + jitter`, evenly so, and the first is not late. With `anchor`, each grid point
   * is up to `jitter` late, which has to be shorter than the interval by a millisecond, and the grid is kept.
   */
  readonly jitter?: Duration.Input | undefined
  /** The grid `anchor + k * interval` for every integer `k`, whatever the start. */
  readonly anchor?: DateTime.DateTime.Input | undefined
  /** An integer: the same seed, the same jitter. Default: drawn when the trigger is made. */
  readonly seed?: number | undefined
}

/**
 * A fixed rate: `interval` after the start, then every `interval`, without drift. An interval counts to the nanosecond, instants are rounded to
 * the millisecond; one below a millisecond is a millisecond.
 */
export const every = (interval: Duration.Input, options?: EveryOptions): Trigger =>
  trigger(() => {
    const where = "Trigger.every"
    const duration = toDuration(where, "interval", interval, "above zero")
    const delay = optional(options?.delay, (delay) => toDuration(where, "delay", delay, "zero"))
    const jitter = optional(options?.jitter, (jitter) => toDuration(where, "jitter", jitter, "zero"))
    const anchor = optional(options?.anchor, (anchor) => toInstant(where, "anchor", anchor))
    const each = {
      interval: max(Duration.toNanosUnsafe(duration), nanosPerMilli),
      jitter: jitter === undefined ? 0n : Duration.toNanosUnsafe(jitter),
      seed: toSeed(where, options?.seed)
    }
    const first = Duration.toNanosUnsafe(delay ?? (anchor === undefined ? duration : Duration.zero))
    const description = Describe.every(duration, anchor, delay, jitter)
    if (anchor === undefined) {
      return {
        description,
        relative: true,
        begin: (start) =>
          new Numbered(new Grid({ ...each, first: BigInt(start) * nanosPerMilli + first, started: true }), 0),
        previous: unknown
      }
    }
    if (each.jitter > each.interval - nanosPerMilli) {
      const rule = "must be shorter than the interval, by a millisecond or more, where there is an anchor"
      throw new InvalidOptionError({ where, field: "jitter", rule, value: options?.jitter })
    }
    return absolute(
      description,
      new Grid({ ...each, first: BigInt(anchor) * nanosPerMilli + first, started: false })
    )
  })

const nanosPerMilli = 1_000_000n
const max = (a: bigint, b: bigint): bigint => a > b ? a : b
const optional = <A, B>(value: A | undefined, f: (value: A) => B): B | undefined =>
  value === undefined ? undefined : f(value)
const unknown = (): undefined => undefined

/** Options of `after`. */
export interface AfterOptions {
  /** From the start to the first due instant; default: the delay. Zero: due at the start. */
  readonly delay?: Duration.Input | undefined
  /** Each wait but the first is `delay` to `delay + jitter`, evenly so. */
  readonly jitter?: Duration.Input | undefined
  /** An integer: the same seed, the same jitter. Default: drawn when the trigger is made. */
  readonly seed?: number | undefined
}

/** A fixed delay: `delay` after the start, then `delay` after the end of each run. Asked without runs, it takes them to last no time. */
export const after = (delay: Duration.Input, options?: AfterOptions): Trigger =>
  trigger(() => {
    const where = "Trigger.after"
    const duration = toDuration(where, "delay", delay, "above zero")
    const first = optional(options?.delay, (first) => toDuration(where, "options.delay", first, "zero"))
    const jitter = optional(options?.jitter, (jitter) => toDuration(where, "jitter", jitter, "zero"))
    const seed = toSeed(where, options?.seed)
    const wait = Duration.toMillis(duration)
    const spread = jitter === undefined ? 0 : Duration.toMillis(jitter)
    return {
      description: Describe.after(duration, first, jitter),
      relative: true,
      begin: (start) =>
        new Delayed(
          (run) => Math.max(1, Math.round(wait + spread * fraction(seed, run))),
          start + Math.round(Duration.toMillis(first ?? duration)),
          0
        ),
      previous: unknown
    }
  })

/** These instants, in any order; the same one twice is due once, none is never due. A string has to end in Z or an offset. */
export const at = (...instants: ReadonlyArray<DateTime.DateTime.Input>): Trigger =>
  trigger(() => {
    const all = Float64Array.from(new Set(instants.map((instant) => toInstant("Trigger.at", "instant", instant))))
      .sort()
    return {
      ...absolute(Describe.instants(all), { at: (number) => all[number], after: (instant) => rank(all, instant) }),
      origin: all[0] ?? Infinity
    }
  })

/** How many are not after `instant`. */
const rank = (sorted: Float64Array, instant: number): number => {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! <= instant) low = middle + 1
    else high = middle
  }
  return low
}

/** Due when any of them is, once where they coincide; of none: never. */
export const union = (...triggers: ReadonlyArray<Trigger>): Trigger =>
  trigger(() => {
    const all = triggers.map(partsOf)
    return {
      description: all.length === 0 ? "never" : all.map((one) => one.description).join(" and "),
      relative: all.some((one) => one.relative === true),
      origin: all.some((one) => one.origin === undefined) ? undefined : Math.min(...all.map((one) => one.origin!)),
      begin: (start, from) => Merged.of(all.map((one) => one.begin(start, from))),
      previous: (before) => {
        const found = all.map((one) => one.previous(before)).filter((instant) => instant !== undefined)
        return found.length === 0 ? undefined : Math.max(...found)
      }
    }
  })

/** Nothing is due after `instant`; `instant` itself may be. */
export const until: {
  (instant: DateTime.DateTime.Input): (self: Trigger) => Trigger
  (self: Trigger, instant: DateTime.DateTime.Input): Trigger
} = dual(2, (self: Trigger, instant: DateTime.DateTime.Input): Trigger =>
  trigger(() => {
    const parts = partsOf(self)
    const end = toInstant("Trigger.until", "instant", instant)
    return {
      ...parts,
      description: `${parts.description}, until ${Describe.instant(end)}`,
      begin: (start, from) => Ending.of(parts.begin(start, from), end),
      previous: (before) => parts.previous(Math.min(before, end + 1))
    }
  }))

/** Nothing is due before `instant`; `instant` itself may be. What counts from a start counts from `instant`, or from a later start. */
export const since: {
  (instant: DateTime.DateTime.Input): (self: Trigger) => Trigger
  (self: Trigger, instant: DateTime.DateTime.Input): Trigger
} = dual(2, (self: Trigger, instant: DateTime.DateTime.Input): Trigger =>
  trigger(() => {
    const parts = partsOf(self)
    const origin = toInstant("Trigger.since", "instant", instant)
    const begin: Parts["begin"] = (start, from) => start < origin ? parts.begin(origin, true) : parts.begin(start, from)
    return {
      ...parts,
      description: `${parts.description}, from ${Describe.instant(origin)}`,
      origin: Math.max(origin, parts.origin ?? origin),
      begin,
      previous: (before) => {
        if (parts.relative === true) return latest(parts.begin(origin, true), before)
        const found = parts.previous(before)
        return found !== undefined && found >= origin ? found : undefined
      }
    }
  }))

/** The first `n` due instants, counted from the start. An integer >= 0. */
export const times: {
  (n: number): (self: Trigger) => Trigger
  (self: Trigger, n: number): Trigger
} = dual(2, (self: Trigger, n: number): Trigger =>
  trigger(() => {
    const parts = partsOf(self)
    checkCount("Trigger.times", "n", n)
    const begin: Parts["begin"] = (start, from) => Counted.of(parts.begin(start, from), n)
    return {
      ...parts,
      description: `${parts.description}, ${n === 1 ? "once" : `${n} times`}`,
      relative: true,
      begin,
      previous: (before) => parts.origin === undefined ? undefined : latest(begin(parts.origin, true), before)
    }
  }))

/** The first due instant after `after`, as if the trigger started at `after`; `undefined`: never again. */
export const next: {
  (after: DateTime.DateTime.Input): (self: Trigger) => DateTime.Utc | undefined
  (self: Trigger, after: DateTime.DateTime.Input): DateTime.Utc | undefined
} = dual(
  2,
  (self: Trigger, after: DateTime.DateTime.Input): DateTime.Utc | undefined =>
    self.next(toUtc(toInstant("Trigger.next", "after", after)))
)

/** The last due instant before `before`, as if it was started long ago; `undefined`: none, or counted from a start that is not known. */
export const previous: {
  (before: DateTime.DateTime.Input): (self: Trigger) => DateTime.Utc | undefined
  (self: Trigger, before: DateTime.DateTime.Input): DateTime.Utc | undefined
} = dual(
  2,
  (self: Trigger, before: DateTime.DateTime.Input): DateTime.Utc | undefined =>
    self.previous(toUtc(toInstant("Trigger.previous", "before", before)))
)

/** The first `n` due instants after `after`, as if the trigger started at `after`; fewer where it ends. */
export const upcoming: {
  (n: number, after: DateTime.DateTime.Input): (self: Trigger) => Array<DateTime.Utc>
  (self: Trigger, n: number, after: DateTime.DateTime.Input): Array<DateTime.Utc>
} = dual(3, (self: Trigger, n: number, after: DateTime.DateTime.Input): Array<DateTime.Utc> => {
  checkCount("Trigger.upcoming", "n", n)
  const due: Array<DateTime.Utc> = []
  let cursor = beginAfter(partsOf(self), toInstant("Trigger.upcoming", "after", after))
  for (; due.length < n && cursor.due !== undefined; cursor = cursor.step()) due.push(cursor.due)
  return due
})

/** The trigger in plain English: `every 15 minutes`, `at 07:00, Monday to Friday, Europe/Madrid`. */
export const describe = (self: Trigger): string => self.description

/** The trigger where it is valid: for what comes from outside. A Layer does it first. */
export const check = (self: Trigger): Effect.Effect<Trigger, InvalidOptionError> =>
  Effect.suspend(() => self instanceof Made && self.parts.error ? Effect.fail(self.parts.error) : Effect.succeed(self))
