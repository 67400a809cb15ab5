/**
 * One measurement in a process of its own: `node --expose-gc bench/threads.ts <bench> <subject> [tasks]` prints a Sample as JSON.
 *
 * Each subject has two threads that are warm. `piscina` is as it comes; its threads then block until there is work, and with
 * `piscina, no atomics` they do not. `postMessage` is no pool: two threads that are given work in turn, and the floor of what is possible.
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { Worker } from "node:worker_threads"
import type { Sample, Suite } from "./run.ts"

interface Work {
  readonly job: "double" | "touch" | "crunch"
  readonly tasks: number
  readonly concurrency: number
  /** Without the warm-up: what a program that has just started pays. */
  readonly isCold?: boolean
}

const benches: Readonly<Record<string, Work>> = {
  "tiny, 1 at a time": { job: "double", tasks: 10_000, concurrency: 1 },
  "tiny, 16 at a time": { job: "double", tasks: 40_000, concurrency: 16 },
  "tiny, 64 at a time": { job: "double", tasks: 40_000, concurrency: 64 },
  "10 MB moved": { job: "touch", tasks: 10_000, concurrency: 1 },
  "cpu on 2 threads": { job: "crunch", tasks: 100, concurrency: 8 },
  "cpu on 2 threads, just started": { job: "crunch", tasks: 100, concurrency: 8, isCold: true }
}

/** Of short calls, before it is measured how long they take: V8 compiles for about as long. */
const warmUp = 20_000

/** About 20 ms. */
const turns = 20_000_000

export const suite: Suite = {
  benches: Object.keys(benches),
  subjectsOf: () => ["postMessage", "piscina", "piscina, no atomics", "tinypool", "workerpool", "tasklayer"],
  packages: ["effect", "piscina", "tinypool", "workerpool"],
  columns: [
    { key: "p50Us", title: "p50 µs", digits: 1 },
    { key: "p99Us", title: "p99 µs", digits: 1 },
    { key: "perSecond", title: "calls/s" },
    { key: "wallMs", title: "all, ms" }
  ]
}

interface Pool {
  readonly double: (n: number) => Promise<number>
  /** The buffer is gone afterwards; the one that comes back is another. */
  readonly touch: (bytes: Uint8Array<ArrayBuffer>) => Promise<Uint8Array<ArrayBuffer>>
  readonly crunch: (turns: number) => Promise<number>
}

const file = (name: string) => new URL(`./threads/${name}.ts`, import.meta.url)

