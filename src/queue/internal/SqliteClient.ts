/**
 * Effect's `SqlClient` over Node's `node:sqlite`: one connection, in WAL mode, and synchronous transactions on it.
 *
 * A statement takes the event loop for as long as it lasts. What another process has locked does not: the file is asked again until
 * `busyTimeout` is over.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { Scope } from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Sql from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite"
import { InvalidOptionError, orDie } from "../../InvalidOptionError.ts"
import { checkMillis } from "./StoreOptions.ts"

export interface Options {
  /** A path, made where there is none, or `":memory:"`. */
  readonly filename: string
  /**
   * `"NORMAL"`, the default: whatever happens to the process, what was committed is kept; when the machine loses power, the last commits may be
   * gone (never half of one, and the file stays sound). `"FULL"`: not those either, for one fsync a commit.
   */
  readonly synchronous?: "NORMAL" | "FULL" | undefined
  /** How long to go on asking while another process has the file locked. Default 5 seconds. */
  readonly busyTimeout?: Duration.Input | undefined
}

/** The client, and what the store does with it that no `SqlClient` can. */
export interface SqliteClient extends Sql.SqlClient {
  readonly filename: string
  readonly busyMillis: number
  readonly db: DatabaseSync
  /**
   * Runs `f` in one transaction, that of the caller where there is one, with the time. What it throws is the failure, and undoes all it did.
   */
  readonly atomically: <A>(f: (now: number) => A) => Effect.Effect<A, unknown>
  /** The same for what only reads: it sees the file at one instant, and nobody who writes is in its way. */
  readonly reading: <A>(f: (now: number) => A) => Effect.Effect<A, unknown>
}

export const SqliteClient = Context.Service<SqliteClient>("tasklayer/SqliteClient")

export const layer = (options: Options): Layer.Layer<SqliteClient | Sql.SqlClient, SqlError> =>
  Layer.effectContext(
    Effect.map(make(options), (client) => Context.make(SqliteClient, client).pipe(Context.add(Sql.SqlClient, client)))
  ).pipe(Layer.provide(Reactivity.layer))

/** Rows as lists. Those with names are records that V8 takes for dictionaries: made and read several times as slowly. */
export const asArrays = (statement: StatementSync): StatementSync => {
  statement.setReturnArrays(true)
  return statement
}

/** SQLite waits for so long by itself, and the event loop with it. */
const BLOCKING_MILLIS = 5
const STATEMENTS_KEPT = 200

interface SqliteConnection extends Connection {
  readonly db: DatabaseSync
}

