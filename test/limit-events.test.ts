/** What `Concurrency.events` and its listeners tell of the limits: by tag, with who it was. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Duration, Effect, Fiber, Latch, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"
import { active, usage } from "./suites/Reading.ts"

/** `Acquired db job 1`: what happened to which tag, to whom, and what the fact has beside that. */
const line = (event: Concurrency.ConcurrencyEvent): string => {
  const who = "holder" in event ? [event.name] : []
  switch (event._tag) {
    case "Acquired":
      return [event._tag, event.tag, ...who, event.weight].join(" ")
    case "Released":
    case "Revoked":
      return [event._tag, event.tag, ...who, event.weight, `after ${Duration.toMillis(event.held)}`].join(" ")
    case "Denied":
      return [event._tag, event.tag, ...who, event.reason._tag].join(" ")
    case "Created":
      return [event._tag, event.tag, event.limit].join(" ")
    case "Resized":
      return [event._tag, event.tag, event.before, event.limit].join(" ")
    case "Removed":
      return [event._tag, event.tag, event.before].join(" ")
    case "Saturated":
      return [event._tag, event.limit].join(" ")
    case "LeaseExpired":
      return [event._tag, ...event.tags].join(" ")
    default:
      return [event._tag, event.tag, ...who].join(" ")
  }
}

/** The facts from here on. */
const listen = Effect.gen(function*() {
  const seen: Array<Concurrency.ConcurrencyEvent> = []
  yield* Effect.forkScoped(Stream.runForEach(Concurrency.events, (event) => Effect.sync(() => seen.push(event))))
  yield* quiet
  return seen
})

const facts = Effect.map(listen, (seen) => ({
  seen,
  /** Those since it was asked last. */
  next: Effect.map(quiet, () => seen.splice(0).map(line))
}))

const limits = Concurrency.layer({
  tagLimits: {
    db: 1,
    two: 2,
    shut: 0,
    conn: { limit: 1, whileWaiting: "hold" },
    api: { limit: 9, rate: { count: 1, per: "1 second" } }
  }
})
const under = Layer.provideMerge(Scheduler.layer({ maxParallelism: 4 }), limits)

