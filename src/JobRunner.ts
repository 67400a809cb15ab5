/**
 * The second port: runs jobs by name. Each way of running work that crosses a boundary is a Layer of it.
 *
 * A runner admits jobs through a Scheduler like every other run, so tags, priorities, fairness and lending hold wherever they run; what is its
 * own is how a name and an encoded payload become an encoded result.
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { type OnProgress, Progress } from "./internal/JobRunnerProgress.ts"
import { type Beginning, type Shared, SharedRuns } from "./internal/JobRunnerShared.ts"
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
    return make<Job.Registered>({
      id: `local-${Supervisor.freshId()}`,
      scheduler,
      jobs: Effect.sync(() => registry.all.map(({ demand, job }) => Job.infoOf(job, demand))),
      find: (name) => Effect.succeed(registry.get(name)),
      perform: ({ found, onProgress, payload }) =>
        Effect.withFiber(({ context }) =>
          Effect.map(providing(context, Job.CurrentProgress, onProgress, Job.handle(found, payload)), crossed)
        ),
      encode: (encoding, _once, job) =>
        Effect.flatMapEager(encoding, (encoded) => {
          try {
            return Effect.succeed({ payload: Job.crossed(encoded), transfer: nothing })
          } catch (error) {
            return Effect.fail(new Job.InvalidPayloadError({ job, issue: String(error) }))
          }
        })
    })
  })
).pipe(Layer.provideMerge(Job.layerRegistry))

const crossed = (reply: Job.Reply): Job.Reply => Job.crossed(reply) as Job.Reply

// ─── by name

/**
 * Runs a job on the runner in context. Of a name, the payload is encoded already, and so is what it succeeds or fails with. A handler is
 * registered first, where there is a registry.
 */
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
export interface Call<out F = Found> {
  readonly job: string
  /** What `find` said when it was submitted: a job that is unknown since is still run. */
  readonly found: F
  readonly payload: unknown
  /** What the transport may move instead of copying it. */
  readonly transfer: ReadonlyArray<unknown>
  readonly run: TaskRun.CurrentRun["Service"]
  /** One at a time and in order, with `Job.progress` waiting for it; after the attempt, nothing. Never fails. */
  readonly onProgress: (progress: any) => Effect.Effect<void>
}

/** What a runner knows of a job: the job itself where its handler is in this process. */
export interface Found {
  readonly job?: Job.AnyJob | undefined
  readonly demand?: Task.Options | undefined
  /** Of a job executed by name that is not here. */
  readonly timeout?: Duration.Input | undefined
  /** Provides what the schemas of `job` need to one who has only its name. */
  readonly within?: (<A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>) | undefined
}

export interface Encoded {
  readonly payload: unknown
  readonly transfer: ReadonlyArray<unknown>
}

export interface Options<F extends Found = Found> {
  readonly id: string
  /** Where its runs are admitted. */
  readonly scheduler: Scheduler.Scheduler["Service"]
  readonly jobs: Effect.Effect<ReadonlyArray<Job.JobInfo>>
  /** `undefined`: no handler of that name. */
  readonly find: (name: string) => Effect.Effect<F | undefined>
  /** Runs one attempt, in the fiber of the run. Interrupted, it returns when nothing of the job runs any more. */
  readonly perform: (call: Call<F>) => Effect.Effect<Job.Reply, Job.JobCrashedError>
  /** Around the encoding of a payload: finds what may be moved. `once`: no retry will need it again. */
  readonly encode?: (
    encoding: Effect.Effect<unknown, Job.InvalidPayloadError>,
    once: boolean,
    job: string
  ) => Effect.Effect<Encoded, Job.InvalidPayloadError>
}

