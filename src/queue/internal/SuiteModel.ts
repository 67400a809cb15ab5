/**
 * A job store that obviously does what it should: a flat list of jobs, gone through from end to end for every question, by the rules word by word.
 * What it is asked of, and how it answers, is what a store does; ids and workers are named by the store it is compared with.
 */
import type {
  AttemptError,
  Claimed,
  ClaimFilter,
  DeadReason,
  End,
  Enqueued,
  IfAbsent,
  JobState,
  ListFilter,
  NewJob,
  QueueSettings,
  RedriveFilter,
  Retention,
  StoredLimit,
  Turn,
  Unique
} from "./StorePort.ts"

interface Job {
  id: string
  readonly seq: number
  readonly enqueuedAt: number
  asked: NewJob
  state: JobState
  rank: number | undefined
  token: number
  attempt: number
  crashes: number
  errors: Array<AttemptError>
  dueAt: number
  expiresAt: number | undefined
  worker: string | undefined
  claimedAt: number | undefined
  endedAt: number | undefined
  reason: DeadReason | undefined
  result: string | undefined
  cancelRequested: boolean
}

interface Worker {
  readonly id: string
  readonly lease: number
  expiresAt: number
  epoch: number
}

/** Tokens: what there were at a time. */
interface Bucket {
  readonly per: number
  readonly count: number
  readonly burst: number
  tokens: number
  at: number
}

interface Limit {
  readonly stored: StoredLimit
  readonly buckets: Array<Bucket>
}

const isEnded = ({ state }: Job): boolean => state === "Succeeded" || state === "Dead" || state === "Cancelled"
const isQueued = ({ state }: Job): boolean => state === "Scheduled" || state === "Waiting"
const has = <A>(all: ReadonlyArray<A> | undefined, one: A): boolean => all === undefined || all.includes(one)
const at = (time: NewJob["due"], now: number): number | undefined =>
  time === undefined ? undefined : "in" in time ? now + time.in : time.at

export class Model {
  now: number
  jobs: Array<Job> = []
  private workers: Array<Worker> = []
  /** Who took a unique key, until when if that is a time. */
  private uniques: Array<{ readonly key: string; readonly job: Job; readonly span: Unique["while"] }> = []
  readonly limits = new Map<string, Limit>()
  readonly pauses = new Map<string, number>()
  readonly queues = new Map<string, QueueSettings>()
  private readonly keyed = new Set<string>()
  private readonly virtual = new Map<string, number>()
  private readonly retention: Retention
  private seq = 0

  constructor(now: number, retention: Retention) {
    this.now = now
    this.retention = retention
  }

  // ─── putting in

  /** The store says what the new ones are called, and a refusal changes nothing. */
  enqueue(
    news: ReadonlyArray<NewJob>,
    answers: ReadonlyArray<Enqueued> | undefined
  ): ReadonlyArray<Enqueued> | undefined {
    const before = structuredClone({ jobs: this.jobs, uniques: this.uniques })
    const keyed = new Set(this.keyed)
    const all: Array<Enqueued> = []
    for (const [i, asked] of news.entries()) {
      const one = this.enqueueOne(asked, answers?.[i]?.id ?? `refused ${i}`)
      if (one === undefined) {
        Object.assign(this, before)
        for (const queue of this.keyed) if (!keyed.has(queue)) this.keyed.delete(queue)
        return undefined
      }
      all.push(one)
    }
    return all
  }

