/**
 * Claim, lease, renewal, end, sweep, cancel: every order of steps of two workers, three jobs and one tag, and what each rule is there for.
 * Then the stores, beside the model. `LEASES=all` for two mishaps at a time instead of one: minutes. `ROUNDS` for more histories.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import { job } from "../src/queue/internal/SuiteWorld.ts"
import { type End, JobStore, type JobStoreError, type LeaseEndedError, type Store } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as JobStorePostgres from "../src/queue/JobStorePostgres.ts"
import * as JobStoreSqlite from "../src/queue/JobStoreSqlite.ts"
import {
  type End as ModelEnd,
  explore,
  leave,
  type Rules,
  rules,
  start,
  type Store as LeaseModel,
  sweep,
  turn,
  world
} from "./suites/LeaseModel.ts"
import * as Postgres from "./suites/Postgres.ts"
import * as Random from "./suites/Random.ts"

const isThorough = process.env["LEASES"] === "all"
const mischief = isThorough ? 2 : 1

describe("no order of steps breaks a law", () => {
  for (const limit of [1, 2]) {
    for (
      const [what, jobs] of Object.entries({
        "plain jobs": {},
        "one that fails": { fails: [0] },
        "one that is interrupted": { returns: [0] },
        "one that is cancelled": { cancels: [0] },
        "one that runs at most once": { once: [0] }
      })
    ) {
      if (limit === 2 && what !== "plain jobs" && what !== "one that runs at most once" && !isThorough) continue
      it(`${what}, limit ${limit}`, () => {
        const { broken, states } = explore(world(limit, mischief, jobs), rules)
        assert.deepStrictEqual(broken, undefined)
        assert.isAbove(states, 3_000)
      }, 600_000)
    }
  }
})

/** What is not as it should be, the law that breaks, where it shows, and the rule that is wrong. */
const faults: ReadonlyArray<readonly [string, string, Parameters<typeof world>, Partial<Rules>]> = [
  ["an end is taken whatever its token", "no stale end is taken", [1, 1, { fails: [0] }], {
    accepts: (job, _, lease) => job.state === "Active" && job.lease === lease
  }],
  ["an end is taken from anybody", "no stale end is taken", [1, 1, { fails: [0] }], {
    accepts: (job) => job.state === "Active"
  }],
  ["an end is taken of a job that has ended", "what has ended ends once", [1, 1], {
    accepts: (job, end) => job.token === end.token
  }],
  ["a claim keeps the token", "no stale end is taken", [1, 1, { fails: [0] }], {
    claimed: (job, lease) => ({ ...job, state: "Active", lease })
  }],
  ["a counter instead of leases", "every job ends", [1, 1], {
    count: (counter, change, why) =>
      why === "claimed" ? counter + change : why === "ended" ? counter - change : counter,
    usage: ({ counter }) => counter
  }],
  ["a lease that has ended is renewed", "a lease that has ended is not renewed", [1, 1], { renews: () => true }],
  ["a turn is allowed under a lease that has ended", "a lease that has ended allows nothing", [1, 1], {
    turns: () => true
  }],
  ["a claim counts its own lease alone", "the limit is kept", [1, 0], {
    usage: ({ jobs }, lease) => jobs.filter((job) => job.lease === lease).length
  }],
  ["a claim is one too many", "the limit is kept", [2, 0], {
    usage: ({ jobs }) => jobs.filter((job) => job.state === "Active").length - 1
  }],
  ["cancelling forgets what is active", "what was cancelled is not claimed", [1, 0, { cancels: [0], fails: [0] }], {
    cancelled: (job) => job.state === "Waiting" ? rules.cancelled(job) : job
  }],
  ["cancelling ends what is active at once", "the limit is kept", [1, 0, { cancels: [0] }], {
    cancelled: (job) => rules.cancelled({ ...job, state: "Waiting" })
  }],
  ["the answer to a turn does not say what is cancelled", "every job ends", [1, 0, { cancels: [0] }], {
    tells: () => false
  }],
  ["what was cancelled is tried again", "what was cancelled is not claimed", [1, 0, { cancels: [0], fails: [0] }], {
    retried: (job) => ({ ...rules.retried({ ...job, isCancelAsked: false }), isCancelAsked: job.isCancelAsked })
  }],
  ["what was cancelled is started again when its worker is lost", "what was cancelled waits no more", [1, 1, {
    cancels: [0]
  }], {
    lost: (job, ...more) => ({
      ...rules.lost({ ...job, isCancelAsked: false }, ...more),
      isCancelAsked: job.isCancelAsked
    })
  }],
  ["a worker does not stop at its deadline", "a job runs once at a time", [2, 1], { stops: false }],
  ["a deadline is measured from the answer", "a job runs once at a time", [2, 1, { lasts: 3 }], {
    deadline: (lasts) => lasts
  }],
  ["a sweep by a clock that is ahead", "a lease that has ended allows nothing", [2, 1], {
    sweeps: (left) => left === 0 || left === 1
  }],
  ["a sweep ends the lease and leaves the jobs", "every job ends", [1, 1], { lost: (job) => ({ ...job, lease: -2 }) }],
  ["what returns is charged an attempt", "attempts are those that failed or crashed", [1, 0, { returns: [0] }], {
    returned: (job) => rules.returned({ ...job, attempts: job.attempts + 1 })
  }],
  ["what crashed is not charged an attempt", "attempts are those that failed or crashed", [1, 1], {
    lost: (job, ...more) => ({ ...rules.lost(job, ...more), attempts: job.attempts })
  }],
  ["what runs at most once waits again", "what is to run at most once starts once", [1, 1, { once: [0] }], {
    lost: (job, _, maxCrashes) => rules.lost(job, false, maxCrashes)
  }],
  ["after a turn without an answer, a worker does not say what it has", "every job ends", [1, 1], { saysHolds: false }],
  ["a turn that was given up claims when it comes late", "every job ends", [2, 1, { capacity: 1 }], {
    hears: () => true
  }],
  ["the ends of a turn without an answer are not sent again", "what is to run at most once starts once", [1, 1, {
    once: [0]
  }], { saysAgain: false }],
  ["a lease is left while its jobs run", "a job runs once at a time", [2, 1], { leaves: () => true }]
]

