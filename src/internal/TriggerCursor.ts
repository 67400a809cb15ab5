/** Where a started trigger stands, one class for each way of finding what is due next. All are immutable values. */
import * as DateTime from "effect/DateTime"
import type { Cursor } from "../Trigger.ts"

const latest = 8_640_000_000_000_000

export const utcOf = (instant: number | undefined): DateTime.Utc | undefined =>
  instant === undefined ? undefined : DateTime.makeUnsafe(instant)

/** Due instants are whole milliseconds: a fraction of one in the instant they are compared to changes nothing. */
export const millisOf = (instant: DateTime.DateTime): number => Math.floor(instant.epochMilliseconds)

/** Due and not after `now`: to be dealt with. */
const isDue = (due: DateTime.Utc | undefined, now: DateTime.Utc): due is DateTime.Utc =>
  due !== undefined && due.epochMilliseconds <= now.epochMilliseconds

export interface Walking extends Cursor {
  readonly advance: (now: DateTime.Utc, ended?: DateTime.Utc | undefined) => Walking
  readonly step: (n?: number | undefined) => Walking
  /** One further where that is known: a fixed delay, whose next comes of a run, is never due again. */
  readonly pass: () => Walking
}

/** Never due again. */
export const done: Walking = {
  due: undefined,
  fixedDelay: false,
  advance: () => done,
  step: () => done,
  pass: () => done,
  count: () => 0
}

const count = (cursor: Walking, now: DateTime.Utc, max = Infinity): number => {
  let n = 0
  for (let one = cursor; n < max && isDue(one.due, now); one = one.pass()) n++
  return n
}

/** Instants with numbers. */
export interface Sequence {
  /** The instant of a number; `undefined` where there is none. */
  readonly at: (number: number) => number | undefined
  /** The number of the first instant after `instant`. */
  readonly after: (instant: number) => number
}

/** In a sequence: however far, in one step. */
export class Numbered implements Walking {
  readonly due: DateTime.Utc | undefined
  readonly fixedDelay = false
  private readonly sequence: Sequence
  private readonly number: number
  constructor(sequence: Sequence, number: number) {
    this.sequence = sequence
    this.number = number
    this.due = utcOf(sequence.at(number))
  }
  advance(now: DateTime.Utc): Walking {
    return isDue(this.due, now) ? new Numbered(this.sequence, this.sequence.after(millisOf(now))) : this
  }
  step(n = 1): Walking {
    return this.due === undefined || n === 0 ? this : new Numbered(this.sequence, this.number + n)
  }
  pass(): Walking {
    return this.step()
  }
  count(now: DateTime.Utc, max = Infinity): number {
    return isDue(this.due, now) ? Math.min(max, this.sequence.after(millisOf(now)) - this.number) : 0
  }
}

/** Where each instant is found from the one before. */
export class Sought implements Walking {
  readonly due: DateTime.Utc | undefined
  readonly fixedDelay = false
  private readonly next: (after: number) => number | undefined
  constructor(next: (after: number) => number | undefined, after: number) {
    this.next = next
    this.due = utcOf(next(after))
  }
  advance(now: DateTime.Utc): Walking {
    return isDue(this.due, now) ? new Sought(this.next, millisOf(now)) : this
  }
  step(n = 1): Walking {
    let cursor: Sought = this
    for (; n > 0 && cursor.due !== undefined; n--) cursor = new Sought(this.next, cursor.due.epochMilliseconds)
    return cursor
  }
  pass(): Walking {
    return this.step()
  }
  count(now: DateTime.Utc, max?: number): number {
    return count(this, now, max)
  }
}

/** A fixed delay after the end of the last run. As no run ends at once where instants are milliseconds, it is due a millisecond later at least. */
export class Delayed implements Walking {
  readonly due: DateTime.Utc | undefined
  readonly fixedDelay = true
  private readonly delayOf: (run: number) => number
  private readonly run: number
  constructor(delayOf: (run: number) => number, due: number, run: number) {
    this.delayOf = delayOf
    this.run = run
    this.due = utcOf(due <= latest ? due : undefined)
  }
  advance(now: DateTime.Utc, ended = now): Walking {
    return isDue(this.due, now) ? this.from(Math.max(millisOf(ended), millisOf(now) - this.wait + 1)) : this
  }
  step(n = 1): Walking {
    let cursor: Delayed = this
    for (; n > 0 && cursor.due !== undefined; n--) cursor = cursor.from(cursor.due.epochMilliseconds)
    return cursor
  }
  pass(): Walking {
    return done
  }
  count(now: DateTime.Utc, max = 1): number {
    return isDue(this.due, now) ? Math.min(max, 1) : 0
  }
  private get wait(): number {
    return this.delayOf(this.run + 1)
  }
  private from(ended: number): Delayed {
    return new Delayed(this.delayOf, ended + this.wait, this.run + 1)
  }
}

