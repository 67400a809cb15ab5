/**
 * The laws every JobRunner keeps, as vitest tests. A new way to run jobs elsewhere is a Layer of `JobRunner`; this is how it proves itself.
 *
 * Its hosts register `jobRunnerHandlers`. Nothing here shares memory with them, and no law asks how fast they are. Each law also leaves no fiber
 * behind.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Scope } from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Concurrency from "../Concurrency.ts"
import * as Job from "../Job.ts"
import * as JobRunner from "../JobRunner.ts"
import * as RunEvent from "../RunEvent.ts"
import * as TaskRun from "../TaskRun.ts"
import * as jobs from "./jobRunnerHandlers.ts"
import { leakGuard } from "./leakGuard.ts"

export interface Options {
  /** The hosts have clocks of their own: what takes time takes it for real, some seconds in all. Default: a test clock. */
  readonly realTime?: boolean | undefined
  /** For building the layer, and for each law, in milliseconds. Default: vitest's. */
  readonly timeout?: number | undefined
}

type Services = Job.JobRunner | Concurrency.Concurrency

/**
 * Declares the laws of a runner. It has room for two jobs at once and more, is usable with its defaults, and takes the limits of the
 * Concurrency in context, as Scheduler layers do. It is built once for all of them, and once to be closed.
 */