  private enqueueOne(asked: NewJob, name: string): Enqueued | undefined {
    const { id: given, queue, unique } = asked
    const id = given ?? name
    const there = unique && this.holderOf(unique.key)
    if (there !== undefined) {
      if (unique!.conflict === "error") return undefined
      if (unique!.conflict === "ignore") return { id: there.id, as: "existing" }
      if (isQueued(there)) {
        const old = there.asked
        there.asked = asked
        there.dueAt = at(asked.due, this.now) ?? this.now
        there.expiresAt = at(asked.expires, this.now)
        if (old.queue !== queue || old.key !== asked.key) there.rank = undefined
        if (asked.key !== undefined) this.keyed.add(queue)
        this.waitOrNot(there)
        return { id: there.id, as: "replaced" }
      }
    }
    if (given !== undefined && this.jobs.some((job) => job.id === given)) return undefined
    const maxQueued = this.queues.get(queue)?.maxQueued ?? "unbounded"
    const queued = this.jobs.filter((job) => isQueued(job) && job.asked.queue === queue).length
    if (maxQueued !== "unbounded" && queued + 1 > maxQueued) return undefined
    if (there?.state === "Active") there.cancelRequested = true
    const job: Job = {
      id,
      seq: this.seq++,
      enqueuedAt: this.now,
      asked,
      state: "Scheduled",
      rank: undefined,
      token: 0,
      attempt: 0,
      crashes: 0,
      errors: [],
      dueAt: at(asked.due, this.now) ?? this.now,
      expiresAt: at(asked.expires, this.now),
      worker: undefined,
      claimedAt: undefined,
      endedAt: undefined,
      reason: undefined,
      result: undefined,
      cancelRequested: false
    }
    if (asked.key !== undefined) this.keyed.add(queue)
    this.waitOrNot(job)
    this.jobs.push(job)
    if (unique !== undefined) {
      this.uniques = this.uniques.filter(({ key }) => key !== unique.key)
      this.uniques.push({ key: unique.key, job, span: unique.while })
    }
    return { id, as: "new" }
  }

  private holderOf(key: string): Job | undefined {
    return this.uniques.find((one) =>
      one.key === key && (typeof one.span === "string" || this.now < one.job.enqueuedAt + one.span.window)
    )?.job
  }

  private free(job: Job, span: "waiting" | "active"): void {
    this.uniques = this.uniques.filter((one) => one.job.seq !== job.seq || one.span !== span)
  }

  /** It is due, or it will be. */
  private waitOrNot(job: Job): void {
    if (job.dueAt > this.now) {
      job.state = "Scheduled"
      return
    }
    const { key, queue } = job.asked
    const same = this.jobs.filter((one) =>
      one !== job && one.state === "Waiting" && one.asked.queue === queue && one.asked.key === key
    )
    job.rank ??= this.keyed.has(queue)
      ? Math.max(this.virtual.get(queue) ?? 0, ...same.map((one) => one.rank! + one.asked.weight))
      : 0
    job.state = "Waiting"
  }

  // ─── workers

  join(id: string, lease: number): void {
    this.workers.push({ id, lease, expiresAt: this.now + lease, epoch: 0 })
  }

  private alive(id: string): Worker | undefined {
    return this.workers.find((worker) => worker.id === id && this.now < worker.expiresAt)
  }

  renew(id: string): boolean {
    const worker = this.alive(id)
    if (worker !== undefined) worker.expiresAt = this.now + worker.lease
    return worker !== undefined
  }

  leave(id: string): void {
    if (this.alive(id) === undefined) return
    for (const job of this.heldBy(id)) this.giveBack(job)
    this.workers = this.workers.filter((worker) => worker.id !== id)
  }

  heldBy(id: string): ReadonlyArray<Job> {
    return this.jobs.filter((job) => job.worker === id)
  }

  turn({ ends, epoch = 0, filter, holds, want, worker }: Turn) {
    const lease = this.alive(worker)
    if (lease === undefined || epoch < lease.epoch) return undefined
    lease.epoch = epoch
    const refused = ends.filter((end) => !this.end(worker, end)).map(({ id }) => id)
    if (holds !== undefined) {
      for (const job of this.heldBy(worker)) if (!holds.includes(job.id)) this.giveBack(job)
    }
    this.sweep()
    const jobs = this.claim(worker, want, filter)
    return {
      jobs,
      refused,
      cancelled: this.heldBy(worker).filter(({ cancelRequested }) => cancelRequested).map(({ id }) => id),
      /** More could be claimed at once. */
      more: this.jobs.some((job) => job.state === "Waiting" && this.matches(job, filter) && this.mayRun(job)),
      /** When time alone brings something. */
      next: this.next(worker, filter)
    }
  }

