/**
 * A task that can leave the process: a name with schemas for its payload, its success and its error.
 *
 * A Task closes over its program; a Job names it. The handler is registered where the work is done (`toLayer`), the name and an encoded
 * payload go there through the `JobRunner` in context, and the typed result comes back, the same from this process, a thread or a machine.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as JsonSchema from "effect/JsonSchema"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { Scope } from "effect/Scope"
import type * as Concurrency from "./Concurrency.ts"
import { Codec, copy, encodeProgress, type Reply } from "./internal/JobCodec.ts"
import { within } from "./internal/JobContext.ts"
import type {
  Enqueued,
  EnqueueError,
  EnqueueOptions,
  KeptOptions,
  Queue,
  UniqueOptions
} from "./internal/JobEnqueue.ts"
import type { DuplicateJobError, InvalidPayloadError, JobCrashedError, UnknownJobError } from "./internal/JobErrors.ts"
import { type Handlers, inContext, type Registered } from "./internal/JobRegistry.ts"
import type { Provided } from "./Scheduler.ts"
import type * as Task from "./Task.ts"
import type * as TaskRun from "./TaskRun.ts"

const TypeId = "~tasklayer/Job"

/** `X` is what its options add to its errors. */
export interface Job<
  out Name extends string,
  Payload extends Schema.Top,
  Success extends Schema.Top,
  Error extends Schema.Top,
  out X = never
> {
  readonly [TypeId]: typeof TypeId
  readonly name: Name
  readonly payload: Payload
  readonly success: Success
  readonly error: Error
  readonly demand: Concurrency.Demand
  readonly options: Options<any>
  /**
   * Registers what does the work; what it demands is merged into the job's own. A name with a handler already: the defect `DuplicateJobError`.
   *
   * The handler has the services its Layer is given, whatever those who execute the job have of them: it may be far away. While that Layer
   * lives the job is known; what was accepted until then still runs.
   */
  readonly toLayer: <R>(
    handler: (payload: Payload["Type"]) => Effect.Effect<Success["Type"], Error["Type"], R>,
    demand?: Concurrency.Demand
  ) => Handler<
    Exclude<R | Payload["DecodingServices"] | Success["EncodingServices"] | Error["EncodingServices"], Given>
  >
  /** Runs it on the JobRunner in context. The payload is validated before anything is queued. */
  readonly execute: {
    (
      payload: Payload["~type.make.in"],
      options?: Unrefusable
    ): Effect.Effect<Success["Type"], Error["Type"] | X | SubmitError, Asking<Payload, Success, Error>>
    (
      payload: Payload["~type.make.in"],
      options: Refusable
    ): Effect.Effect<
      Success["Type"],
      Error["Type"] | X | SubmitError | Concurrency.AdmissionError,
      Asking<Payload, Success, Error>
    >
  }
  /**
   * Puts it in the JobQueue in context, where it is kept until a worker takes it. Returns once it is kept: inside a transaction of the same
   * store, when that commits.
   */
  readonly enqueue: (
    payload: Payload["~type.make.in"],
    options?: EnqueueOptions
  ) => Effect.Effect<Enqueued, EnqueueError, JobQueue | Payload["EncodingServices"]>
  /** Puts all of them in or none, in one step: far faster than one by one. */
  readonly enqueueAll: (
    payloads: Iterable<Payload["~type.make.in"]>,
    options?: EnqueueOptions | ((payload: Payload["~type.make.in"], index: number) => EnqueueOptions)
  ) => Effect.Effect<ReadonlyArray<Enqueued>, EnqueueError, JobQueue | Payload["EncodingServices"]>
  /** Submits it and returns the handle of its run. */
  readonly fork: {
    (
      payload: Payload["~type.make.in"],
      options?: Unrefusable
    ): Effect.Effect<
      TaskRun.TaskRun<Success["Type"], Error["Type"] | X>,
      SubmitError,
      Asking<Payload, Success, Error>
    >
    (
      payload: Payload["~type.make.in"],
      options: Refusable
    ): Effect.Effect<
      TaskRun.TaskRun<Success["Type"], Error["Type"] | X | Concurrency.AdmissionError>,
      SubmitError,
      Asking<Payload, Success, Error>
    >
  }
}

