/** Supervision: who lives, who ends with whom, and how a stop goes, phase by phase. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Schedule from "effect/Schedule"
import * as EffectScheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { fileURLToPath } from "node:url"
import { Supervisor } from "../src/index.ts"
import { run as runChild, start } from "./suites/ChildProcess.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import { report } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"

const phases: ReadonlyArray<Supervisor.Phase> = ["triggers", "workers", "lanes", "pool"]

const stubborn = (duration: Duration.Input) => Effect.uninterruptible(Effect.sleep(duration))

/** Notes that it was interrupted, and takes so long to clean up. */
const noting = (noted: Array<string>, name: string, cleanUp: Duration.Input = 0) =>
  Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sync(() => noted.push(name)), Effect.sleep(cleanUp)))

/** Everything the supervisor tells from here on. */
const listening = Effect.gen(function*() {
  const told: Array<Supervisor.SupervisorEvent> = []
  const reading = yield* Effect.forkChild(
    Stream.runForEach(Supervisor.events, (event) => Effect.sync(() => told.push(event)))
  )
  yield* quiet
  return { told, reading }
})

/** What an event says, in a few words. */
const words = (event: Supervisor.SupervisorEvent): string =>
  "name" in event ? `${event._tag} ${event.name}` : "phase" in event ? `${event._tag} ${event.phase}` : event._tag

const names = Effect.map(Supervisor.status, ({ members }) => members.map(({ name }) => name).sort())

/** Adds within a scope of its own, to be closed by hand. */
const addIn = <R = never>(addition: Supervisor.Addition<R>) =>
  Effect.tap(Scope.make(), (scope) => Scope.provide(Supervisor.add(addition), scope))

const close = (scope: Scope.Closeable) => Scope.close(scope, Exit.void)

describe("the phases of a stop", () => {
  it.effect("are triggers, workers, lanes, pool, each begun when the one before has drained, and each an event", () =>
    Effect.gen(function*() {
      const { reading, told } = yield* listening
      for (const phase of phases.toReversed()) {
        yield* Supervisor.fork(Effect.sleep("10 seconds"), { name: `fiber of ${phase}`, phase })
        yield* Supervisor.add({ name: phase, phase, stop: Effect.sleep("20 seconds") })
      }
      yield* quiet
      told.length = 0
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("80 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 80_000)
      yield* Fiber.join(reading)
      const lines = told.map(words).filter((line) => !line.startsWith("MemberEnded"))
      const expected = phases.flatMap((phase) => [`PhaseStarted ${phase}`, `PhaseEnded ${phase}`])
      assert.deepStrictEqual(lines, [...expected, "Stopped"])
      const times = told.flatMap((event) => event._tag === "PhaseStarted" ? [event.at.epochMilliseconds] : [])
      assert.deepStrictEqual(times.map((time) => time - times[0]!), [0, 20_000, 40_000, 60_000])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ gracePeriod: "10 minutes" }))))

  it.effect("are told of even where they are empty, and take no time then", () =>
    Effect.gen(function*() {
      const { reading, told } = yield* listening
      assert.strictEqual(yield* elapsed(Supervisor.shutdown), 0)
      yield* Fiber.join(reading)
      const expected = phases.flatMap((phase) => [`PhaseStarted ${phase}`, `PhaseEnded ${phase}`])
      assert.deepStrictEqual(told.map(words), [...expected, "Stopped"])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("share one grace period: what is left when it is over is interrupted at once, in every phase", () =>
    Effect.gen(function*() {
      const interrupted: Array<string> = []
      for (const phase of phases) {
        yield* Supervisor.fork(noting(interrupted, phase, "2 seconds"), { name: phase, phase })
      }
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(interrupted, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(interrupted, [...phases])
      assert.strictEqual((yield* Supervisor.status).state, "interrupting")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 7000)
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 4 }))
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "5 seconds" }))))

  it.effect("share one interrupt timeout, and the stragglers of all of them are named", () =>
    Effect.gen(function*() {
      for (const phase of phases) {
        yield* Supervisor.fork(stubborn("1 hour"), { name: `deaf ${phase}`, phase })
        yield* Supervisor.fork(Effect.sleep("1 second"), { name: `quick ${phase}`, phase })
        yield* Supervisor.fork(Effect.never, { name: `slow ${phase}`, phase })
      }
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("8 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 8000)
      const { stragglers, ...counts } = yield* Supervisor.shutdown
      assert.deepStrictEqual(counts, { drained: 4, interrupted: 4, abandoned: 4 })
      assert.deepStrictEqual(stragglers, phases.map((phase) => `deaf ${phase}`))
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "5 seconds", interruptTimeout: "3 seconds" }))))

  it.effect("with no grace all members are interrupted in the same instant, and their hooks still called in order", () =>
    Effect.gen(function*() {
      const called: Array<string> = []
      const interrupted: Array<string> = []
      for (const phase of phases.toReversed()) {
        yield* Supervisor.add({
          name: phase,
          phase,
          run: noting(interrupted, phase, "1 second"),
          stop: Effect.sync(() => called.push(phase))
        })
      }
      yield* quiet
      assert.strictEqual(
        yield* elapsed(Effect.andThen(Effect.forkChild(Supervisor.shutdown), TestClock.adjust("1 second"))),
        1000
      )
      assert.deepStrictEqual([called, interrupted], [phases, phases])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 4 }))
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("a member that ends late in one phase leaves less for the next, not as much again", () =>
    Effect.gen(function*() {
      const left: Array<number> = []
      yield* Supervisor.fork(Effect.sleep("4 seconds"), { name: "slow trigger", phase: "triggers" })
      for (const phase of phases) {
        yield* Supervisor.add({
          name: phase,
          phase,
          stop: ({ gracePeriod }) =>
            Effect.sync(() => left.push(Duration.toMillis(Duration.fromInputUnsafe(gracePeriod!))))
        })
      }
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdown)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(stop)
      assert.deepStrictEqual(left, [10_000, 6000, 6000, 6000])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ gracePeriod: "10 seconds" }))))
})

