/**
 * A task on a trigger: it runs whenever the trigger says that it is due, as long as the Layer lives.
 *
 * A run is one of the Scheduler in context, and reads in `DueAt` what it was due for. What happens when a run is due while another is live is
 * `overlap`; what happens to instants nobody was there for (a blocked event loop, a closed laptop) is `missed`. The grid of the trigger is kept
 * either way. A run that fails is logged and the periodic goes on. When the clock is set back, what counts from its start keeps its rhythm, and
 * what is due by the calendar waits until the clock is there again.
 *
 * A periodic is a record on the one timer of its Supervisor, under a name of its own: the functions below find it there. Waiting costs nothing.
 */
import * as Context from "effect/Context"
import type * as Cron from "effect/Cron"
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { groupOf } from "./internal/PeriodicGroup.ts"
import { start } from "./internal/PeriodicOptions.ts"
import { Membership, Ticker } from "./internal/PeriodicTicker.ts"
import { orDie } from "./InvalidOptionError.ts"
import type { Scheduler } from "./Scheduler.ts"
import * as Supervisor from "./Supervisor.ts"
import type * as Task from "./Task.ts"
import type * as TaskRun from "./TaskRun.ts"
import * as Trigger from "./Trigger.ts"

export interface Options {
  /** By which it is found. Unique in its Supervisor. Default: the task's. */
  readonly name?: string | undefined
  /**
   * Due while a run of it is live: `"skip"` (the default) does not run, `"queue"` runs one after another, `"replace"` interrupts the live run
   * and runs when it has ended, `"allow"` runs at once.
   */
  readonly overlap?: "skip" | "queue" | "replace" | "allow" | undefined
  /** How many may wait with `"queue"`; more are skipped. An integer >= 0; default: no bound. */
  readonly maxQueued?: number | undefined
  /**
   * Several instants came due unnoticed: `"once"` (the default) makes one run of them, for the latest; `"skip"` runs for the latest if that
   * is no older than `tolerance`; `"all"` makes a run of each, oldest first, one after another unless overlap is allowed.
   */
  readonly missed?: "skip" | "once" | "all" | undefined
  /** How many runs `"all"` makes at most, for the latest. An integer >= 1; default 100. */
  readonly maxMissed?: number | undefined
  /** How late is not yet missed. Default 1 second. */
  readonly tolerance?: Duration.Input | undefined
  /** A first run at the start, beside those that are due. Default false. */
  readonly immediate?: boolean | undefined
  /** How many runs there are in all, those by hand included. An integer >= 1; default: no bound. */
  readonly times?: number | undefined
  /**
   * A run starts up to so much after it was due, at random: less than the gaps it is meant for. With `every` it is that of `Trigger.every`,
   * whose gaps are `interval` to `interval + jitter`. Default zero.
   */
  readonly jitter?: Duration.Input | undefined
  /** Nothing is due before. Default: the start of the Layer. */
  readonly startAt?: DateTime.DateTime.Input | undefined
  /** Nothing is due after. Default: never ends. */
  readonly endAt?: DateTime.DateTime.Input | undefined
}

export interface EveryOptions extends Options {
  /** From the start to the first run. Default: the interval. With `anchor`: shifts the grid. */
  readonly delay?: Duration.Input | undefined
  /** An instant of the grid. Default: the grid begins at the start. */
  readonly anchor?: DateTime.DateTime.Input | undefined
}

export interface CronOptions extends Options {
  /** The zone whose wall clock is meant: an IANA name or an offset. Default UTC. */
  readonly tz?: string | DateTime.TimeZone | undefined
}

export { DueAt } from "./internal/PeriodicTicker.ts"

/** Paused: nothing runs by itself. Stopped: for good. Done: nothing more is due. */
export type State = "waiting" | "running" | "paused" | "stopped" | "done"

