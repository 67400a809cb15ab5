/** Where durable jobs are kept: the port of every store, and the store that a URL names. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlError } from "effect/sql/SqlError"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { StoreOptions } from "./internal/StoreOptions.ts"
import type { JobStore, JobStoreError } from "./internal/StorePort.ts"

export type { StoreOptions } from "./internal/StoreOptions.ts"
export * from "./internal/StorePort.ts"

/**
 * The store at `memory:`, `sqlite:jobs.db` (a path, or `:memory:`) or `postgres://user@host/database`; only its module is loaded. Whoever writes
 * in the transaction of their own data needs the client too: `JobStoreSqlite.layer`, `JobStorePostgres.layer`.
 */
export const layerUrl = (
  url: string,
  options?: StoreOptions
): Layer.Layer<JobStore, InvalidOptionError | JobStoreError | SqlError> =>
  Layer.unwrap(Effect.suspend((): Effect.Effect<StoreLayer, InvalidOptionError> => {
    const [, scheme, rest = ""] = /^([a-z]+):(.*)$/is.exec(url) ?? []
    switch (scheme) {
      case "memory":
        return Effect.promise(async () => (await import("./JobStoreMemory.ts")).layer(options))
      case "sqlite":
        if (rest === "") return invalid("must name a file after sqlite:", url)
        return Effect.promise(async () =>
          (await import("./JobStoreSqlite.ts")).layer({ ...options, filename: rest.replace(/^\/\/(?=\/)/, "") })
        )
      case "postgres":
      case "postgresql":
        return Effect.promise(async () => (await import("./JobStorePostgres.ts")).layerUrl(url, options))
      default:
        return invalid("must begin with memory:, sqlite: or postgres:", url)
    }
  }))

type StoreLayer = Layer.Layer<JobStore, JobStoreError | SqlError>

const invalid = (rule: string, value: string) =>
  // It may have a password.
  Effect.fail(new InvalidOptionError({ where: "JobStore.layerUrl", field: "url", rule, value: value.split("//")[0] }))
