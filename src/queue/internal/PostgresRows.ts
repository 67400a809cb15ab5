/** What the functions of the database are given, and what comes back, by position. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Limit } from "../../Concurrency.ts"
import {
  type AttemptError,
  type Claimed,
  type DeadReason,
  DuplicateKeyError,
  type End,
  type Enqueued,
  type JobRecord,
  type JobState,
  type ListFilter,
  type NewJob,
  type QueueCounts,
  QueueFullError,
  type StoredLimitInfo,
  type Turn,
  type Turned,
  type WorkerRecord
} from "./StorePort.ts"

/** What lines have in common that differ in nothing but their keys, while nobody changes what can be in the way of jobs. */
export interface Alike {
  readonly epoch: number
  readonly queue: string
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  readonly lines: ReadonlyMap<string, Lane>
}

/** What jobs of a line have in common besides, where their queue limits keys: it, and what they are counted as by it. */
export interface Lane {
  readonly key: string | null
  readonly name: string
}

/** What a turn need not look for. */
export interface Known {
  readonly lines: ReadonlyArray<Position>
  readonly alike: Alike | undefined
}

/** Where a job waits. */
export interface Position {
  readonly line: string
  readonly priority: number
  readonly rank: number
  readonly seq: number
}

type Row = ReadonlyArray<any>
type Rows = ReadonlyArray<Row>

export const placeholders = (n: number, from = 1): string =>
  Array.from({ length: n }, (_, i) => `$${from + i}`).join(", ")

// ─── parameters

export const float = (value: number | null): PgTypes.Parameter => PgTypes.float8(value)
export const text = (value: string | undefined): PgTypes.Parameter => PgTypes.text(value ?? null)
export const json = (value: unknown): PgTypes.Parameter => PgTypes.jsonb(value)
/** Infinity is none; null leaves it as it is. */
export const bound = (value: Limit | undefined): PgTypes.Parameter =>
  float(value === undefined ? null : value === "unbounded" ? Infinity : value)
/** An id that is none of ours is nobody's. */
export const workerId = (worker: string): bigint => isSeq(worker) ? BigInt(worker) : -1n

const arrayOf = (oid: number) => (values: ReadonlyArray<unknown> | undefined): PgTypes.Parameter =>
  Result.getOrThrow(PgTypes.array(values ?? null, oid))
export const texts = arrayOf(PgTypes.OID.text)
export const floats = arrayOf(PgTypes.OID.float8)
const ints = arrayOf(PgTypes.OID.int4)
const bigints = arrayOf(PgTypes.OID.int8)

const isSeq = (id: string): boolean => /^[1-9]\d{0,17}$/.test(id)

/** Nothing at all where none has it. */
const column = <A>(jobs: ReadonlyArray<A>, f: (job: A) => unknown): ReadonlyArray<unknown> | undefined => {
  let some: Array<unknown> | undefined
  for (let i = 0; i < jobs.length; i++) {
    const value = f(jobs[i]!)
    if (value !== undefined && value !== null) {
      ;(some ??= Array.from<unknown>({ length: jobs.length }).fill(null))[i] = value
    }
  }
  return some
}

const MOST_CRASHES = 2 ** 31 - 1

export const enqueueParams = (jobs: ReadonlyArray<NewJob>): ReadonlyArray<unknown> => {
  const shapes: Array<unknown> = []
  const known = new Map<string, number>()
  const shape = jobs.map(({ delivery, maxCrashes, name, priority, queue, tags, weight }) => {
    const one = [queue, name, tags, weight, priority, delivery === "atMostOnce", Math.min(maxCrashes, MOST_CRASHES)]
    const key = JSON.stringify(one)
    const at = known.get(key) ?? shapes.push(one) - 1
    known.set(key, at)
    return at
  })
  return [
    json(shapes),
    ints(shape),
    texts(jobs.map(({ payload }) => payload)),
    texts(column(jobs, ({ key }) => key)),
    texts(column(jobs, ({ id }) => id)),
    texts(column(jobs, ({ trace }) => trace)),
    floats(column(jobs, ({ due }) => due && "in" in due ? due.in : null)),
    floats(column(jobs, ({ due }) => due && "at" in due ? due.at : null)),
    floats(column(jobs, ({ expires }) => expires && "in" in expires ? expires.in : null)),
    floats(column(jobs, ({ expires }) => expires && "at" in expires ? expires.at : null)),
    texts(column(jobs, ({ unique }) => unique?.key)),
    floats(column(jobs, ({ unique }) => unique && whileOf(unique.while))),
    texts(column(jobs, ({ unique }) => unique?.conflict))
  ]
}

