/** The design's tables: outcomes, refusals, and the answers to what a user would ask. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import { active, outcomeOf, tagOf, usage } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

describe("outcomes stay distinct, in state, in events and for a joiner", () => {
  const cases: ReadonlyArray<
    readonly [TaskRun.Outcome["_tag"], Task.Task<unknown, unknown>, (exit: Exit.Exit<unknown, unknown>) => boolean]
  > = [
    ["Succeeded", Task.make("t", Effect.succeed(1)), (exit) => Exit.isSuccess(exit) && exit.value === 1],
    ["Failed", Task.make("t", Effect.fail("e")), (exit) => Refusal.error(exit) === "e"],
    ["Died", Task.make("t", Effect.die("d")), (exit) => Refusal.defect(exit) === "d"],
    ["Interrupted", Task.make("t", Effect.interrupt), Refusal.interrupted],
    ["Aborted", Task.make("t", Task.abort("r")), (exit) => Refusal.aborted(exit) === "r"],
    [
      "Aborted",
      Task.make("t", Effect.andThen(Task.abort("r"), Effect.void)).pipe(Task.withRetry({ times: 3 })),
      (exit) => Refusal.aborted(exit) === "r"
    ],
    [
      "TimedOut",
      Task.make("t", Effect.never).pipe(Task.withTimeout("1 second")),
      (exit) => Cause.isTimeoutError(Refusal.error(exit))
    ],
    [
      "Failed",
      Task.make("t", Effect.timeout(Effect.never, "1 second")),
      (exit) => Cause.isTimeoutError(Refusal.error(exit))
    ],
    ["Refused", Task.make("t", Effect.void, { tags: ["shut"] }), (exit) => Refusal.died(exit)?._tag === "LimitClosed"],
    [
      "Refused",
      Task.refusable(Task.make("t", Effect.void, { tags: ["shut"] })),
      (exit) => Refusal.failed(exit)?._tag === "LimitClosed"
    ],
    [
      "Died",
      Task.make("t", Task.make("child", Effect.void, { tags: ["shut"] })),
      (exit) => Refusal.died(exit)?._tag === "LimitClosed"
    ],
    [
      "Died",
      Task.refusable(Task.make("t", Task.make("child", Effect.void, { tags: ["shut"] }))),
      (exit) => Refusal.died(exit)?._tag === "LimitClosed"
    ]
  ]
  for (const [runner, layer] of [["layer", pool(4)], ["layerInline", Scheduler.layerInline]] as const) {
    for (const [index, [outcome, task, seen]] of cases.entries()) {
      it.effect(`${outcome}, case ${index + 1}, on ${runner}`, () => {
        const journal = Journal.make()
        return Effect.gen(function*() {
          yield* Concurrency.create("shut", 0)
          const forking = yield* Effect.forkChild(Task.fork(task))
          yield* TestClock.adjust("1 second")
          const run = yield* Fiber.join(forking)
          assert.isTrue(seen(yield* run.exit))
          assert.isTrue(seen(yield* Effect.exit(TaskRun.join(run))))
          assert.strictEqual(yield* outcomeOf(run), outcome)
          const last = journal.of(run).at(-1)
          assert.strictEqual(last?._tag === "Finished" && last.outcome._tag, outcome)
          if (outcome === "Refused") assert.notInclude(journal.facts(run), "Started")
        }).pipe(Effect.provide(layer), journal.listen)
      })
    }
  }
})

describe("questions", () => {
  it.effect("maxParallelism left out is the number of CPUs", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* Scheduler.stats).maxParallelism, navigator.hardwareConcurrency)
    }).pipe(Effect.provide(Scheduler.layer())))

  it.effect("an explicit undefined is as good as left out", () =>
    Effect.gen(function*() {
      const task = Task.make("task", Effect.succeed(1), {
        tags: undefined,
        weight: undefined,
        priority: undefined,
        key: undefined,
        whenFull: undefined,
        admissionTimeout: undefined,
        limit: undefined
      })
      assert.strictEqual(yield* TaskRun.join(yield* Task.fork(task, { id: undefined })), 1)
    }).pipe(Effect.provide(Scheduler.layer({
      maxParallelism: undefined,
      tagLimits: undefined,
      maxQueued: undefined,
      whenQueueFull: undefined,
      gracePeriod: undefined,
      interruptTimeout: undefined,
      id: undefined
    }))))

  for (const value of [-1, 1.5, NaN]) {
    it.effect(`a tag limit of ${value} is invalid: a defect of the layer, a typed failure of create`, () =>
      Effect.gen(function*() {
        const built = yield* Effect.exit(
          Effect.void.pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: value } })))
        )
        assert.strictEqual(Refusal.invalid(built)?.field, `tag limit "db"`)
        assert.strictEqual(
          Refusal.invalid(built)?.message,
          `Concurrency.layer: tag limit "db" must be an integer >= 0, got ${value}`
        )
        const scheduler = yield* Effect.exit(Effect.void.pipe(Effect.provide(pool(1, { tagLimits: { db: value } }))))
        assert.strictEqual(Refusal.invalid(scheduler)?.field, `tag limit "db"`)
        const created = yield* Effect.flip(Concurrency.create("db", value))
        assert.deepStrictEqual([created._tag, created.field], ["InvalidOptionError", `tag limit "db"`])
        assert.isTrue(Option.isNone(yield* Concurrency.read("db")))
      }).pipe(Effect.provide(Concurrency.layer())))
  }

  it.effect("bad values are defects where they run, and constructors never throw", () =>
    Effect.gen(function*() {
      const bad = [
        Task.make("t", Effect.void, { weight: 0 }),
        Task.make("t", Effect.void, { priority: NaN }),
        Task.make("t", Effect.void, { limit: -1 }),
        Task.make("t", Effect.void, { admissionTimeout: -1 }),
        Task.make("t", Effect.void).pipe(Task.withWeight(0.5))
      ]
      const fields: Array<unknown> = []
      for (const task of bad) fields.push(Refusal.invalid(yield* Effect.exit(task))?.field)
      assert.deepStrictEqual(fields, ["weight", "priority", "limit", "admissionTimeout", "weight"])
      const layers = [
        pool(1, { gracePeriod: -1 }),
        pool(1, { interruptTimeout: -1 }),
        pool(1, { maxQueued: -1 })
      ]
      const wrong: Array<unknown> = []
      for (const layer of layers) {
        wrong.push(Refusal.invalid(yield* Effect.exit(Effect.void.pipe(Effect.provide(layer))))?.field)
      }
      assert.deepStrictEqual(wrong, ["gracePeriod", "interruptTimeout", "maxQueued"])
    }).pipe(Effect.provide(pool(1))))

  it.effect("a weight above maxParallelism takes all of it", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const whole = yield* Task.fork(Task.make("whole", latch.await, { weight: 100 }))
      const next = yield* Task.fork(Task.make("next", Effect.void))
      yield* quiet
      assert.deepStrictEqual([yield* tagOf(whole), yield* tagOf(next)], ["Running", "Waiting"])
      yield* latch.open
      yield* TaskRun.join(next)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(4))))

  it.effect("a weight above a tag's limit is refused, naming the tag", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Task.make("big", Effect.void, { weight: 3, tags: ["db"] }))
      assert.deepStrictEqual(Refusal.died(exit), { _tag: "ExceedsLimit", limit: "db", weight: 3, max: 2 })
    }).pipe(Effect.provide(pool(4, { tagLimits: { db: 2 } }))))

  it.effect("whenFull fail refuses instead of waiting, naming what was full", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const demand = { tags: ["db"], whenFull: "fail" } as const
      const holder = yield* Task.fork(Task.make("holder", latch.await, { tags: ["db"] }))
      assert.deepStrictEqual(Refusal.died(yield* Effect.exit(Task.make("task", Effect.void, demand))), {
        _tag: "WouldWait",
        limits: ["db"]
      })
      const slot = yield* Effect.exit(Concurrency.withSlot(demand)(Effect.void))
      assert.strictEqual(Refusal.died(slot)?._tag, "WouldWait")
      yield* latch.open
      yield* TaskRun.join(holder)
      yield* Task.make("task", Effect.void, demand)
    }).pipe(Effect.provide(pool(4, { tagLimits: { db: 1 } }))))

  it.effect("an admission timeout refuses after the whole wait, and a started run never", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.sleep("10 seconds"), { admissionTimeout: "1 second" }))
      const late = yield* Task.fork(Task.make("late", Effect.void, { admissionTimeout: "1 second" }))
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* tagOf(late), "Waiting")
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(Refusal.died(yield* late.exit)?._tag, "Timeout")
      assert.strictEqual((yield* Scheduler.stats).queued, 0)
      yield* TestClock.adjust("9 seconds")
      yield* TaskRun.join(holder)
    }).pipe(Effect.provide(pool(1))))

  it.effect("an admission timeout of withSlot, too", () =>
    Effect.gen(function*() {
      const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(Effect.sleep("10 seconds")))
      yield* quiet
      const late = yield* Effect.forkChild(
        Concurrency.withSlot({ tags: ["db"], admissionTimeout: "1 second" })(Effect.void)
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Refusal.died(yield* Fiber.await(late))?._tag, "Timeout")
      assert.strictEqual((yield* usage("db")).waiting, 0)
      yield* TestClock.adjust("9 seconds")
      yield* Fiber.join(holder)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

  it.effect("a bounded queue that fails refuses whoever comes when it is full", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const job = Task.make("job", latch.await)
      const runs = [yield* Task.fork(job), yield* Task.fork(job), yield* Task.fork(job)]
      const refused = yield* Task.fork(job)
      assert.deepStrictEqual(Refusal.died(yield* refused.exit), { _tag: "QueueFull", maxQueued: 2 })
      yield* latch.open
      yield* TaskRun.awaitAll(runs)
      yield* job
    }).pipe(Effect.provide(pool(1, { maxQueued: 2, whenQueueFull: "fail" }))))

  it.effect("a bounded queue that suspends lets its submitter go on as soon as there is room", () =>
    Effect.gen(function*() {
      const latches = Arr.makeBy(3, () => Latch.makeUnsafe())
      const job = (i: number) => Task.make("job", latches[i]!.await)
      yield* Task.fork(job(0))
      yield* Task.fork(job(1))
      const submitter = yield* Effect.forkChild(Task.fork(job(2)))
      yield* quiet
      assert.isUndefined(submitter.pollUnsafe())
      assert.strictEqual((yield* Scheduler.stats).queued, 1)
      yield* latches[0]!.open
      const last = yield* Fiber.join(submitter)
      yield* latches[1]!.open
      yield* latches[2]!.open
      yield* TaskRun.join(last)
    }).pipe(Effect.provide(pool(1, { maxQueued: 1, whenQueueFull: "suspend" }))))

  it.effect("a submitter interrupted while it is suspended has submitted nothing", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let ran = 0
      const first = yield* Task.fork(Task.make("first", latch.await))
      const second = yield* Task.fork(Task.make("second", Effect.void))
      const submitter = yield* Effect.forkChild(Task.fork(Task.make("third", Effect.sync(() => ran++))))
      yield* quiet
      yield* Fiber.interrupt(submitter)
      yield* latch.open
      yield* TaskRun.awaitAll([first, second])
      yield* quiet
      assert.strictEqual(ran, 0)
      yield* Task.make("next", Effect.void)
    }).pipe(Effect.provide(pool(1, { maxQueued: 1 }))))

  for (const whenQueueFull of ["suspend", "fail"] as const) {
    it.effect(`a queue bounded by ${whenQueueFull} never holds up or refuses the children of accepted runs`, () =>
      Effect.gen(function*() {
        const parent = Task.make("parent", Task.forEach(Arr.range(1, 20), (i) => Task.make("child", Effect.succeed(i))))
        assert.strictEqual((yield* parent).length, 20)
      }).pipe(Effect.provide(pool(1, { maxQueued: 1, whenQueueFull }))))
  }

  describe("a limit that changes while it is held", () => {
    const db = { tags: ["db"] }
    const holding = (latch: Latch.Latch, weight = 1) => Task.fork(Task.make("holder", latch.await, { ...db, weight }))
    const onPool = Effect.provide(pool(16, { tagLimits: { db: 2 } }))

    it.effect("raised, its waiters start at once", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const runs = yield* Effect.forEach(Arr.range(1, 4), () => holding(latch))
        yield* Concurrency.create("db", 3)
        assert.deepStrictEqual(yield* Effect.forEach(runs, tagOf), ["Running", "Running", "Running", "Waiting"])
        yield* latch.open
        yield* TaskRun.awaitAll(runs)
      }).pipe(onPool))

    it.effect("lowered, its holders finish undisturbed, and it settles at the new limit", () =>
      Effect.gen(function*() {
        const [one, two] = [yield* Latch.make(), yield* Latch.make()]
        const first = yield* holding(one)
        const second = yield* holding(two)
        const third = yield* holding(two)
        const info = yield* Concurrency.create("db", 1)
        assert.deepStrictEqual([info.limit, info.active, info.waiting], [1, 2, 1])
        yield* one.open
        yield* TaskRun.join(first)
        yield* quiet
        assert.deepStrictEqual(yield* Effect.forEach([second, third], tagOf), ["Running", "Waiting"])
        yield* two.open
        yield* TaskRun.awaitAll([second, third])
      }).pipe(onPool))

    it.effect("lowered below a waiter's weight, that waiter is refused", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const holder = yield* holding(latch)
        const big = yield* holding(latch, 2)
        yield* quiet
        yield* Concurrency.create("db", 1)
        assert.deepStrictEqual(Refusal.died(yield* big.exit), { _tag: "ExceedsLimit", limit: "db", weight: 2, max: 1 })
        yield* latch.open
        yield* TaskRun.join(holder)
      }).pipe(onPool))

    it.effect("lowered to zero, its waiters are refused and its holders are not", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const runs = yield* Effect.forEach(Arr.range(1, 3), () => holding(latch))
        yield* Concurrency.create("db", 0)
        assert.deepStrictEqual(Refusal.died(yield* runs[2]!.exit), { _tag: "LimitClosed", limit: "db" })
        yield* latch.open
        assert.isTrue((yield* TaskRun.awaitAll(runs)).slice(0, 2).every(Exit.isSuccess))
      }).pipe(onPool))

    it.effect("created, it does not count those already running", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const early = yield* Task.fork(Task.make("early", latch.await, { tags: ["new"] }))
        yield* Concurrency.create("new", 1)
        assert.strictEqual(yield* active("new"), 0)
        const next = yield* Task.fork(Task.make("next", latch.await, { tags: ["new"] }))
        const last = yield* Task.fork(Task.make("last", Effect.void, { tags: ["new"] }))
        assert.deepStrictEqual(yield* Effect.forEach([early, next, last], tagOf), ["Running", "Running", "Waiting"])
        yield* latch.open
        yield* TaskRun.awaitAll([early, next, last])
        assert.strictEqual(yield* active("new"), 0)
      }).pipe(onPool))

    it.effect("created for what already waits for something else, it binds that too", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const holder = yield* holding(latch, 2)
        const both = yield* Effect.forEach([1, 2], () =>
          Task.fork(Task.make("both", Effect.never, { tags: ["db", "new"] })))
        yield* Concurrency.create("new", 1)
        yield* latch.open
        yield* TaskRun.join(holder)
        yield* quiet
        assert.deepStrictEqual(yield* Effect.forEach(both, tagOf), ["Running", "Waiting"])
      }).pipe(onPool))

    it.effect("removed, its waiters start, and its holders' release harms nobody", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const runs = yield* Effect.forEach(Arr.range(1, 4), () => holding(latch))
        assert.isTrue(yield* Concurrency.remove("db"))
        assert.isFalse(yield* Concurrency.remove("db"))
        assert.deepStrictEqual(yield* Effect.forEach(runs, tagOf), ["Running", "Running", "Running", "Running"])
        assert.isTrue(Option.isNone(yield* Concurrency.read("db")))
        yield* Concurrency.create("db", 1)
        const next = yield* holding(latch)
        yield* latch.open
        yield* TaskRun.awaitAll([...runs, next])
        const info = yield* usage("db")
        assert.deepStrictEqual([info.limit, info.active, info.waiting], [1, 0, 0])
      }).pipe(onPool))

    it.effect("the pool lowered below a waiter's weight still runs it, alone", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const holder = yield* Task.fork(Task.make("holder", latch.await))
        const big = yield* Task.fork(Task.make("big", Effect.succeed("ran"), { weight: 16 }))
        yield* Scheduler.resize(2)
        yield* latch.open
        yield* TaskRun.join(holder)
        assert.strictEqual(yield* TaskRun.join(big), "ran")
      }).pipe(onPool))
  })

  describe("retry and timeout", () => {
    const slowThenQuick = () => {
      let attempts = 0
      return Task.make(
        "slow then quick",
        Effect.suspend(() => ++attempts < 3 ? Effect.never : Effect.succeed(attempts))
      )
    }
    const retry = Task.withRetry(Schedule.spaced("1 second"))
    const timeout = Task.withTimeout("2 seconds")

    it.effect("in either order the timeout is each attempt's, and is retried like any failure", () =>
      Effect.gen(function*() {
        for (
          const task of [
            slowThenQuick().pipe(timeout, Task.withRetry(Schedule.spaced("1 second"))),
            slowThenQuick().pipe(retry, timeout)
          ]
        ) {
          const run = yield* Effect.forkChild(elapsed(task))
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(yield* Fiber.join(run), 6000)
        }
      }).pipe(Effect.provide(pool(1))))

    it.effect("the timeout does not count the wait", () =>
      Effect.gen(function*() {
        const holder = yield* Task.fork(Task.make("holder", Effect.sleep("10 seconds")))
        const run = yield* Task.fork(Task.make("quick", Effect.as(Effect.sleep("1 second"), "quick")).pipe(timeout))
        yield* TestClock.adjust("11 seconds")
        assert.strictEqual(yield* TaskRun.join(run), "quick")
        yield* TaskRun.join(holder)
      }).pipe(Effect.provide(pool(1))))

    it.effect("a retry asks for admission anew, behind what came meanwhile", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        let attempts = 0
        const retried = yield* Task.fork(
          Task.make(
            "retried",
            Effect.suspend(() => {
              order.push(`attempt ${++attempts}`)
              return attempts < 2 ? Effect.fail("again") : Effect.void
            })
          ).pipe(Task.withRetry(Schedule.spaced("1 second")))
        )
        yield* quiet
        const holder = yield* Task.fork(
          Task.make("holder", Effect.andThen(Effect.sleep("5 seconds"), Effect.sync(() => order.push("holder"))))
        )
        yield* TestClock.adjust("1 second")
        const state = yield* retried.state
        assert.deepStrictEqual(state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "maxParallelism" }] })
        yield* TestClock.adjust("4 seconds")
        yield* TaskRun.awaitAll<unknown, string>([retried, holder])
        assert.deepStrictEqual(order, ["attempt 1", "holder", "attempt 2"])
      }).pipe(Effect.provide(pool(1))))

    const closings: ReadonlyArray<readonly [string, (close: () => void) => Effect.Effect<void>]> = [
      ["", (close) => Effect.sync(close)],
      [", closed on the spot", (close) => {
        close()
        return Effect.void
      }]
    ]
    for (const [how, closing] of closings) {
      it.effect(`an attempt has a scope of its own${how}, and CurrentRun tells which it is`, () =>
        Effect.gen(function*() {
          const order: Array<string> = []
          const task = Task.make(
            "attempts",
            Effect.gen(function*() {
              const { attempt } = yield* TaskRun.CurrentRun
              yield* Effect.addFinalizer(() => closing(() => order.push(`closed ${attempt}`)))
              order.push(`opened ${attempt}`)
              if (attempt < 3) return yield* Effect.fail("again")
            })
          ).pipe(Task.withRetry({ times: 5 }))
          yield* task
          assert.deepStrictEqual(order, ["opened 1", "closed 1", "opened 2", "closed 2", "opened 3", "closed 3"])
        }).pipe(Effect.provide(pool(1))))
    }

    const never: ReadonlyArray<readonly [string, Effect.Effect<never, string, TaskRun.CurrentRun>]> = [
      ["died", Effect.die("d")],
      ["was interrupted", Effect.interrupt],
      ["aborted", Task.abort("r")]
    ]
    for (const [name, body] of never) {
      it.effect(`what ${name} is not retried`, () =>
        Effect.gen(function*() {
          let attempts = 0
          const task = Task.make("once", Effect.andThen(Effect.sync(() => attempts++), body))
          yield* Effect.exit(task.pipe(Task.withRetry({ times: 3 })))
          assert.strictEqual(attempts, 1)
        }).pipe(Effect.provide(pool(1))))
    }

    it.effect("a run interrupted in its back-off ends at once", () =>
      Effect.gen(function*() {
        const run = yield* Task.fork(
          Task.make("failing", Effect.fail("e")).pipe(Task.withRetry(Schedule.spaced("1 hour")))
        )
        yield* quiet
        assert.strictEqual(yield* elapsed(run.interrupt), 0)
        assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      }).pipe(Effect.provide(pool(1))))

    it.effect("Effect.retry around a task makes new runs", () => {
      const journal = Journal.make()
      return Effect.gen(function*() {
        yield* Effect.exit(Effect.retry(Task.make("failing", Effect.fail("e")), { times: 2 }))
        assert.strictEqual(journal.events.filter((event) => event._tag === "Submitted").length, 3)
      }).pipe(Effect.provide(pool(1)), journal.listen)
    })
  })

  it.effect("an error with no one to receive it is a Finished event and a log line", () => {
    const log = LogBook.make()
    const journal = Journal.make()
    return Effect.gen(function*() {
      const run = yield* Task.fork(Task.make("unheard", Effect.fail("nobody listens")))
      yield* quiet
      assert.strictEqual(journal.facts(run).at(-1), "Finished")
      assert.isTrue(log.lines.some((line) => line.text.includes("nobody listens") && /Warn|Error/.test(line.level)))
    }).pipe(Effect.provide(pool(1)), journal.listen, log.keep)
  })

  it.effect("who provides another layer switches runner for a scope; the same constant keeps the outer one", () =>
    Effect.gen(function*() {
      const where = Task.make("where", Effect.map(Scheduler.Scheduler, (scheduler) => scheduler.id))
      const outer = Scheduler.layer({ id: "outer" })
      const ids = yield* Effect.all([
        where,
        where.pipe(Effect.provide(Scheduler.layer({ id: "inner" }))),
        where.pipe(Effect.provide(outer)),
        where
      ]).pipe(Effect.provide(outer))
      assert.deepStrictEqual(ids, ["outer", "inner", "outer", "outer"])
    }))
})
