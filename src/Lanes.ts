/**
 * Named schedulers beside each other, under one supervisor, with a default.
 *
 * Work in one lane never waits for a slot of another, so what blocks or floods one leaves the others untouched. Lanes share the Concurrency in
 * context, where tag limits hold across all of them; the tag limits in a lane's own options count in that lane alone.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Concurrency from "./Concurrency.ts"
import type { InvalidOptionError } from "./InvalidOptionError.ts"
import * as Scheduler from "./Scheduler.ts"
import * as Supervisor from "./Supervisor.ts"
import * as TaskRun from "./TaskRun.ts"

/** A lane without a budget of its own has its supervisor's. */
export interface LaneOptions extends Omit<Scheduler.LayerOptions, "lane"> {
  /** False: declared, and refusing work until `Lanes.start`. Default true. */
  readonly start?: boolean | undefined
}

export interface Options {
  /** By name. A name is not empty, not `"default"`, and does not begin with `tasklayer`. */
  readonly lanes: Readonly<Record<string, LaneOptions>>
  /** Where work goes that names no lane. Default: the first lane. */
  readonly default?: string | undefined
}

export interface LaneInfo {
  readonly name: string
  /** Whether it takes new work. */
  readonly state: "running" | "stopped"
  readonly isDefault: boolean
}

interface Service {
  /** The scheduler of a lane; `"default"` is the default lane whichever that is. */
  readonly get: (name: string) => Effect.Effect<Scheduler.Scheduler["Service"], LaneError>
  readonly add: (name: string, options?: LaneOptions) => Effect.Effect<void, LaneError | InvalidOptionError>
  readonly start: (name: string) => Effect.Effect<void, LaneError>
  readonly stop: (name: string, budget?: Supervisor.Budget) => Effect.Effect<Supervisor.Report, LaneError>
  readonly setDefault: (name: string) => Effect.Effect<void, LaneError>
  readonly list: Effect.Effect<ReadonlyArray<LaneInfo>>
}

/** The lanes there are. */
export class Lanes extends Context.Service<Lanes, Service>()("tasklayer/Lanes") {}

/**
 * Lanes that live as long as the Layer. Its `Scheduler` is the default lane, whichever that is at the time. Uses the Supervisor in context
 * where there is one: its `lanes` phase closes them.
 */
export const layer = (
  options: Options
): Layer.Layer<Lanes | Scheduler.Scheduler | Concurrency.Concurrency | Supervisor.Supervisor> =>
  Layer.effectContext(make(options)).pipe(Layer.provideMerge(Supervisor.layerInContext()))

/** Submits any effect to a lane and returns its handle. */
export const fork = (name: string) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: Scheduler.ForkOptions
): Effect.Effect<TaskRun.TaskRun<A, E>, LaneError, Exclude<R, Scheduler.Provided> | Lanes> =>
  Effect.flatMap(get(name), (scheduler) => scheduler.fork(effect, options))

/** Submits any effect to a lane and waits for its result; interruption is passed on. */
export const run = (name: string) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: Scheduler.ForkOptions
): Effect.Effect<A, E | LaneError, Exclude<R, Scheduler.Provided> | Lanes> =>
  Effect.flatMap(get(name), (scheduler) => scheduler.run(effect, options))

/** The scheduler of a lane; `"default"` is the default lane whichever that is. */
export const get = (name: string): Effect.Effect<Scheduler.Scheduler["Service"], LaneError, Lanes> =>
  Lanes.use((lanes) => lanes.get(name))

/** Declares a lane, and starts it unless `start` is false. */
export const add = (name: string, options?: LaneOptions): Effect.Effect<void, LaneError | InvalidOptionError, Lanes> =>
  Lanes.use((lanes) => lanes.add(name, options))

/** Starts a lane that was stopped or never started, after its stop where that is going on; one that runs is left as it is. */
export const start = (name: string): Effect.Effect<void, LaneError, Lanes> => Lanes.use((lanes) => lanes.start(name))

/** Closes the lane's scheduler, within the budget of its options or this one. The lane can be started again. */
export const stop = (
  name: string,
  budget?: Supervisor.Budget
): Effect.Effect<Supervisor.Report, LaneError, Lanes> => Lanes.use((lanes) => lanes.stop(name, budget))

/** Makes a lane the default from now on. */
export const setDefault = (name: string): Effect.Effect<void, LaneError, Lanes> =>
  Lanes.use((lanes) => lanes.setDefault(name))

export const list: Effect.Effect<ReadonlyArray<LaneInfo>, never, Lanes> = Lanes.use((lanes) => lanes.list)

