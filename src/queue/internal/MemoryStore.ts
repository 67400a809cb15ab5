/**
 * The memory store as a state that is asked and changed in plain calls, each at a time it is told: what every store decides, decided here
 * in the open.
 */
import { Heap, type Spot } from "./MemoryHeap.ts"
import { isBefore, Job } from "./MemoryJob.ts"
import { Lease } from "./MemoryLease.ts"
import { type Counter, Tag } from "./MemoryLimits.ts"
import { type Kind, type Line, matches, Parking } from "./MemoryLines.ts"
import { Queue } from "./MemoryQueue.ts"
import {
  type Claimed,
  type ClaimFilter,
  DuplicateKeyError,
  type End,
  type Enqueued,
  type IfAbsent,
  type JobRecord,
  type JobState,
  type Joining,
  type Lease as LeaseAnswer,
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
  type Unique,
  type WorkerRecord
} from "./StorePort.ts"

/** Who has a unique key, and until when where it is not that job's life that says so. */
interface Taken {
  readonly key: string
  readonly job: Job
  readonly until: number | undefined
  spot: Spot<Taken> | undefined
}

/** What becomes of one job that is put in. */
interface Plan extends Enqueued {
  readonly asked: NewJob
  readonly job: Job
  /** Active under the same unique key: told to stop. */
  readonly supersedes?: Job | undefined
}

const endedStates = ["Succeeded", "Cancelled", "Dead"] as const
type Ended = typeof endedStates[number]
const isEnded = (state: JobState): state is Ended => (endedStates as ReadonlyArray<JobState>).includes(state)

export class MemoryStore {
  private readonly retention: Retention
  private readonly jobs = new Map<string, Job>()
  private readonly queues = new Map<string, Queue>()
  private readonly tags = new Map<string, Tag>()
  private readonly leases = new Map<string, Lease>()
  private readonly taken = new Map<string, Taken>()
  /** Oldest first. */
  private readonly ended: Record<Ended, Set<Job>> = { Succeeded: new Set(), Cancelled: new Set(), Dead: new Set() }
  private lastSeq = 0
  private lastLease = 0

  // What happens by time alone, the earliest first.
  private readonly leaseEnds = new Heap<Lease>((a, b) => a.expiresAt < b.expiresAt)
  private readonly due = new Heap<Job>((a, b) => a.dueAt !== b.dueAt ? a.dueAt < b.dueAt : a.seq < b.seq)
  private readonly expiring = new Heap<Job>((a, b) => a.expiresAt! < b.expiresAt!)
  private readonly windows = new Heap<Taken>((a, b) => a.until! < b.until!)
  private readonly pauses = new Heap<Tag>((a, b) => a.pausedUntil! < b.pausedUntil!)
  private readonly refills = new Heap<Parking>((a, b) => a.wakesAt! < b.wakesAt!)

  private readonly listeners = new Set<() => void>()
  /** A turn might find something that was not there before. */
  private hasNews = false
  /** There may be room where somebody found none: who waits to put something in listens too. */
  private hasRoom = false

  constructor(retention: Retention) {
    this.retention = retention
  }

  // ─── wake-ups

