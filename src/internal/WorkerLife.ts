/**
 * The life of a worker, from `start` until it has ended: a fiber of the supervisor, and inside it one that does the work.
 *
 *     starting → looping → stopping → leaving → ended
 *     stopping → starting            somebody asked for a restart meanwhile
 *     starting, looping → starting   it failed, and its restart policy goes on
 *
 * To stop, what works is waited for and what waits is interrupted: a stop never waits for a delay, a slot, or an item.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scheduler from "../Scheduler.ts"
import type { StartError, StopMode } from "../Worker.ts"
import { Loop } from "./WorkerLoop.ts"
import type { Plan } from "./WorkerPlan.ts"

/** Somebody asked for a start with these arguments, and learns whether it came to that. */
export class Request {
  readonly started = Deferred.makeUnsafe<boolean, StartError>()
  args: ReadonlyArray<unknown>
  constructor(args: ReadonlyArray<unknown>) {
    this.args = args
  }
}

/** Somebody waits for the end, and may be given what is left. */
export class Claim {
  readonly given = Deferred.makeUnsafe<ReadonlyArray<unknown>>()
  left: ReadonlyArray<unknown> = []
}

const strictness: Readonly<Record<StopMode, number>> = { drain: 0, finish: 1, interrupt: 2 }

export class Life {
  phase: "starting" | "looping" | "stopping" | "leaving" | "ended" = "starting"
  hasFailed = false
  /** What follows its end, before anybody is told. */
  onEnd: () => void = () => {}
  readonly loop: Loop
  request: Request
  since: number
  /** What it starts again with once it has stopped. */
  next: Request | undefined
  private mode: StopMode | undefined
  private asked = Deferred.makeUnsafe<void>()
  private fiber: Fiber.Fiber<unknown, unknown> | undefined
  private inner: Fiber.Fiber<void, unknown> | undefined
  /** After a failure: how long until it starts again, if it does. */
  private retryIn: number | undefined
  private policy:
    | Effect.Success<ReturnType<typeof Schedule.toStep<unknown, Cause.Cause<unknown>, never, never>>>
    | undefined
  private handed = false
  /** `beforeStart` was called, so `afterStop` is to be. */
  private entered = false
  private claims: Array<Claim> = []
  private readonly over = Deferred.makeUnsafe<void>()
  readonly plan: Plan
  private readonly clock: Clock.Clock
  private readonly scheduler: Effect.Effect<Scheduler.Scheduler["Service"], StartError>
  private readonly detach: (effect: Effect.Effect<unknown>) => void

  constructor(
    plan: Plan,
    request: Request,
    clock: Clock.Clock,
    scheduler: Effect.Effect<Scheduler.Scheduler["Service"], StartError>,
    detach: (effect: Effect.Effect<unknown>) => void
  ) {
    this.plan = plan
    this.request = request
    this.clock = clock
    this.scheduler = scheduler
    this.detach = detach
    this.loop = new Loop(plan, clock, () => this.isDone)
    this.loop.reset(request.args)
    this.since = clock.currentTimeMillisUnsafe()
  }

  get isLive(): boolean {
    return this.phase === "starting" || this.phase === "looping"
  }

  /** It ends, and is not to start again. */
  get isClosed(): boolean {
    return !this.isLive && this.next === undefined
  }

  /** Told to stop, and out of items if it is to handle them all. */
  private get isDone(): boolean {
    return this.phase === "stopping" &&
      !(this.mode === "drain" && this.plan.queue !== undefined && this.plan.queue.size > 0)
  }

  // ─── what is asked of it

  /** Asks it to end, and not to start again. */
  stop(mode: StopMode): void {
    if (this.phase === "leaving" || this.phase === "ended") return
    const { next } = this
    this.next = undefined
    const proceed = this.end(mode)
    this.plan.queue?.refuse()
    if (next !== undefined) Deferred.doneUnsafe(next.started, Exit.succeed(false))
    proceed()
  }

  /** Asks it to end and to start again; of several, with the arguments given last. Its items stay. */
  restart(args: ReadonlyArray<unknown>): Request {
    const next = this.again(args)
    next.args = args
    this.end("finish")()
    return next
  }

  /** Has it start again after the stop that is under way. */
  again(args: ReadonlyArray<unknown>): Request {
    return this.next ??= new Request(args)
  }

  /**
   * Of two modes the stricter counts. What it returns is to be called last: the whole end may happen inside it, and even the beginning that
   * follows it.
   */
  private end(mode: StopMode): () => void {
    if (this.mode === undefined || strictness[mode] > strictness[this.mode]) this.mode = mode
    this.phase = "stopping"
    const { asked, inner } = this
    const interrupts = this.mode === "interrupt" || (!this.loop.busy && this.isDone)
    return () => {
      if (interrupts) inner?.interruptUnsafe()
      Deferred.doneUnsafe(asked, Exit.void)
    }
  }

