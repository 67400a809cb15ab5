/**
 * Supervised loops with a name: back to back, at an interval, after a delay, for each item of a queue, or when triggered.
 *
 * Each iteration is a run of the scheduler in context (or of a named lane): it has a slot, a handle and events. The loop itself is a member of
 * the supervisor, in its phase `workers`. To stop a worker is to wait for its current iteration and for nothing else.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Order from "effect/Order"
import type * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import type * as Concurrency from "./Concurrency.ts"
import { activesOf, Control, stopSelf as stopInside } from "./internal/WorkerControl.ts"
import { type QueueFullError, UnknownWorkerError, type WorkerStoppedError } from "./internal/WorkerErrors.ts"
import { eventPlan, loopPlan, type Plan, queuePlan } from "./internal/WorkerPlan.ts"
import { orDie } from "./InvalidOptionError.ts"
import type { LaneError } from "./Lanes.ts"
import type { Provided, Scheduler } from "./Scheduler.ts"
import * as Supervisor from "./Supervisor.ts"

/** A loop that can be started, stopped and started again. `Left` is what a stop returns. */
export interface Worker<in Args extends ReadonlyArray<any> = [], out Left = void> {
  readonly name: string
  /** Returns when it runs. False: it was active already, or was stopped before it came to that. */
  readonly start: (...args: Args) => Effect.Effect<boolean, StartError>
  /** Returns when it has stopped; of one that has stopped already, at once. From inside its body it returns at once, too. */
  readonly stop: (mode?: StopMode) => Effect.Effect<Left>
  /** Stops after the current iteration and starts with these arguments; starts what had stopped. Items stay in the queue. */
  readonly restart: (...args: Args) => Effect.Effect<boolean, StartError>
  /**
   * Runs now, and keeps its interval; while it runs, once more afterwards. With `skip` it waits anew instead, as if it had just run. False: it
   * is not active, or never waits to be triggered.
   */
  readonly trigger: (options?: { readonly skip?: boolean | undefined }) => Effect.Effect<boolean>
  /** Passes over the next iteration. False: there is none to pass over. */
  readonly skip: Effect.Effect<boolean>
  readonly status: Effect.Effect<Status>
}

/**
 * A worker that handles one item after another. What it has accepted is handled, returned by the `stop` that ended it, or given to `onLeft`; with
 * neither it stays in the queue for the next start, and a warning says so.
 */
export interface QueueWorker<A, in Args extends ReadonlyArray<any> = [], out E = never>
  extends Worker<Args, ReadonlyArray<A>>
{
  /**
   * Accepts an item. Before the first start it is kept; a worker that stops or has stopped takes none. False: dropped, because the queue was
   * full. The offers of its own handler are never held back.
   */
  readonly offer: (item: A) => Effect.Effect<boolean, WorkerStoppedError | E>
  /** How many items wait. */
  readonly size: Effect.Effect<number>
}

export type Kind = "loop" | "interval" | "delay" | "queue" | "event"

/** `"drain"`: handle every item first (without a queue as `"finish"`). `"finish"`: the current iteration. `"interrupt"`: not even that. */
export type StopMode = "drain" | "finish" | "interrupt"

export interface Status {
  readonly name: string
  readonly kind: Kind
  readonly lane: string | undefined
  /** A worker that waits for its time, for an item, for a trigger or for a slot is `"waiting"`. */
  readonly state: "stopped" | "starting" | "waiting" | "running" | "stopping" | "failed"
  /** Begun since the last start. */
  readonly iterations: number
  readonly failures: number
  /** When it was started; `undefined` while it is not active. */
  readonly since: DateTime.Utc | undefined
  /** When the next iteration is due, where that is known. */
  readonly next: DateTime.Utc | undefined
  /** How many items wait; `undefined` without a queue. */
  readonly queued: number | undefined
  readonly lastError: Cause.Cause<unknown> | undefined
}

/** Why a worker did not start: its lane is not there, or another member of the supervisor has its name. */
export type StartError = LaneError | Supervisor.NameTakenError