/** What can be wrong with the name of a lane. */
export type LaneReason =
  | { readonly _tag: "Unknown"; readonly known: ReadonlyArray<string> }
  | { readonly _tag: "Duplicate" }
  | { readonly _tag: "Reserved" }
  | { readonly _tag: "NotStarted" }

export class LaneError extends Data.TaggedError("LaneError")<{ readonly lane: string; readonly reason: LaneReason }> {
  override get message(): string {
    const { lane, reason } = this
    switch (reason._tag) {
      case "Unknown":
        return `there is no lane "${lane}": ${reason.known.map((name) => `"${name}"`).join(", ") || "none is declared"}`
      case "Duplicate":
        return `there is a lane "${lane}" already`
      case "Reserved":
        return `"${lane}" is no name for a lane: it must not be empty or "default", nor begin with "tasklayer"`
      case "NotStarted":
        return `lane "${lane}" is not running`
    }
  }
}

// ─── how it is made

interface Lane {
  readonly name: string
  readonly options: Scheduler.LayerOptions
  live: Live | undefined
}

/** What a lane is from a start until its stop is over. */
interface Live {
  readonly scheduler: Scheduler.Scheduler["Service"]
  /** Leaves its place to the next. The runs that asked for the stop from inside go on; their scheduler lasts as long. */
  readonly retire: Effect.Effect<void>
}

const nothing: Supervisor.Report = { drained: 0, interrupted: 0, abandoned: 0, stragglers: [] }

/** Never the shorter budget. */
const unhurried: Supervisor.Budget = { gracePeriod: "Infinity" }

