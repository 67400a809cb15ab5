/** Rates, pauses, named limits, reserved slots and what an operator may do to them, as small stories under the test clock. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import { brokenLives } from "../src/testing/lives.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Journal from "./suites/Journal.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"
import { active, outcomeOf, tagOf, usage } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

const rate = (
  count: number,
  per: Duration.Input,
  burst?: number,
  limit: Concurrency.Limit = "unbounded"
): Concurrency.TagLimit => ({ limit, rate: { count, per, burst } })

/** As many at once as there are, under these limits. */
const under = (tagLimits: Concurrency.TagLimits) => pool("unbounded", { tagLimits, interruptTimeout: 0 })

type Program = Effect.Effect<unknown, unknown, Scheduler.Scheduler | Concurrency.Concurrency>

/** What is taken of each limit is what its holders have of it. */
const sound = Effect.map(Concurrency.list, (infos) => {
  for (const info of infos) {
    const held = info.holders.reduce((sum, holder) => sum + holder.weight, 0)
    assert.strictEqual(info.active, held, `${info.tag}: ${JSON.stringify(info)}`)
  }
})

/** A task that says when it starts. */
const teller = (said: Array<string>) => (name: string, demand: Concurrency.Demand = { tags: ["api"] }) =>
  Task.make(
    name,
    Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => void said.push(`${name}@${now}`))),
    demand
  )

const api = { tags: ["api"] } as const
const available = Effect.map(usage("api"), (info) => info.rates.map((one) => one.available))