type Hook = Effect.Effect<unknown, never, any>

/** The budget is that of `scoped` and `layer`, when the scope closes. Default: the supervisor's. */
export interface Options<in Args extends ReadonlyArray<any> = [], in E = never>
  extends Pick<Concurrency.Demand, "tags" | "weight" | "priority" | "key">, Supervisor.Budget
{
  /** The lane its iterations run in. Default: the scheduler in context. */
  readonly lane?: string | undefined
  /** Stops itself after so many iterations. */
  readonly times?: number | undefined
  /** How it stops when nobody says. Default `"finish"`; of a queue worker `"drain"`. */
  readonly onStop?: StopMode | undefined
  /**
   * Given the cause of a failed iteration and the arguments of the start, after its slot was returned; then the worker goes on. Without it, or
   * when it fails itself, the worker fails.
   */
  readonly onError?: ((cause: Cause.Cause<E>, ...args: Args) => Effect.Effect<unknown, unknown, any>) | undefined
  /**
   * What follows a failure of the worker. Default `"none"`. `"always"`: it starts again at once, unless it failed before its body could begin.
   * A Schedule sees the cause.
   */
  readonly restart?: "none" | "always" | Schedule.Schedule<unknown, Cause.Cause<unknown>> | undefined
  /** Its end, even a good one, stops the supervisor. Default false. */
  readonly essential?: boolean | undefined
  readonly beforeStart?: Hook | undefined
  /** Before the first iteration. */
  readonly afterStart?: Hook | undefined
  /** When a stop was asked for, beside the current iteration. */
  readonly beforeStop?: Hook | undefined
  /** When it has stopped or failed. */
  readonly afterStop?: Hook | undefined
}

export interface WaitingOptions<in Args extends ReadonlyArray<any> = [], in E = never> extends Options<Args, E> {
  /** False: the first iteration waits, too. Default true. */
  readonly immediate?: boolean | undefined
}

/** An interval (from start to start) or a delay (from end to start); neither: back to back. */
export type Timing =
  | { readonly interval?: Duration.Input | undefined; readonly delay?: undefined }
  | { readonly interval?: undefined; readonly delay?: Duration.Input | undefined }

export interface QueueOptions<in A, in Args extends ReadonlyArray<any> = [], in E = never> extends Options<Args, E> {
  /** How many items may wait. An integer >= 1; default `"unbounded"`. */
  readonly capacity?: Concurrency.Limit | undefined
  /** What an offer meets when the queue is full: it waits (the default), fails with `QueueFullError`, or the item is dropped. */
  readonly whenFull?: "suspend" | "fail" | "drop" | undefined
  /** The least goes first; ties in order of arrival. Default: order of arrival. */
  readonly order?: Order.Order<A> | undefined
  /** Given what was not handled when the worker ended and no `stop` waited to have it. */
  readonly onLeft?: ((items: ReadonlyArray<A>) => Effect.Effect<unknown, unknown, any>) | undefined
}

// ─── making one: it is not started yet

/** A body is an effect, or a function of the arguments given to `start`. */
export type Body<Args extends ReadonlyArray<any>, E, R> =
  | Effect.Effect<unknown, E, R>
  | ((...args: Args) => Effect.Effect<unknown, E, R>)

/** Runs its body at an interval, after a delay, or back to back. */
export const make = <
  E,
  R,
  Args extends ReadonlyArray<any> = [],
  O extends WaitingOptions<Args, E> & Timing = {}
>(
  name: string,
  body: Body<Args, E, R>,
  options?: O & WaitingOptions<Args, E> & Timing & Only<O, keyof WaitingOptions | keyof Timing>
): Made<Worker<Args>, R, O> => made(() => loopPlan("Worker.make", name, body, options ?? {}), workerOf)

/** Back to back. */
export const loop = <E, R, Args extends ReadonlyArray<any> = [], O extends Options<Args, E> = {}>(
  name: string,
  body: Body<Args, E, R>,
  options?: O & Options<Args, E> & Only<O, keyof Options>
): Made<Worker<Args>, R, O> => made(() => loopPlan("Worker.loop", name, body, options ?? {}), workerOf)

