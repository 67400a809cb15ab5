/** I want the first answer, or each as it comes, or as many as there are in time. */
import { Effect, Latch, Stream } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

const program = Effect.gen(function*() {
  const latch = yield* Latch.make()
  const fast = Task.make("fast", Effect.succeed("fast answer"))
  const slow = Task.make("slow", Effect.as(latch.await, "slow answer"))

  // A race is Effect's own: the loser is interrupted.
  console.log("race:", yield* Effect.race(slow, fast))

  // Handles outlive the question: the others go on.
  const runs = [yield* Task.fork(slow), yield* Task.fork(fast)]
  const first = yield* TaskRun.awaitAny(runs)
  console.log("first to end:", first.name)

  const { done, pending } = yield* TaskRun.awaitFor(runs, "10 millis")
  console.log(`after 10 ms: ${done.length} done, ${pending.length} pending`)

  yield* latch.open
  yield* Stream.runForEach(
    TaskRun.asCompleted(runs),
    (run) => Effect.map(TaskRun.join(run), (answer) => console.log("completed:", answer))
  )
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 4 })))
