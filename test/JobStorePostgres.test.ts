import { PgClient } from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { named } from "../src/queue/internal/PostgresLimits.ts"
import { job as plain } from "../src/queue/internal/SuiteWorld.ts"
import { JobStore, type NewJob, type Turn } from "../src/queue/JobStore.ts"
import * as JobStorePostgres from "../src/queue/JobStorePostgres.ts"
import { jobStoreSuite } from "../src/queue/jobStoreSuite.ts"
import * as Postgres from "./suites/Postgres.ts"

const job = (more: Partial<NewJob> = {}): NewJob => plain("job", { payload: "{}", ...more })

const jobs = (n: number, options?: Partial<NewJob>): ReadonlyArray<NewJob> =>
  Array.from({ length: n }, () => job(options))

/** A store at a schema, with a pool of its own: as another process would have it. */
const open = (schema: string, options?: JobStorePostgres.Options) =>
  Effect.map(
    Layer.build(Layer.fresh(
      JobStorePostgres.layer({ schema, ...options }).pipe(Layer.provideMerge(Postgres.client({ maxConnections: 4 })))
    )),
    (context) => [Context.get(context, JobStore), Context.get(context, PgClient)] as const
  )

const turn = (worker: string, options: Partial<Turn> = {}): Turn => ({
  worker,
  ends: [],
  want: 10,
  filter: {},
  ...options
})

