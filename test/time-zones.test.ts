/** `Trigger.cron` against a reference of its own, around every offset transition that Intl knows of. */
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import { Trigger } from "../src/index.ts"
import * as Random from "./suites/Random.ts"
import * as Reference from "./suites/time-zone-reference.ts"

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `TIME_ZONES=all` (`npm run test:time`): every zone and transition. `TIME_ZONES=Europe/Madrid,…`: all of these zones. */
const ASKED = process.env["TIME_ZONES"]
const SEED = Random.seedOf("time-zones")

const SAMPLED_ZONES = 16
const SAMPLED_TRANSITIONS = 8

/** One of each kind that went wrong somewhere: these are in every sample. */
const NOTORIOUS = [
  "Africa/Casablanca", // Ramadan
  "Africa/Monrovia", // 44 minutes and 30 seconds
  "America/Sao_Paulo", // midnights left out
  "Antarctica/Casey", // three hours, at a minute past midnight
  "Australia/Lord_Howe", // half an hour
  "Pacific/Apia" // a day left out
]

const DAILY = [
  "30 2 * * *",
  "0 0 * * *",
  "59 23 * * *",
  "15 30 2 * * *",
  "0 12 * * 0",
  "0 0 1 * *",
  "30 1 * * 1-5",
  "0 2 1,15 * 0"
]
const HOURLY = ["0 * * * *", "*/15 * * * *", "*/20 1-3 * * *", "5,35 * * * *", "*/30 22-2 * * *", "20 10 */2 * * *"]

/** A trigger by what this test asks of it, in milliseconds. */
interface Steps {
  readonly next: (after: number) => number | undefined
  readonly previous: (before: number) => number | undefined
}

const cron = (expression: string, zone: string): Steps => {
  const trigger = Trigger.cron(expression, { tz: zone })
  const asNumber = (instant: DateTime.Utc | undefined) => instant && DateTime.toEpochMillis(instant)
  return {
    next: (after) => asNumber(trigger.next(DateTime.makeUnsafe(after))),
    previous: (before) => asNumber(trigger.previous(DateTime.makeUnsafe(before)))
  }
}

const shown = (instant: number | undefined) => instant === undefined ? "never" : new Date(instant).toISOString()

/** What was compared, and what differed: each as a line to look at. */
class Comparison {
  readonly clock: Reference.ZoneClock
  readonly steps: (expression: string) => Steps
  readonly differences: Array<string> = []
  compared = 0

  constructor(clock: Reference.ZoneClock, steps: (expression: string) => Steps) {
    this.clock = clock
    this.steps = steps
  }

  /** Both chains through the window, and a step from each of `probes`. */
  window(expression: string, from: number, to: number, probes: ReadonlyArray<number> = []) {
    const due = Reference.firings(this.clock, Reference.parse(expression), from, to)
    const { next, previous } = this.steps(expression)
    const same = (step: string, at: number, expected: number | undefined, got: number | undefined) => {
      this.compared++
      // Beyond the window the reference does not look.
      if (expected === undefined) {
        if (got === undefined || (step === "next" ? got >= to : got < from)) return true
      } else if (got === expected) return true
      this.differences.push(
        `${this.clock.zone} "${expression}" ${step} of ${shown(at)}: expected ${shown(expected)}, got ${shown(got)}`
      )
      return false
    }
    // A chain ends where it leaves the reference: what follows would only say the same again.
    let at = from - 1
    for (let i = 0; i <= due.length; i++) {
      if (!same("next", at, due[i], next(at))) break
      at = due[i]!
    }
    at = to
    for (let i = due.length - 1; i >= -1; i--) {
      if (!same("previous", at, due[i], previous(at))) break
      at = due[i]!
    }
    for (const probe of probes) {
      same("next", probe, due.find((instant) => instant > probe), next(probe))
      same("previous", probe, due.findLast((instant) => instant < probe), previous(probe))
    }
  }
}

