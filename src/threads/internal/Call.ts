/** One attempt of one run, from the moment it has its slot until nothing of it runs any more. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Tracer from "effect/Tracer"
import * as Job from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import { Asks } from "./Asks.ts"
import type { Gone } from "./Carrier.ts"
import type { Host } from "./Host.ts"
import { say } from "./Logs.ts"
import type { Pool } from "./Pool.ts"
import { CallSpans } from "./Spans.ts"
import type { Env, FromHost, Replied, RunMore } from "./Wire.ts"

type End = Effect.Effect<Job.Reply, Job.JobCrashedError>

export class Call {
  readonly id: number
  readonly given: JobRunner.Call
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
  private asks: Asks | undefined
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

  /** It waits for other runs: its slot is away. */
  get isWaiting(): boolean {
    return this.asks !== undefined && this.asks.waits > 0
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
    this.spans?.close(Context.get(this.context, Clock.Clock).currentTimeNanosUnsafe())
    // The host first: the next run, admitted when this one settles, finds it free.
    this.host?.finished()
    // What it waited for ends with it.
    if (this.asks === undefined) this.settle(end)
    else this.asks.end(() => this.settle(end))
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
        this.asks ??= new Asks(this.id, this.given, this.context, this.host!)
        return this.asks.asked(message.request, message.ask)
      case "Cancel":
        return this.asks?.cancel(message.request)
      case "Told":
        return this.asks?.told(message.query, message.delay)
    }
  }
}

const nothing: ReadonlyArray<string> = []
