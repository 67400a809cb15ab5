/** What must hold: laws 1 to 10 of the design and its tables, one small law a test. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, RunEvent, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import * as Runner from "./suites/Runner.ts"
import { pool } from "./suites/Runner.ts"

const usage = (tag: string) => Effect.map(Concurrency.read(tag), Option.getOrThrow)
const active = (tag: string) => Effect.map(usage(tag), (info) => info.active)
const tagOf = (run: TaskRun.TaskRun<unknown, unknown>) => Effect.map(run.state, (state) => state._tag)
const outcomeOf = (run: TaskRun.TaskRun<unknown, unknown>) =>
  Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)
const held = { limit: 1, whileWaiting: "hold" } as const

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
        "normal 1",
        "normal 6",
        "15 7",
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

describe("law 6: waiting lends", () => {
  it.effect("nesting of any depth runs on one slot, by every way of waiting", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const deep = (n: number): Task.Task<number> =>
        Task.make(
          `depth ${n}`,
          Effect.gen(function*() {
            yield* gauge.inside(Effect.yieldNow)
            if (n === 0) return 0
            switch (n % 7) {
              case 0:
                return 1 + (yield* deep(n - 1))
              case 1:
                return 1 + (yield* Task.all([deep(n - 1)]))[0]
              case 2:
                return 1 + (yield* Task.forEach([n - 1], deep))[0]!
              case 3:
                return 1 + (yield* TaskRun.join(yield* TaskRun.awaitAny([yield* Task.fork(deep(n - 1))])))
              case 4: {
                const [exit] = yield* TaskRun.awaitAll([yield* Task.fork(deep(n - 1))])
                return 1 + (Exit.isSuccess(exit!) ? exit.value : NaN)
              }
              case 5: {
                const done = yield* Stream.runCollect(TaskRun.asCompleted([yield* Task.fork(deep(n - 1))]))
                return 1 + (yield* TaskRun.join(done[0]!))
              }
              default:
                return 1 +
                  (yield* Task.after(
                    [yield* Task.fork(deep(n - 1))],
                    ([below]) => Task.make("after", Effect.succeed(below))
                  ))
            }
          }).pipe(Effect.orDie)
        )
      assert.strictEqual(yield* deep(100), 100)
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a plain effect that waits for a run in forEach lends as well", () =>
    Effect.gen(function*() {
      const parent = Task.make(
        "parent",
        Task.forEach([1, 2, 3], (n) => Effect.map(Task.make("child", Effect.succeed(n)), (n) => n * 2))
      )
      assert.deepStrictEqual(yield* parent, [2, 4, 6])
    }).pipe(Effect.provide(pool(1))))

  it.effect("a suspended run is seen as such, waiting on its child, and holds no slot and no lent tag", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let child: string | undefined
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("child", latch.await))
          child = run.id
          yield* TaskRun.join(run)
        }),
        { tags: ["db"] }
      ))
      yield* quiet
      assert.deepStrictEqual(yield* parent.state, { _tag: "Suspended", on: [child!] })
      const stats = yield* Scheduler.stats
      assert.deepStrictEqual([stats.active, stats.suspended, yield* active("db")], [1, 1, 0])
      yield* latch.open
      yield* TaskRun.join(parent)
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))

  it.effect("of several fibers of one run, the slot is away from the first wait to the end of the last", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const [one, two, filling] = [yield* Latch.make(), yield* Latch.make(), yield* Latch.make()]
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.all([
          Effect.andThen(Concurrency.lend(one.await), Effect.sync(() => order.push("one"))),
          Effect.andThen(Concurrency.lend(two.await), Effect.sync(() => order.push("two")))
        ], { concurrency: 2 })
      ))
      yield* quiet
      const filler = yield* Task.fork(Task.make("filler", filling.await))
      yield* quiet
      assert.strictEqual(yield* tagOf(filler), "Running")
      yield* one.open
      yield* quiet
      assert.deepStrictEqual(order, ["one"])
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      yield* two.open
      yield* quiet
      assert.deepStrictEqual(order, ["one"])
      yield* filling.open
      yield* TaskRun.join(run)
      assert.deepStrictEqual(order, ["one", "two"])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a fiber of the run that does not wait goes on while another one's wait has the slot away", () =>
    Effect.gen(function*() {
      const [waits, works] = [yield* Latch.make(), yield* Latch.make()]
      let worked = false
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.all([
          Task.make("child", waits.await),
          Effect.andThen(
            works.await,
            Effect.sync(() => {
              worked = true
            })
          )
        ], { concurrency: 2 })
      ))
      yield* quiet
      yield* works.open
      yield* quiet
      assert.isTrue(worked)
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      yield* waits.open
      yield* TaskRun.join(run)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a wait that is interrupted takes the slot back before its fiber goes on", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const other = Task.make("other", gauge.inside(Effect.sleep("1 second")))
      const parent = Task.make(
        "parent",
        Effect.gen(function*() {
          yield* Effect.timeoutOption(Task.make("slow", Effect.sleep("1 hour")), "100 millis")
          yield* gauge.inside(Effect.sleep("1 second"))
        })
      )
      const all = yield* Effect.forkChild(Task.all([parent, other, other]))
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(all)
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("waiting across two schedulers that share a Concurrency lends the outer slot and tags too", () =>
    Effect.gen(function*() {
      const inner = Task.make("inner", Effect.succeed("inner"), { tags: ["db"] })
      const flow = inner.pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 1 }))))
      const outer = Task.make("outer", flow, { tags: ["db"] })
      assert.strictEqual(yield* outer, "inner")
      assert.deepStrictEqual(yield* Task.all([outer, outer, outer]), ["inner", "inner", "inner"])
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  describe("held tags", () => {
    const tags = ["connection"]
    const one = pool(8, { tagLimits: { connection: held } })

    it.effect("a held tag stays taken while its holder waits", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const parent = yield* Task.fork(Task.make("parent", Task.make("child", latch.await), { tags }))
        yield* quiet
        assert.strictEqual(yield* tagOf(parent), "Suspended")
        const other = yield* Task.fork(Task.make("other", Effect.succeed(1), { tags }))
        yield* quiet
        assert.deepStrictEqual(yield* other.state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "connection" }] })
        const info = yield* usage("connection")
        assert.deepStrictEqual([info.active, info.holders.map((holder) => holder.id)], [1, [parent.id]])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(other), 1)
        yield* TaskRun.join(parent)
      }).pipe(Effect.provide(one)))

    it.effect("descendants of a waiting holder run under its hold, one weight among them all", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        let most = 0
        const leaf = Task.make(
          "leaf",
          gauge.inside(Effect.gen(function*() {
            most = Math.max(most, yield* active("connection"))
            yield* Effect.sleep("1 second")
          })),
          { tags }
        )
        const middle = Task.make("middle", Task.all([leaf, leaf]))
        const parent = Task.make("parent", Task.all([leaf, middle, leaf]), { tags })
        const all = yield* Effect.forkChild(Task.all([parent, parent]))
        yield* TestClock.adjust("8 seconds")
        yield* Fiber.join(all)
        assert.deepStrictEqual([gauge.peak, most, yield* active("connection")], [1, 1, 0])
      }).pipe(Effect.provide(one)))

    it.effect("the descendants share the weight held, not the limit", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const leaf = Task.make("leaf", gauge.inside(Effect.sleep("1 second")), { tags })
        const parent = Task.make("parent", Task.all(Arr.replicate(leaf, 6)), { tags, weight: 2 })
        const all = yield* Effect.forkChild(elapsed(parent))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([yield* Fiber.join(all), gauge.peak], [3000, 2])
      }).pipe(Effect.provide(pool(16, { tagLimits: { connection: { limit: 5, whileWaiting: "hold" } } }))))

    it.effect("a descendant nobody waits for waits until the holder waits or ends", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        let child: TaskRun.TaskRun<string> | undefined
        const parent = yield* Task.fork(Task.make(
          "parent",
          Effect.gen(function*() {
            child = yield* Task.fork(Task.make("child", Effect.succeed("ran"), { tags }))
            yield* latch.await
          }),
          { tags }
        ))
        yield* quiet
        assert.deepStrictEqual([yield* tagOf(parent), yield* tagOf(child!)], ["Running", "Waiting"])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(child!), "ran")
      }).pipe(Effect.provide(one)))

    it.effect("a descendant asking for more than is held is refused", () =>
      Effect.gen(function*() {
        const child = Task.make("child", Effect.void, { tags, weight: 2 })
        const exit = yield* Effect.exit(Task.make("parent", child, { tags }))
        assert.isDefined(Refusal.died(exit))
        assert.strictEqual(yield* active("connection"), 0)
      }).pipe(Effect.provide(pool(8, { tagLimits: { connection: { limit: 3, whileWaiting: "hold" } } }))))

    it.effect("a withSlot in the body is held too: descendants run under it, and no wait gives it away", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const child = Task.make("child", Effect.andThen(latch.await, active("db")), { tags: ["db"] })
        const parent = yield* Task.fork(Task.make("parent", Concurrency.withSlot({ tags: ["db"] })(child)))
        yield* quiet
        const outside = yield* Task.fork(Task.make("outside", Effect.succeed("outside"), { tags: ["db"] }))
        yield* quiet
        assert.deepStrictEqual([yield* tagOf(parent), yield* tagOf(outside)], ["Suspended", "Waiting"])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(parent), 1)
        assert.strictEqual(yield* TaskRun.join(outside), "outside")
      }).pipe(Effect.provide(pool(8, { tagLimits: { db: 1 } }))))
  })

  describe("a wait that closes a cycle is refused at once", () => {
    it.effect("a run that joins itself", () =>
      Effect.gen(function*() {
        const run = yield* Task.fork(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, (run) => TaskRun.join(run))))
        const reason = Refusal.died(yield* run.exit)
        assert.strictEqual(reason?._tag, "Deadlock")
        assert.include(reason?._tag === "Deadlock" ? reason.cycle : [], run.id)
      }).pipe(Effect.provide(pool(2))))

    it.effect("a run that awaits its own exit, whatever the way", () =>
      Effect.gen(function*() {
        const ways: Array<(run: TaskRun.TaskRun<unknown, unknown>) => Effect.Effect<unknown, unknown>> = [
          (run) => run.exit,
          (run) => TaskRun.awaitAll([run]),
          (run) => TaskRun.awaitAny([run])
        ]
        for (const way of ways) {
          const exit = yield* Effect.exit(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, way)))
          assert.strictEqual(Refusal.died(exit)?._tag, "Deadlock")
        }
      }).pipe(Effect.provide(pool(2))))

    it.effect("two runs that join each other: the second one's wait dies, and it may go on", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const runs: Record<string, TaskRun.TaskRun<string>> = {}
        const joins = (other: string) => Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(runs[other]!)))
        runs["a"] = yield* Task.fork(Task.make("a", joins("b")))
        runs["b"] = yield* Task.fork(
          Task.make("b", Effect.map(Effect.exit(joins("a")), (exit) => Refusal.died(exit)?._tag ?? "none"))
        )
        yield* gate.open
        const [a, b] = yield* TaskRun.awaitAll([runs["a"]!, runs["b"]!])
        // Whoever waited second was refused: b tells, and a got what b told; or a itself died of it.
        if (Exit.isSuccess(a!)) assert.deepStrictEqual([a, b], [Exit.succeed("Deadlock"), Exit.succeed("Deadlock")])
        else assert.strictEqual(Refusal.died(a!)?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(2))))

    it.effect("a circle of three, none of them hanging", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
        for (let i = 0; i < 3; i++) {
          runs.push(
            yield* Task.fork(Task.make(
              `r${i}`,
              Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(runs[(i + 1) % 3]!)))
            ))
          )
        }
        yield* gate.open
        for (const exit of yield* TaskRun.awaitAll(runs)) assert.strictEqual(Refusal.died(exit)?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(3))))

    it.effect("a child that joins its waiting parent", () =>
      Effect.gen(function*() {
        const parent = Task.make(
          "parent",
          Effect.gen(function*() {
            const self = yield* TaskRun.CurrentRun
            return yield* Task.make("child", Effect.andThen(Effect.yieldNow, TaskRun.join(self)))
          })
        )
        assert.strictEqual(Refusal.died(yield* Effect.exit(parent))?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(2))))

    it.effect("a holder that waits for a stranger who waits for its held tag", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        let stranger: TaskRun.TaskRun<string> | undefined
        const holder = yield* Task.fork(Task.make(
          "holder",
          Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(stranger!))),
          { tags: ["connection"] }
        ))
        stranger = yield* Task.fork(Task.make("stranger", Effect.succeed("ran"), { tags: ["connection"] }))
        yield* quiet
        yield* gate.open
        const reason = Refusal.died(yield* holder.exit)
        assert.strictEqual(reason?._tag, "Deadlock")
        assert.include(reason?._tag === "Deadlock" ? reason.cycle.join(" ") : "", "connection")
        assert.strictEqual(yield* TaskRun.join(stranger), "ran")
      }).pipe(Effect.provide(pool(4, { tagLimits: { connection: held } }))))

    it.effect("two holders, each waiting for a child that needs the other's tag", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const parent = (own: string, other: string) =>
          Task.fork(
            Task.make(own, Effect.andThen(gate.await, Task.make("child", Effect.succeed(own), { tags: [other] })), {
              tags: [own]
            })
          )
        const [left, right] = [yield* parent("left", "right"), yield* parent("right", "left")]
        yield* quiet
        yield* gate.open
        const exits = yield* TaskRun.awaitAll([left, right])
        assert.deepStrictEqual(exits.map((exit) => Refusal.died(exit)?._tag).sort(), ["Deadlock", undefined])
      }).pipe(Effect.provide(pool(8, { tagLimits: { left: held, right: held } }))))

    it.effect("withSlot nested in opposite orders", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const nested = (outer: string, inner: string) =>
          Task.fork(Task.make(
            outer,
            Effect.succeed(outer).pipe(
              Concurrency.withSlot({ tags: [inner] }),
              (inside) => Effect.andThen(gate.await, inside),
              Concurrency.withSlot({ tags: [outer] })
            )
          ))
        const [left, right] = [yield* nested("left", "right"), yield* nested("right", "left")]
        yield* quiet
        yield* gate.open
        const exits = yield* TaskRun.awaitAll([left, right])
        assert.deepStrictEqual(exits.map((exit) => Refusal.died(exit)?._tag).sort(), ["Deadlock", undefined])
        assert.deepStrictEqual([yield* active("left"), yield* active("right")], [0, 0])
      }).pipe(Effect.provide(pool(4, { tagLimits: { left: 1, right: 1 } }))))
  })

  describe("withSlot", () => {
    it.effect("outside of a run it bounds plain effects, and is free again inside itself", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const slot = Concurrency.withSlot({ tags: ["db"] })
        const job = slot(slot(gauge.inside(Effect.andThen(Effect.sleep("1 second"), active("db")))))
        const all = yield* Effect.forkChild(Effect.all([job, job, job], { concurrency: "unbounded" }))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(all), [2, 2, 1])
        assert.deepStrictEqual([gauge.peak, yield* active("db")], [2, 0])
      }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 2 } }))))

    it.effect("waiting for it lends the run's slot", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(latch.await))
        yield* quiet
        const waiting = yield* Task.fork(
          Task.make("waiting", Concurrency.withSlot({ tags: ["db"] })(Effect.succeed(1)))
        )
        yield* quiet
        assert.strictEqual(yield* Task.make("other", Effect.succeed(2)), 2)
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(waiting), 1)
      }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

    it.effect("withSlotIfAvailable never waits: none means it did not run", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        let ran = 0
        const attempt = Concurrency.withSlotIfAvailable({ tags: ["db"] })(Effect.sync(() => ++ran))
        const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(latch.await))
        yield* quiet
        assert.isTrue(Option.isNone(yield* attempt))
        yield* latch.open
        yield* Fiber.join(holder)
        assert.deepStrictEqual(yield* attempt, Option.some(1))
        assert.strictEqual(yield* active("db"), 0)
      }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

    it.effect("lend outside of a run is the effect itself", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Concurrency.lend(Effect.succeed(1)), 1)
        assert.strictEqual(yield* Effect.flip(Concurrency.lend(Effect.fail("no"))), "no")
      }))
  })
})

describe("law 7: interrupting a waiter", () => {
  for (const delay of Arr.range(0, 9)) {
    it.effect(`a child interrupted ${delay} turns after its parent resumed leaves the limits as they were`, () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const parent = yield* Task.fork(
          Task.make("parent", Effect.andThen(Task.make("child", latch.await, { tags: ["db"] }), Effect.never), {
            tags: ["db"]
          })
        )
        const filler = yield* Task.fork(Task.make("filler", Effect.sleep("1 second"), { tags: ["db"] }))
        yield* quiet
        yield* latch.open
        yield* turns(delay)
        yield* parent.interrupt
        yield* TestClock.adjust("1 second")
        yield* TaskRun.join(filler)
        const info = yield* usage("db")
        assert.deepStrictEqual([info.active, info.waiting, info.holders], [0, 0, []])
        const stats = yield* Scheduler.stats
        assert.deepStrictEqual([stats.active, stats.queued, stats.suspended], [0, 0, 0])
        assert.strictEqual(yield* Task.make("next", Effect.succeed(1), { tags: ["db"] }), 1)
      }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))
  }

  it.effect("a withSlot interrupted in the very turn of its grant gives it back", () =>
    Effect.gen(function*() {
      for (let delay = 0; delay < 10; delay++) {
        const latch = yield* Latch.make()
        const slot = Concurrency.withSlot({ tags: ["db"] })
        const holder = yield* Effect.forkChild(slot(latch.await))
        yield* turns(2)
        const waiter = yield* Effect.forkChild(slot(Effect.never))
        yield* turns(2)
        latch.openUnsafe()
        yield* turns(delay)
        yield* Fiber.interrupt(waiter)
        yield* Fiber.join(holder)
        const info = yield* usage("db")
        assert.deepStrictEqual([info.active, info.waiting], [0, 0])
      }
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

  it.effect("a slot is freed only after the run's finalizers, those of its scope too", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const finalizer = (name: string) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => order.push(name)))
      const run = yield* Task.fork(Task.make(
        "closing",
        Effect.gen(function*() {
          yield* Effect.addFinalizer(() => finalizer("scope"))
          yield* Effect.onInterrupt(Effect.never, () => finalizer("body"))
        })
      ))
      const next = yield* Task.fork(Task.make("next", Effect.sync(() => order.push("next"))))
      yield* quiet
      const interrupting = yield* Effect.forkChild(run.interrupt)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(interrupting)
      yield* TaskRun.join(next)
      assert.deepStrictEqual(order, ["body", "scope", "next"])
    }).pipe(Effect.provide(pool(1))))

  it.effect("a suspended run that is interrupted ends without its slot; its finalizers run uncounted", () =>
    Effect.gen(function*() {
      let cleaned = false
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("child", Effect.never))
          yield* TaskRun.join(run)
        }).pipe(Effect.onInterrupt(() =>
          Effect.sync(() => {
            cleaned = true
          })
        ))
      ))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      assert.strictEqual(yield* elapsed(parent.interrupt), 0)
      assert.isTrue(cleaned)
      assert.strictEqual(yield* outcomeOf(parent), "Interrupted")
      assert.strictEqual((yield* Scheduler.stats).suspended, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("held tags of an interrupted, suspended run are freed after its finalizers", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.onInterrupt(Task.make("child", Effect.never), () =>
          Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => order.push("finalizer")))),
        { tags: ["connection"] }
      ))
      const next = yield* Task.fork(Task.make(
        "next",
        Effect.sync(() =>
          order.push("next")
        ),
        { tags: ["connection"] }
      ))
      yield* quiet
      const interrupting = yield* Effect.forkChild(parent.interrupt)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* active("connection"), 1)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupting)
      yield* TaskRun.join(next)
      assert.deepStrictEqual(order, ["finalizer", "next"])
    }).pipe(Effect.provide(pool(4, { tagLimits: { connection: held } }))))

  it.effect("interrupting who awaits a yielded task interrupts the task, waiting or running", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      const task = Task.make("task", Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.push("running"))))
      const running = yield* Effect.forkChild(task)
      const waiting = yield* Effect.forkChild(task)
      yield* quiet
      assert.deepStrictEqual([(yield* Scheduler.stats).active, (yield* Scheduler.stats).queued], [1, 1])
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* Scheduler.stats).queued, 0)
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual(ended, ["running"])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("interrupting who joins a handle leaves the run alone; what was forked outlives its parent", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let child: TaskRun.TaskRun<string> | undefined
      yield* Task.make(
        "parent",
        Effect.gen(function*() {
          child = yield* Task.fork(Task.make("child", Effect.as(latch.await, "outlived")))
        })
      )
      const joining = yield* Effect.forkChild(TaskRun.join(child!))
      yield* quiet
      yield* Fiber.interrupt(joining)
      assert.strictEqual(yield* tagOf(child!), "Running")
      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(child!), "outlived")
    }).pipe(Effect.provide(pool(1))))
})

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
        assert.deepStrictEqual(journal.facts(runs[8]!).filter((fact) => fact !== "Waiting"), [
          "Submitted",
          "Started",
          "AttemptFailed",
          "Started",
          "AttemptFailed",
          "Started",
          "Finished"
        ])
      }).pipe(
        Effect.provide(runner),
        journal.listen,
        Effect.tap(Effect.sync(() => assert.isUndefined(Journal.brokenLife(journal))))
      )
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
      Effect.tap(Effect.sync(() => assert.isUndefined(Journal.brokenLife(journal))))
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

describe("law 10: cost is flat", () => {
  it.live("a run among 20,000 waiting costs what it costs among 2,000", () =>
    Effect.gen(function*() {
      const perRun = (waiting: number) =>
        Effect.gen(function*() {
          const latch = yield* Latch.make()
          yield* Task.fork(Task.make("blocker", latch.await, { weight: 4 }))
          const job = Task.make("job", Effect.void, { tags: ["a"] })
          const runs = yield* Effect.forEach(Arr.range(1, waiting), () => Task.fork(job))
          const time = yield* elapsed(Effect.andThen(latch.open, TaskRun.awaitAll(runs)))
          return time / waiting
        }).pipe(Effect.provide(Layer.fresh(pool(4, { tagLimits: { a: 3 } }))))
      yield* perRun(2000)
      const best = (waiting: number) =>
        Effect.map(Effect.all(Arr.replicate(perRun(waiting), 3)), (times) => Math.min(...times))
      const [few, many] = [yield* best(2000), yield* best(20_000)]
      assert.isAtMost(many, 5 * Math.max(few, 0.001))
    }))
})

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

    it.effect("an attempt has a scope of its own, and CurrentRun tells which it is", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const task = Task.make(
          "attempts",
          Effect.gen(function*() {
            const { attempt } = yield* TaskRun.CurrentRun
            yield* Effect.addFinalizer(() => Effect.sync(() => order.push(`closed ${attempt}`)))
            order.push(`opened ${attempt}`)
            if (attempt < 3) return yield* Effect.fail("again")
          })
        ).pipe(Task.withRetry({ times: 5 }))
        yield* task
        assert.deepStrictEqual(order, ["opened 1", "closed 1", "opened 2", "closed 2", "opened 3", "closed 3"])
      }).pipe(Effect.provide(pool(1))))

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
