/** Jobs in processes: what a job may do to its process harms nobody, and when its run has ended, its process is gone or free. */
import { afterAll, assert, describe, it, layer, vi } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Concurrency from "../src/Concurrency.ts"
import * as Job from "../src/Job.ts"
import * as Scheduler from "../src/Scheduler.ts"
import * as Task from "../src/Task.ts"
import * as TaskRun from "../src/TaskRun.ts"
import { ProcessRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/process-jobs.ts"
import * as Processes from "./suites/Processes.ts"

// Processes take their time to start where others do, too.
vi.setConfig({ testTimeout: 60_000 })

const entry = new URL("fixtures/process-entry.ts", import.meta.url)
/** Silent, for what breaks here says so at length. */
const processes = (options?: Partial<ProcessRunner.Options>) =>
  ProcessRunner.layer({ entry, size: 1, ...options }).pipe(Layer.provideMerge(Logger.layer([])))

const folder = mkdtempSync(join(tmpdir(), "tasklayer-"))
afterAll(() => {
  rmSync(folder, { recursive: true })
  assert.deepStrictEqual(Processes.children(), [])
})

/** Forks it, and waits until it has told something. */
const begin = <A, E, R>(execute: (onProgress: (told: any) => Effect.Effect<void>) => Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const told = yield* Deferred.make<any>()
    const fiber = yield* Effect.forkChild(execute((value) => Effect.asVoid(Deferred.succeed(told, value))))
    return { fiber, told: yield* Deferred.await(told) }
  })

const busy = (how: (typeof jobs.Busy)["payload"]["Type"]) =>
  begin((onProgress) => jobs.Busy.execute(how, { onProgress }))

const crashOf = (exit: Exit.Exit<unknown, unknown>): Job.JobCrashedError => {
  const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
  assert.instanceOf(defect, Job.JobCrashedError)
  return defect
}

layer(processes({ size: 2, spares: 0, data: { since: 0 }, id: "p" }), { excludeTestServices: true, timeout: 60_000 })(
  "a job in a process",
  (it) => {
    it.effect("returns its result, or its typed error", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
        const error = yield* Effect.flip(jobs.Refuse.execute({ since: new Date(0) }))
        assert.instanceOf(error, jobs.TooOld)
        assert.deepStrictEqual(error.since, new Date(0))
      }))

    it.effect("is in another process, named after the runner, with the data it is given and the run it is", () =>
      Effect.gen(function*() {
        const run = yield* jobs.Where.fork(undefined)
        const where = yield* TaskRun.join(run)
        assert.notStrictEqual(where.pid, process.pid)
        assert.isTrue(Processes.children().includes(where.pid))
        assert.match(where.title, /^tasklayer-p-\d+$/)
        assert.deepInclude(where, { cwd: process.cwd(), data: { since: 0 }, run: run.id })
      }))

    it.effect("takes and gives 10 MB, as bytes and as text", () =>
      Effect.gen(function*() {
        const bytes = yield* jobs.Bytes.execute(new Uint8Array(10_000_000).fill(1))
        assert.strictEqual(bytes.length, 10_000_000)
        assert.isTrue(bytes.every((byte) => byte === 2))
        const text = "é".repeat(5_000_000)
        assert.isTrue((yield* jobs.Text.execute(text)) === text)
      }))

    for (
      const [fault, expected] of [
        ["exit", { reason: "exit", exitCode: 7 }],
        ["throw", { reason: "error", exitCode: 1 }],
        ["reject", { reason: "error", exitCode: 1 }],
        ["disconnect", { reason: "exit", exitCode: 0 }],
        ["sigkill", { reason: "signal", signal: "SIGKILL" }]
      ] as const
    ) {
      it.effect(`that breaks its process (${fault}) died of that, and no other job did`, () =>
        Effect.gen(function*() {
          const bystander = yield* busy({ finalizer: 0 })
          const exit = yield* Effect.exit(jobs.Break.execute(fault))
          assert.deepInclude(crashOf(exit), { job: "break", ...expected })
          assert.match(crashOf(exit).host, /^tasklayer-p-\d+$/)
          assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
          assert.isUndefined(bystander.fiber.pollUnsafe())
          yield* Fiber.interrupt(bystander.fiber)
        }))

      it.effect(`that breaks its process (${fault}) is retried where the job says so`, () =>
        Effect.gen(function*() {
          const pid = yield* jobs.BreakOnce.execute({ fault, file: join(folder, `once-${fault}`) })
          assert.isTrue(Processes.isAlive(pid))
        }))
    }

    for (const how of ["loop", "deaf loop"] as const) {
      it.effect(`in an endless ${how} is interrupted: its process is gone, and no other is`, () =>
        Effect.gen(function*() {
          const bystander = yield* busy({ finalizer: 0 })
          const spinning = yield* busy(how)
          yield* Fiber.interrupt(spinning.fiber)
          assert.isFalse(Processes.isAlive(spinning.told))
          assert.isTrue(Processes.isAlive(bystander.told))
          assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
          yield* Fiber.interrupt(bystander.fiber)
        }))
    }

    it.effect("that can be interrupted is, and keeps its process, however long its finalizers take", () =>
      Effect.gen(function*() {
        const { fiber, told } = yield* busy({ finalizer: 400 })
        const before = performance.now()
        yield* Fiber.interrupt(fiber)
        assert.isAtLeast(performance.now() - before, 390)
        assert.isTrue(Processes.isAlive(told))
      }))

    it.effect("that started a process is interrupted: that is gone, too, asked first and killed then", () =>
      Effect.gen(function*() {
        const asked = join(folder, "asked")
        const script = `trap 'echo >> ${asked}' TERM; echo; while :; do sleep 0.02; done`
        const { fiber, told } = yield* begin((onProgress) => jobs.Shell.execute(script, { onProgress }))
        assert.deepStrictEqual(told.map(Processes.isAlive), [true, true])
        yield* Fiber.interrupt(fiber)
        assert.isFalse(Processes.isAlive(told[0]))
        yield* Effect.promise(() => Processes.allGone(told))
        assert.strictEqual(readFileSync(asked, "utf8"), "\n")
      }))

    it.effect("over its timeout is killed, and timed out", () =>
      Effect.gen(function*() {
        const Hasty = Job.make("busy", { payload: jobs.Busy.payload, timeout: "50 millis" })
        const run = yield* Hasty.fork("loop")
        assert.isTrue(Cause.isTimeoutError(yield* Effect.flip(TaskRun.join(run))))
        const state = yield* run.state
        assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "TimedOut")
      }))
  }
)

