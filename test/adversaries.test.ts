/** What a hostile user would try: odd moments, odd places, and what must still hold there. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import { brokenLives } from "../src/testing/lives.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import { active, held, outcomeOf, tagOf, usage } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

const idle = Effect.gen(function*() {
  yield* quiet
  const stats = yield* Scheduler.stats
  assert.deepStrictEqual([stats.active, stats.queued, stats.suspended], [0, 0, 0])
  for (const info of yield* Concurrency.list) {
    assert.deepStrictEqual([info.active, info.waiting, info.holders], [0, 0, []])
  }
})

describe("interruption in odd places", () => {
  it.effect("a run that interrupts itself is interrupted, and does not wait for itself", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, (run) => run.interrupt)))
      yield* quiet
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      yield* idle
    }).pipe(Effect.provide(pool(1))))

  it.effect("a child that interrupts its waiting parent ends it, and itself where the parent yielded it", () =>
    Effect.gen(function*() {
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.flatMap(TaskRun.CurrentRun, (self) => Task.make("child", Effect.andThen(self.interrupt, Effect.never)))
      ))
      yield* quiet
      assert.strictEqual(yield* outcomeOf(parent), "Interrupted")
      yield* idle
    }).pipe(Effect.provide(pool(1))))

  it.effect("interrupting twice, or what has ended, changes nothing", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const ended = yield* Task.fork(Task.make("ended", Effect.succeed(1)))
      yield* TaskRun.join(ended)
      yield* ended.interrupt
      assert.deepStrictEqual(yield* ended.exit, Exit.succeed(1))
      const endless = yield* Task.fork(Task.make("endless", Effect.never))
      yield* Effect.all([endless.interrupt, endless.interrupt], { concurrency: 2 })
      assert.strictEqual(journal.facts(endless).filter((fact) => fact === "Finished").length, 1)
      yield* idle
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  it.effect("a finalizer may run tasks, of an interrupted run and of a suspended one", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const cleanUp = (name: string) => Task.make("clean up", Effect.sync(() => order.push(name)))
      const running = yield* Task.fork(
        Task.make("running", Effect.onInterrupt(Effect.never, () => cleanUp("running")), { tags: ["db"] })
      )
      yield* quiet
      yield* running.interrupt
      const suspended = yield* Task.fork(
        Task.make(
          "suspended",
          Effect.onInterrupt(Task.make("child", Effect.never), () => cleanUp("suspended")),
          { tags: ["db"] }
        )
      )
      yield* quiet
      yield* suspended.interrupt
      assert.deepStrictEqual(order, ["running", "suspended"])
      yield* idle
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  for (const delay of Arr.range(0, 12)) {
    it.effect(`a whole tree interrupted after ${delay} turns leaves nothing behind`, () =>
      Effect.gen(function*() {
        const tree = (depth: number): Task.Task<void> =>
          Task.make(
            "tree",
            Effect.asVoid(Effect.andThen(
              Effect.yieldNow,
              depth === 0 ? Effect.yieldNow : Task.all([tree(depth - 1), tree(depth - 1)])
            )),
            { tags: depth % 2 === 0 ? ["lent"] : ["held"] }
          )
        const whole = yield* Effect.forkChild(Task.all([tree(3), tree(3)]))
        yield* turns(delay)
        yield* Fiber.interrupt(whole)
        yield* idle
        const again = yield* Effect.exit(tree(0))
        assert.isTrue(Exit.isSuccess(again))
      }).pipe(Effect.provide(pool(2, { tagLimits: { lent: 1, held: { limit: 4, whileWaiting: "hold" } } }))))
  }
})

describe("limits that change under a suspended run", () => {
  const suspendedUnder = (change: Effect.Effect<unknown, unknown, Concurrency.Concurrency | Scheduler.Scheduler>) =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const parent = yield* Task.fork(
        Task.make("parent", Effect.as(Task.make("child", latch.await), "resumed"), { tags: ["db"], weight: 2 })
      )
      yield* quiet
      assert.strictEqual(yield* tagOf(parent), "Suspended")
      yield* change
      yield* latch.open
      yield* quiet
      assert.strictEqual(yield* tagOf(parent), "Finished")
      const exit = yield* parent.exit
      yield* idle
      return exit
    }).pipe(Effect.provide(pool(4, { tagLimits: { db: 2 } })))

  it.effect("its pool lowered below its weight, it resumes with all of it", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* suspendedUnder(Scheduler.resize(1)), Exit.succeed("resumed"))
    }))

  it.effect("its tag raised or removed, it resumes", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* suspendedUnder(Concurrency.create("db", 9)), Exit.succeed("resumed"))
      assert.deepStrictEqual(yield* suspendedUnder(Concurrency.remove("db")), Exit.succeed("resumed"))
      assert.deepStrictEqual(yield* suspendedUnder(Concurrency.create("new", 1)), Exit.succeed("resumed"))
    }))

  it.effect("its tag lowered below its weight or closed, it settles all the same", () =>
    Effect.gen(function*() {
      yield* suspendedUnder(Concurrency.create("db", 1))
      yield* suspendedUnder(Concurrency.create("db", 0))
    }))

  it.effect("a run taking back a big slot is passed by small ones 64 times at most", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let started = 0
      let before = -1
      const big = yield* Task.fork(Task.make(
        "big",
        Effect.andThen(
          Concurrency.lend(latch.await),
          Effect.sync(() => {
            before = started
          })
        ),
        { weight: 4 }
      ))
      yield* quiet
      const feeder = (i: number) =>
        Task.make("small", Effect.andThen(Effect.sync(() => started++), Effect.sleep(7 + (i % 4) * 3)))
      const rest = yield* Effect.forEach(Arr.range(0, 303), (i) => Task.fork(feeder(i)))
      yield* TestClock.adjust("1 millis")
      const already = started
      yield* latch.open
      yield* TestClock.adjust("10 seconds")
      yield* TaskRun.awaitAll([big, ...rest])
      assert.isAtMost(before - already, 64)
    }).pipe(Effect.provide(pool(4))))

  for (const delay of Arr.range(0, 6)) {
    it.effect(`resized to one ${delay} turns after a parent may resume, no two work at once`, () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const latch = yield* Latch.make()
        const parents = yield* Effect.forEach(Arr.range(1, 4), () =>
          Task.fork(Task.make(
            "parent",
            Effect.andThen(Task.make("child", latch.await), gauge.inside(Effect.sleep("1 second")))
          )))
        yield* quiet
        yield* Scheduler.resize(1)
        yield* latch.open
        yield* turns(delay)
        yield* Scheduler.resize(1)
        yield* TestClock.adjust("10 seconds")
        yield* TaskRun.awaitAll(parents)
        assert.strictEqual(gauge.peak, 1)
        yield* idle
      }).pipe(Effect.provide(pool(4))))
  }
})

describe("several fibers of one run", () => {
  it.effect("two that join the same child both get it, and the slot comes back once", () =>
    Effect.gen(function*() {
      const parent = Task.make(
        "parent",
        Effect.gen(function*() {
          const child = yield* Task.fork(Task.make("child", Effect.as(Effect.sleep("1 second"), 1)))
          return yield* Effect.all([TaskRun.join(child), TaskRun.join(child), child.exit], { concurrency: 3 })
        }),
        { tags: ["db"] }
      )
      const all = yield* Effect.forkChild(Task.all([parent, parent]))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(all)).length, 2)
      yield* idle
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  it.effect("two that enter the same tag side by side take turns: neither encloses the other", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const slot = Concurrency.withSlot({ tags: ["db"] })(gauge.inside(Effect.sleep("1 second")))
      const run = yield* Task.fork(Task.make("run", Effect.all([slot, slot, slot], { concurrency: 3 })))
      yield* TestClock.adjust("3 seconds")
      yield* TaskRun.join(run)
      assert.strictEqual(gauge.peak, 1)
      yield* idle
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  it.effect("one that is interrupted in its wait does not take the slot from the other's wait", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.all([
          Effect.timeoutOption(Task.make("slow", Effect.never), "1 second"),
          Task.make("fine", latch.await)
        ], { concurrency: 2 })
      ))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tagOf(parent), "Suspended")
      yield* latch.open
      yield* TaskRun.join(parent)
      yield* idle
    }).pipe(Effect.provide(pool(1))))

  it.effect("a fiber that outlives its run by Effect.forkDetach still works, and holds nothing up", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const fiber = yield* Task.make(
        "parent",
        Effect.forkDetach(Effect.andThen(latch.await, Task.make("orphan", Effect.succeed("ran"))))
      )
      yield* quiet
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(fiber), "ran")
      yield* idle
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))
})

describe("stopping at an odd moment", () => {
  it.effect("a submitter suspended at a full queue is refused, not forgotten", () =>
    Effect.gen(function*() {
      yield* Task.fork(Task.make("running", Effect.never))
      yield* Task.fork(Task.make("queued", Effect.never))
      const submitter = yield* Effect.forkChild(Effect.exit(Task.make("late", Effect.void)))
      yield* quiet
      assert.isUndefined(submitter.pollUnsafe())
      yield* Scheduler.close
      assert.strictEqual(Refusal.died(yield* Fiber.join(submitter))?._tag, "SchedulerClosed")
    }).pipe(Effect.provide(pool(1, { maxQueued: 1 }))))

  it.effect("a child in back-off when its parent is drained is drained with it", () =>
    Effect.gen(function*() {
      let attempts = 0
      const child = Task.make(
        "child",
        Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.succeed("done"))
      )
        .pipe(Task.withRetry(Schedule.spaced("1 second")))
      const parent = yield* Task.fork(Task.make("parent", child))
      yield* quiet
      const stop = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "10 seconds" }))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* TaskRun.join(parent), "done")
      assert.deepStrictEqual([(yield* Fiber.join(stop)).interrupted, (yield* Fiber.join(stop)).abandoned], [0, 0])
    }).pipe(Effect.provide(pool(1))))

  it.effect("waiting for a suspended tree to drain takes no longer than the tree", () =>
    Effect.gen(function*() {
      const tree = Task.make("root", Task.make("middle", Task.make("leaf", Effect.sleep("1 second"))))
      const run = yield* Task.fork(tree)
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Scheduler.closeWith({ gracePeriod: "Infinity" })))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(stop), 1000)
      assert.strictEqual(yield* outcomeOf(run), "Succeeded")
    }).pipe(Effect.provide(pool(1))))

  it.effect("of a thousand waiting none is started by the interruption of the one that runs", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      for (let i = 0; i < 1000; i++) yield* Task.fork(Task.make("job", Effect.never))
      yield* quiet
      const report = yield* Scheduler.close
      assert.strictEqual(report.interrupted, 1000)
      assert.strictEqual(journal.events.filter((event) => event._tag === "Started").length, 1)
      assert.deepStrictEqual(brokenLives(journal.events), [])
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  it.effect("stopped from a child, its waiting parent goes on to the end", () =>
    Effect.gen(function*() {
      const parent = Task.make(
        "parent",
        Effect.gen(function*() {
          yield* Task.make("child", Scheduler.close)
          return yield* Task.make("after the stop", Effect.succeed("still running"))
        })
      )
      assert.strictEqual(yield* parent, "still running")
    }).pipe(Effect.provide(pool(1))))

  it.effect("closed by two runs at once, neither hangs", () =>
    Effect.gen(function*() {
      const closing = Task.make("closing", Effect.andThen(Effect.yieldNow, Scheduler.close))
      const runs = [yield* Task.fork(closing), yield* Task.fork(closing)]
      yield* quiet
      const tags = yield* Effect.forEach(runs, tagOf)
      assert.deepStrictEqual(tags, ["Finished", "Finished"])
    }).pipe(Effect.provide(pool(2))))
})

describe("runners within runners", () => {
  it.effect("a held tag of the outer run is open to the inner runner's runs it waits for", () =>
    Effect.gen(function*() {
      const inner = Task.make("inner", active("connection"), { tags: ["connection"] })
      const flow = inner.pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 1 }))))
      const outer = Task.make("outer", flow, { tags: ["connection"] })
      assert.deepStrictEqual(yield* Task.all([outer, outer]), [1, 1])
      yield* idle
    }).pipe(Effect.provide(pool(4, { tagLimits: { connection: held } }))))

  it.effect("two flows whose held tags cross are refused, not stuck", () =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      const flow = (own: string, other: string) =>
        Effect.gen(function*() {
          const child = Task.make("child", Effect.succeed(own), { tags: [other] })
          return yield* Task.make(own, Effect.andThen(gate.await, child), { tags: [own] })
        }).pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 2 }))), Effect.exit)
      const both = yield* Effect.forkChild(
        Effect.all([flow("left", "right"), flow("right", "left")], { concurrency: 2 })
      )
      yield* quiet
      yield* gate.open
      yield* quiet
      assert.isDefined(both.pollUnsafe())
      const refusals = (yield* Fiber.join(both)).map((exit) => Refusal.died(exit)?._tag)
      assert.deepStrictEqual(refusals.sort(), ["Deadlock", undefined])
      assert.deepStrictEqual([yield* active("left"), yield* active("right")], [0, 0])
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { left: held, right: held } }))))

  it.effect("a handle of one runner may be joined in another", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(Task.make("outer", Effect.as(Effect.sleep("1 second"), "outer")))
      const inner = yield* Effect.forkChild(
        Task.make("inner", TaskRun.join(run)).pipe(Effect.provide(Layer.fresh(pool(1))))
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(inner), "outer")
    }).pipe(Effect.provide(pool(1))))
})

describe("a tag's rate", () => {
  const startsUnder = (burst: number | undefined) =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const begin = yield* Clock.currentTimeMillis
      const job = Task.make(
        "job",
        Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => starts.push(now - begin))),
        {
          tags: ["api"]
        }
      )
      const all = yield* Effect.forkChild(Task.all(Arr.replicate(job, 5)))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      return starts
    }).pipe(Effect.provide(pool(8, {
      tagLimits: { api: { limit: "unbounded", rate: { count: 2, per: "1 second", ...(burst ? { burst } : {}) } } }
    })))

  it.effect("is an exact token bucket: the burst at once, then one as each token falls in", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* startsUnder(1), [0, 500, 1000, 1500, 2000])
      assert.deepStrictEqual(yield* startsUnder(2), [0, 0, 500, 1000, 1500])
      assert.deepStrictEqual(yield* startsUnder(5), [0, 0, 0, 0, 0])
    }))

  it.effect("delays nobody who does not ask for the tag, and a waiter can be interrupted", () =>
    Effect.gen(function*() {
      const api = Task.make("api", Effect.void, { tags: ["api"] })
      yield* api
      const waiter = yield* Task.fork(api)
      yield* quiet
      assert.strictEqual(yield* tagOf(waiter), "Waiting")
      yield* Task.make("other", Effect.void)
      yield* waiter.interrupt
      assert.strictEqual((yield* usage("api")).waiting, 0)
      yield* TestClock.adjust("1 second")
      yield* api
    }).pipe(Effect.provide(pool(1, { tagLimits: { api: { limit: 1, rate: { count: 1, per: "1 second" } } } }))))
})

describe("ids", () => {
  it.effect("the id of a waiting, suspended or backing-off run is taken; that of an ended or refused one is free", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const taken = (id: string) =>
        Effect.map(
          Effect.exit(Task.fork(Task.make("again", Effect.void), { id })),
          (exit) => Refusal.invalid(exit)?.field
        )
      yield* Task.fork(Task.make("suspended", Task.make("child", latch.await)), { id: "suspended" })
      yield* quiet
      yield* Task.fork(Task.make("waiting", Effect.void), { id: "waiting" })
      yield* quiet
      assert.deepStrictEqual(yield* Effect.forEach(["suspended", "waiting"], taken), ["id", "id"])
      yield* latch.open
      yield* quiet
      yield* Task.fork(Task.make("failing", Effect.fail("e")).pipe(Task.withRetry(Schedule.spaced("1 hour"))), {
        id: "off"
      })
      yield* quiet
      assert.strictEqual(yield* taken("off"), "id")
      const refused = yield* Task.fork(Task.make("refused", Effect.void, { tags: ["shut"] }), { id: "refused" })
      yield* refused.exit
      assert.deepStrictEqual(yield* Effect.forEach(["suspended", "waiting", "refused"], taken), [
        undefined,
        undefined,
        undefined
      ])
    }).pipe(Effect.provide(pool(1, { tagLimits: { shut: 0 } }))))
})
