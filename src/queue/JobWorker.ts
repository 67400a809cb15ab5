/**
 * Takes jobs from the store and runs them, on as many machines as share it.
 *
 * A worker has one lease for all it has, and renews it while it lives: what a worker had that is gone runs elsewhere within seconds, and a worker
 * that finds its lease gone interrupts what it runs and starts anew. Jobs run on the JobRunner in context, under the limits of its scheduler as
 * well as those of the store. Delivery is at least once, unless a job says otherwise: what a handler does twice should be as good as once.
 */
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type { Scope } from "effect/Scope"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError, orDie, orFail } from "../InvalidOptionError.ts"
import * as Job from "../Job.ts"
import * as Scheduler from "../Scheduler.ts"
import * as Supervisor from "../Supervisor.ts"
import { CurrentJob } from "./internal/CurrentJob.ts"
import { checkInteger, checkMillis } from "./internal/StoreOptions.ts"
import type { Known } from "./internal/WorkerAttempt.ts"
import { type Plan, WorkerLoop } from "./internal/WorkerLoop.ts"
import { limitTag } from "./JobQueue.ts"
import { type ClaimFilter, JobStore, type JobStoreError } from "./JobStore.ts"

export interface Options extends Supervisor.Budget {
  /** For people: in logs, and in the store's list of workers. Default: a fresh one. */
  readonly name?: string | undefined
  /** The queues it serves. Default: all. */
  readonly queues?: ReadonlyArray<string> | undefined
  /** Serves what has one of these tags. Default: all. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** Serves what is as urgent as that, from the most urgent to the least. Default: all. */
  readonly priorities?: {
    readonly from?: Concurrency.Priority | undefined
    readonly to?: Concurrency.Priority | undefined
  } | undefined
  /**
   * What becomes of jobs whose name nobody here knows: `"deadLetter"` (the default), or `"leave"` them to others. With `"leave"`, only what has a
   * handler when the worker starts is taken.
   */
  readonly unknown?: "deadLetter" | "leave" | undefined
  /** Jobs whose handlers are in other threads or processes: that they are retried, and what limits them, is said by the job itself. */
  readonly jobs?: ReadonlyArray<Job.AnyJob> | undefined
  /** How many it runs at once. Default: the `maxParallelism` of the Scheduler in context, or the number of CPUs. */
  readonly concurrency?: number | undefined
  /**
   * How many more it takes than it runs, so that the next are at hand when one ends. They count as active in the limits of the store, and wait
   * for this worker while another may be idle. Default 0.
   */
  readonly prefetch?: number | undefined
  /** How long after its last sign of life its jobs go to others. Default 3 seconds. */
  readonly lease?: Duration.Input | undefined
  /** A worker whose event loop is blocked for longer than that has its lease no more. Default 30 seconds. */
  readonly maxBlocked?: Duration.Input | undefined
}

/** What it is doing. `active` counts what it has, whether begun or not. */
export type Status =
  & {
    readonly name: string
    readonly active: number
    /** Its lease. */
    readonly worker: string | undefined
  }
  & (
    | { readonly state: "Starting" | "Running" | "Draining" | "Stopped" }
    /** The store cannot be reached, and it tries again. */
    | { readonly state: "Degraded"; readonly since: DateTime.Utc; readonly error: JobStoreError }
  )

interface Service {
  readonly name: string
  readonly status: Effect.Effect<Status>
  /** Waits until nothing is active here and the store has nothing for it now. */
  readonly awaitIdle: Effect.Effect<void>
  /** Takes no more, drains within the budget it was made with, and gives back what has not ended. Every caller gets the same report. */
  readonly stop: Effect.Effect<Supervisor.Report>
  readonly stopWith: (budget: Supervisor.Budget) => Effect.Effect<Supervisor.Report>
}

/** A worker of the store in context. */
export class JobWorker extends Context.Service<JobWorker, Service>()("tasklayer/JobWorker") {}

/**
 * A worker that lives as long as the Layer. Closing, it takes no more, lets what runs end within `gracePeriod`, and then interrupts it: what was
 * interrupted goes back at once, at the head of its line, and no attempt is counted.
 *
 * A Supervisor in context has it as a member, in its phase `workers`.
 */
