/** RT: what runtime.threading's ConcurrentTaskScheduler promises, held here. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

describe("RT", () => {
  it.effect("RT-1 four of ten run, and each that ends starts exactly the next in order of submission", () => {
    const gauge = Gauge.make()
    const started: Array<number> = []
    return Effect.gen(function*() {
      const latches = Arr.makeBy(10, () => Latch.makeUnsafe())
      const runs = yield* Effect.forEach(
        latches,
        (latch, i) =>
          Task.fork(Task.make(
            "held",
            gauge.inside(Effect.suspend(() => {
              started.push(i)
              return latch.await
            }))
          ))
      )
      const before = yield* Scheduler.stats
      assert.deepStrictEqual([before.active, before.queued], [4, 6])
      yield* quiet
      assert.deepStrictEqual(started, [0, 1, 2, 3])
      for (let i = 0; i < 10; i++) {
        yield* latches[i]!.open
        yield* quiet
        assert.deepStrictEqual(started, Arr.range(0, Math.min(9, 4 + i)))
      }
      yield* TaskRun.awaitAll(runs)
      assert.strictEqual(gauge.peak, 4)
      const after = yield* Scheduler.stats
      assert.deepStrictEqual([after.active, after.queued], [0, 0])
    }).pipe(Effect.provide(pool(4)))
  })

  for (const value of [0, -1, 1.5, NaN, Infinity, -Infinity]) {
    it.effect(`RT-2 a parallelism of ${value} is no layer: the error names field, rule and value`, () =>
      Effect.gen(function*() {
        let ran = false
        const program = Effect.sync(() => {
          ran = true
        })
        const built = yield* Effect.exit(program.pipe(Effect.provide(pool(value))))
        const error = Refusal.invalid(built)
        assert.strictEqual(error?._tag, "InvalidOptionError")
        assert.strictEqual(error?.field, "maxParallelism")
        assert.deepStrictEqual(error?.value, value)
        assert.include(error?.message, "maxParallelism")
        const fromOutside = yield* Effect.exit(program.pipe(
          Effect.provide(Scheduler.layerConfig({ maxParallelism: Config.succeed(value) }))
        ))
        assert.strictEqual(Refusal.invalidInput(fromOutside)?.field, "maxParallelism")
        assert.isFalse(ran)
      }))
  }

  it.effect("RT-3 a closed scheduler refuses, and nothing of the task runs", () =>
    Effect.gen(function*() {
      let ran = 0
      const task = Task.make("late", Effect.sync(() => ran++))
      yield* Scheduler.close
      assert.isTrue((yield* Scheduler.stats).isClosed)
      const run = yield* Task.fork(task)
      assert.strictEqual(Refusal.died(yield* run.exit)?._tag, "SchedulerClosed")
      assert.strictEqual(Refusal.died(yield* Effect.exit(task))?._tag, "SchedulerClosed")
      assert.strictEqual(Refusal.failed(yield* Effect.exit(Task.refusable(task)))?._tag, "SchedulerClosed")
      assert.strictEqual(Refusal.died(yield* Effect.exit(Scheduler.run(Effect.void)))?._tag, "SchedulerClosed")
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Refused")
      assert.strictEqual(ran, 0)
    }).pipe(Effect.provide(pool(4))))

  it.effect("RT-5 closing the scope with a grace returns when all five completed, in order of submission", () =>
    Effect.gen(function*() {
      const done: Array<number> = []
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(pool(1, { gracePeriod: "Infinity" }), scope)
      yield* Effect.forEach(
        Arr.range(1, 5),
        (i) =>
          Task.fork(Task.make(`step ${i}`, Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => done.push(i)))))
      ).pipe(
        Effect.provideContext(context)
      )
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(closing.pollUnsafe())
      assert.deepStrictEqual(done, [1, 2, 3, 4])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(done, [1, 2, 3, 4, 5])
    }))

  it.effect("RT-7 a task that awaits its child on one slot completes with the child's result", () =>
    Effect.gen(function*() {
      const parent = Task.make(
        "parent",
        Effect.gen(function*() {
          const child = yield* Task.fork(Task.make("child", Effect.succeed(20)))
          const handled = yield* TaskRun.join(child)
          const yielded = yield* Task.make("child", Effect.succeed(1))
          const awaited = yield* child.exit
          return handled + yielded + (Exit.isSuccess(awaited) ? awaited.value : 0)
        })
      )
      assert.strictEqual(yield* parent, 41)
    }).pipe(Effect.provide(pool(1))))

  it.effect("RT-8 fork and join five levels deep on one slot takes no time", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const tree = (depth: number): Task.Task<number> =>
        Task.make(
          `level ${depth}`,
          Effect.gen(function*() {
            yield* gauge.inside(Effect.yieldNow)
            if (depth === 0) return 1
            const left = yield* Task.fork(tree(depth - 1))
            const right = yield* Task.fork(tree(depth - 1))
            const sum = (yield* TaskRun.join(left)) + (yield* TaskRun.join(right))
            return yield* gauge.inside(Effect.succeed(sum))
          })
        )
      let leaves = 0
      const time = yield* elapsed(Effect.map(tree(5), (sum) => {
        leaves = sum
      }))
      assert.deepStrictEqual([leaves, time, gauge.peak], [32, 0, 1])
    }).pipe(Effect.provide(pool(1))))

  it.effect("RT-12 a planned task has no result to ask for; a live run's id cannot be given again", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const planned = Task.make("planned", Effect.as(latch.await, 1))
      // @ts-expect-error a task is no handle: there is nothing to join before it was forked
      const _join = () => TaskRun.join(planned)
      // @ts-expect-error a task has no exit: only its runs have
      const _exit = () => planned.exit
      assert.isTrue(Task.isTask(planned))
      assert.isFalse(TaskRun.isTaskRun(planned))

      const first = yield* Task.fork(planned, { id: "r1" })
      const other = yield* Task.fork(planned)
      assert.isTrue(TaskRun.isTaskRun(first))
      assert.isFalse(Task.isTask(first))
      assert.isFalse(Effect.isEffect(first))
      assert.strictEqual(first.id, "r1")
      assert.notStrictEqual(first.id, other.id)
      const again = Refusal.invalid(yield* Effect.exit(Task.fork(planned, { id: "r1" })))
      assert.deepStrictEqual([again?.field, again?.value], ["id", "r1"])

      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(first), 1)
      assert.strictEqual((yield* first.state)._tag, "Finished")
      assert.strictEqual(yield* TaskRun.join(first), 1)
      const later = yield* Task.fork(planned, { id: "r1" })
      assert.strictEqual(yield* TaskRun.join(later), 1)
    }).pipe(Effect.provide(pool(4))))

  it.effect("RT-13 a lazy task never runs unasked, and once for all who ask", () =>
    Effect.gen(function*() {
      let ran = 0
      const latch = yield* Latch.make()
      const lazy = yield* Task.once(
        Task.make("lazy", Effect.as(Effect.andThen(Effect.sync(() => ran++), latch.await), {}))
      )
      yield* quiet
      assert.strictEqual(ran, 0)
      const one = yield* Effect.forkChild(lazy)
      const two = yield* Effect.forkChild(lazy)
      yield* quiet
      assert.strictEqual(ran, 1)
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(one), yield* Fiber.join(two))
      yield* lazy
      assert.strictEqual(ran, 1)
    }).pipe(Effect.provide(pool(4))))

  it.effect("RT-14 two who await a failing task see the same error, and its state is failed", () =>
    Effect.gen(function*() {
      const error = new Cause.NoSuchElementError("nothing there")
      const latch = yield* Latch.make()
      const run = yield* Task.fork(Task.make("failing", Effect.andThen(latch.await, Effect.fail(error))))
      const one = yield* Effect.forkChild(Effect.flip(TaskRun.join(run)))
      const two = yield* Effect.forkChild(Effect.flip(TaskRun.join(run)))
      yield* quiet
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(one), error)
      assert.strictEqual(yield* Fiber.join(two), error)
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Failed")
    }).pipe(Effect.provide(pool(4))))

  it.effect("RT-15 a task interrupted before its first step never runs and is interrupted", () =>
    Effect.gen(function*() {
      let ran = 0
      const task = Task.make("never", Effect.uninterruptible(Effect.sync(() => ran++)))
      const run = yield* Effect.tap(Task.fork(task), (run) => run.interrupt)
      assert.isTrue(Refusal.interrupted(yield* run.exit))
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Interrupted")

      const context = yield* Effect.context<Scheduler.Scheduler>()
      const signalled = Effect.runForkWith(context)(task, { signal: AbortSignal.abort() })
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(signalled)))
      yield* quiet
      assert.strictEqual(ran, 0)
      const stats = yield* Scheduler.stats
      assert.deepStrictEqual([stats.active, stats.queued], [0, 0])
    }).pipe(Effect.provide(pool(1))))

  it.effect("RT-17 plain Effect links interruption: AbortSignal.any for signals, Scope.fork for scopes", () =>
    Effect.gen(function*() {
      const a = new AbortController()
      const b = new AbortController()
      const c = AbortSignal.any([a.signal, b.signal])
      const d = AbortSignal.any([c])
      const context = yield* Effect.context<Scheduler.Scheduler>()
      const onB = Effect.runForkWith(context)(Task.make("b", Effect.never), { signal: b.signal })
      const onC = Effect.runForkWith(context)(Task.make("c", Effect.never), { signal: c })
      const onD = Effect.runForkWith(context)(Task.make("d", Effect.never), { signal: d })
      yield* quiet
      a.abort()
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(onC)))
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(onD)))
      assert.isUndefined(onB.pollUnsafe())
      assert.deepStrictEqual([c.aborted, d.aborted, b.signal.aborted], [true, true, false])
      assert.isTrue(AbortSignal.any([a.signal]).aborted)
      yield* Fiber.interrupt(onB)

      const parent = yield* Scope.make()
      const sibling = yield* Scope.make()
      const linked = yield* Scope.fork(parent)
      const inLinked = yield* Effect.forkIn(Task.make("linked", Effect.never), linked)
      const inSibling = yield* Effect.forkIn(Task.make("sibling", Effect.never), sibling)
      yield* quiet
      yield* Scope.close(parent, Exit.void)
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(inLinked)))
      assert.isUndefined(inSibling.pollUnsafe())
      yield* Scope.close(sibling, Exit.void)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool("unbounded"))))

  it.effect("RT-18 a queued task that is interrupted settles at once and leaves the queue", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const latch = yield* Latch.make()
      const holder = yield* Task.fork(Task.make("holder", latch.await))
      const queued = yield* Task.fork(Task.make("queued", Effect.void))
      const next = yield* Task.fork(Task.make("next", Effect.void))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).queued, 2)
      assert.strictEqual(yield* elapsed(queued.interrupt), 0)
      assert.strictEqual((yield* Scheduler.stats).queued, 1)
      assert.isTrue(Refusal.interrupted(yield* queued.exit))
      assert.strictEqual((yield* holder.state)._tag, "Running")
      assert.deepStrictEqual(journal.facts(queued), ["Submitted", "Waiting", "Finished"])
      yield* latch.open
      yield* TaskRun.join(next)
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  for (const ending of ["success", "failure", "interruption"] as const) {
    it.effect(`RT-19 of three continuations exactly the one chosen by ${ending} runs`, () =>
      Effect.gen(function*() {
        const ran: Array<string> = []
        const step = (name: string) => Task.make(name, Effect.sync(() => void ran.push(name)))
        const skipped = Task.make("skipped", Effect.interrupt)
        const antecedent = yield* Task.fork(Task.make<number, string, never>(
          "antecedent",
          ending === "success" ? Effect.succeed(7) : ending === "failure" ? Effect.fail("broken") : Effect.interrupt
        ))
        const onSuccess = yield* Task.fork(Task.after([antecedent], ([n]) => step(`success ${n}`)))
        const onFailure = yield* Task.fork(
          Task.afterExit([antecedent], ([exit]) => Exit.hasFails(exit) ? step("failure") : skipped)
        )
        const onInterrupt = yield* Task.fork(
          Task.afterExit([antecedent], ([exit]) => Exit.hasInterrupts(exit) ? step("interruption") : skipped)
        )
        const exits = yield* Effect.all([onSuccess.exit, onFailure.exit, onInterrupt.exit])
        assert.deepStrictEqual(ran, [ending === "success" ? "success 7" : ending])
        assert.deepStrictEqual(exits.map(Exit.isSuccess), [
          ending === "success",
          ending === "failure",
          ending === "interruption"
        ])
        const upstream = Refusal.error(exits[0])
        if (ending === "success") return assert.isUndefined(upstream)
        assert.instanceOf(upstream, Task.UpstreamError)
        assert.strictEqual(upstream.run, antecedent.id)
        assert.strictEqual(upstream.name, "antecedent")
        if (ending === "failure") assert.strictEqual(Refusal.error(Exit.failCause(upstream.cause)), "broken")
        else assert.isTrue(Cause.hasInterruptsOnly(upstream.cause))
        for (const exit of exits.slice(1).filter(Exit.isFailure)) assert.isTrue(Refusal.interrupted(exit))
      }).pipe(Effect.provide(pool(2))))
  }

  it.effect("RT-21 awaitAny sees the fast one done and the slow one running; awaitAll keeps the order of its arguments", () =>
    Effect.gen(function*() {
      const slow = yield* Task.fork(Task.make("slow", Effect.as(Effect.sleep("2 seconds"), "slow")))
      const fast = yield* Task.fork(Task.make("fast", Effect.as(Effect.sleep("1 second"), "fast")))
      const continuation = yield* Task.fork(Task.make(
        "continuation",
        Effect.gen(function*() {
          const first = yield* TaskRun.awaitAny([slow, fast])
          assert.strictEqual(first.id, fast.id)
          assert.strictEqual((yield* slow.state)._tag, "Running")
          assert.strictEqual(yield* TaskRun.join(first), "fast")
          return yield* TaskRun.awaitAll([slow, fast])
        })
      ))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* fast.state)._tag, "Finished")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* TaskRun.join(continuation), [Exit.succeed("slow"), Exit.succeed("fast")])
    }).pipe(Effect.provide(pool(3))))

  it.effect("RT-22 plain Effect aggregates: asVoidAll joins the causes of awaitAll, fromReasons filters them, findError unwraps", () =>
    Effect.gen(function*() {
      const runs = [
        yield* Task.fork(Task.make("one", Effect.succeed(1))),
        yield* Task.fork(Task.make("two", Effect.fail("two" as const))),
        yield* Task.fork(Task.make("three", Effect.fail("three" as const)))
      ]
      const aggregate = Exit.asVoidAll(yield* TaskRun.awaitAll<number, "two" | "three">(runs))
      assert.isTrue(Exit.isFailure(aggregate))
      if (!Exit.isFailure(aggregate)) return
      const errors = (cause: Cause.Cause<unknown>) => cause.reasons.filter(Cause.isFailReason).map((fail) => fail.error)
      assert.deepStrictEqual(errors(aggregate.cause), ["two", "three"])
      const rest = Cause.fromReasons(
        aggregate.cause.reasons.filter((reason) => !(Cause.isFailReason(reason) && reason.error === "two"))
      )
      assert.deepStrictEqual(errors(rest), ["three"])
      assert.strictEqual(yield* Effect.flip(Effect.failCause(rest)), "three")
    }).pipe(Effect.provide(pool(2))))

  it.effect("RT-24 forEach does each of a hundred items once, five at a time", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const seen: Array<number> = []
      const item = Task.fn("item")(function*(i: number) {
        seen.push(i)
        yield* gauge.inside(Effect.sleep(1 + (i * 7) % 5))
        return i * 2
      })
      const all = yield* Effect.forkChild(Task.forEach(Arr.range(0, 99), (i) => item(i)))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(all), Arr.makeBy(100, (i) => i * 2))
      assert.deepStrictEqual([...seen].sort((a, b) => a - b), Arr.range(0, 99))
      assert.strictEqual(gauge.peak, 5)
    }).pipe(Effect.provide(pool(5))))

  it.effect("RT-24 when one item fails the rest are interrupted, and the whole fails with its error", () =>
    Effect.gen(function*() {
      const ended = new Map<number, string>()
      const item = (i: number) =>
        Task.make(
          "item",
          Effect.andThen(Effect.sleep(i === 3 ? 10 : 1000), i === 3 ? Effect.fail(`item ${i}`) : Effect.void)
        ).pipe(
          Task.transform((body) => Effect.onExit(body, (exit) => Effect.sync(() => void ended.set(i, exitName(exit)))))
        )
      const all = yield* Effect.forkChild(Effect.exit(Task.forEach(Arr.range(0, 99), item)))
      yield* TestClock.adjust("10 millis")
      const exit = yield* Fiber.join(all)
      assert.strictEqual(Refusal.error(exit), "item 3")
      assert.deepStrictEqual(Object.fromEntries(ended), {
        0: "interrupted",
        1: "interrupted",
        2: "interrupted",
        3: "failed",
        4: "interrupted"
      })
      const stats = yield* Scheduler.stats
      assert.deepStrictEqual([stats.active, stats.queued], [0, 0])
    }).pipe(Effect.provide(pool(5))))

  it.effect("RT-25 a task that dies frees its slot, and its handle settles with the defect", () =>
    Effect.gen(function*() {
      const broken = new Error("broken")
      const gate = yield* Deferred.make<void>()
      const dying = yield* Task.fork(
        Task.make("dying", Effect.andThen(Deferred.await(gate), Effect.die(broken)), { tags: ["db"] })
      )
      const next = yield* Task.fork(Task.make("next", Effect.succeed("started"), { tags: ["db"] }))
      yield* quiet
      assert.strictEqual((yield* next.state)._tag, "Waiting")
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* TaskRun.join(next), "started")
      assert.strictEqual(Refusal.defect(yield* dying.exit), broken)
      const state = yield* dying.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Died")
      const db = yield* Concurrency.read("db")
      assert.strictEqual(db._tag === "Some" && db.value.active, 0)
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))
})

const exitName = (exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? "succeeded" : Refusal.interrupted(exit) ? "interrupted" : "failed"
