/**
 * One measurement in a process of its own: `node --expose-gc bench/core.ts <bench> <subject> [tasks]` prints a Sample as JSON.
 *
 * One shape for all: every task is submitted from one fiber (or one function), then all are awaited. The limit is 16, tags are limited to 8 and
 * 12, and each body counts itself, so that a task that did not run is noticed.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as References from "effect/References"
import * as Semaphore from "effect/Semaphore"
import type { Suite } from "./run.ts"

export interface Sample {
  readonly tasks: number
  /** From the first submission to the last settlement; of a backlog from the first admission that could end, `submitNsPerTask` apart. */
  readonly nsPerTask: number
  readonly submitNsPerTask?: number
  readonly bytesPerTask?: number
}

interface Work {
  readonly kind: "throughput" | "backlog" | "priorities" | "memory" | "forEach"
  readonly tasks: number
  /** Whether each body yields once. */
  readonly yields?: boolean
}

type Subject = (work: Work) => Promise<Sample>

const limit = 16
const tags = ["a", "b"]
const tagLimits = { a: 8, b: 12 }

// ─── The benches

const benches: Readonly<Record<string, Work>> = {
  "sync 100k": { kind: "throughput", tasks: 100_000 },
  "yielding 100k": { kind: "throughput", tasks: 100_000, yields: true },
  "backlog 1k": { kind: "backlog", tasks: 1_000 },
  "backlog 10k": { kind: "backlog", tasks: 10_000 },
  "backlog 20k": { kind: "backlog", tasks: 20_000 },
  "backlog 20k yielding": { kind: "backlog", tasks: 20_000, yields: true },
  "backlog 100k": { kind: "backlog", tasks: 100_000 },
  "backlog 1m": { kind: "backlog", tasks: 1_000_000 },
  "priorities 100k": { kind: "priorities", tasks: 100_000 },
  "memory 1m": { kind: "memory", tasks: 1_000_000 },
  "forEach 100k": { kind: "forEach", tasks: 100_000 }
}

const rivals = ["p-queue", "p-limit", "fastq", "async-sema"]
const plain = ["effect fork+join", ...rivals, "tasklayer", "tasklayer 2 tags"]

/** Who takes part. `effect fork+Semaphore` needs 200 µs a task at 20k waiting (when bodies yield), so it stops there. */
const subjectsOf = (bench: string): ReadonlyArray<string> => {
  const { kind, tasks } = benches[bench]!
  switch (kind) {
    case "throughput":
      return [...plain, "effect forEach", "tasklayer 1000 tags", "tasklayer whole task"]
    case "backlog":
      return [...plain, "tasklayer 1000 tags", ...(tasks <= 20_000 ? ["effect fork+Semaphore"] : [])]
    case "priorities":
      return ["effect fork+join", "p-queue", "tasklayer", "tasklayer 2 tags"]
    case "memory":
      return plain
    case "forEach":
      return ["effect fork+join", "effect forEach", "tasklayer", "tasklayer forEach"]
  }
}

export const suite: Suite = {
  benches: Object.keys(benches),
  subjectsOf,
  packages: ["effect", "p-queue", "p-limit", "fastq", "async-sema"],
  columns: [
    { key: "nsPerTask", title: "ns/task" },
    { key: "submitNsPerTask", title: "submit" },
    { key: "bytesPerTask", title: "bytes/task" }
  ],
  // Times are compared with bare fork+join; of a memory bench, bytes are.
  baseline: { subject: "effect fork+join", by: ["bytesPerTask", "nsPerTask"] }
}

// ─── Measuring

/** In these benches no body ends before all are submitted. */
const isGated = (work: Work) => work.kind === "backlog" || work.kind === "priorities" || work.kind === "memory"

export const heapUsed = (): number => {
  globalThis.gc!()
  return process.memoryUsage().heapUsed
}

/** Seeded, so that every subject gets the same sequence (mulberry32). */
const priorities = (tasks: number): ReadonlyArray<number> => {
  let seed = 0x9e3779b9
  return Array.from({ length: tasks }, () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  })
}

