/**
 * Puts jobs in the store, and looks after those that are there.
 *
 * `job.enqueue(payload)` validates and encodes, then returns once the job is kept; inside a transaction on the same database the job is there if
 * and only if what else it wrote is. Whoever enqueues needs no worker, and no worker needs who enqueued.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError, orDie } from "../InvalidOptionError.ts"
import * as Job from "../Job.ts"
import { Signal } from "./internal/Signal.ts"
import { checkInteger, checkMillis, checkQueue } from "./internal/StoreOptions.ts"
import {
  type JobRecord,
  JobStore,
  type JobStoreError,
  type ListFilter,
  type NewJob,
  type QueueCounts,
  type QueueSettings,
  type RedriveFilter,
  type Store,
  type Unique,
  type WorkerRecord
} from "./JobStore.ts"

export { type Enqueued, type EnqueueError, type EnqueueOptions, type EnqueueRequest, JobQueue } from "../Job.ts"

export interface LayerOptions {
  /**
   * When a queue has its `maxQueued`: who enqueues waits for room (`"suspend"`, the default), or fails with `QueueFullError`, as it does inside a
   * transaction anyway.
   */
  readonly whenQueueFull?: "suspend" | "fail" | undefined
}

/**
 * Puts jobs in the JobStore in context. Where there are handlers in context, what those demand is merged into what they handle, and a name that
 * none of them has is an `UnknownJobError`.
 */
export const layer = (options?: LayerOptions): Layer.Layer<Job.JobQueue, never, JobStore> =>
  Layer.effect(
    Job.JobQueue,
    Effect.contextWith((context: Context.Context<JobStore>) =>
      orDie(() => {
        const whenQueueFull = options?.whenQueueFull ?? "suspend"
        if (whenQueueFull !== "suspend" && whenQueueFull !== "fail") {
          const rule = `must be "suspend" or "fail"`
          throw new InvalidOptionError({ where: "JobQueue.layer", field: "whenQueueFull", rule, value: whenQueueFull })
        }
        const store = Context.get(context, JobStore)
        const registry = Context.getOrUndefined(context as Context.Context<any>, Job.Registry)
        const put = whenQueueFull === "fail" ? store.enqueue : suspending(store)
        return Job.JobQueue.of({
          enqueue: (requests) =>
            Effect.flatMap(
              Effect.forEach(requests, (request) => newJob(request, registry)),
              (jobs) => jobs.length === 0 ? Effect.succeed([]) : put(jobs)
            )
        })
      })
    )
  )

/** Puts a job in by its name: the payload is encoded already. */
export const enqueue = (
  job: string | Job.AnyJob,
  payload: unknown,
  options?: Job.EnqueueOptions
): Effect.Effect<Job.Enqueued, Job.EnqueueError | Job.UnknownJobError, Job.JobQueue> =>
  Job.JobQueue.use((queue) => Effect.map(queue.enqueue([{ job, payload, options }]), ([enqueued]) => enqueued!))

/** Puts jobs of any kind in, all of them or none. */
export const enqueueAll = (
  requests: Iterable<Job.EnqueueRequest>
): Effect.Effect<ReadonlyArray<Job.Enqueued>, Job.EnqueueError | Job.UnknownJobError, Job.JobQueue> =>
  Job.JobQueue.use((queue) => queue.enqueue([...requests]))

// ─── what is there

/** What the store knows of a job; `None` when it does not, or no longer. */
export const get = (id: string): Effect.Effect<Option.Option<JobRecord>, JobStoreError, JobStore> =>
  JobStore.use((store) => store.get(id))

/** Newest first. */
export const list = (filter?: ListFilter): Effect.Effect<ReadonlyArray<JobRecord>, JobStoreError, JobStore> =>
  JobStore.use((store) =>
    Effect.flatMap(
      orDie(() => checkInteger("JobQueue.list", "limit", filter?.limit ?? 0, 0)),
      () => store.list(filter)
    )
  )

/** How many jobs there are, by queue and state. */
export const counts: Effect.Effect<ReadonlyArray<QueueCounts>, JobStoreError, JobStore> = JobStore.use((store) =>
  store.counts
)

/** Who works for the store. */
export const workers: Effect.Effect<ReadonlyArray<WorkerRecord>, JobStoreError, JobStore> = JobStore.use((store) =>
  store.workers
)

// ─── what is done to it

