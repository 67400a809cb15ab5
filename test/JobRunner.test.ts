import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Concurrency from "../src/Concurrency.ts"
import * as Job from "../src/Job.ts"
import * as JobRunner from "../src/JobRunner.ts"
import * as Scheduler from "../src/Scheduler.ts"
import * as Task from "../src/Task.ts"
import * as TaskRun from "../src/TaskRun.ts"
import { leakGuard } from "../src/testing/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.Number }) {}

const Day = Job.make("day", { payload: { of: Schema.Date }, success: Schema.Date, error: NotFound })
const day = Day.toLayer(({ of }) =>
  of.getTime() === 0 ? Effect.fail(new NotFound({ id: 0 })) : Effect.succeed(new Date(of.toDateString()))
)

const on = (options?: Scheduler.LayerOptions) =>
  JobRunner.layerLocal.pipe(Layer.provideMerge(Scheduler.layer({ maxParallelism: 4, ...options })))
const local = on()

const endOf = <A, E>(run: TaskRun.TaskRun<A, E>): Effect.Effect<string> =>
  Effect.andThen(
    run.exit,
    Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)
  )

const liveRuns = Effect.map(Scheduler.runs, (runs) => runs.length)

describe("by name", () => {
  it.effect("what goes in is encoded, and so is what comes back", () =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* JobRunner.execute("day", { of: "2026-11-21T10:00:00.000Z" }),
        new Date(new Date("2026-11-21T10:00:00.000Z").toDateString()).toISOString()
      )
      assert.deepStrictEqual(yield* Effect.flip(JobRunner.execute("day", { of: new Date(0).toISOString() })), {
        _tag: "NotFound",
        id: 0
      })
      const run = yield* JobRunner.fork("day", { of: "2026-11-21T10:00:00.000Z" }, { id: "mine", tags: ["db"] })
      assert.deepStrictEqual([run.id, run.name, run.tags], ["mine", "day", ["db"]])
      assert.strictEqual(yield* endOf(run), "Succeeded")
      assert.instanceOf(yield* Effect.flip(JobRunner.execute("day", { of: new Date(0) })), Job.InvalidPayloadError)
    }).pipe(Effect.provide(Layer.provideMerge(day, local))))

  it.effect("a name without a handler is an error that says which there are", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobRunner.execute("night", {}))
      assert.deepInclude(error, { _tag: "UnknownJobError", job: "night", known: ["day"] })
      assert.strictEqual((error as Error).message, `no handler for job "night": there is one for "day"`)
      const forked = yield* Effect.flip(JobRunner.fork("night", {}))
      assert.instanceOf(forked, Job.UnknownJobError)
    }).pipe(Effect.provide(Layer.provideMerge(day, local))))

  it.effect("a job is executed with its types' values", () =>
    Effect.gen(function*() {
      const result = yield* JobRunner.execute(Day, { of: new Date(1e12) })
      assert.instanceOf(result, Date)
    }).pipe(Effect.provide(Layer.provideMerge(day, local))))
})

describe("a job that is not the one its handler is of", () => {
  const Old = Job.make("job", { payload: { id: Schema.Number }, success: Schema.Number })
  const New = Job.make("job", { payload: { name: Schema.String }, success: Schema.String })
  const Same = Job.make("job", { payload: { id: Schema.Number }, success: Schema.Number })
  const old = Old.toLayer(({ id }) => Effect.succeed(id + 1))

  it.effect("is run where their schemas agree, and dies of the payload or the result where they do not", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Same.execute({ id: 1 }), 2)
      const exit = yield* Effect.exit(New.execute({ name: "one" }))
      assert.include(String(Refusal.defect(exit)), `the payload of job "job" is invalid`)
      const Other = Job.make("job", { payload: { id: Schema.Number }, success: Schema.String })
      assert.include(String(Refusal.defect(yield* Effect.exit(Other.execute({ id: 1 })))), "Expected string")
    }).pipe(Effect.provide(Layer.provideMerge(old, local))))
})