const whileOf = (span: NonNullable<NewJob["unique"]>["while"]): number =>
  span === "waiting" ? -1 : span === "active" ? -2 : Math.max(0, span.window)

/** Somebody else came first: to be asked again. */
export const again = Symbol("again")

export const enqueued = (
  rows: Rows
): Effect.Effect<ReadonlyArray<Enqueued>, typeof again | QueueFullError | DuplicateKeyError> => {
  const [key, what, detail] = rows[0]!
  switch (what) {
    case "again":
      return Effect.fail(again)
    case "full":
      return Effect.fail(new QueueFullError({ queue: key, maxQueued: Number(detail) }))
    case "id":
    case "unique":
      return Effect.fail(new DuplicateKeyError({ field: what, key, job: detail }))
    default:
      return Effect.succeed(rows.map(([id, as]) => ({ id, as })))
  }
}

/** Of a turn that put jobs in first, what became of those: the last columns of its last row, or what was claimed, where that is all of them. */
export const enqueuedWith = (rows: Rows): Rows => {
  const [ids, whats, details] = rows[rows.length - 1]!.slice(-3) as [ReadonlyArray<string> | null, Row, Row]
  if (ids === null) return rows.slice(0, -1).sort((a, b) => a[SEQ] - b[SEQ]).map(([id]) => [id, "new", null])
  return ids.map((id, i) => [id, whats[i], details[i]])
}

/** `given`: ids that look as if they were not. */
export const turnParams = (
  { ends, epoch = 0, filter, holds, want, worker }: Turn,
  keep: ReadonlyArray<number>,
  given: ReadonlySet<string>,
  view: Known | undefined
): ReadonlyArray<unknown> => {
  // Of two ends of one job the first that fits is the one that counts: they are looked at one by one.
  const isPlain = new Set(ends.map(({ id }) => id)).size === ends.length
  const ok: Array<Extract<End, { _tag: "Succeeded" }>> = []
  const other: Array<End> = []
  for (const end of ends) {
    if (isPlain && end._tag === "Succeeded") ok.push(end)
    else other.push(end)
  }
  const asGiven = (id: string): boolean => !isSeq(id) || given.has(id)
  const ids = (some: ReadonlyArray<End>) =>
    [
      bigints(some.length === 0 ? undefined : some.map(({ id }) => asGiven(id) ? 0n : BigInt(id))),
      texts(column(some, ({ id }) => asGiven(id) ? id : null))
    ] as const
  return [
    workerId(worker),
    float(epoch),
    ...ids(ok),
    ints(ok.map(({ token }) => token)),
    texts(column(ok, ({ result }) => result)),
    ...ids(other),
    ints(other.map(({ token }) => token)),
    texts(other.map(({ _tag }) => _tag)),
    floats(other.map((end) => end._tag === "Retry" ? end.after : null)),
    texts(other.map((end) => end._tag === "Dead" ? end.reason : end._tag === "Succeeded" ? end.result ?? null : null)),
    texts(other.map((end) => "error" in end && end.error !== undefined ? JSON.stringify(end.error) : null)),
    texts(holds),
    PgTypes.int4(want),
    texts(filter.queues),
    texts(filter.tags),
    float(filter.priorities?.from ?? null),
    float(filter.priorities?.to ?? null),
    texts(filter.names),
    floats(keep),
    bigints(view?.lines.map(({ line }) => BigInt(line))),
    floats(view?.lines.map(({ priority }) => priority)),
    floats(view?.lines.map(({ rank }) => rank)),
    floats(view?.lines.map(({ seq }) => seq)),
    PgTypes.int4(view?.alike?.epoch ?? null),
    text(view?.alike?.queue),
    texts(view?.alike?.tags),
    float(view?.alike?.weight ?? null),
    texts(view?.alike && view.lines.map(({ line }) => view.alike!.lines.get(line)!.name))
  ]
}

// ─── what comes back

/** Where the columns of a claimed job are, by which these are put in order, and where those begin that say how the turn was. */
const [KEY, PRIORITY, RANK, SEQ, OF_TURN] = [6, 7, 15, 16, 17] as const

