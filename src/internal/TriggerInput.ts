/** What users hand in, checked: durations, instants, time zones. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { InvalidOptionError } from "../InvalidOptionError.ts"

const invalid = (where: string, field: string, rule: string, value: unknown): never => {
  throw new InvalidOptionError({ where, field, rule, value })
}

export const toDuration = (
  where: string,
  field: string,
  input: Duration.Input,
  least: "above zero" | "zero"
): Duration.Duration => {
  const duration = Option.getOrUndefined(Duration.fromInput(input))
  const ok = duration !== undefined && !Number.isNaN(input) && Duration.isFinite(duration) &&
    (least === "zero" ? !Duration.isNegative(duration) : Duration.isPositive(duration))
  return ok ? duration : invalid(where, field, `must be a finite duration ${least === "zero" ? ">= 0" : "> 0"}`, input)
}

const instantRule =
  "must be an instant: a DateTime, a Date, epoch milliseconds, or a string that ends in Z or an offset"
const timestamp = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)(\[[^\]]+\])?$/i

/** Epoch milliseconds. Parts of a date are in UTC, as `DateTime.make` reads them; a string has to say where. */
export const toInstant = (where: string, field: string, input: DateTime.DateTime.Input): number => {
  const instant = typeof input === "string"
    ? timestamp.test(input) ? Date.parse(input.replace(/\[.*$/, "")) : NaN
    : Option.match(DateTime.make(input), { onNone: () => NaN, onSome: DateTime.toEpochMillis })
  // JavaScript takes 30 February for 2 March.
  if (Number.isNaN(instant) || (typeof input === "string" && !isOnCalendar(input))) {
    return invalid(where, field, instantRule, input)
  }
  return Math.floor(instant)
}

const isOnCalendar = (input: string): boolean => {
  const date = input.slice(0, input.search(/[T ]/i))
  return new Date(`${date}T00:00:00Z`).toISOString().startsWith(date)
}

export const toZone = (where: string, tz: string | DateTime.TimeZone): DateTime.TimeZone => {
  const zone = DateTime.isTimeZone(tz)
    ? tz
    : typeof tz === "string"
    ? Option.getOrUndefined(DateTime.zoneFromString(tz))
    : undefined
  // DateTime takes any offset, `+99:00` too.
  if (zone !== undefined && (zone._tag === "Named" || Math.abs(zone.offset) < 86_400_000)) return zone
  return invalid(where, "tz", `must be an IANA time zone such as "Europe/Madrid", or an offset such as "+02:00"`, tz)
}

export const toSeed = (where: string, seed: number | undefined): number => {
  if (seed === undefined) return Math.floor(Math.random() * 2 ** 32)
  return Number.isInteger(seed) ? seed : invalid(where, "seed", "must be an integer", seed)
}

export const checkCount = (where: string, field: string, n: number): void => {
  if (!(Number.isInteger(n) && n >= 0)) invalid(where, field, "must be an integer >= 0", n)
}