describe("rates", () => {
  for (const every of [500, 333, 250, 1000]) {
    it.effect(`1 a second, tried every ${every} ms for 600 seconds at burst 10, is granted 10 + 600 times, give or take 1`, () =>
      Effect.gen(function*() {
        let [slots, tasks] = [0, 0]
        const start = yield* Clock.currentTimeMillis
        while ((yield* Clock.currentTimeMillis) - start <= 600_000) {
          const got = yield* Concurrency.withSlotIfAvailable({ tags: ["slots"] })(Effect.void)
          if (Option.isSome(got)) slots++
          const run = yield* Effect.exit(Task.make("try", Effect.void, { tags: ["tasks"], whenFull: "fail" }))
          if (Exit.isSuccess(run)) tasks++
          yield* TestClock.adjust(every)
        }
        const most = Math.min(610, Math.floor(600_000 / every) + 1)
        for (const grants of [slots, tasks]) assert.isTrue(Math.abs(grants - most) <= 1, `${grants} of ${most}`)
      }).pipe(Effect.provide(under({ slots: rate(1, "1 second", 10), tasks: rate(1, "1 second", 10) }))))
  }

  interface Spec {
    readonly count: number
    readonly per: number
    readonly burst: number
  }

  /** A token bucket told twice: in whole parts of a token, millisecond by millisecond. */
  class Bucket {
    private parts: number
    private readonly spec: Spec
    constructor(spec: Spec) {
      this.spec = spec
      this.parts = spec.burst * spec.per
    }
    tick(): void {
      this.parts = Math.min(this.spec.burst * this.spec.per, this.parts + this.spec.count)
    }
    has(weight: number): boolean {
      return this.parts >= weight * this.spec.per
    }
    take(weight: number): void {
      this.parts -= weight * this.spec.per
    }
  }

  const specs = (random: Random.Random, least: number): Array<Spec> =>
    Arr.range(1, random.int(1, 3)).map(() => ({
      count: random.int(1, 12),
      per: random.pick([100, 250, 333, 1000, 1700, 60_000]),
      burst: random.int(least, least + 6)
    }))

  const seed = Random.seedOf("limits")

  it.effect("what is tried is granted just when every window has room, whatever is read or edited in between", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 60; round++) {
        const random = Random.make(seed, round)
        const windows = specs(random, 3)
        const limit: Concurrency.TagLimit = { limit: "unbounded", rate: windows }
        yield* Concurrency.remove("api")
        yield* Concurrency.create("api", limit)
        const buckets = windows.map((spec) => new Bucket(spec))
        for (let i = 0; i < 80; i++) {
          const weight = random.chance(0.7) ? 1 : random.int(1, 3)
          const expected = buckets.every((bucket) => bucket.has(weight))
          const dice = random.next()
          if (dice < 0.2) yield* Concurrency.list
          else if (dice < 0.4) yield* Concurrency.create("api", limit)
          else if (dice < 0.5) yield* Concurrency.create("api", "unbounded")
          else if (dice < 0.6) yield* usage("api")
          const got = yield* Concurrency.withSlotIfAvailable({ tags: ["api"], weight })(Effect.void)
          assert.strictEqual(
            Option.isSome(got),
            expected,
            `SEED=${seed} round ${round} try ${i}: ${JSON.stringify(windows)}`
          )
          if (expected) { for (const bucket of buckets) bucket.take(weight) }
          const millis = random.pick([0, 1, 7, 50, 100, 333, 900])
          yield* TestClock.adjust(millis)
          for (let tick = 0; tick < millis; tick++) for (const bucket of buckets) bucket.tick()
        }
      }
    }).pipe(Effect.provide(Concurrency.layer())))

  it.effect("what waits starts at the very millisecond when slots and every window have room, first come first", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 40; round++) {
        const random = Random.make(seed, 1000 + round)
        const [one, two] = [specs(random, 1), specs(random, 1)]
        const limit = random.int(1, 3)
        const jobs: Array<{ readonly at: number; readonly lasts: number }> = []
        let at = 0
        for (let i = 0; i < 25; i++) {
          jobs.push({ at, lasts: random.int(0, 150) })
          at += random.chance(0.4) ? 0 : random.int(0, 120)
        }
        // What should happen.
        const buckets = [...one, ...two].map((spec) => new Bucket(spec))
        const expected: Array<number> = []
        let running: Array<number> = []
        for (let now = 0; expected.length < jobs.length; now++) {
          if (now > 0) { for (const bucket of buckets) bucket.tick() }
          for (;;) {
            running = running.filter((end) => end > now)
            const next = jobs[expected.length]
            if (next === undefined || next.at > now || running.length >= limit) break
            if (!buckets.every((bucket) => bucket.has(1))) break
            for (const bucket of buckets) bucket.take(1)
            expected.push(now)
            running.push(now + next.lasts)
          }
        }
        const starts: Array<number> = []
        yield* Effect.gen(function*() {
          const begin = yield* Clock.currentTimeMillis
          const all = yield* Effect.forkChild(Effect.forEach(jobs, (job, i) =>
            Effect.gen(function*() {
              const now = (yield* Clock.currentTimeMillis) - begin
              if (job.at > now) yield* Effect.sleep(job.at - now)
              const body = Effect.gen(function*() {
                starts[i] = (yield* Clock.currentTimeMillis) - begin
                yield* Effect.sleep(job.lasts)
              })
              return yield* Task.fork(Task.make("job", body, { tags: ["one", "two"] }))
            })))
          for (let i = 0; i < 200 && starts.filter((start) => start !== undefined).length < jobs.length; i++) {
            yield* TestClock.adjust("1 minute")
          }
          yield* TestClock.adjust("1 minute")
          yield* TaskRun.awaitAll(yield* Fiber.join(all))
        }).pipe(Effect.provide(under({ one: { limit, rate: one }, two: { limit: "unbounded", rate: two } })))
        assert.deepStrictEqual(
          starts,
          expected,
          `SEED=${seed} round ${round}: limit ${limit} ${JSON.stringify([one, two])} ${JSON.stringify(jobs)}`
        )
      }
    }))

  for (const [count, per] of [[0.1, "1 second"], [0.3, "1 second"], [0.7, "3 seconds"], [1 / 3, "1 second"]] as const) {
    it.effect(`${count} in ${per}: looking at it every millisecond brings no token sooner or later`, () =>
      Effect.gen(function*() {
        const take = Concurrency.withSlotIfAvailable(api)(Effect.void)
        const whole = Duration.toMillis(per) / count
        yield* take
        for (let i = 1; i < whole - 1; i++) {
          yield* TestClock.adjust(1)
          if (i % 2 === 0) yield* Concurrency.list
          else yield* take
        }
        assert.isTrue(Option.isNone(yield* take))
        yield* TestClock.adjust(2)
        assert.isTrue(Option.isSome(yield* take))
      }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { api: rate(count, per, 1) } }))))
  }

  it.effect("10 a second and 300 a minute: the first second is full, and so is the minute", () =>
    Effect.gen(function*() {
      const starts: Array<number> = []
      const job = Task.make(
        "job",
        Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => starts.push(now))),
        api
      )
      const all = yield* Effect.forkChild(Task.all(Arr.replicate(job, 1000)))
      yield* TestClock.adjust("10 minutes")
      yield* Fiber.join(all)
      const within = (from: number, millis: number) => starts.filter((at) => at >= from && at < from + millis).length
      assert.strictEqual(starts.filter((at) => at === 0).length, 10)
      for (let at = 0; at < 180_000; at += 250) {
        assert.isAtMost(within(at, 1000), 20)
        assert.isAtMost(within(at, 60_000), 600)
      }
      // 300 at hand and 5 more a second, at 10 a second.
      const last = starts[599]!
      assert.isTrue(Math.abs(last - 60_000) <= 1000, `the 600th at ${last}`)
    }).pipe(Effect.provide(under({
      api: { limit: "unbounded", rate: [{ count: 10, per: "1 second" }, { count: 300, per: "1 minute" }] }
    }))))

  it.effect("a weight takes as many tokens, and one above the burst is refused", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const all = yield* Effect.forkChild(Task.all([
        tell("a", { ...api, weight: 3 }),
        tell("b", { ...api, weight: 2 }),
        tell("c", { ...api, weight: 3 }),
        tell("d")
      ]))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["a@0", "b@2000", "c@5000", "d@6000"])
      const exit = yield* Effect.exit(tell("e", { ...api, weight: 4 }))
      assert.deepStrictEqual(Refusal.died(exit), { _tag: "ExceedsLimit", limit: "api", weight: 4, max: 3 })
    }).pipe(Effect.provide(under({ api: rate(1, "1 second", 3) }))))

  it.effect("a heavy one is passed by light ones 64 times at most", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* tell("first", { ...api, weight: 5 })
      const heavy = yield* Task.fork(tell("heavy", { ...api, weight: 5 }))
      const light = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sleep(250), Task.fork(tell("light"))))
      )
      yield* TestClock.adjust("5 minutes")
      assert.strictEqual(yield* tagOf(heavy), "Finished")
      assert.isAtMost(said.findIndex((one) => one.startsWith("heavy")), 65)
      yield* Fiber.interrupt(light)
    }).pipe(Effect.provide(under({ api: rate(1, "1 second", 5) }))))

  it.effect("what is denied costs nothing, and holds up nobody", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* tell("a")
      for (let i = 0; i < 100; i++) {
        yield* Effect.exit(tell("denied", { ...api, whenFull: "fail" }))
        yield* Concurrency.withSlotIfAvailable(api)(Effect.void)
        yield* Effect.exit(tell("dropped", { ...api, whenFull: "drop" }))
        yield* TestClock.adjust(9)
      }
      assert.deepStrictEqual(yield* available, [0.9])
      const b = yield* Task.fork(tell("b"))
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(b)
      assert.deepStrictEqual(said, ["a@0", "b@1000"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  it.effect("who gives up waiting costs nothing: interrupted, timed out, or closed", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* tell("a")
      const gone = yield* Task.fork(tell("gone"))
      const late = yield* Task.fork(tell("late", { ...api, admissionTimeout: "600 millis" }))
      const slot = yield* Effect.forkChild(Concurrency.withSlot(api)(Effect.void))
      const pace = yield* Effect.forkChild(Concurrency.rateLimit(api))
      const b = yield* Task.fork(tell("b"))
      yield* TestClock.adjust("500 millis")
      yield* gone.interrupt
      yield* Fiber.interrupt(slot)
      yield* Fiber.interrupt(pace)
      yield* TestClock.adjust("500 millis")
      yield* TaskRun.join(b)
      assert.strictEqual(Refusal.died(yield* late.exit)?._tag, "Timeout")
      assert.deepStrictEqual(said, ["a@0", "b@1000"])
      assert.deepStrictEqual([(yield* usage("api")).waiting, yield* active("api")], [0, 0])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  it.effect("who is interrupted before it began took no token", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const gone = yield* Task.fork(tell("gone"))
      yield* gone.interrupt
      const next = yield* Task.fork(tell("next"))
      yield* quiet
      assert.deepStrictEqual(said, ["next@0"])
      yield* TestClock.adjust("2 seconds")
      yield* TaskRun.join(next)
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  for (const delay of [0, 1, 2, 3, 4, 5, 8]) {
    it.effect(`who is interrupted ${delay} turns around the grant took a token only if it began`, () =>
      Effect.gen(function*() {
        const said: Array<string> = []
        const tell = teller(said)
        yield* tell("first")
        const gone = yield* Task.fork(tell("gone"))
        const next = yield* Task.fork(tell("next"))
        yield* Effect.forkChild(Effect.andThen(Effect.sleep("1 second"), Effect.andThen(turns(delay), gone.interrupt)))
        yield* TestClock.adjust("1 second")
        yield* TestClock.adjust("1 second")
        yield* TaskRun.join(next)
        const began = said.some((one) => one.startsWith("gone"))
        assert.deepStrictEqual(said, began ? ["first@0", "gone@1000", "next@2000"] : ["first@0", "next@1000"])
      }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))
  }

  it.effect("looking at it or setting it again changes nothing; a smaller burst takes what is above it", () =>
    Effect.gen(function*() {
      const limit = rate(2, "1 second", 5)
      for (let i = 0; i < 4; i++) yield* Concurrency.withSlot(api)(Effect.void)
      assert.deepStrictEqual(yield* available, [1])
      yield* Concurrency.create("api", limit)
      yield* Concurrency.create("api", 3)
      yield* Concurrency.create("api", "unbounded")
      yield* Scheduler.stats
      assert.deepStrictEqual(yield* available, [1])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* available, [3])
      yield* Concurrency.create("api", rate(2, "1 second", 2))
      assert.deepStrictEqual(yield* available, [2])
      yield* Concurrency.create("api", limit)
      assert.deepStrictEqual(yield* available, [2])
    }).pipe(Effect.provide(under({ api: rate(2, "1 second", 5) }))))

  it.effect("raised while work waits, it starts sooner; lowered, later", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const all = yield* Effect.forkChild(Task.all(["a", "b", "c", "d"].map((name) => tell(name))))
      yield* TestClock.adjust("500 millis")
      yield* Concurrency.create("api", rate(10, "1 second", 1))
      yield* TestClock.adjust("50 millis")
      // Half a token from before, half from now: b at 550.
      yield* Concurrency.create("api", rate(0.5, "1 second", 1))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["a@0", "b@550", "c@2550", "d@4550"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  it.effect("removed while work waits, it starts at once", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const all = yield* Effect.forkChild(Task.all(["a", "b", "c"].map((name) => tell(name))))
      yield* quiet
      yield* Concurrency.remove("api")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["a@0", "b@0", "c@0"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 hour") }))))

  it.effect("ten thousand that wait have one timer", () => {
    let [asleep, most] = [0, 0]
    return Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const counted: Clock.Clock = Object.assign(Object.create(Object.getPrototypeOf(clock)), clock, {
        sleep: (duration: Duration.Duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => most = Math.max(most, ++asleep)),
            () => clock.sleep(duration),
            () => Effect.sync(() => asleep--)
          )
      })
      yield* Effect.gen(function*() {
        const runs = yield* Effect.forEach(Arr.range(1, 10_000), () => Task.fork(Task.make("job", Effect.void, api)))
        yield* TestClock.adjust("50 seconds")
        assert.strictEqual((yield* usage("api")).waiting, 9949)
        yield* Effect.forEach(runs, (run) => run.interrupt, { concurrency: "unbounded" })
      }).pipe(Effect.provide(under({ api: rate(1, "1 second") })), Effect.provideService(Clock.Clock, counted))
      assert.isAtMost(most, 1)
    })
  })

  it.effect("slots, tags and rates are one: what waits for a token has no slot, and what waits for a slot no token", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* tell("first")
      const both = yield* Task.fork(tell("both", { tags: ["api", "db"] }))
      yield* quiet
      assert.strictEqual(yield* active("db"), 0)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
      yield* tell("db", { tags: ["db"] })
      yield* tell("untagged", {})
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(both)
      // And the other way round.
      yield* TestClock.adjust("1 second")
      const holder = yield* Task.fork(Task.make("holder", Effect.sleep("5 seconds"), { tags: ["db"] }))
      const again = yield* Task.fork(tell("again", { tags: ["api", "db"] }))
      yield* quiet
      assert.deepStrictEqual(yield* available, [1])
      yield* tell("token")
      yield* TestClock.adjust("5 seconds")
      yield* TaskRun.awaitAll([holder, again])
      assert.deepStrictEqual(said, ["first@0", "db@0", "untagged@0", "both@1000", "token@2000", "again@7000"])
    }).pipe(Effect.provide(pool(2, { tagLimits: { api: rate(1, "1 second"), db: 1 } }))))

  it.effect("each attempt takes a token; what comes back from lending takes none", () =>
    Effect.gen(function*() {
      const attempts: Array<number> = []
      const failing = Effect.gen(function*() {
        attempts.push(yield* Clock.currentTimeMillis)
        for (let i = 0; i < 5; i++) yield* Concurrency.lend(Effect.yieldNow)
        yield* Task.make("child", Effect.void)
        return yield* Effect.fail("again")
      })
      const run = yield* Effect.forkChild(
        Effect.exit(Task.make("task", failing, api).pipe(Task.withRetry({ times: 3 })))
      )
      for (let second = 0; second < 5; second++) yield* Effect.andThen(quiet, TestClock.adjust("1 second"))
      yield* Fiber.join(run)
      assert.deepStrictEqual(attempts, [0, 1000, 2000, 3000])
    }).pipe(Effect.provide(pool(1, { tagLimits: { api: rate(1, "1 second") } }))))

  it.effect("a run and what it enters again take one token", () =>
    Effect.gen(function*() {
      const again = Concurrency.withSlot(api)
      const child = Task.make("child", Effect.void, api)
      yield* Task.make("task", again(again(Effect.void)), api)
      assert.deepStrictEqual(yield* available, [9])
      yield* Task.make("task", again(child), api)
      assert.deepStrictEqual(yield* available, [8])
    }).pipe(Effect.provide(pool(1, { tagLimits: { api: rate(10, "1 hour") } }))))

  it.effect("it holds whoever asks: runs of two schedulers, withSlot, rateLimit", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const now = Effect.flatMap(Clock.currentTimeMillis, (at) => Effect.sync(() => void times.push(at)))
      const job = Task.make("job", now, api)
      const all = yield* Effect.forkChild(Effect.all([
        job,
        Effect.provide(job, pool(1)),
        Concurrency.withSlot(api)(now),
        Effect.andThen(Concurrency.rateLimit(api), now),
        job
      ], { concurrency: "unbounded" }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(times, [0, 1000, 2000, 3000, 4000])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  it.effect("rateLimit takes a token and no slot, so a task may call often under its own tag", () =>
    Effect.gen(function*() {
      const times: Array<number> = []
      const call = Effect.andThen(
        Concurrency.rateLimit(api),
        Effect.flatMap(Clock.currentTimeMillis, (at) => Effect.sync(() => void times.push(at)))
      )
      const job = Task.make("job", Effect.repeat(call, { times: 3 }), api)
      const run = yield* Task.fork(job)
      yield* TestClock.adjust("10 seconds")
      yield* TaskRun.join(run)
      assert.deepStrictEqual(times, [1000, 2000, 3000, 4000])
      yield* sound
    }).pipe(Effect.provide(pool(1, { tagLimits: { api: rate(1, "1 second", 1, 1) } }))))

  it.effect("rateLimit of what has no rate names every tag that lacks one; of a weight above the burst is refused", () =>
    Effect.gen(function*() {
      const missing = yield* Effect.exit(Concurrency.rateLimit({ tags: ["db", "api", "nothing"] }))
      assert.deepStrictEqual(Refusal.died(missing), { _tag: "MissingLimits", limits: ["db", "nothing"] })
      const heavy = yield* Effect.exit(Concurrency.rateLimit({ ...api, weight: 3 }))
      assert.deepStrictEqual(Refusal.died(heavy), { _tag: "ExceedsLimit", limit: "api", weight: 3, max: 2 })
      yield* Concurrency.rateLimit({ ...api, weight: 2 })
      const full = yield* Effect.exit(Concurrency.rateLimit({ ...api, whenFull: "fail" }))
      assert.deepStrictEqual(Refusal.died(full), { _tag: "WouldWait", limits: ["api"] })
      assert.isTrue(Refusal.interrupted(yield* Effect.exit(Concurrency.rateLimit({ ...api, whenFull: "drop" }))))
      const late = yield* Effect.forkChild(
        Effect.exit(Concurrency.rateLimit({ ...api, admissionTimeout: "400 millis" }))
      )
      yield* TestClock.adjust("400 millis")
      assert.strictEqual(Refusal.died(yield* Fiber.join(late))?._tag, "Timeout")
      assert.strictEqual((yield* usage("api")).waiting, 0)
    }).pipe(Effect.provide(under({ api: rate(2, "1 second"), db: 1 }))))

  const waiter = Effect.gen(function*() {
    yield* Concurrency.rateLimit(api)
    const fiber = yield* Effect.forkChild(elapsed(Concurrency.rateLimit(api)))
    yield* quiet
    return fiber
  })
  const hourly = rate(1, "1 hour")
  const changes: ReadonlyArray<
    readonly [string, number, Effect.Effect<unknown, unknown, Concurrency.Concurrency>]
  > = [
    ["its rate is raised", 1000, Concurrency.create("api", rate(3600, "1 hour", 1))],
    ["its tag is switched off", 0, Concurrency.disable("api")],
    ["its tag is removed", 0, Concurrency.remove("api")],
    ["its rate is taken away", 0, Concurrency.create("api", { limit: 1 })],
    [
      "its tag was paused and is resumed",
      3_600_000,
      Effect.andThen(Concurrency.pause("api"), Concurrency.resume("api"))
    ],
    ["its tag was paused for longer", 7_200_000, Concurrency.pauseFor("api", "2 hours")],
    ["its tag is off for a moment", 0, Effect.andThen(Concurrency.disable("api"), Concurrency.enable("api"))],
    ["its tag changed its ways of waiting", 3_600_000, Concurrency.create("api", { ...hourly, whileWaiting: "hold" })]
  ]
  for (const [what, wait, change] of changes) {
    it.effect(`who waits in rateLimit goes on in time when ${what}`, () =>
      Effect.gen(function*() {
        const waiting = yield* waiter
        yield* change
        const run = yield* Task.fork(Task.make("run", Effect.void, api))
        for (let hour = 0; hour < 4; hour++) yield* Effect.andThen(quiet, TestClock.adjust("1 hour"))
        assert.strictEqual(yield* Fiber.join(waiting), wait)
        assert.strictEqual(yield* tagOf(run), "Finished")
      }).pipe(Effect.provide(under({ api: hourly }))))
  }

  it.effect("who waits in rateLimit for more than the rate has after an edit is refused", () =>
    Effect.gen(function*() {
      const two = Concurrency.rateLimit({ ...api, weight: 2 })
      yield* two
      const waiting = yield* Effect.forkChild(Effect.exit(two))
      yield* quiet
      yield* Concurrency.create("api", rate(1, "1 second"))
      assert.deepStrictEqual(Refusal.died(yield* Fiber.join(waiting)), {
        _tag: "ExceedsLimit",
        limit: "api",
        weight: 2,
        max: 1
      })
    }).pipe(Effect.provide(under({ api: rate(2, "1 hour") }))))

  it.effect("rateLimit of a tag that is off goes on at once", () =>
    Effect.andThen(Concurrency.rateLimit(api), Concurrency.rateLimit(api)).pipe(
      Effect.provide(under({ api: { ...hourly, enabled: false } }))
    ))

  it.effect("an edit brings no token: of per, of whileWaiting, off and on again", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 10; i++) yield* Concurrency.withSlot(api)(Effect.void)
      const ten = rate(10, "1 second")
      const edits = [rate(20, "2 seconds"), { ...ten, whileWaiting: "hold" as const }, { ...ten, enabled: false }, ten]
      for (const edit of edits) {
        yield* Concurrency.create("api", edit)
        assert.deepStrictEqual(yield* available, [0], JSON.stringify(edit))
      }
    }).pipe(Effect.provide(under({ api: rate(10, "1 second") }))))

  it.effect("an edit below the weight of a run that waits refuses it, paused or not", () =>
    Effect.gen(function*() {
      const three = Task.make("three", Effect.void, { ...api, weight: 3 })
      yield* three
      const waiting = yield* Task.fork(three)
      yield* quiet
      yield* Concurrency.create("api", rate(1, "1 second", 2))
      const refused = { _tag: "ExceedsLimit" as const, limit: "api", weight: 3, max: 2 }
      assert.deepStrictEqual(Refusal.died(yield* waiting.exit), refused)
      yield* Concurrency.create("api", 3)
      yield* Concurrency.create("api", { limit: 3 })
      yield* Concurrency.pause("api")
      const paused = yield* Task.fork(three)
      yield* quiet
      yield* Concurrency.create("api", 2)
      assert.deepStrictEqual(Refusal.died(yield* paused.exit), refused)
    }).pipe(Effect.provide(under({ api: rate(3, "1 second") }))))

  it.effect("a scheduler's own rate and the shared one must both have room", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const all = yield* Effect.forkChild(
        Task.all(Arr.range(1, 6).map((i) => tell(`${i}`))).pipe(
          Effect.provide(pool(4, { tagLimits: { api: rate(1, "1 second", 2) } }))
        )
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["1@0", "2@0", "3@1000", "4@2000", "5@4000", "6@6000"])
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { api: rate(1, "2 seconds", 3) } }))))

  it.effect("inline, rates and pauses hold as they do elsewhere", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* Concurrency.pauseFor("api", "2 seconds")
      const all = yield* Effect.forkChild(Effect.all(["a", "b", "c"].map((name) => tell(name)), { concurrency: 3 }))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["a@2000", "b@3000", "c@4000"])
    }).pipe(
      Effect.provide(
        Layer.provideMerge(Scheduler.layerInline, Concurrency.layer({ tagLimits: { api: rate(1, "1 second") } }))
      )
    ))

  it.effect("a refusal names every rate that had no token", () =>
    Effect.gen(function*() {
      const demand = { tags: ["a", "b"], whenFull: "fail" } as const
      const wouldWait = { _tag: "WouldWait" as const, limits: ["a", "b"] }
      yield* Concurrency.withSlot(demand)(Effect.void)
      const both: ReadonlyArray<Program> = [
        Concurrency.withSlot(demand)(Effect.void),
        Task.make("task", Effect.void, demand)
      ]
      for (const effect of both) {
        assert.deepStrictEqual(Refusal.died(yield* Effect.exit(effect)), wouldWait)
      }
    }).pipe(Effect.provide(under({ a: hourly, b: hourly }))))

  it.effect("priority goes first among those that wait for a token", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const all = yield* Effect.forkChild(Task.all([
        tell("first"),
        tell("low", { ...api, priority: "low" }),
        tell("normal"),
        tell("critical", { ...api, priority: "critical" }),
        tell("high", { ...api, priority: "high" })
      ]))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["first@0", "critical@1000", "high@2000", "normal@3000", "low@4000"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  it.effect("who comes in the instant a token falls does not go before who waited for it", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      // Asleep before the limit's timer is, and so awake before it.
      const low = Task.fork(tell("low", { ...api, priority: "low" }))
      yield* Effect.forkChild(Effect.andThen(Effect.sleep("1 second"), low))
      yield* quiet
      yield* tell("first")
      yield* Task.fork(tell("high", { ...api, priority: "high" }))
      yield* quiet
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(said, ["first@0", "high@1000", "low@2000"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second") }))))

  const bad: ReadonlyArray<readonly [string, Concurrency.Rate]> = [
    ["count", { count: 0, per: "1 second" }],
    ["count", { count: -1, per: "1 second" }],
    ["count", { count: NaN, per: "1 second" }],
    ["count", { count: Infinity, per: "1 second" }],
    ["per", { count: 1, per: 0 }],
    ["per", { count: 1, per: -1 }],
    ["per", { count: 1, per: Infinity }],
    ["burst", { count: 1, per: "1 second", burst: 0 }],
    ["burst", { count: 1, per: "1 second", burst: 0.5 }],
    ["burst", { count: 1, per: "1 second", burst: NaN }]
  ]
  for (const [field, one] of bad) {
    it.effect(`a rate of ${JSON.stringify(one)} is invalid: its ${field}, a defect of the layer, a failure of create`, () =>
      Effect.gen(function*() {
        const limit: Concurrency.TagLimit = { limit: 1, rate: [{ count: 1, per: "1 second" }, one] }
        const layer = yield* Effect.exit(
          Effect.void.pipe(Effect.provide(Concurrency.layer({ tagLimits: { api: limit } })))
        )
        const error = yield* Effect.flip(Concurrency.create("api", limit))
        for (const found of [Refusal.invalid(layer), error]) {
          assert.deepStrictEqual([found?._tag, found?.field], ["InvalidOptionError", `tag limit "api" rate.${field}`])
        }
        assert.isTrue(Option.isNone(yield* Concurrency.read("api")))
      }).pipe(Effect.provide(Concurrency.layer())))
  }
})

describe("pauses", () => {
  it.effect("nothing that asks for the tag starts, what has it goes on, and resume starts it in the same instant", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const holder = yield* Task.fork(
        Task.make("holder", Effect.andThen(Effect.sleep("1 second"), tell("end", {})), api)
      )
      yield* quiet
      yield* Concurrency.pause("api")
      assert.strictEqual((yield* usage("api")).pausedUntil, "resumed")
      const waiting = yield* Task.fork(tell("waiting"))
      const slot = yield* Effect.forkChild(Concurrency.withSlot(api)(Effect.void))
      assert.isTrue(Option.isNone(yield* Concurrency.withSlotIfAvailable(api)(Effect.void)))
      yield* tell("other", {})
      yield* TestClock.adjust("1 hour")
      yield* TaskRun.join(holder)
      assert.strictEqual(yield* tagOf(waiting), "Waiting")
      yield* sound
      yield* Concurrency.resume("api")
      yield* TaskRun.join(waiting)
      yield* Fiber.join(slot)
      assert.deepStrictEqual(said, ["other@0", "end@1000", "waiting@3600000"])
      assert.isUndefined((yield* usage("api")).pausedUntil)
    }).pipe(Effect.provide(under({ api: 4 }))))

  it.effect("for a time: until then and no longer, in order, each with its token", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* Concurrency.pauseFor("api", "10 seconds")
      const all = yield* Effect.forkChild(Task.all(["a", "b", "c", "d"].map((name) => tell(name))))
      yield* TestClock.adjust("9999 millis")
      assert.deepStrictEqual(said, [])
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["a@10000", "b@10000", "c@11000", "d@12000"])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second", 2) }))))

  it.effect("a tag without a limit can be paused, and has none afterwards", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      yield* Concurrency.pauseFor("other", "2 seconds")
      const all = yield* Effect.forkChild(Task.all(Arr.replicate(tell("job", { tags: ["other"] }), 3)))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(all)
      assert.deepStrictEqual(said, ["job@2000", "job@2000", "job@2000"])
    }).pipe(Effect.provide(under({}))))

  it.effect("a Retry-After pauses the next try of the task that met it, and of everyone", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      let tries = 0
      const call = Effect.gen(function*() {
        if (++tries > 1) return yield* tell("again", {})
        yield* Effect.orDie(Concurrency.pauseFor("api", "30 seconds"))
        return yield* Effect.fail("429")
      })
      const first = yield* Task.fork(Task.make("call", call, api).pipe(Task.withRetry({ times: 1 })))
      yield* quiet
      const second = yield* Task.fork(tell("second"))
      yield* TestClock.adjust("1 minute")
      yield* TaskRun.awaitAll([first, second])
      assert.deepStrictEqual(said, ["again@30000", "second@30000"])
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("who has the tag comes back from waiting while it is paused", () =>
    Effect.gen(function*() {
      const go = yield* Latch.make()
      const parent = yield* Task.fork(Task.make("parent", Effect.as(Concurrency.lend(go.await), "back"), api))
      yield* quiet
      yield* Concurrency.pause("api")
      yield* go.open
      yield* quiet
      assert.strictEqual(yield* tagOf(parent), "Finished")
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("a negative time is a typed error, and pauses nothing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Concurrency.pauseFor("api", -1))
      assert.deepStrictEqual([error._tag, error.field], ["InvalidOptionError", "duration"])
      yield* Concurrency.withSlot(api)(Effect.void)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("a scheduler that closes does not wait for what is paused longer than its grace period", () =>
    Effect.gen(function*() {
      yield* Concurrency.pause("api")
      const run = yield* Task.fork(Task.make("run", Effect.void, api))
      const closing = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "1 second" }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(closing)).interrupted, 1)
      assert.deepStrictEqual([yield* outcomeOf(run), (yield* usage("api")).waiting], ["Interrupted", 0])
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("a Retry-After does not end a longer pause", () =>
    Effect.gen(function*() {
      yield* Concurrency.pauseFor("api", "1 minute")
      yield* Concurrency.pauseFor("api", "1 second")
      const until = (yield* usage("api")).pausedUntil
      assert.isTrue(until !== undefined && until !== "resumed" && DateTime.toEpochMillis(until) === 60_000)
      yield* Concurrency.pause("api")
      yield* Concurrency.pauseFor("api", "1 hour")
      assert.strictEqual((yield* usage("api")).pausedUntil, "resumed")
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("of a limit that is off it is one limit all the same, paused when it is on again", () =>
    Effect.gen(function*() {
      yield* Concurrency.disable("api")
      yield* Concurrency.pause("api")
      assert.strictEqual((yield* Concurrency.list).length, 1)
      yield* Concurrency.enable("api")
      const run = yield* Task.fork(Task.make("run", Effect.void, api))
      yield* quiet
      assert.strictEqual(yield* tagOf(run), "Waiting")
      yield* Concurrency.disable("api")
      yield* TaskRun.join(run)
      yield* Concurrency.resume("api")
      yield* Concurrency.enable("api")
      yield* Task.make("next", Effect.void, api)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("a wait that is paused can be timed out, and refused", () =>
    Effect.gen(function*() {
      yield* Concurrency.pause("api")
      const late = yield* Task.fork(Task.make("late", Effect.void, { ...api, admissionTimeout: "1 second" }))
      const full = yield* Effect.exit(Task.make("full", Effect.void, { ...api, whenFull: "fail" }))
      assert.deepStrictEqual(Refusal.died(full), { _tag: "WouldWait", limits: ["api"] })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Refusal.died(yield* late.exit)?._tag, "Timeout")
    }).pipe(Effect.provide(under({ api: 1 }))))
})

describe("ageing", () => {
  /** High work for ever on one slot, and one of `priority` among it; when that one started. */
  const startOf = (priority: Concurrency.Priority, seconds: number, flood: Concurrency.Priority = "high") =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const busy = Task.make("busy", Effect.sleep("1 second"), { priority: flood })
      const feed = yield* Effect.forkChild(Effect.forever(Effect.andThen(Task.fork(busy), Effect.sleep("500 millis"))))
      yield* TestClock.adjust("5 seconds")
      const run = yield* Task.fork(teller(said)("late", { priority }))
      yield* TestClock.adjust(Duration.seconds(seconds))
      yield* Fiber.interrupt(feed)
      yield* run.interrupt
      return said[0] === undefined ? undefined : Number(said[0].split("@")[1]) - 5000
    })

  it.effect("without it, low work among high never starts", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* startOf("low", 300))
    }).pipe(Effect.provide(pool(1))))

  it.effect("with it, it is one level up each time: before newer high work after three, before older critical never", () =>
    Effect.gen(function*() {
      const start = yield* startOf("low", 300)
      // Level with the high work, it is behind what came before it: eight seconds' worth, at most twice what ageing took.
      assert.isDefined(start)
      assert.isAtLeast(start!, 20_000)
      assert.isAtMost(start!, 32_000)
    }).pipe(Effect.provide(pool(1, { ageing: "10 seconds" }))))

  it.effect("among critical work without end it starts once it is critical itself", () =>
    Effect.gen(function*() {
      const start = yield* startOf("low", 300, "critical")
      assert.isDefined(start)
      assert.isAtLeast(start!, 30_000)
      assert.isAtMost(start!, 42_000)
    }).pipe(Effect.provide(pool(1, { ageing: "10 seconds" }))))

  it.effect("a number goes to the next named level", () =>
    Effect.gen(function*() {
      const start = yield* startOf(15, 300)
      assert.isDefined(start)
      assert.isAtLeast(start!, 10_000)
      assert.isAtMost(start!, 22_000)
    }).pipe(Effect.provide(pool(1, { ageing: "10 seconds" }))))

  it.effect("who waits less than that is where it was", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const tell = teller(said)
      const holder = yield* Task.fork(Task.make("holder", Effect.sleep("9 seconds")))
      const runs = [
        yield* Task.fork(tell("low", { priority: "low" })),
        yield* Task.fork(tell("normal")),
        yield* Task.fork(tell("high", { priority: "high" }))
      ]
      yield* TestClock.adjust("9 seconds")
      yield* TaskRun.awaitAll([holder, ...runs])
      assert.deepStrictEqual(said, ["high@9000", "normal@9000", "low@9000"])
    }).pipe(Effect.provide(pool(1, { ageing: "10 seconds" }))))

  it.effect("it starts by itself where only its priority kept it back, and interrupting it leaves nothing", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never))
      const low = yield* Effect.forEach(
        Arr.range(1, 100),
        () => Task.fork(Task.make("low", Effect.void, { priority: "low" }))
      )
      yield* TestClock.adjust("35 seconds")
      assert.strictEqual((yield* Scheduler.stats).queued, 100)
      yield* Effect.forEach(low, (run) => run.interrupt)
      assert.strictEqual((yield* Scheduler.stats).queued, 0)
      yield* holder.interrupt
      yield* Task.make("next", Effect.void)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(1, { ageing: "10 seconds" }))))

  for (const ageing of [0, -1, "nonsense"] as const) {
    it.effect(`an ageing of ${ageing} is invalid`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Effect.void.pipe(Effect.provide(pool(1, { ageing: ageing as Duration.Input }))))
        assert.strictEqual(Refusal.invalid(exit)?.field, "ageing")
      }))
  }
})