describe("a tag", () => {
  it.effect("is acquired, waited for and released by runs, with their ids", () =>
    Effect.gen(function*() {
      const { next, seen } = yield* facts
      const latch = yield* Latch.make()
      const job = Task.make("job", latch.await, { tags: ["db", "label"] })
      yield* Task.fork(job, { id: "one" })
      yield* TestClock.adjust("5 millis")
      yield* Task.fork(job, { id: "two" })
      yield* TestClock.adjust("5 millis")
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual(seen.map((event) => "holder" in event ? event.holder : ""), [
        "one",
        "two",
        "one",
        "two",
        "two"
      ])
      assert.deepStrictEqual(yield* next, [
        "Acquired db job 1",
        "Waited db job",
        "Released db job 1 after 10",
        "Acquired db job 1",
        "Released db job 1 after 0"
      ])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("is acquired, waited for and released by withSlot, with the id that read shows", () =>
    Effect.gen(function*() {
      const { next, seen } = yield* facts
      const latch = yield* Latch.make()
      const slot = Concurrency.withSlot({ tags: ["db", "two"] })
      const one = yield* Effect.forkChild(slot(latch.await))
      yield* quiet
      const [holder] = (yield* usage("db")).holders
      assert.deepStrictEqual(seen.map((event) => "holder" in event ? event.holder : ""), [holder!.id, holder!.id])
      const two = yield* Effect.forkChild(slot(Effect.void))
      yield* TestClock.adjust("1 second")
      yield* latch.open
      yield* Fiber.joinAll([one, two])
      assert.deepStrictEqual(yield* next, [
        "Acquired db db+two 1",
        "Acquired two db+two 1",
        "Waited db db+two",
        "Released db db+two 1 after 1000",
        "Released two db+two 1 after 1000",
        "Acquired db db+two 1",
        "Acquired two db+two 1",
        "Released db db+two 1 after 0",
        "Released two db+two 1 after 0"
      ])
    }).pipe(Effect.scoped, Effect.provide(limits)))

  it.effect("is released while its holder waits, but for one that is held", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const latch = yield* Latch.make()
      const parent = yield* Task.fork(
        Task.make("parent", Concurrency.lend(latch.await), { tags: ["db", "conn"] })
      )
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* next, [
        "Acquired db parent 1",
        "Acquired conn parent 1",
        "Released db parent 1 after 0"
      ])
      yield* latch.open
      yield* TaskRun.join(parent)
      assert.deepStrictEqual(yield* next, [
        "Acquired db parent 1",
        "Released conn parent 1 after 1000",
        "Released db parent 1 after 0"
      ])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("that a withSlot kept for its run is released with it", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const inside = yield* Latch.make()
      const outside = yield* Latch.make()
      const slot = Concurrency.withSlot({ tags: ["db"] })
      const job = Task.make(
        "job",
        Effect.all([slot(inside.await), Concurrency.lend(outside.await)], { concurrency: 2, discard: true }),
        { tags: ["db"] }
      )
      const run = yield* Task.fork(job)
      assert.deepStrictEqual(yield* next, ["Acquired db job 1"])
      yield* inside.open
      assert.deepStrictEqual(yield* next, ["Released db job 1 after 0"])
      assert.strictEqual(yield* active("db"), 0)
      yield* outside.open
      yield* TaskRun.join(run)
      assert.deepStrictEqual(yield* next, ["Acquired db job 1", "Released db job 1 after 0"])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("is its holder's until that ends, and then its descendants'", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const latch = yield* Latch.make()
      // The child lives on its parent's part while the parent waits.
      const child = Task.make("child", latch.await, { tags: ["conn"] })
      const parent = yield* Task.fork(
        Task.make("parent", Effect.andThen(Task.fork(child), Concurrency.lend(Effect.never)), { tags: ["conn"] })
      )
      assert.deepStrictEqual(yield* next, ["Acquired conn parent 1", "Waited conn child"])
      yield* TestClock.adjust("1 second")
      yield* parent.interrupt
      assert.deepStrictEqual(yield* next, ["Released conn parent 1 after 1000", "Acquired conn child 1"])
      yield* latch.open
      assert.deepStrictEqual(yield* next, ["Released conn child 1 after 0"])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("is denied to runs, by name and for a reason", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const ask = (demand: Concurrency.Demand) => Effect.exit(Task.make("late", Effect.void, demand))
      yield* Effect.forkScoped(Concurrency.withSlot({ tags: ["db"] })(Effect.never))
      yield* quiet
      yield* next
      yield* ask({ tags: ["db", "two"], whenFull: "fail" })
      yield* ask({ tags: ["db"], whenFull: "drop" })
      yield* ask({ tags: ["two"], weight: 3 })
      yield* ask({ tags: ["shut", "two"] })
      yield* ask({ tags: ["none", "two"], strict: true })
      const late = yield* Effect.forkChild(ask({ tags: ["db", "two"], admissionTimeout: "1 second" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* next, [
        "Denied db late WouldWait",
        "Denied db late WouldWait",
        "Denied two late ExceedsLimit",
        "Denied shut late LimitClosed",
        "Denied none late MissingLimits",
        "Waited db late",
        "Denied db late Timeout"
      ])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("is denied to withSlot, by name and for a reason", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const ask = (demand: Concurrency.Demand) => Effect.exit(Concurrency.withSlot(demand)(Effect.void))
      yield* Effect.forkScoped(Concurrency.withSlot({ tags: ["db"] })(Effect.never))
      yield* quiet
      yield* next
      yield* ask({ tags: ["db", "two"], whenFull: "fail" })
      // What is dropped ends as if interrupted.
      yield* Fiber.await(yield* Effect.forkChild(ask({ tags: ["db"], whenFull: "drop" })))
      yield* Concurrency.withSlotIfAvailable({ tags: ["db"] })(Effect.void)
      yield* ask({ tags: ["two"], weight: 3 })
      yield* ask({ tags: ["shut"] })
      yield* ask({ tags: ["none"], strict: true })
      const late = yield* Effect.forkChild(ask({ tags: ["db"], admissionTimeout: "1 second" }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(late)
      yield* Concurrency.rateLimit({ tags: ["api"] })
      yield* Effect.exit(Concurrency.rateLimit({ tags: ["api"], whenFull: "fail" }))
      assert.deepStrictEqual(yield* next, [
        "Denied db db+two WouldWait",
        "Denied db db WouldWait",
        "Denied db db WouldWait",
        "Denied two two ExceedsLimit",
        "Denied shut shut LimitClosed",
        "Denied none none MissingLimits",
        "Waited db db",
        "Denied db db Timeout",
        "Denied api api WouldWait"
      ])
    }).pipe(Effect.scoped, Effect.provide(limits)))

  it.effect("is denied to nobody who was interrupted", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      yield* Effect.forkScoped(Concurrency.withSlot({ tags: ["db"] })(Effect.never))
      yield* quiet
      const waiter = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(Effect.void))
      const run = yield* Task.fork(Task.make("run", Effect.void, { tags: ["db"] }))
      yield* quiet
      yield* Fiber.interrupt(waiter)
      yield* run.interrupt
      assert.deepStrictEqual(yield* next, ["Acquired db db 1", "Waited db run", "Waited db db"])
    }).pipe(Effect.scoped, Effect.provide(under)))

  it.effect("is revoked from its holder, which releases it no more", () =>
    Effect.gen(function*() {
      const { next, seen } = yield* facts
      const latch = yield* Latch.make()
      const run = yield* Task.fork(Task.make("job", latch.await, { tags: ["two", "db"], weight: 1 }))
      yield* TestClock.adjust("3 seconds")
      yield* Task.fork(Task.make("next", latch.await, { tags: ["db"] }))
      yield* next
      assert.isTrue(yield* Concurrency.releaseHolder("db", run.id))
      yield* quiet
      assert.strictEqual("holder" in seen[0]! ? seen[0].holder : "", run.id)
      assert.deepStrictEqual(yield* next, ["Revoked db job 1 after 3000", "Acquired db next 1"])
      yield* latch.open
      yield* TaskRun.join(run)
      assert.deepStrictEqual(yield* next, ["Released two job 1 after 3000", "Released db next 1 after 0"])
    }).pipe(Effect.scoped, Effect.provide(under)))
})

describe("a limit", () => {
  it.effect("is created, resized, switched and removed, and its holders go with it", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      yield* Effect.forkScoped(Concurrency.withSlot({ tags: ["db"] })(Effect.never))
      yield* quiet
      yield* Concurrency.create("new", 3)
      yield* Concurrency.create("db", 4)
      yield* Concurrency.create("db", 4)
      yield* Concurrency.create("db", "unbounded")
      yield* Concurrency.disable("db")
      yield* Concurrency.enable("db")
      yield* Concurrency.remove("db")
      yield* Concurrency.remove("db")
      assert.deepStrictEqual(yield* next, [
        "Acquired db db 1",
        "Created new 3",
        "Resized db 1 4",
        "Resized db 4 unbounded",
        "Released db db 1 after 0",
        "Removed db unbounded",
        "Created db unbounded",
        "Removed db unbounded"
      ])
    }).pipe(Effect.scoped, Effect.provide(limits)))

  it.effect("of a function is created when it is first asked for", () =>
    Effect.gen(function*() {
      const { next } = yield* facts
      const slot = (tag: string) => Concurrency.withSlot({ tags: [tag] })(Effect.void)
      yield* slot("tenant 1")
      yield* slot("tenant 1")
      yield* slot("other")
      assert.deepStrictEqual(yield* next, [
        "Created tenant 1 2",
        "Acquired tenant 1 tenant 1 1",
        "Released tenant 1 tenant 1 1 after 0",
        "Acquired tenant 1 tenant 1 1",
        "Released tenant 1 tenant 1 1 after 0"
      ])
    }).pipe(
      Effect.scoped,
      Effect.provide(Concurrency.layer({ tagLimits: (tag) => tag.startsWith("tenant") ? 2 : undefined }))
    ))
})

describe("listeners", () => {
  const heard = () => {
    const lines: Array<string> = []
    return { lines, layer: Layer.succeed(Concurrency.Listeners, [(event) => void lines.push(line(event))]) }
  }
  const job = Task.make("job", Effect.void, { tags: ["db"] })

  it.effect("hear of a Concurrency from its first limit to its last", () =>
    Effect.gen(function*() {
      const { layer, lines } = heard()
      yield* Concurrency.withSlot({ tags: ["db"] })(Effect.void).pipe(
        Effect.provide(Layer.provide(Concurrency.layer({ tagLimits: { db: 2 } }), layer))
      )
      assert.deepStrictEqual(lines, ["Created db 2", "Acquired db db 1", "Released db db 1 after 0", "Removed db 2"])
    }))

  it.effect("hear of the limits a scheduler makes for itself alone", () =>
    Effect.gen(function*() {
      const { layer, lines } = heard()
      yield* Effect.provide(job, Layer.provide(Scheduler.layer({ tagLimits: { db: 2 } }), layer))
      assert.deepStrictEqual(lines, ["Created db 2", "Acquired db job 1", "Released db job 1 after 0", "Removed db 2"])
    }))

  it.effect("hear of the limits schedulers keep beside those they share", () =>
    Effect.gen(function*() {
      const { layer, lines } = heard()
      const pool = Scheduler.layer({ tagLimits: { db: 2, shared: 1 } })
      yield* Effect.all([
        job,
        Effect.provide(
          Effect.andThen(Task.make("both", Effect.void, { tags: ["shared", "db"] }), job),
          Layer.fresh(pool)
        )
      ]).pipe(
        Effect.provide(
          pool.pipe(
            Layer.provideMerge(Concurrency.layer({ tagLimits: { shared: 5 } })),
            Layer.provide(layer)
          )
        )
      )
      assert.deepStrictEqual(lines, [
        "Created shared 5",
        "Created db 2",
        "Acquired db job 1",
        "Released db job 1 after 0",
        "Resized db 2 4",
        "Acquired shared both 1",
        "Acquired db both 1",
        "Released shared both 1 after 0",
        "Released db both 1 after 0",
        "Acquired db job 1",
        "Released db job 1 after 0",
        "Resized db 4 2",
        "Removed db 2",
        "Removed shared 5"
      ])
    }))

  it.effect("that come later are told first of what is there", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const fiber = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["two"], weight: 2 })(latch.await))
      yield* TestClock.adjust("1 second")
      const lines: Array<string> = []
      const concurrency = yield* Concurrency.Concurrency
      const stop = concurrency.listen((event) => void lines.push(line(event)))
      yield* TestClock.adjust("1 second")
      yield* latch.open
      yield* Fiber.join(fiber)
      stop()
      yield* Concurrency.withSlot({ tags: ["two"] })(Effect.void)
      assert.deepStrictEqual(lines, ["Created two 3", "Acquired two two 2", "Released two two 2 after 2000"])
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { two: 3 } }))))

  it.effect("cost nothing when there are none", () =>
    Effect.gen(function*() {
      const { admission } = (yield* Concurrency.Concurrency) as unknown as { readonly admission: { facts: unknown } }
      assert.isUndefined(admission.facts)
      yield* Effect.scoped(Effect.tap(listen, () => Effect.sync(() => assert.isDefined(admission.facts))))
      assert.isUndefined(admission.facts)
    }).pipe(Effect.provide(limits)))

  it.effect("that throw hurt nobody, and hear what one of them changes", () =>
    Effect.gen(function*() {
      const complaints = vi.spyOn(globalThis.console, "error").mockImplementation(() => {})
      yield* Effect.addFinalizer(() => Effect.sync(() => complaints.mockRestore()))
      const lines: Array<string> = []
      const concurrency = yield* Concurrency.Concurrency
      concurrency.listen(() => {
        throw new Error("no")
      })
      concurrency.listen((event) => {
        lines.push(line(event))
        if (event._tag === "Waited") Effect.runFork(concurrency.create(event.tag, 2))
      })
      const slot = Concurrency.withSlot({ tags: ["one"] })
      yield* slot(slot(Effect.scoped(Effect.forkScoped(slot(Effect.void)))))
      yield* Effect.all([slot(quiet), slot(quiet)], { concurrency: 2 })
      assert.include(lines, "Waited one one")
      assert.include(lines, "Resized one 1 2")
      assert.strictEqual(yield* active("one"), 0)
    }).pipe(Effect.scoped, Effect.provide(Concurrency.layer({ tagLimits: { one: 1 } }))))
})
