import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Order from "effect/Order"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, Lanes, Scheduler, Supervisor, Task, TaskRun, Worker } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"
import * as Refusal from "./suites/Refusal.ts"
import { every, pool } from "./suites/Runner.ts"

/** A pool, and a supervisor that ends before it. */
const floor = (options?: Supervisor.Options) => Supervisor.layer(options).pipe(Layer.provideMerge(pool(4)))

/** Keeps the log to itself: failures of workers are logged by whoever supervises them. */
const silent = LogBook.make().keep

const state = (worker: { readonly status: Effect.Effect<Worker.Status> }) =>
  Effect.map(worker.status, (status) => status.state)

/** Notes the time, and goes on for so long. */
const noting = (times: Array<number>, duration: `${number} millis` = "0 millis") =>
  Effect.andThen(Clock.currentTimeMillis, (now) => {
    times.push(now)
    return Effect.sleep(duration)
  })

describe("starting and stopping", () => {
  const waiting: Record<string, Effect.Effect<Worker.Worker, never, Scheduler.Scheduler | Supervisor.Supervisor>> = {
    interval: Worker.interval("waiting", "4 seconds", Effect.void),
    delay: Worker.delay("waiting", "4 seconds", Effect.void),
    event: Worker.event("waiting", Effect.void),
    queue: Effect.map(
      Worker.queue("waiting", (_: number) => Effect.void),
      (worker) => ({ ...worker, stop: () => Effect.asVoid(worker.stop()) })
    ),
    "restart policy": Worker.loop("waiting", Effect.fail("no"), { restart: Schedule.spaced("4 seconds") })
  }
  for (const [kind, worker] of Object.entries(waiting)) {
    it.effect(`a worker that waits (${kind}) stops at once`, () =>
      Effect.gen(function*() {
        const waiting = yield* worker
        yield* waiting.start()
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* state(waiting), kind === "restart policy" ? "starting" : "waiting")
        assert.strictEqual(yield* elapsed(waiting.stop()), 0)
        assert.strictEqual(yield* state(waiting), "stopped")
      }).pipe(Effect.provide(floor()), silent))
  }

  it.effect("a worker that waits for a slot stops at once, and its iteration never begins", () =>
    Effect.gen(function*() {
      let iterations = 0
      const blocker = yield* Scheduler.fork(Effect.never)
      const worker = yield* Worker.loop("queued", Effect.sync(() => void iterations++))
      yield* worker.start()
      yield* quiet
      assert.strictEqual(yield* state(worker), "waiting")
      assert.strictEqual(yield* elapsed(worker.stop()), 0)
      yield* blocker.interrupt
      yield* quiet
      assert.strictEqual(iterations, 0)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(1))))))

  it.effect("a stop waits for the current iteration, finalizers included, and begins no other", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const worker = yield* Worker.loop(
        "slow",
        Effect.sync(() => seen.push("begun")).pipe(
          Effect.andThen(Effect.sleep("1 second")),
          Effect.ensuring(Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => seen.push("ended"))))
        )
      )
      yield* worker.start()
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(worker.stop()))
      yield* quiet
      assert.strictEqual(yield* state(worker), "stopping")
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* Fiber.join(stop), 2000)
      assert.deepStrictEqual(seen, ["begun", "ended"])
    }).pipe(Effect.provide(floor())))

  it.effect("an interrupting stop waits for the finalizers only, also when it comes after a patient one", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.loop(
        "endless",
        Effect.ensuring(Effect.never, Effect.sleep("1 second"))
      )
      yield* worker.start()
      yield* quiet
      const patient = yield* Effect.forkChild(elapsed(worker.stop()))
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(patient.pollUnsafe())
      const impatient = yield* Effect.forkChild(elapsed(worker.stop("interrupt")))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([yield* Fiber.join(patient), yield* Fiber.join(impatient)], [6000, 1000])
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor())))

  it.effect("of a hundred fibers that start it, one does; all that stop it return", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const worker = yield* Worker.loop("one", gauge.inside(Effect.sleep("1 second")))
      const started = yield* Effect.all(Arr.makeBy(100, () => worker.start()), { concurrency: "unbounded" })
      assert.strictEqual(started.filter((it) => it).length, 1)
      yield* TestClock.adjust("2 seconds")
      const stops = yield* Effect.forkChild(
        Effect.all(Arr.makeBy(100, () => worker.stop()), { concurrency: "unbounded", discard: true })
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stops)
      assert.strictEqual(gauge.peak, 1)
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("of restarts that come together the last has its arguments", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const worker = yield* Worker.loop("it", (n: number) =>
        Effect.andThen(Effect.sync(() => seen.push(n)), Effect.sleep("1 second")))
      yield* worker.start(0)
      yield* quiet
      const restarts = yield* Effect.forkChild(
        Effect.all(
          Arr.makeBy(10, (i) =>
            worker.restart(i + 1)),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(restarts), Arr.makeBy(10, () => true))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, [0, 10, 10])
      yield* worker.stop("interrupt")
    }).pipe(Effect.provide(floor())))

  it.effect("a stop cancels a restart that is under way; a start revives what is stopping", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const worker = yield* Worker.loop(
        "it",
        (n: number) => Effect.andThen(Effect.sync(() => seen.push(n)), Effect.sleep("1 second"))
      )
      yield* worker.start(1)
      yield* quiet
      const restart = yield* Effect.forkChild(worker.restart(2))
      yield* quiet
      const stop = yield* Effect.forkChild(worker.stop())
      yield* quiet
      assert.isFalse(yield* Fiber.join(restart))
      const start = yield* Effect.forkChild(worker.start(3))
      const again = yield* Effect.forkChild(worker.start(4))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(stop)
      assert.deepStrictEqual([yield* Fiber.join(start), yield* Fiber.join(again)], [true, false])
      yield* quiet
      assert.deepStrictEqual(seen, [1, 3])
      yield* worker.stop("interrupt")
    }).pipe(Effect.provide(floor())))

  it.effect("from inside its body a worker is stopped and restarted without waiting for itself", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const worker: Worker.Worker<[string]> = yield* Worker.loop("self", (word: string) =>
        Effect.gen(function*() {
          seen.push(word)
          assert.isFalse(yield* worker.start("never"))
          if (word === "first") yield* worker.restart("second")
          else yield* worker.stop()
          seen.push("went on")
        }))
      yield* worker.start("first")
      yield* quiet
      assert.deepStrictEqual(seen, ["first", "went on", "second", "went on"])
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor())))

  it.effect("a worker that interrupts itself ends there", () =>
    Effect.gen(function*() {
      let after = false
      const worker: Worker.Worker = yield* Worker.loop(
        "self",
        Effect.suspend(() => worker.stop("interrupt")).pipe(
          Effect.andThen(Effect.never),
          Effect.onInterrupt(() => Effect.sync(() => after = true))
        )
      )
      yield* worker.start()
      yield* quiet
      assert.isTrue(after)
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor())))

  it.effect("two workers that stop each other both stop", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const one: Worker.Worker = yield* Worker.loop("one", Effect.suspend(() => latch.whenOpen(two.stop())))
      const two: Worker.Worker = yield* Worker.loop("two", Effect.suspend(() => latch.whenOpen(one.stop())))
      yield* one.start()
      yield* two.start()
      yield* quiet
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual([yield* state(one), yield* state(two)], ["stopped", "stopped"])
    }).pipe(Effect.provide(floor())))

  it.effect("a task that stops a worker lends it the only slot", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.queue("needy", (_: number) => Effect.void)
      yield* worker.start()
      yield* Task.make(
        "stopper",
        Effect.gen(function*() {
          yield* worker.offer(1)
          assert.deepStrictEqual(yield* worker.stop("drain"), [])
        })
      )
      assert.strictEqual((yield* worker.status).iterations, 1)
    }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(1))))))

  it.effect("a worker that stops another lends it the only slot", () =>
    Effect.gen(function*() {
      const busy = yield* Worker.queue("busy", (_: number) => Effect.void)
      yield* busy.start()
      const stopper = yield* Worker.loop(
        "stopper",
        Effect.gen(function*() {
          for (const item of [1, 2, 3]) yield* busy.offer(item)
          assert.deepStrictEqual(yield* busy.stop("drain"), [])
        }),
        { times: 1 }
      )
      yield* stopper.start()
      yield* quiet
      assert.deepStrictEqual([yield* state(stopper), yield* state(busy)], ["stopped", "stopped"])
      assert.strictEqual((yield* busy.status).iterations, 3)
    }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(1))))))

  it.effect("two workers of one name: the second cannot start while the first is there", () =>
    Effect.gen(function*() {
      const first = yield* Worker.event("same", Effect.void)
      const second = yield* Worker.event("same", Effect.void)
      yield* first.start()
      const error = yield* Effect.flip(second.start())
      assert.strictEqual(error._tag, "NameTakenError")
      assert.strictEqual(yield* state(second), "stopped")
      yield* first.stop()
      assert.isTrue(yield* second.start())
      yield* second.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("after so many iterations a worker stops itself, and a start counts anew", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.loop("five", Effect.void, { times: 5 })
      for (const _ of [1, 2]) {
        yield* worker.start()
        yield* quiet
        const status = yield* worker.status
        assert.deepStrictEqual([status.state, status.iterations], ["stopped", 5])
      }
    }).pipe(Effect.provide(floor())))

  for (const [name, runner] of every) {
    it.effect(`workers run on ${name}`, () =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const handled: Array<number> = []
        const tick = yield* Worker.interval("tick", "1 second", noting(times))
        const items = yield* Worker.queue("items", (item: number) => Effect.sync(() => handled.push(item)))
        yield* tick.start()
        yield* items.start()
        for (const item of [1, 2, 3]) yield* items.offer(item)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(times, [0, 1000, 2000])
        assert.deepStrictEqual(handled, [1, 2, 3])
        assert.strictEqual(yield* elapsed(Effect.andThen(tick.stop(), items.stop())), 0)
      }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(runner)))))
  }
})

