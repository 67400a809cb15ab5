/** Jobs as the SQLite store keeps them: a row each, from when it is put in until it is pruned. */
import type { DatabaseSync } from "node:sqlite"
import { asArrays } from "./SqliteClient.ts"
import { states } from "./SqliteQueues.ts"
import type {
  AttemptError,
  Claimed,
  DeadReason,
  JobRecord,
  JobState,
  ListFilter,
  NewJob,
  RedriveFilter
} from "./StorePort.ts"

export interface Job {
  readonly seq: number
  /** As given. */
  readonly id: string | null
  readonly state: number
  readonly line: number | null
  readonly rank: number | null
  readonly token: number
  readonly worker: string | null
  readonly cancel: number
  readonly attempts: number
  readonly crashes: number
  readonly name: string
  readonly queue: string
  readonly priority: number
  readonly weight: number
  readonly tags: string
  readonly key: string | null
  readonly payload: string
  readonly at_most_once: number
  readonly max_crashes: number
  readonly unique_key: string | null
  readonly unique_while: number | null
  readonly trace: string | null
  readonly enqueued_at: number
  readonly due_at: number
  readonly expires_at: number | null
  readonly claimed_at: number | null
  readonly ended_at: number | null
  readonly reason: DeadReason | null
  readonly errors: string | null
  readonly result: string | null
}

/** Where it stands before it starts: `line` while Waiting, `rank` from then on. */
export interface Stand {
  readonly state: number
  readonly line: number | null
  readonly rank: number | null
  readonly dueAt: number
}

/** What is asked of one that ends. */
export type Ended = Pick<Job, "seq" | "queue" | "tags" | "key" | "unique_key" | "unique_while">

/** What is asked of one that starts. */
export type Started = Omit<
  Job,
  | "state"
  | "line"
  | "rank"
  | "worker"
  | "cancel"
  | "crashes"
  | "max_crashes"
  | "expires_at"
  | "claimed_at"
  | "ended_at"
  | "reason"
  | "result"
>

export const Scheduled = 0
export const Waiting = 1
export const Active = 2
export const Succeeded = 3
export const Dead = 4
export const Cancelled = 5

export const uniqueWhile = { waiting: 0, active: 1, window: 2 }

const ERRORS_KEPT = 100

