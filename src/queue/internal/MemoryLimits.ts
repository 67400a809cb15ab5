/** What claims count against: the limit of a tag with its rates and pauses, and the cap of a key. */
import type { Limit } from "../../Concurrency.ts"
import { Heap, type Spot } from "./MemoryHeap.ts"
import type { Job } from "./MemoryJob.ts"
import type { Parking } from "./MemoryLines.ts"
import type { StoredLimit, StoredLimitInfo } from "./StorePort.ts"

/** Something that may be in the way, who has some of it, and the lines that were found to lack room. */
export abstract class Counter {
  readonly holders = new Set<Job>()
  readonly parkings = new Map<string, Parking>()
  /** What the holders weigh: kept beside them, and changed with them alone. */
  private taken = 0
  get active(): number {
    return this.taken
  }

  hold(job: Job): void {
    this.holders.add(job)
    this.taken += job.asked.weight
  }

  release(job: Job): void {
    this.holders.delete(job)
    this.taken -= job.asked.weight
  }

  protected isFull(limit: Limit | undefined, weight: number): boolean {
    return typeof limit === "number" && this.taken + weight > limit
  }

  abstract isInTheWay(weight: number, now: number): boolean
  /** From when on it is not, where that is a matter of time alone. */
  abstract readyAt(weight: number, now: number): number | undefined
}

/** The cap of a key in its queue, and who waits under it. */
export class KeyCap extends Counter {
  /** Those that wait, the one first whose next comes last. */
  readonly waiting = new Heap<Job>((a, b) => nextRank(a) > nextRank(b))
  private readonly limit: () => Limit | undefined
  constructor(limit: () => Limit | undefined) {
    super()
    this.limit = limit
  }

  /** Where one more of the key comes in, at least. */
  get nextRank(): number {
    return this.waiting.first === undefined ? 0 : nextRank(this.waiting.first)
  }

  get isIdle(): boolean {
    return this.holders.size === 0 && this.waiting.isEmpty
  }

  isInTheWay(weight: number): boolean {
    return this.isFull(this.limit(), weight)
  }

  readyAt(): undefined {
    return undefined
  }
}

const nextRank = (job: Job): number => job.rank! + job.asked.weight

export class Tag extends Counter {
  readonly name: string
  limit: StoredLimit | undefined = undefined
  private buckets: ReadonlyArray<Bucket> = []
  pausedUntil: number | undefined = undefined
  pause: Spot<Tag> | undefined = undefined
  constructor(name: string) {
    super()
    this.name = name
  }

  set(limit: StoredLimit | undefined, now: number): void {
    this.limit = limit
    this.buckets = (limit?.rates ?? []).map((rate, i) => new Bucket(rate, this.buckets[i], now))
  }

  get isIdle(): boolean {
    return this.limit === undefined && this.pausedUntil === undefined && this.holders.size === 0
  }

  isInTheWay(weight: number, now: number): boolean {
    return this.isBlocked(weight, now) || this.ratesAt(weight, now) > now
  }

  readyAt(weight: number, now: number): number | undefined {
    return this.isBlocked(weight, now) ? undefined : this.ratesAt(weight, now)
  }

  /** By what ends with something other than the next token. */
  private isBlocked(weight: number, now: number): boolean {
    return (this.pausedUntil ?? now) > now || (this.limit?.enabled === true && this.isFull(this.limit.limit, weight))
  }

  private ratesAt(weight: number, now: number): number {
    if (this.limit?.enabled !== true) return now
    return Math.max(now, ...this.buckets.map((bucket) => bucket.readyAt(weight, now)))
  }

  /** A start. */
  take(weight: number, now: number): void {
    if (this.limit?.enabled !== true) return
    for (const bucket of this.buckets) bucket.take(weight, now)
  }

  /** `undefined`: there is nothing to tell. */
  info(now: number): StoredLimitInfo | undefined {
    const pausedUntil = (this.pausedUntil ?? now) > now ? this.pausedUntil : undefined
    if (this.limit === undefined && pausedUntil === undefined) return undefined
    const limit = this.limit ?? { tag: this.name, limit: "unbounded", rates: [], enabled: true }
    const holders = [...this.holders].filter(({ lease }) => lease!.isAlive(now))
    return {
      ...limit,
      active: holders.reduce((sum, { asked }) => sum + asked.weight, 0),
      holders: holders.map(({ asked, claimedAt, id, lease }) => ({
        job: id,
        name: asked.name,
        weight: asked.weight,
        worker: lease!.id,
        since: claimedAt!
      })),
      available: this.buckets.map((bucket) => bucket.available(now)),
      pausedUntil
    }
  }
}

type Rate = StoredLimit["rates"][number]

/**
 * A token bucket, which counts in credit: a token costs `per` of it and a millisecond earns `count`, so that whole numbers stay whole. What asks
 * for more than fits in takes all that does.
 */
class Bucket {
  private readonly rate: Rate
  private credit: number
  private at: number
  /** In the place of one over the same time it goes on with what that one had. */
  constructor(rate: Rate, before: Bucket | undefined, now: number) {
    const full = rate.burst * rate.per
    this.rate = rate
    this.at = now
    this.credit = before?.rate.per === rate.per ? Math.min(full, before.refill(now)) : full
  }

  private refill(now: number): number {
    const { burst, count, per } = this.rate
    // A clock that was set back earns nothing and costs nothing.
    this.credit = Math.min(burst * per, this.credit + Math.max(0, now - this.at) * count)
    this.at = now
    return this.credit
  }

  private cost(weight: number): number {
    return Math.min(weight, this.rate.burst) * this.rate.per
  }

  readyAt(weight: number, now: number): number {
    const lacks = this.cost(weight) - this.refill(now)
    return lacks > 0 ? now + Math.ceil(lacks / this.rate.count) : now
  }

  take(weight: number, now: number): void {
    this.credit = this.refill(now) - this.cost(weight)
  }

  available(now: number): number {
    return this.refill(now) / this.rate.per
  }
}