const make = Effect.fnUntraced(function*(options: Options) {
  const context = yield* Effect.context<Supervisor.Supervisor>()
  const supervisor = Context.get(context, Supervisor.Supervisor)
  const outer = Context.getOrUndefined(context, Concurrency.Concurrency)
  const concurrency = outer ?? Concurrency.makeUnsafe("Lanes.layer", undefined, context)
  if (outer === undefined) yield* Effect.addFinalizer(() => Effect.sync(() => concurrency.close(undefined)))
  const base = Context.add(context, Concurrency.Concurrency, concurrency)
  const lanes = new Map<string, Lane>()
  // Lanes close side by side: each has its own budget.
  const scope = yield* Effect.acquireRelease(Scope.make("parallel"), (scope, exit) => Scope.close(scope, exit))
  let chosen: string | undefined

  const find = (name: string): Effect.Effect<Lane, LaneError> =>
    Effect.suspend(() => {
      const lane = lanes.get(name === "default" ? chosen ?? name : name)
      return lane === undefined
        ? Effect.fail(new LaneError({ lane: name, reason: { _tag: "Unknown", known: [...lanes.keys()] } }))
        : Effect.succeed(lane)
    })

  const running = (lane: Lane) =>
    lane.live === undefined
      ? Effect.fail(new LaneError({ lane: lane.name, reason: { _tag: "NotStarted" } }))
      : Effect.succeed(lane.live.scheduler)

  const isRunning = ({ live }: Lane): Effect.Effect<boolean> =>
    live === undefined ? Effect.succeed(false) : Effect.map(live.scheduler.stats, ({ isClosed }) => !isClosed)

  const opening = Semaphore.makeUnsafe(1)

  const open = (lane: Lane): Effect.Effect<void, LaneError> =>
    Effect.suspend(() =>
      lane.live === undefined
        ? opening.withPermit(Effect.suspend(() => lane.live === undefined ? begin(lane) : Effect.void))
        : Effect.flatMap(
          isRunning(lane),
          (yes) => yes ? Effect.void : Effect.andThen(close(lane, unhurried), open(lane))
        )
    )

  const begin = (lane: Lane): Effect.Effect<void, LaneError> =>
    Effect.uninterruptible(Effect.suspend(() => {
      const own = Scope.forkUnsafe(scope, "sequential")
      const place = Scope.forkUnsafe(own, "sequential")
      const added = supervisor.add({ name: `lane ${lane.name}`, phase: "lanes", stop: (left) => close(lane, left) })
      const opened = Effect.gen(function*() {
        yield* Scope.provide(added, place)
        // A scheduler of its own: built anew each start.
        const layer = Layer.fresh(Scheduler.layer({ ...lane.options, lane: lane.name }))
        const scheduler = Context.get(yield* Layer.buildWithScope(layer, own), Scheduler.Scheduler)
        const retire = yield* Effect.cached(Effect.gen(function*() {
          yield* Scope.close(place, Exit.void)
          lane.live = undefined
          const left = yield* scheduler.runs
          if (left.length === 0) return yield* Scope.close(own, Exit.void)
          Effect.runForkWith(base)(Effect.andThen(TaskRun.awaitAll(left), Scope.close(own, Exit.void)))
        }))
        lane.live = { scheduler, retire }
      })
      return opened.pipe(
        Effect.provideContext(base),
        Effect.catchTag(
          "NameTakenError",
          () => Effect.fail(new LaneError({ lane: lane.name, reason: { _tag: "Duplicate" } }))
        ),
        Effect.onExit((exit) => Exit.isSuccess(exit) ? Effect.void : Scope.close(own, exit))
      )
    }))

  /** Whoever waits for it may be interrupted: the stop goes on. */
  const close = (lane: Lane, budget: Supervisor.Budget | undefined): Effect.Effect<Supervisor.Report> =>
    Effect.suspend(() => {
      const { live } = lane
      if (live === undefined) return Effect.succeed(nothing)
      const closed = budget === undefined ? live.scheduler.close : live.scheduler.closeWith(budget)
      const retired = Effect.uninterruptible(Effect.tap(closed, live.retire))
      return Effect.flatMap(Effect.forkDetach(retired, { startImmediately: true }), Fiber.join)
    })

  const add = Effect.fnUntraced(function*(where: string, name: string, { start, ...rest }: LaneOptions) {
    const no = (_tag: "Reserved" | "Duplicate") => new LaneError({ lane: name, reason: { _tag } })
    if (name === "" || name === "default" || name.startsWith("tasklayer")) return yield* no("Reserved")
    if (lanes.has(name)) return yield* no("Duplicate")
    yield* Concurrency.orFail(() => Scheduler.check(where, rest))
    const options = {
      ...rest,
      id: rest.id ?? `${name}-${Supervisor.freshId()}`,
      gracePeriod: rest.gracePeriod ?? supervisor.budget.gracePeriod,
      interruptTimeout: rest.interruptTimeout ?? supervisor.budget.interruptTimeout
    }
    const lane: Lane = { name, options, live: undefined }
    lanes.set(name, lane)
    if (start !== false) yield* Effect.onError(open(lane), () => Effect.sync(() => lanes.delete(name)))
    chosen ??= name
  })

  const service: Service = {
    get: (name) => Effect.flatMap(find(name), running),
    add: (name, options) => add("Lanes.add", name, options ?? {}),
    start: (name) => Effect.flatMap(find(name), open),
    stop: (name, budget) => Effect.flatMap(find(name), (lane) => close(lane, budget)),
    setDefault: (name) => Effect.map(find(name), (lane) => void (chosen = lane.name)),
    list: Effect.suspend(() =>
      Effect.forEach([...lanes.values()], (lane) =>
        Effect.map(isRunning(lane), (yes) => ({
          name: lane.name,
          state: yes ? "running" : "stopped",
          isDefault: lane.name === chosen
        })))
    )
  }
  // Names in the program: what is wrong with them is a defect, as with every option of a Layer.
  for (const [name, lane] of Object.entries(options.lanes)) yield* Effect.orDie(add("Lanes.layer", name, lane))
  if (options.default !== undefined) yield* Effect.orDie(service.setDefault(options.default))
  return Context.make(Lanes, service).pipe(
    Context.add(Scheduler.Scheduler, defaultLane(service)),
    Context.add(Concurrency.Concurrency, concurrency)
  )
})

/** The scheduler of whichever lane is the default when it is asked. */
const defaultLane = (lanes: Service): Scheduler.Scheduler["Service"] => {
  const chosen = Effect.orDie(lanes.get("default"))
  return {
    id: "default",
    fork: (effect, options) => Effect.flatMap(chosen, (scheduler) => scheduler.fork(effect, options)),
    run: (effect, options) => Effect.flatMap(chosen, (scheduler) => scheduler.run(effect, options)),
    events: Stream.unwrap(Effect.map(chosen, (scheduler) => scheduler.events)),
    stats: Effect.flatMap(chosen, (scheduler) => scheduler.stats),
    resize: (maxParallelism) => Effect.flatMap(chosen, (scheduler) => scheduler.resize(maxParallelism)),
    why: (id) => Effect.flatMap(chosen, (scheduler) => scheduler.why(id)),
    runs: Effect.flatMap(chosen, (scheduler) => scheduler.runs),
    close: Effect.flatMap(chosen, (scheduler) => scheduler.close),
    closeWith: (budget) => Effect.flatMap(chosen, (scheduler) => scheduler.closeWith(budget))
  }
}
