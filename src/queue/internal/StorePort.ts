/**
 * Where durable jobs are kept: the port that `JobQueue` puts them in and `JobWorker` takes them from.
 *
 * A store keeps jobs, the leases of the workers that have them, and the limits they run under, and nothing else decides who runs what: a claim is
 * one atomic step that sees every lease there is, so a limit holds for all machines at once. Delivery is by lease: each worker renews one lease
 * for all it has, each claim of a job gives it a token one higher than before, and what comes with an older token, or under a lease that has
 * ended, is refused. All times are the store's own, in milliseconds since 1970.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import type { Limit } from "../../Concurrency.ts"
import type { Delivery, DuplicateKeyError, Enqueued, JobStoreError, QueueFullError } from "../../Job.ts"

/** A place where jobs are kept. */
export class JobStore extends Context.Service<JobStore, Store>()("tasklayer/JobStore") {}

export interface Store {
  /** Says which, in logs and status: `"memory"`, `"sqlite"`, `"postgres"`. */
  readonly kind: string
  /** Whether an `enqueue` here would be part of a transaction of the caller: it must not wait for room then. Default: never. */
  readonly isInTransaction?: Effect.Effect<boolean> | undefined
  /**
   * Puts jobs in, all or none, in the transaction of the caller where there is one on this store. In the order given; what a unique key names
   * already is answered with that job.
   */
  readonly enqueue: (
    jobs: ReadonlyArray<NewJob>
  ) => Effect.Effect<ReadonlyArray<Enqueued>, JobStoreError | QueueFullError | DuplicateKeyError>

  // ─── for workers

  /** Begins a lease. */
  readonly join: (worker: Joining) => Effect.Effect<Lease, JobStoreError>
  /** Renews it for as long again. Never once it has ended, by whatever little. */
  readonly renew: (worker: string) => Effect.Effect<Lease, JobStoreError | LeaseEndedError>
  /**
   * Says how attempts ended, then claims: one atomic step. What waits is looked at in the order of law 5 (priority, fairness between keys, age),
   * and what a limit, a pause or a key's cap is in the way of blocks nobody else.
   */
  readonly turn: (turn: Turn) => Effect.Effect<Turned, JobStoreError | LeaseEndedError>
  /** Ends the lease; what the worker still has goes back at once, as if returned. Of one that has ended: nothing. */
  readonly leave: (worker: string) => Effect.Effect<void, JobStoreError>
  /**
   * Takes back what is held under leases that have ended, promotes what is due and ends what is expired; `turn` does so too. Returns how many
   * leases had ended.
   */
  readonly sweep: Effect.Effect<number, JobStoreError>
  /**
   * Calls `wake` when a turn might find something new, whoever caused it, also after a connection that was lost is back. Too often is allowed,
   * too seldom is not.
   */
  readonly listen: (wake: () => void) => Effect.Effect<void, JobStoreError, Scope>
  /** How a second thread renews a lease while the event loop of this one is blocked; without it, a lease is renewed from the event loop. */
  readonly keeper: Keeper | undefined

  // ─── for those who look after it

  readonly get: (id: string) => Effect.Effect<Option.Option<JobRecord>, JobStoreError>
  /** Newest first. */
  readonly list: (filter?: ListFilter) => Effect.Effect<ReadonlyArray<JobRecord>, JobStoreError>
  /** By queue and state. Queues without jobs or settings are not there. */
  readonly counts: Effect.Effect<ReadonlyArray<QueueCounts>, JobStoreError>
  readonly workers: Effect.Effect<ReadonlyArray<WorkerRecord>, JobStoreError>
  /** What waits ends as Cancelled; of what is active, its worker is told to interrupt it. False: there is no such job, or it had ended. */
  readonly cancel: (id: string) => Effect.Effect<boolean, JobStoreError>
  /** Dead jobs wait again, with their attempts and crashes counted from zero and their errors kept. Returns how many. */
  readonly redrive: (filter: RedriveFilter) => Effect.Effect<number, JobStoreError>
  /** Deletes what has been kept long enough, in batches. Returns how many. */
  readonly prune: Effect.Effect<number, JobStoreError>

  readonly setLimit: (limit: StoredLimit, options?: IfAbsent) => Effect.Effect<void, JobStoreError>
  /** Nothing that has the tag starts for so many milliseconds; zero ends a pause. Also of a tag without a limit. */
  readonly pauseLimit: (tag: string, millis: number) => Effect.Effect<void, JobStoreError>
  readonly limits: Effect.Effect<ReadonlyArray<StoredLimitInfo>, JobStoreError>
  /** False: there was none. */
  readonly removeLimit: (tag: string) => Effect.Effect<boolean, JobStoreError>
  /** What is left out stays as it is. */
  readonly setQueue: (name: string, settings: QueueSettings, options?: IfAbsent) => Effect.Effect<void, JobStoreError>
}

/** Leave alone what is there already: how a Layer's options reach a store that outlives it. */
export interface IfAbsent {
  readonly ifAbsent?: boolean | undefined
}

// ─── what goes in

