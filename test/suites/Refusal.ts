/** What an exit says of a refusal or a misuse, wherever it arrived: as a typed failure or as a defect. */
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { Concurrency, InvalidOptionError, TaskRun } from "../../src/index.ts"

const reasonsOf = (exit: Exit.Exit<unknown, unknown>) => Exit.isSuccess(exit) ? [] : exit.cause.reasons

const found = <A>(
  exit: Exit.Exit<unknown, unknown>,
  is: (u: unknown) => u is A,
  channel: "Fail" | "Die"
): A | undefined => {
  for (const reason of reasonsOf(exit)) {
    const value = Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
    if (reason._tag === channel && is(value)) return value
  }
  return undefined
}

const isAdmissionError = (u: unknown): u is Concurrency.AdmissionError => u instanceof Concurrency.AdmissionError
const isInvalidOption = (u: unknown): u is InvalidOptionError.InvalidOptionError =>
  u instanceof InvalidOptionError.InvalidOptionError
const isTaskAborted = (u: unknown): u is TaskRun.TaskAborted => u instanceof TaskRun.TaskAborted

/** The refusal an exit died of: how it arrives by default. */
export const died = (exit: Exit.Exit<unknown, unknown>) => found(exit, isAdmissionError, "Die")?.reason

/** The refusal an exit failed with: how it arrives under `Task.refusable`. */
export const failed = (exit: Exit.Exit<unknown, unknown>) => found(exit, isAdmissionError, "Fail")?.reason

/** The invalid option an exit died of. */
export const invalid = (exit: Exit.Exit<unknown, unknown>) => found(exit, isInvalidOption, "Die")

/** The invalid option an exit failed with, where values come from outside. */
export const invalidInput = (exit: Exit.Exit<unknown, unknown>) => found(exit, isInvalidOption, "Fail")

/** The reason a task gave for aborting itself. */
export const aborted = (exit: Exit.Exit<unknown, unknown>) => found(exit, isTaskAborted, "Die")?.reason

export const error = (exit: Exit.Exit<unknown, unknown>): unknown =>
  reasonsOf(exit).flatMap((reason) => Cause.isFailReason(reason) ? [reason.error] : [])[0]

export const defect = (exit: Exit.Exit<unknown, unknown>): unknown =>
  reasonsOf(exit).flatMap((reason) => Cause.isDieReason(reason) ? [reason.defect] : [])[0]

export const interrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
