/** One attempt of one run, from the moment it has its slot until nothing of it runs any more. */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { InvalidPayloadError, JobCrashedError, type Reply } from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import type { Gone } from "./Carrier.ts"
import type { Host, Pool } from "./Pool.ts"

export class Call {
  readonly id: number
  readonly given: JobRunner.Call
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** How many of its fibers wait for other runs: while any does, its slot is away. */
  waits = 0
  private readonly pool: Pool
  private readonly resume: (end: Effect.Effect<Reply, JobCrashedError>) => void
  private host: Host | undefined
  private isOver = false
  /** It was interrupted, and somebody waits for its end. */
  private onOver: (() => void) | undefined

  constructor(
    pool: Pool,
    id: number,
    given: JobRunner.Call,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (end: Effect.Effect<Reply, JobCrashedError>) => void
  ) {
    this.pool = pool
    this.id = id
    this.given = given
    this.fiber = fiber
    this.resume = resume
  }

  taken(host: Host): void {
    this.host = host
    const { job, payload, run, transfer } = this.given
    const { attempt, id, lane, name, parent, root, tags } = run
    const span = this.fiber.cache.span
    try {
      host.post({
        _tag: "Run",
        call: this.id,
        job,
        payload,
        run: { id, name, tags, parent, root, attempt, ...(lane === undefined ? {} : { lane }) },
        minimumLogLevel: this.fiber.cache.minimumLogLevel,
        traced: this.fiber.cache.tracerEnabled && this.fiber.cache.tracer !== undefined,
        ...(span === undefined
          ? {}
          : { span: { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled } }),
        ...(this.pool.options.env === undefined ? {} : { env: this.pool.options.env(job, payload) })
      }, transfer)
    } catch (error) {
      // Nothing of it was sent.
      this.over(Effect.die(new InvalidPayloadError({ job, issue: String(error) })))
    }
  }

  replied(reply: Reply): void {
    this.over(Effect.succeed(reply))
  }

  /** Its host is gone, or none comes up. */
  crashed(gone: Gone): void {
    const host = this.host?.name ?? this.pool.options.name
    this.over(Effect.fail(new JobCrashedError({ ...gone, job: this.given.job, host })))
  }

  /** Returns by `done` when it is over. */
  interrupt(done: () => void): void {
    if (this.isOver) return done()
    this.onOver = done
    if (this.host === undefined) {
      this.pool.leave(this)
      return this.over(Effect.interrupt)
    }
    this.host.post({ _tag: "Interrupt", call: this.id })
    this.host.watch()
  }

  private over(end: Effect.Effect<Reply, JobCrashedError>): void {
    if (this.isOver) return
    this.isOver = true
    // The host first: the next run, admitted when this one settles, finds it free.
    this.host?.finished()
    if (this.onOver !== undefined) this.onOver()
    else this.resume(end)
  }
}
