/** Until when a stop drains, and until when it waits for what it interrupted: two instants that only ever come nearer. */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** In milliseconds. */
export interface CheckedBudget {
  readonly grace: number
  readonly kill: number
}

/** @internal */
export class Deadline {
  private graceUntil = Infinity
  private killUntil = Infinity
  private readonly nearer = new Set<() => void>()

  /** Whether that changed anything. */
  shorten(clock: Clock.Clock, budget: CheckedBudget): boolean {
    const grace = clock.currentTimeMillisUnsafe() + budget.grace
    const kill = grace + budget.kill
    const shorter = grace < this.graceUntil || kill < this.killUntil
    this.graceUntil = Math.min(this.graceUntil, grace)
    this.killUntil = Math.min(this.killUntil, kill)
    if (shorter) { for (const tell of [...this.nearer]) tell() }
    return shorter
  }

  left(clock: Clock.Clock): CheckedBudget {
    const now = clock.currentTimeMillisUnsafe()
    return {
      grace: Math.max(0, this.graceUntil - now),
      kill: this.killUntil === Infinity ? Infinity : Math.max(0, this.killUntil - Math.max(now, this.graceUntil))
    }
  }

  /** Waits for this; at most until that time is over, or has come nearer. */
  wait(awaited: Effect.Effect<unknown>, part: keyof CheckedBudget, clock: Clock.Clock): Effect.Effect<unknown> {
    const left = this.left(clock)[part]
    const changed = Effect.callback<void>((resume) => {
      const tell = () => {
        this.nearer.delete(tell)
        resume(Effect.void)
      }
      this.nearer.add(tell)
      return Effect.sync(() => this.nearer.delete(tell))
    })
    const waits = [awaited, changed, ...(Number.isFinite(left) ? [Effect.sleep(Duration.millis(left))] : [])]
    // Interruptible on purpose: these are children of whoever drives the stop, not the finalizer that waits for it.
    return Effect.raceAllFirst(waits.map((wait) => Effect.interruptible(wait)))
  }
}