/** At the start and every `interval` (> 0) after it, however long its body takes; what a long iteration missed is left out. */
export const interval = <E, R, Args extends ReadonlyArray<any> = [], O extends WaitingOptions<Args, E> = {}>(
  name: string,
  interval: Duration.Input,
  body: Body<Args, E, R>,
  options?: O & WaitingOptions<Args, E> & Only<O, keyof WaitingOptions>
): Made<Worker<Args>, R, O> => made(() => loopPlan("Worker.interval", name, body, { ...options, interval }), workerOf)

/** At the start and so long after the end of each iteration. */
export const delay = <E, R, Args extends ReadonlyArray<any> = [], O extends WaitingOptions<Args, E> = {}>(
  name: string,
  delay: Duration.Input,
  body: Body<Args, E, R>,
  options?: O & WaitingOptions<Args, E> & Only<O, keyof WaitingOptions>
): Made<Worker<Args>, R, O> => made(() => loopPlan("Worker.delay", name, body, { ...options, delay }), workerOf)

/** When triggered; what triggers it while it runs makes it run once more. */
export const event = <E, R, Args extends ReadonlyArray<any> = [], O extends Options<Args, E> = {}>(
  name: string,
  body: Body<Args, E, R>,
  options?: O & Options<Args, E> & Only<O, keyof Options>
): Made<Worker<Args>, R, O> => made(() => eventPlan("Worker.event", name, body, options ?? {}), workerOf)

/** For each item it is offered, one after another. */
export const queue = <A, E, R, Args extends ReadonlyArray<any> = [], O extends QueueOptions<A, Args, E> = {}>(
  name: string,
  handler: (item: A, ...args: Args) => Effect.Effect<unknown, E, R>,
  options?: O & QueueOptions<A, Args, E> & Only<O, keyof QueueOptions<A>>
): Made<QueueWorker<A, Args, FullError<O>>, R, O> =>
  made(() => queuePlan("Worker.queue", name, handler, options ?? {}), (control) => ({
    ...workerOf(control),
    stop: (mode) => control.stop(mode) as Effect.Effect<ReadonlyArray<A>>,
    offer: (item) => control.offer(item, options?.whenFull ?? "suspend") as Effect.Effect<boolean, any>,
    size: Effect.sync(() => control.plan.queue!.size)
  }))

/**
 * Makes a worker and starts it with these arguments. It stops when the scope closes: by its `onStop` if there is a `gracePeriod`, its own or
 * its supervisor's, and is interrupted when that is over.
 */
export const scoped = <W extends Worker<any, unknown>, E, R>(
  worker: Effect.Effect<W, E, R>,
  ...args: Parameters<W["start"]>
): Effect.Effect<W, E | StartError, R | Scope> =>
  Effect.gen(function*() {
    const made = yield* worker
    yield* Effect.addFinalizer(() => closing.get(made) ?? made.stop())
    yield* made.start(...args)
    return made
  })

/** `scoped` as a Layer. Uses the Supervisor in context where there is one. */
export const layer = <W extends Worker<any, unknown>, E, R>(
  worker: Effect.Effect<W, E, R>,
  ...args: Parameters<W["start"]>
): Layer.Layer<Supervisor.Supervisor, E | StartError, Exclude<R, Supervisor.Supervisor | Scope>> =>
  Layer.effectDiscard(scoped(worker, ...args)).pipe(Layer.provideMerge(Supervisor.layerInContext())) as any

// ─── by name, those that are active under the supervisor in context

/** What each active worker is doing. */
export const list: Effect.Effect<ReadonlyArray<Status>, never, Supervisor.Supervisor> = Supervisor.Supervisor.useSync((
  supervisor
) => [...activesOf(supervisor).values()].map((control) => control.status))

export const status = (name: string): Effect.Effect<Status, UnknownWorkerError, Supervisor.Supervisor> =>
  named(name, (control) => Effect.sync(() => control.status))