describe("a process", () => {
  it.live("has the environment of its runner, and its directory", () =>
    Effect.gen(function*() {
      const env = yield* jobs.Env.execute(["TASKLAYER_A", "HOME", "PATH"])
      assert.deepStrictEqual(env, ["a", null, process.env["PATH"]!])
      assert.strictEqual((yield* jobs.Where.execute(undefined)).cwd, "/")
    }).pipe(Effect.provide(processes({ env: { TASKLAYER_A: "a", HOME: undefined }, cwd: "/", spares: 0 }))))

  it.live("has the environment of each call while that runs", () => {
    const asked: Array<unknown> = []
    const env = (job: string, payload: unknown) => {
      asked.push([job, payload])
      return job === "env" ? { TASKLAYER_A: "of env", HOME: undefined } : { TASKLAYER_B: "of add" }
    }
    return Effect.gen(function*() {
      const names = ["TASKLAYER_A", "TASKLAYER_B", "HOME"]
      assert.deepStrictEqual(yield* jobs.Env.execute(names), ["of env", null, null])
      yield* jobs.Add.execute({ a: 1, b: 2 })
      const Plain = Job.make("env", { payload: jobs.Env.payload, success: jobs.Env.success })
      assert.deepStrictEqual(yield* Plain.execute(names), ["of env", null, null])
      assert.deepStrictEqual(asked, [["env", names], ["add", { a: 1, b: 2 }], ["env", names]])
    }).pipe(Effect.provide(processes({ env, spares: 0 })))
  })

  it.live("an environment that cannot be told is a defect of the call, and of no other", () => {
    const env = (job: string) => {
      if (job === "env") throw new Error("no environment")
      return {}
    }
    return Effect.gen(function*() {
      const exit = yield* Effect.exit(jobs.Env.execute([]))
      assert.strictEqual(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), "Error: no environment")
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(processes({ env, spares: 0 })))
  })

  it.live("has the memory it is given, and no more", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(jobs.Break.execute("memory"))
      assert.deepInclude(crashOf(exit), { reason: "outOfMemory" })
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(processes({ execArgv: ["--max-old-space-size=60"], spares: 0 }))))

  it.live("closes the Layer of its handlers before it ends", () => {
    const told = join(folder, "told")
    return Effect.gen(function*() {
      const { pid } = yield* jobs.Where.execute(undefined)
      return pid
    }).pipe(
      Effect.provide(processes({ data: { told }, spares: 0 })),
      Effect.map((pid) => {
        assert.strictEqual(readFileSync(told, "utf8"), `open ${pid}\nclosed ${pid}\n`)
        assert.isFalse(Processes.isAlive(pid))
      })
    )
  })

  it.live("is waited for while its Layer is built, though nothing else keeps it", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(processes({ data: { slow: 300 }, spares: 0 }))))

  it.live("is reclaimed when it was idle for keepAlive", () =>
    Effect.gen(function*() {
      yield* Effect.all([jobs.Where.execute(undefined), jobs.Where.execute(undefined)], { concurrency: 2 })
      yield* Effect.promise(() => Processes.eventually("one left", () => Processes.children().length === 1))
      assert.deepInclude(yield* ProcessRunner.stats, { minSize: 1, maxSize: 2, allocated: 1 })
    }).pipe(Effect.provide(processes({ minSize: 1, maxSize: 2, size: undefined, spares: 0, keepAlive: "50 millis" }))))
})

