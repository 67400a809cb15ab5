/**
 * Jobs that wait, in lines: what is alike in all that a claim looks at stands in one, and only heads are looked at.
 *
 * What is in the way of a line's head is in the way of all of it. A line is ready, or behind the gate of a tag that was found to lack room for it,
 * or at the cap of its own key; it is found in the order of heads where it is, and not looked at again before there may be room there.
 */
import type { DatabaseSync } from "node:sqlite"
import { asArrays } from "./SqliteClient.ts"
import type { Gates } from "./SqliteGates.ts"
import type { Obstacle } from "./SqliteLimits.ts"
import type { Queue } from "./SqliteQueues.ts"

/** What decides where a job stands. */
export interface Alike {
  readonly queue: string
  readonly name: string
  readonly priority: number
  readonly weight: number
  /** JSON. */
  readonly tags: string
  readonly key: string | null
}

export interface Line {
  readonly id: number
  readonly queue: string
  readonly name: string
  readonly priority: number
  readonly weight: number
  readonly tags: ReadonlyArray<string>
  readonly key: string | null
  /** The first of it; nobody, once it is empty. */
  head: Place | undefined
  /** Where one more of its key comes in, at least. */
  nextRank: number
  /** The gate it is behind; `READY`, or `AT_CAP` of its key. */
  gate: number | null
}

export const READY = 0
const AT_CAP = null

export interface Place {
  readonly rank: number
  readonly seq: number
}

/** Lines that a filter does not tell apart: of one queue and one name, and of the same tags where those are asked for. */
export interface Group {
  readonly queue: string
  readonly name: string
  /** JSON; `undefined`: whatever they are. */
  readonly tags: string | undefined
}