describe("when a limit is full", () => {
  it.effect("drop: the newcomer ends as if interrupted, nothing of it ran, and what has the limit goes on", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      let ran = 0
      const latch = yield* Latch.make()
      const holder = yield* Task.fork(Task.make("holder", latch.await, api))
      const dropped = yield* Task.fork(Task.make("dropped", Effect.sync(() => ran++), { ...api, whenFull: "drop" }))
      assert.isTrue(Refusal.interrupted(yield* dropped.exit))
      assert.strictEqual(yield* outcomeOf(dropped), "Interrupted")
      assert.notInclude(journal.facts(dropped), "Started")
      let cleaned = false
      const slot = yield* Effect.exit(
        Concurrency.withSlot({ ...api, whenFull: "drop" })(Effect.sync(() => ran++)).pipe(
          Effect.onInterrupt(() => Effect.sync(() => void (cleaned = true)))
        )
      )
      assert.isTrue(Refusal.interrupted(slot))
      assert.isTrue(cleaned)
      assert.deepStrictEqual([ran, yield* active("api"), (yield* usage("api")).waiting], [0, 1, 0])
      yield* latch.open
      yield* TaskRun.join(holder)
      yield* Task.make("next", Effect.sync(() => ran++), { ...api, whenFull: "drop" })
      assert.strictEqual(ran, 1)
      assert.deepStrictEqual(brokenLives(journal.events), [])
    }).pipe(Effect.provide(under({ api: 1 })), journal.listen)
  })

  it.effect("drop: of the children of one task the dropped are the interrupted", () =>
    Effect.gen(function*() {
      const child = Task.make("child", Effect.as(Effect.yieldNow, 1), { ...api, whenFull: "drop" })
      const parent = Task.make("parent", Effect.all(Arr.replicate(Effect.exit(child), 5), { concurrency: "unbounded" }))
      const exits = yield* parent
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 2)
      assert.strictEqual(exits.filter(Refusal.interrupted).length, 3)
    }).pipe(Effect.provide(under({ api: 2 }))))

  /** A run with a name that takes a while to clean up when it is interrupted. */
  const slow = (
    name: string,
    gauge: Gauge.Gauge,
    demand: Concurrency.Demand = {},
    cleaning: Duration.Input = "1 second"
  ) =>
    Task.make(
      name,
      gauge.inside(Effect.as(Effect.sleep("1 minute"), name).pipe(Effect.onInterrupt(() => Effect.sleep(cleaning)))),
      { ...api, ...demand }
    )

  it.effect("replace: the oldest holder is interrupted, and the newcomer starts once its finalizers are done", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const gauge = Gauge.make()
      const one = yield* Task.fork(slow("one", gauge))
      yield* TestClock.adjust("1 second")
      const two = yield* Task.fork(slow("two", gauge))
      yield* TestClock.adjust("1 second")
      const said: Array<string> = []
      const three = yield* Task.fork(
        gauge.inside(teller(said)("three", { ...api, whenFull: "replace" })).pipe((body) =>
          Task.make("three", body, { ...api, whenFull: "replace" })
        )
      )
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* tagOf(three), "Waiting")
      yield* sound
      yield* TestClock.adjust("1 millis")
      yield* TaskRun.join(three)
      assert.deepStrictEqual(
        [yield* outcomeOf(one), yield* outcomeOf(two), yield* outcomeOf(three)],
        ["Interrupted", "Running", "Succeeded"]
      )
      assert.deepStrictEqual(said, ["three@3000"])
      assert.strictEqual(gauge.peak, 2)
      yield* two.interrupt.pipe(Effect.forkChild)
      yield* TestClock.adjust("1 second")
      yield* two.exit
      assert.deepStrictEqual(brokenLives(journal.events), [])
    }).pipe(Effect.provide(under({ api: 2 })), journal.listen)
  })

  it.effect("replace: a weight replaces as many of the oldest as it takes, and no more", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const runs = yield* Effect.forEach(["a", "b", "c", "d"], (name) =>
        Effect.tap(Task.fork(slow(name, gauge)), () => TestClock.adjust("1 second")))
      const big = yield* Task.fork(slow("big", gauge, { weight: 2, whenFull: "replace" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Effect.forEach([...runs, big], outcomeOf), [
        "Interrupted",
        "Interrupted",
        "Running",
        "Running",
        "Running"
      ])
      yield* sound
      assert.strictEqual(yield* active("api"), 4)
    }).pipe(Effect.provide(under({ api: 4 }))))

  it.effect("replace: of a burst the newest wins, and the rest never start", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const first = yield* Task.fork(slow("first", gauge))
      yield* TestClock.adjust("1 second")
      const burst = yield* Effect.forEach(Arr.range(1, 10), (i) =>
        Task.fork(slow(`burst ${i}`, gauge, { whenFull: "replace" })))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* outcomeOf(first), "Interrupted")
      assert.deepStrictEqual(yield* Effect.forEach(burst, outcomeOf), [
        ...Arr.replicate("Interrupted", 9),
        "Running"
      ])
      assert.deepStrictEqual([gauge.peak, yield* active("api"), (yield* usage("api")).waiting], [1, 1, 0])
      // And one after the other, each before the last has begun.
      const later = yield* Effect.forEach(Arr.range(1, 5), (i) =>
        Effect.tap(Task.fork(slow(`later ${i}`, gauge, { whenFull: "replace" })), () =>
          turns(i)))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Effect.forEach(later, outcomeOf), [...Arr.replicate("Interrupted", 4), "Running"])
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: whatever their priority, key or weight", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const first = yield* Task.fork(slow("first", gauge))
      yield* TestClock.adjust("1 second")
      const demands: ReadonlyArray<Concurrency.Demand> = [{ priority: "high" }, { key: "k" }, { priority: "low" }, {}]
      const burst = yield* Effect.forEach(demands, (demand, i) =>
        Task.fork(slow(`burst ${i}`, gauge, { ...demand, whenFull: "replace" })))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* Effect.forEach([first, ...burst], outcomeOf), [
        ...Arr.replicate("Interrupted", 4),
        "Running"
      ])
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: without a tag it is the pool that is full", () =>
    Effect.gen(function*() {
      const old = yield* Task.fork(Task.make("old", Effect.never))
      yield* quiet
      yield* Task.make("new", Effect.void, { whenFull: "replace" })
      assert.strictEqual(yield* outcomeOf(old), "Interrupted")
    }).pipe(Effect.provide(pool(1))))

  it.effect("replace: who cannot be interrupted is waited for", () =>
    Effect.gen(function*() {
      const old = yield* Task.fork(Task.make("old", Effect.uninterruptible(Effect.sleep("5 seconds")), api))
      yield* quiet
      const said: Array<string> = []
      const run = yield* Task.fork(teller(said)("new", { ...api, whenFull: "replace" }))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual([yield* tagOf(run), yield* active("api")], ["Waiting", 1])
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(run)
      assert.deepStrictEqual(said, ["new@5000"])
      yield* old.exit
    }).pipe(Effect.provide(under({ api: 1 }))))

  for (const whileWaiting of ["lend", "hold"] as const) {
    it.effect(`replace: a child never ends its ancestors, which ${whileWaiting} the tag`, () =>
      Effect.gen(function*() {
        const child = Task.make("child", Effect.as(Effect.yieldNow, "child"), { ...api, whenFull: "replace" })
        const middle = Task.make("middle", child)
        const parent = yield* Task.fork(Task.make("parent", middle, api))
        assert.strictEqual(yield* TaskRun.join(parent), "child")
        // The parent works on beside it: the child waits for its end.
        const busy = yield* Task.fork(Task.make(
          "busy",
          Effect.tap(Task.fork(child), () => Effect.sleep("5 seconds")),
          api
        ))
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* tagOf(busy), "Running")
        yield* TestClock.adjust("1 second")
        const forked = yield* TaskRun.join(busy)
        assert.strictEqual(yield* TaskRun.join(forked), "child")
        yield* sound
      }).pipe(Effect.provide(under({ api: { limit: 1, whileWaiting } }))))
  }

  it.effect("replace: a withSlot around it is an ancestor too, and so is the fiber's parent's", () =>
    Effect.gen(function*() {
      const again = Concurrency.withSlot({ ...api, whenFull: "replace" })(Effect.succeed("inner"))
      assert.strictEqual(yield* Concurrency.withSlot(api)(again), "inner")
      const forked = Effect.flatMap(Effect.forkChild(again), Fiber.join)
      assert.strictEqual(yield* Concurrency.withSlot(api)(forked), "inner")
      const task = Task.make("task", Effect.succeed("task"), { ...api, whenFull: "replace" })
      assert.strictEqual(yield* Concurrency.withSlot(api)(task), "task")
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: a sibling is no ancestor", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const exits = yield* Effect.forkChild(Task.make(
        "parent",
        Effect.gen(function*() {
          const one = yield* Task.fork(slow("one", gauge))
          yield* Effect.sleep("1 second")
          const two = yield* Task.fork(Task.make("two", Effect.succeed("two"), { ...api, whenFull: "replace" }))
          return yield* TaskRun.awaitAll([one, two])
        })
      ))
      yield* TestClock.adjust("5 seconds")
      const [one, two] = yield* Fiber.join(exits)
      assert.isTrue(Refusal.interrupted(one!))
      assert.deepStrictEqual(two, Exit.succeed("two"))
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: a withSlot that asked to replace is ended alone, a plain one with its fiber", () =>
    Effect.gen(function*() {
      const newest = { ...api, whenFull: "replace" } as const
      let after = 0
      const go = (demand: Concurrency.Demand) =>
        Effect.exit(Concurrency.withSlot(demand)(Effect.never)).pipe(Effect.tap(() => Effect.sync(() => after++)))
      const alone = yield* Effect.forkChild(go(newest))
      yield* quiet
      yield* Concurrency.withSlot(newest)(Effect.void)
      assert.isTrue(Refusal.interrupted(yield* Fiber.join(alone)))
      assert.strictEqual(after, 1)
      const plain = yield* Effect.forkChild(go(api))
      yield* quiet
      yield* Concurrency.withSlot(newest)(Effect.void)
      assert.isTrue(Refusal.interrupted(yield* Fiber.await(plain)))
      assert.deepStrictEqual([after, yield* active("api")], [1, 0])
    }).pipe(Effect.provide(under({ api: 1 }))))

  const full: ReadonlyArray<
    readonly [string, Scheduler.LayerOptions, ReadonlyArray<Concurrency.Demand>]
  > = [
    ["tag", { tagLimits: { api: 1 } }, [{}, api, api]],
    ["key", { keyLimit: 1 }, [{ key: "other" }, { key: "k" }, { key: "k" }]],
    ["class", { reserved: { critical: 1 } }, [{ priority: "critical" }, { priority: "low" }, { priority: "low" }]]
  ]
  for (const [what, options, [older, holder, newcomer]] of full) {
    it.effect(`replace: where the pool is full too, who has the ${what} makes room in both, and the older one lives`, () =>
      Effect.gen(function*() {
        const run = (demand: Concurrency.Demand) =>
          Effect.tap(Task.fork(Task.make("run", Effect.never, demand)), () => TestClock.adjust("1 second"))
        const runs = [
          yield* run(older!),
          yield* run(holder!),
          yield* run({ ...newcomer, whenFull: "replace" })
        ]
        assert.deepStrictEqual(yield* Effect.forEach(runs, outcomeOf), ["Running", "Interrupted", "Running"])
      }).pipe(Effect.provide(pool(2, { ...options, interruptTimeout: 0 }))))
  }

  it.effect("replace: a lease that is replaced is lost at once", () =>
    Effect.gen(function*() {
      const lease = yield* Concurrency.acquire({ ...api, ttl: "1 minute" })
      yield* Concurrency.withSlot({ ...api, whenFull: "replace" })(Effect.void)
      assert.strictEqual((yield* Effect.flip(lease.renew))._tag, "LeaseLostError")
      assert.isFalse(yield* lease.release)
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: who only lends the tag is in nobody's way", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const lender = yield* Task.fork(Task.make("lender", Effect.as(Concurrency.lend(latch.await), "lender"), api))
      yield* quiet
      yield* Task.make("new", Effect.void, { ...api, whenFull: "replace" })
      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(lender), "lender")
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: where only a rate is in the way nobody is interrupted", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const old = yield* Task.fork(Task.make("old", Effect.sleep("10 seconds"), api))
      yield* quiet
      const run = yield* Task.fork(teller(said)("new", { ...api, whenFull: "replace" }))
      yield* TestClock.adjust("10 seconds")
      yield* TaskRun.awaitAll([old, run])
      assert.deepStrictEqual([yield* outcomeOf(old), said], ["Succeeded", ["new@1000"]])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second", 1, 5) }))))

  it.effect("replace: interrupted while it waits, it leaves the limit as it is, and who is replaced is not retried", () =>
    Effect.gen(function*() {
      let attempts = 0
      const old = yield* Task.fork(
        Task.make(
          "old",
          Effect.suspend(() => (attempts++, Effect.onInterrupt(Effect.never, () => Effect.sleep("2 seconds")))),
          api
        ).pipe(Task.withRetry({ times: 5 }))
      )
      yield* quiet
      const run = yield* Task.fork(Task.make("new", Effect.void, { ...api, whenFull: "replace" }))
      yield* TestClock.adjust("1 second")
      yield* run.interrupt
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([yield* outcomeOf(old), attempts], ["Interrupted", 1])
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).waiting], [0, 0])
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: a hundred in random order and time: never two, and the last one lives", () =>
    Effect.gen(function*() {
      const random = Random.make(Random.seedOf("limits replace"), 1)
      const gauge = Gauge.make()
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      for (let i = 0; i < 100; i++) {
        runs.push(yield* Task.fork(slow(`run ${i}`, gauge, { whenFull: "replace" }, random.int(0, 500))))
        if (random.chance(0.6)) yield* TestClock.adjust(random.int(0, 700))
        else yield* turns(random.int(0, 5))
        yield* sound
        assert.isAtMost(yield* active("api"), 1)
      }
      yield* TestClock.adjust("2 seconds")
      const ends = yield* Effect.forEach(runs, outcomeOf)
      assert.strictEqual(ends[99], "Running")
      assert.isTrue(ends.slice(0, 99).every((end) => end === "Interrupted"))
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("replace: clients that ask again when they are replaced tell their facts in order", () => {
    const journal = Journal.make()
    return Effect.gen(function*() {
      const body = Task.make("job", Effect.never, { ...api, whenFull: "replace" })
      const client = Task.make("client", Effect.exit(body).pipe(Effect.repeat({ times: 3 })))
      const clients = yield* Effect.forEach([1, 2, 3], () => Task.fork(client))
      for (let i = 0; i < 20; i++) yield* quiet
      assert.strictEqual(yield* active("api"), 1)
      yield* Effect.forEach(clients, (run) => run.interrupt)
      yield* quiet
      assert.deepStrictEqual(brokenLives(journal.events), [])
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(pool(4, { tagLimits: { api: 1 } })), journal.listen)
  })

  it.effect("an admission timeout counts the time a full queue kept the submitter waiting", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.sleep("1 minute")))
      const queued = yield* Task.fork(Task.make("queued", Effect.void))
      const late = yield* Effect.forkChild(
        Effect.exit(Task.make("late", Effect.void, { admissionTimeout: "1 second" }))
      )
      yield* TestClock.adjust("1 second")
      assert.strictEqual(Refusal.died(yield* Fiber.join(late))?._tag, "Timeout")
      yield* TestClock.adjust("1 minute")
      yield* TaskRun.awaitAll([holder, queued])
    }).pipe(Effect.provide(pool(1, { maxQueued: 1 }))))

  it.effect("a word that is none of them is invalid, for a task and for withSlot", () =>
    Effect.gen(function*() {
      const demand = { ...api, whenFull: "perhaps" as "wait" }
      const both: ReadonlyArray<Program> = [
        Task.make("task", Effect.void, demand),
        Concurrency.withSlot(demand)(Effect.void)
      ]
      for (const effect of both) {
        assert.strictEqual(Refusal.invalid(yield* Effect.exit(effect))?.field, "whenFull")
      }
    }).pipe(Effect.provide(under({ api: 1 }))))
})

