/**
 * What is put in while a worker waits is claimed as it is put in, where nothing is in its way. Whether or not, what comes of it is what comes of one
 * after the other in the store in memory.
 */
import { PgClient } from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { job, returned, succeeded } from "../src/queue/internal/SuiteWorld.ts"
import { type Claimed, JobStore, type NewJob, type Store, type Turn } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import * as Postgres from "./suites/Postgres.ts"
import { ears, openStore } from "./suites/PostgresEars.ts"
import * as Random from "./suites/Random.ts"

const seed = Random.seedOf("postgres-pass")
const rounds = Number(process.env["ROUNDS"] ?? 8)
const hour = 3_600_000
const { hears, pass, told } = ears()

/** Puts jobs in as a worker waits, which takes a turn when it is woken. */
const putAndTurn = (waking: { onWake: () => void }, store: Store, jobs: ReadonlyArray<NewJob>, turn: Turn) =>
  Effect.gen(function*() {
    let fiber: Fiber.Fiber<Effect.Success<ReturnType<Store["turn"]>>, unknown> | undefined
    waking.onWake = () => fiber ??= Effect.runFork(store.turn(turn))
    const put = yield* Effect.result(store.enqueue(jobs))
    const turned = yield* fiber === undefined ? store.turn(turn) : Fiber.join(fiber)
    waking.onWake = () => {}
    // It may have come too late to go along, and too early to find anything.
    if (turned.jobs.length > 0) return [put, turned] as const
    pass()
    return [put, yield* store.turn(turn)] as const
  })

const listening = (schema: string) =>
  Effect.gen(function*() {
    const store = yield* openStore(schema)
    const pg = Context.get(yield* Layer.build(Postgres.client()), PgClient)
    const waking = { onWake: () => {} }
    yield* store.listen(() => waking.onWake())
    yield* hears(pg, schema)
    return { store, pg, waking }
  })

describe("jobs that are put in while a worker waits", () => {
  it.live(
    `are claimed as by a turn after, in ${rounds} random histories from SEED=${seed}`,
    () =>
      Effect.gen(function*() {
        let passed = 0
        for (let round = 0; round < rounds; round++) passed += yield* Effect.scoped(history(seed + round))
        // Else it would be another way of claiming that was looked at.
        assert.isAbove(passed, rounds)
      }),
    60_000 + rounds * 5000
  )
})