/** Expressions made of the local times around the edges of a gap or a fold, and of one inside it. */
const ownExpressions = (transition: Reference.Transition, random: Random.Random): ReadonlyArray<string> => {
  const [low, high] = [transition.before, transition.after].sort((a, b) => a - b) as [number, number]
  const inside = low + random.int(0, (high - low) / SECOND - 1) * SECOND
  const fields = (offset: number) => {
    const wall = new Date(transition.at + offset)
    return {
      second: wall.getUTCSeconds(),
      minute: wall.getUTCMinutes(),
      hour: wall.getUTCHours(),
      day: wall.getUTCDate(),
      month: wall.getUTCMonth() + 1,
      weekday: wall.getUTCDay()
    }
  }
  const daily = [low - MINUTE, low, inside, high - MINUTE, high].map((offset) => {
    const { minute, hour } = fields(offset)
    return `${minute} ${hour} * * *`
  })
  const { second, minute, hour, day, month, weekday } = fields(inside)
  const last = fields(high - SECOND)
  return [
    ...daily,
    `${last.second} ${last.minute} ${last.hour} * * *`,
    `${second} ${minute} ${hour} ${day} ${month} *`,
    `${minute} ${hour} * * ${weekday}`,
    `${minute} ${hour} ${day} * ${(weekday + 2) % 7}`,
    `${minute},${(minute + 20) % 60} ${hour} * * *`,
    `${minute} * * * *`
  ]
}

/** Any expression: it mostly allows the hours around a local time. */
const anyExpression = (wall: Date, random: Random.Random): string => {
  const list = (first: number, last: number) =>
    [...new Set(Array.from({ length: random.int(1, 3) }, () => random.int(first, last)))].join(",")
  const field = (first: number, last: number) =>
    random.pick([
      () => "*",
      () => `*/${random.int(2, Math.min(25, last))}`,
      () => list(first, last),
      () => `${random.int(first, last)}-${random.int(first, last)}`,
      () => {
        const [from, to] = [random.int(first, last), random.int(first, last)].sort((a, b) => a - b)
        return `${from}-${to}/${random.int(1, Math.min(20, last))}`
      }
    ])()
  const hour = wall.getUTCHours()
  const hours = random.pick([
    () => field(0, 23),
    () => `${hour}`,
    () => `${(hour + 23) % 24}-${(hour + 1) % 24}`,
    () => `${hour},${(hour + random.int(1, 23)) % 24}`
  ])()
  const day = wall.getUTCDate()
  const days = random.pick([() => "*", () => "*", () => `${day}`, () => `${day},${random.int(1, 31)}`])()
  const months = random.pick([() => "*", () => "*", () => `${wall.getUTCMonth() + 1}`, () => field(1, 12)])()
  const weekdays = random.pick([() => "*", () => "*", () => `${wall.getUTCDay()}`, () => list(0, 7), () => "1-5"])()
  const seconds = random.chance(0.5) ? [] : [random.chance(0.2) ? `*/${random.pick([7, 15, 30])}` : list(0, 59)]
  return [...seconds, field(0, 59), hours, days, months, weekdays].join(" ")
}

const around = (comparison: Comparison, transition: Reference.Transition, random: Random.Random) => {
  const { at, before, after } = transition
  const length = Math.abs(after - before)
  // On the edges, beside them, and anywhere in the gap or the fold.
  const probes = [
    at - length,
    at - 1,
    at,
    at + 1,
    at + length - 1,
    at + length,
    at - random.int(0, length),
    at + random.int(0, length)
  ]
  for (const expression of [...DAILY, ...ownExpressions(transition, random)]) {
    comparison.window(expression, at - 3 * DAY, at + 3 * DAY, probes)
  }
  const anything = [before, after].map((offset) => anyExpression(new Date(at + offset), random))
  for (const expression of [...HOURLY, ...anything]) {
    comparison.window(expression, at - length - 6 * HOUR, at + length + 6 * HOUR, probes)
  }
  comparison.window("* * * * *", at - length - 5 * MINUTE, at + length + 5 * MINUTE, probes)
  for (const edge of [at - length, at, at + length]) {
    comparison.window("* * * * * *", edge - 20 * SECOND, edge + 20 * SECOND)
  }
}