describe("strict", () => {
  const strict = { tags: ["x", "api", "y", "off"], strict: true } as const

  it.effect("names every tag without a limit, and takes nothing", () =>
    Effect.gen(function*() {
      let ran = 0
      const count = Effect.sync(() => ran++)
      const missing = { _tag: "MissingLimits" as const, limits: ["x", "y"] }
      const effects: ReadonlyArray<Program> = [
        Task.make("task", count, strict),
        Concurrency.withSlot(strict)(count),
        Concurrency.withSlotIfAvailable(strict)(count)
      ]
      for (const effect of effects) assert.deepStrictEqual(Refusal.died(yield* Effect.exit(effect)), missing)
      assert.deepStrictEqual(
        Refusal.failed(yield* Effect.exit(Task.refusable(Task.make("task", count, strict)))),
        missing
      )
      assert.deepStrictEqual([ran, yield* active("api")], [0, 0])
    }).pipe(Effect.provide(under({ api: 1, off: { limit: 1, enabled: false } }))))

  it.effect("with every limit there, or no tag at all, it runs", () =>
    Effect.gen(function*() {
      yield* Task.make("task", Effect.void, strict)
      yield* Concurrency.withSlot(strict)(Effect.void)
      yield* Task.make("task", Effect.void, { tags: [], strict: true })
      yield* Concurrency.withSlot({ tags: [], strict: true })(Effect.void)
      yield* Concurrency.withSlot({ strict: true })(Effect.void)
    }).pipe(Effect.provide(under((tag) => tag === "off" ? { limit: 1, enabled: false } : 1))))

  it.effect("a limit removed while strict work waits refuses it", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never, api))
      const waiting = yield* Task.fork(Task.make("waiting", Effect.void, { ...api, strict: true }))
      yield* quiet
      yield* Concurrency.remove("api")
      assert.deepStrictEqual(Refusal.died(yield* waiting.exit), { _tag: "MissingLimits", limits: ["api"] })
      yield* holder.interrupt
    }).pipe(Effect.provide(under({ api: 1 }))))
})

