/**
 * What the SQLite store decides, in plain calls: each is part of one transaction, at one time, and leaves the tables as they are to be.
 */
import type { DatabaseSync } from "node:sqlite"
import { claim } from "./SqliteClaim.ts"
import { Gates } from "./SqliteGates.ts"
import * as Jobs from "./SqliteJobs.ts"
import { type Job, type Stand } from "./SqliteJobs.ts"
import { Limits } from "./SqliteLimits.ts"
import { Lines } from "./SqliteLines.ts"
import { boundOf, Queues } from "./SqliteQueues.ts"
import { Workers } from "./SqliteWorkers.ts"
import {
  type AttemptError,
  type Claimed,
  type DeadReason,
  DuplicateKeyError,
  type End,
  type Enqueued,
  type IfAbsent,
  type JobRecord,
  type Joining,
  type Lease,
  LeaseEndedError,
  type ListFilter,
  type NewJob,
  type QueueCounts,
  QueueFullError,
  type QueueSettings,
  type RedriveFilter,
  type Retention,
  type StoredLimit,
  type StoredLimitInfo,
  type Turn,
  type Turned,
  type WorkerRecord
} from "./StorePort.ts"

/** So many at once become due, expire, are pruned or redriven: the event loop is not to stand still for longer. */
export const BATCH = 1000

export class SqliteStore {
  private now = 0
  /** A turn might find something that was not there before. */
  private hasNews = false
  private readonly retention: Retention
  private readonly jobs
  private readonly gates
  private readonly lines
  private readonly limits
  private readonly queues
  private readonly workers
  private readonly tables
  private readonly tellNews
  private readonly readNews
  constructor(db: DatabaseSync, retention: Retention) {
    this.retention = retention
    this.jobs = new Jobs.Jobs(db)
    this.gates = new Gates(db)
    this.lines = new Lines(db, this.gates)
    this.limits = new Limits(db)
    this.queues = new Queues(db)
    this.workers = new Workers(db)
    this.tables = { lines: this.lines, gates: this.gates, limits: this.limits, queues: this.queues }
    this.tellNews = db.prepare("UPDATE tasklayer_store SET news = news + 1")
    this.readNews = db.prepare("SELECT news FROM tasklayer_store")
  }

  /** One transaction: `f`, then what it changed is written. Whether there is news for those who listen. */
  step<A>(now: number, f: () => A): { readonly answer: A; readonly hasNews: boolean } {
    this.now = now
    this.hasNews = false
    this.gates.begin(now)
    this.lines.begin()
    this.limits.begin(now)
    this.queues.begin()
    const answer = f()
    this.openFreed()
    this.lines.flush()
    this.limits.flush()
    this.queues.flush()
    if (this.hasNews) this.tellNews.run()
    return { answer, hasNews: this.hasNews }
  }

  /** Goes up with all that is news, in whichever process. */
  get news(): number {
    return this.readNews.get()!["news"] as number
  }

  // ─── putting in

  enqueue(news: ReadonlyArray<NewJob>): ReadonlyArray<Enqueued> {
    let seq = this.jobs.lastSeq
    const enqueued = news.map((asked): Enqueued => {
      const answer = this.answerOfUnique(asked)
      if (answer !== undefined) return answer
      const there = asked.id === undefined ? undefined : this.jobs.find(asked.id)
      if (there !== undefined) {
        throw new DuplicateKeyError({ field: "id", key: asked.id!, job: asked.id! })
      }
      this.checkRoom(asked.queue)
      do seq++
      while (asked.id === undefined && this.jobs.isGiven(String(seq)))
      const id = asked.id ?? String(seq)
      const stand = this.stand(seq, asked, null)
      this.jobs.insert(seq, asked, stand, this.now)
      this.jobs.takeUnique(asked, seq, id, this.now, this.now)
      this.queues.moved(asked.queue, undefined, stand.state)
      this.hasNews = true
      return { id, as: "new" }
    })
    this.jobs.lastSeq = seq
    return enqueued
  }