/** Ends what waits as Cancelled, and interrupts what runs, wherever it does. False: there is no such job, or it had ended. */
export const cancel = (id: string): Effect.Effect<boolean, JobStoreError, JobStore> =>
  JobStore.use((store) => store.cancel(id))

/** Has dead jobs wait again: those that fit the whole filter. Returns how many. */
export const redrive = (filter: RedriveFilter = {}): Effect.Effect<number, JobStoreError, JobStore> =>
  JobStore.use((store) => store.redrive(filter))

/** Sets what is given; the rest stays as it is. */
export const configure = (queue: string, settings: QueueSettings): Effect.Effect<void, JobStoreError, JobStore> =>
  JobStore.use((store) =>
    Effect.flatMap(
      orDie(() => checkQueue("JobQueue.configure", queue, settings)),
      (settings) => store.setQueue(queue, settings)
    )
  )

/** Nothing of the queue is started until `resume`; what runs goes on. */
export const pause = (queue: string): Effect.Effect<void, JobStoreError, JobStore> => configure(queue, { paused: true })

/** Ends a pause. */
export const resume = (queue: string): Effect.Effect<void, JobStoreError, JobStore> =>
  configure(queue, { paused: false })

// ─── from a request to what the store is given

type Handlers = Job.Registry["Service"]

const newJob = (
  { job, options = {}, payload }: Job.EnqueueRequest,
  registry: Handlers | undefined
): Effect.Effect<NewJob, Job.InvalidPayloadError | Job.UnknownJobError> => {
  if (typeof job !== "string") {
    const registered = registry?.get(job.name)
    return Effect.flatMapEager(
      Job.makePayload(job, payload),
      (value) =>
        Effect.flatMapEager(
          Job.encodePayload(job, value),
          (encoded) => kept(job.name, job, registered?.demand, options, encoded, value)
        )
    )
  }
  const registered = registry?.get(job)
  if (registry !== undefined && registered === undefined) {
    return Effect.fail(new Job.UnknownJobError({ job, known: registry.names }))
  }
  if (registered === undefined) return kept(job, undefined, undefined, options, payload, undefined)
  return Effect.flatMapEager(
    registered.within(Job.decodePayload(registered.job, payload)),
    (value) => kept(job, registered.job, registered.demand, options, payload, value)
  )
}

const kept = (
  name: string,
  job: Job.AnyJob | undefined,
  handlers: Concurrency.Demand | undefined,
  options: Job.EnqueueOptions,
  encoded: unknown,
  payload: unknown
): Effect.Effect<NewJob, Job.InvalidPayloadError> =>
  Effect.withFiber((fiber) => {
    const { at, delay, id, key, priority, queue, tags, weight } = options
    const own: Partial<Job.AnyJob["options"]> = job?.options ?? {}
    const demand = Job.mergeDemands(job?.demand, handlers, { tags, weight, priority, key })
    const expires = options.expires ?? own.expires
    const json = jsonOf(name, encoded)
    if (typeof json !== "string") return Effect.fail(json)
    return orDie((): NewJob => ({
      name: text("job", name),
      payload: json,
      queue: text("queue", queue ?? own.queue ?? "default"),
      tags: tagsOf(demand.tags ?? [], own.limit === undefined ? undefined : limitTag(name)),
      weight: checkInteger(where, "weight", demand.weight ?? 1, 1),
      priority: Concurrency.checkPriority(where, demand.priority ?? "normal"),
      key: demand.key === undefined || demand.key === "" ? demand.key : text("key", demand.key),
      id: id === undefined ? undefined : text("id", id),
      due: dueOf(delay, at),
      expires: expires === undefined ? undefined : { in: checkMillis(where, "expires", expires) },
      delivery: deliveryOf(options.delivery ?? own.delivery ?? "atLeastOnce"),
      maxCrashes: checkInteger(where, "maxCrashes", options.maxCrashes ?? own.maxCrashes ?? 10, 1),
      unique: uniqueOf(name, own, options.unique, payload),
      trace: traceOf(Context.getOrUndefined(fiber.context as Context.Context<any>, Tracer.ParentSpan))
    }))
  })

const where = "JobQueue.enqueue"

/** The tag by which the runs of one job are limited: its `limit`. */
export const limitTag = (job: string): string => `job:${job}`

const invalid = (field: string, rule: string, value: unknown): never => {
  throw new InvalidOptionError({ where, field, rule, value })
}

