/** One timer for many: a binary heap by time, and one sleeping fiber for its head. What waits is an entry and nothing else. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** What waits for a time. */
export interface Entry {
  /** Kept by the timer: milliseconds since 1970, and where it is in the heap; -1: it does not wait. */
  at: number
  place: number
  /** Those of one instant are called in this order. */
  readonly seq: number
  readonly context: Context.Context<never>
  /** It is time. Called once; to wait again it is set again. */
  readonly fire: (now: number) => void
}

/** Never asleep for longer: a clock may be set forward, a laptop closed. */
const LONGEST = 60_000
/** A clock that went back by less was only corrected. */
const SET_BACK = 1_000
/** So many are called before others have their turn: of runs that end before the next are called, little outlives the young generation. */
const A_TURN = 64

/** Invariant: outside of `wake` there is a sleeper exactly when something waits, and it wakes no later than the head is due. */
export class Timer {
  private readonly heap: Array<Entry> = []
  private sleeper: Fiber.Fiber<void> | undefined
  /** When it wakes, by both clocks. */
  private wakesAt = Infinity
  private sleepsUntil = 0n
  /** When its head is due, and not before that. */
  private forHead = false
  private waking = false
  /** That of the first entry; all of one timer are taken to have the same. */
  private clock: Clock.Clock | undefined
  /** When it last looked, by both clocks. */
  private wall = NaN
  private monotonic = 0n
  private readonly onSetBack: (by: number) => void
  constructor(onSetBack: (by: number) => void) {
    this.onSetBack = onSetBack
  }

  /**
   * The time, by the clock of `context`. The monotonic clock tells how far it should have come since it was last asked: when it was set back,
   * all are told before anything is decided on it. The sleeper goes by the monotonic one, and wakes when it should.
   */
  now(context: Context.Context<never>): number {
    const clock = this.clock ??= Context.get(context, Clock.Clock)
    const now = clock.currentTimeMillisUnsafe()
    const monotonic = clock.monotonicTimeNanosUnsafe()
    const by = this.wall + Number(monotonic - this.monotonic) / 1e6 - now
    this.wall = now
    this.monotonic = monotonic
    if (by > SET_BACK) {
      const { waking } = this
      this.waking = true
      this.onSetBack(by)
      this.waking = waking
    }
    return now
  }

  /** Calls the entry at that time instead of when it was to be called before; `undefined`: not at all. */
  set(entry: Entry, at: number | undefined): void {
    if (at === undefined) {
      if (entry.place < 0) return
      this.remove(entry)
    } else if (entry.place < 0) {
      entry.at = at
      this.up(entry, this.heap.length)
    } else if (at !== entry.at) {
      entry.at = at
      this.up(entry, entry.place)
      this.down(entry, entry.place)
    }
    this.arm()
  }

  private arm(): void {
    if (this.waking) return
    const head = this.heap[0]
    if (head === undefined) return this.disarm()
    const now = this.now(head.context)
    // Asleep for the head, or for a time before it that is no one's: it wakes when it should, unless the clock alone has come past that, set
    // forward or after it stood still. Overdue by both clocks it is about to wake, after what was to wake before it.
    const kept = this.sleeper !== undefined && (head.at === this.wakesAt || (head.at > this.wakesAt && !this.forHead))
    if (kept && !(this.wakesAt <= now && this.monotonic < this.sleepsUntil)) return
    if (head.at <= now) return this.wake(head)
    this.sleep(head, now, Math.min(head.at - now, LONGEST))
  }

  private sleep(head: Entry, now: number, ms: number): void {
    this.disarm()
    this.forHead = ms > 0 && now + ms === head.at
    // Who yields is not overtaken by itself.
    this.wakesAt = ms === 0 ? -Infinity : now + ms
    this.sleepsUntil = this.monotonic + BigInt(Math.ceil(ms)) * 1_000_000n
    const wait = ms === 0 ? Effect.yieldNow : this.clock!.sleep(Duration.millis(ms))
    const sleeper = Effect.runForkWith(head.context)(wait)
    this.sleeper = sleeper
    sleeper.addObserver(() => {
      if (this.sleeper === sleeper) this.wake(head)
    })
  }

  private disarm(): void {
    const { sleeper } = this
    this.sleeper = undefined
    this.wakesAt = Infinity
    sleeper?.interruptUnsafe()
  }

  private wake(by: Entry): void {
    this.disarm()
    this.waking = true
    const now = this.now(by.context)
    let left = A_TURN
    for (let head = this.heap[0]; head !== undefined && head.at <= now && left > 0; head = this.heap[0], left--) {
      this.remove(head)
      head.fire(now)
    }
    this.waking = false
    if (left === 0 && this.heap.length > 0) this.sleep(this.heap[0]!, now, 0)
    else this.arm()
  }

  // ─── the heap: no entry is before the one above it

  private up(entry: Entry, place: number): void {
    const { heap } = this
    while (place > 0) {
      const above = heap[(place - 1) >> 1]!
      if (!before(entry, above)) break
      this.put(above, place)
      place = (place - 1) >> 1
    }
    this.put(entry, place)
  }

  private down(entry: Entry, place: number): void {
    const { heap } = this
    for (;;) {
      let below = 2 * place + 1
      if (below >= heap.length) break
      if (below + 1 < heap.length && before(heap[below + 1]!, heap[below]!)) below++
      if (!before(heap[below]!, entry)) break
      this.put(heap[below]!, place)
      place = below
    }
    this.put(entry, place)
  }

  private put(entry: Entry, place: number): void {
    this.heap[place] = entry
    entry.place = place
  }

  private remove(entry: Entry): void {
    const { place } = entry
    entry.place = -1
    const last = this.heap.pop()!
    if (last === entry) return
    this.up(last, place)
    this.down(last, last.place)
  }
}

const before = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.seq < b.seq)