describe("a body that never yields", () => {
  const spinning = Effect.gen(function*() {
    let iterations = 0
    const worker = yield* Worker.loop("spinning", Effect.sync(() => void iterations++))
    yield* worker.start()
    return { worker, count: () => iterations }
  })

  it.live("leaves the process its timers, and other workers their slots", () =>
    Effect.gen(function*() {
      const done = yield* Latch.make()
      const { count, worker } = yield* spinning
      const other = yield* Worker.interval("other", "1 millis", Effect.void, { times: 5, afterStop: done.open })
      yield* other.start()
      yield* done.await
      assert.strictEqual((yield* other.status).iterations, 5)
      yield* worker.stop()
      const counted = count()
      assert.isAbove(counted, 0)
      yield* Effect.sleep("5 millis")
      assert.strictEqual(count(), counted)
    }).pipe(Effect.provide(floor())))

  for (const [name, runner] of every) {
    it.effect(`does not hold up a test clock that woke it (${name})`, () => {
      const book = LogBook.make()
      return Effect.gen(function*() {
        const starter = yield* Effect.forkChild(Effect.delay(spinning, "1 second"))
        yield* TestClock.adjust("2 seconds")
        // The clock gives a fiber it woke a second to come to rest, and complains.
        assert.deepStrictEqual(book.lines.filter((line) => line.text.includes("still running")), [])
        const { count, worker } = yield* Fiber.join(starter)
        assert.isAbove(count(), 0)
        yield* worker.stop()
      }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(runner))), book.keep)
    })
  }
})

