/** Lanes: what blocks or floods one leaves the others untouched, and all end with the supervisor. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, Lanes, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import { outcomeOf, report } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"

const one: Lanes.LaneOptions = { maxParallelism: 1 }

const ab = Lanes.layer({ lanes: { a: one, b: one } })

const stubborn = (duration: Duration.Input) => Effect.uninterruptible(Effect.sleep(duration))

const laneOf = Effect.map(TaskRun.CurrentRun, (run) => run.lane)

const stateOf = (name: string) => Effect.map(Lanes.list, (all) => all.find((lane) => lane.name === name)?.state)

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.instanceOf(error, Lanes.LaneError)
    return [error.lane, error.reason._tag]
  })

describe("a lane", () => {
  it.effect("has slots of its own: one that is blocked or flooded leaves the others untouched", () =>
    Effect.gen(function*() {
      const never = yield* Lanes.fork("a")(Effect.never)
      const flood = yield* Effect.forEach(Arr.range(1, 1000), () => Lanes.fork("a")(Effect.void))
      assert.strictEqual(yield* elapsed(Lanes.run("b")(Effect.sleep("1 second")).pipe(clocked("1 second"))), 1000)
      assert.strictEqual(yield* outcomeOf(flood[0]!), "Waiting")
      const stats = yield* Effect.flatMap(Lanes.get("a"), (scheduler) => scheduler.stats)
      assert.deepStrictEqual([stats.active, stats.queued, stats.maxParallelism], [1, 1000, 1])
      yield* never.interrupt
      yield* TaskRun.awaitAll(flood)
    }).pipe(Effect.provide(ab)))

  it.effect("may be resized by itself", () =>
    Effect.gen(function*() {
      const gauges = { a: Gauge.make(), b: Gauge.make() }
      for (const lane of ["a", "b"] as const) {
        for (let i = 0; i < 3; i++) yield* Lanes.fork(lane)(gauges[lane].inside(Effect.never))
      }
      yield* Effect.flatMap(Lanes.get("b"), (scheduler) => scheduler.resize(2))
      yield* quiet
      assert.deepStrictEqual([gauges.a.current, gauges.b.current], [1, 2])
    }).pipe(Effect.provide(ab)))

  it.effect("takes any effect: fork gives a handle, run the result, the failure or the defect", () =>
    Effect.gen(function*() {
      const run = yield* Lanes.fork("a")(Effect.succeed(7), { name: "seven", tags: ["odd"] })
      assert.deepStrictEqual([run.name, run.tags, run.lane, yield* TaskRun.join(run)], ["seven", ["odd"], "a", 7])
      assert.strictEqual(yield* Effect.flip(Lanes.run("a")(Effect.fail("no" as const))), "no")
      assert.strictEqual(Refusal.defect(yield* Effect.exit(Lanes.run("a")(Effect.die("bad")))), "bad")
    }).pipe(Effect.provide(ab)))

  it.effect("passes the interruption of who runs in it on, and frees the slot", () =>
    Effect.gen(function*() {
      let interrupted = false
      const waiting = yield* Effect.forkChild(
        Lanes.run("a")(Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted = true)))
      )
      yield* quiet
      yield* Fiber.interrupt(waiting)
      assert.isTrue(interrupted)
      assert.strictEqual(yield* Lanes.run("a")(Effect.succeed("free")), "free")
    }).pipe(Effect.provide(ab)))

  it.effect("is seen in CurrentRun, in events and in log lines, and nested tasks stay in it", () => {
    const journal = Journal.make()
    const annotated: Array<unknown> = []
    const logger = Logger.make(({ fiber, message }) => {
      annotated.push([String(message), fiber.getRef(References.CurrentLogAnnotations)["lane"]])
    })
    return Effect.gen(function*() {
      const child = Task.make("child", Effect.tap(laneOf, () => Effect.log("inside")))
      const parent = Task.make("parent", Effect.all([laneOf, child, Effect.map(Task.fork(child), (run) => run.lane)]))
      assert.deepStrictEqual(yield* Lanes.run("b")(parent, { name: "root" }), ["b", "b", "b"])
      // What names no lane goes to the default.
      assert.deepStrictEqual(yield* parent, ["a", "a", "a"])
      yield* quiet
      const lanes = journal.events.flatMap((event) => "run" in event ? [[event.run.name, event.run.lane]] : [])
      assert.deepStrictEqual(
        [...new Set(lanes.map((it) => it.join(" in ")))].sort(),
        ["child in a", "child in b", "parent in a", "parent in b", "root in b"]
      )
      assert.deepStrictEqual(annotated, [["inside", "b"], ["inside", "b"], ["inside", "a"], ["inside", "a"]])
    }).pipe(Effect.provide(Layer.merge(ab, Logger.layer([logger]))), journal.listen, Effect.scoped)
  })

  it.effect("is left for another by name, from inside too, and what runs there is at home there", () =>
    Effect.gen(function*() {
      const visit = Lanes.run("b")(Effect.all([laneOf, Task.make("nested", laneOf)]))
      assert.deepStrictEqual(yield* Lanes.run("a")(Effect.all([visit, laneOf])), [["b", "b"], "a"])
    }).pipe(Effect.provide(ab)))

  it.effect("are fetched: the scheduler of one, to be given to whatever asks for a Scheduler", () =>
    Effect.gen(function*() {
      const b = yield* Lanes.get("b")
      const task = Task.make("outer", Task.make("inner", laneOf))
      assert.strictEqual(yield* Effect.provideService(task, Scheduler.Scheduler, b), "b")
      assert.strictEqual(b, yield* Lanes.get("b"))
    }).pipe(Effect.provide(ab)))

  it.effect("outside of every lane a run has none", () =>
    Effect.gen(function*() {
      const run = yield* Scheduler.fork(laneOf)
      assert.deepStrictEqual([run.lane, yield* TaskRun.join(run)], [undefined, undefined])
    }).pipe(Effect.provide(Scheduler.layer())))
})

describe("lanes that wait for each other", () => {
  it.effect("lend: a run of one slot waits for a lane that waits for a run of that slot", () =>
    Effect.gen(function*() {
      const back = (depth: number): Effect.Effect<number, Lanes.LaneError, Lanes.Lanes> =>
        depth === 0
          ? Effect.succeed(0)
          : Effect.map(Lanes.run(depth % 2 === 0 ? "a" : "b")(back(depth - 1)), (n) => n + 1)
      assert.strictEqual(yield* Lanes.run("a")(back(21)), 21)
      const all = Effect.forEach(Arr.range(1, 20), () => Lanes.run("a")(back(5)), { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* all, Arr.makeBy(20, () => 5))
    }).pipe(Effect.provide(ab)))

  it.effect("in a circle are told so: it would never end", () =>
    Effect.gen(function*() {
      const ready = yield* Latch.make()
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      const waitFor = (i: number) => Effect.andThen(ready.await, Effect.suspend(() => TaskRun.join(runs[i]!)))
      runs.push(yield* Lanes.fork("a")(waitFor(1)), yield* Lanes.fork("b")(waitFor(0)))
      yield* ready.open
      const exits = yield* TaskRun.awaitAll(runs)
      assert.include(exits.map((exit) => Refusal.died(exit)?._tag), "Deadlock")
    }).pipe(Effect.provide(ab)))
})

describe("the default lane", () => {
  it.effect("is the first one, and where everything goes that names none", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Task.make("plain", laneOf), "a")
      assert.strictEqual(yield* Scheduler.run(laneOf), "a")
      assert.strictEqual(yield* Lanes.run("default")(laneOf), "a")
      assert.deepStrictEqual(yield* Lanes.list, [
        { name: "a", state: "running", isDefault: true },
        { name: "b", state: "running", isDefault: false }
      ])
    }).pipe(Effect.provide(ab)))

  it.effect("one of them is the default: the one declared, then the one that is made it; what has begun stays where it is", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Scheduler.run(laneOf), "b")
      const begun = yield* Scheduler.fork(Effect.andThen(Effect.sleep("1 second"), Task.make("later", laneOf)))
      yield* quiet
      yield* Lanes.setDefault("a")
      assert.strictEqual(yield* Scheduler.run(laneOf), "a")
      assert.strictEqual(yield* Lanes.run("default")(laneOf), "a")
      assert.deepStrictEqual((yield* Lanes.list).map(({ isDefault }) => isDefault), [true, false])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* TaskRun.join(begun), "b")
      assert.deepStrictEqual(yield* reasonOf(Lanes.setDefault("nowhere")), ["nowhere", "Unknown"])
      assert.strictEqual(yield* Scheduler.run(laneOf), "a")
    }).pipe(Effect.provide(Lanes.layer({ lanes: { a: one, b: one }, default: "b" }))))

  it.effect("is the whole of a Scheduler: stats, runs, why, resize and events are the lane's", () =>
    Effect.gen(function*() {
      const told = yield* Effect.forkChild(Stream.runCollect(Stream.take(Scheduler.events, 3)))
      yield* quiet
      const holder = yield* Scheduler.fork(Effect.never, { name: "holder" })
      const waiting = yield* Scheduler.fork(Effect.never, { name: "waiting", id: "w" })
      yield* quiet
      assert.deepStrictEqual((yield* Scheduler.runs).map(({ name }) => name), ["holder", "waiting"])
      assert.strictEqual((yield* Scheduler.stats).queued, 1)
      const why = yield* Scheduler.why(waiting.id)
      assert.deepStrictEqual(why._tag === "Some" && why.value.holders.map(({ id }) => id), [holder.id])
      yield* Scheduler.resize(2)
      assert.strictEqual((yield* Effect.flatMap(Lanes.get("a"), ({ stats }) => stats)).maxParallelism, 2)
      assert.strictEqual((yield* Fiber.join(told))[0]!._tag, "Submitted")
    }).pipe(Effect.provide(ab)))

  it.effect("that is not running takes no work, and says which lane it is", () =>
    Effect.gen(function*() {
      const defect = Refusal.defect(yield* Effect.exit(Scheduler.run(Effect.void)))
      assert.instanceOf(defect, Lanes.LaneError)
      assert.deepStrictEqual([defect.lane, defect.reason._tag], ["a", "NotStarted"])
    }).pipe(Effect.provide(Lanes.layer({ lanes: { a: { start: false } } }))))

  it.effect("of no lanes is unknown until one is added", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* reasonOf(Lanes.get("default")), ["default", "Unknown"])
      yield* Lanes.add("late")
      assert.strictEqual(yield* Scheduler.run(laneOf), "late")
    }).pipe(Effect.provide(Lanes.layer({ lanes: {} }))))
})

describe("names", () => {
  for (const name of ["", "default", "tasklayer", "tasklayer/x", "tasklayerish"]) {
    it.effect(`"${name}" is reserved`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* reasonOf(Lanes.add(name)), [name, "Reserved"])
        assert.strictEqual((yield* Lanes.list).length, 2)
        const built = yield* Effect.exit(Layer.build(Layer.fresh(Lanes.layer({ lanes: { [name]: {} } }))))
        const defect = Refusal.defect(built)
        assert.instanceOf(defect, Lanes.LaneError)
        assert.strictEqual(defect.reason._tag, "Reserved")
      }).pipe(Effect.scoped, Effect.provide(ab)))
  }

  it.effect("taken are errors, started or not; unknown ones say what is known", () =>
    Effect.gen(function*() {
      yield* Lanes.add("c", { start: false })
      for (const name of ["a", "b", "c"]) assert.deepStrictEqual(yield* reasonOf(Lanes.add(name)), [name, "Duplicate"])
      const uses: ReadonlyArray<Effect.Effect<unknown, Lanes.LaneError, Lanes.Lanes>> = [
        Lanes.get("d"),
        Lanes.start("d"),
        Lanes.stop("d"),
        Lanes.setDefault("d"),
        Lanes.fork("d")(Effect.void),
        Lanes.run("d")(Effect.void)
      ]
      for (const use of uses) {
        const { lane, message, reason } = yield* Effect.flip(use)
        assert.deepStrictEqual([lane, reason], ["d", { _tag: "Unknown", known: ["a", "b", "c"] }])
        assert.match(message, /"d".*"a", "b", "c"/)
      }
    }).pipe(Effect.provide(ab)))

  it.effect("of objects in general are lanes only when they were declared", () =>
    Effect.gen(function*() {
      for (const name of ["__proto__", "constructor", "toString"]) {
        assert.deepStrictEqual(yield* reasonOf(Lanes.get(name)), [name, "Unknown"])
        yield* Lanes.add(name)
        assert.strictEqual(yield* Lanes.run(name)(laneOf), name)
      }
    }).pipe(Effect.provide(ab)))

  it.effect("a default that is not declared is a defect of the Layer", () =>
    Effect.gen(function*() {
      const defect = Refusal.defect(yield* Effect.exit(Layer.build(Lanes.layer({ lanes: { a: {} }, default: "x" }))))
      assert.instanceOf(defect, Lanes.LaneError)
      assert.deepStrictEqual([defect.lane, defect.reason._tag], ["x", "Unknown"])
    }).pipe(Effect.scoped))
})

describe("options", () => {
  const invalid: ReadonlyArray<readonly [string, Lanes.LaneOptions]> = [
    ["maxParallelism", { maxParallelism: 0 }],
    ["maxParallelism", { maxParallelism: 1.5, start: false }],
    ["gracePeriod", { gracePeriod: -1 }],
    ["interruptTimeout", { interruptTimeout: -1 }],
    ["maxQueued", { maxQueued: -1 }],
    ["whenQueueFull", { whenQueueFull: "explode" as "fail" }],
    ["db", { tagLimits: { db: -1 } }]
  ]
  for (const [field, options] of invalid) {
    it.effect(`${JSON.stringify(options)} is invalid: a defect of the Layer, a failure of add`, () =>
      Effect.gen(function*() {
        const error = Refusal.invalidInput(yield* Effect.exit(Lanes.add("c", options)))
        assert.deepStrictEqual([error?.where, error?.field.includes(field)], ["Lanes.add", true])
        assert.deepStrictEqual(yield* reasonOf(Lanes.get("c")), ["c", "Unknown"])
        yield* Lanes.add("c", one)
        const built = yield* Effect.exit(Layer.build(Layer.fresh(Lanes.layer({ lanes: { good: {}, bad: options } }))))
        assert.deepStrictEqual([Refusal.invalid(built)?.where], ["Lanes.layer"])
      }).pipe(Effect.scoped, Effect.provide(ab)))
  }

  it.effect("explicit undefined is the default, everywhere", () =>
    Effect.gen(function*() {
      yield* Lanes.add("c", {
        start: undefined,
        maxParallelism: undefined,
        tagLimits: undefined,
        gracePeriod: undefined,
        id: undefined
      })
      assert.strictEqual(yield* Lanes.run("c")(laneOf), "c")
    }).pipe(Effect.provide(Lanes.layer({ lanes: { a: { start: undefined } }, default: undefined }))))

  it.effect("a lane's own tag limits count in that lane alone, those of the Concurrency across all", () =>
    Effect.gen(function*() {
      const own = { a: Gauge.make(), b: Gauge.make() }
      const shared = Gauge.make()
      const work = (lane: "a" | "b", tag: string, gauge: Gauge.Gauge) =>
        Lanes.fork(lane)(gauge.inside(Effect.sleep("1 second")), { tags: [tag] })
      for (const lane of ["a", "b"] as const) {
        for (let i = 0; i < 4; i++) {
          yield* work(lane, "own", own[lane])
          yield* work(lane, "shared", shared)
        }
      }
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([own.a.peak, own.b.peak, shared.peak], [2, 4, 3])
    }).pipe(
      Effect.provide(
        Lanes.layer({
          lanes: { a: { maxParallelism: 20, tagLimits: { own: 2 } }, b: { maxParallelism: 20 } }
        }).pipe(Layer.provideMerge(Concurrency.layer({ tagLimits: { shared: 3 } })))
      )
    ))

  it.effect("limits created at run time hold across the lanes, those added later as well", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      yield* Concurrency.create("db", 1)
      yield* Lanes.add("c")
      for (const lane of ["a", "b", "c"]) {
        yield* Lanes.fork(lane)(gauge.inside(Effect.sleep("1 second")), { tags: ["db"] })
      }
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(ab)))
})

describe("starting and stopping", () => {
  it.effect("a lane that is declared only refuses work until it is started", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* stateOf("b"), "stopped")
      for (const use of [Lanes.get("b"), Lanes.run("b")(Effect.void)]) {
        assert.deepStrictEqual(yield* reasonOf<unknown, unknown, Lanes.Lanes>(use), ["b", "NotStarted"])
      }
      yield* Lanes.start("b")
      yield* Lanes.start("b")
      assert.strictEqual(yield* stateOf("b"), "running")
      assert.strictEqual(yield* Lanes.run("b")(laneOf), "b")
    }).pipe(Effect.provide(Lanes.layer({ lanes: { a: one, b: { start: false } } }))))

  it.effect("two starts at once are one", () =>
    Effect.gen(function*() {
      yield* Effect.all([1, 2, 3].map(() => Lanes.start("b")), { concurrency: "unbounded" })
      assert.strictEqual(yield* Lanes.run("b")(laneOf), "b")
    }).pipe(Effect.provide(Lanes.layer({ lanes: { a: one, b: { start: false } } }))))

  it.effect("stop within the budget given closes one lane and leaves the others; it starts again, empty", () =>
    Effect.gen(function*() {
      const drained = yield* Lanes.fork("a")(Effect.sleep("1 second"), { name: "drained" })
      const waiting = yield* Lanes.fork("a")(Effect.sleep("1 hour"), { name: "waiting" })
      const other = yield* Lanes.fork("b")(Effect.sleep("1 hour"))
      yield* quiet
      const before = yield* Lanes.get("a")
      const stop = yield* Effect.forkChild(elapsed(Lanes.stop("a", { gracePeriod: "3 seconds" })))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 3000)
      assert.deepStrictEqual(yield* Effect.forEach([drained, waiting, other], outcomeOf), [
        "Succeeded",
        "Interrupted",
        "Running"
      ])
      assert.deepStrictEqual([yield* stateOf("a"), yield* stateOf("b")], ["stopped", "running"])
      assert.deepStrictEqual(yield* reasonOf(Lanes.get("a")), ["a", "NotStarted"])
      yield* Lanes.start("a")
      assert.notStrictEqual(yield* Lanes.get("a"), before)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
      assert.strictEqual(yield* Lanes.run("a")(laneOf), "a")
    }).pipe(Effect.provide(ab)))

  it.effect("stop gives every caller the report, and of what is not running an empty one", () =>
    Effect.gen(function*() {
      yield* Lanes.fork("a")(Effect.sleep("1 second"))
      yield* quiet
      const asking = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(Lanes.stop("a", { gracePeriod: "1 hour" }))
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Effect.forEach(asking, Fiber.join), Arr.makeBy(3, () => report({ drained: 1 })))
      assert.deepStrictEqual(yield* Lanes.stop("a"), report({}))
    }).pipe(Effect.provide(ab)))

  it.effect("stop without a budget takes the lane's own; an invalid one is a defect and stops nothing", () =>
    Effect.gen(function*() {
      yield* Lanes.fork("slow")(Effect.sleep("2 seconds"))
      yield* quiet
      const invalid = Refusal.invalid(yield* Effect.exit(Lanes.stop("slow", { gracePeriod: -1 })))
      assert.strictEqual(invalid?.field, "gracePeriod")
      assert.strictEqual(yield* stateOf("slow"), "running")
      const stop = yield* Effect.forkChild(elapsed(Lanes.stop("slow")))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 2000)
    }).pipe(Effect.provide(Lanes.layer({ lanes: { slow: { gracePeriod: "10 seconds" } } }))))

  it.effect("while a lane stops it takes no new work; one started meanwhile is there when the old one has ended", () =>
    Effect.gen(function*() {
      const old = yield* Lanes.fork("a")(
        Effect.andThen(Effect.sleep("5 seconds"), Task.make("child", Effect.succeed("child")))
      )
      yield* quiet
      const stop = yield* Effect.forkChild(Lanes.stop("a", { gracePeriod: "1 hour" }))
      yield* quiet
      const late = yield* Effect.exit(Lanes.run("a")(Effect.void))
      assert.strictEqual(Refusal.died(late)?._tag, "SchedulerClosed")
      const start = yield* Effect.forkChild(elapsed(Lanes.start("a")))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(stop)).interrupted, 0)
      assert.strictEqual(yield* TaskRun.join(old), "child")
      assert.strictEqual(yield* Fiber.join(start), 5000)
      assert.strictEqual(yield* Lanes.run("a")(laneOf), "a")
    }).pipe(Effect.provide(ab)))

  it.effect("who waits for the stop of a lane may be interrupted: the stop goes on", () =>
    Effect.gen(function*() {
      yield* Lanes.fork("a")(Effect.sleep("5 seconds"))
      yield* quiet
      const asking = yield* Effect.forkChild(Lanes.stop("a", { gracePeriod: "1 hour" }))
      yield* TestClock.adjust("1 second")
      const left = yield* Effect.forkChild(elapsed(Fiber.interrupt(asking)))
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* Fiber.join(left), 0)
      yield* quiet
      assert.strictEqual(yield* stateOf("a"), "stopped")
      yield* Lanes.start("a")
    }).pipe(Effect.provide(ab)))

  it.effect("stop from inside a run of the lane: it gets the report and goes on", () =>
    Effect.gen(function*() {
      const went: Array<string> = []
      const other = yield* Lanes.fork("wide")(Effect.never)
      const asking = yield* Lanes.fork("wide")(Effect.gen(function*() {
        const got = yield* Lanes.stop("wide")
        yield* Effect.sleep("1 second")
        went.push("on")
        return got
      }))
      yield* quiet
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* TaskRun.join(asking), report({ interrupted: 1 }))
      assert.deepStrictEqual([went, yield* outcomeOf(other), yield* stateOf("wide")], [
        ["on"],
        "Interrupted",
        "stopped"
      ])
      yield* Lanes.start("wide")
      assert.strictEqual(yield* Lanes.run("wide")(laneOf), "wide")
    }).pipe(Effect.provide(Lanes.layer({ lanes: { wide: { maxParallelism: 2 } } }))))

  it.effect("restarted from inside one of its runs, the lane is new and the run ends as it would", () =>
    Effect.gen(function*() {
      const asking = yield* Lanes.fork("a")(
        Effect.gen(function*() {
          yield* Lanes.stop("a")
          yield* Lanes.start("a")
          return yield* Lanes.run("a")(Effect.succeed("new"))
        })
      )
      assert.strictEqual(yield* TaskRun.join(asking), "new")
      assert.strictEqual(yield* Lanes.run("a")(Effect.succeed("free")), "free")
    }).pipe(Effect.provide(ab)))

  it.effect("a lane whose scheduler was closed by hand is stopped, and starts again", () =>
    Effect.gen(function*() {
      yield* Scheduler.close
      assert.strictEqual(yield* stateOf("a"), "stopped")
      yield* Lanes.start("a")
      assert.strictEqual(yield* Lanes.run("a")(laneOf), "a")
    }).pipe(Effect.provide(ab)))

  it.effect("are added, unstarted if wanted, and start, stop and start again like those that were declared", () =>
    Effect.gen(function*() {
      yield* Lanes.add("late", { ...one, start: false })
      assert.strictEqual(yield* stateOf("late"), "stopped")
      yield* Lanes.start("late")
      const run = yield* Lanes.fork("late")(Effect.never)
      yield* quiet
      assert.deepStrictEqual(yield* Lanes.stop("late"), report({ interrupted: 1 }))
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      yield* Lanes.start("late")
      yield* Lanes.setDefault("late")
      assert.strictEqual(yield* Scheduler.run(laneOf), "late")
    }).pipe(Effect.provide(ab)))
})

describe("under a supervisor", () => {
  const supervised = (options: Supervisor.Options, lanes: Lanes.Options["lanes"] = { a: one, b: one }) =>
    Lanes.layer({ lanes }).pipe(Layer.provideMerge(Supervisor.layer(options)))

  it.effect("lanes are members while they run, in the phase of that name", () =>
    Effect.gen(function*() {
      const names = Effect.map(Supervisor.status, ({ members }) => members.map(({ name, phase }) => [name, phase]))
      assert.deepStrictEqual(yield* names, [["lane a", "lanes"], ["lane b", "lanes"]])
      yield* Lanes.stop("a")
      yield* Lanes.add("c")
      assert.deepStrictEqual(yield* names, [["lane b", "lanes"], ["lane c", "lanes"]])
      yield* Lanes.start("a")
      assert.strictEqual((yield* names).length, 3)
      yield* Supervisor.shutdown
      assert.deepStrictEqual(yield* names, [])
      assert.deepStrictEqual((yield* Lanes.list).map(({ state }) => state), ["stopped", "stopped", "stopped"])
    }).pipe(Effect.provide(supervised({}))))

  it.effect("its shutdown closes them in their phase, drained in one budget; the report has their runs", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.sleep("2 seconds"), { name: "worker", phase: "workers" })
      yield* Supervisor.fork(Effect.never, { name: "pooled" })
      const runs = yield* Effect.all([
        Lanes.fork("a")(Effect.sleep("3 seconds")),
        Lanes.fork("b")(Effect.sleep("1 hour")),
        Lanes.fork("b")(Effect.never)
      ])
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("1 second")
      // Workers drain first: their lanes still take what they submit.
      assert.strictEqual(yield* Lanes.run("a")(Effect.succeed("open")).pipe(clocked("2 seconds")), "open")
      const late = yield* Effect.exit(Lanes.run("a")(Effect.void))
      assert.isTrue(Exit.isFailure(late))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 5000)
      assert.deepStrictEqual(yield* Effect.forEach(runs, outcomeOf), ["Succeeded", "Interrupted", "Interrupted"])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 3, interrupted: 3 }))
    }).pipe(Effect.provide(supervised({ gracePeriod: "5 seconds" }))))

  it.effect("names those in a lane that ignore interruption, not the lane", () =>
    Effect.gen(function*() {
      const deaf = [yield* Lanes.fork("a")(stubborn("1 hour"), { name: "deaf a" })]
      deaf.push(yield* Lanes.fork("b")(stubborn("1 hour"), { name: "deaf b" }))
      yield* Supervisor.fork(stubborn("1 hour"), { name: "deaf" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 3000)
      const { stragglers, ...counts } = yield* Supervisor.shutdown
      assert.deepStrictEqual(counts, { drained: 0, interrupted: 0, abandoned: 3 })
      assert.deepStrictEqual([...stragglers].sort(), ["deaf", "deaf a", "deaf b"])
      assert.deepStrictEqual(yield* Effect.forEach(deaf, outcomeOf), ["Abandoned", "Abandoned"])
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.provide(supervised({ gracePeriod: "1 second", interruptTimeout: "2 seconds" }))))

  it.effect("and with an interrupt timeout of zero as well", () =>
    Effect.gen(function*() {
      yield* Lanes.fork("a")(stubborn("1 hour"), { name: "deaf a" })
      yield* Lanes.fork("b")(Effect.never, { name: "obedient" })
      yield* quiet
      const { abandoned, interrupted, stragglers } = yield* Supervisor.shutdownWith({ interruptTimeout: 0 })
      assert.deepStrictEqual([abandoned, interrupted, stragglers], [1, 1, ["deaf a"]])
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.provide(supervised({}))))

  it.effect("a stop that is shortened is shortened for the lanes", () =>
    Effect.gen(function*() {
      const run = yield* Lanes.fork("a")(Effect.sleep("1 hour"))
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "Infinity" }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* elapsed(Supervisor.shutdownWith({ gracePeriod: 0 })), 0)
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      assert.deepStrictEqual(yield* Fiber.join(stop), report({ interrupted: 1 }))
    }).pipe(Effect.provide(supervised({}))))

  it.effect("shutdown from inside a lane's run, and from inside the run that waits for it elsewhere", () =>
    Effect.gen(function*() {
      const other = yield* Lanes.fork("b")(Effect.never)
      const asking = yield* Lanes.fork("a")(Lanes.run("a")(Supervisor.shutdown))
      assert.deepStrictEqual(yield* TaskRun.join(asking), report({ interrupted: 1 }))
      assert.deepStrictEqual(yield* Effect.forEach([other, asking], outcomeOf), ["Interrupted", "Succeeded"])
    }).pipe(Effect.provide(supervised({}))))

  for (const before of [true, false]) {
    it.effect(
      `shutdown from inside two runs ${
        before ? "before" : "after"
      } their phase has begun, and from outside: none waits for another`,
      () =>
        Effect.gen(function*() {
          const latch = yield* Latch.make()
          const forever = Supervisor.shutdownWith({ gracePeriod: "Infinity" })
          const asking = yield* Effect.forEach(["a", "b"], (lane) =>
            Lanes.fork(lane)(Effect.andThen(latch.await, forever)))
          yield* Supervisor.fork(Effect.sleep("1 second"), { phase: before ? "workers" : "pool" })
          yield* quiet
          const stop = yield* Effect.forkChild(forever)
          yield* quiet
          yield* latch.open
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(yield* Fiber.join(stop), report({ drained: 1 }))
          for (const run of asking) {
            assert.deepStrictEqual(yield* TaskRun.join(run), report({ drained: 1 }))
          }
        }).pipe(Effect.provide(supervised({}))),
      { timeout: 5000 }
    )
  }

  it.effect("bailOut from inside a run: it is interrupted with the others, and block says why", () =>
    Effect.gen(function*() {
      const asking = yield* Lanes.fork("a")(Effect.andThen(Supervisor.bailOut("out of disk", 9), Effect.never))
      const error = yield* Effect.flip(Supervisor.block)
      assert.deepStrictEqual([error.reason, error.code], ["out of disk", 9])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 1 }))
      assert.strictEqual(yield* outcomeOf(asking), "Interrupted")
    }).pipe(Effect.provide(supervised({}))))

  it.effect("a member that was forked by a run and stops the group stops that run too", () =>
    Effect.gen(function*() {
      const run = yield* Lanes.fork("a")(
        Effect.andThen(Supervisor.fork(Effect.fail("broken"), { name: "heart", essential: true }), Effect.never)
      )
      assert.strictEqual((yield* Effect.flip(Supervisor.block)).name, "heart")
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
    }).pipe(Effect.provide(supervised({}))))

  it.effect("that has stopped starts no lane: a defect", () =>
    Effect.gen(function*() {
      yield* Supervisor.shutdown
      for (const use of [Lanes.add("late"), Lanes.start("b")]) {
        assert.instanceOf(Refusal.defect(yield* Effect.exit(use)), Supervisor.SupervisorClosed)
      }
      assert.strictEqual((yield* Lanes.list).length, 2)
    }).pipe(Effect.provide(supervised({}))))

  it.effect("two sets of lanes of the same names under one are a duplicate", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Layer.build(Layer.fresh(Lanes.layer({ lanes: { a: one } }))))
      const defect = Refusal.defect(exit)
      assert.instanceOf(defect, Lanes.LaneError)
      assert.strictEqual(defect.reason._tag, "Duplicate")
      yield* Effect.scoped(Layer.build(Layer.fresh(Lanes.layer({ lanes: { c: one } }))))
      // Gone with its Layer.
      yield* Layer.build(Layer.fresh(Lanes.layer({ lanes: { c: one } })))
    }).pipe(Effect.scoped, Effect.provide(supervised({}))))
})

describe("when their Layer closes", () => {
  const slow = { ...one, gracePeriod: "2 seconds", interruptTimeout: "1 second" } as const

  it.effect("end with their Layer, side by side, each in its own budget", () =>
    Effect.gen(function*() {
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      const program = Effect.gen(function*() {
        for (const lane of ["a", "b"]) runs.push(yield* Lanes.fork(lane)(Effect.sleep("2 seconds")))
        runs.push(yield* Lanes.fork("c")(Effect.never))
        yield* quiet
      }).pipe(Effect.provide(Lanes.layer({ lanes: { a: slow, b: slow, c: one } })))
      const took = yield* Effect.forkChild(elapsed(program))
      yield* quiet
      yield* quiet
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(took), 2000)
      assert.deepStrictEqual(yield* Effect.forEach(runs, outcomeOf), ["Succeeded", "Succeeded", "Interrupted"])
    }))

  it.effect("ManagedRuntime.dispose drains and interrupts what the lanes run", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const runtime = ManagedRuntime.make(Lanes.layer({ lanes: { a: { gracePeriod: "1 minute" }, b: one } }))
      const note = (text: string) => Effect.sync(() => noted.push(text))
      yield* Effect.promise(() =>
        runtime.runPromise(Effect.gen(function*() {
          yield* Lanes.fork("a")(Effect.andThen(Effect.sleep("50 millis"), note("drained")))
          yield* Lanes.fork("b")(Effect.onInterrupt(Effect.never, () => note("interrupted")))
          yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () => note("pool")))
          yield* quiet
        }))
      )
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual([...noted].sort(), ["drained", "interrupted", "pool"])
      assert.strictEqual(noted.at(-1), "pool")
    }))

  it.effect("a scope that closes while a lane stops waits for that stop, no longer", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Lanes.layer({ lanes: { a: slow } }), scope)
      yield* Lanes.fork("a")(Effect.never).pipe(Effect.provideContext(context))
      yield* quiet
      yield* Effect.forkChild(Lanes.stop("a").pipe(Effect.provideContext(context)))
      yield* TestClock.adjust("1 second")
      const closing = yield* Effect.forkChild(elapsed(Scope.close(scope, Exit.void)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(closing), 1000)
    }))
})

/** Moves the clock while an effect waits for it. */
function clocked(duration: Duration.Input) {
  return <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Effect.forkChild(effect), (fiber) => Effect.andThen(TestClock.adjust(duration), Fiber.join(fiber)))
}

describe("a lane without a budget of its own", () => {
  it.effect("has its supervisor's when the Layer closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const layer = Lanes.layer({ lanes: { io: { maxParallelism: 1 } } }).pipe(
        Layer.provideMerge(Supervisor.layer({ gracePeriod: "10 seconds" }))
      )
      const context = yield* Layer.buildWithScope(layer, scope)
      const run = yield* Effect.provideContext(Lanes.fork("io")(Effect.as(Effect.sleep("3 seconds"), "ended")), context)
      yield* TestClock.adjust("1 second")
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* run.exit, Exit.succeed("ended"))
    }))
})
