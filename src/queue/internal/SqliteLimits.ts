/**
 * What a claim needs room under: the limit of a tag with its rates and pauses, and the cap of a key.
 *
 * Each active job has a row for each need it has some of, made and deleted together with its being active; usage is the sum of those.
 */
import type { DatabaseSync } from "node:sqlite"
import type { Line } from "./SqliteLines.ts"
import { boundOf, type Queue } from "./SqliteQueues.ts"
import type { IfAbsent, StoredLimit, StoredLimitInfo } from "./StorePort.ts"

/** What is in the way: a tag, or the cap of the key. `opensAt`: when it may no longer be, where that is known. */
export interface Obstacle {
  readonly tag: string | undefined
  readonly opensAt: number | null
}

interface Bucket {
  readonly count: number
  readonly per: number
  readonly burst: number
  /** A token costs `per` of it and a millisecond earns `count`, so that whole numbers stay whole. */
  credit: number
  at: number
}

interface TagLimit {
  readonly tag: string
  readonly declared: boolean
  readonly enabled: boolean
  readonly amount: number | null
  readonly buckets: ReadonlyArray<Bucket>
  readonly pausedUntil: number | null
}

const tagNeed = (tag: string): string => `t${tag}`
/** All keys of a queue have needs that start alike. */
const queueNeed = (queue: string): string => `k${JSON.stringify(queue)}`
const keyNeed = (queue: string, key: string): string => queueNeed(queue) + key
const last = "\u{10FFFF}"

/** Those that one transaction has to do with. */
export class Limits {
  private now = 0
  private readonly known = new Map<string, TagLimit | undefined>()
  private readonly used = new Map<string, number>()
  private readonly taken = new Set<TagLimit>()
  /** Where there may be more room than before. */
  readonly freedTags = new Set<string>()
  readonly freedKeys = new Map<string, readonly [queue: string, key: string]>()
  private readonly statements
  constructor(db: DatabaseSync) {
    const holders = (where: string) =>
      db.prepare(
        `SELECT coalesce(job.id, job.seq) AS job, job.name, job.weight, job.worker, job.claimed_at AS since
         FROM tasklayer_job job JOIN tasklayer_worker worker ON worker.id = job.worker ${where}
         AND worker.expires_at > ? ORDER BY job.claimed_at, job.seq`
      )
    this.statements = {
      read: db.prepare("SELECT * FROM tasklayer_limit WHERE tag = ?"),
      all: db.prepare("SELECT * FROM tasklayer_limit ORDER BY tag"),
      write: db.prepare("REPLACE INTO tasklayer_limit VALUES (?, ?, ?, ?, ?, ?)"),
      writeRates: db.prepare("UPDATE tasklayer_limit SET rates = ? WHERE tag = ?"),
      delete: db.prepare("DELETE FROM tasklayer_limit WHERE tag = ?"),
      resumesNext: db.prepare("SELECT min(paused_until) AS at FROM tasklayer_limit WHERE paused_until > ?"),
      used: db.prepare("SELECT coalesce(sum(weight), 0) AS used FROM tasklayer_slot WHERE need = ?"),
      holders: holders("JOIN tasklayer_slot slot ON slot.seq = job.seq WHERE slot.need = ?"),
      // Of a tag that is paused and no more nobody has a slot.
      active: holders("WHERE EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)"),
      take: db.prepare("INSERT INTO tasklayer_slot VALUES (?, ?, ?)"),
      free: db.prepare("DELETE FROM tasklayer_slot WHERE need = ? AND seq = ?"),
      freeAll: db.prepare("DELETE FROM tasklayer_slot WHERE need >= ? AND need < ?"),
      takeByTag: db.prepare(
        `INSERT OR IGNORE INTO tasklayer_slot SELECT ?, seq, weight FROM tasklayer_job
         WHERE worker IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)`
      ),
      takeByKey: db.prepare(
        `INSERT OR IGNORE INTO tasklayer_slot SELECT ? || key, seq, weight FROM tasklayer_job
         WHERE worker IS NOT NULL AND queue = ? AND key IS NOT NULL`
      )
    }
  }

