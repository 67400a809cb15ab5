/** I want the e-mail of an order to be sent if and only if the order is there, whatever fails in between. */
import { Effect, Layer, ManagedRuntime, Result, Schema } from "effect"
import { SqlClient } from "effect/sql"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Job, JobRunner, Scheduler } from "../src/index.ts"
import { JobQueue, JobStoreSqlite, JobWorker } from "../src/queue/index.ts"

const Confirm = Job.make("confirm", { payload: { order: Schema.Int } })
const confirmed: Array<number> = []
const confirm = Confirm.toLayer(({ order }) => Effect.sync(() => void confirmed.push(order)))

// With PostgreSQL: JobStorePostgres.layer(), and the PgClient you have.
const store = JobStoreSqlite.layer({ filename: ":memory:" })
const worker = JobWorker.layer({ gracePeriod: "1 second" }).pipe(
  Layer.provide(Layer.mergeAll(confirm, JobRunner.layerLocal)),
  Layer.provide(Scheduler.layer({ maxParallelism: 4 }))
)
const runtime = ManagedRuntime.make(Layer.mergeAll(JobQueue.layer(), worker).pipe(Layer.provideMerge(store)))

await runtime.runPromise(SqlClient.SqlClient.use((sql) => sql`CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)`))

const order = (item: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    return yield* sql.withTransaction(Effect.gen(function*() {
      const [row] = yield* sql<{ readonly id: number }>`INSERT INTO orders (item) VALUES (${item}) RETURNING id`
      yield* Confirm.enqueue({ order: row!.id })
      // What comes after may still fail: the order is gone then, and the mail was never there.
      return item === "unicorn" ? yield* Effect.fail("sold out") : row!.id
    }))
  })

const server = createServer(async (request, response) => {
  const result = await runtime.runPromise(Effect.result(order(request.url!.slice(1))))
  response.writeHead(Result.isSuccess(result) ? 201 : 409).end(
    Result.isSuccess(result) ? `order ${result.success}` : String(result.failure)
  )
}).listen(0, "127.0.0.1")
await once(server, "listening")

for (const item of ["nail", "unicorn", "hammer"]) {
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${item}`, { method: "POST" })
  console.log(item, response.status, await response.text())
}
await runtime.runPromise(JobWorker.awaitIdle)
console.log("confirmed:", confirmed)
server.close()
await runtime.dispose()
