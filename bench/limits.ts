/**
 * What limits cost: `node --expose-gc bench/limits.ts <bench> <subject> [tasks]` prints a Sample as JSON.
 *
 * All tasks are submitted from one fiber, then all are joined; the pool is 16. `one of each` adds a tag with a limit of 12 and a rate that is
 * never reached, and a cap of 8 for each of 16 keys. The keys benches have as many keys as they say, a cap of 2 for each, and every task waits.
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { Scheduler, TaskRun } from "../src/index.ts"
import type { Suite } from "./run.ts"

interface Work {
  readonly tasks: number
  readonly keys: number
  readonly yields: boolean
}

const benches: Readonly<Record<string, Work>> = {
  "limits 100k": { tasks: 100_000, keys: 16, yields: false },
  "limits yielding 100k": { tasks: 100_000, keys: 16, yields: true },
  "keys 10": { tasks: 200_000, keys: 10, yields: false },
  "keys 1k": { tasks: 200_000, keys: 1_000, yields: false },
  "keys 100k": { tasks: 200_000, keys: 100_000, yields: false }
}

const layers: Readonly<Record<string, Scheduler.LayerOptions>> = {
  "pool alone": {},
  "one of each": {
    keyLimit: 8,
    tagLimits: { api: { limit: 12, rate: { count: 1_000_000_000, per: "1 second" } } }
  },
  "keys": {},
  "keys and cap": { keyLimit: 2 }
}

export const suite: Suite = {
  benches: Object.keys(benches),
  subjectsOf: (bench) => bench.startsWith("keys") ? ["keys", "keys and cap"] : ["pool alone", "one of each"],
  packages: ["effect"],
  columns: [{ key: "nsPerTask", title: "ns/task" }],
  baseline: { subject: "pool alone", by: ["nsPerTask"] }
}

const run = (subject: string, { keys, tasks, yields }: Work) => {
  const layer = layers[subject]
  if (layer === undefined) throw new Error(`no subject ${JSON.stringify(subject)}`)
  const plain = subject === "pool alone"
  return Effect.gen(function*() {
    let ran = 0
    const count = Effect.sync(() => {
      ran++
    })
    const body = yields ? Effect.andThen(Effect.yieldNow, count) : count
    const options = Array.from(
      { length: plain ? 1 : keys },
      (_, i): Scheduler.ForkOptions =>
        plain ? { name: "task" } : { name: "task", key: `key ${i}`, ...(layer.tagLimits ? { tags: ["api"] } : {}) }
    )
    const handles: Array<TaskRun.TaskRun<void>> = []
    const start = performance.now()
    for (let i = 0; i < tasks; i++) handles.push(yield* Scheduler.fork(body, options[i % options.length]))
    for (const handle of handles) yield* TaskRun.join(handle)
    const nsPerTask = (performance.now() - start) / tasks * 1e6
    if (ran !== tasks) throw new Error(`${ran} of ${tasks} tasks ran`)
    return { tasks, nsPerTask }
  }).pipe(
    Effect.provide(Scheduler.layer({ maxParallelism: 16, ...layer })),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
}

if (import.meta.main) {
  const [bench = "", subject = "", tasks] = process.argv.slice(2)
  const found = benches[bench]
  if (found === undefined) throw new Error(`no bench ${JSON.stringify(bench)}`)
  const work = { ...found, ...(tasks === undefined ? {} : { tasks: Number(tasks) }) }
  for (let i = 0; i < 3; i++) await Effect.runPromise(run(subject, { ...work, tasks: Math.min(work.tasks, 20_000) }))
  globalThis.gc!()
  process.stdout.write(JSON.stringify(await Effect.runPromise(run(subject, work))) + "\n")
}
