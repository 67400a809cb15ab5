/** Periodic: the Layer and its handle, under the test clock. Each overlap with each missed policy, at random: periodic-properties.test.ts. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Periodic, Scheduler, Supervisor, Task, TaskRun, Trigger } from "../src/index.ts"
import { leakGuard } from "../src/testing/index.ts"
import * as LogBook from "./suites/LogBook.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Numbers from "./suites/Random.ts"
import * as Refusal from "./suites/Refusal.ts"
import { skewed, stalling, watched } from "./suites/StallingClock.ts"

const ground = Layer.mergeAll(Supervisor.layer({ id: "group" }), Scheduler.layerUnbounded)

/** A task that notes the second it was due, the second it began, and whether it ended by itself. */
const noting = (name: string, length: Duration.Input = 0) => {
  const dues: Array<number> = []
  const starts: Array<number> = []
  const ends: Array<string> = []
  const task = Task.make(
    name,
    Effect.gen(function*() {
      const due = yield* Periodic.DueAt
      dues.push(due === undefined ? NaN : due.epochMilliseconds / 1000)
      starts.push((yield* Clock.currentTimeMillis) / 1000)
      yield* Effect.sleep(length)
    }).pipe(Effect.onExit((exit) => Effect.sync(() => ends.push(exit._tag))))
  )
  return { task, dues, starts, ends }
}

class Db extends Context.Service<Db, {}>()("test/Db") {}

const second = (instant: DateTime.Utc | undefined) => instant && instant.epochMilliseconds / 1000

const counts = ({ missed, queued, running, runs, skipped }: Periodic.Status) => ({
  runs,
  missed,
  skipped,
  queued,
  running
})

/** Builds a Layer into a scope that the test closes. */
const built = <A, E, R>(layer: Layer.Layer<A, E, R>) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(layer, scope)
    return { context, close: Scope.close(scope, Exit.void) }
  })

