// Layers are provided in every way there is, and misuse is written down on purpose.
// @effect-diagnostics multipleEffectProvide:off
// @effect-diagnostics missingEffectError:off
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Concurrency from "../src/Concurrency.ts"
import * as Job from "../src/Job.ts"
import * as JobRunner from "../src/JobRunner.ts"
import * as Scheduler from "../src/Scheduler.ts"
import * as Task from "../src/Task.ts"
import * as TaskRun from "../src/TaskRun.ts"
import { leakGuard } from "../src/testing/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import * as LogBook from "./suites/LogBook.ts"
import { elapsed, quiet } from "./suites/Quiet.ts"
import * as Refusal from "./suites/Refusal.ts"

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.Number }) {}

const Find = Job.make("find", { payload: { id: Schema.Number }, success: Schema.String, error: NotFound })
const find = Find.toLayer(({ id }) => id === 0 ? Effect.fail(new NotFound({ id })) : Effect.succeed(`item ${id}`))

const pool = Scheduler.layer({ maxParallelism: 2, tagLimits: { db: 1 } })
const local = JobRunner.layerLocal.pipe(Layer.provideMerge(pool))

type Services = Job.JobRunner | Job.Registry | Scheduler.Scheduler | Concurrency.Concurrency

/** A story told with these handlers on a pool of two, in which `db` is one. It leaves no fiber behind. */
const law = <A, E>(
  title: string,
  handlers: Layer.Layer<Job.Registry, never, Services>,
  program: () => Effect.Effect<A, E, Services | Scope.Scope>
) =>
  it.effect(
    title,
    () => leakGuard(Effect.suspend(program).pipe(Effect.provide(Layer.provideMerge(handlers, local))))
  )

/** How it ends, in one word. */
const endOf = <A, E>(run: TaskRun.TaskRun<A, E>): Effect.Effect<string> =>
  Effect.andThen(
    run.exit,
    Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)
  )

const defectOf = (exit: Exit.Exit<unknown, unknown>) => Refusal.defect(exit) as Error

class Word extends Context.Service<Word, string>()("test/Word") {}

describe("a job", () => {
  law("returns the typed result, and the typed error", find, () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Find.execute({ id: 7 }), "item 7")
      const error = yield* Effect.flip(Find.execute({ id: 0 }))
      assert.instanceOf(error, NotFound)
      assert.deepStrictEqual({ ...error }, { ...new NotFound({ id: 0 }) })
    }))

  const Tick = Job.make("tick")
  law("without a payload asks for none", Tick.toLayer(() => Effect.void), () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* Tick.execute())
      assert.isUndefined(yield* Effect.flatMap(Tick.fork(), TaskRun.join))
    }))

  const Order = Job.make("order", {
    payload: {
      item: Schema.String,
      amount: Schema.Number.pipe(Schema.withConstructorDefault(Effect.succeed(1)))
    },
    success: Schema.String
  })
  law(
    "has its payload's defaults filled in",
    Order.toLayer(({ amount, item }) => Effect.succeed(`${amount} ${item}`)),
    () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Order.execute({ item: "nail" }), "1 nail")
        assert.strictEqual(yield* Order.execute({ item: "nail", amount: 2 }), "2 nail")
      })
  )

  law("runs as a run of its name, with the id it is given or a fresh one", find, () =>
    Effect.gen(function*() {
      const run = yield* Find.fork({ id: 1 }, { id: "mine" })
      assert.deepStrictEqual([run.name, run.id], ["find", "mine"])
      assert.strictEqual(yield* TaskRun.join(run), "item 1")
      const [a, b] = [yield* Find.fork({ id: 1 }), yield* Find.fork({ id: 1 })]
      assert.notStrictEqual(a.id, b.id)
      yield* TaskRun.awaitAll([a, b])
    }))

  const Wait = Job.make("wait")
  law(
    "given the id of a live run is an invalid option, and free again after",
    Wait.toLayer(() => Effect.never),
    () =>
      Effect.gen(function*() {
        const run = yield* Wait.fork(undefined, { id: "one" })
        assert.strictEqual(Refusal.invalid(yield* Effect.exit(Wait.execute(undefined, { id: "one" })))?.field, "id")
        assert.strictEqual(Refusal.invalid(yield* Effect.exit(Wait.execute(undefined, { id: "" })))?.field, "id")
        yield* run.interrupt
        const again = yield* Wait.fork(undefined, { id: "one" })
        yield* again.interrupt
      })
  )

  const names = ["", " ", "__proto__", "constructor", "toString", "a b", "naïve 名", "x".repeat(10_000)]
  it.effect("may have any name", () =>
    Effect.gen(function*() {
      for (const name of names) {
        const job = Job.make(name, { payload: Schema.Number, success: Schema.Number, idempotencyKey: String })
        const program = Effect.gen(function*() {
          assert.strictEqual(yield* job.execute(1), 2)
          assert.strictEqual(yield* JobRunner.execute(name, 2), 3)
          assert.deepStrictEqual((yield* JobRunner.jobs).map(({ name }) => name), [name])
        })
        yield* program.pipe(Effect.provide(Layer.provideMerge(job.toLayer((n) => Effect.succeed(n + 1)), local)))
        for (const other of names) {
          const error = yield* Effect.flip(JobRunner.execute(other, 1)).pipe(Effect.provide(local))
          assert.instanceOf(error, Job.UnknownJobError)
        }
      }
    }))
})

