/** Jobs on worker threads: what one does to its thread harms no other, and its limits, lineage and outcomes are those of any run. */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import type * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Tracer from "effect/Tracer"
import { fileURLToPath } from "node:url"
import { Concurrency, Job, JobRunner, Scheduler, Supervisor, Task, TaskRun, Worker } from "../src/index.ts"
import { ThreadRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/thread-jobs.ts"
import { bundled } from "./suites/Bundle.ts"
import * as Cells from "./suites/Cells.ts"
import * as ChildProcess from "./suites/ChildProcess.ts"
import * as Journal from "./suites/Journal.ts"
import { outcomeOf } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"

const entry = await bundled("thread-host")
const moody = await bundled("thread-moody")
const quietly = Logger.layer([])

/** Shared with all the threads here; each test takes cells of its own. */
const cells = Cells.make(512)
let taken = 0
const cell = (count = 1): number => (taken += count) - count

const loudly = (options?: Partial<ThreadRunner.Options>) =>
  ThreadRunner.layer({ entry, size: 1, data: cells.buffer, ...options })
const threads = (options?: Partial<ThreadRunner.Options>) => Layer.provideMerge(loudly(options), quietly)

/** Forks a job and waits until it has begun. */
const begin = <A, E, R>(began: number, effect: Effect.Effect<A, E, R>) =>
  Effect.tap(effect, () => Cells.reached(cells, began, 1))

const crashOf = (exit: Exit.Exit<unknown, unknown>): Job.JobCrashedError => {
  const defect = Refusal.defect(exit)
  assert.instanceOf(defect, Job.JobCrashedError)
  return defect
}

/** Threads come and go when they do: looks until it is so. */
const eventually = <A, E, R>(effect: Effect.Effect<A, E, R>, is: (a: A) => boolean): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    effect,
    (a) => is(a) ? Effect.succeed(a) : Effect.andThen(TestClock.withLive(Effect.sleep(5)), eventually(effect, is))
  )

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, () => performance.now() - start)
  })

