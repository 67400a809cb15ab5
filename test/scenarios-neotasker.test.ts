/** NT: what neotasker's supervisor promises of jobs, of its pool and of its workers. */
import { assert, describe, it, vi } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Order from "effect/Order"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import {
  InvalidOptionError,
  Lanes,
  Periodic,
  Scheduler,
  Supervisor,
  Task,
  TaskRun,
  Trigger,
  Worker
} from "../src/index.ts"
import { ProcessRunner, ThreadRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/process-jobs.ts"
import * as threadJobs from "./fixtures/thread-jobs.ts"
import * as Cells from "./suites/Cells.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as LogBook from "./suites/LogBook.ts"
import * as Processes from "./suites/Processes.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

// Processes take their time to start where others do, too.
vi.setConfig({ testTimeout: 60_000 })

/** A pool, and a supervisor that ends before it. */
const floor = Supervisor.layer().pipe(Layer.provideMerge(pool(4)))

/** Notes the time, and goes on for so long. */
const noting = (times: Array<number>, duration: `${number} millis` = "0 millis") =>
  Effect.andThen(Clock.currentTimeMillis, (now) => {
    times.push(now)
    return Effect.sleep(duration)
  })

const stubborn = (duration: "2500 millis") => Effect.uninterruptible(Effect.sleep(duration))

describe("NT", () => {
  it.effect("NT-1 a running supervisor gives a handle at once: of the value, or of the typed failure", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const value = yield* Supervisor.fork(Effect.as(latch.await, 7), { name: "value" })
      const failure = yield* Supervisor.fork(Effect.andThen(latch.await, Effect.fail("no" as const)), {
        name: "failure"
      })
      yield* quiet
      assert.isUndefined(value.pollUnsafe())
      const status = yield* Supervisor.status
      assert.deepStrictEqual(status.members.map((member) => member.name).sort(), ["failure", "value"])
      assert.deepStrictEqual([status.state, status.size], ["running", 2])
      yield* latch.open
      assert.strictEqual(yield* Fiber.join(value), 7)
      assert.strictEqual(yield* Effect.flip(Fiber.join(failure)), "no")
      yield* Supervisor.awaitEmpty
      assert.strictEqual((yield* Supervisor.status).size, 0)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-1 after its scope closed, a supervisor spawns nothing and says so", () =>
    Effect.gen(function*() {
      let ran = 0
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Supervisor.layer({ id: "jobs" }), scope)
      yield* Scope.close(scope, Exit.void)
      const late = yield* Effect.exit(Supervisor.fork(Effect.sync(() => ran++)).pipe(Effect.provideContext(context)))
      const defect = Refusal.defect(late)
      assert.instanceOf(defect, Supervisor.SupervisorClosed)
      assert.strictEqual(defect.supervisor, "jobs")
      yield* quiet
      assert.strictEqual(ran, 0)
    }))

  it.effect("NT-17 stop returns when its limit is over, naming who ignored interruption", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(stubborn("2500 millis"), { name: "stubborn" })
      yield* Supervisor.fork(Effect.never, { name: "obedient" })
      yield* quiet
      let report: Supervisor.Report | undefined
      const stop = yield* Effect.forkChild(elapsed(
        Effect.tap(Supervisor.shutdownWith({ interruptTimeout: "500 millis" }), (it) => {
          report = it
          return Effect.void
        })
      ))
      yield* TestClock.adjust("499 millis")
      assert.isUndefined(report)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 500)
      assert.deepStrictEqual(report, { drained: 0, interrupted: 1, abandoned: 1, stragglers: ["stubborn"] })
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-17 without a limit, stop waits", () =>
    Effect.gen(function*() {
      yield* Supervisor.fork(stubborn("2500 millis"), { name: "stubborn" })
      yield* quiet
      const stop = yield* Effect.forkChild(elapsed(Supervisor.shutdown))
      yield* TestClock.adjust("2499 millis")
      assert.isUndefined(stop.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(stop), 2500)
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("NT-17 all that a scheduler runs share one budget", () =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach(Arr.range(1, 4), (i) =>
        Task.fork(Task.make(`job ${i}`, stubborn("2500 millis"))))
      yield* quiet
      let report: Supervisor.Report | undefined
      const stop = yield* Effect.forkChild(elapsed(
        Effect.tap(Scheduler.closeWith({ gracePeriod: "200 millis", interruptTimeout: "300 millis" }), (it) => {
          report = it
          return Effect.void
        })
      ))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* Fiber.join(stop), 500)
      assert.strictEqual(report?.abandoned, 4)
      assert.deepStrictEqual([...report!.stragglers].sort(), ["job 1", "job 2", "job 3", "job 4"])
      for (const run of runs) {
        const state = yield* run.state
        assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Abandoned")
        assert.isTrue(Refusal.interrupted(yield* run.exit))
      }
      yield* TestClock.adjust("2 seconds")
    }).pipe(Effect.provide(pool(4))))

  it.effect("NT-23 raised, a pool starts what waits at once; lowered, it settles as its holders end", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const started: Array<number> = []
      const service = yield* Scheduler.Scheduler
      const latches = Arr.makeBy(7, () => Latch.makeUnsafe())
      const runs = yield* Effect.forEach(
        latches,
        (latch, i) =>
          Task.fork(Task.make("job", gauge.inside(Effect.andThen(Effect.sync(() => started.push(i)), latch.await))))
      )
      yield* quiet
      assert.deepStrictEqual(started, [0, 1])
      assert.strictEqual(yield* elapsed(Effect.andThen(Scheduler.resize(4), quiet)), 0)
      assert.deepStrictEqual(started, [0, 1, 2, 3])
      assert.strictEqual((yield* service.stats).maxParallelism, 4)

      yield* Scheduler.resize(1)
      assert.strictEqual((yield* service.stats).maxParallelism, 1)
      yield* quiet
      assert.strictEqual(gauge.current, 4)
      for (const i of [0, 1, 2]) {
        yield* latches[i]!.open
        yield* quiet
        assert.strictEqual(gauge.current, 3 - i)
        assert.strictEqual(started.length, 4)
      }
      for (const i of [3, 4, 5]) {
        yield* latches[i]!.open
        yield* quiet
        assert.deepStrictEqual([gauge.current, started.at(-1)], [1, i + 1])
      }
      yield* latches[6]!.open
      yield* TaskRun.awaitAll(runs)
      assert.strictEqual(gauge.peak, 4)
    }).pipe(Effect.provide(pool(2))))

  for (const size of [0, -1, 2.5, NaN]) {
    it.effect(`NT-23 a pool of ${size} is a typed error, and the pool stays what it was`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Scheduler.resize(size))
        assert.strictEqual(error._tag, "InvalidOptionError")
        assert.deepStrictEqual([error.field, error.value], ["maxParallelism", size])
        assert.strictEqual((yield* Scheduler.stats).maxParallelism, 2)
      }).pipe(Effect.provide(pool(2))))
  }
})

