/** FL: what aio-fluid's TaskScheduler promises of runs in the process. */
import { assert, describe, it, layer, vi } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import { Concurrency, Job, JobRunner, Periodic, Scheduler, Supervisor, Task, TaskRun, Trigger } from "../src/index.ts"
import { ProcessRunner, ThreadRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/process-jobs.ts"
import * as threadJobs from "./fixtures/thread-jobs.ts"
import * as Cells from "./suites/Cells.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import * as Processes from "./suites/Processes.ts"
import { elapsed } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

// Processes take their time to start where others do, too.
vi.setConfig({ testTimeout: 60_000 })

class Flaky extends Data.TaggedError("Flaky")<{ readonly attempt: number }> {}
class Fatal extends Data.TaggedError("Fatal")<{}> {}

describe("FL", () => {
  const endings = {
    Succeeded: Effect.void,
    Failed: Effect.fail("failed"),
    Aborted: Task.abort("enough")
  }
  for (const [ending, end] of Object.entries(endings)) {
    it.effect(`FL-2 a run that ends ${ending} is told of once at each step, in order, with its times`, () => {
      const journal = Journal.make()
      return Effect.gen(function*() {
        const first = yield* Task.fork(Task.make("first", Effect.sleep("1 second")))
        const run = yield* Task.fork(Task.make("told", Effect.andThen(Effect.sleep("2 seconds"), end)))
        yield* TestClock.adjust("3 seconds")
        yield* TaskRun.awaitAll<unknown, unknown>([first, run])
        assert.deepStrictEqual(journal.facts(run), ["Submitted", "Waiting", "Started", "Finished"])
        const facts = journal.of(run)
        const times = facts.map((event) => DateTime.toEpochMillis(event.at))
        assert.deepStrictEqual(times, [0, 0, 1000, 3000])
        assert.isTrue(facts.every((event) => Object.isFrozen(event)))
        const [, waiting, started, finished] = facts
        assert.deepStrictEqual(waiting?._tag === "Waiting" && waiting.for, [{ _tag: "Limit", limit: "maxParallelism" }])
        assert.strictEqual(started?._tag === "Started" && started.attempt, 1)
        assert.isTrue(finished?._tag === "Finished")
        if (finished?._tag !== "Finished") return
        assert.strictEqual(finished.outcome._tag, ending)
        assert.deepStrictEqual(
          [finished.inQueue, finished.duration, finished.total].map((duration) => Duration.toMillis(duration)),
          [1000, 2000, 3000]
        )
        assert.deepStrictEqual([finished.run.id, finished.run.name], [run.id, "told"])
        const admitted = journal.of(first)[1]
        assert.deepStrictEqual(admitted?._tag === "Waiting" && admitted.for, [])
      }).pipe(Effect.provide(pool(1)), journal.listen)
    })
  }

  it.effect("FL-4 run inline, a task's typed error reaches the caller", () =>
    Effect.gen(function*() {
      const task = Task.make("broken", Effect.fail(new Fatal()))
      assert.strictEqual((yield* Effect.flip(task))._tag, "Fatal")
      const run = yield* Task.fork(task)
      assert.strictEqual((yield* run.state)._tag, "Finished")
      assert.strictEqual((yield* Effect.flip(TaskRun.join(run)))._tag, "Fatal")
    }).pipe(Effect.provide(Scheduler.layerInline)))

  for (const [name, runner] of [["inline", Scheduler.layerInline], ["in a pool", pool(1)]] as const) {
    it.effect(`FL-4 run ${name}, a task that aborts with a reason is aborted: not retried, not logged as an error`, () => {
      const journal = Journal.make()
      const log = LogBook.make()
      return Effect.gen(function*() {
        let attempts = 0
        const task = Task.make(
          "aborting",
          Effect.andThen(Effect.sync(() => attempts++), Task.abort("nothing to do"))
        ).pipe(Task.withRetry({ times: 3 }))
        const run = yield* Task.fork(task)
        const exit = yield* run.exit
        assert.strictEqual(Refusal.aborted(exit), "nothing to do")
        const state = yield* run.state
        assert.isTrue(state._tag === "Finished" && state.outcome._tag === "Aborted")
        if (state._tag !== "Finished" || state.outcome._tag !== "Aborted") return
        assert.strictEqual(state.outcome.reason, "nothing to do")
        assert.strictEqual(attempts, 1)
        assert.deepStrictEqual(journal.facts(run), ["Submitted", "Waiting", "Started", "Finished"])
      }).pipe(
        Effect.provide(runner),
        journal.listen,
        log.keep,
        Effect.tap(
          Effect.sync(() =>
            assert.deepStrictEqual(log.lines.filter((line) => line.level !== "Info" && line.level !== "Debug"), [])
          )
        )
      )
    })
  }

  it.effect("FL-8 one at a time and refusing the rest: one succeeds, the other is refused", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const task = Task.make("alone", latch.await, { limit: 1, whenFull: "fail" })
      const one = yield* Task.fork(task)
      const two = yield* Task.fork(task)
      const reason = Refusal.died(yield* two.exit)
      assert.strictEqual(reason?._tag, "WouldWait")
      const state = yield* two.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Refused")
      assert.strictEqual((yield* Scheduler.stats).tasks["alone"], 1)
      yield* latch.open
      yield* TaskRun.join(one)
      assert.strictEqual((yield* Scheduler.stats).tasks["alone"] ?? 0, 0)
      yield* task
    }).pipe(Effect.provide(pool(4))))

  it.effect("FL-8 refused ones that try again both succeed", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const task = Task.make("alone", gauge.inside(Effect.sleep("1500 millis")), { limit: 1, whenFull: "fail" })
      const patient = Effect.retry(Task.refusable(task), {
        schedule: Schedule.spaced("1 second"),
        while: (error) => error.reason._tag === "WouldWait"
      })
      const both = yield* Effect.forkChild(elapsed(Effect.all([patient, patient], { concurrency: 2 })))
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* Fiber.join(both), 3500)
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(pool(4))))

  it.effect("FL-8 waiting, both succeed, and the hand-over takes no time", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const task = Task.make(
        "alone",
        Effect.gen(function*() {
          starts.push(yield* Clock.currentTimeMillis)
          yield* Effect.sleep("1 second")
        }),
        { limit: 1 }
      )
      const both = yield* Effect.forkChild(Task.all([task, task]))
      yield* TestClock.adjust("500 millis")
      assert.strictEqual((yield* Scheduler.stats).tasks["alone"], 1)
      yield* Task.make("other", Effect.void)
      yield* TestClock.adjust("1500 millis")
      yield* Fiber.join(both)
      assert.deepStrictEqual(starts, [0, 1000])
      assert.strictEqual((yield* Scheduler.stats).tasks["alone"] ?? 0, 0)
    }).pipe(Effect.provide(pool(4))))

  const backoff = Schedule.min([Schedule.exponential("1 second", 2), Schedule.spaced("3 seconds")])

  it.effect("FL-9 three retries, backing off 1, 2 and at most 3 seconds, are four attempts and a failure", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const task = Task.make(
        "failing",
        Effect.gen(function*() {
          starts.push(yield* Clock.currentTimeMillis)
          return yield* new Flaky({ attempt: starts.length })
        })
      ).pipe(Task.withRetry({ schedule: backoff, times: 3 }))
      const run = yield* Task.fork(task)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(starts, [0, 1000, 3000, 6000])
      assert.deepStrictEqual(Refusal.error(yield* run.exit), new Flaky({ attempt: 4 }))
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "Failed")
    }).pipe(Effect.provide(pool(1))))

  it.effect("FL-9 an error the policy does not name is not retried", () =>
    Effect.gen(function*() {
      let attempts = 0
      const task = Task.make(
        "fatal",
        Effect.suspend((): Effect.Effect<void, Fatal | Flaky> => {
          attempts++
          return Effect.fail(new Fatal())
        })
      ).pipe(Task.withRetry({ while: (error) => error._tag === "Flaky", schedule: backoff }))
      assert.strictEqual((yield* Effect.flip(task))._tag, "Fatal")
      assert.strictEqual(attempts, 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("FL-9 without a bound, attempts stop at success", () =>
    Effect.gen(function*() {
      let attempts = 0
      const task = Task.make(
        "stubborn",
        Effect.suspend(() => ++attempts < 50 ? Effect.fail("again") : Effect.succeed(attempts))
      )
      assert.strictEqual(yield* task.pipe(Task.withRetry(Schedule.forever)), 50)
    }).pipe(Effect.provide(pool(1))))

  it.effect("FL-11 the second attempt starts exactly the delay after the first failed; one end is told", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      let attempts = 0
      const task = Task.make(
        "second time",
        Effect.andThen(
          Effect.sleep("200 millis"),
          Effect.suspend(() => ++attempts < 2 ? Effect.fail("first") : Effect.void)
        )
      ).pipe(Task.withRetry(Schedule.spaced("500 millis")))
      const run = yield* Task.fork(task)
      yield* TestClock.adjust("200 millis")
      const state = yield* run.state
      assert.deepStrictEqual(
        state._tag === "Waiting" &&
          state.for.map((reason) => reason._tag === "Retry" && DateTime.toEpochMillis(reason.at)),
        [700]
      )
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(run)
      const facts = journal.of(run)
      const starts = facts.filter((event) => event._tag === "Started")
      assert.deepStrictEqual(starts.map((event) => [event.attempt, DateTime.toEpochMillis(event.at)]), [[1, 0], [
        2,
        700
      ]])
      const failures = facts.filter((event) => event._tag === "AttemptFailed")
      assert.deepStrictEqual(
        failures.map((
          event
        ) => [event.attempt, DateTime.toEpochMillis(event.at), DateTime.toEpochMillis(event.retryAt)]),
        [[1, 200, 700]]
      )
      assert.strictEqual(Refusal.error(Exit.failCause(failures[0]!.cause)), "first")
      assert.strictEqual(facts.filter((event) => event._tag === "Finished").length, 1)
    }).pipe(Effect.provide(pool(1)), journal.listen)
  })

  it.effect("FL-12 a body over its timeout is interrupted, its finalizers run, and it failed by timeout", () =>
    Effect.gen(function*() {
      let cleaned = -1
      const clean = Effect.flatMap(Clock.currentTimeMillis, (now) =>
        Effect.sync(() => {
          cleaned = now
        }))
      const task = Task.make("slow", Effect.ensuring(Effect.sleep("5 seconds"), clean), { tags: ["db"] }).pipe(
        Task.withTimeout("2 seconds")
      )
      const run = yield* Task.fork(task)
      yield* TestClock.adjust("1999 millis")
      assert.strictEqual((yield* run.state)._tag, "Running")
      yield* TestClock.adjust("1 millis")
      const error = yield* Effect.flip(TaskRun.join(run))
      assert.isTrue(Cause.isTimeoutError(error))
      assert.strictEqual(cleaned, 2000)
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "TimedOut")
      const db = yield* Concurrency.read("db")
      assert.strictEqual(db._tag === "Some" && db.value.active, 0)
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))
})

