/** Nothing more will happen until a clock moves or a latch opens. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"

/** Every other fiber has run until it waits; no time passes. */
export const quiet: Effect.Effect<void> = Effect.gen(function*() {
  for (let turn = 0; turn < 64; turn++) yield* Effect.yieldNow
})

/** Lets `turns` turns of the dispatcher pass: for what must hold at every instant. */
export const turns = (turns: number): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
  })

/** The time an effect takes, in milliseconds of its clock. */
export const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    yield* effect
    return (yield* Clock.currentTimeMillis) - start
  })
