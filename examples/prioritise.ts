/** I want urgent work to go first, and one customer's thousand jobs not to shut out another's two. */
import { Effect, Latch } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

const say = (text: string) => Task.make("say", Effect.sync(() => console.log(text)))

const program = Effect.gen(function*() {
  // One slot, and it is taken: what follows has to wait, so its order shows.
  const latch = yield* Latch.make()
  const first = yield* Task.fork(Task.make("first", latch.await))

  const waiting = yield* Effect.forEach([
    say("low: the monthly report").pipe(Task.withPriority("low")),
    say("normal, Ann: 1").pipe(Task.withKey("Ann")),
    say("normal, Ann: 2").pipe(Task.withKey("Ann")),
    say("normal, Bob: 1").pipe(Task.withKey("Bob")),
    say("critical: the alarm").pipe(Task.withPriority("critical")),
    say("5: between critical and high").pipe(Task.withPriority(5))
  ], (task) => Task.fork(task))

  yield* latch.open
  yield* TaskRun.awaitAll([first, ...waiting])
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 1 })))
