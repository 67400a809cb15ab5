/** What must hold, by the numbers of the design: 1 to 5 and 10, on what runs, and when. */
// What must not type-check is written down here on purpose.
// @effect-diagnostics missingEffectContext:off
// @effect-diagnostics missingEffectError:off
// @effect-diagnostics floatingEffect:off
// @effect-diagnostics missingReturnYieldStar:off
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import { active, held, tagOf, usage } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import * as Runner from "./suites/Runner.ts"
import { pool } from "./suites/Runner.ts"

class Db extends Context.Service<Db, { readonly get: Effect.Effect<number> }>()("test/Db") {}

describe("law 1: wrapping changes nothing", () => {
  it("E is the program's own; R loses what a run is given and gains Scheduler", () => {
    const program = Effect.gen(function*() {
      yield* TaskRun.CurrentRun
      yield* Scheduler.Scheduler
      yield* Effect.addFinalizer(() => Effect.void)
      yield* Task.make("nested", Effect.void)
      const db = yield* Db
      if ((yield* db.get) < 0) return yield* Effect.fail("negative" as const)
      return 1
    })
    const task = Task.make("typed", program)
    task satisfies Task.Task<number, "negative", Db>
    task satisfies Effect.Effect<number, "negative", Db | Scheduler.Scheduler>
    // @ts-expect-error the program's error is kept
    task satisfies Effect.Effect<number, never, Db | Scheduler.Scheduler>
    // @ts-expect-error the program's need is kept
    task satisfies Effect.Effect<number, "negative", Scheduler.Scheduler>
    // @ts-expect-error and a runner is needed
    task satisfies Effect.Effect<number, "negative", Db>
    // @ts-expect-error there is no current run outside of one
    const _outside = () => Effect.runFork(TaskRun.CurrentRun.pipe(Effect.provide(Scheduler.layerInline)))
    assert.isTrue(Effect.isEffect(task))
  })

  const leaf = Task.fn("leaf")(function*(n: number) {
    if (n < 0) return yield* Effect.fail("negative")
    return n
  })
  const programs: Record<string, Effect.Effect<unknown, unknown, Scheduler.Scheduler | Concurrency.Concurrency>> = {
    nested: Task.make("parent", Effect.flatMap(leaf(1), (n) => leaf(n + 1))),
    all: Task.all({ one: leaf(1), list: Task.all([leaf(2), leaf(3)]) }),
    forEach: Task.forEach([3, 1, 2], (n) => Task.make("outer", Task.forEach(Arr.range(1, n), (i) => leaf(i)))),
    failing: Task.forEach([1, -1, 2], (n) => leaf(n)),
    dying: Task.make("parent", Task.make("dying", Effect.die("defect"))),
    aborting: Task.make("aborting", Task.abort("reason")),
    retried: Effect.suspend(() => {
      let attempts = 0
      return Task.make(
        "retried",
        Effect.suspend(() => ++attempts < 4 ? Effect.fail("again") : Effect.succeed(attempts))
      )
        .pipe(Task.withRetry({ times: 5 }))
    }),
    "a closed tag": Effect.andThen(
      Concurrency.create("shut", 0),
      Task.make("shut", Effect.void, { tags: ["shut"] })
    ),
    "more than a limit": Effect.andThen(
      Concurrency.create("small", 2),
      Task.refusable(Task.make("big", Effect.void, { tags: ["small"], weight: 3 }))
    ),
    "a limit of its own": Task.forEach([1, 2, 3], (n) => Task.make("one by one", leaf(n), { limit: 1 })),
    "upstream failed": Effect.flatMap(Task.fork(leaf(-1)), (run) => Task.after([run], ([n]) => leaf(n))),
    "its own join": Task.make("self", Effect.flatMap(TaskRun.CurrentRun, (run) => TaskRun.join(run))),
    "a held tag": Effect.andThen(
      Concurrency.create("connection", held),
      Task.make("holder", Task.forEach([1, 2, 3], (n) => Task.make("below", leaf(n), { tags: ["connection"] })), {
        tags: ["connection"]
      })
    ),
    "withSlot twice": Effect.andThen(
      Concurrency.create("slot", 1),
      Task.make(
        "slots",
        leaf(1).pipe(Concurrency.withSlot({ tags: ["slot"] }), Concurrency.withSlot({ tags: ["slot"] }))
      )
    )
  }
  const summary = (exit: Exit.Exit<unknown, unknown>) => {
    const refusal = Refusal.died(exit) ?? Refusal.failed(exit)
    return Exit.isSuccess(exit)
      ? { value: exit.value }
      : refusal
      ? { refused: refusal._tag, typed: Refusal.failed(exit) !== undefined }
      : Refusal.error(exit) instanceof Task.UpstreamError
      ? { upstream: true }
      : { error: Refusal.error(exit), aborted: Refusal.aborted(exit), died: Refusal.defect(exit) === "defect" }
  }
  for (const [name, program] of Object.entries(programs)) {
    for (const [runner, layer] of Runner.every.filter(([name]) => name !== "layer")) {
      it.effect(`${name}: the same result on ${runner} as on layer`, () =>
        Effect.gen(function*() {
          const here = yield* Effect.exit(program.pipe(Effect.provide(layer)))
          const there = yield* Effect.exit(program.pipe(Effect.provide(pool(4))))
          assert.deepStrictEqual(summary(here), summary(there))
        }))
    }
  }
  it.effect("refusals included: of the programs above, these are refused", () =>
    Effect.gen(function*() {
      const refused: Array<string> = []
      for (const [name, program] of Object.entries(programs)) {
        const exit = yield* Effect.exit(program.pipe(Effect.provide(pool(4))))
        if (Refusal.died(exit) ?? Refusal.failed(exit)) refused.push(name)
      }
      assert.deepStrictEqual(refused, ["a closed tag", "more than a limit", "its own join"])
    }))

  for (const [name, layer] of Runner.every) {
    it.effect(`what a run needs of its context it gets on ${name}, and its scope closes with it`, () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const task = Task.make(
          "scoped",
          Effect.gen(function*() {
            yield* Effect.addFinalizer(() => Effect.sync(() => order.push("closed")))
            const run = yield* TaskRun.CurrentRun
            order.push(run.name)
            return yield* Effect.flatMap(Db, (db) => db.get)
          })
        )
        assert.strictEqual(yield* Effect.provideService(task, Db, { get: Effect.succeed(5) }), 5)
        assert.deepStrictEqual(order, ["scoped", "closed"])
      }).pipe(Effect.provide(layer)))
  }
})