describe("NT: a pool of processes", () => {
  const entry = new URL("fixtures/process-entry.ts", import.meta.url)
  const processes = (options?: Partial<ProcessRunner.Options>) =>
    ProcessRunner.layer({ entry, size: 2, spares: 0, ...options })
  const failed = (error: unknown) => error instanceof InvalidOptionError.InvalidOptionError ? error.message : error

  it.live("NT-1 in a pool of processes, a job gives a handle at once: of the value, or of the typed failure", () =>
    Effect.gen(function*() {
      const added = yield* jobs.Add.fork({ a: 1, b: 2 })
      const refused = yield* jobs.Refuse.fork({ since: new Date(0) })
      assert.strictEqual(yield* TaskRun.join(added), 3)
      assert.instanceOf(yield* Effect.flip(TaskRun.join(refused)), jobs.TooOld)
    }).pipe(Effect.provide(processes())))

  it.live("NT-5 a worker's body may be a job in a process", () =>
    Effect.gen(function*() {
      const pids: Array<number> = []
      const ended = Latch.makeUnsafe()
      const worker = yield* Worker.interval(
        "computing",
        "10 millis",
        Effect.gen(function*() {
          pids.push((yield* jobs.Where.execute(undefined)).pid)
          if (pids.length < 3) return
          yield* Worker.stopSelf
          yield* ended.open
        })
      )
      yield* worker.start()
      yield* ended.await
      assert.strictEqual(new Set(pids).size, 1)
      assert.notInclude(pids, process.pid)
    }).pipe(Effect.provide(Layer.mergeAll(Supervisor.layer(), Scheduler.layerUnbounded, processes({ size: 1 })))))

  it.live("NT-23 raised, a pool of processes starts what waits; lowered, it settles as its holders end", () =>
    Effect.gen(function*() {
      const begun: Array<number> = []
      const latches = Arr.makeBy(5, () => Latch.makeUnsafe())
      const runs = yield* Effect.forEach(latches, (latch, i) =>
        jobs.Hold.fork(undefined, {
          onProgress: (pid: any) => Effect.andThen(Effect.sync(() => void (begun[i] = pid)), latch.await)
        }))
      const count = () => begun.filter((pid) => pid !== undefined).length
      const has = (wanted: number) => Effect.promise(() => Processes.eventually(`${wanted}`, () => count() === wanted))
      yield* has(2)
      yield* ProcessRunner.resize(4)
      yield* has(4)
      assert.strictEqual(new Set(begun.filter((pid) => pid !== undefined)).size, 4)
      assert.deepInclude(yield* ProcessRunner.stats, { minSize: 4, maxSize: 4, allocated: 4, active: 4, suspended: 0 })

      yield* ProcessRunner.resize(1)
      for (const latch of latches.slice(0, 3)) yield* latch.open
      yield* TaskRun.awaitAll(runs.slice(0, 3))
      assert.deepInclude(yield* ProcessRunner.stats, { minSize: 1, maxSize: 1, active: 1 })
      assert.strictEqual(count(), 4)
      yield* latches[3]!.open
      yield* has(5)
      yield* latches[4]!.open
      yield* TaskRun.awaitAll(runs)
      const left = () => [...new Set(begun)].filter(Processes.isAlive).length
      yield* Effect.promise(() => Processes.eventually("one is left", () => left() === 1))
    }).pipe(Effect.provide(processes())))

  it.live("NT-23 a pool of processes with more at least than at most is a typed error", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ProcessRunner.resize({ minSize: 3, maxSize: 2 }))
      assert.strictEqual(failed(error), "ProcessRunner.resize: minSize must not be above maxSize, which is 2, got 3")
      for (const size of [0, -1, 1.5]) {
        assert.strictEqual((yield* Effect.flip(ProcessRunner.resize(size))).field, "size")
      }
      assert.deepInclude(yield* ProcessRunner.stats, { minSize: 2, maxSize: 2 })
      const built = yield* Effect.exit(
        Effect.scoped(Layer.build(processes({ size: undefined, minSize: 2, maxSize: 1 })))
      )
      const defect = Exit.isFailure(built) ? failed(Cause.squash(built.cause)) : undefined
      assert.strictEqual(defect, "ProcessRunner.layer: minSize must not be above maxSize, which is 1, got 2")
    }).pipe(Effect.provide(processes())))
})