describe("what crosses the boundary", () => {
  class Person extends Schema.Class<Person>("Person")({ name: Schema.String, born: Schema.Date }) {
    get age() {
      return 2026 - this.born.getUTCFullYear()
    }
  }
  interface Tree {
    readonly value: number
    readonly children: ReadonlyArray<Tree>
  }
  const Tree: Schema.Codec<Tree> = Schema.Struct({
    value: Schema.Number,
    children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
  })
  const values: Record<string, readonly [Schema.Codec<any, any>, unknown]> = {
    "a date": [Schema.Date, new Date(0)],
    "a duration": [Schema.Duration, Duration.seconds(3)],
    "an endless duration": [Schema.Duration, Duration.infinity],
    "an option": [Schema.Option(Schema.Date), Option.some(new Date(1))],
    "none": [Schema.Option(Schema.Date), Option.none()],
    "a class": [Person, new Person({ name: "Ada", born: new Date(0) })],
    "a secret": [Schema.Redacted(Schema.String), Redacted.make("secret")],
    "a big integer": [Schema.BigInt, 12345678901234567890n],
    "no number": [Schema.Number, NaN],
    "an infinity": [Schema.Number, -Infinity],
    "nothing": [Schema.Undefined, undefined],
    "a map": [Schema.ReadonlyMap(Schema.String, Schema.Date), new Map([["a", new Date(0)]])],
    "a set": [Schema.ReadonlySet(Schema.BigInt), new Set([1n])],
    "bytes": [Schema.Uint8Array, new Uint8Array([1, 2, 3])],
    "an exit": [Schema.Exit(Schema.Date, Schema.String, Schema.Defect()), Exit.succeed(new Date(0))],
    "a cause": [Schema.Cause(Schema.String, Schema.Defect()), Cause.fail("e")],
    "a tree": [Tree, { value: 1, children: [{ value: 2, children: [] }, { value: 3, children: [] }] }],
    "names of prototypes": [
      Schema.Record(Schema.String, Schema.Json),
      JSON.parse(`{"__proto__": {"polluted": 1}, "constructor": [{"__proto__": 2}]}`)
    ],
    "10 MB": [Schema.String, "x".repeat(10_000_000)]
  }
  for (const [title, [schema, value]] of Object.entries(values)) {
    it.effect(`${title}, there and back`, () =>
      Effect.gen(function*() {
        const job = Job.make("echo", { payload: { value: schema }, success: schema, error: schema })
        let received: unknown
        const handler = job.toLayer(({ value }) => Effect.sync(() => received = value))
        const there = yield* job.execute({ value }).pipe(Effect.provide(Layer.provideMerge(handler, local)))
        const failing = job.toLayer(({ value }) => Effect.fail(value))
        const error = yield* Effect.flip(job.execute({ value })).pipe(
          Effect.provide(Layer.provideMerge(failing, local))
        )
        for (const other of [received, there, error]) {
          if (value instanceof Person) assert.notStrictEqual(other, value)
          assert.deepStrictEqual(other, value)
          assert.isTrue(Equal.equals(other, value))
        }
      }))
  }

  const Meet = Job.make("meet", { payload: Person, success: Schema.Number })
  law(
    "a class arrives with its methods",
    Meet.toLayer((person) => Effect.succeed(person.age)),
    () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Meet.execute({ name: "Ada", born: new Date(0) }), 56)
      })
  )

  const Scribble = Job.make("scribble", { payload: Schema.Json, success: Schema.Any })
  const scribbled: Array<Array<number>> = []
  law(
    "is a copy: neither side sees what the other does to it",
    Scribble.toLayer((payload) =>
      Effect.sync(() => {
        ;(payload as Array<number>).push(4)
        scribbled.push(payload as Array<number>)
        return payload
      })
    ),
    () =>
      Effect.gen(function*() {
        const payload = [1, 2, 3]
        for (const result of [yield* Scribble.execute(payload), yield* JobRunner.execute("scribble", payload)]) {
          assert.deepStrictEqual([payload, result], [[1, 2, 3], [1, 2, 3, 4]])
          ;(result as Array<number>).push(5)
        }
        assert.deepStrictEqual(scribbled, [[1, 2, 3, 4], [1, 2, 3, 4]])
      })
  )

  const Anything = Job.make("anything", { payload: Schema.Any, success: Schema.Any })
  const returned: Record<string, unknown> = { function: () => 1, symbol: Symbol("s"), class: new (class {})(), big: 1n }
  law(
    "what cannot be cloned is an invalid payload, or a defect of the handler",
    Anything.toLayer((name: string) => Effect.succeed({ returned: [returned[name]] })),
    () =>
      Effect.gen(function*() {
        const circular: Record<string, unknown> = {}
        circular.self = [circular]
        for (const payload of [{ f: returned.function }, [Symbol("s")], circular]) {
          assert.instanceOf(yield* Effect.flip(Anything.execute(payload)), Job.InvalidPayloadError)
        }
        assert.instanceOf(defectOf(yield* Effect.exit(Anything.execute("function"))), Error)
        assert.instanceOf(defectOf(yield* Effect.exit(Anything.execute("symbol"))), Error)
        assert.deepStrictEqual(yield* Anything.execute("class"), { returned: [{}] })
        assert.deepStrictEqual(yield* Anything.execute("big"), { returned: [1n] })
      })
  )

  const Die = Job.make("die", { payload: Schema.String, success: Schema.Number })
  const defects: Record<string, unknown> = {
    error: new TypeError("wrong", { cause: new Error("deeper") }),
    string: "wrong",
    object: { code: 7 },
    circular: (() => {
      const error: Error & { self?: unknown } = new Error("round")
      error.self = error
      return error
    })(),
    function: () => 1,
    symbol: Symbol("s"),
    big: 1n,
    nothing: undefined,
    hostile: {
      get message() {
        throw new Error("no")
      },
      toJSON() {
        throw new Error("no")
      }
    }
  }
  law(
    "a defect arrives as what can be told of it",
    Die.toLayer((name) => Effect.die(defects[name])),
    () =>
      Effect.gen(function*() {
        const error = defectOf(yield* Effect.exit(Die.execute("error")))
        assert.notStrictEqual(error, defects.error)
        assert.deepStrictEqual([error.name, error.message, (error.cause as Error).message], [
          "TypeError",
          "wrong",
          "deeper"
        ])
        assert.strictEqual(Refusal.defect(yield* Effect.exit(Die.execute("string"))), "wrong")
        assert.deepStrictEqual(Refusal.defect(yield* Effect.exit(Die.execute("object"))), { code: 7 })
        assert.strictEqual(defectOf(yield* Effect.exit(Die.execute("circular"))).message, "round")
        for (const name of Object.keys(defects)) {
          const exit = yield* Effect.exit(Die.execute(name))
          assert.isTrue(Exit.isFailure(exit) && exit.cause.reasons.every((reason) => reason._tag === "Die"), name)
        }
      })
  )

  law(
    "a handler that throws, or returns no Effect, died",
    Layer.mergeAll(
      Die.toLayer((): Effect.Effect<number> => {
        throw new Error("thrown")
      }),
      Meet.toLayer((() => 1) as unknown as () => Effect.Effect<number>)
    ),
    () =>
      Effect.gen(function*() {
        assert.strictEqual(defectOf(yield* Effect.exit(Die.execute(""))).message, "thrown")
        const run = yield* Meet.fork({ name: "Ada", born: new Date(0) })
        assert.strictEqual(yield* endOf(run), "Died")
      })
  )

  const Strict = Job.make("strict", { payload: Schema.String, success: Schema.Number, error: NotFound })
  law(
    "a handler that ends with what its schema does not allow died of that",
    Strict.toLayer((how) =>
      how === "success" ? Effect.succeed("one" as never) : Effect.fail(new Error("not declared") as never)
    ),
    () =>
      Effect.gen(function*() {
        const success = defectOf(yield* Effect.exit(Strict.execute("success")))
        assert.strictEqual(success.name, "InvalidResultError")
        assert.include(success.message, `job "strict" succeeded with what its schema does not allow: Expected number`)
        const error = defectOf(yield* Effect.exit(Strict.execute("error")))
        assert.include(error.message, `job "strict" failed with what its schema does not allow`)
        assert.strictEqual((error.cause as Error).message, "not declared")
      })
  )

  it.effect("a payload that its schema does not allow is an error that says where, and nothing is queued", () => {
    const journal = Journal.make()
    const Deep = Job.make("deep", { payload: Schema.Struct({ tree: Schema.Any, at: Schema.Date }) })
    return Effect.gen(function*() {
      const error = yield* Effect.flip(Find.execute({ id: "7" as never }))
      assert.instanceOf(error, Job.InvalidPayloadError)
      assert.strictEqual(error.message, `the payload of job "find" is invalid: Expected number\n  at ["id"]`)
      yield* Effect.flip(Find.fork({ id: {} as never }))
      yield* Effect.flip(Find.execute(undefined as never))
      yield* Effect.flip(Deep.execute({ tree: null, at: new Date(NaN) }))
      yield* Effect.flip(JobRunner.execute("find", { id: "7" }))
      yield* Effect.flip(JobRunner.execute(find, { id: "7" }))
      yield* Effect.flip(JobRunner.execute("nobody", {}))
      assert.deepStrictEqual(journal.events.map((event) => event._tag), ["RunnerStarted"])
    }).pipe(
      Effect.provide(Layer.provideMerge(Layer.merge(find, Deep.toLayer(() => Effect.void)), local)),
      journal.listen
    )
  })

  const Endless = Job.make("endless", { payload: Tree, success: Tree })
  law(
    "what contains itself, or is nested too deeply, is an invalid payload",
    Endless.toLayer((tree) => Effect.succeed(tree)),
    () =>
      Effect.gen(function*() {
        const tree: { value: number; children: Array<Tree> } = { value: 1, children: [] }
        tree.children.push(tree)
        assert.instanceOf(yield* Effect.flip(Endless.execute(tree)), Job.InvalidPayloadError)
        let deep: Tree = { value: 0, children: [] }
        for (let i = 0; i < 50_000; i++) deep = { value: i, children: [deep] }
        assert.instanceOf(yield* Effect.flip(Endless.execute(deep)), Job.InvalidPayloadError)
      })
  )

  const Secret = Job.make("secret", {
    payload: { key: Schema.Redacted(Schema.Struct({ pin: Schema.Number })) },
    error: Schema.Struct({ key: Schema.Redacted(Schema.String) })
  })
  it.effect("a secret is in no message, no event and no log line", () => {
    const journal = Journal.make()
    const book = LogBook.make()
    const secret = Redacted.make("hunter2")
    const handler = Secret.toLayer(({ key }) => Effect.andThen(Effect.log("got", key), Effect.fail({ key: secret })))
    return Effect.gen(function*() {
      yield* Effect.flip(Secret.execute({ key: Redacted.make({ pin: 31337 }) }))
      const wrong = yield* Effect.flip(Secret.execute({ key: Redacted.make({ pin: "hunter2" as never }) }))
      yield* Secret.fork({ key: Redacted.make({ pin: 31337 }) })
      yield* quiet
      const told = JSON.stringify([journal.events, book.lines, wrong])
      assert.notInclude(told, "hunter2")
      assert.notInclude(told, "31337")
      assert.include(told, "nobody was waiting")
    }).pipe(Effect.provide(Layer.provideMerge(handler, local)), journal.listen, book.keep)
  })

  const Doubled = Schema.Number.pipe(Schema.decode({
    decode: SchemaGetter.transformEffect((n: number) => Effect.map(Word, (word) => n + word.length)),
    encode: SchemaGetter.transformEffect((n: number) => Effect.map(Word, (word) => n - word.length))
  }))
  const Far = Job.make("far", {
    payload: { n: Doubled },
    success: Doubled,
    error: Doubled,
    idempotencyKey: ({ n }) => `${n}`
  })
  it.effect("schemas have the services of the side they are used on", () =>
    Effect.gen(function*() {
      const handler = Far.toLayer(({ n }) => n === 100 ? Effect.fail(n) : Effect.succeed(n)).pipe(
        Layer.provide(Layer.succeed(Word, "four"))
      )
      const program = Effect.gen(function*() {
        // -1, +4, -4, +1
        assert.strictEqual(yield* Far.execute({ n: 10 }), 10)
        assert.strictEqual(yield* Effect.flip(Far.execute({ n: 97 })), 97)
        // +4, -4
        assert.strictEqual(yield* JobRunner.execute("far", { n: 10 }), 10)
        assert.strictEqual(yield* Effect.flip(JobRunner.execute("far", { n: 96 })), 96)
      })
      yield* program.pipe(Effect.provideService(Word, "1"), Effect.provide(Layer.provideMerge(handler, local)))
    }))
})