describe("law 2: limits are exact", () => {
  it.effect("suspended runs that resume together take their slots back one by one", () =>
    Effect.gen(function*() {
      const [all, db] = [Gauge.make(), Gauge.make()]
      const latch = yield* Latch.make()
      const shared = yield* Task.fork(Task.make("shared", latch.await))
      const parents = yield* Effect.forEach(Arr.range(1, 8), () =>
        Task.fork(Task.make(
          "parent",
          Effect.gen(function*() {
            yield* TaskRun.join(shared)
            yield* all.inside(db.inside(Effect.sleep("1 second")))
          }),
          { tags: ["db"] }
        )))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).suspended, 8)
      yield* latch.open
      yield* TestClock.adjust("10 seconds")
      yield* TaskRun.awaitAll(parents)
      assert.deepStrictEqual([all.peak, db.peak], [2, 2])
    }).pipe(Effect.provide(pool(3, { tagLimits: { db: 2 } }))))

  it.effect("weights count: four of two and one of five never pass seven", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const job = (weight: number) =>
        Task.make(`job ${weight}`, gauge.inside(Effect.sleep(weight * 100), weight), { weight })
      const all = yield* Effect.forkChild(Task.all([job(2), job(5), job(2), job(2), job(5), job(2)]))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.isAtMost(gauge.peak, 7)
      assert.isAtLeast(gauge.peak, 6)
    }).pipe(Effect.provide(pool(7))))

  it.effect("across resizes, nobody new starts above the limit of the moment", () =>
    Effect.gen(function*() {
      let limit = 4
      let broken = 0
      let running = 0
      const job = Task.make(
        "job",
        Effect.acquireUseRelease(
          Effect.sync(() => {
            if (++running > limit) broken++
          }),
          () => Effect.sleep("30 millis"),
          () => Effect.sync(() => running--)
        )
      )
      const all = yield* Effect.forkChild(Task.forEach(Arr.range(1, 200), () => job))
      for (const next of [1, 3, 2, 6, 1, 5]) {
        yield* TestClock.adjust("40 millis")
        limit = next
        yield* Scheduler.resize(next)
      }
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.strictEqual(broken, 0)
    }).pipe(Effect.provide(pool(4))))

  it.effect("two schedulers given one Concurrency share its limits", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const job = Task.make("job", gauge.inside(Effect.sleep("1 second")), { tags: ["db"] })
      const flow = Task.all([job, job, job]).pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 3 }))))
      const both = yield* Effect.forkChild(Effect.all([flow, flow], { concurrency: 2 }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* usage("db")).active, 2)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(both)
      assert.strictEqual(gauge.peak, 2)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 2 } }))))

  it.effect("a tag limited by the scheduler and by its Concurrency needs room in both", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const job = Task.make("job", gauge.inside(Effect.sleep("1 second")), { tags: ["db"] })
      const own = Effect.forkChild(
        Task.all([job, job, job]).pipe(
          Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 9, tagLimits: { db: 2 } })))
        )
      )
      const [one, two] = [yield* own, yield* own]
      yield* quiet
      assert.strictEqual(gauge.current, 3)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.joinAll([one, two])
      assert.strictEqual(gauge.peak, 3)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 3 } }))))
})