const processes = ProcessRunner.layer({
  entry: new URL("fixtures/process-entry.ts", import.meta.url),
  size: 1,
  killAfter: "300 millis"
})

layer(processes, { excludeTestServices: true, timeout: 60_000 })("FL: tasks bound by the CPU, in processes", (it) => {
  /** Of jobs that tell pids: forks one under a timeout, and waits for what it tells. */
  const fork = <P extends Schema.Top>(job: Job.Job<string, P, any, any>, payload: P["Type"]) =>
    Effect.gen(function*() {
      const told = yield* Deferred.make<any>()
      const Hasty = Job.make(job.name, { payload: job.payload, timeout: "2 seconds" })
      const onProgress = (pids: unknown) => Effect.asVoid(Deferred.succeed(told, pids))
      const run = yield* Hasty.fork(payload as any, { onProgress })
      return { run, told: yield* Deferred.await(told) }
    })
  const timedOut = (run: TaskRun.TaskRun<unknown, unknown>) =>
    Effect.gen(function*() {
      assert.isTrue(Cause.isTimeoutError(yield* Effect.flip(TaskRun.join(run))))
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "TimedOut")
    })

  it.effect("FL-12 a job in a process that spins is terminated, and its pid is gone", () =>
    Effect.gen(function*() {
      const { run, told } = yield* fork(jobs.Busy, "loop")
      assert.isTrue(Processes.isAlive(told))
      yield* timedOut(run)
      assert.isFalse(Processes.isAlive(told))
    }))

  it.effect("FL-12 a job in a process that is deaf to SIGTERM is killed after the grace, and its pid is gone", () =>
    Effect.gen(function*() {
      const before = performance.now()
      const { run, told } = yield* fork(jobs.Busy, "deaf loop")
      yield* timedOut(run)
      // Asked for an answer, then to end, each time for `killAfter`.
      assert.isAtLeast(performance.now() - before, 2_590)
      assert.isFalse(Processes.isAlive(told))
    }))

  it.effect("FL-12 a command that a job started in its process ends with it, and its pid is gone", () =>
    Effect.gen(function*() {
      const { run, told } = yield* fork(jobs.Shell, "trap '' TERM; echo; while :; do sleep 0.02; done")
      assert.deepStrictEqual(told.map(Processes.isAlive), [true, true])
      yield* timedOut(run)
      yield* Effect.promise(() => Processes.allGone(told))
    }))

  it.effect("a task bound by the CPU is computed elsewhere, while timers here go on", () =>
    Effect.gen(function*() {
      let ticks = 0
      const ticking = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep("10 millis"), Effect.sync(() => ticks++)))
      )
      const { millis, pid, primes } = yield* jobs.Primes.execute({ below: 2_000_000 })
      yield* Fiber.interrupt(ticking)
      assert.strictEqual(primes, 148_933)
      assert.notStrictEqual(pid, process.pid)
      // Here, or where there is one CPU, they share it.
      assert.isAbove(ticks, millis / 200)
    }))

  it.effect("a task bound by the CPU ends in an error of its own, and its process goes on", () =>
    Effect.gen(function*() {
      const { pid } = yield* jobs.Where.execute(undefined)
      assert.instanceOf(yield* Effect.flip(jobs.Refuse.execute({ since: new Date(0) })), jobs.TooOld)
      assert.strictEqual((yield* jobs.Where.execute(undefined)).pid, pid)
    }))
})

