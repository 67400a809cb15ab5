/**
 * Worker processes that share a store and come to grief: none of the jobs is lost, none ends by the word of who had lost it, and no more run
 * at once than may, as the jobs themselves tell it. `npm run test:chaos` for longer, and with the throughput before and after.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { JobQueue, JobStorePostgres, JobStoreSqlite } from "../src/queue/index.ts"
import { Beat, now, tag } from "./fixtures/chaos-job.ts"
import { Chaos, type Process, type Proxy, proxyTo } from "./fixtures/chaos.ts"
import * as Postgres from "./suites/Postgres.ts"
import { eventually } from "./suites/Processes.ts"
import * as Random from "./suites/Random.ts"

const isLong = process.env["CHAOS"] === "long"
const random = Random.make(Random.seedOf("chaos.test.ts"))

/** Three workers want nine, and two of them six: none starves. */
const limit = 7
const lease = 1_000
/** Of a job, in milliseconds. Long ones leave the machine idle enough to compare. */
const millis = isLong ? 200 : 25
/** How long the workers are watched before and after, in the long run: so many times, and the best counts. */
const watch = 4_000
const watches = 3

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-chaos-"))
let server: Postgres.Server
beforeAll(async () => {
  server = await Postgres.startServer(fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-chaos-pg-")), {
    max_connections: "60"
  })
})
afterAll(async () => {
  await server?.remove()
  fs.rmSync(folder, { recursive: true, force: true })
})

interface Scene {
  readonly chaos: Chaos
  readonly workers: Array<Process>
  readonly admin: (sql: string) => Promise<void>
  readonly proxy: Proxy
  /** Its folder. */
  readonly own: string
}

let scenes = 0

/** Workers busy with more jobs than they can do meanwhile, a mishap, and what came of it. */
const play = async (
  options: {
    readonly sqlite?: boolean
    readonly pool?: number
    readonly workers: number
    readonly jobs: number
    readonly limit?: number
  },
  mishap: (scene: Scene) => Promise<void>
): Promise<void> => {
  const schema = `chaos_${++scenes}`
  const own = path.join(folder, schema)
  fs.mkdirSync(own)
  const url = options.sqlite === true ? path.join(own, "jobs.db") : server.url
  const most = options.limit ?? limit
  const tagLimits = { [tag]: most }
  const store = options.sqlite === true
    ? JobStoreSqlite.layer({ filename: url, tagLimits })
    : JobStorePostgres.layer({ schema, tagLimits }).pipe(
      Layer.provideMerge(PgClient.layer({ url: Redacted.make(url), maxConnections: 2 }))
    )
  const runtime = ManagedRuntime.make(
    JobQueue.layer().pipe(Layer.provideMerge(store), Layer.provide(Logger.layer([])))
  )
  const proxy = await proxyTo(server.url)
  const chaos = new Chaos(own, {
    url: options.sqlite === true ? url : proxy.url,
    schema,
    lease,
    concurrency: 3,
    ...(options.pool === undefined ? {} : { pool: { size: options.pool, taken: path.join(own, "taken") } })
  })
  const admin = (sql: string) =>
    Effect.runPromise(
      Effect.asVoid(Effect.flatMap(PgClient.PgClient, (pg) => pg.unsafe(sql))).pipe(
        Effect.provide(PgClient.layer({ url: Redacted.make(server.url), maxConnections: 1 }))
      )
    )
  try {
    const { jobs } = options
    const added = await runtime.runPromise(Beat.enqueueAll(Array.from({ length: jobs }, () => ({ millis }))))
    const ids = added.map(({ id }) => id)
    const workers = Array.from({ length: options.workers }, () => chaos.start())
    const atWork = () => new Set(chaos.runs().map((run) => run.process)).size
    await eventually("all are at work", () => atWork() === workers.length, 30_000)
    /** The best: who else is on the machine is not to be measured. */
    const throughput = async () => {
      const from = now()
      await sleep(watches * watch)
      const counts = Array.from({ length: watches }, (_, i) => chaos.ended(from + i * watch, from + (i + 1) * watch))
      return Math.max(...counts)
    }
    const before = isLong ? await throughput() : 0
    await mishap({ chaos, workers, admin, proxy, own })
    if (isLong) {
      // A store that does not answer is given up after ten leases, and its connection 5 seconds later.
      await sleep(12 * lease + 8_000)
      const after = await throughput()
      console.log(`${schema}: ${before} in ${watch} ms before, ${after} after`)
      assert.isBelow(chaos.ended(), jobs, "there is still work")
      assert.isAbove(after, 0.95 * before)
    }
    const isDone = Effect.map(
      JobQueue.counts,
      (counts) => counts.every(({ active, waiting }) => active + waiting === 0)
    )
    const patience = now() + 30_000 + jobs * millis
    while (!await runtime.runPromise(Effect.orElseSucceed(isDone, () => false))) {
      assert.isBelow(now(), patience, `not all end:\n${[...chaos.live].map((one) => one.stderr()).join("\n")}`)
      await sleep(50)
    }
    await chaos.killAll()
    const records = await runtime.runPromise(JobQueue.list({ limit: jobs }))
    const again = chaos.verify(ids, records, most)
    console.log(`${schema}: ${jobs} jobs, ${again} runs more than jobs`)
  } finally {
    await chaos.killAll()
    await runtime.dispose()
    proxy.close()
  }
}

