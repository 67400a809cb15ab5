import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, Layer, Logger, ManagedRuntime, Redacted, Schema, Scope } from "effect"
import { Job, JobRunner, Scheduler } from "../../src/index.ts"
import {
  JobLimits,
  JobQueue,
  type JobStore,
  JobStorePostgres,
  JobStoreSqlite,
  JobWorker
} from "../../src/queue/index.ts"
import { chunks, concurrency, range, type Rival } from "./rival.ts"

/** Jobs with a tag and a key each. */
export interface Keyed {
  readonly keys: number
  /** All three bind: nothing else limits how much is taken at once, and each key has as much as it may. */
  readonly isLimited: boolean
}

const Bench = Job.make("job", { payload: { n: Schema.Int } })
const Tagged = Job.make("job", { payload: { n: Schema.Int }, tags: ["bench"] })

type Store = Layer.Layer<JobStore.JobStore, unknown>

/** How much it has at once, where it may take ahead. As much as graphile-worker has. */
const most = 500

export const postgres = (url: string): Store =>
  JobStorePostgres.layer().pipe(Layer.provide(PgClient.layer({ url: Redacted.make(url) })), Layer.orDie)

export const sqlite = (filename: string): Store => Layer.orDie(JobStoreSqlite.layer({ filename }))

export const tasklayer = async (store: Store, keyed?: Keyed): Promise<Rival> => {
  const runtime = ManagedRuntime.make(
    JobQueue.layer().pipe(Layer.provideMerge(store), Layer.provideMerge(Logger.layer([])))
  )
  const job = keyed === undefined ? Bench : Tagged
  if (keyed?.isLimited) {
    await runtime.runPromise(Effect.all([
      JobLimits.create("bench", { limit: most, rate: { count: 100_000, per: "1 second" } }),
      JobQueue.configure("default", { keyLimit: most / keyed.keys })
    ]))
  }
  const keyOf = (n: number) => keyed === undefined ? undefined : `key ${n % keyed.keys}`
  let scope: Scope.Closeable | undefined
  return {
    add: (n) => runtime.runPromise(job.enqueue({ n })),
    addAll: (count) =>
      chunks(count, (from, to) =>
        runtime.runPromise(
          keyed === undefined
            ? job.enqueueAll(range(from, to, (n) => ({ n })))
            : JobQueue.enqueueAll(range(from, to, (n) => ({ job, payload: { n }, options: { key: keyOf(n) } })))
        )),
    work: async (onJob, how) => {
      scope = Scope.makeUnsafe()
      // Under limits it would like twice what they let it have.
      const prefetch = how === "batched" ? (keyed?.isLimited ? 2 * most : most) - concurrency : 0
      const worker = JobWorker.layer({ concurrency, prefetch }).pipe(
        Layer.provide(Layer.mergeAll(job.toLayer(({ n }) => Effect.sync(() => onJob(n))), JobRunner.layerLocal)),
        Layer.provide(Scheduler.layerUnbounded)
      )
      await runtime.runPromise(Layer.buildWithScope(worker, scope))
    },
    stop: async () => {
      if (scope !== undefined) await Effect.runPromise(Scope.close(scope, Exit.void))
      scope = undefined
    }
  }
}