  /** `undefined`: it goes in. */
  private answerOfUnique(asked: NewJob): Enqueued | undefined {
    const { unique } = asked
    const there = unique && this.jobs.holder(unique.key, this.now)
    if (there === undefined) return undefined
    if (unique!.conflict === "error") throw new DuplicateKeyError({ field: "unique", key: unique!.key, job: there.id })
    if (unique!.conflict === "ignore") return { id: there.id, as: "existing" }
    const job = this.jobs.bySeq(there.seq)
    if (job?.state === Jobs.Active) this.interrupt(job)
    if (job === undefined || job.state >= Jobs.Active) return undefined
    this.replace(job, asked)
    return { id: there.id, as: "replaced" }
  }

  private replace(job: Job, asked: NewJob): void {
    this.unwait(job)
    const sameKey = asked.queue === job.queue && (asked.key ?? null) === job.key
    const stand = this.stand(job.seq, asked, sameKey ? job.rank : null)
    this.jobs.replace(job.seq, asked, stand, this.now)
    this.jobs.takeUnique(asked, job.seq, Jobs.idOf(job), job.enqueued_at, this.now)
    this.queues.moved(job.queue, job.state, undefined)
    this.queues.moved(asked.queue, undefined, stand.state)
    this.hasNews = true
  }

  private checkRoom(name: string): void {
    const { counts, max_queued } = this.queues.get(name)
    const maxQueued = boundOf(max_queued)
    if (maxQueued !== undefined && counts[Jobs.Scheduled]! + counts[Jobs.Waiting]! + 1 > maxQueued) {
      throw new QueueFullError({ queue: name, maxQueued })
    }
  }

  /** Due at once it stands in its line, else it has a rank if it had one. */
  private stand(seq: number, asked: NewJob, rank: number | null): Stand {
    const dueAt = Jobs.timeOf(asked.due, this.now) ?? this.now
    const queue = this.queues.get(asked.queue)
    if (asked.key !== undefined) this.queues.hasKeys(queue)
    if (dueAt > this.now) return { state: Jobs.Scheduled, line: null, rank, dueAt }
    const alike = { ...asked, key: asked.key ?? null, tags: JSON.stringify(asked.tags) }
    const given = rank ?? this.lines.rankIn(queue, alike.key)
    return { state: Jobs.Waiting, line: this.lines.add(alike, { rank: given, seq }), rank: given, dueAt }
  }

  // ─── workers

  join({ lease, name }: Joining): Lease {
    return this.leaseOf(this.workers.join(name, lease, this.now), lease)
  }

  renew(worker: string): Lease {
    const lasts = this.workers.renew(worker, this.now)
    if (lasts === undefined) throw new LeaseEndedError({ worker })
    return this.leaseOf(worker, lasts)
  }

  private leaseOf(worker: string, lasts: number): Lease {
    const end = this.workers.nextEnd(worker)
    return { worker, lasts, sweepIn: end === undefined ? undefined : Math.max(0, end - this.now) }
  }

  leave(worker: string): void {
    if (!this.workers.isAlive(worker, this.now)) return
    for (const job of this.jobs.of(worker)) this.giveBack(job)
    this.workers.delete(worker)
  }

  turn({ ends, epoch = 0, filter, holds, want, worker }: Turn): Turned {
    if (!this.workers.admits(worker, epoch, this.now)) throw new LeaseEndedError({ worker })
    const refused = ends.filter((end) => !this.end(worker, end)).map(({ id }) => id)
    if (holds !== undefined) {
      const held = new Set(holds)
      for (const job of this.jobs.of(worker)) if (!held.has(Jobs.idOf(job))) this.giveBack(job)
    }
    const { hasMore: hasMoreToSweep } = this.sweep()
    this.openFreed()
    const jobs: Array<Claimed> = []
    const hasMore = claim(this.tables, want, filter, (seq) => {
      jobs.push(this.start(seq, worker))
    })
    // What was new and is taken is no news.
    this.hasNews &&= this.lines.hasReady || this.gates.opened.length > 0
    return {
      jobs,
      refused,
      cancelled: this.jobs.toInterrupt(worker),
      next: hasMore || hasMoreToSweep ? 0 : this.nextFor(worker)
    }
  }