describe("hooks", () => {
  const hooked = (said: Array<string>) => {
    const say = (word: string) => Effect.sync(() => void said.push(word))
    return {
      say,
      hooks: {
        beforeStart: say("before start"),
        afterStart: say("after start"),
        beforeStop: say("before stop"),
        afterStop: say("after stop")
      }
    }
  }

  it.effect("stand around the loop, at every start and stop", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const { hooks, say } = hooked(said)
      const worker = yield* Worker.interval("it", "1 second", say("body"), hooks)
      yield* worker.start()
      say("started").pipe(Effect.runSync)
      yield* quiet
      yield* worker.restart()
      yield* quiet
      yield* worker.stop()
      assert.deepStrictEqual(said, [
        ...["before start", "after start", "started", "body", "before stop", "after stop"],
        ...["before start", "after start", "body", "before stop", "after stop"]
      ])
    }).pipe(Effect.provide(floor())))

  it.effect("before stop is told while the current iteration goes on, and may let it end", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const worker = yield* Worker.loop("it", latch.await, { beforeStop: latch.open })
      yield* worker.start()
      yield* quiet
      assert.strictEqual(yield* elapsed(worker.stop()), 0)
    }).pipe(Effect.provide(floor())))

  it.effect("are closed like a scope, and given what they need where the worker is made", () =>
    Effect.gen(function*() {
      class Name extends Context.Service<Name, string>()("test/Name") {}
      const said: Array<string> = []
      const worker = yield* Worker.loop("it", Effect.never, {
        onStop: "interrupt",
        beforeStart: Effect.gen(function*() {
          const name = yield* Name
          yield* Effect.addFinalizer(() => Effect.sync(() => said.push(`bye ${name}`)))
          said.push(`hello ${name}`)
        })
      }).pipe(Effect.provideService(Name, "you"))
      yield* worker.start()
      yield* quiet
      assert.deepStrictEqual(said, ["hello you", "bye you"])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("one that dies before the start is the death of the start; before or after the stop, a line in the log", () => {
    const book = LogBook.make()
    return Effect.gen(function*() {
      const worker = yield* Worker.loop("it", Effect.never, { beforeStart: Effect.die("no") })
      const exit = yield* Effect.exit(worker.start())
      assert.strictEqual(Refusal.defect(exit), "no")
      assert.strictEqual(yield* state(worker), "failed")

      const other = yield* Worker.event("other", Effect.void, {
        beforeStop: Effect.die("oh"),
        afterStop: Effect.die("dear")
      })
      yield* other.start()
      yield* other.stop()
      assert.strictEqual(yield* state(other), "stopped")
      const lines = book.lines.filter((line) => line.level === "Warn").map((line) => line.text)
      assert.strictEqual(lines.length, 2)
      assert.isTrue(lines[0]!.startsWith(`beforeStop of worker "other" failed`) && lines[0]!.includes("oh"))
      assert.isTrue(lines[1]!.startsWith(`afterStop of worker "other" failed`) && lines[1]!.includes("dear"))
    }).pipe(Effect.provide(floor()), book.keep)
  })

  it.effect("stop and restart from a hook do not wait for themselves", () =>
    Effect.gen(function*() {
      let starts = 0
      const worker: Worker.Worker = yield* Worker.loop("it", Effect.never, {
        onStop: "interrupt",
        beforeStart: Effect.suspend(() => ++starts === 1 ? Effect.orDie(worker.restart()) : Effect.void),
        afterStart: Effect.suspend(() => starts === 2 ? worker.stop() : Effect.void)
      })
      yield* worker.start()
      yield* quiet
      assert.strictEqual(starts, 2)
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor())))
})

describe("failures", () => {
  it.effect("without a policy a failed iteration is the end: an event, and the group stops or does not", () =>
    Effect.gen(function*() {
      for (const strategy of ["one-for-one", "one-for-all"] as const) {
        yield* Effect.gen(function*() {
          const events = yield* Effect.forkChild(Stream.runCollect(Supervisor.events))
          const worker = yield* Worker.loop("it", Effect.fail("no"))
          yield* quiet
          yield* worker.start()
          yield* quiet
          assert.strictEqual(yield* state(worker), "failed")
          assert.strictEqual(Cause.squash((yield* worker.status).lastError!), "no")
          const supervisor = yield* Supervisor.status
          assert.strictEqual(supervisor.state, strategy === "one-for-all" ? "closed" : "running")
          if (strategy === "one-for-all") {
            const failed = yield* Effect.flip(Supervisor.block)
            assert.deepStrictEqual([failed.name, failed.code], ["it", 2])
          }
          yield* Supervisor.shutdown
          const ended = (yield* Fiber.join(events)).filter((event) => event._tag === "MemberEnded")
          assert.deepStrictEqual(ended.map((event) => [event.name, event.phase, Exit.isFailure(event.exit)]), [
            ["it", "workers", true]
          ])
        }).pipe(Effect.provide(floor({ strategy })), silent)
      }
    }))

  it.effect("a failed worker starts again when asked to", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.loop(
        "it",
        Effect.suspend(() => ++iterations === 1 ? Effect.fail("no") : Effect.never)
      )
      yield* worker.start()
      yield* quiet
      assert.strictEqual(yield* state(worker), "failed")
      assert.isTrue(yield* worker.start())
      yield* quiet
      assert.strictEqual(yield* state(worker), "running")
      yield* worker.stop("interrupt")
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("with \"always\" it goes on at once, with its hooks", () =>
    Effect.gen(function*() {
      let iterations = 0
      let starts = 0
      const events = yield* Effect.forkChild(Stream.runCollect(Supervisor.events))
      const worker = yield* Worker.loop("it", (limit: number) =>
        Effect.suspend(() => ++iterations <= limit ? Effect.fail("no") : Effect.never), {
        restart: "always",
        onStop: "interrupt",
        beforeStart: Effect.sync(() =>
          void starts++
        )
      })
      yield* quiet
      assert.strictEqual(yield* elapsed(Effect.andThen(worker.start(3), quiet)), 0)
      assert.deepStrictEqual([iterations, starts, (yield* worker.status).failures], [4, 4, 3])
      yield* worker.stop()
      yield* Supervisor.shutdown
      const restarted = (yield* Fiber.join(events)).filter((event) => event._tag === "MemberRestarted")
      assert.strictEqual(restarted.length, 3)
    }).pipe(Effect.provide(floor()), silent))

  it.effect("with a schedule it waits as that says, and fails when that ends", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const seen: Array<unknown> = []
      const worker = yield* Worker.loop("it", Effect.andThen(noting(times), Effect.fail("no")), {
        restart: Schedule.exponential("1 second").pipe(
          Schedule.upTo({ times: 2 }),
          Schedule.tap((meta: Schedule.Metadata<unknown, Cause.Cause<unknown>>) =>
            Effect.sync(() => seen.push(Cause.squash(meta.input)))
          )
        )
      })
      yield* worker.start()
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(times, [0, 1000, 3000])
      assert.deepStrictEqual(seen, ["no", "no"])
      assert.strictEqual(yield* state(worker), "failed")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("a stop reaches a worker while its schedule thinks, and between two starts", () =>
    Effect.gen(function*() {
      const starts: Array<string> = []
      const failing = (name: string, restart: Schedule.Schedule<unknown>) =>
        Worker.loop(name, Effect.fail("no"), { restart, beforeStart: Effect.sync(() => void starts.push(name)) })
      const thinking = yield* failing("thinking", Schedule.tap(Schedule.forever, () => Effect.sleep("1 second")))
      yield* thinking.start()
      yield* TestClock.adjust("500 millis")
      const stop = yield* Effect.forkChild(thinking.stop())
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(stop)

      // The line that says that it starts again is the instant in between.
      const between = yield* failing("between", Schedule.forever).pipe(Effect.provide(Logger.layer([
        Logger.make(() => void Effect.runFork(Effect.suspend(() => between.stop())))
      ])))
      yield* between.start()
      yield* quiet
      assert.strictEqual(yield* state(between), "stopped")
      assert.deepStrictEqual(starts, ["thinking", "between"])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("what was interrupted or aborted from elsewhere is no failure of the worker", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.loop(
        "it",
        Effect.suspend(() => ++iterations === 2 ? Task.abort("enough") : Effect.never),
        { onStop: "interrupt" }
      )
      yield* worker.start()
      yield* quiet
      for (const _ of [1, 2]) {
        for (const run of yield* Scheduler.runs) yield* run.interrupt
        yield* quiet
      }
      const status = yield* worker.status
      assert.deepStrictEqual([status.state, status.iterations, status.failures], ["running", 4, 0])
      yield* worker.stop()
    }).pipe(Effect.provide(floor()), silent))

  it.effect("an essential worker that ends takes the group with it; its restart does not", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.event("vital", Effect.void, { essential: true })
      yield* worker.start()
      yield* worker.restart()
      yield* quiet
      assert.strictEqual((yield* Supervisor.status).state, "running")
      yield* worker.stop()
      const failed = yield* Effect.flip(Supervisor.block)
      assert.deepStrictEqual([failed.name, failed.code], ["vital", 1])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("refused by its scheduler a worker fails, also with \"always\", and keeps its items", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.queue("it", (_: number) => Effect.void, { restart: "always" })
      yield* Scheduler.close
      yield* worker.start()
      yield* worker.offer(1)
      yield* quiet
      const status = yield* worker.status
      assert.deepStrictEqual([status.state, status.iterations, status.queued], ["failed", 0, 1])
      assert.instanceOf(Cause.squash(status.lastError!), Concurrency.AdmissionError)
      assert.deepStrictEqual(yield* worker.stop(), [1])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("with a schedule a worker outlives the stop of its lane", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      let open = 0
      let most = 0
      const worker = yield* Worker.interval("it", "1 second", noting(times), {
        lane: "side",
        restart: Schedule.spaced("1 second"),
        beforeStart: Effect.sync(() => most = Math.max(most, ++open)),
        afterStop: Effect.sync(() => open--)
      })
      yield* worker.start()
      yield* TestClock.adjust("1500 millis")
      yield* Lanes.stop("side")
      yield* TestClock.adjust("3 seconds")
      yield* Lanes.start("side")
      yield* TestClock.adjust("1500 millis")
      assert.deepStrictEqual(times, [0, 1000, 5000, 6000])
      yield* worker.stop()
      // Each that was begun was ended, and none besides.
      assert.deepStrictEqual([open, most], [0, 1])
    }).pipe(Effect.provide(Lanes.layer({ lanes: { main: {}, side: {} } })), silent))
})

describe("pace", () => {
  it.effect("an iteration longer than its interval leaves out what it missed, and keeps the grid", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const lengths = [250, 100, 99, 1000, 0]
      const worker = yield* Worker.interval(
        "it",
        "100 millis",
        Effect.suspend(() => noting(times, `${lengths[times.length] ?? 0} millis`))
      )
      yield* worker.start()
      yield* TestClock.adjust("1800 millis")
      assert.deepStrictEqual(times, [0, 300, 400, 500, 1500, 1600, 1700, 1800])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("a stalled process makes up for nothing", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const blocker = yield* Scheduler.fork(Effect.sleep("450 millis"))
      const worker = yield* Worker.interval("it", "100 millis", noting(times))
      yield* worker.start()
      yield* TestClock.adjust("700 millis")
      yield* TaskRun.join(blocker)
      assert.deepStrictEqual(times, [450, 500, 600, 700])
      yield* worker.stop()
    }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(1))))))

  it.effect("an interval of a fraction of a millisecond does not drift", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.interval("it", "100 micros", Effect.sync(() => void iterations++))
      yield* worker.start()
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(iterations, 1001)
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  for (const kind of ["interval", "delay"] as const) {
    const make = (times: Array<number>, options?: { readonly immediate?: boolean }) =>
      kind === "interval"
        ? Worker.interval("it", "10 seconds", noting(times, "1000 millis"), options ?? {})
        : Worker.delay("it", "9 seconds", noting(times, "1000 millis"), options ?? {})

    it.effect(`${kind}: not immediate, the first iteration waits, too`, () =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const worker = yield* make(times, { immediate: false })
        yield* worker.start()
        yield* TestClock.adjust("25 seconds")
        assert.deepStrictEqual(times, kind === "interval" ? [10_000, 20_000] : [9000, 19_000])
        assert.deepStrictEqual(
          (yield* worker.status).next,
          DateTime.makeUnsafe(kind === "interval" ? 30_000 : 29_000)
        )
        yield* worker.stop()
      }).pipe(Effect.provide(floor())))

    it.effect(`${kind}: triggered while it runs, it runs once more`, () =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const worker = yield* make(times)
        yield* worker.start()
        yield* TestClock.adjust("500 millis")
        for (const _ of [1, 2, 3]) assert.isTrue(yield* worker.trigger())
        yield* TestClock.adjust("11 seconds")
        assert.deepStrictEqual(times, kind === "interval" ? [0, 1000, 10_000] : [0, 1000, 11_000])
        yield* worker.stop("interrupt")
      }).pipe(Effect.provide(floor())))

    it.effect(`${kind}: a trigger that skips lets it wait anew, and nothing runs`, () =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const worker = yield* make(times)
        yield* worker.start()
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(yield* worker.trigger({ skip: true }))
        yield* TestClock.adjust("15 seconds")
        assert.deepStrictEqual(times, [0, kind === "interval" ? 15_000 : 14_000])
        yield* worker.stop("interrupt")
      }).pipe(Effect.provide(floor())))

    it.effect(`${kind}: a skip passes over one iteration`, () =>
      Effect.gen(function*() {
        const times: Array<number> = []
        const worker = yield* make(times)
        yield* worker.start()
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(yield* worker.skip)
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(times, kind === "interval" ? [0, 20_000, 30_000] : [0, 19_000, 29_000])
        yield* worker.stop()
      }).pipe(Effect.provide(floor())))
  }

  it.effect("what triggers an event worker while it runs is one", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const worker = yield* Worker.event("it", noting(times, "1000 millis"))
      assert.isFalse(yield* worker.trigger())
      yield* worker.start()
      yield* quiet
      assert.deepStrictEqual(times, [])
      yield* worker.trigger()
      yield* TestClock.adjust("500 millis")
      for (const _ of [1, 2, 3]) assert.isTrue(yield* worker.trigger())
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(times, [0, 1000])
      yield* worker.trigger()
      yield* quiet
      yield* worker.trigger()
      assert.isTrue(yield* worker.skip)
      assert.isFalse(yield* worker.skip)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(times, [0, 1000, 10_500])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("there is nothing to trigger in a loop or a queue worker", () =>
    Effect.gen(function*() {
      const loop = yield* Worker.loop("loop", Effect.never, { onStop: "interrupt" })
      const queue = yield* Worker.queue("queue", (_: number) => Effect.void)
      for (const worker of [loop, queue]) {
        yield* worker.start()
        assert.deepStrictEqual([yield* worker.trigger(), yield* worker.skip], [false, false])
        yield* worker.stop()
      }
    }).pipe(Effect.provide(floor())))
})

