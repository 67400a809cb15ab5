/** I want SIGTERM to let running work finish for a while, and then to know what did not. */
import { Effect, Layer, ManagedRuntime } from "effect"
import { RunEvent, Scheduler, Task } from "../src/index.ts"

const quick = Task.make(
  "quick",
  Effect.andThen(Effect.sleep("50 millis"), Effect.sync(() => console.log("quick: done")))
)
const endless = Task.make(
  "endless",
  Effect.never.pipe(Effect.onInterrupt(() => Effect.sync(() => console.log("endless: interrupted"))))
)

// Whoever wants the report listens for it.
const printReport = Layer.succeed(RunEvent.Listeners, [(event: RunEvent.RunEvent) => {
  if (event._tag !== "RunnerStopped") return
  const { abandoned, drained, interrupted } = event.report
  console.log(`report: ${drained} drained, ${interrupted} interrupted, ${abandoned} abandoned`)
}])

const runtime = ManagedRuntime.make(
  Scheduler.layer({ maxParallelism: 8, gracePeriod: "300 millis", interruptTimeout: "5 seconds" }).pipe(
    Layer.provide(printReport)
  )
)

process.once("SIGTERM", async () => {
  console.log("SIGTERM: no new work")
  await runtime.dispose()
})

// What is forked belongs to the scheduler and is drained. Work that a fiber awaits ends with that fiber instead.
await runtime.runPromise(Effect.all([Task.fork(quick), Task.fork(endless)]))
process.kill(process.pid, "SIGTERM")
