/**
 * Where all that waits is under the same limits, a turn claims from what the turn before knew. What it claims is what the store in memory claims,
 * in random histories. `SEED` and `ROUNDS` in the environment run one again.
 */
import { PgClient } from "@effect/sql-pg/PgClient"
import { afterAll, assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { View } from "../src/queue/internal/PostgresView.ts"
import { job } from "../src/queue/internal/SuiteWorld.ts"
import { type Claimed, JobStore, type Store } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as JobStorePostgres from "../src/queue/JobStorePostgres.ts"
import * as Postgres from "./suites/Postgres.ts"

const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31))
const rounds = Number(process.env["ROUNDS"] ?? 6)
const steps = 80
const hour = 3_600_000

/** mulberry32. */
const randomOf = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const barriers = new Map<string, () => void>()
const hear = View.prototype.hear
const spiedHear = vi.spyOn(View.prototype, "hear").mockImplementation(function(this: View, payload) {
  if (payload.startsWith("barrier")) barriers.get(payload)?.()
  else hear.call(this, payload)
})
let known = 0
const begin = View.prototype.begin
const spiedBegin = vi.spyOn(View.prototype, "begin").mockImplementation(function(this: View, ...args) {
  const result = begin.apply(this, args)
  if (result?.alike !== undefined) known++
  return result
})
// How long ago it looked is for the test to say.
let ahead = 0
let still: number | undefined
const now = performance.now.bind(performance)
const spiedNow = vi.spyOn(performance, "now").mockImplementation(() => still ?? now() + ahead)
afterAll(() => {
  spiedNow.mockRestore()
  spiedHear.mockRestore()
  spiedBegin.mockRestore()
})

const open = (schema: string) =>
  Effect.map(
    Layer.build(Layer.fresh(
      JobStorePostgres.layer({ schema }).pipe(Layer.provideMerge(Postgres.client({ maxConnections: 4 })))
    )),
    (context) => [Context.get(context, JobStore), Context.get(context, PgClient)] as const
  )

/** What was said before has been heard. */
const barrierOf = (pg: PgClient, schema: string) =>
  Effect.callback<void>((resume) => {
    const name = `barrier ${barriers.size}`
    barriers.set(name, () => resume(Effect.void))
    // Whether anybody listens already it cannot know.
    const notify = pg.unsafe(`select pg_notify('tasklayer:' || hashtext($1), $2)`, [`"${schema}"`, name])
    const fiber = Effect.runFork(Effect.forever(Effect.andThen(Effect.orDie(notify), Effect.sleep(200))))
    return Effect.sync(() => fiber.interruptUnsafe())
  }).pipe(Effect.timeout("20 seconds"))

describe("claims of jobs that are under the same limits", () => {
  it.live(
    `are those of the store in memory, in ${rounds} random histories from SEED=${seed}`,
    () =>
      Effect.gen(function*() {
        for (let round = 0; round < rounds; round++) yield* Effect.scoped(history(seed + round))
        // Else it would be another way of claiming that was looked at.
        assert.isAbove(known, rounds * 5)
      }),
    60_000 + rounds * 5000
  )

  it.live("a limit that is made holds at once, whatever was known before", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store, pg] = yield* open(schema)
      const [other] = yield* open(schema)
      const barrier = barrierOf(pg, schema)
      yield* store.listen(() => {})
      yield* store.setLimit({ tag: "t", limit: 10, rates: [], enabled: true })
      yield* store.enqueue(Array.from({ length: 20 }, () => job("job", { tags: ["t", "u"] })))
      yield* barrier
      const { worker } = yield* store.join({ name: "w", lease: hour })
      still = now()
      const turn = (want: number) =>
        Effect.map(store.turn({ worker, want, filter: {}, ends: [] }), ({ jobs }) => jobs.length)
      assert.strictEqual(yield* turn(2), 2)
      const before = known
      assert.strictEqual(yield* turn(2), 2)
      assert.strictEqual(known, before + 1)
      yield* other.setLimit({ tag: "u", limit: 4, rates: [], enabled: true })
      yield* barrier
      assert.strictEqual(yield* turn(5), 0)
      assert.strictEqual(known, before + 2)
    }).pipe(Effect.scoped, Effect.ensuring(Effect.sync(() => still = undefined))))
})

