/** Triggers in plain English. */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import type { Fields } from "./TriggerCalendar.ts"

// ─── durations and instants

/** `every hour`, `every 10 seconds, first after 3 seconds, each up to 1 second later`. */
export const every = (
  interval: Duration.Duration,
  anchor: number | undefined,
  delay: Duration.Duration | undefined,
  jitter: Duration.Duration | undefined
): string => {
  const pace = `every ${durationOf(interval).replace(/^1 (\w+)$/, "$1")}`
  if (anchor === undefined) return `${pace}${first(delay)}${late(jitter)}`
  const shift = delay === undefined ? "" : ` plus ${durationOf(delay)}`
  return `${pace}, counted from ${instant(anchor)}${shift}${late(jitter)}`
}

/** `10 seconds after the last`. */
export const after = (
  delay: Duration.Duration,
  initial: Duration.Duration | undefined,
  jitter: Duration.Duration | undefined
): string => `${durationOf(delay)} after the last${first(initial)}${late(jitter)}`

const first = (delay: Duration.Duration | undefined): string =>
  delay === undefined ? "" : Duration.isZero(delay) ? ", first at once" : `, first after ${durationOf(delay)}`

const late = (jitter: Duration.Duration | undefined): string =>
  jitter === undefined ? "" : `, each up to ${durationOf(jitter)} later`

/** `1 hour 30 minutes`. */
const durationOf = (duration: Duration.Duration): string => {
  const { days, hours, millis, minutes, nanos, seconds } = Duration.parts(duration)
  const parts = [
    plural(days, "day"),
    plural(hours, "hour"),
    plural(minutes, "minute"),
    plural(seconds, "second"),
    plural(millis + nanos / 1e6, "millisecond")
  ].filter((part) => !part.startsWith("0 "))
  return parts.length === 0 ? "0 seconds" : parts.join(" ")
}

const plural = (n: number, unit: string): string => n === 1 ? `1 ${unit}` : `${n} ${unit}s`

export const instant = (instant: number): string => new Date(instant).toISOString()

export const instants = (all: Float64Array): string =>
  all.length === 0
    ? "never"
    : all.length <= 5
    ? `at ${list(Array.from(all, instant))}`
    : `at ${all.length} instants from ${instant(all[0]!)} to ${instant(all.at(-1)!)}`