export type { Delivery, Enqueued } from "../../Job.ts"

/** A job as it is put in: validated and encoded. */
export interface NewJob {
  readonly name: string
  /** JSON. */
  readonly payload: string
  readonly queue: string
  /** Sorted, each once. */
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  /** Lower goes first. */
  readonly priority: number
  readonly key: string | undefined
  /** `undefined`: the store names it. One that there is: `DuplicateKeyError`, for as long as the store remembers it. */
  readonly id: string | undefined
  /** Due so many milliseconds from now, or at a time; neither: at once. */
  readonly due: { readonly in: number } | { readonly at: number } | undefined
  /** When it has not started by then, it ends as dead: so many milliseconds after it was put in, or at a time. */
  readonly expires: { readonly in: number } | { readonly at: number } | undefined
  readonly delivery: Delivery
  /** After so many attempts that ended with their worker it is dead. */
  readonly maxCrashes: number
  readonly unique: Unique | undefined
  /** The span it was put in by: `traceparent` of W3C Trace Context. */
  readonly trace: string | undefined
}

/** One job of a key at a time. */
export interface Unique {
  /** Unique in the store: names what it is unique among too. */
  readonly key: string
  /** How long the key is taken: until it starts, until it ends, or so many milliseconds from when it was put in. */
  readonly while: "waiting" | "active" | { readonly window: number }
  /**
   * When it is taken: `"ignore"` answers with the job there is, `"replace"` gives that one what the new one has (payload, demand, due time), or
   * cancels it if it is active, and `"error"` is a `DuplicateKeyError`.
   */
  readonly conflict: "ignore" | "replace" | "error"
}

// ─── what workers say and are told

export interface Joining {
  /** For people: the machine, the process. */
  readonly name: string
  /** How long the lease lasts unless it is renewed, in milliseconds. */
  readonly lease: number
}

export interface Lease {
  /** The worker's own id: of this lease alone. */
  readonly worker: string
  /** Until then nobody else gets what the worker has. In milliseconds from when the request was sent. */
  readonly lasts: number
  /** Something may have to be swept in so many milliseconds: the lease of another ends then. */
  readonly sweepIn: number | undefined
}

export interface Turn {
  readonly worker: string
  readonly ends: ReadonlyArray<End>
  /**
   * All that the worker has, by id, what just ended left out: said after a turn whose answer never came. What the store has for it beyond that
   * goes back as if returned.
   */
  readonly holds?: ReadonlyArray<string> | undefined
  /**
   * Grows with each turn whose answer never came. A turn of a lower epoch than the store has seen of the lease comes late, after one that said
   * what the worker holds: it is refused as a whole, like one whose lease has ended. Default 0.
   */
  readonly epoch?: number | undefined
  /** Claim at most so many. */
  readonly want: number
  readonly filter: ClaimFilter
}

/** Each part narrows; left out, it does not. */
export interface ClaimFilter {
  readonly queues?: ReadonlyArray<string> | undefined
  /** Any of them. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** From the most urgent (lowest) to the least (highest), both included. */
  readonly priorities?: { readonly from?: number | undefined; readonly to?: number | undefined } | undefined
  readonly names?: ReadonlyArray<string> | undefined
}

/** How an attempt ended. */
export type End =
  | { readonly _tag: "Succeeded"; readonly id: string; readonly token: number; readonly result: string | undefined }
  /** Waits again, due in so many milliseconds. An attempt that failed. */
  | {
    readonly _tag: "Retry"
    readonly id: string
    readonly token: number
    readonly after: number
    readonly error: AttemptError
  }
  | {
    readonly _tag: "Dead"
    readonly id: string
    readonly token: number
    readonly reason: DeadReason
    readonly error: AttemptError | undefined
  }
  /** Was not run, or was interrupted for no fault of its own: waits again at the head of its line, and the attempt is not counted. */
  | { readonly _tag: "Returned"; readonly id: string; readonly token: number }
  | { readonly _tag: "Cancelled"; readonly id: string; readonly token: number }

export interface Turned {
  readonly jobs: ReadonlyArray<Claimed>
  /** Of `ends`: those that came too late, by their ids. Nothing of them was taken. */
  readonly refused: ReadonlyArray<string>
  /** What the worker has and is to interrupt: cancelled, or superseded by what has its unique key. */
  readonly cancelled: ReadonlyArray<string>
  /** Another turn may find more in so many milliseconds (zero: at once); `undefined`: not before `wake`. */
  readonly next: number | undefined
}

/** One attempt of one job, and the leave to run it. */
export interface Claimed {
  readonly id: string
  /** Grows with each claim of the job: what refuses an older one than it has seen is safe from the dead. */
  readonly token: number
  readonly name: string
  readonly payload: string
  readonly queue: string
  readonly tags: ReadonlyArray<string>
  readonly key: string | undefined
  readonly priority: number
  readonly weight: number
  readonly delivery: Delivery
  /** From 1. What was returned does not count, what crashed does. */
  readonly attempt: number
  /** Of the attempts before, oldest first; the last 100. */
  readonly errors: ReadonlyArray<AttemptError>
  readonly enqueuedAt: number
  readonly dueAt: number
  readonly trace: string | undefined
}

