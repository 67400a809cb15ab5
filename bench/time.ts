/**
 * One measurement in a process of its own: `node --expose-gc bench/time.ts <bench> <subject> [tasks]` prints a Sample as JSON.
 *
 * Registered are jobs with a name and a body each, due in an hour by the clock of Madrid or on a grid. A body counts itself, so that one that
 * did not run, or ran too early, is noticed. An idle process is watched for half a minute, for that is how often croner looks at each job (our
 * timer wakes once a minute, for one of them).
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { setTimeout as sleep } from "node:timers/promises"
import { heapUsed } from "./core.ts"
import type { Sample, Suite } from "./run.ts"

interface Work {
  readonly kind: "register" | "idle" | "lateness" | "spread" | "queue" | "bounded"
  readonly tasks: number
}

const benches: Readonly<Record<string, Work>> = {
  "register 10k": { kind: "register", tasks: 10_000 },
  "register 100k": { kind: "register", tasks: 100_000 },
  "idle 10k": { kind: "idle", tasks: 10_000 },
  "idle 100k": { kind: "idle", tasks: 100_000 },
  "lateness 10k": { kind: "lateness", tasks: 10_000 },
  "lateness 10k spread": { kind: "spread", tasks: 10_000 },
  "queue 100k": { kind: "queue", tasks: 100_000 },
  "queue 100k bounded": { kind: "bounded", tasks: 100_000 }
}

/** Who takes part. Jobs of croner have 80 kB each: a hundred thousand of them do not fit. */
const subjectsOf = (bench: string): ReadonlyArray<string> => {
  const { kind, tasks } = benches[bench]!
  const crons = ["tasklayer cron", ...(tasks > 10_000 ? [] : ["croner"]), "node-cron"]
  switch (kind) {
    case "register":
    case "lateness":
      return ["setTimeout", "effect fiber", "tasklayer every", ...crons]
    case "idle":
      return ["nothing", "tasklayer every", ...crons]
    case "spread":
      return ["setTimeout", "effect fiber", "tasklayer every"]
    case "queue":
      return ["effect Queue", "fastq", "p-queue", "tasklayer"]
    case "bounded":
      return ["effect Queue", "p-queue", "tasklayer"]
  }
}

export const suite: Suite = {
  benches: Object.keys(benches),
  subjectsOf,
  packages: ["effect", "croner", "node-cron", "p-queue", "fastq"],
  columns: [
    { key: "usPerTask", title: "µs each", digits: 2 },
    { key: "bytesPerTask", title: "bytes each" },
    { key: "percentOfCore", title: "% of a core", digits: 3 },
    { key: "p50Ms", title: "p50 ms late", digits: 1 },
    { key: "p99Ms", title: "p99 ms late", digits: 1 },
    { key: "itemsPerSecond", title: "items/s" }
  ]
}

// ─── Jobs that are due some time

/** Registers jobs 0 to n - 1. They stay until the process ends. */
type Register = (
  n: number,
  due: (i: number) => number,
  body: (i: number, at: number) => void,
  prefix: string
) => Promise<void>

const hour = 3_600_000
const idleMs = 30_000
const tz = "Europe/Madrid"

/** `second minute hour * * *`, when the clock of Madrid says that. */
const pattern = (due: number): string => {
  const parts = new Intl.DateTimeFormat("en", {
    timeZone: tz,
    hourCycle: "h23",
    hour: "numeric",
    minute: "numeric",
    second: "numeric"
  }).formatToParts(due)
  const part = (type: string) => Number(parts.find((part) => part.type === type)!.value)
  return `${part("second")} ${part("minute")} ${part("hour")} * * *`
}

/** Finer than `Date.now`. */
const now = () => performance.timeOrigin + performance.now()