  /** To be told of the end. The first of those who asked is given what is left of the queue. */
  claim(): Claim {
    const claim = new Claim()
    this.claims.push(claim)
    return claim
  }

  /** The claim is given up; what was given to it goes back. */
  unclaim(claim: Claim): void {
    const index = this.claims.indexOf(claim)
    if (index >= 0) this.claims.splice(index, 1)
    for (const item of claim.left) this.plan.queue!.push(item)
  }

  /** Waits until its fiber has ended and its name is free. */
  readonly gone: Effect.Effect<void> = Deferred.await(this.over)

  // ─── the fiber of the supervisor

  /** What the supervisor restarts `run` by. It is `run` that decides, and that waits: a stop is to reach it meanwhile. */
  get goesOn(): Schedule.Schedule<unknown> | undefined {
    if (this.plan.restart === "none") return undefined
    return Schedule.while(Schedule.forever, () => Effect.succeed(this.retryIn !== undefined))
  }

  readonly run: Effect.Effect<void, unknown> = Effect.withFiber((fiber) => {
    if (this.fiber === undefined) {
      this.fiber = fiber
      // After the supervisor's own: by then the name is free.
      fiber.addObserver((exit) => this.finish(exit))
    }
    return Effect.uninterruptibleMask((restore) => this.cycle(restore(this.attempt)))
  })

  /** The supervisor gave it up before it ever ran. */
  giveUp(): void {
    if (this.fiber === undefined) this.finish(Exit.interrupt())
  }

  /** Uninterruptible but for `attempt`: however that ends, what follows an end follows. */
  private cycle(attempt: Effect.Effect<void, unknown>): Effect.Effect<void, unknown> {
    return Effect.gen({ self: this }, function*() {
      for (;;) {
        const exit = yield* Effect.exit(attempt)
        const failure = Exit.isFailure(exit) ? exit.cause : undefined
        // Only the supervisor interrupts this fiber.
        const interrupted = failure !== undefined && Cause.hasInterruptsOnly(failure)
        if (interrupted) {
          this.stop("interrupt")
          if (this.inner !== undefined) yield* Fiber.interrupt(this.inner)
        }
        this.loop.busy = false
        if (this.entered) yield* this.quietly("afterStop")
        this.entered = false
        if (failure !== undefined && !interrupted) this.loop.lastError = failure
        if (failure !== undefined && !interrupted && this.isLive) {
          this.retryIn = yield* this.step(failure)
          if (this.retryIn !== undefined && this.isLive) {
            this.phase = "starting"
            return yield* exit
          }
        }
        this.retryIn = undefined
        if (this.next === undefined) {
          this.phase = "stopping"
          this.plan.queue?.refuse()
          yield* this.handOver
        }
        if (this.next === undefined) {
          this.phase = "leaving"
          return yield* exit
        }
        if (failure !== undefined) {
          yield* Effect.logWarning(`worker "${this.plan.name}" failed while it was stopping to start again`, failure)
        }
        this.renew(this.next)
      }
    })
  }

  private renew(request: Request): void {
    const former = this.request
    const deliver = this.deliver()
    this.request = request
    this.next = undefined
    this.mode = undefined
    this.asked = Deferred.makeUnsafe()
    this.policy = undefined
    this.handed = false
    this.loop.reset(request.args)
    this.since = this.clock.currentTimeMillisUnsafe()
    this.phase = "starting"
    // One that never came to its start gives way.
    Deferred.doneUnsafe(former.started, Exit.succeed(false))
    deliver()
  }

  /** Whether, and in how many milliseconds, it starts again after a failure. */
  private step(cause: Cause.Cause<unknown>): Effect.Effect<number | undefined> {
    const { restart } = this.plan
    return Effect.gen({ self: this }, function*() {
      if (restart === "none") return undefined
      // What failed before the body could begin would fail again at once.
      if (restart === "always") return this.loop.began ? 0 : undefined
      this.policy ??= yield* Schedule.toStep(restart)
      const next = yield* Effect.exit(this.policy(this.clock.currentTimeMillisUnsafe(), cause))
      return Exit.isSuccess(next) ? Duration.toMillis(next.value[1]) : undefined
    })
  }

