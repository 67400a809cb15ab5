/** What tests are given to test with. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { TestClock } from "effect/testing"
import { RunEvent, Scheduler, Task, TaskRun } from "../src/index.ts"
import { FiberLeak, leakGuard, TestScheduler } from "../src/testing/index.ts"
import { quiet } from "./suites/Quiet.ts"
import { outcomeOf, tagOf } from "./suites/Reading.ts"

const names = (runs: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>>) => runs.map((run) => run.name)

describe("TestScheduler", () => {
  const began: Array<string> = []
  const say = (name: string, options?: Task.Options) => Task.make(name, Effect.sync(() => began.push(name)), options)
  const saidIn = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.andThen(Effect.sync(() => began.splice(0)), Effect.as(effect, began))

  it.effect("records every run in order of submission: forked, yielded, nested and refused", () =>
    Effect.gen(function*() {
      const parent = Task.make("parent", Task.all([say("a"), say("b")]))
      const forked = yield* Task.fork(parent)
      yield* TaskRun.join(forked)
      yield* say("yielded")
      yield* Effect.exit(say("refused", { tags: ["shut"] }))
      const first = yield* Task.fork(Task.make("first", Effect.succeed(1)))
      yield* Task.after([first], ([n]) => Task.make("next", Effect.map(say("below next"), () => n)))
      const runs = yield* TestScheduler.runs
      assert.deepStrictEqual(names(runs), [
        "parent",
        "a",
        "b",
        "yielded",
        "refused",
        "first",
        "next",
        "below next"
      ])
      assert.strictEqual(runs[0], forked)
      assert.strictEqual(runs[1]!.parent, forked.id)
      assert.strictEqual(yield* outcomeOf(runs[4]!), "Refused")
    }).pipe(Effect.provide(TestScheduler.layer({ tagLimits: { shut: 0 } }))))

  it.effect("held from the start, nothing begins until it is released, by name or all", () =>
    saidIn(Effect.gen(function*() {
      const runs = yield* Effect.forEach([say("a"), say("b"), say("a"), say("c")], (task) => Task.fork(task))
      assert.deepStrictEqual(names(yield* TestScheduler.held), ["a", "b", "a", "c"])
      yield* quiet
      assert.deepStrictEqual(began, [])
      yield* TestScheduler.release("a")
      yield* quiet
      assert.deepStrictEqual(began, ["a", "a"])
      assert.deepStrictEqual(names(yield* TestScheduler.held), ["b", "c"])
      assert.strictEqual(yield* say("a"), 3)
      yield* TestScheduler.release()
      yield* TaskRun.awaitAll(runs)
      assert.deepStrictEqual(began, ["a", "a", "a", "b", "c"])
      assert.deepStrictEqual(yield* TestScheduler.held, [])
    })).pipe(Effect.provide(TestScheduler.layer({ maxParallelism: 8, held: true }))))

  it.effect("a name is held from now on; what has begun goes on, and children are held too", () =>
    saidIn(Effect.gen(function*() {
      const parent = Task.make("parent", Effect.andThen(Effect.sleep("1 second"), say("child")))
      const before = yield* Task.fork(parent)
      yield* quiet
      yield* TestScheduler.hold("parent")
      yield* TestScheduler.hold("child")
      const after = yield* Task.fork(parent)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* TestScheduler.held).map((run) => run.parent), [undefined, before.id])
      yield* TestScheduler.release("child")
      yield* TaskRun.join(before)
      yield* TestScheduler.release("parent")
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(after)
      assert.deepStrictEqual(began, ["child", "child"])
    })).pipe(Effect.provide(TestScheduler.layer({ maxParallelism: 4 }))))

  it.effect("a held run has its slot: what comes after it waits, and is held only once admitted", () =>
    Effect.gen(function*() {
      const one = yield* Task.fork(say("one"))
      const two = yield* Task.fork(say("two"))
      assert.deepStrictEqual([yield* tagOf(one), yield* tagOf(two)], ["Running", "Waiting"])
      assert.deepStrictEqual(names(yield* TestScheduler.held), ["one"])
      yield* TestScheduler.release("one")
      yield* quiet
      assert.deepStrictEqual(names(yield* TestScheduler.held), ["two"])
      yield* two.interrupt
      assert.deepStrictEqual(yield* TestScheduler.held, [])
      assert.strictEqual(yield* outcomeOf(two), "Interrupted")
    }).pipe(Effect.provide(TestScheduler.layer({ maxParallelism: 1, held: true }))))

  it.effect("a held run's timeout has not begun; a retry is not held again", () =>
    Effect.gen(function*() {
      let attempts = 0
      const run = yield* Task.fork(
        Task.make("task", Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.succeed(attempts))).pipe(
          Task.withTimeout("1 second"),
          Task.withRetry({ times: 3 })
        )
      )
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* tagOf(run), "Running")
      yield* TestScheduler.release()
      assert.strictEqual(yield* TaskRun.join(run), 3)
    }).pipe(Effect.provide(TestScheduler.layer({ held: true }))))

  it.effect("a continuation is held like any run", () =>
    saidIn(Effect.gen(function*() {
      yield* TestScheduler.hold("next")
      const first = yield* Task.fork(Task.make("first", Effect.succeed(1)))
      const next = yield* Task.fork(Task.afterExit([first], () => say("next")))
      yield* quiet
      assert.deepStrictEqual(names(yield* TestScheduler.held), ["next"])
      yield* TestScheduler.release("next")
      yield* TaskRun.join(next)
    })).pipe(Effect.provide(TestScheduler.layer())))

  it.effect("collects the events, and the listeners around it hear them too", () => {
    const heard: Array<RunEvent.RunEvent> = []
    return Effect.gen(function*() {
      yield* say("task")
      const events = yield* TestScheduler.events
      assert.deepStrictEqual(events.map((event) => event._tag), [
        "RunnerStarted",
        "Submitted",
        "Waiting",
        "Started",
        "Finished"
      ])
      assert.deepStrictEqual(heard, events)
    }).pipe(
      Effect.provide(TestScheduler.layer()),
      Effect.provideService(RunEvent.Listeners, [(event) => void heard.push(event)])
    )
  })

  it.effect("a stop interrupts what is held, once the grace period is over", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(say("task"))
      yield* quiet
      const report = yield* Scheduler.close
      assert.strictEqual(report.interrupted, 1)
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
    }).pipe(Effect.provide(TestScheduler.layer({ held: true }))))
})

describe("leakGuard", () => {
  const leakOf = (exit: Exit.Exit<unknown, unknown>) => {
    const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
    return defect instanceof FiberLeak ? defect : undefined
  }

  it.effect("passes what ends with its program: children, scoped fibers, runs of a runner inside", () =>
    Effect.gen(function*() {
      const program = Effect.gen(function*() {
        yield* Effect.forkChild(Effect.never)
        yield* Effect.forkScoped(Effect.never)
        yield* Effect.forkDetach(Effect.yieldNow)
        yield* Task.fork(Task.make("task", Effect.andThen(Effect.forkDetach(Effect.yieldNow), Effect.never)))
        yield* quiet
        return "passed"
      })
      assert.strictEqual(yield* leakGuard(Effect.provide(program, Scheduler.layer({ maxParallelism: 2 }))), "passed")
    }))

  it.effect("dies of what does not, counting it and naming the runs it was started in", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const leaking = Effect.forEach([1, 2], () => Effect.forkDetach(latch.await))
      const program = Effect.gen(function*() {
        yield* leaking
        yield* Task.make("careless", leaking)
      })
      const leak = leakOf(
        yield* Effect.exit(leakGuard(Effect.provide(program, Scheduler.layer({ maxParallelism: 2 }))))
      )
      assert.strictEqual(leak?.count, 4)
      assert.strictEqual(leak?.message, `4 fibers left behind: 2 outside of runs, 2 in "careless"`)
      yield* latch.open
    }))

  it.effect("a run that outlives the program on a runner outside is a leak", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(leakGuard(Task.fork(Task.make("outlives", Effect.never))))
      assert.strictEqual(leakOf(exit)?.message, `1 fiber left behind: 1 in "outlives"`)
    }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 1 }))))

  it.effect("a failure is told before a leak, and interruption passes through", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const leaking = Effect.forkDetach(latch.await)
      assert.deepStrictEqual(
        yield* Effect.exit(leakGuard(Effect.andThen(leaking, Effect.fail("failure")))),
        Exit.fail("failure")
      )
      let interrupted = false
      const program = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true))
      const guarded = yield* Effect.forkChild(leakGuard(program))
      yield* quiet
      yield* Fiber.interrupt(guarded)
      assert.isTrue(interrupted)
      yield* latch.open
    }))

  it.effect("the metrics that were counting go on counting", () => {
    let started = 0
    let ended = 0
    const counting = { recordFiberStart: () => void started++, recordFiberEnd: () => void ended++ }
    return Effect.andThen(
      leakGuard(Effect.forkChild(Effect.void)).pipe(Effect.provideService(Metric.FiberRuntimeMetrics, counting)),
      Effect.sync(() => assert.deepStrictEqual([started, ended], [2, 2]))
    )
  })

  it.effect("a runner built inside is closed before the guard looks", () =>
    leakGuard(
      Layer.build(Scheduler.layer({ maxParallelism: 1 })).pipe(
        Effect.flatMap((context) => Effect.provideContext(Task.fork(Task.make("task", Effect.never)), context))
      )
    ))
})