describe("a handler", () => {
  const Say = Job.make("say", { success: Schema.String })

  it.effect("has the services its Layer was built with, not those of who executes the job", () =>
    Effect.gen(function*() {
      const handler = Say.toLayer(() => Word).pipe(Layer.provide(Layer.succeed(Word, "layer")))
      assert.strictEqual(
        yield* Say.execute().pipe(
          Effect.provideService(Word, "caller"),
          Effect.provide(Layer.provideMerge(handler, local))
        ),
        "layer"
      )
    }))

  it.effect("has the run's own scope, runner, scheduler, logger and span", () => {
    const book = LogBook.make()
    const Where = Job.make("where", { success: Schema.Array(Schema.Unknown) })
    const closed: Array<string> = []
    const where = Where.toLayer(() =>
      Effect.gen(function*() {
        yield* Effect.addFinalizer(() => Effect.sync(() => closed.push("closed")))
        yield* Effect.log("from the handler")
        const run = yield* TaskRun.CurrentRun
        const span = yield* Effect.currentParentSpan
        return [
          (yield* Scheduler.Scheduler).id,
          (yield* Job.JobRunner).id,
          run.name,
          (yield* References.CurrentLogAnnotations).tenant,
          span.spanId
        ]
      }).pipe(Effect.orDie)
    ).pipe(
      Layer.provide(Layer.succeed(References.CurrentLogAnnotations, { tenant: "the Layer's" })),
      Layer.withSpan("of the Layer")
    )
    return Effect.gen(function*() {
      const span = yield* Effect.currentSpan
      const found = yield* Effect.annotateLogs(Where.execute(), { tenant: "the caller's" })
      assert.deepStrictEqual(found, [
        (yield* Scheduler.Scheduler).id,
        (yield* Job.JobRunner).id,
        "where",
        "the caller's",
        span.spanId
      ])
      assert.deepStrictEqual(closed, ["closed"])
      assert.include(book.lines.map(({ text }) => text), "from the handler")
    }).pipe(Effect.withSpan("caller"), book.keep, Effect.provide(Layer.provideMerge(where, local)))
  })

  const Parent = Job.make("parent", { success: Schema.Array(Schema.String) })
  const Child = Job.make("child", { success: Schema.String })
  const family = Layer.merge(
    Child.toLayer(() => Effect.map(TaskRun.CurrentRun, (run) => `${run.parent} ${run.root} ${run.tags}`)),
    Parent.toLayer(() =>
      Effect.gen(function*() {
        const forked = yield* Child.fork()
        return [yield* Child.execute(), yield* TaskRun.join(forked)]
      }).pipe(Effect.orDie)
    )
  )
  it.effect("executes other jobs as children of its run, whose slot they have while it waits", () =>
    Effect.gen(function*() {
      const runner = Layer.provideMerge(JobRunner.layerLocal, Scheduler.layerSequential)
      const tagged = { tags: ["db"] }
      const result = yield* Parent.execute(undefined, { id: "p" }).pipe(
        Effect.provide(Layer.provideMerge(family, runner))
      )
      assert.deepStrictEqual(result, ["p p ", "p p "])
      const root = Task.make("root", Parent.execute(undefined, { ...tagged, id: "p" }), tagged)
      const below = yield* root.pipe(Effect.provide(Layer.provideMerge(family, local)))
      assert.match(below[0]!, /^p \w+-1 $/)
    }))

  const Deep = Job.make("deep", { payload: Schema.Number, success: Schema.Number })
  const deep: Layer.Layer<Job.Registry> = Deep.toLayer((n) =>
    n === 0 ? Effect.succeed(0) : Effect.map(Effect.orDie(Deep.execute(n - 1)), (n) => n + 1)
  )
  it.effect("nests to any depth on one slot, one tag, and in the fiber that asked", () =>
    Effect.gen(function*() {
      for (const scheduler of [Scheduler.layerSequential, Scheduler.layerInline]) {
        const runner = Layer.provideMerge(JobRunner.layerLocal, scheduler)
        assert.strictEqual(yield* Deep.execute(50).pipe(Effect.provide(Layer.provideMerge(deep, runner))), 50)
      }
      const tagged = Deep.execute(50, { tags: ["db"] })
      assert.strictEqual(yield* tagged.pipe(Effect.provide(Layer.provideMerge(deep, local))), 50)
    }))

  const Self = Job.make("self", { idempotencyKey: () => "same" })
  const self: Layer.Layer<Job.Registry> = Self.toLayer(() => Effect.orDie(Self.execute()))
  it.effect("that waits for its own end dies of the deadlock at once", () =>
    Effect.gen(function*() {
      for (const scheduler of [pool, Scheduler.layerSequential, Scheduler.layerInline]) {
        const runner = Layer.provideMerge(JobRunner.layerLocal, scheduler)
        const exit = yield* Effect.exit(Self.execute()).pipe(Effect.provide(Layer.provideMerge(self, runner)))
        assert.include(defectOf(exit).message, "it would wait for ever: self -> self")
      }
    }))

  it.effect("that aborts ends its run as aborted, never retried", () =>
    Effect.gen(function*() {
      let attempts = 0
      const Abort = Job.make("abort", { retry: { times: 3 } })
      const handler = Abort.toLayer(() => Effect.andThen(Effect.sync(() => attempts++), Task.abort("not today")))
      const program = Effect.gen(function*() {
        const run = yield* Abort.fork()
        assert.strictEqual(yield* endOf(run), "Aborted")
        assert.strictEqual(Refusal.aborted(yield* run.exit), "not today")
        assert.strictEqual(Refusal.aborted(yield* Effect.exit(Abort.execute())), "not today")
        assert.strictEqual(Refusal.aborted(yield* Effect.exit(JobRunner.execute("abort", null))), "not today")
      })
      yield* Effect.provide(program, Layer.provideMerge(handler, local))
      assert.strictEqual(attempts, 3)
    }))
})