describe("a handler that is executed", () => {
  class Word extends Context.Service<Word, string>()("test/Word") {}
  const Say = Job.make("say", { payload: Schema.String, success: Schema.String })
  const say = Say.toLayer((text) => Effect.map(Word, (word) => `${word} ${text}`))

  it.effect("is registered first, for good; its run has a fresh id or the given one", () =>
    Effect.gen(function*() {
      assert.instanceOf(yield* Effect.flip(Say.execute("a")), Job.UnknownJobError)
      const executed = JobRunner.execute(say, "a")
      expectTypeOf(executed).toEqualTypeOf<Effect.Effect<unknown, unknown, Job.JobRunner | Word>>()
      assert.strictEqual(yield* executed.pipe(Effect.provideService(Word, "one")), "one a")
      const run = yield* JobRunner.fork(say, "b", { id: "given" }).pipe(Effect.provideService(Word, "two"))
      assert.strictEqual(run.id, "given")
      assert.strictEqual(yield* TaskRun.join(run), "two b")
      assert.deepStrictEqual((yield* JobRunner.jobs).map(({ name }) => name), ["say"])
      assert.strictEqual(yield* Say.execute("c"), "two c")
    }).pipe(Effect.provide(local)))

  it.effect("of another job's name is a typed error", () =>
    Effect.gen(function*() {
      const other = Say.toLayer(() => Effect.succeed("other"))
      yield* Job.register(other)
      const error = yield* Effect.flip(JobRunner.execute(say, "a")).pipe(Effect.provideService(Word, "one"))
      assert.instanceOf(error, Job.DuplicateJobError)
      assert.strictEqual(yield* JobRunner.execute(other, "a"), "other")
    }).pipe(Effect.provide(local)))

  it.effect("while a Layer has registered it, is that one", () =>
    Effect.gen(function*() {
      const layer = say.pipe(Layer.provide(Layer.succeed(Word, "layer")))
      const program = JobRunner.execute(say, "a").pipe(Effect.provideService(Word, "caller"))
      assert.strictEqual(yield* program, "caller a")
      assert.strictEqual(yield* Effect.provide(program, layer), "layer a")
      assert.strictEqual(yield* program, "caller a")
    }).pipe(Effect.provide(local)))
})

