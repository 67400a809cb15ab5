/** A JobRunner over a pool of hosts, with a scheduler of its own. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Transferable from "effect/workers/Transferable"
import * as Concurrency from "../../Concurrency.ts"
import { InvalidOptionError, orDie, orFail } from "../../InvalidOptionError.ts"
import type * as Job from "../../Job.ts"
import * as JobRunner from "../../JobRunner.ts"
import * as Scheduler from "../../Scheduler.ts"
import * as Supervisor from "../../Supervisor.ts"
import type { Start } from "./Carrier.ts"
import type { HostStartError } from "./HostErrors.ts"
import { isDone, movable } from "./Movable.ts"
import { Pool, type PoolOptions, type Size } from "./Pool.ts"

/** What runners of threads and of processes have in common. */
export interface Options extends Omit<Scheduler.LayerOptions, "maxParallelism"> {
  /** The file that calls `ThreadHost.run`: a URL, or a path (relative ones to the working directory). */
  readonly entry: string | URL
  /** Both `minSize` and `maxSize`. Default: the number of CPUs. */
  readonly size?: number | undefined
  /** How many are kept however little there is to do. Default: 1 with a `maxSize`. */
  readonly minSize?: number | undefined
  /** How many jobs run at once. Default: the number of CPUs. */
  readonly maxSize?: number | undefined
  /** How many idle ones are kept ready beyond those in use, so that a killed one is replaced at once. Default 1. */
  readonly spares?: number | undefined
  /** How long an idle one beyond `minSize` and the spares is kept. Default 30 seconds. */
  readonly keepAlive?: Duration.Input | undefined
  /** One that is to end and does not answer for so long is killed. Default 100 milliseconds. */
  readonly killAfter?: Duration.Input | undefined
  /** How long one may take until it is ready. Default 30 seconds. */
  readonly startTimeout?: Duration.Input | undefined
  /** Given to each: anything that can be cloned. See `ThreadHost.data`. */
  readonly data?: unknown
}

/** A consistent snapshot. */
export interface Stats {
  readonly minSize: number
  readonly maxSize: number
  readonly keepAlive: Duration.Duration
  /** Those that count: running a job, or idle and ready for one. Never more than `maxSize`, but while that is lowered. */
  readonly allocated: number
  /** Those running a job that is not suspended. */
  readonly active: number
  readonly idle: number
  /** Those whose job waits for other runs and lent its slot. */
  readonly suspended: number
  /** Idle ones beyond those that count. */
  readonly spares: number
  /** How many of the idle ones and the spares are not ready yet. */
  readonly starting: number
}

/** What a runner of threads or of processes can be asked. */
export interface Service {
  readonly id: string
  /** Where its runs are admitted. */
  readonly scheduler: Scheduler.Scheduler["Service"]
  readonly stats: Effect.Effect<Stats>
  /** Raised, waiting runs start at once; lowered, running ones finish. */
  readonly resize: (size: number | Partial<Size>) => Effect.Effect<void, InvalidOptionError>
}

export interface Kind {
  /** Of the default id. */
  readonly prefix: string
  readonly start: Start
  readonly entry: string
  readonly env?: PoolOptions["env"]
}

/** The layer of a runner; `where` is its name. */
export const layer = <I>(
  key: Context.Key<I, Service>,
  where: string,
  options: Options,
  kindOf: (settings: Settings) => Kind
): Layer.Layer<I | Job.JobRunner, HostStartError> =>
  Layer.effectContext(Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const scope = yield* Effect.scope
    const { size, ...settings } = yield* orDie(() => check(where, options))
    const { entry, env, prefix, start } = yield* orDie(() => kindOf(settings))
    const id = options.id ?? `${prefix}-${Supervisor.freshId()}`
    const pool = new Pool(
      { ...settings, runner: id, lane: options.lane, name: `tasklayer-${options.lane ?? id}`, entry, start, env },
      size,
      context
    )
    yield* Effect.addFinalizer(() => pool.close)
    yield* pool.open
    // After the pool, so that it is closed before: what it drains needs its hosts.
    const own = Scheduler.layer({ ...schedulerOptions(options), id, maxParallelism: size.maxSize })
    const scheduler = Context.get(yield* Layer.buildWithScope(Layer.fresh(own), scope), Scheduler.Scheduler)
    const runner = JobRunner.make({
      id,
      scheduler,
      jobs: Effect.sync(() => [...pool.jobs.values()]),
      find: (name) => Effect.succeed(pool.find(name)),
      perform: (call) => pool.perform(call),
      encode
    })
    const resize = (asked: number | Partial<Size>) =>
      Effect.flatMap(orFail(() => checkSize(where.replace("layer", "resize"), merged(pool.size, asked))), (size) =>
        Effect.andThen(scheduler.resize(size.maxSize), Effect.sync(() => pool.resize(size))))
    const service: Service = {
      id,
      scheduler,
      stats: Effect.suspend(() =>
        statsOf(pool)
      ),
      resize
    }
    return Context.make(key, service).pipe(Context.add(JobRunner.JobRunner, runner))
  }))

