/** What the end of an attempt is to the store: done, to be tried again, dead, returned, cancelled. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { AdmissionError } from "../../Concurrency.ts"
import * as Job from "../../Job.ts"
import * as Task from "../../Task.ts"
import { TaskAborted } from "../../TaskRun.ts"
import type { AttemptError, Claimed, DeadReason, End } from "./StorePort.ts"

/** What the worker knows of a job, beside its name. */
export interface Known {
  readonly job: Job.AnyJob
  /** Provides what its schemas need. */
  readonly within: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

export const succeeded = ({ id, token }: Claimed, value: unknown): End => ({
  _tag: "Succeeded",
  id,
  token,
  // What a job without a success schema ends with is no JSON value.
  result: JSON.stringify(value)
})

/** Of one that ignored its interruption and was given up: it may go on, and nobody will hear how it ended. */
export const abandoned = ({ attempt, delivery, id, token }: Claimed, at: number): End =>
  delivery === "atLeastOnce" ? { _tag: "Returned", id, token } : {
    _tag: "Dead",
    id,
    token,
    reason: "Lost",
    error: { attempt, at, reason: "Lost", message: "it ignored its interruption and was given up" }
  }

/** What an interruption was for: a stop of the worker, before or after it began; a cancellation; lost is what somebody else interrupted. */
export type InterruptedAs = "Unbegun" | "Returned" | "Cancelled" | "Lost"

/** Never fails: a policy that dies is the end of the job. */
export const endOf = (
  claimed: Claimed,
  known: Known | undefined,
  exit: Exit.Exit<unknown, unknown>,
  interruptedAs: InterruptedAs
): Effect.Effect<End> =>
  Effect.catchCause(told(claimed, known, exit, interruptedAs), (cause) => dead(claimed, "Died", cause))

const told = (
  claimed: Claimed,
  known: Known | undefined,
  exit: Exit.Exit<unknown, unknown>,
  interruptedAs: InterruptedAs
): Effect.Effect<End> => {
  const { delivery, id, token } = claimed
  if (Exit.isSuccess(exit)) return Effect.succeed(succeeded(claimed, exit.value))
  const { cause } = exit
  const reason = reasonOf(cause)
  if (reason === "SchedulerClosed") return Effect.succeed({ _tag: "Returned", id, token })
  if (reason === "Interrupted") {
    if (interruptedAs === "Cancelled") return Effect.succeed({ _tag: "Cancelled", id, token })
    if (interruptedAs === "Unbegun") return Effect.succeed({ _tag: "Returned", id, token })
    if (delivery === "atMostOnce") return dead(claimed, "Lost", cause)
    return interruptedAs === "Returned" ? Effect.succeed({ _tag: "Returned", id, token }) : afterLoss(claimed, cause)
  }
  if (delivery === "atMostOnce" || !isRetried(reason, cause, known)) return dead(claimed, reason, cause)
  return Effect.flatMap(errorOf(claimed, reason, cause), (error) =>
    Effect.map(
      delayAfter(known!, [...claimed.errors, error]),
      (after): End =>
        after === undefined
          ? { _tag: "Dead", id, token, reason, error }
          : { _tag: "Retry", id, token, after, error }
    ))
}

/** As if what it ran in had crashed: tried again, but not for ever. */
const afterLoss = (claimed: Claimed, cause: Cause.Cause<unknown>): Effect.Effect<End> =>
  claimed.errors.filter(({ reason }) => reason === "Crashed").length >= 9
    ? dead(claimed, "Crashed", cause)
    : Effect.map(
      errorOf(claimed, "Crashed", cause),
      (error): End => ({ _tag: "Retry", id: claimed.id, token: claimed.token, after: 1000, error })
    )

const dead = (claimed: Claimed, reason: DeadReason, cause: Cause.Cause<unknown>): Effect.Effect<End> =>
  Effect.map(
    errorOf(claimed, reason, cause),
    (error): End => ({ _tag: "Dead", id: claimed.id, token: claimed.token, reason, error })
  )

/** The first that is not an interruption counts: what else there is came with it. */
const reasonOf = (cause: Cause.Cause<unknown>): DeadReason | "Interrupted" | "SchedulerClosed" => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Fail") return failureOf(reason.error)
    if (reason._tag === "Die") return defectOf(reason.defect)
  }
  return "Interrupted"
}

