/** What can go wrong with a supervisor. */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Runtime from "effect/Runtime"

/** A supervisor that has begun to stop takes no new members. */
export class SupervisorClosed extends Data.TaggedError("SupervisorClosed")<{ readonly supervisor: string }> {
  override get message(): string {
    return `supervisor "${this.supervisor}" takes no new work`
  }
}

/** Something of that name was added already. */
export class NameTakenError extends Data.TaggedError("NameTakenError")<{
  readonly supervisor: string
  readonly name: string
}> {
  override get message(): string {
    return `supervisor "${this.supervisor}" has a member named "${this.name}" already`
  }
}

/**
 * What stopped the group: a member that failed (code 2), an essential one that ended (1), or `bailOut`. Under `runMain` the process exits
 * with `code`.
 */
export class SupervisorFailed extends Data.TaggedError("SupervisorFailed")<{
  readonly supervisor: string
  /** The member, or `"bailOut"`. */
  readonly name: string
  readonly reason: string
  readonly code: number
  readonly cause: Cause.Cause<unknown>
}> {
  override readonly [Runtime.errorExitCode]: number = this.code
  override get message(): string {
    return `supervisor "${this.supervisor}" was stopped by "${this.name}": ${this.reason}`
  }
}