  listen(wake: () => void): () => void {
    // Each its own, also of two that are given the same function.
    const listener = () => wake()
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Tells what is new, once all is as it should be. */
  announce(): void {
    if (!this.hasNews && !this.hasRoom) return
    this.hasNews = this.hasRoom = false
    for (const listener of [...this.listeners]) listener()
  }

  // ─── putting in

  enqueue(news: ReadonlyArray<NewJob>, now: number): ReadonlyArray<Enqueued> | DuplicateKeyError | QueueFullError {
    this.openWindows(now)
    const plans = this.plan(news, now)
    if (!Array.isArray(plans)) return plans
    for (const { as, asked, job, supersedes } of plans) {
      if (as === "existing") continue
      this.hasNews = true
      if (as === "replaced") {
        const before = this.queueOf(job.asked.queue)
        this.leaveState(job)
        job.replace(asked, now)
        if (asked.queue !== before.name) this.forgetQueue(before)
      } else {
        this.lastSeq = job.seq
        this.jobs.set(job.id, job)
        if (supersedes !== undefined) this.requestCancel(supersedes)
      }
      if (asked.unique !== undefined) this.take(asked.unique, job, now)
      if (asked.key !== undefined) this.queueOf(asked.queue).keyed = true
      this.enterState(job, job.dueAt > now ? "Scheduled" : "Waiting", now)
    }
    return plans.map(({ as, id }) => ({ as, id }))
  }

  /** All or none: nothing is changed before it is known that all of it can be. */
  private plan(news: ReadonlyArray<NewJob>, now: number): Array<Plan> | DuplicateKeyError | QueueFullError {
    const plans: Array<Plan> = []
    const ids = new Set<string>()
    /** Who has it after what comes before in the batch. */
    const keys = new Map<string, Job | undefined>()
    const added = new Map<string, number>()
    let seq = this.lastSeq
    for (const asked of news) {
      const { queue, unique } = asked
      const there = unique && (keys.has(unique.key) ? keys.get(unique.key) : this.taken.get(unique.key)?.job)
      if (there !== undefined) {
        const { id } = there
        if (unique!.conflict === "error") return new DuplicateKeyError({ field: "unique", key: unique!.key, job: id })
        const as = unique!.conflict === "ignore" ? "existing" : "replaced"
        if (as === "existing" || there.state === "Scheduled" || there.state === "Waiting") {
          plans.push({ as, id, asked, job: there })
          if (as === "replaced") keys.set(unique!.key, isTaken(unique!, there, now) ? there : undefined)
          continue
        }
      }
      if (asked.id !== undefined && (ids.has(asked.id) || this.jobs.has(asked.id))) {
        return new DuplicateKeyError({ field: "id", key: asked.id, job: asked.id })
      }
      const most = this.queues.get(queue)?.settings.maxQueued ?? "unbounded"
      const more = (added.get(queue) ?? 0) + 1
      if (most !== "unbounded" && (this.queues.get(queue)?.queued ?? 0) + more > most) {
        this.queueOf(queue).refused = true
        return new QueueFullError({ queue, maxQueued: most })
      }
      added.set(queue, more)
      do seq++
      while (asked.id === undefined && (ids.has(String(seq)) || this.jobs.has(String(seq))))
      const job = new Job(asked.id ?? String(seq), seq, asked, now)
      ids.add(job.id)
      if (unique !== undefined) keys.set(unique.key, isTaken(unique, job, now) ? job : undefined)
      plans.push({ as: "new", id: job.id, asked, job, supersedes: there?.state === "Active" ? there : undefined })
    }
    return plans
  }

  private take(unique: Unique, job: Job, now: number): void {
    this.free(unique.key)
    if (!isTaken(unique, job, now)) return
    const until = windowEnd(unique, job)
    const taken: Taken = { key: unique.key, job, until, spot: undefined }
    if (until !== undefined) taken.spot = this.windows.add(taken)
    this.taken.set(unique.key, taken)
  }

  private free(key: string): void {
    const taken = this.taken.get(key)
    if (taken?.spot !== undefined) this.windows.remove(taken.spot)
    this.taken.delete(key)
  }

  /** It has started, or ended: what it took until then is free, unless another has it by now. */
  private freeOf(job: Job, span: "waiting" | "active"): void {
    const { unique } = job.asked
    if (unique?.while === span && this.taken.get(unique.key)?.job === job) this.free(unique.key)
  }

  private openWindows(now: number): void {
    for (let first = this.windows.first; first !== undefined && first.until! <= now; first = this.windows.first) {
      this.free(first.key)
    }
  }

  // ─── workers

  join({ lease: lasts, name }: Joining, now: number): LeaseAnswer {
    const lease = new Lease(String(++this.lastLease), name, lasts, now)
    this.leases.set(lease.id, lease)
    lease.spot = this.leaseEnds.add(lease)
    return this.answer(lease, now)
  }

  renew(worker: string, now: number): LeaseAnswer | LeaseEndedError {
    const lease = this.leases.get(worker)
    if (lease === undefined || !lease.isAlive(now)) return new LeaseEndedError({ worker })
    lease.expiresAt = now + lease.lasts
    this.leaseEnds.moved(lease.spot!)
    return this.answer(lease, now)
  }

  leave(worker: string, now: number): void {
    const lease = this.leases.get(worker)
    if (lease === undefined || !lease.isAlive(now)) return
    for (const job of lease.jobs) this.giveBack(job, now)
    this.drop(lease)
  }

  turn({ ends, epoch = 0, filter, holds, want, worker }: Turn, now: number): Turned | LeaseEndedError {
    const lease = this.leases.get(worker)
    if (lease === undefined || !lease.isAlive(now) || epoch < lease.epoch) return new LeaseEndedError({ worker })
    lease.epoch = epoch
    const refused = ends.filter((end) => !this.end(lease, end, now)).map(({ id }) => id)
    if (holds !== undefined) {
      for (const job of lease.jobs) if (!holds.includes(job.id)) this.giveBack(job, now)
    }
    this.sweep(now)
    const { jobs, more } = this.claim(lease, want, filter, now)
    // What was new and is taken is no news.
    this.hasNews &&= [...this.queues.values()].some(({ ready, settings }) => !ready.isEmpty && settings.paused !== true)
    return {
      jobs,
      refused,
      cancelled: [...lease.cancelled].map(({ id }) => id),
      next: more ? 0 : this.nextIn(lease, now)
    }
  }

  /** False: it came too late. */
  private end(lease: Lease, end: End, now: number): boolean {
    const job = this.jobs.get(end.id)
    if (job === undefined || job.lease !== lease || job.token !== end.token) return false
    switch (end._tag) {
      case "Returned":
        this.giveBack(job, now)
        break
      case "Retry":
        job.failed(end.error)
        this.again(job, end.after, now)
        break
      case "Succeeded":
        job.result = end.result
        this.become(job, "Succeeded", now)
        break
      case "Dead":
        if (end.error !== undefined) job.failed(end.error)
        this.die(job, end.reason, now)
        break
      case "Cancelled":
        this.become(job, "Cancelled", now)
    }
    return true
  }

  private giveBack(job: Job, now: number): void {
    job.attempt--
    if (job.cancelRequested) this.become(job, "Cancelled", now)
    else this.become(job, "Waiting", now)
  }

  private again(job: Job, after: number, now: number): void {
    if (job.cancelRequested) return this.become(job, "Cancelled", now)
    job.dueAt = now + after
    this.become(job, after > 0 ? "Scheduled" : "Waiting", now)
  }

  private die(job: Job, reason: NonNullable<Job["reason"]>, now: number): void {
    job.reason = reason
    this.become(job, "Dead", now)
  }

  // ─── what time does

  sweep(now: number): number {
    let leases = 0
    for (let lease = this.leaseEnds.first; lease !== undefined && !lease.isAlive(now); lease = this.leaseEnds.first) {
      leases++
      for (const job of lease.jobs) this.lose(job, lease, now)
      this.drop(lease)
    }
    for (let job = this.expiring.first; job !== undefined && job.expiresAt! <= now; job = this.expiring.first) {
      this.die(job, "Expired", now)
    }
    for (let job = this.due.first; job !== undefined && job.dueAt <= now; job = this.due.first) {
      this.become(job, "Waiting", now)
    }
    for (let tag = this.pauses.first; tag !== undefined && tag.pausedUntil! <= now; tag = this.pauses.first) {
      this.setPause(tag, undefined)
    }
    for (let one = this.refills.first; one !== undefined && one.wakesAt! <= now; one = this.refills.first) {
      this.wake(one)
    }
    this.openWindows(now)
    return leases
  }

  /** Its worker is gone. */
  private lose(job: Job, lease: Lease, now: number): void {
    if (job.cancelRequested) return this.become(job, "Cancelled", now)
    const reason = job.asked.delivery === "atMostOnce" ? "Lost" : "Crashed"
    const message = `the lease of worker "${lease.name}" ended`
    job.failed({ attempt: job.attempt, at: now, reason, message })
    if (reason === "Crashed" && ++job.crashes < job.asked.maxCrashes) this.become(job, "Waiting", now)
    else this.die(job, reason, now)
  }

  private drop(lease: Lease): void {
    this.leaseEnds.remove(lease.spot!)
    this.leases.delete(lease.id)
  }

  private answer(lease: Lease, now: number): LeaseAnswer {
    const end = this.nextLeaseEnd(lease)
    return { worker: lease.id, lasts: lease.lasts, sweepIn: end === undefined ? undefined : Math.max(0, end - now) }
  }

  private nextLeaseEnd(except: Lease): number | undefined {
    let end: number | undefined
    for (const lease of this.leases.values()) {
      if (lease !== except && (end === undefined || lease.expiresAt < end)) end = lease.expiresAt
    }
    return end
  }

  private nextIn(lease: Lease, now: number): number | undefined {
    const next = Math.min(
      this.due.first?.dueAt ?? Infinity,
      this.expiring.first?.expiresAt ?? Infinity,
      this.refills.first?.wakesAt ?? Infinity,
      this.pauses.first?.pausedUntil ?? Infinity,
      this.nextLeaseEnd(lease) ?? Infinity
    )
    return next === Infinity ? undefined : next - now
  }

  // ─── claims

  private claim(
    lease: Lease,
    want: number,
    filter: ClaimFilter,
    now: number
  ): { readonly jobs: ReadonlyArray<Claimed>; readonly more: boolean } {
    const queues = [...(filter.queues === undefined ? this.queues.keys() : new Set(filter.queues))]
      .flatMap((name) => this.queues.get(name) ?? [])
      .filter(({ settings }) => settings.paused !== true)
    const jobs: Array<Claimed> = []
    const passed: Array<Kind> = []
    let job = this.nextFor(queues, filter, passed, now)
    while (job !== undefined && jobs.length < want) {
      this.start(job, lease, now)
      jobs.push(job.claimed)
      job = this.nextFor(queues, filter, passed, now)
    }
    for (const kind of passed) kind.in.putBack(kind)
    return { jobs, more: job !== undefined }
  }

  /** The first that may run. What the filter leaves out is passed over, what has something in its way is parked there. */
  private nextFor(
    queues: ReadonlyArray<Queue>,
    filter: ClaimFilter,
    passed: Array<Kind>,
    now: number
  ): Job | undefined {
    for (;;) {
      let queue: Queue | undefined
      for (const one of queues) {
        if (!one.ready.isEmpty && (queue === undefined || isBefore(one.ready.head, queue.ready.head))) queue = one
      }
      if (queue === undefined) return undefined
      const job = queue.ready.head
      const line = job.pile!
      const kind = line.pile as Kind
      if (!matches(filter, kind.of)) {
        kind.pile!.remove(kind)
        passed.push(kind)
        continue
      }
      const counter = this.inTheWay(queue, line, now)
      if (counter === undefined) return job
      this.park(queue, line, counter, now)
    }
  }

  private inTheWay(queue: Queue, { of }: Line, now: number): Counter | undefined {
    const cap = queue.capped(of)
    if (cap?.isInTheWay(of.weight) === true) return cap
    for (const name of of.tags) {
      const tag = this.tags.get(name)
      if (tag?.isInTheWay(of.weight, now) === true) return tag
    }
    return undefined
  }

  private park(queue: Queue, line: Line, counter: Counter, now: number): void {
    const { weight } = line.of
    const id = `${weight} ${queue.name}`
    let parking = counter.parkings.get(id)
    if (parking === undefined) {
      parking = new Parking(queue.ready, () => {
        counter.parkings.delete(id)
        this.untime(parking!)
      })
      counter.parkings.set(id, parking)
    }
    const kind = line.pile as Kind
    if (kind.in !== parking) {
      kind.remove(line)
      parking.put(line)
    }
    parking.sleep()
    if (parking.timer !== undefined) return
    parking.wakesAt = counter.readyAt(weight, now)
    if (parking.wakesAt !== undefined) parking.timer = this.refills.add(parking)
  }

  /** There may be room: it is looked at again in its turn. */
  private wake(parking: Parking): void {
    this.untime(parking)
    if (parking.wake()) this.hasNews = true
  }

  private untime(parking: Parking): void {
    if (parking.timer !== undefined) this.refills.remove(parking.timer)
    parking.timer = undefined
  }

  private stir(counter: Counter): void {
    for (const parking of counter.parkings.values()) this.wake(parking)
  }

  private start(job: Job, lease: Lease, now: number): void {
    job.attempt++
    job.token++
    job.claimedAt = now
    this.leaveState(job)
    job.lease = lease
    for (const name of job.asked.tags) this.tagOf(name).take(job.asked.weight, now)
    this.enterState(job, "Active", now)
    this.freeOf(job, "waiting")
  }

  // ─── states

  private become(job: Job, state: JobState, now: number): void {
    this.leaveState(job)
    this.enterState(job, state, now)
  }

  private leaveState(job: Job): void {
    const { queue: name, tags } = job.asked
    const queue = this.queueOf(name)
    queue.count[job.state]--
    if (job.expiring !== undefined) this.expiring.remove(job.expiring)
    job.expiring = undefined
    switch (job.state) {
      case "Scheduled":
        this.due.remove(job.due!)
        job.due = undefined
        this.makeRoom(queue)
        break
      case "Waiting":
        queue.unwait(job)
        this.makeRoom(queue)
        break
      case "Active":
        job.lease!.jobs.delete(job)
        job.lease!.cancelled.delete(job)
        this.stir(queue.release(job))
        for (const name of tags) {
          const tag = this.tagOf(name)
          tag.release(job)
          this.stir(tag)
          this.forgetTag(tag)
        }
        job.lease = undefined
        job.cancelRequested = false
        break
      default:
        this.ended[job.state].delete(job)
        job.endedAt = job.reason = undefined
    }
  }

  private makeRoom(queue: Queue): void {
    this.hasRoom ||= queue.refused
    queue.refused = false
  }

  private enterState(job: Job, state: JobState, now: number): void {
    const { queue: name, tags } = job.asked
    const queue = this.queueOf(name)
    job.state = state
    queue.count[state]++
    if ((state === "Scheduled" || state === "Waiting") && job.attempt === 0 && job.expiresAt !== undefined) {
      job.expiring = this.expiring.add(job)
    }
    switch (state) {
      case "Scheduled":
        job.due = this.due.add(job)
        break
      case "Waiting":
        queue.wait(job)
        this.hasNews = true
        break
      case "Active":
        job.lease!.jobs.add(job)
        queue.hold(job)
        for (const name of tags) this.tagOf(name).hold(job)
        break
      default:
        job.endedAt = now
        this.freeOf(job, "waiting")
        this.freeOf(job, "active")
        this.ended[state].add(job)
        if (this.retentionOf(state) === 0) this.remove(job)
    }
  }

  private remove(job: Job): void {
    this.leaveState(job)
    this.jobs.delete(job.id)
    this.forgetQueue(this.queueOf(job.asked.queue))
  }

  private retentionOf(state: Ended): number {
    return {
      Succeeded: this.retention.succeeded,
      Cancelled: this.retention.cancelled,
      Dead: this.retention.dead
    }[state]
  }

  // ─── those who look after it

  get(id: string): JobRecord | undefined {
    return this.jobs.get(id)?.record
  }

  list({ before, key, limit = 100, name, queue, states, tags }: ListFilter): ReadonlyArray<JobRecord> {
    const below = before === undefined ? Infinity : this.jobs.get(before)?.seq ?? seqOf(before)
    return [...this.jobs.values()]
      .filter(({ asked, seq, state }) =>
        seq < below && (states?.includes(state) ?? true) && (queue ?? asked.queue) === asked.queue &&
        (name ?? asked.name) === asked.name && (key ?? asked.key) === asked.key &&
        (tags?.some((tag) => asked.tags.includes(tag)) ?? true)
      )
      .sort((a, b) => b.seq - a.seq)
      .slice(0, limit)
      .map(({ record }) => record)
  }

  get counts(): ReadonlyArray<QueueCounts> {
    return [...this.queues.values()].map(({ counts }) => counts).sort((a, b) => a.queue < b.queue ? -1 : 1)
  }

  workers(now: number): ReadonlyArray<WorkerRecord> {
    return [...this.leases.values()].filter((lease) => lease.isAlive(now)).map((
      { expiresAt, id, jobs, joinedAt, name }
    ) => ({
      id,
      name,
      joinedAt,
      expiresAt,
      active: jobs.size
    }))
  }

  cancel(id: string, now: number): boolean {
    const job = this.jobs.get(id)
    if (job === undefined || isEnded(job.state)) return false
    if (job.state === "Active") this.requestCancel(job)
    else this.become(job, "Cancelled", now)
    return true
  }

  private requestCancel(job: Job): void {
    job.cancelRequested = true
    job.lease!.cancelled.add(job)
    this.hasNews = true
  }

  redrive({ ids, name, queue, reason }: RedriveFilter, now: number): number {
    const dead = [...this.ended.Dead].filter((job) =>
      (ids?.includes(job.id) ?? true) && (queue ?? job.asked.queue) === job.asked.queue &&
      (name ?? job.asked.name) === job.asked.name && (reason ?? job.reason) === job.reason
    ).sort((a, b) => a.seq - b.seq)
    for (const job of dead) {
      job.attempt = job.crashes = 0
      job.dueAt = now
      job.expiresAt = undefined
      this.become(job, "Waiting", now)
    }
    return dead.length
  }

  prune(now: number): number {
    let pruned = 0
    for (const state of endedStates) {
      for (const job of this.ended[state]) {
        if (job.endedAt! + this.retentionOf(state) > now) break
        this.remove(job)
        pruned++
      }
    }
    return pruned
  }

  // ─── limits and queues

  setLimit(limit: StoredLimit, { ifAbsent = false }: IfAbsent, now: number): void {
    const tag = this.tagOf(limit.tag)
    if (ifAbsent && tag.limit !== undefined) return
    tag.set(limit, now)
    this.changed(tag)
  }

  removeLimit(name: string, now: number): boolean {
    const tag = this.tags.get(name)
    if (tag?.limit === undefined) return false
    tag.set(undefined, now)
    this.changed(tag)
    return true
  }

  pauseLimit(name: string, millis: number, now: number): void {
    this.setPause(this.tagOf(name), millis > 0 ? now + millis : undefined)
  }

  private setPause(tag: Tag, until: number | undefined): void {
    if (tag.pause !== undefined) this.pauses.remove(tag.pause)
    tag.pausedUntil = until
    tag.pause = until === undefined ? undefined : this.pauses.add(tag)
    this.changed(tag)
  }

  private changed(tag: Tag): void {
    this.stir(tag)
    this.forgetTag(tag)
    this.hasNews = true
  }

  limits(now: number): ReadonlyArray<StoredLimitInfo> {
    return [...this.tags.values()].flatMap((tag) => tag.info(now) ?? []).sort((a, b) => a.tag < b.tag ? -1 : 1)
  }

  setQueue(name: string, settings: QueueSettings, { ifAbsent = false }: IfAbsent): void {
    const queue = this.queueOf(name)
    queue.set(settings, ifAbsent)
    queue.refused = false
    for (const cap of queue.caps) this.stir(cap)
    this.forgetQueue(queue)
    this.hasNews = true
  }

  private queueOf(name: string): Queue {
    let queue = this.queues.get(name)
    if (queue === undefined) this.queues.set(name, queue = new Queue(name))
    return queue
  }

  private tagOf(name: string): Tag {
    let tag = this.tags.get(name)
    if (tag === undefined) this.tags.set(name, tag = new Tag(name))
    return tag
  }

  private forgetQueue(queue: Queue): void {
    if (queue.isIdle) this.queues.delete(queue.name)
  }

  private forgetTag(tag: Tag): void {
    if (tag.isIdle) this.tags.delete(tag.name)
  }
}

const windowEnd = ({ while: span }: Unique, job: Job): number | undefined =>
  typeof span === "object" ? job.enqueuedAt + span.window : undefined

/** A window that is over takes nothing. */
const isTaken = (unique: Unique, job: Job, now: number): boolean => (windowEnd(unique, job) ?? Infinity) > now

/** Of a job that is gone: ids that the store gave are their age. */
const seqOf = (id: string): number => /^\d+$/.test(id) ? Number(id) : -Infinity