layer(threads({ size: 2, id: "t" }), { timeout: 60_000 })("a job on a thread", (it) => {
  it.effect("returns its result, and its typed error", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
      const error = yield* Effect.flip(jobs.Fail.execute({ why: "not today" }))
      assert.instanceOf(error, jobs.Refused)
      assert.strictEqual(error.why, "not today")
    }))

  it.effect("dies of its own defect, and aborts for its own reason", () =>
    Effect.gen(function*() {
      const defect = Refusal.defect(yield* Effect.exit(jobs.Die.execute({ why: "broken" })))
      assert.instanceOf(defect, Error)
      assert.strictEqual(defect.message, "broken")
      const run = yield* jobs.Abort.fork({ why: "not needed" })
      assert.strictEqual(Refusal.aborted(yield* run.exit), "not needed")
      assert.strictEqual(yield* outcomeOf(run), "Aborted")
    }))

  it.effect("is on a thread that is named, and sees the run it is", () =>
    Effect.gen(function*() {
      const run = yield* jobs.Where.fork(undefined, { tags: ["mine"], id: "known" })
      const { thread, ...seen } = yield* TaskRun.join(run)
      assert.match(thread, /^tasklayer-t-\d+$/)
      const { id, name, parent, root, tags } = run
      assert.deepStrictEqual(seen, { id, name, tags, parent, root, lane: undefined, attempt: 1 })
      assert.deepStrictEqual([id, name, tags], ["known", "where", ["threaded", "mine"]])
    }))

  it.effect("sees whose child it is", () =>
    Effect.gen(function*() {
      const task = Task.make("outer", Effect.all([jobs.Where.execute(undefined), TaskRun.CurrentRun]))
      const [seen, outer] = yield* task
      assert.deepStrictEqual([seen.parent, seen.root], [outer.id, outer.id])
    }).pipe(Effect.provide(Scheduler.layer())))

  it.effect("is checked before anything is queued, by its schemas or by name", () =>
    Effect.gen(function*() {
      const { scheduler } = yield* ThreadRunner.ThreadRunner
      const payload = { a: 1, b: "2" } as any
      for (const execute of [jobs.Add.execute(payload), JobRunner.execute("add", payload)]) {
        const error = yield* Effect.flip(execute)
        assert.instanceOf(error, Job.InvalidPayloadError)
        assert.include(error.message, `["b"]`)
      }
      const unknown = yield* Effect.flip(JobRunner.execute("nothing", {}))
      assert.instanceOf(unknown, Job.UnknownJobError)
      assert.include(unknown.known, "add")
      assert.deepStrictEqual(yield* scheduler.runs, [])
      assert.strictEqual(yield* JobRunner.execute("add", { a: 2, b: 2 }), 4)
      assert.isTrue((yield* JobRunner.jobs).some(({ name }) => name === "add"))
    }))

  it.effect("may run tasks of its own on its thread", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* jobs.Tasks.execute(undefined), [2, 4, 6])
    }))

  it.effect("that waits is interrupted there: its finalizers take their time, and the thread is kept", () =>
    Effect.gen(function*() {
      const [began, ending, ended] = [cell(), cell(), cell()]
      // Those that start are ready before.
      const threads = TestClock.withLive(
        Effect.repeat(Effect.delay(ThreadRunner.stats, 1), { until: ({ starting }) => starting === 0 })
      )
      const before = yield* threads
      const fiber = yield* begin(began, Effect.forkChild(jobs.Linger.execute({ began, ending, ended })))
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* Cells.reached(cells, ending, 1)
      // Longer than killAfter: it answers.
      yield* TestClock.withLive(Effect.sleep(300))
      assert.isUndefined(interrupting.pollUnsafe())
      Cells.add(cells, ended)
      yield* Fiber.join(interrupting)
      assert.strictEqual(Cells.get(cells, ended), 2)
      assert.deepStrictEqual(yield* threads, before)
    }))

  it.effect("that has to wait for a thread is interrupted without one", () =>
    Effect.gen(function*() {
      const [began, until, never] = [cell(), cell(), cell()]
      const holds = yield* Effect.forEach([1, 2], () => jobs.Hold.fork({ began, until }))
      yield* Cells.reached(cells, began, 2)
      const waiting = yield* jobs.Hold.fork({ began: never, until })
      yield* waiting.interrupt
      assert.strictEqual(yield* outcomeOf(waiting), "Interrupted")
      Cells.add(cells, until, 1)
      yield* Effect.forEach(holds, TaskRun.join)
      assert.strictEqual(Cells.get(cells, never), 0)
    }))

  it.effect("in an endless loop is killed, whatever it is interrupted by, and the outcome says so", () =>
    Effect.gen(function*() {
      const began = cell()
      const run = yield* begin(began, jobs.Spin.fork({ began }))
      yield* run.interrupt
      assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      const fiber = yield* begin(cell(0), Effect.forkChild(jobs.Spin.execute({ began: cell() })))
      yield* Fiber.interrupt(fiber)
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(fiber)))
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }))

  it.effect("in an endless loop is timed out", () =>
    Effect.gen(function*() {
      const began = cell()
      const Impatient = Job.make("spin", { payload: jobs.Spin.payload, timeout: "1 minute" })
      const run = yield* begin(began, Impatient.fork({ began }))
      yield* TestClock.adjust("1 minute")
      assert.isTrue(Cause.isTimeoutError(Refusal.error(yield* run.exit)))
      assert.strictEqual(yield* outcomeOf(run), "TimedOut")
    }))

  for (
    const [how, expected] of [
      ["exit", { reason: "exit", exitCode: 7 }],
      ["throw", { reason: "error" }],
      ["reject", { reason: "error" }]
    ] as const
  ) {
    it.effect(`that ends its thread dies of it, typed: ${how}`, () =>
      Effect.gen(function*() {
        const run = yield* jobs.Crash.fork({ how })
        const error = crashOf(yield* run.exit)
        assert.deepInclude({ ...error }, { job: "crash", ...expected })
        assert.match(error.host, /^tasklayer-t-\d+$/)
        if (expected.reason === "error") assert.include(error.detail, "by nobody")
        assert.strictEqual(yield* outcomeOf(run), "Died")
        assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
      }))
  }

  it.effect("that ends its thread is retried where the job says so", () =>
    Effect.gen(function*() {
      const run = yield* jobs.Flaky.fork({ cell: cell(), after: 3 })
      assert.strictEqual(yield* TaskRun.join(run), 3)
      assert.strictEqual(yield* outcomeOf(run), "Succeeded")
    }))

  it.effect("harms no other when it crashes", () =>
    Effect.gen(function*() {
      const [began, until] = [cell(), cell()]
      const bystander = yield* begin(began, jobs.Hold.fork({ began, until }))
      crashOf(yield* Effect.exit(jobs.Crash.execute({ how: "exit" })))
      crashOf(yield* Effect.exit(jobs.Crash.execute({ how: "throw" })))
      Cells.add(cells, until)
      assert.match(yield* TaskRun.join(bystander), /^tasklayer-t-\d+$/)
    }))

  it.effect("cannot be given what cannot be sent, nor return it", () =>
    Effect.gen(function*() {
      const given = Refusal.defect(yield* Effect.exit(jobs.Unsendable.execute(() => {})))
      assert.instanceOf(given, Job.InvalidPayloadError)
      const returned = Refusal.defect(yield* Effect.exit(jobs.Unsendable.execute(1)))
      assert.include(String(returned), "could not be cloned")
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }))

  it.effect("tells its progress in order, and ends after the last", () =>
    Effect.gen(function*() {
      const told: Array<unknown> = []
      const onProgress = (value: unknown) => Effect.andThen(Effect.yieldNow, Effect.sync(() => void told.push(value)))
      yield* jobs.Report.execute({ upTo: 5 }, { onProgress })
      assert.deepStrictEqual(told, [1, 2, 3, 4, 5])
    }))

  it.effect("moves what may be moved, both ways", () =>
    Effect.gen(function*() {
      const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i)
      const reversed = yield* jobs.Reverse.execute(bytes)
      assert.strictEqual(bytes.byteLength, 0)
      assert.deepStrictEqual([reversed.length, reversed[0], reversed[999]], [1000, 999 % 256, 0])
    }))

  it.effect("that forks a job sees its handle: identity, state, end; and may interrupt it", () =>
    Effect.gen(function*() {
      const [began, until] = [cell(), cell()]
      assert.deepStrictEqual(yield* jobs.Watch.execute({ began, until }), [
        "watched hold watched true true",
        "Running",
        "Running",
        "Interrupted",
        "failure"
      ])
    }))

  it.effect("that executes a job with a key joins the run of that key that there is", () =>
    Effect.gen(function*() {
      const [began, until] = [cell(), cell()]
      const payload = { name: "one", began, until }
      const first = yield* begin(began, jobs.Single.fork(payload))
      const second = yield* jobs.Second.fork(payload)
      yield* eventually(second.state, ({ _tag }) => _tag === "Suspended")
      Cells.add(cells, until)
      assert.strictEqual(yield* TaskRun.join(second), yield* TaskRun.join(first))
      assert.strictEqual(Cells.get(cells, began), 1)
    }))

  it.effect("copies what another attempt may need, and what cannot be moved", () =>
    Effect.gen(function*() {
      const bytes = Uint8Array.from([1, 2, 3])
      assert.deepStrictEqual([...yield* jobs.ReverseTwice.execute({ bytes, cell: cell() })], [3, 2, 1])
      assert.deepStrictEqual([...bytes], [1, 2, 3])
      // Node keeps one memory for its small buffers.
      const small = Buffer.from([4, 5])
      assert.deepStrictEqual([...yield* jobs.Reverse.execute(small)], [5, 4])
      assert.deepStrictEqual([...small], [4, 5])
      const shared = new Uint8Array(new SharedArrayBuffer(2)) as unknown as Uint8Array<ArrayBuffer>
      assert.deepStrictEqual([...yield* jobs.Reverse.execute(shared)], [0, 0])
      assert.strictEqual(yield* jobs.Length.execute({ bytes }), 3)
      assert.deepStrictEqual([...bytes], [1, 2, 3])
    }))
})

