/** A job in a process of its own: it may exit or fall over, has an environment for itself, and what it prints is logged under its run. */
import { Effect, Layer, Logger } from "effect"
import { TaskRun } from "../src/index.ts"
import { ProcessRunner } from "../src/threads/index.ts"
import { Convert } from "./isolate-a-job-in-a-process/jobs.ts"

const said = Logger.make(({ message }) => console.log("it said:", String(message)))

const processes = ProcessRunner.layer({
  entry: new URL("./isolate-a-job-in-a-process/entry.ts", import.meta.url),
  size: 1,
  env: (_job, payload) => ({ CUSTOMER: (payload as { file: string }).file.split("/")[0] })
})

const program = Effect.gen(function*() {
  const run = yield* Convert.fork({ file: "acme/invoice" })
  console.log(yield* TaskRun.join(run))
  console.log("processes:", (yield* ProcessRunner.stats).allocated)
})

await program.pipe(Effect.provide(Layer.provideMerge(processes, Logger.layer([said]))), Effect.runPromise)
