/** Inside a host: the JobRunner of a handler, which is the runner it is run by. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Transferable from "effect/workers/Transferable"
import * as Job from "../../Job.ts"
import type * as TaskRun from "../../TaskRun.ts"
import { decodeEnd } from "./Ends.ts"
import { HostRun } from "./HostRun.ts"
import { movable } from "./Movable.ts"
import type { Port } from "./Port.ts"
import { plainOf } from "./Unseen.ts"
import type { About, Answer, Ask, End, Submission } from "./Wire.ts"

/** What is asked of the runner and not answered yet. */
export class HostRunner {
  private readonly port: Port
  private readonly registry: Job.Registry["Service"]
  private readonly asked = new Map<number, (answer: Answer) => void>()
  private readonly queried = new Map<number, Queried>()
  private requests = 0

  constructor(port: Port, registry: Job.Registry["Service"]) {
    this.port = port
    this.registry = registry
  }

  get jobs(): ReadonlyArray<Job.JobInfo> {
    return this.registry.all.map(({ demand, job }) => Job.infoOf(job, demand))
  }

  find(name: string): Job.Registered | undefined {
    return this.registry.get(name)
  }

  /** Interrupted, it waits until what was asked for has ended. `queried`: who answers what the runner wants to know of it. */
  ask(call: number, ask: Ask, transfer: ReadonlyArray<unknown>, queried?: Queried): Effect.Effect<Answer> {
    return Effect.callback((resume) => {
      const request = ++this.requests
      this.asked.set(request, (answer) => resume(Effect.succeed(answer)))
      if (queried !== undefined) this.queried.set(request, queried)
      try {
        this.port.post({ _tag: "Request", call, request, ask }, transfer)
      } catch (error) {
        this.asked.delete(request)
        return resume(Effect.die(error))
      }
      return Effect.callback<void>((done) => {
        this.asked.set(request, () => done(Effect.void))
        this.port.post({ _tag: "Cancel", call, request }, nothing)
      })
    })
  }

  answered(request: number, answer: Answer): void {
    const then = this.asked.get(request)
    this.asked.delete(request)
    // A run that was forked is asked about until its call is over.
    if (answer._tag !== "Run") this.queried.delete(request)
    then?.(answer)
  }

  /** What the runner wants to know of something it was asked for. */
  query(call: number, query: number, request: number, about: About): void {
    const told = (delay?: number) => this.port.post({ _tag: "Told", call, query, delay }, nothing)
    const queried = this.queried.get(request)
    if (queried === undefined) return told()
    Effect.runFork(queried(about)).addObserver((exit) => told(Exit.isSuccess(exit) ? exit.value : undefined))
  }

  /** The call is over: nothing of it is asked any more. */
  over(): void {
    this.queried.clear()
  }
}

type Queried = (about: About) => Effect.Effect<number | undefined>

/** The runner as the handler of one call sees it. */
export class CallRunner implements Job.Runner {
  readonly id: string
  readonly call: number
  private readonly host: HostRunner
  constructor(host: HostRunner, id: string, call: number) {
    this.host = host
    this.id = id
    this.call = call
  }

  get jobs(): Effect.Effect<ReadonlyArray<Job.JobInfo>> {
    return Effect.sync(() => this.host.jobs)
  }

  execute(request: Job.Request): Effect.Effect<unknown, unknown> {
    return Effect.flatMap(this.submit("Execute", request), ({ answer, job }) => {
      switch (answer._tag) {
        case "End":
        case "Not":
          return decodeEnd(job, answer.end)
        default:
          return Effect.interrupt
      }
    })
  }

  fork(request: Job.Request): Effect.Effect<TaskRun.TaskRun<unknown, unknown>, Job.SubmitError> {
    return Effect.flatMap(this.submit("Fork", request), ({ answer, job }) => {
      switch (answer._tag) {
        case "Run":
          return Effect.succeed(new HostRun(this, job, answer.run))
        case "Not":
          return decodeEnd(job, answer.end) as Effect.Effect<never, Job.SubmitError>
        default:
          return Effect.interrupt
      }
    })
  }

