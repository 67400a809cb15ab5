/** I want to give a running program more room, or less, without a restart. */
import { Effect, Latch } from "effect"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"

const show = (when: string) =>
  Effect.map(Scheduler.stats, ({ active, maxParallelism, queued }) => {
    console.log(`${when}: ${active} active of ${maxParallelism}, ${queued} queued`)
  })

const program = Effect.gen(function*() {
  const latch = yield* Latch.make()
  const runs = yield* Effect.forEach(
    Array(6).keys(),
    (n) => Task.fork(Task.make(`job ${n}`, latch.await, { tags: ["db"] }))
  )
  yield* show("at first")

  // More room starts waiting work at once.
  yield* Scheduler.resize(5)
  yield* show("after resize(5)")

  // Less room disturbs nobody: what runs goes on, nothing new starts before there is room.
  yield* Scheduler.resize(1)
  yield* show("after resize(1)")

  // The limit of a tag is changed where limits live.
  yield* Scheduler.resize("unbounded")
  yield* Concurrency.create("db", 6)
  yield* show("unbounded, and 6 in the database")

  yield* latch.open
  yield* TaskRun.awaitAll(runs)
  yield* show("at the end")
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 2, tagLimits: { db: 4 } })))