  begin(now: number): void {
    this.now = now
    this.known.clear()
    this.used.clear()
    this.taken.clear()
    this.freedTags.clear()
    this.freedKeys.clear()
  }

  /** What is in the way of the line's next job, if anything. */
  obstacle(line: Line, queue: Queue): Obstacle | undefined {
    const { now } = this
    for (const tag of line.tags) {
      const limit = this.get(tag)
      if (limit === undefined) continue
      if (limit.pausedUntil !== null && limit.pausedUntil > now) return { tag, opensAt: limit.pausedUntil }
      if (!limit.declared || !limit.enabled) continue
      if (limit.amount !== null && this.usedOf(tagNeed(tag)) + line.weight > limit.amount) return { tag, opensAt: null }
      for (const bucket of limit.buckets) {
        const lacks = costOf(bucket, line.weight) - refill(bucket, now)
        if (lacks > 0) return { tag, opensAt: now + Math.ceil(lacks / bucket.count) }
      }
    }
    const keyLimit = boundOf(queue.key_limit)
    if (keyLimit === undefined || line.key === null) return undefined
    const used = this.usedOf(keyNeed(line.queue, line.key))
    return used + line.weight > keyLimit ? { tag: undefined, opensAt: null } : undefined
  }

  take({ key, tags, weight }: Line, queue: Queue, seq: number): void {
    for (const tag of tags) {
      const limit = this.get(tag)
      if (limit?.declared !== true) continue
      this.hold(tagNeed(tag), seq, weight)
      if (!limit.enabled || limit.buckets.length === 0) continue
      for (const bucket of limit.buckets) bucket.credit = refill(bucket, this.now) - costOf(bucket, weight)
      this.taken.add(limit)
    }
    if (key !== null && boundOf(queue.key_limit) !== undefined) this.hold(keyNeed(queue.name, key), seq, weight)
  }

  free(tags: ReadonlyArray<string>, queue: Queue, key: string | null, seq: number): void {
    for (const tag of tags) {
      if (this.get(tag)?.declared === true && this.release(tagNeed(tag), seq)) this.freedTags.add(tag)
    }
    if (key === null || boundOf(queue.key_limit) === undefined) return
    const need = keyNeed(queue.name, key)
    if (this.release(need, seq)) this.freedKeys.set(need, [queue.name, key])
  }

  private hold(need: string, seq: number, weight: number): void {
    this.used.set(need, this.usedOf(need) + weight)
    this.statements.take.run(need, seq, weight)
  }

  /** Whether it had any. */
  private release(need: string, seq: number): boolean {
    this.used.delete(need)
    return Number(this.statements.free.run(need, seq).changes) > 0
  }

  private usedOf(need: string): number {
    let used = this.used.get(need)
    if (used === undefined) {
      used = this.statements.used.get(need)!["used"] as number
      this.used.set(need, used)
    }
    return used
  }

  private get(tag: string): TagLimit | undefined {
    if (this.known.has(tag)) return this.known.get(tag)
    const row = this.statements.read.get(tag)
    const limit = row === undefined ? undefined : toTagLimit(row)
    this.known.set(tag, limit)
    return limit
  }

  /** When the next pause ends. */
  get resumesNext(): number {
    return this.statements.resumesNext.get(this.now)!["at"] as number | null ?? Infinity
  }

  flush(): void {
    for (const { buckets, tag } of this.taken) this.statements.writeRates.run(JSON.stringify(buckets), tag)
    this.taken.clear()
  }

  // ─── for those who look after them

