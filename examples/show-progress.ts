/** I want to see how far it is: on a terminal one line that moves, in a log plain lines. */
// @effect-diagnostics multipleEffectProvide:off
import { Effect } from "effect"
import { RunLog, Scheduler, Task } from "../src/index.ts"

const work = Task.fn("work")(function*(n: number) {
  yield* Effect.sleep(n % 5)
  return n === 7 ? yield* Effect.fail("seven again") : n
})

// Progress goes to standard error unless told otherwise. It listens from outside, so it is provided after the scheduler.
await Effect.forEach(Array(40).keys(), (n) => Effect.ignore(work(n)), { concurrency: "unbounded" }).pipe(
  Effect.provide(Scheduler.layer({ maxParallelism: 4 })),
  Effect.provide(RunLog.progress({ write: (text) => process.stdout.write(text) })),
  Effect.runPromise
)
