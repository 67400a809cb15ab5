/** I want back-pressure: whoever produces faster than the work is done has to wait, or is told, and nothing accepted is lost. */
import { Effect, Layer } from "effect"
import { Scheduler, Supervisor, Worker } from "../src/index.ts"

const save = (line: string) =>
  Effect.andThen(Effect.sleep("10 millis"), Effect.sync(() => console.log(`saved ${line}`)))

const program = Effect.gen(function*() {
  // One line after another; at most two wait.
  const writer = yield* Worker.queue("writer", save, { capacity: 2 })
  yield* writer.start()
  let most = 0
  for (const line of ["a", "b", "c", "d", "e", "f"]) {
    yield* writer.offer(line)
    most = Math.max(most, yield* writer.size)
  }
  console.log("all offered, waiting at most:", most)

  // By default a queue worker handles what it has accepted before it stops.
  yield* writer.stop()
  console.log("after the stop:", (yield* Effect.flip(writer.offer("g")))._tag)

  // Who must not wait asks for a failure, or for the item to be dropped. `order` says what goes first.
  const strict = yield* Worker.queue("strict", save, { capacity: 2, whenFull: "fail" })
  for (const line of ["h", "i", "j"]) {
    const said = yield* Effect.catchTag(strict.offer(line), "QueueFullError", (error) => Effect.succeed(error.message))
    if (said !== true) console.log(said)
  }

  // What is stopped without draining gives back what it has not begun.
  console.log("given back:", yield* strict.stop("finish"))
})

await program.pipe(
  Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(Scheduler.layer({ maxParallelism: 4 })))),
  Effect.runPromise
)
