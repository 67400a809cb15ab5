/** I want what blocks for long in a lane of its own, so that nothing else ever waits for it. */
import { Effect, Latch } from "effect"
import { Lanes, Task, TaskRun, Worker } from "../src/index.ts"

const latch = Latch.makeUnsafe()
const blocking = Task.make("export", latch.await)
const page = Task.make("page", Effect.map(TaskRun.CurrentRun, ({ lane }) => console.log(`a page, in lane ${lane}`)))

const program = Effect.gen(function*() {
  // Five exports, and one slot for them.
  const exports = yield* Effect.forEach(Array(5).keys(), () => Lanes.fork("exports")(blocking))
  const { active, queued } = yield* Effect.flatMap(Lanes.get("exports"), (lane) => lane.stats)
  console.log(`exports: ${active} active, ${queued} queued`)

  // Who names no lane is in the default one, which has not noticed.
  yield* page

  // A worker runs in the lane it names.
  const cleaned = Latch.makeUnsafe()
  const cleaner = yield* Worker.make("cleaner", Effect.andThen(page, cleaned.open), { lane: "exports", times: 1 })
  yield* cleaner.start()
  console.log(`cleaner: ${(yield* cleaner.status).state}`)

  // Lanes come and go while the program runs.
  yield* Lanes.add("mail", { maxParallelism: 2 })
  yield* Lanes.run("mail")(page)
  console.log((yield* Effect.flip(Lanes.run("nowhere")(page))).message)

  yield* latch.open
  yield* TaskRun.awaitAll(exports)
  yield* cleaned.await
  for (const { isDefault, name } of yield* Lanes.list) console.log(isDefault ? `${name}, the default` : name)
})

await program.pipe(
  Effect.provide(Lanes.layer({ lanes: { web: { maxParallelism: 8 }, exports: { maxParallelism: 1 } } })),
  Effect.runPromise
)
