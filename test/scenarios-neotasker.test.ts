/** NT: what neotasker's supervisor promises of jobs and of its pool; its workers come with `Worker`. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

const stubborn = (duration: "2500 millis") => Effect.uninterruptible(Effect.sleep(duration))

describe("NT", () => {
  it.effect("NT-1 a running supervisor gives a handle at once: of the value, or of the typed failure", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const value = yield* Supervisor.fork(Effect.as(latch.await, 7), { name: "value" })
      const failure = yield* Supervisor.fork(Effect.andThen(latch.await, Effect.fail("no" as const)), {
        name: "failure"
      })
      yield* quiet
      assert.isUndefined(value.pollUnsafe())
      const status = yield* Supervisor.status
      assert.deepStrictEqual(status.members.map((member) => member.name).sort(), ["failure", "value"])
      assert.deepStrictEqual([status.state, status.size], ["running", 2])
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(value), 7)
      assert.strictEqual(yield* Effect.flip(Fiber.join(failure)), "no")
      yield* Supervisor.awaitEmpty
      assert.strictEqual((yield* Supervisor.status).size, 0)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-1 after its scope closed, a supervisor spawns nothing and says so", () =>
    Effect.gen(function*() {
      let ran = 0
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Supervisor.layer({ id: "jobs" }), scope)
      yield* Scope.close(scope, Exit.void)
      const late = yield* Effect.exit(Supervisor.fork(Effect.sync(() => ran++)).pipe(Effect.provideContext(context)))
      const defect = Refusal.defect(late)
      assert.instanceOf(defect, Supervisor.SupervisorClosed)
      assert.strictEqual(defect.supervisor, "jobs")
      yield* quiet
      assert.strictEqual(ran, 0)
    }))

  it.effect("NT-17 stop returns when its limit is over, naming who ignored interruption", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(stubborn("2500 millis"), { name: "stubborn" })
      yield* Supervisor.fork(Effect.never, { name: "obedient" })
      yield* quiet
      let report: Supervisor.Report | undefined
      const stop = yield* Effect.forkChild(elapsed(
        Effect.tap(Supervisor.shutdownWith({ interruptTimeout: "500 millis" }), (it) => {
          report = it
          return Effect.void
        })
      ))
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(report)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 500)
      assert.deepStrictEqual(report, { drained: 0, interrupted: 1, abandoned: 1, stragglers: ["stubborn"] })
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-17 without a limit, stop waits", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(stubborn("2500 millis"), { name: "stubborn" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("2499 millis")
      assert.isUndefined(stop.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 2500)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-17 all that a scheduler runs share one budget", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach(Arr.range(1, 4), (i) =>
        Task.fork(Task.make(`job ${i}`, stubborn("2500 millis"))))
      yield* quiet
      let report: Supervisor.Report | undefined
      const stop = yield* Effect.forkChild(elapsed(
        Effect.tap(Scheduler.closeWith({ gracePeriod: "200 millis", interruptTimeout: "300 millis" }), (it) => {
          report = it
          return Effect.void
        })
      ))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* Fiber.join(stop), 500)
      assert.strictEqual(report?.abandoned, 4)
      assert.deepStrictEqual([...report!.stragglers].sort(), ["job 1", "job 2", "job 3", "job 4"])
      for (const run of runs) {
        const state = yield* run.state
        assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Abandoned")
        assert.isTrue(Refusal.interrupted(yield* run.exit))
      }
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(pool(4))))

  it.effect("NT-23 raised, a pool starts what waits at once; lowered, it settles as its holders end", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const started: Array<number> = []
      const service = yield* Scheduler.Scheduler
      const latches = Arr.makeBy(7, () => Latch.makeUnsafe())
      const runs = yield* Effect.forEach(
        latches,
        (latch, i) =>
          Task.fork(Task.make("job", gauge.inside(Effect.andThen(Effect.sync(() => started.push(i)), latch.await))))
      )
      yield* quiet
      assert.deepStrictEqual(started, [0, 1])
      assert.strictEqual(yield* elapsed(Effect.andThen(Scheduler.resize(4), quiet)), 0)
      assert.deepStrictEqual(started, [0, 1, 2, 3])
      assert.strictEqual((yield* service.stats).maxParallelism, 4)

      yield* Scheduler.resize(1)
      assert.strictEqual((yield* service.stats).maxParallelism, 1)
      yield* quiet
      assert.strictEqual(gauge.current, 4)
      for (const i of [0, 1, 2]) {
        yield* latches[i]!.open
        yield* quiet
        assert.strictEqual(gauge.current, 3 - i)
        assert.strictEqual(started.length, 4)
      }
      for (const i of [3, 4, 5]) {
        yield* latches[i]!.open
        yield* quiet
        assert.deepStrictEqual([gauge.current, started.at(-1)], [1, i + 1])
      }
      yield* latches[6]!.open
      yield* TaskRun.awaitAll(runs)
      assert.strictEqual(gauge.peak, 4)
    }).pipe(Effect.provide(pool(2))))

  for (const size of [0, -1, 2.5, NaN]) {
    it.effect(`NT-23 a pool of ${size} is a typed error, and the pool stays what it was`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Scheduler.resize(size))
        assert.strictEqual(error._tag, "InvalidOptionError")
        assert.deepStrictEqual([error.field, error.value], ["maxParallelism", size])
        assert.strictEqual((yield* Scheduler.stats).maxParallelism, 2)
      }).pipe(Effect.provide(pool(2))))
  }
})
