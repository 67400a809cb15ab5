/** I want to know what a waiting task is waiting for, and who has it. */
import { Effect, Latch, Option } from "effect"
import { Scheduler, Task } from "../src/index.ts"

const program = Effect.gen(function*() {
  const latch = yield* Latch.make()
  const backup = yield* Task.fork(Task.make("backup", latch.await, { tags: ["db"] }))
  const query = yield* Task.fork(Task.make("query", Effect.void, { tags: ["db"] }), { id: "query-1" })

  const state = yield* query.state
  console.log("state:", state._tag)

  const why = Option.getOrThrow(yield* Scheduler.why(query.id))
  console.log(`${why.run} waits for "${why.limit}", held by ${why.holders.map((holder) => holder.name).join(", ")}`)

  for (const run of yield* Scheduler.runs) console.log(`${run.name}: ${(yield* run.state)._tag}`)

  yield* latch.open
  yield* Effect.all([backup.exit, query.exit])
  console.log("state:", (yield* query.state)._tag)
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 8, tagLimits: { db: 1 } })))