/** Those that one transaction has to do with. What it changes is written at `flush`, and what is read in order has to be written before. */
export class Lines {
  private readonly known = new Map<string | number, Line>()
  private readonly changed = new Set<Line>()
  private readonly nextRanks = new Map<string, number>()
  private readonly gates: Gates
  private readonly statements
  constructor(db: DatabaseSync, gates: Gates) {
    this.gates = gates
    const line = "tasklayer_line"
    const group = (by: string, places: string) =>
      db.prepare(`SELECT ${by} FROM ${line} WHERE gate = ? AND (${by}) > (${places}) ORDER BY ${by} LIMIT 1`)
    // `LIMIT ? + 0`: by the bound of a plain `LIMIT ?` SQLite plans the statement anew at each run.
    const inOrder = (of: string) =>
      db.prepare(
        `SELECT * FROM ${line} WHERE gate = ? AND ${of} AND (priority, head_rank, head_seq) > (?, ?, ?)
         ORDER BY priority, head_rank, head_seq LIMIT ? + 0`
      )
    this.statements = {
      find: db.prepare(
        `SELECT * FROM ${line} WHERE queue = ? AND key = ? AND name = ? AND priority = ? AND weight = ? AND tags = ?`
      ),
      read: db.prepare(`SELECT * FROM ${line} WHERE id = ?`),
      create: db.prepare(
        `INSERT INTO ${line} (queue, key, name, priority, weight, tags, head_rank, head_seq, next_rank, gate)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
      ),
      write: db.prepare(`UPDATE ${line} SET head_rank = ?, head_seq = ?, next_rank = ?, gate = ? WHERE id = ?`),
      delete: db.prepare(`DELETE FROM ${line} WHERE id = ?`),
      nextRank: db.prepare(`SELECT max(next_rank) AS rank FROM ${line} WHERE queue = ? AND key = ?`),
      leaveCap: db.prepare(`UPDATE ${line} SET gate = 0 WHERE queue = ? AND key = ? AND gate IS NULL`),
      leaveCaps: db.prepare(`UPDATE ${line} SET gate = 0 WHERE queue = ? AND gate IS NULL`),
      hasReady: db.prepare(`SELECT 1 FROM ${line} WHERE gate = 0 LIMIT 1`),
      group: group("queue, name", "?, ?"),
      taggedGroup: group("queue, name, tags", "?, ?, ?"),
      ofGroup: inOrder("queue = ? AND name = ?"),
      ofTaggedGroup: inOrder("queue = ? AND name = ? AND tags = ?"),
      places: asArrays(db.prepare(
        "SELECT rank, seq FROM tasklayer_job WHERE line = ? AND (rank, seq) > (?, ?) ORDER BY rank, seq LIMIT ? + 0"
      )),
      lastRank: db.prepare("SELECT max(rank) AS rank FROM tasklayer_job WHERE line = ?")
    }
  }

  begin(): void {
    this.known.clear()
    this.changed.clear()
    this.nextRanks.clear()
  }

  // ─── who waits

  /** The place of one that comes in, in the order of its key. */
  rankIn(queue: Queue, key: string | null): number {
    return queue.keyed === 0 ? 0 : Math.max(queue.claimed_rank, this.nextRankOf(queue.name, key))
  }

  /** Returns the line it stands in. */
  add(job: Alike, place: Place): number {
    const next = place.rank + job.weight
    const ofKey = JSON.stringify([job.queue, job.key])
    const before = this.nextRanks.get(ofKey)
    if (before !== undefined) this.nextRanks.set(ofKey, Math.max(before, next))

    const alike = [job.queue, toStoredKey(job.key), job.name, job.priority, job.weight, job.tags] as const
    const what = JSON.stringify(alike)
    let line = this.known.get(what) ?? this.remember(this.statements.find.get(...alike))
    if (line === undefined) {
      const tags = tagsOf(job.tags)
      // Where others like it found no room it would not either.
      const gate = this.gates.closedOf(tags, job.weight) ?? READY
      const { lastInsertRowid } = this.statements.create.run(...alike, place.rank, place.seq, next, gate)
      line = { ...job, id: Number(lastInsertRowid), tags, head: place, nextRank: next, gate }
      this.known.set(line.id, line)
    } else {
      if (line.head === undefined || comesBefore(place, line.head)) line.head = place
      line.nextRank = Math.max(line.nextRank, next)
      this.changed.add(line)
    }
    this.known.set(what, line)
    return line.id
  }

  /** One of the line does not wait any more. The job's own row says so already. */
  remove(id: number, { rank, seq }: Place): void {
    const line = this.known.get(id) ?? this.remember(this.statements.read.get(id))!
    this.nextRanks.delete(JSON.stringify([line.queue, line.key]))
    if (line.head?.seq === seq) line.head = this.placesAfter(line, undefined, 1)[0]
    if (rank + line.weight === line.nextRank) {
      line.nextRank = (this.statements.lastRank.get(id)!["rank"] as number | null ?? 0) + line.weight
    }
    this.changed.add(line)
  }

  private nextRankOf(queue: string, key: string | null): number {
    const ofKey = JSON.stringify([queue, key])
    let rank = this.nextRanks.get(ofKey)
    if (rank === undefined) {
      this.flush()
      rank = this.statements.nextRank.get(queue, toStoredKey(key))!["rank"] as number | null ?? 0
      this.nextRanks.set(ofKey, rank)
    }
    return rank
  }

  // ─── for claims

  /** From group to group of those that are behind a gate, or ready. */
  nextGroup(gate: number, after: Group): Group | undefined {
    const { group, taggedGroup } = this.statements
    const { name, queue, tags } = after
    return (tags === undefined ? group.get(gate, queue, name) : taggedGroup.get(gate, queue, name, tags)) as
      | Group
      | undefined
  }

  /** Those of a group in order, so many, behind a place in that order. */
  inOrder(gate: number, { name, queue, tags }: Group, after: Position, limit: number): ReadonlyArray<Line> {
    const { ofGroup, ofTaggedGroup } = this.statements
    const rows = tags === undefined
      ? ofGroup.all(gate, queue, name, ...after, limit)
      : ofTaggedGroup.all(gate, queue, name, tags, ...after, limit)
    return rows.map((row) => this.remember(row)!)
  }

  placesAfter(line: Line, place: Place | undefined, limit: number): ReadonlyArray<Place> {
    const rows = this.statements.places.all(line.id, place?.rank ?? -1, place?.seq ?? -1, limit)
    return (rows as unknown as Array<[rank: number, seq: number]>).map(([rank, seq]) => ({ rank, seq }))
  }

  moveTo(line: Line, head: Place | undefined): void {
    line.head = head
    this.changed.add(line)
  }

  park(line: Line, { opensAt, tag }: Obstacle): void {
    line.gate = tag === undefined ? AT_CAP : this.gates.close(tag, line.weight, opensAt)
    this.changed.add(line)
  }

  // ─── where there may be room

  get hasReady(): boolean {
    return this.statements.hasReady.get() !== undefined
  }

  /** Under the cap of a key. Whether anybody waited for it. */
  leaveCap(queue: string, key: string): boolean {
    this.flush()
    return Number(this.statements.leaveCap.run(queue, toStoredKey(key)).changes) > 0
  }

  leaveCaps(queue: string): void {
    this.flush()
    this.statements.leaveCaps.run(queue)
  }

  flush(): void {
    for (const { gate, head, id, nextRank } of this.changed) {
      if (head === undefined) this.statements.delete.run(id)
      else this.statements.write.run(head.rank, head.seq, nextRank, gate, id)
    }
    this.changed.clear()
    this.known.clear()
  }

  private remember(row: Record<string, unknown> | undefined): Line | undefined {
    if (row === undefined) return undefined
    const known = this.known.get(row["id"] as number)
    if (known !== undefined) return known
    const { head_rank, head_seq, key, next_rank, tags, ...rest } = row as any
    const head = { rank: head_rank, seq: head_seq }
    const line = { ...rest, tags: tagsOf(tags), key: fromStoredKey(key), head, nextRank: next_rank } as Line
    this.known.set(line.id, line)
    return line
  }
}

/** Of a line in the order of claims: priority, fairness between keys, age. */
export type Position = readonly [priority: number, rank: number, seq: number]

export const positionOf = ({ head, priority }: Line): Position => [priority, head!.rank, head!.seq]

export const isBefore = (a: Line, b: Line): boolean =>
  a.priority !== b.priority ? a.priority < b.priority : comesBefore(a.head!, b.head!)

const comesBefore = (a: Place, b: Place): boolean => a.rank !== b.rank ? a.rank < b.rank : a.seq < b.seq

const tagsOf = (json: string): ReadonlyArray<string> => json === "[]" ? none : JSON.parse(json)
const none: ReadonlyArray<string> = []

/** `NULL` would be like no other in an index. */
const toStoredKey = (key: string | null): string => key === null ? "" : `=${key}`
const fromStoredKey = (stored: string): string | null => stored === "" ? null : stored.slice(1)