describe("limits that are off", () => {
  it.effect("count nothing; switched on they count who comes from then on, and forgive who was there", () =>
    Effect.gen(function*() {
      const early = yield* Latch.make()
      const late = yield* Latch.make()
      const before = yield* Effect.forEach(Arr.range(1, 5), () => Task.fork(Task.make("before", early.await, api)))
      const slot = yield* Effect.forkChild(Concurrency.withSlot(api)(early.await))
      yield* quiet
      const off = yield* usage("api")
      assert.deepStrictEqual([off.enabled, off.active, off.waiting, off.holders, off.limit], [false, 0, 0, [], 2])
      assert.isTrue(yield* Concurrency.enable("api"))
      const after = yield* Effect.forEach(Arr.range(1, 3), () => Task.fork(Task.make("after", late.await, api)))
      yield* quiet
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).waiting], [2, 1])
      yield* early.open
      yield* TaskRun.awaitAll(before)
      yield* Fiber.join(slot)
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).waiting], [2, 1])
      yield* sound
      assert.isTrue(yield* Concurrency.disable("api"))
      yield* quiet
      assert.deepStrictEqual(yield* Effect.forEach(after, tagOf), ["Running", "Running", "Running"])
      assert.strictEqual(yield* active("api"), 0)
      yield* Concurrency.enable("api")
      yield* late.open
      yield* TaskRun.awaitAll(after)
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: { limit: 2, enabled: false } }))))

  it.effect("switching what is so already, or what is not there, changes nothing", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never, api))
      yield* quiet
      assert.isTrue(yield* Concurrency.enable("api"))
      assert.strictEqual(yield* active("api"), 1)
      assert.isFalse(yield* Concurrency.enable("nothing"))
      assert.isFalse(yield* Concurrency.disable("nothing"))
      assert.isTrue(yield* Concurrency.disable("api"))
      assert.isTrue(yield* Concurrency.disable("api"))
      yield* holder.interrupt
      assert.strictEqual((yield* Concurrency.list).length, 1)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("toggled under load: the sum of the holders at every step, nobody left behind, never more than the limit", () =>
    Effect.gen(function*() {
      const random = Random.make(Random.seedOf("limits toggle"), 1)
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      for (let i = 0; i < 600; i++) {
        const body = random.chance(0.3)
          ? Concurrency.lend(Effect.sleep(random.int(0, 20)))
          : Effect.sleep(random.int(0, 20))
        const demand = { ...api, weight: random.int(1, 2) }
        if (random.chance(0.7)) runs.push(yield* Task.fork(Task.make("job", body, demand)))
        else yield* Effect.forkDetach(Concurrency.withSlot(demand)(body))
        const dice = random.next()
        if (dice < 0.1) yield* Concurrency.enable("api")
        else if (dice < 0.2) yield* Concurrency.disable("api")
        else if (dice < 0.25) yield* Concurrency.create("api", { limit: random.int(2, 4), enabled: random.chance(0.5) })
        if (random.chance(0.3)) yield* TestClock.adjust(random.int(0, 10))
        yield* sound
        const info = yield* usage("api")
        if (!info.enabled) assert.deepStrictEqual([info.active, info.waiting], [0, 0])
      }
      yield* Concurrency.enable("api")
      yield* TestClock.adjust("1 minute")
      yield* TaskRun.awaitAll(runs)
      yield* quiet
      const info = yield* usage("api")
      assert.deepStrictEqual([info.active, info.waiting, info.holders], [0, 0, []])
    }).pipe(Effect.provide(under({ api: { limit: 2, enabled: false } }))))

  it.effect("what its rate had left is what it has when it comes back on", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 3; i++) yield* Concurrency.withSlot(api)(Effect.void)
      yield* Concurrency.disable("api")
      for (let i = 0; i < 30; i++) yield* Concurrency.withSlot(api)(Effect.void)
      yield* TestClock.adjust("1 second")
      yield* Concurrency.enable("api")
      assert.deepStrictEqual(yield* available, [3])
    }).pipe(Effect.provide(under({ api: rate(1, "1 second", 5) }))))
})

