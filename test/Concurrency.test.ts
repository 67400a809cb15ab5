/** Waits that become endless while nobody begins one. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Latch } from "effect"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"
it.effect(
  "a limit lowered under a holder that waits for another ends the wait that became endless",
  () =>
    Effect.gen(function*() {
      yield* Concurrency.create("gpu", { limit: 2, whileWaiting: "hold" })
      const gate = yield* Latch.make()
      const blocker = yield* Task.fork(Task.make("blocker", gate.await, { tags: ["gpu"] }))
      let q: any
      const p = yield* Task.fork(
        Task.make("p", Effect.andThen(Effect.yieldNow, Effect.suspend(() => TaskRun.join(q))), { tags: ["gpu"] })
      )
      q = yield* Task.fork(Task.make("q", Effect.succeed(1), { tags: ["gpu"] }))
      yield* quiet
      assert.strictEqual((yield* p.state)._tag, "Suspended")
      yield* Concurrency.create("gpu", { limit: 1, whileWaiting: "hold" })
      yield* gate.open
      const exit: any = yield* p.exit
      assert.strictEqual(exit.cause.reasons[0].defect.reason._tag, "Deadlock")
      yield* TaskRun.join(q)
      yield* TaskRun.join(blocker)
    }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 4 }))),
  3000
)
it.effect(
  "a joiner that holds what a run needs for its next attempt is refused, and the run goes on",
  () =>
    Effect.gen(function*() {
      yield* Concurrency.create("gpu", 1)
      const gate = yield* Latch.make()
      const go = yield* Latch.make()
      let n = 0
      const q = yield* Task.fork(
        Task.make(
          "q",
          Effect.suspend(() => ++n === 1 ? Effect.andThen(gate.await, Effect.fail("once")) : Effect.succeed(n)),
          { tags: ["gpu"] }
        ).pipe(Task.withRetry({ times: 2 }))
      )
      const fiber = yield* Effect.forkChild(
        Task.make("p", Effect.andThen(go.await, Concurrency.withSlot({ tags: ["cpu", "gpu"] })(TaskRun.join(q))))
      )
      yield* quiet
      yield* go.open
      yield* quiet
      yield* gate.open
      const exit: any = yield* Fiber.await(fiber)
      assert.deepStrictEqual(exit.cause.reasons[0].defect.reason, {
        _tag: "Deadlock",
        cycle: ["p", "q", "gpu", "cpu+gpu"]
      })
      assert.strictEqual(yield* TaskRun.join(q), 2)
    }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 4 }))),
  3000
)

it.effect("lending what a lowered limit would never give back is refused", () =>
  Effect.gen(function*() {
    yield* Concurrency.create("b", { limit: 1, whileWaiting: "hold" })
    yield* Concurrency.create("c", 2)
    const go = yield* Latch.make()
    const outside = yield* Latch.make()
    const a = yield* Task.fork(
      Task.make("a", Effect.andThen(go.await, Concurrency.lend(outside.await)), { tags: ["b", "c"] })
    )
    const inner = Concurrency.withSlot({ tags: ["b"] })(Effect.succeed("had both"))
    const s = yield* Task.fork(Task.make("s", Concurrency.withSlot({ tags: ["c"] })(inner)))
    yield* quiet
    yield* Concurrency.create("c", 1)
    yield* go.open
    yield* outside.open
    yield* quiet
    const exit: any = (yield* a.state)._tag === "Finished" ? yield* a.exit : undefined
    assert.strictEqual(exit?.cause.reasons[0].defect.reason._tag, "Deadlock")
    assert.strictEqual(yield* TaskRun.join(s), "had both")
  }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 4 }))), 3000)

it.effect(
  "a run goes on without the lowered tag that whoever has the rest of it would never give back",
  () =>
    Effect.gen(function*() {
      yield* Concurrency.create("c", { limit: 2, whileWaiting: "hold" })
      yield* Concurrency.create("d", 2)
      const outside = yield* Latch.make()
      const over = yield* Latch.make()
      const a = yield* Task.fork(Task.make("a", Concurrency.lend(outside.await), { tags: ["c", "d"] }))
      const inner = Concurrency.withSlot({ tags: ["d"] })(
        Concurrency.withSlot({ tags: ["c"] })(Effect.succeed("had both"))
      )
      const child = Task.make("child", inner, { tags: ["d"] })
      const parent = yield* Task.fork(
        Task.make("parent", Effect.tap(Task.fork(child), () => over.await), { tags: ["c"] })
      )
      yield* quiet
      yield* Concurrency.create("c", { limit: 1, whileWaiting: "hold" })
      yield* Concurrency.create("d", 1)
      yield* outside.open
      yield* quiet
      assert.strictEqual((yield* a.state)._tag, "Suspended")
      // The child lived on its parent's part of c; from here on it asks for one of its own, which `a` holds.
      yield* over.open
      const run = yield* TaskRun.join(parent)
      yield* TaskRun.join(a)
      assert.strictEqual(yield* TaskRun.join(run), "had both")
      for (const tag of yield* Concurrency.list) assert.strictEqual(tag.active, 0)
    }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 4 }))),
  3000
)