  readonly progress = (value: unknown): Effect.Effect<void> => this.ask({ _tag: "Progress", value })

  ask(ask: Ask): Effect.Effect<Answer> {
    return Effect.flatMap(
      this.host.ask(this.call, ask, nothing),
      (answer) => answer._tag === "Over" ? Effect.interrupt : Effect.succeed(answer)
    )
  }

  /** Validated and encoded here, where the schemas are. */
  private submit(
    _tag: "Fork" | "Execute",
    { job: named, options, payload }: Job.Request
  ): Effect.Effect<{ readonly answer: Answer; readonly job: Job.AnyJob }, Job.SubmitError> {
    const name = typeof named === "string" ? named : named.name
    const registered = this.host.find(name)
    const job = typeof named !== "string" ? named : plainOf(name)
    const { idempotencyKey, limit, retry, retryCrashes, timeout } = typeof named !== "string"
      ? named.options
      : registered?.job.options ?? {}
    return Effect.gen({ self: this }, function*() {
      const collector = Transferable.makeCollectorUnsafe()
      const value = typeof named !== "string"
        ? yield* Job.makePayload(named, payload)
        : registered === undefined
        ? payload
        : yield* registered.within(Job.decodePayload(registered.job, payload))
      const encoded = typeof named !== "string"
        ? yield* Effect.provideService(Job.encodePayload(named, value), Transferable.Collector, collector)
        : payload
      const { onProgress, ...rest } = options ?? {}
      const submission: Submission = {
        job: name,
        payload: encoded,
        options: { ...rest, admissionTimeout: millisOf(rest.admissionTimeout) },
        timeout: millisOf(timeout),
        limit,
        idempotencyKey: idempotencyKey?.(value),
        retries: retry !== undefined,
        retryCrashes: retryCrashes === true,
        progress: onProgress !== undefined
      }
      const queried = retry === undefined && onProgress === undefined
        ? undefined
        : yield* queriedBy(typeof named !== "string" ? named : registered?.job ?? job, retry, onProgress)
      const transfer = retry === undefined ? movable(collector.readUnsafe()) : nothing
      return { answer: yield* this.host.ask(this.call, { _tag, ...submission }, transfer, queried), job }
    })
  }
}

/** Answers for one submission: its retry policy and its listener are here, its run is there. */
const queriedBy = (
  job: Job.AnyJob,
  retry: Job.Options<any>["retry"],
  onProgress: Job.ExecuteOptions["onProgress"]
): Effect.Effect<Queried> =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const step = retry === undefined ? undefined : yield* Schedule.toStep(scheduleOf(retry))
    const delayAfter = (end: End): Effect.Effect<number | undefined> =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(decodeEnd(job, end))
        const [, delay] = yield* step!(yield* Clock.currentTimeMillis, error)
        return Duration.toMillis(delay)
      }).pipe(Effect.catchCause(() => Effect.succeed(undefined)))
    return (about) =>
      Effect.provideContext(
        about._tag === "Retry"
          ? delayAfter(about.end)
          : Effect.as(onProgress?.(about.value) ?? Effect.void, undefined),
        context
      )
  })

/** What `Effect.retry` makes of its argument, of what needs no services. */
const scheduleOf = (retry: NonNullable<Job.Options<any>["retry"]>): Schedule.Schedule<unknown, unknown> => {
  if (Schedule.isSchedule(retry)) return retry as Schedule.Schedule<unknown, unknown>
  const { schedule = Schedule.forever, times, until, while: while_ } = retry as Job.Retry<unknown>
  const goesOn = ({ attempt, input }: { readonly attempt: number; readonly input: unknown }) =>
    (while_?.(input) ?? true) && !(until?.(input) ?? false) && (times === undefined || attempt <= times)
  return Schedule.while(schedule, (step) => Effect.sync(() => goesOn(step as never)))
}

/** What is no duration stays what it is, for the runner to refuse. */
const millisOf = (input: Duration.Input | undefined): Duration.Input | undefined =>
  input === undefined
    ? undefined
    : Option.match(Duration.fromInput(input), { onNone: () => input, onSome: Duration.toMillis })

const nothing: ReadonlyArray<unknown> = []
