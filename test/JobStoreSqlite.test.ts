import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { SqlClient } from "effect/sql/SqlClient"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { job } from "../src/queue/internal/SuiteWorld.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore, type Renewing } from "../src/queue/JobStore.ts"
import * as JobStoreSqlite from "../src/queue/JobStoreSqlite.ts"
import { jobStoreSuite } from "../src/queue/jobStoreSuite.ts"
import { Record } from "./fixtures/sqlite-worker.ts"
import { type ChildProcess, start } from "./suites/ChildProcess.ts"
import "./suites/Processes.ts"

/** A file that is gone with the scope. */
const file = Effect.acquireRelease(
  Effect.sync(() => path.join(fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-sqlite-")), "jobs.db")),
  (filename) => Effect.sync(() => fs.rmSync(path.dirname(filename), { recursive: true }))
)

const fresh = Layer.unwrap(Effect.map(file, (filename) => JobStoreSqlite.layer({ filename })))

const everything = { filter: {}, want: 100 }

const places = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-sqlite-"))
afterAll(() => fs.rmSync(places, { recursive: true }))

jobStoreSuite("JobStoreSqlite", {
  layer: (place, options) => JobStoreSqlite.layer({ filename: path.join(places, `${place}.db`), ...options }),
  advance: (millis) => TestClock.adjust(millis),
  durable: true
})

const names = (filename: string) =>
  Effect.gen(function*() {
    const store = yield* JobStore
    return (yield* store.list()).map(({ name, state }) => `${name} ${state}`).sort()
  }).pipe(Effect.provide(Layer.fresh(JobStoreSqlite.layer({ filename }))))

describe("transactions", () => {
  const table = SqlClient.use((sql) => sql`CREATE TABLE orders (id INTEGER PRIMARY KEY)`)

  it.effect("a job exists if and only if the transaction it was put in commits", () =>
    Effect.gen(function*() {
      yield* table
      const sql = yield* SqlClient
      const store = yield* JobStore
      let wakes = 0
      yield* store.listen(() => void wakes++)
      const order = (name: string) =>
        Effect.andThen(sql`INSERT INTO orders DEFAULT VALUES`, store.enqueue([job(name)])).pipe(
          Effect.andThen(store.list()),
          Effect.tap((jobs) => Effect.sync(() => assert.isTrue(jobs.some((one) => one.name === name))))
        )
      yield* sql.withTransaction(
        Effect.andThen(order("kept"), Effect.sync(() => assert.strictEqual(wakes, 0)))
      )
      assert.strictEqual(wakes, 1)
      const undone = yield* Effect.exit(sql.withTransaction(Effect.andThen(order("undone"), Effect.fail("no"))))
      assert.isTrue(Exit.isFailure(undone))
      assert.strictEqual(wakes, 1)
      assert.deepStrictEqual((yield* store.list()).map(({ name }) => name), ["kept"])
      assert.deepStrictEqual(yield* sql`SELECT count(*) AS n FROM orders`.values, [[1]])
    }).pipe(Effect.provide(fresh)))

  it.effect("what is refused in a transaction leaves it as it was", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const store = yield* JobStore
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* store.enqueue([job("a", { id: "one" })])
        const error = yield* Effect.flip(store.enqueue([job("b"), job("c", { id: "one" })]))
        assert.strictEqual(error._tag, "DuplicateKeyError")
        assert.isTrue(yield* store.isInTransaction!)
      }))
      assert.deepStrictEqual((yield* store.list()).map(({ name }) => name), ["a"])
    }).pipe(Effect.provide(fresh)))

  it.live("others wait while a transaction is open, and the event loop does not", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const store = yield* JobStore
      const order: Array<string> = []
      yield* Effect.all([
        sql.withTransaction(Effect.gen(function*() {
          yield* store.enqueue([job("a")])
          yield* Effect.sleep(30)
          order.push("committed")
        })),
        Effect.delay(store.enqueue([job("b")]), 5).pipe(Effect.tap(() => Effect.sync(() => order.push("enqueued"))))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(order, ["committed", "enqueued"])
    }).pipe(Effect.provide(fresh)))
})