describe("queue", () => {
  const slow = (handled: Array<number>) => (item: number) =>
    Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled.push(item)))

  it.effect("drain handles every item, finish the current one, interrupt none; what is left is returned", () =>
    Effect.gen(function*() {
      for (
        const [mode, expected] of [
          ["drain", { handled: [1, 2, 3], left: [], millis: 3000 }],
          ["finish", { handled: [1], left: [2, 3], millis: 1000 }],
          ["interrupt", { handled: [], left: [2, 3], millis: 0 }]
        ] as const
      ) {
        const handled: Array<number> = []
        const worker = yield* Worker.queue("it", slow(handled))
        for (const item of [1, 2, 3]) yield* worker.offer(item)
        yield* worker.start()
        yield* quiet
        const began = yield* Clock.currentTimeMillis
        const stop = yield* Effect.forkChild(worker.stop(mode))
        yield* quiet
        const late = yield* Effect.flip(worker.offer(4))
        assert.instanceOf(late, Worker.WorkerStoppedError)
        yield* TestClock.adjust(expected.millis)
        assert.deepStrictEqual(yield* Fiber.join(stop), expected.left)
        assert.strictEqual((yield* Clock.currentTimeMillis) - began, expected.millis)
        assert.deepStrictEqual(handled, [...expected.handled])
        assert.deepStrictEqual(yield* worker.stop(), [])
      }
    }).pipe(Effect.provide(floor())))

  it.effect("before the first start items are kept, after a stop refused, across a restart kept", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", slow(handled))
      yield* worker.offer(1)
      yield* worker.start()
      yield* quiet
      yield* worker.offer(2)
      const restart = yield* Effect.forkChild(worker.restart())
      yield* quiet
      yield* worker.offer(3)
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(yield* Fiber.join(restart))
      assert.deepStrictEqual(handled, [1, 2, 3])
      yield* worker.stop()
      assert.strictEqual((yield* Effect.flip(worker.offer(4)))._tag, "WorkerStoppedError")
      yield* worker.start()
      yield* worker.offer(5)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(handled, [1, 2, 3, 5])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("an offer that waits and is interrupted leaves nothing behind; the others go in in their order", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", slow(handled), { capacity: 1 })
      yield* worker.offer(1)
      const offers = yield* Effect.forEach(
        [2, 3, 4],
        (item) => Effect.forkChild(worker.offer(item), { startImmediately: true })
      )
      yield* Fiber.interrupt(offers[1]!)
      yield* worker.start()
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(handled, [1, 2, 4])
      for (const i of [0, 2]) assert.isTrue(yield* Fiber.join(offers[i]!))
      assert.strictEqual(yield* worker.size, 0)
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("offers that wait are refused by a stop and outlast a restart", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", slow(handled), { capacity: 1 })
      yield* worker.start()
      yield* quiet
      yield* worker.offer(1)
      yield* quiet
      yield* worker.offer(2)
      const waiting = yield* Effect.forkChild(worker.offer(3), { startImmediately: true })
      yield* Effect.forkChild(worker.restart())
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* Fiber.join(waiting))
      const refused = yield* Effect.forkChild(Effect.flip(worker.offer(4)), { startImmediately: true })
      const stop = yield* Effect.forkChild(worker.stop())
      yield* quiet
      assert.strictEqual((yield* Fiber.join(refused))._tag, "WorkerStoppedError")
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(stop), [])
      assert.deepStrictEqual(handled, [1, 2, 3])
    }).pipe(Effect.provide(floor())))

  it.effect("a task that waits for room lends the slot that makes it", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", (item: number) => Effect.sync(() => handled.push(item)), { capacity: 1 })
      yield* worker.start()
      yield* Task.make("producer", Effect.forEach([1, 2, 3, 4], worker.offer))
      yield* worker.stop("drain")
      assert.deepStrictEqual(handled, [1, 2, 3, 4])
    }).pipe(Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(1))))))

  it.effect("its own handler is never held back by a full queue", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker: Worker.QueueWorker<number> = yield* Worker.queue("tree", (item: number) =>
        Effect.gen(function*() {
          handled.push(item)
          if (item < 4) { for (const child of [item * 2, item * 2 + 1]) yield* worker.offer(child) }
        }), { capacity: 1 })
      yield* worker.start()
      yield* worker.offer(1)
      yield* quiet
      assert.deepStrictEqual(handled, [1, 2, 3, 4, 5, 6, 7])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("what waits for room goes in by the order, too", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", (item: number) => Effect.sync(() => handled.push(item)), {
        capacity: 2,
        order: Order.Number
      })
      yield* worker.offer(5)
      yield* worker.offer(7)
      yield* Effect.forEach([6, 9, 1, 8], (item) => Effect.forkChild(worker.offer(item), { startImmediately: true }))
      yield* worker.start()
      yield* quiet
      assert.deepStrictEqual(handled, [5, 1, 6, 7, 8, 9])
      yield* worker.stop()
    }).pipe(Effect.provide(floor())))

  it.effect("what waits keeps its order when others withdraw", () =>
    Effect.gen(function*() {
      const random = Random.make(Random.seedOf("Worker.test.ts, withdrawn offers"))
      for (let round = 0; round < 20; round++) {
        const handled: Array<number> = []
        const worker = yield* Worker.queue("it", (item: number) => Effect.sync(() => handled.push(item)), {
          capacity: 1,
          order: Order.Number
        })
        yield* worker.offer(-1)
        const ranks = Arr.makeBy(40, () => random.int(0, 99))
        const offers = yield* Effect.forEach(ranks, (rank) =>
          Effect.forkChild(worker.offer(rank), { startImmediately: true }))
        const kept: Array<number> = []
        for (const [i, offer] of offers.entries()) {
          if (random.chance(0.5)) {
            yield* Fiber.interrupt(offer)
          } else kept.push(ranks[i]!)
        }
        yield* worker.start()
        yield* Fiber.awaitAll(offers)
        yield* worker.stop("drain")
        assert.deepStrictEqual(handled, [
          -1,
          ...kept.sort((a, b) =>
            a - b
          )
        ])
      }
    }).pipe(Effect.provide(floor())))

  it.effect("what is left when a worker fails goes to onLeft, once, before it counts as ended", () =>
    Effect.gen(function*() {
      const left: Array<number> = []
      const worker = yield* Worker.queue("it", (item: number) => item === 2 ? Effect.fail("no") : Effect.void, {
        onLeft: (items) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => left.push(...items)))
      })
      for (const item of [1, 2, 3, 4]) yield* worker.offer(item)
      yield* worker.start()
      yield* quiet
      assert.strictEqual(yield* state(worker), "stopping")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(left, [3, 4])
      assert.strictEqual(yield* state(worker), "failed")
      assert.deepStrictEqual(yield* worker.stop(), [])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("without onLeft it stays for the next start, and a warning says so; onLeft that fails is the same", () => {
    const book = LogBook.make()
    return Effect.gen(function*() {
      for (const onLeft of [undefined, () => Effect.fail("full disk")]) {
        const handled: Array<number> = []
        const worker = yield* Worker.queue(
          "it",
          (item: number) => Effect.sync(() => handled.push(item)).pipe(Effect.andThen(Worker.stopSelf)),
          { onLeft }
        )
        for (const item of [1, 2]) yield* worker.offer(item)
        yield* worker.start()
        yield* quiet
        assert.strictEqual(yield* state(worker), "stopped")
        assert.deepStrictEqual(handled, [1])
        const line = book.lines.at(-1)!
        assert.strictEqual(line.level, onLeft === undefined ? "Warn" : "Error")
        assert.isTrue(line.text.includes("next start"), line.text)
        yield* worker.start()
        yield* quiet
        assert.deepStrictEqual(handled, [1, 2])
      }
    }).pipe(Effect.provide(floor()), book.keep)
  })

  it.effect("with a policy items outlive a failure, the current one apart", () =>
    Effect.gen(function*() {
      const handled: Array<number> = []
      const worker = yield* Worker.queue("it", (item: number, limit: number) =>
        item === limit ? Effect.fail("no") : Effect.sync(() => handled.push(item)), { restart: "always" })
      for (const item of [1, 2, 3, 4]) {
        yield* worker.offer(item)
      }
      yield* worker.start(2)
      yield* quiet
      assert.deepStrictEqual(handled, [1, 3, 4])
      yield* worker.stop()
    }).pipe(Effect.provide(floor()), silent))

  it.effect("of several that stop it, one is given what is left; not one that was interrupted", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.queue("it", slow([]))
      for (const item of [1, 2, 3]) yield* worker.offer(item)
      yield* worker.start()
      yield* quiet
      const stops = yield* Effect.forEach(
        [1, 2, 3],
        () => Effect.forkChild(worker.stop("finish"), { startImmediately: true })
      )
      yield* Fiber.interrupt(stops[0]!)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([yield* Fiber.join(stops[1]!), yield* Fiber.join(stops[2]!)], [[2, 3], []])
    }).pipe(Effect.provide(floor())))

  it.effect("what is left is returned to who waits, and onLeft has none of it", () =>
    Effect.gen(function*() {
      const left: Array<number> = []
      const worker = yield* Worker.queue("it", slow([]), {
        onLeft: (items) => Effect.sync(() => left.push(...items))
      })
      for (const item of [1, 2, 3]) yield* worker.offer(item)
      yield* worker.start()
      yield* quiet
      assert.deepStrictEqual(yield* worker.stop("interrupt"), [2, 3])
      assert.deepStrictEqual(left, [])
    }).pipe(Effect.provide(floor())))

  it.effect("who is given what is left and interrupted before the slot is back gives it back", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.queue("it", slow([]), { lane: "side" })
      for (const item of [1, 2, 3]) yield* worker.offer(item)
      yield* worker.start()
      yield* quiet
      const stopper = yield* Task.fork(Task.make("stopper", worker.stop("finish")))
      const blocker = yield* Task.fork(Task.make("blocker", Effect.never))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* state(worker), "stopped")
      assert.strictEqual((yield* stopper.state)._tag, "Suspended")
      yield* stopper.interrupt
      assert.deepStrictEqual(yield* worker.stop(), [2, 3])
      yield* blocker.interrupt
    }).pipe(Effect.provide(Lanes.layer({ lanes: { main: { maxParallelism: 1 }, side: {} } }))))

  it.effect("items of a worker that was never started are known when its supervisor ends", () =>
    Effect.gen(function*() {
      const left: Array<number> = []
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(floor(), scope)
      const worker = yield* Worker.queue("it", (_: number) => Effect.void, {
        onLeft: (items) => Effect.sync(() => left.push(...items))
      }).pipe(Effect.provideContext(context))
      for (const item of [1, 2]) yield* worker.offer(item)
      assert.strictEqual(yield* state(worker), "stopped")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(left, [1, 2])
    }).pipe(silent))
})

