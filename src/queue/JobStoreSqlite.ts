/**
 * Durable jobs in a SQLite file: no server, nothing to install, and all that the other stores are, on one machine.
 *
 * It is Node's own `node:sqlite` behind Effect's `SqlClient`, which the Layer provides too: a job that is enqueued within its `withTransaction`
 * exists if and only if what else was written there does. Several processes may share a file: SQLite lets one of them write at a time, and
 * each looks 20 times a second (for some microseconds) for what the others have done. A statement takes the event loop while it lasts; a turn is
 * one short transaction. Reads the `Clock`. Needs Node 22.16 or newer.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { orDie } from "../InvalidOptionError.ts"
import * as Client from "./internal/SqliteClient.ts"
import type { KeeperOptions } from "./internal/SqliteKeeper.ts"
import { migrate, migrations as allMigrations } from "./internal/SqliteSchema.ts"
import { BATCH, SqliteStore } from "./internal/SqliteStore.ts"
import { Watch } from "./internal/SqliteWatch.ts"
import { checkStoreOptions, type StoreOptions } from "./internal/StoreOptions.ts"
import {
  DuplicateKeyError,
  JobStore,
  JobStoreError,
  LeaseEndedError,
  QueueFullError,
  type Store
} from "./internal/StorePort.ts"

/** The client, over one connection to the file. */
export type SqliteClient = Client.SqliteClient
export const SqliteClient = Client.SqliteClient

export type ClientOptions = Client.Options
export type Options = StoreOptions & ClientOptions

/** The store and the client of its file, which is made where there is none. */
export const layer = (
  options: Options
): Layer.Layer<JobStore | SqliteClient | SqlClient, JobStoreError | SqlError> =>
  layerFrom(options).pipe(Layer.provideMerge(layerClient(options)))

/** The store in a file that has a client already. */
export const layerFrom = (options?: StoreOptions): Layer.Layer<JobStore, JobStoreError, SqliteClient> =>
  Layer.effect(JobStore, make(options))

/** The client alone. */
export const layerClient = (options: ClientOptions): Layer.Layer<SqliteClient | SqlClient, SqlError> =>
  Client.layer(options)

export const make = Effect.fnUntraced(
  function*(options?: StoreOptions): Effect.fn.Return<Store, JobStoreError, Scope | SqliteClient> {
    const { limits, queues, retention } = yield* orDie(() => checkStoreOptions("JobStoreSqlite.layer", options))
    const client = yield* SqliteClient
    const clock = yield* Clock.Clock
    yield* client.atomically((now) => migrate(client.db, now)).pipe(Effect.mapError(storeError("migrate")))
    const store = yield* Effect.try({
      try: () => toStore(client, new SqliteStore(client.db, retention), clock),
      catch: storeError("prepare")
    })
    for (const limit of limits) yield* store.setLimit(limit, { ifAbsent: true })
    for (const [name, settings] of queues) yield* store.setQueue(name, settings, { ifAbsent: true })
    return store
  }
)

/** What the store does to a file that is new to it, for those who look before they let it: it does so by itself. */
export const migrations: string = allMigrations.map(({ name, sql }, i) => `-- ${i + 1}: ${name}\n${sql.trim()}\n`).join(
  "\n"
)

const toStore = (client: SqliteClient, store: SqliteStore, clock: Clock.Clock): Store => {
  const watch = new Watch(client.db, () => store.news)
  /** One transaction, or a part of the caller's; then those who listen hear of it. */
  const step = <A, E = never>(
    operation: string,
    isOwn: (error: unknown) => error is E,
    f: () => A
  ): Effect.Effect<A, E | JobStoreError> =>
    client.atomically((now) => store.step(now, f)).pipe(
      Effect.mapError((error) => isOwn(error) ? error : storeError(operation)(error)),
      Effect.flatMap(({ answer, hasNews }) =>
        hasNews ? Effect.as(client.afterCommit(Effect.sync(watch.wake)), answer) : Effect.succeed(answer)
      )
    )
  const read = <A>(operation: string, f: () => A): Effect.Effect<A, JobStoreError> =>
    client.reading((now) => store.step(now, f).answer).pipe(Effect.mapError(storeError(operation)))
  const plain = <A>(operation: string, f: () => A) => step(operation, nothing, f)
  /** A batch a transaction, and others have their turn in between. */
  const inBatches = (operation: string, batch: () => number): Effect.Effect<number, JobStoreError> => {
    const from = (done: number): Effect.Effect<number, JobStoreError> =>
      Effect.flatMap(
        plain(operation, batch),
        (n) => n < BATCH ? Effect.succeed(done + n) : Effect.andThen(Effect.yieldNow, from(done + n))
      )
    return from(0)
  }
  const keeper: KeeperOptions = { filename: client.filename, busyMillis: client.busyMillis }
  return {
    kind,
    isInTransaction: Effect.withFiber((fiber) =>
      Effect.succeed(Context.getOrUndefined(fiber.context, client.transactionService) !== undefined)
    ),
    enqueue: (jobs) => step("enqueue", isRefusal, () => store.enqueue(jobs)),
    join: (joining) => plain("join", () => store.join(joining)),
    renew: (worker) => step("renew", isLeaseEnded, () => store.renew(worker)),
    turn: (turn) => step("turn", isLeaseEnded, () => store.turn(turn)),
    leave: (worker) => plain("leave", () => store.leave(worker)),
    sweep: Effect.suspend(() => {
      const from = (done: number): Effect.Effect<number, JobStoreError> =>
        Effect.flatMap(
          plain("sweep", () => store.sweep()),
          ({ hasMore, leases }) =>
            hasMore ? Effect.andThen(Effect.yieldNow, from(done + leases)) : Effect.succeed(done + leases)
        )
      return from(0)
    }),
    listen: (wake) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.try({ try: () => watch.listen(wake), catch: storeError("listen") }),
        (stop) => Effect.sync(stop)
      )),
    // Another thread cannot see what is in memory, and knows no other clock than the machine's.
    keeper: client.filename === ":memory:" || Math.abs(clock.currentTimeMillisUnsafe() - Date.now()) > 60_000
      ? undefined
      : { module: new URL(`./internal/SqliteKeeper${extension}`, import.meta.url).href, options: keeper },
    get: (id) => read("get", () => Option.fromUndefinedOr(store.get(id))),
    list: (filter = {}) => read("list", () => store.list(filter)),
    counts: read("counts", () => store.counts),
    workers: read("workers", () => store.workerRecords),
    cancel: (id) => plain("cancel", () => store.cancel(id)),
    redrive: (filter) => inBatches("redrive", () => store.redrive(filter)),
    prune: inBatches("prune", () => store.prune()),
    setLimit: (limit, options = {}) => plain("setLimit", () => store.setLimit(limit, options)),
    pauseLimit: (tag, millis) => plain("pauseLimit", () => store.pauseLimit(tag, millis)),
    limits: read("limits", () => store.limitInfos),
    removeLimit: (tag) => plain("removeLimit", () => store.removeLimit(tag)),
    setQueue: (name, settings, options = {}) => plain("setQueue", () => store.setQueue(name, settings, options))
  }
}

const kind = "sqlite"

const storeError = (operation: string) => (cause: unknown) => new JobStoreError({ kind, operation, cause })

const nothing = (_: unknown): _ is never => false
const isLeaseEnded = (error: unknown) => error instanceof LeaseEndedError
const isRefusal = (error: unknown) => error instanceof QueueFullError || error instanceof DuplicateKeyError

/** From source or compiled. */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."))