describe("shortening a stop", () => {
  for (const phase of phases) {
    it.effect(`while ${phase} drain: all that is left is interrupted at once`, () =>
      Effect.gen(function*() {
        yield* Supervisor.fork(Effect.sleep("1 hour"), { name: "long", phase })
        yield* Supervisor.fork(Effect.sleep("1 hour"), { name: "last" })
        yield* quiet
        const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "Infinity" }))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* elapsed(Supervisor.shutdownWith({ gracePeriod: 0 })), 0)
        assert.deepStrictEqual(yield* Fiber.join(stop), report({ interrupted: 2 }))
      }).pipe(Effect.provide(Supervisor.layer())))
  }

  it.effect("to a later instant than was asked for first changes nothing", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.sleep("1 hour"), { name: "long", phase: "workers" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "10 seconds" })))
      yield* TestClock.adjust("9 seconds")
      const later = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "1 hour" })))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([yield* Fiber.join(stop), yield* Fiber.join(later)], [10_000, 1000])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("while it interrupts, what it waits for is given up earlier", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(stubborn("1 hour"), { name: "deaf", phase: "triggers" })
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdown)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* elapsed(Supervisor.shutdownWith({ interruptTimeout: 0 })), 0)
      assert.deepStrictEqual(yield* Fiber.join(stop), report({ abandoned: 1, stragglers: ["deaf"] }))
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("to an end that lies in the future holds for the phases that have not begun", () =>
    Effect.gen(function*() {
      for (const phase of phases) yield* Supervisor.fork(Effect.never, { name: phase, phase })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "1 hour" })))
      yield* TestClock.adjust("10 seconds")
      yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "5 seconds" }))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(stop.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 15_000)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("tells the hooks of the phases that have begun what is left now", () =>
    Effect.gen(function*() {
      const heard: Array<number> = []
      const gone = yield* Latch.make()
      yield* Supervisor.add({
        name: "server",
        phase: "lanes",
        stop: ({ gracePeriod }) =>
          Effect.suspend(() => {
            heard.push(Duration.toMillis(Duration.fromInputUnsafe(gracePeriod!)))
            return gone.await
          })
      })
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "1 hour" })))
      yield* TestClock.adjust("1 minute")
      yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "10 seconds" }))
      yield* quiet
      assert.deepStrictEqual(heard, [3_600_000, 10_000])
      yield* gone.open
      assert.strictEqual(yield* Fiber.join(stop), 60_000)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("by an invalid budget is a defect, and the stop goes on as it was", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.sleep("2 seconds"))
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "1 minute" })))
      yield* quiet
      const invalid = Refusal.invalid(yield* Effect.exit(Supervisor.shutdownWith({ interruptTimeout: -1 })))
      assert.deepStrictEqual([invalid?.where, invalid?.field, invalid?.value], [
        "Supervisor.shutdownWith",
        "interruptTimeout",
        -1
      ])
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 2000)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("or waiting for it may be interrupted: the stop goes on", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.sleep("5 seconds"), { name: "slow" })
      yield* quiet
      const asking = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 minute" }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* elapsed(Fiber.interrupt(asking)), 0)
      assert.strictEqual((yield* Supervisor.status).state, "draining")
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual((yield* Supervisor.status).state, "closed")
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 1 }))
    }).pipe(Effect.provide(Supervisor.layer())))
})

describe("a stop asked for from inside", () => {
  for (const phase of phases) {
    it.effect(`a member of ${phase}: it gets the report, and is neither awaited, interrupted nor counted`, () =>
      Effect.gen(function*() {
        const others: Array<string> = []
        for (const other of phases) yield* Supervisor.fork(noting(others, other), { name: other, phase: other })
        yield* quiet
        const asking = yield* Supervisor.fork(Supervisor.shutdown, { name: "asking", phase })
        assert.deepStrictEqual(yield* Fiber.join(asking), report({ interrupted: 4 }))
        assert.deepStrictEqual(others, [...phases])
      }).pipe(Effect.provide(Supervisor.layer())))
  }

  it.effect(
    "a child fiber of a member, and one it forked in the group: their ancestors are left alone as well",
    () =>
      Effect.gen(function*() {
        yield* Supervisor.fork(Effect.never, { name: "other" })
        const parent = yield* Supervisor.fork(
          Effect.gen(function*() {
            const child = yield* Supervisor.fork(
              Effect.flatMap(Effect.forkChild(Supervisor.shutdown), Fiber.join),
              { name: "child", phase: "workers" }
            )
            return yield* Fiber.join(child)
          }),
          { name: "parent", phase: "triggers" }
        )
        assert.deepStrictEqual(yield* Fiber.join(parent), report({ interrupted: 1 }))
      }).pipe(Effect.provide(Supervisor.layer())),
    { timeout: 5000 }
  )

  it.effect("while a stop is going on, whatever phase it is in: nobody waits for whom waits", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      for (const phase of phases) {
        yield* Supervisor.fork(Effect.andThen(latch.await, Supervisor.shutdownWith({ gracePeriod: "Infinity" })), {
          name: phase,
          phase
        })
      }
      yield* Supervisor.fork(Effect.sleep("1 second"), { name: "slow", phase: "triggers" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "Infinity" })))
      yield* quiet
      yield* latch.open
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(stop), 1000)
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 1 }))
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("a member that goes on after its stop ends with the scope of the group at the latest", () =>
    Effect.gen(function*() {
      const interrupted: Array<string> = []
      yield* Effect.gen(function*() {
        yield* Supervisor.fork(Effect.andThen(Supervisor.shutdown, noting(interrupted, "asking")), { name: "asking" })
        yield* Supervisor.block
        yield* quiet
        assert.deepStrictEqual(interrupted, [])
      }).pipe(Effect.provide(Supervisor.layer()))
      yield* quiet
      assert.deepStrictEqual(interrupted, ["asking"])
    }))

  for (const form of ["an effect", "a function"] as const) {
    it.effect(`a stop hook that is ${form}: it is not waited for by itself`, () =>
      Effect.gen(function*() {
        const got: Array<Supervisor.Report> = []
        const shutdown = Effect.tap(Supervisor.shutdown, (it) => Effect.sync(() => got.push(it)))
        const supervisor = yield* Supervisor.Supervisor
        const stop = Effect.provideService(shutdown, Supervisor.Supervisor, supervisor)
        yield* Supervisor.add({ name: "hook", phase: "workers", stop: form === "an effect" ? stop : () => stop })
        yield* Supervisor.fork(Effect.never, { name: "other" })
        yield* quiet
        const all = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(all), 1000)
        yield* quiet
        assert.deepStrictEqual(got, [report({ interrupted: 1 })])
      }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ gracePeriod: "1 second" }))))
  }

  it.effect("its scope being closed by a member: the same", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Supervisor.layer({ gracePeriod: "Infinity" }), scope)
      const asking = yield* Supervisor.fork(close(scope), { name: "asking" }).pipe(Effect.provideContext(context))
      yield* Supervisor.fork(Effect.sleep("1 second"), { name: "other" }).pipe(Effect.provideContext(context))
      yield* TestClock.adjust("1 second")
      yield* Fiber.await(asking)
      assert.deepStrictEqual(
        yield* Supervisor.shutdown.pipe(Effect.provideContext(context)),
        report({ drained: 1 })
      )
    }))
})