describe("every item of a queue worker", () => {
  const seed = Random.seedOf("Worker.test.ts")

  /** What is known of each item that was ever offered. */
  interface Known {
    accepted: "yes" | "no" | "unknown"
    begun: number
    left: number
  }

  const story = (round: number) =>
    Effect.gen(function*() {
      const random = Random.make(seed, round)
      const [runner] = every[round % every.length]!
      const items: Array<Known> = []
      const log: Array<string> = []
      const note = (line: string) => log.push(`${line}`)
      const say = () => `SEED=${seed} round ${round} on ${runner}\n${log.join("\n")}`
      const ordered = random.chance(0.5)
      const capacity = random.pick([1, 2, 5, "unbounded"] as const)
      const pause = (most: number) => Effect.suspend(() => Effect.sleep(random.int(0, most)))
      const rank = (item: number) => (item * 7919) % 13
      /** Accepted, known to be so, and not begun. */
      const waiting = new Set<number>()
      let running = 0
      /** Started and not stopped, by its hooks. */
      let open = 0
      /** Starts, stops and restarts that have not returned. */
      let commands = 0
      let ending = false
      let over = false
      // What is thrown inside the worker is the worker's.
      const wrong: Array<string> = []
      const check = (right: boolean, what: string) => right || wrong.push(what)

      const taken = (from: string, left: ReadonlyArray<number>) => {
        for (const item of left) {
          note(`${from} ${item}`)
          items[item]!.left++
          waiting.delete(item)
        }
      }
      const handler = (item: number) =>
        Effect.suspend(() => {
          note(`begins ${item}`)
          items[item]!.begun++
          waiting.delete(item)
          check(running++ === 0, `${item} beside another`)
          check(open === 1, `${item} of a worker that is not open`)
          check(!over, `${item} after the end`)
          // Inline, all this may happen inside of a stop, before it can say what it was given.
          if (ordered && runner !== "layerInline") {
            for (const other of waiting) check(rank(other) >= rank(item), `${item} before ${other}`)
          }
          const ends = random.pick(["at once", "later", "yields", "fails", "stops", "restarts", "offers"])
          const end = ends === "later"
            ? pause(20)
            : ends === "yields"
            ? Effect.yieldNow
            : ends === "fails"
            ? Effect.fail("no")
            : ends === "stops" && random.chance(0.3)
            ? Effect.andThen(Worker.stopSelf, pause(3))
            : ends === "restarts" && random.chance(0.2) && !ending
            ? Effect.orDie(worker.restart())
            : ends === "offers"
            ? offer
            : Effect.void
          return Effect.ensuring(end, Effect.sync(() => running--))
        })

      const worker: Worker.QueueWorker<number> = yield* Worker.queue("it", handler, {
        capacity,
        order: ordered ? Order.mapInput(Order.Number, rank) : undefined,
        onStop: random.pick(["drain", "finish", "interrupt"]),
        restart: random.pick(["none", "always", Schedule.spaced("3 millis")]),
        onError: random.chance(0.5) ? () => pause(2) : undefined,
        onLeft: random.chance(0.7)
          ? (left: ReadonlyArray<number>) =>
            Effect.suspend(() => {
              if (random.chance(0.2)) return Effect.fail("full disk")
              taken("onLeft", left)
              return pause(2)
            })
          : undefined,
        beforeStart: Effect.andThen(
          Effect.sync(() => check(++open === 1, "started twice")),
          random.pick([Effect.void, pause(3)])
        ),
        afterStop: Effect.andThen(
          random.pick([Effect.void, pause(3)]),
          Effect.sync(() => check(--open === 0, "stopped twice"))
        ),
        ...(random.chance(0.3) ? { afterStart: pause(3), beforeStop: pause(3) } : {})
      })

      const offer: Effect.Effect<void> = Effect.suspend(() => {
        const known: Known = { accepted: "unknown", begun: 0, left: 0 }
        const item = items.push(known) - 1
        return Effect.exit(worker.offer(item)).pipe(Effect.map((exit) => {
          known.accepted = Exit.isSuccess(exit) && exit.value ? "yes" : "no"
          note(`offered ${item}: ${known.accepted}`)
          if (known.accepted === "yes" && known.begun + known.left === 0) waiting.add(item)
        }))
      })
      const stop = Effect.suspend(() => {
        const mode = random.pick(["drain", "finish", "interrupt", undefined] as const)
        note(`stop ${mode}`)
        return Effect.map(worker.stop(mode), (left) => taken("returned", left))
      })
      const command = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.suspend(() => {
          commands++
          return Effect.ensuring(hasty(effect), Effect.sync(() => commands--))
        })
      /** Goes on for a while, or is interrupted before it is done. */
      const hasty = (effect: Effect.Effect<unknown, unknown>) =>
        Effect.suspend(() => random.chance(0.4) ? Effect.timeoutOption(effect, random.int(0, 5)) : effect)

      const actor = Effect.gen(function*() {
        const acts = random.int(5, 25)
        for (let i = 0; i < acts && !ending; i++) {
          const act = random.next()
          yield* act < 0.6
            ? hasty(offer)
            : act < 0.65
            ? command(stop)
            : act < 0.85
            ? command(worker.start())
            : act < 0.9
            ? command(worker.restart())
            : pause(5)
        }
      })
      const actors = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(actor))
      for (let i = 0; i < 40; i++) yield* TestClock.adjust("10 millis")
      ending = true
      const shutdown = Supervisor.shutdownWith({ gracePeriod: random.pick([0, 10, 1000]) })
      const last = yield* Effect.forkChild(random.chance(0.5) ? stop : shutdown)
      for (let i = 0; i < 40; i++) yield* TestClock.adjust("50 millis")
      assert.isTrue(last.pollUnsafe() !== undefined && Exit.isSuccess(last.pollUnsafe()!), say())
      assert.strictEqual(commands, 0, say())
      over = true
      // Left are those that wait for room in the queue of a worker that never came to a start.
      yield* Fiber.interruptAll(actors)
      yield* TestClock.adjust("1 second")
      // What nobody took is still there.
      taken("kept", yield* worker.stop())

      assert.deepStrictEqual(wrong, [], say())
      assert.deepStrictEqual([yield* worker.size, running, open], [0, 0, 0], say())
      assert.isTrue(["stopped", "failed"].includes(yield* state(worker)), say())
      assert.deepStrictEqual(yield* Scheduler.runs, [], say())
      items.forEach(({ accepted, begun, left }, item) => {
        const ends = begun + left
        const right = accepted === "yes" ? ends === 1 : accepted === "no" ? ends === 0 : ends <= 1
        assert.isTrue(
          right,
          `item ${item} was accepted: ${accepted}, begun ${begun} times, left ${left} times\n${say()}`
        )
      })
      return items.length
    }).pipe(
      Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(every[round % every.length]![1]))),
      silent
    )

  for (let chapter = 0; chapter < 10; chapter++) {
    it.effect(`is handled, returned or left exactly once, whatever happens (${chapter})`, () =>
      Effect.gen(function*() {
        let offered = 0
        for (let round = 0; round < 20; round++) offered += yield* story(chapter * 20 + round)
        assert.isAbove(offered, 100)
      }))
  }
})

