import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import { Job, JobRunner, RunEvent, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"
import { Faults } from "./suites/FaultyStore.ts"

const Add = Job.make("add", { payload: { a: Schema.Int, b: Schema.Int }, success: Schema.Int })
const add = Add.toLayer(({ a, b }) => Effect.succeed(a + b))

const memory = JobQueue.layer().pipe(Layer.provideMerge(JobStoreMemory.layer()))

const worker = (handlers: Layer.Layer<Job.Registry>, options?: JobWorker.Options) =>
  JobWorker.layer(options).pipe(
    Layer.provideMerge(Layer.mergeAll(handlers, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: 100 }))
  )

const recordOf = (id: string) => Effect.map(JobQueue.get(id), Option.getOrThrow)
const stateOf = (id: string) => Effect.map(recordOf(id), ({ state }) => state)

/** A job whose handler is told to go on from outside. */
const makeGate = Effect.gen(function*() {
  const started: Array<number> = []
  const ended: Array<string> = []
  const gate = yield* Deferred.make<void>()
  const Gated = Job.make("gated", { payload: { n: Schema.Int } })
  const handler = Gated.toLayer(({ n }) =>
    Effect.sync(() => void started.push(n)).pipe(
      Effect.andThen(Deferred.await(gate)),
      Effect.onExit((exit) =>
        Effect.sync(() => void ended.push(`${n} ${Exit.isSuccess(exit) ? "done" : "interrupted"}`))
      )
    )
  )
  return { Gated, handler, started, ended, open: Deferred.succeed(gate, undefined) }
})

/** Until nothing more happens in this instant. */
const settle = TestClock.adjust(0)