const registering = async (work: Work, register: Register): Promise<Sample> => {
  const { kind, tasks } = work
  const inAnHour = Math.ceil(Date.now() / 1000) * 1000 + hour
  // Where an error would be the error of one job, and nobody's business.
  const never = () => {
    console.error("a job ran an hour too early")
    process.exit(1)
  }
  if (kind === "register") {
    await register(Math.min(2_000, tasks), () => inAnHour, never, "warm")
    const before = heapUsed()
    const start = performance.now()
    await register(tasks, () => inAnHour, never, "job")
    const took = performance.now() - start
    return { tasks, usPerTask: took * 1000 / tasks, bytesPerTask: (heapUsed() - before) / tasks }
  }
  if (kind === "idle") {
    await register(tasks, () => inAnHour, never, "job")
    globalThis.gc!()
    await sleep(2_000)
    const before = process.cpuUsage()
    const start = performance.now()
    await sleep(idleMs)
    const { system, user } = process.cpuUsage(before)
    return { tasks, percentOfCore: (user + system) / 10 / (performance.now() - start) }
  }
  await latenesses(register, Math.min(2_000, tasks), "warm", kind === "spread")
  const late = (await latenesses(register, tasks, "job", kind === "spread")).sort()
  const quantile = (q: number) => late[Math.min(tasks - 1, Math.floor(tasks * q))]!
  return { tasks, p50Ms: quantile(0.5), p99Ms: quantile(0.99) }
}

/** All in the same instant, or evenly over its second. */
const latenesses = async (register: Register, n: number, prefix: string, spread: boolean): Promise<Float64Array> => {
  const second = Math.ceil(Date.now() / 1000) * 1000 + 4_000
  const due = (i: number) => second + (spread ? Math.floor(i * 1000 / n) : 0)
  const late = new Float64Array(n)
  let ran = 0
  await new Promise<void>((resolve, reject) => {
    const body = (i: number, at: number) => {
      late[i] = at - due(i)
      if (++ran === n) resolve()
    }
    register(n, due, body, prefix).then(() => {
      if (Date.now() > second - 500) reject(new Error("registering took too long to be ready"))
      setTimeout(() => reject(new Error(`${ran} of ${n} jobs ran`)), second + 60_000 - Date.now()).unref()
    }, reject)
  })
  // A timer of Node may be early by a fraction of a millisecond.
  if (late.some((ms) => ms < -2)) throw new Error("a job ran too early")
  return late
}

const quietly = <A>(effect: Effect.Effect<A, unknown>): Promise<A> =>
  Effect.runPromise(Effect.provideService(effect, References.MinimumLogLevel, "None"))

/** A pool and a supervisor that nobody closes. */
const ground = async () => {
  const { Scheduler, Supervisor } = await import("../src/index.ts")
  const scope = Scope.makeUnsafe()
  const layer = Supervisor.layer().pipe(Layer.provideMerge(Scheduler.layer({ maxParallelism: 16 })))
  return Context.add(await quietly(Layer.buildWithScope(layer, scope)), Scope.Scope, scope)
}

const periodics = async (kind: "every" | "cron"): Promise<Register> => {
  const { Periodic, Task, Trigger } = await import("../src/index.ts")
  const context = await ground()
  return (n, due, body, prefix) => {
    const expression = pattern(due(0))
    const triggerOf = kind === "cron"
      ? () => Trigger.cron(expression, { tz })
      : (i: number) => Trigger.every("1 day", { anchor: due(i) })
    const all = Effect.gen(function*() {
      for (let i = 0; i < n; i++) {
        yield* Periodic.make(Task.make(`${prefix} ${i}`, Effect.sync(() => body(i, now()))), triggerOf(i))
      }
    })
    return quietly(Effect.provideContext(all, context))
  }
}

