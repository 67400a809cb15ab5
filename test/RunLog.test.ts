import { assert, it, vi } from "@effect/vitest"
import { Console, Effect, Fiber, Layer, Logger, Schedule } from "effect"
import { TestClock, TestConsole } from "effect/testing"
import { Flow, RunEvent, RunLog, Scheduler, Task, TaskRun } from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"

// The transcript on Prefect's page about task runners, without the two lines about its Dask cluster.
const transcript = [
  "13:46:58.865 | Beginning flow run 'olivine-swan' for flow 'my-flow'...",
  "13:46:58.866 | Starting task runner `SequentialTaskRunner`...",
  "13:46:58.934 | Submitting task run 'hello_local-a087a829-0' to task runner...",
  "Hello!",
  "13:46:58.955 | Task run 'hello_local-a087a829-0' finished in state Completed(message=None, type=COMPLETED)",
  "13:46:58.981 | Beginning subflow run 'discreet-peacock' for flow 'my-subflow'...",
  "13:46:58.981 | Starting task runner `DaskTaskRunner`...",
  "13:46:59.369 | Submitting task run 'hello_dask-e80d21db-0' to task runner...",
  "Hello from Dask!",
  "13:47:00.066 | Task run 'hello_dask-e80d21db-0' finished in state Completed(message=None, type=COMPLETED)",
  "13:47:00.070 | Shutting down task runner `DaskTaskRunner`...",
  "13:47:00.294 | Subflow run 'discreet-peacock' finished in state Completed(message='All states completed.', type=COMPLETED)",
  "13:47:00.305 | Submitting task run 'hello_local-a087a829-1' to task runner...",
  "Hello!",
  "13:47:00.325 | Task run 'hello_local-a087a829-1' finished in state Completed(message=None, type=COMPLETED)",
  "13:47:00.326 | Shutting down task runner `SequentialTaskRunner`...",
  "13:47:00.334 | Flow run 'olivine-swan' finished in state Completed(message='All states completed.', type=COMPLETED)"
]

