/** The acceptance scenarios of a durable queue, over every store. */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { Job, JobRunner, Scheduler } from "../src/index.ts"
import * as JobLimits from "../src/queue/JobLimits.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore } from "../src/queue/JobStore.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"
import { Faults } from "./suites/FaultyStore.ts"
import { kits, until } from "./suites/Stores.ts"

const worker = <E>(handlers: Layer.Layer<Job.Registry, E>, options?: JobWorker.Options) =>
  JobWorker.layer(options).pipe(
    Layer.provideMerge(Layer.mergeAll(handlers, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: 100 }))
  )

const recordOf = (id: string) => Effect.map(JobQueue.get(id), Option.getOrThrow)
const is = (id: string, state: string) => Effect.map(recordOf(id), (job) => job.state === state)

const Note = Job.make("note", { payload: { name: Schema.String }, priority: "normal" })

/** Writes down what it handles. */
const notebook = () => {
  const notes: Array<string> = []
  return { notes, handler: Note.toLayer(({ name }) => Effect.sync(() => void notes.push(name))) }
}

/** Takes a job and is never heard of again. */
const deadWorker = Effect.gen(function*() {
  const store = yield* JobStore
  const { worker } = yield* store.join({ name: "dead", lease: 500 })
  const { jobs } = yield* store.turn({ worker, ends: [], want: 1, filter: {} })
  return { worker, job: jobs[0]! }
})