describe("the file", () => {
  it.effect("keeps jobs, limits and what is due, whoever opens it next", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const layer = Layer.fresh(JobStoreSqlite.layer({ filename, tagLimits: { db: 5 } }))
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        yield* store.setLimit({ tag: "db", limit: 1, rates: [], enabled: true })
        yield* store.enqueue([
          job("a", { tags: ["db"] }),
          job("b", { tags: ["db"] }),
          job("later", { due: { in: 500 } })
        ])
        const { worker } = yield* store.join({ name: "w", lease: 1000 })
        const { jobs } = yield* store.turn({ worker, ends: [], ...everything })
        assert.deepStrictEqual(jobs.map(({ name }) => name), ["a"])
      }).pipe(Effect.provide(layer))
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        const [limit] = yield* store.limits
        assert.deepInclude(limit, { tag: "db", limit: 1, active: 1 })
        const { worker } = yield* store.join({ name: "v", lease: 5000 })
        const turn = store.turn({ worker, ends: [], ...everything })
        const first = yield* turn
        assert.deepStrictEqual([first.jobs.length, first.next], [0, 500])
        yield* TestClock.adjust(500)
        assert.deepStrictEqual((yield* turn).jobs.map(({ name }) => name), ["later"])
        yield* TestClock.adjust(500)
        assert.deepStrictEqual((yield* turn).jobs.map(({ attempt, name }) => [name, attempt]), [["a", 2]])
      }).pipe(Effect.provide(layer))
    }))

  it.effect("two that open it at once make its tables once", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.all(
        Array.from({ length: 5 }, (_, i) =>
          Effect.gen(function*() {
            yield* (yield* JobStore).enqueue([job(String(i))])
          }).pipe(Effect.provide(Layer.fresh(JobStoreSqlite.layer({ filename }))))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* names(filename)).length, 5)
    }))

  it.effect("a full disk fails with JobStoreError, undoes all of it, and is over when there is room", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      const { db } = yield* JobStoreSqlite.SqliteClient
      yield* store.enqueue([job("before")])
      const pages = (db.prepare("PRAGMA page_count").get() as { page_count: number }).page_count
      db.exec(`PRAGMA max_page_count = ${pages}`)
      const big = Array.from({ length: 50 }, () => job("big", { payload: JSON.stringify("x".repeat(1000)) }))
      const error = yield* Effect.flip(store.enqueue(big))
      assert.strictEqual(error._tag, "JobStoreError")
      assert.include(error.message, "full")
      assert.strictEqual((yield* store.list()).length, 1)
      db.exec("PRAGMA max_page_count = 100000")
      yield* store.enqueue(big)
      const [counts] = yield* store.counts
      assert.strictEqual(counts!.waiting, 51)
    }).pipe(Effect.provide(fresh)))

  it.live("a file that another has locked is asked again, then fails with JobStoreError", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        const other = yield* Layer.build(Layer.fresh(JobStoreSqlite.layerClient({ filename })))
        const { db } = yield* Effect.provideContext(JobStoreSqlite.SqliteClient, other)
        db.exec("BEGIN IMMEDIATE")
        const error = yield* Effect.flip(store.enqueue([job("a")]))
        assert.strictEqual(error._tag, "JobStoreError")
        assert.deepStrictEqual(yield* store.list(), [], "reading waits for nobody")
        setTimeout(() => db.exec("COMMIT"), 50)
        yield* store.enqueue([job("b")])
        assert.deepStrictEqual((yield* store.list()).map(({ name }) => name), ["b"])
      }).pipe(Effect.provide(JobStoreSqlite.layer({ filename, busyTimeout: 100 })))
    }))

  it.effect("what is no database is none", () =>
    Effect.gen(function*() {
      const filename = yield* file
      fs.writeFileSync(filename, "not a database, whatever its name may say".repeat(100))
      const error = yield* Effect.flip(Layer.build(JobStoreSqlite.layer({ filename })))
      assert.strictEqual(error._tag, "SqlError")
    }))

  it.effect("one whose pages are damaged fails with JobStoreError, and what needs none of them goes on", () =>
    Effect.gen(function*() {
      const filename = yield* file
      const layer = Layer.fresh(JobStoreSqlite.layer({ filename }))
      const jobs = Array.from({ length: 100 }, (_, n) => job("big", { payload: JSON.stringify(String(n).repeat(500)) }))
      const page = yield* Effect.gen(function*() {
        yield* (yield* JobStore).enqueue(jobs)
        const { db } = yield* JobStoreSqlite.SqliteClient
        return (db.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'tasklayer_job'").get() as {
          rootpage: number
        }).rootpage
      }).pipe(Effect.provide(layer))
      const damaged = fs.openSync(filename, "r+")
      fs.writeSync(damaged, Buffer.alloc(4096, 0xff), 0, 4096, (page - 1) * 4096)
      fs.closeSync(damaged)
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        const error = yield* Effect.flip(store.list())
        assert.include(error.message, "malformed")
        yield* store.setLimit({ tag: "t", limit: 1, rates: [], enabled: true })
        assert.strictEqual((yield* store.limits).length, 1)
      }).pipe(Effect.provide(layer))
    }))

  it.effect("options that cannot be are defects of the Layer", () =>
    Effect.gen(function*() {
      const of = (options: object) =>
        Effect.exit(Layer.build(JobStoreSqlite.layer({ filename: ":memory:", ...options })))
      const reading = (exit: Exit.Exit<unknown, unknown>) => String(Exit.isFailure(exit) && Cause.squash(exit.cause))
      assert.include(reading(yield* of({ busyTimeout: -1 })), "busyTimeout must be a duration >= 0, got -1")
      assert.include(reading(yield* of({ synchronous: "OFF" })), `synchronous must be "NORMAL" or "FULL", got "OFF"`)
      assert.include(reading(yield* of({ tagLimits: { a: -1 } })), `must be an integer >= 0`)
      assert.isTrue(Exit.isSuccess(yield* of({ synchronous: "FULL" })))
    }))

  it("its tables can be read before they are made", () => {
    assert.include(JobStoreSqlite.migrations, "-- 1: jobs\n")
    assert.include(JobStoreSqlite.migrations, "CREATE TABLE tasklayer_job")
  })
})