const pools: Readonly<Record<string, () => Promise<Pool>>> = {
  "postMessage": async () => {
    const waiting = new Map<number, (value: any) => void>()
    const threads = [1, 2].map(() => new Worker(file("raw")))
    for (const thread of threads) {
      thread.on("message", ([id, value]) => {
        waiting.get(id)!(value)
        waiting.delete(id)
      })
    }
    let next = 0
    const call = (name: string, payload: unknown, transfer: ReadonlyArray<ArrayBuffer> = []): Promise<any> =>
      new Promise((resolve) => {
        const id = next++
        waiting.set(id, resolve)
        threads[id % 2]!.postMessage([id, name, payload], transfer)
      })
    return {
      double: (n) => call("double", { n }),
      touch: (bytes) => call("touch", bytes, [bytes.buffer]),
      crunch: (turns) => call("crunch", { turns })
    }
  },
  "piscina": () => piscina("sync"),
  "piscina, no atomics": () => piscina("disabled"),
  "tinypool": async () => {
    const { default: Tinypool } = await import("tinypool")
    const pool = new Tinypool({
      filename: file("pool").href,
      runtime: "worker_threads",
      minThreads: 2,
      maxThreads: 2,
      useAtomics: false
    })
    return {
      double: (n) => pool.run({ n }, { name: "double" }),
      touch: (bytes) => pool.run(bytes, { name: "tinypoolTouch", transferList: [bytes.buffer] }),
      crunch: (turns) => pool.run({ turns }, { name: "crunchTurns" })
    }
  },
  "workerpool": async () => {
    const { default: workerpool } = await import("workerpool")
    const pool = workerpool.pool(file("workerpool").pathname, { minWorkers: 2, maxWorkers: 2, workerType: "thread" })
    return {
      double: async (n) => pool.exec("double", [{ n }]),
      touch: async (bytes) => pool.exec("touch", [bytes], { transfer: [bytes.buffer] }),
      crunch: async (turns) => pool.exec("crunch", [{ turns }])
    }
  },
  "tasklayer": async () => {
    const { ThreadRunner } = await import("../src/threads/index.ts")
    const { Crunch, Double, Touch } = await import("./threads/jobs.ts")
    const { Layer, Scope } = await import("effect")
    const layer = ThreadRunner.layer({ entry: file("tasklayer"), size: 2 })
    const context = await Effect.runPromise(
      Layer.buildWithScope(layer, Scope.makeUnsafe()).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
    const run = Effect.runPromiseWith(context)
    return {
      double: (n) => run(Double.execute({ n })),
      touch: (bytes) => run(Touch.execute(bytes)),
      crunch: (turns) => run(Crunch.execute({ turns }))
    }
  }
}

const piscina = async (atomics: "sync" | "disabled"): Promise<Pool> => {
  const { Piscina, move } = await import("piscina")
  const pool = new Piscina({ filename: file("pool").href, minThreads: 2, maxThreads: 2, atomics })
  return {
    double: (n) => pool.run({ n }, { name: "double" }),
    touch: (bytes) => pool.run(move(bytes), { name: "piscinaTouch" }),
    crunch: (turns) => pool.run({ turns }, { name: "crunchTurns" })
  }
}

/** Keeps so many calls going until all are done. */
const measure = async ({ concurrency, isCold = false, job, tasks }: Work, pool: Pool): Promise<Sample> => {
  const took: Array<number> = []
  let buffer = new Uint8Array(10 * 1024 * 1024)
  const double = async (i: number): Promise<void> => {
    if (await pool.double(i) !== 2 * i) throw new Error("a wrong result")
  }
  const call = async (i: number): Promise<void> => {
    if (job === "double") await double(i)
    else if (job === "crunch") await pool.crunch(turns)
    else {
      const first = buffer[0]!
      buffer = await pool.touch(buffer)
      if (buffer.length !== 10 * 1024 * 1024 || buffer[0] !== (first + 1) % 256) throw new Error("a wrong buffer")
    }
  }
  const all = async (n: number, call: (i: number) => Promise<void>): Promise<number> => {
    let next = 0
    const start = performance.now()
    const lane = async () => {
      while (next < n) {
        const i = next++
        const from = performance.now()
        await call(i)
        took.push(performance.now() - from)
      }
    }
    await Promise.all(Array.from({ length: concurrency }, lane))
    return performance.now() - start
  }
  if (job === "crunch") {
    if (!isCold) await all(2_000, double)
    await all(8, call)
  } else await all(warmUp, call)
  took.length = 0
  const wall = await all(tasks, call)
  took.sort((a, b) => a - b)
  const quantile = (q: number) => took[Math.min(tasks - 1, Math.floor(tasks * q))]! * 1000
  const times = { p50Us: quantile(0.5), p99Us: quantile(0.99) }
  return job === "crunch" ? { tasks, wallMs: wall } : { tasks, ...times, perSecond: tasks / wall * 1000 }
}

if (import.meta.main) {
  const [bench = "", subject = "", tasks] = process.argv.slice(2)
  const work = { ...benches[bench]!, ...(tasks === undefined ? {} : { tasks: Number(tasks) }) }
  const sample = await measure(work, await pools[subject]!())
  process.stdout.write(JSON.stringify(sample) + "\n", () => process.exit(0))
}