const failureOf = (error: unknown): DeadReason | "SchedulerClosed" => {
  if (Cause.isTimeoutError(error)) return "TimedOut"
  if (error instanceof Job.UnknownJobError) return "UnknownJob"
  if (error instanceof Job.InvalidPayloadError) return "InvalidPayload"
  return error instanceof AdmissionError ? refusalOf(error) : "Failed"
}

const defectOf = (defect: unknown): DeadReason | "SchedulerClosed" => {
  if (defect instanceof TaskAborted) return "Aborted"
  if (defect instanceof AdmissionError) return refusalOf(defect)
  // From another thread it has its name, and not its class.
  return defect instanceof Error && defect.name === "InvalidPayloadError" ? "InvalidPayload" : "Died"
}

const refusalOf = ({ reason }: AdmissionError) => reason._tag === "SchedulerClosed" ? "SchedulerClosed" : "Refused"

const isRetried = (reason: DeadReason, cause: Cause.Cause<unknown>, known: Known | undefined): boolean => {
  if (known?.job.options.retry === undefined) return false
  if (reason === "Failed" || reason === "TimedOut") return true
  return reason === "Died" && known.job.options.retryCrashes === true &&
    cause.reasons.some((reason) => reason._tag === "Die" && reason.defect instanceof Job.JobCrashedError)
}

// ─── what is kept of an error

const errorOf = (
  { attempt }: Claimed,
  reason: DeadReason,
  cause: Cause.Cause<unknown>
): Effect.Effect<AttemptError> =>
  Effect.flatMap(Clock.currentTimeMillis, (at) => {
    const error: AttemptError = { attempt, at, reason, message: messageOf(cause) }
    return reason === "Failed" || reason === "Died"
      ? Effect.map(Job.encodeExit(untyped, Exit.failCause(cause)), (reply) =>
        reply._tag === "Failure" ? { ...error, cause: JSON.stringify(reply.cause) } : error)
      : Effect.succeed(error)
  })

/** Run by its name, a job fails with what its schema has encoded already. */
const untyped = Job.make("job", { error: Schema.Json })

const messageOf = (cause: Cause.Cause<unknown>): string => {
  for (const reason of cause.reasons) {
    const error = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    if (error === undefined) continue
    if (error instanceof Error) return `${error.name}: ${error.message}`
    if (typeof error === "string") return error
    const { _tag, message } = Object(error)
    if (typeof _tag === "string") return typeof message === "string" && message !== "" ? `${_tag}: ${message}` : _tag
    return JSON.stringify(error) ?? String(error)
  }
  return "interrupted"
}

// ─── when it is tried again

/**
 * How long after the last of these errors the next attempt is due, if there is one. A schedule's state is not kept: it is told of every failure
 * anew, as it was. Of those that are kept no more, the oldest kept stands in for each.
 */
const delayAfter = (known: Known, errors: ReadonlyArray<AttemptError>): Effect.Effect<number | undefined> =>
  Effect.gen(function*() {
    const failures = errors.filter(({ reason }) => reason !== "Crashed")
    const inputs = yield* Effect.forEach(failures, (error) => inputOf(known, error))
    const next = yield* Schedule.toStep(Task.toSchedule<unknown>(known.job.options.retry))
    const forgotten = Math.max(0, errors[0]!.attempt - 1)
    let delay: number | undefined
    for (let i = -forgotten; i < failures.length; i++) {
      const at = Math.max(0, i)
      const step = yield* Effect.exit(next(failures[at]!.at, inputs[at]))
      if (Exit.isFailure(step)) return undefined
      delay = Duration.toMillis(step.value[1])
    }
    return delay
  })

/** The error itself, as the handler failed with it. */
const inputOf = ({ job, within }: Known, { cause, reason }: AttemptError): Effect.Effect<unknown> => {
  if (reason === "TimedOut" || cause === undefined) return Effect.succeed(new Cause.TimeoutError())
  return Effect.map(
    Effect.exit(within(Job.decodeReply(job, { _tag: "Failure", cause: JSON.parse(cause) }))),
    (exit) => Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  )
}