  private nextFor(worker: string): number | undefined {
    const next = Math.min(
      this.jobs.nextTime(this.now),
      this.gates.opensNext,
      this.limits.resumesNext,
      this.workers.nextEnd(worker) ?? Infinity
    )
    return next === Infinity ? undefined : Math.max(0, next - this.now)
  }

  private start(seq: number, worker: string): Claimed {
    const job = this.jobs.claim(seq, worker, this.now)
    if (job.unique_while === Jobs.uniqueWhile.waiting) this.jobs.freeUnique(job)
    this.queues.moved(job.queue, Jobs.Waiting, Jobs.Active)
    return Jobs.toClaimed(job)
  }

  /** False: it came too late. */
  private end(worker: string, end: End): boolean {
    if (end._tag === "Succeeded") {
      const ended = this.jobs.succeed(end.id, worker, end.token, this.now, end.result ?? null)
      if (ended !== undefined) this.hasEnded(ended, Jobs.Active, Jobs.Succeeded)
      return ended !== undefined
    }
    const job = this.jobs.find(end.id)
    if (job === undefined || job.worker !== worker || job.token !== end.token) return false
    switch (end._tag) {
      case "Returned":
        this.giveBack(job)
        break
      case "Retry":
        this.again(Jobs.withError(job, end.error), end.after)
        break
      case "Dead":
        this.become(end.error === undefined ? job : Jobs.withError(job, end.error), Jobs.Dead, end.reason)
        break
      case "Cancelled":
        this.become(job, Jobs.Cancelled)
    }
    return true
  }

  private giveBack(job: Job): void {
    this.putBack({ ...job, attempts: job.attempts - 1 }, job.due_at)
  }

  private again(job: Job, after: number): void {
    this.putBack(job, this.now + after)
  }

  /** From Active, unless it was cancelled meanwhile. It keeps its rank. */
  private putBack(job: Job, dueAt: number): void {
    if (job.cancel === 1) return this.become(job, Jobs.Cancelled)
    const rank = job.rank!
    const state = dueAt > this.now ? Jobs.Scheduled : Jobs.Waiting
    const line = state === Jobs.Waiting ? this.lines.add(job, { rank, seq: job.seq }) : null
    this.jobs.putBack(job, state, line, dueAt)
    this.limits.free(Jobs.tagsOf(job), this.queues.get(job.queue), job.key, job.seq)
    this.queues.moved(job.queue, Jobs.Active, state)
    if (state === Jobs.Waiting) this.hasNews = true
  }

  private become(job: Job, state: number, reason: DeadReason | null = null): void {
    this.jobs.end(job, state, this.now, reason)
    if (job.line !== null) this.lines.remove(job.line, { rank: job.rank!, seq: job.seq })
    this.hasEnded(job, job.state, state)
  }

  /** Its row says so: now what it had is free. */
  private hasEnded(job: Jobs.Ended, from: number, to: number): void {
    if (from === Jobs.Active) this.limits.free(Jobs.tagsOf(job), this.queues.get(job.queue), job.key, job.seq)
    if (job.unique_while !== Jobs.uniqueWhile.window) this.jobs.freeUnique(job)
    const isKept = this.retentionOf(to) > 0
    if (!isKept) this.jobs.delete(job.seq)
    this.queues.moved(job.queue, from, isKept ? to : undefined)
  }

  /** Out of its line, where it stands in one. */
  private unwait(job: Job): void {
    if (job.line === null) return
    this.jobs.leaveLine(job.seq)
    this.lines.remove(job.line, { rank: job.rank!, seq: job.seq })
  }

  private interrupt(job: Job): void {
    this.jobs.interrupt(job.seq)
    this.hasNews = true
  }

  /** What waits where there is more room now is looked at again. */
  private openFreed(): void {
    const { freedKeys, freedTags } = this.limits
    for (const tag of freedTags) if (this.gates.open(tag)) this.hasNews = true
    for (const [queue, key] of freedKeys.values()) if (this.lines.leaveCap(queue, key)) this.hasNews = true
    freedTags.clear()
    freedKeys.clear()
  }

  // ─── what time does

