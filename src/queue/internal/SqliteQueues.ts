/** What the SQLite store keeps of each queue: its settings, how far claims have come in it, and how many jobs it has in each state. */
import type { DatabaseSync } from "node:sqlite"
import type { Limit } from "../../Concurrency.ts"
import type { IfAbsent, JobState, QueueCounts, QueueSettings } from "./StorePort.ts"

export interface Queue {
  readonly name: string
  /** As set; `null` where it is not. */
  readonly paused: number | null
  readonly max_queued: number | null
  readonly key_limit: number | null
  /** Whether a job with a key was ever put in: only then there is fairness between keys. */
  keyed: number
  /** The highest rank claimed. */
  claimed_rank: number
  readonly counts: Array<number>
}

/** In the order of their numbers in the table. */
export const states = [
  "Scheduled",
  "Waiting",
  "Active",
  "Succeeded",
  "Dead",
  "Cancelled"
] as const satisfies ReadonlyArray<
  JobState
>

/** None is no bound. */
export const boundOf = (limit: number | null): number | undefined => limit === null || limit < 0 ? undefined : limit

/** Those that one transaction has to do with, written back at its end. */
export class Queues {
  private readonly known = new Map<string, Queue>()
  private readonly changed = new Set<Queue>()
  private readonly statements
  constructor(db: DatabaseSync) {
    this.statements = {
      read: db.prepare("SELECT * FROM tasklayer_queue WHERE name = ?"),
      create: db.prepare("INSERT INTO tasklayer_queue (name) VALUES (?) ON CONFLICT DO NOTHING"),
      write: db.prepare(
        `UPDATE tasklayer_queue SET keyed = ?, claimed_rank = ?, scheduled = ?, waiting = ?, active = ?, succeeded = ?,
         dead = ?, cancelled = ? WHERE name = ?`
      ),
      set: db.prepare("UPDATE tasklayer_queue SET paused = ?, max_queued = ?, key_limit = ? WHERE name = ?"),
      delete: db.prepare("DELETE FROM tasklayer_queue WHERE name = ?"),
      all: db.prepare("SELECT * FROM tasklayer_queue ORDER BY name")
    }
  }

  begin(): void {
    this.known.clear()
    this.changed.clear()
  }

  get(name: string): Queue {
    const known = this.known.get(name)
    if (known !== undefined) return known
    let row = this.statements.read.get(name)
    if (row === undefined) {
      this.statements.create.run(name)
      row = this.statements.read.get(name)!
    }
    const queue = toQueue(row)
    this.known.set(name, queue)
    return queue
  }

  /** A job goes from one state to another; from none: it comes in, to none: it is deleted. */
  moved(name: string, from: number | undefined, to: number | undefined): void {
    const queue = this.get(name)
    if (from !== undefined) queue.counts[from]!--
    if (to !== undefined) queue.counts[to]!++
    this.changed.add(queue)
  }

  hasKeys(queue: Queue): void {
    if (queue.keyed === 1) return
    queue.keyed = 1
    this.changed.add(queue)
  }

  claimed(queue: Queue, rank: number): void {
    queue.claimed_rank = Math.max(queue.claimed_rank, rank)
  }

  flush(): void {
    for (const queue of this.changed) {
      if (isIdle(queue)) {
        this.statements.delete.run(queue.name)
        this.known.delete(queue.name)
      } else this.statements.write.run(queue.keyed, queue.claimed_rank, ...queue.counts, queue.name)
    }
    this.changed.clear()
  }

  /** What it was before. */
  set(name: string, settings: QueueSettings, { ifAbsent = false }: IfAbsent): Queue {
    const before = this.get(name)
    const set = (was: number | null, value: number | undefined) =>
      value === undefined || (ifAbsent && was !== null) ? was : value
    const { keyLimit, maxQueued, paused } = settings
    this.statements.set.run(
      set(before.paused, paused === undefined ? undefined : Number(paused)),
      set(before.max_queued, fromLimit(maxQueued)),
      set(before.key_limit, fromLimit(keyLimit)),
      name
    )
    this.known.delete(name)
    return before
  }

  get all(): ReadonlyArray<QueueCounts> {
    return this.statements.all.all().map(toQueue)
      .filter((queue) => !isIdle(queue))
      .map(({ counts, key_limit, max_queued, name, paused }) => {
        const [scheduled, waiting, active, succeeded, dead, cancelled] = counts as [
          number,
          number,
          number,
          number,
          number,
          number
        ]
        return {
          queue: name,
          paused: paused === 1,
          maxQueued: toLimit(max_queued),
          keyLimit: toLimit(key_limit),
          scheduled,
          waiting,
          active,
          succeeded,
          dead,
          cancelled
        }
      })
  }
}

const isIdle = ({ counts, key_limit, max_queued, paused }: Queue): boolean =>
  counts.every((n) => n === 0) && paused === null && max_queued === null && key_limit === null

const toQueue = (row: Record<string, unknown>): Queue => {
  const { active, cancelled, dead, scheduled, succeeded, waiting, ...rest } = row as any
  return { ...rest, counts: [scheduled, waiting, active, succeeded, dead, cancelled] }
}

const fromLimit = (limit: Limit | undefined): number | undefined => limit === "unbounded" ? -1 : limit

const toLimit = (stored: number | null): Limit | undefined =>
  stored === null ? undefined : stored < 0 ? "unbounded" : stored
