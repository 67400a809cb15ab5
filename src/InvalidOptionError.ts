/** A value that cannot be, named: which function was given it, which field, the rule it breaks. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"

/**
 * The one error of bad values. A defect where the value is a literal of the program (the Layer is built, the effect runs), a typed failure
 * where it comes from outside. Reads `Scheduler.layer: maxParallelism must be an integer >= 1 or "unbounded", got 0`.
 */
export class InvalidOptionError extends Data.TaggedError("InvalidOptionError")<{
  /** The function that was given the value, as `Module.name`. */
  readonly where: string
  readonly field: string
  readonly rule: string
  readonly value: unknown
}> {
  override get message(): string {
    return `${this.where}: ${this.field} ${this.rule}, got ${Formatter.format(this.value)}`
  }
}

/** Turns a thrown `InvalidOptionError` into a defect. */
export const orDie = <A>(f: () => A): Effect.Effect<A> => {
  try {
    return Effect.succeed(f())
  } catch (error) {
    return Effect.die(error)
  }
}

/** Turns a thrown `InvalidOptionError` into a failure. */
export const orFail = <A>(f: () => A): Effect.Effect<A, InvalidOptionError> => {
  try {
    return Effect.succeed(f())
  } catch (error) {
    return error instanceof InvalidOptionError ? Effect.fail(error) : Effect.die(error)
  }
}
