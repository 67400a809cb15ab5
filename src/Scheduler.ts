/**
 * The port: runs effects under limits. Each way of running them is a Layer; swap the Layer and the same program runs sequentially,
 * concurrently, or inline in a test.
 *
 * A scheduler joins `Concurrency` (how much at once) to `Supervisor` (how long it lives): work is admitted as a record, gets a fiber when all
 * its limits have room, and is drained, interrupted and reported when the Layer closes.
 */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Concurrency from "./Concurrency.ts"
import { checkWhenQueueFull, Core } from "./internal/SchedulerCore.ts"
import { inlineFork } from "./internal/SchedulerInline.ts"
import { keepLayouts } from "./internal/SchedulerLayouts.ts"
import type { Run } from "./internal/SchedulerRun.ts"
import type { InvalidOptionError } from "./InvalidOptionError.ts"
import type * as RunEvent from "./RunEvent.ts"
import * as Supervisor from "./Supervisor.ts"
import type * as TaskRun from "./TaskRun.ts"

export interface LayerOptions extends Supervisor.Budget, Concurrency.SharingOptions {
  /** Shown in log lines and events. Default: a fresh one. */
  readonly id?: string | undefined
  /** How much weight runs at once. An integer >= 1; default: the number of CPUs, and the `reserved` slots. */
  readonly maxParallelism?: Concurrency.Limit | undefined
  /**
   * This layer's own limits, gone when it closes; a tag limited both here and in the Concurrency in context needs room in both. A layer that
   * makes its own Concurrency puts them there, where `Concurrency.read` and `create` find them.
   */
  readonly tagLimits?: Concurrency.TagLimits | undefined
  /** How many runs may wait; with `"suspend"` 0 is as 1. Default: no bound. Children of accepted runs are never held back. */
  readonly maxQueued?: number | undefined
  /** What a submitter meets when the queue is full: it is suspended (the default), or the run is refused with reason `QueueFull`. */
  readonly whenQueueFull?: "suspend" | "fail" | undefined
  /** The name it goes by among `Lanes`, seen in `CurrentRun`, in events and in log annotations. Default: none. */
  readonly lane?: string | undefined
}

/** What a run is given. */
export type Provided = Scheduler | TaskRun.CurrentRun | Scope

export interface ForkOptions extends Concurrency.Demand {
  /** For handles, events and logs. Default `"task"`. */
  readonly name?: string | undefined
  /** Default: a fresh one. The id of a live run is invalid. */
  readonly id?: string | undefined
  /** How many runs of this name may run at once. */
  readonly limit?: Concurrency.Limit | undefined
  /** A refusal is a failure of the run instead of a defect. */
  readonly refusable?: boolean | undefined
  /** The number of its first attempt. For runners. Default 1. */
  readonly attempt?: number | undefined
  /** Holds nothing until these have ended, then runs what `next` says, or settles with it. See `Task.after`. */
  readonly after?: Dependencies | undefined
}

/** Runs to wait for before asking for anything. */
export interface Dependencies {
  readonly runs: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>>
  readonly next: (
    exits: ReadonlyArray<Exit.Exit<unknown, unknown>>
  ) => Exit.Exit<unknown, unknown> | {
    readonly effect: Effect.Effect<unknown, unknown, any>
    readonly options: ForkOptions
  }
}

/** A consistent snapshot. `active` is the weight of the slots taken, `queued` counts runs that wait for theirs, `suspended` those that lent it. */
export interface Stats {
  readonly maxParallelism: Concurrency.Limit
  readonly active: number
  readonly queued: number
  readonly suspended: number
  readonly isClosed: boolean
  /** The limits that apply here, by tag. */
  readonly tags: Readonly<Record<string, Concurrency.Usage>>
  /** How many runs of each task hold a slot. */
  readonly tasks: Readonly<Record<string, number>>
}

