/** What every store can be given, checked and in the store's own units. */
import * as Duration from "effect/Duration"
import * as Concurrency from "../../Concurrency.ts"
import type { Limit, TagLimit } from "../../Concurrency.ts"
import { InvalidOptionError } from "../../InvalidOptionError.ts"
import type { QueueSettings, Retention, StoredLimit } from "./StorePort.ts"

export interface StoreOptions {
  /** Limits of tags for all workers together, set where the store has none for the tag. */
  readonly tagLimits?: Readonly<Record<string, Limit | TagLimit>> | undefined
  /** By name; of each, only what the store does not have is set. */
  readonly queues?: Readonly<Record<string, QueueSettings>> | undefined
  /** How long what has ended is kept. Default: an hour; what is dead 30 days. */
  readonly retention?: {
    readonly succeeded?: Duration.Input | undefined
    readonly cancelled?: Duration.Input | undefined
    readonly dead?: Duration.Input | undefined
  } | undefined
}

export interface CheckedStoreOptions {
  readonly limits: ReadonlyArray<StoredLimit>
  readonly queues: ReadonlyArray<readonly [name: string, settings: QueueSettings]>
  readonly retention: Retention
}

/** Throws an `InvalidOptionError`. */
export const checkStoreOptions = (where: string, options: StoreOptions | undefined): CheckedStoreOptions => {
  const { queues = {}, retention = {}, tagLimits = {} } = options ?? {}
  const kept = (field: keyof Retention, otherwise: Duration.Input) =>
    checkMillis(where, `retention.${field}`, retention[field] ?? otherwise)
  return {
    limits: Object.entries(tagLimits).map(([tag, limit]) => toStoredLimit(where, tag, limit)),
    queues: Object.entries(queues).map(([name, settings]) => [name, checkQueue(where, name, settings)]),
    retention: {
      succeeded: kept("succeeded", "1 hour"),
      cancelled: kept("cancelled", "1 hour"),
      dead: kept("dead", "30 days")
    }
  }
}

/** Throws an `InvalidOptionError`. */
export const toStoredLimit = (where: string, tag: string, input: Limit | TagLimit): StoredLimit => {
  const { enabled = true, limit, rate, whileWaiting } = Concurrency.checkTagLimit(where, tag, input)
  if (whileWaiting === "hold") {
    const rule = `must not be "hold": a job that waits for others keeps what it has anyway`
    throw new InvalidOptionError({ where, field: `tag limit "${tag}" whileWaiting`, rule, value: whileWaiting })
  }
  return { tag, limit, rates: Concurrency.windowsOf(where, tag, rate), enabled }
}

/** Throws an `InvalidOptionError`. */
export const checkQueue = (where: string, name: string, settings: QueueSettings): QueueSettings => {
  const { keyLimit, maxQueued, paused = false } = settings
  if (typeof paused !== "boolean") {
    const rule = "must be true or false"
    throw new InvalidOptionError({ where, field: `queue "${name}" paused`, rule, value: paused })
  }
  if (keyLimit !== undefined) Concurrency.checkLimit(where, `queue "${name}" keyLimit`, 1, keyLimit)
  if (maxQueued !== undefined) Concurrency.checkLimit(where, `queue "${name}" maxQueued`, 0, maxQueued)
  return settings
}

/** Throws an `InvalidOptionError`. Finite. */
export const checkMillis = (where: string, field: string, input: Duration.Input): number => {
  const millis = Duration.toMillis(Concurrency.checkDuration(where, field, input))
  if (millis !== Infinity) return millis
  throw new InvalidOptionError({ where, field, rule: "must be finite", value: input })
}

/** Throws an `InvalidOptionError`. */
export const checkInteger = (where: string, field: string, value: number, least: number): number => {
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new InvalidOptionError({ where, field, rule: `must be an integer >= ${least}`, value })
}
