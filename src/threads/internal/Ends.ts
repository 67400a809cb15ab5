/** How runs end, and how they are, for the other side. What a job's schemas know nothing of are our own errors. */
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { AdmissionError, type AdmissionReason } from "../../Concurrency.ts"
import * as Job from "../../Job.ts"
import type * as TaskRun from "../../TaskRun.ts"
import type { End, Known, State } from "./Wire.ts"

export const encodeEnd = (job: Job.AnyJob, exit: Exit.Exit<unknown, unknown>): Effect.Effect<End> => {
  if (Exit.isFailure(exit)) {
    for (const reason of exit.cause.reasons) {
      const known = reason._tag === "Interrupt"
        ? undefined
        : encodeKnown(reason._tag === "Fail" ? reason.error : reason.defect)
      if (known !== undefined) return Effect.succeed({ _tag: "Known", error: known, dies: reason._tag === "Die" })
    }
  }
  return Effect.map(Job.encodeExit(job, exit), (reply) => ({ _tag: "Reply", reply }))
}

export const decodeEnd = (job: Job.AnyJob, end: End): Effect.Effect<unknown, unknown> => {
  if (end._tag === "Reply") return Job.decodeReply(job, end.reply)
  const error = decodeKnown(end.error)
  return end.dies ? Effect.die(error) : Effect.fail(error)
}

const errors: Record<string, new(fields: any) => unknown> = {
  AdmissionError,
  InvalidPayloadError: Job.InvalidPayloadError,
  JobCrashedError: Job.JobCrashedError,
  UnknownJobError: Job.UnknownJobError
}

const encodeKnown = (error: unknown): Known | undefined => {
  if (Cause.isTimeoutError(error)) return { _tag: "TimeoutError", message: error.message } as Known
  for (const [tag, Error] of Object.entries(errors)) {
    if (!(error instanceof Error)) continue
    const { cause: _cause, ...fields } = error as object & { cause?: unknown }
    return error instanceof AdmissionError
      ? { ...fields, _tag: tag, reason: encodeReason(error.reason) } as Known
      : { ...fields, _tag: tag }
  }
  return undefined
}

const decodeKnown = ({ _tag, ...fields }: Known): unknown => {
  if (_tag === "TimeoutError") return new Cause.TimeoutError((fields as { message: string }).message)
  const { reason } = fields as { reason?: unknown }
  return new errors[_tag]!(_tag === "AdmissionError" ? { ...fields, reason: decodeReason(reason as never) } : fields)
}

const encodeReason = (reason: AdmissionReason): unknown =>
  reason._tag === "Timeout" ? { ...reason, after: Duration.toMillis(reason.after) } : reason

const decodeReason = (reason: AdmissionReason): AdmissionReason =>
  reason._tag === "Timeout" ? { ...reason, after: Duration.millis(reason.after as never) } : reason

// ─── states

export const encodeState = (job: Job.AnyJob, state: TaskRun.RunState): Effect.Effect<State> => {
  switch (state._tag) {
    case "Waiting":
      return Effect.succeed({
        _tag: "Waiting",
        for: state.for.map((reason) => "at" in reason ? { ...reason, at: DateTime.toEpochMillis(reason.at) } : reason)
      })
    case "Finished": {
      const { outcome } = state
      const exit = outcome._tag === "Succeeded" ? Exit.void : Exit.failCause(outcome.cause)
      return Effect.map(encodeEnd(job, exit), (end) => ({ _tag: "Finished", outcome: outcome._tag, end }))
    }
    default:
      return Effect.succeed(state)
  }
}

export const decodeState = (job: Job.AnyJob, state: State): Effect.Effect<TaskRun.RunState> => {
  switch (state._tag) {
    case "Waiting":
      return Effect.succeed({
        _tag: "Waiting",
        for: state.for.map((reason) => "at" in reason ? { ...reason, at: DateTime.makeUnsafe(reason.at) } : reason)
      })
    case "Finished":
      if (state.outcome === "Succeeded") return Effect.succeed({ _tag: "Finished", outcome: { _tag: "Succeeded" } })
      return Effect.map(Effect.exit(decodeEnd(job, state.end)), (exit): TaskRun.RunState => {
        const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
        const found = cause.reasons.find((reason) => reason._tag !== "Interrupt")
        const error = found?._tag === "Fail" ? found.error : found?.defect
        const more = state.outcome === "Aborted"
          ? { reason: (error as TaskRun.TaskAborted).reason }
          : state.outcome === "Refused"
          ? { error }
          : {}
        return { _tag: "Finished", outcome: { _tag: state.outcome, cause, ...more } as TaskRun.Outcome }
      })
    default:
      return Effect.succeed(state)
  }
}