/** A runner from what is its own. */
export const make = <F extends Found = Found>(options: Options<F>): Job.Runner => {
  const { scheduler } = options
  const shared = new SharedRuns()
  let ids = 0

  /** Everything that can be wrong with a request is found here: nothing is queued yet. */
  const prepare = (request: Job.Request): Effect.Effect<Prepared<F>, Job.SubmitError> => {
    const { job: named, payload } = request
    const byName = typeof named === "string"
    const name = byName ? named : named.name
    return Effect.flatMapEager(options.find(name), (found): Effect.Effect<Prepared<F>, Job.SubmitError> => {
      if (found === undefined) return unknownJob(name)
      const job = byName ? found.job ?? untyped(name) : named
      const { idempotencyKey, retry } = job.options
      const checked = byName ? withinOf(found)(Job.decodePayload(job, payload)) : Job.makePayload(job, payload)
      return Effect.flatMapEager(checked, (value) => {
        const joins = idempotencyKey !== undefined && request.attempt === undefined
        const key = joins ? JSON.stringify([name, idempotencyKey(value)]) : undefined
        const encoding = byName ? Effect.succeed(payload) : Job.encodePayload(job, value)
        const encoded = options.encode === undefined
          ? Effect.mapEager(encoding, (payload) => ({ payload, transfer: nothing }))
          : options.encode(encoding, retry === undefined, name)
        return Effect.mapEager(
          encoded,
          (encoded) => ({
            name,
            byName,
            found,
            job,
            encoded,
            key,
            given: request.options ?? noOptions,
            attempt: request.attempt,
            around: request.around
          })
        )
      })
    })
  }

  const unknownJob = (job: string) =>
    Effect.flatMap(
      options.jobs,
      (jobs) => Effect.fail(new Job.UnknownJobError({ job, known: jobs.map(({ name }) => name) }))
    )

  /** Of most runs what is asked for is the same as of the last one of the job. */
  const usual = (job: Job.AnyJob, found: F): AnyTask => {
    let last = lasts.get(job)
    if (last?.found !== found) {
      last = { found, task: Task.make(job.name, Effect.void, demandOf(job, found, noOptions)) }
      lasts.set(job, last)
    }
    return last.task
  }
  const lasts = new WeakMap<Job.AnyJob, { readonly found: F; readonly task: AnyTask }>()

  /** Of a run that is shared, who listens is the affair of `shared`. */
  const taskOf = (prepared: Prepared<F>, shared: Shared | undefined, freshId?: string): AnyTask => {
    const { byName, found, given, job, name } = prepared
    const { retryCrashes, timeout = byName ? found.timeout : undefined } = job.options
    const retry = prepared.attempt === undefined ? job.options.retry : undefined
    const decode = byName ? new Undecoded(job, found, retry !== undefined) : undefined
    const { onProgress } = given
    const mayRetryCrashes = retry !== undefined && retryCrashes === true
    const heard = shared === undefined ? onProgress : shared.progressed
    const alone = attempt(prepared, heard, decode, shared, !mayRetryCrashes)
    const isUsual = given === noOptions && prepared.attempt === undefined && freshId === undefined
    const empty = isUsual ? usual(job, found) : Task.make(name, Effect.void, {
      ...demandOf(job, found, given),
      id: given.id ?? freshId,
      refusable: given.refusable,
      attempt: prepared.attempt
    } as Scheduler.ForkOptions)
    let task = changed(empty, () => prepared.around === undefined ? alone : prepared.around(alone))
    if (timeout !== undefined) task = Task.withTimeout(timeout)(task)
    if (retry !== undefined) task = Task.withRetry(retry as Schedule.Schedule<unknown, unknown>)(task)
    if (mayRetryCrashes) task = changed(task, dieOfCrash)
    return decode === undefined || retry === undefined ? task : changed(task, decode.encoded)
  }

  /** Runs one attempt and decodes its end. `dies`: of what crashed, which is an error only where it is retried. */
  const attempt = (
    { encoded, found, job, name }: Prepared<F>,
    onProgress: OnProgress | undefined,
    undecoded: Undecoded | undefined,
    shared: Shared | undefined,
    dies: boolean
  ): Effect.Effect<unknown, unknown> =>
    Effect.withFiber((fiber) => {
      const context = fiber.context as Context.Context<any>
      const run = Context.getUnsafe(context, TaskRun.CurrentRun)
      shared?.began(run)
      const progress = onProgress === undefined ? undefined : new Progress(onProgress)
      const report = progress === undefined ? unheard : progress.report
      const { payload, transfer } = encoded
      const performed = options.perform({ job: name, found, payload, transfer, run, onProgress: report })
      const decode = undecoded === undefined ? (reply: Job.Reply) => Job.decodeReply(job, reply) : undecoded.decode
      const ended = progress === undefined ? performed : Effect.onExitPrimitive(performed, progress.end)
      const decoded = !dies ? Effect.flatMap(ended, decode) : Effect.matchCauseEffect(ended, {
        onSuccess: (reply) => reply._tag === "Success" ? decode(reply) : dieOfCrash(decode(reply)),
        onFailure: (cause) => dieOfCrash(Effect.failCause(cause))
      })
      return providing(context, Job.JobRunner, self, decoded)
    })

  /** Runs that are asked for in one place have one context: what is derived from that is derived once. */
  const onScheduler = <A, E>(
    context: Context.Context<never>,
    effect: Effect.Effect<A, E, Scheduler.Scheduler>
  ): Effect.Effect<A, E> => {
    if (isAt(context, Scheduler.Scheduler, scheduler)) return effect as Effect.Effect<A, E>
    if (context !== asking) {
      asking = context
      onIt = Context.add(context, Scheduler.Scheduler, scheduler)
    }
    return Effect.setContext(effect, onIt)
  }
  let asking: Context.Context<never> | undefined
  let onIt: Context.Context<Scheduler.Scheduler>

  /** Who listens does so where the request was made: not as the run, whose own progress it is. */
  const asked = (request: Job.Request, context: Context.Context<never>): Job.Request => {
    const onProgress = request.options?.onProgress
    if (onProgress === undefined) return request
    const heard = (progress: unknown) => Effect.setContext(Effect.suspend(() => onProgress(progress)), context)
    return { ...request, options: { ...request.options, onProgress: heard } }
  }

  const beginning = (prepared: Prepared<F>): Beginning => {
    const id = prepared.given.id ?? `${options.id}-${++ids}`
    return {
      submit: (shared) =>
        Effect.withFiber(({ context }) => onScheduler(context, Task.fork(taskOf(prepared, shared, id)))),
      find: Effect.map(scheduler.runs, (runs) => runs.find((run) => run.id === id))
    }
  }

  const self: Job.Runner = {
    id: options.id,
    jobs: options.jobs,
    fork: (request) =>
      Effect.withFiber(({ context }) =>
        Effect.flatMapEager(prepare(asked(request, context)), (prepared) =>
          prepared.key === undefined
            ? onScheduler(context, Task.fork(taskOf(prepared, undefined)))
            : shared.fork(prepared.key, beginning(prepared), prepared.given.onProgress))
      ),
    execute: (request) =>
      Effect.withFiber(({ context }) =>
        Effect.flatMapEager(
          prepare(asked(request, context)),
          (prepared): Effect.Effect<unknown, unknown> =>
            prepared.key === undefined
              ? onScheduler(context, taskOf(prepared, undefined))
              : shared.execute(prepared.key, beginning(prepared), prepared.given.onProgress)
        )
      )
  }
  return self
}

