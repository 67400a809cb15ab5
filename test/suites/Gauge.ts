/** How many are inside at once, and the most there ever were. */
import * as Effect from "effect/Effect"

export interface Gauge {
  readonly current: number
  readonly peak: number
  readonly inside: <A, E, R>(effect: Effect.Effect<A, E, R>, weight?: number) => Effect.Effect<A, E, R>
}

export const make = (): Gauge => {
  let current = 0
  let peak = 0
  return {
    get current() {
      return current
    },
    get peak() {
      return peak
    },
    inside: (effect, weight = 1) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          current += weight
          peak = Math.max(peak, current)
        }),
        () => effect,
        () =>
          Effect.sync(() => {
            current -= weight
          })
      )
  }
}