/** What its schemas need where it is executed, and the runner. */
type Asking<Payload extends Schema.Top, Success extends Schema.Top, Error extends Schema.Top> =
  | JobRunner
  | Payload["EncodingServices"]
  | Success["DecodingServices"]
  | Error["DecodingServices"]

export type AnyJob = Job<string, any, any, any, any>

/** What a handler is given: what a run is, and the runner it runs on. */
export type Given = Provided | JobRunner

export type SubmitError = UnknownJobError | InvalidPayloadError

interface Unrefusable extends ExecuteOptions {
  readonly refusable?: false | undefined
}

interface Refusable extends ExecuteOptions {
  readonly refusable: true
}

export interface Options<in E> extends Task.Options, KeptOptions {
  /** As for `Task.withRetry`: each attempt is admitted anew. */
  readonly retry?: Schedule.Schedule<unknown, E> | Retry<E> | undefined
  /** Whether `retry` also follows when the thread or process it ran in is gone. Default false. */
  readonly retryCrashes?: boolean | undefined
  /** Each attempt is interrupted so long after it started. */
  readonly timeout?: Duration.Input | undefined
  /**
   * While a run of a payload with the same key is live on a runner, executing it again joins that run, whatever else is asked for; it hears
   * the progress from then on. The run is interrupted with the last who waits for it, unless `fork` has given its handle to somebody.
   */
  readonly idempotencyKey?: ((payload: any) => string) | undefined
  /** What its `idempotencyKey` means where the job is kept. */
  readonly unique?: UniqueOptions | undefined
}

/** The part of `Effect.retry`'s options that needs no services. */
export interface Retry<in E> {
  readonly schedule?: Schedule.Schedule<unknown, E> | undefined
  readonly times?: number | undefined
  readonly while?: ((error: E) => boolean) | undefined
  readonly until?: ((error: E) => boolean) | undefined
}

/** Merged into the demand of the job and of its handler: tags are added, the others replaced. */
export interface ExecuteOptions extends Concurrency.Demand {
  /** The id of the run. Default: a fresh one. */
  readonly id?: string | undefined
  /** A refusal is a failure instead of a defect. */
  readonly refusable?: boolean | undefined
  /**
   * Hears what the handler reports with `Job.progress`: in order, one at a time, with the handler waiting for it, all of it before the run ends.
   * It runs in the context of who executes the job. When it dies that is logged, and the job goes on.
   */
  readonly onProgress?: ((progress: unknown) => Effect.Effect<void>) | undefined
}

export const isJob = (u: unknown): u is AnyJob => Predicate.hasProperty(u, TypeId)

/** A job. `payload` is a schema or the fields of a struct; default `Schema.Void`, as of `success`. Default of `error`: `Schema.Never`. */
export const make = <
  const Name extends string,
  Payload extends Schema.Top | Schema.Struct.Fields = Schema.Void,
  Success extends Schema.Top = Schema.Void,
  Error extends Schema.Top = Schema.Never,
  T extends Duration.Input | undefined = undefined
>(
  name: Name,
  options?: Omit<Options<Error["Type"] | TimeoutOf<T> | JobCrashedError>, "timeout" | "idempotencyKey"> & {
    readonly payload?: Payload | undefined
    readonly success?: Success | undefined
    readonly error?: Error | undefined
    readonly timeout?: T | undefined
    readonly idempotencyKey?: ((payload: SchemaOf<Payload>["Type"]) => string) | undefined
  }
): Job<Name, SchemaOf<Payload>, Success, Error, TimeoutOf<T>> => new JobImpl(name, options ?? {}) as any

type SchemaOf<P> = P extends Schema.Top ? P : P extends Schema.Struct.Fields ? Schema.Struct<P> : never
type TimeoutOf<T> = [T] extends [undefined] ? never : Cause.TimeoutError

// ─── handlers

const HandlerTypeId = "~tasklayer/Job/Handler"