/** What may be moved is, unless another attempt may need it again. */
const encode = (
  encoding: Effect.Effect<unknown, Job.InvalidPayloadError>,
  once: boolean
): Effect.Effect<JobRunner.Encoded, Job.InvalidPayloadError> => {
  // Encoded already, and nobody asked for a collector.
  if (isDone(encoding)) return Effect.mapEager(encoding, (payload) => ({ payload, transfer: nothing }))
  const collector = Transferable.makeCollectorUnsafe()
  return Effect.map(Effect.provideService(encoding, Transferable.Collector, collector), (payload) => ({
    payload,
    transfer: once ? movable(collector.readUnsafe()) : nothing
  }))
}

const nothing: ReadonlyArray<unknown> = []
const statsOf = (pool: Pool): Effect.Effect<Stats> =>
  Effect.gen(function*() {
    const { maxSize, minSize } = pool.size
    let active = 0
    let suspended = 0
    let ending = 0
    for (const host of pool.hosts) {
      if (host.call === undefined) continue
      if (host.isEnding) ending++
      const state = yield* host.call.given.run.state
      if (state._tag === "Suspended") suspended++
      else active++
    }
    const free = pool.alive - (active + suspended - ending)
    const spares = Math.min(free, pool.options.spares)
    const idle = Math.max(0, Math.min(maxSize - active, free - spares))
    return {
      minSize,
      maxSize,
      keepAlive: Duration.millis(pool.options.keepAlive),
      allocated: active + idle,
      active,
      idle,
      suspended,
      spares: free - idle,
      starting: free - pool.idle
    }
  })

// ─── the options

const schedulerOptions = (options: Options): Scheduler.LayerOptions => {
  const { data, entry, keepAlive, killAfter, maxSize, minSize, size, spares, startTimeout, ...rest } = options
  return rest
}

/** In milliseconds. */
export type Settings = Pick<PoolOptions, "spares" | "keepAlive" | "killAfter" | "startTimeout" | "stopTimeout">

const check = (where: string, options: Options): Settings & { readonly size: Size } => {
  const size = sizeIn(where, options)
  Scheduler.check(where, { ...schedulerOptions(options), maxParallelism: size.maxSize })
  return { size, ...settingsIn(where, options) }
}

const settingsIn = (where: string, options: Options): Settings => ({
  spares: Concurrency.checkLimit(where, "spares", 0, options.spares ?? 1),
  keepAlive: toMillis(where, "keepAlive", options.keepAlive ?? "30 seconds"),
  killAfter: toMillis(where, "killAfter", options.killAfter ?? "100 millis"),
  startTimeout: toMillis(where, "startTimeout", options.startTimeout ?? "30 seconds"),
  stopTimeout: toMillis(where, "interruptTimeout", options.interruptTimeout ?? "Infinity")
})

const merged = (size: Size, asked: number | Partial<Size>): number | Size =>
  typeof asked === "object" ? { minSize: asked.minSize ?? size.minSize, maxSize: asked.maxSize ?? size.maxSize } : asked

const toMillis = (where: string, field: string, input: Duration.Input): number =>
  Duration.toMillis(Concurrency.checkDuration(where, field, input))

const sizeIn = (where: string, { maxSize, minSize, size }: Options): Size => {
  if (size === undefined) {
    const max = maxSize ?? Math.max(minSize ?? 1, navigator.hardwareConcurrency)
    return checkSize(where, { minSize: minSize ?? (maxSize === undefined ? max : Math.min(1, max)), maxSize: max })
  }
  if (minSize === undefined && maxSize === undefined) return checkSize(where, size)
  throw new InvalidOptionError({
    where,
    field: "size",
    rule: "must not be given together with minSize or maxSize",
    value: size
  })
}

const checkSize = (where: string, asked: number | Size): Size => {
  const invalid = (field: string, rule: string, value: unknown) => new InvalidOptionError({ where, field, rule, value })
  const isAbove = (min: number, value: unknown) => Number.isInteger(value) && (value as number) >= min
  if (typeof asked !== "object") {
    if (isAbove(1, asked)) return { minSize: asked, maxSize: asked }
    throw invalid("size", "must be an integer >= 1", asked)
  }
  const { maxSize, minSize } = asked
  if (!isAbove(1, maxSize)) throw invalid("maxSize", "must be an integer >= 1", maxSize)
  if (!isAbove(0, minSize)) throw invalid("minSize", "must be an integer >= 0", minSize)
  if (minSize > maxSize) throw invalid("minSize", `must not be above maxSize, which is ${maxSize}`, minSize)
  return { minSize, maxSize }
}
