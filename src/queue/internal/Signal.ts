/** One waiter, and any number of reasons to wake it: a signal that nobody waits for is kept, several are one. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

export class Signal {
  private isGiven = false
  private waiter: (() => void) | undefined

  readonly give = (): void => {
    this.isGiven = true
    const waiter = this.waiter
    this.waiter = undefined
    waiter?.()
  }

  private readonly given = Effect.callback<void>((resume) => {
    if (this.isGiven) return resume(Effect.void)
    // Whoever gives it is in the middle of something: the waiter goes on after that.
    this.waiter = () => resume(Effect.yieldNow)
    return Effect.sync(() => void (this.waiter = undefined))
  })

  /** Waits for it, at most so many milliseconds where that is said, and takes it. */
  take(within?: number): Effect.Effect<void> {
    const { given } = this
    const waited = within === undefined ? given : Effect.timeoutOption(given, Duration.millis(within))
    return Effect.map(waited, () => void (this.isGiven = false))
  }
}