  private end(worker: string, end: End): boolean {
    const job = this.jobs.find(({ id }) => id === end.id)
    if (job === undefined || job.state !== "Active" || job.worker !== worker || job.token !== end.token) return false
    switch (end._tag) {
      case "Succeeded":
        job.result = end.result
        this.finish(job, "Succeeded")
        break
      case "Retry":
        this.fail(job, end.error)
        job.worker = undefined
        if (job.cancelRequested) this.finish(job, "Cancelled")
        else {
          job.dueAt = this.now + end.after
          this.waitOrNot(job)
        }
        break
      case "Dead":
        if (end.error !== undefined) this.fail(job, end.error)
        this.finish(job, "Dead", end.reason)
        break
      case "Returned":
        this.giveBack(job)
        break
      case "Cancelled":
        this.finish(job, "Cancelled")
    }
    return true
  }

  private fail(job: Job, error: AttemptError): void {
    job.errors = [...job.errors, error].slice(-100)
  }

  private giveBack(job: Job): void {
    job.attempt--
    job.worker = undefined
    if (job.cancelRequested) this.finish(job, "Cancelled")
    else job.state = "Waiting"
  }

  private finish(job: Job, state: "Succeeded" | "Dead" | "Cancelled", reason?: DeadReason): void {
    job.state = state
    job.reason = reason
    job.worker = undefined
    job.cancelRequested = false
    job.endedAt = this.now
    this.free(job, "waiting")
    this.free(job, "active")
    if (this.keptFor(job) === 0) this.jobs = this.jobs.filter((one) => one !== job)
  }

  private keptFor({ state }: Job): number {
    const { cancelled, dead, succeeded } = this.retention
    return state === "Succeeded" ? succeeded : state === "Dead" ? dead : cancelled
  }

  sweep(): number {
    const ended = this.workers.filter((worker) => worker.expiresAt <= this.now)
    for (const { id } of ended) for (const job of this.heldBy(id)) this.lose(job)
    this.workers = this.workers.filter((worker) => !ended.includes(worker))
    for (const job of this.jobs.filter(isQueued)) {
      if (job.attempt === 0 && job.expiresAt !== undefined && job.expiresAt <= this.now) {
        this.finish(job, "Dead", "Expired")
      }
    }
    const due = this.jobs.filter((job) => job.state === "Scheduled" && job.dueAt <= this.now)
    for (const job of due.sort((a, b) => a.dueAt - b.dueAt || a.seq - b.seq)) this.waitOrNot(job)
    return ended.length
  }

  private lose(job: Job): void {
    job.worker = undefined
    if (job.cancelRequested) return this.finish(job, "Cancelled")
    const reason = job.asked.delivery === "atMostOnce" ? "Lost" : "Crashed"
    this.fail(job, { attempt: job.attempt, at: this.now, reason, message: "" })
    if (reason === "Lost") return this.finish(job, "Dead", "Lost")
    job.crashes++
    if (job.crashes >= job.asked.maxCrashes) return this.finish(job, "Dead", "Crashed")
    job.state = "Waiting"
  }

  // ─── claims

  private claim(worker: string, want: number, filter: ClaimFilter): ReadonlyArray<Claimed> {
    const claimed: Array<Claimed> = []
    const waiting = this.jobs
      .filter((job) => job.state === "Waiting" && this.matches(job, filter))
      .sort((a, b) => a.asked.priority - b.asked.priority || a.rank! - b.rank! || a.seq - b.seq)
    for (const job of waiting) {
      if (claimed.length >= want) break
      if (!this.mayRun(job)) continue
      const { delivery, key, name, payload, priority, queue, tags, trace, weight } = job.asked
      for (const tag of tags) {
        for (const bucket of this.bucketsOf(tag)) bucket.tokens -= Math.min(weight, bucket.burst)
      }
      job.state = "Active"
      job.worker = worker
      job.claimedAt = this.now
      job.attempt++
      job.token++
      this.virtual.set(queue, Math.max(this.virtual.get(queue) ?? 0, job.rank!))
      this.free(job, "waiting")
      const { attempt, dueAt, enqueuedAt, errors, id, token } = job
      claimed.push({
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
      })
    }
    return claimed
  }