describe("shutdown", () => {
  const make = Effect.gen(function*() {
    const handled: Array<number> = []
    const left: Array<number> = []
    const worker = yield* Worker.queue(
      "items",
      (item: number) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled.push(item))),
      {
        onLeft: (items) => Effect.sync(() => left.push(...items))
      }
    )
    for (const item of [1, 2, 3, 4]) yield* worker.offer(item)
    yield* worker.start()
    yield* quiet
    return { worker, handled, left }
  })

  it.effect("within the grace period a queue worker drains", () =>
    Effect.gen(function*() {
      const { handled, left } = yield* make
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 minute" }))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(yield* Fiber.join(stop), { drained: 1, interrupted: 0, abandoned: 0, stragglers: [] })
      assert.deepStrictEqual([handled, left], [[1, 2, 3, 4], []])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("when that is over it is interrupted, and what is left goes to onLeft", () =>
    Effect.gen(function*() {
      const { handled, left, worker } = yield* make
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1500 millis" }))
      yield* TestClock.adjust("1500 millis")
      assert.deepStrictEqual(yield* Fiber.join(stop), { drained: 0, interrupted: 1, abandoned: 0, stragglers: [] })
      assert.deepStrictEqual([handled, left], [[1], [3, 4]])
      assert.strictEqual(yield* state(worker), "stopped")
      assert.deepStrictEqual(yield* Worker.list, [])
    }).pipe(Effect.provide(floor()), silent))

  it.effect("without grace it is interrupted at once; waiting workers end with the rest", () =>
    Effect.gen(function*() {
      const { handled, left } = yield* make
      const other = yield* Worker.interval("other", "4 seconds", Effect.void)
      yield* other.start()
      yield* quiet
      assert.strictEqual(yield* elapsed(Supervisor.shutdown), 0)
      assert.deepStrictEqual([handled, left], [[], [2, 3, 4]])
      assert.strictEqual(yield* state(other), "stopped")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("a worker that ignores interruption is abandoned by name", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.loop("stubborn", Effect.uninterruptible(Effect.sleep("10 seconds")))
      yield* worker.start()
      yield* quiet
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ interruptTimeout: "1 second" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(stop)).stragglers, ["stubborn"])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("asked for from inside a body, the worker ends after that iteration", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.loop(
        "last",
        Effect.suspend(() => ++iterations === 3 ? Supervisor.shutdown : Effect.void)
      )
      yield* worker.start()
      const report = yield* Supervisor.block
      assert.strictEqual(report.abandoned + report.interrupted, 0)
      yield* quiet
      assert.strictEqual(iterations, 3)
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("starts, stops and restarts during a shutdown end", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.loop("it", Effect.sleep("1 second"))
      yield* worker.start()
      yield* quiet
      const shutdown = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "5 seconds" }))
      yield* quiet
      const all = yield* Effect.forkChild(
        Effect.all(
          [worker.restart(), worker.start(), worker.stop(), worker.stop("interrupt"), worker.start()].map(Effect.exit),
          {
            concurrency: "unbounded"
          }
        )
      )
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      yield* Fiber.join(shutdown)
      assert.strictEqual(yield* state(worker), "stopped")
      assert.instanceOf(Refusal.defect(yield* Effect.exit(worker.start())), Supervisor.SupervisorClosed)
      assert.strictEqual(yield* state(worker), "stopped")
    }).pipe(Effect.provide(floor()), silent))

  it.effect("shut down in the instant of its start, a worker ends and the start returns", () =>
    Effect.gen(function*() {
      const left: Array<number> = []
      const worker = yield* Worker.queue("it", (_: number) => Effect.never, {
        onLeft: (items) => Effect.sync(() => left.push(...items))
      })
      yield* worker.offer(1)
      const start = yield* Effect.forkChild(Effect.exit(worker.start()), { startImmediately: true })
      yield* Supervisor.shutdown
      assert.deepStrictEqual(yield* Fiber.join(start), Exit.succeed(false))
      assert.deepStrictEqual(left, [1])
      assert.strictEqual(yield* state(worker), "stopped")
      assert.deepStrictEqual(yield* Worker.list, [])
    }).pipe(Effect.provide(floor()), silent))
})

