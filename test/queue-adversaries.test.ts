/** What a user of the queue might do who wishes it ill, or only has bad luck. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Job, JobRunner, Scheduler, type Supervisor } from "../src/index.ts"
import * as JobLimits from "../src/queue/JobLimits.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore, type Store } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"
import { ThreadRunner } from "../src/threads/index.ts"
import * as threaded from "./fixtures/thread-jobs.ts"
import { bundled } from "./suites/Bundle.ts"
import * as Cells from "./suites/Cells.ts"
import * as Refusal from "./suites/Refusal.ts"

const entry = await bundled("thread-host")

const memory = JobQueue.layer().pipe(Layer.provideMerge(JobStoreMemory.layer()))

const worker = (handlers: Layer.Layer<Job.Registry>, options?: JobWorker.Options) =>
  JobWorker.layer(options).pipe(
    Layer.provideMerge(Layer.mergeAll(handlers, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: 100 }))
  )

/** The store in context, changed. */
const around = (change: (store: Store) => Partial<Store>): Layer.Layer<JobStore, never, JobStore> =>
  Layer.effect(JobStore, Effect.map(JobStore, (store) => ({ ...store, keeper: undefined, ...change(store) })))

const recordOf = (id: string) => Effect.map(JobQueue.get(id), Option.getOrThrow)
const stateOf = (id: string) => Effect.map(recordOf(id), ({ state }) => state)

/** Until nothing more happens in this instant. */
const settle = TestClock.adjust(0)

/** Whether it returns within so long. */
const returns = <A, E, R>(effect: Effect.Effect<A, E, R>, within: number) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(effect)
    yield* TestClock.adjust(within)
    const exit = fiber.pollUnsafe()
    if (exit === undefined) yield* Effect.forkDetach(Fiber.interrupt(fiber))
    return exit !== undefined
  })

const Long = Job.make("long")
const long = (handler: Effect.Effect<unknown>) => Long.toLayer(() => Effect.asVoid(handler))

describe("a worker that is full", () => {
  it.effect("is told of a cancellation at once", () =>
    Effect.gen(function*() {
      const { id } = yield* Long.enqueue(undefined)
      yield* settle
      assert.strictEqual(yield* stateOf(id), "Active")
      yield* JobQueue.cancel(id)
      yield* settle
      assert.strictEqual(yield* stateOf(id), "Cancelled")
    }).pipe(Effect.provide(worker(long(Effect.never), { concurrency: 1 }).pipe(Layer.provideMerge(memory)))))

  it.effect("does not ask at each wake-up", () => {
    let turns = 0
    const counted = around((store) => ({ turn: (turn) => Effect.suspend(() => (turns++, store.turn(turn))) }))
    return Effect.gen(function*() {
      yield* Long.enqueue(undefined)
      yield* TestClock.adjust("10 seconds")
      turns = 0
      for (let i = 0; i < 1000; i++) {
        yield* Long.enqueue(undefined)
        yield* TestClock.adjust(10)
      }
      assert.isAtMost(turns, 11)
    }).pipe(
      Effect.provide(
        worker(long(Effect.never), { concurrency: 1 }).pipe(Layer.provide(counted), Layer.provideMerge(memory))
      )
    )
  })

  it.effect("does not spin when another job comes due", () =>
    Effect.gen(function*() {
      yield* Long.enqueue(undefined)
      const { id } = yield* Long.enqueue(undefined, { delay: "1 second" })
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("1 hour")
      assert.notStrictEqual(yield* stateOf(id), "Active")
    }).pipe(Effect.provide(worker(long(Effect.never), { concurrency: 1 }).pipe(Layer.provideMerge(memory)))))
})

