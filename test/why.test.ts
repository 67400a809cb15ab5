/** `Scheduler.why` against a model that knows nothing but what was asked for and who runs. */
import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Latch, Option } from "effect"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, type TaskRun } from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"

const SEED = Random.seedOf("why")
const ROUNDS = 500
const STEPS = 25

interface Job {
  readonly run: TaskRun.TaskRun<void>
  readonly latch: Latch.Latch
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  readonly key: string | undefined
  readonly bounded: boolean
}

const pool = 6
const keyLimit = 3
const taskLimit = 2
const tagLimits: Record<string, number> = { a: 2, b: 3, c: 4 }
const names = ["a", "b", "c", "label"]

/** Which limit is the first that has no room for the job, among those that run. */
const expected = (job: Job, running: ReadonlyArray<Job>, paused: ReadonlySet<string>) => {
  const taken = (of: (one: Job) => boolean) => running.filter(of).reduce((sum, one) => sum + one.weight, 0)
  if (taken(() => true) + job.weight > pool) return ["maxParallelism", "full"]
  for (const tag of job.tags) {
    if (!(tag in tagLimits)) continue
    if (taken((one) => one.tags.includes(tag)) + job.weight > tagLimits[tag]!) return [tag, "full"]
    if (paused.has(tag)) return [tag, "paused"]
  }
  if (job.bounded && running.filter((one) => one.bounded).length + 1 > taskLimit) return ["bounded", "full"]
  if (job.key !== undefined && taken((one) => one.key === job.key) + job.weight > keyLimit) return ["keyLimit", "full"]
  return undefined
}

describe("why", () => {
  it.effect("agrees with a model for every waiting run in 10,000 random states", () =>
    Effect.gen(function*() {
      let states = 0
      let asked = 0
      for (let round = 0; round < ROUNDS; round++) {
        const random = Random.make(SEED, round)
        const wrong = yield* Effect.gen(function*() {
          let jobs: Array<Job> = []
          const paused = new Set<string>()
          for (let step = 0; step < STEPS; step++) {
            if (random.chance(0.65)) {
              const latch = Latch.makeUnsafe(false)
              const tags = random.some(names, 0.4)
              const weight = random.chance(0.7) ? 1 : 2
              const key = random.chance(0.5) ? random.pick(["x", "y"]) : undefined
              const bounded = random.chance(0.3)
              const run = yield* Scheduler.fork(latch.await, {
                name: bounded ? "bounded" : "free",
                tags,
                weight,
                key,
                limit: bounded ? taskLimit : undefined,
                priority: random.pick([5, 20, 40])
              })
              jobs.push({ run, latch, tags, weight, key, bounded })
            } else if (random.chance(0.3)) {
              const tag = random.pick(["a", "b", "c"])
              if (paused.delete(tag)) yield* Concurrency.resume(tag)
              else {
                paused.add(tag)
                yield* Concurrency.pause(tag)
              }
            } else if (jobs.length > 0) yield* random.pick(jobs).latch.open
            yield* quiet
            const live: Array<Job> = []
            const running: Array<Job> = []
            const waiting: Array<Job> = []
            for (const job of jobs) {
              const state = yield* job.run.state
              if (state._tag === "Finished") continue
              live.push(job)
              ;(state._tag === "Running" ? running : waiting).push(job)
            }
            jobs = live
            states++
            for (const job of waiting) {
              asked++
              const why = Option.getOrUndefined(yield* Scheduler.why(job.run.id))
              const model = expected(job, running, paused)
              const at = `SEED=${SEED} ROUND=${round} step ${step}: ${job.run.id}`
              if (why === undefined) return `${at} has no why`
              if (
                model === undefined
                  ? why.cause !== "order" && why.cause !== "kept"
                  : why.limit !== model[0] || why.cause !== model[1]
              ) {
                return `${at}: ${why.limit} ${why.cause}, and the model says ${model?.join(" ")}`
              }
              const holders = running.filter((one) =>
                why.limit === "maxParallelism" || one.tags.includes(why.limit) ||
                (why.limit === "bounded" && one.bounded) || (why.limit === "keyLimit" && one.key === job.key)
              )
              const ids = (of: ReadonlyArray<{ readonly id: string }>) => of.map(({ id }) => id).sort().join()
              if (ids(why.holders) !== ids(holders.map(({ run }) => run))) return `${at}: holders ${ids(why.holders)}`
              if (why.position < 1 || why.position > waiting.length) return `${at}: position ${why.position}`
            }
          }
          for (const tag of paused) yield* Concurrency.resume(tag)
          for (const { latch } of jobs) yield* latch.open
          return undefined
        }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: pool, keyLimit, tagLimits })))
        assert.strictEqual(wrong, undefined)
      }
      assert.isAtLeast(states, 10_000)
      assert.isAtLeast(asked, 10_000)
    }), 60_000)

  it.effect("a rate says when it lets the run start, and a pause when it ends", () =>
    Effect.gen(function*() {
      const call = Task.make("call", Effect.void, { tags: ["api"] })
      yield* call
      const second = yield* Task.fork(call)
      const third = yield* Task.fork(call)
      yield* quiet
      const why = Option.getOrThrow(yield* Scheduler.why(second.id))
      assert.deepStrictEqual([why.limit, why.cause, why.position], ["api", "rate", 1])
      assert.strictEqual(DateTime.toEpochMillis(why.readyAt!), 1000)
      assert.strictEqual(Option.getOrThrow(yield* Scheduler.why(third.id)).position, 2)
      yield* Concurrency.pauseFor("api", "10 seconds")
      const paused = Option.getOrThrow(yield* Scheduler.why(second.id))
      assert.deepStrictEqual([paused.cause, DateTime.toEpochMillis(paused.readyAt!)], ["paused", 10_000])
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* second.state)._tag, "Finished")
    }).pipe(
      Effect.provide(
        Scheduler.layer({
          maxParallelism: 4,
          tagLimits: { api: { limit: "unbounded", rate: { count: 1, per: "1 second" } } }
        })
      )
    ))

  it.effect("slots kept for a higher class are a cause of their own", () =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      for (let i = 0; i < 2; i++) yield* Task.fork(Task.make("normal", gate.await))
      const third = yield* Task.fork(Task.make("normal", gate.await))
      const critical = yield* Task.fork(Task.make("critical", gate.await, { priority: "critical" }))
      assert.strictEqual((yield* critical.state)._tag, "Running")
      const why = Option.getOrThrow(yield* Scheduler.why(third.id))
      assert.deepStrictEqual([why.limit, why.cause], ["maxParallelism", "full"])
      yield* critical.interrupt
      assert.strictEqual(Option.getOrThrow(yield* Scheduler.why(third.id)).cause, "reserved")
      yield* gate.open
    }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 3, reserved: { critical: 1 } }))))
})
