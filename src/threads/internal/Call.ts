/** One attempt of one run, from the moment it has its slot until nothing of it runs any more; and what its host asks meanwhile. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Tracer from "effect/Tracer"
import * as Job from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import type * as TaskRun from "../../TaskRun.ts"
import type { Gone } from "./Carrier.ts"
import { encodeEnd, encodeState } from "./Ends.ts"
import { say } from "./Logs.ts"
import type { Host, Pool } from "./Pool.ts"
import { CallSpans } from "./Spans.ts"
import { rawOf } from "./Unseen.ts"
import type { About, Answer, Ask, Env, FromHost, Replied, RunMore, Submission } from "./Wire.ts"

type End = Effect.Effect<Job.Reply, Job.JobCrashedError>

export class Call {
  readonly id: number
  readonly given: JobRunner.Call
  /** How many of its fibers wait for other runs: while any does, its slot is away. */
  waits = 0
  private readonly pool: Pool
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly context: Context.Context<never>
  private readonly resume: (end: End) => void
  private host: Host | undefined
  /** Over: nothing of it runs in its host. Settled: nor what it was waiting for. */
  private state: "live" | "over" | "settled" = "live"
  /** It was interrupted, and somebody waits until it is settled. */
  private onSettled: (() => void) | undefined
  /** Made when first needed: most jobs ask for nothing. */
  private asks: Map<number, Fiber.Fiber<unknown, unknown>> | undefined
  private runs: Map<string, Forked> | undefined
  private queries: Map<number, (delay: number | undefined) => void> | undefined
  private queried = 0
  private spans: CallSpans | undefined

  constructor(
    pool: Pool,
    id: number,
    given: JobRunner.Call,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (end: End) => void
  ) {
    this.pool = pool
    this.id = id
    this.given = given
    this.fiber = fiber
    this.context = fiber.context
    this.resume = resume
  }

  taken(host: Host): void {
    this.host = host
    const { job, payload, run, transfer } = this.given
    let env: Env | undefined
    try {
      env = this.pool.options.env?.(job, payload)
    } catch (error) {
      return this.over(Effect.die(error))
    }
    try {
      host.run([this.id, job, payload, run.id, run.attempt, this.more(host, env)], transfer)
    } catch (error) {
      // It has a part that cannot be cloned: nothing was sent.
      this.over(Effect.die(new Job.InvalidPayloadError({ job, issue: String(error) })))
    }
  }

  /** What is not as usual. */
  private more(host: Host, env: Env | undefined): RunMore | undefined {
    const { minimumLogLevel, span, tracer, tracerEnabled } = this.fiber.cache
    host.usual(minimumLogLevel, tracerEnabled && tracer !== undefined)
    const { job, run: { parent, root, tags } } = this.given
    const usual = this.pool.jobs.get(job)?.demand.tags ?? nothing
    const sameTags = tags === usual || tags.length === usual.length && tags.every((tag, i) => tag === usual[i])
    if (parent === undefined && span === undefined && env === undefined && sameTags) return undefined
    return {
      ...(parent === undefined ? undefined : { parent, root }),
      ...(sameTags ? undefined : { tags }),
      ...(span === undefined
        ? undefined
        : { span: { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled } }),
      ...(env === undefined ? undefined : { env })
    }
  }

  // ─── its end

  /** Its host is gone, or none comes up. */
  crashed(gone: Gone): void {
    const host = this.host?.name ?? this.pool.options.name
    this.over(Effect.fail(new Job.JobCrashedError({ ...gone, job: this.given.job, host })))
  }

  /** Returns by `done` when it is settled. */
  interrupt(done: () => void): void {
    if (this.state === "settled") return done()
    this.onSettled = done
    if (this.state === "over") return
    if (this.host === undefined) {
      this.pool.leave(this)
      return this.over(Effect.interrupt)
    }
    this.host.post({ _tag: "Interrupt", call: this.id })
    this.host.watch()
  }

  private over(end: End): void {
    if (this.state !== "live") return
    this.state = "over"
    if (this.queries !== undefined) { for (const told of [...this.queries.values()]) told(undefined) }
    this.spans?.close(Context.get(this.context, Clock.Clock).currentTimeNanosUnsafe())
    // The host first: the next run, admitted when this one settles, finds it free.
    this.host?.finished()
    if (this.asks === undefined || this.asks.size === 0) return this.settle(end)
    // What it waited for ends with it.
    let left = this.asks.size
    for (const fiber of [...this.asks.values()]) {
      fiber.addObserver(() => --left === 0 && this.settle(end))
      fiber.interruptUnsafe()
    }
  }

  private settle(end: End): void {
    this.state = "settled"
    if (this.onSettled === undefined) this.resume(end)
    else this.onSettled()
  }

  // ─── what its host says

  replied([, value, reply]: Replied): void {
    this.over(Effect.succeed(reply ?? { _tag: "Success", value }))
  }

  received(message: Exclude<FromHost, Replied> & { readonly call: unknown }): void {
    switch (message._tag) {
      case "Log":
        return say(this.context, message, this.fiber.id)
      case "SpanStarted":
        this.spans ??= new CallSpans(this.fiber.getRef(Tracer.Tracer), this.fiber.cache.span)
        return this.spans.started(message)
      case "SpanEnded":
        return this.spans?.ended(message)
      case "Request":
        return this.asked(message.request, message.ask)
      case "Cancel":
        return this.asks?.get(message.request)?.interruptUnsafe()
      case "Told":
        this.queries?.get(message.query)?.(message.delay)
        return
    }
  }

  /** What a handler asks for is done in the context of its run: its children have its lineage, and its waits lend its slot. */
  private asked(request: number, ask: Ask): void {
    const lends = ask._tag !== "Progress" && ask._tag !== "State"
    if (lends) this.waits++
    const fiber = Effect.runForkWith(this.context)(this.answer(request, ask))
    ;(this.asks ??= new Map()).set(request, fiber)
    fiber.addObserver((exit) => {
      this.asks!.delete(request)
      if (lends) this.waits--
      if (this.state !== "live") return this.host!.answer(request, over)
      const answer = Exit.isSuccess(exit) ? Effect.succeed(exit.value) : not(exit)
      Effect.runFork(answer).addObserver((exit) => this.host!.answer(request, Exit.isSuccess(exit) ? exit.value : over))
    })
  }

  private answer(request: number, ask: Ask): Effect.Effect<Answer, unknown> {
    switch (ask._tag) {
      case "Progress":
        return Effect.as(this.given.onProgress(ask.value), done)
      case "Execute": {
        const job = this.jobOf(request, ask)
        return Effect.flatMap(
          Effect.exit(this.runner.execute(this.requestOf(request, ask, job))),
          (exit) => ended(job, exit)
        )
      }
      case "Fork": {
        const job = this.jobOf(request, ask)
        return Effect.map(this.runner.fork(this.requestOf(request, ask, job)), (run) => {
          ;(this.runs ??= new Map()).set(run.id, { run, job })
          const { id, lane, name, parent, root, tags } = run
          return { _tag: "Run", run: { id, name, tags, parent, root, ...(lane === undefined ? {} : { lane }) } }
        })
      }
      case "Exit": {
        const { job, run } = this.find(ask.run)
        return Effect.flatMap(run.exit, (exit) => ended(job, exit))
      }
      case "Interrupt":
        return Effect.as(this.find(ask.run).run.interrupt, done)
      case "State": {
        const { job, run } = this.find(ask.run)
        return Effect.map(
          Effect.flatMap(run.state, (state) => encodeState(job, state)),
          (state) => ({ _tag: "State", state })
        )
      }
    }
  }

  private get runner(): Job.Runner {
    return Context.getUnsafe(this.context as Context.Context<any>, Job.JobRunner)
  }

  /** One of those it forked, or its own. */
  private find(id: string): Forked {
    return this.runs?.get(id) ?? { run: this.given.run, job: raw }
  }

  /** What is known of it here, and what the host answers for. */
  private jobOf(request: number, { idempotencyKey, job, retries, retryCrashes }: Submission): Job.AnyJob {
    return idempotencyKey === undefined && !retries
      ? this.pool.raw(job)
      : rawOf(job, {
        timeout: this.pool.jobs.get(job)?.timeout,
        retryCrashes,
        retry: retries ? this.retryOf(request) : undefined,
        idempotencyKey: idempotencyKey === undefined ? undefined : () => idempotencyKey
      })
  }

  private requestOf(request: number, { options, payload, progress }: Submission, job: Job.AnyJob): Job.Request {
    return {
      job,
      payload,
      options: progress
        ? { ...options, onProgress: (value) => Effect.asVoid(this.query(request, { _tag: "Progress", value })) }
        : options
    }
  }

  private retryOf(request: number): Schedule.Schedule<unknown, unknown> {
    return Schedule.fromStep(
      Effect.succeed((_now: number, error: unknown) =>
        Effect.flatMap(encodeEnd(raw, Exit.fail(error)), (end) =>
          Effect.flatMap(
            this.query(request, { _tag: "Retry", end }),
            (delay) =>
              delay === undefined ? Cause.done(undefined) : Effect.succeed([undefined, Duration.millis(delay)] as const)
          ))
      )
    ) as Schedule.Schedule<unknown, unknown>
  }

  /** Asks the host; nothing where this call is over, for then nobody is left to answer. */
  private query(request: number, about: About): Effect.Effect<number | undefined> {
    return Effect.callback<number | undefined>((resume) => {
      if (this.state !== "live") return resume(Effect.succeed(undefined))
      const query = ++this.queried
      ;(this.queries ??= new Map()).set(query, (delay: number | undefined) => {
        this.queries!.delete(query)
        resume(Effect.succeed(delay))
      })
      this.host!.post({ _tag: "Query", call: this.id, query, request, about })
      return Effect.sync(() => this.queries!.delete(query))
    })
  }
}

interface Forked {
  readonly run: TaskRun.TaskRun<unknown, unknown>
  readonly job: Job.AnyJob
}

const raw = rawOf("", {})

const nothing: ReadonlyArray<string> = []

const done: Answer = { _tag: "Done" }
const over: Answer = { _tag: "Over" }

const ended = (job: Job.AnyJob, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Answer> =>
  Effect.map(encodeEnd(job, exit), (end) => ({ _tag: "End", end }))

const not = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<Answer> =>
  Effect.map(encodeEnd(raw, exit), (end) => ({ _tag: "Not", end }))
