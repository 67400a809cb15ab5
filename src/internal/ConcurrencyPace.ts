/**
 * How often at one limit: token buckets and pauses, in milliseconds on the clock of whoever asks.
 *
 * A bucket counts in credit: a token costs `per` of it and a millisecond earns `count`, so that whole numbers stay whole and nothing is lost to
 * rounding. A try that is denied takes nothing, and looking changes nothing that anybody could see.
 */
import type { Counter } from "./ConcurrencyLine.ts"

/** At most `count` starts per `per`, `burst` of them at once. */
export interface Window {
  readonly count: number
  readonly per: number
  readonly burst: number
  credit: number
  at: number
}

export class Pace {
  windows: ReadonlyArray<Window> = []
  /** Nothing starts before. */
  pausedUntil = -Infinity
  /** The limits it is the pace of: one with slots, and one for those who want none. */
  readonly counters: Array<Counter> = []
  /** The one timer, whoever waits. */
  timer: { readonly at: number; readonly cancel: () => void } | undefined = undefined

  /** From when on `weight` may start; not later than `now` if it may start now. */
  readyAt(weight: number, now: number): number {
    let ready = this.pausedUntil
    for (const window of this.windows) {
      refill(window, now)
      const lacks = weight * window.per - window.credit
      if (lacks > 0) ready = Math.max(ready, now + Math.ceil(lacks / window.count))
    }
    return ready
  }

  take(weight: number): void {
    for (const window of this.windows) window.credit -= weight * window.per
  }

  /** What was taken and not used. */
  giveBack(weight: number): void {
    for (const window of this.windows) {
      window.credit = Math.min(window.burst * window.per, window.credit + weight * window.per)
    }
  }

  /** The most that can start at once. */
  get most(): number {
    let most = Infinity
    for (const { burst } of this.windows) most = Math.min(most, Math.floor(burst))
    return most
  }

  /** New windows. One over the same time as before, or in the same place, keeps what was available, within its burst. */
  edit(windows: ReadonlyArray<Omit<Window, "credit" | "at">>, now: number): void {
    const old = [...this.windows]
    const take = (at: number) => at < 0 ? undefined : old.splice(at, 1, undefined as never)[0]
    const same = windows.map((window, i) =>
      take(old[i]?.per === window.per ? i : old.findIndex((one) => one?.per === window.per))
    )
    this.windows = windows.map((window, i) => {
      const before = same[i] ?? take(old[i] === undefined ? -1 : i)
      if (before === undefined) return { ...window, credit: window.burst * window.per, at: now }
      refill(before, now)
      const credit = before.per === window.per ? before.credit : before.credit / before.per * window.per
      return { ...window, credit: Math.min(credit, window.burst * window.per), at: now }
    })
  }

  /** What may start now in each window. */
  available(now: number): ReadonlyArray<number> {
    return this.windows.map((window) => {
      refill(window, now)
      return window.credit / window.per
    })
  }
}

const refill = (window: Window, now: number): void => {
  // A clock that was set back earns nothing and costs nothing.
  if (now > window.at) {
    window.credit = Math.min(window.burst * window.per, window.credit + (now - window.at) * window.count)
  }
  window.at = now
}
