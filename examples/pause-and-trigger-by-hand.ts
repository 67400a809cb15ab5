/** I want to run a job by hand, to pause it, to pass over its next run, and to see how it stands. */
import { Clock, Effect, Layer, Option } from "effect"
import { Periodic, Scheduler, Task, TaskRun } from "../src/index.ts"

const backup = Task.make("backup", Effect.as(Effect.sleep("10 millis"), "3 files"))

// On the hour.
const Jobs = Periodic.every("1 hour", { anchor: "2026-01-01T00:00Z" })(backup)

const show = (when: string) =>
  Effect.gen(function*() {
    const { next, runs, skipped, state } = yield* Periodic.status("backup")
    const hours = next && Math.ceil((next.epochMilliseconds - (yield* Clock.currentTimeMillis)) / 3_600_000)
    const due = hours === undefined ? "nothing due" : `due within ${hours} h`
    console.log(`${when}: ${state}, ${due}; ${runs} runs, ${skipped} skipped`)
  })

const program = Effect.gen(function*() {
  yield* show("at first")
  yield* Periodic.skip("backup")
  yield* show("next one passed over")
  yield* Periodic.pause("backup")
  yield* show("paused")
  yield* Periodic.resume("backup")
  yield* show("resumed")

  // Now, and what is due stays due. A run like any other, with a handle; and not two at a time.
  const run = Option.getOrThrow(yield* Periodic.trigger("backup"))
  console.log("once more at once:", Option.isSome(yield* Periodic.trigger("backup")))
  yield* show("triggered")
  console.log("the backup:", yield* TaskRun.join(run))

  console.log((yield* Effect.flip(Periodic.trigger("backups"))).message)
})

await program.pipe(
  Effect.provide(Jobs.pipe(Layer.provideMerge(Scheduler.layer({ maxParallelism: 2 })))),
  Effect.runPromise
)