describe("keeper", () => {
  it.live("renews from elsewhere, and never a lease that has ended", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        const { module, options } = store.keeper!
        const { keep }: { readonly keep: (options: unknown) => Promise<Renewing> } = yield* Effect.promise(() =>
          import(module)
        )
        const renewing = yield* Effect.promise(() => keep(options))
        const { worker } = yield* store.join({ name: "w", lease: 60 })
        const before = (yield* store.workers)[0]!.expiresAt
        yield* Effect.sleep(5)
        assert.isTrue(yield* Effect.promise(() => renewing.renew(worker)))
        assert.isAbove((yield* store.workers)[0]!.expiresAt, before)
        yield* Effect.sleep(70)
        assert.isFalse(yield* Effect.promise(() => renewing.renew(worker)))
        yield* Effect.promise(() => renewing.close())
      }).pipe(Effect.provide(JobStoreSqlite.layer({ filename })))
    }))

  it.effect("there is none for a clock that is not the machine's", () =>
    Effect.gen(function*() {
      assert.isUndefined((yield* JobStore).keeper)
    }).pipe(Effect.provide(fresh)))

  it.live("there is none for what is in memory", () =>
    Effect.gen(function*() {
      assert.isUndefined((yield* JobStore).keeper)
    }).pipe(Effect.provide(JobStoreSqlite.layer({ filename: ":memory:" }))))
})

describe("listen", () => {
  it.live("hears of what others do to the file", () =>
    Effect.gen(function*() {
      const filename = yield* file
      yield* Effect.gen(function*() {
        const store = yield* JobStore
        const woken = Effect.callback<void>((resume) => {
          Effect.runFork(Effect.scoped(Effect.andThen(store.listen(() => resume(Effect.void)), Effect.never)))
        })
        yield* Effect.all([
          woken,
          Effect.delay(
            Effect.gen(function*() {
              yield* (yield* JobStore).enqueue([job("a")])
            }).pipe(Effect.provide(Layer.fresh(JobStoreSqlite.layer({ filename })))),
            100
          )
        ], { concurrency: 2 })
      }).pipe(Effect.provide(JobStoreSqlite.layer({ filename })))
    }))

  it.effect("a job that is not there is none", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      assert.isTrue(Option.isNone(yield* store.get("1")))
    }).pipe(Effect.provide(fresh)))
})