describe("a stop hook", () => {
  for (
    const [how, stop] of [
      ["fails", Effect.fail("no")],
      ["dies", Effect.die(new Error("no"))],
      ["interrupts itself", Effect.interrupt],
      ["throws where it should return an effect", () => {
        throw new Error("no")
      }]
    ] as ReadonlyArray<[string, Supervisor.Addition["stop"]]>
  ) {
    it.effect(`that ${how} holds up nothing`, () => {
      const log = LogBook.make()
      return Effect.gen(function*() {
        const stopped: Array<string> = []
        yield* Supervisor.add({ name: "bad", phase: "triggers", stop })
        yield* Supervisor.add({ name: "good", phase: "triggers", stop: Effect.sync(() => stopped.push("good")) })
        yield* Supervisor.add({ name: "last", stop: Effect.sync(() => stopped.push("last")) })
        assert.deepStrictEqual(yield* Supervisor.shutdownWith({ gracePeriod: "1 minute" }), report({}))
        assert.deepStrictEqual(stopped, ["good", "last"])
        yield* quiet
        if (how !== "interrupts itself") {
          assert.match(log.lines.find(({ level }) => level === "Error")?.text ?? "", /"bad"/)
        }
      }).pipe(Effect.scoped, Effect.provide(Supervisor.layer()), log.keep)
    }, { timeout: 5000 })
  }

  it.effect("that hangs is interrupted with the rest where it is an effect, and is named when it ignores that", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      yield* Supervisor.add({ name: "hanging", phase: "workers", stop: noting(noted, "hanging") })
      yield* Supervisor.add({ name: "deaf", phase: "workers", stop: stubborn("1 hour") })
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(noted, ["hanging"])
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 3000)
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ abandoned: 1, stragglers: ["deaf"] }))
      yield* TestClock.adjust("1 hour")
    }).pipe(
      Effect.scoped,
      Effect.provide(Supervisor.layer({ gracePeriod: "1 second", interruptTimeout: "2 seconds" }))
    ))

  it.effect("that is a function is waited for until the interrupt timeout, then named", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      yield* Supervisor.add({ name: "hanging", phase: "workers", stop: () => noting(noted, "hanging") })
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(stop.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 3000)
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ abandoned: 1, stragglers: ["hanging"] }))
      yield* quiet
      // Given up is not left running.
      assert.deepStrictEqual(noted, ["hanging"])
    }).pipe(
      Effect.scoped,
      Effect.provide(Supervisor.layer({ gracePeriod: "1 second", interruptTimeout: "2 seconds" }))
    ))

  it.effect("and the run beside it that both hang are one straggler", () =>
    Effect.gen(function*() {
      yield* Supervisor.add({ name: "deaf", run: stubborn("1 hour"), stop: () => stubborn("1 hour") })
      yield* quiet
      assert.deepStrictEqual(
        yield* Supervisor.shutdownWith({ interruptTimeout: 0 }),
        report({ abandoned: 1, stragglers: ["deaf"] })
      )
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("that ends the run beside it in the same instant has drained it", () =>
    Effect.gen(function*() {
      const quit = yield* Deferred.make<void>()
      yield* Supervisor.add({ name: "server", run: Deferred.await(quit), stop: Deferred.succeed(quit, undefined) })
      yield* quiet
      assert.deepStrictEqual(yield* Supervisor.shutdownWith({ gracePeriod: "1 second" }), report({ drained: 1 }))
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("is called once however many ask for the same stop", () =>
    Effect.gen(function*() {
      let effects = 0
      let functions = 0
      yield* Supervisor.add({ name: "effect", stop: Effect.andThen(Effect.sync(() => effects++), Effect.sleep(1000)) })
      yield* Supervisor.add({
        name: "function",
        stop: () => Effect.andThen(Effect.sync(() => functions++), Effect.sleep(1000))
      })
      const asking = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(Supervisor.shutdown))
      yield* TestClock.adjust("1 second")
      const reports = yield* Effect.forEach(asking, Fiber.join)
      assert.deepStrictEqual([effects, functions], [1, 1])
      assert.isTrue(reports.every((it) => it === reports[0]))
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ gracePeriod: "1 minute" }))))

  it.effect("that returns a report adds to the report; later ones do not change what was given out", () =>
    Effect.gen(function*() {
      yield* Supervisor.add({
        name: "pool",
        stop: Effect.succeed<Supervisor.Report>({
          drained: 1,
          interrupted: 2,
          abandoned: 3,
          stragglers: ["a", "b", "c"]
        })
      })
      yield* Supervisor.add({
        name: "late",
        stop: () => Effect.as(stubborn("1 minute"), report({ abandoned: 1, stragglers: ["x"] }))
      })
      yield* Supervisor.fork(Effect.never)
      yield* quiet
      const given = yield* Supervisor.shutdownWith({ interruptTimeout: 0 })
      const expected = { drained: 1, interrupted: 3, abandoned: 4, stragglers: ["a", "b", "c", "late"] }
      assert.deepStrictEqual(given, expected)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(given, expected)
      assert.deepStrictEqual(yield* Supervisor.shutdown, expected)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("may fork nothing: the group takes no new work", () => {
    const log = LogBook.make()
    return Effect.gen(function*() {
      let ran = 0
      const supervisor = yield* Supervisor.Supervisor
      yield* Supervisor.add({ name: "hook", stop: supervisor.fork(Effect.sync(() => ran++)) })
      yield* Supervisor.shutdownWith({ gracePeriod: "1 second" })
      yield* quiet
      assert.strictEqual(ran, 0)
      assert.match(log.lines.map(({ text }) => text).join("\n"), /SupervisorClosed/)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer()), log.keep)
  })

  it.effect("is not called once its scope has closed", () =>
    Effect.gen(function*() {
      let called = 0
      const scope = yield* addIn({ name: "gone", phase: "pool", stop: Effect.sync(() => called++) })
      yield* Supervisor.fork(Effect.sleep("1 second"), { phase: "triggers" })
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdown)
      yield* quiet
      yield* close(scope)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stop)
      assert.strictEqual(called, 0)
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "1 minute" }))))
})