describe("a crowd of threads", () => {
  it.effect(
    "a spinning job is killed and its thread replaced within 250 ms of the interrupt while 3 bystanders finish",
    () =>
      Effect.gen(function*() {
        const [began, until, spinning] = [cell(), cell(), cell()]
        const bystanders = yield* Effect.forEach([1, 2, 3], () => jobs.Hold.fork({ began, until }))
        const spin = yield* begin(spinning, jobs.Spin.fork({ began: spinning }))
        yield* Cells.reached(cells, began, 3)
        const took = yield* elapsed(Effect.andThen(spin.interrupt, jobs.Where.execute(undefined)))
        assert.isBelow(took, 250)
        assert.isAtLeast(took, 99)
        assert.strictEqual(yield* outcomeOf(spin), "Interrupted")
        Cells.add(cells, until)
        const names = yield* Effect.forEach(bystanders, TaskRun.join)
        assert.strictEqual(new Set(names).size, 3)
      }).pipe(Effect.provide(threads({ size: 4 }))),
    60_000
  )

  it.effect(
    "one that needs more memory than its thread may have dies of it, and no other does",
    () =>
      Effect.gen(function*() {
        const [began, until] = [cell(), cell()]
        const bystander = yield* begin(began, jobs.Hold.fork({ began, until }))
        const error = crashOf(yield* Effect.exit(jobs.Crash.execute({ how: "memory" })))
        assert.strictEqual(error.reason, "outOfMemory")
        Cells.add(cells, until)
        yield* TaskRun.join(bystander)
      }).pipe(Effect.provide(threads({ size: 2, resourceLimits: { maxOldGenerationSizeMb: 24 } }))),
    60_000
  )
})

