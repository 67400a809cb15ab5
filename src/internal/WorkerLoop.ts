/** One iteration after another: when, in a slot, and what follows its failure. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scheduler from "../Scheduler.ts"
import * as TaskRun from "../TaskRun.ts"
import type { Pace } from "./WorkerPace.ts"
import type { Plan } from "./WorkerPlan.ts"

/** Iterations in a row that waited for nothing, before the event loop is let in. */
const TURN = 1024

export class Loop {
  /** Inside the body, its error handler or a hook: what a stop waits for. */
  busy = false
  /** The body of the current iteration has begun. */
  began = false
  iterations = 0
  failures = 0
  lastError: Cause.Cause<unknown> | undefined
  args: ReadonlyArray<unknown> = []
  readonly pace: Pace
  private wake: (() => void) | undefined
  private readonly plan: Plan
  private readonly clock: Clock.Clock
  /** No further iteration is to begin. */
  private readonly isDone: () => boolean
  constructor(plan: Plan, clock: Clock.Clock, isDone: () => boolean) {
    this.plan = plan
    this.clock = clock
    this.isDone = isDone
    this.pace = plan.pace()
  }

  /** Milliseconds of the monotonic clock, for those that reckon with time. */
  get now(): number {
    return this.pace.timed ? Number(this.clock.monotonicTimeNanosUnsafe()) / 1_000_000 : 0
  }

  /** Counts from nothing, with these arguments. */
  reset(args: ReadonlyArray<unknown>): void {
    this.args = args
    this.iterations = this.failures = 0
    this.lastError = undefined
  }

  /** Something it may be waiting for has happened. */
  tell(): void {
    this.wake?.()
  }

  /** Iterates until it is done; fails with what no handler took. */
  run(scheduler: Scheduler.Scheduler["Service"], onTimes: () => void): Effect.Effect<void, unknown> {
    const { demand, queue, times } = this.plan
    const once = Effect.exit(scheduler.run(this.iteration, demand))
    return Effect.gen({ self: this }, function*() {
      this.pace.begin(this.now)
      for (let turn = 1; !this.isDone(); turn++) {
        queue?.admit()
        const wait = this.pace.wait(this.now)
        if (wait > 0) {
          if (yield* this.rest(wait)) continue
        } else if (turn % TURN === 0) yield* nextTurn
        this.began = false
        const exit = yield* once
        if (this.began) this.pace.ended(this.now)
        if (Exit.isFailure(exit)) yield* this.failed(exit)
        this.busy = false
        if (this.iterations >= times) onTimes()
      }
    })
  }

  private readonly iteration: Effect.Effect<unknown, unknown> = Effect.suspend(() => {
    this.began = this.busy = true
    this.iterations++
    this.pace.began(this.now)
    return this.plan.body(this.args)
  })

  private failed(exit: Exit.Failure<unknown, unknown>): Effect.Effect<unknown, unknown> {
    const { cause } = exit
    // Refused; or withdrawn by somebody before it began.
    if (!this.began) return Cause.hasInterruptsOnly(cause) ? Effect.void : exit
    const outcome = TaskRun.outcomeOf(exit, false)._tag
    if (outcome === "Interrupted" || outcome === "Aborted") return Effect.void
    this.failures++
    this.lastError = cause
    const { onError } = this.plan
    if (onError === undefined) return exit
    return Effect.catchCause(
      Effect.scoped(Effect.suspend(() => onError(cause, ...this.args))),
      (second) => Effect.failCause(Cause.combine(cause, second))
    )
  }

  /** Until it is due, or (true) something happened before. */
  private rest(millis: number): Effect.Effect<boolean> {
    if (millis === Infinity) return this.woken
    return Effect.withFiber((fiber) =>
      Effect.callback((resume) => {
        const timer = Effect.runForkWith(fiber.context)(Effect.sleep(Duration.millis(millis)))
        const end = (woken: boolean) => {
          this.wake = undefined
          timer.interruptUnsafe()
          resume(Effect.succeed(woken))
        }
        this.wake = () => end(true)
        timer.addObserver((exit) => {
          if (Exit.isSuccess(exit)) end(false)
        })
        return Effect.sync(() => {
          this.wake = undefined
          timer.interruptUnsafe()
        })
      })
    )
  }

  private readonly woken: Effect.Effect<boolean> = Effect.callback((resume) => {
    this.wake = () => {
      this.wake = undefined
      resume(Effect.succeed(true))
    }
    return Effect.sync(() => {
      this.wake = undefined
    })
  })
}

/** A turn of the event loop that no scheduler of Effect's counts: a test clock does not wait for the end of an endless loop. */
const nextTurn = Effect.callback<void>((resume) => {
  if (typeof setImmediate === "function") setImmediate(() => resume(Effect.void))
  else setTimeout(() => resume(Effect.void), 0)
})