  private matches({ asked }: Job, { names, priorities, queues, tags }: ClaimFilter): boolean {
    return has(queues, asked.queue) && has(names, asked.name) &&
      (tags === undefined || tags.some((tag) => asked.tags.includes(tag))) &&
      asked.priority >= (priorities?.from ?? -Infinity) && asked.priority <= (priorities?.to ?? Infinity)
  }

  private mayRun({ asked: { key, queue, tags, weight } }: Job): boolean {
    const { keyLimit = "unbounded", paused = false } = this.queues.get(queue) ?? {}
    if (paused) return false
    for (const tag of tags) {
      if ((this.pauses.get(tag) ?? this.now) > this.now) return false
      const limit = this.limits.get(tag)?.stored
      if (limit === undefined || !limit.enabled) continue
      if (limit.limit !== "unbounded" && this.weightOf((job) => job.tags.includes(tag)) + weight > limit.limit) {
        return false
      }
      if (this.bucketsOf(tag).some(({ burst, tokens }) => tokens < Math.min(weight, burst))) return false
    }
    if (keyLimit === "unbounded" || key === undefined) return true
    return this.weightOf((job) => job.queue === queue && job.key === key) + weight <= keyLimit
  }

  /** What is active under leases that live. */
  private weightOf(which: (job: NewJob) => boolean): number {
    return this.jobs
      .filter(({ asked, state, worker }) => state === "Active" && this.alive(worker!) !== undefined && which(asked))
      .reduce((sum, { asked }) => sum + asked.weight, 0)
  }

  private bucketsOf(tag: string): ReadonlyArray<Bucket> {
    const limit = this.limits.get(tag)
    if (limit === undefined || !limit.stored.enabled) return []
    return limit.buckets.map((bucket) => this.refill(bucket))
  }

  private refill(bucket: Bucket): Bucket {
    bucket.tokens = Math.min(bucket.burst, bucket.tokens + (this.now - bucket.at) * bucket.count / bucket.per)
    bucket.at = this.now
    return bucket
  }

  private next(worker: string, filter: ClaimFilter): number {
    const waiting = this.jobs.filter(({ state }) => state === "Waiting")
    const times = [
      ...this.jobs.filter(({ state }) => state === "Scheduled").map(({ dueAt }) => dueAt),
      ...this.jobs.filter((job) => isQueued(job) && job.attempt === 0).map(({ expiresAt }) => expiresAt ?? Infinity),
      ...this.workers.filter(({ id }) => id !== worker).map(({ expiresAt }) => expiresAt),
      ...[...this.pauses].filter(([tag]) => waiting.some(({ asked }) => asked.tags.includes(tag))).map(([, until]) =>
        until
      ),
      ...waiting.filter((job) => this.matches(job, filter)).map((job) => this.refilledAt(job))
    ]
    return Math.min(...times.filter((time) => time > this.now)) - this.now
  }

  /** When a job may run that nothing but rates is in the way of. */
  private refilledAt(job: Job): number {
    const buckets = job.asked.tags.flatMap((tag) => this.bucketsOf(tag))
    const tokens = buckets.map((bucket) => bucket.tokens)
    for (const bucket of buckets) bucket.tokens = bucket.burst
    const rest = this.mayRun(job)
    buckets.forEach((bucket, i) => bucket.tokens = tokens[i]!)
    if (!rest) return Infinity
    return Math.max(
      ...buckets.map(({ burst, count, per, tokens }) =>
        this.now + Math.ceil((Math.min(job.asked.weight, burst) - tokens) * per / count)
      )
    )
  }

  // ─── those who look after it

  cancel(id: string): boolean {
    const job = this.jobs.find((job) => job.id === id)
    if (job === undefined || isEnded(job)) return false
    if (job.state === "Active") job.cancelRequested = true
    else this.finish(job, "Cancelled")
    return true
  }