layer(threads({ size: 1, id: "n", tagLimits: { closed: 0 } }), { timeout: 60_000 })(
  "a job that executes jobs, on one thread",
  (it) => {
    it.effect("waits for them as any run does: its slot is lent, and they have threads of their own", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* jobs.Chain.execute({ depth: 2 }), 2)
        const [began, until] = [cell(), cell(2)]
        const twins = yield* jobs.Twins.fork({ began, until })
        yield* Cells.reached(cells, began, 1)
        const { active, allocated, suspended } = yield* ThreadRunner.stats
        assert.deepStrictEqual({ active, allocated, suspended }, { active: 1, allocated: 1, suspended: 1 })
        assert.strictEqual((yield* twins.state)._tag, "Suspended")
        Cells.add(cells, until)
        yield* Cells.reached(cells, began, 2)
        assert.strictEqual((yield* twins.state)._tag, "Suspended")
        Cells.add(cells, until + 1)
        yield* TaskRun.join(twins)
      }))

    it.effect("is their parent", () =>
      Effect.gen(function*() {
        const journal = Journal.make()
        const { scheduler } = yield* ThreadRunner.ThreadRunner
        const run = yield* jobs.Chain.fork({ depth: 1 })
        const children: Array<unknown> = []
        while (children.length === 0) {
          yield* Effect.yieldNow
          for (const other of yield* scheduler.runs) {
            if (other.id !== run.id) children.push([other.name, other.parent, other.root])
          }
        }
        assert.deepStrictEqual(children, [["chain", run.id, run.id]])
        yield* TaskRun.join(run)
        assert.deepStrictEqual(journal.events, [])
      }))

    for (const forks of [false, true]) {
      const parent = (job: string, payload: Schema.Json) => jobs.Parent.execute({ job, payload, forks })
      it.effect(`sees how they end, ${forks ? "forked" : "executed"} by name`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* parent("add", { a: 1, b: 2 }), "3")
          assert.include(yield* parent("fail", { why: "not today" }), `"why":"not today"`)
          assert.include(yield* parent("die", { why: "broken" }), "broken")
          assert.include(yield* parent("abort", { why: "not needed" }), "TaskAborted")
          assert.include(yield* parent("nothing", {}), "UnknownJobError")
          assert.include(yield* parent("add", { a: 1 }), "InvalidPayloadError")
          assert.include(yield* parent("crash", { how: "exit" }), "exited with code 7")
          assert.strictEqual(yield* parent("flaky", { cell: cell(), after: 2 }), "2")
        }))
    }

    it.effect("has them retried by its own policy, and hears of their progress", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* jobs.Foreman.execute({ cell: cell() }), { attempts: 3, progress: [1, 2, 3] })
      }))

    it.effect("is told what cannot be, typed where it asks for that", () =>
      Effect.gen(function*() {
        const [began, until] = [cell(), cell()]
        const run = yield* begin(began, jobs.Optimist.fork({ began, until }))
        yield* TestClock.adjust("1 minute")
        const [executed, forked, late] = yield* TaskRun.join(run)
        for (const told of [executed, forked]) {
          assert.include(told, `AdmissionError: "add" was not admitted: the limit of "closed" is 0`)
        }
        assert.include(late, "TimeoutError: timed out after 1m")
      }))

    it.effect("that would wait for itself is told so", () =>
      Effect.gen(function*() {
        const defect = Refusal.defect(yield* Effect.exit(jobs.Ouroboros.execute(undefined)))
        assert.include(String(defect), "it would wait for ever")
      }))

    it.effect("ends them with it: interrupted, killed, or crashed", () =>
      Effect.gen(function*() {
        const { scheduler } = yield* ThreadRunner.ThreadRunner
        for (const how of ["wait", "spin", "exit"] as const) {
          const [began, ready] = [cell(), cell()]
          const run = yield* jobs.Neglect.fork({ began, how, ready })
          yield* Cells.reached(cells, ready, 1)
          const [child] = (yield* scheduler.runs).filter(({ parent }) => parent === run.id)
          if (how !== "exit") yield* run.interrupt
          const exit = yield* run.exit
          if (how === "exit") assert.strictEqual(crashOf(exit).exitCode, 3)
          else assert.isTrue(Refusal.interrupted(exit))
          assert.strictEqual(yield* outcomeOf(child!), "Interrupted")
        }
        assert.deepStrictEqual(yield* scheduler.runs, [])
      }))
  }
)