const cells = Cells.make()
const threads = ThreadRunner.layer({
  entry: new URL("fixtures/thread-host.ts", import.meta.url),
  size: 2,
  spares: 0,
  data: cells.buffer
})

layer(threads, { excludeTestServices: true, timeout: 60_000 })("FL: tasks bound by the CPU, on threads", (it) => {
  const queued = Effect.flatMap(ThreadRunner.ThreadRunner, ({ scheduler }) => scheduler.runs)

  it.effect("FL-1 an unregistered name is a typed error, and nothing is queued", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRunner.fork("nothing", {}))
      assert.instanceOf(error, Job.UnknownJobError)
      assert.deepInclude({ ...error }, { job: "nothing" })
      assert.includeMembers([...(error as Job.UnknownJobError).known], ["add", "fail"])
      assert.deepStrictEqual(yield* queued, [])
    }))

  it.effect("FL-1 a job value is queued with a fresh id, or with the one it is given", () =>
    Effect.gen(function*() {
      const runs = [
        yield* threadJobs.Add.fork({ a: 1, b: 2 }),
        yield* threadJobs.Add.fork({ a: 3, b: 4 }),
        yield* threadJobs.Add.fork({ a: 5, b: 6 }, { id: "given" })
      ]
      assert.strictEqual(new Set(runs.map(({ id }) => id)).size, 3)
      assert.strictEqual(runs[2]!.id, "given")
      assert.deepStrictEqual(yield* Effect.forEach(runs, TaskRun.join), [3, 7, 11])
    }))

  it.effect("FL-5 parameters that do not fit the schema are rejected before anything is queued", () =>
    Effect.gen(function*() {
      for (const submit of [threadJobs.Halve.execute({ even: 3 }), JobRunner.execute("halve", { even: "4" })]) {
        assert.instanceOf(yield* Effect.flip(submit), Job.InvalidPayloadError)
      }
      assert.deepStrictEqual(yield* queued, [])
    }))

  it.effect("FL-5 parameters that are found wrong when they are decoded end that run, and the thread goes on", () =>
    Effect.gen(function*() {
      const run = yield* JobRunner.fork("halve", { even: 3 })
      assert.include(String(Refusal.defect(yield* run.exit)), "must be even")
      assert.strictEqual(yield* threadJobs.Halve.execute({ even: 4 }), 2)
    }))

  it.effect("FL-12 a job on a thread that spins is killed at its timeout, and fails by it", () =>
    Effect.gen(function*() {
      const Hasty = Job.make("spin", { payload: threadJobs.Spin.payload, timeout: "2 seconds" })
      const before = performance.now()
      const run = yield* Hasty.fork({ began: 0 })
      assert.isTrue(Cause.isTimeoutError(yield* Effect.flip(TaskRun.join(run))))
      assert.isAtLeast(performance.now() - before, 1_990)
      const state = yield* run.state
      assert.strictEqual(state._tag === "Finished" && state.outcome._tag, "TimedOut")
      assert.strictEqual(yield* threadJobs.Add.execute({ a: 1, b: 2 }), 3)
    }))

  it.effect("FL-12 a job on a thread over its timeout is interrupted, and its finalizers run", () =>
    Effect.gen(function*() {
      const [began, ending, ended] = [1, 2, 3]
      const Hasty = Job.make("linger", { payload: threadJobs.Linger.payload, timeout: "100 millis" })
      const run = yield* Hasty.fork({ began, ending, ended })
      yield* Cells.reached(cells, ending, 1)
      Cells.add(cells, ended)
      assert.isTrue(Cause.isTimeoutError(yield* Effect.flip(TaskRun.join(run))))
      assert.strictEqual(Cells.get(cells, ended), 2)
    }))

  it.effect("a task bound by the CPU is computed on another thread, while timers here go on", () =>
    Effect.gen(function*() {
      let ticks = 0
      const ticking = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep("10 millis"), Effect.sync(() => ticks++)))
      )
      const { millis, primes, thread } = yield* threadJobs.Primes.execute({ below: 2_000_000 })
      yield* Fiber.interrupt(ticking)
      assert.strictEqual(primes, 148_933)
      assert.match(thread, /^tasklayer-threads-.+-\d+$/)
      // Here, or where there is one CPU, they share it.
      assert.isAbove(ticks, millis / 200)
    }))
})