describe("a stop", () => {
  it.effect("that gives up a job which ignores it returns, and the job goes to others", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const deaf = worker(long(Effect.uninterruptible(Effect.sleep("1 hour"))), { interruptTimeout: "1 second" })
      const running = yield* Layer.buildWithScope(deaf, scope)
      const { id } = yield* Long.enqueue(undefined)
      yield* settle
      assert.isTrue(yield* returns(Effect.provide(JobWorker.stop, running), 2000))
      assert.strictEqual(yield* stateOf(id), "Waiting")
      assert.deepStrictEqual(yield* JobQueue.workers, [])
    }).pipe(Effect.provide(memory)))

  it.effect("that gives up what is to run at most once does not have it run again", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const deaf = worker(long(Effect.uninterruptible(Effect.sleep("1 hour"))), { interruptTimeout: "1 second" })
      const running = yield* Layer.buildWithScope(deaf, scope)
      const { id } = yield* Long.enqueue(undefined, { delivery: "atMostOnce" })
      yield* settle
      yield* returns(Effect.provide(JobWorker.stop, running), 2000)
      const { reason, state } = yield* recordOf(id)
      assert.deepStrictEqual([state, reason], ["Dead", "Lost"])
    }).pipe(Effect.provide(memory)))

  it.effect("begins nothing that waits for its scheduler, and gives it back, also what is to run at most once", () =>
    Effect.gen(function*() {
      const begun: Array<string> = []
      const narrow = JobWorker.layer({ concurrency: 5 }).pipe(
        Layer.provide(Layer.mergeAll(
          long(Effect.andThen(Effect.sync(() => begun.push("begun")), Effect.never)),
          JobRunner.layerLocal
        )),
        Layer.provide(Scheduler.layer({ maxParallelism: 1 }))
      )
      yield* Long.enqueueAll([1, 2, 3].map(() => undefined), { delivery: "atMostOnce" })
      yield* Effect.provide(settle, narrow)
      const states = (yield* JobQueue.list()).map(({ state }) => state)
      assert.deepStrictEqual([states, begun], [["Waiting", "Waiting", "Dead"], ["begun"]])
    }).pipe(Effect.provide(memory)))

  it.effect("returns though the store never answers", () =>
    Effect.gen(function*() {
      let isDeaf = false
      const deaf = around((store) => ({ turn: (turn) => isDeaf ? Effect.never : store.turn(turn) }))
      const scope = yield* Scope.make()
      const running = yield* Layer.buildWithScope(
        worker(long(Effect.never)).pipe(Layer.provide(deaf)),
        scope
      )
      const { id } = yield* Long.enqueue(undefined)
      yield* settle
      isDeaf = true
      assert.isTrue(yield* returns(Effect.provide(JobWorker.stop, running), 60_000))
      yield* (yield* JobStore).sweep
      assert.strictEqual(yield* stateOf(id), "Waiting")
    }).pipe(Effect.provide(memory)))

  it.effect("leaves nobody waiting for it to be idle, now or later", () =>
    Effect.gen(function*() {
      yield* JobWorker.stop
      assert.isTrue(yield* returns(JobWorker.awaitIdle, 1000))
    }).pipe(Effect.provide(worker(long(Effect.void)).pipe(Layer.provideMerge(memory)))))

  it.effect("asked for by many at once, and from inside, gives all the same report", () =>
    Effect.gen(function*() {
      const service = yield* Deferred.make<JobWorker.JobWorker["Service"]>()
      const reports: Array<Supervisor.Report> = []
      const asking = long(
        Effect.flatMap(Deferred.await(service), ({ stop }) => Effect.map(stop, (report) => reports.push(report)))
      )
      yield* Effect.gen(function*() {
        const running = yield* JobWorker.JobWorker
        yield* Long.enqueueAll([undefined, undefined])
        yield* settle
        yield* Deferred.succeed(service, running)
        const outside = yield* Effect.forEach([1, 2, 3], () => running.stop, { concurrency: "unbounded" })
        assert.strictEqual(reports.length, 2)
        for (const report of [...reports, ...outside]) assert.strictEqual(report.abandoned, 0)
      }).pipe(Effect.provide(worker(asking, { gracePeriod: "5 seconds" })))
    }).pipe(Effect.provide(memory)))
})

