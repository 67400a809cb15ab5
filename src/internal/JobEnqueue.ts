/** What is said of a job that is kept until a worker takes it. */
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Concurrency from "../Concurrency.ts"
import type { AnyJob } from "../Job.ts"
import type {
  DuplicateKeyError,
  InvalidPayloadError,
  JobStoreError,
  QueueFullError,
  UnknownJobError
} from "./JobErrors.ts"

/** `"atMostOnce"`: what has started is never run again; when its worker is lost it is dead, with the reason `Lost`. */
export type Delivery = "atLeastOnce" | "atMostOnce"

/** One job of a key at a time. */
export interface UniqueOptions {
  /** Default: `"active"`, until it has ended. `"waiting"`: until it starts. `{ window }`: for so long, whatever becomes of it. */
  readonly while?: "waiting" | "active" | { readonly window: Duration.Input } | undefined
  /**
   * When the key is taken: `"ignore"` (the default) answers with the job there is; `"replace"` gives that one what the new one has, or cancels
   * it where it has started; `"error"` is a `DuplicateKeyError`.
   */
  readonly conflict?: "ignore" | "replace" | "error" | undefined
}

/** How a job is kept. Given with the job, and with each `enqueue`. */
export interface KeptOptions {
  /** The queue it is put in. Default `"default"`. */
  readonly queue?: string | undefined
  /** Default `"atLeastOnce"`. */
  readonly delivery?: Delivery | undefined
  /** What has not started so long after it was put in ends as dead, with the reason `Expired`. Default: never. */
  readonly expires?: Duration.Input | undefined
  /** It is dead, with the reason `Crashed`, when so many of its attempts ended with their worker. An integer >= 1; default 10. */
  readonly maxCrashes?: number | undefined
}

/** Merged into what the job says: tags are added, the others replaced. */
export interface EnqueueOptions extends KeptOptions, Pick<Concurrency.Demand, "tags" | "weight" | "priority" | "key"> {
  /** Default: a fresh one. One that there is fails with `DuplicateKeyError`, for as long as the store remembers it. */
  readonly id?: string | undefined
  /** Due so much later, to the millisecond. Default: at once. */
  readonly delay?: Duration.Input | undefined
  /** Due at this time instead. */
  readonly at?: DateTime.DateTime.Input | undefined
  /** One job of this key at a time, among all of this name. Default: what the job's `unique` says, by its `idempotencyKey`. */
  readonly unique?: string | UniqueOptions & { readonly key: string } | undefined
}

export interface Enqueued {
  readonly id: string
  /** `"existing"`: by its unique key it was there. `"replaced"`: it was, and has what the new one has. */
  readonly as: "new" | "existing" | "replaced"
}

export type EnqueueError = InvalidPayloadError | JobStoreError | QueueFullError | DuplicateKeyError

export interface EnqueueRequest {
  /** Of a name the payload is encoded already. */
  readonly job: AnyJob | string
  readonly payload: unknown
  readonly options?: EnqueueOptions | undefined
}

/** Puts jobs where they are kept: all of these, or none. */
export interface Queue {
  readonly enqueue: (
    requests: ReadonlyArray<EnqueueRequest>
  ) => Effect.Effect<ReadonlyArray<Enqueued>, EnqueueError | UnknownJobError>
}