describe("a fault is found", () => {
  for (const [fault, law, args, change] of faults) {
    it(`${fault}: not "${law}"`, () => {
      const { broken, states } = explore(world(...args), { ...rules, ...change })
      assert.include(broken?.law ?? `nothing in ${states} states`, law)
      if (process.env["LEASES"] === "trace") {
        console.log([`${states} states`, broken?.law, ...broken!.trace].join("\n  "))
      }
    })
  }
})

// ─── the stores, beside the model

const jobs = 6
const steps = 150

/** Random steps of three workers, sensible and late and stale, in the store and in the model: what is taken, refused and told is the same. */
const walk = (random: Random.Random, store: Store, advance: Effect.Effect<void>) =>
  Effect.gen(function*() {
    const plan = world(2, 0, { once: [2, 5] })
    let model = start(plan) as LeaseModel
    model = {
      ...model,
      jobs: Array.from({ length: jobs }, () => model.jobs[0]!),
      leases: [-1, -1, -1],
      epochs: [0, 0, 0]
    }
    yield* store.setLimit({ tag: "t", limit: plan.limit, rates: [], enabled: true })
    const ids = (yield* store.enqueue(Array.from({ length: jobs }, (_, i) =>
      job("job", {
        tags: ["t"],
        delivery: plan.once.includes(i) ? "atMostOnce" : "atLeastOnce",
        maxCrashes: plan.maxCrashes
      })))).map(({ id }) => id)
    const numbers = (some: ReadonlyArray<string>) => some.map((id) => ids.indexOf(id)).sort()
    const workers: Array<string | undefined> = [undefined, undefined, undefined]
    /** Leases that were, and are not. */
    const gone: Array<string> = []
    const orEnded = <A>(
      asked: Effect.Effect<A, LeaseEndedError | JobStoreError>
    ): Effect.Effect<{ readonly value: A } | "ended", JobStoreError> =>
      Effect.flatMap(Effect.result(asked), (result): Effect.Effect<{ readonly value: A } | "ended", JobStoreError> => {
        if (Result.isSuccess(result)) return Effect.succeed({ value: result.success })
        return result.failure._tag === "LeaseEndedError" ? Effect.succeed("ended") : Effect.fail(result.failure)
      })

    for (let i = 0; i < steps; i++) {
      const lease = random.int(0, 2)
      const worker = workers[lease]
      const what = worker === undefined
        ? "join"
        : random.pick(
          [
            "turn",
            "turn",
            "turn",
            "turn",
            "turn",
            "renew",
            "renew",
            "tick",
            "tick",
            "sweep",
            "cancel",
            "leave",
            "stale"
          ] as const
        )
      const said = `step ${i}, ${what} of ${lease}`
      switch (what) {
        case "join":
          workers[lease] = (yield* store.join({ name: "w", lease: 1000 * plan.lasts })).worker
          model = { ...model, leases: model.leases.with(lease, plan.lasts) }
          break
        case "tick":
          yield* advance
          model = {
            ...model,
            leases: model.leases.map((left) => left > 0 ? left - 1 : left)
          }
          break
        case "renew": {
          const renewed = yield* orEnded(store.renew(worker!))
          assert.strictEqual(renewed !== "ended", rules.renews(model.leases[lease]!), said)
          if (renewed !== "ended") model = { ...model, leases: model.leases.with(lease, plan.lasts) }
          break
        }
        case "sweep":
          yield* store.sweep
          model = { ...model, ...sweep(model, plan, rules) }
          break
        case "leave":
          yield* store.leave(worker!)
          model = { ...model, ...leave(model, lease, rules) }
          break
        case "cancel": {
          const job = random.int(0, jobs - 1)
          const isLive = ["Waiting", "Active"].includes(model.jobs[job]!.state)
          assert.strictEqual(yield* store.cancel(ids[job]!), isLive, said)
          if (isLive) model = { ...model, jobs: model.jobs.with(job, rules.cancelled(model.jobs[job]!)) }
          break
        }
        case "stale": {
          const old = gone.length === 0 ? undefined : random.pick(gone)
          if (old === undefined) break
          assert.strictEqual(yield* orEnded(store.renew(old)), "ended", said)
          assert.strictEqual(yield* orEnded(store.turn({ worker: old, ends: [], want: 3, filter: {} })), "ended", said)
          break
        }
        case "turn": {
          const ends = random.some(model.jobs.map((_, job) => job), 0.4).flatMap((job): ReadonlyArray<ModelEnd> => {
            const { claims, token } = model.jobs[job]!
            // Now and then of an attempt that was before.
            const by = random.chance(0.15) ? 1 : 0
            if (token - by < 1) return []
            const as = random.pick(["Succeeded", "Retry", "Returned", "Returned", "Cancelled"] as const)
            return [{ job, token: token - by, claim: claims - by, as }]
          })
          const holds = random.chance(0.2)
            ? random.some(model.jobs.map((_, job) => job), 0.5).filter((job) => !ends.some((end) => end.job === job))
            : undefined
          const epoch = Math.max(0, model.epochs[lease]! + (random.chance(0.1) ? 1 : random.chance(0.1) ? -1 : 0))
          const want = random.int(0, 3)
          const expected = turn(model, { lease, ends, holds, epoch, want }, plan, rules)
          const turned = yield* orEnded(store.turn({
            worker: worker!,
            ends: ends.map(({ as, job, token }): End => {
              const id = ids[job]!
              const error = { attempt: 1, at: 0, reason: "Failed" as const, message: "" }
              if (as === "Retry") return { _tag: as, id, token, after: 0, error }
              return as === "Succeeded" ? { _tag: as, id, token, result: undefined } : { _tag: as, id, token }
            }),
            holds: holds?.map((job) => ids[job]!),
            epoch,
            want,
            filter: {}
          }))
          model = { ...model, ...expected.store }
          assert.strictEqual(turned === "ended", expected.claimed === undefined, said)
          if (turned === "ended") break
          assert.deepStrictEqual(turned.value.jobs.map(({ id }) => ids.indexOf(id)), [...expected.claimed!], said)
          for (const { id, token } of turned.value.jobs) {
            assert.strictEqual(token, model.jobs[ids.indexOf(id)]!.token, said)
          }
          assert.deepStrictEqual(numbers(turned.value.refused), [...expected.refused].sort(), `${said}: refused`)
          assert.deepStrictEqual(numbers(turned.value.cancelled), [...expected.told].sort(), `${said}: told`)
        }
      }
      for (const [lease, worker] of workers.entries()) {
        if (worker === undefined || model.leases[lease] !== -1) continue
        workers[lease] = undefined
        gone.push(worker)
      }
      for (const [i, job] of model.jobs.entries()) {
        const { attempt, crashes, state } = Option.getOrThrow(yield* store.get(ids[i]!))
        assert.strictEqual(state, job.state, `${said}: job ${i}`)
        if (state === "Waiting" || state === "Active") {
          assert.deepStrictEqual(
            [attempt, crashes],
            [job.attempts + (state === "Active" ? 1 : 0), job.crashes],
            `${said}: job ${i}`
          )
        }
      }
    }
  })