describe("FL: schedules and callbacks", () => {
  const ground = Layer.mergeAll(Supervisor.layer(), Scheduler.layerUnbounded)

  /** A task, and the seconds at which it ran. */
  const callback = (name: string) => {
    const ran: Array<number> = []
    const note = Effect.map(Clock.currentTimeMillis, (now) => ran.push(now / 1000))
    return { task: Task.make(name, note), ran }
  }

  it.effect("FL-14 every with delay and jitter: first at the delay, then gaps of the interval and up to the jitter", () =>
    Effect.gen(function*() {
      const { ran, task } = callback("every")
      yield* Layer.build(Periodic.every("10 seconds", { delay: "3 seconds", jitter: "2 seconds" })(task))
      yield* TestClock.adjust("30 minutes")
      assert.strictEqual(ran[0], 3)
      const gaps = ran.slice(1).map((at, i) => Math.round((at - ran[i]!) * 1000))
      assert.isAtLeast(gaps.length, 149)
      assert.isTrue(gaps.every((gap) => gap >= 10_000 && gap <= 12_000), `${gaps}`)
      assert.isAbove(Math.max(...gaps), 11_000)
      assert.isBelow(Math.min(...gaps), 11_000)
    }).pipe(Effect.provide(ground)))

  it.effect("FL-14 a callback is registered before the start and counts from there", () =>
    Effect.gen(function*() {
      const periodic = callback("periodic")
      const once = callback("once")
      const registered = Layer.mergeAll(
        Periodic.layer(periodic.task, Trigger.every("2 seconds", { delay: "5 seconds" })),
        Periodic.layer(once.task, Trigger.every("5 seconds"), { times: 1 })
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([periodic.ran, once.ran], [[], []])
      yield* Layer.build(registered)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([periodic.ran, once.ran], [[65, 67, 69], [65]])
    }).pipe(Effect.provide(ground)))

  const crontab: ReadonlyArray<[field: string, expression: string, of: (date: Date) => number, ReadonlyArray<number>]> =
    [
      ["months", "0 0 1 1,4,*/6,8-9 *", (date) => date.getUTCMonth() + 1, [1, 4, 7, 8, 9]],
      ["days", "0 0 */6,1,4,8-9 * *", (date) => date.getUTCDate(), [1, 4, 7, 8, 9, 13, 19, 25, 31]],
      ["hours", "0 8-9,*/6,1,4 * * *", (date) => date.getUTCHours(), [0, 1, 4, 6, 8, 9, 12, 18]],
      ["minutes", "*/16 * * * *", (date) => date.getUTCMinutes(), [0, 16, 32, 48]],
      ["Sunday as 0", "0 0 * * 0", (date) => date.getUTCDay(), [0]],
      ["Sunday as 7", "0 0 * * 7", (date) => date.getUTCDay(), [0]]
    ]
  for (const [field, expression, of, expected] of crontab) {
    it(`FL-16 crontab ${field}: ${expression} is due at ${expected.join(", ")} and at nothing else`, () => {
      const found = new Set<number>()
      let due = Trigger.next(Trigger.cron(expression), "2023-12-31T23:59:59Z")
      for (
        ;
        due !== undefined && DateTime.toEpochMillis(due) < Date.UTC(2025, 0, 1);
        due = Trigger.cron(expression).next(due)
      ) {
        found.add(of(DateTime.toDateUtc(due)))
      }
      assert.deepStrictEqual([...found].sort((a, b) => a - b), [...expected])
    })
  }

  it.effect("FL-16 minute 61, 0-61 and a timestamp without an offset are typed errors", () =>
    Effect.gen(function*() {
      for (const minute of ["61", "0-61"]) {
        const error = yield* Effect.flip(Trigger.check(Trigger.cron(`${minute} * * * *`)))
        assert.deepStrictEqual([error._tag, error.field, error.value], ["InvalidOptionError", "minute", minute])
      }
      const naive = "2026-01-01T00:00:00"
      const error = yield* Effect.flip(Trigger.check(Trigger.at(naive)))
      assert.deepStrictEqual([error._tag, error.field, error.value], ["InvalidOptionError", "instant", naive])
      const hourly = Trigger.cron("0 * * * *")
      assert.throws(() => Trigger.next(hourly, naive), "Trigger.next: after must be an instant")
      assert.throws(() => Trigger.upcoming(hourly, 1, naive), "Trigger.upcoming: after must be an instant")
      assert.isDefined(Trigger.next(hourly, `${naive}Z`))
    }))
})