/** What a waiting run is waiting for: the limit that binds it, who has it, and how many are before it in that line. */
export interface Why {
  readonly run: string
  /** `"maxParallelism"`, `"keyLimit"`, a tag, or the name of the task whose `limit` it is. */
  readonly limit: string
  /**
   * `"full"`; `"reserved"` for work of a higher class; `"rate"` or `"paused"`, until `readyAt`; `"kept"` for an older run that was passed over too
   * often; `"order"`: there is room, and others go before.
   */
  readonly cause: "full" | "reserved" | "rate" | "paused" | "kept" | "order"
  readonly holders: ReadonlyArray<Concurrency.Holder>
  /** The id of the run the limit is kept for. */
  readonly keptFor: string | undefined
  /** 1 is next. */
  readonly position: number
  /** When the rate lets it start, or the pause ends by itself. */
  readonly readyAt: DateTime.Utc | undefined
  /** A guess: until `readyAt`, or as if each holder took as long again as it has. `undefined` where there is nothing to guess from. */
  readonly estimate: Duration.Duration | undefined
}

interface Service {
  readonly id: string
  readonly fork: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ForkOptions
  ) => Effect.Effect<TaskRun.TaskRun<A, E>, never, Exclude<R, Provided>>
  readonly run: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ForkOptions
  ) => Effect.Effect<A, E, Exclude<R, Provided>>
  /** Every fact of this scheduler from the subscription on; a slow reader misses none. */
  readonly events: Stream.Stream<RunEvent.RunEvent>
  readonly stats: Effect.Effect<Stats>
  readonly resize: (maxParallelism: Concurrency.Limit) => Effect.Effect<void, InvalidOptionError>
  readonly why: (id: string) => Effect.Effect<Option.Option<Why>>
  /** The live runs, in order of submission. */
  readonly runs: Effect.Effect<ReadonlyArray<TaskRun.TaskRun<unknown, unknown>>>
  readonly close: Effect.Effect<Supervisor.Report>
  readonly closeWith: (budget: Supervisor.Budget) => Effect.Effect<Supervisor.Report>
}

/** The service that runs effects under limits. */
export class Scheduler extends Context.Service<Scheduler, Service>()("tasklayer/Scheduler") {}

/**
 * A pool of fibers. Uses the Concurrency in context where there is one (two runners, one database limit), else makes its own; provides it
 * either way.
 */
export const layer = (options?: LayerOptions): Layer.Layer<Scheduler | Concurrency.Concurrency> =>
  build("Scheduler.layer", "Scheduler.layer", options ?? {}, {})

/** One at a time: roots in order of submission, each with its descendants before the next. */
export const layerSequential: Layer.Layer<Scheduler | Concurrency.Concurrency> = build(
  "Scheduler.layerSequential",
  "Scheduler.layerSequential",
  { maxParallelism: 1 },
  { sequential: true }
)

/** As many at once as there are; tag limits hold. */
export const layerUnbounded: Layer.Layer<Scheduler | Concurrency.Concurrency> = build(
  "Scheduler.layerUnbounded",
  "Scheduler.layerUnbounded",
  { maxParallelism: "unbounded" },
  {}
)

/**
 * For tests: in the fiber that asked, `fork` included, which returns a finished handle and counts as a wait. No pool, no queue; tag limits
 * and refusals hold.
 */
export const layerInline: Layer.Layer<Scheduler | Concurrency.Concurrency> = build(
  "Scheduler.layerInline",
  "Scheduler.layerInline",
  {},
  { inline: true }
)

/** A pool whose options come from configuration. */
export const layerConfig = (
  options: Config.Wrap<
    Omit<LayerOptions, "tagLimits" | "keyWeight"> & {
      readonly tagLimits?: Readonly<Record<string, Concurrency.Limit | Concurrency.TagLimit>> | undefined
    }
  >
): Layer.Layer<Scheduler | Concurrency.Concurrency, Config.ConfigError | InvalidOptionError> =>
  Layer.unwrap(
    Effect.gen(function*() {
      const read = yield* Config.unwrap(options as Config.Wrap<LayerOptions>)
      yield* Concurrency.orFail(() => check("Scheduler.layerConfig", read))
      return build("Scheduler.layerConfig", "Scheduler.layer", read, {})
    })
  )