type Mishap = (scene: Scene, times: number) => Promise<void>

const mishaps = {
  /** Another takes the place of who is killed. */
  "killed at random instants": async ({ chaos, workers }, times) => {
    for (let i = 0; i < times; i++) {
      await sleep(random.int(50, 1_000))
      const victim = random.int(0, workers.length - 1)
      await workers[victim]!.kill()
      workers[victim] = chaos.start()
    }
  },
  "stopped for longer than their lease lasts": async ({ workers }, times) => {
    for (let i = 0; i < times; i++) {
      await random.pick(workers).stall(lease + random.int(200, 1_000))
      await sleep(random.int(0, 500))
    }
  },
  "without their server, which is restarted or crashes": async (_, times) => {
    for (let i = 0; i < times; i += 3) {
      await server.stop(i % 2 === 0 ? "immediate" : "fast")
      await sleep(random.int(0, 1_000) * Math.min(times, 3))
      await server.start()
      await sleep(1_000)
    }
  },
  "without their backends, which are terminated": async ({ admin }, times) => {
    for (let i = 0; i < times; i++) {
      await sleep(random.int(50, 400))
      await admin("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chaos'")
    }
  },
  "at connections that are dead and do not know it": async ({ proxy }, times) => {
    for (let i = 0; i < times; i += 3) {
      proxy.silence()
      await sleep(random.int(200, 1_000) * Math.min(times, 3))
      proxy.heal()
      await sleep(1_000)
    }
  },
  "at a server that has no connection left": async ({ admin }, times) => {
    const greedy = Effect.forEach(Array.from({ length: 60 }), () => {
      const sleeping = Effect.flatMap(PgClient.PgClient, (pg) => pg`select pg_sleep(${times > 1 ? 5 : 1})`)
      const own = PgClient.layer({ url: Redacted.make(server.url), maxConnections: 1 })
      return Effect.ignore(Effect.provide(sleeping, Layer.fresh(own)))
    }, { concurrency: "unbounded" })
    await admin("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'chaos'")
    await Effect.runPromise(greedy)
  }
} satisfies Record<string, Mishap>

describe("chaos on PostgreSQL: workers", { skip: !isLong }, () => {
  for (const [what, mishap] of Object.entries<Mishap>(mishaps)) {
    it(what, () => play({ jobs: 3_000, workers: 3 }, (scene) => mishap(scene, 10)), 600_000)
  }
  it(
    "whose jobs take the connections of their pool",
    () =>
      play({ jobs: 3_000, workers: 3, pool: 3 }, async ({ admin, own }) => {
        fs.writeFileSync(path.join(own, "taken"), "")
        await sleep(10_000)
        await admin(`do $$ begin
          for i in 1..500 loop
            perform pg_stat_clear_snapshot();
            if 3 <= (select count(*) from pg_stat_activity where application_name = 'chaos' and state = 'idle in transaction') then return; end if;
            perform pg_sleep(0.01);
          end loop;
          raise 'no job holds a connection';
        end $$`)
        fs.rmSync(path.join(own, "taken"))
      }),
    600_000
  )
})

it(
  "four processes on one PostgreSQL share the work: each has some, and all is done",
  () => play({ jobs: isLong ? 4_500 : 1_500, workers: 4, limit: 11 }, async () => {}),
  300_000
)

it(
  "chaos on PostgreSQL: one thing after another",
  () =>
    play({ jobs: isLong ? 3_000 : 2_000, workers: 3 }, async (scene) => {
      for (const mishap of Object.values<Mishap>(mishaps)) await mishap(scene, 1)
    }),
  300_000
)

it(
  "chaos on SQLite: workers killed at random instants",
  () =>
    play(
      { jobs: isLong ? 3_000 : 500, workers: 3, sqlite: true },
      (scene) => mishaps["killed at random instants"](scene, isLong ? 30 : 3)
    ),
  300_000
)
