import { assert, describe, it } from "@effect/vitest"
import * as Cron from "effect/Cron"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { InvalidOptionError, Trigger } from "../src/index.ts"
import * as Random from "./suites/Random.ts"

const SEED = Random.seedOf("Trigger")

const utc = (input: string | number) => DateTime.makeUnsafe(input)
const iso = (instant: DateTime.Utc | undefined) => instant && DateTime.formatIso(instant).replace(".000Z", "Z")
const millis = (instant: DateTime.Utc | undefined) => instant?.epochMilliseconds
const upcoming = (trigger: Trigger.Trigger, n: number, after: string) => Trigger.upcoming(trigger, n, after).map(iso)
const invalid = (trigger: Trigger.Trigger) => {
  const error = Effect.runSync(Effect.flip(Trigger.check(trigger)))
  assert.instanceOf(error, InvalidOptionError.InvalidOptionError)
  return error
}

/** What is due in `[from, to)`, by `next` and again by `previous`. */
const between = (trigger: Trigger.Trigger, from: string, to: string) => {
  const forth: Array<string | undefined> = []
  const back: Array<string | undefined> = []
  for (let at = trigger.next(utc(millis(utc(from))! - 1)); at && at < utc(to); at = trigger.next(at)) {
    forth.push(iso(at))
  }
  for (let at = trigger.previous(utc(to)); at && at >= utc(from); at = trigger.previous(at)) back.unshift(iso(at))
  assert.deepStrictEqual(back, forth)
  return forth
}