  private readonly attempt: Effect.Effect<void, unknown> = Effect.gen({ self: this }, function*() {
    if (this.phase === "stopping") return
    const inner = yield* Effect.forkChild(this.work, { startImmediately: true })
    if (this.plan.beforeStop !== undefined) {
      yield* Effect.raceFirst(Fiber.await(inner), Deferred.await(this.asked))
      if (this.isStopping) yield* this.quietly("beforeStop")
    }
    const exit = yield* Fiber.await(inner)
    // A stop has interrupted its waiting.
    if (Exit.isSuccess(exit) || !Cause.hasInterruptsOnly(exit.cause)) yield* exit
  })

  private get isStopping(): boolean {
    return this.phase === "stopping"
  }

  /** It could not even begin: nothing of it was there, and its items stay where they are. */
  fail(cause: Cause.Cause<StartError>): void {
    this.phase = "ended"
    Deferred.doneUnsafe(this.over, Exit.void)
    this.tell(Exit.failCause(cause))
    for (const claim of this.claims) Deferred.doneUnsafe(claim.given, Exit.succeed([]))
  }

  /** The end of its fiber, whatever was the matter. All is settled before anybody is told, who may start it anew at once. */
  private finish(exit: Exit.Exit<unknown, unknown>): void {
    this.phase = "ended"
    this.hasFailed = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
    this.onEnd()
    const deliver = this.deliver()
    if (!this.handed) this.detach(handOver(this.plan))
    this.plan.queue?.refuse()
    Deferred.doneUnsafe(this.over, Exit.void)
    this.tell(this.hasFailed ? exit as Exit.Exit<never, StartError> : Exit.succeed(false))
    deliver()
  }

  /** Those who asked for a start that did not come. */
  private tell(started: Exit.Exit<boolean, StartError>): void {
    Deferred.doneUnsafe(this.request.started, started)
    if (this.next !== undefined) Deferred.doneUnsafe(this.next.started, started)
  }

  /** The first of those who wait for the end has what is left. What this returns tells them. */
  private deliver(): () => void {
    const claims = this.claims
    const first = claims[0]
    this.claims = []
    if (first !== undefined && this.plan.queue !== undefined) first.left = this.plan.queue.takeAll()
    return () => {
      for (const claim of claims) Deferred.doneUnsafe(claim.given, Exit.succeed(claim.left))
    }
  }

  /** What is left goes to `onLeft` where nobody waits for it, and else stays in the queue; never silently. */
  private readonly handOver: Effect.Effect<void> = Effect.suspend(() => {
    if (this.claims.length > 0) return Effect.void
    this.handed = true
    return handOver(this.plan)
  })

  private quietly(hook: "beforeStop" | "afterStop"): Effect.Effect<void> {
    const effect = this.plan[hook]
    if (effect === undefined) return Effect.void
    return Effect.catchCause(
      Effect.asVoid(Effect.scoped(effect)),
      (cause) => Effect.logWarning(`${hook} of worker "${this.plan.name}" failed`, cause)
    )
  }

  // ─── the fiber that works

  private readonly work: Effect.Effect<void, unknown> = Effect.withFiber<void, unknown>((fiber) => {
    this.inner = fiber as Fiber.Fiber<void, unknown>
    return Effect.gen({ self: this }, function*() {
      this.loop.began = false
      if (this.retryIn !== undefined && this.retryIn > 0) yield* Effect.sleep(this.retryIn)
      const scheduler = yield* this.scheduler
      this.entered = true
      yield* this.busily(this.plan.beforeStart)
      if (this.isStopping) return
      this.phase = "looping"
      yield* this.busily(this.plan.afterStart)
      Deferred.doneUnsafe(this.request.started, Exit.succeed(true))
      yield* this.loop.run(scheduler, () => {
        if (this.phase === "looping") this.stop("finish")
      })
    })
  })

  private busily(hook: Effect.Effect<unknown, unknown> | undefined): Effect.Effect<void, unknown> {
    if (hook === undefined) return Effect.void
    return Effect.suspend(() => {
      this.loop.busy = true
      return Effect.map(Effect.scoped(hook), () => {
        this.loop.busy = false
      })
    })
  }
}

/** Gives the items to `onLeft`; where there is none or it fails, they stay in the queue. */
export const handOver = (plan: Plan): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { name, onLeft, queue } = plan
    if (queue === undefined || queue.size === 0) return Effect.void
    const what = `worker "${name}" has ended with ${queue.size} items not handled`
    if (onLeft === undefined) return Effect.logWarning(`${what}: they wait for its next start`)
    const items = queue.takeAll()
    return Effect.andThen(
      Effect.logInfo(`${what}: they go to onLeft`),
      Effect.catchCause(Effect.scoped(Effect.suspend(() => onLeft(items))), (cause) => {
        for (const item of items) queue.push(item)
        return Effect.logError(`onLeft of worker "${name}" failed: its items wait for its next start`, cause)
      })
    ).pipe(Effect.asVoid)
  })
