/**
 * Puts jobs in together: what is asked for while one statement is under way goes in with the next. Each statement is a commit, and commits that
 * notify go one by one in PostgreSQL, whoever makes them: a thousand fibers that put in one job each take no longer than one that puts in a
 * thousand.
 *
 * Where a worker of the same store waits for jobs, its turn goes along: the jobs it takes are put in and claimed in one commit, and start in half
 * the time.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { DuplicateKeyError, Enqueued, JobStoreError, NewJob, QueueFullError } from "./StorePort.ts"

type EnqueueError = JobStoreError | QueueFullError | DuplicateKeyError
type Answer = Exit.Exit<ReadonlyArray<Enqueued>, EnqueueError>
type Put = (jobs: ReadonlyArray<NewJob>) => Effect.Effect<ReadonlyArray<Enqueued>, EnqueueError>

interface Options<Turned> {
  readonly put: Put
  readonly turn: (params: ReadonlyArray<unknown>) => Effect.Effect<Turned, JobStoreError>
  /** Both in one transaction, the jobs first. */
  readonly putAndTurn: (
    jobs: ReadonlyArray<NewJob>,
    params: ReadonlyArray<unknown>
  ) => Effect.Effect<{ readonly put: Answer; readonly turned: Turned }, JobStoreError>
  /** Nothing was done: each may be tried by itself. */
  readonly isUndone: (error: JobStoreError) => boolean
  /** Has those who listen here take a turn. */
  readonly wake: () => void
  /** Nobody but the worker whose turn goes along. */
  readonly isAlone: () => boolean
}

interface Asked {
  readonly jobs: ReadonlyArray<NewJob>
  readonly resume: (answer: Answer) => void
}

interface Rider<Turned> {
  readonly params: ReadonlyArray<unknown>
  readonly resume: (turned: Effect.Effect<Turned, JobStoreError>) => void
}

const most = 1000
/** Who is woken comes within so many turns of the event loop, or has something else to do. */
const patience = 3

export class Batch<Turned> {
  private readonly options: Options<Turned>
  private asked: Array<Asked> = []
  private isUnderWay = false
  /** The workers that wait for jobs. */
  private readonly waiting = new Set<string>()
  private isBoarding = false
  private rider: Rider<Turned> | undefined = undefined
  constructor(options: Options<Turned>) {
    this.options = options
  }

  enqueue(jobs: ReadonlyArray<NewJob>): ReturnType<Put> {
    return Effect.callback((resume) => {
      const asked: Asked = { jobs, resume }
      this.asked.push(asked)
      if (!this.isUnderWay) Effect.runFork(this.flush)
      // What is under way already goes in nevertheless.
      return Effect.sync(() => void (this.asked = this.asked.filter((one) => one !== asked)))
    })
  }

  /** With the jobs that are about to be put in, if there are any. */
  turn(worker: string, params: ReadonlyArray<unknown>): Effect.Effect<Turned, JobStoreError> {
    this.waiting.delete(worker)
    if (!this.isBoarding || this.rider !== undefined) return this.options.turn(params)
    return Effect.callback((resume) => {
      const rider = this.rider = { params, resume }
      return Effect.sync(() => {
        if (this.rider === rider) this.rider = undefined
      })
    })
  }

  /** It has found less than it wanted: its next turn may go along. */
  waits(worker: string): void {
    this.waiting.add(worker)
  }

  private readonly flush: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    this.isUnderWay = true
    while (this.asked.length > 0) {
      const rider = this.waiting.size > 0 ? yield* this.board : undefined
      // Whoever asked has gone meanwhile.
      if (this.asked.length === 0) {
        rider?.resume(this.options.turn(rider.params))
        break
      }
      let jobs = 0
      let n = 0
      while (n < this.asked.length && jobs < most) jobs += this.asked[n++]!.jobs.length
      const together = this.asked.splice(0, n)
      const all = together.flatMap(({ jobs }) => jobs)
      const exit = yield* rider === undefined
        ? Effect.exit(Effect.suspend(() => this.options.put(all)))
        : this.putWith(rider, all)
      // They hear it from the database too, a little later.
      if (rider === undefined || !this.options.isAlone()) this.options.wake()
      if (Exit.isSuccess(exit)) {
        let at = 0
        for (const { jobs, resume } of together) resume(Exit.succeed(exit.value.slice(at, at += jobs.length)))
      } else if (together.length > 1 && isRefusal(exit)) {
        // One of them was refused, and all with it: each for itself.
        for (const { jobs, resume } of together) resume(yield* Effect.exit(this.options.put(jobs)))
        this.options.wake()
      } else for (const { resume } of together) resume(exit)
    }
    this.isUnderWay = false
  })

  private readonly board: Effect.Effect<Rider<Turned> | undefined> = Effect.gen({ self: this }, function*() {
    this.isBoarding = true
    this.options.wake()
    for (let i = 0; i < patience && this.rider === undefined; i++) yield* Effect.yieldNow
    this.isBoarding = false
    const { rider } = this
    this.rider = undefined
    // Those that are still there say so again.
    if (rider === undefined) this.waiting.clear()
    return rider
  })

  private putWith({ params, resume }: Rider<Turned>, jobs: ReadonlyArray<NewJob>): Effect.Effect<Answer> {
    const { isUndone, put, putAndTurn, turn } = this.options
    const apart = Effect.suspend(() => {
      resume(turn(params))
      return Effect.exit(put(jobs))
    })
    return Effect.matchCauseEffect(Effect.suspend(() => putAndTurn(jobs, params)), {
      onFailure: (cause) => {
        if (cause.reasons.some((reason) => reason._tag === "Fail" && isUndone(reason.error))) return apart
        resume(Effect.failCause(cause))
        return Effect.succeed(Exit.failCause(cause))
      },
      onSuccess: ({ put, turned }) => {
        resume(Effect.succeed(turned))
        return Effect.succeed(put)
      }
    })
  }
}

const isRefusal = (exit: Exit.Failure<unknown, EnqueueError>): boolean =>
  exit.cause.reasons.some((reason) => reason._tag === "Fail" && reason.error._tag !== "JobStoreError")
