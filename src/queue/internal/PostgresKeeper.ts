/** Renews leases from another thread, over a connection of its own. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import { quote } from "./PostgresSchema.ts"
import type { Renewing } from "./StorePort.ts"

/** What can be cloned of how the client connects. */
export interface KeeperOptions {
  readonly schema: string
  readonly config: Omit<PgClient.PgClientConfig, "url" | "password" | "stream" | "types"> & {
    readonly url: string | undefined
    readonly password: string | undefined
  }
}

/** `undefined`: a client that was made from functions is not to be had twice. */
export const keeperOptions = (schema: string, config: PgClient.PgClientConfig): KeeperOptions | undefined => {
  const { applicationName, connectTimeout, database, host, keepAlive, password, path, port, prepare, ssl, username } =
    config
  const { startupOptions, startupParameters, stream, url } = config
  if (stream !== undefined || Effect.isEffect(password)) return undefined
  const options: KeeperOptions = {
    schema,
    config: {
      ...{ applicationName, connectTimeout, database, host, keepAlive, path, port, prepare, ssl, username },
      ...{ startupOptions, startupParameters },
      url: url && Redacted.value(url),
      password: password && Redacted.value(password)
    }
  }
  try {
    structuredClone(options)
    return options
  } catch {
    return undefined
  }
}

export const keep = ({ config, schema }: KeeperOptions): Renewing => {
  const { password, url, ...rest } = config
  const runtime = ManagedRuntime.make(PgClient.layer({
    ...rest,
    url: url === undefined ? undefined : Redacted.make(url),
    password: password === undefined ? undefined : Redacted.make(password),
    maxConnections: 1
  }))
  return {
    renew: (worker) =>
      runtime.runPromise(Effect.gen(function*() {
        const pg = yield* PgClient.PgClient
        const [row] = yield* pg.unsafe(`select lasts from ${quote(schema)}.renew_lease($1)`, [BigInt(worker)]).values
        return row![0] !== null
      })),
    close: () => runtime.dispose()
  }
}
