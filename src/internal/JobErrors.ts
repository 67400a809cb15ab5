/** What can go wrong with a job, beside what its own schema says. */
import * as Data from "effect/Data"
import * as Formatter from "effect/Formatter"

/** This runner has no handler of that name. Nothing was queued. */
export class UnknownJobError extends Data.TaggedError("UnknownJobError")<{
  readonly job: string
  readonly known: ReadonlyArray<string>
}> {
  override get message(): string {
    const known = this.known.map((name) => `"${name}"`).join(", ")
    return `no handler for job "${this.job}": ${known === "" ? "there is none for any" : `there is one for ${known}`}`
  }
}

/** The payload is not what the job's schema says; `issue` says where and how. Nothing was queued. */
export class InvalidPayloadError extends Data.TaggedError("InvalidPayloadError")<{
  readonly job: string
  readonly issue: string
}> {
  override get message(): string {
    return `the payload of job "${this.job}" is invalid: ${this.issue}`
  }
}

/** The handler ended with what the job's schema does not allow: a defect of the handler. `cause` is the error it failed with. */
export class InvalidResultError extends Data.TaggedError("InvalidResultError")<{
  readonly job: string
  readonly end: "success" | "error"
  readonly issue: string
  readonly cause?: unknown
}> {
  override get message(): string {
    const ended = this.end === "success" ? "succeeded" : "failed"
    return `job "${this.job}" ${ended} with what its schema does not allow: ${this.issue}`
  }
}

/** Two handlers with one name. */
export class DuplicateJobError extends Data.TaggedError("DuplicateJobError")<{ readonly job: string }> {
  override get message(): string {
    return `job "${this.job}" has a handler already`
  }
}

/**
 * What the job ran in is gone, and the job with it. Arrives as a defect; with `retryCrashes` it is retried like a failure.
 *
 * `"exit"`: `process.exit` was called. `"error"`: an error nobody caught. `"outOfMemory"`: over its `resourceLimits`. `"signal"`: killed from
 * outside. `"unresponsive"`: killed, because it was to end and did not answer.
 */
export class JobCrashedError extends Data.TaggedError("JobCrashedError")<{
  readonly job: string
  readonly reason: "exit" | "error" | "outOfMemory" | "signal" | "unresponsive"
  /** The thread or process it ran in. */
  readonly host: string
  readonly exitCode?: number | undefined
  readonly signal?: string | undefined
  readonly detail?: string | undefined
}> {
  override get message(): string {
    const how = {
      exit: `exited with code ${this.exitCode}`,
      error: "ended with an error nobody caught",
      outOfMemory: "ran out of memory",
      signal: `was killed by ${this.signal}`,
      unresponsive: "did not answer and was killed"
    }[this.reason]
    return `job "${this.job}": ${this.host} ${how}${this.detail === undefined ? "" : `: ${this.detail}`}`
  }
}

/** The store of jobs could not be asked, or did not answer. Nothing is known of whether it did what was asked. */
export class JobStoreError extends Data.TaggedError("JobStoreError")<{
  readonly kind: string
  readonly operation: string
  readonly cause: unknown
}> {
  override get message(): string {
    return `job store (${this.kind}): ${this.operation} failed: ${
      this.cause instanceof Error ? this.cause.message : Formatter.format(this.cause)
    }`
  }
}

/** The queue has no room. Nothing was put in. */
export class QueueFullError extends Data.TaggedError("QueueFullError")<{
  readonly queue: string
  readonly maxQueued: number
}> {
  override get message(): string {
    return `queue "${this.queue}" is full: ${this.maxQueued} wait`
  }
}

/** The id or the unique key is taken. Nothing was put in. */
export class DuplicateKeyError extends Data.TaggedError("DuplicateKeyError")<{
  readonly field: "id" | "unique"
  readonly key: string
  /** The job that has it. */
  readonly job: string
}> {
  override get message(): string {
    return `${this.field} "${this.key}" is taken by job "${this.job}"`
  }
}