/** Submits an effect and returns its handle. The run outlives the fiber that submitted it. */
export const fork = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: ForkOptions
): Effect.Effect<TaskRun.TaskRun<A, E>, never, Exclude<R, Provided> | Scheduler> =>
  Effect.withFiber((fiber) => {
    const scheduler = Context.getUnsafe(fiber.context as Context.Context<any>, Scheduler)
    // Straight to the pool where it is one of ours: an effect less a submission.
    const core = cores.get(scheduler)
    return core === undefined
      ? scheduler.fork(effect, options)
      : core.fork(fiber, effect, options, false, Effect.succeed) as Effect.Effect<any>
  })

/** Submits an effect and waits for its result; interruption is passed on. */
export const run = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: ForkOptions
): Effect.Effect<A, E, Exclude<R, Provided> | Scheduler> => Scheduler.use((scheduler) => scheduler.run(effect, options))

/** Changes `maxParallelism` while running: raised, waiting runs start at once; lowered, running ones finish. */
export const resize = (maxParallelism: Concurrency.Limit): Effect.Effect<void, InvalidOptionError, Scheduler> =>
  Scheduler.use((scheduler) => scheduler.resize(maxParallelism))

/** What a waiting run is waiting for; `None` when it is not waiting for a limit. */
export const why = (id: string): Effect.Effect<Option.Option<Why>, never, Scheduler> =>
  Scheduler.use((scheduler) => scheduler.why(id))

export const stats: Effect.Effect<Stats, never, Scheduler> = Scheduler.use((scheduler) => scheduler.stats)

/** Every fact of the scheduler in context, from the subscription on. */
export const events: Stream.Stream<RunEvent.RunEvent, never, Scheduler> = Stream.unwrap(
  Scheduler.useSync((scheduler) => scheduler.events)
)

/** The live runs, in order of submission. */
export const runs: Effect.Effect<ReadonlyArray<TaskRun.TaskRun<unknown, unknown>>, never, Scheduler> = Scheduler.use((
  scheduler
) => scheduler.runs)

/** Stops the scheduler within the budget its Layer was made with. */
export const close: Effect.Effect<Supervisor.Report, never, Scheduler> = Scheduler.use((scheduler) => scheduler.close)

/** Stops the scheduler within this budget; while a stop is going on it can only shorten it. */
export const closeWith = (budget: Supervisor.Budget): Effect.Effect<Supervisor.Report, never, Scheduler> =>
  Scheduler.use((scheduler) => scheduler.closeWith(budget))

// ─── how the layers are made

interface Kind {
  readonly sequential?: boolean
  readonly inline?: boolean
}

function build(
  where: string,
  name: string,
  options: LayerOptions,
  kind: Kind
): Layer.Layer<Scheduler | Concurrency.Concurrency> {
  return Layer.effectContext(
    Effect.gen(function*() {
      const context = yield* Effect.context<never>()
      const outer = Context.getOrUndefined(context, Concurrency.Concurrency)
      const made = yield* Concurrency.orDie(() => {
        const concurrency = outer ?? Concurrency.makeUnsafe(where, options.tagLimits, context)
        const limits = concurrency.limitsFor({
          ...options,
          where,
          maxParallelism: options.maxParallelism,
          tagLimits: options.tagLimits,
          owner: outer === undefined,
          inline: kind.inline === true,
          sequential: kind.sequential === true
        })
        keepLayouts(Scheduler)
        const self = { service: undefined as unknown, key: Scheduler }
        if (options.saturation !== undefined) concurrency.watch(where, options.saturation, context)
        const core = new Core(where, name, options, limits, context, self, kind.inline === true)
        const service = serviceOf(core)
        self.service = service
        return { concurrency, core, limits, service }
      })
      yield* Effect.addFinalizer(() =>
        Effect.andThen(
          stopAndReport(made.core),
          Effect.sync(() => made.concurrency.close(outer === undefined ? undefined : made.limits))
        )
      )
      return Context.make(Scheduler, made.service).pipe(Context.add(Concurrency.Concurrency, made.concurrency))
    })
  )
}

