/**
 * When a cron expression is due in a zone, worked out from `Intl` alone: no line of Effect's or of ours has a part in it.
 *
 * The rule: due are the first instant of each matching wall time that exists, and each matching wall time that does not
 * exist shifted forward by the length of the gap it fell into; an instant due twice is due once.
 */

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export const FIRST = Date.UTC(1970, 0, 1)
export const LAST = Date.UTC(2050, 0, 1)

/** Every zone the runtime knows. */
export const zones: ReadonlyArray<string> = Intl.supportedValuesOf("timeZone")

/**
 * Milliseconds that local time is ahead of UTC, as `Intl` shows it at this very instant. Exact to the second, which counts for
 * what was set by the sun: from 1970 on that is Africa/Monrovia alone, 44 minutes and 30 seconds behind until January 1972.
 */
export const reading = (zone: string): (instant: number) => number => {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    calendar: "gregory",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit"
  })
  return (instant) => {
    const text = format.format(instant) // 03/30/2025, 03:00:00
    const two = (at: number) => (text.charCodeAt(at) - 48) * 10 + text.charCodeAt(at + 1) - 48
    const wall = Date.UTC(two(6) * 100 + two(8), two(0) - 1, two(3), two(12), two(15), two(18))
    return wall - Math.floor(instant / SECOND) * SECOND
  }
}

/** At the instant `at` the offset `before` becomes `after`: local times are left out (`after > before`) or come again. */
export interface Transition {
  readonly at: number
  readonly before: number
  readonly after: number
}

/** Time with one offset: from `from` until before `to`. */
export interface Stretch {
  readonly from: number
  readonly to: number
  readonly offset: number
}

export interface ZoneClock {
  readonly zone: string
  readonly read: (instant: number) => number
  readonly transitions: ReadonlyArray<Transition>
  readonly stretches: ReadonlyArray<Stretch>
}

/**
 * Intl is asked once a day, so two transitions that undo each other within 24 hours would go unseen. None do: asked once an
 * hour it tells of the same ones (Node 24.21, tz 2026c), and the closest pair is 6 days and 23 hours apart (America/Recife in
 * October 2000).
 */
export const PROBE = DAY

// Some way past both ends, so that windows there have their whole past and future.
const MARGIN = 40 * DAY

/** The first second with another offset than `from`'s: the caller knows of one until `to`. */
const bisect = (read: (instant: number) => number, from: number, to: number): number => {
  const offset = read(from)
  let same = from
  let other = to
  while (other - same > SECOND) {
    const middle = Math.floor((same + other) / 2 / SECOND) * SECOND
    if (read(middle) === offset) same = middle
    else other = middle
  }
  return other
}

export const transitionsOf = (zone: string, probe: number = PROBE): ReadonlyArray<Transition> => {
  const read = reading(zone)
  const transitions: Array<Transition> = []
  let from = FIRST - MARGIN
  let before = read(from)
  while (from < LAST + MARGIN) {
    const to = from + probe
    while (read(to) !== before) {
      const at = bisect(read, from, to)
      const after = read(at)
      transitions.push({ at, before, after })
      from = at
      before = after
    }
    from = to
  }
  return transitions
}

const clocks = new Map<string, ZoneClock>()

export const clockOf = (zone: string): ZoneClock => {
  const known = clocks.get(zone)
  if (known) return known
  const transitions = transitionsOf(zone)
  const read = reading(zone)
  const starts = [FIRST - MARGIN, ...transitions.map((transition) => transition.at)]
  const stretches = starts.map((from, i) => ({ from, to: starts[i + 1] ?? LAST + MARGIN, offset: read(from) }))
  const clock = { zone, read, transitions, stretches }
  clocks.set(zone, clock)
  return clock
}

/** What the stretches of a clock say of an instant. */
export const offsetAt = (clock: ZoneClock, instant: number): number =>
  (clock.stretches.find((stretch) => instant < stretch.to) ?? clock.stretches.at(-1)!).offset

/** The first instant of a window, asked in steps, at which Intl and the clock's stretches differ. */
export const misread = (clock: ZoneClock, from: number, to: number, step: number): number | undefined => {
  for (const stretch of clock.stretches) {
    const end = Math.min(to, stretch.to)
    for (let instant = Math.max(from, stretch.from); instant < end; instant += step) {
      if (clock.read(instant) !== stretch.offset) return instant
    }
    // A millisecond less than each transition, too.
    if (stretch.from < end && from < end && clock.read(end - 1) !== stretch.offset) return end - 1
  }
  return undefined
}

/** A parsed expression: which values each field allows. */
export interface Expression {
  readonly seconds: ReadonlyArray<number>
  readonly minutes: ReadonlyArray<number>
  readonly hours: ReadonlyArray<number>
  readonly isDay: (wallMidnight: number) => boolean
}