describe("what is added", () => {
  it.effect("with run only is supervised: a fiber, in the status, drained, interrupted and counted", () =>
    Effect.gen(function*() {
      yield* Supervisor.add({ name: "quick", phase: "workers", run: Effect.sleep("1 second") })
      yield* Supervisor.add({ name: "slow", phase: "lanes", run: Effect.never })
      yield* quiet
      const { members } = yield* Supervisor.status
      assert.deepStrictEqual(members.map(({ name, phase, state }) => [name, phase, state]), [
        ["quick", "workers", "running"],
        ["slow", "lanes", "running"]
      ])
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "2 seconds" }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(stop), report({ drained: 1, interrupted: 1 }))
      assert.deepStrictEqual(yield* names, [])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("with stop only is called at its phase, and is no fiber to wait for until then", () =>
    Effect.gen(function*() {
      let called = 0
      const supervisor = yield* Supervisor.Supervisor
      yield* Supervisor.add({ name: "foreign", phase: "lanes", stop: Effect.sync(() => called++) })
      assert.deepStrictEqual([yield* supervisor.size, called], [0, 0])
      yield* Supervisor.awaitEmpty
      assert.deepStrictEqual(yield* names, ["foreign"])
      yield* Supervisor.shutdown
      assert.strictEqual(called, 1)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("is gone from the status once it has stopped, whether it had a run, a stop, or neither", () =>
    Effect.gen(function*() {
      yield* Supervisor.add({ name: "run", run: Effect.never })
      yield* Supervisor.add({ name: "stop", phase: "workers", stop: Effect.sleep("1 second") })
      yield* Supervisor.add({ name: "neither", phase: "lanes" })
      yield* Supervisor.fork(Effect.sleep("5 seconds"))
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 minute" }))
      yield* quiet
      assert.deepStrictEqual(yield* names, ["fiber", "neither", "run", "stop"])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* names, ["fiber", "run"])
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(stop)
      const { members, size, state } = yield* Supervisor.status
      assert.deepStrictEqual([members, size, state], [[], 0, "closed"])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("has a name of its own: a taken one is a typed error and leaves what is there alone", () =>
    Effect.gen(function*() {
      let ran = 0
      const scope = yield* addIn({ name: "worker", run: Effect.never })
      const error = yield* Effect.flip(Supervisor.add({ name: "worker", run: Effect.sync(() => ran++) }))
      assert.instanceOf(error, Supervisor.NameTakenError)
      assert.deepStrictEqual([error._tag, error.name, error.supervisor], ["NameTakenError", "worker", "group"])
      assert.match(error.message, /"worker"/)
      yield* quiet
      assert.deepStrictEqual([ran, (yield* Supervisor.status).size], [0, 1])
      yield* close(scope)
      yield* Supervisor.add({ name: "worker", run: Effect.sync(() => ran++) })
      yield* quiet
      assert.strictEqual(ran, 1)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ id: "group" }))))

  it.effect("leaves its name free when its run has ended by itself, and only then when it is removed", () =>
    Effect.gen(function*() {
      // A test clock that was never used interrupts the first that sleeps in a finalizer.
      yield* TestClock.adjust("1 second")
      yield* Supervisor.add({ name: "short", run: Effect.void })
      yield* quiet
      assert.deepStrictEqual(yield* names, [])
      const scope = yield* addIn({ name: "short", run: noting([], "short", "1 second") })
      yield* quiet
      const closing = yield* Effect.forkChild(close(scope))
      yield* quiet
      assert.deepStrictEqual(yield* names, ["short"])
      assert.strictEqual((yield* Effect.flip(Supervisor.add({ name: "short" })))._tag, "NameTakenError")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* names, [])
      yield* Supervisor.add({ name: "short" })
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("may have the name of a forked fiber: those are not unique", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.never, { name: "same" })
      yield* Supervisor.fork(Effect.never, { name: "same" })
      yield* Supervisor.add({ name: "same", run: Effect.never })
      yield* quiet
      assert.deepStrictEqual(yield* names, ["same", "same", "same"])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("is removed when its scope closes: its run interrupted and waited for, its stop not called", () =>
    Effect.gen(function*() {
      const { told } = yield* listening
      const noted: Array<string> = []
      const scope = yield* addIn({
        name: "server",
        phase: "lanes",
        run: noting(noted, "run", "1 second"),
        stop: Effect.sync(() => noted.push("stop"))
      })
      yield* quiet
      const closing = yield* Effect.forkChild(elapsed(close(scope)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(closing), 1000)
      yield* quiet
      assert.deepStrictEqual(noted, ["run"])
      assert.deepStrictEqual(told.map(words), ["MemberStarted server", "MemberEnded server"])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({}))
      assert.deepStrictEqual(noted, ["run"])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("and is cleaning up after its removal when its phase comes is waited for, its stop not called", () =>
    Effect.gen(function*() {
      let called = 0
      yield* TestClock.adjust("1 second")
      const stop = Effect.sync(() => called++)
      const scope = yield* addIn({ name: "removed", run: noting([], "removed", "3 seconds"), stop })
      yield* quiet
      yield* Effect.forkChild(close(scope))
      yield* quiet
      const stopped = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(stopped), 3000)
      assert.strictEqual(called, 0)
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "1 minute" }))))

  it.effect("may close its own scope from inside: it is interrupted and nobody waits for it", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      let after = false
      const run = Effect.andThen(close(scope), Effect.sync(() => after = true))
      yield* Scope.provide(Supervisor.add({ name: "self", run, essential: true }), scope)
      yield* quiet
      assert.deepStrictEqual([after, yield* names], [false, []])
      assert.strictEqual((yield* Supervisor.status).state, "running")
      yield* Supervisor.add({ name: "self" })
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("may be removed during a stop: its run is interrupted at once and counted", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const scope = yield* addIn({ name: "removed", phase: "workers", run: noting(noted, "removed") })
      yield* Supervisor.fork(Effect.sleep("10 seconds"), { phase: "workers" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdownWith({ gracePeriod: "1 minute" })))
      yield* TestClock.adjust("1 second")
      yield* close(scope)
      assert.deepStrictEqual(noted, ["removed"])
      yield* TestClock.adjust("9 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 10_000)
      const { abandoned, drained, interrupted } = yield* Supervisor.shutdown
      assert.deepStrictEqual([drained + interrupted, abandoned], [2, 0])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect(
    "and ignores interruption does not hold its scope once the stop has given it up",
    () =>
      Effect.gen(function*() {
        yield* Effect.gen(function*() {
          yield* Supervisor.add({ name: "deaf", run: stubborn("1 hour") })
          yield* quiet
          const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ interruptTimeout: "1 second" }))
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual((yield* Fiber.join(stop)).stragglers, ["deaf"])
        }).pipe(Effect.scoped, elapsed, Effect.map((took) => assert.strictEqual(took, 1000)))
        yield* TestClock.adjust("1 hour")
      }).pipe(Effect.provide(Supervisor.layer())),
    { timeout: 5000 }
  )

  it.effect("and ignores its removal is given up by the stop that comes meanwhile", () =>
    Effect.gen(function*() {
      const scope = yield* addIn({ name: "deaf", run: stubborn("1 hour") })
      yield* quiet
      const closing = yield* Effect.forkChild(elapsed(close(scope)))
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ interruptTimeout: "1 second" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(stop), report({ abandoned: 1, stragglers: ["deaf"] }))
      assert.strictEqual(yield* Fiber.join(closing), 1000)
      yield* TestClock.adjust("1 hour")
    }).pipe(Effect.provide(Supervisor.layer())), { timeout: 5000 })

  it.effect("while the group runs is a member from then on; to a closed group, a defect", () =>
    Effect.gen(function*() {
      const scopes: Array<Scope.Closeable> = []
      for (let i = 0; i < 50; i++) scopes.push(yield* addIn({ name: `member ${i}`, run: Effect.never }))
      yield* quiet
      assert.strictEqual((yield* Supervisor.status).size, 50)
      for (const [i, scope] of scopes.entries()) if (i % 2 === 0) yield* close(scope)
      assert.strictEqual((yield* Supervisor.status).size, 25)
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 25 }))
      const late = Refusal.defect(yield* Effect.exit(Effect.scoped(Supervisor.add({ name: "late" }))))
      assert.instanceOf(late, Supervisor.SupervisorClosed)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("with an invalid phase is a defect that leaves no trace", () =>
    Effect.gen(function*() {
      const phase = "nowhere" as Supervisor.Phase
      for (const addition of [{ name: "x", phase, run: Effect.never }, { name: "x", phase, stop: Effect.void }]) {
        const invalid = Refusal.invalid(yield* Effect.exit(Supervisor.add(addition)))
        assert.deepStrictEqual([invalid?.where, invalid?.field, invalid?.value], ["Supervisor.add", "phase", phase])
        assert.deepStrictEqual(yield* names, [])
      }
      const invalid = Refusal.invalid(yield* Effect.exit(Supervisor.fork(Effect.never, { phase })))
      assert.deepStrictEqual([invalid?.where, invalid?.field], ["Supervisor.fork", "phase"])
      yield* Supervisor.add({ name: "x" })
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))
})

describe("a member that ends", () => {
  it.effect("one-for-one: its failure is an event and a log line, and the others go on", () => {
    const log = LogBook.make()
    return Effect.gen(function*() {
      const { told } = yield* listening
      yield* Supervisor.fork(Effect.fail("broken"), { name: "failing", phase: "workers" })
      yield* Supervisor.fork(Effect.die("worse"), { name: "dying" })
      yield* Supervisor.fork(Effect.interrupt, { name: "gone" })
      yield* Supervisor.fork(Effect.never, { name: "other" })
      yield* quiet
      assert.deepStrictEqual([(yield* Supervisor.status).state, yield* names], ["running", ["other"]])
      const ends = told.flatMap((event) => event._tag === "MemberEnded" ? [event] : [])
      assert.deepStrictEqual(ends.map(({ name, phase }) => [name, phase]), [
        ["failing", "workers"],
        ["dying", "pool"],
        ["gone", "pool"]
      ])
      assert.strictEqual(Refusal.error(ends[0]!.exit), "broken")
      assert.strictEqual(Refusal.defect(ends[1]!.exit), "worse")
      const errors = log.lines.filter(({ level }) => level === "Error").map(({ text }) => text)
      assert.strictEqual(errors.length, 2, errors.join("\n"))
      assert.match(errors[0]!, /"failing".*broken/)
    }).pipe(Effect.provide(Supervisor.layer()), log.keep)
  })

  for (const [how, end] of [["fails", Effect.fail("broken")], ["dies", Effect.die("broken")]] as const) {
    it.effect(`one-for-all: one that ${how} stops the group, with code 2 and its cause`, () =>
      Effect.gen(function*() {
        const others: Array<string> = []
        const blocked = yield* Effect.forkChild(Effect.exit(Supervisor.block))
        for (const phase of phases) yield* Supervisor.fork(noting(others, phase), { name: phase, phase })
        yield* Supervisor.fork(Effect.andThen(Effect.sleep("1 second"), end), { name: "failing" })
        yield* TestClock.adjust("1 second")
        const error = Refusal.error(yield* Fiber.join(blocked)) as Supervisor.SupervisorFailed
        assert.instanceOf(error, Supervisor.SupervisorFailed)
        assert.deepStrictEqual([error.supervisor, error.name, error.code], ["group", "failing", 2])
        assert.strictEqual(Cause.squash(error.cause), "broken")
        assert.match(error.message, /"group".*"failing"/)
        assert.deepStrictEqual(others, [...phases])
        assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 4 }))
      }).pipe(Effect.provide(Supervisor.layer({ id: "group", strategy: "one-for-all" }))))
  }

  it.effect("one-for-all: one that succeeds or is interrupted stops nobody", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.void)
      const interrupted = yield* Supervisor.fork(Effect.never)
      yield* Supervisor.fork(Effect.never, { name: "other" })
      yield* quiet
      yield* Fiber.interrupt(interrupted)
      yield* quiet
      assert.deepStrictEqual([(yield* Supervisor.status).state, yield* names], ["running", ["other"]])
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("one-for-all: what was added fails like what was forked, and the group drains within its own budget", () =>
    Effect.gen(function*() {
      yield* Supervisor.add({ name: "added", phase: "triggers", run: Effect.fail("broken") })
      yield* Supervisor.fork(Effect.sleep("3 seconds"), { name: "draining" })
      yield* quiet
      const failed = yield* Effect.forkChild(elapsed(Effect.flip(Supervisor.block)))
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(failed), 3000)
      assert.strictEqual((yield* Effect.flip(Supervisor.block)).name, "added")
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 1 }))
    }).pipe(
      Effect.scoped,
      Effect.provide(Supervisor.layer({ strategy: "one-for-all", gracePeriod: "10 seconds" }))
    ))

  for (
    const [how, end, code] of [
      ["well", Effect.void, 1],
      ["by failing", Effect.fail("broken"), 2],
      ["by a defect", Effect.die("broken"), 2],
      ["interrupted", Effect.interrupt, 1]
    ] as const
  ) {
    it.effect(`essential, ended ${how}: the group stops, code ${code}`, () =>
      Effect.gen(function*() {
        yield* Supervisor.fork(Effect.never, { name: "other" })
        yield* Supervisor.fork(Effect.andThen(Effect.yieldNow, end), { name: "heart", essential: true })
        const error = yield* Effect.flip(Supervisor.block)
        assert.deepStrictEqual([error.name, error.code], ["heart", code])
        assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 1 }))
      }).pipe(Effect.provide(Supervisor.layer())))
  }

  it.effect("essential and removed by its scope: the group goes on", () =>
    Effect.gen(function*() {
      const scope = yield* addIn({ name: "heart", run: Effect.never, essential: true })
      yield* quiet
      yield* close(scope)
      yield* quiet
      assert.strictEqual((yield* Supervisor.status).state, "running")
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("while the group stops is drained, whatever its end: a plain stop stays one", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.andThen(Effect.sleep("1 second"), Effect.fail("late")), { essential: true })
      yield* Supervisor.fork(Effect.andThen(Effect.sleep("1 second"), Effect.die("late")))
      yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () => Effect.die("clean-up")))
      yield* quiet
      const blocked = yield* Effect.forkChild(Supervisor.block)
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "2 seconds" }))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(stop), report({ drained: 2, interrupted: 1 }))
      assert.deepStrictEqual(yield* Fiber.join(blocked), yield* Supervisor.shutdown)
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("first is what stopped the group; those that fail because of the stop are not", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () => Effect.die("second")), { name: "second" })
      yield* Supervisor.fork(Effect.fail("first"), { name: "first" })
      const error = yield* Effect.flip(Supervisor.block)
      assert.deepStrictEqual([error.name, Cause.squash(error.cause)], ["first", "first"])
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("an unknown strategy is a defect of the Layer", () =>
    Effect.gen(function*() {
      const strategy = "rest-for-one" as "one-for-one"
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(Supervisor.layer({ strategy }))))
      const invalid = Refusal.invalid(exit)
      assert.deepStrictEqual([invalid?.field, invalid?.value], ["strategy", strategy])
    }))
})

