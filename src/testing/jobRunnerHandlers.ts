/**
 * The jobs that `jobRunnerSuite` executes, and their handlers.
 *
 * A handler may be far from the test: it knows of it what is in the payload, says what it has to by progress and result, and is held where it
 * tells progress until that was heard. Nothing of vitest is in here, so that a host can import it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Job from "../Job.ts"
import * as Task from "../Task.ts"
import * as TaskRun from "../TaskRun.ts"

export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.Number, at: Schema.Date }) {}

export class Person extends Schema.Class<Person>("Person")({ name: Schema.String, born: Schema.Date }) {
  get year(): number {
    return this.born.getUTCFullYear()
  }
}

/** One of each kind that JSON has no word for. */
export const Everything = Schema.Struct({
  date: Schema.Date,
  duration: Schema.Duration,
  endless: Schema.Duration,
  some: Schema.Option(Schema.Date),
  none: Schema.Option(Schema.Date),
  person: Person,
  secret: Schema.Redacted(Schema.String),
  big: Schema.BigInt,
  nan: Schema.Number,
  infinity: Schema.Number,
  nothing: Schema.UndefinedOr(Schema.String),
  map: Schema.ReadonlyMap(Schema.String, Schema.Date),
  set: Schema.ReadonlySet(Schema.BigInt),
  bytes: Schema.Uint8Array,
  exit: Schema.Exit(Schema.Date, Schema.String, Schema.Defect()),
  names: Schema.Record(Schema.String, Schema.Json)
})

export const Find = Job.make("find", {
  payload: { id: Schema.Number, shout: Schema.Boolean.pipe(Schema.withConstructorDefault(Effect.succeed(false))) },
  success: Schema.String,
  error: NotFound
})

export const Echo = Job.make("echo", {
  payload: { value: Everything, fail: Schema.Boolean },
  success: Everything,
  error: Everything
})

export const Age = Job.make("age", { payload: Person, success: Schema.Number })

/** Adds one to what it is given, in place. */
export const Scribble = Job.make("scribble", { payload: Schema.Json, success: Schema.Json })

/** Ends in each way there is. */
export const End = Job.make("end", {
  payload: Schema.Literals(["defect", "throw", "abort", "interrupt", "success unfit", "error unfit"]),
  success: Schema.Number,
  error: NotFound,
  retry: { times: 3 }
})

const Identity = Schema.Struct({
  id: Schema.String,
  name: Schema.String,
  tags: Schema.Array(Schema.String),
  parent: Schema.UndefinedOr(Schema.String),
  root: Schema.String,
  attempt: Schema.Number
})

/** Who it is, and who its descendants are. */
export const Who = Job.make("who", {
  payload: { depth: Schema.Number },
  success: Schema.Array(Identity),
  tags: ["job"],
  priority: "low"
})

/** Deeper and deeper, by each way of waiting. */
export const Deep = Job.make("deep", { payload: Schema.Number, success: Schema.Number, tags: ["one"] })

/** Tells that it is in, and that it goes out. */
export const Stay = Job.make("stay", { payload: Schema.String, success: Schema.String })

/** Tells that it has begun, then stays until it is interrupted, and for so long after. */
export const Linger = Job.make("linger", { payload: Schema.Duration })

/** Executes another that lingers. */
export const Keep = Job.make("keep", { payload: Schema.Duration })

export const Flaky = Job.make("flaky", {
  payload: { until: Schema.Number },
  success: Schema.Number,
  error: NotFound,
  retry: { times: 5, while: (error) => error._tag === "NotFound" && error.id < 3 }
})

export const Late = Job.make("late", {
  payload: Schema.Duration,
  success: Schema.String,
  timeout: "200 millis"
})

/** Of nothing never ends. */
export const Charge = Job.make("charge", {
  payload: { order: Schema.String, amount: Schema.Number },
  success: Schema.Number,
  idempotencyKey: ({ order }) => order
})

export const Count = Job.make("count", {
  payload: { to: Schema.Number, at: Schema.Literals(["once", "in turn"]) },
  success: Schema.Number
})

export const Stutter = Job.make("stutter")

/** Executes others and tells what became of them. */
export const Ask = Job.make("ask", {
  payload: { id: Schema.Number },
  success: Schema.Struct({
    found: Schema.String,
    missing: Schema.Number,
    unknown: Schema.String,
    invalid: Schema.String,
    defect: Schema.String,
    heard: Schema.Array(Schema.Json)
  })
})

export const Say = Job.make("say", { success: Schema.String })

export const Tell = Job.make("tell", { payload: Schema.String })

/** Has a handler nowhere. */
export const Nobody = Job.make("nobody")

/** What `Say` says. */
export class Word extends Context.Service<Word, string>()("tasklayer/testing/Word") {}

const identity = Effect.map(TaskRun.CurrentRun, ({ attempt, id, name, parent, root, tags }) => ({
  id,
  name,
  tags,
  parent,
  root,
  attempt
}))

