/** Attempts of one run: each with its own time limit, scope and admission. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "../Scheduler.ts"

/** Interrupts the attempt so long after it started. */
export const timed = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<A, E | Cause.TimeoutError, R> =>
  Effect.suspend(() => {
    const duration = Duration.fromInputUnsafe(limit)
    return Effect.timeoutOrElse(body, {
      duration,
      orElse: () =>
        Effect.withFiber((fiber) => {
          const run = Scheduler.currentRun(fiber.context)
          if (run !== undefined) run.ending = "timedOut"
          return Effect.fail(new Cause.TimeoutError(`timed out after ${Duration.format(duration)}`))
        })
    })
  })

/** Retries within the run: after a failure all it holds is given back, and the next attempt asks anew. */
export const attempts = <A, E, R>(body: Effect.Effect<A, E, R>, policy: unknown): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const run = Scheduler.currentRun(fiber.context)
    if (run === undefined) return Effect.retry(body, policy as Schedule.Schedule<unknown, E>)
    let first = true
    let cause: Cause.Cause<unknown> = Cause.empty
    const once = Effect.onExit(body, (exit) => {
      if (Exit.isSuccess(exit)) return Effect.void
      cause = exit.cause
      return run.closeAttempt(exit)
    })
    const attempt = Effect.suspend(() => {
      if (first) {
        first = false
        return once
      }
      run.ending = ""
      return Effect.andThen(run.readmit(), once)
    })
    // Applied last, so that it is only told of attempts that really follow.
    const schedule = Schedule.modifyDelay(toSchedule<E>(policy), (step) =>
      Effect.sync(() => {
        run.backOff(cause, step.duration)
        return step.duration
      }))
    return Effect.retry(attempt, schedule)
  })

/** What `Effect.retry` makes of its argument. @internal */
export const toSchedule = <E>(policy: unknown): Schedule.Schedule<unknown, E> => {
  if (typeof policy === "function") return policy((schedule: unknown) => schedule)
  if (Schedule.isSchedule(policy)) return policy as Schedule.Schedule<unknown, E>
  const options = policy as Effect.Retry.Options<E>
  let schedule: Schedule.Schedule<any, any, any, any> = options.schedule ?? Schedule.forever
  const condition = (test: (error: E) => boolean | Effect.Effect<boolean, any, any>, wanted: boolean) =>
    Schedule.while(schedule, ({ input }) => {
      const result = test(input as E)
      return Effect.map(Effect.isEffect(result) ? result : Effect.succeed(result), (is) => is === wanted)
    })
  if (options.while !== undefined) schedule = condition(options.while, true)
  if (options.until !== undefined) schedule = condition(options.until, false)
  const { times } = options
  if (times !== undefined) schedule = Schedule.while(schedule, ({ attempt }) => Effect.succeed(attempt <= times))
  return schedule as Schedule.Schedule<unknown, E>
}