describe("law 3: all or nothing, and work-conserving", () => {
  it.effect("a run that waits for one of three tags holds none of the others, nor a slot", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      yield* Task.fork(Task.make("c", latch.await, { tags: ["c"] }))
      yield* Task.fork(Task.make("abc", Effect.never, { tags: ["a", "b", "c"] }))
      yield* quiet
      assert.deepStrictEqual([yield* active("a"), yield* active("b"), (yield* Scheduler.stats).active], [0, 0, 1])
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual([yield* active("a"), yield* active("b"), yield* active("c")], [1, 1, 1])
    }).pipe(Effect.provide(pool(2, { tagLimits: { a: 1, b: 1, c: 1 } }))))

  it.effect("a hundred behind a full tag do not hold up the one that does not need it", () =>
    Effect.gen(function*() {
      yield* Task.fork(Task.make("holder", Effect.never, { tags: ["db"] }))
      for (let i = 0; i < 100; i++) {
        yield* Task.fork(Task.make("behind", Effect.never, { tags: ["db"], priority: "critical" }))
      }
      assert.strictEqual(yield* Task.make("free", Effect.succeed("ran"), { priority: "low" }), "ran")
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))

  it.effect("a tag named twice is one tag", () =>
    Effect.gen(function*() {
      const task = Task.make("twice", active("db"), { tags: ["db", "db"] })
      assert.strictEqual(yield* task, 1)
      assert.strictEqual(yield* task.pipe(Task.withTags("db")), 1)
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))

  it.effect("a tag without a limit is a label only", () =>
    Effect.gen(function*() {
      const run = yield* Task.fork(Task.make("labelled", Effect.succeed(1), { tags: ["label"] }))
      assert.deepStrictEqual(run.tags, ["label"])
      assert.strictEqual(yield* TaskRun.join(run), 1)
      assert.isTrue(Option.isNone(yield* Concurrency.read("label")))
    }).pipe(Effect.provide(pool(1))))
})