const stopwatch = (work: Work) => {
  const before = work.kind === "memory" ? heapUsed() : 0
  const start = performance.now()
  let submitted = start
  const perTask = (milliseconds: number) => milliseconds * 1e6 / work.tasks
  return {
    /** A memory measurement ends here: nobody waits for a million tasks to run. */
    submitted: (handles: ReadonlyArray<unknown>) => {
      submitted = performance.now()
      if (work.kind === "memory") {
        const bytes = heapUsed() - before
        report({
          tasks: handles.length,
          nsPerTask: perTask(submitted - start),
          bytesPerTask: bytes / work.tasks
        })
        process.exit(0)
      }
    },
    settled: (ran: number): Sample => {
      const end = performance.now()
      if (ran !== work.tasks) throw new Error(`${ran} of ${work.tasks} tasks ran`)
      const { tasks } = work
      if (work.kind === "backlog") {
        return { tasks, nsPerTask: perTask(end - submitted), submitNsPerTask: perTask(submitted - start) }
      }
      if (work.kind === "priorities") {
        return { tasks, nsPerTask: perTask(end - start), submitNsPerTask: perTask(submitted - start) }
      }
      return { tasks, nsPerTask: perTask(end - start) }
    }
  }
}

const report = (sample: Sample) => process.stdout.write(JSON.stringify(sample) + "\n")

// ─── The shape, for promises and for effects

type Add = (body: () => Promise<void>, priority: number | undefined) => Promise<unknown>

const promises = (make: () => Add): Subject => async (work) => {
  const add = make()
  const order = work.kind === "priorities" ? priorities(work.tasks) : []
  let ran = 0
  let open: () => void = () => {}
  const gate = new Promise<void>((resolve) => open = resolve)
  const gated = isGated(work)
  const body = async () => {
    if (gated) await gate
    if (work.yields) await undefined
    ran++
  }
  const watch = stopwatch(work)
  const handles: Array<Promise<unknown>> = []
  for (let i = 0; i < work.tasks; i++) handles.push(add(body, order[i]))
  watch.submitted(handles)
  open()
  await Promise.all(handles)
  return watch.settled(ran)
}

type Body = Effect.Effect<void>

const withBody = <R>(
  work: Work,
  run: (body: Body, gate: Latch.Latch, watch: ReturnType<typeof stopwatch>) => Effect.Effect<void, unknown, R>
): Effect.Effect<Sample, unknown, R> =>
  Effect.gen(function*() {
    let ran = 0
    const gate = Latch.makeUnsafe(false)
    const count = Effect.sync(() => {
      ran++
    })
    const ending = work.yields ? Effect.andThen(Effect.yieldNow, count) : count
    const body = isGated(work) ? Effect.andThen(gate.await, ending) : ending
    const watch = stopwatch(work)
    yield* run(body, gate, watch)
    return watch.settled(ran)
  })

/** Fork all, then join each. */
const forkJoin = <H, R>(
  work: Work,
  fork: (body: Body, priority: number | undefined) => Effect.Effect<H, unknown, R>,
  join: (handle: H) => Effect.Effect<unknown, unknown, R>
): Effect.Effect<Sample, unknown, R> => {
  const order = work.kind === "priorities" ? priorities(work.tasks) : []
  return withBody(work, (body, gate, watch) =>
    Effect.gen(function*() {
      const handles: Array<H> = []
      for (let i = 0; i < work.tasks; i++) handles.push(yield* fork(body, order[i]))
      if (isGated(work)) yield* Effect.yieldNow
      watch.submitted(handles)
      gate.openUnsafe()
      for (const handle of handles) yield* join(handle)
    }))
}

const items = (work: Work) => Array.from({ length: work.tasks }, (_, i) => i)

// ─── The subjects