describe("bailOut", () => {
  it.effect("from outside stops the group: block fails with its reason, code 1 where none is given", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.never, { name: "other" })
      yield* quiet
      const blocked = yield* Effect.forkChild(Effect.flip(Supervisor.block))
      assert.strictEqual(yield* elapsed(Supervisor.bailOut("disk full")), 0)
      const error = yield* Fiber.join(blocked)
      assert.deepStrictEqual([error._tag, error.name, error.reason, error.code], [
        "SupervisorFailed",
        "bailOut",
        "disk full",
        1
      ])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ interrupted: 1 }))
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("from inside does not wait, and its member drains or is interrupted like any other", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const went = Effect.sync(() => noted.push("went on"))
      yield* Supervisor.fork(Effect.andThen(Supervisor.bailOut("no licence", 64), went), { name: "quick" })
      yield* Supervisor.fork(Effect.andThen(Supervisor.bailOut("second", 3), noting(noted, "slow")), { name: "slow" })
      const failed = yield* Effect.forkChild(elapsed(Effect.flip(Supervisor.block)))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(failed), 1000)
      const { code, reason } = yield* Effect.flip(Supervisor.block)
      assert.deepStrictEqual([reason, code], ["no licence", 64])
      assert.deepStrictEqual(noted, ["went on", "slow"])
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 1, interrupted: 1 }))
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "1 second" }))))

  it.effect("twice: the first counts", () =>
    Effect.gen(function*() {
      yield* Supervisor.bailOut("one", 11)
      yield* Supervisor.bailOut("two", 12)
      assert.deepInclude({ ...(yield* Effect.flip(Supervisor.block)) }, { reason: "one", code: 11 })
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("after a plain stop has begun or ended changes nothing", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.sleep("1 second"))
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "Infinity" }))
      yield* quiet
      yield* Supervisor.bailOut("late")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stop)
      yield* Supervisor.bailOut("later")
      assert.deepStrictEqual(yield* Supervisor.block, report({ drained: 1 }))
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("is said in the log", () => {
    const log = LogBook.make()
    return Effect.gen(function*() {
      yield* Supervisor.bailOut("disk full")
      yield* Effect.exit(Supervisor.block)
      yield* quiet
      assert.match(log.lines.find(({ level }) => level === "Error")?.text ?? "", /disk full/)
    }).pipe(Effect.provide(Supervisor.layer()), log.keep)
  })
})