export const layer = (
  options?: Options
): Layer.Layer<JobWorker, never, JobStore | Job.JobRunner> =>
  Layer.effect(JobWorker, Effect.flatMap(orDie(() => check("JobWorker.layer", options)), make))

/** `layer`, with options that come from outside. */
export const layerConfig = (
  options: Config.Wrap<Options>
): Layer.Layer<JobWorker, Config.ConfigError | InvalidOptionError, JobStore | Job.JobRunner> =>
  Layer.effect(
    JobWorker,
    Effect.flatMap(Config.unwrap(options), (options) =>
      Effect.flatMap(orFail(() => check("JobWorker.layerConfig", options as Options)), make))
  )

/** What the worker in context is doing. */
export const status: Effect.Effect<Status, never, JobWorker> = JobWorker.use((worker) => worker.status)

/** Waits until nothing is active here and the store has nothing for the worker now. */
export const awaitIdle: Effect.Effect<void, never, JobWorker> = JobWorker.use((worker) => worker.awaitIdle)

/** Stops the worker within the budget it was made with. */
export const stop: Effect.Effect<Supervisor.Report, never, JobWorker> = JobWorker.use((worker) => worker.stop)

// ─── from inside a handler

/**
 * The kept job an effect is inside of: its id, its errors so far, and its token, which grows with each attempt and lets what it writes to refuse
 * an older one. `undefined` outside, and in another thread or process.
 */
export { CurrentJob }

// ─── how it is made

interface Checked {
  readonly name: string
  readonly filter: ClaimFilter
  readonly leavesUnknown: boolean
  readonly jobs: ReadonlyArray<Job.AnyJob>
  readonly concurrency: number | undefined
  readonly prefetch: number
  readonly lease: number
  readonly maxBlocked: number
  readonly budget: Supervisor.CheckedBudget
}

const check = (where: string, options: Options | undefined): Checked => {
  const { concurrency, lease = "3 seconds", maxBlocked = "30 seconds", name, prefetch = 0, priorities, queues, tags } =
    options ?? {}
  const unknown = options?.unknown ?? "deadLetter"
  if (unknown !== "deadLetter" && unknown !== "leave") {
    throw new InvalidOptionError({
      where,
      field: "unknown",
      rule: `must be "deadLetter" or "leave"`,
      value: unknown
    })
  }
  if (concurrency !== undefined) checkInteger(where, "concurrency", concurrency, 1)
  checkInteger(where, "prefetch", prefetch, 0)
  strings(where, "queues", queues)
  strings(where, "tags", tags)
  const level = (priority: Concurrency.Priority | undefined) =>
    priority === undefined ? undefined : Concurrency.checkPriority(where, priority)
  return {
    name: name ?? `worker-${Supervisor.freshId()}`,
    filter: {
      queues,
      tags,
      priorities: priorities && { from: level(priorities.from), to: level(priorities.to) }
    },
    leavesUnknown: unknown === "leave",
    jobs: options?.jobs ?? [],
    concurrency,
    prefetch,
    lease: atLeast(where, "lease", lease, 100),
    maxBlocked: atLeast(where, "maxBlocked", maxBlocked, 100),
    budget: Supervisor.checkBudget(where, options)
  }
}

const strings = (where: string, field: string, value: ReadonlyArray<string> | undefined): void => {
  if (value === undefined || (Array.isArray(value) && value.every((one) => typeof one === "string"))) return
  throw new InvalidOptionError({ where, field, rule: "must be a list of strings", value })
}

const atLeast = (where: string, field: string, input: Duration.Input, least: number): number => {
  const millis = checkMillis(where, field, input)
  if (millis >= least) return millis
  throw new InvalidOptionError({ where, field, rule: `must be at least ${least} milliseconds`, value: input })
}