describe("idempotencyKey", () => {
  const gate = Latch.makeUnsafe(true)
  let ran = 0
  const gauge = Gauge.make()
  const Charge = Job.make("charge", {
    payload: { order: Schema.String, amount: Schema.Number },
    success: Schema.Number,
    error: NotFound,
    idempotencyKey: ({ order }) => order
  })
  const charge = Charge.toLayer(({ amount }) =>
    gauge.inside(Effect.gen(function*() {
      ran++
      yield* Job.progress("charging")
      yield* gate.await
      if (amount < 0) return yield* new NotFound({ id: amount })
      yield* Job.progress("charged")
      return amount
    }))
  )
  const story = <A, E>(
    title: string,
    program: () => Effect.Effect<A, E, Job.JobRunner | Scheduler.Scheduler | Job.Registry>,
    options?: Scheduler.LayerOptions
  ) =>
    it.effect(title, () =>
      leakGuard(
        Effect.suspend(() => {
          ran = 0
          gate.closeUnsafe()
          return program()
        }).pipe(Effect.provide(Layer.provideMerge(charge, on(options))))
      ))

  story("joins the live run of the same key, by name too, and the next one is anew", () =>
    Effect.gen(function*() {
      const executing = yield* Effect.forEach(
        [
          Charge.execute({ order: "a", amount: 1 }),
          Charge.execute({ order: "a", amount: 2 }),
          JobRunner.execute("charge", { order: "a", amount: 3 }),
          Effect.flatMap(Charge.fork({ order: "a", amount: 4 }), TaskRun.join),
          Charge.execute({ order: "b", amount: 5 })
        ],
        (effect) => Effect.forkChild(effect as Effect.Effect<unknown, unknown, Job.JobRunner>)
      )
      yield* quiet
      assert.strictEqual(yield* liveRuns, 2)
      yield* gate.open
      assert.deepStrictEqual(yield* Effect.forEach(executing, Fiber.join), [1, 1, 1, 1, 5])
      assert.strictEqual(ran, 2)
      assert.strictEqual(yield* Charge.execute({ order: "a", amount: 6 }), 6)
    }))

  story("gives all the same failure", () =>
    Effect.gen(function*() {
      const executing = yield* Effect.forEach([-1, -2, -3], (amount) =>
        Effect.forkChild(Effect.flip(Charge.execute({ order: "a", amount }))))
      yield* quiet
      yield* gate.open
      const errors = yield* Effect.forEach(executing, Fiber.join)
      assert.deepStrictEqual(
        errors.map((error) =>
          error._tag === "NotFound" && error.id
        ),
        [-1, -1, -1]
      )
    }))

  it.effect("is of one job: names and keys are never run together", () =>
    Effect.gen(function*() {
      const jobs = [["a b", "c"], ["a", "b c"], ["a", `b","c`], [`a","b`, "c"]].map(([name, key]) =>
        Job.make(name!, { success: Schema.String, idempotencyKey: () => key! })
      )
      const handlers = [jobs[0]!, jobs[1]!, jobs[3]!].map((job) =>
        job.toLayer(() => Effect.as(Effect.sleep("1 second"), job.name))
      )
      const executing = yield* Effect.forEach(jobs, (job) => job.execute(), { concurrency: "unbounded" }).pipe(
        Effect.provide(Layer.provideMerge(Layer.mergeAll(handlers[0]!, handlers[1]!, handlers[2]!), local)),
        Effect.forkChild
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(executing), ["a b", "a", "a", `a","b`])
    }))

  story("ends with the last that waits", () =>
    Effect.gen(function*() {
      const [a, b] = [
        yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 })),
        yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }))
      ]
      yield* quiet
      yield* Fiber.interrupt(a)
      assert.strictEqual(yield* liveRuns, 1)
      yield* Fiber.interrupt(b)
      assert.strictEqual(yield* liveRuns, 0)
      assert.strictEqual(gauge.current, 0)
    }))

  story("that was forked goes on when nobody waits, until its handle is interrupted", () =>
    Effect.gen(function*() {
      const run = yield* Charge.fork({ order: "a", amount: 1 })
      const waiting = yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }))
      yield* quiet
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* run.state)._tag, "Running")
      const [again, other] = [
        yield* Charge.fork({ order: "a", amount: 1 }),
        yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }))
      ]
      assert.strictEqual(again.id, run.id)
      yield* quiet
      yield* run.interrupt
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(other)))
    }))

  it.effect("of a run that is being ended for want of waiters begins anew once it has ended", () =>
    Effect.gen(function*() {
      const Slow = Job.make("slow", { success: Schema.Number, idempotencyKey: () => "one" })
      const gauge = Gauge.make()
      let ran = 0
      const slow = Slow.toLayer(() =>
        gauge.inside(
          Effect.suspend(() =>
            ++ran === 1 ? Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")) : Effect.succeed(ran)
          )
        )
      )
      const program = Effect.gen(function*() {
        // The first sleep on a test clock is interruptible, even in a finalizer.
        yield* TestClock.adjust(1)
        const first = yield* Effect.forkChild(Slow.execute())
        yield* quiet
        const ending = yield* Effect.forkChild(Fiber.interrupt(first))
        yield* quiet
        const next = yield* Effect.forkChild(elapsed(Effect.map(Slow.execute(), (n) => assert.strictEqual(n, 2))))
        yield* quiet
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(next), 1000)
        yield* Fiber.join(ending)
        assert.strictEqual(gauge.peak, 1)
      })
      yield* program.pipe(Effect.provide(Layer.provideMerge(slow, local)))
    }).pipe(leakGuard))

  story("lets each hear the progress from when it came, and holds up nobody who is gone", () =>
    Effect.gen(function*() {
      const heard: Record<string, Array<unknown>> = { a: [], b: [], c: [] }
      const hear = (who: string) => ({
        onProgress: (progress: unknown) =>
          Effect.andThen(Effect.sync(() => heard[who]!.push(progress)), who === "c" ? Effect.never : Effect.void)
      })
      const a = yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }, hear("a")))
      yield* quiet
      const b = yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }, hear("b")))
      const c = yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 }, hear("c")))
      yield* quiet
      yield* gate.open
      yield* quiet
      yield* Fiber.interrupt(c)
      assert.deepStrictEqual([yield* Fiber.join(a), yield* Fiber.join(b)], [1, 1])
      assert.deepStrictEqual(heard, { a: ["charging", "charged"], b: ["charged"], c: ["charged"] })
    }))

  it.effect("costs a parent that forks no slot, and its failure is not silent", () => {
    const book = LogBook.make()
    const Parent = Job.make("parent", { success: Schema.String })
    const parent = Parent.toLayer(() =>
      Effect.gen(function*() {
        yield* Charge.fork({ order: "a", amount: -1 }).pipe(Effect.orDie)
        yield* quiet
        const run = yield* TaskRun.CurrentRun
        return (yield* run.state)._tag
      })
    )
    gate.closeUnsafe()
    return Effect.gen(function*() {
      assert.strictEqual(yield* Parent.execute(), "Running")
      yield* gate.open
      yield* quiet
      assert.include(book.lines.map(({ text }) => text).join(), "nobody was waiting for it")
    }).pipe(Effect.provide(Layer.provideMerge(Layer.merge(parent, charge), local)), book.keep, leakGuard)
  })

  it.effect("that throws is a defect, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const Bad = Job.make("bad", {
        payload: Schema.Number,
        idempotencyKey: (n) => {
          if (n === 0) throw new Error("no key")
          return `${n}`
        }
      })
      const program = Effect.gen(function*() {
        assert.strictEqual((Refusal.defect(yield* Effect.exit(Bad.execute(0))) as Error).message, "no key")
        yield* Bad.execute(1)
        assert.strictEqual(yield* liveRuns, 0)
      })
      yield* program.pipe(Effect.provide(Layer.provideMerge(Bad.toLayer(() => Effect.void), local)))
    }))

  it.effect("of a refused run is free at once", () =>
    Effect.gen(function*() {
      const Shut = Job.make("shut", { tags: ["shut"], idempotencyKey: () => "one" })
      const program = Effect.gen(function*() {
        for (const _ of [1, 2]) {
          const exit = yield* Effect.exit(Shut.execute())
          assert.strictEqual(Refusal.died(exit)?._tag, "LimitClosed")
          const error = yield* Effect.flip(Shut.execute(undefined, { refusable: true }))
          assert.strictEqual(error._tag, "AdmissionError")
        }
        yield* Concurrency.create("shut", 1)
        yield* Shut.execute()
      })
      yield* program.pipe(
        Effect.provide(Layer.provideMerge(Shut.toLayer(() => Effect.void), on({ tagLimits: { shut: 0 } })))
      )
    }))

  story(
    "waits for room in a bounded queue once for all, and who is interrupted there hands over",
    () =>
      Effect.gen(function*() {
        const [holder, queued] = [
          yield* Charge.fork({ order: "holder", amount: 0 }),
          yield* Charge.fork({ order: "queued", amount: 0 })
        ]
        const [a, b, c] = [
          yield* Effect.forkChild(Charge.execute({ order: "a", amount: 1 })),
          yield* Effect.forkChild(Charge.execute({ order: "a", amount: 2 })),
          yield* Effect.forkChild(Charge.execute({ order: "a", amount: 3 }))
        ]
        yield* quiet
        assert.strictEqual(yield* liveRuns, 2)
        yield* Fiber.interrupt(a)
        yield* quiet
        yield* Fiber.interrupt(c)
        yield* gate.open
        assert.strictEqual(yield* Fiber.join(b), 2)
        yield* TaskRun.awaitAll([holder, queued])
      }),
    { maxParallelism: 1, maxQueued: 1 }
  )

  story(
    "is shared by those who wait for room and those who have a slot, without a deadlock",
    () =>
      Effect.gen(function*() {
        yield* gate.open
        const task = Task.make("task", Effect.andThen(quiet, Charge.execute({ order: "a", amount: 1 })))
        const running = yield* Effect.forkChild(task)
        yield* turns(5)
        const filling = yield* Effect.forkChild(Task.make("filling", Effect.void))
        yield* turns(5)
        const waiting = yield* Effect.forkChild(Charge.execute({ order: "a", amount: 2 }))
        assert.deepStrictEqual(yield* Effect.forEach([running, waiting], Fiber.join), [2, 2])
        yield* Fiber.join(filling)
      }),
    { maxParallelism: 1, maxQueued: 1 }
  )

  it.effect("ends for all when the scheduler closes", () =>
    Effect.gen(function*() {
      gate.closeUnsafe()
      const program = Effect.gen(function*() {
        const executing = yield* Effect.forEach([1, 2, 3], (amount) =>
          Effect.forkChild(Charge.execute({ order: "a", amount })))
        const run = yield* Charge.fork({ order: "a", amount: 4 })
        yield* quiet
        yield* Scheduler.close
        for (const fiber of executing) {
          assert.isTrue(Refusal.interrupted(yield* Fiber.await(fiber)))
        }
        assert.strictEqual(yield* endOf(run), "Interrupted")
        const late = yield* Effect.exit(Charge.execute({ order: "a", amount: 1 }))
        assert.strictEqual(Refusal.died(late)?._tag, "SchedulerClosed")
      })
      yield* program.pipe(Effect.provide(Layer.provideMerge(charge, local)))
    }).pipe(leakGuard))

  for (const [title, options] of Object.entries({ "": {}, ", with no room": { maxParallelism: 1, maxQueued: 0 } })) {
    it.effect(`survives interruption at every instant, its own and others'${title}`, () =>
      Effect.gen(function*() {
        for (const ops of [4, 5, 7, 2048]) {
          for (let turn = 0; turn < 40; turn++) {
            const gauge = Gauge.make()
            const Keyed = Job.make("keyed", {
              payload: Schema.Number,
              success: Schema.Number,
              idempotencyKey: () => "k"
            })
            const keyed = Keyed.toLayer((n) => gauge.inside(Effect.as(Effect.onInterrupt(turns(4), () => turns(2)), n)))
            const program = Effect.gen(function*() {
              const executing = (n: number) =>
                Keyed.execute(n).pipe(Effect.provideService(References.MaxOpsBeforeYield, ops), Effect.forkChild)
              const fibers = [yield* executing(1), yield* executing(2)]
              yield* turns(turn % 4)
              fibers.push(yield* executing(3))
              yield* turns(turn)
              yield* Fiber.interrupt(fibers[turn % 3]!)
              fibers.push(yield* executing(4))
              const exits = yield* Effect.forEach(fibers, Fiber.await)
              const where = `${ops} ops, turn ${turn}`
              exits.forEach((exit, n) => {
                if (n !== turn % 3) assert.isTrue(Exit.isSuccess(exit), `${where}: ${n} ${exit}`)
              })
              assert.strictEqual(yield* liveRuns, 0, where)
              assert.deepStrictEqual([gauge.current, gauge.peak], [0, 1], where)
              // All interrupted: nobody is left.
              const last = [yield* executing(5), yield* executing(6)]
              yield* turns(turn % 11)
              yield* Effect.all(last.map((fiber) => Fiber.interrupt(fiber)), { concurrency: "unbounded" })
              assert.strictEqual(yield* liveRuns, 0, where)
              assert.strictEqual(gauge.current, 0, where)
            })
            yield* program.pipe(Effect.provide(Layer.provideMerge(keyed, on(options))), leakGuard)
          }
        }
      }).pipe(LogBook.make().keep), 60_000)
  }
})