describe("block", () => {
  it.effect("before, during and after a stop gives every caller the same report", () =>
    Effect.gen(function*() {
      const before = yield* Effect.forkChild(Supervisor.block)
      yield* Supervisor.fork(Effect.sleep("1 second"))
      yield* TestClock.adjust("500 millis")
      assert.isUndefined(before.pollUnsafe())
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "Infinity" }))
      yield* quiet
      const during = yield* Effect.forkChild(Supervisor.block)
      yield* TestClock.adjust("500 millis")
      const reports = [yield* Fiber.join(before), yield* Fiber.join(during), yield* Supervisor.block]
      for (const it of reports) assert.strictEqual(it, yield* Fiber.join(stop))
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("interrupted leaves at once and stops nothing", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.never, { name: "member" })
      const blocked = yield* Effect.forkChild(Supervisor.block)
      yield* quiet
      assert.strictEqual(yield* elapsed(Fiber.interrupt(blocked)), 0)
      assert.deepStrictEqual([(yield* Supervisor.status).state, yield* names], ["running", ["member"]])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("waits for a group that is empty: only a stop ends it", () =>
    Effect.gen(function*() {
      const blocked = yield* Effect.forkChild(Supervisor.block)
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(blocked.pollUnsafe())
      yield* Supervisor.shutdown
      assert.deepStrictEqual(yield* Fiber.join(blocked), report({}))
    }).pipe(Effect.provide(Supervisor.layer())))
})