export const make = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<SqliteClient, SqlError, Scope | Reactivity.Reactivity> {
  const patience = yield* orDie(() => {
    const where = "JobStoreSqlite.layer"
    const { busyTimeout = "5 seconds", synchronous: value = "NORMAL" } = options
    if (value !== "NORMAL" && value !== "FULL") {
      throw new InvalidOptionError({ where, field: "synchronous", rule: `must be "NORMAL" or "FULL"`, value })
    }
    return checkMillis(where, "busyTimeout", busyTimeout)
  })
  const db = yield* Effect.acquireRelease(
    whenFree(patience, () => open(options)).pipe(Effect.mapError(sqlError("connect"))),
    (db) => Effect.sync(() => db.close())
  )
  const cache = new Map<string, StatementSync>()
  const prepare = (sql: string, isKept: boolean): StatementSync => {
    const kept = cache.get(sql)
    if (kept !== undefined) {
      cache.delete(sql)
      cache.set(sql, kept)
      return kept
    }
    const statement = db.prepare(sql)
    if (isKept) {
      cache.set(sql, statement)
      if (cache.size > STATEMENTS_KEPT) cache.delete(cache.keys().next().value!)
    }
    return statement
  }
  const run = (
    sql: string,
    params: ReadonlyArray<unknown>,
    mode: "rows" | "raw" | "values",
    isKept: boolean
  ): Effect.Effect<any, SqlError> =>
    Effect.withFiber((fiber) =>
      whenFree(patience, () => {
        const statement = prepare(sql, isKept)
        statement.setReadBigInts(fiber.getRef(Sql.SafeIntegers))
        const values = params as Array<SQLInputValue>
        if (statement.columns().length === 0) {
          const result = statement.run(...values)
          return mode === "raw" ? result : []
        }
        statement.setReturnArrays(mode === "values")
        return statement.all(...values)
      }, db).pipe(Effect.mapError(sqlError("execute")))
    )
  const connection: SqliteConnection = {
    db,
    execute: (sql, params, transform) => transformed(run(sql, params, "rows", true), transform),
    executeRaw: (sql, params) => run(sql, params, "raw", true),
    executeValues: (sql, params) => run(sql, params, "values", true),
    executeValuesUnprepared: (sql, params) => run(sql, params, "values", false),
    executeUnprepared: (sql, params, transform) => transformed(run(sql, params, "rows", false), transform),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.map(transformed(run(sql, params, "rows", true), transform), (rows) => Stream.fromIterable(rows))
      )
  }
  const client = yield* Sql.make({
    ...Sql.makeSqliteAcquirers({
      connection: Effect.succeed(connection),
      semaphore: Semaphore.makeUnsafe(1),
      isTransaction: ({ db }) => db.isTransaction
    }),
    compiler: Statement.makeCompilerSqlite(),
    driver: "node-sqlite",
    beginTransaction: "BEGIN IMMEDIATE",
    prepareTransactionControls: true,
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"]]
  })

  const writing = transaction(db, "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
  const reading = transaction(db, "BEGIN", "COMMIT", "ROLLBACK")
  const joined = transaction(
    db,
    "SAVEPOINT tasklayer",
    "RELEASE tasklayer",
    "ROLLBACK TO tasklayer; RELEASE tasklayer"
  )
  const within = (own: typeof writing) => <A>(f: (now: number) => A) =>
    Effect.withFiber<A, unknown>((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const step = () => f(clock.currentTimeMillisUnsafe())
      if (Context.getOrUndefined(fiber.context, client.transactionService) !== undefined) {
        return whenFree(0, () => joined(step), db)
      }
      const alone = Effect.suspend(() => whenFree(patience, () => own(step), db))
      // Nothing comes in between a synchronous transaction: only one that is open is in the way.
      return db.isTransaction ? Effect.scoped(Effect.andThen(client.reserve, alone)) : alone
    })
  return Object.assign(client, {
    filename: options.filename,
    busyMillis: patience,
    db,
    atomically: within(writing),
    reading: within(reading)
  })
})

const open = ({ filename, synchronous = "NORMAL" }: Options): DatabaseSync => {
  const db = new DatabaseSync(filename, { timeout: BLOCKING_MILLIS })
  try {
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}; PRAGMA temp_store = MEMORY`)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

const transaction = (db: DatabaseSync, begin: string, commit: string, rollback: string) => {
  const begun = db.prepare(begin)
  const committed = db.prepare(commit)
  return <A>(f: () => A): A => {
    begun.run()
    try {
      const a = f()
      committed.run()
      return a
    } catch (error) {
      // A full disk, among others, has undone the transaction already.
      if (db.isTransaction) db.exec(rollback)
      throw error
    }
  }
}

/** Asks again while another process has the file: before a transaction that is safe, in one nothing is locked any more. */
const whenFree = <A>(patience: number, f: () => A, db?: DatabaseSync): Effect.Effect<A, unknown> =>
  Effect.suspend(() => {
    const start = performance.now()
    const attempt: Effect.Effect<A, unknown> = Effect.suspend(() => {
      try {
        return Effect.succeed(f())
      } catch (error) {
        return isBusy(error) && db?.isTransaction !== true && performance.now() - start < patience
          ? Effect.andThen(aMoment, attempt)
          : Effect.fail(error)
      }
    })
    return attempt
  })

/** In real time, whatever the Clock: it is for another process. At random, so that two of them do not go in step. */
const aMoment = Effect.callback<void>((resume) => {
  const timer = setTimeout(() => resume(Effect.void), 1 + Math.random() * 4)
  return Effect.sync(() => clearTimeout(timer))
})

const SQLITE_BUSY = 5

const isBusy = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "errcode" in error &&
  ((error.errcode as number) & 0xff) === SQLITE_BUSY

const sqlError = (operation: string) => (cause: unknown): SqlError => {
  // What `classifySqliteError` goes by.
  if (typeof cause === "object" && cause !== null && "errcode" in cause) Object.assign(cause, { errno: cause.errcode })
  const message = operation === "connect" ? "Failed to open database" : "Failed to execute statement"
  return new SqlError({ reason: classifySqliteError(cause, { message, operation }) })
}

const transformed = (
  rows: Effect.Effect<any, SqlError>,
  transform: ((rows: ReadonlyArray<any>) => ReadonlyArray<any>) | undefined
): Effect.Effect<any, SqlError> => transform === undefined ? rows : Effect.map(rows, transform)