/** Returns of how many jobs nobody was told. */
const history = (seed: number) =>
  Effect.gen(function*() {
    const random = Random.make(seed)
    const schema = Postgres.freshSchema()
    const { pg, store, waking } = yield* listening(schema)
    const other = yield* openStore(schema)
    const memory = Context.get(yield* Layer.build(JobStoreMemory.layer()), JobStore)
    const both = <A, E>(f: (store: Store) => Effect.Effect<A, E>) => Effect.all([f(store), f(memory)])
    const [ours, theirs] = yield* both((one) => one.join({ name: "w", lease: hour }))
    let n = 0
    let passed = 0
    let held: Array<readonly [Claimed, Claimed]> = []
    for (let step = 0; step < 60; step++) {
      if (random.chance(0.1)) {
        const tag = random.pick(["x", "y"])
        const limit = random.int(1, 3)
        yield* both((one) => one.setLimit({ tag, limit, rates: [], enabled: true }))
      }
      if (random.chance(0.1)) {
        const tag = random.pick(["x", "y"])
        yield* both((one) => one.removeLimit(tag))
      }
      if (random.chance(0.15)) {
        const [queue, paused] = [random.pick(["p", "q", "r"]), random.chance(0.3)]
        yield* both((one) => one.setQueue(queue, { paused }))
      }
      if (random.chance(0.02)) {
        const settings = random.pick([{ maxQueued: 3 }, { keyLimit: 1 }])
        yield* both((one) => one.setQueue("q", settings))
      }
      const [queue, name, priority] = [
        random.pick(["p", "q", "r", "r"]),
        random.pick(["one", "two"]),
        random.pick([10, 20])
      ]
      const tags = random.some(["x", "y", "z"], 0.2)
      const isOneKind = random.chance(0.9)
      const jobs = Array.from({ length: random.int(1, 4) }, () =>
        job(isOneKind ? name : random.pick(["one", "two"]), {
          payload: `${++n}`,
          queue,
          tags,
          priority,
          key: random.chance(0.02) ? "k" : undefined,
          delivery: random.chance(0.9) ? "atLeastOnce" : "atMostOnce",
          due: random.chance(0.03) ? { in: hour } : undefined,
          expires: random.chance(0.03) ? { in: hour } : undefined,
          trace: random.chance(0.2) ? "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" : undefined
        }))
      const filter = random.chance(0.7) ? {} : random.pick([
        { queues: ["p", "r"] },
        { names: ["one"] },
        { tags: ["x", "z"] },
        { priorities: { from: 15 } },
        { priorities: { to: 15 } }
      ])
      const ended = random.chance(0.3) ? random.some(held, 0.7) : []
      held = held.filter((pair) => !ended.includes(pair))
      const ends = (side: 0 | 1) =>
        ended.map((pair, i) => i % 5 === 4 ? returned(pair[side]) : succeeded(pair[side], "null"))
      const want = random.int(1, 8)
      // What it finds tells it whether it waits.
      for (const more of random.chance(0.8) ? [{ ends }, { ends: () => [] }] : [{ ends }]) {
        pass()
        const first = yield* store.turn({ worker: ours.worker, want: 50, filter: {}, ends: more.ends(0) })
        const second = yield* memory.turn({ worker: theirs.worker, want: 50, filter: {}, ends: more.ends(1) })
        assert.deepStrictEqual(payloads(first.jobs), payloads(second.jobs), `SEED=${seed} ROUNDS=1 step ${step}`)
        held.push(...first.jobs.map((job, i) => [job, second.jobs[i]!] as const))
      }
      pass()
      if (random.chance(0.2)) {
        // Somebody else comes first.
        const first = job("one", {
          payload: `${++n}`,
          queue: random.pick(["p", "r"]),
          priority: random.pick([10, 20, 30])
        })
        yield* Effect.all([other.enqueue([first]), memory.enqueue([first])])
      }
      yield* hears(pg, schema)
      told.length = 0
      const [put, turned] = yield* putAndTurn(waking, store, jobs, { worker: ours.worker, want, filter, ends: [] })
      const expected = yield* Effect.result(memory.enqueue(jobs))
      const after = yield* memory.turn({ worker: theirs.worker, want, filter, ends: [] })
      const where = `SEED=${seed} ROUNDS=1 step ${step}`
      assert.strictEqual(Result.isSuccess(put), Result.isSuccess(expected), where)
      const plain = ({ enqueuedAt, dueAt, id, ...rest }: Claimed) => rest
      assert.deepStrictEqual(turned.jobs.map(plain), after.jobs.map(plain), where)
      if (turned.jobs.length === want) assert.strictEqual(turned.next, 0, where)
      assert.isAtMost(turned.next ?? Infinity, (after.next ?? Infinity) + 1000, where)
      held.push(...turned.jobs.map((job, i) => [job, after.jobs[i]!] as const))
      if (Result.isSuccess(put)) {
        const records = yield* Effect.forEach(put.success, ({ id }) => store.get(id))
        const recorded = Result.isSuccess(expected)
          ? yield* Effect.forEach(expected.success, ({ id }) => memory.get(id))
          : []
        const seen = (some: typeof records) =>
          some.map((one) => {
            assert.strictEqual(one._tag, "Some")
            const { attempt, crashes, delivery, name, payload, priority, queue, state, tags, weight } =
              one._tag === "Some"
                ? one.value
                : undefined!
            return { attempt, crashes, delivery, name, payload, priority, queue, state, tags, weight }
          })
        assert.deepStrictEqual(seen(records), seen(recorded), where)
      }
      yield* hears(pg, schema)
      if (turned.jobs.length > 0 && told.length === 0) passed++
    }
    return passed
  })

const payloads = (jobs: ReadonlyArray<Claimed>) => jobs.map(({ payload }) => payload)
