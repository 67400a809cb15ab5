/** I want at most two tasks in the database, whatever else is running. */
import { Effect } from "effect"
import { Concurrency, Scheduler, Task } from "../src/index.ts"

const active = { db: 0, web: 0 }
const peak = { db: 0, web: 0 }

const busy = (kind: "db" | "web") =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      peak[kind] = Math.max(peak[kind], ++active[kind])
    }),
    () => Effect.sleep("5 millis"),
    () => Effect.sync(() => active[kind]--)
  )

const query = Task.make("query", busy("db"), { tags: ["db"] })
const fetchPage = Task.make("fetch page", busy("web"), { tags: ["web"] })

const program = Effect.gen(function*() {
  yield* Task.forEach(Array(20).keys(), (n) => n % 2 === 0 ? query : fetchPage)
  console.log("at most in the database:", peak.db)
  console.log("at most on the web:", peak.web)

  // Limits can be listed, created and changed while the program runs.
  yield* Concurrency.create("db", 5)
  for (const { active, limit, tag } of yield* Concurrency.list) console.log(`${tag}: ${active} of ${limit}`)
})

await program.pipe(
  Effect.provide(Scheduler.layer({ maxParallelism: 16, tagLimits: { db: 2 } })),
  Effect.runPromise
)
