/** PF: what Prefect's task runners and tag concurrency limits promise, held here. */
// What must not type-check is written down here on purpose.
// @effect-diagnostics missingEffectContext:off
// @effect-diagnostics missingEffectError:off
// @effect-diagnostics floatingEffect:off
// @effect-diagnostics missingReturnYieldStar:off
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

const active = (tag: string) =>
  Effect.map(Concurrency.read(tag), Option.match({ onNone: () => -1, onSome: (info) => info.active }))

describe("PF", () => {
  const three = (record: Array<string>) =>
    Effect.forEach([1, 2, 3], (i) =>
      Task.fork(Task.make(
        `task ${i}`,
        Effect.gen(function*() {
          record.push(`start ${i}`)
          yield* Effect.sleep("1 second")
          record.push(`end ${i}`)
        })
      )))

  it.effect("PF-1 the sequential runner never overlaps and keeps the order", () =>
    Effect.gen(function*() {
      const record: Array<string> = []
      const runs = yield* three(record)
      yield* TestClock.adjust("3 seconds")
      yield* TaskRun.awaitAll(runs)
      assert.deepStrictEqual(record, ["start 1", "end 1", "start 2", "end 2", "start 3", "end 3"])
    }).pipe(Effect.provide(Scheduler.layerSequential)))

  it.effect("PF-1 the concurrent runner overlaps", () =>
    Effect.gen(function*() {
      const record: Array<string> = []
      const runs = yield* three(record)
      yield* TestClock.adjust("1 second")
      yield* TaskRun.awaitAll(runs)
      assert.deepStrictEqual(record, ["start 1", "start 2", "start 3", "end 1", "end 2", "end 3"])
    }).pipe(Effect.provide(Scheduler.layerUnbounded)))

  it.effect("PF-1 before there is a runner a task does not type-check; after its scope closed it is refused", () =>
    Effect.gen(function*() {
      const task = Task.make("task", Effect.succeed(1))
      // @ts-expect-error no runner was provided, so the task cannot be run
      const _early = () => Effect.runFork(task)
      // @ts-expect-error nor forked
      const _fork = () => Effect.runFork(Task.fork(task))

      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(pool(1), scope)
      assert.strictEqual(yield* Effect.provideContext(task, context), 1)
      yield* Scope.close(scope, Exit.void)
      const late = yield* Effect.exit(Effect.provideContext(task, context))
      assert.strictEqual(Refusal.died(late)?._tag, "SchedulerClosed")
      const typed = yield* Effect.flip(Effect.provideContext(Task.refusable(task), context))
      assert.strictEqual(typed._tag, "AdmissionError")
      assert.strictEqual(typed.name, "task")
    }))

  it.effect("PF-2 an inner scope provided another runner runs on it, started and stopped around that scope", () => {
    const journal = Journal.make()
    const where = Task.make("where", Effect.map(TaskRun.CurrentRun, (run) => run.id))
    const ranOn = (id: string) => journal.of({ id })[0]?.scheduler
    return Effect.gen(function*() {
      const before = yield* where
      const inner = yield* Effect.all([where, where]).pipe(
        Effect.provide(Scheduler.layer({ id: "B", maxParallelism: 1 }))
      )
      const after = yield* where
      assert.deepStrictEqual([before, ...inner, after].map(ranOn), ["A", "B", "B", "A"])
      const told = journal.events.filter((event) =>
        event._tag !== "Submitted" && event._tag !== "Waiting" && event._tag !== "Finished"
      )
        .map((event) => `${event._tag} ${event.scheduler}`)
      assert.deepStrictEqual(told, [
        "RunnerStarted A",
        "Started A",
        "RunnerStarted B",
        "Started B",
        "Started B",
        "RunnerStopped B",
        "Started A"
      ])
    }).pipe(Effect.provide(Scheduler.layer({ id: "A", maxParallelism: 2 })), journal.listen)
  })

  it.effect("PF-2 a task that provides another runner runs its inner tasks there", () =>
    Effect.gen(function*() {
      const here = Task.make("here", Effect.map(Scheduler.Scheduler, (scheduler) => scheduler.id))
      const outer = Task.make(
        "outer",
        Effect.gen(function*() {
          const first = yield* here
          const inner = yield* here.pipe(Effect.provide(Scheduler.layer({ id: "B" })))
          return [first, inner, yield* here]
        })
      )
      assert.deepStrictEqual(yield* outer, ["A", "B", "A"])
    }).pipe(Effect.provide(Scheduler.layer({ id: "A", maxParallelism: 1 }))))

  it.effect("PF-3 a full tag holds up those that need it, says so, and nobody else", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const t1 = yield* Task.fork(Task.make("t1", latch.await, { tags: ["db"] }))
      const t2 = yield* Task.fork(Task.make("t2", Effect.succeed(2), { tags: ["db"] }))
      const t3 = yield* Task.fork(Task.make("t3", Effect.succeed(3)))
      assert.strictEqual(yield* TaskRun.join(t3), 3)
      assert.deepStrictEqual(yield* t2.state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "db" }] })
      const why = Option.getOrThrow(yield* Scheduler.why(t2.id))
      assert.strictEqual(why.limit, "db")
      assert.deepStrictEqual(why.holders.map((holder) => [holder.id, holder.name]), [[t1.id, "t1"]])
      const db = (yield* Scheduler.stats).tags["db"]
      assert.deepStrictEqual([db?.limit, db?.active, db?.waiting], [1, 1, 1])
      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(t2), 2)
    }).pipe(Effect.provide(pool(8, { tagLimits: { db: 1 } }))))

  it.effect("PF-4 the next holder of a tag starts in the instant the last one ends", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const job = Task.make(
        "job",
        Effect.gen(function*() {
          starts.push(yield* Clock.currentTimeMillis)
          yield* Effect.sleep("1 second")
        }),
        { tags: ["db"] }
      )
      const all = yield* Effect.forkChild(Task.all([job, job, job]))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(starts, [0, 1000, 2000])
    }).pipe(Effect.provide(pool(8, { tagLimits: { db: 1 } }))))

  it.effect("PF-5 who waits for one tag holds none of the others, and gets them all at once", () =>
    Effect.gen(function*() {
      const [latchB, latchA] = [yield* Latch.make(), yield* Latch.make()]
      const holder = yield* Task.fork(Task.make("b", latchB.await, { tags: ["b"] }))
      const both = yield* Task.fork(Task.make("ab", Effect.succeed("ab"), { tags: ["a", "b"] }))
      yield* quiet
      assert.strictEqual(yield* active("a"), 0)
      const other = yield* Task.fork(Task.make("a", latchA.await, { tags: ["a"] }))
      yield* quiet
      assert.strictEqual((yield* other.state)._tag, "Running")
      yield* latchB.open
      yield* TaskRun.join(holder)
      yield* quiet
      assert.deepStrictEqual([yield* active("a"), yield* active("b")], [1, 0])
      assert.deepStrictEqual(yield* both.state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "a" }] })
      yield* latchA.open
      assert.strictEqual(yield* TaskRun.join(both), "ab")
      assert.deepStrictEqual([yield* active("a"), yield* active("b")], [0, 0])
    }).pipe(Effect.provide(pool(8, { tagLimits: { a: 1, b: 1 } }))))

  it.effect("PF-7 a tag limit of zero refuses at once, naming the tag and taking no other", () =>
    Effect.gen(function*() {
      let ran = 0
      const task = Task.make("closed", Effect.sync(() => ran++), { tags: ["open", "shut"] })
      const exit = yield* Effect.exit(task)
      assert.deepStrictEqual(Refusal.died(exit), { _tag: "LimitClosed", limit: "shut" })
      const caught = yield* Task.refusable(task).pipe(
        Effect.catchReason("AdmissionError", "LimitClosed", (reason) => Effect.succeed(reason.limit))
      )
      assert.strictEqual(caught, "shut")
      assert.strictEqual(yield* active("open"), 0)
      const slot = yield* Effect.exit(Effect.sync(() => ran++).pipe(Concurrency.withSlot({ tags: ["open", "shut"] })))
      assert.strictEqual(Refusal.died(slot)?._tag, "LimitClosed")
      assert.strictEqual(yield* active("open"), 0)
      assert.strictEqual(ran, 0)
    }).pipe(Effect.provide(pool(8, { tagLimits: { open: 1, shut: 0 } }))))

  it.effect("PF-10 a run that enters a tag it has takes no second slot: nested, retried, or through a child", () =>
    Effect.gen(function*() {
      let attempts = 0
      const gauge = Gauge.make()
      const db = Concurrency.withSlot({ tags: ["db"] })
      const child = Task.make("child", gauge.inside(Effect.succeed("child")), { tags: ["db"] })
      const task = Task.make(
        "again",
        Effect.gen(function*() {
          const nested = yield* db(db(Effect.map(active("db"), (n) => n)))
          const inner = yield* child
          const held = yield* gauge.inside(active("db"))
          if (++attempts < 3) return yield* Effect.fail("again")
          return [nested, inner, held]
        }),
        { tags: ["db"] }
      )
      assert.deepStrictEqual(yield* task.pipe(Task.withRetry({ times: 5 })), [1, "child", 1])
      attempts = 0
      assert.deepStrictEqual(yield* Effect.retry(task, { times: 5 }), [1, "child", 1])
      assert.deepStrictEqual([gauge.peak, yield* active("db")], [1, 0])
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  for (const delay of [0, 1, 2, 3, 4, 5, 8, 13]) {
    it.effect(`PF-13 a waiter interrupted ${delay} turns around the grant leaves no slot behind`, () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const holder = yield* Task.fork(Task.make("holder", latch.await, { tags: ["db"] }))
        const waiter = yield* Task.fork(Task.make("waiter", Effect.never, { tags: ["db"] }))
        const slot = yield* Effect.forkChild(Effect.never.pipe(Concurrency.withSlot({ tags: ["db"] })))
        const next = yield* Task.fork(Task.make("next", Effect.succeed("next"), { tags: ["db"] }))
        yield* quiet
        yield* latch.open
        yield* turns(delay)
        yield* waiter.interrupt
        yield* turns(delay)
        yield* Fiber.interrupt(slot)
        assert.strictEqual(yield* TaskRun.join(next), "next")
        assert.isTrue(Refusal.interrupted(yield* waiter.exit))
        yield* TaskRun.join(holder)
        const usage = Option.getOrThrow(yield* Concurrency.read("db"))
        assert.deepStrictEqual([usage.active, usage.waiting, usage.holders], [0, 0, []])
        const stats = yield* Scheduler.stats
        assert.deepStrictEqual([stats.active, stats.queued], [0, 0])
      }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))
  }

  it.effect("PF-14 two of three and two more: the second waits; four is refused at once", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const two = Concurrency.withSlot({ tags: ["g"], weight: 2 })
      const first = yield* Effect.forkChild(two(latch.await))
      yield* quiet
      const second = yield* Effect.forkChild(two(Effect.succeed("second")))
      yield* quiet
      assert.isUndefined(second.pollUnsafe())
      const usage = Option.getOrThrow(yield* Concurrency.read("g"))
      assert.deepStrictEqual([usage.active, usage.waiting, usage.holders.map((holder) => holder.weight)], [2, 1, [2]])
      const four = yield* Effect.exit(Effect.void.pipe(Concurrency.withSlot({ tags: ["g"], weight: 4 })))
      assert.deepStrictEqual(Refusal.died(four), { _tag: "ExceedsLimit", limit: "g", weight: 4, max: 3 })
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(second), "second")
      yield* Fiber.join(first)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { g: 3 } }))))

  for (const weight of [0, -1, 1.5, NaN]) {
    it.effect(`PF-14 a weight of ${weight} is invalid`, () =>
      Effect.gen(function*() {
        const slot = yield* Effect.exit(Effect.void.pipe(Concurrency.withSlot({ tags: ["g"], weight })))
        const task = yield* Effect.exit(Task.make("task", Effect.void, { tags: ["g"], weight }))
        for (const error of [Refusal.invalid(slot), Refusal.invalid(task)]) {
          assert.deepStrictEqual([error?.field, error?.value], ["weight", weight])
        }
      }).pipe(Effect.provide(pool(3, { tagLimits: { g: 3 } }))))
  }

  it.effect("PF-15 a limit that is off lets the body run at once and counts nothing; switched on it enforces from then on", () =>
    Effect.gen(function*() {
      const [early, late] = [yield* Latch.make(), yield* Latch.make()]
      const db = Concurrency.withSlot({ tags: ["db"] })
      const before = yield* Effect.forkChild(db(early.await))
      const run = yield* Task.fork(Task.make("run", early.await, { tags: ["db"] }))
      yield* quiet
      assert.deepStrictEqual([(yield* run.state)._tag, yield* active("db")], ["Running", 0])
      assert.isTrue(yield* Concurrency.enable("db"))
      const first = yield* Effect.forkChild(db(late.await))
      yield* quiet
      const second = yield* Effect.forkChild(db(Effect.succeed("second")))
      yield* quiet
      assert.strictEqual(yield* active("db"), 1)
      // What was acquired while it was off is not given back.
      yield* early.open
      yield* Fiber.join(before)
      yield* TaskRun.join(run)
      assert.strictEqual(yield* active("db"), 1)
      assert.isUndefined(second.pollUnsafe())
      yield* late.open
      yield* Fiber.join(first)
      assert.strictEqual(yield* Fiber.join(second), "second")
      assert.strictEqual(yield* active("db"), 0)
    }).pipe(Effect.provide(pool(8, { tagLimits: { db: { limit: 1, enabled: false } } }))))

  it.effect("PF-16 names without a limit run the body with one warning; no names at all leave no trace", () => {
    const book = LogBook.make()
    return Effect.gen(function*() {
      const slot = Concurrency.withSlot({ tags: ["db", "typo", "other"] })
      assert.strictEqual(yield* slot(active("db")), 1)
      yield* slot(Effect.void)
      const warnings = book.lines.filter((line) => line.level === "Warn")
      assert.strictEqual(warnings.length, 1)
      assert.include(warnings[0]!.text, "typo")
      assert.include(warnings[0]!.text, "other")
      assert.notInclude(warnings[0]!.text, "db")
      assert.strictEqual(yield* Concurrency.withSlot({ tags: [] })(Effect.succeed(1)), 1)
      assert.strictEqual(yield* Concurrency.withSlot({})(Effect.succeed(1)), 1)
      assert.deepStrictEqual((yield* Concurrency.list).map((info) => [info.tag, info.active]), [["db", 0]])
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } })), book.keep)
  })

  it.effect("PF-16 strictly, the error lists every name that has no limit, even where others have one", () =>
    Effect.gen(function*() {
      let ran = 0
      const demand = { tags: ["typo", "db", "other"], strict: true }
      const count = Effect.sync(() => ran++)
      const missing = { _tag: "MissingLimits" as const, limits: ["typo", "other"] }
      assert.deepStrictEqual(Refusal.died(yield* Effect.exit(Concurrency.withSlot(demand)(count))), missing)
      const task = Task.make("task", count, demand)
      assert.deepStrictEqual(Refusal.died(yield* Effect.exit(task)), missing)
      const caught = yield* Task.refusable(task).pipe(
        Effect.catchReason("AdmissionError", "MissingLimits", (reason) => Effect.succeed(reason.limits))
      )
      assert.deepStrictEqual(caught, ["typo", "other"])
      assert.deepStrictEqual([ran, yield* active("db")], [0, 0])
      yield* Concurrency.withSlot({ tags: [], strict: true })(count)
      assert.strictEqual(ran, 1)
    }).pipe(Effect.provide(pool(8, { tagLimits: { db: 1 } }))))

  it.effect("PF-18 ten that come back five a second: used up, five are denied now and granted a second later", () =>
    Effect.gen(function*() {
      const five = { tags: ["api"], weight: 5 }
      yield* Concurrency.rateLimit({ tags: ["api"], weight: 10 })
      const denied = yield* Effect.exit(Concurrency.rateLimit({ ...five, whenFull: "fail" }))
      assert.deepStrictEqual(Refusal.died(denied), { _tag: "WouldWait", limits: ["api"] })
      assert.isTrue(Option.isNone(yield* Concurrency.withSlotIfAvailable(five)(Effect.void)))
      const waiting = yield* Effect.forkChild(elapsed(Concurrency.rateLimit(five)))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(waiting), 1000)
      yield* TestClock.adjust("1 second")
      assert.isTrue(Option.isSome(yield* Concurrency.withSlotIfAvailable(five)(Effect.void)))
    }).pipe(Effect.provide(Concurrency.layer({
      tagLimits: { api: { limit: "unbounded", rate: { count: 5, per: "1 second", burst: 10 } } }
    }))))

  it.effect("PF-18 asking for the rate of a limit that has none is an error listing those limits", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Concurrency.rateLimit({ tags: ["db", "api", "mail"] }))
      assert.deepStrictEqual(Refusal.died(exit), { _tag: "MissingLimits", limits: ["db", "mail"] })
    }).pipe(Effect.provide(Concurrency.layer({
      tagLimits: { api: { limit: 1, rate: { count: 5, per: "1 second" } }, db: 1, mail: 2 }
    }))))

  it.effect("PF-23 between attempts withRetry holds neither slot nor tag, so another takes its turn", () =>
    Effect.gen(function*() {
      let attempts = 0
      const order: Array<string> = []
      const retried = Task.make(
        "retried",
        Effect.suspend(() => {
          order.push(`attempt ${++attempts}`)
          return attempts < 2 ? Effect.fail("again") : Effect.void
        }),
        { tags: ["db"] }
      ).pipe(Task.withRetry(Schedule.spaced("1 second")))
      const run = yield* Task.fork(retried)
      yield* quiet
      const state = yield* run.state
      assert.strictEqual(state._tag, "Waiting")
      assert.deepStrictEqual(state._tag === "Waiting" && state.for.map((reason) => reason._tag), ["Retry"])
      assert.deepStrictEqual([yield* active("db"), (yield* Scheduler.stats).active], [0, 0])
      yield* Task.make("other", Effect.sync(() => order.push("other")), { tags: ["db"] })
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(run)
      assert.deepStrictEqual(order, ["attempt 1", "other", "attempt 2"])
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  it.effect("PF-23 Effect.retry in the body keeps them", () =>
    Effect.gen(function*() {
      let attempts = 0
      const body = Effect.suspend(() => ++attempts < 2 ? Effect.fail("again") : Effect.void)
      const run = yield* Task.fork(Task.make("kept", Effect.retry(body, Schedule.spaced("1 second")), { tags: ["db"] }))
      yield* quiet
      assert.deepStrictEqual([yield* active("db"), (yield* Scheduler.stats).active], [1, 1])
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(run)
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  const scaled = (delays: ReadonlyArray<number>) =>
    Task.fn("scaled")(function*(n: number, factor: number) {
      yield* Effect.sleep(delays[n - 1]!)
      if (factor === 0 && n === 2) return yield* Effect.fail("two")
      return n * factor
    })

  it.effect("PF-24 results come back in input order, whatever the order of completion", () =>
    Effect.gen(function*() {
      const task = scaled([30, 20, 10])
      const all = yield* Effect.forkChild(
        Task.forEach(Arr.zip([1, 2, 3], Arr.replicate(10, 3)), ([n, factor]) => task(n, factor))
      )
      yield* TestClock.adjust("30 millis")
      assert.deepStrictEqual(yield* Fiber.join(all), [10, 20, 30])
    }).pipe(Effect.provide(pool(3))))

  it.effect("PF-24 a fast failure does not wait for a slow sibling", () =>
    Effect.gen(function*() {
      const task = scaled([5000, 20, 5000])
      const all = yield* Effect.forkChild(elapsed(Effect.flip(Task.forEach([1, 2, 3], (n) => task(n, 0)))))
      yield* TestClock.adjust("20 millis")
      assert.strictEqual(yield* Fiber.join(all), 20)
    }).pipe(Effect.provide(pool(3))))

  it.effect("PF-24 awaitFor parts the done from the rest, without failing and without ending them", () =>
    Effect.gen(function*() {
      const runs = [
        yield* Task.fork(Task.make("quick", Effect.as(Effect.sleep("1 second"), 1))),
        yield* Task.fork(Task.make("broken", Effect.fail("broken"))),
        yield* Task.fork(Task.make("slow", Effect.as(Effect.sleep("3 seconds"), 3)))
      ]
      const [quick, broken, slow] = runs
      const waiting = yield* Effect.forkChild(TaskRun.awaitFor<number, string>(runs, "2 seconds"))
      yield* TestClock.adjust("2 seconds")
      const parted = yield* Fiber.join(waiting)
      assert.deepStrictEqual(parted.done.map((run) => run.id).sort(), [quick!.id, broken!.id].sort())
      assert.deepStrictEqual(parted.pending.map((run) => run.id), [slow!.id])
      assert.strictEqual((yield* slow!.state)._tag, "Running")
      const rest = yield* Effect.forkChild(elapsed(TaskRun.awaitFor<number, string>(runs, "1 hour")))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(rest), 1000)
    }).pipe(Effect.provide(pool(3))))

  it.effect("PF-24 a negative time limit is a typed error, and no iterable is no type", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(Task.make("task", Effect.never))
      const error = yield* Effect.flip(TaskRun.awaitFor([run], -1))
      assert.strictEqual(error._tag, "InvalidOptionError")
      assert.strictEqual(error.field, "limit")
      // @ts-expect-error not an iterable
      const _none = () => Task.forEach(5, () => Effect.void)
      yield* run.interrupt
    }).pipe(Effect.provide(pool(3))))

  it.effect("PF-25 when A fails, B never starts and reports the upstream failure with A's cause", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      let ran = 0
      const latch = yield* Latch.make()
      const a = yield* Task.fork(Task.make("a", Effect.andThen(latch.await, Effect.fail("broken" as const))))
      const b = yield* Task.fork(Task.after([a], () => Task.make("b", Effect.sync(() => ran++), { tags: ["db"] })))
      yield* quiet
      assert.deepStrictEqual(yield* b.state, { _tag: "Waiting", for: [{ _tag: "Runs", runs: [a.id] }] })
      yield* latch.open
      const error = yield* Effect.flip(TaskRun.join(b))
      assert.instanceOf(error, Task.UpstreamError)
      assert.deepStrictEqual([error.run, error.name], [a.id, "a"])
      assert.strictEqual(Refusal.error(Exit.failCause(error.cause)), "broken")
      assert.strictEqual(ran, 0)
      assert.notInclude(journal.events.flatMap((event) => event._tag === "Started" ? [event.run.name] : []), "b")
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } })), journal.listen)
  })

  it.effect("PF-25 allowing failure, B runs and is given A's exit", () =>
    Effect.gen(function*() {
      const a = yield* Task.fork(Task.make("a", Effect.fail("broken" as const)))
      const c = yield* Task.fork(Task.make("c", Effect.succeed(3)))
      const b = Task.afterExit({ a, c }, (exits) => Task.make("b", Effect.succeed([exits.a, exits.c] as const)))
      const [fromA, fromC] = yield* b
      assert.strictEqual(Refusal.error(fromA), "broken")
      assert.deepStrictEqual(fromC, Exit.succeed(3))
    }).pipe(Effect.provide(pool(1))))

  it.effect("PF-25 while B waits for A it holds neither a slot nor a tag", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const a = yield* Task.fork(Task.make("a", Effect.as(latch.await, 1)))
      const b = yield* Task.fork(Task.after({ a }, ({ a }) => Task.make("b", Effect.succeed(a + 1), { tags: ["db"] })))
      yield* quiet
      assert.deepStrictEqual([(yield* Scheduler.stats).active, yield* active("db")], [1, 0])
      yield* Task.make("other", Effect.void, { tags: ["db"] })
      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(b), 2)
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))
})