/** See `Worker.trigger`. */
export const trigger = (
  name: string,
  options?: { readonly skip?: boolean | undefined }
): Effect.Effect<boolean, UnknownWorkerError, Supervisor.Supervisor> =>
  named(name, (control) => control.trigger(options?.skip === true))

/** Passes over the next iteration. */
export const skip = (name: string): Effect.Effect<boolean, UnknownWorkerError, Supervisor.Supervisor> =>
  named(name, (control) => control.skip)

/** Returns when it has stopped, with the items that were left of a queue. */
export const stop = (
  name: string,
  mode?: StopMode
): Effect.Effect<ReadonlyArray<unknown>, UnknownWorkerError, Supervisor.Supervisor> =>
  named(name, (control) => control.stop(mode))

/** Stops it after the current iteration and starts it with the arguments it had. */
export const restart = (
  name: string
): Effect.Effect<boolean, UnknownWorkerError | StartError, Supervisor.Supervisor> =>
  named(name, (control) => control.restart(undefined))

// ─── from inside a body

/** The worker an effect is inside of, if any. */
export const CurrentWorker: Context.Reference<Worker<any, unknown> | undefined> = Context.Reference<
  Worker<any, unknown> | undefined
>("tasklayer/Worker/CurrentWorker", { defaultValue: () => undefined })

/** Ends the worker after the current iteration, and does not wait for it. Outside a worker: nothing. */
export const stopSelf: Effect.Effect<void> = stopInside

export { QueueFullError, UnknownWorkerError, WorkerStoppedError } from "./internal/WorkerErrors.ts"

// ─── how they are made

/** No option but these: one that is misspelt is not to go unnoticed. */
type Only<O, Known> = { readonly [K in Exclude<keyof O, Known>]: never }

/** What the effects among the options need. */
type Needs<O> = { [K in keyof O]-?: NeedsOf<O[K]> }[keyof O]
type NeedsOf<T> = T extends Effect.Effect<any, any, infer R> ? R
  : T extends (...args: any) => Effect.Effect<any, any, infer R> ? R
  : never

type FullError<O> = "whenFull" extends keyof O ? "fail" extends O["whenFull" & keyof O] ? QueueFullError : never : never

type Made<W, R, O> = Effect.Effect<
  W,
  never,
  Exclude<R, Provided> | Exclude<Needs<O>, Scope> | Scheduler | Supervisor.Supervisor
>

/** How a worker ends with its scope. */
const closing = new WeakMap<object, Effect.Effect<void>>()

const made = <W extends Worker<any, unknown>>(
  plan: () => Plan,
  handleOf: (control: Control) => W
): Effect.Effect<W, never, any> =>
  Effect.withFiber((fiber) =>
    orDie(() => {
      const supervisor = Context.getUnsafe(fiber.context as Context.Context<any>, Supervisor.Supervisor)
      const control = new Control(plan(), fiber.context, supervisor)
      const handle = handleOf(control)
      control.context = Context.add(control.context, CurrentWorker, handle)
      closing.set(handle, control.close)
      return handle
    })
  )

const workerOf = (control: Control): Worker<any, any> => ({
  name: control.plan.name,
  start: (...args) => control.start(args),
  stop: (mode) => Effect.asVoid(control.stop(mode)),
  restart: (...args) => control.restart(args),
  trigger: (options) => control.trigger(options?.skip === true),
  skip: control.skip,
  status: Effect.sync(() => control.status)
})

const named = <A, E>(
  name: string,
  f: (control: Control) => Effect.Effect<A, E>
): Effect.Effect<A, E | UnknownWorkerError, Supervisor.Supervisor> =>
  Supervisor.Supervisor.use((supervisor): Effect.Effect<A, E | UnknownWorkerError> => {
    const active = activesOf(supervisor)
    const control = active.get(name)
    return control === undefined ? Effect.fail(new UnknownWorkerError({ name, known: [...active.keys()] })) : f(control)
  })
