/** A job as the memory store keeps it. */
import type { Spot } from "./MemoryHeap.ts"
import type { Lease } from "./MemoryLease.ts"
import type { Line, Ordered } from "./MemoryLines.ts"
import type { AttemptError, Claimed, DeadReason, JobRecord, JobState, NewJob } from "./StorePort.ts"

const ERRORS_KEPT = 100

export class Job implements Ordered {
  readonly id: string
  readonly seq: number
  readonly enqueuedAt: number
  asked: NewJob
  state: JobState = "Scheduled"
  /** Its place between keys, from when it first waited. */
  rank: number | undefined = undefined
  token = 0
  attempt = 0
  crashes = 0
  errors: ReadonlyArray<AttemptError> = []
  dueAt: number
  expiresAt: number | undefined
  claimedAt: number | undefined = undefined
  endedAt: number | undefined = undefined
  reason: DeadReason | undefined = undefined
  result: string | undefined = undefined
  /** Who has it, while it is active. */
  lease: Lease | undefined = undefined
  cancelRequested = false

  // Where it is found: in its line, among the waiting of its key, when it is due, when it expires.
  pile: Line | undefined = undefined
  spot: Spot<Ordered> | undefined = undefined
  ofKey: Spot<Job> | undefined = undefined
  due: Spot<Job> | undefined = undefined
  expiring: Spot<Job> | undefined = undefined

  constructor(id: string, seq: number, asked: NewJob, now: number) {
    this.id = id
    this.seq = seq
    this.asked = asked
    this.enqueuedAt = now
    this.dueAt = timeOf(asked.due, now) ?? now
    this.expiresAt = timeOf(asked.expires, now)
  }

  get head(): Job {
    return this
  }

  /** It has what a newer one of its unique key was to have. */
  replace(asked: NewJob, now: number): void {
    if (asked.queue !== this.asked.queue || asked.key !== this.asked.key) this.rank = undefined
    this.asked = asked
    this.dueAt = timeOf(asked.due, now) ?? now
    this.expiresAt = timeOf(asked.expires, now)
  }

  failed(error: AttemptError): void {
    this.errors = [...this.errors, error].slice(-ERRORS_KEPT)
  }

  get claimed(): Claimed {
    const { delivery, key, name, payload, priority, queue, tags, trace, weight } = this.asked
    const { attempt, dueAt, enqueuedAt, errors, id, token } = this
    return {
      id,
      token,
      name,
      payload,
      queue,
      tags,
      key,
      priority,
      weight,
      delivery,
      attempt,
      errors,
      enqueuedAt,
      dueAt,
      trace
    }
  }

  get record(): JobRecord {
    const { delivery, key, name, payload, priority, queue, tags, weight } = this.asked
    return {
      id: this.id,
      name,
      state: this.state,
      queue,
      tags,
      key,
      priority,
      weight,
      payload,
      delivery,
      attempt: this.attempt,
      crashes: this.crashes,
      errors: this.errors,
      enqueuedAt: this.enqueuedAt,
      dueAt: this.dueAt,
      expiresAt: this.expiresAt,
      worker: this.lease?.id,
      claimedAt: this.claimedAt,
      endedAt: this.endedAt,
      reason: this.reason,
      result: this.result
    }
  }
}

/** The order of claims: priority, fairness between keys, age. */
export const isBefore = (a: Job, b: Job): boolean =>
  a.asked.priority !== b.asked.priority
    ? a.asked.priority < b.asked.priority
    : a.rank !== b.rank
    ? a.rank! < b.rank!
    : a.seq < b.seq

const timeOf = (time: NewJob["due"], now: number): number | undefined =>
  time === undefined ? undefined : "in" in time ? now + time.in : time.at
