import { PgClient } from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { job as plain } from "../src/queue/internal/SuiteWorld.ts"
import { JobStore, type Renewing } from "../src/queue/JobStore.ts"
import * as JobStorePostgres from "../src/queue/JobStorePostgres.ts"
import * as Postgres from "./suites/Postgres.ts"

const job = plain("job")

const server = Effect.acquireRelease(
  Effect.promise(() => Postgres.startServer()),
  (server) => Effect.promise(() => server.remove())
)

const open = (url: string, options?: JobStorePostgres.Options) =>
  Effect.map(
    Layer.build(Layer.fresh(JobStorePostgres.layerUrl(url, options))),
    (context) => [Context.get(context, JobStore), Context.get(context, PgClient)] as const
  )

describe("a PostgreSQL that goes and comes", () => {
  it.live("keeps what was put in, takes nobody's lease, and who listens hears again", () =>
    Effect.gen(function*() {
      const { start, stop, url } = yield* server
      const [store] = yield* open(url)
      let heard = 0
      yield* store.listen(() => void heard++)
      while (heard === 0) yield* Effect.sleep(5)
      const { worker } = yield* store.join({ name: "w", lease: 3000 })
      yield* store.enqueue([job, job, job])
      const { jobs: [first] } = yield* store.turn({ worker, ends: [], want: 1, filter: {} })
      yield* Effect.promise(() => stop("immediate"))
      const failed = yield* Effect.flip(store.enqueue([job]))
      assert.strictEqual(failed._tag, "JobStoreError")
      yield* Effect.sleep(3100)
      yield* Effect.promise(start)
      // Longer away than the lease lasts: it has not ended, as nobody could renew it.
      yield* Effect.retry(store.renew(worker), { times: 200, while: (error) => error._tag === "JobStoreError" })
      const { jobs, refused } = yield* store.turn({
        worker,
        ends: [{ _tag: "Succeeded", id: first!.id, token: first!.token, result: undefined }],
        want: 10,
        filter: {}
      })
      assert.deepStrictEqual(refused, [])
      assert.strictEqual(jobs.length, 2)
      const before = heard
      yield* Effect.retry(store.enqueue([job]), { times: 50 })
      for (let i = 0; i < 400 && heard === before; i++) yield* Effect.sleep(25)
      assert.isAbove(heard, before)
    }).pipe(Effect.scoped), 60_000)

  it.live("a second thread renews over a connection of its own", () =>
    Effect.gen(function*() {
      const url = yield* Effect.promise(Postgres.serverUrl)
      const [store] = yield* open(url, { schema: Postgres.freshSchema() })
      const { worker } = yield* store.join({ name: "w", lease: 600 })
      const { module, options } = store.keeper!
      const { keep } = yield* Effect.promise(() => import(module) as Promise<{ keep: (options: unknown) => Renewing }>)
      const renewing = yield* Effect.acquireRelease(
        Effect.sync(() => keep(structuredClone(options))),
        (renewing) => Effect.promise(() => renewing.close())
      )
      for (let i = 0; i < 4; i++) {
        yield* Effect.sleep(250)
        assert.isTrue(yield* Effect.promise(() => renewing.renew(worker)))
      }
      yield* store.renew(worker)
      yield* Effect.sleep(700)
      assert.isFalse(yield* Effect.promise(() => renewing.renew(worker)))
    }).pipe(Effect.scoped))
})