describe("layer", () => {
  it.effect("starts the worker, provides a supervisor where there is none, and stops with the scope", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const body = (n: number) => Effect.sync(() => void seen.push(n))
      const scope = yield* Scope.make()
      const Tick = Worker.layer(Worker.interval("tick", "1 second", body), 7)
      const context = yield* Layer.buildWithScope(Layer.provide(Tick, pool(1)), scope)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, [7, 7])
      const status = yield* Effect.provideContext(Worker.status("tick"), context)
      assert.strictEqual(status.state, "waiting")
      assert.strictEqual(yield* elapsed(Scope.close(scope, Exit.void)), 0)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(seen, [7, 7])
    }).pipe(silent))

  it.effect("stands under the supervisor in context; two layers built together share one", () =>
    Effect.gen(function*() {
      const one = Worker.layer(Worker.event("one", Effect.void))
      const two = Worker.layer(Worker.event("two", Effect.void))
      const names = Effect.map(Worker.list, (list) => list.map((status) => status.name).sort())
      const given = Layer.mergeAll(one, two).pipe(Layer.provideMerge(floor()))
      assert.deepStrictEqual(yield* Effect.provide(names, given), ["one", "two"])
      const own = Layer.mergeAll(one, two).pipe(Layer.provide(pool(1)))
      assert.deepStrictEqual(yield* Effect.provide(names, own), ["one", "two"])
    }).pipe(silent))

  it.effect("closing gives the worker the grace of its options, then interrupts it", () =>
    Effect.gen(function*() {
      for (
        const [gracePeriod, expected] of [["0 seconds", [0, 3]], ["1500 millis", [1, 2]], ["1 minute", [4, 0]]] as const
      ) {
        const handled: Array<number> = []
        const left: Array<number> = []
        const worker = Worker.queue("it", (item: number) =>
          Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => handled.push(item))), {
          gracePeriod,
          onLeft: (items) =>
            Effect.sync(() => left.push(...items))
        })
        const scope = yield* Scope.make()
        const offering = Effect.tap(worker, (made) =>
          Effect.forEach([1, 2, 3, 4], made.offer))
        yield* Layer.buildWithScope(Layer.provide(Worker.layer(offering), floor()), scope)
        yield* quiet
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* quiet
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual([handled.length, left.length], [...expected])
      }
    }).pipe(silent))

  it.effect("a queue worker is a service: made, started and stopped with its layer", () =>
    Effect.gen(function*() {
      const sent: Array<string> = []
      class Mailer extends Context.Service<Mailer, Worker.QueueWorker<string>>()("test/Mailer") {}
      const Mail = Layer.effect(
        Mailer,
        Worker.scoped(
          Worker.queue("mail", (to: string) => Effect.sync(() => sent.push(to)), { gracePeriod: "1 second" })
        )
      ).pipe(Layer.provide(Supervisor.layerInContext()), Layer.provide(pool(1)))
      yield* Effect.provide(Mailer.use((mailer) => Effect.forEach(["ann", "bob", "eve"], mailer.offer)), Mail)
      assert.deepStrictEqual(sent, ["ann", "bob", "eve"])
    }).pipe(silent))

  it.effect("a lane that is not there fails the layer", () =>
    Effect.gen(function*() {
      const layer = Worker.layer(Worker.loop("it", Effect.never, { lane: "nowhere" })).pipe(Layer.provide(pool(1)))
      const error = yield* Effect.flip(Effect.scoped(Layer.build(layer)))
      assert.deepStrictEqual([error._tag, (error as Lanes.LaneError).lane], ["LaneError", "nowhere"])
    }).pipe(silent))
})