describe("NT: a pool of threads", () => {
  const entry = new URL("fixtures/thread-host.ts", import.meta.url)
  const cells = Cells.make()
  const threads = (options?: Partial<ThreadRunner.Options>) =>
    ThreadRunner.layer({ entry, size: 2, spares: 0, data: cells.buffer, ...options })

  it.live(
    "NT-23 raised, a pool of threads starts what waits at once; lowered, it settles as its holders end",
    () =>
      Effect.gen(function*() {
        const began = 0
        const untils = [1, 2, 3, 4, 5]
        const runs = yield* Effect.forEach(untils, (until) => threadJobs.Hold.fork({ began, until }))
        yield* Cells.reached(cells, began, 2)
        const states = Effect.forEach(runs, (run) => Effect.map(run.state, ({ _tag }) => _tag))
        assert.deepStrictEqual(yield* states, ["Running", "Running", "Waiting", "Waiting", "Waiting"])
        const { resize, scheduler } = yield* ThreadRunner.ThreadRunner
        yield* resize(4)
        assert.deepStrictEqual(yield* states, ["Running", "Running", "Running", "Running", "Waiting"])
        yield* Cells.reached(cells, began, 4)
        assert.deepInclude(yield* ThreadRunner.stats, { minSize: 4, maxSize: 4, allocated: 4, active: 4, suspended: 0 })

        yield* ThreadRunner.resize(1)
        assert.strictEqual((yield* scheduler.stats).maxParallelism, 1)
        for (const until of untils.slice(0, 3)) Cells.add(cells, until)
        const names = yield* Effect.forEach(runs.slice(0, 3), TaskRun.join)
        assert.strictEqual(new Set(names).size, 3)
        assert.deepInclude(yield* ThreadRunner.stats, { minSize: 1, maxSize: 1, allocated: 1, active: 1 })
        assert.deepStrictEqual((yield* states).slice(3), ["Running", "Waiting"])
        Cells.add(cells, 4)
        yield* Cells.reached(cells, began, 5)
        Cells.add(cells, 5)
        yield* TaskRun.awaitAll(runs)
        assert.deepInclude(yield* ThreadRunner.stats, { allocated: 1, active: 0, idle: 1, spares: 0 })
      }).pipe(Effect.provide(threads())),
    60_000
  )

  it.live(
    "NT-23 a pool of threads with more at least than at most, or fewer than one, is a typed error",
    () =>
      Effect.gen(function*() {
        const failed = yield* Effect.flip(ThreadRunner.resize({ minSize: 3, maxSize: 2 }))
        assert.strictEqual(failed.message, "ThreadRunner.resize: minSize must not be above maxSize, which is 2, got 3")
        for (const size of [0, -1, 1.5]) {
          assert.strictEqual((yield* Effect.flip(ThreadRunner.resize(size))).field, "size")
        }
        assert.deepInclude(yield* ThreadRunner.stats, { minSize: 2, maxSize: 2 })
        for (
          const [options, field] of [[{ size: 0 }, "size"], [
            { size: undefined, minSize: 2, maxSize: 1 },
            "minSize"
          ]] as const
        ) {
          const built = yield* Effect.exit(Effect.scoped(Layer.build(threads(options))))
          assert.strictEqual(Refusal.invalid(built)?.field, field)
        }
      }).pipe(Effect.provide(threads())),
    60_000
  )
})

