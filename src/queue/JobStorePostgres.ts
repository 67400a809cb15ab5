/**
 * Durable jobs in PostgreSQL: many machines, one store.
 *
 * It lives in a schema of its own beside your tables and goes through your `PgClient`, so that a job that is enqueued within its
 * `withTransaction` exists if and only if what else was written there does. A turn is one function call. Whoever waits is woken by
 * `LISTEN`/`NOTIFY`. All times are the database's. Needs PostgreSQL 14 or later, and the package `@effect/sql-pg`.
 */
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Schema from "./internal/PostgresSchema.ts"
import type { Options } from "./internal/PostgresStore.ts"
import { JobStore, type JobStoreError } from "./internal/StorePort.ts"

export type { Options } from "./internal/PostgresStore.ts"

/** The store in the database of the client in context. */
export const layer = (options?: Options): Layer.Layer<JobStore, JobStoreError, PgClient> =>
  Layer.effect(
    JobStore,
    Effect.flatMap(Effect.promise(() => import("./internal/PostgresStore.ts")), ({ make }) => make(options))
  )

/** The store, and the client it is reached by: one of up to 10 connections. */
export const layerUrl = (
  url: string,
  options?: Options
): Layer.Layer<JobStore | PgClient | SqlClient, JobStoreError | SqlError> =>
  layer(options).pipe(Layer.provideMerge(Layer.unwrap(
    Effect.map(
      Effect.promise(() => import("@effect/sql-pg/PgClient")),
      (PgClient) => PgClient.layer({ url: Redacted.make(url), applicationName: "tasklayer", keepAlive: "10 seconds" })
    )
  )))

/** What it applies to a database, version by version, for those who would rather do so themselves. */
export const migrations = (
  options?: { readonly schema?: string | undefined }
): ReadonlyArray<Schema.Migration> => {
  const schema = options?.schema ?? Schema.defaultSchema
  return Schema.migrations(schema).map((one, i) => i === 0 ? { ...one, sql: Schema.preamble(schema) + one.sql } : one)
}
