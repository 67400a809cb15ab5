/** What every store can be given, checked and in the store's own units. */
import * as Duration from "effect/Duration"
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
  const { enabled = true, limit, rate = [], whileWaiting } = typeof input === "object" ? input : { limit: input }
  const field = `tag limit "${tag}"`
  checkLimit(where, field, limit, 0)
  if (whileWaiting === "hold") {
    const rule = `must not be "hold": a job that waits for others keeps what it has anyway`
    throw new InvalidOptionError({ where, field: `${field} whileWaiting`, rule, value: whileWaiting })
  }
  const rates = (Array.isArray(rate) ? rate : [rate]).map(({ burst, count, per }) => {
    if (!(count > 0 && Number.isFinite(count))) {
      throw new InvalidOptionError({ where, field: `${field} rate.count`, rule: "must be a number > 0", value: count })
    }
    const millis = checkMillis(where, `${field} rate.per`, per)
    if (millis === 0) {
      throw new InvalidOptionError({ where, field: `${field} rate.per`, rule: "must be a duration > 0", value: per })
    }
    if (burst !== undefined && !(burst >= 1 && Number.isFinite(burst))) {
      throw new InvalidOptionError({ where, field: `${field} rate.burst`, rule: "must be a number >= 1", value: burst })
    }
    return { count, per: millis, burst: burst ?? Math.max(1, count) }
  })
  return { tag, limit, rates, enabled }
}

/** Throws an `InvalidOptionError`. */
export const checkQueue = (where: string, name: string, settings: QueueSettings): QueueSettings => {
  const { keyLimit, maxQueued } = settings
  if (keyLimit !== undefined) checkLimit(where, `queue "${name}" keyLimit`, keyLimit, 1)
  if (maxQueued !== undefined) checkLimit(where, `queue "${name}" maxQueued`, maxQueued, 0)
  return settings
}

const checkLimit = (where: string, field: string, value: Limit, least: number): void => {
  if (value === "unbounded" || (Number.isSafeInteger(value) && value >= least)) return
  throw new InvalidOptionError({ where, field, rule: `must be an integer >= ${least} or "unbounded"`, value })
}

/** Throws an `InvalidOptionError`. Finite. */
export const checkMillis = (where: string, field: string, input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  const negative = (typeof input === "number" && !(input >= 0)) || (typeof input === "bigint" && input < 0n) ||
    (typeof input === "string" && input.trim().startsWith("-"))
  if (duration._tag === "Some" && !negative && Duration.isFinite(duration.value)) {
    return Duration.toMillis(duration.value)
  }
  throw new InvalidOptionError({ where, field, rule: "must be a finite duration >= 0", value: input })
}