/** A handler as a Layer: the job has it while that lives. */
export interface Handler<out R = never> extends Layer.Layer<Registry, never, R> {
  readonly [HandlerTypeId]: Effect.Effect<Registered, never, R>
  readonly job: AnyJob
}

export const isHandler = (u: unknown): u is Handler<unknown> => Predicate.hasProperty(u, HandlerTypeId)

/** The handlers there are, by name. */
export class Registry extends Context.Service<Registry, Handlers>()("tasklayer/Job/Registry") {}

/** The registry in context; where there is none, one for all that is built together. */
export const layerRegistry: Layer.Layer<Registry> = inContext(Registry)

/** Registers each handler that a module exports, save those whose name begins with `_`. */
export const layerFromModule = <const M extends object>(
  module: M
): Layer.Layer<Registry, DuplicateJobError, NeedsOf<M>> =>
  Layer.effectDiscard(
    Effect.forEach(Object.entries(module), ([name, value]) =>
      isHandler(value) && !name.startsWith("_") ? registerScoped(value) : Effect.void)
  ).pipe(
    Layer.provideMerge(layerRegistry)
  ) as any

type NeedsOf<M> = { [K in keyof M]: M[K] extends Handler<infer R> ? R : never }[keyof M]

/**
 * Registers a handler for as long as the registry lives, with the services in context. The same one again takes its place; while a Layer has
 * registered it, that is in use.
 */
export const register = <R>(handler: Handler<R>): Effect.Effect<void, DuplicateJobError, R | Registry> =>
  Effect.gen(function*() {
    const registry = yield* Registry
    yield* registry.add({ ...yield* handler[HandlerTypeId], kept: true })
  })

const registerScoped = <R>(
  handler: Pick<Handler<R>, typeof HandlerTypeId>
): Effect.Effect<void, DuplicateJobError, R | Registry | Scope> =>
  Effect.gen(function*() {
    const registry = yield* Registry
    const registered = yield* handler[HandlerTypeId]
    yield* Effect.acquireRelease(registry.add(registered), () => registry.remove(registered))
  })

/** The jobs that have a handler here, in order of registration. */
export const list: Effect.Effect<ReadonlyArray<JobInfo>, never, Registry> = Registry.useSync((registry) =>
  registry.all.map(({ demand, job }) => infoOf(job, demand))
)

/** What is known of a job. All of it can be cloned. */
export interface JobInfo {
  readonly name: string
  /** The job's own and its handler's, merged. Durations in milliseconds. */
  readonly demand: Task.Options
  /** Of each attempt, in milliseconds. */
  readonly timeout: Duration.Input | undefined
  /** JSON Schemas of what crosses the boundary; of what has none, the one that allows anything. */
  readonly payload: JsonSchema.Document<"draft-2020-12">
  readonly success: JsonSchema.Document<"draft-2020-12">
  readonly error: JsonSchema.Document<"draft-2020-12">
}

// ─── from inside a handler

/**
 * Tells whoever executes the job how far it is: any JSON value (another one is a defect). Waits until `onProgress` has returned, so that a
 * handler is never ahead of it; outside a job, and where nobody listens, it goes nowhere.
 */
export const progress = (value: Schema.Json): Effect.Effect<void> =>
  Effect.flatMap(
    Effect.orDie(encodeProgress(value)),
    (progress) => Effect.flatMap(CurrentProgress, (report) => report(progress))
  )

const unheard = () => Effect.void

/** Where progress goes. For runners. */
export const CurrentProgress: Context.Reference<(progress: Schema.Json) => Effect.Effect<void>> = Context.Reference<
  (progress: Schema.Json) => Effect.Effect<void>
>("tasklayer/Job/CurrentProgress", { defaultValue: () => unheard })

// ─── the port

/** The service that runs jobs by name. `JobRunner` has its layers. */
export class JobRunner extends Context.Service<JobRunner, Runner>()("tasklayer/JobRunner") {}

export interface Runner {
  readonly id: string
  readonly execute: (request: Request) => Effect.Effect<unknown, unknown>
  readonly fork: (request: Request) => Effect.Effect<TaskRun.TaskRun<unknown, unknown>, SubmitError>
  /** The jobs it can run. */
  readonly jobs: Effect.Effect<ReadonlyArray<JobInfo>>
}