/** Days in which the offset stays what it is, and years in which it does what it does. */
const control = (comparison: Comparison, random: Random.Random) => {
  const calm = comparison.clock.stretches.filter((stretch) => stretch.to - stretch.from > 20 * DAY)
  const { from, to } = random.pick(calm)
  const start = random.int((from + 3 * DAY) / SECOND, (to - 10 * DAY) / SECOND) * SECOND
  for (const expression of DAILY) comparison.window(expression, start, start + 7 * DAY, [start + random.int(0, DAY)])
  for (const expression of HOURLY) comparison.window(expression, start, start + DAY, [start + random.int(0, DAY)])
  const year = random.int(1970, 2048)
  for (const expression of ["30 2 * * *", "0 0 1 * *", "0 12 * * 0", "0 2 29 2 *"]) {
    comparison.window(expression, Date.UTC(year, 0, 1), Date.UTC(year + 2, 0, 1))
  }
}

/** The reference against itself: from transitions, and from each minute as Intl shows it. */
const misled = (clock: Reference.ZoneClock, transition: Reference.Transition, random: Random.Random) => {
  const own = ownExpressions(transition, random).filter((expression) => expression.split(" ").length === 5)
  const expression = Reference.parse(random.pick([...own, ...HOURLY.slice(0, 5)]))
  const length = Math.abs(transition.after - transition.before)
  const window = [expression, transition.at - length - 2 * HOUR, transition.at + length + 2 * HOUR] as const
  const step = transition.before % MINUTE === 0 && transition.after % MINUTE === 0 ? MINUTE : 30 * SECOND
  assert.deepStrictEqual(Reference.firings(clock, ...window), Reference.firingsByInstant(clock.zone, ...window, step))
}

const within = (clock: Reference.ZoneClock) =>
  clock.transitions.filter(({ at }) => at >= Reference.FIRST && at < Reference.LAST)

const random = Random.make(SEED)
const sample = <A>(items: ReadonlyArray<A>, size: number): ReadonlyArray<A> => {
  const rest = [...items]
  return Array.from({ length: Math.min(size, rest.length) }, () => rest.splice(random.int(0, rest.length - 1), 1)[0]!)
}
const chosen = ASKED === "all" ?
  Reference.zones :
  ASKED?.split(",") ?? [...new Set([...NOTORIOUS, ...sample(Reference.zones, SAMPLED_ZONES)])]

describe("Trigger.cron does what the reference says", () => {
  let compared = 0
  let transitions = 0
  afterAll(() =>
    console.log(
      `time-zones: SEED=${SEED}, ${compared} comparisons, ${transitions} transitions, ${chosen.length} zones of ` +
        `${Reference.zones.length}, tz ${process.versions.tz}`
    )
  )

  for (const zone of chosen) {
    it(zone, () => {
      const clock = Reference.clockOf(zone)
      const all = within(clock)
      const some = ASKED === undefined ? sample(all, SAMPLED_TRANSITIONS) : all
      const triggers = new Map<string, Steps>()
      const comparison = new Comparison(clock, (expression) => {
        const known = triggers.get(expression)
        const steps = known ?? cron(expression, zone)
        if (!known) triggers.set(expression, steps)
        return steps
      })
      for (const transition of some) {
        const before = comparison.compared
        around(comparison, transition, random)
        assert.isAbove(comparison.compared, before + 100)
        // Nothing but the transition was there to find: Intl agrees at each quarter of an hour.
        assert.isUndefined(Reference.misread(clock, transition.at - 3 * DAY, transition.at + 3 * DAY, 15 * MINUTE))
        misled(clock, transition, random)
      }
      control(comparison, random)
      assert.isAbove(comparison.compared, 0)
      compared += comparison.compared
      transitions += some.length
      assert.deepStrictEqual(comparison.differences.slice(0, 20), [], `${comparison.differences.length} differences`)
    }, 120_000)
  }

  it("and there were transitions to look at", () => {
    if (ASKED === undefined) assert.isAbove(transitions, NOTORIOUS.length)
    if (ASKED === "all") assert.isAbove(transitions, 20_000)
  })
})