export interface LastRun {
  readonly due: DateTime.Utc
  /** Its id; `undefined` while its scheduler's queue has no room for it. */
  readonly run: string | undefined
  readonly started: DateTime.Utc
  /** `undefined`, like the outcome, while it is live. */
  readonly ended: DateTime.Utc | undefined
  readonly outcome: TaskRun.Outcome | undefined
}

/** A consistent snapshot. Every due instant so far is counted once, in `runs`, `missed`, `skipped` or `queued`. */
export interface Status {
  readonly name: string
  /** In plain English. */
  readonly trigger: string
  readonly state: State
  /** `undefined`: nothing is due, or that is only known when the live run has ended. */
  readonly next: DateTime.Utc | undefined
  /** The run that was started last. */
  readonly last: LastRun | undefined
  /** How many runs are live. */
  readonly running: number
  /** How many wait for their turn: overlap, or a run of each that was missed. */
  readonly queued: number
  /** How many runs there were, live ones and those by hand included. */
  readonly runs: number
  /** Due unnoticed, and given no run of their own; of one stall 100,000 are counted at most. */
  readonly missed: number
  /** Due while a run was live or it was paused, passed over by hand, or without room in `times` or the queue. */
  readonly skipped: number
}

/** A handle. */
export interface Periodic<out A = unknown, out E = unknown> {
  readonly name: string
  readonly status: Effect.Effect<Status>
  /**
   * Runs now, also while paused; the grid is kept. `None`: there is no run yet, because `overlap` skipped or queued it, or no run at all
   * because it was stopped or has had its `times`.
   */
  readonly trigger: Effect.Effect<Option.Option<TaskRun.TaskRun<A, E>>>
  /** Passes over the next due instant. */
  readonly skip: Effect.Effect<void>
  /** Nothing runs by itself until `resume`. Live runs go on, queued ones are skipped. */
  readonly pause: Effect.Effect<void>
  /** Goes on with what is due from now on: what was due meanwhile is skipped. */
  readonly resume: Effect.Effect<void>
  /** Ends it for good. Live runs go on. */
  readonly stop: Effect.Effect<void>
}

// ─── making one

/** What it needs besides what its task needs: a Scheduler. The Supervisor is the one in context, or its own. */
type PeriodicLayer<R> = Layer.Layer<
  Supervisor.Supervisor,
  Supervisor.NameTakenError,
  Exclude<R, Supervisor.Supervisor> | Scheduler
>

/** Runs at a fixed rate, without drift: `Trigger.every`. */
export const every =
  (interval: Duration.Input, options: EveryOptions = {}) => <A, E, R>(task: Task.Task<A, E, R>): PeriodicLayer<R> => {
    const { anchor, delay, jitter, ...rest } = options
    return layerOf("Periodic.every", task, Trigger.every(interval, { anchor, delay, jitter }), rest)
  }

/** Runs by the wall clock of a zone: `Trigger.cron`. */
export const cron =
  (expression: string | Cron.Cron, options: CronOptions = {}) =>
  <A, E, R>(task: Task.Task<A, E, R>): PeriodicLayer<R> => {
    const { tz, ...rest } = options
    return layerOf("Periodic.cron", task, Trigger.cron(expression, { tz }), rest)
  }

/** Runs whenever the trigger is due, as long as the Layer lives. Invalid options are defects. */
export const layer = <A, E, R>(
  task: Task.Task<A, E, R>,
  trigger: Trigger.Trigger,
  options: Options = {}
): PeriodicLayer<R> => layerOf("Periodic.layer", task, trigger, options)

/** Runs whenever the trigger is due until the scope closes: what the Layers stand on, for those that come and go. */
export const make = <A, E, R>(
  task: Task.Task<A, E, R>,
  trigger: Trigger.Trigger,
  options: Options = {}
): Effect.Effect<
  Periodic<A, E>,
  Supervisor.NameTakenError,
  R | Scheduler | Supervisor.Supervisor | Scope.Scope
> => register("Periodic.make", task, trigger, options)

// ─── by name, in the Supervisor in context