describe("law 4: no waiting is polled", () => {
  for (const [name, layer] of Runner.queueing) {
    it.effect(`a thousand runs that take no time take no time on ${name}`, () =>
      Effect.gen(function*() {
        const job = Task.make("job", Effect.yieldNow)
        assert.strictEqual(yield* elapsed(Task.forEach(Arr.range(1, 1000), () => job)), 0)
      }).pipe(Effect.provide(layer)))
  }

  it("what is waited for starts before the event loop's next turn, though not before the wait begins", async () => {
    const told: Array<string> = []
    const tell = (what: string) => Effect.sync(() => void told.push(what))
    const program = Effect.gen(function*() {
      const context = yield* Effect.context<Scheduler.Scheduler>()
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      const next = Effect.runFork(Effect.andThen(turn, tell("turn")))
      const run = Effect.runForkWith(context)(Task.make("body", tell("body")))
      yield* tell("submitted")
      yield* Fiber.joinAll([next, run])
    })
    await Effect.runPromise(Effect.provide(program, pool(1)))
    assert.deepStrictEqual(told, ["submitted", "body", "turn"])
  })

  it("Effect.runSync of a task ends at once, also right after another run was waited for", async () => {
    const runtime = ManagedRuntime.make(pool(1))
    const task = Task.make("sync", Effect.succeed(1))
    await runtime.runPromise(task)
    assert.strictEqual(runtime.runSync(task), 1)
    await runtime.dispose()
  })

  it.effect("a test clock waits for what a run does before it goes on", () =>
    Effect.gen(function*() {
      const busy = Effect.andThen(turns(50), Effect.sleep("500 millis"))
      const fiber = yield* Effect.forkChild(Effect.andThen(Effect.sleep("1 second"), Task.make("busy", busy)))
      yield* TestClock.adjust("2 seconds")
      assert.isDefined(fiber.pollUnsafe())
    }).pipe(Effect.provide(pool(1))))

  it.live("one waited for after the other, they let the event loop in", () =>
    Effect.gen(function*() {
      let runs = 0
      const soon = Effect.callback<void>((resume) => queueMicrotask(() => resume(Effect.void)))
      const counted = Effect.andThen(Task.make("soon", soon), Effect.sync(() => void runs++))
      const endless = Effect.forever(counted, { disableYield: true })
      const fiber = yield* Effect.forkChild(endless)
      const turn = Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
      for (let turns = 1; turns <= 100; turns++) {
        yield* turn
        assert.isAtMost(runs, 20 * turns)
      }
      assert.isAbove(runs, 400)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(pool(1))))

  it.effect("the slot of a plain effect passes to a run in the same instant, and back", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const job = Effect.gen(function*() {
        starts.push(yield* Clock.currentTimeMillis)
        yield* Effect.sleep("1 second")
      })
      const slot = Concurrency.withSlot({ tags: ["db"] })(job)
      const all = yield* Effect.forkChild(
        Effect.all([slot, Task.make("job", job, { tags: ["db"] }), slot], { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(starts, [0, 1000, 2000])
    }).pipe(Effect.provide(pool(4, { tagLimits: { db: 1 } }))))
})

describe("law 5: order", () => {
  /** Queues everything behind one blocker on one slot, and returns the order in which it ran. */
  const orderOf = (tasks: (ran: (name: string) => Effect.Effect<void>) => ReadonlyArray<Task.Task<unknown>>) =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const latch = yield* Latch.make()
      yield* Task.fork(Task.make("blocker", latch.await))
      const runs = yield* Effect.forEach(
        tasks((name) => Effect.sync(() => void order.push(name))),
        (task) => Task.fork(task)
      )
      yield* latch.open
      yield* TaskRun.awaitAll(runs)
      return order
    }).pipe(Effect.provide(pool(1)))

  it.effect("priority first, lower number first, then age", () =>
    Effect.gen(function*() {
      const names = ["low", "normal", 5, "high", "critical", -1, "normal", 15, "critical"] as const
      const order = yield* orderOf((ran) =>
        names.map((priority, i) => Task.make("job", ran(`${priority} ${i}`), { priority }))
      )
      assert.deepStrictEqual(order, [
        "-1 5",
        "critical 4",
        "critical 8",
        "5 2",
        "high 3",
        "15 7",
        "normal 1",
        "normal 6",
        "low 0"
      ])
    }))

  it.effect("with no priority named, the order of submission", () =>
    Effect.gen(function*() {
      const order = yield* orderOf((ran) => Arr.range(1, 50).map((i) => Task.make("job", ran(String(i)))))
      assert.deepStrictEqual(order, Arr.range(1, 50).map(String))
    }))

  it.effect("keys share fairly: who submitted a hundred does not hold up who submitted five", () =>
    Effect.gen(function*() {
      const order = yield* orderOf((ran) => [
        ...Arr.range(1, 100).map((i) => Task.make("job", ran(`a${i}`), { key: "a" })),
        ...Arr.range(1, 5).map((i) => Task.make("job", ran(`b${i}`), { key: "b" }))
      ])
      const firstTen = order.slice(0, 10)
      assert.strictEqual(firstTen.filter((name) => name.startsWith("a")).length, 5)
      assert.deepStrictEqual(firstTen.filter((name) => name.startsWith("b")), ["b1", "b2", "b3", "b4", "b5"])
    }))

  it.effect("priority goes before fairness", () =>
    Effect.gen(function*() {
      const order = yield* orderOf((ran) => [
        Task.make("job", ran("a1"), { key: "a", priority: "low" }),
        Task.make("job", ran("b1"), { key: "b", priority: "high" }),
        Task.make("job", ran("b2"), { key: "b", priority: "high" })
      ])
      assert.deepStrictEqual(order, ["b1", "b2", "a1"])
    }))

  it.effect("a child takes its parent's priority unless it names its own", () =>
    Effect.gen(function*() {
      const order = yield* orderOf((ran) => {
        const parent = (name: string, priority: Concurrency.Priority, own?: Concurrency.Priority) =>
          Task.make(name, Task.make("child", ran(`${name}'s child`), own === undefined ? {} : { priority: own }), {
            priority
          })
        return [
          parent("low", "low"),
          parent("high", "high"),
          parent("demoted", "high", "low"),
          Task.make("normal", ran("normal"))
        ]
      })
      assert.deepStrictEqual(order, ["high's child", "normal", "low's child", "demoted's child"])
    }))

  it.effect("a hundred parents do not all open before the first child ends", () =>
    Effect.gen(function*() {
      let opened = 0
      let openedAtFirst = 0
      const parent = Task.make(
        "parent",
        Effect.suspend(() => {
          opened++
          return Task.make(
            "child",
            Effect.sync(() => {
              openedAtFirst ||= opened
            })
          )
        })
      )
      yield* Task.forEach(Arr.range(1, 100), () => parent)
      assert.isAtMost(openedAtFirst, 2)
      assert.strictEqual(opened, 100)
    }).pipe(Effect.provide(pool(2))))

  it.effect("layerSequential runs each root with all its descendants before the next", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const tree = (name: string, depth: number): Task.Task<void> =>
        Task.make(
          name,
          Effect.gen(function*() {
            order.push(name)
            if (depth > 0) yield* Task.all([tree(`${name}.1`, depth - 1), tree(`${name}.2`, depth - 1)])
          })
        )
      yield* Task.all([tree("1", 2), tree("2", 1), tree("3", 0)])
      assert.deepStrictEqual(order, ["1", "1.1", "1.1.1", "1.1.2", "1.2", "1.2.1", "1.2.2", "2", "2.1", "2.2", "3"])
    }).pipe(Effect.provide(Scheduler.layerSequential)))

  it.effect("layerSequential runs children nobody joined before the next root", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const say = (name: string) => Task.make(name, Effect.sync(() => void order.push(name)))
      const root = (name: string) =>
        Task.make(name, Effect.andThen(Task.fork(say(`${name}'s child`)), Effect.sync(() => order.push(name))))
      yield* TaskRun.awaitAll([yield* Task.fork(root("1")), yield* Task.fork(root("2"))])
      assert.deepStrictEqual(order.slice(0, 3), ["1", "1's child", "2"])
    }).pipe(Effect.provide(Scheduler.layerSequential)))

  it.effect("who takes a slot back goes before new work, whatever its priority", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const [outside, filling] = [yield* Latch.make(), yield* Latch.make()]
      const lender = yield* Task.fork(Task.make(
        "lender",
        Effect.andThen(Concurrency.lend(outside.await), Effect.sync(() => order.push("lender"))),
        { priority: "low" }
      ))
      yield* quiet
      const filler = yield* Task.fork(Task.make("filler", filling.await))
      const critical = yield* Task.fork(
        Task.make("critical", Effect.sync(() => order.push("critical")), { priority: "critical" })
      )
      yield* quiet
      assert.deepStrictEqual([yield* tagOf(lender), yield* tagOf(filler), yield* tagOf(critical)], [
        "Suspended",
        "Running",
        "Waiting"
      ])
      yield* outside.open
      yield* quiet
      assert.deepStrictEqual(order, [])
      yield* filling.open
      yield* TaskRun.join(critical)
      assert.deepStrictEqual(order, ["lender", "critical"])
    }).pipe(Effect.provide(pool(1))))

  /** Small runs that always leave a part of the pool taken, around a big one. Returns how many of them started before it. */
  const overtaken = (small: Concurrency.Demand, big: Concurrency.Demand) =>
    Effect.gen(function*() {
      let before = -1
      let started = 0
      const feeder = (i: number) =>
        Task.make("small", Effect.andThen(Effect.sync(() => started++), Effect.sleep(7 + (i % 4) * 3)), small)
      const first = yield* Effect.forEach(Arr.range(0, 3), (i) => Task.fork(feeder(i)))
      yield* quiet
      const whole = yield* Task.fork(Task.make(
        "big",
        Effect.sync(() => {
          before = started - first.length
        }),
        big
      ))
      const rest = yield* Effect.forEach(Arr.range(4, 303), (i) => Task.fork(feeder(i)))
      yield* TestClock.adjust("10 seconds")
      yield* TaskRun.awaitAll([...first, whole, ...rest])
      return before
    })

  it.effect("a run as big as the pool is overtaken by small ones 64 times, no more", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* overtaken({}, { weight: 4 }), 64)
    }).pipe(Effect.provide(pool(4))))

  it.effect("so is a run as big as a tag's limit", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* overtaken({ tags: ["t"] }, { tags: ["t"], weight: 4 }), 64)
    }).pipe(Effect.provide(pool("unbounded", { tagLimits: { t: 4 } }))))

  it.effect("what ranks before the big one still overtakes it", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* overtaken({ priority: "high" }, { weight: 4 }), 300)
    }).pipe(Effect.provide(pool(4))))

  it.effect("while a limit is kept for the big one, work on other limits goes on, and why says who waits", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const holder = yield* Task.fork(Task.make("holder", latch.await, { tags: ["t"] }))
      const big = yield* Task.fork(Task.make("big", Effect.void, { tags: ["t"], weight: 2 }))
      const small = Task.make("small", Effect.void, { tags: ["t"] })
      for (let i = 0; i < 64; i++) yield* small
      const kept = yield* Task.fork(small)
      yield* quiet
      assert.deepStrictEqual([yield* tagOf(big), yield* tagOf(kept)], ["Waiting", "Waiting"])
      assert.strictEqual(yield* Task.make("untagged", Effect.succeed(1)), 1)
      const why = Option.getOrThrow(yield* Scheduler.why(kept.id))
      assert.strictEqual(why.limit, "t")
      assert.deepStrictEqual(why.holders.map((holder) => holder.id), [holder.id])
      yield* big.interrupt
      yield* TaskRun.join(kept)
      yield* latch.open
    }).pipe(Effect.provide(pool(9, { tagLimits: { t: 2 } }))))

  it.effect("why of what does not wait is none, and its position counts from the front", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never))
      const first = yield* Task.fork(Task.make("first", Effect.never))
      const second = yield* Task.fork(Task.make("second", Effect.never))
      assert.isTrue(Option.isNone(yield* Scheduler.why(holder.id)))
      assert.isTrue(Option.isNone(yield* Scheduler.why("nobody")))
      const [one, two] = [
        Option.getOrThrow(yield* Scheduler.why(first.id)),
        Option.getOrThrow(yield* Scheduler.why(second.id))
      ]
      assert.deepStrictEqual([one.run, one.limit, two.limit], [first.id, "maxParallelism", "maxParallelism"])
      assert.strictEqual(two.position - one.position, 1)
    }).pipe(Effect.provide(pool(1))))
})