export const jobRunnerSuite = <E>(
  name: string,
  runner: Layer.Layer<Job.JobRunner, E>,
  options: Options = {}
): void => {
  const { realTime = false, timeout } = options
  const events: Array<RunEvent.RunEvent> = []
  const built = runner.pipe(
    Layer.provideMerge(Concurrency.layer({ tagLimits: { one: 1, two: 2, shut: 0 } })),
    Layer.provide(Layer.succeed(RunEvent.Listeners, [(event) => void events.push(event)]))
  )

  /** Lets so much time pass. */
  const pass = (duration: Duration.Input): Effect.Effect<void> =>
    realTime ? Effect.sleep(duration) : TestClock.adjust(duration)

  const layerOptions = { excludeTestServices: realTime, ...(timeout === undefined ? {} : { timeout }) }
  layer(built as Layer.Layer<Services>, layerOptions)(name, (it) => {
    const law = <A, E>(title: string, program: () => Effect.Effect<A, E, Services | Scope>) =>
      it.effect(title, () => leakGuard(Effect.andThen(Effect.suspend(program), nothingIsHeld)), timeout)

    describe("a job", () => {
      law(
        "returns its result, or fails with its error, with the defaults of its payload filled in",
        () =>
          Effect.gen(function*() {
            assert.strictEqual(yield* jobs.Find.execute({ id: 7 }), "item 7")
            assert.strictEqual(yield* jobs.Find.execute({ id: 7, shout: true }), "ITEM 7")
            const error = yield* Effect.flip(jobs.Find.execute({ id: 0 }))
            assert.instanceOf(error, jobs.NotFound)
            assert.deepStrictEqual([error.id, error.at], [0, new Date(0)])
            assert.strictEqual(yield* Effect.flatMap(jobs.Find.fork({ id: 7 }), TaskRun.join), "item 7")
          })
      )

      law("is given, succeeds and fails with what JSON has no word for", () =>
        Effect.gen(function*() {
          const there = yield* jobs.Echo.execute({ value: everything, fail: false })
          assert.deepStrictEqual(there, everything)
          assert.strictEqual(Redacted.value(there.secret), "secret")
          assert.deepStrictEqual(yield* Effect.flip(jobs.Echo.execute({ value: everything, fail: true })), everything)
          assert.strictEqual(yield* jobs.Age.execute({ name: "Ada", born: new Date(0) }), 1970)
        }))

      law("large ones arrive whole", () =>
        Effect.gen(function*() {
          const bytes = new Uint8Array(2_000_000).fill(7)
          const { bytes: back } = yield* jobs.Echo.execute({ value: { ...everything, bytes }, fail: false })
          assert.isTrue(bytes.length === back.length && back.every((byte) => byte === 7))
        }))

      law("has a copy of its payload, and who executes it one of its result", () =>
        Effect.gen(function*() {
          const payload = ["mine"]
          const result = yield* jobs.Scribble.execute(payload)
          assert.deepStrictEqual([payload, result], [["mine"], ["mine", "scribbled"]])
          assert.deepStrictEqual(yield* JobRunner.execute("scribble", payload), ["mine", "scribbled"])
          assert.deepStrictEqual(payload, ["mine"])
        }))

      law(
        "has the services of its handler's Layer, whatever there are where it is executed",
        () =>
          Effect.gen(function*() {
            const said = yield* Effect.provideService(jobs.Say.execute(), jobs.Word, "the caller's")
            assert.strictEqual(said, "the handler's")
          })
      )

      law("logs to the loggers of who executes it", () =>
        Effect.gen(function*() {
          const lines: Array<unknown> = []
          const logger = Logger.make(({ message }) => void lines.push(message))
          const loud = `loud ${Math.random()}`
          yield* Effect.provide(jobs.Tell.execute(loud), Logger.layer([logger]))
          assert.include(lines.flat(), loud)
        }))

      law("many at once each have their own result", () =>
        Effect.gen(function*() {
          const ids = Array.from({ length: 200 }, (_, i) => i + 1)
          const found = yield* Effect.forEach(ids, (id) => jobs.Find.execute({ id }), { concurrency: "unbounded" })
          assert.deepStrictEqual(found, ids.map((id) => `item ${id}`))
        }))
    })

    describe("an end of its own kind", () => {
      const exitOf = (how: typeof jobs.End.payload.Type) =>
        Effect.gen(function*() {
          const run = yield* jobs.End.fork(how)
          const exit = yield* run.exit
          return [yield* stateOf(run), exit] as const
        })

      law("a defect, with what is known of it", () =>
        Effect.gen(function*() {
          const [outcome, exit] = yield* exitOf("defect")
          const defect = defectOf(exit) as Error
          assert.instanceOf(defect, Error)
          assert.deepStrictEqual(
            [outcome, defect.name, defect.message, (defect.cause as Error).message],
            ["Died", "TypeError", "wrong", "deeper"]
          )
          const [thrown, thrownExit] = yield* exitOf("throw")
          assert.deepStrictEqual([thrown, (defectOf(thrownExit) as Error).message], ["Died", "thrown"])
        }))

      law("a handler that ends with what its schema does not allow is a defect", () =>
        Effect.gen(function*() {
          for (const [how, end] of [["success unfit", "succeeded"], ["error unfit", "failed"]] as const) {
            const [outcome, exit] = yield* exitOf(how)
            const defect = defectOf(exit) as Error
            assert.deepStrictEqual([outcome, defect.name], ["Died", "InvalidResultError"])
            assert.include(defect.message, `job "end" ${end} with what its schema does not allow`)
          }
        }))

      law("aborted, with the reason", () =>
        Effect.gen(function*() {
          const [outcome, exit] = yield* exitOf("abort")
          const defect = defectOf(exit)
          assert.instanceOf(defect, TaskRun.TaskAborted)
          assert.deepStrictEqual([outcome, defect.reason], ["Aborted", "not today"])
        }))

      law("interrupted by itself", () =>
        Effect.gen(function*() {
          const [outcome, exit] = yield* exitOf("interrupt")
          assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
          assert.strictEqual(outcome, "Interrupted")
        }))
    })

    describe("before anything is queued", () => {
      law("an invalid payload and an unknown name are errors", () =>
        Effect.gen(function*() {
          const before = events.length
          const invalid = yield* Effect.flip(jobs.Find.execute({ id: "7" as never }))
          assert.instanceOf(invalid, Job.InvalidPayloadError)
          assert.strictEqual(invalid.message, `the payload of job "find" is invalid: Expected number\n  at ["id"]`)
          assert.instanceOf(yield* Effect.flip(jobs.Find.fork({} as never)), Job.InvalidPayloadError)
          assert.instanceOf(
            yield* Effect.flip(JobRunner.execute("find", { id: "7", shout: false })),
            Job.InvalidPayloadError
          )
          for (const execute of [jobs.Nobody.execute(), jobs.Nobody.fork(), JobRunner.execute("nobody", null)]) {
            const unknown = yield* Effect.flip(execute)
            assert.instanceOf(unknown, Job.UnknownJobError)
            assert.include(unknown.known, "find")
          }
          assert.strictEqual(events.length, before)
        }))

      law("a runner tells which jobs it can run, with their demand and schemas", () =>
        Effect.gen(function*() {
          const infos = new Map((yield* JobRunner.jobs).map((info) => [info.name, info]))
          assert.isFalse(infos.has("nobody"))
          assert.deepStrictEqual(infos.get("who")!.demand, { tags: ["job", "handler"], priority: "high" })
          assert.strictEqual(infos.get("late")!.timeout, 200)
          assert.deepInclude(infos.get("find")!.payload.schema, { type: "object" })
          assert.deepStrictEqual(infos.get("find")!.success.schema, { type: "string" })
        }))
    })

    describe("by name", () => {
      law("what goes in is encoded, and so is what comes back", () =>
        Effect.gen(function*() {
          const born = new Date(0).toISOString()
          assert.strictEqual(yield* JobRunner.execute("age", { name: "Ada", born }), 1970)
          const error = yield* Effect.flip(JobRunner.execute("find", { id: 0, shout: false }))
          assert.deepStrictEqual(error, { _tag: "NotFound", id: 0, at: born })
          const run = yield* JobRunner.fork("find", { id: 1, shout: false }, { id: "by-name" })
          assert.deepStrictEqual([run.id, run.name, yield* TaskRun.join(run)], ["by-name", "find", "item 1"])
        }))

      law("a job has its timeout, too", () =>
        Effect.gen(function*() {
          const run = yield* JobRunner.fork("late", { _tag: "Millis", value: 60_000 })
          yield* pass("200 millis")
          yield* run.exit
          assert.strictEqual(yield* stateOf(run), "TimedOut")
        }))
    })

    describe("is a run", () => {
      law("known inside as outside, with its tags merged and its lineage", () =>
        Effect.gen(function*() {
          const run = yield* jobs.Who.fork({ depth: 1 }, { id: "eve", tags: ["call", "job"] })
          const [self, forked, below] = yield* TaskRun.join(run)
          const tags = ["job", "handler", "call"]
          assert.deepStrictEqual([run.id, run.name, run.tags], ["eve", "who", tags])
          assert.deepStrictEqual(self, { id: "eve", name: "who", tags, parent: undefined, root: "eve", attempt: 1 })
          assert.deepStrictEqual([forked!.parent, forked!.root, forked!.tags], [
            "eve",
            "eve",
            ["job", "handler", "forked"]
          ])
          assert.deepStrictEqual([below!.parent, below!.root, below!.tags], ["eve", "eve", ["job", "handler"]])
          assert.strictEqual(new Set([self!.id, forked!.id, below!.id]).size, 3)
        }))

      law(
        "that lends its slot while it waits: nesting runs to any depth under a tag of one",
        () =>
          Effect.gen(function*() {
            assert.strictEqual(yield* jobs.Deep.execute(7), 7)
          })
      )

      law(
        "a handler executes others and meets their results, errors, defects and progress",
        () =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* jobs.Ask.execute({ id: 3 }), {
              found: "item 3",
              missing: 0,
              unknown: (yield* Effect.flip(jobs.Nobody.execute())).message,
              invalid: `the payload of job "find" is invalid: Expected number\n  at ["id"]`,
              defect: "Error: thrown",
              heard: [{ at: 1 }, { at: 2 }]
            })
          })
      )

      law("facts of it are those of any run", () =>
        Effect.gen(function*() {
          const run = yield* jobs.Flaky.fork({ until: 2 }, { id: "flaky" })
          yield* TaskRun.join(run)
          const facts = events.filter((event) => "run" in event && event.run?.id === "flaky").map(({ _tag }) => _tag)
          assert.deepStrictEqual(facts, [
            "Submitted",
            "Waiting",
            "Started",
            "AttemptFailed",
            "Waiting",
            "Started",
            "Finished"
          ])
        }))
    })

    describe("limits hold", () => {
      law("those of a tag, wherever the jobs run", () =>
        Effect.gen(function*() {
          const gauge = new Gauge()
          const stay = (name: number) => jobs.Stay.execute(`${name}`, { tags: ["one"], onProgress: gauge.hear })
          yield* Effect.forEach([1, 2, 3, 4], stay, { concurrency: "unbounded" })
          assert.deepStrictEqual([gauge.peak, gauge.current], [1, 0])
        }))

      law("two run at once where there is room for two", () =>
        Effect.gen(function*() {
          const both = yield* Latch.make()
          const gauge = new Gauge()
          const onProgress = (progress: unknown) =>
            Effect.andThen(gauge.hear(progress), Effect.suspend(() => gauge.current === 2 ? both.open : both.await))
          const stay = (name: string) => jobs.Stay.execute(name, { tags: ["two"], onProgress })
          yield* Effect.all([stay("a"), stay("b")], { concurrency: 2 })
          assert.strictEqual(gauge.peak, 2)
        }))

      law("priorities decide who is next", () =>
        Effect.gen(function*() {
          const order: Array<string> = []
          const { begun, onProgress, release } = yield* held
          const first = yield* jobs.Stay.fork("first", { tags: ["one"], onProgress })
          yield* begun
          const rest = yield* Effect.forEach(["low", "normal", "critical"] as const, (priority) =>
            jobs.Stay.fork(priority, {
              tags: ["one"],
              priority,
              onProgress: (progress) =>
                Effect.sync(() => void order.push(String(progress)))
            }))
          yield* release
          yield* TaskRun.awaitAll([first, ...rest])
          assert.deepStrictEqual(
            order.filter((line) =>
              line.startsWith("in")
            ),
            ["in critical", "in normal", "in low"]
          )
        }))

      law("a refusal is a defect, or a failure of who asks for it", () =>
        Effect.gen(function*() {
          const shut = yield* Effect.exit(jobs.Stay.execute("a", { tags: ["shut"] }))
          assert.deepStrictEqual(refusalOf(defectOf(shut)), { _tag: "LimitClosed", limit: "shut" })
          const error = yield* Effect.flip(jobs.Stay.execute("a", { tags: ["shut"], refusable: true }))
          assert.deepStrictEqual(refusalOf(error), { _tag: "LimitClosed", limit: "shut" })
          const { begun, onProgress, release } = yield* held
          const first = yield* jobs.Stay.fork("first", { tags: ["one"], onProgress })
          yield* begun
          const busy = yield* Effect.exit(jobs.Stay.execute("a", { tags: ["one"], whenFull: "fail" }))
          assert.deepStrictEqual(refusalOf(defectOf(busy)), { _tag: "WouldWait", limits: ["one"] })
          const impatient = yield* jobs.Stay.fork("a", { tags: ["one"], admissionTimeout: "50 millis" })
          yield* pass("50 millis")
          yield* impatient.exit
          assert.strictEqual(yield* stateOf(impatient), "Refused")
          yield* release
          yield* TaskRun.join(first)
        }))
    })

    describe("attempts", () => {
      law(
        "follow as the policy says, which sees the typed error; each knows which it is",
        () =>
          Effect.gen(function*() {
            assert.strictEqual(yield* jobs.Flaky.execute({ until: 3 }), 3)
            const error = yield* Effect.flip(jobs.Flaky.execute({ until: 9 }))
            assert.deepStrictEqual(error, new jobs.NotFound({ id: 3, at: new Date(0) }))
          })
      )

      law("that take longer than the timeout are over then, and the next job runs", () =>
        Effect.gen(function*() {
          const run = yield* jobs.Late.fork(Duration.minutes(1))
          yield* pass("200 millis")
          const exit = yield* run.exit
          assert.isTrue(Exit.isFailure(exit) && Option.exists(Cause.findErrorOption(exit.cause), Cause.isTimeoutError))
          assert.strictEqual(yield* stateOf(run), "TimedOut")
          assert.strictEqual(yield* jobs.Late.execute(Duration.zero), "in time")
        }))
    })

    describe("interruption", () => {
      law(
        "of who executes it ends the job, and waits for its finalizers; then its slot is another's",
        () =>
          Effect.gen(function*() {
            yield* pass(1)
            const { begun, onProgress } = yield* signalled
            const executing = yield* Effect.forkChild(
              jobs.Linger.execute(Duration.millis(100), { tags: ["one"], onProgress })
            )
            yield* begun
            const started: Array<number> = []
            const next = yield* jobs.Stay.fork("next", {
              tags: ["one"],
              onProgress: () => Effect.map(Clock.currentTimeMillis, (now) => void started.push(now))
            })
            const start = yield* Clock.currentTimeMillis
            const interrupting = yield* Effect.forkChild(Fiber.interrupt(executing))
            yield* turns(64)
            yield* pass("100 millis")
            yield* Fiber.join(interrupting)
            const ended = yield* Clock.currentTimeMillis
            assert.strictEqual(yield* TaskRun.join(next), "next")
            // A real timer may be a millisecond early.
            for (const at of [ended, started[0]!]) assert.isAtLeast(at - start, 99)
          })
      )

      law("of one that waits for its turn leaves no trace of it", () =>
        Effect.gen(function*() {
          const { begun, onProgress, release } = yield* held
          const first = yield* jobs.Stay.fork("first", { tags: ["one"], onProgress })
          yield* begun
          const gauge = new Gauge()
          const waiting = yield* Effect.forkChild(jobs.Stay.execute("a", { tags: ["one"], onProgress: gauge.hear }))
          yield* turns(64)
          yield* Fiber.interrupt(waiting)
          yield* release
          yield* TaskRun.join(first)
          assert.strictEqual(gauge.peak, 0)
        }))

      law("of who joins it leaves it alone; its handle ends it", () =>
        Effect.gen(function*() {
          const { begun, onProgress } = yield* signalled
          const run = yield* jobs.Linger.fork(Duration.zero, { onProgress })
          yield* begun
          const joining = yield* Effect.forkChild(TaskRun.join(run))
          yield* turns(64)
          yield* Fiber.interrupt(joining)
          assert.strictEqual(yield* stateOf(run), "Running")
          yield* run.interrupt
          assert.strictEqual(yield* stateOf(run), "Interrupted")
        }))

      law("of a parent ends what it executes", () =>
        Effect.gen(function*() {
          const { begun, onProgress } = yield* signalled
          const run = yield* jobs.Keep.fork(Duration.zero, { onProgress })
          yield* begun
          yield* run.interrupt
          assert.strictEqual(yield* stateOf(run), "Interrupted")
        }))
    })

    describe("progress", () => {
      law("comes in order, all of it before the result", () =>
        Effect.gen(function*() {
          const heard: Array<unknown> = []
          const onProgress = (progress: unknown) =>
            Effect.andThen(Effect.yieldNow, Effect.sync(() => void heard.push(progress)))
          assert.strictEqual(yield* jobs.Count.execute({ to: 3, at: "in turn" }, { onProgress }), 3)
          assert.deepStrictEqual(heard, [{ at: 1 }, { at: 2 }, { at: 3 }])
        }))

      law("holds the handler back until it was heard", () =>
        Effect.gen(function*() {
          const heard: Array<unknown> = []
          const { begun, onProgress, release } = yield* held
          const run = yield* jobs.Count.fork({ to: 3, at: "in turn" }, {
            onProgress: (progress) => Effect.andThen(Effect.sync(() => void heard.push(progress)), onProgress(progress))
          })
          yield* begun
          yield* pass("20 millis")
          assert.deepStrictEqual(heard, [{ at: 1 }])
          yield* release
          yield* TaskRun.join(run)
          assert.strictEqual(heard.length, 3)
        }))

      law("is heard where the job was executed, and told further from there", () =>
        Effect.gen(function*() {
          const { begun, onProgress } = yield* signalled
          const heard: Array<unknown> = []
          const run = yield* jobs.Keep.fork(Duration.zero, {
            onProgress: (progress) => Effect.andThen(Effect.sync(() => void heard.push(progress)), onProgress())
          })
          yield* begun
          yield* run.interrupt
          assert.deepStrictEqual(heard, ["began"])
        }))

      law("of many fibers is heard one at a time", () =>
        Effect.gen(function*() {
          const heard: Array<unknown> = []
          let inside = 0
          const onProgress = (progress: unknown) =>
            Effect.andThen(
              Effect.sync(() => void heard.push([progress, ++inside])),
              Effect.andThen(turns(3), Effect.sync(() => void inside--))
            )
          yield* jobs.Count.execute({ to: 4, at: "once" }, { onProgress })
          assert.deepStrictEqual(heard, [1, 2, 3, 4].map((at) => [{ at }, 1]))
        }))

      law("that is no JSON is a defect of the handler, heard or not", () =>
        Effect.gen(function*() {
          const defect = defectOf(yield* Effect.exit(jobs.Stutter.execute())) as Error
          assert.include(defect.message, "Expected JSON value")
        }))

      law("whose listener dies is told in the log, and harms nobody", () =>
        Effect.gen(function*() {
          const levels: Array<string> = []
          const logger = Logger.make(({ logLevel }) => void levels.push(logLevel))
          const counted = yield* jobs.Count.execute({ to: 2, at: "in turn" }, { onProgress: () => Effect.die("deaf") })
            .pipe(Effect.provide(Logger.layer([logger])))
          assert.deepStrictEqual([counted, levels], [2, ["Warn", "Warn"]])
        }))
    })

    describe("idempotencyKey", () => {
      law("joins the live run; the next is anew", () =>
        Effect.gen(function*() {
          const { begun, onProgress, release } = yield* held
          const first = yield* Effect.forkChild(jobs.Charge.execute({ order: "a", amount: 1 }, { onProgress }))
          yield* begun
          const second = yield* Effect.forkChild(jobs.Charge.execute({ order: "a", amount: 2 }))
          assert.strictEqual(yield* jobs.Charge.execute({ order: "b", amount: 3 }), 3)
          yield* turns(64)
          yield* release
          assert.deepStrictEqual([yield* Fiber.join(first), yield* Fiber.join(second)], [1, 1])
          assert.strictEqual(yield* jobs.Charge.execute({ order: "a", amount: 4 }), 4)
        }))

      law("is over with the last that waits; a handle keeps it", () =>
        Effect.gen(function*() {
          const { begun, onProgress } = yield* signalled
          const endless = (options?: Job.ExecuteOptions) =>
            jobs.Charge.execute({ order: "a", amount: 0 }, { tags: ["one"], ...options, refusable: undefined })
          const first = yield* Effect.forkChild(endless({ onProgress }))
          yield* begun
          const second = yield* Effect.forkChild(endless())
          yield* turns(64)
          yield* Fiber.interrupt(first)
          assert.strictEqual(yield* active("one"), 1)
          yield* Fiber.interrupt(second)
          assert.strictEqual(yield* active("one"), 0)

          const run = yield* jobs.Charge.fork({ order: "a", amount: 0 }, { tags: ["one"] })
          const third = yield* Effect.forkChild(endless())
          yield* turns(64)
          yield* Fiber.interrupt(third)
          assert.strictEqual(yield* stateOf(run), "Running")
          yield* run.interrupt
        }))
    })
  })

  const closing = Effect.gen(function*() {
    const { begun, onProgress } = yield* signalled
    const runs = yield* Effect.gen(function*() {
      const running = yield* jobs.Linger.fork(Duration.zero, { tags: ["one"], onProgress })
      const waiting = yield* jobs.Linger.fork(Duration.zero, { tags: ["one"] })
      yield* begun
      return [running, waiting]
    }).pipe(Effect.provide(Layer.fresh(built)))
    assert.deepStrictEqual(yield* Effect.forEach(runs, stateOf), ["Interrupted", "Interrupted"])
  })
  const test = realTime ? it.live : it.effect
  test(`${name}: a layer that closes settles every handle`, () => leakGuard(closing), timeout)
}