describe("JobStorePostgres", () => {
  it.live("several apply the migrations at once, each once", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      yield* Effect.all(Array.from({ length: 4 }, () => open(schema)), { concurrency: "unbounded" })
      const [, pg] = yield* open(schema)
      const rows = yield* pg.unsafe(`select version from ${schema}.migration order by 1`).values
      assert.deepStrictEqual(rows, JobStorePostgres.migrations().map(({ version }) => [version]))
    }).pipe(Effect.scoped))

  it.live("a job is there if and only if the transaction it was put in by commits", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store, pg] = yield* open(schema)
      yield* Effect.exit(pg.withTransaction(Effect.andThen(store.enqueue(jobs(3)), Effect.fail("no"))))
      assert.deepStrictEqual(yield* store.list(), [])
      yield* pg.withTransaction(Effect.gen(function*() {
        yield* store.enqueue(jobs(3))
        const [other] = yield* open(schema)
        assert.deepStrictEqual(yield* other.list(), [])
      }))
      assert.strictEqual((yield* store.list()).length, 3)
    }).pipe(Effect.scoped))

  it.live("a limit is never exceeded by many who claim at once, and no job is claimed twice", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store] = yield* open(schema, { tagLimits: { db: 3 }, queues: { default: { keyLimit: 1 } } })
      const keys = ["a", "b", "c", "d", "e"]
      yield* store.enqueue(Array.from({ length: 300 }, (_, i) => job({ tags: ["db"], key: keys[i % 5] })))
      yield* store.enqueue(jobs(200, { queue: "free" }))
      const done: Array<string> = []
      const running = new Set<string>()
      let most = 0
      const work = Effect.gen(function*() {
        const [mine] = yield* open(schema)
        const { worker } = yield* mine.join({ name: "w", lease: 10_000 })
        let ends: Turn["ends"] = []
        while (done.length < 500) {
          for (const { id } of ends) running.delete(id)
          const { jobs, refused } = yield* mine.turn(turn(worker, { ends, want: 5 }))
          assert.deepStrictEqual(refused, [])
          for (const { id, tags } of jobs) if (tags.length > 0) running.add(id)
          most = Math.max(most, running.size)
          const byKey = jobs.filter(({ tags }) => tags.length > 0).map(({ key }) => key)
          assert.strictEqual(new Set(byKey).size, byKey.length)
          yield* Effect.sleep(Math.random() * 3)
          ends = jobs.map(({ id, token }) => ({ _tag: "Succeeded", id, token, result: undefined }))
          done.push(...ends.map(({ id }) => id))
          if (ends.length === 0) yield* Effect.sleep(5)
        }
      })
      yield* Effect.all(Array.from({ length: 6 }, () => work), { concurrency: "unbounded" })
      assert.strictEqual(new Set(done).size, 500)
      assert.strictEqual(done.length, 500)
      assert.isAtMost(most, 3)
    }).pipe(Effect.scoped))

  it.live("a limit that is made while others claim and put in holds from then on", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store] = yield* open(schema)
      yield* store.enqueue(jobs(3000, { tags: ["late"] }))
      const work = Effect.gen(function*() {
        const [mine] = yield* open(schema)
        const { worker } = yield* mine.join({ name: "w", lease: 10_000 })
        let ends: Turn["ends"] = []
        for (let i = 0; i < 40; i++) {
          yield* mine.enqueue(jobs(3, { tags: ["late"] }))
          const { jobs: some } = yield* mine.turn(turn(worker, { ends, want: 4 }))
          ends = some.map(({ id, token }) => ({ _tag: "Succeeded", id, token, result: undefined }))
        }
        yield* mine.turn(turn(worker, { ends, want: 0 }))
      })
      const limit = Effect.gen(function*() {
        yield* Effect.sleep(60)
        yield* store.setLimit({ tag: "late", limit: 5, rates: [], enabled: true })
        // Those that ran before the limit came may be more: of them there are ever fewer, and from five on never more.
        let most = Infinity
        for (let i = 0; i < 20 || most > 5; i++) {
          const [info] = yield* store.limits
          assert.isAtMost(info!.active, most)
          most = Math.max(5, info!.active)
          yield* Effect.sleep(10)
        }
      })
      yield* Effect.all([limit, work, work, work, work], { concurrency: "unbounded" })
    }).pipe(Effect.scoped))

  it.live("a job that commits after a limit was made is under it", () =>
    Effect.gen(function*() {
      const [store, pg] = yield* open(Postgres.freshSchema())
      const { worker } = yield* store.join({ name: "w", lease: 10_000 })
      yield* Effect.scoped(Effect.gen(function*() {
        const put = yield* Effect.forkScoped(
          pg.withTransaction(Effect.andThen(store.enqueue(jobs(4, { tags: ["late"] })), Effect.sleep(150)))
        )
        yield* Effect.sleep(50)
        yield* store.setLimit({ tag: "late", limit: 1, rates: [], enabled: true })
        yield* Effect.sleep(200)
        void put
      }))
      yield* store.enqueue(jobs(2, { tags: ["late"] }))
      assert.strictEqual((yield* store.turn(turn(worker))).jobs.length, 1)
    }).pipe(Effect.scoped))

  it.live("a transaction that takes its time keeps nobody from other jobs under the same limit", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store, pg] = yield* open(schema, { tagLimits: { db: 10 }, queues: { default: { keyLimit: 5 } } })
      const [other] = yield* open(schema)
      const { worker } = yield* other.join({ name: "w", lease: 10_000 })
      const unique = { key: "one", while: "active", conflict: "replace" } as const
      const first = job({ tags: ["db"], key: "a", unique })
      yield* store.enqueue([first, job({ tags: ["db"], key: "b" })])
      yield* pg.withTransaction(Effect.gen(function*() {
        const [replaced] = yield* store.enqueue([{ ...first, payload: "2" }])
        assert.strictEqual(replaced!.as, "replaced")
        const claimed = Effect.map(
          Effect.timeout(other.turn(turn(worker)), "5 seconds"),
          ({ jobs }) => jobs.map(({ key }) => key)
        )
        assert.deepStrictEqual(yield* claimed, ["b"])
        yield* store.enqueue([job({ tags: ["db"], key: "c", queue: "unheard" })])
        assert.deepStrictEqual(yield* claimed, [])
        yield* other.setLimit({ tag: "db", limit: 20, rates: [], enabled: true }).pipe(Effect.timeout("5 seconds"))
      }))
      const { jobs } = yield* other.turn(turn(worker))
      assert.deepStrictEqual(jobs.map(({ key, payload }) => [key, payload]), [["a", "2"], ["c", "{}"]])
      const [limit] = yield* store.limits
      assert.strictEqual(limit!.active, 3)
      yield* whatIsHeld(schema).pipe(Effect.provideService(PgClient, pg))
    }).pipe(Effect.scoped))

  it.live("a transaction that cancels, or puts the first key in a queue, keeps nobody from what it leaves alone", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store, pg] = yield* open(schema, { tagLimits: { db: 10 } })
      const [other] = yield* open(schema)
      const { worker } = yield* other.join({ name: "w", lease: 10_000 })
      const [cancelled, left] = yield* store.enqueue(jobs(2, { tags: ["db"] }))
      const claimed = Effect.map(
        Effect.timeout(other.turn(turn(worker)), "5 seconds"),
        ({ jobs }) => jobs.map(({ id }) => id)
      )
      yield* pg.withTransaction(Effect.gen(function*() {
        assert.isTrue(yield* store.cancel(cancelled!.id))
        assert.deepStrictEqual(yield* claimed, [left!.id])
      }))
      const [ranked] = yield* store.enqueue(jobs(1, { tags: ["db"] }))
      const keyed = yield* pg.withTransaction(Effect.gen(function*() {
        const [keyed] = yield* store.enqueue([job({ tags: ["db"], key: "a" })])
        assert.deepStrictEqual(yield* claimed, [])
        return keyed!
      }))
      assert.deepStrictEqual(yield* claimed, [ranked!.id, keyed.id])
    }).pipe(Effect.scoped))

  it.live("who ends what has expired, in a transaction that takes its time, keeps nobody from other jobs", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store, pg] = yield* open(schema, { tagLimits: { db: 10 } })
      const [other] = yield* open(schema)
      const { worker } = yield* other.join({ name: "w", lease: 10_000 })
      const [expired, left] = yield* store.enqueue([job({ tags: ["db"], expires: { in: 1 } }), job({ tags: ["db"] })])
      yield* Effect.sleep(5)
      yield* pg.withTransaction(Effect.gen(function*() {
        yield* store.sweep
        assert.deepStrictEqual((yield* store.list({ states: ["Dead"] })).map(({ id }) => id), [expired!.id])
        const { jobs } = yield* other.turn(turn(worker)).pipe(Effect.timeout("5 seconds"))
        assert.deepStrictEqual(jobs.map(({ id }) => id), [left!.id])
      }))
    }).pipe(Effect.scoped))

  it.live("an end that is told once more keeps nobody from the job, which waits again", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store] = yield* open(schema, { tagLimits: { db: 10 } })
      const [other] = yield* open(schema)
      const [, pg] = yield* open(schema)
      const [a, b] = [yield* store.join({ name: "a", lease: 60_000 }), yield* other.join({ name: "b", lease: 60_000 })]
      yield* store.enqueue(jobs(2, { tags: ["db"] }))
      const [first, second] = (yield* store.turn(turn(a.worker))).jobs
      const error = { attempt: 1, at: 0, reason: "Failed", message: "" } as const
      const returned = { _tag: "Returned", id: first!.id, token: first!.token } as const
      const retried = { _tag: "Retry", id: second!.id, token: second!.token, after: 0, error } as const
      yield* store.turn(turn(a.worker, { ends: [returned], want: 0 }))
      const again = yield* pg.withTransaction(Effect.gen(function*() {
        // Until it has looked at the first, and not beyond.
        yield* pg.unsafe(`select from ${schema}.job where seq = ${second!.id} for update`)
        const again = yield* Effect.forkChild(store.turn(turn(a.worker, { ends: [returned, retried] })))
        const waits =
          pg.unsafe("select 1 from pg_stat_activity where pg_backend_pid() = any(pg_blocking_pids(pid))").values
        while ((yield* waits).length === 0) yield* Effect.sleep(10)
        const { jobs } = yield* other.turn(turn(b.worker)).pipe(Effect.timeout("5 seconds"))
        assert.deepStrictEqual(jobs.map(({ id }) => id), [first!.id])
        return again
      }))
      assert.deepStrictEqual((yield* Fiber.join(again)).refused, [first!.id])
    }).pipe(Effect.scoped))

  it.live("who replaces by a unique key and who claims are not in each other's way", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store] = yield* open(schema)
      const keys = Array.from({ length: 8 }, (_, i) => `k${i}`)
      const put = Effect.forEach(Array.from({ length: 40 }), (_, i) =>
        store.enqueue(keys.map((key) =>
          job({ payload: `${i}`, unique: { key, while: "waiting", conflict: "replace" } })
        )))
      const work = Effect.gen(function*() {
        const [mine] = yield* open(schema)
        const { worker } = yield* mine.join({ name: "w", lease: 10_000 })
        let ends: Turn["ends"] = []
        for (let i = 0; i < 60; i++) {
          const { jobs, refused } = yield* mine.turn(turn(worker, { ends, want: 3 }))
          assert.deepStrictEqual(refused, [])
          ends = jobs.map(({ id, token }) => ({ _tag: "Succeeded", id, token, result: undefined }))
        }
        yield* mine.turn(turn(worker, { ends, want: 0 }))
      })
      yield* Effect.all([put, work, work], { concurrency: "unbounded" })
      const waiting = yield* store.list({ states: ["Waiting"] })
      assert.isAtMost(waiting.length, keys.length)
    }).pipe(Effect.scoped))

  it.live("who listens hears of jobs of others, again after its connections were killed", () =>
    Effect.gen(function*() {
      const schema = Postgres.freshSchema()
      const [store] = yield* open(schema)
      const [other, pg] = yield* open(schema)
      let heard = 0
      yield* store.listen(() => void heard++)
      const hears = Effect.gen(function*() {
        const before = heard
        yield* other.enqueue(jobs(1))
        for (let i = 0; i < 200 && heard === before; i++) yield* Effect.sleep(10)
        assert.isAbove(heard, before)
      })
      while (heard === 0) yield* Effect.sleep(5)
      yield* hears
      yield* pg.unsafe(
        `select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%' and pid <> pg_backend_pid()`
      ).values
      yield* Effect.sleep(300)
      yield* hears
    }).pipe(Effect.scoped))
})

