/**
 * The wall times that cron fields match, as a search over the proleptic Gregorian calendar: no time zone here.
 *
 * A wall time is the number of seconds from 1970-01-01T00:00:00 to it on a clock that is never changed.
 */

/** What each field allows. A field with all of its values is unrestricted, except for `days`: see there. */
export interface Fields {
  readonly seconds: ReadonlySet<number>
  readonly minutes: ReadonlySet<number>
  readonly hours: ReadonlySet<number>
  readonly months: ReadonlySet<number>
  readonly days: ReadonlySet<number>
  /** 0 is Sunday. */
  readonly weekdays: ReadonlySet<number>
  /** Which of `days` and `weekdays` count, and whether a day has to be in both or in either. */
  readonly dayRule: "any" | "days" | "weekdays" | "either" | "both"
}

/** Of one field: for each value the nearest allowed one at or after it, and at or before it; -1 where there is none. */
class Steps {
  readonly up: Int8Array
  readonly down: Int8Array
  readonly first: number
  readonly last: number
  constructor(allowed: ReadonlySet<number>, size: number) {
    this.up = new Int8Array(size + 1).fill(-1)
    this.down = new Int8Array(size + 1).fill(-1)
    for (let i = size - 1; i >= 0; i--) this.up[i] = allowed.has(i) ? i : this.up[i + 1]!
    for (let i = 0; i < size; i++) this.down[i] = allowed.has(i) ? i : i === 0 ? -1 : this.down[i - 1]!
    this.first = this.up[0]!
    this.last = this.down[size - 1]!
  }
}

const daySeconds = 86_400
/** A day of month as a bit: the 1st is bit 0. */
const bit = (day: number): number => 1 << (day - 1)
const lowest = (mask: number): number => 32 - Math.clz32(mask & -mask)
const highest = (mask: number): number => 32 - Math.clz32(mask)

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
const lengthOf = (year: number, month: number): number => month === 2 && isLeap(year) ? 29 : lengths[month - 1]!

export class Calendar {
  /** Whether any wall time matches at all: not 30 February. Then the search ends, within 40 years (29 February on a Monday, across 2100). */
  readonly possible: boolean
  private readonly seconds: Steps
  private readonly minutes: Steps
  private readonly hours: Steps
  private readonly months: ReadonlySet<number>
  /** The days of month allowed, by the weekday of the 1st. */
  private readonly masks: Int32Array
  constructor(fields: Fields) {
    this.seconds = new Steps(fields.seconds, 60)
    this.minutes = new Steps(fields.minutes, 60)
    this.hours = new Steps(fields.hours, 24)
    this.months = fields.months
    this.masks = Int32Array.from({ length: 7 }, (_, weekday) => {
      let mask = 0
      for (let day = 1; day <= 31; day++) {
        const inDays = fields.days.has(day)
        const inWeekdays = fields.weekdays.has((weekday + day - 1) % 7)
        const allowed = fields.dayRule === "any" ||
          (fields.dayRule === "days" ? inDays : fields.dayRule === "weekdays" ? inWeekdays : fields.dayRule === "either"
            ? inDays || inWeekdays
            : inDays && inWeekdays)
        if (allowed) mask |= bit(day)
      }
      return mask
    })
    this.possible = [...fields.months].some((month) =>
      this.masks.some((mask) => (mask & upTo(lengthOf(2000, month))) !== 0)
    )
  }

  /** The first match at or after `wall`. Only where a match is `possible`. */
  next(wall: number): number {
    const dayNumber = Math.floor(wall / daySeconds)
    const date = new Date(dayNumber * 86_400_000)
    const day = date.getUTCDate()
    let year = date.getUTCFullYear()
    let month = date.getUTCMonth() + 1
    let first = dayNumber - day + 1
    let mask = this.maskOf(year, month, first)
    if ((mask & bit(day)) !== 0) {
      const time = this.timeFrom(wall - dayNumber * daySeconds)
      if (time >= 0) return dayNumber * daySeconds + time
    }
    mask &= ~upTo(day)
    while (mask === 0) {
      first += lengthOf(year, month)
      if (++month === 13) {
        month = 1
        year++
      }
      mask = this.maskOf(year, month, first)
    }
    return (first + lowest(mask) - 1) * daySeconds + this.timeFrom(0)
  }

  /** The last match at or before `wall`. Only where a match is `possible`. */
  previous(wall: number): number {
    const dayNumber = Math.floor(wall / daySeconds)
    const date = new Date(dayNumber * 86_400_000)
    const day = date.getUTCDate()
    let year = date.getUTCFullYear()
    let month = date.getUTCMonth() + 1
    let first = dayNumber - day + 1
    let mask = this.maskOf(year, month, first)
    if ((mask & bit(day)) !== 0) {
      const time = this.timeUntil(wall - dayNumber * daySeconds)
      if (time >= 0) return dayNumber * daySeconds + time
    }
    mask &= upTo(day - 1)
    while (mask === 0) {
      if (--month === 0) {
        month = 12
        year--
      }
      first -= lengthOf(year, month)
      mask = this.maskOf(year, month, first)
    }
    return (first + highest(mask) - 1) * daySeconds + this.timeUntil(daySeconds - 1)
  }

  /** `first`: the day number of the 1st of that month. */
  private maskOf(year: number, month: number, first: number): number {
    if (!this.months.has(month)) return 0
    // 1970-01-01 was a Thursday.
    const weekday = ((first + 4) % 7 + 7) % 7
    return this.masks[weekday]! & upTo(lengthOf(year, month))
  }

  /** The first matching second of the day at or after `second`, or -1. */
  private timeFrom(second: number): number {
    const { hours, minutes, seconds } = this
    let h = Math.floor(second / 3600)
    let m = Math.floor(second / 60) % 60
    let s = seconds.up[second % 60]!
    if (s < 0) {
      m++
      s = seconds.first
    }
    const minute = minutes.up[m]!
    if (minute !== m) s = seconds.first
    m = minute
    if (m < 0) {
      h++
      m = minutes.first
    }
    const hour = hours.up[h]!
    if (hour < 0) return -1
    return hour === h ? h * 3600 + m * 60 + s : hour * 3600 + minutes.first * 60 + seconds.first
  }

  /** The last matching second of the day at or before `second`, or -1. */
  private timeUntil(second: number): number {
    const { hours, minutes, seconds } = this
    let h = Math.floor(second / 3600)
    let m = Math.floor(second / 60) % 60
    let s = seconds.down[second % 60]!
    if (s < 0) {
      m--
      s = seconds.last
    }
    const minute = m < 0 ? -1 : minutes.down[m]!
    if (minute !== m) s = seconds.last
    m = minute
    if (m < 0) {
      h--
      m = minutes.last
    }
    const hour = h < 0 ? -1 : hours.down[h]!
    if (hour < 0) return -1
    return hour === h ? h * 3600 + m * 60 + s : hour * 3600 + minutes.last * 60 + seconds.last
  }
}

/** The 1st to `day`. */
const upTo = (day: number): number => day >= 31 ? 0x7fffffff : bit(day + 1) - 1
