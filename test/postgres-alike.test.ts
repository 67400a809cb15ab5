/**
 * Where all that waits is under the same limits, a turn claims from what the turn before knew. What it claims is what the store in memory claims,
 * in random histories. `SEED` and `ROUNDS` in the environment run one again.
 */
import { PgClient } from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { job } from "../src/queue/internal/SuiteWorld.ts"
import { type Claimed, JobStore, type Store } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as Postgres from "./suites/Postgres.ts"
import { ears, openStore } from "./suites/PostgresEars.ts"
import * as Random from "./suites/Random.ts"

const seed = Random.seedOf("postgres-alike")
const rounds = Number(process.env["ROUNDS"] ?? 6)
const steps = 80
const hour = 3_600_000
const heard = ears()

const open = (schema: string) =>
  Effect.gen(function*() {
    const [store, other] = [yield* openStore(schema), yield* openStore(schema)]
    const pg = Context.get(yield* Layer.build(Postgres.client()), PgClient)
    yield* store.listen(() => {})
    return { store, other, barrier: heard.hears(pg, schema) }
  })

describe("claims of jobs that are under the same limits", () => {
  it.live(
    `are those of the store in memory, in ${rounds} random histories from SEED=${seed}`,
    () =>
      Effect.gen(function*() {
        for (let round = 0; round < rounds; round++) yield* Effect.scoped(history(seed + round))
        // Else it would be another way of claiming that was looked at.
        assert.isAbove(heard.known, rounds * 5)
      }),
    60_000 + rounds * 5000
  )

  it.live("a limit that is made holds at once, whatever was known before", () =>
    Effect.gen(function*() {
      const { barrier, other, store } = yield* open(Postgres.freshSchema())
      yield* store.setLimit({ tag: "t", limit: 10, rates: [], enabled: true })
      yield* store.enqueue(Array.from({ length: 20 }, () => job("job", { tags: ["t", "u"] })))
      yield* barrier
      const { worker } = yield* store.join({ name: "w", lease: hour })
      heard.still = true
      const turn = (want: number) =>
        Effect.map(store.turn({ worker, want, filter: {}, ends: [] }), ({ jobs }) => jobs.length)
      assert.strictEqual(yield* turn(2), 2)
      const before = heard.known
      assert.strictEqual(yield* turn(2), 2)
      assert.strictEqual(heard.known, before + 1)
      yield* other.setLimit({ tag: "u", limit: 4, rates: [], enabled: true })
      yield* barrier
      assert.strictEqual(yield* turn(5), 0)
      assert.strictEqual(heard.known, before + 2)
    }).pipe(Effect.scoped, Effect.ensuring(Effect.sync(() => heard.still = false))))
})

const history = (seed: number) =>
  Effect.gen(function*() {
    const { chance, int, next } = Random.make(seed)
    const { barrier, other, store } = yield* open(Postgres.freshSchema())
    const memory = Context.get(yield* Layer.build(JobStoreMemory.layer()), JobStore)
    const both = <A, E>(f: (store: Store) => Effect.Effect<A, E>) => Effect.all([f(other), f(memory)])
    const isCapped = chance(0.8)
    const isLimited = !isCapped || chance(0.8)
    const tags = isLimited ? ["t", "u"] : []
    const [limit, keyLimit] = [int(1, 12), int(1, 4)]
    if (isLimited) yield* both((one) => one.setLimit({ tag: "t", limit, rates: [], enabled: true }))
    if (isCapped) yield* both((one) => one.setQueue("default", { keyLimit }))
    const join = (name: string) =>
      Effect.map(
        Effect.all([store.join({ name, lease: hour }), memory.join({ name, lease: hour })]),
        ([{ worker }, mine]) => ({ worker, mine: mine.worker, held: [] as Array<readonly [Claimed, Claimed]> })
      )
    // What one has by itself is known from what it wrote last.
    const workers = chance(0.5) ? [yield* join("w")] : [yield* join("w"), yield* join("x")]
    let n = 0
    for (let step = 0; step < steps; step++) {
      const what = next()
      if (what < 0.25) {
        const jobs = Array.from({ length: int(1, 14) }, () =>
          job("job", {
            payload: `${++n}`,
            tags,
            key: chance(0.1) ? undefined : `key ${int(1, 5)}`,
            priority: chance(0.8) ? 20 : 10,
            // Now and then they are not alike.
            weight: chance(0.01) ? 2 : 1,
            unique: chance(0.03)
              ? { key: `unique ${int(1, 3)}`, while: "waiting" as const, conflict: "ignore" as const }
              : undefined
          }))
        yield* both((one) => one.enqueue(jobs))
        // Where those are is not told.
        if (jobs.some(({ unique }) => unique !== undefined)) heard.pass()
      } else if (what < 0.28 && isLimited) {
        const limit = int(1, 12)
        const rates = chance(0.5) ? [] : [{ count: int(5, 40), per: 1000 * hour, burst: int(5, 40) }]
        const enabled = chance(0.8)
        yield* both((one) => one.setLimit({ tag: "t", limit, rates, enabled }))
      } else if (what < 0.31 && isCapped) {
        const keyLimit = int(1, 5)
        yield* both((one) => one.setQueue("default", { keyLimit }))
      } else if (what < 0.33 && isLimited) {
        const millis = chance(0.3) ? hour : 0
        yield* both((one) => one.pauseLimit("t", millis))
      } else if (what < 0.34 && isLimited) {
        const limit = int(1, 12)
        yield* both((one) => one.setLimit({ tag: "u", limit, rates: [], enabled: true }))
        // With what can be in the way the lines have changed.
        heard.pass()
      } else if (what < 0.35 && isLimited) {
        yield* both((one) => one.removeLimit("u"))
        heard.pass()
      }
      yield* barrier
      const one = workers[int(0, workers.length - 1)]!
      const ended = one.held.filter(() => chance(0.4))
      one.held = one.held.filter((pair) => !ended.includes(pair))
      const how = ended.map(() => chance(0.95))
      const want = int(0, 12)
      const turn = (one: Store, worker: string, side: 0 | 1) =>
        one.turn({
          worker,
          want,
          filter: {},
          ends: ended.map((pair, i) => {
            const { id, token } = pair[side]
            return how[i]! ? { _tag: "Succeeded", id, token, result: "null" } : { _tag: "Returned", id, token }
          })
        })
      const ours = yield* turn(store, one.worker, 0)
      const theirs = yield* turn(memory, one.mine, 1)
      const payloads = (jobs: ReadonlyArray<Claimed>) => jobs.map(({ payload }) => payload)
      assert.deepStrictEqual(payloads(ours.jobs), payloads(theirs.jobs), `SEED=${seed} ROUNDS=1 step ${step}`)
      one.held.push(...ours.jobs.map((job, i) => [job, theirs.jobs[i]!] as const))
    }
  })