  redrive({ ids, name, queue, reason }: RedriveFilter): number {
    const dead = this.jobs.filter((job) =>
      job.state === "Dead" && has(ids, job.id) && (name ?? job.asked.name) === job.asked.name &&
      (queue ?? job.asked.queue) === job.asked.queue && (reason ?? job.reason) === job.reason
    )
    for (const job of dead) {
      job.attempt = job.crashes = 0
      job.endedAt = job.reason = job.expiresAt = undefined
      job.dueAt = this.now
      this.waitOrNot(job)
    }
    return dead.length
  }

  prune(): number {
    const before = this.jobs.length
    this.jobs = this.jobs.filter((job) => !isEnded(job) || job.endedAt! + this.keptFor(job) > this.now)
    return before - this.jobs.length
  }

  setLimit(stored: StoredLimit, { ifAbsent = false }: IfAbsent): void {
    const before = this.limits.get(stored.tag)
    if (before !== undefined && ifAbsent) return
    const buckets = stored.rates.map((rate, i) => {
      const old = before?.buckets[i]
      const tokens = old?.per === rate.per ? Math.min(rate.burst, this.refill(old).tokens) : rate.burst
      return { ...rate, tokens, at: this.now }
    })
    this.limits.set(stored.tag, { stored, buckets })
  }

  setQueue(name: string, settings: QueueSettings, { ifAbsent = false }: IfAbsent): void {
    const before = this.queues.get(name) ?? {}
    const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
    this.queues.set(name, ifAbsent ? { ...given, ...before } : { ...before, ...given })
  }

  // ─── what can be seen

  list({ before, key, limit = 100, name, queue, states, tags }: ListFilter): ReadonlyArray<string> {
    const last = this.jobs.find(({ id }) => id === before)?.seq ?? Infinity
    return this.jobs
      .filter(({ asked, seq, state }) =>
        seq < last && has(states, state) && (key ?? asked.key) === asked.key && (name ?? asked.name) === asked.name &&
        (queue ?? asked.queue) === asked.queue && (tags === undefined || tags.some((tag) => asked.tags.includes(tag)))
      )
      .sort((a, b) => b.seq - a.seq)
      .slice(0, limit)
      .map(({ id }) => id)
  }

  /** All that there is to know of all jobs, newest first. */
  get records() {
    return this.jobs.toSorted((a, b) => b.seq - a.seq).map((job) => ({
      id: job.id,
      state: job.state,
      payload: job.asked.payload,
      tags: job.asked.tags,
      attempt: job.attempt,
      crashes: job.crashes,
      errors: job.errors.map(({ attempt, reason }) => `${attempt} ${reason}`),
      enqueuedAt: job.enqueuedAt,
      dueAt: job.dueAt,
      expiresAt: job.expiresAt,
      worker: job.worker,
      claimedAt: job.claimedAt,
      endedAt: job.endedAt,
      reason: job.reason,
      result: job.result
    }))
  }

  get counts() {
    const names = new Set([...this.queues.keys(), ...this.jobs.map(({ asked }) => asked.queue)])
    return [...names].sort().map((queue) => {
      const count = (state: JobState) =>
        this.jobs.filter((job) => job.asked.queue === queue && job.state === state).length
      const { keyLimit, maxQueued, paused = false } = this.queues.get(queue) ?? {}
      return {
        queue,
        paused,
        maxQueued,
        keyLimit,
        scheduled: count("Scheduled"),
        waiting: count("Waiting"),
        active: count("Active"),
        succeeded: count("Succeeded"),
        dead: count("Dead"),
        cancelled: count("Cancelled")
      }
    })
  }

  get usage() {
    return [...this.limits.values()].map(({ buckets, stored }) => ({
      tag: stored.tag,
      limit: stored.limit,
      enabled: stored.enabled,
      active: this.weightOf(({ tags }) => tags.includes(stored.tag)),
      holders: this.jobs.filter(({ asked, state, worker }) =>
        state === "Active" && this.alive(worker!) !== undefined && asked.tags.includes(stored.tag)
      ).map(({ id }) => id).sort(),
      available: buckets.map((bucket) => this.refill(bucket).tokens),
      pausedUntil: (this.pauses.get(stored.tag) ?? this.now) > this.now ? this.pauses.get(stored.tag) : undefined
    })).sort((a, b) => a.tag < b.tag ? -1 : 1)
  }
}
