/** Random faults in processes: every run settles as it should, and nothing is left. `FAULTS=1000` for as many rounds. */
import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Job from "../src/Job.ts"
import type * as TaskRun from "../src/TaskRun.ts"
import { ProcessRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/process-jobs.ts"
import * as Processes from "./suites/Processes.ts"
import * as Random from "./suites/Random.ts"

const rounds = Number(process.env["FAULTS"] ?? 25)
const seed = Random.seedOf("process-faults.test.ts")

const processes = ProcessRunner.layer({
  entry: new URL("fixtures/process-entry.ts", import.meta.url),
  size: 3,
  spares: 1
}).pipe(Layer.provideMerge(Logger.layer([])))

interface Expected {
  readonly what: string
  readonly run: TaskRun.TaskRun<unknown, unknown>
  readonly ends: (exit: Exit.Exit<unknown, unknown>) => boolean
}

const isCrash = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof Job.JobCrashedError
/** It died of it, elsewhere. */
const isCrashOfChild = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && String(Cause.squash(exit.cause)).startsWith("JobCrashedError: job \"hold\"")
const isInterrupted = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)
const isTimedOut = (exit: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isFailure(exit) && Cause.isTimeoutError(Cause.squash(exit.cause))

const Hasty = Job.make("busy", { payload: jobs.Busy.payload, timeout: "30 millis" })

const round = Effect.fnUntraced(function*(random: Random.Random, number: number) {
  const expected: Array<Expected> = []
  const isKilling = random.chance(0.3)
  /** A host that is killed from outside may be that of any run, or of its child. */
  const expect = (what: string, run: TaskRun.TaskRun<any, any>, ends: Expected["ends"]) =>
    expected.push({ what, run, ends: (exit) => ends(exit) || (isKilling && (isCrash(exit) || isCrashOfChild(exit))) })
  const kinds = ["add", "fault", "busy", "hasty", "nest", "print"] as const
  for (let i = random.int(1, 5); i > 0; i--) {
    const kind = random.pick(kinds)
    switch (kind) {
      case "add":
        expect(kind, yield* jobs.Add.fork({ a: i, b: 1 }), (exit) => Exit.isSuccess(exit) && exit.value === i + 1)
        break
      case "nest":
        expect(kind, yield* jobs.Nest.fork(undefined), Exit.isSuccess)
        break
      case "print":
        expect(kind, yield* jobs.Print.fork({ stdout: "x".repeat(100_000) }), Exit.isSuccess)
        break
      case "fault": {
        const fault = random.pick(["exit", "throw", "reject", "disconnect", "sigkill"] as const)
        expect(fault, yield* jobs.Break.fork(fault), isCrash)
        break
      }
      case "hasty":
        expect(kind, yield* Hasty.fork(random.pick(["loop", "deaf loop"])), isTimedOut)
        break
      case "busy": {
        const how = random.pick(["loop", "deaf loop", { finalizer: 5 }] as const)
        const run = yield* jobs.Busy.fork(how)
        expect(`busy ${JSON.stringify(how)}`, run, isInterrupted)
        yield* Effect.forkChild(Effect.delay(run.interrupt, random.int(0, 120)))
      }
    }
  }
  if (isKilling) {
    yield* Effect.sleep(random.int(0, 60))
    const pids = Processes.children()
    if (pids.length > 0) {
      const pid = random.pick(pids)
      process.kill(pid, "SIGKILL")
      // The runner has known it for a while before the next round begins.
      yield* Effect.promise(() => Processes.eventually("collected", () => !Processes.children().includes(pid)))
      yield* Effect.sleep("150 millis")
    }
  }
  for (const { ends, run, what } of expected) {
    const exit = yield* Effect.timeout(run.exit, "15 seconds")
    assert.isTrue(ends(exit), `round ${number}, ${what}: ${exit}`)
    assert.strictEqual((yield* run.state)._tag, "Finished")
  }
})

it.live(`${rounds} rounds lose no run and leave no process`, () =>
  Effect.gen(function*() {
    const random = Random.make(seed)
    const before = Processes.held()
    yield* Effect.gen(function*() {
      for (let i = 1; i <= rounds; i++) yield* round(random, i)
      const stats = yield* (yield* ProcessRunner.ProcessRunner).scheduler.stats
      assert.deepInclude(stats, { active: 0, queued: 0, suspended: 0 })
      assert.isAtMost((yield* ProcessRunner.stats).allocated, 3)
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(processes))
    assert.deepStrictEqual(Processes.children(), [])
    yield* Effect.promise(() => Processes.allReleased({ ...before, handles: before.handles + 1 }))
  }), 60_000 + rounds * 2_000)
