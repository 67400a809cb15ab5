/** What must hold, by the numbers of the design: 8 and 9, on lives and their ends. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, RunEvent, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import { brokenLives } from "../src/testing/lives.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import { active, outcomeOf } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import * as Runner from "./suites/Runner.ts"
import { pool } from "./suites/Runner.ts"

describe("law 8: one life", () => {
  for (
    const [name, runner] of [["a pool of two", pool(2, { tagLimits: { db: 1, shut: 0 } })], [
      "inline",
      Scheduler.layerInline
    ]] as const
  ) {
    it.effect(`every run on ${name} is submitted once, then waits, starts and finishes once, in that order`, () => {
      const journal = Journal.make()
      return Effect.gen(function*() {
        let attempts = 0
        const tags = ["db"]
        const tasks: ReadonlyArray<Task.Task<unknown, unknown>> = [
          Task.make("ok", Effect.succeed(1), { tags }),
          Task.make("failing", Effect.fail("e"), { tags }),
          Task.make("dying", Effect.die("d")),
          Task.make("interrupting", Effect.interrupt),
          Task.make("aborting", Task.abort("r")),
          Task.make("refused", Effect.void, { tags: ["shut"] }),
          Task.make("parent", Task.all([Task.make("a", Effect.yieldNow, { tags }), Task.make("b", Effect.void)]), {
            tags
          }),
          Task.make("losing", Task.all([Task.make("never", Effect.yieldNow), Task.make("broken", Effect.fail("b"))])),
          Task.make("again", Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.void), { tags }).pipe(
            Task.withRetry({ times: 3 })
          )
        ]
        const runs = yield* Effect.forEach(tasks, (task) => Task.fork(task))
        yield* TaskRun.awaitAll(runs)
      }).pipe(
        Effect.provide(runner),
        journal.listen,
        Effect.tap(Effect.sync(() => assert.deepStrictEqual(brokenLives(journal.events), [])))
      )
    })
  }

  for (const [name, runner] of Runner.every) {
    it.effect(`each attempt on ${name} is told of: Started, AttemptFailed, and one Finished`, () => {
      const journal = Journal.make()
      return Effect.gen(function*() {
        let attempts = 0
        const run = yield* Task.fork(
          Task.make("again", Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.void)).pipe(
            Task.withRetry({ times: 3 })
          )
        )
        yield* TaskRun.join(run)
        assert.deepStrictEqual(
          journal.facts(run).filter((fact) => fact !== "Waiting"),
          ["Submitted", "Started", "AttemptFailed", "Started", "AttemptFailed", "Started", "Finished"]
        )
      }).pipe(Effect.provide(runner), journal.listen)
    })
  }

  it.effect("whatever is waiting, suspended or running at the stop is finished, once", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      for (let i = 0; i < 5; i++) yield* Task.fork(Task.make("parent", Task.make("child", Effect.never)))
      yield* Task.fork(Task.make("retried", Effect.fail("e")).pipe(Task.withRetry(Schedule.spaced("1 hour"))))
      yield* quiet
    }).pipe(
      Effect.provide(pool(2)),
      journal.listen,
      Effect.tap(Effect.sync(() => assert.deepStrictEqual(brokenLives(journal.events), [])))
    )
  })

  it.effect("an id is unique, or the one supplied; parent and root are told", () =>
    Effect.gen(function*() {
      const grandchild = Task.make("grandchild", TaskRun.CurrentRun)
      const root = yield* Task.fork(Task.make("root", Task.make("child", Effect.map(grandchild, (run) => run))), {
        id: "mine"
      })
      const run = yield* TaskRun.join(root)
      assert.deepStrictEqual([root.id, root.parent, root.root], ["mine", undefined, "mine"])
      assert.deepStrictEqual([run.name, run.root, run.attempt], ["grandchild", "mine", 1])
      assert.isDefined(run.parent)
      assert.notStrictEqual(run.parent, "mine")
    }).pipe(Effect.provide(pool(1))))

  it.effect("an id stays what it was when a run has waited among others, and each fact names it", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const parent = (name: string) =>
        Task.make(name, Effect.andThen(Task.make("child", Effect.yieldNow), Effect.yieldNow))
      const runs = yield* Effect.forEach(["one", "two", "three"], (name) => Task.fork(parent(name)))
      const before = runs.map((run) => run.id)
      yield* TaskRun.awaitAll(runs)
      assert.deepStrictEqual(runs.map((run) => run.id), before)
      for (const run of runs) {
        const facts = ["Submitted", "Waiting", "Started", "Suspended", "Resumed", "Finished"]
        assert.deepStrictEqual(journal.facts(run), facts)
      }
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  for (const [name, runner] of [...Runner.every, ["a tag of one", pool(2, { tagLimits: { db: 1 } })]] as const) {
    it.effect(`on ${name} the end of a child is told before its waiting parent resumes`, () => {
      const journal = Journal.make()
      return Effect.gen(function*() {
        const tags = ["db"]
        yield* Task.make("parent", Task.all([Task.make("a", Effect.yieldNow, { tags }), Task.make("b", Effect.void)]), {
          tags
        })
        const told = journal.events.flatMap((event) =>
          event._tag === "Finished" || event._tag === "Resumed" ? [`${event._tag} ${event.run.name}`] : []
        )
        const end = told.lastIndexOf("Resumed parent")
        assert.isTrue(told.indexOf("Finished a") < end && told.indexOf("Finished b") < end, told.join(", "))
        assert.strictEqual(told.at(-1), "Finished parent")
      }).pipe(Effect.provide(runner), journal.listen)
    })
  }

  it.effect("a handle is readable after its scheduler closed", () =>
    Effect.gen(function*() {
      const run = yield* Effect.gen(function*() {
        const run = yield* Task.fork(Task.make("kept", Effect.succeed("kept")))
        yield* TaskRun.join(run)
        return run
      }).pipe(Effect.provide(pool(1)))
      assert.deepStrictEqual(yield* run.exit, Exit.succeed("kept"))
      assert.strictEqual(yield* outcomeOf(run), "Succeeded")
    }))

  it.effect("a listener that throws hurts neither runs nor the other listeners", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const others = yield* RunEvent.Listeners
      const throwing = () => {
        throw new Error("listener")
      }
      yield* Task.make("task", Effect.void).pipe(
        Effect.provide(pool(1)),
        Effect.provideService(RunEvent.Listeners, [throwing, ...others])
      )
      assert.deepStrictEqual(journal.events.map((event) => event._tag), [
        "RunnerStarted",
        "Submitted",
        "Waiting",
        "Started",
        "Finished",
        "RunnerStopped"
      ])
    }).pipe(journal.listen)
  })

  it.effect("events of a scheduler are a stream that ends with it", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(pool(1), scope)
      const told = yield* Effect.forkChild(Stream.runCollect(Scheduler.events).pipe(Effect.provideContext(context)))
      yield* quiet
      yield* Effect.provideContext(Task.make("task", Effect.void), context)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual((yield* Fiber.join(told)).map((event) => event._tag), [
        "Submitted",
        "Waiting",
        "Started",
        "Finished",
        "RunnerStopped"
      ])
    }))

  it.effect("a run that was given up tells of nothing after its end", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const latch = yield* Latch.make()
      // Interrupted while it has its slot, it lends it after that, and takes it back.
      const wait = Concurrency.lend(latch.await)
      const deaf = Task.make(
        "deaf",
        Effect.uninterruptible(Effect.sleep(1).pipe(Effect.andThen(wait), Effect.andThen(wait)))
      )
      const run = yield* Task.fork(deaf)
      yield* quiet
      const stop = yield* Effect.forkChild(Scheduler.closeWith({ interruptTimeout: 2 }))
      yield* TestClock.adjust(2)
      yield* Fiber.join(stop)
      assert.strictEqual(yield* outcomeOf(run), "Abandoned")
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual(journal.facts(run), ["Submitted", "Waiting", "Started", "Suspended", "Finished"])
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })
})

describe("law 9: stop", () => {
  const sleeper = (name: string, millis: number) => Task.make(name, Effect.sleep(millis))
  const stubborn = (name: string, millis: number) => Task.make(name, Effect.uninterruptible(Effect.sleep(millis)))

  it.effect("one budget: drain, interrupt, abandon, and the report counts each", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach(
        [sleeper("quick", 500), sleeper("slow", 60_000), stubborn("straggler", 5000)],
        (task) => Task.fork(task)
      )
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Scheduler.close))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 3000)
      assert.deepStrictEqual(yield* Scheduler.close, {
        drained: 1,
        interrupted: 1,
        abandoned: 1,
        stragglers: ["straggler"]
      })
      assert.deepStrictEqual(yield* Effect.forEach(runs, outcomeOf), ["Succeeded", "Interrupted", "Abandoned"])
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(pool(3, { gracePeriod: "1 second", interruptTimeout: "2 seconds" }))))

  it.effect("new roots are refused while children of accepted runs still start", () =>
    Effect.gen(function*() {
      const parent = yield* Task.fork(
        Task.make("parent", Effect.andThen(Effect.sleep("1 second"), Task.make("child", Effect.succeed("child"))))
      )
      yield* quiet
      const stop = yield* Effect.forkChild(Scheduler.close)
      yield* quiet
      assert.isTrue((yield* Scheduler.stats).isClosed)
      const late = yield* Task.fork(Task.make("late", Effect.void))
      assert.strictEqual(Refusal.died(yield* late.exit)?._tag, "SchedulerClosed")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* TaskRun.join(parent), "child")
      assert.strictEqual((yield* Fiber.join(stop)).interrupted, 0)
    }).pipe(Effect.provide(pool(1, { gracePeriod: "10 seconds" }))))

  it.effect("with no grace, all are interrupted at once, together, and their finalizers awaited", () =>
    Effect.gen(function*() {
      const slow = Task.make("slow", Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")))
      for (let i = 0; i < 5; i++) yield* Task.fork(slow)
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Scheduler.close))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(stop), 1000)
      const report = yield* Scheduler.close
      assert.deepStrictEqual([report.drained, report.interrupted, report.abandoned], [0, 5, 0])
    }).pipe(Effect.provide(pool(5))))

  it.effect("a zero interrupt timeout abandons at once", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(stubborn("straggler", 1000))
      yield* quiet
      assert.strictEqual(yield* elapsed(Scheduler.closeWith({ interruptTimeout: 0 })), 0)
      assert.strictEqual(yield* outcomeOf(run), "Abandoned")
      yield* TestClock.adjust("1 second")
    }).pipe(Effect.provide(pool(5))))

  it.effect("accepted but not started: it starts while draining, else it is interrupted without having started", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const holder = yield* Task.fork(sleeper("holder", 1000))
      const queued = yield* Task.fork(sleeper("queued", 1000))
      const never = yield* Task.fork(sleeper("never", 1000))
      yield* quiet
      const stop = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "1500 millis" }))
      yield* TestClock.adjust("1500 millis")
      yield* Fiber.join(stop)
      assert.deepStrictEqual(yield* Effect.forEach([holder, queued, never], outcomeOf), [
        "Succeeded",
        "Interrupted",
        "Interrupted"
      ])
      assert.include(journal.facts(queued), "Started")
      assert.deepStrictEqual(journal.facts(never), ["Submitted", "Waiting", "Finished"])
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  it.effect("it is idempotent: all callers get the same report, and a later one may only shorten", () =>
    Effect.gen(function*() {
      yield* Task.fork(sleeper("slow", 60_000))
      yield* quiet
      const first = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "10 seconds" }))
      yield* TestClock.adjust("1 second")
      const longer = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "1 hour" }))
      yield* TestClock.adjust("1 second")
      const shorter = yield* Effect.forkChild(elapsed(Scheduler.closeWith({ gracePeriod: 0 })))
      yield* quiet
      assert.strictEqual(yield* Fiber.join(shorter), 0)
      const reports = yield* Effect.forEach([first, longer], Fiber.join)
      assert.deepStrictEqual(reports[0], { drained: 0, interrupted: 1, abandoned: 0, stragglers: [] })
      assert.strictEqual(reports[0], reports[1])
      assert.strictEqual(yield* Scheduler.close, reports[0])
    }).pipe(Effect.provide(pool(1))))

  it.effect("from inside a run it neither awaits, interrupts nor counts that run and its ancestors", () =>
    Effect.gen(function*() {
      const other = yield* Task.fork(sleeper("other", 60_000))
      const inner = Task.make("inner", Effect.andThen(Effect.yieldNow, Scheduler.close))
      const outer = yield* Task.fork(Task.make("outer", Effect.map(inner, (report) => report)))
      const report = yield* TaskRun.join(outer)
      assert.deepStrictEqual(report, { drained: 0, interrupted: 1, abandoned: 0, stragglers: [] })
      assert.deepStrictEqual(yield* Effect.forEach([other, outer], outcomeOf), ["Interrupted", "Succeeded"])
    }).pipe(Effect.provide(pool(4))))

  it.effect("a straggler's exit is an interruption when it is given up; its slot is freed when it truly ends", () =>
    Effect.gen(function*() {
      const run = yield* Effect.gen(function*() {
        const run = yield* Task.fork(
          Task.make("straggler", Effect.uninterruptible(Effect.sleep("10 seconds")), { tags: ["db"] })
        )
        yield* quiet
        const stop = yield* Effect.forkChild(Scheduler.closeWith({ interruptTimeout: "1 second" }))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(stop)
        return run
      }).pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 1 }))))
      assert.isTrue(Refusal.interrupted(yield* run.exit))
      assert.strictEqual(yield* outcomeOf(run), "Abandoned")
      assert.strictEqual(yield* active("db"), 1)
      yield* TestClock.adjust("9 seconds")
      yield* quiet
      assert.strictEqual(yield* active("db"), 0)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

  it.effect("a run that ends while draining is drained, whatever its outcome", () =>
    Effect.gen(function*() {
      yield* Task.fork(Task.make("failing", Effect.andThen(Effect.sleep(10), Effect.fail("e"))))
      yield* Task.fork(sleeper("fine", 10))
      yield* quiet
      const stop = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "Infinity" }))
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(yield* Fiber.join(stop), { drained: 2, interrupted: 0, abandoned: 0, stragglers: [] })
    }).pipe(Effect.provide(pool(4))))

  for (
    const [name, task, level] of [
      ["Info when all had ended", Task.make("ended", Effect.void), "Info"],
      ["Warn when anything was interrupted", Task.make("endless", Effect.never), "Warn"]
    ] as const
  ) {
    it.effect(`a layer that closes logs its report: ${name}`, () => {
      const log = LogBook.make()
      return Effect.andThen(Task.fork(task), quiet).pipe(
        Effect.provide(pool(4, { id: "reporting" })),
        log.keep,
        Effect.tap(Effect.sync(() => assert.include(log.lines.map((line) => line.level), level)))
      )
    })
  }

  describe("of a Supervisor", () => {
    it.effect("its states are running, draining, interrupting, closed", () =>
      Effect.gen(function*() {
        const supervisor = yield* Supervisor.Supervisor
        const states = [yield* supervisor.state]
        yield* Supervisor.fork(Effect.uninterruptible(Effect.sleep("3 seconds")), { name: "slow" })
        yield* quiet
        const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 second" }))
        yield* quiet
        states.push(yield* supervisor.state)
        yield* TestClock.adjust("1 second")
        states.push(yield* supervisor.state)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(stop)).interrupted, 1)
        states.push(yield* supervisor.state)
        assert.deepStrictEqual(states, ["running", "draining", "interrupting", "closed"])
      }).pipe(Effect.provide(Supervisor.layer())))

    it.effect("what was acquired into its scope is released after its members ended", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        yield* Effect.gen(function*() {
          const supervisor = yield* Supervisor.Supervisor
          yield* Scope.addFinalizer(supervisor.scope, Effect.sync(() => order.push("resource")))
          yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () => Effect.sync(() => order.push("member"))))
          yield* quiet
        }).pipe(Effect.provide(Supervisor.layer()))
        assert.deepStrictEqual(order, ["member", "resource"])
      }))

    it.effect("a member with a restart schedule is started again as it says, then fails for good", () =>
      Effect.gen(function*() {
        let starts = 0
        const fiber = yield* Supervisor.fork(Effect.suspend(() => Effect.fail(++starts)), {
          name: "restarting",
          restart: Schedule.max([Schedule.spaced("1 second"), Schedule.recurs(2)])
        })
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(starts, 3)
        assert.strictEqual(yield* Effect.flip(Fiber.join(fiber)), 3)
      }).pipe(Effect.provide(Supervisor.layer())))

    it.effect("block waits for the stop and gets its report; a member may ask for the stop", () =>
      Effect.gen(function*() {
        const blocked = yield* Effect.forkChild(Supervisor.block)
        yield* Supervisor.fork(Effect.never, { name: "other" })
        const asking = yield* Supervisor.fork(Supervisor.shutdown, { name: "asking" })
        const report = yield* Fiber.join(asking)
        assert.deepStrictEqual([report.interrupted, report.abandoned], [1, 0])
        assert.deepStrictEqual(yield* Fiber.join(blocked), report)
      }).pipe(Effect.provide(Supervisor.layer())))
  })
})