describe("interruption", () => {
  const order: Array<string> = []
  const Slow = Job.make("slow", { tags: ["db"] })
  const slow = Slow.toLayer(() =>
    Effect.gen(function*() {
      yield* Effect.addFinalizer(() => Effect.andThen(quiet, Effect.sync(() => order.push("scope"))))
      return yield* Effect.onInterrupt(Effect.never, () => Effect.andThen(quiet, Effect.sync(() => order.push("body"))))
    })
  )
  const Next = Job.make("next", { tags: ["db"] })
  const next = Next.toLayer(() => Effect.sync(() => void order.push("next")))

  law(
    "of execute interrupts the run, whose finalizers end before its slot is another's",
    Layer.merge(slow, next),
    () =>
      Effect.gen(function*() {
        order.length = 0
        const executing = yield* Effect.forkChild(Slow.execute())
        yield* quiet
        const waiting = yield* Next.fork()
        yield* Fiber.interrupt(executing)
        assert.deepStrictEqual(order.slice(0, 2), ["body", "scope"])
        yield* TaskRun.join(waiting)
        assert.deepStrictEqual(order, ["body", "scope", "next"])
        assert.deepStrictEqual(yield* Scheduler.runs.pipe(Effect.map((runs) => runs.length)), 0)
      })
  )

  law("of who joins a forked job leaves it alone", slow, () =>
    Effect.gen(function*() {
      const run = yield* Slow.fork()
      const joining = yield* Effect.forkChild(TaskRun.join(run))
      yield* quiet
      yield* Fiber.interrupt(joining)
      assert.strictEqual((yield* run.state)._tag, "Running")
      yield* run.interrupt
      assert.strictEqual(yield* endOf(run), "Interrupted")
    }))

  const Suicide = Job.make("suicide")
  law(
    "of a handler by itself is the outcome of the run",
    Suicide.toLayer(() => Effect.interrupt),
    () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Effect.flatMap(Suicide.fork(), endOf), "Interrupted")
      })
  )
})

