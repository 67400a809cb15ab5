/**
 * Puts jobs in together: what is asked for while one statement is under way goes in with the next. Each statement is a commit, and commits that
 * notify go one by one in PostgreSQL, whoever makes them: a thousand fibers that put in one job each take no longer than one that puts in a
 * thousand.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { DuplicateKeyError, Enqueued, JobStoreError, NewJob, QueueFullError } from "./StorePort.ts"

type EnqueueError = JobStoreError | QueueFullError | DuplicateKeyError
type Answer = Exit.Exit<ReadonlyArray<Enqueued>, EnqueueError>
type Put = (jobs: ReadonlyArray<NewJob>) => Effect.Effect<ReadonlyArray<Enqueued>, EnqueueError>

interface Asked {
  readonly jobs: ReadonlyArray<NewJob>
  readonly resume: (answer: Answer) => void
}

const most = 1000

export class Batch {
  private readonly put: Put
  private asked: Array<Asked> = []
  private isUnderWay = false
  constructor(put: Put) {
    this.put = put
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

  private readonly flush: Effect.Effect<void> = Effect.gen({ self: this }, function*() {
    this.isUnderWay = true
    while (this.asked.length > 0) {
      let jobs = 0
      let n = 0
      while (n < this.asked.length && jobs < most) jobs += this.asked[n++]!.jobs.length
      const together = this.asked.splice(0, n)
      const exit = yield* Effect.exit(this.put(together.flatMap(({ jobs }) => jobs)))
      if (Exit.isSuccess(exit)) {
        let at = 0
        for (const { jobs, resume } of together) resume(Exit.succeed(exit.value.slice(at, at += jobs.length)))
      } else if (together.length > 1 && isRefusal(exit)) {
        // One of them was refused, and all with it: each for itself.
        for (const { jobs, resume } of together) resume(yield* Effect.exit(this.put(jobs)))
      } else for (const { resume } of together) resume(exit)
    }
    this.isUnderWay = false
  })
}

const isRefusal = (exit: Exit.Failure<unknown, EnqueueError>): boolean =>
  exit.cause.reasons.some((reason) => reason._tag === "Fail" && reason.error._tag !== "JobStoreError")
