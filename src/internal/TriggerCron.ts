/**
 * When cron fields are due in a zone: the wall times of the calendar, placed on the stretches of the zone.
 *
 * In a stretch an instant shows the wall time `instant + offset`. Where the clocks go forward, the wall times left out are read as if the
 * clocks had stayed: with the offset before, which shifts them by what was left out. Where they go back, the first showing counts.
 */
import type { DstOverlapPolicy } from "effect/Cron"
import type { Calendar } from "./TriggerCalendar.ts"
import type { Stretch, Zone } from "./TriggerZone.ts"

const latest = 8_640_000_000_000_000
/** No offset from UTC is larger, so an instant lies within this of the wall time it shows. */
const maxOffset = 16 * 3_600_000

/** Instants are integers of epoch milliseconds. */
export class CronTimes {
  private readonly calendar: Calendar
  private readonly zone: Zone
  private readonly repeated: DstOverlapPolicy
  constructor(calendar: Calendar, zone: Zone, repeated: DstOverlapPolicy) {
    this.calendar = calendar
    this.zone = zone
    this.repeated = repeated
  }

  /** The first due instant after `after`. */
  next(after: number): number | undefined {
    if (!this.calendar.possible) return undefined
    let t = after
    let stretch = this.zone.stretchAt(t + 1)
    for (;;) {
      const found = this.firstIn(stretch, t)
      if (found <= latest) return found
      if (stretch.to > latest) return undefined
      const wall = this.wallFrom(stretch.to + Math.min(stretch.offset, stretch.after))
      if (wall > latest) return undefined
      t = Math.max(stretch.to, wall - maxOffset) - 1
      stretch = this.zone.stretchAt(t + 1)
    }
  }

  /** The last due instant before `before`. */
  previous(before: number): number | undefined {
    if (!this.calendar.possible) return undefined
    let t = before
    let stretch = this.zone.stretchAt(t - 1)
    for (;;) {
      const found = this.lastIn(stretch, t)
      if (found >= -latest) return found
      if (stretch.from < -latest) return undefined
      const wall = this.wallBefore(stretch.from + Math.max(stretch.offset, stretch.before))
      if (wall < -latest) return undefined
      t = Math.min(stretch.from, wall + maxOffset)
      stretch = this.zone.stretchAt(t - 1)
    }
  }

  /** The first due instant of the stretch after `t`, or Infinity. */
  private firstIn({ after, before, from, offset, to }: Stretch, t: number): number {
    const shown = from + (this.repeated === "earlier" ? Math.max(before, offset) : offset)
    const until = to + (this.repeated === "later" ? Math.min(offset, after) : offset)
    const wall = this.wallFrom(Math.max(shown, t + 1 + offset))
    const due = wall < until ? wall - offset : Infinity
    if (before >= offset || t + 1 + before >= from + offset) return due
    const left = this.wallFrom(Math.max(from, t + 1) + before)
    return left < from + offset ? Math.min(due, left - before) : due
  }

  /** The last due instant of the stretch before `t`, or -Infinity. */
  private lastIn({ after, before, from, offset, to }: Stretch, t: number): number {
    const shown = from + (this.repeated === "earlier" ? Math.max(before, offset) : offset)
    const until = to + (this.repeated === "later" ? Math.min(offset, after) : offset)
    const wall = this.wallBefore(Math.min(until, t + offset))
    const due = wall >= shown ? wall - offset : -Infinity
    if (before >= offset) return due
    const left = this.wallBefore(Math.min(from + offset, t + before))
    return left >= from + before ? Math.max(due, left - before) : due
  }

  /** The first matching wall time at or after `wall`, in milliseconds. */
  private wallFrom(wall: number): number {
    if (wall > latest) return Infinity
    return this.calendar.next(Math.ceil(Math.max(wall, -latest) / 1000)) * 1000
  }

  /** The last matching wall time before `wall`, in milliseconds. */
  private wallBefore(wall: number): number {
    if (wall <= -latest) return -Infinity
    return this.calendar.previous(Math.ceil(Math.min(wall, latest) / 1000) - 1) * 1000
  }
}