describe("what a job prints", () => {
  /** What is said while it runs: level, text, annotations. */
  const said = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.suspend(() => {
      const lines: Array<readonly [level: string, text: string, annotations: unknown]> = []
      const logger = Logger.make(({ fiber, logLevel, message }) => {
        const text = (Array.isArray(message) ? message : [message]).join(" ")
        if (!text.startsWith("scheduler ")) lines.push([logLevel, text, fiber.getRef(References.CurrentLogAnnotations)])
      })
      return effect.pipe(Effect.provide(Logger.layer([logger])), Effect.as(lines))
    })

  it.live("is logged under its run, with the stream and the pid", () =>
    Effect.gen(function*() {
      const { pid } = yield* jobs.Where.execute(undefined)
      const lines = yield* said(
        jobs.Print.execute({ stdout: "one\ntwo", stderr: "careful\n" }).pipe(Effect.annotateLogs("order", 7))
      )
      assert.deepStrictEqual(lines.toSorted(), [
        ["Info", "one", { order: 7, stream: "stdout", pid }],
        ["Info", "two", { order: 7, stream: "stdout", pid }],
        ["Warn", "careful", { order: 7, stream: "stderr", pid }]
      ])
    }).pipe(Effect.provide(processes({ spares: 0 }))))

  it.live("is not what it logs", () =>
    Effect.gen(function*() {
      const lines = yield* said(jobs.Log.execute("by Effect"))
      assert.deepStrictEqual(lines, [["Info", "by Effect", { from: "the host" }]])
    }).pipe(Effect.provide(processes({ spares: 0 }))))

  it.live("is kept apart from what others print", () =>
    Effect.gen(function*() {
      const all = yield* Effect.forEach(
        Array.from({ length: 40 }, (_, i) => i),
        (i) => said(jobs.Print.execute({ stdout: `${i} a\n${i} b\n${i} c` })),
        { concurrency: 8 }
      )
      assert.deepStrictEqual(
        all.map((lines) => lines.map(([, text]) => text)),
        Array.from({ length: 40 }, (_, i) => [`${i} a`, `${i} b`, `${i} c`])
      )
    }).pipe(Effect.provide(processes({ size: 2, spares: 0 }))))
})

describe("what can be wrong with an entry", () => {
  const reasonOf = (options: Partial<ProcessRunner.Options>) =>
    Effect.map(
      Effect.flip(Effect.scoped(Layer.build(processes(options)))),
      (error) => {
        assert.instanceOf(error, ProcessRunner.HostStartError)
        return error.message
      }
    )
  const fixture = (name: string) => new URL(`fixtures/${name}`, import.meta.url)

  it.live("it is not there", () =>
    Effect.gen(function*() {
      assert.include(yield* reasonOf({ entry: fixture("process-missing.ts") }), "Cannot find module")
    }))

  it.live("it is no host", () =>
    Effect.gen(function*() {
      assert.include(yield* reasonOf({ entry: fixture("seed-names.ts") }), "ThreadHost.run")
    }))

  it.live("it is no file", () =>
    Effect.gen(function*() {
      assert.include(yield* reasonOf({ entry: "data:text/javascript," }), "must be of scheme file")
    }))

  it.live("it takes too long", () =>
    Effect.gen(function*() {
      assert.include(yield* reasonOf({ entry: fixture("process-host-late.ts"), startTimeout: 300 }), "300 ms")
      assert.deepStrictEqual(Processes.children(), [])
    }))
})