describe("two processes on one file", () => {
  const LIMIT = 6
  interface Row {
    readonly n: number
    readonly pid: number
    readonly began: number
    readonly ended: number | null
  }
  const rows = SqlClient.use((sql) => sql<Row>`SELECT * FROM records ORDER BY began`)
  const worker = (filename: string) =>
    Effect.acquireRelease(
      Effect.sync(() => start(path.join(import.meta.dirname, "fixtures/sqlite-worker.ts"), [filename])),
      (child) =>
        Effect.promise(() => {
          child.kill("SIGKILL")
          return child.ended
        })
    )
  const whenDone = (jobs: number, workers: ReadonlyArray<ChildProcess>) =>
    Effect.gen(function*() {
      const store = yield* JobStore
      for (;;) {
        const [counts] = yield* store.counts
        if (counts!.succeeded >= jobs) return
        yield* Effect.sleep(10)
      }
    }).pipe(
      Effect.timeout("15 seconds"),
      Effect.tapError(() => Effect.sync(() => console.error(workers.map(({ stderr, stdout }) => stdout() + stderr()))))
    )
  /** How many ran at once, as they wrote down themselves. One that never ended did until `until`. */
  const most = (rows: ReadonlyArray<Row>, until = 0) => {
    const steps = rows.flatMap(({ began, ended }) => [[began, 1], [ended ?? Math.max(began, until), -1]] as const)
    let running = 0
    return steps.toSorted(([a, up], [b, down]) => a - b || up - down)
      .reduce((most, [, step]) => Math.max(most, running += step), 0)
  }
  const scene = Effect.gen(function*() {
    const filename = yield* file
    const layer = Layer.provideMerge(
      JobQueue.layer(),
      JobStoreSqlite.layer({ filename, tagLimits: { few: LIMIT } })
    )
    return { filename, context: yield* Layer.build(layer) }
  })
  /** Two that are there before there is anything to do. */
  const twoWorkers = (filename: string) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const store = yield* JobStore
      yield* sql`CREATE TABLE records (n INTEGER, pid INTEGER, began REAL, ended REAL)`
      const both = yield* Effect.all([worker(filename), worker(filename)])
      while ((yield* store.workers).length < 2) yield* Effect.sleep(10)
      return both
    })
  const put = (jobs: number) => Record.enqueueAll(Array.from({ length: jobs }, (_, n) => ({ n })))

  it.live("share the work: none is lost, none is done twice, and a limit holds for both", () =>
    Effect.gen(function*() {
      const { context, filename } = yield* scene
      yield* Effect.gen(function*() {
        const workers = yield* twoWorkers(filename)
        yield* put(300)
        yield* whenDone(300, workers)
        const all = yield* rows
        assert.deepStrictEqual(
          all.map(({ n }) => n).toSorted((a, b) => a - b),
          Array.from({ length: 300 }, (_, n) => n)
        )
        assert.strictEqual(new Set(all.map(({ pid }) => pid)).size, 2)
        assert.isAtMost(most(all), LIMIT)
      }).pipe(Effect.provideContext(context))
    }), 20_000)

  it.live(
    "one that is killed leaves what it had to the other, and what it ended is not done again",
    () =>
      Effect.gen(function*() {
        const { context, filename } = yield* scene
        yield* Effect.gen(function*() {
          const [victim, other] = yield* twoWorkers(filename)
          yield* put(400)
          while (new Set((yield* rows).map(({ pid }) => pid)).size < 2) yield* Effect.sleep(5)
          yield* Effect.sleep(50)
          victim.kill("SIGKILL")
          const killed = Date.now()
          yield* whenDone(400, [victim, other])
          const all = yield* rows
          const records = yield* (yield* JobStore).list({ limit: 1000 })
          assert.strictEqual(new Set(all.map(({ n }) => n)).size, 400)
          // Twice is what the killed one had, and nothing else.
          const twice = all.length - 400
          const crashed = records.filter(({ crashes }) => crashes > 0)
          assert.isAtMost(twice, crashed.length)
          assert.isAtMost(crashed.length, LIMIT)
          assert.isTrue(crashed.every(({ attempt, errors }) => attempt === 2 && errors[0]!.reason === "Crashed"))
          assert.isAtMost(most(all, killed), LIMIT)
        }).pipe(Effect.provideContext(context))
      }),
    20_000
  )
})
