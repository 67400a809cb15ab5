/** Slots held by a token for a time: who holds them need not be a fiber, and need not survive. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Layer, Logger, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Concurrency, InvalidOptionError, Scheduler, Task } from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"

const limits = Concurrency.layer({ tagLimits: { gpu: 1, cpu: 2 } })

/** Collects the facts from here on, but for those of every holder. */
const facts = Effect.gen(function*() {
  const seen: Array<Concurrency.ConcurrencyEvent> = []
  const usual = ["Acquired", "Released", "Waited"]
  yield* Effect.forkChild(
    Concurrency.events.pipe(
      Stream.filter(({ _tag }) => !usual.includes(_tag)),
      Stream.runForEach((event) => Effect.sync(() => seen.push(event)))
    )
  )
  yield* quiet
  return seen
})

const gpu = Effect.map(Concurrency.read("gpu"), Option.getOrThrow)

describe("a lease", () => {
  it.effect("PF-20 that nobody renews is reclaimed, a waiter starts, and a late release changes nothing", () =>
    Effect.gen(function*() {
      const seen = yield* facts
      const old = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "10 seconds", name: "box 1" })
      assert.deepStrictEqual((yield* gpu).holders.map(({ name }) => name), ["box 1"])
      const waiter = yield* Effect.forkChild(Concurrency.acquire({ tags: ["gpu"], ttl: "1 hour", name: "box 2" }))
      yield* TestClock.adjust("9 seconds")
      yield* old.renew
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(waiter.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 millis")
      const heir = yield* Fiber.join(waiter)
      assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["LeaseExpired"])
      assert.isFalse(yield* old.release)
      assert.isFalse(yield* Concurrency.release(old.token))
      const lost = yield* Effect.flip(old.renew)
      assert.deepStrictEqual([lost._tag, lost.reason], ["LeaseLostError", "expired"])
      assert.deepStrictEqual((yield* gpu).holders.map(({ name }) => name), ["box 2"])
      assert.isTrue(yield* Concurrency.release(heir.token))
      assert.strictEqual((yield* gpu).active, 0)
      assert.isFalse(yield* heir.release)
    }).pipe(Effect.provide(limits)))

  const under = (options: Partial<Concurrency.WithLeaseOptions>) =>
    Concurrency.withLease({ tags: ["gpu"], ttl: "1 minute", renewEvery: "10 seconds", ...options })

  it.effect("PF-21 whose renewals fail interrupts what runs under it after so many attempts, with its own cause", () =>
    Effect.gen(function*() {
      let interrupted = false
      const body = Effect.onInterrupt(Effect.never, () =>
        Effect.sync(() => {
          interrupted = true
        }))
      const running = yield* Effect.forkChild(
        Effect.exit(under({ attempts: 3, renew: () => Effect.fail("unreachable") })(body))
      )
      yield* TestClock.adjust("29 seconds")
      assert.isFalse(interrupted)
      yield* TestClock.adjust("1 second")
      const exit = yield* Fiber.join(running)
      assert.isTrue(interrupted)
      const error = Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined
      assert.instanceOf(error, Concurrency.LeaseLostError)
      assert.strictEqual((yield* gpu).active, 0)
    }).pipe(Effect.provide(limits)))

  it.effect("PF-21 under policy continue lets it finish, with one warning", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
      const running = yield* Effect.forkChild(
        under({ attempts: 2, whenLost: "continue", renew: () => Effect.fail("unreachable") })(
          Effect.as(Effect.sleep("5 minutes"), "done")
        ).pipe(Effect.provide(Logger.layer([logger])))
      )
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* Fiber.join(running), "done")
      assert.strictEqual(lines.filter((line) => line.startsWith("Warn")).length, 1)
    }).pipe(Effect.provide(limits)))

  it.effect("PF-21 a single failure that passes changes nothing", () =>
    Effect.gen(function*() {
      let beats = 0
      const renew = (lease: Concurrency.Lease) => ++beats % 2 === 0 ? Effect.fail("hiccup") : lease.renew
      const running = yield* Effect.forkChild(
        under({ attempts: 2, renew })(Effect.as(Effect.sleep("5 minutes"), "done"))
      )
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* Fiber.join(running), "done")
      assert.isAtLeast(beats, 29)
      assert.strictEqual((yield* gpu).active, 0)
    }).pipe(Effect.provide(limits)))

  it.effect("is held whatever becomes of the fiber and the run that asked for it", () =>
    Effect.gen(function*() {
      const lease = yield* Task.make("asks", Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" }))
      assert.strictEqual((yield* gpu).active, 1)
      assert.isTrue(yield* lease.release)
    }).pipe(Effect.provide(Layer.provideMerge(Scheduler.layer({ maxParallelism: 1 }), limits))))

  it.effect("that waits inside a task lends the task's slot, and asks for all its tags or none", () =>
    Effect.gen(function*() {
      const first = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" })
      const asking = yield* Task.fork(Task.make("asks", Concurrency.acquire({ tags: ["gpu", "cpu"], ttl: "1 minute" })))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).active, 0)
      assert.strictEqual(Option.getOrThrow(yield* Concurrency.read("cpu")).active, 0)
      yield* Task.make("other", Effect.void)
      yield* first.release
      const both = Exit.isSuccess(yield* asking.exit)
      assert.isTrue(both)
      assert.strictEqual(Option.getOrThrow(yield* Concurrency.read("cpu")).active, 1)
    }).pipe(Effect.provide(Layer.provideMerge(Scheduler.layer({ maxParallelism: 1 }), limits))))

  it.effect("is refused by a failure, and an interrupted asker leaves nothing", () =>
    Effect.gen(function*() {
      yield* Concurrency.create("shut", 0)
      const refused = yield* Effect.flip(Concurrency.acquire({ tags: ["shut"], ttl: "1 minute" }))
      assert.instanceOf(refused, Concurrency.AdmissionError)
      assert.strictEqual((refused as Concurrency.AdmissionError).reason._tag, "LimitClosed")
      const lease = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" })
      const would = yield* Effect.flip(Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute", whenFull: "fail" }))
      assert.strictEqual((would as Concurrency.AdmissionError).reason._tag, "WouldWait")
      const asker = yield* Effect.forkChild(Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" }))
      yield* quiet
      assert.strictEqual((yield* gpu).waiting, 1)
      yield* Fiber.interrupt(asker)
      yield* quiet
      assert.strictEqual((yield* gpu).waiting, 0)
      yield* lease.release
      assert.strictEqual((yield* gpu).active, 0)
    }).pipe(Effect.provide(limits)))

  it.effect("is lost when an operator takes its tag away, or another replaces it", () =>
    Effect.gen(function*() {
      const seen = yield* facts
      const lease = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" })
      const [holder] = (yield* gpu).holders
      assert.isTrue(yield* Concurrency.releaseHolder("gpu", holder!.id))
      assert.isFalse(yield* Concurrency.releaseHolder("gpu", holder!.id))
      assert.strictEqual((yield* Effect.flip(lease.renew)).reason, "revoked")
      const next = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute" })
      assert.isFalse(yield* lease.release)
      assert.strictEqual((yield* gpu).active, 1)
      const newest = yield* Concurrency.acquire({ tags: ["gpu"], ttl: "1 minute", whenFull: "replace" })
      assert.strictEqual((yield* Effect.flip(next.renew)).reason, "revoked")
      assert.isTrue(yield* newest.release)
      assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["Revoked"])
    }).pipe(Effect.provide(limits)))

  it.effect("of a bad time, or a bad policy, is a failure naming field, rule and value", () =>
    Effect.gen(function*() {
      const field = (effect: Effect.Effect<unknown, unknown, Concurrency.Concurrency>) =>
        Effect.map(Effect.flip(effect), (error) => {
          assert.instanceOf(error, InvalidOptionError.InvalidOptionError)
          return error.field
        })
      assert.strictEqual(yield* field(Concurrency.acquire({ tags: ["gpu"], ttl: 0 })), "ttl")
      assert.strictEqual(yield* field(Concurrency.acquire({ tags: ["gpu"], ttl: -1 })), "ttl")
      assert.strictEqual(yield* field(under({ attempts: 0 })(Effect.void)), "attempts")
      assert.strictEqual(yield* field(under({ whenLost: "shrug" as "fail" })(Effect.void)), "whenLost")
      assert.strictEqual((yield* gpu).active, 0)
    }).pipe(Effect.provide(limits)))
})