/** What no database can write down is refused here. */
const text = (field: string, value: string): string => {
  if (typeof value !== "string" || value === "") return invalid(field, "must be a string that is not empty", value)
  return value.isWellFormed() && !value.includes("\0")
    ? value
    : invalid(field, "must not have lone surrogates or NUL characters", value)
}

const jsonOf = (job: string, encoded: unknown): string | Job.InvalidPayloadError => {
  // What is no JSON value is written as one: `undefined`, of a job without a payload.
  if (encoded === undefined) return "null"
  try {
    const json: string | undefined = JSON.stringify(encoded)
    return json ?? new Job.InvalidPayloadError({ job, issue: `${typeof encoded} is not a JSON value` })
  } catch (error) {
    return new Job.InvalidPayloadError({ job, issue: String(error) })
  }
}

const tagsOf = (tags: ReadonlyArray<string>, limit: string | undefined): ReadonlyArray<string> => {
  if (tags.length === 0) return limit === undefined ? noTags : [limit]
  for (const tag of tags) text("tags", tag)
  return [...new Set(limit === undefined ? tags : [...tags, limit])].sort()
}
const noTags: ReadonlyArray<string> = []

const dueOf = (delay: Job.EnqueueOptions["delay"], at: Job.EnqueueOptions["at"]): NewJob["due"] => {
  if (delay !== undefined) {
    if (at !== undefined) return invalid("at", "must not be given together with delay", at)
    return { in: checkMillis(where, "delay", delay) }
  }
  if (at === undefined) return undefined
  const time = DateTime.make(at)
  return time._tag === "Some" ? { at: DateTime.toEpochMillis(time.value) } : invalid("at", "must be a time", at)
}

const deliveryOf = (delivery: Job.Delivery): Job.Delivery =>
  delivery === "atLeastOnce" || delivery === "atMostOnce"
    ? delivery
    : invalid("delivery", `must be "atLeastOnce" or "atMostOnce"`, delivery)

const uniqueOf = (
  name: string,
  { idempotencyKey, unique }: Partial<Job.AnyJob["options"]>,
  asked: Job.EnqueueOptions["unique"],
  payload: unknown
): Unique | undefined => {
  const given = typeof asked === "string" ? { key: asked } : asked
  const key = given?.key ?? idempotencyKey?.(payload)
  if (key === undefined) {
    return unique === undefined ? undefined : invalid("unique", "needs an idempotencyKey, or a key of its own", unique)
  }
  if (key !== "") text("unique.key", key)
  const span = given?.while ?? unique?.while ?? "active"
  const conflict = given?.conflict ?? unique?.conflict ?? "ignore"
  if (conflict !== "ignore" && conflict !== "replace" && conflict !== "error") {
    return invalid("unique.conflict", `must be "ignore", "replace" or "error"`, conflict)
  }
  if (typeof span === "object") {
    return {
      key: JSON.stringify([name, key]),
      conflict,
      while: { window: checkMillis(where, "unique.window", span.window) }
    }
  }
  if (span !== "waiting" && span !== "active") {
    return invalid("unique.while", `must be "waiting", "active" or { window }`, span)
  }
  return { key: JSON.stringify([name, key]), conflict, while: span }
}

/** As W3C Trace Context writes it. */
const traceOf = (span: Tracer.AnySpan | undefined): string | undefined =>
  span === undefined ? undefined : `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`

// ─── back-pressure

/** Tries again whenever something has changed, and every second, since a wake-up from another machine may be lost. */
const suspending = (store: Store): Store["enqueue"] => (jobs) =>
  Effect.catchTag(
    store.enqueue(jobs),
    "QueueFullError",
    (full): ReturnType<Store["enqueue"]> =>
      Effect.flatMap(store.isInTransaction ?? Effect.succeed(false), (isInTransaction): ReturnType<Store["enqueue"]> =>
        isInTransaction ? Effect.fail(full) : Effect.scoped(whenThereIsRoom(store, jobs)))
  )

const whenThereIsRoom = Effect.fnUntraced(function*(store: Store, jobs: ReadonlyArray<NewJob>) {
  const changed = new Signal()
  yield* store.listen(changed.give)
  while (true) {
    const put = yield* Effect.catchTag(store.enqueue(jobs), "QueueFullError", () => Effect.undefined)
    if (put !== undefined) return put
    yield* changed.take(1000)
  }
})
