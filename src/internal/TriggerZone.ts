/**
 * What the clocks of a zone showed, stretch by stretch.
 *
 * `Intl` knows the offset of an instant (about 1 µs) and not when it changes, so a zone is sampled a block at a time, each change is found by
 * bisection, and the blocks are kept for all who use the zone.
 */
import type * as DateTime from "effect/DateTime"

/** The instants `from` to `to` (epoch milliseconds, `to` excluded) with one offset from UTC, and the offsets beside it, all in milliseconds. */
export interface Stretch {
  readonly from: number
  readonly to: number
  readonly offset: number
  /** The offset before `from`: smaller where the clocks went forward, larger where they went back, equal where nothing happened. */
  readonly before: number
  /** The offset from `to` on. */
  readonly after: number
}

export interface Zone {
  readonly stretchAt: (instant: number) => Stretch
}

export const zoneOf = (zone: DateTime.TimeZone): Zone => {
  if (zone._tag === "Offset") return fixed(zone.offset)
  let found = zones.get(zone.id)
  if (found === undefined) zones.set(zone.id, found = zone.id === "UTC" ? utc : new NamedZone(zone.id))
  return found
}

const zones = new Map<string, Zone>()

const fixed = (offset: number): Zone => {
  const stretch: Stretch = { from: -Infinity, to: Infinity, offset, before: offset, after: offset }
  return { stretchAt: () => stretch }
}

export const utc = fixed(0)

const day = 86_400_000
/** A power of two, about 199 days. */
const block = 2 ** 34
/** In all of tzdata, 1850 to 2100, two changes are never less than 6.9 days apart: no two fall between two samples. */
const sampling = 2 * day
/** A change this near is seen from a block as well: more than the longest repeated or skipped stretch of wall time, which is a day. */
const margin = 3 * day
const latest = 8_640_000_000_000_000
/** Two hundred years and some. */
const maxBlocks = 400

class NamedZone implements Zone {
  private readonly format: Intl.DateTimeFormat
  private readonly blocks = new Map<number, ReadonlyArray<Stretch>>()
  private key = NaN
  private stretches: ReadonlyArray<Stretch> = []
  constructor(id: string) {
    this.format = new Intl.DateTimeFormat("en-US", {
      timeZone: id,
      hour: "numeric",
      hourCycle: "h23",
      timeZoneName: "longOffset"
    })
  }

  stretchAt(instant: number): Stretch {
    const key = Math.floor(instant / block)
    if (key !== this.key) {
      this.stretches = this.load(key)
      this.key = key
    }
    let i = 0
    while (instant >= this.stretches[i]!.to) i++
    return this.stretches[i]!
  }

  private load(key: number): ReadonlyArray<Stretch> {
    let stretches = this.blocks.get(key)
    if (stretches === undefined) {
      if (this.blocks.size >= maxBlocks) this.blocks.clear()
      this.blocks.set(key, stretches = this.survey(key * block - margin, (key + 1) * block + margin))
    }
    return stretches
  }

  /** The ends of what is surveyed pass for changes at which nothing happens. */
  private survey(from: number, to: number): ReadonlyArray<Stretch> {
    const starts = [from]
    const offsets = [this.offsetAt(from)]
    for (let at = from; at < to;) {
      const next = Math.min(at + sampling, to)
      const offset = this.offsetAt(next)
      if (offset !== offsets.at(-1)) {
        starts.push(this.change(at, next))
        offsets.push(offset)
      }
      at = next
    }
    return starts.map((start, i) => ({
      from: start,
      to: starts[i + 1] ?? to,
      offset: offsets[i]!,
      before: offsets[i - 1] ?? offsets[i]!,
      after: offsets[i + 1] ?? offsets[i]!
    }))
  }

  /** The first second in `(low, high]` whose offset is not that of `low`. */
  private change(low: number, high: number): number {
    const offset = this.offsetAt(low)
    let a = Math.floor(low / 1000)
    let b = Math.ceil(high / 1000)
    while (b - a > 1) {
      const middle = Math.floor((a + b) / 2)
      if (this.offsetAt(middle * 1000) === offset) a = middle
      else b = middle
    }
    return b * 1000
  }

  private offsetAt(instant: number): number {
    const shown = this.format.format(Math.max(-latest, Math.min(latest, instant)))
    const found = longOffset.exec(shown)
    if (found === null) return 0
    const [, sign, hours, minutes, seconds = "0"] = found
    return (sign === "+" ? 1 : -1) * (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000
  }
}

/** `GMT+05:45`, `GMT-00:44:30`; `GMT` alone for zero. */
const longOffset = /GMT([+-])(\d+):(\d+)(?::(\d+))?/