/** Puts what differs from run to run in the words of its first appearance: times, generated names, hashes, runners. */
const normalise = (lines: ReadonlyArray<unknown>): ReadonlyArray<string> => {
  const seen = new Map<string, string>()
  const numbered = (kind: string) => (_: string, before: string, name: string, after: string) => {
    if (!seen.has(kind + name)) {
      seen.set(kind + name, `${kind}${[...seen.keys()].filter((key) => key.startsWith(kind)).length}`)
    }
    return `${before}${seen.get(kind + name)}${after}`
  }
  return lines.map((line) =>
    String(line)
      .replace(/^\d\d:\d\d:\d\d\.\d\d\d \| /, "TIME | ")
      .replace(/(flow run ')([a-z]+-[a-z]+)(')/i, numbered("FLOW"))
      .replace(/(task run '\w+-)([0-9a-f]{8})(-\d+')/i, numbered("HASH"))
      .replace(/(task runner `)([^`]+)(`)/, numbered("RUNNER"))
  )
}

const helloLocal = Task.make("hello_local", Console.log("Hello!"))
const helloDask = Task.make("hello_dask", Console.log("Hello from Dask!"))
const mySubflow = Flow.make("my-subflow", helloDask, Scheduler.layer({ maxParallelism: 4 }))
const myFlow = Flow.make("my-flow", Effect.all([helloLocal, mySubflow, helloLocal]), Scheduler.layerSequential)

it.effect("the log of a flow with a subflow is Prefect's, line by line", () =>
  Effect.gen(function*() {
    // The scheduler's own reports go to Effect's loggers, which write to the same console.
    yield* Effect.provide(myFlow, Layer.mergeAll(RunLog.layer, Logger.layer([])))
    assert.deepStrictEqual(normalise(yield* TestConsole.logLines), normalise(transcript))
  }))

it.effect("lines carry the time of the clock, in UTC", () =>
  Effect.gen(function*() {
    yield* TestClock.setTime(Date.UTC(2022, 5, 1, 13, 46, 58, 865))
    const lines: Array<string> = []
    yield* Effect.provide(myFlow, RunLog.layerWith({ write: (line) => lines.push(line) }))
    assert.strictEqual(lines.length, transcript.length - 3)
    for (const line of lines) assert.match(line, /^13:46:58\.865 \| \w/)
  }))

it.effect("lines go through Effect's loggers", () =>
  Effect.gen(function*() {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ logLevel, message }) => {
      lines.push([logLevel, ...Array.isArray(message) ? message : [message]].join(" "))
    })
    yield* Effect.provide(myFlow, Layer.provideMerge(RunLog.layerLogger, Logger.layer([logger])))
    assert.match(String(lines[0]), /^Info Beginning flow run '[a-z]+-[a-z]+' for flow 'my-flow'\.\.\.$/)
  }))

/** The states that Prefect's page does not show. */
const lastState = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    yield* Effect.exit(effect.pipe(
      Effect.provide(
        Layer.provideMerge(
          Scheduler.layer({ tagLimits: { closed: 0 } }),
          RunLog.layerWith({ write: (line) => lines.push(line) })
        )
      )
    ))
    return lines.find((line) => line.includes("finished in state"))?.replace(/.* finished in state /, "")
  })

it.effect("each outcome has its state", () =>
  Effect.gen(function*() {
    const fail = Effect.fail("no\npaper")
    assert.strictEqual(yield* lastState(Task.make("t", fail)), "Failed(message='no\\npaper', type=FAILED)")
    assert.strictEqual(yield* lastState(Task.make("t", Effect.die("jam"))), "Crashed(message='jam', type=CRASHED)")
    assert.strictEqual(yield* lastState(Task.make("t", Effect.interrupt)), "Cancelled(message=None, type=CANCELLED)")
    const aborted = yield* lastState(Task.make("t", Task.abort("holiday")))
    assert.strictEqual(aborted, "Aborted(message='holiday', type=CANCELLED)")
    const late = Task.make("t", Effect.never).pipe(Task.withTimeout("1 second"))
    const fiber = yield* Effect.forkChild(lastState(late))
    yield* TestClock.adjust("1 second")
    assert.match(String(yield* Fiber.join(fiber)), /^TimedOut\(message='.*', type=FAILED\)$/)
    const refused = yield* lastState(Task.make("t", Effect.void, { tags: ["closed"] }))
    assert.match(String(refused), /^Refused\(message='.*closed.*', type=FAILED\)$/)
  }))

it.effect("a retry is a line, and the run keeps its name", () =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    let left = 1
    const flaky = Task.make("flaky", Effect.suspend(() => left-- > 0 ? Effect.fail("busy") : Effect.void))
    const fiber = yield* flaky.pipe(
      Task.withRetry(Schedule.spaced("1 second")),
      Effect.provide(Layer.provideMerge(
        Scheduler.layer(),
        RunLog.layerWith({ write: (line) => lines.push(line.slice("00:00:00.000 | ".length)) })
      )),
      Effect.forkChild
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(fiber)
    const name = /'(flaky-[0-9a-f]{8}-0)'/.exec(lines[1]!)![1]
    assert.deepStrictEqual(lines.slice(1, 4), [
      `Submitting task run '${name}' to task runner...`,
      `Task run '${name}' will be retried at 00:00:01.000: busy`,
      `Task run '${name}' finished in state Completed(message=None, type=COMPLETED)`
    ])
  }))

const task = (n: number) => Task.make("work", n === 3 ? Effect.fail(n) : Effect.sleep("3 seconds"))
const work = Effect.gen(function*() {
  const runs = yield* Effect.forEach([1, 2, 3, 4], (n) => Task.fork(task(n)))
  yield* TaskRun.awaitAll(runs)
})

/** What `RunLog.progress` writes while two of four tasks run at once for three seconds each, and one fails at once. */
const drawn = (isTTY: boolean) =>
  Effect.gen(function*() {
    const chunks: Array<string> = []
    const fiber = yield* work.pipe(
      Effect.provide(
        Layer.provideMerge(
          Scheduler.layer({ maxParallelism: 2 }),
          RunLog.progress({ isTTY, write: (text) => chunks.push(text) })
        )
      ),
      Effect.forkChild
    )
    yield* quiet
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(fiber)
    return chunks
  })

it.effect("progress redraws one line on a terminal, ten times a second, and leaves the last", () =>
  Effect.gen(function*() {
    const chunks = yield* drawn(true)
    for (const chunk of chunks) assert.isTrue(chunk.startsWith("\r\x1b[K"))
    assert.strictEqual(chunks[0], "\r\x1b[K2 waiting, 2 running, 0 done, 0 failed")
    assert.include(chunks, "\r\x1b[K0 waiting, 1 running, 2 done, 1 failed, ETA 2s")
    assert.strictEqual(chunks.at(-1), "\r\x1b[K0 waiting, 0 running, 3 done, 1 failed\n")
    assert.strictEqual(chunks.filter((chunk) => chunk.endsWith("\n")).length, 1)
    assert.approximately(chunks.length, 60, 2)
  }))

it.effect("progress is plain lines when piped, one every five seconds and the last", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* drawn(false), [
      "0 waiting, 1 running, 2 done, 1 failed, ETA 2s\n",
      "0 waiting, 0 running, 3 done, 1 failed\n"
    ])
  }))

it.effect("a run that waits for others counts as waiting, and an aborted one as stopped", () =>
  Effect.gen(function*() {
    const chunks: Array<string> = []
    const child = Task.make("child", Effect.sleep("150 millis"))
    const fiber = yield* Task.make("parent", Effect.andThen(child, Task.abort("enough"))).pipe(
      Effect.provide(Layer.provideMerge(
        Scheduler.layerSequential,
        RunLog.progress({ isTTY: true, write: (text) => chunks.push(text.slice(4)) })
      )),
      Effect.forkChild
    )
    yield* quiet
    yield* TestClock.adjust("1 second")
    yield* Fiber.await(fiber)
    assert.deepStrictEqual(chunks, [
      "1 waiting, 1 running, 0 done, 0 failed",
      "0 waiting, 0 running, 1 done, 0 failed, 1 stopped\n"
    ])
  }))

it.effect("flows one after another leave a line each", () =>
  Effect.gen(function*() {
    const chunks: Array<string> = []
    const flow = Flow.make("flow", Task.make("work", Effect.void), Scheduler.layerSequential)
    yield* Effect.andThen(flow, flow).pipe(Effect.provide(RunLog.progress({ write: (text) => chunks.push(text) })))
    assert.deepStrictEqual(chunks, Array(2).fill("0 waiting, 0 running, 1 done, 0 failed\n"))
  }))

it.effect("a run is unharmed by a writer that throws", () =>
  Effect.gen(function*() {
    const complaints = vi.spyOn(globalThis.console, "error").mockImplementation(() => {})
    yield* Effect.addFinalizer(() => Effect.sync(() => complaints.mockRestore()))
    const write = () => {
      throw new Error("EPIPE")
    }
    const result = Task.make("work", Effect.as(Effect.yieldNow, 1)).pipe(
      Effect.provide(
        Scheduler.layer().pipe(
          Layer.provideMerge(RunLog.progress({ write, isTTY: true })),
          Layer.provideMerge(RunLog.layerWith({ write }))
        )
      )
    )
    assert.strictEqual(yield* result, 1)
  }))

it.effect("listeners add up from the edge inwards", () =>
  Effect.gen(function*() {
    const count = Effect.map(RunEvent.Listeners, (listeners) => listeners.length)
    const inner = Effect.provide(count, RunLog.progress({ write: () => {} }))
    assert.strictEqual(yield* Effect.provide(inner, RunLog.layer), 2)
    assert.strictEqual(yield* count, 0)
  }))