export interface AttemptError {
  readonly attempt: number
  readonly at: number
  readonly reason: DeadReason
  /** For people. */
  readonly message: string
  /** JSON: the cause as the job's schemas encode it, where there is one. */
  readonly cause?: string | undefined
}

/**
 * Why a job is dead: its last attempt Failed, Died, TimedOut or was Aborted or Refused; its payload or its name is not known where it was to run;
 * its workers Crashed too often; it Expired before it started; or it was to be run at most once and its worker was Lost.
 */
export type DeadReason =
  | "Failed"
  | "Died"
  | "TimedOut"
  | "Aborted"
  | "Refused"
  | "InvalidPayload"
  | "UnknownJob"
  | "Crashed"
  | "Expired"
  | "Lost"

/** A module that renews leases from another thread. */
export interface Keeper {
  /** The URL of a module whose `keep(options)` returns (a promise of) a `Renewing`. */
  readonly module: string
  /** Can be cloned. */
  readonly options: unknown
}

/** What `keep` returns. `renew` answers false when the lease has ended, and rejects when it could not be asked. */
export interface Renewing {
  readonly renew: (worker: string) => Promise<boolean>
  readonly close: () => Promise<void>
}

// ─── what can be seen

export type JobState = "Scheduled" | "Waiting" | "Active" | "Succeeded" | "Dead" | "Cancelled"

export interface JobRecord {
  readonly id: string
  readonly name: string
  readonly state: JobState
  readonly queue: string
  readonly tags: ReadonlyArray<string>
  readonly key: string | undefined
  readonly priority: number
  readonly weight: number
  readonly payload: string
  readonly delivery: Delivery
  /** Attempts begun and counted. */
  readonly attempt: number
  readonly crashes: number
  readonly errors: ReadonlyArray<AttemptError>
  readonly enqueuedAt: number
  readonly dueAt: number
  readonly expiresAt: number | undefined
  /** Who has it. */
  readonly worker: string | undefined
  /** Of the last attempt. */
  readonly claimedAt: number | undefined
  readonly endedAt: number | undefined
  /** Of a dead one. */
  readonly reason: DeadReason | undefined
  /** JSON, of one that succeeded. */
  readonly result: string | undefined
}

export interface ListFilter {
  readonly states?: ReadonlyArray<JobState> | undefined
  readonly queue?: string | undefined
  readonly name?: string | undefined
  /** Any of them. */
  readonly tags?: ReadonlyArray<string> | undefined
  readonly key?: string | undefined
  /** Default 100. */
  readonly limit?: number | undefined
  /** Older than this one: the last of the page before. */
  readonly before?: string | undefined
}

export interface RedriveFilter {
  readonly ids?: ReadonlyArray<string> | undefined
  readonly queue?: string | undefined
  readonly name?: string | undefined
  readonly reason?: DeadReason | undefined
}

export interface QueueCounts extends QueueSettings {
  readonly queue: string
  readonly scheduled: number
  readonly waiting: number
  readonly active: number
  readonly succeeded: number
  readonly dead: number
  readonly cancelled: number
}

export interface WorkerRecord {
  readonly id: string
  readonly name: string
  readonly joinedAt: number
  readonly expiresAt: number
  readonly active: number
}

// ─── limits and queues

/** A limit of one tag, for all workers together. */
export interface StoredLimit {
  readonly tag: string
  /** Zero: what has the tag waits. */
  readonly limit: Limit
  /** All must have room. `per` in milliseconds. Each is a token bucket that starts full. */
  readonly rates: ReadonlyArray<{ readonly count: number; readonly per: number; readonly burst: number }>
  readonly enabled: boolean
}

export interface StoredLimitInfo extends StoredLimit {
  /** The weight of what is active. */
  readonly active: number
  readonly holders: ReadonlyArray<{
    readonly job: string
    readonly name: string
    readonly weight: number
    readonly worker: string
    readonly since: number
  }>
  /** How much may start now, rate by rate. */
  readonly available: ReadonlyArray<number>
  readonly pausedUntil: number | undefined
}

export interface QueueSettings {
  /** Nothing of it is claimed. Default false. */
  readonly paused?: boolean | undefined
  /** How many may wait, those that are due later included. Default: no bound. */
  readonly maxQueued?: Limit | undefined
  /** How much one key may have active at once, by weight. Default: no cap. */
  readonly keyLimit?: Limit | undefined
}

/** For how long what has ended is kept, in milliseconds; zero: not at all. */
export interface Retention {
  readonly succeeded: number
  readonly cancelled: number
  readonly dead: number
}

// ─── what can go wrong

export { DuplicateKeyError, JobStoreError, QueueFullError } from "../../Job.ts"

/** The lease has ended: what the worker had is somebody else's. */
export class LeaseEndedError extends Data.TaggedError("LeaseEndedError")<{ readonly worker: string }> {
  override get message(): string {
    return `the lease of worker "${this.worker}" has ended`
  }
}