describe("by name", () => {
  it.effect("active workers are listed, triggered, skipped, restarted and stopped", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const worker = yield* Worker.interval("tick", "10 seconds", (n: number) => Effect.sync(() => seen.push(n)))
      yield* worker.start(7)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Worker.status("tick")).iterations, 1)
      assert.isTrue(yield* Worker.trigger("tick"))
      assert.isTrue(yield* Worker.skip("tick"))
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(seen, [7, 7])
      assert.isTrue(yield* Worker.restart("tick"))
      yield* quiet
      assert.deepStrictEqual(seen, [7, 7, 7])
      const members = (yield* Supervisor.status).members
      assert.deepStrictEqual(members.map(({ name, phase, state }) => [name, phase, state]), [[
        "tick",
        "workers",
        "waiting"
      ]])
      assert.deepStrictEqual(yield* Worker.stop("tick"), [])
      const unknown = [Worker.status, Worker.trigger, Worker.stop, Worker.restart].map((f) => f("tick"))
      for (const effect of unknown as ReadonlyArray<ReturnType<typeof Worker.status>>) {
        const error = yield* Effect.flip(effect)
        assert.instanceOf(error, Worker.UnknownWorkerError)
        assert.deepStrictEqual([error.name, error.known], ["tick", []])
      }
    }).pipe(Effect.provide(floor())))

  it.effect("a body knows its worker; outside one there is none to stop", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const note = Effect.map(Worker.CurrentWorker, (worker) => seen.push(worker?.name))
      const worker = yield* Worker.make("it", Effect.andThen(note, Task.make("child", note)), { times: 1 })
      yield* worker.start()
      yield* quiet
      yield* Effect.andThen(note, Worker.stopSelf)
      assert.deepStrictEqual(seen, ["it", "it", undefined])
    }).pipe(Effect.provide(floor())))

  it.effect("each iteration is a run: named, tagged, nobody's child, with its demand", () => {
    const journal = Journal.make()
    return journal.listen(
      Effect.gen(function*() {
        const gauge = Gauge.make()
        // Made inside a run that has ended by the time it works.
        const workers = yield* Task.make(
          "maker",
          Effect.forEach(
            ["a", "b"],
            (name) =>
              Worker.make(name, gauge.inside(Effect.sleep("1 second")), { tags: ["db"], priority: "high", times: 2 })
          )
        )
        for (const worker of workers) yield* worker.start()
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(gauge.peak, 1)
        const submitted = journal.events.flatMap((event) =>
          event._tag === "Submitted" && event.run.name !== "maker" ? [event.run] : []
        )
        assert.deepStrictEqual(submitted.map((run) => run.name).sort(), ["a", "a", "b", "b"])
        for (const run of submitted) assert.deepStrictEqual([run.tags, run.parent], [["db"], undefined])
      }).pipe(
        Effect.provide(Supervisor.layer().pipe(Layer.provideMerge(pool(4, { tagLimits: { db: 1 } }))))
      )
    )
  })
})

describe("options", () => {
  const invalid: ReadonlyArray<readonly [string, string, Effect.Effect<unknown, never, any>]> = [
    ["Worker.make", "name", Worker.make("", Effect.void)],
    ["Worker.make", "interval", Worker.make("it", Effect.void, { interval: 0 })],
    ["Worker.make", "delay", Worker.make("it", Effect.void, { delay: "-1 seconds" as any })],
    ["Worker.interval", "interval", Worker.interval("it", NaN, Effect.void)],
    ["Worker.loop", "times", Worker.loop("it", Effect.void, { times: 0.5 })],
    ["Worker.loop", "priority", Worker.loop("it", Effect.void, { priority: "urgent" as any })],
    ["Worker.loop", "weight", Worker.loop("it", Effect.void, { weight: 0 })],
    ["Worker.loop", "onStop", Worker.loop("it", Effect.void, { onStop: "now" as any })],
    ["Worker.loop", "restart", Worker.loop("it", Effect.void, { restart: "sometimes" as any })],
    ["Worker.loop", "gracePeriod", Worker.loop("it", Effect.void, { gracePeriod: -1 })],
    ["Worker.queue", "capacity", Worker.queue("it", (_: number) => Effect.void, { capacity: 0 })],
    ["Worker.queue", "whenFull", Worker.queue("it", (_: number) => Effect.void, { whenFull: "shout" as any })]
  ]
  for (const [where, field, effect] of invalid) {
    it.effect(`${where}: an invalid ${field} is a defect that names it`, () =>
      Effect.gen(function*() {
        const error = Refusal.invalid(yield* Effect.exit(effect as Effect.Effect<unknown>))
        assert.deepStrictEqual([error?.where, error?.field], [where, field])
      }).pipe(Effect.provide(floor())))
  }

  it("types tell what a worker needs, what its arguments are and what can happen", () => {
    class Db extends Context.Service<Db, number>()("test/Db") {}
    class Mail extends Context.Service<Mail, number>()("test/Mail") {}
    type Needed<T> = T extends Effect.Effect<any, never, infer R> ? R : never
    type Same<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false
    const same = <A, B>(_: Same<A, B>) => {}
    type Ground = Scheduler.Scheduler | Supervisor.Supervisor

    const plain = Worker.loop("it", Effect.andThen(TaskRun.CurrentRun, Effect.addFinalizer(() => Effect.void)))
    same<Needed<typeof plain>, Ground>(true)
    same<Effect.Success<typeof plain>, Worker.Worker<[]>>(true)

    const needy = Worker.interval(
      "it",
      "1 second",
      (_n: number, _s: string) => Effect.andThen(Db, Effect.fail("no" as const)),
      {
        onError: (cause, n) => {
          same<typeof cause, Cause.Cause<"no">>(true)
          same<typeof n, number>(true)
          return Effect.asVoid(Mail)
        }
      }
    )
    same<Needed<typeof needy>, Ground | Db | Mail>(true)
    same<Effect.Success<typeof needy>, Worker.Worker<[number, string]>>(true)

    const hooked = Worker.event("it", Effect.void, { beforeStart: Effect.asVoid(Db), afterStop: Effect.asVoid(Mail) })
    same<Needed<typeof hooked>, Ground | Db | Mail>(true)

    const waits = Worker.queue("it", (_: number) => Effect.void, { capacity: 1 })
    const fails = Worker.queue("it", (_: number) => Effect.void, { capacity: 1, whenFull: "fail" })
    type OfferError<T> = T extends
      Effect.Effect<{ readonly offer: (item: any) => Effect.Effect<boolean, infer E> }, any, any> ? E
      : never
    same<OfferError<typeof waits>, Worker.WorkerStoppedError>(true)
    same<OfferError<typeof fails>, Worker.WorkerStoppedError | Worker.QueueFullError>(true)

    same<Effect.Error<NonNullable<Worker.Options["beforeStart"]>>, never>(true)

    const one = Worker.loop("it", (_: number) => Effect.void)
    // @ts-expect-error it wants a number
    Worker.layer(one, "1")
    // @ts-expect-error it wants one
    Worker.layer(one)

    return [
      // @ts-expect-error misspelt
      Worker.loop("it", Effect.void, { prority: "high" }),
      // @ts-expect-error misspelt among others
      Worker.loop("it", Effect.void, { times: 1, prority: "high" }),
      // @ts-expect-error of a queue worker only
      Worker.loop("it", Effect.void, { capacity: 1 }),
      // @ts-expect-error an interval or a delay
      Worker.make("it", Effect.void, { interval: 1, delay: 1 })
    ].forEach((it) => assert.isTrue(Effect.isEffect(it)))
  })
})