describe("a runner of processes", () => {
  it.live("counts those whose job waits for another as suspended, and not as allocated", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const { fiber } = yield* begin((onProgress) =>
        jobs.Nest.execute(undefined, { onProgress: (pid: unknown) => Effect.andThen(onProgress(pid), latch.await) })
      )
      const stats = yield* ProcessRunner.stats
      assert.deepInclude(stats, { minSize: 1, maxSize: 1, allocated: 1, active: 1, suspended: 1, idle: 0 })
      assert.deepStrictEqual(stats.keepAlive, Duration.seconds(30))
      yield* latch.open
      const [outer, inner] = yield* Fiber.join(fiber)
      assert.notStrictEqual(outer, inner)
      assert.deepInclude(yield* ProcessRunner.stats, { active: 0, suspended: 0 })
    }).pipe(Effect.provide(processes())))

  it.live("with a lane has the lane's name, and so have its processes and its runs", () =>
    Effect.gen(function*() {
      const run = yield* jobs.Where.fork(undefined)
      assert.strictEqual((yield* TaskRun.join(run)).title, "tasklayer-crunch-1")
      assert.strictEqual(run.lane, "crunch")
    }).pipe(Effect.provide(processes({ lane: "crunch", spares: 0 }))))

  it.live("shares the tag limits there are", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const { fiber } = yield* begin((onProgress) =>
        jobs.Hold.execute(undefined, {
          tags: ["db"],
          onProgress: (pid: unknown) => Effect.andThen(onProgress(pid), latch.await)
        })
      )
      const here = Task.make("here", Effect.void, { tags: ["db"] })
      const refused = yield* Effect.flip(
        Task.refusable(Task.make("here", Effect.void, { tags: ["db"], whenFull: "fail" }))
      )
      assert.strictEqual(refused._tag, "AdmissionError")
      yield* latch.open
      yield* Fiber.join(fiber)
      yield* here
    }).pipe(
      Effect.provide(
        processes({ spares: 0 }).pipe(
          Layer.provideMerge(Scheduler.layerUnbounded),
          Layer.provideMerge(Concurrency.layer({ tagLimits: { db: 1 } }))
        )
      )
    ))

  it.live("interrupted while its first process starts leaves none", () =>
    Effect.gen(function*() {
      for (const millis of [0, 10, 50, 150]) {
        const building = yield* Effect.forkChild(Effect.scoped(Layer.build(processes())))
        yield* Effect.sleep(millis)
        yield* Fiber.interrupt(building)
        assert.deepStrictEqual(Processes.children(), [])
      }
    }))

  it.live("closed while a process starts for a call leaves none", () =>
    Effect.gen(function*() {
      for (const millis of [0, 50]) {
        yield* Effect.gen(function*() {
          yield* Effect.forkChild(jobs.Break.execute("exit"))
          yield* Effect.forkChild(jobs.Add.execute({ a: 1, b: 2 }))
          yield* Effect.sleep(20 + millis)
        }).pipe(Effect.provide(processes({ spares: 0 })))
        assert.deepStrictEqual(Processes.children(), [])
      }
    }))

  it.live("leaves no process, descriptor, handle, timer or listener", () =>
    Effect.gen(function*() {
      const round = Effect.gen(function*() {
        const spinning = yield* busy("loop")
        yield* Effect.exit(jobs.Break.execute("exit"))
        yield* Effect.exit(jobs.Break.execute("throw"))
        yield* jobs.Print.execute({ stdout: "out\n", stderr: "err\n" })
        yield* Fiber.interrupt(spinning.fiber)
        yield* jobs.Add.execute({ a: 1, b: 2 })
        yield* Effect.forkChild(jobs.Busy.execute("deaf loop"))
        yield* Effect.sleep(20)
      }).pipe(Effect.provide(processes({ size: 3 })))
      yield* round
      const before = Processes.held()
      yield* round
      yield* Effect.promise(() => Processes.allReleased(before))
    }))
})