/** Several at once: due when the first of them is, and once where they coincide. */
export class Merged implements Walking {
  readonly due: DateTime.Utc | undefined
  readonly fixedDelay: boolean
  private readonly cursors: ReadonlyArray<Walking>
  private constructor(cursors: ReadonlyArray<Walking>) {
    this.cursors = cursors
    this.fixedDelay = cursors.some((cursor) => cursor.fixedDelay)
    this.due = cursors.map((cursor) => cursor.due!).reduce((a, b) => a.epochMilliseconds <= b.epochMilliseconds ? a : b)
  }
  static of(cursors: ReadonlyArray<Walking>): Walking {
    const live = cursors.filter((cursor) => cursor.due !== undefined)
    return live.length === 0 ? done : live.length === 1 ? live[0]! : new Merged(live)
  }
  advance(now: DateTime.Utc, ended?: DateTime.Utc): Walking {
    return isDue(this.due, now) ? Merged.of(this.cursors.map((cursor) => cursor.advance(now, ended))) : this
  }
  step(n = 1): Walking {
    let cursor: Walking = this
    for (; n > 0; n--) {
      if (!(cursor instanceof Merged)) return cursor.step(n)
      cursor = cursor.move((one) => one.step())
    }
    return cursor
  }
  pass(): Walking {
    return this.move((one) => one.pass())
  }
  count(now: DateTime.Utc, max?: number): number {
    return count(this, now, max)
  }
  private move(f: (cursor: Walking) => Walking): Walking {
    const due = this.due!.epochMilliseconds
    return Merged.of(this.cursors.map((cursor) => cursor.due!.epochMilliseconds === due ? f(cursor) : cursor))
  }
}

/** Not after `end`, an instant. */
export class Ending implements Walking {
  readonly due: DateTime.Utc
  readonly fixedDelay: boolean
  private readonly cursor: Walking
  private readonly end: number
  private constructor(cursor: Walking, due: DateTime.Utc, end: number) {
    this.cursor = cursor
    this.end = end
    this.due = due
    this.fixedDelay = cursor.fixedDelay
  }
  static of(cursor: Walking, end: number): Walking {
    const due = cursor.due
    return due === undefined || due.epochMilliseconds > end ? done : new Ending(cursor, due, end)
  }
  advance(now: DateTime.Utc, ended?: DateTime.Utc): Walking {
    return isDue(this.due, now) ? Ending.of(this.cursor.advance(now, ended), this.end) : this
  }
  step(n?: number): Walking {
    return Ending.of(this.cursor.step(n), this.end)
  }
  pass(): Walking {
    return Ending.of(this.cursor.pass(), this.end)
  }
  count(now: DateTime.Utc, max?: number): number {
    return this.cursor.count(millisOf(now) > this.end ? DateTime.makeUnsafe(this.end) : now, max)
  }
}

/** `left` more. */
export class Counted implements Walking {
  readonly due: DateTime.Utc
  readonly fixedDelay: boolean
  private readonly cursor: Walking
  private readonly left: number
  private constructor(cursor: Walking, due: DateTime.Utc, left: number) {
    this.cursor = cursor
    this.left = left
    this.due = due
    this.fixedDelay = cursor.fixedDelay
  }
  static of(cursor: Walking, left: number): Walking {
    return left <= 0 || cursor.due === undefined ? done : new Counted(cursor, cursor.due, left)
  }
  advance(now: DateTime.Utc, ended?: DateTime.Utc): Walking {
    if (!isDue(this.due, now)) return this
    const left = this.left - this.count(now)
    return left === 0 ? done : Counted.of(this.cursor.advance(now, ended), left)
  }
  step(n = 1): Walking {
    return n >= this.left ? done : Counted.of(this.cursor.step(n), this.left - n)
  }
  pass(): Walking {
    return Counted.of(this.cursor.pass(), this.left - 1)
  }
  count(now: DateTime.Utc, max = Infinity): number {
    return this.cursor.count(now, Math.min(max, this.left))
  }
}