const range = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** For the thread, process or machine that does the work: `ThreadHost.run(jobRunnerHandlers)`. */
export const jobRunnerHandlers: Layer.Layer<Job.Registry> = Layer.mergeAll(
  Find.toLayer(({ id, shout }) =>
    id === 0
      ? Effect.fail(new NotFound({ id, at: new Date(0) }))
      : Effect.succeed(shout ? `ITEM ${id}` : `item ${id}`)
  ),
  Echo.toLayer(({ fail, value }) => fail ? Effect.fail(value) : Effect.succeed(value)),
  Age.toLayer((person) => Effect.succeed(person.year)),
  Scribble.toLayer((payload) =>
    Effect.sync(() => {
      ;(payload as Array<Schema.Json>).push("scribbled")
      return payload
    })
  ),
  End.toLayer((how) => {
    switch (how) {
      case "defect":
        return Effect.die(new TypeError("wrong", { cause: new Error("deeper") }))
      case "throw":
        throw new Error("thrown")
      case "abort":
        return Task.abort("not today")
      case "interrupt":
        return Effect.interrupt
      case "success unfit":
        return Effect.succeed("one" as never)
      case "error unfit":
        return Effect.fail(new Error("not declared") as never)
    }
  }),
  Who.toLayer(({ depth }) =>
    Effect.gen(function*() {
      const self = yield* identity
      if (depth === 0) return [self]
      const forked = yield* Who.fork({ depth: 0 }, { tags: ["forked"] })
      const [below, beside] = yield* Effect.all([Who.execute({ depth: depth - 1 }), TaskRun.join(forked)], {
        concurrency: 2
      })
      return [self, ...beside, ...below]
    }).pipe(Effect.orDie), { tags: ["handler"], priority: "high" }),
  Deep.toLayer((n) =>
    Effect.gen(function*() {
      if (n === 0) return 0
      switch (n % 3) {
        case 0:
          return (yield* Deep.execute(n - 1)) + 1
        case 1:
          return (yield* Effect.flatMap(Deep.fork(n - 1), TaskRun.join)) + 1
        default: {
          const run = yield* Deep.fork(n - 1)
          const [exit] = yield* TaskRun.awaitAll([run])
          return (yield* exit!) + 1
        }
      }
    }).pipe(Effect.orDie)
  ),
  Stay.toLayer((name) =>
    Effect.gen(function*() {
      yield* Job.progress(`in ${name}`)
      yield* Effect.yieldNow
      yield* Job.progress(`out ${name}`)
      return name
    })
  ),
  Linger.toLayer((duration) =>
    Effect.andThen(
      Job.progress("began"),
      Effect.onInterrupt(Effect.never, () => Effect.sleep(duration))
    )
  ),
  Keep.toLayer((duration) =>
    Effect.orDie(
      Linger.execute(duration, { tags: ["one"], onProgress: (progress) => Job.progress(`${progress}`) })
    )
  ),
  Flaky.toLayer(({ until }) =>
    Effect.flatMap(
      TaskRun.CurrentRun,
      ({ attempt }) =>
        attempt < until ? Effect.fail(new NotFound({ id: attempt, at: new Date(0) })) : Effect.succeed(attempt)
    )
  ),
  Late.toLayer((duration) => Effect.as(Effect.sleep(duration), "in time")),
  Charge.toLayer(({ amount }) =>
    Effect.andThen(Job.progress(amount), amount === 0 ? Effect.never : Effect.succeed(amount))
  ),
  Count.toLayer(({ at, to }) =>
    Effect.as(
      Effect.forEach(range(to), (n) => Job.progress({ at: n }), { concurrency: at === "once" ? "unbounded" : 1 }),
      to
    )
  ),
  Stutter.toLayer(() => Job.progress(new Date(0) as never)),
  Ask.toLayer(({ id }) =>
    Effect.gen(function*() {
      const heard: Array<Schema.Json> = []
      const onProgress = (progress: unknown) => Effect.sync(() => void heard.push(progress as Schema.Json))
      yield* Count.execute({ to: 2, at: "in turn" }, { onProgress })
      const dead = yield* Effect.exit(End.execute("throw"))
      return {
        found: yield* Find.execute({ id }),
        missing: yield* Find.execute({ id: 0 }).pipe(
          Effect.catchTag("NotFound", ({ at }) => Effect.succeed(at.getTime())),
          Effect.map(Number)
        ),
        unknown: (yield* Effect.flip(Nobody.execute())).message,
        invalid: (yield* Effect.flip(Find.execute({ id: "1" as never }))).message,
        defect: dead._tag === "Failure" && dead.cause.reasons[0]?._tag === "Die"
          ? String(dead.cause.reasons[0].defect)
          : "",
        heard
      }
    }).pipe(Effect.orDie)
  ),
  Say.toLayer(() => Word).pipe(Layer.provide(Layer.succeed(Word, "the handler's"))),
  Tell.toLayer((text) => Effect.log(text))
)
