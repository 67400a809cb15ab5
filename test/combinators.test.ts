/** What the combinators of Task and TaskRun make of any input. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import { quiet } from "./suites/Quiet.ts"
import { tagOf } from "./suites/Reading.ts"
import * as Runner from "./suites/Runner.ts"
import { pool } from "./suites/Runner.ts"

describe("combinators", () => {
  const double = Task.fn("double")(function*(n: number) {
    yield* Effect.yieldNow
    return n * 2
  })
  for (const [name, layer] of Runner.every) {
    it.effect(`empty, single and duplicate input on ${name}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Task.all([]), [])
        assert.deepStrictEqual(yield* Task.all({}), {})
        assert.deepStrictEqual(yield* Task.forEach([], double), [])
        assert.deepStrictEqual(yield* TaskRun.awaitAll([]), [])
        assert.deepStrictEqual(yield* Stream.runCollect(TaskRun.asCompleted([])), [])
        const parted = yield* TaskRun.awaitFor([], 0)
        assert.deepStrictEqual([parted.done.length, parted.pending.length], [0, 0])
        const task = double(2)
        assert.deepStrictEqual(yield* Task.all([task, task, task]), [4, 4, 4])
        assert.deepStrictEqual(yield* Task.forEach([1, 1, 2], double), [2, 2, 4])
        const run = yield* Task.fork(task)
        assert.deepStrictEqual(yield* TaskRun.awaitAll([run, run]), [Exit.succeed(4), Exit.succeed(4)])
        assert.deepStrictEqual((yield* Stream.runCollect(TaskRun.asCompleted([run, run]))).map((run) => run.id), [
          run.id,
          run.id
        ])
        assert.strictEqual((yield* TaskRun.awaitAny([run, run])).id, run.id)
      }).pipe(Effect.provide(layer)))

    it.effect(`all takes a tuple, an iterable or a record on ${name}`, () =>
      Effect.gen(function*() {
        const tuple: [number, string] = yield* Task.all([double(1), Task.make("text", Effect.succeed("two"))])
        const record: { a: number; b: string } = yield* Task.all({
          a: double(1),
          b: Task.make("text", Effect.succeed("b"))
        })
        const list: Array<number> = yield* Task.all(new Set([double(1), double(2)]))
        assert.deepStrictEqual([tuple, record, list], [[2, "two"], { a: 2, b: "b" }, [2, 4]])
      }).pipe(Effect.provide(layer)))

    it.effect(`forEach is data-last too, gives the index, and keeps to its own concurrency on ${name}`, () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const sum = (n: number, i: number) => Task.make("sum", gauge.inside(Effect.as(Effect.yieldNow, n + i)))
        const sums = yield* Task.forEach([10, 20, 30], sum, { concurrency: 1 })
        assert.deepStrictEqual(sums, [10, 21, 32])
        assert.strictEqual(gauge.peak, 1)
        assert.deepStrictEqual(yield* Task.forEach((n: number) => double(n))([1, 2]), [2, 4])
      }).pipe(Effect.provide(layer)))
  }

  it.effect("awaitAny of none is never", () =>
    Effect.gen(function*() {
      const waiting = yield* Effect.forkChild(TaskRun.awaitAny([]))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(waiting.pollUnsafe())
      yield* Fiber.interrupt(waiting)
    }))

  it.effect("asCompleted gives the handles in the order they end", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach([30, 10, 20], (millis) =>
        Task.fork(Task.make(`${millis}`, Effect.sleep(millis))))
      const names = yield* Effect.forkChild(Stream.runCollect(Stream.map(TaskRun.asCompleted(runs), (run) =>
        run.name)))
      yield* TestClock.adjust("30 millis")
      assert.deepStrictEqual(yield* Fiber.join(names), ["10", "20", "30"])
    }).pipe(Effect.provide(pool(3))))

  it.effect("all fails fast: what runs is interrupted, what waits never starts, and the first error is told", () =>
    Effect.gen(function*() {
      let started = 0
      const slow = Task.make("slow", Effect.andThen(Effect.sync(() => started++), Effect.never))
      const failing = Task.make("failing", Effect.andThen(Effect.sleep("1 second"), Effect.fail("first" as const)))
      const all = yield* Effect.forkChild(Effect.flip(Task.all([slow, failing, slow, slow])))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(all), "first")
      assert.strictEqual(started, 1)
      const stats = yield* Scheduler.stats
      assert.deepStrictEqual([stats.active, stats.queued], [0, 0])
    }).pipe(Effect.provide(pool(2))))

  it.effect("a race is Effect.race of two tasks: the loser's slot is free again", () =>
    Effect.gen(function*() {
      const fast = Task.make("fast", Effect.as(Effect.sleep("1 second"), "fast"))
      const slow = Task.make("slow", Effect.as(Effect.sleep("1 hour"), "slow"))
      const race = yield* Effect.forkChild(Effect.race(slow, fast))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(race), "fast")
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(2))))

  it.effect("a delayed start is Effect.delay outside the task: no slot is held meanwhile", () =>
    Effect.gen(function*() {
      const later = yield* Effect.forkChild(Effect.delay(Task.make("later", Effect.succeed(1)), "1 hour"))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).active, 0)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* Fiber.join(later), 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("tags of the definition and of the call merge; priority, weight and key are replaced", () =>
    Effect.gen(function*() {
      const task = Task.make("task", TaskRun.CurrentRun, { tags: ["a"], priority: "low", weight: 1 }).pipe(
        Task.withTags("b", "c"),
        Task.withPriority("high"),
        Task.withWeight(2),
        Task.withKey("tenant")
      )
      assert.strictEqual(task.name, "task")
      assert.deepStrictEqual([...task.demand.tags!].sort(), ["a", "b", "c"])
      assert.deepStrictEqual([task.demand.priority, task.demand.weight, task.demand.key], ["high", 2, "tenant"])
      const run = yield* task
      assert.deepStrictEqual([...run.tags].sort(), ["a", "b", "c"])
    }).pipe(Effect.provide(pool(2))))

  it.effect("once is interrupted only with all who wait, and remembers failures too", () =>
    Effect.gen(function*() {
      let ran = 0
      const latch = yield* Latch.make()
      const lazy = yield* Task.once(
        Task.make("lazy", Effect.andThen(Effect.sync(() => ++ran), Effect.as(latch.await, "done")))
      )
      const one = yield* Effect.forkChild(lazy)
      const two = yield* Effect.forkChild(lazy)
      yield* quiet
      yield* Fiber.interrupt(one)
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(two), "done")
      assert.strictEqual(yield* lazy, "done")
      const failing = yield* Task.once(Task.make("failing", Effect.suspend(() => Effect.fail(++ran))))
      assert.deepStrictEqual([yield* Effect.flip(failing), yield* Effect.flip(failing)], [2, 2])
    }).pipe(Effect.provide(pool(2))))

  it.effect("Task.fn takes a generator or an effect, and each call is a task of that name", () =>
    Effect.gen(function*() {
      const generated = Task.fn("generated", { tags: ["t"] })(function*(n: number) {
        return yield* Effect.succeed(n)
      })
      const effectful = Task.fn("effectful")((n: number) => Effect.succeed(n))
      assert.deepStrictEqual([generated(1).name, effectful(1).name], ["generated", "effectful"])
      assert.deepStrictEqual(generated(1).demand.tags, ["t"])
      assert.deepStrictEqual([yield* generated(1), yield* effectful(2)], [1, 2])
    }).pipe(Effect.provide(pool(2))))

  it.effect("inline, fork returns a handle that has ended, whatever it forks below", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const task = Task.make(
        "parent",
        Effect.gen(function*() {
          order.push("parent")
          const child = yield* Task.fork(Task.make("child", Effect.sync(() => void order.push("child"))))
          order.push(yield* tagOf(child))
        })
      )
      const run = yield* Task.fork(task)
      order.push(yield* tagOf(run))
      assert.deepStrictEqual(order, ["parent", "child", "Finished", "Finished"])
    }).pipe(Effect.provide(Scheduler.layerInline)))
})