describe("what a thread says", () => {
  it.effect("is logged under the run: by its loggers, with its annotations, at the level it was said at", () => {
    const lines: Array<Record<string, unknown>> = []
    const logger = Logger.make(({ cause, fiber, logLevel, message }) => {
      lines.push({
        logLevel,
        message,
        cause: cause.reasons.length === 0 ? undefined : Cause.pretty(cause).split("\n")[0],
        annotations: fiber.getRef(References.CurrentLogAnnotations),
        spans: fiber.getRef(References.CurrentLogSpans).map(([label]) => label)
      })
    })
    return Effect.gen(function*() {
      const say = jobs.Say.execute({ text: "hello", secret: "12345" }).pipe(
        Effect.annotateLogs("in", "the runner"),
        Effect.annotateLogs("mine", 1),
        Effect.withLogSpan("asking")
      )
      yield* say
      const [hello, wrong] = lines.splice(0)
      assert.deepStrictEqual(hello, {
        logLevel: "Info",
        message: ["hello", { a: 1, secret: "<redacted>" }],
        cause: undefined,
        annotations: { in: "the thread", mine: 1 },
        spans: ["saying", "asking"]
      })
      const [error] = wrong!["message"] as [Error & { why: string }]
      assert.deepStrictEqual(
        [wrong!["logLevel"], error instanceof Error, error.name, error.why, wrong!["cause"]],
        ["Error", true, "Refused", "it is wrong", "Error: inner"]
      )
      yield* Effect.provideService(say, References.MinimumLogLevel, "Debug")
      assert.deepStrictEqual(lines.splice(0).map(({ logLevel }) => logLevel), ["Info", "Debug", "Error"])
      yield* Effect.provideService(say, References.MinimumLogLevel, "None")
      assert.deepStrictEqual(lines, [])
    }).pipe(Effect.provide(Layer.merge(loudly(), Logger.layer([logger]))))
  }, 60_000)

  it.effect("is traced under the span of the run, where somebody traces", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return Effect.gen(function*() {
      const before = Date.now()
      yield* jobs.Trace.execute({ fails: false }).pipe(Effect.withSpan("root"), Effect.withTracer(tracer))
      const [root, outer, inner] = spans.splice(0)
      assert.deepStrictEqual([root?.name, outer?.name, inner?.name], ["root", "outer", "inner"])
      assert.deepStrictEqual([Option.getOrUndefined(outer!.parent), Option.getOrUndefined(inner!.parent)], [
        root,
        outer
      ])
      assert.deepStrictEqual([outer!.traceId, inner!.traceId], [root!.traceId, root!.traceId])
      assert.deepStrictEqual([...inner!.attributes], [["n", 1], ["deep", true]])
      assert.deepStrictEqual(inner!.events.map(([name]) => name), ["half way"])
      const status = inner!.status
      assert.isTrue(status._tag === "Ended" && Exit.isSuccess(status.exit) && status.endTime >= status.startTime)
      assert.isAtLeast(Number(status.startTime / 1_000_000n), before)
      yield* Effect.exit(jobs.Trace.execute({ fails: true }).pipe(Effect.withTracer(tracer)))
      const [top, deep] = spans.splice(0)
      assert.isTrue(Option.isNone(top!.parent))
      for (const { status } of [top!, deep!]) {
        assert.isTrue(status._tag === "Ended" && Exit.isFailure(status.exit))
        assert.include(status._tag === "Ended" ? String(Refusal.defect(status.exit)) : "", "no")
      }
      // Nobody listens: nothing is told.
      yield* jobs.Trace.execute({ fails: false })
      assert.deepStrictEqual(spans, [])
    }).pipe(Effect.provide(threads()))
  }, 60_000)

  it.effect("is heard no more where it crashes: its open spans end with it", () => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return Effect.gen(function*() {
      crashOf(yield* Effect.exit(Effect.withTracer(jobs.Crash.execute({ how: "exit" }), tracer)))
      assert.deepStrictEqual(spans.map(({ name, status }) => [name, status._tag]), [["crashing", "Ended"]])
    }).pipe(Effect.provide(threads()))
  }, 60_000)
})