const rounds = Number(process.env["ROUNDS"] ?? 20)
const seed = Random.seedOf("lease-model.test.ts")

const stores = {
  memory: JobStoreMemory.layer(),
  sqlite: JobStoreSqlite.layer({ filename: ":memory:" })
}

describe("a store does as the model does", () => {
  for (const [name, layer] of Object.entries<Layer.Layer<JobStore, unknown>>(stores)) {
    it.effect(`${name}, ${rounds} random histories`, () =>
      Effect.gen(function*() {
        for (let round = 0; round < rounds; round++) {
          yield* Effect.gen(function*() {
            yield* walk(Random.make(seed, round), yield* JobStore, TestClock.adjust("1 second"))
          }).pipe(Effect.provide(Layer.fresh(layer)))
        }
      }))
  }

  it.live(`postgres, ${Math.ceil(rounds / 5)} random histories`, () =>
    Effect.gen(function*() {
      for (let round = 0; round < rounds / 5; round++) {
        const schema = Postgres.freshSchema()
        yield* Effect.gen(function*() {
          yield* Postgres.holdClock(schema)
          const pg = yield* PgClient.PgClient
          const advance = Effect.provideService(Postgres.advance(schema, 1000), PgClient.PgClient, pg)
          yield* walk(Random.make(seed, round), yield* JobStore, Effect.orDie(advance))
        }).pipe(Effect.provide(
          Layer.fresh(
            JobStorePostgres.layer({ schema }).pipe(Layer.provideMerge(Postgres.client({ maxConnections: 2 })))
          )
        ))
      }
    }), 120_000)
})
