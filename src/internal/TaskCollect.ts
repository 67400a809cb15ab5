/** Many at once, results in the order given, fail fast. A Task is submitted as a record; any other effect needs a fiber. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Scheduler } from "../Scheduler.ts"
import * as TaskRun from "../TaskRun.ts"

/** Fibers at a time for effects that are no tasks. */
const MAX_FIBERS = 4096

/** Submits what is a task, and says `undefined` of what is not. */
export type Submit = (
  effect: Effect.Effect<any, any, any>
) => Effect.Effect<TaskRun.TaskRun<unknown, unknown>, never, any> | undefined

type Live = TaskRun.Handle<unknown, unknown> | Fiber.Fiber<unknown, unknown>

export const collect = <A, B, E, R>(
  items: ReadonlyArray<A>,
  f: (a: A, i: number) => Effect.Effect<B, E, R>,
  concurrency: number | "unbounded" | undefined,
  submit: Submit
): Effect.Effect<Array<B>, E, R | Scheduler> =>
  Effect.withFiber((fiber) => {
    if (items.length === 0) return Effect.succeed([])
    const max = concurrency === undefined || concurrency === "unbounded" ? Infinity : concurrency
    if (!(max === Infinity || (Number.isInteger(max) && max >= 1))) {
      return Effect.die(
        new InvalidOptionError({
          where: "Task.forEach",
          field: "concurrency",
          rule: `must be an integer >= 1 or "unbounded"`,
          value: concurrency
        })
      )
    }
    return new Collection(items, f, max, fiber.context as Context.Context<any>, submit).run() as Effect.Effect<
      Array<B>,
      E,
      R | Scheduler
    >
  })

class Collection {
  private readonly results: Array<unknown>
  private readonly live = new Set<Live>()
  private readonly targets: Array<TaskRun.Handle<unknown, unknown>> = []
  private next = 0
  private fibers = 0
  private failure: Exit.Exit<never, unknown> | undefined
  private pumping = false
  private waiting = false
  private tell: (() => void) | undefined
  private readonly items: ReadonlyArray<any>
  private readonly f: (a: any, i: number) => Effect.Effect<any, any, any>
  private readonly max: number
  private readonly submitTask: Submit
  private readonly context: Context.Context<any>
  constructor(
    items: ReadonlyArray<any>,
    f: (a: any, i: number) => Effect.Effect<any, any, any>,
    max: number,
    context: Context.Context<any>,
    submitTask: Submit
  ) {
    this.submitTask = submitTask
    this.items = items
    this.f = f
    this.max = max
    this.context = context
    this.results = new Array(items.length)
  }

  run(): Effect.Effect<Array<unknown>, unknown> {
    const wait = Effect.suspend(() => {
      if (this.over) return Effect.void
      const observe = (done: () => void) => {
        this.tell = done
        if (this.over) done()
        return () => {
          this.tell = undefined
        }
      }
      this.waiting = this.targets.length > 0
      return this.waiting
        ? Concurrency.waitFor(this.context, this.targets, false, observe, () => Effect.void)
        : Effect.callback<void>((resume) => Effect.sync(observe(() => resume(Effect.void))))
    })
    const finish = Effect.suspend((): Effect.Effect<Array<unknown>, unknown> =>
      this.failure === undefined ? Effect.succeed(this.results) : Effect.andThen(this.stop, this.failure)
    )
    // Also when the wait itself is refused: nobody is left behind.
    return Effect.onExit(
      Effect.andThen(Effect.andThen(this.pump, wait), finish),
      (exit) => Exit.isFailure(exit) ? this.stop : Effect.void
    )
  }

  private get over(): boolean {
    return this.failure !== undefined || (this.next === this.items.length && this.live.size === 0 && !this.pumping)
  }

  private get hasRoom(): boolean {
    return this.next < this.items.length && this.failure === undefined && this.live.size < this.max &&
      this.fibers < MAX_FIBERS
  }

  /** Submits what may be submitted now. */
  private readonly pump: Effect.Effect<void> = Effect.suspend(() => {
    if (this.pumping) return Effect.void
    this.pumping = true
    return Effect.ensuring(
      Effect.whileLoop({ while: () => this.hasRoom, body: () => this.submit(this.next++), step: () => {} }),
      Effect.sync(() => {
        this.pumping = false
      })
    )
  })

  private submit(i: number): Effect.Effect<void> {
    let effect: Effect.Effect<any, any, any>
    try {
      effect = this.f(this.items[i], i)
    } catch (defect) {
      this.failure = Exit.die(defect)
      return Effect.void
    }
    const submitted = this.submitTask(effect)
    if (submitted === undefined) return Effect.sync(() => this.forkPlain(i, effect))
    return Effect.map(submitted as Effect.Effect<TaskRun.TaskRun<unknown, unknown>>, (run) => {
      if (run instanceof TaskRun.Handle) this.track(i, run)
      else this.forkPlain(i, TaskRun.join(run))
    })
  }

  private track(i: number, run: TaskRun.Handle<unknown, unknown>): void {
    if (run.settled !== undefined) {
      run.observed = true
      return this.ended(i, run.settled)
    }
    this.live.add(run)
    this.targets.push(run)
    if (this.waiting) run.awaited++
    run.observe(() => {
      this.live.delete(run)
      this.ended(i, run.settled!)
    }, true)
  }

  private forkPlain(i: number, effect: Effect.Effect<any, any, any>): void {
    const fiber = Effect.runForkWith(this.context)(effect)
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.ended(i, exit)
    this.live.add(fiber)
    this.fibers++
    fiber.addObserver((exit) => {
      this.live.delete(fiber)
      this.fibers--
      this.ended(i, exit)
    })
  }

  private ended(i: number, exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isSuccess(exit)) this.results[i] = exit.value
    else this.failure ??= exit as Exit.Exit<never, unknown>
    if (!this.pumping && this.hasRoom) Effect.runForkWith(this.context)(this.pump).addObserver(() => this.check())
    else this.check()
  }

  private check(): void {
    if (!this.over) return
    const tell = this.tell
    this.tell = undefined
    tell?.()
  }

  /** Interrupts all that is left and waits for it. */
  private readonly stop: Effect.Effect<void> = Effect.suspend(() => {
    this.failure ??= Exit.interrupt()
    const left = [...this.live]
    for (const one of left) one.interruptUnsafe(undefined)
    return Effect.forEach(
      left,
      (one) => one instanceof TaskRun.Handle ? one.ended(this.context) : Fiber.await(one),
      { discard: true }
    )
  })
}
