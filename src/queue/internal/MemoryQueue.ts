/** One queue: its lines, its keys, its settings, and how many jobs it has of each state. */
import type { Job } from "./MemoryJob.ts"
import { KeyCap } from "./MemoryLimits.ts"
import { Line, lineOf, Place } from "./MemoryLines.ts"
import type { JobState, NewJob, QueueCounts, QueueSettings } from "./StorePort.ts"

export class Queue {
  readonly name: string
  settings: QueueSettings = {}
  readonly count: Record<JobState, number> = {
    Scheduled: 0,
    Waiting: 0,
    Active: 0,
    Succeeded: 0,
    Dead: 0,
    Cancelled: 0
  }
  /** The lines in which nothing is known to be in the way. */
  readonly ready = new Place()
  private readonly lines = new Map<string, Line>()
  private readonly keys = new Map<string | undefined, KeyCap>()
  /** Somebody found no room in it. */
  refused = false
  /** A job with a key was put in: from then on keys share it. */
  keyed = false
  /** The highest rank claimed: what comes in comes in no earlier. */
  private virtual = 0
  constructor(name: string) {
    this.name = name
  }

  get isIdle(): boolean {
    return Object.values(this.count).every((n) => n === 0) && Object.keys(this.settings).length === 0
  }

  get queued(): number {
    return this.count.Scheduled + this.count.Waiting
  }

  /** What is given is set, what is left out stays. */
  set(settings: QueueSettings, ifAbsent: boolean): void {
    const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
    this.settings = ifAbsent ? { ...given, ...this.settings } : { ...this.settings, ...given }
  }

  get counts(): QueueCounts {
    const { Active, Cancelled, Dead, Scheduled, Succeeded, Waiting } = this.count
    return {
      queue: this.name,
      paused: this.settings.paused ?? false,
      maxQueued: this.settings.maxQueued,
      keyLimit: this.settings.keyLimit,
      scheduled: Scheduled,
      waiting: Waiting,
      active: Active,
      succeeded: Succeeded,
      dead: Dead,
      cancelled: Cancelled
    }
  }

  /** In its line, at its place: that of its rank, once it has one. */
  wait(job: Job): void {
    const cap = this.capOf(job.asked.key)
    job.rank ??= this.keyed ? Math.max(this.virtual, cap.nextRank) : 0
    job.ofKey = cap.waiting.add(job)
    const id = lineOf(job.asked)
    let line = this.lines.get(id)
    if (line === undefined) this.lines.set(id, line = new Line(job.asked, () => this.lines.delete(id)))
    line.add(job)
    if (line.pile === undefined) this.ready.put(line)
  }

  unwait(job: Job): void {
    const cap = this.capOf(job.asked.key)
    cap.waiting.remove(job.ofKey!)
    job.ofKey = undefined
    job.pile!.remove(job)
    this.forget(job.asked.key, cap)
  }

  hold(job: Job): void {
    this.virtual = Math.max(this.virtual, job.rank!)
    this.capOf(job.asked.key).hold(job)
  }

  release(job: Job): KeyCap {
    const cap = this.capOf(job.asked.key)
    cap.release(job)
    this.forget(job.asked.key, cap)
    return cap
  }

  capped({ key }: NewJob): KeyCap | undefined {
    return key === undefined ? undefined : this.keys.get(key)
  }

  get caps(): Iterable<KeyCap> {
    return this.keys.values()
  }

  private capOf(key: string | undefined): KeyCap {
    let cap = this.keys.get(key)
    if (cap === undefined) this.keys.set(key, cap = new KeyCap(() => this.settings.keyLimit))
    return cap
  }

  private forget(key: string | undefined, cap: KeyCap): void {
    if (cap.isIdle) this.keys.delete(key)
  }
}