describe("demand", () => {
  const Heavy = Job.make("heavy", { tags: ["cpu"], priority: "low", weight: 2, key: "job" })
  const tagsOf = Effect.map(Scheduler.runs, (runs) => runs.map((run) => run.tags))

  law(
    "is given with the job, its handler and each call: tags are added, the last of the others holds",
    Heavy.toLayer(() => Effect.never, { tags: ["gpu", "cpu"], priority: "high", admissionTimeout: "1 second" }),
    () =>
      Effect.gen(function*() {
        const [info] = yield* JobRunner.jobs
        assert.deepStrictEqual(info!.demand, {
          tags: ["cpu", "gpu"],
          priority: "high",
          weight: 2,
          key: "job",
          admissionTimeout: 1000
        })
        const run = yield* Heavy.fork(undefined, { tags: ["db"], weight: 1, priority: undefined, key: "call" })
        assert.deepStrictEqual(yield* tagsOf, [["cpu", "gpu", "db"]])
        assert.deepStrictEqual((yield* Concurrency.read("db")).pipe(Option.map(({ active }) => active)), Option.some(1))
        yield* run.interrupt
      })
  )

  const gauges = { limit: Gauge.make(), tag: Gauge.make(), pool: Gauge.make() }
  const body = (gauge: Gauge.Gauge) => () => gauge.inside(Effect.sleep("1 second"))
  const Limited = Job.make("limited", { limit: 1 })
  const Tagged = Job.make("tagged", { tags: ["db"] })
  const Free = Job.make("free")
  law(
    "limits of the job, of a tag and of the pool hold",
    Layer.mergeAll(
      Limited.toLayer(body(gauges.limit)),
      Tagged.toLayer(body(gauges.tag)),
      Free.toLayer(body(gauges.pool))
    ),
    () =>
      Effect.gen(function*() {
        const runs = yield* Effect.forEach(Array.from({ length: 5 }), () =>
          Effect.all([Limited.fork(), Tagged.fork(), Free.fork()]))
        yield* TestClock.adjust("1 minute")
        yield* TaskRun.awaitAll(runs.flat())
        assert.deepStrictEqual([gauges.limit.peak, gauges.tag.peak, gauges.pool.peak <= 2], [1, 1, true])
      })
  )

  const order: Array<string> = []
  const Named = Job.make("named", { payload: Schema.String, tags: ["db"] })
  law(
    "priorities and keys decide the order",
    Named.toLayer((name) => Effect.sync(() => void order.push(name))),
    () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const first = yield* Task.fork(Task.make("first", gate.await, { tags: ["db"] }))
        const runs: Array<TaskRun.TaskRun<unknown, unknown>> = [first]
        for (const name of ["a1", "a2", "a3"]) runs.push(yield* Named.fork(name, { key: "a" }))
        runs.push(yield* Named.fork("b1", { key: "b" }))
        runs.push(yield* Named.fork("urgent", { priority: "critical" }))
        yield* gate.open
        yield* TaskRun.awaitAll(runs)
        assert.strictEqual(order[0], "urgent")
        assert.isAtMost(order.indexOf("b1"), 2)
        assert.deepStrictEqual(order.filter((name) => name.startsWith("a")), ["a1", "a2", "a3"])
      })
  )

  law(
    "a refusal is a defect, or a failure of who asks for it",
    Tagged.toLayer(() => Effect.never),
    () =>
      Effect.gen(function*() {
        const holder = yield* Tagged.fork()
        const wouldWait = { _tag: "WouldWait", limits: ["db"] } as const
        assert.deepStrictEqual(
          Refusal.died(yield* Effect.exit(Tagged.execute(undefined, { whenFull: "fail" }))),
          wouldWait
        )
        const error = yield* Effect.flip(Tagged.execute(undefined, { whenFull: "fail", refusable: true }))
        expectTypeOf(error).toEqualTypeOf<Job.SubmitError | Concurrency.AdmissionError>()
        assert.deepStrictEqual((error as Concurrency.AdmissionError).reason, wouldWait)
        const impatient = yield* Effect.forkChild(
          elapsed(Effect.exit(Tagged.execute(undefined, { admissionTimeout: "3 seconds" })))
        )
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* Fiber.join(impatient), 3000)
        yield* holder.interrupt
        yield* Scheduler.close
        assert.strictEqual(Refusal.died(yield* Effect.exit(Tagged.execute()))?._tag, "SchedulerClosed")
      })
  )
})

describe("attempts", () => {
  const times: Array<number> = []
  const Flaky = Job.make("flaky", {
    payload: Schema.Number,
    success: Schema.Number,
    error: NotFound,
    tags: ["db"],
    retry: Schedule.spaced("1 second")
  })
  const flaky = Flaky.toLayer((until) =>
    Effect.gen(function*() {
      const { attempt } = yield* TaskRun.CurrentRun
      times.push(attempt)
      return attempt < until ? yield* new NotFound({ id: attempt }) : attempt
    })
  )
  law("are each admitted anew: nothing is held in between", flaky, () =>
    Effect.gen(function*() {
      const run = yield* Flaky.fork(3)
      yield* quiet
      assert.strictEqual((yield* run.state)._tag, "Waiting")
      assert.strictEqual(yield* Task.make("other", Effect.succeed(1), { tags: ["db"] }), 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* TaskRun.join(run), 3)
      assert.deepStrictEqual(times, [1, 2, 3])
    }))

  const Sometimes = Job.make("sometimes", {
    error: NotFound,
    retry: { times: 5, while: (error) => error._tag === "NotFound" && error.id < 3 }
  })
  const sometimes = Sometimes.toLayer(() =>
    Effect.flatMap(TaskRun.CurrentRun, ({ attempt }) => Effect.fail(new NotFound({ id: attempt })))
  )
  law("follow as the policy says, which sees the typed error, by name too", sometimes, () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Sometimes.execute())
      assert.deepStrictEqual(error, new NotFound({ id: 3 }))
      const encoded = yield* Effect.flip(JobRunner.execute("sometimes", null))
      assert.deepStrictEqual(encoded, { _tag: "NotFound", id: 3 })
    }))

  const Late = Job.make("late", { payload: Schema.Duration, timeout: "2 seconds" })
  law(
    "that take longer than the timeout are interrupted: finalizers run, and the outcome is TimedOut",
    Late.toLayer((duration) => Effect.sleep(duration)),
    () =>
      Effect.gen(function*() {
        const run = yield* Late.fork(Duration.seconds(5))
        const ended = yield* Effect.forkChild(elapsed(run.exit))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(ended), 2000)
        assert.strictEqual(yield* endOf(run), "TimedOut")
        const error = Refusal.error(yield* run.exit)
        assert.isTrue(Cause.isTimeoutError(error))
        const inTime = yield* Effect.forkChild(Late.execute(Duration.seconds(1)))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(inTime)
      })
  )

  const Again = Job.make("again", { timeout: "1 second", retry: { times: 2 }, success: Schema.Number })
  law(
    "time out and are retried",
    Again.toLayer(() =>
      Effect.flatMap(TaskRun.CurrentRun, ({ attempt }) => attempt < 3 ? Effect.never : Effect.succeed(attempt))
    ),
    () =>
      Effect.gen(function*() {
        const executing = yield* Effect.forkChild(Again.execute())
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* Fiber.join(executing), 3)
      })
  )
})