describe("reserved slots", () => {
  const six = pool(6, { reserved: { critical: 1, high: 1, normal: 1 } })
  const running = (priority: Concurrency.Priority, weight = 1) =>
    Effect.gen(function*() {
      const runs = yield* Effect.forEach(Arr.range(1, 10), () =>
        Task.fork(Task.make("job", Effect.never, { priority, weight })))
      yield* quiet
      const states = yield* Effect.forEach(runs, tagOf)
      const taken = (yield* Scheduler.stats).active
      yield* Effect.forEach(runs, (run) =>
        run.interrupt, { concurrency: "unbounded" })
      return [states.filter((state) => state === "Running").length, taken]
    })

  it.effect("are open to their class and above, and the rest to everyone", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* running("low"), [3, 3])
      assert.deepStrictEqual(yield* running("normal"), [4, 4])
      assert.deepStrictEqual(yield* running("high"), [5, 5])
      assert.deepStrictEqual(yield* running("critical"), [6, 6])
    }).pipe(Effect.provide(six)))

  it.effect("a number belongs to the nearest class at or above it", () =>
    Effect.gen(function*() {
      const open = new Map<number, number>([
        [-100, 6],
        [0, 6],
        [0.5, 5],
        [1, 5],
        [10, 5],
        [10.5, 4],
        [11, 4],
        [20, 4],
        [20.5, 3],
        [21, 3],
        [30, 3],
        [1000, 3]
      ])
      for (const [priority, slots] of open) assert.strictEqual((yield* running(priority))[0], slots, String(priority))
    }).pipe(Effect.provide(six)))

  it.effect("a weight above what is open to its class takes all of that", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* running("low", 100), [1, 3])
      assert.deepStrictEqual(yield* running("normal", 5), [1, 4])
      assert.deepStrictEqual(yield* running("high", 5), [1, 5])
      assert.deepStrictEqual(yield* running("critical", 7), [1, 6])
      const low = yield* Task.fork(Task.make("low", Effect.never, { priority: "low", weight: 100 }))
      yield* quiet
      yield* Task.make("normal", Effect.void)
      yield* Task.make("critical", Effect.void, { priority: "critical", weight: 3 })
      yield* low.interrupt
    }).pipe(Effect.provide(six)))

  it.effect("full of low work, each class above finds its own slot", () =>
    Effect.gen(function*() {
      const job = (priority: Concurrency.Priority) => Task.fork(Task.make(String(priority), Effect.never, { priority }))
      const low = yield* Effect.forEach(Arr.range(1, 5), () => job("low"))
      const above = yield* Effect.forEach(["normal", "normal", "high", "high", "critical", "critical"] as const, job)
      yield* quiet
      assert.deepStrictEqual(yield* Effect.forEach(low, tagOf), ["Running", "Running", "Running", "Waiting", "Waiting"])
      assert.deepStrictEqual(yield* Effect.forEach(above, tagOf), [
        "Running",
        "Waiting",
        "Running",
        "Waiting",
        "Running",
        "Waiting"
      ])
      // What comes free of the open slots goes to the best that waits.
      yield* low[0]!.interrupt
      yield* quiet
      assert.strictEqual(yield* tagOf(above[5]!), "Running")
      assert.strictEqual(yield* tagOf(above[1]!), "Waiting")
    }).pipe(Effect.provide(six)))

  it.effect("are inside maxParallelism, which is CPUs and reserved by default", () =>
    Effect.gen(function*() {
      const max = (options: Scheduler.LayerOptions) =>
        Effect.map(Scheduler.stats, (stats) => stats.maxParallelism).pipe(Effect.provide(Scheduler.layer(options)))
      assert.strictEqual(yield* max({ reserved: { critical: 2, normal: 3 } }), navigator.hardwareConcurrency + 5)
      assert.strictEqual(yield* max({ reserved: {} }), navigator.hardwareConcurrency)
      assert.strictEqual(yield* max({ reserved: { high: 0 } }), navigator.hardwareConcurrency)
      assert.strictEqual(yield* max({ reserved: undefined }), navigator.hardwareConcurrency)
      assert.strictEqual(yield* max({ maxParallelism: "unbounded", reserved: { high: 3 } }), "unbounded")
      assert.strictEqual(yield* max({ maxParallelism: 4, reserved: { high: 3 } }), 4)
    }))

  const invalid: ReadonlyArray<readonly [Scheduler.LayerOptions, string, unknown]> = [
    [{ maxParallelism: 3, reserved: { critical: 1, high: 1, normal: 1 } }, "reserved", 3],
    [{ maxParallelism: 1, reserved: { high: 1 } }, "reserved", 1],
    [{ maxParallelism: 2, reserved: { high: 5 } }, "reserved", 5],
    [{ maxParallelism: 9, reserved: { critical: -1 } }, "reserved.critical", -1],
    [{ maxParallelism: 9, reserved: { high: 1.5 } }, "reserved.high", 1.5],
    [{ maxParallelism: 9, reserved: { normal: NaN } }, "reserved.normal", NaN],
    [{ reserved: { normal: Infinity } }, "reserved.normal", Infinity]
  ]
  for (const [options, field, value] of invalid) {
    it.effect(`${JSON.stringify(options)} is invalid`, () =>
      Effect.gen(function*() {
        const error = Refusal.invalid(yield* Effect.exit(Effect.void.pipe(Effect.provide(Scheduler.layer(options)))))
        assert.deepStrictEqual([error?.field, error?.value], [field, value])
        assert.isAbove(error!.rule.length, 10)
      }))
  }

  it.effect("resized to no more than is reserved is a typed error that changes nothing", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Scheduler.resize(3))
      assert.deepStrictEqual([error._tag, error.where], ["InvalidOptionError", "Scheduler.resize"])
      assert.strictEqual((yield* Scheduler.stats).maxParallelism, 6)
      assert.deepStrictEqual(yield* running("low"), [3, 3])
    }).pipe(Effect.provide(six)))

  it.effect("resized, what is reserved stays and the rest changes", () =>
    Effect.gen(function*() {
      const low = yield* Effect.forEach(Arr.range(1, 8), () =>
        Task.fork(Task.make("low", Effect.never, { priority: "low" })))
      const count = Effect.map(Effect.forEach(low, tagOf), (states) =>
        states.filter((state) =>
          state === "Running"
        ).length)
      yield* quiet
      assert.strictEqual(yield* count, 3)
      yield* Scheduler.resize(8)
      yield* quiet
      assert.strictEqual(yield* count, 5)
      yield* Scheduler.resize(4)
      yield* quiet
      assert.strictEqual(yield* count, 5)
      // Five of four are taken; critical work waits, and what comes free goes to nobody else.
      const critical = yield* Task.fork(Task.make("critical", Effect.void, { priority: "critical" }))
      yield* quiet
      assert.strictEqual(yield* tagOf(critical), "Waiting")
      yield* low[0]!.interrupt
      yield* low[1]!.interrupt
      yield* TaskRun.join(critical)
      assert.strictEqual(yield* count, 3)
      yield* Scheduler.resize("unbounded")
      yield* quiet
      assert.strictEqual(yield* count, 6)
      yield* Effect.forEach(low, (run) =>
        run.interrupt)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(six)))

  it.effect("a weight that waits for all of its class takes what that is after a resize", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never, { priority: "low" }))
      const big = yield* Task.fork(Task.make("big", Effect.never, { priority: "low", weight: 100 }))
      yield* quiet
      yield* Scheduler.resize(9)
      yield* quiet
      assert.strictEqual(yield* tagOf(big), "Waiting")
      yield* holder.interrupt
      yield* quiet
      assert.deepStrictEqual([yield* tagOf(big), (yield* Scheduler.stats).active], ["Running", 6])
      yield* big.interrupt
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(six)))

  it.effect("who waits for its children lends its reserved slot and takes it back, at any depth", () =>
    Effect.gen(function*() {
      for (const priority of ["critical", "high", "normal", "low"] as const) {
        const nested = (depth: number): Task.Task<number> =>
          Task.make(
            `depth ${depth}`,
            depth === 0
              ? Effect.succeed(0)
              : Effect.map(Task.all([nested(depth - 1), nested(depth - 1)]), ([a, b]) => a + b + 1),
            { priority }
          )
        assert.strictEqual(yield* nested(4), 15)
      }
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(4, { reserved: { critical: 1, high: 1, normal: 1 } }))))

  it.effect("no class ever has more than is open to it, none waits while its slots are free", () =>
    Effect.gen(function*() {
      const random = Random.make(Random.seedOf("limits reserved"), 1)
      const classes = ["critical", "high", "normal", "low"] as const
      let runs: Array<{ readonly index: number; readonly run: TaskRun.TaskRun<unknown, unknown> }> = []
      let max = 6
      for (let i = 0; i < 1500; i++) {
        const dice = random.next()
        if (dice < 0.6) {
          const index = random.int(0, 3)
          const body = random.chance(0.3)
            ? Concurrency.lend(Effect.sleep(random.int(1, 9)))
            : Effect.sleep(random.int(1, 30))
          runs.push({ index, run: yield* Task.fork(Task.make("job", body, { priority: classes[index]! })) })
        } else if (dice < 0.65 && runs.length > 0) yield* random.pick(runs).run.interrupt
        else if (dice < 0.67) yield* Scheduler.resize(max = random.int(4, 9))
        else yield* TestClock.adjust(random.int(0, 6))
        if (dice >= 0.65 && dice < 0.67) yield* TestClock.adjust("1 second")
        yield* quiet
        const live = yield* Effect.forEach(
          runs,
          ({ index, run }) => Effect.map(tagOf(run), (tag) => ({ index, run, tag }))
        )
        runs = live.filter(({ tag }) => tag !== "Finished")
        const at = (from: number) => live.filter(({ index, tag }) => tag === "Running" && index >= from).length
        const open = [max, max - 1, max - 2, max - 3]
        open.forEach((slots, index) => assert.isAtMost(at(index), slots, `class ${index} of ${max}`))
        for (let index = 0; index < 4; index++) {
          const waits = live.some((one) => one.index === index && one.tag === "Waiting")
          const full = open.some((slots, above) => above <= index && at(above) >= slots)
          assert.isTrue(!waits || full, `step ${i}: class ${index} waits and has room`)
        }
      }
    }).pipe(Effect.provide(six)))
})