describe("a store", () => {
  it.effect("that takes its time is told of many ends at once, and what it gave before begins meanwhile", () =>
    Effect.gen(function*() {
      let began = 0
      let given = 0
      const turns: Array<{ readonly ends: number; readonly unbegun: number; readonly meanwhile: number }> = []
      const store = around((store) => ({
        turn: (turn) =>
          Effect.gen(function*() {
            const [before, unbegun] = [began, given - began]
            yield* Effect.sleep(10)
            const answer = yield* store.turn(turn)
            given += answer.jobs.length
            turns.push({ ends: turn.ends.length, unbegun, meanwhile: began - before })
            return answer
          })
      }))
      yield* Long.enqueueAll(Array.from({ length: 1_000 }, () => undefined))
      yield* Effect.gen(function*() {
        assert.isTrue(yield* returns(JobWorker.awaitIdle, 1_000))
        assert.strictEqual(began, 1_000)
        const busy = turns.filter(({ ends, unbegun }) => ends >= 50 && unbegun > 0)
        assert.isAbove(busy.length, 0)
        for (const { meanwhile, unbegun } of busy) assert.strictEqual(meanwhile, unbegun)
      }).pipe(Effect.provide(
        worker(long(Effect.sync(() => began++)), { concurrency: 100, prefetch: 100 }).pipe(Layer.provide(store))
      ))
    }).pipe(Effect.provide(memory)))

  it.effect("that gives no answer to a worker is asked again, and the worker says so meanwhile", () =>
    Effect.gen(function*() {
      // The first of each.
      const unanswered = new Set(["join", "turn"])
      const answer = <A, E>(operation: string, answer: Effect.Effect<A, E>) =>
        Effect.suspend(() => unanswered.delete(operation) ? Effect.never : answer)
      const store = around((store) => ({
        join: (joining) => answer("join", store.join(joining)),
        turn: (turn) => answer("turn", store.turn(turn))
      }))
      yield* Effect.gen(function*() {
        const { id } = yield* Long.enqueue(undefined)
        const states: Array<string> = []
        for (let at = 0; at < 65_000; at += 10) {
          const { state } = yield* JobWorker.status
          if (states.at(-1) !== state) states.push(state)
          yield* TestClock.adjust(10)
        }
        assert.deepStrictEqual(states, ["Starting", "Running", "Degraded", "Running", "Degraded", "Running"])
        assert.strictEqual(yield* stateOf(id), "Succeeded")
      }).pipe(Effect.provide(worker(long(Effect.void)).pipe(Layer.provide(store))))
    }).pipe(Effect.provide(memory)))

  it.effect("that dies stops the worker, what it runs, and who waits for it", () =>
    Effect.gen(function*() {
      let isBroken = false
      const store = around((store) => ({ turn: (turn) => isBroken ? Effect.die("broken") : store.turn(turn) }))
      const ended: Array<string> = []
      yield* Effect.gen(function*() {
        yield* Long.enqueue(undefined)
        yield* settle
        isBroken = true
        yield* Long.enqueue(undefined)
        yield* JobWorker.awaitIdle
        assert.deepStrictEqual(ended, ["interrupted"])
        assert.strictEqual((yield* JobWorker.status).state, "Stopped")
      }).pipe(Effect.provide(
        worker(long(Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.push("interrupted"))))).pipe(
          Layer.provide(store)
        )
      ))
    }).pipe(Effect.provide(memory)))
})

describe("a lease", () => {
  it.effect("that has run out begins nothing, though its timer is late", () =>
    Effect.gen(function*() {
      let late = 0
      // Its timers wake late, as after a blocked event loop; the answer to a turn comes first.
      const clock = yield* Clock.Clock
      const stalled = {
        ...clock,
        monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + BigInt(late) * 1_000_000n
      }
      const begun: Array<string> = []
      const slow = around((store) => ({
        turn: (turn) => Effect.tap(store.turn(turn), ({ jobs }) => Effect.sync(() => void (late += jobs.length * 5000)))
      }))
      yield* Effect.gen(function*() {
        yield* JobWorker.awaitIdle
        yield* Long.enqueue(undefined)
        yield* settle
        assert.deepStrictEqual(begun, [])
      }).pipe(
        Effect.provide(
          worker(long(Effect.sync(() => begun.push("begun")))).pipe(
            Layer.provide(slow),
            Layer.provide(Layer.succeed(Clock.Clock, stalled))
          )
        )
      )
    }).pipe(Effect.provide(memory)))
})