describe("progress", () => {
  const Count = Job.make("count", { payload: Schema.Number, success: Schema.Number, timeout: "1 minute" })
  const count = Count.toLayer((n) =>
    Effect.gen(function*() {
      for (let i = 1; i <= n; i++) yield* Job.progress({ at: i, of: n })
      return n
    })
  )

  law("comes in order, and all of it before the result", count, () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const onProgress = (progress: unknown) =>
        Effect.andThen(Effect.yieldNow, Effect.sync(() => void seen.push(progress)))
      assert.strictEqual(yield* Count.execute(3, { onProgress }), 3)
      const all = [{ at: 1, of: 3 }, { at: 2, of: 3 }, { at: 3, of: 3 }]
      assert.deepStrictEqual(seen, all)
      yield* Effect.flatMap(Count.fork(3, { onProgress }), TaskRun.join)
      yield* JobRunner.execute("count", 3, { onProgress })
      assert.deepStrictEqual(seen, [...all, ...all, ...all])
      assert.strictEqual(yield* Count.execute(3), 3)
    }))

  law("holds the handler back until it was heard", count, () =>
    Effect.gen(function*() {
      const seen: Array<unknown> = []
      const onProgress = (progress: unknown) =>
        Effect.andThen(Effect.sync(() => void seen.push(progress)), Effect.sleep("1 second"))
      const executing = yield* Effect.forkChild(elapsed(Count.execute(3, { onProgress })))
      yield* quiet
      assert.strictEqual(seen.length, 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(seen.length, 2)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(executing), 3000)
    }))

  law(
    "of many fibers of a handler is heard one at a time",
    Count.toLayer((n) =>
      Effect.as(
        Effect.forEach(Array.from({ length: n }, (_, i) => i), (i) => Job.progress(i), { concurrency: "unbounded" }),
        n
      )
    ),
    () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const seen: Array<unknown> = []
        const onProgress = (progress: unknown) =>
          Effect.andThen(gauge.inside(Effect.yieldNow), Effect.sync(() => void seen.push(progress)))
        yield* Count.execute(5, { onProgress })
        assert.deepStrictEqual([gauge.peak, seen], [1, [0, 1, 2, 3, 4]])
      })
  )

  const listeners: Record<string, (progress: unknown) => Effect.Effect<void>> = {
    dies: () => Effect.die("deaf"),
    throws: () => {
      throw new Error("deaf")
    },
    fails: () => Effect.fail("deaf") as never,
    "interrupts itself": () => Effect.interrupt
  }
  for (const [title, onProgress] of Object.entries(listeners)) {
    const book = LogBook.make()
    law(`a listener that ${title} is logged, and harms nobody`, count, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Count.execute(2, { onProgress }), 2)
        assert.deepStrictEqual(book.lines.map(({ level }) => level), ["Warn", "Warn"])
      }).pipe(book.keep))
  }

  law(
    "a listener that never returns is no obstacle to interruption nor to the timeout",
    count,
    () =>
      Effect.gen(function*() {
        const onProgress = () => Effect.never
        const executing = yield* Effect.forkChild(Count.execute(2, { onProgress }))
        yield* quiet
        yield* Fiber.interrupt(executing)
        const late = yield* Effect.forkChild(Effect.flip(Count.execute(2, { onProgress })))
        yield* TestClock.adjust("1 minute")
        assert.isTrue(Cause.isTimeoutError(yield* Fiber.join(late)))
      })
  )

  const leftBehind = Latch.makeUnsafe()
  law(
    "after the end is heard by nobody",
    Count.toLayer((n) =>
      Effect.gen(function*() {
        yield* Job.progress("before")
        yield* Effect.forkDetach(Effect.andThen(leftBehind.await, Job.progress("after")))
        return n
      })
    ),
    () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        yield* Count.execute(1, { onProgress: (progress: unknown) => Effect.sync(() => void seen.push(progress)) })
        yield* leftBehind.open
        yield* quiet
        assert.deepStrictEqual(seen, ["before"])
      })
  )

  const growing: Array<number> = []
  law(
    "is JSON, as it was when it was told; anything else is a defect, heard or not",
    Count.toLayer((n) =>
      Effect.gen(function*() {
        if (n === 0) yield* Job.progress(new Date(0) as never)
        for (let i = 0; i < n; i++) {
          growing.push(i)
          yield* Job.progress(growing)
        }
        return n
      })
    ),
    () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const onProgress = (progress: unknown) => Effect.sync(() => void seen.push(progress))
        yield* Count.execute(2, { onProgress })
        assert.deepStrictEqual(seen, [[0], [0, 1]])
        for (const options of [{}, { onProgress }]) {
          assert.include(defectOf(yield* Effect.exit(Count.execute(0, options))).message, "Expected JSON value")
        }
      })
  )

  const Forward = Job.make("forward", { success: Schema.String })
  law(
    "is heard where the job was executed, with what there is there: a parent tells it further",
    Layer.merge(
      count,
      Forward.toLayer(() =>
        Effect.gen(function*() {
          let heardAs = ""
          const onProgress = (progress: unknown) =>
            Effect.andThen(
              Job.progress([progress as Schema.Json]),
              Effect.flatMap(TaskRun.CurrentRun, (run) => Effect.sync(() => heardAs = run.name))
            ) as unknown as Effect.Effect<void>
          yield* Effect.orDie(Count.execute(1, { onProgress }))
          return heardAs
        })
      )
    ),
    () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const onProgress = (progress: unknown) => Effect.map(Word, (word) => void seen.push(word, progress))
        const executed = Forward.execute(undefined, { onProgress: onProgress as () => Effect.Effect<void> })
        assert.strictEqual(yield* Effect.provideService(executed, Word, "word"), "forward")
        assert.deepStrictEqual(seen, ["word", [{ at: 1, of: 1 }]])
      })
  )

  it.effect("outside a job goes nowhere", () => Job.progress("anything"))
})