describe("a runner of one's own", () => {
  const crash = (reason: "exit" | "signal" = "exit") =>
    new Job.JobCrashedError({ job: "job", reason, host: "host-1", exitCode: 7 })

  interface Transport {
    readonly found?: JobRunner.Found
    readonly perform: (call: JobRunner.Call) => Effect.Effect<Job.Reply, Job.JobCrashedError>
    readonly encode?: JobRunner.Options["encode"]
  }
  const runnerOf = ({ encode, found = {}, perform }: Transport) =>
    Effect.map(Scheduler.Scheduler, (scheduler) =>
      JobRunner.make({
        id: "own",
        scheduler,
        jobs: Effect.succeed([]),
        find: (name) => Effect.succeed(name === "nobody" ? undefined : found),
        perform,
        ...(encode === undefined ? {} : { encode })
      }))
  const with_ = <A, E, R>(transport: Transport, program: Effect.Effect<A, E, R>) =>
    program.pipe(
      Effect.provideServiceEffect(Job.JobRunner, runnerOf(transport)),
      Effect.provide(Scheduler.layer({ maxParallelism: 1 })),
      leakGuard
    )
  const reply = (value: unknown): Job.Reply => ({ _tag: "Success", value })

  const Once = Job.make("once", { success: Schema.Number, error: NotFound, retry: { times: 5 } })
  it.effect("a crash is a defect that says what is known, and is not retried", () => {
    let calls = 0
    return with_(
      { perform: () => Effect.suspend(() => Effect.fail((calls++, crash()))) },
      Effect.gen(function*() {
        const run = yield* Once.fork()
        assert.deepStrictEqual(Refusal.defect(yield* run.exit), crash())
        assert.strictEqual(yield* endOf(run), "Died")
        assert.strictEqual(calls, 1)
        assert.strictEqual(crash().message, `job "job": host-1 exited with code 7`)
      })
    )
  })

  const Again = Job.make("again", {
    success: Schema.Number,
    error: NotFound,
    retryCrashes: true,
    retry: { times: 3, while: (error) => error._tag === "JobCrashedError" && error.reason === "exit" }
  })
  it.effect("with retryCrashes a crash is retried as the policy says, and a defect when that ends", () => {
    let calls = 0
    const ends = [Effect.fail(crash()), Effect.fail(crash()), Effect.succeed(reply(1)), Effect.fail(crash("signal"))]
    return with_(
      { perform: () => Effect.suspend(() => ends[calls++]!) },
      Effect.gen(function*() {
        assert.strictEqual(yield* Again.execute(), 1)
        const exit = yield* Effect.exit(Again.execute())
        assert.deepStrictEqual(Refusal.defect(exit), crash("signal"))
        assert.isUndefined(Refusal.error(exit))
        assert.strictEqual(calls, 4)
      })
    )
  })

  it.effect("a job known by name alone has the demand and the time that are told of it", () => {
    const calls: Array<JobRunner.Call> = []
    return with_(
      {
        found: { demand: { tags: ["far"], priority: "low", limit: 1 }, timeout: 1000 },
        perform: (call) =>
          Effect.suspend(
            () => (calls.push(call), call.payload === "never" ? Effect.never : Effect.succeed(reply(call.payload)))
          )
      },
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* JobRunner.execute("far", { a: [1] }, { tags: ["near"] }), { a: [1] })
        assert.deepInclude(calls[0]!, { job: "far", payload: { a: [1] } })
        assert.deepStrictEqual(calls[0]!.run.tags, ["far", "near"])
        const late = yield* JobRunner.fork("far", "never")
        yield* TestClock.adjust(1000)
        assert.strictEqual(yield* endOf(late), "TimedOut")
        const notJson = yield* Effect.flip(JobRunner.execute("far", { f: () => 1 }))
        assert.instanceOf(notJson, Job.InvalidPayloadError)
        assert.instanceOf(yield* Effect.flip(JobRunner.execute("nobody", {})), Job.UnknownJobError)
        assert.strictEqual(calls.length, 2)
      })
    )
  })

  it.effect("its scheduler runs the jobs, and those that their handlers execute", () => {
    const Nested = Job.make("nested", { payload: Schema.Number, success: Schema.String })
    const seen: Array<string> = []
    const perform = (call: JobRunner.Call): Effect.Effect<Job.Reply> =>
      call.payload === 0
        ? Effect.succeed(reply("done"))
        : Effect.gen(function*() {
          seen.push(`${call.run.id} ${call.run.attempt} ${(yield* Job.JobRunner).id}`)
          return reply(yield* Effect.orDie(Nested.execute(Number(call.payload) - 1)))
        }) as Effect.Effect<Job.Reply>
    return with_(
      { perform },
      Effect.gen(function*() {
        assert.strictEqual(yield* Nested.execute(2).pipe(Effect.provide(Scheduler.layerSequential)), "done")
        assert.deepStrictEqual(seen.map((line) => line.split(" ").slice(1)), [["1", "own"], ["1", "own"]])
        assert.deepStrictEqual((yield* Scheduler.stats).tasks, { nested: 0 })
      })
    )
  })

  it.effect("each run is asked for where it is asked for, by turns as well", () => {
    const Where = Job.make("where", { success: Schema.Unknown })
    const where = Where.toLayer(() => Effect.andThen(Effect.yieldNow, References.CurrentLogAnnotations))
    const own = JobRunner.layerLocal.pipe(Layer.provide(Scheduler.layer({ maxParallelism: 2 })))
    const by = (name: string) => Effect.annotateLogs(Where.execute(undefined), { by: name })
    return Effect.gen(function*() {
      const [ann, ben] = [by("ann"), by("ben")]
      const told = yield* Effect.all([ann, ben, ben, ann, Where.execute(undefined)], { concurrency: "unbounded" })
      assert.deepStrictEqual(told, [{ by: "ann" }, { by: "ben" }, { by: "ben" }, { by: "ann" }, {}])
      for (const one of [ann, ben, ann]) assert.deepStrictEqual(yield* one, { by: one === ann ? "ann" : "ben" })
    }).pipe(Effect.provide(Layer.provideMerge(where, own)))
  })

  it.effect("what may be moved is, but for what a retry may need again", () => {
    const moved: Array<unknown> = []
    const Sent = Job.make("sent", { payload: Schema.Number })
    const encode: JobRunner.Options["encode"] = (encoding, once, job) =>
      Effect.map(encoding, (payload) => ({ payload, transfer: once ? [job] : [] }))
    return with_(
      { encode, perform: (call) => Effect.sync(() => (moved.push(call.transfer), reply(null))) },
      Effect.gen(function*() {
        yield* Sent.execute(1)
        yield* Job.make("kept", { payload: Schema.Number, retry: { times: 1 } }).execute(1)
        assert.deepStrictEqual(moved, [["sent"], []])
      })
    )
  })
})