const make = (checked: Checked): Effect.Effect<Service, never, JobStore | Job.JobRunner | Scope> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<JobStore | Job.JobRunner | Scope>()
    const optional = context as Context.Context<any>
    const scheduler = Context.getOrUndefined(optional, Scheduler.Scheduler)
    const supervisor = Context.getOrUndefined(optional, Supervisor.Supervisor)
    const registry = Context.getOrUndefined(optional, Job.Registry)
    const runner = Context.get(context, Job.JobRunner)
    const { budget, filter, name } = checked
    const elsewhere = new Map(
      checked.jobs.map((job): [string, Known] => [job.name, { job, within: (effect) => effect }])
    )
    const plan: Plan = {
      ...checked,
      store: Context.get(context, JobStore),
      runner,
      filter: checked.leavesUnknown
        ? { ...filter, names: (yield* runner.jobs).map((job) => job.name) }
        : filter,
      concurrency: checked.concurrency ?? (yield* parallelismOf(scheduler)),
      known: (job): Known | undefined => registry?.get(job) ?? elsewhere.get(job),
      limits: [...registry?.all ?? [], ...elsewhere.values()].flatMap(({ job: { name, options: { limit } } }) =>
        limit === undefined ? [] : [{ tag: limitTag(name), limit, rates: [], enabled: true }]
      ),
      queued: scheduler === undefined ? Effect.succeed(new Set()) : queuedOn(scheduler),
      isOver: scheduler === undefined ? Effect.succeed(false) : Effect.map(scheduler.stats, ({ isClosed }) => isClosed),
      context: context as Context.Context<never>
    }
    const loop = new WorkerLoop(plan, yield* Clock.Clock)
    const fiber = yield* Effect.forkDetach(
      Effect.tapCause(loop.run, (cause) =>
        Effect.andThen(
          Effect.logError(`worker "${name}" failed`, cause),
          // A bug of ours: a group that stands and falls together is told.
          supervisor === undefined ? Effect.void : supervisor.fork(Effect.failCause(cause), { name, phase: "workers" })
        ))
    )
    // It has stopped when the store knows of it; a job that stops its own worker cannot wait for that.
    const stopWith = (budget: Supervisor.CheckedBudget) =>
      Effect.flatMap(CurrentJob, (job) => {
        const inside = loop.heldAs(job)
        loop.beginStop()
        const stopped = loop.members.stop(budget, inside)
        return inside.length > 0 ? stopped : Effect.tap(stopped, Fiber.await(fiber))
      })
    yield* Effect.addFinalizer(() =>
      Effect.flatMap(stopWith(budget), (report) => Supervisor.logReport("worker", { id: name }, report))
    )
    if (supervisor !== undefined) {
      yield* Effect.orDie(supervisor.add({
        name,
        phase: "workers",
        // Its budget bounds it; cut short, it could not give back what it has.
        stop: (left) => Effect.uninterruptible(stopWith(Supervisor.checkBudget("JobWorker.layer", left))),
        status: Effect.sync(() => loop.status._tag)
      }))
    }
    return JobWorker.of({
      name,
      status: Effect.sync(() => statusOf(name, loop)),
      awaitIdle: loop.idle,
      stop: stopWith(budget),
      stopWith: (asked) =>
        Effect.flatMap(orDie(() => Supervisor.checkBudget("JobWorker.stopWith", asked, budget)), stopWith)
    })
  })

const statusOf = (name: string, { members, status, tenure }: WorkerLoop): Status => {
  const common = { name, active: members.size, worker: tenure?.lease.worker }
  return status._tag === "Degraded"
    ? { ...common, state: status._tag, since: DateTime.makeUnsafe(status.since), error: status.error }
    : { ...common, state: status._tag }
}

const queuedOn = (scheduler: Scheduler.Scheduler["Service"]): Effect.Effect<ReadonlySet<string>> =>
  Effect.gen(function*() {
    const queued = new Set<string>()
    for (const { id, state } of yield* scheduler.runs) if ((yield* state)._tag === "Waiting") queued.add(id)
    return queued
  })

const parallelismOf = (scheduler: Scheduler.Scheduler["Service"] | undefined): Effect.Effect<number> =>
  scheduler === undefined
    ? Effect.succeed(navigator.hardwareConcurrency)
    // What is not bounded is not to take all there is.
    : Effect.map(scheduler.stats, ({ maxParallelism }) => maxParallelism === "unbounded" ? 100 : maxParallelism)