for (const kit of kits) {
  const { layer, pass, test } = kit
  const it = <E>(
    name: string,
    body: Effect.Effect<unknown, E, JobStore | JobQueue.JobQueue | Scope.Scope>
  ) => test(name, Effect.scoped(Effect.provide(body, JobQueue.layer().pipe(Layer.provideMerge(layer)))))

  describe(kit.name, () => {
    it(
      "FL-1 an unregistered name is a typed error, and nothing is queued",
      Effect.gen(function*() {
        const { handler } = notebook()
        const known = JobQueue.layer().pipe(Layer.provide(handler))
        const error = yield* Effect.flip(JobQueue.enqueue("unheard", {})).pipe(Effect.provide(known))
        assert.instanceOf(error, Job.UnknownJobError)
        assert.deepStrictEqual(yield* JobQueue.list(), [])
      })
    )

    it(
      "FL-1 a job value is queued with a fresh id, or with the one it is given",
      Effect.gen(function*() {
        const fresh = yield* Note.enqueueAll([{ name: "a" }, { name: "b" }])
        assert.strictEqual(new Set(fresh.map(({ id }) => id)).size, 2)
        assert.strictEqual((yield* Note.enqueue({ name: "c" }, { id: "mine" })).id, "mine")
        assert.strictEqual((yield* recordOf("mine")).payload, `{"name":"c"}`)
        const error = yield* Effect.flip(Note.enqueue({ name: "d" }, { id: "mine" }))
        assert.instanceOf(error, Job.DuplicateKeyError)
      })
    )

    it(
      "FL-5 what its schema rejects is refused before anything is queued; found later, it is dead and the worker goes on",
      Effect.gen(function*() {
        const { handler, notes } = notebook()
        const error = yield* Effect.flip(JobQueue.enqueue(Note, { name: 1 }))
        assert.instanceOf(error, Job.InvalidPayloadError)
        assert.deepStrictEqual(yield* JobQueue.list(), [])
        const poison = yield* JobQueue.enqueue("note", { name: 1 })
        const { id } = yield* Note.enqueue({ name: "after" })
        yield* Effect.gen(function*() {
          yield* until(kit, "the job after is done", is(id, "Succeeded"))
          const { errors, reason, state } = yield* recordOf(poison.id)
          assert.deepStrictEqual([state, reason], ["Dead", "InvalidPayload"])
          assert.include(errors[0]!.message, "name")
          assert.deepStrictEqual(notes, ["after"])
        }).pipe(Effect.provide(worker(handler)))
      })
    )

    it(
      "FL-7 order is by priority, then by age; a priority of the call overrides the job's",
      Effect.gen(function*() {
        const { handler, notes } = notebook()
        yield* Note.enqueue({ name: "low1" }, { priority: "low" })
        yield* Note.enqueue({ name: "low2" }, { priority: "low" })
        yield* Note.enqueue({ name: "high1" }, { priority: "high" })
        yield* Note.enqueue({ name: "high2" }, { priority: "high" })
        yield* Note.enqueue({ name: "medium1" })
        yield* JobWorker.awaitIdle.pipe(Effect.provide(worker(handler, { concurrency: 1 })))
        assert.deepStrictEqual(notes, ["high1", "high2", "medium1", "low1", "low2"])
      })
    )

    it(
      "FL-20 stopping: what ends within the grace is done, the rest is interrupted and given back, what is due later stays",
      Effect.gen(function*() {
        const Work = Job.make("work", { payload: { millis: Schema.Int } })
        const ended: Array<string> = []
        const handler = Work.toLayer(({ millis }) =>
          Effect.onExit(
            Effect.sleep(millis),
            (exit) => Effect.sync(() => void ended.push(`${millis} ${Exit.isSuccess(exit) ? "done" : "interrupted"}`))
          )
        )
        const short = yield* Work.enqueue({ millis: 100 })
        const long = yield* Work.enqueue({ millis: 60_000 })
        const later = yield* Work.enqueue({ millis: 0 }, { delay: "1 hour" })
        const { dueAt } = yield* recordOf(later.id)
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(worker(handler, { gracePeriod: "300 millis" }), scope)
        yield* until(kit, "both run", Effect.zipWith(is(short.id, "Active"), is(long.id, "Active"), (a, b) => a && b))
        const stopping = yield* Effect.forkChild(Effect.provide(JobWorker.stop, context), { startImmediately: true })
        yield* until(kit, "it has stopped", Effect.sync(() => stopping.pollUnsafe() !== undefined))
        assert.deepStrictEqual(yield* Fiber.join(stopping), {
          drained: 1,
          interrupted: 1,
          abandoned: 0,
          stragglers: []
        })
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(ended, ["100 done", "60000 interrupted"])
        assert.isTrue(yield* is(short.id, "Succeeded"))
        const given = yield* recordOf(long.id)
        assert.deepStrictEqual([given.state, given.attempt], ["Waiting", 0])
        const kept = yield* recordOf(later.id)
        assert.deepStrictEqual([kept.state, kept.dueAt], ["Scheduled", dueAt])
      })
    )

    it(
      "FL-21 what a killed worker had is run by another, as the next attempt",
      Effect.gen(function*() {
        const { handler, notes } = notebook()
        const { id } = yield* Note.enqueue({ name: "again" })
        yield* deadWorker
        yield* Effect.gen(function*() {
          yield* until(kit, "it is done", is(id, "Succeeded"))
          const { attempt, crashes, errors } = yield* recordOf(id)
          assert.deepStrictEqual([attempt, crashes, errors.map(({ reason }) => reason)], [2, 1, ["Crashed"]])
          assert.deepStrictEqual(notes, ["again"])
        }).pipe(Effect.provide(worker(handler)))
      })
    )

    it(
      "FL-21 a job that is to run at most once is reported lost instead",
      Effect.gen(function*() {
        const { handler, notes } = notebook()
        const { id } = yield* Note.enqueue({ name: "once" }, { delivery: "atMostOnce" })
        yield* deadWorker
        yield* Effect.gen(function*() {
          yield* until(kit, "it is dead", is(id, "Dead"))
          assert.strictEqual((yield* recordOf(id)).reason, "Lost")
          assert.deepStrictEqual(notes, [])
        }).pipe(Effect.provide(worker(handler)))
      })
    )

    it(
      "FL-23 a store that fails for a while: the same worker resumes, degraded meanwhile and backing off",
      Effect.gen(function*() {
        const faults = new Faults()
        const { handler, notes } = notebook()
        yield* Effect.gen(function*() {
          yield* JobWorker.awaitIdle
          faults.all = "before"
          faults.asked.length = 0
          yield* Note.enqueue({ name: "kept" })
          yield* until(kit, "it is degraded", Effect.map(JobWorker.status, ({ state }) => state === "Degraded"))
          yield* pass(300)
          assert.isBelow(faults.asked.length, 20)
          faults.all = undefined
          yield* until(kit, "it is done", Effect.sync(() => notes.length === 1))
          assert.strictEqual((yield* JobWorker.status).state, "Running")
        }).pipe(Effect.provide(worker(handler).pipe(Layer.provide(faults.layer))))
      })
    )

    it(
      "PF-20 what a holder does not renew is reclaimed, a waiter starts, and a late end changes nothing",
      Effect.gen(function*() {
        const Hold = Job.make("hold", { tags: ["one"] })
        const open = yield* Deferred.make<void>()
        const handler = Hold.toLayer(() => Deferred.await(open))
        yield* JobLimits.create("one", 1)
        const [first, second] = yield* Hold.enqueueAll([undefined, undefined])
        const dead = yield* deadWorker
        yield* Effect.gen(function*() {
          const store = yield* JobStore
          assert.isTrue(yield* is(second!.id, "Waiting"))
          yield* until(kit, "another has it", Effect.map(recordOf(first!.id), ({ attempt }) => attempt === 2))
          const late = { _tag: "Succeeded", id: first!.id, token: dead.job.token, result: undefined } as const
          const error = yield* Effect.flip(store.turn({ worker: dead.worker, ends: [late], want: 1, filter: {} }))
          assert.strictEqual(error._tag, "LeaseEndedError")
          const { active, holders } = Option.getOrThrow(yield* JobLimits.read("one"))
          assert.deepStrictEqual([active, holders.map(({ job }) => job)], [1, [first!.id]])
          assert.isTrue(yield* is(first!.id, "Active"))
          assert.isTrue(yield* is(second!.id, "Waiting"))
          yield* Deferred.succeed(open, undefined)
          yield* until(kit, "both are done", is(second!.id, "Succeeded"))
        }).pipe(Effect.provide(worker(handler)))
      })
    )

    it(
      "PF-21 while renewals fail a job is interrupted when its lease runs out, and runs again",
      Effect.gen(function*() {
        const faults = new Faults()
        const started: Array<number> = []
        const ended: Array<string> = []
        const Long = Job.make("long")
        const open = yield* Deferred.make<void>()
        const handler = Long.toLayer(() =>
          Effect.onExit(
            Effect.andThen(Effect.sync(() => started.push(1)), Deferred.await(open)),
            (exit) => Effect.sync(() => void ended.push(exit._tag))
          )
        )
        const { id } = yield* Long.enqueue(undefined)
        yield* Effect.gen(function*() {
          yield* until(kit, "it runs", Effect.sync(() => started.length === 1))
          faults.all = "before"
          yield* until(kit, "it is interrupted", Effect.sync(() => ended.length === 1))
          assert.deepStrictEqual(ended, ["Failure"])
          faults.all = undefined
          yield* Deferred.succeed(open, undefined)
          yield* until(kit, "it is done", is(id, "Succeeded"))
          assert.strictEqual((yield* recordOf(id)).attempt, 2)
        }).pipe(Effect.provide(worker(handler, { lease: "500 millis" }).pipe(Layer.provide(faults.layer))))
      })
    )

    it(
      "PF-21 a renewal that fails once changes nothing",
      Effect.gen(function*() {
        const faults = new Faults()
        const { handler } = notebook()
        const Long = Job.make("long")
        const open = yield* Deferred.make<void>()
        const handlers = Layer.mergeAll(handler, Long.toLayer(() => Deferred.await(open)))
        const { id } = yield* Long.enqueue(undefined)
        yield* Effect.gen(function*() {
          yield* until(kit, "it runs", is(id, "Active"))
          faults.renew = "before"
          yield* pass(400)
          faults.renew = undefined
          yield* pass(1500)
          yield* Deferred.succeed(open, undefined)
          yield* until(kit, "it is done", is(id, "Succeeded"))
          assert.strictEqual((yield* recordOf(id)).attempt, 1)
        }).pipe(Effect.provide(worker(handlers, { lease: "1 second" }).pipe(Layer.provide(faults.layer))))
      })
    )
  })
}