describe("events", () => {
  it.effect("tell of starts, restarts, ends and phases in order, at the time of the clock, and end with Stopped", () =>
    Effect.gen(function*() {
      const { reading, told } = yield* listening
      let starts = 0
      yield* TestClock.adjust("1 second")
      yield* Supervisor.fork(Effect.suspend(() => ++starts < 3 ? Effect.fail(`no ${starts}`) : Effect.never), {
        name: "restarting",
        phase: "workers",
        restart: Schedule.spaced("1 second")
      })
      yield* Supervisor.add({ name: "hook", phase: "triggers", stop: Effect.void })
      yield* TestClock.adjust("5 seconds")
      yield* Supervisor.shutdown
      yield* Fiber.join(reading)
      assert.deepStrictEqual(told.map((event) => [words(event), event.at.epochMilliseconds]), [
        ["MemberStarted restarting", 1000],
        ["MemberStarted hook", 1000],
        ["MemberRestarted restarting", 1000],
        ["MemberRestarted restarting", 2000],
        ["PhaseStarted triggers", 6000],
        ["MemberEnded hook", 6000],
        ["PhaseEnded triggers", 6000],
        ["PhaseStarted workers", 6000],
        ["MemberEnded restarting", 6000],
        ["PhaseEnded workers", 6000],
        ["PhaseStarted lanes", 6000],
        ["PhaseEnded lanes", 6000],
        ["PhaseStarted pool", 6000],
        ["PhaseEnded pool", 6000],
        ["Stopped", 6000]
      ])
      const restarted = told.flatMap((event) => event._tag === "MemberRestarted" ? [Cause.squash(event.cause)] : [])
      assert.deepStrictEqual(restarted, ["no 1", "no 2"])
      const stopped = told.at(-1)!
      assert.deepStrictEqual(stopped._tag === "Stopped" && stopped.report, report({ interrupted: 1 }))
      assert.isTrue(told.every((event) => Object.isFrozen(event) && event.supervisor === "group"))
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ id: "group" }))))

  it.effect("reach every reader, the slow one too, and one that comes after the end reads an empty stream", () =>
    Effect.gen(function*() {
      const slow = yield* Effect.forkChild(
        Stream.runCollect(Stream.tap(Supervisor.events, () => Effect.sleep("1 second")))
      )
      const { reading, told } = yield* listening
      for (let i = 0; i < 5; i++) yield* Supervisor.fork(Effect.void, { name: `${i}` })
      yield* quiet
      yield* Supervisor.shutdown
      yield* Fiber.join(reading)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([...(yield* Fiber.join(slow))], told)
      assert.deepStrictEqual([...(yield* Stream.runCollect(Supervisor.events))], [])
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("a reader that leaves is forgotten", () =>
    Effect.gen(function*() {
      const first = yield* Effect.forkChild(Stream.runCollect(Stream.take(Supervisor.events, 1)))
      yield* quiet
      yield* Supervisor.fork(Effect.never, { name: "member" })
      assert.strictEqual((yield* Fiber.join(first)).length, 1)
      yield* Supervisor.shutdown
    }).pipe(Effect.provide(Supervisor.layer())))
})

describe("the status", () => {
  it.effect("is a tree: each member with its phase, its word and what is below it", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      const leaf = (yield* Effect.gen(function*() {
        yield* Supervisor.fork(Effect.never, { name: "leaf" })
        yield* quiet
        return (yield* Supervisor.status).members
      }).pipe(Effect.provide(Layer.fresh(Supervisor.layer()))))[0]!
      let word = "waiting"
      yield* Supervisor.add({
        name: "branch",
        phase: "workers",
        run: Effect.never,
        status: Effect.sync(() => word),
        members: Effect.succeed([leaf])
      })
      yield* TestClock.adjust("1 second")
      yield* Supervisor.fork(Effect.never, { name: "fiber" })
      yield* quiet
      word = "paused"
      const { id, members, size, state } = yield* Supervisor.status
      assert.deepStrictEqual([id, size, state], ["group", 2, "running"])
      const flat = (member: Supervisor.Member): unknown => [
        member.name,
        member.phase,
        member.state,
        member.since.epochMilliseconds,
        member.members.map(flat)
      ]
      assert.deepStrictEqual(members.map(flat), [
        ["branch", "workers", "paused", 1000, [["leaf", "pool", "running", 1000, []]]],
        ["fiber", "pool", "running", 2000, []]
      ])
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer({ id: "group" }))))
})

describe("restart", () => {
  it.effect("follows the schedule, success ends it, and a joiner sees the last end only", () =>
    Effect.gen(function*() {
      const { told } = yield* listening
      let starts = 0
      const fiber = yield* Supervisor.fork(
        Effect.suspend(() => ++starts < 4 ? Effect.die(`no ${starts}`) : Effect.succeed("up")),
        { name: "flaky", restart: Schedule.exponential("1 second") }
      )
      const joined = yield* Effect.forkChild(elapsed(Fiber.join(fiber)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([yield* Fiber.join(joined), yield* Fiber.join(fiber)], [7000, "up"])
      assert.deepStrictEqual(told.map(words), [
        "MemberStarted flaky",
        ...[1, 2, 3].map(() => "MemberRestarted flaky"),
        "MemberEnded flaky"
      ])
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("that is used up leaves a failed member, which counts for the strategy", () =>
    Effect.gen(function*() {
      const { told } = yield* listening
      let starts = 0
      yield* Supervisor.fork(Effect.suspend(() => Effect.fail(++starts)), {
        name: "hopeless",
        restart: Schedule.recurs(2)
      })
      const { cause, code, name } = yield* Effect.flip(Supervisor.block)
      assert.deepStrictEqual([name, code, Cause.squash(cause), starts], ["hopeless", 2, 3, 3])
      yield* quiet
      assert.strictEqual(told.filter(({ _tag }) => _tag === "MemberRestarted").length, 2)
    }).pipe(Effect.provide(Supervisor.layer({ strategy: "one-for-all" }))))

  it.effect("is asked with the cause", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const restart = Schedule.tap(Schedule.recurs(1), ({ input }) =>
        Effect.sync(() => seen.push(Cause.isCause(input) ? Cause.squash(input) : input)))
      const fiber = yield* Supervisor.fork(Effect.fail("why"), { restart })
      yield* Fiber.await(fiber)
      assert.deepStrictEqual(seen[0], "why")
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("does not follow an interruption, also when the clean-up fails", () => {
    const log = LogBook.make()
    return Effect.gen(function*() {
      const { told } = yield* listening
      let starts = 0
      const body = Effect.andThen(
        Effect.sync(() => starts++),
        Effect.onInterrupt(Effect.never, () => Effect.die("clean-up"))
      )
      const scope = yield* addIn({ name: "member", run: body, restart: Schedule.forever })
      yield* quiet
      yield* close(scope)
      yield* quiet
      assert.strictEqual(starts, 1)
      assert.notInclude(told.map(words), "MemberRestarted member")
      assert.notMatch(log.lines.map(({ text }) => text).join("\n"), /restarts/)
    }).pipe(Effect.provide(Supervisor.layer()), log.keep)
  })

  it.effect("of an essential member keeps the group running until it is over", () =>
    Effect.gen(function*() {
      let starts = 0
      yield* Supervisor.add({
        name: "heart",
        essential: true,
        restart: Schedule.spaced("1 second"),
        run: Effect.suspend(() => ++starts < 3 ? Effect.fail("skipped a beat") : Effect.sleep("1 minute"))
      })
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual([starts, (yield* Supervisor.status).state], [3, "running"])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Effect.flip(Supervisor.block)).code, 1)
    }).pipe(Effect.scoped, Effect.provide(Supervisor.layer())))

  it.effect("that waits is cut short by the stop", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(Effect.fail("no"), { restart: Schedule.spaced("1 hour") })
      yield* quiet
      assert.strictEqual(yield* elapsed(Supervisor.shutdown), 0)
    }).pipe(Effect.provide(Supervisor.layer())))
})

describe("forking", () => {
  it.effect("from inside is accepted while draining, in whatever phase, and waited for", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      const child = (name: string, phase: Supervisor.Phase) =>
        Supervisor.fork(Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => ended.push(name))), { name, phase })
      // In the pool phase, when the others are over.
      const parent = Effect.andThen(
        Effect.sleep("5 seconds"),
        Effect.forEach(phases, (phase) => child(`child of ${phase}`, phase))
      )
      yield* Supervisor.fork(parent, { name: "parent", phase: "pool" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("6 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 6000)
      assert.deepStrictEqual(ended, phases.map((phase) => `child of ${phase}`))
      assert.deepStrictEqual(yield* Supervisor.shutdown, report({ drained: 5 }))
    }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "1 minute" }))))

  it.effect("from outside while draining is refused; from inside while interrupting too", () =>
    Effect.gen(function*() {
      let ran = 0
      const one = Effect.sync(() => ran++)
      const supervisor = yield* Supervisor.Supervisor
      const inside: Array<unknown> = []
      yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () =>
        Effect.map(Effect.exit(supervisor.fork(one)), (exit) =>
          inside.push(Refusal.defect(exit)))))
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 second" }))
      yield* quiet
      assert.instanceOf(
        Refusal.defect(yield* Effect.exit(Supervisor.fork(one))),
        Supervisor.SupervisorClosed
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stop)
      assert.instanceOf(inside[0], Supervisor.SupervisorClosed)
      yield* quiet
      assert.strictEqual(ran, 0)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("from a fiber that is interrupted at whatever step loses no fiber", () =>
    Effect.gen(function*() {
      let live = 0
      const body = Effect.acquireUseRelease(
        Effect.sync(() => live++),
        () => Effect.never,
        () => Effect.sync(() => live--)
      )
      for (let ops = 2; ops < 30; ops++) {
        for (const interrupting of [true, false]) {
          yield* Effect.gen(function*() {
            const forking = Effect.provideService(Supervisor.fork(body), EffectScheduler.MaxOpsBeforeYield, ops)
            const asking = yield* Effect.forkChild(Effect.exit(forking), { startImmediately: true })
            if (interrupting) yield* Fiber.interrupt(asking)
            assert.deepInclude([0, 1], (yield* Supervisor.shutdown).interrupted)
          }).pipe(Effect.provide(Layer.fresh(Supervisor.layer())))
          yield* quiet
          assert.strictEqual(live, 0, `yielding every ${ops} steps, ${interrupting ? "interrupted" : "stopped"}`)
        }
      }
    }))
})

