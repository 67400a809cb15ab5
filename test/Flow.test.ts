import { assert, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Random } from "effect"
import { Concurrency, Flow, RunEvent, Scheduler, Task } from "../src/index.ts"

/** Runs an effect and returns its exit beside all facts its runners and flows told. */
const facts = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const events: Array<RunEvent.RunEvent> = []
    const exit = yield* effect.pipe(
      Effect.provideService(RunEvent.Listeners, [(event) => events.push(event)]),
      Effect.exit
    )
    return { exit, events, tags: events.map((event) => event._tag) }
  })

const flowsOf = (events: ReadonlyArray<RunEvent.RunEvent>) => events.filter((event) => event._tag === "FlowStarted")
const endOf = (events: ReadonlyArray<RunEvent.RunEvent>) => {
  const last = events.at(-1)!
  return last._tag === "FlowFinished" ? last.outcome._tag : last._tag
}

const idOfScheduler = Scheduler.Scheduler.useSync((scheduler) => scheduler.id)

it.effect("a flow starts its runner first and stops it last", () =>
  Effect.gen(function*() {
    const flow = Flow.make("report", Task.make("page", Effect.succeed(1)), Scheduler.layer())
    const { events, exit, tags } = yield* facts(flow)
    assert.deepStrictEqual(exit, Exit.succeed(1))
    assert.deepStrictEqual(tags.slice(0, 2), ["FlowStarted", "RunnerStarted"])
    assert.deepStrictEqual(tags.slice(-2), ["RunnerStopped", "FlowFinished"])
    assert.strictEqual(endOf(events), "Succeeded")
    const [started, ...others] = flowsOf(events)
    assert.strictEqual(others.length, 0)
    assert.match(started!.name, /^[a-z]+-[a-z]+$/)
    assert.deepStrictEqual([started!.flow, started!.parent, started!.scheduler], ["report", undefined, ""])
  }))

it.effect("a flow that fails, dies or is interrupted still stops its runner", () =>
  Effect.gen(function*() {
    const runner = Scheduler.layer()
    const failed = yield* facts(Flow.make("failing", Task.make("page", Effect.fail("no paper")), runner))
    assert.deepStrictEqual(failed.exit, Exit.fail("no paper"))
    assert.deepStrictEqual([failed.tags.at(-2), endOf(failed.events)], ["RunnerStopped", "Failed"])

    const died = yield* facts(Flow.make("dying", Task.make("page", Effect.die("jam")), runner))
    assert.deepStrictEqual([died.tags.at(-2), endOf(died.events)], ["RunnerStopped", "Died"])

    const fiber = yield* Effect.forkChild(
      facts(Effect.gen(function*() {
        const flow = yield* Effect.forkChild(Flow.make("endless", Task.make("page", Effect.never), runner))
        yield* Effect.yieldNow
        yield* Fiber.interrupt(flow)
        return yield* Fiber.await(flow)
      }))
    )
    const { events, exit, tags } = yield* Fiber.join(fiber)
    assert.isTrue(Exit.isSuccess(exit) && Exit.hasInterrupts(exit.value))
    assert.deepStrictEqual([tags.at(-2), endOf(events)], ["RunnerStopped", "Interrupted"])
  }))

it.effect("a flow whose runner cannot be built ends as failed, in E", () =>
  Effect.gen(function*() {
    const broken = Layer.effect(Scheduler.Scheduler, Effect.fail("no such cluster" as const))
    const flow: Effect.Effect<number, "no such cluster"> = Flow.make(
      "lost",
      Task.make("page", Effect.succeed(1)),
      broken
    )
    const { events, exit, tags } = yield* facts(flow)
    assert.deepStrictEqual(exit, Exit.fail("no such cluster" as const))
    assert.deepStrictEqual(tags, ["FlowStarted", "FlowFinished"])
    assert.strictEqual(endOf(events), "Failed")
  }))

it.effect("flows that name one constant runner have a pool each, and each run a fresh one", () =>
  Effect.gen(function*() {
    const runner = Scheduler.layer({ maxParallelism: 1 })
    const inner = Flow.make("inner", idOfScheduler, runner)
    const outer = Flow.make("outer", Effect.all([idOfScheduler, inner, inner, idOfScheduler]), runner)
    const [around, ...ids] = yield* Effect.all([idOfScheduler, outer]).pipe(
      Effect.map(([around, ids]) => [around, ...ids]),
      Effect.provide(runner)
    )
    assert.strictEqual(ids[0], ids[3])
    assert.strictEqual(new Set([around, ...ids]).size, 4)
  }))