describe("NT: jobs", () => {
  const ground = Layer.mergeAll(Supervisor.layer(), Scheduler.layerUnbounded)
  const seconds = Effect.map(Clock.currentTimeMillis, (now) => now / 1000)

  /** A job that takes so long, and the seconds at which it ran. */
  const job = (name: string, length: Duration.Input = 0) => {
    const ran: Array<number> = []
    const task = Task.make(name, Effect.andThen(Effect.map(seconds, (at) => ran.push(at)), Effect.sleep(length)))
    return { task, ran }
  }

  it.effect("NT-24 a job runs after its delay, then each interval, as often as it was told", () =>
    Effect.gen(function*() {
      const counted = job("counted")
      const sibling = job("sibling")
      yield* Layer.build(Layer.mergeAll(
        Periodic.every("10 seconds", { delay: "3 seconds", times: 4 })(counted.task),
        Periodic.every("10 seconds")(sibling.task)
      ))
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(counted.ran, [3, 13, 23, 33])
      assert.strictEqual(sibling.ran.length, 12)
      assert.strictEqual((yield* Periodic.status("counted")).state, "done")
    }).pipe(Effect.provide(ground)))

  it.effect("NT-24 a job that is cancelled runs no more, and its sibling goes on", () =>
    Effect.gen(function*() {
      const cancelled = job("cancelled")
      const sibling = job("sibling")
      const handle = yield* Periodic.make(cancelled.task, Trigger.every("1 second"))
      yield* Periodic.make(sibling.task, Trigger.every("1 second"))
      yield* TestClock.adjust("3 seconds")
      yield* handle.stop
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual([cancelled.ran, sibling.ran], [[1, 2, 3], [1, 2, 3, 4, 5, 6]])
    }).pipe(Effect.provide(ground)))

  it.effect("NT-24 a job does not overlap itself unless that was declared", () =>
    Effect.gen(function*() {
      const alone = job("alone", "2500 millis")
      const crowded = job("crowded", "2500 millis")
      yield* Periodic.make(alone.task, Trigger.every("1 second"))
      yield* Periodic.make(crowded.task, Trigger.every("1 second"), { overlap: "allow" })
      yield* TestClock.adjust("7 seconds")
      assert.deepStrictEqual([alone.ran, crowded.ran], [[1, 4, 7], [1, 2, 3, 4, 5, 6, 7]])
      assert.strictEqual((yield* Periodic.status("crowded")).running, 3)
    }).pipe(Effect.provide(ground)))
})