type AnyTask = Task.Task<unknown, unknown>

const demandOf = (
  job: Job.AnyJob,
  found: Found,
  { id, onProgress, refusable, ...asked }: Job.ExecuteOptions
): Task.Options => {
  const merged: Task.Options = Job.mergeDemands(job.demand, found.demand, asked)
  return { ...merged, limit: job.options.limit ?? merged.limit }
}

/** A request with which nothing is wrong. */
interface Prepared<F> {
  readonly name: string
  readonly byName: boolean
  readonly found: F
  readonly job: Job.AnyJob
  readonly encoded: Encoded
  /** While a run of it is live it is joined. */
  readonly key: string | undefined
  readonly given: Job.ExecuteOptions
  /** The one to be run, of a run that is kept elsewhere. */
  readonly attempt: number | undefined
  readonly around: Job.Request["around"]
}

/** Nearly always it is there already. */
const providing = <I, S, A, E, R>(
  context: Context.Context<never>,
  key: Context.Key<I, S>,
  service: S,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, I>> =>
  isAt(context, key, service) ? effect as Effect.Effect<A, E, any> : Effect.provideService(effect, key, service)

const isAt = <I, S>(context: Context.Context<never>, key: Context.Key<I, S>, service: S): boolean =>
  Context.getOrUndefined(context as Context.Context<I>, key) === service

const unheard = Job.CurrentProgress.defaultValue()
const nothing: ReadonlyArray<never> = []
const noOptions: Job.ExecuteOptions = {}

const withinOf = ({ within }: Found) => within ?? (<A, E>(effect: Effect.Effect<A, E>) => effect)

const changed = (
  task: AnyTask,
  f: (
    effect: Effect.Effect<unknown, unknown, Scheduler.Provided>
  ) => Effect.Effect<unknown, unknown, Scheduler.Provided>
): AnyTask => Task.transform<unknown, unknown, never, unknown, unknown, Scheduler.Provided>(f)(task)

const dieOfCrash = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchIf(effect, (error) => error instanceof Job.JobCrashedError, Effect.die) as Effect.Effect<A, E, R>

/** By name, what comes back is encoded as what went in. Where it is retried, the policy sees the error itself. */
class Undecoded {
  private readonly job: Job.AnyJob
  private readonly found: Found
  private readonly isRetried: boolean
  private last: { readonly decoded: unknown; readonly encoded: unknown } | undefined

  constructor(job: Job.AnyJob, found: Found, isRetried: boolean) {
    this.job = job
    this.found = found
    this.isRetried = isRetried
  }

  readonly decode = (reply: Job.Reply): Effect.Effect<unknown, unknown> => {
    if (reply._tag === "Success") return Effect.succeed(reply.value)
    const plain = Job.decodeReply(untyped(this.job.name), reply)
    if (!this.isRetried) return plain
    return Effect.catch(
      plain,
      (encoded) =>
        Effect.mapError(withinOf(this.found)(Job.decodeReply(this.job, reply)), (decoded) => {
          this.last = { decoded, encoded }
          return decoded
        })
    )
  }

  readonly encoded = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, unknown, R> =>
    Effect.mapError(effect, (error) => this.last?.decoded === error ? this.last.encoded : error)
}

const untypedJobs = new Map<string, Job.AnyJob>()

/** A job known by name alone: what crosses is passed on as it is. */
const untyped = (name: string): Job.AnyJob => {
  let job = untypedJobs.get(name)
  if (job === undefined) {
    job = Job.make(name, { payload: Schema.Json, success: Schema.Json, error: Schema.Json })
    untypedJobs.set(name, job)
  }
  return job
}