const list = (words: ReadonlyArray<string>): string =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`

// ─── values of a field

/** `[first, last]` of each stretch of neighbours. In a circle of `size` values, the last and the first are neighbours. */
const runs = (values: ReadonlyArray<number>, size: number): ReadonlyArray<readonly [first: number, last: number]> => {
  const found: Array<[number, number]> = []
  for (const value of values) {
    const run = found.at(-1)
    if (run !== undefined && run[1] === value - 1) run[1] = value
    else found.push([value, value])
  }
  if (found.length > 1 && found[0]![0] === 0 && found.at(-1)![1] === size - 1) {
    return [...found.slice(1, -1), [found.at(-1)![0], found[0]![1]]]
  }
  return found
}

/** The distance between neighbours where it is one and the same, and there are three values or more. */
const stepOf = (values: ReadonlyArray<number>): number | undefined => {
  const step = values[1]! - values[0]!
  return values.length > 2 && values.every((value, i) => i === 0 || value - values[i - 1]! === step) ? step : undefined
}

/** `5, 10 to 20 and 40`; two neighbours are not worth a range. */
const spans = (values: ReadonlyArray<number>, size: number, name: (value: number) => string): string =>
  list(
    runs(values, size).flatMap(([first, last]) =>
      first === last ? [name(first)] : Math.abs(last - first) === 1 || last + size - first === 1
        ? [name(first), name(last)]
        : [`${name(first)} to ${name(last)}`]
    )
  )

const endings = ["th", "st", "nd", "rd"]
/** `1st`, `12th`, `23rd`. */
const ordinal = (n: number): string => `${n}${n > 10 && n < 14 ? "th" : endings[n % 10] ?? "th"}`

const two = (n: number): string => String(n).padStart(2, "0")
const clock = (hour: number, minute: number, second: number): string =>
  `${two(hour)}:${two(minute)}${second === 0 ? "" : `:${two(second)}`}`

// ─── cron

const monthNames = "January February March April May June July August September October November December".split(" ")
const weekdayNames = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(" ")

/** `at 07:00, Monday to Friday, Europe/Madrid`; `tz` is how the zone was given. */
export const cron = (
  fields: Fields,
  zone: DateTime.TimeZone | undefined,
  tz: string | DateTime.TimeZone | undefined
): string => {
  const [h, m, s] = [sorted(fields.hours), sorted(fields.minutes), sorted(fields.seconds)]
  const times = clockTimes(h, m, s)
  const parts = [
    times === undefined ? cadence(h, m, s) : `at ${list(times)}`,
    days(fields, times !== undefined),
    zone && nameOf(zone, tz)
  ]
  return parts.filter((part) => part !== undefined && part !== "").join(", ")
}

/** As it was given, an alias too, but in the usual case. */
const nameOf = (zone: DateTime.TimeZone, tz: string | DateTime.TimeZone | undefined): string => {
  const name = DateTime.zoneToString(zone)
  return typeof tz === "string" && tz.toLowerCase() !== name.toLowerCase() ? tz : name
}

const sorted = (values: ReadonlySet<number>): ReadonlyArray<number> => [...values].sort((a, b) => a - b)

/** The times of a day one by one, where they are few or follow no rule. */
const clockTimes = (
  h: ReadonlyArray<number>,
  m: ReadonlyArray<number>,
  s: ReadonlyArray<number>
): ReadonlyArray<string> | undefined => {
  const count = h.length * m.length * s.length
  const ruled = h.length === 24 || m.length * s.length > 1 || stepOf(h) !== undefined || runs(h, 24).length === 1
  if (count > 4 && (ruled || count > 12)) return undefined
  return h.flatMap((hour) => m.flatMap((minute) => s.map((second) => clock(hour, minute, second))))
}

const cadence = (h: ReadonlyArray<number>, m: ReadonlyArray<number>, s: ReadonlyArray<number>): string => {
  const from = (hour: number) => clock(hour, m[0]!, s[0]!)
  const to = (hour: number) => clock(hour, m.at(-1)!, s.at(-1)!)
  const between = (first: number, last: number) => `from ${from(first)} to ${to(last)}`
  const inHour = withinHour(m, s)
  if (h.length === 24) return inHour
  const step = stepOf(h)
  if (step !== undefined && step > 1) {
    const circle = h[0] === 0 && 24 % step === 0 && h.length === 24 / step
    if (m.length === 1 && s.length === 1) {
      return circle && m[0] === 0 && s[0] === 0
        ? `every ${step} hours`
        : `every ${step} hours ${between(h[0]!, h.at(-1)!)}`
    }
    return `${inHour.replace(/ past every hour$/, "")} of every ${ordinal(step)} hour ${between(h[0]!, h.at(-1)!)}`
  }
  const stretches = runs(h, 24)
  return stretches.length > 3
    ? `${inHour.replace(/ past every hour$/, "")} of the hours ${spans(h, 24, String)}`
    : `${inHour} ${list(stretches.map(([first, last]) => between(first, last)))}`
}

/** What happens within every hour. */
const withinHour = (m: ReadonlyArray<number>, s: ReadonlyArray<number>): string => {
  if (s.length === 1 && s[0] === 0) {
    if (m.length === 1 && m[0] === 0) return "every hour"
    const minutes = within(m, "minute") ?? `at ${some(m, "minute")}`
    return minutes.includes(" minute ") || minutes.startsWith("at") ? `${minutes} past every hour` : minutes
  }
  const seconds = within(s, "second") ?? `at ${some(s, "second")}`
  if (m.length < 60) return `${seconds} of ${some(m, "minute")} past every hour`
  return /^every \d*\s?seconds?$/.test(seconds) ? seconds : `${seconds} of every minute`
}

/** `every minute`, `every 15 minutes`, `every 5 minutes from minute 10 to 40`; nothing where a list says it better. */
const within = (values: ReadonlyArray<number>, unit: "minute" | "second"): string | undefined => {
  if (values.length === 60) return `every ${unit}`
  const step = values.length === 2 && values[0] === 0 && values[1] === 30 ? 30 : stepOf(values)
  if (step === undefined || step === 1) return undefined
  const cadence = `every ${step} ${unit}s`
  return values[0] === 0 && 60 % step === 0 && values.length === 60 / step
    ? cadence
    : `${cadence} from ${unit} ${values[0]} to ${values.at(-1)}`
}

const some = (values: ReadonlyArray<number>, unit: string): string =>
  `${unit}${values.length === 1 ? "" : "s"} ${spans(values, Infinity, String)}`

/** `Monday to Friday`, `on the 1st of January`, `every day in May`. */
const days = (fields: Fields, clocked: boolean): string => {
  const rule = fields.dayRule === "days" && fields.days.size === 31 ||
      fields.dayRule === "weekdays" && fields.weekdays.size === 7
    ? "any"
    : fields.dayRule
  const inDays = sorted(fields.days)
  const onDays = dayPhrase(inDays)
  // A week begins on Monday.
  const onWeekdays = spans(
    sorted(new Set([...fields.weekdays].map((day) => (day + 6) % 7))),
    7,
    (day) => weekdayNames[day]!
  )
  const phrase = {
    any: clocked ? "every day" : "",
    days: onDays,
    weekdays: onWeekdays,
    either: `${onDays} or on ${onWeekdays}`,
    both: `${onWeekdays} when it is the ${spans(inDays, Infinity, ordinal)}`
  }[rule]
  if (fields.months.size === 12) return phrase
  const months = spans(sorted(fields.months).map((month) => month - 1), 12, (month) => monthNames[month]!)
  if (months.includes(" to ")) return phrase === "" ? months : `${phrase}, ${months}`
  if (phrase === "") return `in ${months}`
  return rule === "days" && !phrase.startsWith("every") ? `${phrase} of ${months}` : `${phrase} in ${months}`
}

const dayPhrase = (days: ReadonlyArray<number>): string => {
  const step = stepOf(days)
  return step !== undefined && step > 1 && days.length > 3
    ? `every ${ordinal(step)} day from the ${ordinal(days[0]!)} to the ${ordinal(days.at(-1)!)}`
    : `on the ${spans(days, Infinity, ordinal)}`
}
