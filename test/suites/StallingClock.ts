/** Clocks as bad as real ones, over the test clock: sleeps that wake late, and a time of day that is changed. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** From and to: what would have woken in between wakes at `to`, as after a blocked event loop or a suspended laptop. */
export type Stall = readonly [from: number, to: number]

/** Nothing wakes during a stall. */
export const stalling =
  (stalls: ReadonlyArray<Stall>) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    withClock(effect, (clock) => {
      const settle: Effect.Effect<void> = Effect.suspend(() => {
        const now = clock.currentTimeMillisUnsafe()
        const stall = stalls.find(([from, to]) => from <= now && now < to)
        return stall === undefined
          ? Effect.void
          : Effect.andThen(clock.sleep(Duration.millis(stall[1] - now)), settle)
      })
      return { ...clock, sleep: (duration) => Effect.andThen(clock.sleep(duration), settle) }
    })

/** The time of day is off by so much; sleeps and the monotonic clock are not. */
export const skewed = (by: () => number) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  withClock(effect, (clock) => {
    const currentTimeMillisUnsafe = () => clock.currentTimeMillisUnsafe() + by()
    return { ...clock, currentTimeMillisUnsafe, currentTimeMillis: Effect.sync(currentTimeMillisUnsafe) }
  })

/** Tells of each sleep, in milliseconds. */
export const watched =
  (onSleep: (millis: number) => void) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    withClock(effect, (clock) => ({
      ...clock,
      sleep: (duration) => {
        onSleep(Duration.toMillis(duration))
        return clock.sleep(duration)
      }
    }))

// The test clock is an object of functions: what is spread of it still moves it.
const withClock = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  change: (clock: Clock.Clock) => Clock.Clock
): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.Clock, (clock) => Effect.provideService(effect, Clock.Clock, change(clock)))
