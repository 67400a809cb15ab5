/** Lanes: named schedulers beside each other, declared or made at run time, under one supervisor and with a default. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, Lanes, RunEvent, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"

const two = Lanes.layer({ lanes: { main: { maxParallelism: 1 }, side: { maxParallelism: 1 } } })

const laneOf = Task.make("lane", Effect.map(TaskRun.CurrentRun, ({ lane }) => lane))

const reasonOf = <A, R>(effect: Effect.Effect<A, unknown, R>) =>
  Effect.map(Effect.flip(effect), (error) => {
    assert.instanceOf(error, Lanes.LaneError)
    return error.reason
  })

const named = Effect.map(
  Lanes.list,
  (lanes) => lanes.map(({ isDefault, name, state }) => `${name} ${state}${isDefault ? ", default" : ""}`)
)

describe("a lane", () => {
  it.effect("with no free slot leaves the others untouched: no time passes", () =>
    Effect.gen(function*() {
      const blocked = yield* Lanes.fork("side")(Effect.never)
      const waiting = yield* Lanes.fork("side")(Effect.never)
      yield* quiet
      assert.strictEqual(yield* elapsed(Effect.forEach(Array(100).keys(), () => Lanes.run("main")(Effect.void))), 0)
      assert.strictEqual((yield* waiting.state)._tag, "Waiting")
      yield* Effect.all([blocked.interrupt, waiting.interrupt])
    }).pipe(Effect.provide(two)))

  it.effect("takes any effect: fork gives its handle, run its result, and interruption is passed on", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Lanes.run("side")(laneOf), "side")
      assert.strictEqual(yield* Effect.flip(Lanes.run("side")(Effect.fail("no" as const))), "no")
      const run = yield* Lanes.fork("side")(Effect.never, { name: "forever", tags: ["t"] })
      assert.deepStrictEqual([run.name, run.tags, run.lane], ["forever", ["t"], "side"])
      yield* run.interrupt
      const waited = yield* Effect.forkChild(Lanes.run("side")(Effect.never))
      yield* quiet
      yield* Fiber.interrupt(waited)
      const { active } = yield* Effect.flatMap(Lanes.get("side"), (lane) => lane.stats)
      assert.strictEqual(active, 0)
    }).pipe(Effect.provide(two)))

  it.effect("is seen in CurrentRun, in events and in log lines, and children of a run stay in it", () => {
    const heard = new Set<string | undefined>()
    const listening = Layer.succeed(RunEvent.Listeners, [(event: RunEvent.RunEvent) => {
      if ("run" in event) heard.add(event.run?.lane)
    }])
    return Effect.gen(function*() {
      const parent = Task.make("parent", laneOf)
      assert.strictEqual(yield* Lanes.run("side")(parent), "side")
      assert.deepStrictEqual([...heard], ["side"])
      assert.strictEqual(
        (yield* Lanes.run("side")(Effect.map(References.CurrentLogAnnotations, (it) => it))).lane,
        "side"
      )
      assert.strictEqual(yield* parent, "main")
    }).pipe(Effect.provide(two.pipe(Layer.provide(listening))))
  })

  it.effect("has limits of its own, and shares those of the Concurrency in context", () =>
    Effect.gen(function*() {
      const shared = Gauge.make()
      const own = Gauge.make()
      const tagged = (tag: string, gauge: Gauge.Gauge) => Task.make(tag, gauge.inside(Effect.yieldNow), { tags: [tag] })
      const fork = (lane: string) =>
        Effect.forEach(
          Array(4).keys(),
          () => Effect.all([Lanes.fork(lane)(tagged("db", shared)), Lanes.fork(lane)(tagged("disk", own))])
        )
      const runs = [...yield* fork("a"), ...yield* fork("b")].flat()
      yield* TaskRun.awaitAll(runs)
      assert.deepStrictEqual([shared.peak, own.peak], [1, 2])
    }).pipe(Effect.provide(
      Lanes.layer({
        lanes: { a: { maxParallelism: 8, tagLimits: { disk: 1 } }, b: { maxParallelism: 8, tagLimits: { disk: 1 } } }
      }).pipe(Layer.provide(Concurrency.layer({ tagLimits: { db: 1 } })))
    )))
})

describe("lanes at run time", () => {
  it.effect("are added, unstarted if wanted, started, stopped and started again", () =>
    Effect.gen(function*() {
      yield* Lanes.add("later", { maxParallelism: 2, start: false })
      assert.deepStrictEqual(yield* named, ["main running, default", "side running", "later stopped"])
      assert.strictEqual((yield* reasonOf(Lanes.run("later")(Effect.void)))._tag, "NotStarted")
      yield* Lanes.start("later")
      yield* Lanes.start("later")
      assert.strictEqual(yield* Lanes.run("later")(laneOf), "later")

      const run = yield* Lanes.fork("later")(Effect.never)
      yield* quiet
      assert.deepStrictEqual(yield* Lanes.stop("later"), { drained: 0, interrupted: 1, abandoned: 0, stragglers: [] })
      assert.isTrue(Refusal.interrupted(yield* run.exit))
      assert.strictEqual((yield* Lanes.stop("later")).interrupted, 0)
      assert.strictEqual((yield* reasonOf(Lanes.get("later")))._tag, "NotStarted")
      yield* Lanes.start("later")
      assert.strictEqual(yield* Lanes.run("later")(laneOf), "later")
      assert.strictEqual((yield* (yield* Lanes.get("later")).stats).maxParallelism, 2)
    }).pipe(Effect.provide(two)))

  it.effect("stop within the budget given, and drain meanwhile", () =>
    Effect.gen(function*() {
      yield* Lanes.fork("side")(Effect.sleep("2 seconds"))
      yield* quiet
      const stop = yield* Effect.forkChild(Lanes.stop("side", { gracePeriod: "5 seconds" }))
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(stop)).drained, 1)
    }).pipe(Effect.provide(two)))

  it.effect("one of them is the default, and another can be made it: who names no lane goes there from then on", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* laneOf, "main")
      yield* Lanes.setDefault("side")
      assert.strictEqual(yield* laneOf, "side")
      assert.strictEqual(yield* Lanes.run("default")(laneOf), "side")
      assert.deepStrictEqual(yield* named, ["main running", "side running, default"])
      yield* Scheduler.resize(3)
      assert.strictEqual((yield* (yield* Lanes.get("side")).stats).maxParallelism, 3)
      yield* Lanes.stop("side")
      assert.instanceOf(Refusal.defect(yield* Effect.exit(laneOf)), Lanes.LaneError)
    }).pipe(Effect.provide(two)))

  it.effect("are fetched: the scheduler of a lane, for direct use", () =>
    Effect.gen(function*() {
      const side = yield* Lanes.get("side")
      assert.strictEqual(yield* Effect.provideService(laneOf, Scheduler.Scheduler, side), "side")
    }).pipe(Effect.provide(two)))

  it.effect("a name that is unknown, taken or reserved is a typed error that says so", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* reasonOf(Lanes.start("nowhere")), { _tag: "Unknown", known: ["main", "side"] })
      for (const use of [Lanes.stop("nowhere"), Lanes.get("nowhere"), Lanes.setDefault("nowhere")]) {
        assert.strictEqual((yield* reasonOf<unknown, Lanes.Lanes>(use))._tag, "Unknown")
      }
      for (const name of ["", "default", "tasklayer", "tasklayer/x"]) {
        assert.deepStrictEqual(yield* reasonOf(Lanes.add(name)), { _tag: "Reserved" })
      }
      assert.deepStrictEqual(yield* reasonOf(Lanes.add("side")), { _tag: "Duplicate" })
      const invalid = yield* Effect.flip(Lanes.add("zero", { maxParallelism: 0 }))
      assert.strictEqual(invalid._tag, "InvalidOptionError")
      assert.deepStrictEqual(yield* named, ["main running, default", "side running"])
    }).pipe(Effect.provide(two)))

  it.effect("names in the Layer are literals: what is wrong with them is a defect", () =>
    Effect.gen(function*() {
      for (const options of [{ lanes: { default: {} } }, { lanes: { a: {} }, default: "b" }]) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(Lanes.layer(options))))
        assert.instanceOf(Refusal.defect(exit), Lanes.LaneError)
      }
    }))
})

describe("lanes under a supervisor", () => {
  it.effect("stop in its phase, side by side, within its budget, and their reports are added to its own", () =>
    Effect.gen(function*() {
      const phases: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(
          Supervisor.events,
          (event) => Effect.sync(() => event._tag === "PhaseStarted" && phases.push(event.phase))
        ),
        { startImmediately: true }
      )
      const latch = yield* Latch.make()
      for (const lane of ["main", "side"]) {
        yield* Lanes.fork(lane)(Effect.andThen(latch.await, Effect.sleep("2 seconds")))
      }
      yield* quiet
      assert.deepStrictEqual((yield* Supervisor.status).members.map(({ name, phase }) => `${phase}: ${name}`), [
        "lanes: lane main",
        "lanes: lane side"
      ])
      yield* latch.open
      let report: Supervisor.Report | undefined
      const stop = yield* Effect.forkChild(
        elapsed(Effect.tap(Supervisor.shutdown, (it) => Effect.sync(() => report = it)))
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 2000)
      assert.deepStrictEqual(report, { drained: 2, interrupted: 0, abandoned: 0, stragglers: [] })
      assert.deepStrictEqual(phases, ["triggers", "workers", "lanes", "pool"])
    }).pipe(Effect.provide(two.pipe(Layer.provideMerge(Supervisor.layer({ gracePeriod: "10 seconds" }))))))

  it.effect("end with their Layer, each within its own budget", () =>
    Effect.gen(function*() {
      const exits: Array<Exit.Exit<unknown, unknown>> = []
      const lanes = Lanes.layer({ lanes: { patient: { gracePeriod: "5 seconds" }, hasty: {} } })
      const program = Effect.gen(function*() {
        for (const lane of ["patient", "hasty"]) {
          yield* Lanes.fork(lane)(
            Effect.onExit(Effect.sleep("3 seconds"), (exit) => Effect.sync(() => exits.push(exit)))
          )
        }
        yield* quiet
      })
      const closing = yield* Effect.forkChild(elapsed(Effect.provide(program, lanes)))
      yield* Effect.andThen(quiet, quiet)
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure"])
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(closing), 3000)
      assert.deepStrictEqual(exits.map((exit) => exit._tag), ["Failure", "Success"])
    }))
})
