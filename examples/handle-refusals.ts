/** I want to know when work cannot be accepted, and do something else instead. */
import { Effect, Exit, Latch } from "effect"
import { Concurrency, Scheduler, Task } from "../src/index.ts"

const program = Effect.gen(function*() {
  const latch = yield* Latch.make()
  const holder = yield* Task.fork(Task.make("holder", latch.await, { tags: ["db"] }))

  // A task that is refused dies, for most programs never see it. `refusable` puts the refusal into the error type.
  const query = Task.make("query", Effect.succeed("rows"), { tags: ["db"], whenFull: "fail" }).pipe(Task.refusable)
  console.log(
    yield* query.pipe(
      Effect.catchReason("AdmissionError", "WouldWait", ({ limits }) => Effect.succeed(`busy: ${limits}`))
    )
  )

  // A limit to waiting.
  const patient = Task.make("patient", Effect.void, { tags: ["db"], admissionTimeout: "10 millis" }).pipe(
    Task.refusable
  )
  console.log(yield* patient.pipe(Effect.catchTag("AdmissionError", ({ reason }) => Effect.succeed(reason._tag))))

  // A limit of 0 closes a tag at once.
  yield* Concurrency.create("mail", 0)
  const mail = Task.make("mail", Effect.void, { tags: ["mail"] }).pipe(Task.refusable)
  console.log(yield* mail.pipe(Effect.catchTag("AdmissionError", ({ reason }) => Effect.succeed(reason._tag))))

  yield* latch.open
  yield* holder.exit
  console.log(yield* query)

  // Closed: nothing more is accepted.
  yield* Scheduler.close
  console.log(Exit.isFailure(yield* Effect.exit(query)) ? "closed" : "open")
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 4, tagLimits: { db: 1 } })))
