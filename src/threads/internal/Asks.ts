/** What the handler of one call asks of its runner, and what its host is asked in turn. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Job from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import type * as TaskRun from "../../TaskRun.ts"
import { encodeEnd, encodeState } from "./Ends.ts"
import type { Host } from "./Host.ts"
import { plainOf, rawOf } from "./Unseen.ts"
import type { About, Answer, Ask, Submission } from "./Wire.ts"

/** It is done in the context of the run: its children have its lineage, and its waits lend its slot. */
export class Asks {
  /** How many of its fibers wait for other runs. */
  waits = 0
  private readonly call: number
  private readonly given: JobRunner.Call
  private readonly context: Context.Context<never>
  private readonly host: Host
  private readonly asking = new Map<number, Fiber.Fiber<unknown, unknown>>()
  private readonly forked = new Map<string, Forked>()
  private readonly queries = new Map<number, (delay: number | undefined) => void>()
  private queried = 0
  private isOver = false

  constructor(call: number, given: JobRunner.Call, context: Context.Context<never>, host: Host) {
    this.call = call
    this.given = given
    this.context = context
    this.host = host
  }

  asked(request: number, ask: Ask): void {
    const lends = ask._tag !== "Progress" && ask._tag !== "State"
    if (lends) this.waits++
    const fiber = Effect.runForkWith(this.context)(this.answer(request, ask))
    this.asking.set(request, fiber)
    fiber.addObserver((exit) => {
      this.asking.delete(request)
      if (lends) this.waits--
      if (this.isOver) return this.host.answer(request, over)
      const answer = Exit.isSuccess(exit) ? Effect.succeed(exit.value) : not(exit)
      Effect.runFork(answer).addObserver((exit) => this.host.answer(request, Exit.isSuccess(exit) ? exit.value : over))
    })
  }

  cancel(request: number): void {
    this.asking.get(request)?.interruptUnsafe()
  }

  told(query: number, delay: number | undefined): void {
    this.queries.get(query)?.(delay)
  }

  /** The call is over. `then` follows when nothing it waits for runs any more. */
  end(then: () => void): void {
    this.isOver = true
    for (const told of [...this.queries.values()]) told(undefined)
    let left = this.asking.size
    if (left === 0) return then()
    for (const fiber of [...this.asking.values()]) {
      fiber.addObserver(() => --left === 0 && then())
      fiber.interruptUnsafe()
    }
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
          this.forked.set(run.id, { run, job })
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
    return this.forked.get(id) ?? { run: this.given.run, job: plainOf(this.given.job) }
  }

  /** What is said of it, and what the host answers for. */
  private jobOf(
    request: number,
    { idempotencyKey, job, limit, retries, retryCrashes, timeout }: Submission
  ): Job.AnyJob {
    return !retries && idempotencyKey === undefined && timeout === undefined && limit === undefined
      ? plainOf(job)
      : rawOf(job, {
        timeout,
        limit,
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
        Effect.flatMap(encodeEnd(plainOf(""), Exit.fail(error)), (end) =>
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
      if (this.isOver) return resume(Effect.succeed(undefined))
      const query = ++this.queried
      this.queries.set(query, (delay) => {
        this.queries.delete(query)
        resume(Effect.succeed(delay))
      })
      this.host.post({ _tag: "Query", call: this.call, query, request, about })
      return Effect.sync(() => this.queries.delete(query))
    })
  }
}

interface Forked {
  readonly run: TaskRun.TaskRun<unknown, unknown>
  readonly job: Job.AnyJob
}

const done: Answer = { _tag: "Done" }
const over: Answer = { _tag: "Over" }

const ended = (job: Job.AnyJob, exit: Exit.Exit<unknown, unknown>): Effect.Effect<Answer> =>
  Effect.map(encodeEnd(job, exit), (end) => ({ _tag: "End", end }))

const not = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<Answer> =>
  Effect.map(encodeEnd(plainOf(""), exit), (end) => ({ _tag: "Not", end }))