describe("what is put in", () => {
  const putting = (options: object) =>
    Effect.map(Effect.exit(Long.enqueue(undefined, options)), (exit) => Refusal.invalid(exit)?.message ?? "accepted")

  it.effect("that no store could keep is refused, naming field, rule and value", () =>
    Effect.gen(function*() {
      const wrong: Record<string, object> = {
        "queue must not have lone surrogates or NUL characters": { queue: "a\0b" },
        "id must not have lone surrogates or NUL characters": { id: "\ud800" },
        "key must be a string that is not empty": { key: 1 },
        "tags must be a string that is not empty": { tags: [undefined] },
        "unique.key must be a string that is not empty": { unique: { key: 1n } }
      }
      for (const [rule, options] of Object.entries(wrong)) {
        assert.include(yield* putting(options), `JobQueue.enqueue: ${rule}, got`)
      }
      assert.strictEqual(yield* putting({ key: "", queue: "__proto__", tags: ["/", "constructor"] }), "accepted")
    }).pipe(Effect.provide(memory)))

  it.effect("by name, and is no JSON, is an invalid payload", () =>
    Effect.gen(function*() {
      const circular: Record<string, unknown> = {}
      circular["itself"] = circular
      for (const payload of [circular, 1n, () => 1, Symbol("s")]) {
        assert.instanceOf(yield* Effect.flip(JobQueue.enqueue("other", payload)), Job.InvalidPayloadError)
      }
      assert.deepStrictEqual(yield* JobQueue.list(), [])
    }).pipe(Effect.provide(memory)))

  it.effect("and what a worker or a queue is told, is checked", () =>
    Effect.gen(function*() {
      const built = yield* Effect.exit(
        Effect.provide(Effect.void, worker(long(Effect.void), { queues: "mail" as any }))
      )
      assert.include(Refusal.invalid(built)?.message, "JobWorker.layer: queues must be a list of strings")
      const paused = yield* Effect.exit(JobQueue.configure("mail", { paused: "no" as any }))
      assert.include(
        Refusal.invalid(paused)?.message,
        `JobQueue.configure: queue "mail" paused must be true or false, got "no"`
      )
      for (const limit of [NaN, -1, 1.5]) {
        const listed = yield* Effect.exit(JobQueue.list({ limit }))
        assert.include(Refusal.invalid(listed)?.message, `JobQueue.list: limit must be an integer >= 0, got ${limit}`)
      }
      const half = yield* Effect.flip(JobLimits.create("db", { limit: 1, enabled: "no" as any }))
      assert.include(
        half.message,
        `JobLimits.create: tag limit "db" enabled must be true or false, got "no"`
      )
      const odd = yield* Effect.flip(JobLimits.create("db", { limit: 1, whileWaiting: "keep" as any }))
      assert.include(odd.message, `tag limit "db" whileWaiting must be "lend" or "hold", got "keep"`)
      const none = yield* Effect.flip(JobLimits.create("db", null as any))
      assert.include(
        none.message,
        `JobLimits.create: tag limit "db" must be an integer >= 0, got null`
      )
    }).pipe(Effect.provide(memory)))
})

describe("a worker over threads", () => {
  const cells = Cells.make(8)

  it.live("runs jobs as one without does, and retries those it is told of", () =>
    Effect.gen(function*() {
      const put = yield* Effect.all([
        threaded.Add.enqueue({ a: 1, b: 2 }),
        JobQueue.enqueue("halve", { even: 3 }),
        threaded.Abort.enqueue({ why: "enough" }),
        JobQueue.enqueue("unheard", {}),
        threaded.Crash.enqueue({ how: "exit" }),
        threaded.Flaky.enqueue({ cell: 1, after: 2 }),
        threaded.Stubborn.enqueue({ cell: 2, after: 2 })
      ])
      const records = Effect.forEach(put, ({ id }) => recordOf(id))
      const isOver = Effect.map(records, (all) => all.every(({ endedAt }) => endedAt !== undefined))
      while (!(yield* isOver)) yield* Effect.sleep("20 millis")
      assert.deepStrictEqual((yield* records).map(({ attempt, reason, state }) => [reason ?? state, attempt]), [
        ["Succeeded", 1],
        ["InvalidPayload", 1],
        ["Aborted", 1],
        ["UnknownJob", 1],
        ["Died", 1],
        ["Succeeded", 2],
        ["Succeeded", 2]
      ])
    }).pipe(Effect.provide(
      JobWorker.layer({ jobs: [threaded.Flaky, threaded.Stubborn] }).pipe(
        Layer.provide(ThreadRunner.layer({ entry, size: 1, data: cells.buffer })),
        Layer.provide(Scheduler.layer({ maxParallelism: 2 })),
        Layer.provide(Logger.layer([])),
        Layer.provideMerge(memory)
      )
    )))
})
