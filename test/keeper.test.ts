/** Leases while the event loop is blocked, on the stores that have a keeper. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Job, JobRunner, Scheduler } from "../src/index.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore } from "../src/queue/JobStore.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"
import { kits, until } from "./suites/Stores.ts"

const Block = Job.make("block", { payload: { millis: Schema.Int } })

/** Computes, and lets nobody else. */
const block = (millis: number) => {
  const end = performance.now() + millis
  while (performance.now() < end);
}

const worker = (handler: Layer.Layer<Job.Registry>, options: JobWorker.Options) =>
  JobWorker.layer(options).pipe(
    Layer.provide(Layer.mergeAll(handler, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: 4 }))
  )

for (const kit of kits.filter(({ name }) => name !== "memory")) {
  const stores = JobQueue.layer().pipe(Layer.provideMerge(kit.layer))

  describe(kit.name, () => {
    it.live("a blocked event loop keeps its lease, and what it runs is run once", () =>
      Effect.gen(function*() {
        let runs = 0
        const handler = Block.toLayer(({ millis }) =>
          Effect.sync(() => {
            runs++
            block(millis)
          })
        )
        const store = yield* JobStore
        yield* Effect.gen(function*() {
          // The thread that keeps the lease has started by then: from the first renewal on it is its own affair.
          yield* JobWorker.awaitIdle
          yield* Effect.sleep("1500 millis")
          const { id } = yield* Block.enqueue({ millis: 2500 })
          yield* until(kit, "it runs", Effect.sync(() => runs > 0))
          assert.strictEqual(yield* store.sweep, 0)
          yield* until(
            kit,
            "it is done",
            Effect.map(store.get(id), (job) => Option.getOrThrow(job).state === "Succeeded")
          )
          const { attempt, crashes } = Option.getOrThrow(yield* store.get(id))
          assert.deepStrictEqual([runs, attempt, crashes], [1, 1, 0])
        }).pipe(Effect.provide(worker(handler, { lease: "1 second" })))
      }).pipe(Effect.provide(stores)))

    it.live("one that is blocked for longer than it may be has lost it, and knows", () =>
      Effect.gen(function*() {
        let runs = 0
        const handler = Block.toLayer(({ millis }) =>
          Effect.suspend(() => {
            if (runs++ > 0) return Effect.void
            block(millis)
            // Its end would be refused; it is interrupted before.
            return Effect.never
          })
        )
        const store = yield* JobStore
        yield* Effect.gen(function*() {
          yield* JobWorker.awaitIdle
          yield* Effect.sleep("1500 millis")
          const { id } = yield* Block.enqueue({ millis: 3000 })
          yield* until(
            kit,
            "it is done",
            Effect.map(store.get(id), (job) => Option.getOrThrow(job).state === "Succeeded")
          )
          const { attempt, crashes } = Option.getOrThrow(yield* store.get(id))
          assert.deepStrictEqual([runs, attempt, crashes], [2, 2, 1])
        }).pipe(Effect.provide(worker(handler, { lease: "1 second", maxBlocked: "400 millis" })))
      }).pipe(Effect.provide(stores)))
  })
}