/** What a turn has found, and seen on its way. `undefined`: the lease has ended. */
export const turned = (rows: Rows, given: Set<string>): (Turned & Seen) | undefined => {
  const ofTurn = rows[rows.length - 1]!.slice(OF_TURN)
  const [refused, cancelled, next, alive, looked, dueIn, lines, priorities, ranks, seqs, still] = ofTurn
  const [epoch, queue, tags, weight, keys, names] = ofTurn.slice(11)
  if (!alive) return undefined
  const order = rows.slice(0, -1).sort((a, b) => a[PRIORITY] - b[PRIORITY] || a[RANK] - b[RANK] || a[SEQ] - b[SEQ])
  for (const row of order) if (isSeq(row[0]) && Number(row[0]) !== row[SEQ]) given.add(row[0])
  const heads = ((lines ?? []) as ReadonlyArray<string>).map((line, i) => ({
    line,
    priority: priorities[i],
    rank: ranks[i],
    seq: seqs[i]
  }))
  return {
    jobs: order.map(claimed),
    refused: refused ?? [],
    cancelled: cancelled ?? [],
    next: next ?? undefined,
    looked: looked ?? undefined,
    dueIn: dueIn ?? undefined,
    heads,
    isStale: still === false,
    passed: still
      ? order.map((row) => ({ key: row[KEY], priority: row[PRIORITY], rank: row[RANK], seq: row[SEQ] }))
      : undefined,
    alike: epoch === null ? undefined : {
      epoch,
      queue,
      tags,
      weight,
      lines: new Map(heads.map(({ line }, i) => [line, { key: keys[i], name: names[i] }]))
    }
  }
}

export interface Seen {
  /** How long it looked, in milliseconds, if it did. */
  readonly looked: number | undefined
  readonly dueIn: number | undefined
  readonly heads: ReadonlyArray<Position>
  /** Something may be anywhere. */
  readonly isStale: boolean
  /** Set where what was known still holds: what was claimed, in order. */
  readonly passed: ReadonlyArray<Omit<Position, "line"> & { readonly key: string | null }> | undefined
  readonly alike: Alike | undefined
}

const claimed = (
  [id, token, name, payload, queue, tags, key, priority, weight, once, attempt, errors, enqueuedAt, dueAt, trace]: Row
): Claimed => ({
  id,
  token,
  name,
  payload,
  queue,
  tags,
  key: key ?? undefined,
  priority,
  weight,
  delivery: deliveryOf(once),
  attempt,
  errors: errorsOf(errors),
  enqueuedAt,
  dueAt,
  trace: trace ?? undefined
})

const deliveryOf = (once: boolean) => once ? "atMostOnce" as const : "atLeastOnce" as const
const errorsOf = (errors: ReadonlyArray<string>): ReadonlyArray<AttemptError> =>
  errors.map((error) => JSON.parse(error))

/** The SQLSTATE of an error, whatever it is wrapped in. */
export const stateOf = (error: unknown): string | undefined => {
  for (let one: any = error, depth = 0; one && depth < 6; one = one.cause ?? one.reason, depth++) {
    if (typeof one.code === "string") return one.code
  }
  return undefined
}

/** The server says that nothing was done. (EPIPE and its like are no words of its; those of classes 08 and 57 may come after the commit.) */
export const isUndone = (error: unknown): boolean => /^(?!08|57|E)[0-9A-Z]{5}$/.test(stateOf(error) ?? "")

// ─── what can be seen

const shared =
  "name, queue, tags, key, priority, weight, payload, once, attempt, crashes, errors, enqueued, due, expires, claimed, seq, id, state"

/** What lives and what has ended. */
export const both = (s: string): string =>
  `select ${shared}, worker, null::float8 ended, null::text reason, null::text result from ${s}.job
   union all select ${shared}, null, ended, reason, result from ${s}.ended`

export const recordColumns =
  "coalesce(id, seq::text), name, state, queue, tags, key, priority, weight, payload, once, attempt, crashes, errors, enqueued, due, expires, worker::text, claimed, ended, reason, result"

const states: ReadonlyArray<JobState> = ["Scheduled", "Waiting", "Active", "Succeeded", "Dead", "Cancelled"]

export const record = (row: Row): JobRecord => {
  const [id, name, state, queue, tags, key, priority, weight, payload, once, attempt, crashes, errors] = row
  const [enqueuedAt, dueAt, expiresAt, worker, claimedAt, endedAt, reason, result] = row.slice(13)
  return {
    id,
    name,
    state: states[state]!,
    queue,
    tags,
    key: key ?? undefined,
    priority,
    weight,
    payload,
    delivery: deliveryOf(once),
    attempt,
    crashes,
    errors: errorsOf(errors),
    enqueuedAt,
    dueAt,
    expiresAt: expiresAt ?? undefined,
    worker: worker ?? undefined,
    claimedAt: claimedAt ?? undefined,
    endedAt: endedAt ?? undefined,
    reason: (reason ?? undefined) as DeadReason | undefined,
    result: result ?? undefined
  }
}

