/** I have a JavaScript program, and want tasks with limits in it without rewriting it. */
import { Effect, ManagedRuntime } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

// A task wraps any function that returns a promise; the signal aborts when the run is interrupted.
const download = (url) =>
  Task.make("download", Effect.promise(async (signal) => signal.aborted ? "" : `contents of ${url}`), { tags: ["net"] })

// One runtime for the whole program: at most 8 runs at once, at most 2 of them on the network.
const runtime = ManagedRuntime.make(Scheduler.layer({ maxParallelism: 8, tagLimits: { net: 2 } }))

// A promise of the result.
console.log(await runtime.runPromise(download("/a")))

// A promise of a handle: the run goes on by itself, and can be asked for later.
const run = await runtime.runPromise(Task.fork(download("/b"), { id: "job-17" }))
console.log(`${run.name} ${run.id}:`, await runtime.runPromise(TaskRun.join(run)))

// Started and left alone: closing the runtime below waits for it.
runtime.runFork(Task.fork(Task.make("save", Effect.sync(() => console.log("saved in the background")))))

// Many, in the order of the input.
console.log(await runtime.runPromise(Task.forEach(["/c", "/d", "/e"], download)))

await runtime.dispose()

// No waiting in it: then a task runs synchronously too.
const total = Task.make("total", Effect.sync(() => [1, 2, 3].reduce((a, b) => a + b)))
console.log("total:", Effect.runSync(Effect.provide(total, Scheduler.layerInline)))