const ours = async (): Promise<Record<string, Subject>> => {
  const { RunEvent, Scheduler, Task, TaskRun } = await import("../src/index.ts")

  /** A pool that closes logs its report, and standard output is for the sample. */
  const start = (program: Effect.Effect<Sample, unknown>) =>
    Effect.runPromise(Effect.provideService(program, References.MinimumLogLevel, "None"))

  const pool = (options: Parameters<typeof Scheduler.layer>[0]) =>
    Scheduler.layer({ maxParallelism: limit, ...options })

  const forked =
    (demand: { readonly tags?: ReadonlyArray<string> }, layer: ReturnType<typeof pool>): Subject => (work) => {
      const options = { name: "task", ...demand }
      const program = forkJoin(
        work,
        work.kind === "forEach"
          ? (body) => Task.fork(Task.make("task", body, demand))
          : (body, priority) => Scheduler.fork(body, priority === undefined ? options : { ...options, priority }),
        TaskRun.join
      )
      return start(Effect.provide(program, layer))
    }

  const thousand = Object.fromEntries(Array.from({ length: 998 }, (_, i) => [`tag ${i}`, 10]))
  let heard = 0

  return {
    "tasklayer": forked({}, pool({})),
    "tasklayer 2 tags": forked({ tags }, pool({ tagLimits })),
    "tasklayer 1000 tags": forked({ tags }, pool({ tagLimits: { ...thousand, ...tagLimits } })),
    "tasklayer forEach": (work) =>
      withBody(work, (body) => Effect.asVoid(Task.forEach(items(work), () => Task.make("task", body)))).pipe(
        Effect.provide(pool({})),
        start
      ),
    "tasklayer whole task": (work) => {
      const finalizer = Effect.addFinalizer(() => Effect.void)
      return forkJoin(
        work,
        (body) => Task.fork(Task.make("task", Effect.andThen(finalizer, body), { tags: ["a"] })),
        TaskRun.join
      ).pipe(
        Effect.provide(pool({ tagLimits })),
        Effect.provideService(RunEvent.Listeners, [() => {
          heard++
        }]),
        Effect.tap(() => heard > 0 ? Effect.void : Effect.die("no event was heard")),
        start
      )
    }
  }
}

const load = async (subject: string): Promise<Subject> => {
  switch (subject) {
    case "effect fork+join":
      return (work) => Effect.runPromise(forkJoin(work, (body) => Effect.forkChild(body), Fiber.join))
    case "effect fork+Semaphore":
      return (work) => {
        const permits = Semaphore.makeUnsafe(limit)
        return Effect.runPromise(forkJoin(work, (body) => Effect.forkChild(permits.withPermit(body)), Fiber.join))
      }
    case "effect forEach":
      return (work) =>
        Effect.runPromise(
          withBody(work, (body) => Effect.asVoid(Effect.forEach(items(work), () => body, { concurrency: limit })))
        )
    case "p-queue": {
      const { default: PQueue } = await import("p-queue")
      return promises(() => {
        const queue = new PQueue({ concurrency: limit })
        return (body, priority) => priority === undefined ? queue.add(body) : queue.add(body, { priority })
      })
    }
    case "p-limit": {
      const { default: pLimit } = await import("p-limit")
      return promises(() => pLimit(limit))
    }
    case "fastq": {
      const { default: fastq } = await import("fastq")
      return promises(() => {
        const queue = fastq.promise((body: () => Promise<void>) => body(), limit)
        return (body) => queue.push(body)
      })
    }
    case "async-sema": {
      const { Sema } = await import("async-sema")
      return promises(() => {
        const permits = new Sema(limit)
        return async (body) => {
          await permits.acquire()
          try {
            await body()
          } finally {
            permits.release()
          }
        }
      })
    }
    default: {
      const found = (await ours())[subject]
      if (found === undefined) throw new Error(`no subject ${JSON.stringify(subject)}`)
      return found
    }
  }
}

if (import.meta.main) {
  const [bench = "", name = "", tasks] = process.argv.slice(2)
  const subject = await load(name)
  const work = { ...benches[bench]!, ...(tasks === undefined ? {} : { tasks: Number(tasks) }) }
  const warmUp: Work = {
    ...work,
    kind: work.kind === "memory" ? "backlog" : work.kind,
    tasks: Math.min(5_000, work.tasks)
  }
  const warm = performance.now() + 500
  do await subject(warmUp)
  while (performance.now() < warm)
  globalThis.gc!()
  report(await subject(work))
}