describe("the limits of jobs on threads", () => {
  it.effect("are those of any run: tags shared with other schedulers, priorities, and how many run at once", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const [began, until] = [cell(), cell()]
      const task = yield* Task.fork(Task.make("here", Cells.reached(cells, until, 1), { tags: ["db"] }))
      const tagged = yield* jobs.Hold.fork({ began, until }, { tags: ["db"] })
      const free = yield* begin(began, jobs.Hold.fork({ began, until }))
      const [low, high] = [
        yield* jobs.Add.fork({ a: 1, b: 1 }, { priority: "low" }),
        yield* jobs.Add.fork({ a: 1, b: 1 })
      ]
      assert.deepStrictEqual(yield* tagged.state, {
        _tag: "Waiting",
        for: [{ _tag: "Limit", limit: "maxParallelism" }, { _tag: "Limit", limit: "db" }]
      })
      Cells.add(cells, until)
      yield* TaskRun.awaitAll<unknown, unknown>([task, tagged, free, low, high])
      const order = journal.events.flatMap((event) => event._tag === "Started" ? [event.run.id] : [])
      assert.isBelow(order.indexOf(high.id), order.indexOf(low.id))
    }).pipe(
      Effect.provide(
        Layer.provideMerge(
          Layer.merge(threads(), Scheduler.layer()),
          Concurrency.layer({ tagLimits: { db: 1 } })
        )
      ),
      journal.listen
    )
  }, 60_000)

  it.effect("take no slot of the scheduler whose run waits for them", () =>
    Effect.gen(function*() {
      const [began, until] = [cell(), cell()]
      const waiting = yield* Task.fork(Task.make("waits", jobs.Hold.execute({ began, until })))
      yield* Cells.reached(cells, began, 1)
      assert.strictEqual((yield* waiting.state)._tag, "Suspended")
      assert.strictEqual(yield* Task.make("other", Effect.succeed("in the meantime")), "in the meantime")
      Cells.add(cells, until)
      yield* TaskRun.join(waiting)
    }).pipe(Effect.provide(Layer.merge(threads(), Scheduler.layer({ maxParallelism: 1 })))), 60_000)

  it.effect("are told of by the events of its scheduler", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const run = yield* jobs.Add.fork({ a: 1, b: 2 })
      yield* TaskRun.join(run)
      assert.deepStrictEqual(journal.facts({ id: run.id }), ["Submitted", "Waiting", "Started", "Finished"])
    }).pipe(Effect.provide(threads()), journal.listen)
  }, 60_000)
})

