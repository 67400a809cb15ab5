/** I want to count what runs: how many, how long they wait, how full my limits are, where I look at everything else. */
import { Effect, Layer, Metric } from "effect"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { Concurrency, Metrics, Scheduler, Task } from "../src/index.ts"

const save = Task.fn("save", { tags: ["db"] })(function*(order: number) {
  yield* Effect.sleep("5 millis")
  return order === 3 ? yield* Effect.fail("no such order") : order
})

const program = Effect.gen(function*() {
  yield* Effect.forEach([1, 2, 3, 4, 5], (order) => Effect.ignore(save(order)), { concurrency: "unbounded" })

  // No tasks, counted by their tag all the same; the second finds no room.
  const backup = Effect.sleep("5 millis").pipe(Concurrency.withSlot({ tags: ["db"], weight: 2 }))
  const look = Effect.void.pipe(Concurrency.withSlotIfAvailable({ tags: ["db"] }))
  yield* Effect.all([backup, look], { concurrency: 2 })

  // What Prometheus would be told; a server says `PrometheusMetrics.layerHttp()` instead.
  const page = yield* PrometheusMetrics.format()
  for (const line of page.split("\n")) if (/^tasklayer_\w*(total|count|slots)\b/.test(line)) console.log(line)

  // Or one of them, by its name.
  const wait = yield* Metric.value(Metric.withAttributes(Metrics.byTask.wait, { task: "save" }))
  console.log(`the runs of save waited ${wait.sum > 0 ? "a little" : "not at all"}`)
})

await program.pipe(
  Effect.provide(
    Scheduler.layer({ maxParallelism: 8, tagLimits: { db: 2 } }).pipe(Layer.provideMerge(Metrics.layer))
  ),
  Effect.runPromise
)