  set({ enabled, limit, rates, tag }: StoredLimit, { ifAbsent = false }: IfAbsent): void {
    const before = this.get(tag)
    if (before?.declared === true && ifAbsent) return
    this.write({
      tag,
      declared: true,
      enabled,
      amount: limit === "unbounded" ? null : limit,
      buckets: rates.map((rate, i) => {
        const old = before?.buckets[i]
        const full = rate.burst * rate.per
        return { ...rate, credit: old?.per === rate.per ? Math.min(full, refill(old, this.now)) : full, at: this.now }
      }),
      pausedUntil: before?.pausedUntil ?? null
    })
    // What runs already counts too.
    if (before?.declared !== true) this.statements.takeByTag.run(tagNeed(tag), tag)
  }

  pause(tag: string, until: number): void {
    const before = this.get(tag)
    const pausedUntil = until > this.now ? until : null
    if (before === undefined) {
      if (pausedUntil === null) return
      this.write({ tag, declared: false, enabled: true, amount: null, buckets: [], pausedUntil })
    } else this.write({ ...before, pausedUntil })
  }

  remove(tag: string): boolean {
    const before = this.get(tag)
    if (before?.declared !== true) return false
    this.statements.freeAll.run(tagNeed(tag), `${tagNeed(tag)}\0`)
    this.write({ ...before, declared: false, enabled: true, amount: null, buckets: [] })
    return true
  }

  private write(limit: TagLimit): void {
    const { amount, buckets, declared, enabled, pausedUntil, tag } = limit
    if (declared || pausedUntil !== null) {
      this.statements.write.run(tag, Number(declared), amount, JSON.stringify(buckets), Number(enabled), pausedUntil)
    } else this.statements.delete.run(tag)
    this.known.delete(tag)
    this.freedTags.add(tag)
  }

  /** The cap of the queue's keys was set anew. */
  capped(queue: Queue, before: Queue): void {
    const need = queueNeed(queue.name)
    const isCapped = boundOf(queue.key_limit) !== undefined
    if (!isCapped) this.statements.freeAll.run(need, need + last)
    else if (boundOf(before.key_limit) === undefined) this.statements.takeByKey.run(need, queue.name)
  }

  get all(): ReadonlyArray<StoredLimitInfo> {
    const { now } = this
    return this.statements.all.all().map(toTagLimit).flatMap((limit): ReadonlyArray<StoredLimitInfo> => {
      const { amount, buckets, declared, enabled, tag } = limit
      const pausedUntil = limit.pausedUntil !== null && limit.pausedUntil > now ? limit.pausedUntil : undefined
      if (!declared && pausedUntil === undefined) return []
      const rows = declared
        ? this.statements.holders.all(tagNeed(tag), now)
        : this.statements.active.all(tag, now)
      const holders = rows.map((row) => ({ ...row, job: String(row["job"]) })) as unknown as StoredLimitInfo["holders"]
      return [{
        tag,
        limit: amount ?? "unbounded",
        rates: buckets.map(({ burst, count, per }) => ({ count, per, burst })),
        enabled,
        active: holders.reduce((sum, { weight }) => sum + weight, 0),
        holders,
        available: buckets.map((bucket) => refill(bucket, now) / bucket.per),
        pausedUntil
      }]
    })
  }
}

const toTagLimit = (row: Record<string, unknown>): TagLimit => {
  const { amount, declared, enabled, paused_until, rates, tag } = row as any
  return {
    tag,
    declared: declared === 1,
    enabled: enabled === 1,
    amount,
    buckets: JSON.parse(rates),
    pausedUntil: paused_until
  }
}

/** What asks for more than fits in takes all that does. */
const costOf = ({ burst, per }: Bucket, weight: number): number => Math.min(weight, burst) * per

const refill = (bucket: Bucket, now: number): number => {
  // A clock that was set back earns nothing and costs nothing.
  bucket.credit = Math.min(bucket.burst * bucket.per, bucket.credit + Math.max(0, now - bucket.at) * bucket.count)
  bucket.at = now
  return bucket.credit
}