describe("what an operator may do", () => {
  it.effect("reset: everybody's is taken, they go on uncounted, and what they give back later changes nothing", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* Latch.make(), yield* Latch.make()]
      const old = yield* Effect.forEach([1, 2], () => Task.fork(Task.make("old", one.await, api)))
      const slot = yield* Effect.forkChild(Concurrency.withSlot(api)(one.await))
      yield* quiet
      const next = yield* Effect.forEach([1, 2, 3, 4], () => Task.fork(Task.make("next", two.await, api)))
      yield* quiet
      assert.strictEqual(yield* Concurrency.reset("api"), 3)
      yield* quiet
      yield* sound
      assert.deepStrictEqual(yield* Effect.forEach(next, tagOf), ["Running", "Running", "Running", "Waiting"])
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).waiting], [3, 1])
      yield* one.open
      yield* TaskRun.awaitAll(old)
      yield* Fiber.join(slot)
      yield* quiet
      yield* sound
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).waiting], [3, 1])
      yield* two.open
      yield* TaskRun.awaitAll(next)
      assert.strictEqual(yield* active("api"), 0)
      assert.deepStrictEqual([yield* Concurrency.reset("api"), yield* Concurrency.reset("nothing")], [0, 0])
    }).pipe(Effect.provide(under({ api: 3 }))))

  it.effect("releaseHolder: one holder's is taken, once, by the id that read shows", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const old = yield* Task.fork(Task.make("old", latch.await, { ...api, weight: 2 }))
      const other = yield* Task.fork(Task.make("other", latch.await, api))
      const next = yield* Task.fork(Task.make("next", Effect.never, { ...api, weight: 2 }))
      yield* quiet
      assert.deepStrictEqual((yield* usage("api")).holders.map((holder) => holder.id), [old.id, other.id])
      assert.isFalse(yield* Concurrency.releaseHolder("api", "nobody"))
      assert.isFalse(yield* Concurrency.releaseHolder("nothing", old.id))
      assert.isFalse(yield* Concurrency.releaseHolder("api", next.id))
      assert.isTrue(yield* Concurrency.releaseHolder("api", old.id))
      assert.isFalse(yield* Concurrency.releaseHolder("api", old.id))
      yield* quiet
      yield* sound
      assert.deepStrictEqual(
        (yield* usage("api")).holders.map((holder) => holder.id).sort(),
        [other.id, next.id].sort()
      )
      assert.strictEqual(yield* tagOf(old), "Running")
      yield* latch.open
      yield* TaskRun.awaitAll([old, other])
      assert.strictEqual(yield* active("api"), 2)
      yield* next.interrupt
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 3 }))))

  it.effect("releaseHolder: a child that waits for what its parent held asks for it like anybody else", () =>
    Effect.gen(function*() {
      const [latch, ending] = [yield* Latch.make(), yield* Latch.make()]
      const busy = yield* Task.fork(Task.make("busy", latch.await, { tags: ["db"] }))
      const child = Task.make("child", Effect.void, { tags: ["api", "db"] })
      const parent = yield* Task.fork(Task.make("parent", child, api))
      yield* quiet
      const other = yield* Task.fork(Task.make("other", ending.await, { ...api, weight: 2 }))
      yield* quiet
      assert.isTrue(yield* Concurrency.releaseHolder("api", parent.id))
      yield* quiet
      assert.strictEqual(yield* tagOf(other), "Running")
      yield* latch.open
      yield* TaskRun.join(busy)
      yield* quiet
      // All of it is taken by the other.
      assert.strictEqual(yield* tagOf(parent), "Suspended")
      assert.deepInclude(yield* usage("api"), { active: 2, waiting: 1 })
      yield* ending.open
      yield* TaskRun.awaitAll([other, parent])
      yield* sound
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: { limit: 2, whileWaiting: "hold" }, db: 1 }))))

  for (const whileWaiting of ["lend", "hold"] as const) {
    it.effect(`reset while a holder is suspended, its tag ${whileWaiting}: it comes back, and the count is right all along`, () =>
      Effect.gen(function*() {
        const [outside, inside] = [yield* Latch.make(), yield* Latch.make()]
        const run = yield* Task.fork(
          Task.make("run", Effect.andThen(Concurrency.lend(outside.await), inside.await), api)
        )
        yield* quiet
        assert.strictEqual(yield* Concurrency.reset("api"), whileWaiting === "hold" ? 1 : 0)
        yield* sound
        const next = yield* Task.fork(Task.make("next", Effect.yieldNow, api))
        yield* TaskRun.join(next)
        yield* outside.open
        yield* quiet
        yield* sound
        assert.strictEqual(yield* tagOf(run), "Running")
        yield* inside.open
        yield* TaskRun.join(run)
        yield* sound
        assert.strictEqual(yield* active("api"), 0)
      }).pipe(Effect.provide(under({ api: { limit: 1, whileWaiting } }))))

    it.effect(`reset while a holder's child runs under it, its tag ${whileWaiting}`, () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const child = Task.make("child", latch.await, api)
        const run = yield* Task.fork(Task.make("run", Effect.andThen(child, Effect.yieldNow), api))
        yield* quiet
        yield* Concurrency.reset("api")
        yield* sound
        assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).holders], [0, []])
        const next = yield* Task.fork(Task.make("next", Effect.never, api))
        yield* quiet
        assert.strictEqual(yield* tagOf(next), "Running")
        yield* latch.open
        yield* quiet
        yield* sound
        assert.strictEqual(yield* active("api"), 1)
        yield* next.interrupt
        yield* TaskRun.join(run)
        assert.strictEqual(yield* active("api"), 0)
      }).pipe(Effect.provide(under({ api: { limit: 1, whileWaiting } }))))

    it.effect(`a holder released under its children: they count for themselves or not at all, its tag ${whileWaiting}`, () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const child = Task.make("child", latch.await, api)
        const run = yield* Task.fork(
          Task.make("run", Effect.andThen(Task.all([child, child]), Effect.yieldNow), { ...api, weight: 2 })
        )
        yield* quiet
        yield* Concurrency.releaseHolder("api", run.id)
        yield* sound
        yield* quiet
        yield* sound
        assert.isAtMost(yield* active("api"), 2)
        yield* latch.open
        yield* TaskRun.join(run)
        yield* sound
        assert.strictEqual(yield* active("api"), 0)
      }).pipe(Effect.provide(under({ api: { limit: 2, whileWaiting } }))))
  }

  it.effect("reset while a withSlot inside a holder waits for another tag", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const holder = yield* Task.fork(Task.make("holder", latch.await, { tags: ["db"] }))
      const run = yield* Task.fork(
        Task.make("run", Concurrency.withSlot({ tags: ["api", "db"] })(Effect.yieldNow), api)
      )
      yield* quiet
      yield* Concurrency.reset("api")
      yield* sound
      yield* Concurrency.reset("db")
      yield* quiet
      yield* sound
      yield* TaskRun.join(run)
      yield* latch.open
      yield* TaskRun.join(holder)
      yield* sound
      assert.deepStrictEqual([yield* active("api"), yield* active("db")], [0, 0])
    }).pipe(Effect.provide(under({ api: 1, db: 1 }))))

  it.effect("reset while two fibers of a run wait, one of them inside a withSlot of its tag", () =>
    Effect.gen(function*() {
      const [one, two] = [yield* Latch.make(), yield* Latch.make()]
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.all([Concurrency.withSlot(api)(Concurrency.lend(one.await)), Concurrency.lend(two.await)], {
          concurrency: 2
        }),
        api
      ))
      yield* quiet
      assert.strictEqual(yield* active("api"), 1)
      yield* Concurrency.reset("api")
      yield* one.open
      yield* quiet
      yield* sound
      assert.strictEqual(yield* active("api"), 0)
      yield* two.open
      yield* TaskRun.join(run)
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("reset under a holder whose child is in a withSlot of the tag it holds on to", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const child = Task.make("child", Concurrency.withSlot(api)(latch.await))
      const run = yield* Task.fork(Task.make("run", child, api))
      yield* quiet
      yield* Concurrency.reset("api")
      assert.deepStrictEqual([yield* active("api"), (yield* usage("api")).holders], [0, []])
      yield* latch.open
      yield* TaskRun.join(run)
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: { limit: 1, whileWaiting: "hold" } }))))

  for (const limit of [1, 2]) {
    it.effect(`a run whose tag was taken and that entered it again comes back from a wait inside with one, of ${limit}`, () =>
      Effect.gen(function*() {
        const [go, outside, inside] = [yield* Latch.make(), yield* Latch.make(), yield* Latch.make()]
        const again = Concurrency.withSlot(api)(Effect.andThen(Concurrency.lend(outside.await), inside.await))
        const run = yield* Task.fork(Task.make("run", Effect.andThen(go.await, again), api))
        yield* quiet
        yield* Concurrency.reset("api")
        yield* go.open
        yield* quiet
        assert.strictEqual(yield* active("api"), 1)
        yield* outside.open
        yield* quiet
        assert.deepStrictEqual([yield* tagOf(run), yield* active("api")], ["Running", 1])
        yield* inside.open
        yield* TaskRun.join(run)
        assert.strictEqual(yield* active("api"), 0)
      }).pipe(Effect.provide(under({ api: limit }))))
  }

  it.effect("reset brings back no token, and ends no pause", () =>
    Effect.gen(function*() {
      yield* Concurrency.withSlot(api)(Effect.andThen(Concurrency.reset("api"), Effect.void))
      assert.deepStrictEqual(yield* available, [0])
      yield* Concurrency.pause("api")
      yield* Concurrency.reset("api")
      assert.strictEqual((yield* usage("api")).pausedUntil, "resumed")
    }).pipe(Effect.provide(under({ api: rate(1, "1 hour") }))))

  it.effect("a run whose tag was taken may ask for it again, in a withSlot or a child", () =>
    Effect.gen(function*() {
      const again = yield* Latch.make()
      const [first, second] = [yield* Latch.make(), yield* Latch.make()]
      const child = Task.make("child", second.await, api)
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.andThen(again.await, Effect.andThen(Concurrency.withSlot(api)(first.await), child)),
        api
      ))
      yield* quiet
      yield* Concurrency.reset("api")
      assert.strictEqual(yield* active("api"), 0)
      yield* again.open
      yield* quiet
      yield* sound
      assert.strictEqual(yield* active("api"), 1)
      yield* first.open
      yield* quiet
      yield* sound
      assert.strictEqual(yield* active("api"), 1)
      yield* second.open
      yield* TaskRun.join(run)
      assert.strictEqual(yield* active("api"), 0)
    }).pipe(Effect.provide(under({ api: 1 }))))

  it.effect("of the limits that a function gives few are kept while nobody asks for them", () =>
    Effect.gen(function*() {
      const tenant = (i: number) => ({ tags: [`tenant ${i}`] })
      for (let i = 0; i < 3000; i++) {
        yield* Task.make("task", Effect.void, tenant(i))
        yield* Concurrency.withSlot(tenant(-i))(Effect.void)
      }
      assert.isAtMost((yield* Concurrency.list).length, 2000)
      const holder = yield* Task.fork(Task.make("holder", Effect.never, tenant(1)))
      yield* quiet
      for (let i = 2; i < 3000; i++) yield* Task.make("task", Effect.void, tenant(i))
      assert.isTrue(Option.isNone(yield* Concurrency.withSlotIfAvailable(tenant(1))(Effect.void)))
      assert.strictEqual(yield* active("tenant 1"), 1)
      yield* holder.interrupt
    }).pipe(Effect.provide(under(() => 1))))

  it.effect("all of them at random: usage is the sum of the holders at every step, and nothing is left", () =>
    Effect.gen(function*() {
      const seed = Random.seedOf("limits operator")
      const random = Random.make(seed, 1)
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      const tags = ["a", "b"]
      const body = (depth: number): Effect.Effect<unknown, never, Scheduler.Scheduler | Concurrency.Concurrency> => {
        const dice = random.next()
        const sleep = Effect.sleep(random.int(0, 20))
        if (dice < 0.3 || depth > 2) return sleep
        if (dice < 0.45) return Concurrency.lend(sleep)
        if (dice < 0.7) return Concurrency.withSlot({ tags: random.some(tags, 0.6) })(body(depth + 1))
        return Task.make("child", body(depth + 1), { tags: random.some(tags, 0.6) })
      }
      for (let i = 0; i < 1500; i++) {
        const tag = random.pick(tags)
        const dice = random.next()
        if (dice < 0.35) {
          runs.push(yield* Task.fork(Task.make("job", Effect.exit(body(0)), { tags: random.some(tags, 0.7) })))
        } else if (dice < 0.45) yield* Concurrency.reset(tag)
        else if (dice < 0.55) {
          const { holders } = yield* usage(tag)
          if (holders.length > 0) {
            const holder = random.pick(holders)
            assert.isTrue(yield* Concurrency.releaseHolder(tag, holder.id), `SEED=${seed} step ${i}`)
          }
        } else if (dice < 0.6) {
          yield* Concurrency.create(tag, { limit: random.int(1, 3), whileWaiting: random.pick(["lend", "hold"]) })
        } else if (dice < 0.64) yield* Concurrency.pauseFor(tag, random.int(0, 30))
        else if (dice < 0.68) yield* Concurrency.disable(tag)
        else if (dice < 0.74) yield* Concurrency.enable(tag)
        else yield* TestClock.adjust(random.int(0, 10))
        yield* sound
        yield* turns(random.int(0, 3))
        yield* sound
        for (const info of yield* Concurrency.list) assert.isAtLeast(info.active, 0, `SEED=${seed} step ${i}`)
      }
      for (const tag of tags) {
        yield* Concurrency.enable(tag)
        yield* Concurrency.resume(tag)
      }
      yield* TestClock.adjust("10 minutes")
      const stuck = (yield* Effect.forEach(runs, tagOf)).filter((tag) => tag !== "Finished")
      assert.deepStrictEqual(stuck, [], `SEED=${seed}`)
      yield* quiet
      for (const info of yield* Concurrency.list) {
        assert.deepStrictEqual([info.active, info.waiting], [0, 0], `SEED=${seed}`)
      }
    }).pipe(Effect.provide(pool(4, { tagLimits: { a: 2, b: 1 } }))))
})