describe("NT: start-up", () => {
  it.effect("NT-25 steps go by priority, then by insertion, each whatever became of the others, and all is reported", () =>
    Effect.gen(function*() {
      const ran: Array<string> = []
      const step = <A, E>(name: string, priority: number | undefined, effect: Effect.Effect<A, E>) => ({
        name,
        priority: priority ?? 100,
        run: Effect.andThen(Effect.sync(() => ran.push(name)), effect)
      })
      const steps = [
        step("cache", undefined, Effect.fail("no room")),
        step("database", 10, Effect.succeed("open")),
        step("mail", undefined, Effect.succeed("ready"))
      ]
      const inOrder = Arr.sortWith(steps, (step) => step.priority, Order.Number)
      const results = yield* Effect.forEach(
        inOrder,
        ({ name, run }) => Effect.map(Effect.exit<string, string, never>(run), (exit) => ({ name, exit }))
      )
      const report = { results, allOk: results.every(({ exit }) => Exit.isSuccess(exit)) }
      assert.deepStrictEqual(ran, ["database", "cache", "mail"])
      assert.deepStrictEqual(report, {
        results: [
          { name: "database", exit: Exit.succeed("open") },
          { name: "cache", exit: Exit.fail("no room") },
          { name: "mail", exit: Exit.succeed("ready") }
        ],
        allOk: false
      })
    }))
})

