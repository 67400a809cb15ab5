/** A computation that never ends is interrupted like anything else: its thread is killed, the other one goes on, and a spare takes its place. */
import { Effect, Fiber, Layer, Schema } from "effect"
import { isMainThread } from "node:worker_threads"
import { Job } from "../src/index.ts"
import { ThreadHost, ThreadRunner } from "../src/threads/index.ts"

const Spin = Job.make("spin")
const Sum = Job.make("sum", { payload: { upTo: Schema.Int }, success: Schema.Int })

const spin = Spin.toLayer(() =>
  Effect.sync(() => {
    for (;;);
  })
)
const sum = Sum.toLayer(({ upTo }) =>
  Effect.gen(function*() {
    let total = 0
    for (let n = 1; n <= upTo; n++) {
      total += n
      if (n % 10 === 0) yield* Effect.sleep("10 millis")
    }
    return total
  })
)

if (!isMainThread) ThreadHost.run(Layer.mergeAll(spin, sum))
else {
  const program = Effect.gen(function*() {
    const bystander = yield* Effect.forkChild(Sum.execute({ upTo: 100 }))
    const spinning = yield* Spin.fork(undefined)
    yield* Effect.sleep("50 millis")
    yield* spinning.interrupt
    const state = yield* spinning.state
    console.log("spin:", state._tag === "Finished" ? state.outcome._tag : state._tag)
    console.log("sum up to 10:", yield* Sum.execute({ upTo: 10 }))
    console.log("sum up to 100:", yield* Fiber.join(bystander))
    const { active, allocated } = yield* ThreadRunner.stats
    console.log(`${active} active, ${allocated} allocated`)
  })
  const threads = ThreadRunner.layer({ entry: new URL(import.meta.url), size: 2 })
  await program.pipe(Effect.provide(threads), Effect.runPromise)
}