describe("the registry", () => {
  const One = Job.make("one", { success: Schema.String })
  const one = One.toLayer(() => Effect.succeed("one"))

  const duplicate = { _tag: "DuplicateJobError", job: "one" } as const
  it.effect("takes one handler of a name: another is a defect, the same is nothing new", () =>
    Effect.gen(function*() {
      const other = One.toLayer(() => Effect.succeed("other"))
      const exit = yield* Effect.exit(Effect.void.pipe(Effect.provide(Layer.mergeAll(one, other))))
      assert.deepInclude(Refusal.defect(exit), duplicate)
      assert.strictEqual((Refusal.defect(exit) as Error).message, `job "one" has a handler already`)
      const below = yield* Effect.exit(Effect.void.pipe(Effect.provide(one), Effect.provide(other)))
      assert.isTrue(Exit.isSuccess(below) || Refusal.defect(below) instanceof Job.DuplicateJobError)
      yield* Effect.void.pipe(Effect.provide(Layer.mergeAll(one, one, Layer.fresh(one))))
    }))

  it.effect("has what a module exports, but for _names and what is no handler", () =>
    Effect.gen(function*() {
      const module = { one, _hidden: find, Find, number: 1, nothing: undefined, f: () => 1 }
      const layer = Job.layerFromModule(module)
      expectTypeOf<Layer.Services<typeof layer>>().toEqualTypeOf<never>()
      expectTypeOf<Layer.Error<typeof layer>>().toEqualTypeOf<Job.DuplicateJobError>()
      const infos = yield* Job.list.pipe(Effect.provide(layer))
      assert.deepStrictEqual(infos.map(({ name }) => name), ["one"])
      const needy = Job.layerFromModule({ say: One.toLayer(() => Word) })
      expectTypeOf<Layer.Services<typeof needy>>().toEqualTypeOf<Word>()
      const twice = Job.layerFromModule({ one, two: One.toLayer(() => Effect.succeed("two")) })
      const error = yield* Effect.flip(Effect.provide(Effect.void, twice))
      assert.deepInclude(error, duplicate)
      const none = yield* Job.list.pipe(Effect.provide(Job.layerFromModule({})))
      assert.deepStrictEqual(none, [])
    }))

  const program = Effect.all([One.execute(), Find.execute({ id: 1 })])
  const both = ["one", "item 1"]
  const compositions: Record<string, Effect.Effect<ReadonlyArray<string>, unknown>> = {
    "mergeAll": program.pipe(Effect.provide(Layer.mergeAll(one, find, JobRunner.layerLocal).pipe(Layer.provide(pool)))),
    "mergeAll, the runner first": program.pipe(
      Effect.provide(Layer.mergeAll(JobRunner.layerLocal, find, one).pipe(Layer.provide(pool)))
    ),
    "handlers on the runner": program.pipe(Effect.provide(Layer.mergeAll(one, find).pipe(Layer.provideMerge(local)))),
    "the runner on handlers": program.pipe(Effect.provide(local.pipe(Layer.provideMerge(Layer.mergeAll(one, find))))),
    "the runner with handlers provided": program.pipe(
      Effect.provide(local.pipe(Layer.provide(Layer.mergeAll(one, find))))
    ),
    "a handler on a handler": program.pipe(
      Effect.provide(one.pipe(Layer.provideMerge(find), Layer.provideMerge(local)))
    ),
    "one provide each, the runner outermost": program.pipe(
      Effect.provide(one),
      Effect.provide(find),
      Effect.provide(local)
    ),
    "one provide each, the runner innermost": program.pipe(
      Effect.provide(JobRunner.layerLocal),
      Effect.provide(one),
      Effect.provide(find),
      Effect.provide(pool)
    ),
    "an array": program.pipe(Effect.provide([one, find, local])),
    "a runner that is fresh": program.pipe(
      Effect.provide(Layer.fresh(local)),
      Effect.provide(Layer.mergeAll(one, find))
    ),
    "handlers that are fresh": program.pipe(
      Effect.provide(Layer.mergeAll(Layer.fresh(one), Layer.fresh(find)).pipe(Layer.provideMerge(local)))
    ),
    "an explicit registry": program.pipe(
      Effect.provide(Layer.mergeAll(one, find).pipe(Layer.provideMerge(local), Layer.provideMerge(Job.layerRegistry)))
    ),
    "layerFromModule": program.pipe(
      Effect.provide(Layer.mergeAll(Job.layerFromModule({ one, find }), JobRunner.layerLocal).pipe(Layer.provide(pool)))
    ),
    "a managed runtime": Effect.acquireUseRelease(
      Effect.sync(() => ManagedRuntime.make(Layer.mergeAll(one, find).pipe(Layer.provideMerge(local)))),
      (runtime) => Effect.promise(() => runtime.runPromise(program)),
      (runtime) => runtime.disposeEffect
    ),
    "a managed runtime of handlers": Effect.acquireUseRelease(
      Effect.sync(() => ManagedRuntime.make(Layer.mergeAll(one, find))),
      (runtime) => Effect.promise(() => runtime.runPromise(program.pipe(Effect.provide(local)))),
      (runtime) => runtime.disposeEffect
    )
  }
  for (const [title, composed] of Object.entries(compositions)) {
    it.effect(`is one for all, however they are composed: ${title}`, () =>
      leakGuard(Effect.gen(function*() {
        assert.deepStrictEqual(yield* composed, both)
        // And again: nothing is left of the first.
        assert.deepStrictEqual(yield* composed, both)
      })))
  }

  it.effect("has a handler until its Layer closes; what was accepted until then still runs", () =>
    Effect.gen(function*() {
      const gate = yield* Latch.make()
      const handler = One.toLayer(() => Effect.as(gate.await, "one"))
      const runs = yield* Effect.forEach([1, 2, 3], () => One.fork()).pipe(Effect.provide(handler))
      yield* quiet
      assert.deepStrictEqual(yield* JobRunner.jobs, [])
      const error = yield* Effect.flip(One.execute())
      assert.deepInclude(error, { _tag: "UnknownJobError", job: "one", known: [] })
      assert.strictEqual(error.message, `no handler for job "one": there is none for any`)
      const other = yield* One.fork().pipe(Effect.provide(One.toLayer(() => Effect.succeed("other"))))
      yield* gate.open
      assert.strictEqual(yield* TaskRun.join(other), "other")
      assert.deepStrictEqual(yield* Effect.forEach(runs, TaskRun.join), ["one", "one", "one"])
    }).pipe(Effect.provide(local)))

  it.effect("built twice, is in use as long as one of both lives, with what that one was built with", () =>
    Effect.gen(function*() {
      const say = One.toLayer(() => Word)
      const named = (name: string) => Layer.fresh(say).pipe(Layer.provide(Layer.succeed(Word, name)))
      const [opened, gate] = [yield* Latch.make(), yield* Latch.make()]
      const first = yield* Effect.forkChild(
        Effect.andThen(opened.open, gate.await).pipe(Effect.provide(named("first")))
      )
      yield* opened.await
      const second = Effect.gen(function*() {
        assert.strictEqual(yield* One.execute(), "first")
        yield* gate.open
        yield* Fiber.join(first)
        assert.strictEqual(yield* One.execute(), "second")
      })
      yield* second.pipe(Effect.provide(named("second")))
      assert.instanceOf(yield* Effect.flip(One.execute()), Job.UnknownJobError)
    }).pipe(Effect.provide(local)))

  it.effect("drains with its scheduler, whichever way round they are composed", () =>
    Effect.gen(function*() {
      const One = Job.make("one", { success: Schema.String, tags: ["db"] })
      const one = One.toLayer(() => Effect.as(Effect.sleep("1 second"), "one"))
      const draining = Scheduler.layer({ gracePeriod: "1 minute", tagLimits: { db: 1 } })
      const runner = JobRunner.layerLocal.pipe(Layer.provideMerge(draining))
      for (
        const layer of [
          Layer.provideMerge(one, runner),
          Layer.provideMerge(runner, one),
          Layer.mergeAll(one, JobRunner.layerLocal).pipe(Layer.provideMerge(draining))
        ]
      ) {
        const stopping = yield* Effect.forkChild(
          Effect.forEach([1, 2, 3], () => One.fork()).pipe(Effect.provide(layer))
        )
        yield* TestClock.adjust("3 seconds")
        const runs = yield* Fiber.join(stopping)
        assert.deepStrictEqual(yield* Effect.forEach(runs, endOf), ["Succeeded", "Succeeded", "Succeeded"])
      }
    }))

  it.effect("lists the jobs with JSON Schemas of what crosses", () =>
    Effect.gen(function*() {
      const Odd = Job.make("odd", {
        payload: Schema.declare((u): u is () => void => typeof u === "function"),
        timeout: "1 second",
        limit: 2
      })
      const handlers = Layer.mergeAll(find, Odd.toLayer(() => Effect.void))
      const [known, odd] = yield* Job.list.pipe(Effect.provide(handlers))
      assert.strictEqual(known!.name, "find")
      assert.deepStrictEqual(known!.demand, {})
      assert.deepInclude(known!.payload.schema, { type: "object", required: ["id"] })
      assert.deepStrictEqual(known!.success.schema, { type: "string" })
      assert.include(JSON.stringify(known!.error), "NotFound")
      assert.deepInclude(odd, { name: "odd", demand: { limit: 2 }, timeout: 1000 })
      assert.deepStrictEqual(structuredClone([known, odd]), [known, odd])
      assert.deepStrictEqual(
        yield* JobRunner.jobs.pipe(Effect.provide(Layer.provideMerge(handlers, local))),
        [known, odd]
      )
    }))
})

