/** I want a job at 07:00 in Madrid, Monday to Friday, in winter and in summer. */
import { DateTime, Effect, Latch, Layer } from "effect"
import { Periodic, Scheduler, Task, Trigger } from "../src/index.ts"

const tz = "Europe/Madrid"

// A trigger is a value, and says when it is due without being started. On 29 March the clocks go forward.
const atSeven = Trigger.cron("0 7 * * mon-fri", { tz })
console.log(Trigger.describe(atSeven))
for (const due of Trigger.upcoming(atSeven, 3, "2026-03-26T12:00Z")) console.log("due", DateTime.formatIso(due))

const reported = Latch.makeUnsafe()

const report = Task.make(
  "report",
  Effect.gen(function*() {
    const due = yield* Periodic.DueAt
    console.log("a report, due on the second:", due !== undefined && due.epochMilliseconds % 1000 === 0)
    yield* reported.open
  })
)

// Nobody wants to wait until seven for an example: six fields begin with the second.
const Jobs = Layer.mergeAll(
  Periodic.layer(report, atSeven),
  Periodic.cron("* * * * * *", { tz, times: 1, name: "report on the next second" })(report)
).pipe(Layer.provide(Scheduler.layer({ gracePeriod: "5 seconds" })))

// A server says `Layer.launch(Jobs)` here.
await Effect.runPromise(Effect.provide(reported.await, Jobs))