export class Jobs {
  private readonly statements
  private readonly db: DatabaseSync
  constructor(db: DatabaseSync) {
    this.db = db
    // `LIMIT ? + 0`: by the bound of a plain `LIMIT ?` SQLite plans the statement anew at each run.
    const where = (what: string) => db.prepare(`SELECT * FROM tasklayer_job WHERE ${what}`)
    const set = (what: string) => db.prepare(`UPDATE tasklayer_job SET ${what} WHERE seq = ?`)
    this.statements = {
      lastSeq: db.prepare("SELECT last_seq AS seq FROM tasklayer_store"),
      setLastSeq: db.prepare("UPDATE tasklayer_store SET last_seq = ?"),
      bySeq: where("seq = ?"),
      byId: where("id = ?"),
      isGiven: db.prepare("SELECT 1 FROM tasklayer_job WHERE id = ?"),
      due: where("state = 0 AND due_at <= ? ORDER BY due_at, seq LIMIT ? + 0"),
      expired: where(
        "expires_at IS NOT NULL AND attempts = 0 AND state < 2 AND expires_at <= ? ORDER BY expires_at, seq LIMIT ? + 0"
      ),
      ofWorker: where("worker = ? ORDER BY seq"),
      dead: where(
        `state = 4 AND state > 2 AND queue = ifnull(?, queue) AND name = ifnull(?, name) AND reason = ifnull(?, reason)
         ORDER BY ended_at LIMIT ? + 0`
      ),
      toInterrupt: db.prepare("SELECT coalesce(id, seq) AS id FROM tasklayer_job WHERE worker = ? AND cancel = 1"),
      nextDue: db.prepare("SELECT min(due_at) AS at FROM tasklayer_job WHERE state = 0"),
      nextExpiry: db.prepare(
        `SELECT min(expires_at) AS at FROM tasklayer_job
         WHERE expires_at IS NOT NULL AND attempts = 0 AND state < 2 AND expires_at > ?`
      ),
      insert: db.prepare(
        `INSERT INTO tasklayer_job (seq, id, state, line, rank, name, queue, priority, weight, tags, key, payload,
         at_most_once, max_crashes, unique_key, unique_while, trace, enqueued_at, due_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
      ),
      replace: set(
        `state = ?, line = ?, rank = ?, name = ?, queue = ?, priority = ?, weight = ?, tags = ?, key = ?, payload = ?,
         at_most_once = ?, max_crashes = ?, unique_key = ?, unique_while = ?, trace = ?, due_at = ?, expires_at = ?`
      ),
      wait: set("state = 1, line = ?, rank = ?"),
      leaveLine: set("line = NULL"),
      // With RETURNING it would be one, and SQLite would make a table of its own for what comes back.
      claim: set("state = 2, line = NULL, worker = ?, claimed_at = ?, token = token + 1, attempts = attempts + 1"),
      started: asArrays(
        db.prepare(
          `SELECT seq, id, token, name, payload, queue, tags, key, priority, weight, at_most_once, attempts, errors,
           enqueued_at, due_at, trace, unique_key, unique_while FROM tasklayer_job WHERE seq = ?`
        )
      ),
      succeed: db.prepare(
        `UPDATE tasklayer_job SET state = 3, worker = NULL, cancel = 0, ended_at = ?, result = ?
         WHERE seq = ? AND worker = ? AND token = ? AND id IS ?`
      ),
      ended: asArrays(
        db.prepare("SELECT seq, queue, tags, key, unique_key, unique_while FROM tasklayer_job WHERE seq = ?")
      ),
      putBack: set(
        "state = ?, line = ?, worker = NULL, cancel = 0, due_at = ?, attempts = ?, crashes = ?, errors = ?"
      ),
      end: set(
        `state = ?, line = NULL, worker = NULL, cancel = 0, ended_at = ?, reason = ?, attempts = ?, crashes = ?,
         errors = ?`
      ),
      revive: set(
        `state = 1, line = ?, rank = ?, due_at = ?, expires_at = NULL, ended_at = NULL, reason = NULL, attempts = 0,
         crashes = 0`
      ),
      interrupt: set("cancel = 1"),
      delete: db.prepare("DELETE FROM tasklayer_job WHERE seq = ?"),
      prune: db.prepare(
        `DELETE FROM tasklayer_job WHERE seq IN
         (SELECT seq FROM tasklayer_job WHERE state = ? AND state > 2 AND ended_at <= ? ORDER BY ended_at LIMIT ? + 0)
         RETURNING queue`
      ),
      isTaken: db.prepare("SELECT seq, id, until FROM tasklayer_unique WHERE key = ?"),
      takeUnique: db.prepare("REPLACE INTO tasklayer_unique VALUES (?, ?, ?, ?)"),
      freeUnique: db.prepare("DELETE FROM tasklayer_unique WHERE key = ? AND seq = ?"),
      pruneUnique: db.prepare("DELETE FROM tasklayer_unique WHERE until IS NOT NULL AND until <= ?")
    }
  }

  // ─── which

  get lastSeq(): number {
    return this.statements.lastSeq.get()!["seq"] as number
  }

  set lastSeq(seq: number) {
    this.statements.setLastSeq.run(seq)
  }

  /** A number as an id names the job that was given it, or that has come in so many-th. */
  find(id: string): Job | undefined {
    const given = this.statements.byId.get(id) as Job | undefined
    if (given !== undefined) return given
    const seq = seqOf(id)
    const job = seq === undefined ? undefined : this.statements.bySeq.get(seq) as Job | undefined
    return job?.id === null ? job : undefined
  }

  bySeq(seq: number): Job | undefined {
    return this.statements.bySeq.get(seq) as Job | undefined
  }

  isGiven(id: string): boolean {
    return this.statements.isGiven.get(id) !== undefined
  }

  due(now: number, limit: number): ReadonlyArray<Job> {
    return this.statements.due.all(now, limit) as unknown as Array<Job>
  }

  expired(now: number, limit: number): ReadonlyArray<Job> {
    return this.statements.expired.all(now, limit) as unknown as Array<Job>
  }

  of(worker: string): ReadonlyArray<Job> {
    return this.statements.ofWorker.all(worker) as unknown as Array<Job>
  }

  toInterrupt(worker: string): ReadonlyArray<string> {
    return this.statements.toInterrupt.all(worker).map(({ id }) => String(id))
  }

  /** When time alone changes something: what is due, what expires. */
  nextTime(now: number): number {
    const due = this.statements.nextDue.get()!["at"] as number | null
    const expiry = this.statements.nextExpiry.get(now)!["at"] as number | null
    return Math.min(due ?? Infinity, expiry ?? Infinity)
  }

  list(filter: ListFilter): ReadonlyArray<Job> {
    const { before, key, limit = 100, name, queue, states: among, tags } = filter
    const parts: Array<string> = []
    const values: Array<string | number> = []
    const also = (part: string, ...more: ReadonlyArray<string | number>) => {
      parts.push(part)
      values.push(...more)
    }
    if (before !== undefined) also("seq < ?", this.find(before)?.seq ?? seqOf(before) ?? 0)
    if (among !== undefined) also(`state IN (${among.map((state) => states.indexOf(state)).join()})`)
    // What has succeeded is most of all there is: what is rare beside it is found by its index.
    if (among?.length === 1) also(indexOf[among[0]!])
    const order = among?.length === 1 && among[0] === "Active" ? "+seq" : "seq"
    if (queue !== undefined) also("queue = ?", queue)
    if (name !== undefined) also("name = ?", name)
    if (key !== undefined) also("key = ?", key)
    if (tags !== undefined) {
      also(
        "EXISTS (SELECT 1 FROM json_each(tags) tag JOIN json_each(?) wanted ON tag.value = wanted.value)",
        JSON.stringify(tags)
      )
    }
    const where = parts.length === 0 ? "" : `WHERE ${parts.join(" AND ")}`
    return this.db.prepare(`SELECT * FROM tasklayer_job ${where} ORDER BY ${order} DESC LIMIT ? + 0`)
      .all(...values, limit) as unknown as Array<Job>
  }

  /** Oldest first. */
  dead({ ids, name, queue, reason }: RedriveFilter, limit: number): ReadonlyArray<Job> {
    if (ids !== undefined) {
      return [...new Set(ids)].flatMap((id) => this.find(id) ?? [])
        .filter((job) =>
          job.state === Dead && (queue ?? job.queue) === job.queue && (name ?? job.name) === job.name &&
          (reason ?? job.reason) === job.reason
        )
        .sort(bySeq)
    }
    const dead = this.statements.dead.all(queue ?? null, name ?? null, reason ?? null, limit)
    return (dead as unknown as Array<Job>).sort(bySeq)
  }

  // ─── what becomes of it

  insert(seq: number, job: NewJob, { dueAt, line, rank, state }: Stand, now: number): void {
    const expiresAt = timeOf(job.expires, now) ?? null
    this.statements.insert.run(seq, job.id ?? null, state, line, rank, ...columnsOf(job), now, dueAt, expiresAt)
  }

  replace(seq: number, job: NewJob, { dueAt, line, rank, state }: Stand, now: number): void {
    const expiresAt = timeOf(job.expires, now) ?? null
    this.statements.replace.run(state, line, rank, ...columnsOf(job), dueAt, expiresAt, seq)
  }

  wait(seq: number, line: number, rank: number): void {
    this.statements.wait.run(line, rank, seq)
  }

  leaveLine(seq: number): void {
    this.statements.leaveLine.run(seq)
  }

  claim(seq: number, worker: string, now: number): Started {
    this.statements.claim.run(worker, now, seq)
    return toStarted(this.statements.started.get(seq) as unknown as ReadonlyArray<any>)
  }

  /** Nobody, where the worker does not have it under that token. */
  succeed(id: string, worker: string, token: number, now: number, result: string | null): Ended | undefined {
    const { ended, succeed } = this.statements
    let seq = seqOf(id)
    let isDone = seq !== undefined && succeed.run(now, result, seq, worker, token, null).changes === 1
    if (!isDone) {
      seq = this.statements.byId.get(id)?.["seq"] as number | undefined
      isDone = seq !== undefined && succeed.run(now, result, seq, worker, token, id).changes === 1
    }
    return isDone ? toEnded(ended.get(seq!) as unknown as ReadonlyArray<any>) : undefined
  }

  putBack(job: Job, state: number, line: number | null, dueAt: number): void {
    this.statements.putBack.run(state, line, dueAt, job.attempts, job.crashes, job.errors, job.seq)
  }

  end(job: Job, state: number, now: number, reason: DeadReason | null): void {
    this.statements.end.run(state, now, reason, job.attempts, job.crashes, job.errors, job.seq)
  }

  revive(seq: number, line: number, rank: number, now: number): void {
    this.statements.revive.run(line, rank, now, seq)
  }

  interrupt(seq: number): void {
    this.statements.interrupt.run(seq)
  }

  delete(seq: number): void {
    this.statements.delete.run(seq)
  }

  /** Returns their queues. */
  prune(state: number, endedBy: number, limit: number): ReadonlyArray<string> {
    return this.statements.prune.all(state, endedBy, limit).map(({ queue }) => queue as string)
  }

  // ─── unique keys

  holder(key: string, now: number): { readonly seq: number; readonly id: string } | undefined {
    const row = this.statements.isTaken.get(key) as { seq: number; id: string; until: number | null } | undefined
    return row === undefined || (row.until !== null && row.until <= now) ? undefined : row
  }

  takeUnique({ unique }: NewJob, seq: number, id: string, enqueuedAt: number, now: number): void {
    if (unique === undefined) return
    const until = typeof unique.while === "object" ? enqueuedAt + unique.while.window : null
    if (until === null || until > now) this.statements.takeUnique.run(unique.key, seq, id, until)
    else this.statements.freeUnique.run(unique.key, seq)
  }

  /** Unless another has it by now. */
  freeUnique({ seq, unique_key }: Pick<Job, "seq" | "unique_key">): void {
    if (unique_key !== null) this.statements.freeUnique.run(unique_key, seq)
  }

  pruneUnique(now: number): void {
    this.statements.pruneUnique.run(now)
  }
}

export const idOf = ({ id, seq }: Pick<Job, "id" | "seq">): string => id ?? String(seq)

export const timeOf = (time: NewJob["due"], now: number): number | undefined =>
  time === undefined ? undefined : "in" in time ? now + time.in : time.at

export const withError = (job: Job, error: AttemptError): Job => ({
  ...job,
  errors: JSON.stringify([...errorsOf(job), error].slice(-ERRORS_KEPT))
})

const errorsOf = ({ errors }: Pick<Job, "errors">): ReadonlyArray<AttemptError> =>
  errors === null ? [] : JSON.parse(errors)

export const tagsOf = ({ tags }: Pick<Job, "tags">): ReadonlyArray<string> => tags === "[]" ? [] : JSON.parse(tags)

const columnsOf = (job: NewJob) => {
  const { delivery, key, maxCrashes, name, payload, priority, queue, tags, trace, unique, weight } = job
  return [
    name,
    queue,
    priority,
    weight,
    JSON.stringify(tags),
    key ?? null,
    payload,
    delivery === "atMostOnce" ? 1 : 0,
    maxCrashes,
    unique?.key ?? null,
    unique === undefined ? null : typeof unique.while === "object" ? uniqueWhile.window : uniqueWhile[unique.while],
    trace ?? null
  ] as const
}

const indexOf: Readonly<Record<JobState, string>> = {
  Scheduled: "state = 0",
  Waiting: "line IS NOT NULL",
  Active: "worker IS NOT NULL",
  Succeeded: "state = 3",
  Dead: "state = 4 AND state > 3",
  Cancelled: "state = 5 AND state > 3"
}

const bySeq = (a: Job, b: Job): number => a.seq - b.seq

const seqOf = (id: string): number | undefined => /^[1-9]\d{0,14}$/.test(id) ? Number(id) : undefined

const toStarted = (row: ReadonlyArray<any>): Started => ({
  seq: row[0],
  id: row[1],
  token: row[2],
  name: row[3],
  payload: row[4],
  queue: row[5],
  tags: row[6],
  key: row[7],
  priority: row[8],
  weight: row[9],
  at_most_once: row[10],
  attempts: row[11],
  errors: row[12],
  enqueued_at: row[13],
  due_at: row[14],
  trace: row[15],
  unique_key: row[16],
  unique_while: row[17]
})

const toEnded = ([seq, queue, tags, key, unique_key, unique_while]: ReadonlyArray<any>): Ended => ({
  seq,
  queue,
  tags,
  key,
  unique_key,
  unique_while
})

export const toClaimed = (job: Started): Claimed => ({
  id: idOf(job),
  token: job.token,
  name: job.name,
  payload: job.payload,
  queue: job.queue,
  tags: tagsOf(job),
  key: job.key ?? undefined,
  priority: job.priority,
  weight: job.weight,
  delivery: job.at_most_once === 1 ? "atMostOnce" : "atLeastOnce",
  attempt: job.attempts,
  errors: errorsOf(job),
  enqueuedAt: job.enqueued_at,
  dueAt: job.due_at,
  trace: job.trace ?? undefined
})

export const toRecord = (job: Job): JobRecord => ({
  id: idOf(job),
  name: job.name,
  state: states[job.state] as JobState,
  queue: job.queue,
  tags: tagsOf(job),
  key: job.key ?? undefined,
  priority: job.priority,
  weight: job.weight,
  payload: job.payload,
  delivery: job.at_most_once === 1 ? "atMostOnce" : "atLeastOnce",
  attempt: job.attempts,
  crashes: job.crashes,
  errors: errorsOf(job),
  enqueuedAt: job.enqueued_at,
  dueAt: job.due_at,
  expiresAt: job.expires_at ?? undefined,
  worker: job.worker ?? undefined,
  claimedAt: job.claimed_at ?? undefined,
  endedAt: job.ended_at ?? undefined,
  reason: job.reason ?? undefined,
  result: job.result ?? undefined
})
