import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.join(import.meta.dirname, "..")
const bin = (name: string) => path.join(root, "node_modules/.bin", name)

let project = ""

/** The packed tarball in an empty project, with this repository's `effect` and the other peers beside it. */
beforeAll(() => {
  project = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-package-"))
  const run = (command: string, ...args: Array<string>) =>
    execFileSync(command, args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  run("npm", "run", "build")
  const [packed] = JSON.parse(run("npm", "pack", "--json", "--ignore-scripts", "--pack-destination", project))
  const installed = path.join(project, "node_modules/tasklayer")
  fs.mkdirSync(installed, { recursive: true })
  run("tar", "-xzf", path.join(project, packed.filename), "-C", installed, "--strip-components=1")
  for (const peer of ["effect", "vitest", "@effect/vitest", "@effect/platform-node", "@types/node"]) {
    const link = path.join(project, "node_modules", peer)
    fs.mkdirSync(path.dirname(link), { recursive: true })
    fs.symlinkSync(path.join(root, "node_modules", peer), link)
  }
  fs.writeFileSync(path.join(project, "package.json"), `{ "name": "consumer", "type": "module" }`)
}, 120_000)

afterAll(() => fs.rmSync(project, { recursive: true, force: true }))

const execute = (source: string) => {
  fs.writeFileSync(path.join(project, "program.mjs"), source)
  const { stderr, stdout } = spawnSync(process.execPath, ["program.mjs"], { cwd: project, encoding: "utf8" })
  return { stderr, stdout: stdout.trim() }
}

it("the packed package runs a program", () => {
  const { stderr, stdout } = execute(`
    import { Effect } from "effect"
    import { Scheduler, Task } from "tasklayer"
    import * as OneModule from "tasklayer/Task"
    const double = Task.fn("double")(function*(n) { return n * 2 })
    const program = Task.forEach([1, 2, 3], double)
    console.log(JSON.stringify(await program.pipe(Effect.provide(Scheduler.layer({ maxParallelism: 2 })), Effect.runPromise)))
    console.log(OneModule.make === Task.make)
  `)
  // Above them is the report of the pool that closed.
  assert.deepStrictEqual(stdout.split("\n").slice(-2), ["[2,4,6]", "true"], stderr)
})

it("the packed package runs jobs on threads and in processes", () => {
  fs.writeFileSync(
    path.join(project, "jobs.mjs"),
    `import { Schema } from "effect"
import { Job } from "tasklayer"
export const Double = Job.make("double", { payload: { n: Schema.Number }, success: Schema.Number })`
  )
  fs.writeFileSync(
    path.join(project, "entry.mjs"),
    `import { Effect } from "effect"
import { ThreadHost } from "tasklayer/threads"
import { Double } from "./jobs.mjs"
ThreadHost.run(Double.toLayer(({ n }) => Effect.succeed(2 * n)))`
  )
  const { stderr, stdout } = execute(`
    import { Effect } from "effect"
    import { ProcessRunner, ThreadRunner } from "tasklayer/threads"
    import { Double } from "./jobs.mjs"
    const options = { entry: new URL("./entry.mjs", import.meta.url), size: 1, spares: 0 }
    for (const runner of [ThreadRunner.layer(options), ProcessRunner.layer(options)]) {
      console.log(await Double.execute({ n: 21 }).pipe(Effect.provide(runner), Effect.runPromise))
    }
  `)
  assert.deepStrictEqual(stdout.split("\n").filter((line) => /^\d+$/.test(line)), ["42", "42"], stderr)
}, 60_000)

it("the packed package keeps jobs in a file, with its peer effect alone", () => {
  const { stderr, stdout } = execute(`
    import { Effect, Layer, Schema } from "effect"
    import { Job, JobRunner, Scheduler } from "tasklayer"
    import { JobQueue, JobStore, JobWorker } from "tasklayer/queue"
    const Say = Job.make("say", { payload: { text: Schema.String } })
    const say = Say.toLayer(({ text }) => Effect.sync(() => console.log(text)))
    const worker = JobWorker.layer().pipe(
      Layer.provide(Layer.mergeAll(say, JobRunner.layerLocal)),
      Layer.provide(Scheduler.layer())
    )
    const store = JobStore.layerUrl("sqlite:jobs.db")
    const program = Effect.andThen(Say.enqueue({ text: "kept and run" }), JobWorker.awaitIdle)
    await program.pipe(
      Effect.provide(Layer.mergeAll(JobQueue.layer(), worker).pipe(Layer.provideMerge(store))),
      Effect.runPromise
    )
  `)
  assert.include(stdout.split("\n"), "kept and run", stderr)
}, 60_000)

it("the exports map shows the sub-paths and hides what is internal", () => {
  const { stderr, stdout } = execute(`
    import { existsSync } from "node:fs"
    const resolves = (name) => { try { return existsSync(new URL(import.meta.resolve(name))) } catch (error) { return error.code } }
    for (const name of ["tasklayer/queue", "tasklayer/testing", "tasklayer/threads", "tasklayer/Scheduler", "tasklayer/package.json", "tasklayer/internal/anything", "tasklayer/queue/internal/StorePort", "tasklayer/threads/internal/Pool", "tasklayer/index"]) {
      console.log(name, resolves(name))
    }
  `)
  assert.deepStrictEqual(stdout.split("\n"), [
    "tasklayer/queue true",
    "tasklayer/testing true",
    "tasklayer/threads true",
    "tasklayer/Scheduler true",
    "tasklayer/package.json true",
    "tasklayer/internal/anything ERR_PACKAGE_PATH_NOT_EXPORTED",
    "tasklayer/queue/internal/StorePort ERR_PACKAGE_PATH_NOT_EXPORTED",
    "tasklayer/threads/internal/Pool ERR_PACKAGE_PATH_NOT_EXPORTED",
    "tasklayer/index ERR_PACKAGE_PATH_NOT_EXPORTED"
  ], stderr)
})

it("every module of the barrel has a sub-path of its own", () => {
  const modules = fs.readFileSync(path.join(root, "src/index.ts"), "utf8").matchAll(/"\.\/(\w+)\.ts"/g)
  const { stderr, stdout } = execute(
    [...modules].map(([, name]) => `await import("tasklayer/${name}")`).join("\n") + `\nconsole.log("ok")`
  )
  assert.strictEqual(stdout, "ok", stderr)
})

it("the declarations type-check for a consumer", () => {
  fs.writeFileSync(
    path.join(project, "consumer.ts"),
    `import { Effect } from "effect"
import { Scheduler, Task } from "tasklayer"
import * as Testing from "tasklayer/testing"

const length = Task.make("length", Effect.succeed("four").pipe(Effect.map((text) => text.length)))
export const program: Effect.Effect<number> = length.pipe(Effect.provide(Scheduler.layer({ maxParallelism: 2 })))
export const testing = Testing

// @ts-expect-error: a task needs a scheduler
export const unprovided: Effect.Effect<number> = length
`
  )
  fs.writeFileSync(
    path.join(project, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        target: "ES2023",
        lib: ["ES2024", "ESNext.Disposable"],
        module: "NodeNext",
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: true,
        preserveSymlinks: true,
        noEmit: true,
        types: ["node"]
      },
      files: ["consumer.ts"]
    })
  )
  const { status, stdout } = spawnSync(bin("tsc"), ["-p", "."], { cwd: project, encoding: "utf8" })
  assert.strictEqual(status, 0, stdout)
}, 60_000)