describe("work that has waited too long", () => {
  it.effect("is told of once, in the log and as an event, until nobody waits for the limit", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel} ${String(message)}`))
    return Effect.gen(function*() {
      const seen = yield* facts
      const saturated = () => seen.filter(({ _tag }) => _tag === "Saturated").length
      const hold = (minutes: number) =>
        Task.fork(Task.make("holder", Effect.sleep(`${minutes} minutes`), { tags: ["gpu"] }))
      yield* hold(5)
      const waiter = yield* Task.fork(Task.make("waiter", Effect.void, { tags: ["gpu"] }))
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(saturated(), 0)
      yield* TestClock.adjust("12 seconds")
      assert.strictEqual(saturated(), 1)
      const [event] = seen
      assert.deepInclude(event, { _tag: "Saturated", limit: "gpu", active: 1, waiting: 1, run: waiter.id })
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual(saturated(), 1)
      yield* TestClock.adjust("3 minutes")
      yield* hold(5)
      yield* Task.fork(Task.make("another", Effect.void, { tags: ["gpu"] }))
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(saturated(), 2)
      assert.strictEqual(lines.filter((line) => line.startsWith("Warn") && line.includes(`"gpu"`)).length, 2)
    }).pipe(
      Effect.provide(
        Scheduler.layer({ maxParallelism: 4, saturation: "30 seconds" }).pipe(
          Layer.provideMerge(limits),
          Layer.provideMerge(Logger.layer([logger]))
        )
      )
    )
  })
})