describe("a supervisor", () => {
  it.effect("stops with its Layer, within its own budget", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const scoped = Effect.gen(function*() {
        yield* Supervisor.fork(Effect.sleep("1 second"), { name: "quick" })
        yield* Supervisor.fork(noting(noted, "slow"), { name: "slow" })
        yield* quiet
      }).pipe(Effect.provide(Supervisor.layer({ gracePeriod: "3 seconds" })))
      const took = yield* Effect.forkChild(elapsed(scoped))
      yield* quiet
      yield* quiet
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(took), 3000)
      assert.deepStrictEqual(noted, ["slow"])
    }))

  it.effect("stops with ManagedRuntime.dispose, hooks and phases in order", () =>
    Effect.gen(function*() {
      const noted: Array<string> = []
      const runtime = ManagedRuntime.make(Supervisor.layer())
      yield* Effect.promise(() =>
        runtime.runPromise(Effect.gen(function*() {
          const { scope } = yield* Supervisor.Supervisor
          for (const phase of phases.toReversed()) {
            const stop = Effect.sync(() => noted.push(phase))
            yield* Scope.provide(Supervisor.add({ name: phase, phase, stop, run: Effect.never }), scope)
          }
        }))
      )
      yield* Effect.promise(() => runtime.dispose())
      assert.deepStrictEqual(noted, [...phases])
    }))

  it.effect("layerInContext: one for all that is built together, and the one in context where there is one", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const part = Layer.effectDiscard(
        Supervisor.Supervisor.useSync(({ id }) => void seen.push(id))
      ).pipe(Layer.provideMerge(Supervisor.layerInContext()))
      const other = Layer.effectDiscard(
        Supervisor.Supervisor.useSync(({ id }) => void seen.push(id))
      ).pipe(Layer.provide(Supervisor.layerInContext()))
      const { id } = yield* Supervisor.Supervisor.pipe(Effect.provide(Layer.mergeAll(part, other)))
      assert.deepStrictEqual(seen, [id, id])
      yield* Effect.void.pipe(Effect.provide(Layer.mergeAll(part, other)))
      assert.notStrictEqual(seen[2], id)
      assert.strictEqual(seen[2], seen[3])
      yield* Effect.void.pipe(
        Effect.provide(Layer.mergeAll(part, other).pipe(Layer.provide(Supervisor.layer({ id: "mine" }))))
      )
      assert.deepStrictEqual(seen.slice(4), ["mine", "mine"])
      // In context because the program runs in it.
      const outer = yield* Layer.build(Supervisor.layer({ id: "outer" }))
      yield* Effect.provideContext(Effect.provide(Effect.void, part), outer)
      assert.deepStrictEqual(seen.slice(6), ["outer"])
    }))

  it.effect("awaitEmpty waits for every phase", () =>
    Effect.gen(function*() {
      yield* Effect.forEach(phases, (phase, i) => Supervisor.fork(Effect.sleep((4 - i) * 1000), { phase }))
      const empty = yield* Effect.forkChild(elapsed(Supervisor.awaitEmpty))
      yield* TestClock.adjust("3999 millis")
      assert.isUndefined(empty.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(empty), 4000)
    }).pipe(Effect.provide(Supervisor.layer())))
})

describe("under runMain the process exits with", () => {
  const fixture = fileURLToPath(new URL("fixtures/supervised.ts", import.meta.url))

  for (
    const [how, code, line] of [
      ["stopped", 0, /stopped: 1 interrupted/],
      ["failed", 2, /was stopped by "failing"/],
      ["essential", 1, /was stopped by "heart"/],
      ["bailOut", 1, /disk full/],
      ["bailOut 77", 77, /disk full/]
    ] as const
  ) {
    it(`${code}: ${how}`, async () => {
      const ended = await runChild(fixture, how.split(" "))
      assert.strictEqual(ended.code, code, ended.stdout + ended.stderr)
      assert.match(ended.stdout + ended.stderr, line)
      assert.include(ended.stdout, "member: interrupted")
    })
  }

  it("130: SIGTERM, after every phase in order", async () => {
    const child = start(fixture, ["waiting"])
    await child.printed("member: begun")
    child.kill("SIGTERM")
    const { code } = await child.ended
    assert.strictEqual(code, 130)
    const hooks = child.stdout().split("\n").filter((line) => line.startsWith("stop "))
    assert.deepStrictEqual(hooks, phases.map((phase) => `stop ${phase}`))
    assert.include(child.stdout(), "member: interrupted")
  })
})

describe("a member that fails after the fiber that forked it has ended", () => {
  it.effect("is told of by that fiber's loggers", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    return Effect.gen(function*() {
      const supervisor = yield* Supervisor.Supervisor
      const gate = yield* Latch.make()
      const forking = supervisor.fork(Effect.andThen(gate.await, Effect.fail("late")), { name: "late" })
      yield* Fiber.join(yield* Effect.forkChild(Effect.provide(forking, Logger.layer([logger]))))
      yield* quiet
      yield* gate.open
      yield* supervisor.awaitEmpty
      yield* quiet
      assert.isTrue(lines.some((line) => line.startsWith(`"late" of supervisor`)), lines.join())
    }).pipe(Effect.provide(Supervisor.layer()))
  })
})