  sweep(): { readonly leases: number; readonly hasMore: boolean } {
    const ended = this.workers.ended(this.now)
    for (const { id, name } of ended) {
      for (const job of this.jobs.of(id)) this.lose(job, name)
      this.workers.delete(id)
    }
    const expired = this.jobs.expired(this.now, BATCH)
    for (const job of expired) this.become(job, Jobs.Dead, "Expired")
    const due = this.jobs.due(this.now, BATCH)
    for (const job of due) {
      this.wait(job)
      this.queues.moved(job.queue, Jobs.Scheduled, Jobs.Waiting)
    }
    return { leases: ended.length, hasMore: expired.length === BATCH || due.length === BATCH }
  }

  private wait(job: Job): void {
    const rank = job.rank ?? this.lines.rankIn(this.queues.get(job.queue), job.key)
    this.jobs.wait(job.seq, this.lines.add(job, { rank, seq: job.seq }), rank)
    this.hasNews = true
  }

  /** Its worker is gone. */
  private lose(job: Job, worker: string): void {
    if (job.cancel === 1) return this.become(job, Jobs.Cancelled)
    const reason = job.at_most_once === 1 ? "Lost" : "Crashed"
    const message = `the lease of worker "${worker}" ended`
    const error: AttemptError = { attempt: job.attempts, at: this.now, reason, message }
    const lost = { ...Jobs.withError(job, error), crashes: job.crashes + (reason === "Crashed" ? 1 : 0) }
    if (reason === "Lost" || lost.crashes >= job.max_crashes) this.become(lost, Jobs.Dead, reason)
    else this.putBack(lost, job.due_at)
  }

  private retentionOf(state: number): number {
    return state === Jobs.Succeeded
      ? this.retention.succeeded
      : state === Jobs.Dead
      ? this.retention.dead
      : this.retention.cancelled
  }

  // ─── those who look after it

  get(id: string): JobRecord | undefined {
    const job = this.jobs.find(id)
    return job && Jobs.toRecord(job)
  }

  list(filter: ListFilter): ReadonlyArray<JobRecord> {
    return this.jobs.list(filter).map(Jobs.toRecord)
  }

  get counts(): ReadonlyArray<QueueCounts> {
    return this.queues.all
  }

  get workerRecords(): ReadonlyArray<WorkerRecord> {
    return this.workers.alive(this.now)
  }

  cancel(id: string): boolean {
    const job = this.jobs.find(id)
    if (job === undefined || job.state > Jobs.Active) return false
    if (job.state === Jobs.Active) this.interrupt(job)
    else this.become(job, Jobs.Cancelled)
    return true
  }

  /** A batch of them: fewer than `BATCH` are the last. */
  redrive(filter: RedriveFilter): number {
    const dead = this.jobs.dead(filter, BATCH)
    for (const job of dead) {
      const rank = job.rank ?? this.lines.rankIn(this.queues.get(job.queue), job.key)
      this.jobs.revive(job.seq, this.lines.add(job, { rank, seq: job.seq }), rank, this.now)
      this.queues.moved(job.queue, Jobs.Dead, Jobs.Waiting)
      this.hasNews = true
    }
    return dead.length
  }

  /** A batch of them: fewer than `BATCH` are the last. */
  prune(): number {
    this.jobs.pruneUnique(this.now)
    let pruned = 0
    for (const state of [Jobs.Succeeded, Jobs.Dead, Jobs.Cancelled]) {
      const queues = this.jobs.prune(state, this.now - this.retentionOf(state), BATCH - pruned)
      for (const queue of queues) this.queues.moved(queue, state, undefined)
      pruned += queues.length
    }
    return pruned
  }

  setLimit(limit: StoredLimit, options: IfAbsent): void {
    this.limits.set(limit, options)
    this.hasNews = true
  }

  pauseLimit(tag: string, millis: number): void {
    this.limits.pause(tag, this.now + millis)
    this.hasNews = true
  }

  removeLimit(tag: string): boolean {
    return this.hasNews = this.limits.remove(tag)
  }

  get limitInfos(): ReadonlyArray<StoredLimitInfo> {
    return this.limits.all
  }

  setQueue(name: string, settings: QueueSettings, options: IfAbsent): void {
    const before = this.queues.set(name, settings, options)
    this.limits.capped(this.queues.get(name), before)
    this.lines.leaveCaps(name)
    this.hasNews = true
  }
}