/** What is known by hand. */
const facts: ReadonlyArray<
  readonly [zone: string, expression: string, from: string, to: string, due: ReadonlyArray<string>]
> = [
  // 02:00 became 03:00 on 30 March 2025, and 03:00 became 02:00 on 26 October.
  ["Europe/Madrid", "30 2 * * *", "2025-03-29T00:00Z", "2025-04-01T00:00Z", [
    "2025-03-29T01:30Z",
    "2025-03-30T01:30Z",
    "2025-03-31T00:30Z"
  ]],
  ["Europe/Madrid", "*/30 2-3 * * *", "2025-03-30T00:00Z", "2025-03-31T00:00Z", [
    "2025-03-30T01:00Z",
    "2025-03-30T01:30Z"
  ]],
  ["Europe/Madrid", "30 2 * * *", "2025-10-25T00:00Z", "2025-10-28T00:00Z", [
    "2025-10-25T00:30Z",
    "2025-10-26T00:30Z",
    "2025-10-27T01:30Z"
  ]],
  ["Europe/Madrid", "*/30 * * * *", "2025-10-26T00:00Z", "2025-10-26T03:00Z", [
    "2025-10-26T00:00Z",
    "2025-10-26T00:30Z",
    "2025-10-26T02:00Z",
    "2025-10-26T02:30Z"
  ]],
  // 02:00 became 03:00 on 9 March 2025, and 02:00 became 01:00 on 2 November.
  ["America/New_York", "15 30 2 * * *", "2025-03-08T00:00Z", "2025-03-11T00:00Z", [
    "2025-03-08T07:30:15Z",
    "2025-03-09T07:30:15Z",
    "2025-03-10T06:30:15Z"
  ]],
  ["America/New_York", "30 1 * * *", "2025-11-01T00:00Z", "2025-11-04T00:00Z", [
    "2025-11-01T05:30Z",
    "2025-11-02T05:30Z",
    "2025-11-03T06:30Z"
  ]],
  // Half an hour: 02:00 became 02:30 on 5 October 2025, and 02:00 became 01:30 on 6 April.
  ["Australia/Lord_Howe", "15 2 * * *", "2025-10-03T12:00Z", "2025-10-06T12:00Z", [
    "2025-10-03T15:45Z",
    "2025-10-04T15:45Z",
    "2025-10-05T15:15Z"
  ]],
  ["Australia/Lord_Howe", "45 1 * * *", "2025-04-04T12:00Z", "2025-04-07T12:00Z", [
    "2025-04-04T14:45Z",
    "2025-04-05T14:45Z",
    "2025-04-06T15:15Z"
  ]],
  // There was no 30 December 2011: its noon is the noon of the 31st.
  ["Pacific/Apia", "0 12 * * *", "2011-12-29T12:00Z", "2012-01-01T12:00Z", [
    "2011-12-29T22:00Z",
    "2011-12-30T22:00Z",
    "2011-12-31T22:00Z"
  ]],
  ["Pacific/Apia", "0 12 30 12 *", "2011-12-28T00:00Z", "2012-01-03T00:00Z", ["2011-12-30T22:00Z"]],
  // Midnight became 01:00 on 4 November 2018, and midnight became 23:00 on 17 February.
  ["America/Sao_Paulo", "0 0 * * *", "2018-11-03T00:00Z", "2018-11-06T00:00Z", [
    "2018-11-03T03:00Z",
    "2018-11-04T03:00Z",
    "2018-11-05T02:00Z"
  ]],
  ["America/Sao_Paulo", "30 23 * * *", "2018-02-17T00:00Z", "2018-02-20T00:00Z", [
    "2018-02-17T01:30Z",
    "2018-02-18T01:30Z",
    "2018-02-19T02:30Z"
  ]],
  // Midnight became 00:15 on 1 January 1986.
  ["Asia/Kathmandu", "5 0 * * *", "1985-12-30T12:00Z", "1986-01-02T12:00Z", [
    "1985-12-30T18:35Z",
    "1985-12-31T18:35Z",
    "1986-01-01T18:20Z"
  ]],
  // Midnight became 00:44:30 on 7 January 1972. What is shifted by half a minute falls between two that are not.
  ["Africa/Monrovia", "0 0 * * *", "1972-01-05T12:00Z", "1972-01-08T12:00Z", [
    "1972-01-06T00:44:30Z",
    "1972-01-07T00:44:30Z",
    "1972-01-08T00:00Z"
  ]],
  ["Africa/Monrovia", "*/15 * * * *", "1972-01-07T00:29Z", "1972-01-07T01:31Z", [
    "1972-01-07T00:29:30Z",
    "1972-01-07T00:44:30Z",
    "1972-01-07T00:45Z",
    "1972-01-07T00:59:30Z",
    "1972-01-07T01:00Z",
    "1972-01-07T01:14:30Z",
    "1972-01-07T01:15Z",
    "1972-01-07T01:30Z"
  ]]
]