export interface Request {
  /** Of a name the payload is encoded already. */
  readonly job: AnyJob | string
  readonly payload: unknown
  readonly options?: ExecuteOptions | undefined
  /** Run this one attempt and no other, of a run that is kept elsewhere: it is neither retried nor joined. */
  readonly attempt?: number | undefined
  /** What is around that attempt, in its run. */
  readonly around?: (<A, E, R>(attempt: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>) | undefined
}

/** The service that keeps jobs until a worker takes them. `JobQueue` of `tasklayer/queue` has its layer. */
export class JobQueue extends Context.Service<JobQueue, Queue>()("tasklayer/JobQueue") {}

// ─── for runners

export type { Registered, Reply }

/** Validates what a payload is made of: its defaults filled in. */
export const makePayload = (job: AnyJob, input: unknown): Effect.Effect<unknown, InvalidPayloadError> =>
  codecOf(job).makePayload(input)

/** Encodes a payload as JSON. */
export const encodePayload = (job: AnyJob, payload: unknown): Effect.Effect<unknown, InvalidPayloadError> =>
  codecOf(job).encodePayload(payload)

/** Decodes what `encodePayload` made. */
export const decodePayload = (job: AnyJob, payload: unknown): Effect.Effect<unknown, InvalidPayloadError> =>
  codecOf(job).decodePayload(payload)

/** Runs a handler on an encoded payload and encodes how it ended. */
export const handle = ({ handler, job, within }: Registered, payload: unknown): Effect.Effect<Reply> =>
  within(Effect.flatMap(
    Effect.exit(Effect.flatMapEager(Effect.orDie(decodePayload(job, payload)), handler)),
    (exit) => encodeExit(job, exit)
  ))

/** How a handler ended, encoded: what `handle` returns. */
export const encodeExit = (job: AnyJob, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Reply> =>
  codecOf(job).encodeExit(exit)

/** What the handler's end is for who executed the job. */
export const decodeReply = (job: AnyJob, reply: Reply): Effect.Effect<unknown, unknown> =>
  codecOf(job).decodeReply(reply)

/** What crosses without leaving the process: a copy, as a thread would have it. Throws where that is impossible. */
export const crossed: (encoded: unknown) => unknown = copy

/** The demand of a job, then of its handler, then of the call: tags are added, the others replaced. */
export const mergeDemands = (...demands: ReadonlyArray<Concurrency.Demand | undefined>): Concurrency.Demand => {
  const merged: Record<string, unknown> = {}
  const tags = new Set<string>()
  for (const demand of demands) {
    for (const [name, value] of Object.entries(demand ?? {})) {
      if (name === "tags") { for (const tag of demand!.tags ?? []) tags.add(tag) }
      else if (value !== undefined) merged[name] = value
    }
  }
  return tags.size === 0 ? merged : { ...merged, tags: [...tags] }
}

/** See `JobInfo`. */
export const infoOf = (job: AnyJob, handlers?: Concurrency.Demand): JobInfo => {
  const { admissionTimeout, ...demand } = mergeDemands(job.demand, handlers)
  const { limit, timeout } = job.options
  return {
    name: job.name,
    demand: {
      ...demand,
      ...(admissionTimeout === undefined ? {} : { admissionTimeout: millisOf(admissionTimeout) }),
      ...(limit === undefined ? {} : { limit })
    },
    timeout: timeout === undefined ? undefined : millisOf(timeout),
    ...(job as unknown as JobImpl).schemas
  }
}

/** What is no duration stays what it is, for whoever runs it to refuse. */
const millisOf = (input: Duration.Input): Duration.Input =>
  Option.match(Duration.fromInput(input), { onNone: () => input, onSome: Duration.toMillis })

const codecOf = (job: AnyJob): Codec => (job as unknown as JobImpl).codec

// ─── what can go wrong

export {
  DuplicateJobError,
  DuplicateKeyError,
  InvalidPayloadError,
  InvalidResultError,
  JobCrashedError,
  JobStoreError,
  QueueFullError,
  UnknownJobError
} from "./internal/JobErrors.ts"

export type {
  Delivery,
  Enqueued,
  EnqueueError,
  EnqueueOptions,
  EnqueueRequest,
  KeptOptions,
  Queue,
  UniqueOptions
} from "./internal/JobEnqueue.ts"

// ─── the job itself

type Made = Options<any> & {
  readonly payload?: Schema.Top | Schema.Struct.Fields | undefined
  readonly success?: Schema.Top | undefined
  readonly error?: Schema.Top | undefined
}

class JobImpl {
  declare readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly payload: Schema.Top
  readonly success: Schema.Top
  readonly error: Schema.Top
  readonly options: Options<any>
  readonly demand: Concurrency.Demand
  private made: Codec | undefined
  private documents: Pick<JobInfo, "payload" | "success" | "error"> | undefined

  constructor(name: string, { error, payload, success, ...options }: Made) {
    this.name = name
    this.payload = payload === undefined ? Schema.Void : Schema.isSchema(payload) ? payload : Schema.Struct(payload)
    this.success = success ?? Schema.Void
    this.error = error ?? Schema.Never
    this.options = options
    const { admissionTimeout, key, priority, strict, tags, weight, whenFull } = options
    this.demand = mergeDemands({ admissionTimeout, key, priority, strict, tags, weight, whenFull })
  }

  get codec(): Codec {
    return this.made ??= new Codec(this.name, this.payload, this.success, this.error)
  }

  get schemas(): Pick<JobInfo, "payload" | "success" | "error"> {
    const { error, payload, success } = this
    return this.documents ??= {
      payload: documentOf(payload),
      success: documentOf(success),
      error: documentOf(error)
    }
  }

  toLayer(handler: (payload: any) => Effect.Effect<any, any, any>, demand: Concurrency.Demand = {}): Handler<any> {
    const job = this as unknown as AnyJob
    const registered = Effect.map(Effect.context<any>(), (context): Registered => {
      const provided = within(context, ofTheRun)
      return { job, demand, handler, within: provided, handle: (payload) => provided(handler(payload)) }
    })
    const handled: Pick<Handler<any>, typeof HandlerTypeId | "job"> = { [HandlerTypeId]: registered, job }
    const layer = Layer.effectDiscard(Effect.orDie(registerScoped(handled)))
    return Object.assign(Layer.provideMerge(layer, layerRegistry), handled)
  }

  execute(payload: unknown, options?: ExecuteOptions): Effect.Effect<any, any, JobRunner> {
    return JobRunner.use((runner) => runner.execute({ job: this as unknown as AnyJob, payload, options }))
  }

  enqueue(payload: unknown, options?: EnqueueOptions): Effect.Effect<any, any, JobQueue> {
    const job = this as unknown as AnyJob
    return JobQueue.use((queue) => Effect.map(queue.enqueue([{ job, payload, options }]), ([enqueued]) => enqueued))
  }

  enqueueAll(
    payloads: Iterable<unknown>,
    options?: EnqueueOptions | ((payload: unknown, index: number) => EnqueueOptions)
  ): Effect.Effect<any, any, JobQueue> {
    const job = this as unknown as AnyJob
    const optionsOf = typeof options === "function" ? options : () => options
    return JobQueue.use((queue) =>
      queue.enqueue(Array.from(payloads, (payload, i) => ({ job, payload, options: optionsOf(payload, i) })))
    )
  }

  fork(payload: unknown, options?: ExecuteOptions): Effect.Effect<any, any, JobRunner> {
    return JobRunner.use((runner) => runner.fork({ job: this as unknown as AnyJob, payload, options }))
  }
}

Object.defineProperty(JobImpl.prototype, TypeId, { value: TypeId })

/** What the run is given, whatever there was when the Layer was built. */
const ofTheRun = [JobRunner, CurrentProgress]

const documentOf = (schema: Schema.Top): JsonSchema.Document<"draft-2020-12"> => {
  try {
    return Schema.toJsonSchemaDocument(Schema.toCodecJson(schema))
  } catch {
    return { dialect: "draft-2020-12", schema: {}, definitions: {} }
  }
}