/** `*`, `7`, `1-5`, `22-2` (wraps), a step behind a star or a range, and lists of them, as ascending values. */
const values = (field: string, first: number, last: number): ReadonlyArray<number> => {
  const allowed = new Set<number>()
  for (const part of field.split(",")) {
    const [range, step] = part.split("/") as [string, string | undefined]
    const [from, to] = range === "*" ? [first, last] : range.split("-").map(Number) as [number, number | undefined]
    const size = last - first + 1
    const length = ((to ?? from) - from + size) % size
    for (let i = 0; i <= length; i += Number(step ?? 1)) allowed.add((from - first + i) % size + first)
  }
  return [...allowed].sort((a, b) => a - b)
}

/** Numbers only; both days restricted: either will do. */
export const parse = (expression: string): Expression => {
  const fields = expression.split(" ")
  if (fields.length === 5) fields.unshift("0")
  const [second, minute, hour, day, month, weekday] = fields as [string, string, string, string, string, string]
  const days = new Set(values(day, 1, 31))
  const months = new Set(values(month, 1, 12))
  const weekdays = new Set(values(weekday, 0, 7).map((n) => n % 7))
  return {
    seconds: values(second, 0, 59),
    minutes: values(minute, 0, 59),
    hours: values(hour, 0, 23),
    isDay: (wallMidnight) => {
      const date = new Date(wallMidnight)
      const isDate = days.has(date.getUTCDate())
      const isWeekday = weekdays.has(date.getUTCDay())
      const either = day !== "*" && weekday !== "*"
      return months.has(date.getUTCMonth() + 1) && (either ? isDate || isWeekday : isDate && isWeekday)
    }
  }
}

/** The matching wall times from `from` until before `to`, in milliseconds of a clock that is never changed. */
const matches = (expression: Expression, from: number, to: number): Array<number> => {
  const found: Array<number> = []
  for (let midnight = Math.floor(from / DAY) * DAY; midnight < to; midnight += DAY) {
    if (!expression.isDay(midnight)) continue
    for (const hour of expression.hours) {
      for (const minute of expression.minutes) {
        const start = midnight + hour * HOUR + minute * MINUTE
        if (start + MINUTE <= from || start >= to) continue
        for (const second of expression.seconds) {
          const wall = start + second * SECOND
          if (wall >= from && wall < to) found.push(wall)
        }
      }
    }
  }
  return found
}

/** Every instant due from `from` until before `to`, ascending. */
export const firings = (
  clock: ZoneClock,
  expression: Expression,
  from: number,
  to: number
): ReadonlyArray<number> => {
  // Nothing repeats a wall time of three days ago.
  const stretches = clock.stretches.filter((stretch) => stretch.to > from - 3 * DAY && stretch.from < to)
  const exists = (wall: number, within: ReadonlyArray<Stretch>) =>
    within.some((stretch) => wall >= stretch.from + stretch.offset && wall < stretch.to + stretch.offset)
  const due = new Set<number>()
  // Those of the wall times from `first` until before `last` that the window shows, or would show, under this offset.
  const add = (first: number, last: number, offset: number, isDue: (wall: number) => boolean) => {
    for (const wall of matches(expression, Math.max(first, from + offset), Math.min(last, to + offset))) {
      if (isDue(wall)) due.add(wall - offset)
    }
  }
  stretches.forEach((stretch, i) => {
    const { offset } = stretch
    const earlier = stretches.slice(0, i)
    add(stretch.from + offset, stretch.to + offset, offset, (wall) => !exists(wall, earlier))
    // In the gap behind it: shifted by the gap's length, a wall time is under the new offset what it was under the old.
    const gapEnd = stretch.to + offsetAt(clock, stretch.to)
    add(stretch.to + offset, gapEnd, offset, (wall) => !exists(wall, clock.stretches))
  })
  return [...due].sort((a, b) => a - b)
}

/**
 * The same the slow way: each instant of the window as Intl shows it, no transitions known, nothing remembered but what was
 * shown. Every offset and every second that the expression names must be a multiple of `step`.
 */
export const firingsByInstant = (
  zone: string,
  expression: Expression,
  from: number,
  to: number,
  step: number = MINUTE
): ReadonlyArray<number> => {
  const read = reading(zone)
  const shown = new Set<number>()
  const due = new Set<number>()
  const isDue = (wall: number) => matches(expression, wall, wall + 1).length === 1
  // A day and some earlier: until then reaches what a gap of a day shifts, and the first time of what a fold repeats.
  const past = from - 26 * HOUR
  let expected = past + read(past)
  for (let instant = past; instant < to; instant += step) {
    const wall = instant + read(instant)
    // The clock jumped: what it left out is due as if it had gone on.
    for (let missing = expected; missing < wall; missing += step) {
      if (!shown.has(missing) && isDue(missing)) due.add(instant + missing - expected)
    }
    if (!shown.has(wall) && isDue(wall)) due.add(instant)
    shown.add(wall)
    expected = wall + step
  }
  return [...due].filter((instant) => instant >= from && instant < to).sort((a, b) => a - b)
}
