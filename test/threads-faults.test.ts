/** Random faults on threads: every run settles as it should, and nothing is left. `FAULTS=1000` (`npm run test:faults`) for as many rounds. */
import { assert, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as fs from "node:fs"
import { Job, TaskRun } from "../src/index.ts"
import { brokenLives } from "../src/testing/lives.ts"
import { ThreadRunner } from "../src/threads/index.ts"
import * as jobs from "./fixtures/thread-jobs.ts"
import { bundled } from "./suites/Bundle.ts"
import * as Cells from "./suites/Cells.ts"
import * as Journal from "./suites/Journal.ts"
import * as Random from "./suites/Random.ts"
import { outcomeOf } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"

const rounds = Number(process.env["FAULTS"] ?? 60)
const seed = Random.seedOf("threads-faults.test.ts")
const entry = await bundled("thread-host")

/** Each round has cells of its own. */
const CELLS = 4
const cells = Cells.make(rounds * CELLS)

const threads = ThreadRunner.layer({
  entry,
  size: 4,
  spares: 2,
  data: cells.buffer,
  resourceLimits: { maxOldGenerationSizeMb: 32 }
}).pipe(Layer.provideMerge(Logger.layer([])))

/** Where the system tells: the threads of runners there are. */
const threadsLeft = (): number =>
  fs.existsSync("/proc/self/task")
    ? fs.readdirSync("/proc/self/task")
      .filter((task) => fs.readFileSync(`/proc/self/task/${task}/comm`, "utf8").startsWith("tasklayer-")).length
    : 0

type Ends = (exit: Exit.Exit<any, unknown>) => boolean

const crashed = (reason: Job.JobCrashedError["reason"], exitCode?: number): Ends => (exit) => {
  const defect = Refusal.defect(exit)
  return defect instanceof Job.JobCrashedError && defect.reason === reason &&
    (exitCode === undefined || defect.exitCode === exitCode)
}
const succeeded = (value?: unknown): Ends => (exit) =>
  Exit.isSuccess(exit) && (value === undefined || exit.value === value)
const interrupted: Ends = Refusal.interrupted
const timedOut: Ends = (exit) => Cause.isTimeoutError(Refusal.error(exit))
const either = (...ends: ReadonlyArray<Ends>): Ends => (exit) => ends.some((end) => end(exit))

type Fault = (random: Random.Random, cell: number) => Effect.Effect<
  readonly [run: TaskRun.TaskRun<unknown, unknown>, outcome: string | ReadonlyArray<string>, ends: Ends],
  Job.SubmitError,
  Job.JobRunner
>

/** Interrupted so many milliseconds from now, whatever it is doing. */
const interruptedLater = <E, R>(fork: Effect.Effect<TaskRun.TaskRun<unknown, unknown>, E, R>, millis: number) =>
  Effect.tap(fork, (run) => Effect.forkChild(Effect.delay(run.interrupt, millis)))

const hastily = {
  spin: (timeout: number) => Job.make("spin", { payload: jobs.Spin.payload, timeout }),
  hold: (timeout: number) => Job.make("hold", { payload: jobs.Hold.payload, success: jobs.Hold.success, timeout })
}

const faults: Readonly<Record<string, readonly [weight: number, fault: Fault]>> = {
  "nothing": [
    24,
    (_, cell) => Effect.map(jobs.Add.fork({ a: cell, b: 1 }), (run) => [run, "Succeeded", succeeded(cell + 1)])
  ],
  "a failure": [5, () =>
    Effect.map(
      jobs.Fail.fork({ why: "so" }),
      (run) => [run, "Failed", (exit) => Refusal.error(exit) instanceof jobs.Refused]
    )],
  "a defect": [4, () =>
    Effect.map(
      jobs.Die.fork({ why: "so" }),
      (run) => [run, "Died", (exit) => (Refusal.defect(exit) as Error).message === "so"]
    )],
  "an abort": [
    3,
    () =>
      Effect.map(jobs.Abort.fork({ why: "so" }), (run) => [run, "Aborted", (exit) => Refusal.aborted(exit) === "so"])
  ],
  "progress": [4, () =>
    Effect.map(
      jobs.Report.fork({ upTo: 5 }, { onProgress: () => Effect.yieldNow }),
      (run) => [run, "Succeeded", succeeded()]
    )],
  "what cannot be sent": [2, () =>
    Effect.map(jobs.Unsendable.fork(() => {}), (run) => [
      run,
      "Died",
      (exit) => Refusal.defect(exit) instanceof Job.InvalidPayloadError
    ])],
  "a loop, interrupted": [6, (_, cell) =>
    Effect.gen(function*() {
      const run = yield* jobs.Spin.fork({ began: cell })
      yield* Effect.forkChild(Effect.andThen(Cells.reached(cells, cell, 1), run.interrupt))
      return [run, "Interrupted", interrupted] as const
    })],
  "a loop, interrupted at any instant": [4, (random, cell) =>
    Effect.map(
      interruptedLater(jobs.Spin.fork({ began: cell }), random.int(0, 10)),
      (run) => [run, "Interrupted", interrupted]
    )],
  "a loop, timed out": [
    4,
    (random, cell) =>
      Effect.map(hastily.spin(random.int(1, 10)).fork({ began: cell }), (run) => [run, "TimedOut", timedOut])
  ],
  "a wait, interrupted at any instant": [9, (random, cell) =>
    Effect.map(
      interruptedLater(jobs.Hold.fork({ began: cell, until: cell + 1 }), random.int(0, 10)),
      (run) => [run, "Interrupted", interrupted]
    )],
  "a wait, timed out": [5, (random, cell) =>
    Effect.map(
      hastily.hold(random.int(1, 10)).fork({ began: cell, until: cell + 1 }),
      (run) => [run, "TimedOut", timedOut]
    )],
  "an instant, interrupted at any instant": [9, (random) =>
    Effect.map(
      interruptedLater(jobs.Add.fork({ a: 1, b: 2 }), random.pick([0, 0, 0, 1, 2])),
      (run) => [run, ["Succeeded", "Interrupted"], either(succeeded(3), interrupted)]
    )],
  "process.exit": [4, () => Effect.map(jobs.Crash.fork({ how: "exit" }), (run) => [run, "Died", crashed("exit", 7)])],
  "an error nobody catches": [
    3,
    () => Effect.map(jobs.Crash.fork({ how: "throw" }), (run) => [run, "Died", crashed("error")])
  ],
  "a promise nobody handles": [
    2,
    () => Effect.map(jobs.Crash.fork({ how: "reject" }), (run) => [run, "Died", crashed("error")])
  ],
  "no memory": [
    0.5,
    () => Effect.map(jobs.Crash.fork({ how: "memory" }), (run) => [run, "Died", crashed("outOfMemory")])
  ],
  "crashes, retried": [
    1.5,
    (_, cell) => Effect.map(jobs.Flaky.fork({ cell, after: 3 }), (run) => [run, "Succeeded", succeeded(3)])
  ],
  "children": [4, () => Effect.map(jobs.Chain.fork({ depth: 2 }), (run) => [run, "Succeeded", succeeded(2)])],
  "a child that crashes": [2, (random) =>
    Effect.map(
      jobs.Parent.fork({ job: "crash", payload: { how: "exit" }, forks: random.chance(0.5) }),
      (run) => [run, "Succeeded", (exit) => Exit.isSuccess(exit) && /exited with code 7/.test(String(exit.value))]
    )],
  "a parent that crashes": [1, (_, cell) =>
    Effect.map(
      jobs.Neglect.fork({ began: cell, how: "exit", ready: cell + 1 }),
      (run) => [run, "Died", crashed("exit", 3)]
    )],
  "a parent and its child, in a loop": [2, (random, cell) =>
    Effect.gen(function*() {
      const run = yield* jobs.Neglect.fork({ began: cell, how: random.pick(["spin", "wait"]), ready: cell + 1 })
      yield* Effect.forkChild(Effect.andThen(Cells.reached(cells, cell + 1, 1), run.interrupt))
      return [run, "Interrupted", interrupted] as const
    })]
}

const names = Object.keys(faults)
const total = Object.values(faults).reduce((sum, [weight]) => sum + weight, 0)

const pick = (random: Random.Random): string => {
  let at = random.next() * total
  return names.find((name) => (at -= faults[name]![0]) < 0) ?? names[0]!
}

it.live(`${rounds} rounds lose no run and leave no thread`, () => {
  const journal = Journal.make()
  return Effect.gen(function*() {
    const random = Random.make(seed)
    // Drawn before the first: what is drawn does not depend on how long things take.
    const drawn = Arr.makeBy(rounds, () => pick(random))
    const resources = () => process.getActiveResourcesInfo().filter((name) => /Worker|MessagePort/.test(name))
    yield* Effect.gen(function*() {
      const { scheduler } = yield* ThreadRunner.ThreadRunner
      let most = 0
      const round = (name: string, i: number) =>
        Effect.gen(function*() {
          const [run, outcome, ends] = yield* faults[name]![1](Random.make(seed, i), i * CELLS)
          const exit = yield* Effect.timeout(run.exit, "30 seconds")
          assert.isTrue(ends(exit), `round ${i}, ${name}: ${exit}`)
          assert.include([outcome].flat(), yield* outcomeOf(run), `round ${i}, ${name}`)
          const { active, allocated } = yield* ThreadRunner.stats
          most = Math.max(most, active, allocated)
        })
      yield* Effect.forEach(drawn, round, { concurrency: 6, discard: true })
      assert.isAtMost(most, 4)
      // Children of what crashed may be about to end.
      yield* TaskRun.awaitAll(yield* scheduler.runs)
      assert.deepStrictEqual(yield* scheduler.runs, [])
      assert.deepInclude(yield* scheduler.stats, { active: 0, queued: 0, suspended: 0 })
      assert.deepInclude(yield* ThreadRunner.stats, { active: 0, allocated: 4, idle: 4, suspended: 0 })
      assert.strictEqual(yield* jobs.Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(threads), journal.listen)
    assert.deepStrictEqual(brokenLives(journal.events), [])
    assert.deepStrictEqual([resources(), threadsLeft()], [[], 0])
  })
}, 60_000 + rounds * 200)