describe("types", () => {
  type ErrorOf<T> = T extends Effect.Effect<any, infer E, any> ? E : never
  type ServicesOf<T> = T extends Effect.Effect<any, any, infer R> ? R : never
  const Plain = Job.make("plain", { payload: { at: Schema.Date }, success: Schema.Date, error: NotFound })
  const Timed = Job.make("timed", { error: NotFound, timeout: "1 second" })
  const Bare = Job.make("bare")

  it("E is the error's, what the options add, and what a submission can meet", () => {
    const plain = () => Plain.execute({ at: new Date() })
    const timed = () => Timed.execute()
    const bare = () => Bare.execute()
    const refusable = () => Bare.execute(undefined, { refusable: true, tags: ["db"] })
    expectTypeOf<ErrorOf<ReturnType<typeof plain>>>().toEqualTypeOf<NotFound | Job.SubmitError>()
    expectTypeOf<ErrorOf<ReturnType<typeof timed>>>().toEqualTypeOf<NotFound | Cause.TimeoutError | Job.SubmitError>()
    expectTypeOf<ErrorOf<ReturnType<typeof bare>>>().toEqualTypeOf<Job.SubmitError>()
    expectTypeOf<ErrorOf<ReturnType<typeof refusable>>>().toEqualTypeOf<Job.SubmitError | Concurrency.AdmissionError>()
    expectTypeOf<Effect.Success<ReturnType<typeof plain>>>().toEqualTypeOf<Date>()
    expectTypeOf<Effect.Success<ReturnType<typeof bare>>>().toEqualTypeOf<void>()
    const forked = () => Timed.fork(undefined, { refusable: true })
    expectTypeOf<ErrorOf<ReturnType<typeof forked>>>().toEqualTypeOf<Job.SubmitError>()
    expectTypeOf<Effect.Success<ReturnType<typeof forked>>>().toEqualTypeOf<
      TaskRun.TaskRun<void, NotFound | Cause.TimeoutError | Concurrency.AdmissionError>
    >()
  })

  it("R is the runner, and what the schemas need; of a handler, what it needs less what it is given", () => {
    class Key extends Context.Service<Key, string>()("test/Key") {}
    const Locked = Schema.String.pipe(Schema.decode({
      decode: SchemaGetter.transformEffect((text: string) => Effect.as(Word, text)),
      encode: SchemaGetter.transformEffect((text: string) => Effect.as(Key, text))
    }))
    const Coded = Job.make("coded", { payload: { text: Locked } })
    const plain = () => Plain.execute({ at: new Date() })
    const coded = () => Coded.execute({ text: "" })
    const handlers = {
      none: Plain.toLayer(({ at }) => Effect.succeed(at)),
      given: Bare.toLayer(() =>
        Effect.gen(function*() {
          yield* TaskRun.CurrentRun
          yield* Scheduler.Scheduler
          yield* Job.JobRunner
          yield* Effect.addFinalizer(() => Effect.void)
        })
      ),
      word: Bare.toLayer(() => Effect.asVoid(Word)),
      coded: Coded.toLayer(() => Effect.void)
    }
    expectTypeOf<ServicesOf<ReturnType<typeof plain>>>().toEqualTypeOf<Job.JobRunner>()
    expectTypeOf<ServicesOf<ReturnType<typeof coded>>>().toEqualTypeOf<Job.JobRunner | Key>()
    expectTypeOf(handlers.none).toEqualTypeOf<Job.Handler>()
    expectTypeOf(handlers.given).toEqualTypeOf<Job.Handler>()
    expectTypeOf(handlers.word).toEqualTypeOf<Job.Handler<Word>>()
    expectTypeOf(handlers.coded).toEqualTypeOf<Job.Handler<Word>>()
  })

  it("payloads, handlers, keys and policies are checked", () => {
    // @ts-expect-error the payload is a number
    void (() => Find.execute({ id: "7" }))
    // @ts-expect-error there is no payload to leave out
    void (() => Find.execute())
    // @ts-expect-error the result is a string
    void Find.toLayer(() => Effect.succeed(1))
    // @ts-expect-error the error is not declared
    void Find.toLayer(() => Effect.fail("oops"))
    // @ts-expect-error whether it is refusable is to be known
    void (() => Find.execute({ id: 7 }, { refusable: Math.random() > 0.5 }))
    void Find.execute({ id: 7 }, {
      onProgress: (progress) => Effect.sync(() => expectTypeOf(progress).toEqualTypeOf<unknown>())
    })
    // @ts-expect-error the key is of the payload
    void Job.make("job", { payload: { id: Schema.Number }, idempotencyKey: ({ other }) => other })
    Job.make("job", {
      error: NotFound,
      timeout: "1 second",
      retry: {
        while: (error) => {
          expectTypeOf(error).toEqualTypeOf<NotFound | Cause.TimeoutError | Job.JobCrashedError>()
          return true
        }
      }
    })
  })
})