describe("JobWorker", () => {
  it.effect("a job that is put in is run, and its result kept", () =>
    Effect.gen(function*() {
      const { as, id } = yield* Add.enqueue({ a: 1, b: 2 })
      assert.strictEqual(as, "new")
      const job = yield* JobWorker.awaitIdle.pipe(
        Effect.andThen(recordOf(id)),
        Effect.provide(worker(add))
      )
      assert.strictEqual(job.state, "Succeeded")
      assert.strictEqual(job.result, "3")
      assert.strictEqual(job.attempt, 1)
    }).pipe(Effect.provide(memory)))

  it.effect("a worker that waits starts what is put in, in the same instant", () =>
    Effect.gen(function*() {
      yield* JobWorker.awaitIdle
      const { id } = yield* Add.enqueue({ a: 1, b: 2 })
      yield* JobWorker.awaitIdle
      assert.strictEqual(yield* stateOf(id), "Succeeded")
    }).pipe(Effect.provide(worker(add).pipe(Layer.provideMerge(memory)))))

  it.effect("it has no more at once than its concurrency, and prefetch", () =>
    Effect.gen(function*() {
      const { Gated, handler, open, started } = yield* makeGate
      yield* Effect.gen(function*() {
        yield* Gated.enqueueAll(Array.from({ length: 10 }, (_, n) => ({ n })))
        yield* settle
        assert.deepStrictEqual(started, [0, 1])
        assert.strictEqual((yield* JobWorker.status).active, 5)
        yield* open
        yield* JobWorker.awaitIdle
        assert.deepStrictEqual(started, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      }).pipe(Effect.provide(worker(handler, { concurrency: 2, prefetch: 3 })))
    }).pipe(Effect.provide(memory)))

  it.effect("what it prefetched and has not begun goes back at once when it stops", () =>
    Effect.gen(function*() {
      const { Gated, ended, handler, open, started } = yield* makeGate
      const scope = yield* Scope.make()
      const running = yield* Layer.buildWithScope(
        worker(handler, { concurrency: 1, prefetch: 3, gracePeriod: "10 seconds" }),
        scope
      )
      const jobs = yield* Gated.enqueueAll([0, 1, 2].map((n) => ({ n })))
      yield* settle
      const stopping = yield* Effect.forkChild(Effect.provide(JobWorker.stop, running))
      yield* settle
      assert.deepStrictEqual(yield* Effect.forEach(jobs, ({ id }) => stateOf(id)), ["Active", "Waiting", "Waiting"])
      yield* open
      assert.deepStrictEqual(yield* Fiber.join(stopping), { drained: 1, interrupted: 0, abandoned: 0, stragglers: [] })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([started, ended], [[0], ["0 done"]])
      assert.deepStrictEqual(yield* Effect.forEach(jobs, ({ id }) => stateOf(id)), ["Succeeded", "Waiting", "Waiting"])
      assert.deepStrictEqual(yield* JobQueue.workers, [])
    }).pipe(Effect.provide(memory)))

  it.effect("what it takes while it is stopped goes back at once, and never begins", () =>
    Effect.gen(function*() {
      const { Gated, handler, started } = yield* makeGate
      const answer = yield* Latch.make()
      const late = Layer.effect(
        JobStore,
        JobStore.useSync((store) => ({
          ...store,
          turn: (turn) => Effect.tap(store.turn(turn), turn.want > 0 ? answer.await : Effect.void)
        }))
      )
      const { id } = yield* Gated.enqueue({ n: 1 })
      const closing = yield* settle.pipe(
        Effect.andThen(stateOf(id)),
        Effect.tap((state) => Effect.sync(() => assert.strictEqual(state, "Active"))),
        Effect.provide(worker(handler, { gracePeriod: 0 }).pipe(Layer.provide(late))),
        Effect.forkChild({ startImmediately: true })
      )
      yield* settle
      // Stopped, and nothing to interrupt yet.
      yield* answer.open
      yield* Fiber.join(closing)
      assert.deepStrictEqual([started, yield* stateOf(id), yield* JobQueue.workers], [[], "Waiting", []])
    }).pipe(Effect.provide(memory)))

  it.effect("what a stop interrupts goes back to the head of its line, and no attempt is counted", () =>
    Effect.gen(function*() {
      const { Gated, ended, handler, open, started } = yield* makeGate
      const jobs = yield* Gated.enqueueAll([0, 1].map((n) => ({ n })))
      yield* settle.pipe(Effect.provide(worker(handler, { concurrency: 1 })))
      assert.deepStrictEqual(ended, ["0 interrupted"])
      const first = yield* recordOf(jobs[0]!.id)
      assert.deepStrictEqual([first.state, first.attempt], ["Waiting", 0])
      yield* open
      yield* JobWorker.awaitIdle.pipe(Effect.provide(worker(handler, { concurrency: 1 })))
      assert.deepStrictEqual(started, [0, 0, 1])
      assert.strictEqual((yield* recordOf(jobs[0]!.id)).attempt, 1)
    }).pipe(Effect.provide(memory)))

  it.effect("a job that stops its own worker ends by itself, and is not run again", () =>
    Effect.gen(function*() {
      const Last = Job.make("last")
      const reports: Array<Supervisor.Report> = []
      const service = yield* Deferred.make<JobWorker.JobWorker["Service"]>()
      const handler = Last.toLayer(() =>
        Effect.gen(function*() {
          reports.push(yield* (yield* Deferred.await(service)).stop)
          yield* Effect.sleep("1 second")
        })
      )
      const { id } = yield* Last.enqueue(undefined)
      yield* Effect.gen(function*() {
        yield* Deferred.succeed(service, yield* JobWorker.JobWorker)
        yield* settle
        assert.strictEqual(reports.length, 1)
        assert.strictEqual(yield* stateOf(id), "Active")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* stateOf(id), "Succeeded")
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  // ─── how attempts end

  class Busy extends Schema.TaggedError<Busy>()("Busy", { attempt: Schema.Int }) {}
  const Flaky = Job.make("flaky", {
    error: Busy,
    retry: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 3 }))
  })

  it.effect("is tried again by its Schedule, and the error of each attempt is kept", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const handler = Flaky.toLayer(() =>
        Effect.gen(function*() {
          const { attempt } = yield* TaskRun.CurrentRun
          starts.push(yield* Effect.clockWith((clock) => clock.currentTimeMillis))
          return yield* new Busy({ attempt })
        })
      )
      yield* Effect.gen(function*() {
        const { id } = yield* Flaky.enqueue(undefined)
        yield* JobWorker.awaitIdle
        for (const wait of [1, 2, 4]) yield* TestClock.adjust(Duration.seconds(wait))
        yield* JobWorker.awaitIdle
        const job = yield* recordOf(id)
        assert.deepStrictEqual(starts, [0, 1000, 3000, 7000])
        assert.deepStrictEqual([job.state, job.reason], ["Dead", "Failed"])
        assert.deepStrictEqual(
          job.errors.map(({ attempt, cause, message }) => [attempt, message, JSON.parse(cause!)[0].error.attempt]),
          [1, 2, 3, 4].map((n) => [n, "Busy", n])
        )
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("its policy sees the errors themselves", () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const Picky = Job.make("picky", {
        error: Busy,
        retry: {
          while: (error) => {
            seen.push(error)
            return error instanceof Busy && error.attempt < 2
          }
        }
      })
      const handler = Picky.toLayer(() =>
        Effect.flatMap(TaskRun.CurrentRun, ({ attempt }) => Effect.fail(new Busy({ attempt })))
      )
      yield* Effect.gen(function*() {
        const { id } = yield* Picky.enqueue(undefined)
        yield* JobWorker.awaitIdle
        const job = yield* recordOf(id)
        assert.deepStrictEqual([job.state, job.attempt], ["Dead", 2])
        assert.isTrue(seen.every((error) => error instanceof Busy))
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("a policy that outlives what is kept of its errors still counts them all", () =>
    Effect.gen(function*() {
      let runs = 0
      const Often = Job.make("often", { error: Schema.String, retry: Schedule.recurs(150) })
      const handler = Often.toLayer(() => Effect.andThen(Effect.sync(() => runs++), Effect.fail("no")))
      yield* Effect.gen(function*() {
        const { id } = yield* Often.enqueue(undefined)
        yield* JobWorker.awaitIdle
        assert.strictEqual(runs, 151)
        const { errors, state } = yield* recordOf(id)
        assert.deepStrictEqual([state, errors.length, errors.at(-1)!.attempt], ["Dead", 100, 151])
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("outcomes stay distinct: why a job is dead", () =>
    Effect.gen(function*() {
      const payload = { how: Schema.Literals(["die", "abort", "slow", "fail"]) }
      const Ends = Job.make("ends", { payload, error: Schema.String, timeout: "1 second" })
      const handler = Ends.toLayer(({ how }) =>
        how === "die"
          ? Effect.die(new Error("a bug"))
          : how === "abort"
          ? Task.abort("not today")
          : how === "slow"
          ? Effect.never
          : Effect.fail("no")
      )
      yield* Effect.gen(function*() {
        const jobs = yield* Ends.enqueueAll((["die", "abort", "slow", "fail"] as const).map((how) => ({ how })))
        yield* settle
        yield* TestClock.adjust("1 second")
        const records = yield* Effect.forEach(jobs, ({ id }) => recordOf(id))
        assert.deepStrictEqual(records.map(({ reason }) => reason), ["Died", "Aborted", "TimedOut", "Failed"])
        assert.include(records[0]!.errors[0]!.message, "a bug")
        assert.include(records[1]!.errors[0]!.message, "not today")
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("what the worker's own scheduler refuses is dead, and says so", () =>
    Effect.gen(function*() {
      const { id } = yield* Add.enqueue({ a: 1, b: 1 }, { tags: ["closed"] })
      const live = JobWorker.layer().pipe(
        Layer.provideMerge(Layer.mergeAll(add, JobRunner.layerLocal)),
        Layer.provide(Scheduler.layer({ tagLimits: { closed: 0 } }))
      )
      yield* JobWorker.awaitIdle.pipe(Effect.provide(live))
      assert.strictEqual((yield* recordOf(id)).reason, "Refused")
    }).pipe(Effect.provide(memory)))

  it.effect("a scheduler that is closed under its worker loses nothing", () =>
    Effect.gen(function*() {
      const { Gated, ended, handler } = yield* makeGate
      yield* Effect.gen(function*() {
        const { id } = yield* Gated.enqueue({ n: 1 })
        yield* settle
        yield* Scheduler.close
        yield* JobWorker.awaitIdle
        assert.deepStrictEqual(ended, ["1 interrupted"])
        const { attempt, state } = yield* recordOf(id)
        assert.deepStrictEqual([state, attempt], ["Waiting", 0])
        assert.strictEqual((yield* JobWorker.status).state, "Stopped")
      }).pipe(
        Effect.provide(
          JobWorker.layer().pipe(
            Layer.provideMerge(Layer.mergeAll(handler, JobRunner.layerLocal)),
            Layer.provideMerge(Scheduler.layer())
          )
        )
      )
    }).pipe(Effect.provide(memory)))

  it.effect("a run that somebody interrupts is not lost: it is tried again a second later", () =>
    Effect.gen(function*() {
      const { Gated, handler, open, started } = yield* makeGate
      yield* Effect.gen(function*() {
        const { id } = yield* Gated.enqueue({ n: 1 })
        yield* settle
        const [run] = yield* Scheduler.runs
        yield* run!.interrupt
        yield* settle
        assert.strictEqual(yield* stateOf(id), "Scheduled")
        yield* open
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* stateOf(id), "Succeeded")
        assert.deepStrictEqual(started, [1, 1])
      }).pipe(
        Effect.provide(
          JobWorker.layer().pipe(
            Layer.provideMerge(Layer.mergeAll(handler, JobRunner.layerLocal)),
            Layer.provideMerge(Scheduler.layer())
          )
        )
      )
    }).pipe(Effect.provide(memory)))

  it.effect("cancelled where it runs, its finalizers run and it is not tried again", () =>
    Effect.gen(function*() {
      const { Gated, ended, handler } = yield* makeGate
      yield* Effect.gen(function*() {
        const { id } = yield* Gated.enqueue({ n: 1 })
        yield* settle
        assert.isTrue(yield* JobQueue.cancel(id))
        yield* settle
        assert.deepStrictEqual(ended, ["1 interrupted"])
        assert.strictEqual(yield* stateOf(id), "Cancelled")
        assert.isFalse(yield* JobQueue.cancel(id))
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("at most once: what was interrupted after it began is lost, and says so", () =>
    Effect.gen(function*() {
      const { Gated, handler } = yield* makeGate
      const jobs = yield* Gated.enqueueAll([{ n: 0 }, { n: 1 }], { delivery: "atMostOnce" })
      yield* settle.pipe(Effect.provide(worker(handler, { concurrency: 1, prefetch: 1 })))
      const records = yield* Effect.forEach(jobs, ({ id }) => recordOf(id))
      assert.deepStrictEqual(records.map(({ reason, state }) => [state, reason]), [["Dead", "Lost"], [
        "Waiting",
        undefined
      ]])
    }).pipe(Effect.provide(memory)))

  // ─── what it serves

  it.effect("it serves the queues, tags and priorities it is told to", () =>
    Effect.gen(function*() {
      const seen: Array<number> = []
      const See = Job.make("see", { payload: { n: Schema.Int } })
      const handler = See.toLayer(({ n }) => Effect.sync(() => void seen.push(n)))
      yield* See.enqueue({ n: 1 }, { queue: "mail" })
      yield* See.enqueue({ n: 2 }, { queue: "mail", tags: ["eu"] })
      yield* See.enqueue({ n: 3 }, { queue: "other", tags: ["eu"] })
      yield* See.enqueue({ n: 4 }, { queue: "mail", tags: ["eu"], priority: "high" })
      const served = (options: JobWorker.Options) =>
        JobWorker.awaitIdle.pipe(
          Effect.provide(worker(handler, options)),
          Effect.map(() => seen.splice(0))
        )
      assert.deepStrictEqual(yield* served({ queues: ["mail"], tags: ["eu"], priorities: { to: "high" } }), [4])
      assert.deepStrictEqual(yield* served({ queues: ["mail"], tags: ["eu"] }), [2])
      assert.deepStrictEqual(yield* served({ queues: ["mail"] }), [1])
      assert.deepStrictEqual(yield* served({}), [3])
    }).pipe(Effect.provide(memory)))

  it.effect("what nobody here knows is dead, or left to others", () =>
    Effect.gen(function*() {
      const { id } = yield* JobQueue.enqueue("elsewhere", { n: 1 })
      yield* JobWorker.awaitIdle.pipe(Effect.provide(worker(add, { unknown: "leave" })))
      assert.strictEqual(yield* stateOf(id), "Waiting")
      yield* JobWorker.awaitIdle.pipe(Effect.provide(worker(add)))
      assert.strictEqual((yield* recordOf(id)).reason, "UnknownJob")
    }).pipe(Effect.provide(memory)))

  it.effect("a job's own limit holds for all workers of the store", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      const Scarce = Job.make("scarce", { limit: 2 })
      const handler = Scarce.toLayer(() =>
        Effect.acquireUseRelease(
          Effect.sync(() => void (most = Math.max(most, ++running))),
          () => Effect.sleep("1 second"),
          () => Effect.sync(() => void running--)
        )
      )
      yield* Effect.gen(function*() {
        yield* Scarce.enqueueAll(Array.from({ length: 6 }, () => undefined))
        for (let i = 0; i < 3; i++) yield* TestClock.adjust("1 second")
        yield* JobWorker.awaitIdle
        assert.strictEqual(most, 2)
        assert.strictEqual((yield* JobQueue.counts)[0]!.succeeded, 6)
      }).pipe(Effect.provide(worker(handler)), (program) => Effect.provide(program, worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("a delayed job starts when it is due, to the millisecond", () =>
    Effect.gen(function*() {
      const { id } = yield* Add.enqueue({ a: 1, b: 1 }, { delay: 1234 })
      const at = yield* Add.enqueue({ a: 1, b: 1 }, { at: 5000 })
      yield* TestClock.adjust(1233)
      assert.strictEqual(yield* stateOf(id), "Scheduled")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* stateOf(id), "Succeeded")
      yield* TestClock.adjust(3766)
      assert.strictEqual(yield* stateOf(at.id), "Succeeded")
    }).pipe(Effect.provide(worker(add).pipe(Layer.provideMerge(memory)))))

  it.effect("what has been kept long enough is deleted by whoever works", () =>
    Effect.gen(function*() {
      const { id } = yield* Add.enqueue({ a: 1, b: 2 })
      yield* JobWorker.awaitIdle
      yield* TestClock.adjust("55 minutes")
      assert.strictEqual(yield* stateOf(id), "Succeeded")
      yield* TestClock.adjust("7 minutes")
      assert.isTrue(Option.isNone(yield* JobQueue.get(id)))
    }).pipe(Effect.provide(worker(add).pipe(Layer.provideMerge(memory)))))

  // ─── leases

  it.effect("what a dead worker had runs elsewhere within 5 seconds", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      const { id } = yield* Add.enqueue({ a: 1, b: 1 })
      const dead = yield* store.join({ name: "dead", lease: 3000 })
      assert.strictEqual((yield* store.turn({ worker: dead.worker, ends: [], want: 1, filter: {} })).jobs.length, 1)
      yield* Effect.gen(function*() {
        yield* settle
        assert.strictEqual(yield* stateOf(id), "Active")
        yield* TestClock.adjust("4 seconds")
        const job = yield* recordOf(id)
        assert.deepStrictEqual([job.state, job.attempt, job.crashes], ["Succeeded", 2, 1])
      }).pipe(Effect.provide(worker(add)))
    }).pipe(Effect.provide(memory)))

  it.effect("a lease is renewed for as long as its worker lives", () =>
    Effect.gen(function*() {
      const { Gated, handler, open, started } = yield* makeGate
      yield* Effect.gen(function*() {
        const { id } = yield* Gated.enqueue({ n: 1 })
        yield* TestClock.adjust("1 hour")
        yield* open
        yield* settle
        const { attempt, state } = yield* recordOf(id)
        assert.deepStrictEqual([state, attempt, started.length], ["Succeeded", 1, 1])
      }).pipe(Effect.provide(worker(handler)))
    }).pipe(Effect.provide(memory)))

  it.effect("a worker whose lease cannot be renewed interrupts what it runs before anybody else may have it", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      const { Gated, ended, handler, open, started } = yield* makeGate
      const { id } = yield* Gated.enqueue({ n: 1 })
      yield* Effect.gen(function*() {
        yield* settle
        faults.all = "before"
        yield* TestClock.adjust(2999)
        assert.deepStrictEqual(ended, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(ended, ["1 interrupted"])
        assert.strictEqual((yield* JobWorker.status).state, "Degraded")
        faults.all = undefined
        yield* open
        yield* TestClock.adjust("10 seconds")
        const job = yield* recordOf(id)
        assert.deepStrictEqual([job.state, job.attempt, started.length], ["Succeeded", 2, 2])
        assert.strictEqual((yield* JobWorker.status).state, "Running")
      }).pipe(Effect.provide(worker(handler).pipe(Layer.provide(faults.layer))))
    }).pipe(Effect.provide(memory)))

  it.effect("one renewal that fails, with the next succeeding, changes nothing", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      const { Gated, ended, handler, open } = yield* makeGate
      const { id } = yield* Gated.enqueue({ n: 1 })
      yield* Effect.gen(function*() {
        yield* settle
        faults.renew = "before"
        yield* TestClock.adjust("1200 millis")
        faults.renew = undefined
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(ended, [])
        yield* open
        yield* settle
        assert.strictEqual((yield* recordOf(id)).attempt, 1)
      }).pipe(Effect.provide(worker(handler).pipe(Layer.provide(faults.layer))))
    }).pipe(Effect.provide(memory)))

  it.effect("a turn whose answer was lost loses no job, and runs none twice", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      let runs = 0
      const Once = Job.make("once")
      const handler = Once.toLayer(() => Effect.sync(() => void runs++))
      yield* Effect.gen(function*() {
        yield* JobWorker.awaitIdle
        faults.turn = "after"
        const jobs = yield* Once.enqueueAll(Array.from({ length: 20 }, () => undefined))
        yield* TestClock.adjust("1 second")
        faults.turn = undefined
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(
          new Set(yield* Effect.forEach(jobs, ({ id }) => stateOf(id))),
          new Set(["Succeeded" as const])
        )
        assert.strictEqual(runs, 20)
      }).pipe(Effect.provide(worker(handler, { concurrency: 3 }).pipe(Layer.provide(faults.layer))))
    }).pipe(Effect.provide(memory)))

  it.effect("FL-23 a store that fails for 3 s: the same worker resumes, backing off and degraded meanwhile", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      yield* Effect.gen(function*() {
        yield* JobWorker.awaitIdle
        const { name } = yield* JobWorker.status
        const { id } = yield* Add.enqueue({ a: 1, b: 1 }, { delay: "100 millis" })
        faults.all = "before"
        faults.asked.length = 0
        yield* TestClock.adjust("3 seconds")
        const degraded = yield* JobWorker.status
        assert.strictEqual(degraded.state, "Degraded")
        assert.isBelow(faults.asked.length, 40)
        faults.all = undefined
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* stateOf(id), "Succeeded")
        assert.deepStrictEqual([(yield* JobWorker.status).state, (yield* JobWorker.status).name], ["Running", name])
      }).pipe(Effect.provide(worker(add).pipe(Layer.provide(faults.layer))))
    }).pipe(Effect.provide(memory)))

  it.effect("a worker built while its store is away starts when that comes", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      faults.all = "before"
      const { id } = yield* Add.enqueue({ a: 1, b: 1 })
      yield* Effect.gen(function*() {
        yield* TestClock.adjust("1 minute")
        faults.all = undefined
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* stateOf(id), "Succeeded")
      }).pipe(Effect.provide(worker(add).pipe(Layer.provide(faults.layer))))
    }).pipe(Effect.provide(memory)))

  it.effect("stopped while its store is away, it returns when its lease has run out at the latest", () =>
    Effect.gen(function*() {
      const faults = new Faults()
      const { Gated, ended, handler } = yield* makeGate
      yield* Gated.enqueue({ n: 1 })
      yield* Effect.gen(function*() {
        yield* settle
        faults.all = "before"
        const stopped = yield* Effect.forkChild(JobWorker.stop)
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* Fiber.join(stopped)).interrupted, 1)
        assert.deepStrictEqual(ended, ["1 interrupted"])
      }).pipe(
        Effect.provide(worker(handler).pipe(Layer.provide(faults.layer))),
        Effect.forkChild({ startImmediately: true }),
        Effect.tap(() => TestClock.adjust("1 minute")),
        Effect.flatMap(Fiber.join)
      )
    }).pipe(Effect.provide(memory)))

  // ─── the house around it

  it.effect("its supervisor stops it, in the phase of workers", () =>
    Effect.gen(function*() {
      const { Gated, ended, handler } = yield* makeGate
      const { id } = yield* Gated.enqueue({ n: 1 })
      yield* Effect.gen(function*() {
        yield* settle
        const { members } = yield* Supervisor.status
        assert.deepStrictEqual(members.map(({ name, phase, state }) => [name, phase, state]), [
          ["mails", "workers", "Running"]
        ])
        const report = yield* Supervisor.shutdown
        assert.deepStrictEqual(report, { drained: 0, interrupted: 1, abandoned: 0, stragglers: [] })
        assert.deepStrictEqual(ended, ["1 interrupted"])
        assert.strictEqual(yield* stateOf(id), "Waiting")
      }).pipe(Effect.provide(worker(handler, { name: "mails" }).pipe(Layer.provideMerge(Supervisor.layer()))))
    }).pipe(Effect.provide(memory)))

  it.effect("a run says which job and which attempt it is, and follows the trace of who enqueued it", () =>
    Effect.gen(function*() {
      const events: Array<RunEvent.RunEvent> = []
      let seen: unknown
      const See = Job.make("see")
      const handler = See.toLayer(() =>
        Effect.gen(function*() {
          const job = yield* JobWorker.CurrentJob
          const span = yield* Effect.serviceOption(Tracer.ParentSpan)
          seen = [job!.id, job!.token, Option.map(span, ({ traceId }) => traceId)]
        })
      )
      const { id, traceId } = yield* Effect.gen(function*() {
        const { id } = yield* See.enqueue(undefined)
        return { id, traceId: (yield* Effect.currentSpan).traceId }
      }).pipe(Effect.withSpan("request"), Effect.orDie)
      yield* JobWorker.awaitIdle.pipe(
        Effect.provide(worker(handler)),
        Effect.provideService(RunEvent.Listeners, [(event) => void events.push(event)])
      )
      assert.deepStrictEqual(seen, [id, 1, Option.some(traceId)])
      const started = events.find(({ _tag }) => _tag === "Started")
      assert.strictEqual(started !== undefined && "run" in started ? started.run?.id : undefined, `${id}/1`)
    }).pipe(Effect.provide(memory)))

  it.effect("bad options are refused, naming field, rule and value", () =>
    Effect.gen(function*() {
      const build = (options: JobWorker.Options) => Effect.exit(Effect.provide(Effect.void, worker(add, options)))
      for (const options of [{ concurrency: 0 }, { prefetch: -1 }, { lease: 0 }, { unknown: "?" as "leave" }]) {
        const exit = yield* build(options)
        assert.include(String(Exit.isFailure(exit) && exit.cause), `JobWorker.layer: ${Object.keys(options)[0]} must`)
      }
    }).pipe(Effect.provide(memory)))
})
