/**
 * The second port: runs jobs by name. Each way of running work that crosses a boundary is a Layer of it.
 *
 * A runner admits jobs through a Scheduler like every other run, so tags, priorities, fairness and lending hold wherever they run; what is its
 * own is how a name and an encoded payload become an encoded result.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Job from "./Job.ts"
import * as Scheduler from "./Scheduler.ts"
import * as Supervisor from "./Supervisor.ts"
import * as Task from "./Task.ts"
import * as TaskRun from "./TaskRun.ts"

export { JobRunner, type Request, type Runner } from "./Job.ts"

/**
 * Runs handlers on the Scheduler in context. Payloads and results go through their codecs as if they left the process, so that what passes here
 * passes elsewhere.
 */
export const layerLocal: Layer.Layer<Job.JobRunner | Job.Registry, never, Scheduler.Scheduler> = Layer.effect(
  Job.JobRunner,
  Effect.gen(function*() {
    const scheduler = yield* Scheduler.Scheduler
    const registry = yield* Job.Registry
    return make({
      id: `local-${Supervisor.freshId()}`,
      scheduler,
      jobs: Effect.sync(() => registry.all.map(({ demand, job }) => Job.infoOf(job, demand))),
      find: (name) => Effect.sync(() => registry.get(name)),
      perform: ({ job, onProgress, payload }) =>
        Effect.suspend(() => {
          const registered = registry.get(job)
          return registered === undefined
            ? Effect.die(new Job.UnknownJobError({ job, known: registry.names }))
            : Effect.provideService(Job.handle(registered, payload), Job.CurrentProgress, onProgress)
        })
    })
  })
).pipe(Layer.provideMerge(Job.layerRegistry))

// ─── by name

/** Runs a job on the runner in context. Of a name, the payload is encoded already. A handler is registered first, where there is a registry. */
export const execute = <R = never>(
  job: string | Job.AnyJob | Job.Handler<R>,
  payload: unknown,
  options?: Job.ExecuteOptions
): Effect.Effect<unknown, unknown, Job.JobRunner | R> =>
  Effect.flatMap(known(job), (job) => Job.JobRunner.use((runner) => runner.execute({ job, payload, options })))

/** Submits a job like `execute` and returns the handle of its run. */
export const fork = <R = never>(
  job: string | Job.AnyJob | Job.Handler<R>,
  payload: unknown,
  options?: Job.ExecuteOptions
): Effect.Effect<TaskRun.TaskRun<unknown, unknown>, Job.SubmitError | Job.DuplicateJobError, Job.JobRunner | R> =>
  Effect.flatMap(known(job), (job) => Job.JobRunner.use((runner) => runner.fork({ job, payload, options })))

const known = <R>(
  job: string | Job.AnyJob | Job.Handler<R>
): Effect.Effect<string | Job.AnyJob, Job.DuplicateJobError, R> =>
  Effect.withFiber((fiber) => {
    if (!Job.isHandler(job)) return Effect.succeed(job)
    const registry = Context.getOrUndefined(fiber.context as Context.Context<any>, Job.Registry)
    return registry === undefined
      ? Effect.succeed(job.job)
      : Effect.as(Effect.provideService(Job.register(job), Job.Registry, registry), job.job) as any
  })

/** The jobs the runner in context can run. */
export const jobs: Effect.Effect<ReadonlyArray<Job.JobInfo>, never, Job.JobRunner> = Job.JobRunner.use((runner) =>
  runner.jobs
)

// ─── making one

/** One attempt of one run: what crosses the boundary, and who asks. */
export interface Call {
  readonly job: string
  readonly payload: unknown
  /** What the transport may move instead of copying it. */
  readonly transfer: ReadonlyArray<unknown>
  readonly run: TaskRun.CurrentRun["Service"]
  readonly onProgress: (progress: any) => Effect.Effect<void>
}

/** What a runner knows of a job: the job itself where its handler is in this process. */
export interface Found {
  readonly job?: Job.AnyJob | undefined
  readonly demand?: Task.Options | undefined
}

export interface Encoded {
  readonly payload: unknown
  readonly transfer: ReadonlyArray<unknown>
}

export interface Options {
  readonly id: string
  /** Where its runs are admitted. */
  readonly scheduler: Scheduler.Scheduler["Service"]
  readonly jobs: Effect.Effect<ReadonlyArray<Job.JobInfo>>
  /** `undefined`: no handler of that name. */
  readonly find: (name: string) => Effect.Effect<Found | undefined>
  /** Runs one attempt, in the fiber of the run. Interrupted, it returns when nothing of the job runs any more. */
  readonly perform: (call: Call) => Effect.Effect<Job.Reply, Job.JobCrashedError>
  /** Around the encoding of a payload: finds what may be moved. `once`: no retry will need it again. */
  readonly encode?: (
    encoding: Effect.Effect<unknown, Job.InvalidPayloadError>,
    once: boolean
  ) => Effect.Effect<Encoded, Job.InvalidPayloadError>
}

