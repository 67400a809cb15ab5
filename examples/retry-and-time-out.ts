/** I want a task tried again when it fails, and given up when it takes too long. */
import { Effect, Schedule } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

const flaky = Task.make(
  "flaky",
  Effect.gen(function*() {
    const { attempt } = yield* TaskRun.CurrentRun
    console.log(`attempt ${attempt}`)
    return attempt < 3 ? yield* Effect.fail("not yet") : "it worked"
  })
)

const program = Effect.gen(function*() {
  // One run with several attempts. It holds no slot while it waits for the next one.
  console.log(yield* flaky.pipe(Task.withRetry(Schedule.exponential("1 millis").pipe(Schedule.upTo({ times: 5 })))))

  // Any policy that Effect.retry takes; a timeout is a failure like any other, and is tried again as well.
  const slow = Task.make("slow", Effect.never)
  console.log(
    yield* slow.pipe(
      Task.withTimeout("10 millis"),
      Task.withRetry({ times: 1 }),
      Effect.catchTag("TimeoutError", () => Effect.succeed("given up after two attempts"))
    )
  )
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 1 })))