describe("NT: workers", () => {
  it.effect("NT-2 a looping worker repeats its body until it is stopped, and restarts with new arguments", () =>
    Effect.gen(function*() {
      const seen: Array<string> = []
      const worker = yield* Worker.loop(
        "greeter",
        (word: string) => Effect.andThen(Effect.sync(() => seen.push(word)), Effect.sleep("10 millis"))
      )
      assert.isTrue(yield* worker.start("hello"))
      assert.isFalse(yield* worker.start("again"))
      yield* TestClock.adjust("20 millis")
      assert.deepStrictEqual(seen, ["hello", "hello", "hello"])

      const restarted = yield* Effect.forkChild(worker.restart("bye"))
      yield* TestClock.adjust("10 millis")
      assert.isTrue(yield* Fiber.join(restarted))
      yield* quiet
      assert.deepStrictEqual(seen, ["hello", "hello", "hello", "bye"])

      const stopped = yield* Effect.forkChild(elapsed(worker.stop()))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(stopped), 10)
      assert.deepStrictEqual(seen, ["hello", "hello", "hello", "bye"])
      assert.strictEqual((yield* worker.status).state, "stopped")
    }).pipe(Effect.provide(floor)))

  it.effect("NT-3 a worker whose body stops it on its third iteration runs three times and is listed no more", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.loop(
        "three",
        Effect.suspend(() => ++iterations === 3 ? Worker.stopSelf : Effect.sleep("1 second"))
      )
      yield* worker.start()
      assert.deepStrictEqual((yield* Worker.list).map((status) => status.name), ["three"])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(iterations, 3)
      assert.strictEqual((yield* worker.status).state, "stopped")
      assert.deepStrictEqual(yield* Worker.list, [])
      assert.deepStrictEqual((yield* Supervisor.status).members, [])
    }).pipe(Effect.provide(floor)))

  it.effect("NT-4 an interval of 20 ms runs at 0, 20, 40, 60, 80 and 100 ms", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const worker = yield* Worker.make("tick", noting(times), { interval: "20 millis" })
      yield* worker.start()
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(times, [0, 20, 40, 60, 80, 100])
      yield* worker.stop()
    }).pipe(Effect.provide(floor)))

  it.effect("NT-5 bodies of 30 ms: an interval counts from start to start, a delay from end to start", () =>
    Effect.gen(function*() {
      const interval: Array<number> = []
      const delay: Array<number> = []
      const one = yield* Worker.make("interval", noting(interval, "30 millis"), { interval: "100 millis" })
      const two = yield* Worker.make("delay", noting(delay, "30 millis"), { delay: "100 millis" })
      yield* one.start()
      yield* two.start()
      yield* TestClock.adjust("299 millis")
      assert.deepStrictEqual(interval, [0, 100, 200])
      assert.deepStrictEqual(delay, [0, 130, 260])
      yield* Effect.all([one.stop(), two.stop()], { discard: true })
    }).pipe(Effect.provide(floor)))

  it.effect("NT-5 an interval and a delay together are a typed error", () =>
    Effect.gen(function*() {
      // @ts-expect-error one or the other
      const both = Worker.make("both", Effect.void, { interval: "1 second", delay: "1 second" })
      const error = Refusal.invalid(yield* Effect.exit(both))
      assert.instanceOf(error, InvalidOptionError.InvalidOptionError)
      assert.deepStrictEqual([error!.where, error!.field], ["Worker.make", "interval"])
    }).pipe(Effect.provide(floor)))

  it.effect("NT-7 triggered with 5 s to go, an interval worker runs now, and again 5 s after that", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const worker = yield* Worker.interval("tick", "10 seconds", noting(times))
      yield* worker.start()
      yield* TestClock.adjust("5 seconds")
      assert.isTrue(yield* worker.trigger())
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(times, [0, 5000, 10_000, 20_000])
      yield* worker.stop()
    }).pipe(Effect.provide(floor)))

  it.effect("NT-10 a queue worker handles one item at a time, in order", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const handled: Array<number> = []
      const worker = yield* Worker.queue("sum", (item: number) =>
        gauge.inside(Effect.andThen(Effect.sleep("10 millis"), Effect.sync(() => handled.push(item)))))
      yield* worker.start()
      for (const item of [2, 3, 4]) {
        assert.isTrue(yield* worker.offer(item))
      }
      yield* TestClock.adjust("30 millis")
      assert.deepStrictEqual(handled, [2, 3, 4])
      assert.strictEqual(
        handled.reduce((a, b) =>
          a + b
        ),
        9
      )
      assert.strictEqual(gauge.peak, 1)
      assert.deepStrictEqual(yield* worker.stop(), [])
    }).pipe(Effect.provide(floor)))

  it.effect("NT-10 with an order the least goes first, and ties as they came", () =>
    Effect.gen(function*() {
      const handled: Array<string> = []
      const worker = yield* Worker.queue("ordered", (item: readonly [number, string]) =>
        Effect.sync(() => handled.push(item[1])), {
        order: Order.mapInput(Order.Number, (item: readonly [number, string]) =>
          item[0])
      })
      for (const item of [[2, "c"], [1, "a"], [3, "e"], [2, "d"], [1, "b"]] as const) {
        yield* worker.offer(item)
      }
      yield* worker.start()
      yield* quiet
      assert.deepStrictEqual(handled, ["a", "b", "c", "d", "e"])
      yield* worker.stop()
    }).pipe(Effect.provide(floor)))

  it.effect("NT-11 a thousand items that were there already are handled in no time", () =>
    Effect.gen(function*() {
      let handled = 0
      const worker = yield* Worker.queue("many", (_: number) => Effect.sync(() => void handled++))
      yield* Effect.forEach(Arr.range(1, 1000), worker.offer)
      assert.strictEqual((yield* worker.status).queued, 1000)
      assert.strictEqual(yield* elapsed(Effect.andThen(worker.start(), worker.stop("drain"))), 0)
      assert.strictEqual(handled, 1000)
    }).pipe(Effect.provide(floor)))

  it.effect("NT-13 when the queue is full the producer waits, and goes on as soon as one item is taken", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const worker = yield* Worker.queue("full", (_: number) => latch.await, { capacity: 10 })
      yield* Effect.forEach(Arr.range(1, 10), worker.offer)
      const eleventh = yield* Effect.forkChild(worker.offer(11))
      yield* quiet
      assert.isUndefined(eleventh.pollUnsafe())
      yield* worker.start()
      yield* quiet
      assert.isTrue(yield* Fiber.join(eleventh))
      assert.strictEqual(yield* worker.size, 10)
      yield* latch.open
      yield* worker.stop("drain")
    }).pipe(Effect.provide(floor)))

  it.effect("NT-13 a full queue refuses or drops where that was declared", () =>
    Effect.gen(function*() {
      const refusing = yield* Worker.queue("refusing", (_: number) => Effect.void, { capacity: 10, whenFull: "fail" })
      const dropping = yield* Worker.queue("dropping", (_: number) => Effect.void, { capacity: 10, whenFull: "drop" })
      for (const i of Arr.range(1, 10)) {
        assert.isTrue(yield* refusing.offer(i))
        assert.isTrue(yield* dropping.offer(i))
      }
      const error = yield* Effect.flip(refusing.offer(11))
      assert.instanceOf(error, Worker.QueueFullError)
      assert.deepStrictEqual([error.worker, error.capacity], ["refusing", 10])
      assert.isFalse(yield* dropping.offer(11))
      for (const worker of [refusing, dropping]) assert.deepStrictEqual(yield* worker.stop(), Arr.range(1, 10))
    }).pipe(Effect.provide(floor)))

  it.effect("NT-14 triggered, idle and triggered again, an event worker ran twice", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const worker = yield* Worker.event("bell", noting(times))
      yield* worker.start()
      yield* TestClock.adjust("1 second")
      yield* worker.trigger()
      yield* TestClock.adjust("1 second")
      yield* worker.trigger()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(times, [1000, 2000])
      yield* worker.stop()
    }).pipe(Effect.provide(floor)))

  it.effect("NT-15 the error handler is given the cause and its arguments, and the worker goes on", () =>
    Effect.gen(function*() {
      const told: Array<unknown> = []
      const handler = (where: string) => (cause: Cause.Cause<"no">, step: number) =>
        Effect.sync(() => told.push([where, Cause.squash(cause), step]))
      const worker = yield* Worker.interval("failing", "1 second", (_: number) => Effect.fail("no" as const), {
        onError: handler("here")
      })
      yield* worker.start(7)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(told, [["here", "no", 7], ["here", "no", 7], ["here", "no", 7]])
      const status = yield* worker.status
      assert.deepStrictEqual([status.state, status.iterations, status.failures], ["waiting", 3, 3])
      yield* worker.stop()
    }).pipe(Effect.provide(floor)))

  it.effect("NT-15 when the error handler fails, too, the worker fails with both causes", () =>
    Effect.gen(function*() {
      const worker = yield* Worker.loop("failing", Effect.fail("first"), { onError: () => Effect.fail("second") })
      yield* worker.start()
      yield* quiet
      const status = yield* worker.status
      assert.strictEqual(status.state, "failed")
      const errors = status.lastError!.reasons.map((reason) => Cause.isFailReason(reason) ? reason.error : reason)
      assert.deepStrictEqual(errors, ["first", "second"])
      assert.deepStrictEqual(yield* Worker.list, [])
    }).pipe(Effect.provide(floor), LogBook.make().keep))

  const lanes = Lanes.layer({
    lanes: { main: { maxParallelism: 1 }, side: { maxParallelism: 1 } }
  })
  const laneOf = Effect.map(TaskRun.CurrentRun, (run) => run.lane)

  /** A periodic, a worker, a run in a lane and a fiber, each of which notes when it ends; and the phases of the stop, as they are told. */
  const house = Effect.gen(function*() {
    const ended: Array<readonly [string, number]> = []
    const working = (name: string, length: Duration.Input) =>
      Effect.onExit(Effect.sleep(length), () => Effect.map(Clock.currentTimeMillis, (now) => ended.push([name, now])))
    const phases: Array<string> = []
    const told = Stream.runForEach(
      Supervisor.events,
      (event) => Effect.sync(() => event._tag === "PhaseStarted" && phases.push(event.phase))
    )
    yield* Effect.forkChild(told, { startImmediately: true })
    const due: Array<number> = []
    yield* Periodic.make(Task.make("periodic", noting(due)), Trigger.every("1 second"))
    const worker = yield* Worker.loop("worker", working("worker", "3 seconds"))
    yield* worker.start()
    yield* Lanes.fork("side")(working("lane", "4 seconds"))
    yield* Supervisor.fork(working("pool", "5 seconds"))
    yield* TestClock.adjust("2 seconds")
    return { due, ended, phases }
  })
  const roomy = Lanes.layer({ lanes: { main: { maxParallelism: 4 }, side: { maxParallelism: 1 } } })

  it.effect("NT-19 stopped without grace, work in a lane is interrupted at once with all the rest, phase after phase", () =>
    Effect.gen(function*() {
      const { due, ended, phases } = yield* house
      assert.strictEqual(yield* elapsed(Supervisor.shutdown), 0)
      assert.deepStrictEqual(phases, ["triggers", "workers", "lanes", "pool"])
      assert.deepStrictEqual(ended, [["worker", 2000], ["lane", 2000], ["pool", 2000]])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(due, [1000, 2000])
    }).pipe(Effect.scoped, Effect.provide(roomy)))

  it.effect("NT-19 with grace, triggers stop, then workers, lanes and the pool finish what they have begun", () =>
    Effect.gen(function*() {
      const { due, ended, phases } = yield* house
      const stop = yield* Effect.forkChild(Supervisor.shutdownWith({ gracePeriod: "1 minute" }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(stop)).interrupted, 0)
      assert.deepStrictEqual(phases, ["triggers", "workers", "lanes", "pool"])
      assert.deepStrictEqual(ended, [["worker", 3000], ["lane", 4000], ["pool", 5000]])
      assert.deepStrictEqual(due, [1000, 2000])
    }).pipe(Effect.scoped, Effect.provide(roomy)))

  it.effect("NT-20 a lane whose only slot is blocked leaves the workers of the other alone", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const stuck = yield* Worker.loop("stuck", Effect.never, { lane: "side", onStop: "interrupt" })
      const free = yield* Worker.interval("free", "1 second", noting(times))
      const queued = yield* Worker.loop("queued", Effect.never, { lane: "side" })
      for (const worker of [stuck, free, queued]) yield* worker.start()
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(times, [0, 1000, 2000])
      assert.strictEqual((yield* stuck.status).state, "running")
      assert.deepStrictEqual([(yield* queued.status).state, (yield* queued.status).iterations], ["waiting", 0])
      for (const worker of [queued, stuck, free]) assert.strictEqual(yield* elapsed(worker.stop()), 0)
    }).pipe(Effect.provide(lanes)))

  it.effect("NT-20 a worker runs in the lane it names, or else in the default one", () =>
    Effect.gen(function*() {
      const seen: Array<string | undefined> = []
      const note = Effect.tap(laneOf, (lane) => Effect.sync(() => seen.push(lane)))
      const there = yield* Worker.make("there", note, { lane: "side", times: 1 })
      const here = yield* Worker.make("here", note, { times: 1 })
      yield* there.start()
      yield* quiet
      yield* here.start()
      yield* quiet
      assert.deepStrictEqual(seen, ["side", "main"])
      assert.deepStrictEqual([(yield* there.status).lane, (yield* here.status).lane], ["side", undefined])
    }).pipe(Effect.provide(lanes)))

  it.effect("NT-20 duplicate, unknown and reserved names of lanes are typed errors", () =>
    Effect.gen(function*() {
      const reason = (effect: Effect.Effect<unknown, unknown, Lanes.Lanes>) =>
        Effect.map(Effect.flip(effect), (error) => {
          assert.instanceOf(error, Lanes.LaneError)
          return error.reason._tag
        })
      assert.strictEqual(yield* reason(Lanes.add("side")), "Duplicate")
      assert.strictEqual(yield* reason(Lanes.get("nowhere")), "Unknown")
      assert.strictEqual(yield* reason(Lanes.add("default")), "Reserved")
      const worker = yield* Worker.loop("lost", Effect.never, { lane: "nowhere" })
      assert.strictEqual(yield* reason(worker.start()), "Unknown")
    }).pipe(Effect.provide(lanes)))

  it.effect("NT-21 a worker whose lane is not there does not start, and can later", () =>
    Effect.gen(function*() {
      let iterations = 0
      const worker = yield* Worker.make("late", Effect.sync(() => void iterations++), {
        lane: "later",
        interval: "1 second"
      })
      const error = yield* Effect.flip(worker.start())
      assert.instanceOf(error, Lanes.LaneError)
      assert.deepStrictEqual(error.lane, "later")
      assert.strictEqual((yield* worker.status).state, "stopped")
      assert.deepStrictEqual(yield* Worker.list, [])
      assert.isFalse((yield* Supervisor.status).members.some((member) => member.name === "late"))

      yield* Lanes.add("later", { maxParallelism: 1 })
      assert.isTrue(yield* worker.start())
      yield* TestClock.adjust("1 second")
      assert.strictEqual(iterations, 2)
      assert.deepStrictEqual((yield* Worker.list).map((status) => status.name), ["late"])
      yield* worker.stop()
    }).pipe(Effect.provide(lanes)))
})