// ─── what the laws are written with

const everything: typeof jobs.Everything.Type = {
  date: new Date(1),
  duration: Duration.seconds(3),
  endless: Duration.infinity,
  some: Option.some(new Date(2)),
  none: Option.none(),
  person: new jobs.Person({ name: "Ada", born: new Date(3) }),
  secret: Redacted.make("secret"),
  big: 12345678901234567890n,
  nan: NaN,
  infinity: -Infinity,
  nothing: undefined,
  map: new Map([["a", new Date(4)]]),
  set: new Set([1n]),
  bytes: new Uint8Array([1, 2, 3]),
  exit: Exit.succeed(new Date(5)),
  names: JSON.parse(`{"__proto__": {"polluted": 1}, "constructor": [{"__proto__": 2}]}`)
}

/** Lets `n` turns of the dispatcher pass. */
const turns = (n: number): Effect.Effect<void> => n <= 0 ? Effect.void : Effect.andThen(Effect.yieldNow, turns(n - 1))

/** Tells when the first progress came. */
const signalled = Effect.map(Deferred.make<void>(), (first) => ({
  begun: Deferred.await(first),
  onProgress: () => Effect.asVoid(Deferred.succeed(first, undefined))
}))

/** Holds the handler at its first progress until it is released. */
const held = Effect.gen(function*() {
  const { begun, onProgress } = yield* signalled
  // A law that fails leaves nobody held.
  const gate = yield* Effect.acquireRelease(Latch.make(), (gate) => gate.open)
  return {
    begun,
    release: Effect.asVoid(gate.open),
    onProgress: (_: unknown) => Effect.andThen(onProgress(), gate.await)
  }
})

/** How many are inside at once, by what they tell. */
class Gauge {
  current = 0
  peak = 0
  readonly hear = (progress: unknown): Effect.Effect<void> =>
    Effect.sync(() => {
      this.current += String(progress).startsWith("in") ? 1 : -1
      this.peak = Math.max(this.peak, this.current)
    })
}

const active = (tag: string): Effect.Effect<number, never, Concurrency.Concurrency> =>
  Effect.map(Concurrency.read(tag), (info) => Option.getOrThrow(info).active)

/** No law leaves a limit taken. */
const nothingIsHeld = Effect.gen(function*() {
  assert.deepStrictEqual([yield* active("one"), yield* active("two")], [0, 0])
})

const stateOf = (run: TaskRun.TaskRun<unknown, unknown>): Effect.Effect<string> =>
  Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)

const defectOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isSuccess(exit) ? undefined : exit.cause.reasons.find(Cause.isDieReason)?.defect

const refusalOf = (error: unknown): unknown => error instanceof Concurrency.AdmissionError ? error.reason : undefined