describe("the threads of a runner", () => {
  const counts = Effect.map(ThreadRunner.stats, ({ active, allocated, idle, spares, suspended }) => ({
    active,
    allocated,
    idle,
    spares,
    suspended
  }))
  it.effect(
    "are as many as are needed, up to maxSize, and end when they were idle for keepAlive",
    () =>
      Effect.gen(function*() {
        const before = yield* ThreadRunner.stats
        assert.deepInclude(before, { minSize: 1, maxSize: 3, keepAlive: Duration.millis(50) })
        assert.deepStrictEqual(yield* counts, { active: 0, allocated: 1, idle: 1, suspended: 0, spares: 1 })
        const [began, until] = [cell(), cell()]
        const runs = yield* Effect.forEach(Arr.range(1, 4), () => jobs.Hold.fork({ began, until }))
        yield* Cells.reached(cells, began, 3)
        assert.deepStrictEqual(yield* counts, { active: 3, allocated: 3, idle: 0, suspended: 0, spares: 1 })
        Cells.add(cells, until)
        yield* TaskRun.awaitAll(runs)
        yield* eventually(counts, ({ allocated }) => allocated === 1)
        assert.deepStrictEqual(yield* counts, { active: 0, allocated: 1, idle: 1, suspended: 0, spares: 1 })
      }).pipe(Effect.provide(threads({ size: undefined, minSize: 1, maxSize: 3, keepAlive: 50 }))),
    60_000
  )

  it.effect(
    "end at once when the size is lowered below them, those that work when they are done",
    () =>
      Effect.gen(function*() {
        const [began, until] = [cell(), cell()]
        const runs = yield* Effect.forEach([1, 2], () => jobs.Hold.fork({ began, until }))
        yield* Cells.reached(cells, began, 2)
        yield* ThreadRunner.resize(1)
        assert.deepStrictEqual(yield* counts, { active: 2, allocated: 2, idle: 0, suspended: 0, spares: 0 })
        Cells.add(cells, until)
        yield* TaskRun.awaitAll(runs)
        yield* eventually(counts, ({ allocated, spares }) => allocated === 1 && spares === 0)
        yield* ThreadRunner.resize({ minSize: 2, maxSize: 3 })
        assert.deepStrictEqual(yield* counts, { active: 0, allocated: 2, idle: 2, suspended: 0, spares: 0 })
      }).pipe(Effect.provide(threads({ size: 3, spares: 0 }))),
    60_000
  )

  it.effect("cannot be resized to what cannot be", () =>
    Effect.gen(function*() {
      for (
        const [size, field] of [
          [0, "size"],
          [1.5, "size"],
          [Number.NaN, "size"],
          [{ minSize: 3 }, "minSize"],
          [{ maxSize: 0 }, "maxSize"],
          [{ minSize: -1 }, "minSize"]
        ] as const
      ) {
        const error = yield* Effect.flip(ThreadRunner.resize(size))
        assert.deepStrictEqual([error._tag, error.where, error.field], [
          "InvalidOptionError",
          "ThreadRunner.resize",
          field
        ])
      }
      assert.deepInclude(yield* ThreadRunner.stats, { minSize: 1, maxSize: 1 })
    }).pipe(Effect.provide(threads())), 60_000)

  it.effect("have a Layer each, closed when they end, and `initialise` runs once in each", () => {
    const own = Cells.make(4)
    return Effect.gen(function*() {
      yield* Effect.gen(function*() {
        assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
        yield* Cells.reached(own, 1, 3)
      }).pipe(Effect.provide(threads({ entry: moody, size: 2, data: own.buffer })))
      assert.deepStrictEqual([Cells.get(own, 1), Cells.get(own, 2)], [3, 3])
    })
  }, 60_000)

  it.effect("that do not come up again are tried again; calls wait, and fail when it goes on", () => {
    const own = Cells.make(4)
    return Effect.gen(function*() {
      Cells.add(own, 0, 1)
      crashOf(yield* Effect.exit(jobs.Crash.execute({ how: "exit" })))
      const error = crashOf(yield* Effect.exit(jobs.Add.execute({ a: 1, b: 2 })))
      assert.strictEqual(error.reason, "error")
      assert.include(error.detail, "in a mood")
      const waiting = yield* jobs.Add.fork({ a: 2, b: 2 })
      Cells.add(own, 0, -1)
      assert.strictEqual(yield* TaskRun.join(waiting), 4)
    }).pipe(Effect.provide(threads({ entry: moody, spares: 0, data: own.buffer })))
  }, 60_000)

  const starts = (options: Partial<ThreadRunner.Options>) =>
    Effect.flip(Effect.scoped(Layer.build(threads({ spares: 0, ...options }))))

  for (
    const [why, source, said] of [
      ["is not there", new URL("./fixtures/nowhere.ts", import.meta.url), "nowhere.ts"],
      ["throws", new URL("data:text/javascript,throw new Error('no luck')"), "no luck"],
      ["is no host", new URL("data:text/javascript,0"), "ThreadHost.run"],
      ["is late", new URL("data:text/javascript,setInterval(() => {}, 1000)"), "within 500 ms"]
    ] as const
  ) {
    it.effect(`fail the Layer when the entry ${why}`, () =>
      Effect.gen(function*() {
        const error = yield* starts({ entry: source, startTimeout: 500 })
        assert.instanceOf(error, ThreadRunner.HostStartError)
        assert.include(error.message, said)
        if (why === "is not there") assert.include(error.entry, "fixtures/nowhere.ts")
      }), 60_000)
  }

  it.effect("fail the Layer when `initialise` does, or never ends", () =>
    Effect.gen(function*() {
      const own = Cells.make(4)
      for (const said of ["in a mood", "within 2000 ms"]) {
        Cells.add(own, 0)
        const error = yield* starts({ entry: moody, startTimeout: 2000, data: own.buffer })
        assert.include(error.message, said)
      }
    }), 60_000)

  it.effect("are not started by options that cannot be", () =>
    Effect.gen(function*() {
      for (
        const [options, field] of [
          [{ size: 0 }, "size"],
          [{ size: 1.5 }, "size"],
          [{ size: 2, maxSize: 3 }, "size"],
          [{ size: undefined, minSize: 3, maxSize: 2 }, "minSize"],
          [{ size: undefined, maxSize: 0 }, "maxSize"],
          [{ spares: -1 }, "spares"],
          [{ keepAlive: -1 }, "keepAlive"],
          [{ killAfter: "soon" as "1 second" }, "killAfter"],
          [{ maxQueued: -1 }, "maxQueued"]
        ] as const
      ) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(threads(options))))
        assert.strictEqual(Refusal.invalid(exit)?.field, field, JSON.stringify(options))
      }
    }), 60_000)
})

