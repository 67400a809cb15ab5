/** A worker as those who command it see it: one life at a time, and commands that can come from anywhere at any time. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Concurrency from "../Concurrency.ts"
import * as Lanes from "../Lanes.ts"
import * as Scheduler from "../Scheduler.ts"
import type * as Supervisor from "../Supervisor.ts"
import * as TaskRun from "../TaskRun.ts"
import type { StartError, Status, StopMode } from "../Worker.ts"
import { QueueFullError, WorkerStoppedError } from "./WorkerErrors.ts"
import { handOver, Life, Request } from "./WorkerLife.ts"
import type { Loop } from "./WorkerLoop.ts"
import type { Plan } from "./WorkerPlan.ts"

/** The workers a fiber is inside of, outermost first: it runs in their bodies, hooks or handlers. */
const Around: Context.Reference<ReadonlyArray<Control>> = Context.Reference<ReadonlyArray<Control>>(
  "tasklayer/Worker/Around",
  { defaultValue: () => [] }
)

/** The active workers of each supervisor, by name. */
const actives = new WeakMap<Supervisor.Supervisor["Service"], Map<string, Control>>()

export const activesOf = (supervisor: Supervisor.Supervisor["Service"]): Map<string, Control> => {
  let active = actives.get(supervisor)
  if (active === undefined) actives.set(supervisor, active = new Map())
  return active
}

/** Ends the loop the fiber is inside of, after the current iteration. */
export const stopSelf: Effect.Effect<void> = Effect.withFiber((fiber) => {
  const life = fiber.getRef(Around).at(-1)?.life
  if (life?.isLive === true) life.stop("finish")
  return Effect.void
})

export class Control {
  life: Life | undefined
  /** Whether it has ever been active: until then its queue keeps what is offered. */
  private wasActive = false
  private isKept = false
  /** Those whose end or start something inside this one waits for. */
  private readonly waits: Array<Control> = []
  /** What its fibers run in. */
  context: Context.Context<never>
  private readonly active: Map<string, Control>
  readonly plan: Plan
  private readonly supervisor: Supervisor.Supervisor["Service"]

  constructor(plan: Plan, context: Context.Context<never>, supervisor: Supervisor.Supervisor["Service"]) {
    this.plan = plan
    this.supervisor = supervisor
    this.active = activesOf(supervisor)
    if (plan.queue !== undefined) plan.queue.onItem = () => this.life?.loop.tell()
    this.context = outside(context).pipe(Context.add(Around, [...Context.get(context, Around), this]))
  }

  // ─── commands

  start(args: ReadonlyArray<unknown>): Effect.Effect<boolean, StartError> {
    return Effect.suspend(() => {
      const { life } = this
      if (life === undefined || life.phase === "ended") return this.started(this.begin(new Request(args)), true)
      if (life.isLive) return this.started(life.request, false)
      if (life.phase === "leaving") return Effect.andThen(life.gone, this.start(args))
      return life.next === undefined ? this.started(life.again(args), true) : this.started(life.next, false)
    })
  }

  restart(args: ReadonlyArray<unknown> | undefined): Effect.Effect<boolean, StartError> {
    return Effect.suspend(() => {
      const { life } = this
      const given = args ?? life?.request.args ?? []
      if (life === undefined || life.phase === "ended") return this.start(given)
      if (life.phase === "leaving") return Effect.andThen(life.gone, this.restart(args))
      return this.started(life.restart(given), true)
    })
  }