/** A runner from what is its own. */
export const make = (options: Options): Job.Runner => {
  const live = new Map<string, Shared>()

  /** Everything that can be wrong with a request is found here: nothing is queued yet. */
  const prepare = Effect.fnUntraced(function*({ job: named, options: given, payload }: Job.Request) {
    const name = typeof named === "string" ? named : named.name
    const found = yield* options.find(name)
    if (found === undefined) {
      const known = (yield* options.jobs).map(({ name }) => name)
      return yield* new Job.UnknownJobError({ job: name, known })
    }
    const job = typeof named === "string" ? found.job ?? untyped(name) : named
    const { idempotencyKey, limit, retry, retryCrashes, timeout } = job.options
    const encoding = typeof named === "string"
      ? Effect.as(Job.decodePayload(job, payload), payload)
      : Job.encodePayload(job, payload)
    const encoded = options.encode === undefined
      ? { payload: yield* encoding, transfer: [] }
      : yield* options.encode(encoding, retry === undefined)
    const key = idempotencyKey === undefined
      ? undefined
      : `${name} ${idempotencyKey(yield* Job.decodePayload(job, encoded.payload))}`

    const onProgress = given?.onProgress ?? (() => Effect.void)
    const performed = Effect.flatMap(TaskRun.CurrentRun, (run) =>
      Effect.flatMap(
        options.perform({ ...encoded, job: name, run, onProgress }),
        (reply) => Job.decodeReply(job, reply)
      ))
    const body = Effect.provideService(performed, Job.JobRunner, self)
    const { id, onProgress: _, refusable, ...asked } = given ?? {}
    const demand: Scheduler.ForkOptions = {
      ...Job.mergeDemands(job.demand, found.demand, asked),
      id,
      limit,
      refusable
    }
    const mayRetryCrashes = retry !== undefined && retryCrashes === true
    let task: Task.Task<unknown, unknown> = Task.make(name, mayRetryCrashes ? body : dieOfCrash(body), demand)
    if (timeout !== undefined) task = Task.withTimeout(timeout)(task)
    if (retry !== undefined) task = Task.withRetry(retry as Schedule.Schedule<unknown, unknown>)(task)
    if (mayRetryCrashes) {
      task = Task.transform<unknown, unknown, never, unknown, unknown, Scheduler.Provided>(dieOfCrash)(task)
    }
    return { key, task }
  })

  const submit = (task: Task.Task<unknown, unknown>): Effect.Effect<TaskRun.TaskRun<unknown, unknown>> =>
    Effect.provideService(Task.fork(task), Scheduler.Scheduler, options.scheduler)

  /** The live run of this key, begun where there is none. */
  const share = (key: string, task: Task.Task<unknown, unknown>): Effect.Effect<Shared & { run: AnyRun }> =>
    Effect.suspend(() => {
      const known = live.get(key)
      if (known !== undefined) {
        return Effect.flatMap(
          Deferred.await(known.begun),
          // Whoever was to begin it was interrupted before that.
          (run) => run === undefined ? share(key, task) : Effect.succeed(Object.assign(known, { run }))
        )
      }
      const shared: Shared = { begun: Deferred.makeUnsafe(), waiting: 0, kept: false }
      live.set(key, shared)
      const end = Effect.sync(() => live.get(key) === shared && live.delete(key))
      return Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(Effect.exit(restore(submit(task))), (exit): Effect.Effect<Shared & { run: AnyRun }> => {
          const run = Exit.isSuccess(exit) ? exit.value : undefined
          Deferred.doneUnsafe(shared.begun, Effect.succeed(run))
          if (run === undefined) return Effect.andThen(end, exit as Exit.Exit<never>)
          return Effect.as(Effect.forkDetach(Effect.andThen(run.exit, end)), Object.assign(shared, { run }))
        })
      )
    })

  const self: Job.Runner = {
    id: options.id,
    jobs: options.jobs,
    fork: (request) =>
      Effect.flatMap(
        prepare(request),
        ({ key, task }) =>
          key === undefined ? submit(task) : Effect.map(share(key, task), (shared) => {
            shared.kept = true
            return shared.run
          })
      ),
    execute: (request) =>
      Effect.flatMap(prepare(request), ({ key, task }) =>
        key === undefined
          ? Effect.provideService(task, Scheduler.Scheduler, options.scheduler)
          : Effect.flatMap(share(key, task), (shared) => joinShared(shared)))
  }
  return self
}

type AnyRun = TaskRun.TaskRun<unknown, unknown>

/** A run that several may wait for. It ends with the last of those that executed it, unless somebody has its handle. */
interface Shared {
  readonly begun: Deferred.Deferred<AnyRun | undefined>
  waiting: number
  kept: boolean
}

const joinShared = (shared: Shared & { readonly run: AnyRun }): Effect.Effect<unknown, unknown> =>
  Effect.suspend(() => {
    shared.waiting++
    return Effect.onExit(
      TaskRun.join(shared.run),
      () => --shared.waiting === 0 && !shared.kept ? shared.run.interrupt : Effect.void
    )
  })

const dieOfCrash = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchIf(effect, (error) => error instanceof Job.JobCrashedError, Effect.die) as Effect.Effect<A, E, R>

/** A job known by name alone: what crosses is passed on as it is. */
const untyped = (name: string): Job.AnyJob =>
  Job.make(name, { payload: Schema.Json, success: Schema.Json, error: Schema.Json })