/** The newest of each table, then of both. */
export const listText = (s: string): string => {
  const of = (table: string, own: string) =>
    `(select ${shared}, ${own} from ${s}.${table} where ($1::int[] is null or state = any($1)) and ($2::text is null or queue = $2)
      and ($3::text is null or name = $3) and ($4::text[] is null or tags && $4) and ($5::text is null or key = $5)
      and ($6::text is null or seq < (select b from before)) order by seq desc limit $7)`
  return `with before as materialized (
      select coalesce(${s}.find($6), case when $6 ~ '^[0-9]{1,18}$' then $6::bigint else 0 end) b
    )
    select ${recordColumns} from (${of("job", "worker, null::float8 ended, null::text reason, null::text result")}
      union all ${of("ended", "null, ended, reason, result")}) j order by seq desc limit $7`
}

export const listParams = (filter: ListFilter = {}): ReadonlyArray<unknown> => [
  ints(filter.states?.map((state) => states.indexOf(state))),
  text(filter.queue),
  text(filter.name),
  texts(filter.tags),
  text(filter.key),
  text(filter.before),
  Math.min(filter.limit ?? 100, 2 ** 31 - 1)
]

export const countsText = (s: string): string =>
  `with n as (select queue, state, count(*)::float8 n from (select queue, state from ${s}.job union all select queue, state from ${s}.ended) j group by 1, 2),
  q as (select * from ${s}.queue where paused is not null or is_bounded or is_capped)
  select coalesce(n.queue, q.name), coalesce(q.paused, false), coalesce(q.is_bounded, false), q.max_queued, coalesce(q.is_capped, false), q.key_limit,
    ${[0, 1, 2, 3, 4, 5].map((i) => `coalesce(sum(n.n) filter (where n.state = ${i}), 0)`).join(", ")}
  from n full join q on q.name = n.queue group by 1, 2, 3, 4, 5, 6 order by 1`

export const counts = (
  [queue, paused, isBounded, max, isCapped, cap, scheduled, waiting, active, succeeded, dead, cancelled]: Row
): QueueCounts => ({
  queue,
  paused,
  maxQueued: isBounded ? max ?? "unbounded" : undefined,
  keyLimit: isCapped ? cap ?? "unbounded" : undefined,
  scheduled,
  waiting,
  active,
  succeeded,
  dead,
  cancelled
})

export const workersText = (s: string): string =>
  `select w.id::text, name, joined, expires, (select count(*) from ${s}.job where worker = w.id and state = 2)::float8
   from (select id, name, joined, ${s}.lease_end(expires, lasts) expires from ${s}.worker) w where expires > ${s}.clock() order by w.id`

export const worker = ([id, name, joinedAt, expiresAt, active]: Row): WorkerRecord => ({
  id,
  name,
  joinedAt,
  expiresAt,
  active
})

export const limitsText = (s: string): string =>
  `with t as materialized (select ${s}.clock() now),
  w as (select id from ${s}.worker, t where expires > now or ${s}.lease_end(expires, lasts) > now)
  select l.tag, "limit", rates, enabled, case when paused_until > now then paused_until end,
    (select array_agg(${s}.credit_of(r, b.credit[i], b.at, now) / (r->>'per')::float8 order by i) from jsonb_array_elements(rates) with ordinality e(r, i)),
    h.holders
  from t cross join ${s}.tag_limit l
    left join lateral (select credit, at from ${s}.bucket b where b.tag = l.tag order by n desc limit 1) b on true
    left join lateral (
      select jsonb_agg(jsonb_build_array(${s}.id_of(j.id, j.seq), j.name, j.weight, j.worker::text, j.claimed) order by j.claimed, j.seq) holders
      from ${s}.job j where state = 2 and limited and l.tag = any(j.tags) and j.worker in (select id from w)
    ) h on true
  where declared or paused_until > now order by l.tag`

export const limit = ([tag, limit, rates, enabled, pausedUntil, available, held]: Row): StoredLimitInfo => {
  const holders = ((held ?? []) as Rows).map(([job, name, weight, worker, since]) => ({
    job,
    name,
    weight,
    worker,
    since
  }))
  return {
    tag,
    limit: limit ?? "unbounded",
    rates,
    enabled,
    active: holders.reduce((sum, { weight }) => sum + weight, 0),
    holders,
    available: available ?? [],
    pausedUntil: pausedUntil ?? undefined
  }
}