describe("cron", () => {
  /** The values of one field of a date at which an expression is due in 2024, which has all of them. */
  const values = (expression: string, of: (date: Date) => number) => {
    const trigger = Trigger.cron(expression)
    const found = new Set<number>()
    for (let at = trigger.next(utc("2023-12-31T23:59:59Z")); at && at < utc("2025-01-01T00:00:00Z");) {
      found.add(of(DateTime.toDateUtc(at)))
      at = trigger.next(at)
    }
    return [...found].sort((a, b) => a - b)
  }
  const fields: ReadonlyArray<[string, (date: Date) => number, ReadonlyArray<number>]> = [
    ["5/15 0 1 1 *", (date) => date.getUTCMinutes(), [5, 20, 35, 50]],
    ["10-30/7 0 1 1 *", (date) => date.getUTCMinutes(), [10, 17, 24]],
    ["58-2 0 1 1 *", (date) => date.getUTCMinutes(), [0, 1, 2, 58, 59]],
    ["7,7,3 0 1 1 *", (date) => date.getUTCMinutes(), [3, 7]],
    ["*/45 0 0 1 1 *", (date) => date.getUTCSeconds(), [0, 45]],
    ["0 22-2 1 1 *", (date) => date.getUTCHours(), [0, 1, 2, 22, 23]],
    ["0 22-2/2 1 1 *", (date) => date.getUTCHours(), [0, 2, 22]],
    ["0 5-4 1 1 *", (date) => date.getUTCHours(), Array.from({ length: 24 }, (_, i) => i)],
    ["0 0 28-3 * *", (date) => date.getUTCDate(), [1, 2, 3, 28, 29, 30, 31]],
    ["0 0 1 nov-FEB *", (date) => date.getUTCMonth() + 1, [1, 2, 11, 12]],
    ["0 0 1 Jan,mar-May/2 *", (date) => date.getUTCMonth() + 1, [1, 3, 5]],
    ["0 0 * * fri-MON", (date) => date.getUTCDay(), [0, 1, 5, 6]],
    ["0 0 * * sat-sun", (date) => date.getUTCDay(), [0, 6]],
    ["0 0 * * 5-7", (date) => date.getUTCDay(), [0, 5, 6]],
    ["0 0 * * 7-2", (date) => date.getUTCDay(), [0, 1, 2]],
    ["0 0 * * 7", (date) => date.getUTCDay(), [0]],
    ["0 0 * * 0-7", (date) => date.getUTCDay(), [0, 1, 2, 3, 4, 5, 6]],
    ["0 0 13 * fri", (date) => Number(date.getUTCDate() === 13 || date.getUTCDay() === 5), [1]],
    ["0 0 */2 * mon", (date) => Number(date.getUTCDate() % 2 === 1 && date.getUTCDay() === 1), [1]],
    ["0 0 8-14 * */7", (date) => Number(date.getUTCDate() > 7 && date.getUTCDate() < 15 && date.getUTCDay() === 0), [
      1
    ]],
    ["@HOURLY", (date) => date.getUTCHours() * 60 + date.getUTCMinutes(), Array.from({ length: 24 }, (_, i) => i * 60)],
    ["@midnight", (date) => date.getUTCHours(), [0]],
    ["@weekly", (date) => date.getUTCDay(), [0]],
    ["@monthly", (date) => date.getUTCDate(), [1]],
    ["@annually", (date) => date.getUTCMonth() * 31 + date.getUTCDate(), [1]],
    ["  0\t0   1 1\n* ", (date) => date.getUTCMonth() * 31 + date.getUTCDate(), [1]]
  ]
  for (const [expression, of, expected] of fields) {
    it(`${JSON.stringify(expression)} is due at ${expected.join(", ")}`, () => {
      assert.deepStrictEqual(values(expression, of), [...expected])
    })
  }

  it("day and weekday: either, where both are restricted; both, where one begins with *", () => {
    const days = (expression: string) =>
      between(Trigger.cron(expression), "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z").length
    assert.strictEqual(days("0 0 13 * fri"), 4)
    assert.strictEqual(days("0 0 13 * mon"), 5)
    assert.strictEqual(days("0 0 1-7 * mon"), 7 + 3)
    assert.strictEqual(days("0 0 */2 * mon"), 2)
    assert.strictEqual(days("0 0 *,1 * mon"), 4)
    assert.strictEqual(days("0 0 1-31 * mon"), 28)
  })

  const nonsense: ReadonlyArray<[expression: string, field: string, value: string]> = [
    ["foo", "expression", "foo"],
    ["", "expression", ""],
    [" ", "expression", " "],
    ["* * * *", "expression", "* * * *"],
    ["* * * * * * *", "expression", "* * * * * * *"],
    ["@reboot", "expression", "@reboot"],
    ["*/0", "expression", "*/0"],
    ["*/0 * * * *", "minute", "*/0"],
    ["*/60 * * * *", "minute", "*/60"],
    ["*/1.5 * * * *", "minute", "*/1.5"],
    ["*/ * * * *", "minute", "*/"],
    ["/5 * * * *", "minute", "/5"],
    ["5/5/5 * * * *", "minute", "5/5/5"],
    ["61 * * * *", "minute", "61"],
    ["0-61 * * * *", "minute", "0-61"],
    ["1,,2 * * * *", "minute", ""],
    ["1, * * * *", "minute", ""],
    ["-5 * * * *", "minute", "-5"],
    ["5- * * * *", "minute", "5-"],
    ["1-2-3 * * * *", "minute", "1-2-3"],
    ["*-5 * * * *", "minute", "*-5"],
    ["1.5 * * * *", "minute", "1.5"],
    ["1e1 * * * *", "minute", "1e1"],
    ["0x1 * * * *", "minute", "0x1"],
    ["mon * * * *", "minute", "mon"],
    ["? * * * *", "minute", "?"],
    ["60 * * * * *", "second", "60"],
    ["0 24 * * *", "hour", "24"],
    ["0 0 0 * *", "day", "0"],
    ["0 0 32 * *", "day", "32"],
    ["0 0 L * *", "day", "l"],
    ["0 0 1 13 *", "month", "13"],
    ["0 0 1 0 *", "month", "0"],
    ["0 0 1 mon *", "month", "mon"],
    ["0 0 * * 8", "weekday", "8"],
    ["0 0 * * monday", "weekday", "monday"]
  ]
  for (const [expression, field, value] of nonsense) {
    it(`${JSON.stringify(expression)} is an error of its ${field}`, () => {
      const error = invalid(Trigger.cron(expression))
      assert.deepStrictEqual([error.where, error.field, error.value], ["Trigger.cron", field, value])
    })
  }

  it("an unknown time zone is an error of tz", () => {
    for (const tz of ["Mars/Olympus", "", "+99:00", "CET/"]) {
      const error = invalid(Trigger.cron("0 0 * * *", { tz }))
      assert.deepStrictEqual([error.field, error.value], ["tz", tz])
    }
    assert.deepStrictEqual(invalid(Trigger.cron(42 as never)).field, "expression")
  })

  it("a Cron of effect keeps its zone, unless another is given", () => {
    const inTokyo = Cron.parseUnsafe("0 9 * * mon", "Asia/Tokyo")
    assert.deepStrictEqual(upcoming(Trigger.cron(inTokyo), 1, "2026-01-01T00:00:00Z"), ["2026-01-05T00:00:00Z"])
    assert.deepStrictEqual(upcoming(Trigger.cron(inTokyo, { tz: "-02:00" }), 1, "2026-01-01T00:00:00Z"), [
      "2026-01-05T11:00:00Z"
    ])
    assert.deepStrictEqual(upcoming(Trigger.cron(Cron.parseUnsafe("0 9 13 * fri")), 2, "2026-03-10T00:00:00Z"), [
      "2026-03-13T09:00:00Z",
      "2026-03-20T09:00:00Z"
    ])
    const both = Cron.make({ minutes: [0], hours: [0], days: [13], months: [], weekdays: [5], and: true })
    assert.deepStrictEqual(upcoming(Trigger.cron(both), 2, "2026-03-13T00:00:00Z"), [
      "2026-11-13T00:00:00Z",
      "2027-08-13T00:00:00Z"
    ])
    assert.strictEqual(
      Trigger.describe(Trigger.cron(both, { tz: DateTime.zoneMakeNamedUnsafe("Europe/Madrid") })),
      "at 00:00, Friday when it is the 13th, Europe/Madrid"
    )
  })

  it("a Cron of effect keeps its choice between the times that exist twice", () => {
    const due = (onDstOverlap: Cron.DstOverlapPolicy) =>
      between(
        Trigger.cron(Cron.parseUnsafe("*/30 1-3 * * *", "Europe/Madrid", { onDstOverlap })),
        "2026-10-25T00:00:00Z",
        "2026-10-25T04:00:00Z"
      ).map((at) => at!.slice(11, 16))
    assert.deepStrictEqual(due("earlier"), ["00:00", "00:30", "02:00", "02:30"])
    assert.deepStrictEqual(due("later"), ["01:00", "01:30", "02:00", "02:30"])
    assert.deepStrictEqual(due("both"), ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"])
  })

  it("29 February, also across the centuries", () => {
    const leap = Trigger.cron("0 0 29 2 *")
    const days = (after: string) => upcoming(leap, 2, after).map((at) => at!.slice(0, 10))
    assert.deepStrictEqual(days("1895-01-01T00:00:00Z"), ["1896-02-29", "1904-02-29"])
    assert.deepStrictEqual(days("1999-01-01T00:00:00Z"), ["2000-02-29", "2004-02-29"])
    assert.deepStrictEqual(days("2095-01-01T00:00:00Z"), ["2096-02-29", "2104-02-29"])
    assert.strictEqual(iso(leap.previous(utc("1904-02-29T00:00:00Z"))), "1896-02-29T00:00:00Z")
    assert.strictEqual(iso(leap.previous(utc("0004-02-29T00:00:00Z"))), "0000-02-29T00:00:00Z")
    const onSunday = Trigger.cron("0 0 29 2 */7", { tz: "Europe/Madrid" })
    assert.strictEqual(iso(onSunday.next(utc("2088-03-01T00:00:00Z"))), "2128-02-28T23:00:00Z")
    assert.strictEqual(iso(onSunday.previous(utc("2128-02-28T23:00:00Z"))), "2088-02-28T23:00:00Z")
  })

  it("the 31st is due in the months that have one, and 30 February never", () => {
    assert.strictEqual(between(Trigger.cron("0 0 31 * *"), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").length, 7)
    for (
      const [expression, tz] of [["0 0 30 2 *", "UTC"], ["0 0 30,31 feb *", "Europe/Madrid"], [
        "0 0 31 4,6,9,11 *",
        "UTC"
      ]]
    ) {
      const never = Trigger.cron(expression!, { tz: tz! })
      assert.strictEqual(never.next(utc(0)), undefined)
      assert.strictEqual(never.previous(utc(0)), undefined)
      assert.deepStrictEqual(Trigger.upcoming(never, 3, 0), [])
    }
  })

  it("next and previous are strict, to the millisecond", () => {
    const seven = Trigger.cron("0 7 * * *")
    assert.strictEqual(iso(seven.next(utc("2026-01-01T06:59:59.999Z"))), "2026-01-01T07:00:00Z")
    assert.strictEqual(iso(seven.next(utc("2026-01-01T07:00:00.000Z"))), "2026-01-02T07:00:00Z")
    assert.strictEqual(iso(seven.previous(utc("2026-01-01T07:00:00.001Z"))), "2026-01-01T07:00:00Z")
    assert.strictEqual(iso(seven.previous(utc("2026-01-01T07:00:00.000Z"))), "2025-12-31T07:00:00Z")
  })

  it("ends where time does", () => {
    for (const tz of ["UTC", "Europe/Madrid", "-11:00"]) {
      const hourly = Trigger.cron("0 * * * *", { tz })
      assert.strictEqual(hourly.next(utc(8_640_000_000_000_000)), undefined)
      assert.strictEqual(hourly.previous(utc(-8_640_000_000_000_000)), undefined)
      assert.strictEqual(
        millis(hourly.next(utc(8_639_900_000_000_000))),
        Math.ceil(8_639_900_000_000_000 / 3_600_000) * 3_600_000
      )
      assert.strictEqual(Trigger.cron("0 0 29 2 *", { tz }).next(utc(8_640_000_000_000_000 - 1)), undefined)
      assert.strictEqual(Trigger.cron("0 0 29 2 *", { tz }).previous(utc(1 - 8_640_000_000_000_000)), undefined)
    }
  })

  // Between two instants, all that is due.
  const clockChanges: ReadonlyArray<
    [what: string, tz: string, expression: string, from: string, to: string, due: ReadonlyArray<string>]
  > = [
    ["02:30 left out", "Europe/Madrid", "30 2 * * *", "2026-03-28T12:00Z", "2026-03-30T12:00Z", [
      "2026-03-29T01:30:00Z",
      "2026-03-30T00:30:00Z"
    ]],
    ["two wall times at one instant", "Europe/Madrid", "0,30 2-3 * * *", "2026-03-29T00:00Z", "2026-03-29T12:00Z", [
      "2026-03-29T01:00:00Z",
      "2026-03-29T01:30:00Z"
    ]],
    ["shifted among what exists", "Europe/Madrid", "20 2 * * *", "2026-03-29T00:00Z", "2026-03-29T12:00Z", [
      "2026-03-29T01:20:00Z"
    ]],
    [
      "every 15 minutes as the clocks go forward",
      "Europe/Madrid",
      "*/15 1-3 * * *",
      "2026-03-29T00:30Z",
      "2026-03-29T01:31Z",
      [
        "2026-03-29T00:30:00Z",
        "2026-03-29T00:45:00Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T01:15:00Z",
        "2026-03-29T01:30:00Z"
      ]
    ],
    ["01:30 twice", "America/New_York", "30 1 * * *", "2026-11-01T00:00Z", "2026-11-02T12:00Z", [
      "2026-11-01T05:30:00Z",
      "2026-11-02T06:30:00Z"
    ]],
    [
      "every 15 minutes as the clocks go back",
      "Europe/Madrid",
      "*/15 * * * *",
      "2026-10-25T00:30Z",
      "2026-10-25T02:16Z",
      [
        "2026-10-25T00:30:00Z",
        "2026-10-25T00:45:00Z",
        "2026-10-25T02:00:00Z",
        "2026-10-25T02:15:00Z"
      ]
    ],
    ["hourly as the clocks go back", "Europe/Madrid", "0 * * * *", "2026-10-24T23:00Z", "2026-10-25T03:00Z", [
      "2026-10-24T23:00:00Z",
      "2026-10-25T00:00:00Z",
      "2026-10-25T02:00:00Z"
    ]],
    ["half an hour left out", "Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00Z", "2026-10-04T00:00Z", [
      "2026-10-03T15:45:00Z"
    ]],
    ["half an hour twice", "Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00Z", "2026-04-05T00:00Z", [
      "2026-04-04T14:45:00Z"
    ]],
    ["Ramadan begins", "Africa/Casablanca", "30 2 * * *", "2026-02-15T00:00Z", "2026-02-16T00:00Z", [
      "2026-02-15T01:30:00Z"
    ]],
    ["Ramadan ends", "Africa/Casablanca", "30 2 * * *", "2026-03-22T00:00Z", "2026-03-23T00:00Z", [
      "2026-03-22T02:30:00Z"
    ]],
    ["a quarter of an hour left out", "Asia/Kathmandu", "5 0 * * *", "1985-12-31T00:00Z", "1986-01-01T23:00Z", [
      "1985-12-31T18:35:00Z",
      "1986-01-01T18:20:00Z"
    ]],
    ["a day left out, daily", "Pacific/Apia", "0 9 * * *", "2011-12-29T00:00Z", "2012-01-01T00:00Z", [
      "2011-12-29T19:00:00Z",
      "2011-12-30T19:00:00Z",
      "2011-12-31T19:00:00Z"
    ]],
    ["a day left out, of that day", "Pacific/Apia", "0 9 30 12 *", "2011-12-01T00:00Z", "2012-01-31T00:00Z", [
      "2011-12-30T19:00:00Z"
    ]],
    ["a midnight left out", "America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00Z", "2018-11-05T12:00Z", [
      "2018-11-04T03:00:00Z",
      "2018-11-05T02:00:00Z"
    ]],
    ["the hour before midnight twice", "America/Sao_Paulo", "30 23 17 2 *", "2018-01-01T00:00Z", "2019-01-01T00:00Z", [
      "2018-02-18T01:30:00Z"
    ]],
    ["a midnight left out", "Asia/Beirut", "15 0 * * *", "2026-03-28T12:00Z", "2026-03-29T12:00Z", [
      "2026-03-28T22:15:00Z"
    ]],
    ["a midnight left out", "Atlantic/Azores", "0 0 29 3 *", "2026-01-01T00:00Z", "2027-01-01T00:00Z", [
      "2026-03-29T01:00:00Z"
    ]],
    ["44 minutes and a half", "Africa/Monrovia", "*/30 * * * *", "1972-01-06T23:30Z", "1972-01-07T01:40Z", [
      "1972-01-06T23:44:30Z",
      "1972-01-07T00:14:30Z",
      "1972-01-07T00:44:30Z",
      "1972-01-07T01:00:00Z",
      "1972-01-07T01:14:30Z",
      "1972-01-07T01:30:00Z"
    ]],
    ["before 1970", "Europe/London", "30 2 * * *", "1916-05-21T00:00Z", "1916-05-22T12:00Z", [
      "1916-05-21T02:30:00Z",
      "1916-05-22T01:30:00Z"
    ]],
    ["a week of summer time", "Asia/Gaza", "30 1 17-29/4 10 *", "2040-10-01T00:00Z", "2040-11-30T00:00Z", [
      "2040-10-16T23:30:00Z",
      "2040-10-20T22:30:00Z",
      "2040-10-24T22:30:00Z",
      "2040-10-28T23:30:00Z"
    ]],
    [
      "where one block of a zone ends and the next begins",
      "Europe/Madrid",
      "57 2 * * *",
      "2010-10-30T00:00Z",
      "2010-10-31T12:00Z",
      [
        "2010-10-30T00:57:00Z",
        "2010-10-31T00:57:00Z"
      ]
    ],
    ["the other side of the date line", "Pacific/Kwajalein", "0 12 21 8 *", "1993-01-01T00:00Z", "1994-01-01T00:00Z", [
      "1993-08-22T00:00:00Z"
    ]]
  ]
  for (const [what, tz, expression, from, to, due] of clockChanges) {
    it(`${what}: ${expression}, ${tz}`, () => {
      assert.deepStrictEqual(between(Trigger.cron(expression, { tz }), from, to), [...due])
    })
  }

  it("in UTC it is due as effect/Cron says, for any expression without a range that wraps", () => {
    const random = Random.make(SEED, 1)
    const field = (min: number, max: number, any: number) => {
      if (random.chance(any)) return "*"
      return Array.from({ length: random.int(1, 3) }, () => {
        const from = random.int(min, max)
        const to = random.int(from, max)
        return random.pick([`${from}`, `${from}-${to}`, `*/${random.int(2, max)}`, `${from}-${to}/${random.int(1, 7)}`])
      }).join(",")
    }
    for (let i = 0; i < 3000; i++) {
      const seconds = random.chance(0.3) ? `${field(0, 59, 0.3)} ` : ""
      const expression = `${seconds}${field(0, 59, 0.3)} ${field(0, 23, 0.4)} ${field(1, 31, 0.5)} ${
        field(1, 12, 0.6)
      } ${field(0, 7, 0.6)}`
      const at = utc(random.int(Date.UTC(1950, 0, 1), Date.UTC(2050, 0, 1)))
      const cron = Cron.parseUnsafe(expression, "UTC")
      const theirs = [Cron.next, Cron.prev].map((step) => {
        try {
          return step(cron, at).getTime()
        } catch {
          return undefined
        }
      })
      const trigger = Trigger.cron(expression)
      assert.deepStrictEqual([trigger.next(at), trigger.previous(at)].map(millis), theirs, `${expression} ${iso(at)}`)
    }
  })
})

describe("effect/Cron, where ours differs", () => {
  it("it takes no range that wraps", () => {
    for (const expression of ["0 22-2 * * *", "0 0 * * fri-mon", "0 0 * * sat-sun", "0 0 1 nov-feb *"]) {
      assert.strictEqual(Cron.parse(expression)._tag, "Failure")
      assert.doesNotThrow(() => Effect.runSync(Trigger.check(Trigger.cron(expression))))
    }
  })

  it("of several wall times left out it keeps the first", () => {
    const theirs = Cron.parseUnsafe("0,30 2 * * *", "Europe/Madrid")
    const first = Cron.next(theirs, "2026-03-28T12:00:00Z")
    assert.deepStrictEqual([first, Cron.next(theirs, first)].map((date) => date.toISOString()), [
      "2026-03-29T01:00:00.000Z",
      "2026-03-30T00:00:00.000Z"
    ])
    assert.deepStrictEqual(upcoming(Trigger.cron(theirs), 3, "2026-03-28T12:00:00Z"), [
      "2026-03-29T01:00:00Z",
      "2026-03-29T01:30:00Z",
      "2026-03-30T00:00:00Z"
    ])
  })

  it("what is never due is an error that takes it 10,000 steps to find", () => {
    assert.throws(() => Cron.next(Cron.parseUnsafe("0 0 30 2 *", "UTC"), 0), "Unable to find cron date")
    assert.strictEqual(Trigger.next(Trigger.cron("0 0 30 2 *"), 0), undefined)
  })

  it("without a zone it is in the zone of the machine", () => {
    const theirs = Cron.next(Cron.parseUnsafe("0 0 1 1 *"), "2026-06-01T00:00:00Z")
    assert.strictEqual(theirs.getTime(), new Date(2027, 0, 1).getTime())
    assert.strictEqual(iso(Trigger.next(Trigger.cron("0 0 1 1 *"), "2026-06-01T00:00:00Z")), "2027-01-01T00:00:00Z")
  })

  it("an error of it does not name the field", () => {
    const parsed = Cron.parse("0 61 * * *")
    assert.strictEqual(parsed._tag === "Failure" && parsed.failure.message, "Expected a value between 0 and 23")
    assert.strictEqual(parsed._tag === "Failure" && parsed.failure.input, "61")
    assert.strictEqual(
      invalid(Trigger.cron("0 61 * * *")).message,
      `Trigger.cron: hour must be from 0 to 23, got "61"`
    )
  })
})

describe("every", () => {
  it("is due each interval after the start, and next is as if it started there", () => {
    const ten = Trigger.every("10 seconds")
    assert.deepStrictEqual(upcoming(ten, 3, "2026-01-01T00:00:03.007Z"), [
      "2026-01-01T00:00:13.007Z",
      "2026-01-01T00:00:23.007Z",
      "2026-01-01T00:00:33.007Z"
    ])
    assert.strictEqual(iso(ten.next(utc("2026-01-01T00:00:03.007Z"))), "2026-01-01T00:00:13.007Z")
    assert.strictEqual(ten.previous(utc("2026-01-01T00:00:03.007Z")), undefined)
  })

  it("delay is the time to the first", () => {
    const start = utc(0)
    const dues = (delay: Duration.Input) => {
      const cursor = Trigger.every(1000, { delay }).begin(start)
      return [cursor, cursor.step(), cursor.step(2)].map((one) => millis(one.due))
    }
    assert.deepStrictEqual(dues(300), [300, 1300, 2300])
    assert.deepStrictEqual(dues(0), [0, 1000, 2000])
    assert.strictEqual(millis(Trigger.every(1000, { delay: 0 }).next(start)), 1000)
    assert.deepStrictEqual(Trigger.upcoming(Trigger.every(1000, { delay: 0 }), 2, 0).map(millis), [1000, 2000])
  })

  it("an anchor fixes the grid, before it and after", () => {
    const hourly = Trigger.every("1 hour", { anchor: "2026-01-01T00:20:00Z", delay: "5 minutes" })
    assert.deepStrictEqual(upcoming(hourly, 2, "2026-06-01T10:25:00Z"), [
      "2026-06-01T11:25:00Z",
      "2026-06-01T12:25:00Z"
    ])
    assert.strictEqual(iso(hourly.next(utc("1999-06-01T10:25:00.001Z"))), "1999-06-01T11:25:00Z")
    assert.strictEqual(iso(hourly.previous(utc("1999-06-01T11:25:00Z"))), "1999-06-01T10:25:00Z")
    assert.strictEqual(iso(hourly.previous(utc("1999-06-01T11:25:00.001Z"))), "1999-06-01T11:25:00Z")
  })

  it("a grid is exact to the nanosecond after 10^9 ticks, and however far one asks", () => {
    const random = Random.make(SEED, 2)
    for (let i = 0; i < 300; i++) {
      const nanos = BigInt(random.int(1_000_000, 90_000_000))
      const start = random.int(-4e12, 4e12)
      const cursor = Trigger.every(nanos).begin(utc(start))
      const k = random.pick([1e9 + random.int(0, 1e6), random.int(1, 1000)])
      const due = millis(cursor.step(k - 1).due)!
      const error = BigInt(due - start) * 1_000_000n - BigInt(k) * nanos
      assert.isTrue(error >= -500_000n && error <= 500_000n, `SEED=${SEED} ${nanos} ns, tick ${k}: off by ${error} ns`)
      assert.strictEqual(millis(cursor.advance(utc(due - 1)).due), due)
      assert.strictEqual(cursor.count(utc(due)), k)
      assert.strictEqual(cursor.count(utc(due - 1)), k - 1)
      const grid = Trigger.every(nanos, { anchor: start })
      assert.strictEqual(millis(grid.next(utc(due - 1))), due)
      assert.strictEqual(millis(grid.previous(utc(due + 1))), due)
    }
    const grid = Trigger.every("1250 micros", { anchor: 0 })
    assert.strictEqual(millis(grid.next(utc(8e15 - 1))), 8e15)
    assert.strictEqual(millis(grid.previous(utc(-3999))), -4000)
  })

  it("an interval below a millisecond is a millisecond: an instant is due once", () => {
    for (const interval of ["300 micros", 0.5, "1 nanos"] as const) {
      assert.deepStrictEqual(Trigger.upcoming(Trigger.every(interval), 3, 7).map(millis), [8, 9, 10])
      assert.deepStrictEqual(Trigger.upcoming(Trigger.every(interval, { anchor: 0 }), 3, 7).map(millis), [8, 9, 10])
    }
    assert.deepStrictEqual(Trigger.upcoming(Trigger.every(1.5, { anchor: 0 }), 4, 0).map(millis), [2, 3, 5, 6])
  })

  it("jitter: from a start, gaps are the interval to the interval and the jitter; with a seed, the same again", () => {
    const random = Random.make(SEED, 3)
    for (let i = 0; i < 50; i++) {
      const [interval, jitter, seed] = [random.int(1, 5000), random.int(0, 9000), random.int(-1e9, 1e9)]
      const trigger = Trigger.every(interval, { jitter, seed, delay: 5 })
      const dues = Trigger.upcoming(trigger, 400, 1000).map((due) => millis(due)!)
      assert.strictEqual(dues[0], 1005)
      const gaps = dues.slice(1).map((due, k) => due - dues[k]!)
      assert.isTrue(
        gaps.every((gap) => gap >= interval && gap <= interval + jitter),
        `SEED=${SEED} ${interval} ${jitter}: ${gaps}`
      )
      const mean = gaps.reduce((a, b) => a + b, 0) / gaps.length
      assert.closeTo(mean, interval + jitter / 2, 1 + jitter / 100)
      assert.deepStrictEqual(
        Trigger.upcoming(Trigger.every(interval, { jitter, seed, delay: 5 }), 400, 1000).map(millis),
        dues
      )
      const cursor = trigger.begin(utc(1000))
      for (const [k, due] of dues.entries()) {
        assert.strictEqual(millis(cursor.step(k).due), due)
        assert.strictEqual(millis(cursor.advance(utc(due - 1)).due), due)
        assert.strictEqual(cursor.count(utc(due)), k + 1)
      }
    }
  })

  it("jitter with an anchor: each grid point late by at most the jitter, the grid kept", () => {
    const trigger = Trigger.every("1 minute", { anchor: 0, jitter: "20 seconds", seed: 7 })
    const dues = Trigger.upcoming(trigger, 1000, -30_000_000).map((due) => millis(due)!)
    const lateness = dues.map((due) => ((due % 60_000) + 60_000) % 60_000)
    assert.isTrue(lateness.every((late) => late <= 20_000))
    assert.isTrue(new Set(lateness).size > 900)
    for (const [k, due] of dues.entries()) {
      if (k > 0) assert.strictEqual(millis(trigger.previous(utc(due))), dues[k - 1])
    }
  })

  it("two made alike differ in jitter, two users of one do not", () => {
    const [a, b] = [Trigger.every(1000, { jitter: 1000 }), Trigger.every(1000, { jitter: 1000 })]
    const dues = (trigger: Trigger.Trigger) => Trigger.upcoming(trigger, 20, 0).map(millis)
    assert.notDeepEqual(dues(a), dues(b))
    assert.deepStrictEqual(dues(a), dues(a))
  })

  it("invalid options", () => {
    const error = (trigger: Trigger.Trigger) => {
      const { field, where } = invalid(trigger)
      return `${where} ${field}`
    }
    for (const interval of [0, -1, NaN, Infinity, "-3 seconds", "Infinity", "soon", 0n, -1n, { seconds: -1 }]) {
      assert.strictEqual(error(Trigger.every(interval as Duration.Input)), "Trigger.every interval")
      assert.strictEqual(error(Trigger.after(interval as Duration.Input)), "Trigger.after delay")
    }
    assert.strictEqual(error(Trigger.every(1, { delay: -1 })), "Trigger.every delay")
    assert.strictEqual(error(Trigger.every(1, { delay: NaN })), "Trigger.every delay")
    assert.strictEqual(error(Trigger.every(1, { jitter: "-1 seconds" })), "Trigger.every jitter")
    assert.strictEqual(error(Trigger.every(1000, { jitter: 1000, anchor: 0 })), "Trigger.every jitter")
    assert.strictEqual(error(Trigger.every(1, { anchor: "2026-01-01" })), "Trigger.every anchor")
    assert.strictEqual(error(Trigger.every(1, { seed: 0.5 })), "Trigger.every seed")
    assert.strictEqual(error(Trigger.after(1, { delay: -1 })), "Trigger.after options.delay")
    assert.strictEqual(
      invalid(Trigger.every(0)).message,
      "Trigger.every: interval must be a finite duration > 0, got 0"
    )
  })
})

describe("after", () => {
  it("counts from the end of the last run", () => {
    let cursor = Trigger.after("10 seconds").begin(utc(0))
    assert.isTrue(cursor.fixedDelay)
    assert.strictEqual(millis(cursor.due), 10_000)
    assert.strictEqual(cursor.advance(utc(9_999)), cursor)
    assert.strictEqual(cursor.count(utc(9_999)), 0)
    assert.strictEqual(cursor.count(utc(99_999)), 1)
    cursor = cursor.advance(utc(14_000))
    assert.strictEqual(millis(cursor.due), 24_000)
    cursor = cursor.advance(utc(30_000), utc(29_000))
    assert.strictEqual(millis(cursor.due), 39_000)
    cursor = cursor.advance(utc(100_000), utc(50_000))
    assert.strictEqual(millis(cursor.due), 100_001)
    assert.strictEqual(millis(cursor.step(2).due), 120_001)
  })

  it("has a first delay of its own, and jitter", () => {
    assert.strictEqual(millis(Trigger.after(1000, { delay: 0 }).begin(utc(7)).due), 7)
    assert.deepStrictEqual(Trigger.upcoming(Trigger.after(1000, { delay: 300 }), 3, 0).map(millis), [300, 1300, 2300])
    const dues = Trigger.upcoming(Trigger.after(1000, { jitter: 500, seed: 1 }), 300, 0).map((due) => millis(due)!)
    const gaps = dues.slice(1).map((due, k) => due - dues[k]!)
    assert.strictEqual(dues[0], 1000)
    assert.isTrue(gaps.every((gap) => gap >= 1000 && gap <= 1500))
    assert.isTrue(new Set(gaps).size > 100)
    assert.strictEqual(Trigger.previous(Trigger.after(1000), 0), undefined)
  })
})

describe("at", () => {
  it("is due at each instant once, in order", () => {
    const trigger = Trigger.at("2026-03-01T00:00:00Z", utc(5), new Date(9), 7, "1970-01-01T01:00:00.007+01:00", 7)
    assert.deepStrictEqual(Trigger.upcoming(trigger, 9, 0).map(millis), [5, 7, 9, Date.UTC(2026, 2, 1)])
    assert.deepStrictEqual([5, 6, 7, 8].map((at) => millis(Trigger.previous(trigger, at))), [undefined, 5, 5, 7])
    assert.strictEqual(Trigger.next(trigger, "2026-03-01T00:00:00Z"), undefined)
    assert.strictEqual(Trigger.next(Trigger.at(), 0), undefined)
    assert.strictEqual(Trigger.previous(Trigger.at(), 0), undefined)
    const cursor = trigger.begin(utc(5))
    assert.strictEqual(cursor.count(utc(8)), 1)
    assert.strictEqual(cursor.count(utc("2027-01-01T00:00:00Z")), 3)
    assert.strictEqual(millis(cursor.advance(utc(9)).due), Date.UTC(2026, 2, 1))
    assert.strictEqual(cursor.step(3).due, undefined)
  })

  it("an instant has to be one: a string says where", () => {
    for (
      const instant of [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00",
        "2026-01-01T00:00:00[Europe/Madrid]",
        "tomorrow",
        "",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "01-01-2026",
        NaN,
        Infinity,
        new Date("?"),
        undefined as never
      ]
    ) {
      const error = invalid(Trigger.at(instant))
      assert.deepStrictEqual([error.where, error.field, error.value], ["Trigger.at", "instant", instant])
    }
    for (
      const instant of [
        "2026-01-01T00:00Z",
        "2026-01-01T01:00:00.0+01:00",
        "2025-12-31 23:00-0100",
        "2026-01-01T01:00:00+01:00[Europe/Madrid]"
      ]
    ) {
      assert.deepStrictEqual(Trigger.upcoming(Trigger.at(instant), 1, 0).map(iso), ["2026-01-01T00:00:00Z"])
    }
  })
})

describe("composition", () => {
  it("an invalid part makes the whole invalid, and asking throws its error", () => {
    const bad = Trigger.cron("61 * * * *")
    const wholes = [
      Trigger.union(Trigger.every(1), bad),
      Trigger.until(bad, 0),
      Trigger.since(bad, 0),
      Trigger.times(bad, 1),
      Trigger.every(1).pipe(Trigger.until("2026-01-01")),
      Trigger.every(1).pipe(Trigger.since("2026-01-01")),
      Trigger.every(1).pipe(Trigger.times(-1)),
      Trigger.times(Trigger.every(1), 1.5)
    ]
    for (const whole of [bad, ...wholes]) {
      const error = invalid(whole)
      for (
        const ask of [
          () => whole.next(utc(0)),
          () => whole.previous(utc(0)),
          () => whole.begin(utc(0)),
          () => Trigger.upcoming(whole, 1, 0)
        ]
      ) {
        assert.throws(ask, error.message)
      }
      assert.include(whole.description, error.message)
    }
    assert.deepStrictEqual(wholes.map((whole) => invalid(whole).field), [
      "minute",
      "minute",
      "minute",
      "minute",
      "instant",
      "instant",
      "n",
      "n"
    ])
    assert.throws(() => Trigger.next(Trigger.every(1), "2026-01-01"), "Trigger.next: after must be an instant")
    assert.throws(() => Trigger.previous(Trigger.every(1), "2026-01-01"), "Trigger.previous: before must be an instant")
    assert.throws(
      () => Trigger.upcoming(Trigger.every(1), 1, "2026-01-01"),
      "Trigger.upcoming: after must be an instant"
    )
    assert.throws(() => Trigger.upcoming(Trigger.every(1), -1, 0), "Trigger.upcoming: n must be an integer >= 0")
  })

  it.effect("a valid trigger passes the check", () =>
    Effect.gen(function*() {
      const trigger = Trigger.every(1)
      assert.strictEqual(yield* Trigger.check(trigger), trigger)
      assert.isTrue(Trigger.isTrigger(trigger))
      assert.isFalse(Trigger.isTrigger({ next: trigger.next }))
    }))

  it("until and since include their instant", () => {
    const daily = Trigger.cron("0 0 * * *")
    const january = daily.pipe(Trigger.since("2026-01-01T00:00:00Z"), Trigger.until("2026-01-03T00:00:00Z"))
    const all = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]
    assert.deepStrictEqual(upcoming(january, 9, "2020-01-01T00:00:00Z"), all)
    assert.deepStrictEqual(upcoming(january, 9, "2026-01-01T00:00:00Z"), all.slice(1))
    assert.strictEqual(iso(Trigger.previous(january, "2030-01-01T00:00:00Z")), all[2])
    assert.strictEqual(Trigger.previous(january, "2026-01-01T00:00:00Z"), undefined)
  })

  it("since gives what counts from a start its start", () => {
    const trigger = Trigger.every("1 hour").pipe(Trigger.since("2026-01-01T00:30:00Z"), Trigger.times(2))
    assert.deepStrictEqual(upcoming(trigger, 9, "2020-01-01T00:00:00Z"), [
      "2026-01-01T01:30:00Z",
      "2026-01-01T02:30:00Z"
    ])
    assert.deepStrictEqual(upcoming(trigger, 9, "2026-01-01T05:00:00Z"), [
      "2026-01-01T06:00:00Z",
      "2026-01-01T07:00:00Z"
    ])
    assert.strictEqual(iso(Trigger.previous(trigger, "2030-01-01T00:00:00Z")), "2026-01-01T02:30:00Z")
    assert.strictEqual(iso(Trigger.previous(trigger, "2026-01-01T02:30:00Z")), "2026-01-01T01:30:00Z")
    const thrice = Trigger.cron("0 7 * * *").pipe(Trigger.since("2026-01-01T00:00:00Z"), Trigger.times(3))
    assert.strictEqual(iso(Trigger.previous(thrice, "2030-01-01T00:00:00Z")), "2026-01-03T07:00:00Z")
    assert.strictEqual(Trigger.previous(Trigger.times(Trigger.cron("0 7 * * *"), 3), 0), undefined)
    assert.strictEqual(millis(Trigger.previous(Trigger.times(Trigger.at(1, 2, 3), 2), 9)), 2)
  })

  it("a million missed instants are dealt with at once", () => {
    const cursor = Trigger.every(1).pipe(Trigger.times(1e12), Trigger.until("2200-01-01T00:00:00Z")).begin(utc(0))
    assert.strictEqual(cursor.count(utc(2e12)), 1e12)
    assert.strictEqual(cursor.count(utc(1e11)), 1e11)
    assert.strictEqual(cursor.count(utc(1e11), 100), 100)
    assert.strictEqual(millis(cursor.advance(utc(1e11)).due), 1e11 + 1)
    assert.strictEqual(millis(cursor.step(1e12 - 1).due), 1e12)
    assert.strictEqual(cursor.step(1e12).due, undefined)
    assert.strictEqual(cursor.advance(utc(1e12)).due, undefined)
  })

  it("a union with a fixed delay counts what is due, not what may be", () => {
    const trigger = Trigger.union(Trigger.after(1000), Trigger.every(60_000))
    const cursor = trigger.pipe(Trigger.times(4)).begin(utc(0))
    assert.isTrue(cursor.fixedDelay)
    assert.strictEqual(cursor.count(utc(120_000)), 3)
    const later = cursor.advance(utc(120_500), utc(120_400))
    assert.strictEqual(millis(later.due), 121_400)
    assert.strictEqual(later.advance(utc(121_400)).due, undefined)
  })

  it("a trigger of one's own", () => {
    const step = (sign: number) => (at: DateTime.Utc) => utc((Math.floor(millis(at)! / 100) + sign) * 100)
    const own = Trigger.make(step(1), { description: "each hundred" })
    assert.deepStrictEqual(Trigger.upcoming(own, 3, 50).map(millis), [100, 200, 300])
    assert.strictEqual(own.previous(utc(50)), undefined)
    assert.strictEqual(millis(Trigger.previous(Trigger.make(step(1), { previous: step(-1) }), 100)), 0)
    assert.deepStrictEqual(
      Trigger.upcoming(Trigger.union(own, Trigger.at(150)).pipe(Trigger.times(3), Trigger.since(100)), 9, 0).map(
        millis
      ),
      [100, 150, 200]
    )
    assert.strictEqual(Trigger.describe(Trigger.times(own, 1)), "each hundred, once")
    const stuck = Trigger.make((after) => after)
    assert.throws(
      () => stuck.next(utc(0)),
      "Trigger.make: next must answer with an instant after 1970-01-01T00:00:00.000Z"
    )
  })

  // ─── against lists: what is due until HORIZON, of a start

  const HORIZON = 60_000

  /** `due(start, from)`: after `start`, with `from` also at `start`. */
  interface Model {
    readonly due: (start: number, from: boolean) => ReadonlyArray<number>
    readonly previous: (before: number) => number | undefined
  }

  const fixed = (instants: ReadonlyArray<number>): Model => ({
    due: (start, from) => instants.filter((instant) => from ? instant >= start : instant > start),
    previous: (before) => instants.findLast((instant) => instant < before)
  })
  const grid = (first: number, interval: number) => {
    const instants: Array<number> = []
    for (let instant = first; instant <= HORIZON; instant += interval) instants.push(instant)
    return instants
  }
  const merge = (lists: ReadonlyArray<ReadonlyArray<number>>) => [...new Set(lists.flat())].sort((a, b) => a - b)

  interface Case {
    readonly trigger: Trigger.Trigger
    readonly model: Model
    /** What `previous` is asked of is known. */
    readonly known: boolean
  }

  const leaf = (random: Random.Random): Case => {
    const interval = random.int(700, 9000)
    switch (random.int(0, 3)) {
      case 0: {
        const delay = random.pick([undefined, 0, random.int(1, 5000)])
        const due = (start: number) => grid(start + (delay ?? interval), interval)
        return { trigger: Trigger.every(interval, { delay }), model: { due, previous: () => undefined }, known: false }
      }
      case 1: {
        const anchor = random.int(-5000, 5000)
        const model = fixed(grid(anchor - 100 * interval, interval))
        return { trigger: Trigger.every(interval, { anchor }), model, known: true }
      }
      case 2: {
        const instants = Array.from({ length: random.int(0, 12) }, () => random.int(0, 50) * 1000)
        return { trigger: Trigger.at(...instants), model: fixed(merge([instants])), known: true }
      }
      default: {
        const step = random.pick([2, 3, 5, 7, 15])
        const seconds = Array.from({ length: 400 }, (_, i) => i - 300).filter((s) => ((s % 60) + 60) % 60 % step === 0)
        const model = fixed(seconds.map((second) => second * 1000).filter((instant) => instant <= HORIZON))
        return { trigger: Trigger.cron(`*/${step} * * * * *`), model, known: true }
      }
    }
  }

  const tree = (random: Random.Random, depth: number): Case => {
    if (depth === 0) return leaf(random)
    const inner = tree(random, depth - 1)
    const at = random.int(0, 40) * 1000
    switch (random.int(0, 3)) {
      case 0: {
        const others = Array.from({ length: random.int(0, 2) }, () => tree(random, depth - 1))
        const all = [inner, ...others]
        return {
          trigger: Trigger.union(...all.map((one) => one.trigger)),
          model: {
            due: (start, from) => merge(all.map(({ model }) => model.due(start, from))),
            previous: (before) =>
              merge(
                all.map(({ model }) => model.previous(before) ?? [])
                  .map((one) => typeof one === "number" ? [one] : one)
              ).at(-1)
          },
          known: all.every((one) => one.known)
        }
      }
      case 1:
        return {
          trigger: Trigger.until(inner.trigger, at),
          model: {
            due: (start, from) => inner.model.due(start, from).filter((instant) => instant <= at),
            previous: (before) => inner.model.previous(Math.min(before, at + 1))
          },
          known: inner.known
        }
      case 2: {
        const due: Model["due"] = (start, from) => start < at ? inner.model.due(at, true) : inner.model.due(start, from)
        return {
          trigger: Trigger.since(inner.trigger, at),
          model: { due, previous: (before) => due(-HORIZON, true).findLast((instant) => instant < before) },
          known: true
        }
      }
      default: {
        const n = random.int(0, 12)
        return {
          trigger: Trigger.times(inner.trigger, n),
          model: { due: (start, from) => inner.model.due(start, from).slice(0, n), previous: () => undefined },
          known: false
        }
      }
    }
  }

  it("whatever is composed, it is due as the lists say: next, previous, upcoming, step, advance, count", () => {
    for (let i = 0; i < 2000; i++) {
      const random = Random.make(SEED, 4, i)
      const { known, model, trigger } = tree(random, random.int(0, 4))
      const where = `SEED=${SEED} case ${i}: ${trigger.description}`
      const start = random.pick([0, random.int(0, 40_000), random.int(0, 40) * 1000])
      const due = model.due(start, false)
      const inSight = (instants: ReadonlyArray<DateTime.Utc>) => instants.map(millis).filter((one) => one! <= HORIZON)
      assert.deepStrictEqual(
        inSight([trigger.next(utc(start))].filter((one) => one !== undefined)),
        due.filter((instant) => instant > start).slice(0, 1),
        where
      )
      assert.deepStrictEqual(
        inSight(Trigger.upcoming(trigger, 5, start)),
        due.filter((instant) => instant > start).slice(0, 5),
        where
      )
      if (known) {
        assert.strictEqual(millis(trigger.previous(utc(start))), model.previous(start), `${where}, before ${start}`)
      }
      let cursor = trigger.begin(utc(start))
      let left = due
      for (let turn = 0; turn < 12 && left.length > 0; turn++) {
        assert.strictEqual(millis(cursor.due), left[0], where)
        const now = random.int(start, Math.min(HORIZON - 1, left[0]! + random.int(0, 9000)))
        const passed = left.filter((instant) => instant <= now).length
        assert.strictEqual(cursor.count(utc(now)), passed, `${where}, until ${now}`)
        assert.strictEqual(cursor.count(utc(now), 2), Math.min(2, passed), where)
        if (random.chance(0.3)) {
          const n = random.int(0, 3)
          if (n >= left.length) break
          cursor = cursor.step(n)
          left = left.slice(n)
        } else {
          const before = cursor
          cursor = cursor.advance(utc(now))
          left = left.slice(passed)
          if (passed === 0) assert.strictEqual(cursor, before)
        }
      }
      const last = due.at(-1)
      if (due.length > 0 && due.length < 30 && millis(trigger.begin(utc(start)).step(due.length).due) === undefined) {
        assert.strictEqual(trigger.begin(utc(start)).advance(utc(last!)).due, undefined, where)
      }
    }
  })

  it("next and previous are each other's inverse, and monotone", () => {
    const zones = [
      "UTC",
      "Europe/Madrid",
      "Australia/Lord_Howe",
      "America/Sao_Paulo",
      "Pacific/Apia",
      "Africa/Casablanca"
    ]
    for (let i = 0; i < 600; i++) {
      const random = Random.make(SEED, 5, i)
      const trigger = random.pick([
        () =>
          Trigger.cron(
            `${random.int(0, 59)},*/${random.int(2, 59)} ${random.int(0, 23)}-${random.int(0, 23)} * * ${
              random.int(0, 7)
            }-${random.int(0, 7)}`,
            { tz: random.pick(zones) }
          ),
        () => Trigger.every(BigInt(random.int(1e6, 1e15)), { anchor: random.int(-1e12, 1e12) }),
        () => Trigger.every(random.int(1000, 1e9), { anchor: 0, jitter: random.int(0, 999), seed: random.int(0, 1e9) }),
        () =>
          Trigger.union(
            Trigger.cron(`0 ${random.int(0, 23)} * * *`, { tz: random.pick(zones) }),
            Trigger.every("7 hours", { anchor: 0 })
          )
      ])()
      const where = `SEED=${SEED} case ${i}: ${trigger.description}`
      const [a, b] = [random.int(-3e11, 2.5e12), random.int(0, 1e9)]
      const next = trigger.next(utc(a))!
      assert.isAbove(millis(next)!, a, where)
      const previous = trigger.previous(next)!
      assert.isAtMost(millis(previous)!, a, where)
      assert.deepStrictEqual(trigger.next(previous), next, where)
      assert.isAtLeast(millis(trigger.next(utc(a + b)))!, millis(next)!, where)
      assert.isAtLeast(millis(trigger.previous(utc(a + b)))!, millis(trigger.previous(utc(a)))!, where)
    }
  })

  it("two who use one trigger do not influence each other", () => {
    const trigger = Trigger.union(
      Trigger.every(1000, { jitter: 500 }),
      Trigger.cron("*/7 * * * * *", { tz: "Europe/Madrid" }),
      Trigger.at(2500, 9000)
    ).pipe(Trigger.times(40))
    const alone = Trigger.upcoming(trigger, 40, 0).map(millis)
    const random = Random.make(SEED, 6)
    const users = [trigger.begin(utc(0)), trigger.begin(utc(0))]
    const seen: Array<Array<number | undefined>> = [[], []]
    for (let i = 0; i < 80; i++) {
      const user = seen[0]!.length === 40 ? 1 : seen[1]!.length === 40 ? 0 : random.int(0, 1)
      trigger.next(utc(random.int(0, 1e12)))
      seen[user]!.push(millis(users[user]!.due))
      users[user] = users[user]!.step()
    }
    assert.deepStrictEqual(seen, [alone, alone])
  })
})

describe("describe", () => {
  const crons: ReadonlyArray<[expression: string, description: string]> = [
    ["0 7 * * 1-5", "at 07:00, Monday to Friday"],
    ["0 7 * * *", "at 07:00, every day"],
    ["@daily", "at 00:00, every day"],
    ["* * * * *", "every minute"],
    ["*/15 * * * *", "every 15 minutes"],
    ["*/30 * * * *", "every 30 minutes"],
    ["*/16 * * * *", "every 16 minutes from minute 0 to 48 past every hour"],
    ["5/15 * * * *", "every 15 minutes from minute 5 to 50 past every hour"],
    ["0 * * * *", "every hour"],
    ["5 * * * *", "at minute 5 past every hour"],
    ["5,35 * * * *", "at minutes 5 and 35 past every hour"],
    ["10-20 * * * *", "at minutes 10 to 20 past every hour"],
    ["58-2 * * * *", "at minutes 0 to 2, 58 and 59 past every hour"],
    ["* 9-17 * * 1", "every minute from 09:00 to 17:59, Monday"],
    ["*/30 9-17 * * 1-5", "every 30 minutes from 09:00 to 17:30, Monday to Friday"],
    ["* 22-2 * * fri-mon", "every minute from 22:00 to 02:59, Friday to Monday"],
    ["* 9-11,14-16 * * *", "every minute from 09:00 to 11:59 and from 14:00 to 16:59"],
    ["*/15 0,2,5,9 * * *", "every 15 minutes of the hours 0, 2, 5 and 9"],
    ["0 9-17 * * *", "every hour from 09:00 to 17:00"],
    ["5 9-17 * * *", "at minute 5 past every hour from 09:05 to 17:05"],
    ["0 */2 * * *", "every 2 hours"],
    ["0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00, every day"],
    ["5 */2 * * *", "every 2 hours from 00:05 to 22:05"],
    ["0 9-17/2 * * *", "every 2 hours from 09:00 to 17:00"],
    ["*/15 */2 * * *", "every 15 minutes of every 2nd hour from 00:00 to 22:45"],
    ["30 7,9,13,18,21 * * sat,sun", "at 07:30, 09:30, 13:30, 18:30 and 21:30, Saturday and Sunday"],
    ["0,30 9 * * 2", "at 09:00 and 09:30, Tuesday"],
    ["* * * * * *", "every second"],
    ["*/10 * * * * *", "every 10 seconds"],
    ["3/7 * * * * *", "every 7 seconds from second 3 to 59 of every minute"],
    ["30 * * * * *", "at second 30 of every minute"],
    ["5,50 * * * * *", "at seconds 5 and 50 of every minute"],
    ["* 0 * * * *", "every second of minute 0 past every hour"],
    ["7 5 9-17 * * *", "at second 7 of minute 5 past every hour from 09:05:07 to 17:05:07"],
    ["*/10 * 9-17 * * 1", "every 10 seconds from 09:00 to 17:59:50, Monday"],
    ["30 0 7 * * *", "at 07:00:30, every day"],
    ["0 0 1 * *", "at 00:00, on the 1st"],
    ["0 0 1,15 * *", "at 00:00, on the 1st and 15th"],
    ["0 0 1-7 * *", "at 00:00, on the 1st to 7th"],
    ["0 0 */2 * *", "at 00:00, every 2nd day from the 1st to the 31st"],
    ["0 0 2,3,11,12,13,21,22,23 * *", "at 00:00, on the 2nd, 3rd, 11th to 13th and 21st to 23rd"],
    ["0 0 29 2 *", "at 00:00, on the 29th of February"],
    ["0 0 1,15 1,4,7,10 *", "at 00:00, on the 1st and 15th of January, April, July and October"],
    ["0 0 1 jan-mar *", "at 00:00, on the 1st, January to March"],
    ["0 0 * 11-2 *", "at 00:00, every day, November to February"],
    ["0 0 * 2 mon", "at 00:00, Monday in February"],
    ["* * * 5 *", "every minute, in May"],
    ["0 12 13 * fri", "at 12:00, on the 13th or on Friday"],
    ["0 12 8-14 * */7", "at 12:00, Sunday when it is the 8th to 14th"],
    ["0 0 1-31 * 0-7", "at 00:00, on the 1st to 31st or on Monday to Sunday"]
  ]
  for (const [expression, description] of crons) {
    it(`${expression} is "${description}"`, () => {
      assert.strictEqual(Trigger.describe(Trigger.cron(expression)), description)
    })
  }

  it("the zone is last, as it was given", () => {
    const at = (tz: string | DateTime.TimeZone) => Trigger.describe(Trigger.cron("0 7 * * 1-5", { tz }))
    assert.strictEqual(at("Europe/Madrid"), "at 07:00, Monday to Friday, Europe/Madrid")
    assert.strictEqual(at("europe/madrid"), "at 07:00, Monday to Friday, Europe/Madrid")
    assert.strictEqual(at("Asia/Calcutta"), "at 07:00, Monday to Friday, Asia/Calcutta")
    assert.strictEqual(at("Asia/Kolkata"), "at 07:00, Monday to Friday, Asia/Kolkata")
    assert.strictEqual(at("+05:30"), "at 07:00, Monday to Friday, +05:30")
    assert.strictEqual(at(DateTime.zoneMakeOffset(3_600_000)), "at 07:00, Monday to Friday, +01:00")
    assert.strictEqual(at("UTC"), "at 07:00, Monday to Friday, UTC")
  })

  const triggers: ReadonlyArray<[trigger: Trigger.Trigger, description: string]> = [
    [Trigger.every("10 seconds"), "every 10 seconds"],
    [Trigger.every("1 hour"), "every hour"],
    [Trigger.every("90 minutes"), "every 1 hour 30 minutes"],
    [Trigger.every(16.5), "every 16.5 milliseconds"],
    [Trigger.every("2 weeks"), "every 14 days"],
    [Trigger.every("10 seconds", { delay: "3 seconds" }), "every 10 seconds, first after 3 seconds"],
    [Trigger.every("10 seconds", { delay: 0 }), "every 10 seconds, first at once"],
    [Trigger.every("10 seconds", { jitter: "1 second" }), "every 10 seconds, each up to 1 second later"],
    [
      Trigger.every("1 day", { anchor: "2026-01-01T00:00:00Z", delay: "1 hour" }),
      "every day, counted from 2026-01-01T00:00:00.000Z plus 1 hour"
    ],
    [Trigger.after("10 seconds"), "10 seconds after the last"],
    [
      Trigger.after("1 minute", { delay: 0, jitter: 500 }),
      "1 minute after the last, first at once, each up to 500 milliseconds later"
    ],
    [Trigger.at("2026-01-01T00:00:00Z"), "at 2026-01-01T00:00:00.000Z"],
    [Trigger.at(0, 1), "at 1970-01-01T00:00:00.000Z and 1970-01-01T00:00:00.001Z"],
    [
      Trigger.at(0, 1, 2, 3, 4, 5),
      "at 6 instants from 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:00.005Z"
    ],
    [Trigger.at(), "never"],
    [Trigger.union(), "never"],
    [Trigger.union(Trigger.every("1 second"), Trigger.cron("0 7 * * *")), "every second and at 07:00, every day"],
    [Trigger.every("1 second").pipe(Trigger.until(0)), "every second, until 1970-01-01T00:00:00.000Z"],
    [
      Trigger.every("1 second").pipe(Trigger.since(0), Trigger.times(3)),
      "every second, from 1970-01-01T00:00:00.000Z, 3 times"
    ]
  ]
  for (const [trigger, description] of triggers) {
    it(`says "${description}"`, () => {
      assert.strictEqual(Trigger.describe(trigger), description)
      assert.strictEqual(String(trigger), `Trigger(${description})`)
    })
  }
})