describe("closing", () => {
  it.live(
    "drains what was accepted, then interrupts the rest, and leaves no thread, timer or port",
    () =>
      Effect.gen(function*() {
        const [began, until, spinning] = [cell(), cell(), cell()]
        let runs: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>> = []
        yield* Effect.gen(function*() {
          const held = yield* begin(began, jobs.Hold.fork({ began, until }))
          const spin = yield* begin(spinning, jobs.Spin.fork({ began: spinning }))
          runs = [held, spin, yield* jobs.Add.fork({ a: 1, b: 2 })]
          yield* Effect.forkDetach(Effect.map(Effect.sleep(50), () => Cells.add(cells, until)))
        }).pipe(Effect.provide(threads({ size: 2, gracePeriod: 500 })))
        assert.deepStrictEqual(yield* Effect.forEach(runs, outcomeOf), ["Succeeded", "Interrupted", "Succeeded"])
        assert.isFalse(process.getActiveResourcesInfo().some((name) => /Worker|Port/.test(name)))
      }),
    60_000
  )

  it.live("kills what was abandoned, and closes the Layers of the others", () => {
    const own = Cells.make(4)
    return Effect.gen(function*() {
      const [began, ending, ended] = [cell(), cell(), cell()]
      let run: TaskRun.TaskRun<unknown> | undefined
      yield* Effect.gen(function*() {
        run = yield* begin(began, jobs.Linger.fork({ began, ending, ended }))
      }).pipe(Effect.provide(threads({ interruptTimeout: 50 })))
      assert.strictEqual(yield* outcomeOf(run!), "Abandoned")
      assert.deepStrictEqual([Cells.get(cells, ending), Cells.get(cells, ended)], [1, 0])
      // A Layer that takes its time is given it: it answers.
      Cells.add(own, 3, 1)
      yield* Effect.provide(jobs.Add.execute({ a: 1, b: 2 }), threads({ entry: moody, spares: 0, data: own.buffer }))
      assert.strictEqual(Cells.get(own, 2), 1)
    })
  }, 60_000)

  it.live(
    "is not needed for the process to end: threads keep it while they work or are waited for",
    () =>
      Effect.promise(async () => {
        const { code, signal, stdout } = await ChildProcess.run(
          fileURLToPath(new URL("./fixtures/thread-left.ts", import.meta.url)),
          [entry.href]
        )
        assert.deepStrictEqual([code, signal, stdout.trim()], [0, null, "3"])
      }),
    60_000
  )
})

describe("a thread lane", () => {
  it.live(
    "is a runner of one thread, named after it: an endless loop there delays no timer here",
    () =>
      Effect.gen(function*() {
        const began = cell()
        const { lane, thread } = yield* jobs.Where.execute(undefined)
        assert.strictEqual(lane, "crunch")
        // Of the thread and its spare, whichever came up first.
        assert.match(thread, /^tasklayer-crunch-[12]$/)
        const worker = yield* Worker.loop("cruncher", jobs.Spin.execute({ began }))
        yield* worker.start()
        yield* Cells.reached(cells, began, 1)
        let late = 0
        for (let i = 0; i < 20; i++) late = Math.max(late, (yield* elapsed(Effect.sleep(5))) - 5)
        assert.isBelow(late, 100)
        yield* worker.stop("interrupt")
        assert.strictEqual((yield* jobs.Where.execute(undefined)).thread, "tasklayer-crunch-2")
      }).pipe(
        Effect.provide(Layer.mergeAll(threads({ lane: "crunch", spares: 0 }), Supervisor.layer(), Scheduler.layer()))
      ),
    60_000
  )
})
