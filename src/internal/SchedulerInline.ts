/** Runs a body in the fiber that asked. Tag limits and refusals hold; there is no pool and no queue. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Concurrency from "../Concurrency.ts"
import type { ForkOptions } from "../Scheduler.ts"
import type { Core } from "./SchedulerCore.ts"
import type { Run } from "./SchedulerRun.ts"

/** Submits, waits for the tags, runs the body, and returns the finished run. Counts as a wait of the run it is called from. */
export const inlineFork = <A, E, R>(
  core: Core,
  effect: Effect.Effect<A, E, R>,
  options: ForkOptions | undefined
): Effect.Effect<Run<A, E>> =>
  Effect.withFiber((fiber) =>
    Effect.flatMap(core.prepare<A, E, R>(fiber.context, effect, options), (run) =>
      // The asking fiber waits while its own task runs: what it lends, the task may take.
      Concurrency.lendTo(
        fiber.context,
        run,
        Effect.suspend(() => {
          const admitted = Effect.callback<void>((resume) => {
            run.set({ onInline: () => resume(Effect.void) })
            core.submit(run, true, options)
            if (run.settled !== undefined) resume(Effect.void)
            // A wait that can never end dies in the fiber that asked, as it does when it joins.
            const waiter = run.origin.parent
            const cycle = run.line === undefined || waiter === undefined
              ? undefined
              : Concurrency.deadlockOf(run, run.needs!)
            if (cycle !== undefined) {
              resume(Effect.die(Concurrency.refusal(waiter!.id, waiter!.name, { _tag: "Deadlock", cycle })))
              run.interruptUnsafe()
            }
            return Effect.sync(() => run.interruptUnsafe())
          })
          return Effect.andThen(
            admitted,
            Effect.suspend(() => run.settled !== undefined ? Effect.succeed(run) : body(core, run))
          )
        })
      ))
  )

const body = <A, E>(core: Core, run: Run<A, E>): Effect.Effect<Run<A, E>> =>
  Effect.withFiber((fiber) => {
    const context = run.enter()
    run.fiber = fiber as never
    const owned = Effect.onExitPrimitive(run.effect, (exit) => run.leave(exit))
    return (Effect.updateContext(owned, () => context) as Effect.Effect<A, E>).pipe(
      Effect.onExit((exit) => Effect.sync(() => core.settle(run, exit))),
      Effect.exit,
      // An interruption of the asking fiber is not an ending of the task alone.
      Effect.flatMap((exit) =>
        Exit.isFailure(exit) && fiber.pollUnsafe() !== undefined ? Effect.interrupt : Effect.succeed(run)
      )
    )
  })
