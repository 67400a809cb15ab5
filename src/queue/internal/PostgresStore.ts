/** The PostgreSQL store: what of it is no SQL. Loaded when the Layer is built, as not everybody has `@effect/sql-pg`. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { SqlError } from "effect/sql/SqlError"
import { InvalidOptionError, orDie } from "../../InvalidOptionError.ts"
import { Batch } from "./PostgresBatch.ts"
import { keeperOptions } from "./PostgresKeeper.ts"
import { Listening } from "./PostgresListen.ts"
import * as Rows from "./PostgresRows.ts"
import * as Schema from "./PostgresSchema.ts"
import { View } from "./PostgresView.ts"
import { checkMillis, checkStoreOptions, type StoreOptions } from "./StoreOptions.ts"
import { JobStoreError, LeaseEndedError, type NewJob, type Store } from "./StorePort.ts"

export interface Options extends StoreOptions {
  /** Where its tables are. Default `"tasklayer"`. */
  readonly schema?: string | undefined
  /** Whether it applies its migrations by itself when the Layer is built. Default true. */
  readonly migrate?: boolean | undefined
  /** How often who waits looks by himself, as a notification may be lost. Default 15 seconds. */
  readonly poll?: Duration.Input | undefined
}

export const make = Effect.fnUntraced(function*(options?: Options) {
  const schema = options?.schema ?? Schema.defaultSchema
  const { limits, poll, queues, retention } = yield* orDie(() => {
    if (typeof schema !== "string" || schema === "" || schema.length > 63) {
      const rule = "must be a name of 1 to 63 characters"
      throw new InvalidOptionError({ where, field: "schema", rule, value: schema })
    }
    const poll = Duration.millis(checkMillis(where, "poll", options?.poll ?? "15 seconds"))
    return { poll, ...checkStoreOptions(where, options) }
  })
  const pg = yield* PgClient.PgClient
  if (options?.migrate !== false) yield* Effect.mapError(migrate(pg, schema), failed("migrate"))
  const s = Schema.quote(schema)
  const keep = [retention.succeeded, retention.dead, retention.cancelled]
  const [[channel]] = (yield* Effect.mapError(
    pg.unsafe(`select 'tasklayer:' || hashtext($1)`, [s]).values,
    failed("connect")
  )) as [[string]]
  const view = new View()
  const listening = new Listening(pg, channel, poll, view)
  const keeper = keeperOptions(schema, pg.config)

  const rows = (operation: string, text: string, params: ReadonlyArray<unknown>) =>
    Effect.mapError(
      pg.unsafe(text, params).values.pipe(
        // Of two in each other's way one was undone: it is as if it had not been.
        Effect.retry({ times: 5, while: (error) => Rows.stateOf(error) === "40P01" }),
        Effect.onError(() => Effect.sync(listening.doubt))
      ),
      failed(operation)
    )
  const value = <A>(operation: string, text: string, params: ReadonlyArray<unknown>) =>
    Effect.map(rows(operation, text, params), ([row]) => row?.[0] as A)

  const given = new Set<string>()
  const enqueueText = `select * from ${s}.enqueue(${Rows.placeholders(13)})`
  const turnText = `select * from ${s}.turn(${Rows.placeholders(30)})`
  const bothText = `select * from ${s}.enqueue_and_turn(${Rows.placeholders(43)})`

  const isInTransaction = Effect.map(Effect.serviceOption(pg.transactionService), Option.isSome)
  const put = (jobs: ReadonlyArray<NewJob>) => {
    const params = Rows.enqueueParams(jobs)
    return Effect.flatMap(rows("enqueue", enqueueText, params), Rows.enqueued).pipe(
      Effect.retry({ times: 20, while: (error) => error === Rows.again }),
      Effect.catchIf(
        (error) => error === Rows.again,
        () => Effect.fail(failed("enqueue")(new Error("a unique key changed hands too often")))
      )
    ) as ReturnType<Store["enqueue"]>
  }
  /** What was to be asked again is, by itself. */
  const settled = (jobs: ReadonlyArray<NewJob>, enqueued: ReturnType<typeof Rows.enqueued>) =>
    Effect.catchIf(enqueued, (error) => error === Rows.again, () => put(jobs)) as ReturnType<Store["enqueue"]>
  const batch = new Batch({
    put,
    turn: (params) => rows("turn", turnText, params),
    putAndTurn: (jobs, params) =>
      Effect.flatMap(
        rows("turn", bothText, [...Rows.enqueueParams(jobs), ...params]),
        (turned) =>
          Effect.map(Effect.exit(settled(jobs, Rows.enqueued(Rows.enqueuedWith(turned)))), (put) => ({ put, turned }))
      ),
    isUndone: ({ cause }) => Rows.isUndone(cause),
    wake: listening.wake,
    isAlone: () => listening.isAlone
  })

  const store: Store = {
    kind,
    isInTransaction,
    enqueue: (jobs) => {
      if (jobs.length === 0) return Effect.succeed([])
      if (jobs.length > mostTogether || jobs.some(({ id, unique }) => id !== undefined || unique !== undefined)) {
        return put(jobs)
      }
      return Effect.flatMap(isInTransaction, (is) => is ? put(jobs) : batch.enqueue(jobs))
    },
    join: ({ lease, name }) =>
      Effect.map(rows("join", `select * from ${s}.join_lease($1, $2)`, [name, Rows.float(lease)]), ([row]) => ({
        worker: row![0] as string,
        lasts: row![1] as number,
        sweepIn: (row![2] ?? undefined) as number | undefined
      })),
    renew: (worker) =>
      Effect.flatMap(
        rows("renew", `select * from ${s}.renew_lease($1)`, [Rows.workerId(worker)]),
        ([row]) =>
          row![0] === null
            ? Effect.fail(new LeaseEndedError({ worker }))
            : Effect.succeed({
              worker,
              lasts: row![0] as number,
              sweepIn: (row![1] ?? undefined) as number | undefined
            })
      ),
    turn: (turn) =>
      Effect.suspend(() => {
        const began = performance.now()
        const known = view.begin(listening.isHearing, began)
        return batch.turn(turn.worker, Rows.turnParams(turn, keep, given, known)).pipe(
          Effect.onError(() => Effect.sync(() => view.abandon())),
          Effect.catchIf(
            ({ cause }) => Rows.stateOf(cause) === "TL005",
            () => Effect.fail(new LeaseEndedError({ worker: turn.worker }))
          ),
          Effect.flatMap((rows) => {
            const turned = Rows.turned(rows, given)
            if (turned === undefined) {
              view.abandon()
              return Effect.fail(new LeaseEndedError({ worker: turn.worker }))
            }
            const { cancelled, jobs, next = Infinity, refused } = turned
            // Who puts something in waits for a turn that is as quick as this one was.
            if (jobs.length < turn.want && performance.now() - began < quick) batch.waits(turn.worker)
            const soonest = Math.min(next, view.end(turned, performance.now(), known) ?? Infinity)
            return Effect.succeed({ cancelled, jobs, refused, next: soonest === Infinity ? undefined : soonest })
          })
        )
      }),
    leave: (worker) =>
      Effect.asVoid(rows("leave", `select ${s}.leave_lease($1, $2)`, [Rows.workerId(worker), Rows.floats(keep)])),
    sweep: value("sweep", `select ${s}.sweep($1)`, [Rows.floats(keep)]),
    listen: (wake) => listening.listen(wake),
    keeper: keeper &&
      { module: new URL(`./PostgresKeeper${extension}`, import.meta.url).href, options: keeper },

    get: (id) =>
      Effect.map(
        rows(
          "get",
          `select ${Rows.recordColumns} from (${Rows.both(s)}) j where seq = ${s}.find($1)`,
          [id]
        ),
        ([row]) => Option.map(Option.fromUndefinedOr(row), Rows.record)
      ),
    list: (filter) =>
      Effect.map(rows("list", Rows.listText(s), Rows.listParams(filter)), (rows) => rows.map(Rows.record)),
    counts: Effect.map(rows("counts", Rows.countsText(s), []), (rows) => rows.map(Rows.counts)),
    workers: Effect.map(rows("workers", Rows.workersText(s), []), (rows) => rows.map(Rows.worker)),
    cancel: (id) => value("cancel", `select ${s}.cancel($1, $2)`, [id, Rows.floats(keep)]),
    redrive: ({ ids, name, queue, reason }) =>
      value("redrive", `select ${s}.redrive($1, $2, $3, $4)`, [
        Rows.texts(ids),
        Rows.text(queue),
        Rows.text(name),
        Rows.text(reason)
      ]),
    prune: Effect.gen(function*() {
      let pruned = 0
      while (true) {
        const batch = yield* value<number>("prune", `select ${s}.prune($1)`, [Rows.floats(keep)])
        pruned += batch
        if (batch < 1000) return pruned
      }
    }),
    setLimit: ({ enabled, limit, rates, tag }, ifAbsent) =>
      Effect.asVoid(rows("setLimit", `select ${s}.set_limit($1, $2, $3, $4, $5)`, [
        tag,
        limit === "unbounded" ? Rows.float(null) : Rows.float(limit),
        Rows.json(rates),
        enabled,
        ifAbsent?.ifAbsent ?? false
      ])),
    pauseLimit: (tag, millis) =>
      Effect.asVoid(rows("pauseLimit", `select ${s}.pause_limit($1, $2)`, [tag, Rows.float(millis)])),
    limits: Effect.map(rows("limits", Rows.limitsText(s), []), (rows) => rows.map(Rows.limit)),
    removeLimit: (tag) => value("removeLimit", `select ${s}.remove_limit($1)`, [tag]),
    setQueue: (name, { keyLimit, maxQueued, paused }, ifAbsent) =>
      Effect.asVoid(rows("setQueue", `select ${s}.set_queue($1, $2, $3, $4, $5)`, [
        name,
        paused ?? null,
        Rows.bound(maxQueued),
        Rows.bound(keyLimit),
        ifAbsent?.ifAbsent ?? false
      ]))
  }
  for (const limit of limits) yield* store.setLimit(limit, { ifAbsent: true })
  for (const [name, settings] of queues) yield* store.setQueue(name, settings, { ifAbsent: true })
  return store
})