describe("Periodic", () => {
  it.effect("runs on the grid, and each run reads what it was due for", () =>
    Effect.gen(function*() {
      const beat = noting("beat")
      yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
      assert.strictEqual(second((yield* Periodic.status("beat")).next), 10)
      yield* TestClock.adjust("9999 millis")
      assert.deepStrictEqual(beat.dues, [])
      yield* TestClock.adjust("20001 millis")
      assert.deepStrictEqual([beat.dues, beat.starts], [[10, 20, 30], [10, 20, 30]])
      const status = yield* Periodic.status("beat")
      assert.deepStrictEqual(
        { ...status, next: second(status.next), last: second(status.last!.ended) },
        {
          name: "beat",
          trigger: "every 10 seconds",
          state: "waiting",
          next: 40,
          last: 30,
          running: 0,
          queued: 0,
          runs: 3,
          missed: 0,
          skipped: 0
        }
      )
      assert.strictEqual(status.last!.outcome!._tag, "Succeeded")
      assert.isUndefined(yield* Periodic.DueAt)
    }).pipe(Effect.provide(ground)))

  it.effect("is a Layer, which needs a Scheduler and brings a Supervisor", () =>
    Effect.gen(function*() {
      const beat = noting("beat")
      const hourly = noting("hourly")
      const app: Layer.Layer<Supervisor.Supervisor, Supervisor.NameTakenError, Scheduler.Scheduler> = Layer.mergeAll(
        Periodic.every("10 minutes", { delay: "1 minute" })(beat.task),
        Periodic.cron("0 * * * *")(hourly.task),
        Periodic.layer(Task.make("once", Effect.void), Trigger.at(5_000))
      )
      const needy: Layer.Layer<Supervisor.Supervisor, Supervisor.NameTakenError, Scheduler.Scheduler | Db> = Periodic
        .every("1 minute")(Task.make("needy", Effect.asVoid(Db)))
      assert.isTrue(Layer.isLayer(needy))
      const { close, context } = yield* built(Layer.provideMerge(app, Scheduler.layerUnbounded))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(beat.dues, [60, 660, 1260, 1860, 2460, 3060])
      assert.deepStrictEqual(hourly.dues, [3600])
      const names = yield* Effect.provideContext(Periodic.list, context)
      assert.deepStrictEqual(
        names.map(({ name, state }) => [name, state]).sort(),
        [["beat", "waiting"], ["hourly", "waiting"], ["once", "done"]]
      )
      yield* close
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(beat.dues.length, 6)
    }))

  it.effect("two tasks that share a trigger do not influence each other", () =>
    Effect.gen(function*() {
      const shared = Trigger.every("10 seconds", { jitter: "2 seconds" })
      const early = noting("early")
      const late = noting("late", "15 seconds")
      const alone = noting("alone")
      yield* Periodic.make(early.task, shared)
      yield* TestClock.adjust("5 seconds")
      yield* Periodic.make(late.task, shared, { overlap: "queue" })
      yield* TestClock.adjust("1 minute")
      yield* Periodic.pause("late")
      yield* TestClock.adjust("1 minute")
      yield* Periodic.make(alone.task, shared)
      yield* TestClock.adjust("1 minute")
      const after = (start: number, dues: ReadonlyArray<number>) =>
        dues.slice(0, 4).map((due) => Math.round((due - start) * 1000))
      assert.deepStrictEqual(after(5, late.dues), after(0, early.dues))
      assert.deepStrictEqual(after(125, alone.dues), after(0, early.dues))
    }).pipe(Effect.provide(ground)))

  it.effect("the runs are runs of the Scheduler in context, under its limits", () =>
    Effect.gen(function*() {
      const beat = Task.make("beat", Effect.never, { tags: ["db"] })
      yield* Periodic.make(beat, Trigger.every("1 second"), { overlap: "allow" })
      yield* TestClock.adjust("3 seconds")
      const runs = yield* (yield* Scheduler.Scheduler).runs
      assert.deepStrictEqual(runs.map((run) => [run.name, run.parent]), Array(3).fill(["beat", undefined]))
      const states = yield* Effect.forEach(runs, (run) => run.state)
      assert.deepStrictEqual(states.map((state) => state._tag), ["Running", "Waiting", "Waiting"])
      assert.strictEqual((yield* Periodic.status("beat")).running, 3)
    }).pipe(
      Effect.provide(Layer.mergeAll(Supervisor.layer(), Scheduler.layer({ maxParallelism: 8, tagLimits: { db: 1 } })))
    ))

  it.effect("runs on every runner, inline too, without holding up the others", () =>
    Effect.gen(function*() {
      const slow = noting("slow", "25 seconds")
      const beat = noting("beat")
      yield* Periodic.make(slow.task, Trigger.every("10 seconds"))
      yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(beat.starts, [10, 20, 30, 40, 50, 60])
      assert.deepStrictEqual(slow.starts, [10, 40])
    }).pipe(Effect.provide(Layer.mergeAll(Supervisor.layer(), Scheduler.layerInline))))

  it.effect("made inside a run, its runs are no children of that run", () =>
    Effect.gen(function*() {
      const parents: Array<string | undefined> = []
      const beat = Task.make("beat", Effect.map(TaskRun.CurrentRun, (run) => void parents.push(run.parent)))
      const maker = Task.make(
        "maker",
        Effect.andThen(Periodic.make(beat, Trigger.every("1 second")), Effect.sleep("2500 millis"))
      )
      yield* Task.fork(maker)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(parents, [undefined, undefined])
    }).pipe(Effect.provide(ground)))

  it.effect("added while others run, and removed with its scope", () =>
    Effect.gen(function*() {
      const first = noting("first")
      const second = noting("second")
      yield* Periodic.make(first.task, Trigger.every("10 seconds"))
      yield* TestClock.adjust("15 seconds")
      const scope = yield* Scope.make()
      yield* Periodic.make(second.task, Trigger.every("3 seconds")).pipe(Scope.provide(scope))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([first.dues, second.dues], [[10, 20], [18, 21, 24]])
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([first.dues, second.dues], [[10, 20, 30], [18, 21, 24]])
      assert.deepStrictEqual((yield* Periodic.list).map(({ name }) => name), ["first"])
      assert.deepStrictEqual((yield* Supervisor.status).members.map(({ name }) => name), ["first"])
      yield* Effect.scoped(Periodic.make(second.task, Trigger.every("3 seconds")))
    }).pipe(Effect.provide(ground)))

  it.effect("those due in one instant start in the order they were made", () =>
    Effect.gen(function*() {
      const started: Array<number> = []
      for (let i = 0; i < 300; i++) {
        const task = Task.make(`${i}`, Effect.sync(() => started.push(i)))
        yield* Periodic.make(task, Trigger.every("10 seconds", { delay: `${10 + 10 * (i % 3)} seconds` }))
      }
      yield* TestClock.adjust("29 seconds")
      started.length = 0
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(started, Array.from({ length: 300 }, (_, i) => i))
    }).pipe(Effect.provide(ground)))

  describe("overlap", () => {
    const overlapping = (options: Periodic.Options) =>
      Effect.gen(function*() {
        const slow = noting("slow", "25 seconds")
        yield* Periodic.make(slow.task, Trigger.every("10 seconds"), options)
        yield* TestClock.adjust("55 seconds")
        return { ...slow, status: yield* Periodic.status("slow") }
      }).pipe(Effect.provide(ground))

    it.effect("skip: what is due while a run is live does not run", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* overlapping({})
        assert.deepStrictEqual([dues, starts], [[10, 40], [10, 40]])
        assert.deepStrictEqual(counts(status), { runs: 2, missed: 0, skipped: 3, queued: 0, running: 1 })
        assert.strictEqual(status.state, "running")
      }))

    it.effect("queue: one after another", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* overlapping({ overlap: "queue" })
        assert.deepStrictEqual([dues, starts], [[10, 20], [10, 35]])
        assert.deepStrictEqual(counts(status), { runs: 2, missed: 0, skipped: 0, queued: 3, running: 1 })
      }))

    it.effect("queue: what has no room is skipped", () =>
      Effect.gen(function*() {
        const { dues, status } = yield* overlapping({ overlap: "queue", maxQueued: 1 })
        assert.deepStrictEqual(dues, [10, 20])
        assert.deepStrictEqual(counts(status), { runs: 2, missed: 0, skipped: 2, queued: 1, running: 1 })
      }))

    it.effect("replace: the live run is interrupted", () =>
      Effect.gen(function*() {
        const { dues, ends, starts, status } = yield* overlapping({ overlap: "replace" })
        assert.deepStrictEqual([dues, starts], [[10, 20, 30, 40, 50], [10, 20, 30, 40, 50]])
        assert.deepStrictEqual(ends.slice(0, 4), ["Failure", "Failure", "Failure", "Failure"])
        assert.deepStrictEqual(counts(status), { runs: 5, missed: 0, skipped: 0, queued: 0, running: 1 })
      }))

    it.effect("replace: the next one starts when the live one has ended; the newest takes its place", () =>
      Effect.gen(function*() {
        const starts: Array<number | undefined> = []
        const task = Task.make(
          "stubborn",
          Effect.flatMap(Periodic.DueAt, (due) => {
            starts.push(second(due))
            return Effect.uninterruptible(Effect.sleep("25 seconds"))
          })
        )
        yield* Periodic.make(task, Trigger.every("10 seconds"), { overlap: "replace" })
        yield* TestClock.adjust("34 seconds")
        assert.deepStrictEqual(counts(yield* Periodic.status("stubborn")), {
          runs: 1,
          missed: 0,
          skipped: 1,
          queued: 1,
          running: 1
        })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(starts, [10, 30])
        yield* Periodic.stop("stubborn")
        yield* TestClock.adjust("25 seconds")
      }).pipe(Effect.provide(ground)))

    it.effect("allow: at once", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* overlapping({ overlap: "allow" })
        assert.deepStrictEqual([dues, starts], [[10, 20, 30, 40, 50], [10, 20, 30, 40, 50]])
        assert.deepStrictEqual(counts(status), { runs: 5, missed: 0, skipped: 0, queued: 0, running: 2 })
      }))

    it.effect("a fixed delay counts from the end of the run, so nothing overlaps", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "25 seconds")
        yield* Periodic.make(slow.task, Trigger.after("10 seconds"), { overlap: "allow" })
        yield* TestClock.adjust("30 seconds")
        const status = yield* Periodic.status("slow")
        assert.deepStrictEqual([status.state, status.next], ["running", undefined])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(slow.dues, [10, 45, 80])
      }).pipe(Effect.provide(ground)))
  })

  it.effect("a fixed delay beside a calendar: what comes during a run is skipped", () =>
    Effect.gen(function*() {
      const slow = noting("slow", "5 seconds")
      const trigger = Trigger.union(Trigger.after("10 seconds"), Trigger.at(12_000, 13_000, 18_000))
      const periodic = yield* Periodic.make(slow.task, trigger, { overlap: "allow" })
      yield* TestClock.adjust("50 seconds")
      assert.deepStrictEqual(slow.dues, [10, 18, 25, 40])
      assert.strictEqual((yield* periodic.status).skipped, 2)
    }).pipe(Effect.provide(ground)))

  it.effect("a fixed delay that is asked for by hand waits for the end of that run too", () =>
    Effect.gen(function*() {
      const slow = noting("slow", "5 seconds")
      const periodic = yield* Periodic.make(slow.task, Trigger.after("10 seconds"))
      yield* TestClock.adjust("8 seconds")
      yield* periodic.trigger
      yield* TestClock.adjust("40 seconds")
      assert.deepStrictEqual(slow.dues, [8, 23, 38])
      assert.strictEqual((yield* periodic.status).skipped, 1)
    }).pipe(Effect.provide(ground)))

  describe("missed", () => {
    const stalled = (options: Periodic.Options, length: Duration.Input = 0) =>
      Effect.gen(function*() {
        const beat = noting("beat", length)
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"), options)
        yield* TestClock.adjust("80 seconds")
        return { ...beat, status: yield* Periodic.status("beat") }
      }).pipe(Effect.provide(ground), stalling([[15_000, 55_000]]))

    it.effect("once: one run for the latest, and the grid is kept", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* stalled({})
        assert.deepStrictEqual([dues, starts], [[10, 50, 60, 70, 80], [10, 55, 60, 70, 80]])
        assert.deepStrictEqual(counts(status), { runs: 5, missed: 3, skipped: 0, queued: 0, running: 0 })
      }))

    it.effect("skip: none but what is not older than the tolerance", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* stalled({ missed: "skip" })
        assert.deepStrictEqual([dues, starts], [[10, 60, 70, 80], [10, 60, 70, 80]])
        assert.deepStrictEqual(counts(status), { runs: 4, missed: 4, skipped: 0, queued: 0, running: 0 })
      }))

    it.effect("skip: what is not older than the tolerance is no miss", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* stalled({ missed: "skip", tolerance: "5 seconds" })
        assert.deepStrictEqual([dues, starts], [[10, 50, 60, 70, 80], [10, 55, 60, 70, 80]])
        assert.strictEqual(status.missed, 3)
      }))

    it.effect("all: one run each, oldest first, one after another", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* stalled({ missed: "all" }, "1 second")
        assert.deepStrictEqual(dues, [10, 20, 30, 40, 50, 60, 70, 80])
        assert.deepStrictEqual(starts, [10, 55, 56, 57, 58, 60, 70, 80])
        assert.deepStrictEqual(counts(status), { runs: 8, missed: 0, skipped: 0, queued: 0, running: 1 })
      }))

    it.effect("all: at once where overlap is allowed, and the newest where there are too many", () =>
      Effect.gen(function*() {
        const { dues, starts, status } = yield* stalled({ missed: "all", overlap: "allow", maxMissed: 3 }, "1 second")
        assert.deepStrictEqual([dues, starts], [[10, 30, 40, 50, 60, 70, 80], [10, 55, 55, 55, 60, 70, 80]])
        assert.strictEqual(status.missed, 1)
      }))

    it.effect("what was due while a run was live is skipped, also when nobody was there", () =>
      Effect.gen(function*() {
        const { dues, status } = yield* stalled({ missed: "all" }, "48 seconds")
        assert.deepStrictEqual(dues, [10, 60])
        assert.deepStrictEqual(counts(status), { runs: 2, missed: 0, skipped: 6, queued: 0, running: 1 })
      }))

    it.effect("a laptop that slept for a year makes one run, at once", () =>
      Effect.gen(function*() {
        const year = 365 * 24 * 3600
        const yearly = noting("yearly")
        const beat = noting("beat")
        yield* Periodic.make(beat.task, Trigger.every("10 millis"), { missed: "all", maxMissed: 2 })
        yield* Periodic.make(yearly.task, Trigger.cron("0 0 1 1 *"))
        yield* TestClock.adjust((year + 1.02) * 1000)
        assert.deepStrictEqual([yearly.dues, yearly.starts], [[year], [year + 1]])
        const status = yield* Periodic.status("beat")
        assert.deepStrictEqual(beat.dues.slice(0, 3), [year + 0.99, year + 1, year + 1.01])
        assert.isAtLeast(status.missed, 100_000 - 2)
      }).pipe(Effect.provide(ground), stalling([[5, (365 * 24 * 3600 + 1) * 1000]])), 60_000)
  })

  describe("by hand", () => {
    it.effect("trigger runs now and keeps the grid", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        const periodic = yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("15 seconds")
        const run = Option.getOrThrow(yield* periodic.trigger)
        yield* TaskRun.join(run)
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual([beat.dues, beat.starts], [[10, 15, 20], [10, 15, 20]])
        const byName = Option.getOrThrow(yield* Periodic.trigger("beat"))
        yield* TaskRun.join(byName)
        assert.deepStrictEqual(beat.dues, [10, 15, 20, 20])
        const status = yield* periodic.status
        assert.strictEqual(status.last!.run, byName.id)
        assert.strictEqual(status.runs, 4)
      }).pipe(Effect.provide(ground)))

    for (
      const [overlap, none, dues] of [
        ["skip", true, [10]],
        ["queue", true, [10, 12]],
        ["replace", true, [10, 12]],
        ["allow", false, [10, 12]]
      ] as const
    ) {
      it.effect(`trigger keeps to overlap ${overlap}`, () =>
        Effect.gen(function*() {
          const slow = noting("slow", "5 seconds")
          const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { overlap })
          yield* TestClock.adjust("12 seconds")
          assert.strictEqual(Option.isNone(yield* periodic.trigger), none)
          yield* TestClock.adjust("4 seconds")
          assert.deepStrictEqual(slow.dues, [...dues])
          assert.strictEqual(second((yield* periodic.status).next), 20)
        }).pipe(Effect.provide(ground)))
    }

    it.effect("paused, nothing runs by itself; resumed, it goes on with what is due from then on", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        const periodic = yield* Periodic.make(beat.task, Trigger.every("10 seconds"), { missed: "all" })
        yield* TestClock.adjust("15 seconds")
        yield* periodic.pause
        yield* Periodic.pause("beat")
        const paused = yield* periodic.status
        assert.deepStrictEqual([paused.state, paused.next], ["paused", undefined])
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(beat.dues, [10])
        assert.isTrue(Option.isSome(yield* periodic.trigger))
        yield* periodic.resume
        yield* Periodic.resume("beat")
        assert.deepStrictEqual(counts(yield* periodic.status), {
          runs: 2,
          missed: 0,
          skipped: 3,
          queued: 0,
          running: 1
        })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([beat.dues, beat.starts], [[10, 45, 50], [10, 45, 50]])
      }).pipe(Effect.provide(ground)))

    it.effect("paused, the live run goes on and the queue is empty", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "25 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { overlap: "queue" })
        yield* TestClock.adjust("31 seconds")
        yield* periodic.pause
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([slow.dues, slow.ends], [[10], ["Success"]])
        assert.deepStrictEqual(counts(yield* periodic.status), {
          runs: 1,
          missed: 0,
          skipped: 2,
          queued: 0,
          running: 0
        })
        yield* periodic.trigger
        yield* periodic.trigger
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(slow.dues, [10, 91, 91])
      }).pipe(Effect.provide(ground)))

    it.effect("skip passes over the next one, and over one more each time", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        const periodic = yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* periodic.skip
        yield* Periodic.skip("beat")
        assert.strictEqual(second((yield* periodic.status).next), 30)
        yield* TestClock.adjust("40 seconds")
        assert.deepStrictEqual(beat.dues, [30, 40])
        assert.strictEqual((yield* periodic.status).skipped, 2)
      }).pipe(Effect.provide(ground)))

    it.effect("what was skipped wakes nobody: a run that ended meanwhile does not stand in the way", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "12 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("12 seconds")
        yield* periodic.skip
        yield* TestClock.adjust("25 seconds")
        assert.deepStrictEqual([slow.dues, slow.starts], [[10, 30], [10, 35]])
      }).pipe(Effect.provide(ground), stalling([[15_000, 35_000]])))

    it.effect("skip of a fixed delay passes over the next one, known or not", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "5 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.after("10 seconds"))
        yield* periodic.skip
        yield* TestClock.adjust("22 seconds")
        assert.deepStrictEqual(slow.dues, [20])
        yield* periodic.skip
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(slow.dues, [20, 45, 60, 75])
        assert.strictEqual((yield* periodic.status).skipped, 2)
      }).pipe(Effect.provide(ground)))

    it.effect("stopped, it runs no more, by hand neither, and keeps its name; the live run goes on", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "5 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("12 seconds")
        yield* Periodic.stop("slow")
        yield* periodic.stop
        assert.isTrue(Option.isNone(yield* periodic.trigger))
        yield* periodic.resume
        yield* periodic.skip
        yield* periodic.pause
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([slow.dues, slow.ends], [[10], ["Success"]])
        const status = yield* Periodic.status("slow")
        assert.deepStrictEqual([status.state, status.next, status.running], ["stopped", undefined, 0])
        const taken = yield* Effect.flip(Periodic.make(slow.task, Trigger.every("1 second")))
        assert.strictEqual(taken._tag, "NameTakenError")
      }).pipe(Effect.provide(ground)))

    it.effect("a name nobody has is a failure that knows the others", () =>
      Effect.gen(function*() {
        yield* Periodic.make(noting("beat").task, Trigger.every("10 seconds"))
        yield* Periodic.make(noting("x").task, Trigger.every("10 seconds"), { name: "named" })
        const asked = [
          Periodic.status("bet"),
          Periodic.trigger("bet"),
          Periodic.skip("bet"),
          Periodic.pause("bet"),
          Periodic.resume("bet"),
          Periodic.stop("bet")
        ]
        for (const ask of asked) {
          const error = yield* Effect.flip(ask as Effect.Effect<unknown, Periodic.UnknownPeriodicError>)
          assert.instanceOf(error, Periodic.UnknownPeriodicError)
          assert.deepStrictEqual([error.name, error.known], ["bet", ["beat", "named"]])
          assert.strictEqual(error.message, `there is no periodic "bet": there are "beat", "named"`)
        }
      }).pipe(Effect.provide(ground)))
  })

  describe("when", () => {
    it.effect("immediate: a run at the start beside the grid", () =>
      Effect.gen(function*() {
        yield* TestClock.adjust("3 seconds")
        const beat = noting("beat")
        const nightly = noting("nightly")
        const delayed = noting("delayed", "2 seconds")
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"), { immediate: true })
        yield* Periodic.make(nightly.task, Trigger.cron("0 3 * * *"), { immediate: true })
        yield* Periodic.make(delayed.task, Trigger.after("10 seconds"), { immediate: true })
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual([beat.dues, nightly.dues, delayed.dues], [[3, 13, 23], [3], [3, 15]])
        assert.strictEqual(second((yield* Periodic.status("nightly")).next), 3 * 3600)
      }).pipe(Effect.provide(ground)))

    it.effect("immediate, where the start is due anyway, is one run", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        yield* Periodic.make(beat.task, Trigger.every("10 seconds", { delay: 0 }), { immediate: true })
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(beat.dues, [0, 10])
      }).pipe(Effect.provide(ground)))

    it.effect("times counts runs, not what was skipped", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "15 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { times: 3 })
        yield* TestClock.adjust("25 seconds")
        assert.isTrue(Option.isNone(yield* Effect.andThen(TestClock.adjust("6 seconds"), periodic.trigger)))
        yield* TestClock.adjust("2 minutes")
        assert.deepStrictEqual(slow.dues, [10, 30, 50])
        const status = yield* periodic.status
        assert.deepStrictEqual([status.state, status.next, status.runs], ["done", undefined, 3])
        assert.isTrue(Option.isNone(yield* periodic.trigger))
      }).pipe(Effect.provide(ground)))

    it.effect("times holds for what is to replace the last one", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "5 seconds")
        const periodic = yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { times: 1, overlap: "replace" })
        yield* TestClock.adjust("12 seconds")
        assert.isTrue(Option.isNone(yield* periodic.trigger))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual([slow.dues, slow.ends], [[10], ["Success"]])
      }).pipe(Effect.provide(ground)))

    it.effect("times holds for what is queued", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "25 seconds")
        yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { times: 3, overlap: "queue" })
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual([slow.dues, slow.starts], [[10, 20, 30], [10, 35, 60]])
        assert.strictEqual((yield* Periodic.status("slow")).skipped, 0)
      }).pipe(Effect.provide(ground)))

    it.effect("startAt and endAt: nothing is due before and after", () =>
      Effect.gen(function*() {
        const cron = noting("cron")
        const every = noting("every")
        const now = noting("now")
        const bounds = { startAt: 120_000, endAt: new Date(240_000) }
        yield* Periodic.make(cron.task, Trigger.cron("* * * * *"), bounds)
        yield* Periodic.make(every.task, Trigger.every("50 seconds"), bounds)
        yield* Periodic.make(now.task, Trigger.every("50 seconds"), { ...bounds, immediate: true })
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual([cron.dues, every.dues, now.dues], [[120, 180, 240], [170, 220], [120, 170, 220]])
        assert.strictEqual((yield* Periodic.status("cron")).state, "done")
      }).pipe(Effect.provide(ground)))

    it.effect("jitter puts a run off, and DueAt is what it was put off from", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        yield* Periodic.make(beat.task, Trigger.cron("*/10 * * * * *"), { jitter: "4 seconds" })
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual(beat.dues.length, 60 - (beat.dues.at(-1) === 600 ? 0 : 1))
        const late = beat.starts.map((start, i) => start - beat.dues[i]!)
        assert.isTrue(late.every((by) => by >= 0 && by <= 4), `${late}`)
        assert.isAbove(Math.max(...late), 3)
        assert.isBelow(Math.min(...late), 1)
        assert.deepStrictEqual(beat.dues.slice(0, 5), [10, 20, 30, 40, 50])
        assert.strictEqual((yield* Periodic.status("beat")).missed, 0)
      }).pipe(Effect.provide(ground), Random.withSeed("jitter")))

    it.effect("jitter of every spreads its gaps", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        yield* Layer.build(Periodic.every("10 seconds", { jitter: "2 seconds" })(beat.task))
        yield* TestClock.adjust("10 minutes")
        const gaps = beat.starts.slice(1).map((start, i) => start - beat.starts[i]!)
        assert.strictEqual(beat.starts[0], 10)
        assert.isTrue(gaps.every((gap) => gap >= 10 && gap <= 12), `${gaps}`)
      }).pipe(Effect.provide(ground)))

    it.effect("a stall longer than jitter and interval makes one run", () =>
      Effect.forEach(Array.from({ length: 20 }, (_, i) => i), (seed) =>
        Effect.gen(function*() {
          const beat = noting("beat")
          const trigger = Trigger.cron("*/10 * * * * *")
          yield* Periodic.make(beat.task, trigger, { jitter: "9 seconds", overlap: "allow" })
          yield* TestClock.adjust("65 seconds")
          assert.strictEqual(beat.starts.filter((start) => start === 55).length, 1, `${beat.starts}`)
          const { missed, next, runs } = yield* Periodic.status("beat")
          assert.strictEqual(runs + missed, second(next)! / 10 - 1)
        }).pipe(
          Effect.scoped,
          Effect.provide(ground),
          stalling([[15_000, 55_000]]),
          Random.withSeed(`${seed}`),
          Effect.provide(TestClock.layer())
        )))

    it.effect("what is due in a month or a year waits without a timer of that length", () => {
      const sleeps: Array<number> = []
      return Effect.gen(function*() {
        yield* TestClock.setTime(Date.UTC(2026, 11, 30, 23, 50))
        const yearly = noting("yearly")
        const monthly = noting("monthly")
        yield* Periodic.make(yearly.task, Trigger.cron("0 0 1 1 *", { tz: "Europe/Madrid" }))
        yield* Periodic.make(monthly.task, Trigger.every("30 days"))
        yield* TestClock.adjust("1 day")
        const due = Date.UTC(2026, 11, 31, 23) / 1000
        assert.deepStrictEqual([yearly.dues, yearly.starts], [[due], [due]])
        assert.strictEqual(second((yield* Periodic.status("yearly")).next), Date.UTC(2027, 11, 31, 23) / 1000)
        assert.strictEqual(second((yield* Periodic.status("monthly")).next), Date.UTC(2027, 0, 29, 23, 50) / 1000)
        assert.isAtMost(Math.max(...sleeps), 60_000)
        assert.isAbove(sleeps.length, 24 * 60 - 1)
      }).pipe(Effect.provide(ground), watched((millis) => sleeps.push(millis)))
    })

    it.effect("a clock set forward is noticed within a minute", () => {
      let off = 0
      return Effect.gen(function*() {
        const daily = noting("daily")
        const beat = noting("beat")
        yield* Periodic.make(daily.task, Trigger.cron("0 0 * * *"))
        yield* TestClock.adjust("90 seconds")
        off = 24 * 3600_000
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(beat.dues, [86_500])
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual([daily.dues, daily.starts], [[86_400], [86_490]])
      }).pipe(Effect.provide(ground), skewed(() => off))
    })

    it.effect("a clock set back: what counts from its start keeps its rhythm, the calendar is not lived twice", () => {
      const log = LogBook.make()
      let off = 0
      return Effect.gen(function*() {
        yield* TestClock.adjust("10 hours")
        const beat = noting("beat")
        const delayed = noting("delayed", "3 seconds")
        const later = noting("later")
        const hourly = noting("hourly")
        const paused = noting("paused")
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* Periodic.make(delayed.task, Trigger.after("10 seconds"))
        yield* Periodic.make(hourly.task, Trigger.cron("0 * * * *"))
        yield* Periodic.make(later.task, Trigger.every("10 seconds"), { startAt: 36_060_000 })
        yield* Periodic.make(paused.task, Trigger.every("10 seconds"))
        yield* Periodic.make(Task.make("over", Effect.void), Trigger.at(1_000))
        yield* Periodic.pause("paused")
        yield* TestClock.adjust("25 seconds")
        off = -3 * 3600_000
        yield* TestClock.adjust("30 seconds")
        const back = 36_000 - 3 * 3600
        assert.deepStrictEqual(beat.dues, [36_010, 36_020, back + 30, back + 40, back + 50])
        assert.deepStrictEqual(delayed.dues, [36_010, 36_023, back + 36, back + 49])
        assert.deepStrictEqual(beat.starts.slice(2), [back + 30, back + 40, back + 50])
        assert.deepStrictEqual([hourly.dues, later.dues], [[], []])
        assert.strictEqual(second((yield* Periodic.status("hourly")).next), 11 * 3600)
        assert.strictEqual(second((yield* Periodic.status("later")).next), 36_070)
        yield* Periodic.resume("paused")
        assert.strictEqual(second((yield* Periodic.status("paused")).next), back + 60)
        assert.deepStrictEqual(log.lines.map(({ level }) => level), ["Warn"])
      }).pipe(Effect.provide(ground), skewed(() => off), log.keep)
    })

    it.effect("made after the clock was set back, before anybody looked, it counts from its start", () => {
      let off = 0
      return Effect.gen(function*() {
        const early = noting("early")
        const late = noting("late")
        yield* TestClock.adjust("10 hours")
        yield* Periodic.make(early.task, Trigger.every("50 seconds"))
        yield* TestClock.adjust("15 seconds")
        off = -3600_000
        const handle = yield* Periodic.make(late.task, Trigger.every("10 seconds"))
        assert.strictEqual(second((yield* handle.status).next), 36_015 - 3600 + 10)
        yield* TestClock.adjust("40 seconds")
        assert.deepStrictEqual(late.starts.map((start) => start - 36_015 + 3600), [10, 20, 30, 40])
        assert.deepStrictEqual(early.starts, [36_050 - 3600])
      }).pipe(Effect.provide(ground), skewed(() => off), LogBook.make().keep)
    })

    it.effect("a clock corrected by less than a second changes nothing", () => {
      let off = 0
      return Effect.gen(function*() {
        const beat = noting("beat")
        yield* TestClock.adjust("1 hour")
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("15 seconds")
        off = -900
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([beat.dues, beat.starts], [[3610, 3620], [3610, 3620]])
      }).pipe(Effect.provide(ground), skewed(() => off))
    })
  })

  describe("what can go wrong", () => {
    it.effect("a task that fails is logged with what it was due for, and the periodic goes on", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        let runs = 0
        const task = Task.make(
          "flaky",
          Effect.suspend(() => [Effect.fail("no"), Effect.die("bug"), Effect.void, Task.abort("enough")][runs++]!)
        )
        yield* Periodic.make(task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Periodic.status("flaky")).last!.outcome!._tag, "Failed")
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual((yield* Periodic.status("flaky")).last!.outcome!._tag, "Aborted")
        yield* quiet
        assert.deepStrictEqual(log.lines.map(({ level, text }) => [level, text.slice(0, 73)]), [
          ["Warn", `periodic "flaky": the run due at 1970-01-01T00:00:10.000Z ended as Failed`],
          ["Error", `periodic "flaky": the run due at 1970-01-01T00:00:20.000Z ended as Died {`]
        ])
        assert.include(log.lines[0]!.text, `"no"`)
      }).pipe(Effect.provide(ground), log.keep)
    })

    it.effect("a task that fails stops no group", () =>
      Effect.gen(function*() {
        const task = Task.make("flaky", Effect.fail("no"))
        yield* Periodic.make(task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Periodic.status("flaky")).runs, 6)
        assert.strictEqual((yield* Supervisor.status).state, "running")
      }).pipe(
        Effect.provide(Layer.mergeAll(Supervisor.layer({ strategy: "one-for-all" }), Scheduler.layerUnbounded)),
        LogBook.make().keep
      ))

    it.effect("a run that is interrupted is one run less; the periodic goes on and says nothing", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        const slow = noting("slow", "1 hour")
        yield* Periodic.make(slow.task, Trigger.every("10 seconds"), { overlap: "queue" })
        yield* TestClock.adjust("25 seconds")
        const [run] = yield* (yield* Scheduler.Scheduler).runs
        yield* run!.interrupt
        yield* quiet
        assert.deepStrictEqual([slow.dues, slow.ends], [[10, 20], ["Failure"]])
        assert.strictEqual((yield* Periodic.status("slow")).last!.outcome, undefined)
        assert.deepStrictEqual(log.lines, [])
      }).pipe(Effect.provide(ground), log.keep)
    })

    it.effect("a scheduler that closes under it refuses its runs, which is said once", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        const beat = noting("beat")
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        yield* Scheduler.close
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(beat.dues, [10])
        const status = yield* Periodic.status("beat")
        assert.deepStrictEqual([status.state, status.last!.outcome!._tag, status.runs], ["waiting", "Refused", 4])
        yield* quiet
        const lines = log.lines.filter(({ text }) => text.startsWith("periodic"))
        assert.deepStrictEqual(lines.map(({ level }) => level), ["Warn"])
        assert.include(lines[0]!.text, "Refused")
      }).pipe(Effect.provide(ground), log.keep)
    })

    it.effect("a trigger that dies stops its periodic and no other", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        const beat = noting("beat")
        const cursed = noting("cursed")
        const trigger = Trigger.make((after) => {
          if (after.epochMilliseconds >= 20_000) throw new Error("no calendar")
          return DateTime.addDuration(after, "10 seconds")
        })
        yield* Periodic.make(cursed.task, trigger)
        yield* Periodic.make(beat.task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("40 seconds")
        assert.deepStrictEqual(beat.dues, [10, 20, 30, 40])
        assert.strictEqual((yield* Periodic.status("cursed")).state, "stopped")
        assert.deepStrictEqual(log.lines.map(({ level }) => level), ["Error"])
      }).pipe(Effect.provide(ground), log.keep)
    })

    it.effect("a task that cannot be submitted is a run that died", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        yield* Periodic.make(Task.make("heavy", Effect.void, { weight: 0 }), Trigger.every("10 seconds"))
        assert.isTrue(Option.isNone(yield* Periodic.trigger("heavy")))
        yield* TestClock.adjust("10 seconds")
        const { last, runs, running } = yield* Periodic.status("heavy")
        assert.deepStrictEqual([last!.outcome!._tag, last!.run, runs, running], ["Died", undefined, 2, 0])
        assert.deepStrictEqual(log.lines.map(({ level }) => level), ["Error", "Error"])
      }).pipe(Effect.provide(ground), log.keep)
    })

    it.effect("made in a scope that has closed, it never begins", () =>
      Effect.gen(function*() {
        const beat = noting("beat")
        const scope = yield* Scope.make()
        yield* Scope.close(scope, Exit.void)
        yield* Periodic.make(beat.task, Trigger.every("1 second"), { immediate: true }).pipe(Scope.provide(scope))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(beat.dues, [])
        assert.deepStrictEqual(yield* Periodic.list, [])
        assert.deepStrictEqual((yield* Supervisor.status).members, [])
      }).pipe(Effect.provide(ground)))

    it.effect("a name that is taken is a failure", () =>
      Effect.gen(function*() {
        yield* Periodic.make(noting("beat").task, Trigger.every("10 seconds"))
        yield* Supervisor.add({ name: "other" })
        const taken = yield* Effect.flip(Periodic.make(noting("beat").task, Trigger.every("1 second")))
        assert.deepStrictEqual([taken._tag, taken.name, taken.supervisor], ["NameTakenError", "beat", "group"])
        const added = yield* Effect.flip(
          Periodic.make(noting("x").task, Trigger.every("1 second"), { name: "other" })
        )
        assert.strictEqual(added.name, "other")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Periodic.status("beat")).runs, 1)
      }).pipe(Effect.provide(ground)))

    type Made = Layer.Layer<
      Supervisor.Supervisor,
      Supervisor.NameTakenError,
      Scheduler.Scheduler | Supervisor.Supervisor
    >
    const task = Task.make("beat", Effect.void)
    const each = Trigger.every("1 second")
    const made = Layer.provideMerge(
      Layer.effectDiscard(Periodic.make(task, each, { times: NaN })),
      Supervisor.layerInContext()
    )
    const invalid: ReadonlyArray<readonly [Made, string, string, unknown]> = [
      [Periodic.every("0 seconds")(task), "Periodic.every", "interval", "0 seconds"],
      [Periodic.every("1 second", { jitter: -1 })(task), "Periodic.every", "jitter", -1],
      [Periodic.every("1 second", { anchor: "noon" })(task), "Periodic.every", "anchor", "noon"],
      [Periodic.cron("61 * * * *")(task), "Periodic.cron", "minute", "61"],
      [Periodic.cron("* * * * *", { tz: "Mars/Olympus" })(task), "Periodic.cron", "tz", "Mars/Olympus"],
      [Periodic.layer(task, Trigger.every(-1)), "Periodic.layer", "interval", -1],
      [Periodic.layer(task, each, { overlap: "both" as never }), "Periodic.layer", "overlap", "both"],
      [Periodic.layer(task, each, { missed: "never" as never }), "Periodic.layer", "missed", "never"],
      [Periodic.layer(task, each, { maxMissed: 0 }), "Periodic.layer", "maxMissed", 0],
      [Periodic.layer(task, each, { maxQueued: -1 }), "Periodic.layer", "maxQueued", -1],
      [Periodic.layer(task, each, { times: 0 }), "Periodic.layer", "times", 0],
      [Periodic.layer(task, each, { times: 1.5 }), "Periodic.layer", "times", 1.5],
      [Periodic.layer(task, each, { tolerance: "-1 second" as never }), "Periodic.layer", "tolerance", "-1 second"],
      [Periodic.layer(task, each, { jitter: "Infinity" }), "Periodic.layer", "jitter", "Infinity"],
      [Periodic.layer(task, each, { startAt: "noon" }), "Periodic.layer", "startAt", "noon"],
      [Periodic.layer(task, each, { endAt: "2026-01-01T12:00" }), "Periodic.layer", "endAt", "2026-01-01T12:00"],
      [Periodic.layer(task, each, { startAt: 5, endAt: 4 }), "Periodic.layer", "endAt", 4],
      [Periodic.layer(task, each, { name: "" }), "Periodic.layer", "name", ""],
      [made, "Periodic.make", "times", NaN]
    ]
    for (const [layer, where, field, value] of invalid) {
      it.effect(`${where}: ${field} ${String(value)} is a defect that names it`, () =>
        Effect.gen(function*() {
          const exit = yield* Effect.exit(Layer.build(layer))
          const error = Refusal.invalid(exit)
          assert.deepStrictEqual([error?.where, error?.field, error?.value], [where, field, value])
          assert.deepStrictEqual(yield* Periodic.list, [])
        }).pipe(Effect.provide(ground)))
    }
  })

  describe("how it ends", () => {
    it.effect("a supervisor's stop stops triggers first and drains live runs within the budget", () =>
      Effect.gen(function*() {
        const short = noting("short", "3 seconds")
        const long = noting("long", "1 hour")
        const queued = noting("queued", "3 seconds")
        yield* Periodic.make(short.task, Trigger.every("5 seconds"))
        yield* Periodic.make(long.task, Trigger.every("5 seconds"))
        yield* Periodic.make(queued.task, Trigger.every("1 second"), { overlap: "queue" })
        yield* TestClock.adjust("6 seconds")
        const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "10 seconds" }))
        yield* quiet
        const states = (yield* Periodic.list).map(({ state }) => state)
        assert.deepStrictEqual(states, ["stopped", "stopped", "stopped"])
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(stop.pollUnsafe())
        yield* TestClock.adjust("1 second")
        const report = yield* Fiber.join(stop)
        assert.deepStrictEqual(report, { drained: 2, interrupted: 1, abandoned: 0, stragglers: [] })
        assert.deepStrictEqual([short.dues, short.ends], [[5], ["Success"]])
        assert.deepStrictEqual([long.dues, long.ends], [[5], ["Failure"]])
        assert.deepStrictEqual([queued.dues, queued.ends], [[1, 2], ["Success", "Success"]])
      }).pipe(Effect.provide(ground)))

    it.effect("a run may stop its own supervisor", () =>
      Effect.gen(function*() {
        const reports: Array<Supervisor.Report> = []
        const task = Task.make("last", Effect.map(Supervisor.shutdown, (report) => void reports.push(report)))
        yield* Periodic.make(task, Trigger.every("10 seconds"))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(reports, [{ drained: 0, interrupted: 0, abandoned: 0, stragglers: [] }])
        assert.strictEqual((yield* Supervisor.status).state, "closed")
      }).pipe(Effect.provide(ground)))

    it.effect("a closed supervisor takes no periodic", () =>
      Effect.gen(function*() {
        yield* Supervisor.shutdown
        const late = yield* Effect.exit(Periodic.make(noting("late").task, Trigger.every("1 second")))
        assert.instanceOf(Refusal.defect(late), Supervisor.SupervisorClosed)
        assert.deepStrictEqual(yield* Periodic.list, [])
      }).pipe(Effect.provide(ground)))

    it.effect("a Layer that closes fires no more and leaves the live run to its scheduler", () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        const slow = noting("slow", "5 seconds")
        const failing = Task.make("failing", Effect.andThen(Effect.sleep("5 seconds"), Effect.fail("late")))
        const app = Layer.mergeAll(
          Periodic.every("10 seconds")(slow.task),
          Periodic.every("10 seconds")(failing)
        )
        const { close } = yield* built(
          Layer.provide(app, Scheduler.layer({ maxParallelism: 4, gracePeriod: "10 seconds" }))
        )
        yield* TestClock.adjust("12 seconds")
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(closing)
        assert.deepStrictEqual([slow.dues, slow.ends], [[10], ["Success"]])
        yield* quiet
        assert.isTrue(log.lines.some(({ text }) => text.includes("ended as Failed") && text.includes("late")))
      }).pipe(log.keep)
    })

    it.effect("a Layer that closes under a supervisor with grace drains within that", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "5 seconds")
        const long = noting("long", "1 hour")
        const app = Layer.mergeAll(
          Periodic.every("10 seconds")(slow.task),
          Periodic.every("10 seconds")(long.task)
        )
        const { close } = yield* built(
          app.pipe(
            Layer.provide(Supervisor.layer({ gracePeriod: "10 seconds" })),
            Layer.provide(Scheduler.layerUnbounded)
          )
        )
        yield* TestClock.adjust("12 seconds")
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(closing)
        assert.deepStrictEqual([slow.ends, long.ends], [["Success"], ["Failure"]])
      }))

    it.effect("nothing is left behind", () =>
      Effect.gen(function*() {
        const slow = noting("slow", "1 hour")
        const beat = noting("beat")
        const app = Layer.mergeAll(
          Periodic.every("10 seconds", { overlap: "replace" })(slow.task),
          Periodic.every("1 second")(beat.task),
          Periodic.cron("0 0 1 1 *")(Task.make("yearly", Effect.void))
        )
        yield* Effect.gen(function*() {
          yield* TestClock.adjust("25 seconds")
          yield* Periodic.trigger("yearly")
          yield* Periodic.pause("beat")
        }).pipe(Effect.provide(Layer.provideMerge(app, Scheduler.layerUnbounded)))
        assert.strictEqual(beat.dues.length, 25)
      }).pipe(leakGuard))

    it.effect("the supervisor's tree has each periodic with its state, and its live runs", () =>
      Effect.gen(function*() {
        const latch = Latch.makeUnsafe()
        yield* Periodic.make(Task.make("slow", latch.await), Trigger.every("10 seconds"))
        yield* Periodic.make(Task.make("idle", Effect.void), Trigger.every("1 hour"))
        const tree = () =>
          Effect.map(
            Supervisor.status,
            ({ members }) => members.map(({ name, phase, state }) => `${phase} ${name} ${state}`).sort()
          )
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* tree(), ["pool slow running", "triggers idle waiting", "triggers slow running"])
        yield* Periodic.pause("idle")
        yield* latch.open
        yield* quiet
        assert.deepStrictEqual(yield* tree(), ["triggers idle paused", "triggers slow waiting"])
      }).pipe(Effect.provide(ground)))
  })

  it.effect("many share one timer: each when it is due, in any order, and those that are gone not at all", () =>
    Effect.gen(function*() {
      const random = Numbers.make(7)
      const due: Array<readonly [at: number, i: number]> = []
      const ran: Array<readonly [at: number, i: number]> = []
      const scope = yield* Scope.make()
      for (let i = 0; i < 2_000; i++) {
        const at = random.int(1, 500)
        const task = Task.make(`${i}`, Effect.map(Clock.currentTimeMillis, (now) => void ran.push([now / 1000, i])))
        const periodic = yield* Periodic.make(task, Trigger.at(at * 1000)).pipe(Scope.provide(scope))
        if (random.chance(0.3)) yield* Periodic.stop(`${random.int(0, i)}`)
        if (random.chance(0.3)) yield* periodic.pause
        due.push([at, i])
      }
      const live = (yield* Periodic.list).flatMap(({ next }, i) => next === undefined ? [] : [i])
      assert.isAbove(live.length, 800)
      yield* TestClock.adjust("500 seconds")
      assert.deepStrictEqual(ran, live.map((i) => due[i]!).sort((a, b) => a[0] - b[0] || a[1] - b[1]))
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(ground), leakGuard))
})
