/**
 * Jobs that wait, in lines: what is alike in all that a claim looks at stands in one, and only heads are looked at.
 *
 * What is in the way of a line's head is in the way of all of it. A line is ready, and found in the order of heads, or parked at the need that
 * was found in its way, and not looked at again before there may be room: those at a tag stand behind its gate, of which there is one for each
 * weight; those at the cap of a key, which are few, are ready again when it has room.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"
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
  readonly tagList: ReadonlyArray<string>
  readonly key: string | undefined
  /** The first of it; nobody, once it is empty. */
  head: Place | undefined
  /** Where one more of its key comes in, at least. */
  nextRank: number
  need: string | null
}

/** Where lines wait that lack room for the same weight at the same tag. */
export interface Gate {
  readonly need: string
  readonly weight: number
}

export interface Place {
  readonly rank: number
  readonly seq: number
}

/** The order of claims: priority, fairness between keys, age. */
export const isBefore = (a: Line, b: Line): boolean =>
  a.priority !== b.priority
    ? a.priority < b.priority
    : a.head!.rank !== b.head!.rank
    ? a.head!.rank < b.head!.rank
    : a.head!.seq < b.head!.seq

/** Those that one transaction has to do with. What it changes is written at `flush`, and what is read in order has to be written before. */
export class Lines {
  private now = 0
  private readonly known = new Map<string | number, Line>()
  private readonly changed = new Set<Line>()
  private readonly nextRanks = new Map<string, number>()
  private readonly gates = new Map<string, number | null>()
  private readonly statements
  constructor(db: DatabaseSync) {
    const line = "tasklayer_line"
    // `LIMIT ? + 0`: by the bound of a plain `LIMIT ?` SQLite plans the statement anew at each run.
    const inOrder = "AND (priority, head_rank, head_seq) > (?, ?, ?) ORDER BY priority, head_rank, head_seq LIMIT ? + 0"
    this.statements = {
      find: db.prepare(
        `SELECT * FROM ${line} WHERE queue = ? AND key = ? AND name = ? AND priority = ? AND weight = ? AND tags = ?`
      ),
      read: db.prepare(`SELECT * FROM ${line} WHERE id = ?`),
      create: db.prepare(
        `INSERT INTO ${line} (queue, key, name, priority, weight, tags, head_rank, head_seq, next_rank, need)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
      ),
      write: db.prepare(`UPDATE ${line} SET head_rank = ?, head_seq = ?, next_rank = ?, need = ? WHERE id = ?`),
      delete: db.prepare(`DELETE FROM ${line} WHERE id = ?`),
      nextRank: db.prepare(`SELECT max(next_rank) AS rank FROM ${line} WHERE queue = ? AND key = ?`),
      unpark: db.prepare(`UPDATE ${line} SET need = NULL WHERE need >= ? AND need < ?`),
      isParkedAt: db.prepare(`SELECT 1 FROM ${line} WHERE need = ? AND weight = ? LIMIT 1`),
      hasReady: db.prepare(`SELECT 1 FROM ${line} WHERE need IS NULL LIMIT 1`),
      group: db.prepare(
        `SELECT queue, name FROM ${line} WHERE need IS NULL AND (queue, name) > (?, ?) ORDER BY queue, name LIMIT 1`
      ),
      ready: db.prepare(`SELECT * FROM ${line} WHERE queue = ? AND name = ? AND need IS NULL ${inOrder}`),
      parked: db.prepare(`SELECT * FROM ${line} WHERE need = ? AND weight = ? ${inOrder}`),
      places: db.prepare(
        "SELECT rank, seq FROM tasklayer_job WHERE line = ? AND (rank, seq) > (?, ?) ORDER BY rank, seq LIMIT ? + 0"
      ),
      lastRank: db.prepare("SELECT max(rank) AS rank FROM tasklayer_job WHERE line = ?"),
      gate: db.prepare("SELECT opens_at FROM tasklayer_gate WHERE need = ? AND weight = ?"),
      setGate: db.prepare("REPLACE INTO tasklayer_gate VALUES (?, ?, ?)"),
      openGates: db.prepare("UPDATE tasklayer_gate SET opens_at = 0 WHERE need = ?"),
      deleteGate: db.prepare("DELETE FROM tasklayer_gate WHERE need = ? AND weight = ?"),
      opened: db.prepare("SELECT need, weight FROM tasklayer_gate WHERE opens_at <= ?"),
      opensNext: db.prepare("SELECT min(opens_at) AS at FROM tasklayer_gate WHERE opens_at > ?")
    }
  }

  begin(now: number): void {
    this.now = now
    this.known.clear()
    this.changed.clear()
    this.nextRanks.clear()
    this.gates.clear()
  }

  /** A job waits: its place in the order of its key, and the line it stands in. */
  rankIn(queue: Queue, key: string | null): number {
    return queue.keyed === 0 ? 0 : Math.max(queue.claimed_rank, this.nextRankOf(queue.name, key))
  }

  add(job: Alike, place: Place): number {
    const next = place.rank + job.weight
    const id = JSON.stringify([job.queue, job.key])
    const before = this.nextRanks.get(id)
    if (before !== undefined) this.nextRanks.set(id, Math.max(before, next))

    const alike = alikeOf(job)
    const what = JSON.stringify(alike)
    let line = this.known.get(what) ?? this.remember(this.statements.find.get(...alike))
    if (line === undefined) {
      const need = this.closedGateOf(job)
      const { lastInsertRowid } = this.statements.create.run(...alike, place.rank, place.seq, next, need)
      line = toLine({
        ...job,
        id: Number(lastInsertRowid),
        key: toStoredKey(job.key),
        head_rank: place.rank,
        head_seq: place.seq,
        next_rank: next,
        need
      })
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
    this.nextRanks.delete(JSON.stringify([line.queue, line.key ?? null]))
    if (line.head?.seq === seq) line.head = this.places(line, undefined, 1)[0]
    if (rank + line.weight === line.nextRank) {
      line.nextRank = (this.statements.lastRank.get(id)!["rank"] as number | null ?? 0) + line.weight
    }
    this.changed.add(line)
  }

  /** After what is there, so many. */
  places(line: Line, after: Place | undefined, limit: number): ReadonlyArray<Place> {
    return this.statements.places.all(line.id, after?.rank ?? -1, after?.seq ?? -1, limit) as unknown as Array<Place>
  }

  park(line: Line, { need, opensAt }: Obstacle): void {
    line.need = need
    this.changed.add(line)
    if (isTag(need)) this.shut(need, line.weight, opensAt)
  }

  unpark(line: Line): void {
    line.need = null
    this.changed.add(line)
  }

  changedHead(line: Line, head: Place | undefined): void {
    line.head = head
    this.changed.add(line)
  }

  /** There may be room under these. Whether anybody waits there. */
  open(needs: ReadonlySet<string>): boolean {
    if (needs.size === 0) return false
    this.flush()
    let opened = 0
    for (const need of needs) {
      opened += Number(
        isTag(need)
          ? this.statements.openGates.run(need).changes
          : this.statements.unpark.run(need, `${need}\0`).changes
      )
    }
    return opened > 0
  }

  openRange([from, to]: readonly [string, string]): void {
    this.flush()
    this.statements.unpark.run(from, to)
  }

  /** Of gates that open by themselves. */
  get opensNext(): number {
    return this.statements.opensNext.get(this.now)!["at"] as number | null ?? Infinity
  }

  get hasReady(): boolean {
    return this.statements.hasReady.get() !== undefined || this.statements.opened.get(this.now) !== undefined
  }

  /** Where heads are to be looked for, each in order. All must be written. */
  *sources(
    queues: ReadonlyArray<string> | undefined,
    isPaused: (queue: string) => boolean,
    from: number
  ): Iterable<Source> {
    const { group, opened, parked, ready } = this.statements
    for (const gate of opened.all(this.now) as unknown as Array<Gate>) {
      yield this.source(parked, [gate.need, gate.weight], from, gate)
    }
    // From name to name, and past the queues that are not asked for.
    let at: readonly [queue: string, name: string] = ["", ""]
    const wanted = queues === undefined ? undefined : [...queues].sort(byBytes)
    for (;;) {
      if (wanted !== undefined) {
        while (wanted.length > 0 && byBytes(wanted[0]!, at[0]) < 0) wanted.shift()
        if (wanted.length === 0) return
        if (wanted[0] !== at[0]) at = [wanted[0]!, ""]
      }
      const row = group.get(...at) as { queue: string; name: string } | undefined
      if (row === undefined) return
      const { name, queue } = row
      if (wanted !== undefined && queue !== wanted[0]) at = [queue, ""]
      else if (isPaused(queue)) at = [queue, last]
      else {
        at = [queue, name]
        yield this.source(ready, [queue, name], from, null)
      }
    }
  }

  private source(lines: StatementSync, of: ReadonlyArray<SQLInputValue>, from: number, gate: Gate | null): Source {
    return new Source(gate, (after, limit) => {
      const place = after === undefined ? [from, -1, -1] : [after.priority, after.head!.rank, after.head!.seq]
      return lines.all(...of, ...place, limit).map((row) => this.remember(row)!)
    })
  }

  /** What is behind it has no room. */
  shut(need: string, weight: number, opensAt: number | null): void {
    const gate = JSON.stringify([need, weight])
    if (this.gates.get(gate) === opensAt) return
    this.gates.set(gate, opensAt)
    this.statements.setGate.run(need, weight, opensAt)
  }

  /** Nobody may be behind it any more. All must be written. */
  dropGate({ need, weight }: Gate): void {
    if (this.statements.isParkedAt.get(need, weight) === undefined) this.statements.deleteGate.run(need, weight)
  }

  flush(): void {
    for (const { head, id, need, nextRank } of this.changed) {
      if (head === undefined) this.statements.delete.run(id)
      else this.statements.write.run(head.rank, head.seq, nextRank, need, id)
    }
    this.changed.clear()
    this.known.clear()
  }

  private nextRankOf(queue: string, key: string | null): number {
    const id = JSON.stringify([queue, key])
    let rank = this.nextRanks.get(id)
    if (rank === undefined) {
      this.flush()
      rank = this.statements.nextRank.get(queue, toStoredKey(key))!["rank"] as number | null ?? 0
      this.nextRanks.set(id, rank)
    }
    return rank
  }

  /** Where others like it found no room, it would not either. */
  private closedGateOf({ tags, weight }: Alike): string | null {
    if (tags === "[]") return null
    for (const tag of JSON.parse(tags) as Array<string>) {
      const gate = this.statements.gate.get(`t${tag}`, weight) as { opens_at: number | null } | undefined
      if (gate !== undefined && (gate.opens_at === null || gate.opens_at > this.now)) return `t${tag}`
    }
    return null
  }

  private remember(row: Record<string, unknown> | undefined): Line | undefined {
    if (row === undefined) return undefined
    const known = this.known.get(row["id"] as number)
    if (known !== undefined) return known
    const line = toLine(row)
    this.known.set(line.id, line)
    return line
  }
}

/** Lines in order, a few at a time. */
export class Source {
  /** Where they are parked. */
  readonly gate: Gate | null
  /** What is parked here has no room. */
  isShut = false
  private readonly read: (after: Line | undefined, limit: number) => ReadonlyArray<Line>
  private lines: ReadonlyArray<Line> = []
  private at = 0
  private size = 1
  constructor(gate: Gate | null, read: Source["read"]) {
    this.gate = gate
    this.read = read
  }

  next(): Line | undefined {
    if (this.at < this.lines.length) return this.lines[this.at++]
    // Fewer than asked for: there are no more.
    if (this.lines.length < this.size && this.size > 1) return undefined
    const after = this.lastOf
    this.size = Math.min(64, this.size * 4)
    this.lines = this.read(after, this.size)
    this.lastPlace(this.lines.at(-1))
    this.at = 1
    return this.lines[0]
  }

  private lastOf: Line | undefined = undefined
  /** Where it stood when it was read: its head may move on. */
  private lastPlace(line: Line | undefined): void {
    this.lastOf = line === undefined ? undefined : { ...line }
  }
}

const last = "\u{10FFFF}"

/** As SQLite compares text. */
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

const isTag = (need: string): boolean => need.startsWith("t")

const comesBefore = (a: Place, b: Place): boolean => a.rank !== b.rank ? a.rank < b.rank : a.seq < b.seq

const toStoredKey = (key: string | null): string => key === null ? "" : `=${key}`

const alikeOf = ({ key, name, priority, queue, tags, weight }: Alike) =>
  [queue, toStoredKey(key), name, priority, weight, tags] as const

const toLine = (row: Record<string, unknown>): Line => {
  const { head_rank, head_seq, id, key, name, need, next_rank, priority, queue, tags, weight } = row as any
  return {
    id,
    queue,
    name,
    priority,
    weight,
    tagList: tags === "[]" ? none : JSON.parse(tags),
    key: key === "" ? undefined : key.slice(1),
    head: { rank: head_rank, seq: head_seq },
    nextRank: next_rank,
    need
  }
}

const none: ReadonlyArray<string> = []