describe("the reference", () => {
  for (const [zone, expression, from, to, due] of facts) {
    it(`knows ${zone} "${expression}" from ${from}`, () => {
      const of = (instants: ReadonlyArray<number>) => instants.map(shown)
      const expected = of(due.map((text) => Date.parse(text)))
      const asked = [Reference.parse(expression), Date.parse(from), Date.parse(to)] as const
      const step = due.every((text) => Date.parse(text) % MINUTE === 0) ? MINUTE : 15 * SECOND
      assert.deepStrictEqual(of(Reference.firings(Reference.clockOf(zone), ...asked)), expected)
      assert.deepStrictEqual(of(Reference.firingsByInstant(zone, ...asked, step)), expected)
    })
  }

  it("parses lists, ranges that wrap, steps, and both days as either", () => {
    const { seconds, minutes, hours, isDay } = Reference.parse("5,35 */20 22-2 1,15 */2 0")
    assert.deepStrictEqual([seconds, minutes, hours], [[5, 35], [0, 20, 40], [0, 1, 2, 22, 23]])
    // March 2026: the 1st, 8th, 15th, 22nd and 29th are Sundays.
    assert.deepStrictEqual(
      Array.from({ length: 31 }, (_, i) => i + 1).filter((day) => isDay(Date.UTC(2026, 2, day))),
      [1, 8, 15, 22, 29]
    )
    assert.isTrue(isDay(Date.UTC(2026, 4, 1)))
    assert.isFalse(isDay(Date.UTC(2026, 3, 1)))
  })
})

describe("the comparison", () => {
  const zone = "Europe/Madrid"
  const clock = Reference.clockOf(zone)

  /** Due when a list of all firings says so. */
  const stepsOf = (due: ReadonlyArray<number>): Steps => ({
    next: (after) => due.find((instant) => instant > after),
    previous: (before) => due.findLast((instant) => instant < before)
  })
  const differencesOf = (change: (due: ReadonlyArray<number>) => ReadonlyArray<number>) => {
    const due = Reference.firings(clock, Reference.parse("30 2 * * *"), Date.UTC(2025, 0), Date.UTC(2026, 0))
    const comparison = new Comparison(clock, () => stepsOf(change(due)))
    for (const { at } of clock.transitions) {
      if (at > Date.UTC(2025, 0) && at < Date.UTC(2026, 0)) {
        comparison.window("30 2 * * *", at - 3 * DAY, at + 3 * DAY, [at - 1, at])
      }
    }
    return comparison.differences
  }

  const spring = Date.parse("2025-03-30T01:30Z")
  const autumn = Date.parse("2025-10-26T00:30Z")

  it("finds nothing where nothing is wrong", () => assert.deepStrictEqual(differencesOf((due) => due), []))

  it("would find a firing lost, doubled or out of place", () => {
    assert.isNotEmpty(differencesOf((due) => due.filter((instant) => instant !== spring)))
    assert.isNotEmpty(differencesOf((due) => [...due, autumn + HOUR].sort((a, b) => a - b)))
    assert.isNotEmpty(differencesOf((due) => due.map((instant) => instant === spring ? spring - 30 * MINUTE : instant)))
    assert.isNotEmpty(differencesOf((due) => due.map((instant) => instant === autumn ? autumn + HOUR : instant)))
  })
})