it.effect("flows inside flows switch runner and back, and know their parent", () =>
  Effect.gen(function*() {
    const parallelism = Effect.map(Scheduler.stats, (stats) => stats.maxParallelism)
    const sub = Flow.make("sub", Effect.all([parallelism, Flow.CurrentFlow]), Scheduler.layer({ maxParallelism: 7 }))
    const main = Flow.make("main", Effect.all([parallelism, sub, parallelism]), Scheduler.layerSequential)
    const { events, exit } = yield* facts(main)
    assert.isTrue(Exit.isSuccess(exit))
    const [before, [inside, current], after] = Exit.isSuccess(exit) ? exit.value : assert.fail()
    assert.deepStrictEqual([before, inside, after], [1, 7, 1])
    const [outer, inner] = flowsOf(events)
    assert.notStrictEqual(outer!.id, inner!.id)
    assert.strictEqual(outer!.parent, undefined)
    assert.strictEqual(inner!.parent, outer!.id)
    assert.deepStrictEqual([current!.id, current!.name], [inner!.id, inner!.name])
    assert.strictEqual(yield* Flow.CurrentFlow, undefined)
  }))

it.effect("a lent pool is not stopped", () =>
  Effect.gen(function*() {
    const pool = yield* Scheduler.Scheduler
    const flow = Flow.make("guest", Task.make("page", idOfScheduler), Layer.succeed(Scheduler.Scheduler, pool))
    const { exit, tags } = yield* facts(flow)
    assert.deepStrictEqual(exit, Exit.succeed(pool.id))
    assert.notInclude(tags, "RunnerStarted")
    assert.notInclude(tags, "RunnerStopped")
    assert.isFalse((yield* Scheduler.stats).isClosed)
  }).pipe(Effect.provide(Scheduler.layer())))

it.effect("names come from Random, ids do not", () =>
  Effect.gen(function*() {
    const twice = Effect.replicateEffect(Flow.make("named", Flow.CurrentFlow, Scheduler.layerSequential), 2)
    const first = yield* Random.withSeed(twice, "olivine-swan")
    const second = yield* Random.withSeed(twice, "olivine-swan")
    assert.deepStrictEqual(first.map((run) => run?.name), second.map((run) => run?.name))
    assert.notStrictEqual(first[0]?.name, first[1]?.name)
    assert.strictEqual(new Set([...first, ...second].map((run) => run?.id)).size, 4)
  }))

it.effect("flows share the tag limits provided around them", () =>
  Effect.gen(function*() {
    const order: Array<string> = []
    const query = (name: string) =>
      Task.make(
        name,
        Effect.gen(function*() {
          order.push(`${name} began`)
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          order.push(`${name} ended`)
        }),
        { tags: ["db"] }
      )
    const runner = Scheduler.layer({ maxParallelism: 4 })
    yield* Effect.all([Flow.make("a", query("a"), runner), Flow.make("b", query("b"), runner)], {
      concurrency: "unbounded"
    })
    assert.deepStrictEqual(order, ["a began", "a ended", "b began", "b ended"])
  }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

it.effect("a flow inside a task lends the task's slot and tags", () =>
  Effect.gen(function*() {
    const child = Task.make("child", Effect.succeed(1), { tags: ["db"] })
    const parent = Task.make("parent", Flow.make("inside", child, Scheduler.layerSequential), { tags: ["db"] })
    assert.strictEqual(yield* parent, 1)
  }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 1, tagLimits: { db: 1 } }))))

it.effect("what a flow started and did not wait for is drained within its runner's grace period", () =>
  Effect.gen(function*() {
    const done: Array<string> = []
    const mail = Task.make("mail", Effect.andThen(Effect.yieldNow, Effect.sync(() => done.push("mail"))))
    const flow = (gracePeriod: number) => Flow.make("send", Task.fork(mail), Scheduler.layer({ gracePeriod }))
    yield* flow(1000)
    assert.deepStrictEqual(done, ["mail"])
    yield* flow(0)
    assert.deepStrictEqual(done, ["mail"])
  }))

it("a flow needs what its program needs beyond the runner, and what the runner needs", () => {
  class Paper extends Context.Service<Paper, { readonly sheets: number }>()("test/Paper") {}
  class Cluster extends Context.Service<Cluster, { readonly url: string }>()("test/Cluster") {}
  const runner = Scheduler.layer().pipe(Layer.provide(Layer.effectDiscard(Cluster)))
  const flow = Flow.make("print", Task.make("page", Effect.map(Paper, (paper) => paper.sheets)), runner)
  expectTypeOf(flow).toEqualTypeOf<Effect.Effect<number, never, Paper | Cluster>>()
})
