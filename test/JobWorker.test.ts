import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import { Job, JobRunner, Scheduler, Supervisor, TaskRun } from "../src/index.ts"
import * as JobLimits from "../src/queue/JobLimits.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import * as JobStore from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"

const Add = Job.make("add", { payload: { a: Schema.Int, b: Schema.Int }, success: Schema.Int })

const store = JobQueue.layer().pipe(Layer.provideMerge(JobStoreMemory.layer()))

const worker = <R>(handlers: Layer.Layer<Job.Registry, never, R>, options?: JobWorker.Options) =>
  JobWorker.layer(options).pipe(
    Layer.provideMerge(Layer.mergeAll(handlers, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: options?.concurrency ?? 4 }))
  )

const recordOf = (id: string) => Effect.map(JobQueue.get(id), Option.getOrThrow)

describe("JobWorker", () => {
  it.effect("a job that is put in is run, and its result kept", () =>
    Effect.gen(function*() {
      const { as, id } = yield* Add.enqueue({ a: 1, b: 2 })
      assert.strictEqual(as, "new")
      const job = yield* JobWorker.awaitIdle.pipe(
        Effect.andThen(recordOf(id)),
        Effect.provide(worker(Add.toLayer(({ a, b }) => Effect.succeed(a + b))))
      )
      assert.strictEqual(job.state, "Succeeded")
      assert.strictEqual(job.result, "3")
      assert.strictEqual(job.attempt, 1)
    }).pipe(Effect.provide(store)))

  class Busy extends Schema.TaggedError<Busy>()("Busy", { attempt: Schema.Int }) {}
  const Flaky = Job.make("flaky", {
    error: Busy,
    retry: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 }))
  })

  it.effect("is tried again by its Schedule, each error kept", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const handler = Flaky.toLayer(() =>
        Effect.gen(function*() {
          const { attempt } = yield* TaskRun.CurrentRun
          starts.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
          return yield* new Busy({ attempt })
        })
      )
      yield* Effect.gen(function*() {
        const { id } = yield* Flaky.enqueue(undefined)
        yield* JobWorker.awaitIdle
        for (const wait of [1, 2, 4]) yield* TestClock.adjust(Duration.seconds(wait))
        yield* JobWorker.awaitIdle
        const job = yield* recordOf(id)
        assert.deepStrictEqual(starts, [0, 1000, 3000, 7000])
        assert.strictEqual(job.state, "Dead")
        assert.strictEqual(job.reason, "Failed")
        assert.deepStrictEqual(
          job.errors.map(({ attempt, message }) => [attempt, message]),
          [1, 2, 3, 4].map((n) => [n, "Busy"])
        )
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(store)))
})