// Uninterruptible, as finalizers are: `runMain` has interrupted this fiber already, and an interruptible wait would drain nothing.
const stopAndReport = (core: Core): Effect.Effect<void> =>
  Effect.gen(function*() {
    const report = yield* core.close(undefined)
    // Those that asked for the stop from inside were left alone by it; the scope does not leave them behind.
    for (const run of core.runs) if (run.ending !== "abandoned") run.interruptUnsafe()
    yield* Supervisor.logReport("scheduler", core.members, report)
    core.limits.admission.sources.delete(core.members as unknown as Iterable<Run<any, any>>)
  })

/** Throws the `InvalidOptionError` that a Layer of these options would die with. @internal */
export const check = (where: string, options: LayerOptions): void => {
  Concurrency.makeUnsafe(where, options.tagLimits).limitsFor({
    ...options,
    where,
    maxParallelism: options.maxParallelism,
    tagLimits: undefined,
    owner: true,
    inline: false,
    sequential: false
  })
  Supervisor.checkBudget(where, options)
  if (options.maxQueued !== undefined) Concurrency.checkLimit(where, "maxQueued", 0, options.maxQueued)
  checkWhenQueueFull(where, options.whenQueueFull)
}

const cores = new WeakMap<Scheduler["Service"], Core>()

const serviceOf = (core: Core): Scheduler["Service"] => {
  const service = makeService(core)
  if (!core.inline) cores.set(service, core)
  return service
}

const makeService = (core: Core): Scheduler["Service"] => ({
  id: core.id,
  fork: core.inline
    ? (effect, options) => inlineFork(core, effect, options) as never
    : (effect, options) =>
      Effect.withFiber((fiber) => core.fork(fiber, effect, options, false, Effect.succeed)) as never,
  run: core.inline
    ? (effect, options) =>
      Effect.flatMap(inlineFork(core, effect, options), (run) => (run.observed = true, run.settled!)) as never
    : (effect, options) =>
      Effect.suspend(() => {
        let run: Run<any, any> | undefined
        const joined = Effect.withFiber((fiber) =>
          core.fork(fiber, effect, options, true, (submitted) => {
            core.startSoon()
            return joinOwned(fiber.context, run = submitted)
          })
        )
        // Around the submission: who is interrupted in the instant after it takes the run along, too.
        return Effect.onExitPrimitive(joined, () =>
          run === undefined || run.settled !== undefined ? undefined : run.interrupt)
      }) as never,
  events: core.events.stream,
  stats: core.stats,
  resize: (maxParallelism) => core.resize(maxParallelism),
  why: (id) => core.why(id),
  runs: Effect.sync(() => core.runs),
  close: core.close(undefined),
  closeWith: (budget) => core.close(budget)
})

/** A yielded run ends with the fiber that waits for it. */
const joinOwned = <A, E>(context: Context.Context<never>, run: Run<A, E>): Effect.Effect<A, E> =>
  run.joined(context, () => {
    run.interruptUnsafe()
    return run.ended(context)
  })

/** The run an effect is inside of, where it is one of ours. @internal */
export const currentRun = (context: Context.Context<never>): Run<unknown, unknown> | undefined => {
  const run: unknown = Context.getOrUndefined(context, Concurrency.RunKey)
  return run !== undefined && (run as Run<unknown, unknown>).core instanceof Core
    ? run as Run<unknown, unknown>
    : undefined
}
