/** I want a long report to go on where it was when its process is killed. */
import { Effect, Layer, Schema } from "effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs/promises"
import { availableParallelism, tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { Job, JobRunner, Scheduler } from "../src/index.ts"
import { JobQueue, JobStoreSqlite, JobWorker } from "../src/queue/index.ts"

const Measure = Job.make("measure", {
  payload: { folder: Schema.String },
  success: Schema.Struct({ name: Schema.String, files: Schema.Int, bytes: Schema.Int }),
  // Asked for twice, a package is measured once.
  idempotencyKey: ({ folder }) => folder,
  unique: { while: { window: "1 hour" } }
})

const measure = Measure.toLayer(({ folder }) =>
  Effect.promise(async () => {
    const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile())
    const sizes = await Promise.all(files.map((file) => fs.stat(join(file.parentPath, file.name))))
    return { name: basename(folder), files: files.length, bytes: sizes.reduce((sum, { size }) => sum + size, 0) }
  })
)

const store = (filename: string) => JobStoreSqlite.layer({ filename })

/** `node resume-a-report-after-a-kill.ts work jobs.db`: what works, until there is no more to do. */
const work = (filename: string) =>
  JobWorker.awaitIdle.pipe(
    Effect.provide(
      JobWorker.layer({ concurrency: availableParallelism(), lease: "1 second" }).pipe(
        Layer.provide(Layer.mergeAll(measure, JobRunner.layerLocal)),
        Layer.provide(Scheduler.layerUnbounded),
        Layer.provide(store(filename))
      )
    ),
    Effect.runPromise
  )

const startWorker = (filename: string) =>
  spawn(process.execPath, [fileURLToPath(import.meta.url), "work", filename], { stdio: "ignore" })

const report = Effect.gen(function*() {
  const directory = yield* Effect.promise(() => fs.mkdtemp(join(tmpdir(), "report-")))
  const filename = join(directory, "jobs.db")
  yield* Effect.gen(function*() {
    const modules = fileURLToPath(new URL("../node_modules", import.meta.url))
    const names = (yield* Effect.promise(() => fs.readdir(modules))).filter((name) => !/^[.@]/.test(name)).slice(0, 60)
    const folders = names.map((name) => ({ folder: join(modules, name) }))
    yield* Measure.enqueueAll(folders)
    const done = Effect.map(JobQueue.list({ states: ["Succeeded"], limit: 1000 }), (jobs) => jobs.length)

    const first = startWorker(filename)
    while ((yield* done) < 5) yield* Effect.sleep("5 millis")
    first.kill("SIGKILL")
    const before = yield* done
    console.log("killed before the end:", before < folders.length)

    yield* Measure.enqueueAll(folders) // whoever starts the report anew need not know what there is
    while ((yield* done) < folders.length) {
      const next = startWorker(filename)
      yield* Effect.promise(() => new Promise((resolve) => next.on("exit", resolve)))
    }
    const rows = (yield* JobQueue.list({ limit: 1000 })).map(({ result }) => JSON.parse(result!))
    console.log("packages:", rows.length, "different:", new Set(rows.map(({ name }) => name)).size)
  }).pipe(Effect.provide(JobQueue.layer().pipe(Layer.provideMerge(store(filename)))))
  yield* Effect.promise(() => fs.rm(directory, { recursive: true }))
})

const [mode, filename] = process.argv.slice(2)
await (mode === "work" ? work(filename!) : Effect.runPromise(report))