const registerOf = async (subject: string): Promise<Register> => {
  switch (subject) {
    case "nothing":
      return async () => {}
    case "setTimeout":
      return async (n, due, body) => {
        for (let i = 0; i < n; i++) setTimeout(() => body(i, now()), due(i) - Date.now())
      }
    case "effect fiber":
      return (n, due, body) =>
        quietly(Effect.gen(function*() {
          for (let i = 0; i < n; i++) {
            yield* Effect.forkDetach(Effect.delay(Effect.sync(() => body(i, now())), due(i) - Date.now()))
          }
        }))
    case "tasklayer every":
      return periodics("every")
    case "tasklayer cron":
      return periodics("cron")
    case "croner": {
      const { Cron } = await import("croner")
      return async (n, due, body, prefix) => {
        const expression = pattern(due(0))
        for (let i = 0; i < n; i++) {
          new Cron(expression, { name: `${prefix} ${i}`, timezone: tz }, () => body(i, now()))
        }
      }
    }
    case "node-cron": {
      const { schedule } = await import("node-cron")
      return async (n, due, body, prefix) => {
        const expression = pattern(due(0))
        for (let i = 0; i < n; i++) {
          schedule(expression, () => body(i, now()), { name: `${prefix} ${i}`, timezone: tz })
        }
      }
    }
    default:
      throw new Error(`no subject ${JSON.stringify(subject)}`)
  }
}

// ─── Items for one who handles them one after another

/** Handles items 1 to n, each by the handler; where there is a capacity, at most so many wait. */
type Handle = (n: number, capacity: number | undefined, handler: () => void) => Promise<void>

const handling = async (work: Work, handle: Handle): Promise<Sample> => {
  const capacity = work.kind === "bounded" ? 64 : undefined
  const once = async (n: number): Promise<number> => {
    let handled = 0
    const start = performance.now()
    await handle(n, capacity, () => {
      handled++
    })
    const took = performance.now() - start
    if (handled !== n) throw new Error(`${handled} of ${n} items were handled`)
    return took
  }
  const warm = performance.now() + 500
  do await once(Math.min(5_000, work.tasks))
  while (performance.now() < warm)
  globalThis.gc!()
  return { tasks: work.tasks, itemsPerSecond: work.tasks / await once(work.tasks) * 1000 }
}

const handleOf = async (subject: string): Promise<Handle> => {
  switch (subject) {
    case "effect Queue":
      return (n, capacity, handler) =>
        quietly(Effect.gen(function*() {
          const queue = yield* capacity === undefined ? Queue.unbounded<number>() : Queue.bounded<number>(capacity)
          const handle = Effect.sync(handler)
          const one = Effect.flatMap(Queue.take(queue), () => handle)
          const worker = yield* Effect.forkChild(Effect.repeat(one, { times: n - 1 }))
          for (let i = 1; i <= n; i++) yield* Queue.offer(queue, i)
          yield* Fiber.join(worker)
        }))
    case "tasklayer": {
      const { Worker } = await import("../src/index.ts")
      const context = await ground()
      return (n, capacity, handler) => {
        const handle = Effect.sync(handler)
        const program = Effect.gen(function*() {
          const worker = yield* Worker.queue("bench", (_: number) => handle, { capacity })
          yield* worker.start()
          for (let i = 1; i <= n; i++) yield* worker.offer(i)
          yield* worker.stop("drain")
        })
        return quietly(Effect.provideContext(program, context))
      }
    }
    case "fastq": {
      const { default: fastq } = await import("fastq")
      return async (n, _, handler) => {
        const queue = fastq.promise(async (_: number) => handler(), 1)
        const all: Array<Promise<void>> = []
        for (let i = 1; i <= n; i++) all.push(queue.push(i))
        await Promise.all(all)
      }
    }
    case "p-queue": {
      const { default: PQueue } = await import("p-queue")
      return async (n, capacity, handler) => {
        const queue = new PQueue({ concurrency: 1 })
        for (let i = 1; i <= n; i++) {
          if (capacity !== undefined) await queue.onSizeLessThan(capacity)
          void queue.add(async () => handler())
        }
        await queue.onIdle()
      }
    }
    default:
      throw new Error(`no subject ${JSON.stringify(subject)}`)
  }
}

if (import.meta.main) {
  const [bench = "", subject = "", tasks] = process.argv.slice(2)
  const work = { ...benches[bench]!, ...(tasks === undefined ? {} : { tasks: Number(tasks) }) }
  const sample = work.kind === "queue" || work.kind === "bounded"
    ? await handling(work, await handleOf(subject))
    : await registering(work, await registerOf(subject))
  process.stdout.write(JSON.stringify(sample) + "\n", () => process.exit(0))
}