const where = "JobStorePostgres.layer"
const kind = "postgres"
/** In milliseconds. */
const quick = 5
/** More at once go in by themselves, and keep nobody waiting. */
const mostTogether = 100
const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js"

/** With what the server said, where it said something. */
const failed = (operation: string) => (cause: unknown) =>
  new JobStoreError({ kind, operation, cause: cause instanceof SqlError ? cause.reason.cause ?? cause : cause })

/** One process at a time, and each version once, all or none. */
const migrate = (pg: PgClient.PgClient, schema: string): Effect.Effect<void, SqlError> => {
  const s = Schema.quote(schema)
  const applied = Effect.map(
    pg.unsafe(`select to_regclass($1) is not null`, [`${s}.migration`]).values,
    ([row]) => row![0] as boolean
  ).pipe(Effect.flatMap((is) =>
    is
      ? Effect.map(pg.unsafe(`select version from ${s}.migration`).values, (rows) => rows.map(([version]) => version))
      : Effect.succeed([])
  ))
  const all = Schema.migrations(schema)
  const missing = Effect.map(applied, (versions) => all.filter(({ version }) => !versions.includes(version)))
  return Effect.flatMap(missing, (some) =>
    some.length === 0 ? Effect.void : pg.withTransaction(Effect.gen(function*() {
      yield* pg.unsafe(`select pg_advisory_xact_lock(${Schema.migrationLock(schema)}, 0)`).values
      yield* pg.unsafe(Schema.atOnce(Schema.preamble(schema))).valuesUnprepared
      for (const { sql } of yield* missing) yield* pg.unsafe(Schema.atOnce(sql)).valuesUnprepared
    })))
}