/** What is written of what workers have under limits is what they have. */
const whatIsHeld = (schema: string) =>
  Effect.gen(function*() {
    const pg = yield* PgClient
    const wrong = yield* pg.unsafe(`with h as (
        select worker, u.name, u.w from (select distinct on (worker) * from ${schema}.holding order by worker, n desc) h
          cross join unnest(h.names, h.weights) u(name, w) where u.w <> 0
      ), r as (
        select j.worker, named.name, sum(named.w) w
        from ${schema}.job j cross join lateral ${named(schema, "(select j.queue, j.tags, j.key, j.weight)")}
        where j.state = 2 group by 1, 2
      )
      select * from h full join r using (worker, name) where h.w is distinct from r.w`).values
    assert.deepStrictEqual(wrong, [])
  }).pipe(Effect.orDie)

const shared = Postgres.client({ maxConnections: 5 })
const schemas = new Map<string, string>()

jobStoreSuite("JobStorePostgres", {
  layer: (place, options) => {
    const isNew = !schemas.has(place)
    const schema = schemas.get(place) ?? Postgres.freshSchema()
    schemas.set(place, schema)
    return JobStorePostgres.layer({ ...options, schema }).pipe(
      Layer.tap(() => isNew ? Postgres.holdClock(schema) : Effect.void),
      Layer.tap(() => Effect.addFinalizer(() => whatIsHeld(schema))),
      Layer.provide(shared)
    )
  },
  advance: (millis, place) => Effect.provide(Postgres.advance(schemas.get(place)!, millis), shared),
  durable: true,
  realTime: true,
  rounds: 15
})