describe("law 10: cost is flat", () => {
  it.live("a run among 20,000 waiting costs what it costs among 2,000", () =>
    Effect.gen(function*() {
      const perRun = (waiting: number) =>
        Effect.gen(function*() {
          const latch = yield* Latch.make()
          yield* Task.fork(Task.make("blocker", latch.await, { weight: 4 }))
          const job = Task.make("job", Effect.void, { tags: ["a"] })
          const runs = yield* Effect.forEach(Arr.range(1, waiting), () => Task.fork(job))
          const before = process.threadCpuUsage()
          yield* Effect.andThen(latch.open, TaskRun.awaitAll(runs))
          const { system, user } = process.threadCpuUsage(before)
          return (system + user) / waiting
        }).pipe(Effect.provide(Layer.fresh(pool(4, { tagLimits: { a: 3 } }))))
      yield* perRun(2000)
      const best = (waiting: number) =>
        Effect.map(Effect.all(Arr.replicate(perRun(waiting), 3)), (times) => Math.min(...times))
      const [few, many] = [yield* best(2000), yield* best(20_000)]
      // Microseconds of this thread's own time, however busy the machine is; 20,000 fibers at a Semaphore take 200 each.
      assert.isAtMost(many, 5 * Math.max(few, 1))
    }))
})