const history = (seed: number) =>
  Effect.gen(function*() {
    const random = randomOf(seed)
    const int = (from: number, to: number) => from + Math.floor(random() * (to - from + 1))
    const schema = Postgres.freshSchema()
    const [store, pg] = yield* open(schema)
    const [other] = yield* open(schema)
    const memory = Context.get(yield* Layer.build(JobStoreMemory.layer()), JobStore)
    const both = <A, E>(f: (store: Store) => Effect.Effect<A, E>) => Effect.all([f(other), f(memory)])
    const barrier = barrierOf(pg, schema)
    yield* store.listen(() => {})
    const isCapped = random() < 0.8
    const isLimited = !isCapped || random() < 0.8
    const tags = isLimited ? ["t", "u"] : []
    const [limit, keyLimit] = [int(1, 12), int(1, 4)]
    if (isLimited) yield* both((one) => one.setLimit({ tag: "t", limit, rates: [], enabled: true }))
    if (isCapped) yield* both((one) => one.setQueue("default", { keyLimit }))
    const [{ worker }, mine] = [
      yield* store.join({ name: "w", lease: hour }),
      yield* memory.join({ name: "w", lease: hour })
    ]
    let n = 0
    let held: Array<readonly [Claimed, Claimed]> = []
    for (let step = 0; step < steps; step++) {
      const what = random()
      if (what < 0.25) {
        const jobs = Array.from({ length: int(1, 14) }, () =>
          job("job", {
            payload: `${++n}`,
            tags,
            key: random() < 0.1 ? undefined : `key ${int(1, 5)}`,
            priority: random() < 0.8 ? 20 : 10,
            // Now and then they are not alike.
            weight: random() < 0.01 ? 2 : 1,
            unique: random() < 0.03
              ? { key: `unique ${int(1, 3)}`, while: "waiting" as const, conflict: "ignore" as const }
              : undefined
          }))
        yield* both((one) => one.enqueue(jobs))
        // Where those are is not told.
        if (jobs.some(({ unique }) => unique !== undefined)) ahead += 60_000
      } else if (what < 0.28 && isLimited) {
        const limit = int(1, 12)
        const rates = random() < 0.5 ? [] : [{ count: int(5, 40), per: 1000 * hour, burst: int(5, 40) }]
        const enabled = random() < 0.8
        yield* both((one) => one.setLimit({ tag: "t", limit, rates, enabled }))
      } else if (what < 0.31 && isCapped) {
        const keyLimit = int(1, 5)
        yield* both((one) => one.setQueue("default", { keyLimit }))
      } else if (what < 0.33 && isLimited) {
        const millis = random() < 0.3 ? hour : 0
        yield* both((one) => one.pauseLimit("t", millis))
      } else if (what < 0.34 && isLimited) {
        const limit = int(1, 12)
        yield* both((one) => one.setLimit({ tag: "u", limit, rates: [], enabled: true }))
        // With what can be in the way the lines have changed.
        ahead += 60_000
      } else if (what < 0.35 && isLimited) {
        yield* both((one) => one.removeLimit("u"))
        ahead += 60_000
      }
      yield* barrier
      const ended = held.filter(() => random() < 0.4)
      held = held.filter((pair) => !ended.includes(pair))
      const how = ended.map(() => random())
      const want = int(0, 12)
      const turn = (one: Store, worker: string, side: 0 | 1) =>
        one.turn({
          worker,
          want,
          filter: {},
          ends: ended.map((pair, i) => {
            const { id, token } = pair[side]
            return how[i]! < 0.95 ? { _tag: "Succeeded", id, token, result: "null" } : { _tag: "Returned", id, token }
          })
        })
      const ours = yield* turn(store, worker, 0)
      const theirs = yield* turn(memory, mine.worker, 1)
      const payloads = (jobs: ReadonlyArray<Claimed>) => jobs.map(({ payload }) => payload)
      assert.deepStrictEqual(payloads(ours.jobs), payloads(theirs.jobs), `SEED=${seed} ROUNDS=1 step ${step}`)
      held.push(...ours.jobs.map((job, i) => [job, theirs.jobs[i]!] as const))
    }
  })