  stop(mode: StopMode = this.plan.onStop): Effect.Effect<ReadonlyArray<unknown>> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) => {
        const { life } = this
        if (life === undefined || life.phase === "ended") {
          const left = this.plan.queue?.takeAll() ?? []
          this.plan.queue?.admit()
          return Effect.succeed(left)
        }
        if (this.isAwaited(fiber)) {
          life.stop(mode)
          return Effect.succeed([])
        }
        const claim = life.claim()
        life.stop(mode)
        return Effect.onInterrupt(
          restore(this.wait(Deferred.await(claim.given), [])),
          () => Effect.sync(() => life.unclaim(claim))
        )
      })
    )
  }

  /** Stops within its budget; what is left of the queue goes to `onLeft`. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const { life } = this
    const { onStop } = this.plan
    const budget = this.plan.budget(this.supervisor.budget)
    if (life === undefined || life.phase === "ended") return Effect.void
    const within = (millis: number) => Effect.timeoutOption(Effect.interruptible(life.gone), Duration.millis(millis))
    life.stop(budget.grace > 0 ? onStop : "interrupt")
    return Effect.andThen(
      within(budget.grace),
      Effect.suspend(() => {
        life.stop("interrupt")
        return Effect.asVoid(within(budget.kill))
      })
    )
  })

  trigger(skip: boolean): Effect.Effect<boolean> {
    return this.change(({ now, pace }) => skip ? pace.rewind(now) : pace.trigger())
  }

  readonly skip: Effect.Effect<boolean> = this.change(({ pace }) => pace.skip())

  private change(f: (loop: Loop) => boolean): Effect.Effect<boolean> {
    return Effect.sync(() => {
      if (this.life?.isLive !== true) return false
      const { loop } = this.life
      const changed = f(loop)
      loop.tell()
      return changed
    })
  }

  offer(
    item: unknown,
    whenFull: "suspend" | "fail" | "drop"
  ): Effect.Effect<boolean, WorkerStoppedError | QueueFullError> {
    return Effect.withFiber((fiber): Effect.Effect<boolean, WorkerStoppedError | QueueFullError> => {
      const { life } = this
      const queue = this.plan.queue!
      if (life === undefined ? this.wasActive : life.isClosed) return this.refused
      // Its own handler is never held back: it would wait for itself.
      if (queue.hasRoom || (whenFull === "suspend" && fiber.getRef(Around).includes(this))) {
        queue.push(item)
        return life === undefined ? this.keep : accepted
      }
      if (whenFull === "drop") return Effect.succeed(false)
      if (whenFull === "fail") {
        return Effect.fail(new QueueFullError({ worker: this.plan.name, capacity: queue.capacity }))
      }
      return Concurrency.lend(Effect.callback((resume) => {
        const withdraw = queue.wait(item, (taken) => resume(taken ? accepted : this.refused))
        return Effect.sync(withdraw)
      }))
    })
  }

  get status(): Status {
    const { life, plan } = this
    const isOver = life === undefined || life.phase === "ended"
    const state = isOver ? life?.hasFailed === true ? "failed" : "stopped" : stateOf(life)
    const loop = life?.loop
    const wait = state === "waiting" && loop!.pace.timed ? loop!.pace.wait(loop!.now) : Infinity
    return {
      name: plan.name,
      kind: plan.kind,
      lane: plan.lane,
      state,
      iterations: loop?.iterations ?? 0,
      failures: loop?.failures ?? 0,
      since: isOver ? undefined : DateTime.makeUnsafe(life.since),
      next: Number.isFinite(wait)
        ? DateTime.makeUnsafe(Context.get(this.context, Clock.Clock).currentTimeMillisUnsafe() + wait)
        : undefined,
      queued: plan.queue?.size,
      lastError: loop?.lastError
    }
  }

  // ─── beginning

  private begin(request: Request): Request {
    const life = this.life = new Life(
      this.plan,
      request,
      Context.get(this.context, Clock.Clock),
      this.scheduler,
      (effect) => void Effect.runForkWith(this.context)(effect)
    )
    Effect.runForkWith(this.context)(this.join(life)).addObserver((exit) => {
      if (Exit.isSuccess(exit)) return
      this.life = undefined
      life.fail(exit.cause)
    })
    return request
  }

  /** Nothing of it is there before its lane is known to be and its name is its own. */
  private join(life: Life): Effect.Effect<void, StartError> {
    const { name } = this.plan
    const added = this.supervisor.add({
      name,
      phase: "workers",
      run: life.run,
      // A turn later the supervisor counts what ends because of it.
      stop: (left) =>
        Effect.andThen(
          Effect.yieldNow,
          Effect.sync(() => {
            life.stop(Duration.isZero(Duration.fromInputUnsafe(left.gracePeriod ?? 0)) ? "finish" : this.plan.onStop)
            life.giveUp()
          })
        ),
      restart: life.goesOn,
      essential: this.plan.essential,
      status: Effect.sync(() => stateOf(life))
    })
    return Effect.gen({ self: this }, function*() {
      yield* this.scheduler
      yield* Scope.provide(added, Scope.makeUnsafe())
      this.wasActive = true
      this.active.set(name, this)
      life.onEnd = () => {
        if (this.active.get(name) === this) this.active.delete(name)
      }
    })
  }

  private get scheduler(): Effect.Effect<Scheduler.Scheduler["Service"], Lanes.LaneError> {
    const { lane } = this.plan
    return Effect.suspend(() => {
      if (lane === undefined) return Effect.succeed(Context.getUnsafe(this.context, Scheduler.Scheduler))
      const lanes = Context.getOrUndefined(this.context, Lanes.Lanes)
      return lanes === undefined
        ? Effect.fail(new Lanes.LaneError({ lane, reason: { _tag: "Unknown", known: [] } }))
        : lanes.get(lane)
    })
  }

  // ─── waiting

  private started(request: Request, result: boolean): Effect.Effect<boolean, StartError> {
    return this.wait(Effect.map(Deferred.await(request.started), (started) => started && result), result)
  }

  /** Waits with the caller's slot lent; who would wait for itself goes on at once. */
  private wait<A, E>(effect: Effect.Effect<A, E>, atOnce: A): Effect.Effect<A, E> {
    return Effect.withFiber((fiber) => {
      const around = fiber.getRef(Around)
      if (around.length === 0) return Concurrency.lend(effect)
      if (this.isAwaited(fiber)) return Effect.succeed(atOnce)
      return Effect.acquireUseRelease(
        Effect.sync(() => around.forEach((worker) => worker.waits.push(this))),
        () => Concurrency.lend(effect),
        () => Effect.sync(() => around.forEach((worker) => worker.waits.splice(worker.waits.indexOf(this), 1)))
      )
    })
  }

  /** The fiber is inside of this worker, or of one that this one waits for. */
  private isAwaited(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.getRef(Around).some((worker) => this.waitsFor(worker))
  }

  private waitsFor(other: Control): boolean {
    return this === other || this.waits.some((worker) => worker.waitsFor(other))
  }

  // ─── items

  private readonly refused = Effect.suspend(() => Effect.fail(new WorkerStoppedError({ worker: this.plan.name })))

  /** Taken in before the first start. If that never comes, the end of the supervisor is when it is known. */
  private readonly keep: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.isKept) return accepted
    this.isKept = true
    const unstarted = Effect.suspend(() => this.wasActive ? Effect.void : handOver(this.plan))
    return Effect.as(
      Scope.addFinalizer(this.supervisor.scope, Effect.provideContext(unstarted, this.context)),
      true
    )
  })
}

const accepted = Effect.succeed(true)

const stateOf = (life: Life): "starting" | "waiting" | "running" | "stopping" =>
  life.phase === "starting"
    ? "starting"
    : life.phase !== "looping"
    ? "stopping"
    : life.loop.busy
    ? "running"
    : "waiting"

/** A worker is nobody's run, wherever it was made. */
const outside = (context: Context.Context<never>): Context.Context<never> =>
  Context.omit(TaskRun.CurrentRun)(
    Context.add(context, Concurrency.CurrentRegion, undefined) as Context.Context<any>
  ) as Context.Context<never>