export const status = (name: string): Effect.Effect<Status, UnknownPeriodicError, Supervisor.Supervisor> =>
  find(name, (periodic) => periodic.status)

/** Runs it now; see `Periodic.trigger` of the handle. */
export const trigger = (
  name: string
): Effect.Effect<
  Option.Option<TaskRun.TaskRun<unknown, unknown>>,
  UnknownPeriodicError,
  Supervisor.Supervisor
> => find(name, (periodic) => periodic.trigger)

/** Passes over its next due instant. */
export const skip = (name: string): Effect.Effect<void, UnknownPeriodicError, Supervisor.Supervisor> =>
  find(name, (periodic) => periodic.skip)

/** Nothing of it runs by itself until `resume`. */
export const pause = (name: string): Effect.Effect<void, UnknownPeriodicError, Supervisor.Supervisor> =>
  find(name, (periodic) => periodic.pause)

/** It goes on with what is due from now on. */
export const resume = (name: string): Effect.Effect<void, UnknownPeriodicError, Supervisor.Supervisor> =>
  find(name, (periodic) => periodic.resume)

/** Ends it for good; it keeps its name until its Layer closes. */
export const stop = (name: string): Effect.Effect<void, UnknownPeriodicError, Supervisor.Supervisor> =>
  find(name, (periodic) => periodic.stop)

/** All there are, in the order they were made. */
export const list: Effect.Effect<ReadonlyArray<Status>, never, Supervisor.Supervisor> = Supervisor.Supervisor.use((
  supervisor
) => Effect.forEach([...groupOf(supervisor).periodics.values()], (periodic) => periodic.status))

/** The Supervisor has no periodic of this name; `known` are those it has. */
export class UnknownPeriodicError extends Data.TaggedError("UnknownPeriodicError")<{
  readonly name: string
  readonly known: ReadonlyArray<string>
}> {
  override get message(): string {
    const known = this.known.slice(0, 20).map((name) => `"${name}"`).join(", ")
    return `there is no periodic "${this.name}": ${known === "" ? "there is none" : `there are ${known}`}`
  }
}

// ─── how it is made

const find = <A>(
  name: string,
  use: (periodic: Periodic<unknown, unknown>) => Effect.Effect<A>
): Effect.Effect<A, UnknownPeriodicError, Supervisor.Supervisor> =>
  Supervisor.Supervisor.use((supervisor) => {
    const { periodics } = groupOf(supervisor)
    const periodic = periodics.get(name)
    return periodic === undefined
      ? Effect.fail(new UnknownPeriodicError({ name, known: [...periodics.keys()] }))
      : use(periodic)
  })

const layerOf = <A, E, R>(where: string, task: Task.Task<A, E, R>, trigger: Trigger.Trigger, options: Options) =>
  Layer.effectDiscard(register(where, task, trigger, options)).pipe(Layer.provideMerge(Supervisor.layerInContext()))

const register = <A, E, R>(
  where: string,
  task: Task.Task<A, E, R>,
  trigger: Trigger.Trigger,
  options: Options
): Effect.Effect<Periodic<A, E>, Supervisor.NameTakenError, R | Scheduler | Supervisor.Supervisor | Scope.Scope> =>
  Effect.withFiber((fiber) => {
    const context = fiber.context as Context.Context<Supervisor.Supervisor | Scope.Scope>
    const supervisor = Context.get(context, Supervisor.Supervisor)
    const group = groupOf(supervisor)
    const made = orDie(() => {
      const now = group.timer.now(context)
      const asked = start(where, task.name, trigger, options, now, fiber.getRef(Random.Random))
      return new Ticker<A, E>(group, context, task, asked)
    })
    return Effect.flatMap(made, (periodic) =>
      supervisor.add(new Membership(periodic)).pipe(
        // It opens when its closing is sure.
        Effect.andThen(Scope.addFinalizerExit(Context.get(context, Scope.Scope), periodic.close)),
        Effect.andThen(periodic.open),
        Effect.as(periodic)
      ))
  })
