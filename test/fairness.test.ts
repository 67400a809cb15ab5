/** Shares: what one key may do to another, one big run to many small ones and they to it. */
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import { idleKey } from "../src/internal/ConcurrencyKeys.ts"
import { Counter, Line, LineHeap, type Slot } from "../src/internal/ConcurrencyLine.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"
import { tagOf, usage } from "./suites/Reading.ts"
import { pool } from "./suites/Runner.ts"

/** `FAIRNESS=all` (`npm run test:fairness`): the backlog the figures are stated for. */
const BACKLOG = process.env["FAIRNESS"] === "all" ? 1_000_000 : 100_000
const MINUTES = process.env["FAIRNESS"] === "all" ? 600_000 : 60_000

const random = Random.make(Random.seedOf("fairness"), 1)

const shuffled = <A>(items: ReadonlyArray<A>): Array<A> => {
  const left = [...items]
  return items.map(() => left.splice(random.int(0, left.length - 1), 1)[0]!)
}

/** How many keys the scheduler of a run knows; not public. */
const keysKnown = (run: TaskRun.TaskRun<unknown, unknown>): number =>
  (run as unknown as { readonly core: { readonly limits: { readonly keys: { readonly size: number } } } }).core.limits
    .keys.size

/** Runs that keep one slot each and nothing else, on which the test is about to wait. */
const blockers = (count: number, latch: Latch.Latch) =>
  Effect.forEach(Arr.range(1, count), () => Task.fork(Task.make("blocker", latch.await)))

describe(`a thousand keys, one with a backlog of ${BACKLOG}`, () => {
  /** The backlog of one key, in several lines: by demand, not only by key. */
  const backlog = (key: string, count: number, body: Effect.Effect<unknown>) => {
    const tasks = [{}, { tags: ["x"] }, { tags: ["x", "y"] }].map((demand) =>
      Task.make("big", body, { ...demand, key })
    )
    return Effect.gen(function*() {
      for (let i = 0; i < count; i++) yield* Task.fork(tasks[i % 3]!)
    })
  }

  it.effect(
    "every other key has started as many tasks as any other, give or take one, at every start",
    () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        yield* blockers(16, latch)
        const keys = Arr.range(1, 999).map((i) => `key ${i}`)
        const each = 8
        const started = new Map(keys.map((key) => [key, 0]))
        let [big, low, high, worst, last] = [0, 0, 0, 0, 0]
        const levels = Array.from({ length: each + 1 }, () => 0)
        levels[0] = 999
        yield* backlog("big", BACKLOG, Effect.andThen(Effect.sync(() => void big++), Effect.sleep(10)))
        for (const key of shuffled(keys.flatMap((key) => Arr.replicate(key, each)))) {
          const body = Effect.sync(() => {
            const count = started.get(key)!
            levels[count]!--
            levels[count + 1]!++
            started.set(key, count + 1)
            high = Math.max(high, count + 1)
            while (levels[low] === 0 && low < each) low++
            worst = Math.max(worst, high - low)
            last = big
          })
          yield* Task.fork(Task.make("small", Effect.andThen(body, Effect.sleep(10)), { key }))
        }
        yield* latch.open
        yield* TestClock.adjust((999 * each + each) / 16 * 10 + 100)
        assert.strictEqual(low, each)
        assert.isAtMost(worst, 1)
        // The big one had a share like theirs until they were done.
        assert.isAtMost(Math.abs(last - each), 1)
      }).pipe(Effect.provide(pool(16, { interruptTimeout: 0 }))),
    MINUTES
  )

  it.effect("keys of weight 1, 2 and 3 start tasks as 1 to 2 to 3, within 2 %", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      yield* blockers(16, latch)
      const started = [0, 0, 0, 0]
      let [starts, big] = [0, 0]
      yield* backlog(
        "weight 1 big",
        BACKLOG,
        Effect.andThen(Effect.sync(() => void (starts++, big++)), Effect.sleep(10))
      )
      for (let i = 0; i < 300; i++) {
        const weight = i % 3 + 1
        const body = Effect.sync(() => void (starts++, started[weight]!++))
        const task = Task.make("small", Effect.andThen(body, Effect.sleep(10)), { key: `weight ${weight} key ${i}` })
        for (let j = 0; j < 40 * weight; j++) yield* Task.fork(task)
      }
      yield* latch.open
      // A part of the 24,001 or more that wait, while all of them still have some.
      while (starts < 18_000) yield* TestClock.adjust(10)
      const [, one, two, three] = started
      assert.isAtMost(Math.abs(two! / one! / 2 - 1), 0.02, `${started}`)
      assert.isAtMost(Math.abs(three! / one! / 3 - 1), 0.02, `${started}`)
      assert.isAtMost(Math.abs(big - one! / 100), 2, `${big} beside ${one! / 100}`)
    }).pipe(
      Effect.provide(pool(16, { interruptTimeout: 0, keyWeight: (key) => Number(key.split(" ")[1]) }))
    ), MINUTES)

  const quantile = (values: ReadonlyArray<number>, q: number) =>
    [...values].sort((a, b) => a - b)[Math.ceil(values.length * q) - 1]!

  /** 999 keys that each ask again once they were served, as soon as `pause` says; their waits and turnarounds. */
  const lives = (withBig: boolean, pause: () => number, millis: number) =>
    Effect.gen(function*() {
      const waits: Array<number> = []
      const turnarounds: Array<number> = []
      if (withBig) yield* backlog("big", BACKLOG, Effect.suspend(() => Effect.sleep(random.int(5, 15))))
      yield* Effect.forEach(Arr.range(1, 999), (i) =>
        Effect.forkChild(Effect.forever(Effect.gen(function*() {
          yield* Effect.sleep(pause())
          const submitted = yield* Clock.currentTimeMillis
          yield* Task.make(
            "light",
            Effect.gen(function*() {
              waits.push((yield* Clock.currentTimeMillis) - submitted)
              yield* Effect.sleep(random.int(5, 15))
            }),
            { key: `key ${i}` }
          )
          turnarounds.push((yield* Clock.currentTimeMillis) - submitted)
        }))))
      yield* TestClock.adjust(millis)
      return { wait: quantile(waits, 0.99), turnaround: quantile(turnarounds, 0.99), count: waits.length }
    }).pipe(Effect.provide(pool(16, { interruptTimeout: 0 })), Effect.scoped)

  it.effect(
    "where all are busy, the 99th percentile of a light key's wait is at most twice that without the big one",
    () =>
      Effect.gen(function*() {
        const pause = () => random.int(1, 3)
        const without = yield* lives(false, pause, 6000)
        const beside = yield* lives(true, pause, 6000)
        assert.isAbove(without.count, 3000)
        assert.isAtMost(beside.wait, 2 * without.wait)
      }),
    MINUTES
  )

  it.effect(
    "where the light ones leave half of it idle, what they wait for is done at most twice as late",
    () =>
      Effect.gen(function*() {
        const pause = () => random.int(0, 2500)
        const without = yield* lives(false, pause, 6000)
        const beside = yield* lives(true, pause, 6000)
        assert.isAbove(without.count, 2000)
        assert.isAtMost(beside.turnaround, 2 * without.turnaround)
        // No more than one body, for the next slot.
        assert.isAtMost(beside.wait, 15)
      }),
    MINUTES
  )
})

describe("a key", () => {
  it.effect("is charged the weight its runs take, and no more than the pool has", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      yield* blockers(4, latch)
      const taken = { a: 0, b: 0, c: 0 }
      const start = (key: "a" | "b" | "c", weight: number) =>
        Task.fork(
          Task.make(
            key,
            Effect.andThen(Effect.sync(() => void (taken[key] += Math.min(4, weight))), Effect.sleep(10)),
            {
              key,
              weight
            }
          )
        )
      for (let i = 0; i < 600; i++) yield* start("a", 1)
      for (let i = 0; i < 300; i++) yield* start("b", 2)
      for (let i = 0; i < 150; i++) yield* start("c", 1000)
      yield* latch.open
      yield* TestClock.adjust(2500)
      const all = taken.a + taken.b + taken.c
      assert.isAbove(all, 700)
      for (const key of ["a", "b", "c"] as const) {
        // Small ones fill what a big one leaves while the rest of the pool comes free for it.
        assert.isAtMost(Math.abs(taken[key] / all - 1 / 3), 0.08, JSON.stringify(taken))
      }
    }).pipe(Effect.provide(pool(4, { interruptTimeout: 0 }))))

  it.effect("shares a tag as it shares the pool, for runs and for withSlot", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const job = (key: string) => Effect.andThen(Effect.sync(() => void order.push(key)), Effect.sleep(10))
      const slots = (key: string, count: number) =>
        Effect.forEach(Arr.range(1, count), () =>
          Effect.forkDetach(Concurrency.withSlot({ tags: ["slots"], key })(job(`slot ${key}`))))
      yield* slots("a", 100)
      yield* quiet
      yield* slots("b", 10)
      for (let i = 0; i < 100; i++) {
        yield* Task.fork(Task.make("a", job("run a"), { tags: ["runs"], key: "a" }))
      }
      for (let i = 0; i < 10; i++) {
        yield* Task.fork(Task.make("b", job("run b"), { tags: ["runs"], key: "b" }))
      }
      yield* TestClock.adjust(250)
      for (const what of ["slot", "run"]) {
        const first = order.filter((one) =>
          one.startsWith(what)
        ).slice(0, 22)
        assert.strictEqual(first.filter((one) => one === `${what} b`).length, 10, first.join())
      }
      yield* TestClock.adjust("1 minute")
    }).pipe(Effect.provide(pool("unbounded", { tagLimits: { slots: 1, runs: 1 } }))))

  it.effect("that was served is not put off for ever by new ones that come and go", () =>
    Effect.gen(function*() {
      const done: Array<string> = []
      let fresh = 0
      const job = (name: string, key: string) =>
        Task.fork(Task.make(name, Effect.andThen(Effect.sleep(10), Effect.sync(() => void done.push(name))), { key }))
      yield* job("first", "tenant")
      yield* job("second", "tenant")
      yield* job("third", "tenant")
      // Every ten milliseconds two customers nobody has seen, on a slot that serves one.
      const customers = yield* Effect.forkChild(Effect.forever(Effect.andThen(
        Effect.suspend(() => Effect.andThen(job("new", `customer ${fresh++}`), job("new", `customer ${fresh++}`))),
        Effect.sleep(10)
      )))
      yield* TestClock.adjust("5 seconds")
      const [second, third] = [done.indexOf("second"), done.indexOf("third")]
      assert.isTrue(second >= 0 && third >= 0, `${second} ${third} of ${done.length}`)
      yield* Fiber.interrupt(customers)
    }).pipe(Effect.provide(pool(1, { interruptTimeout: 0 }))))

  it.effect("is neither remembered nor in debt for what it did while only somebody behind a pause waited", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const probe = yield* Task.fork(Task.make("paused", Effect.void, { tags: ["paused"], key: "paused" }))
      const job = (key: string) =>
        Task.make("job", Effect.andThen(Effect.sync(() => void order.push(key)), Effect.sleep(10)), { key })
      yield* quiet
      for (let i = 0; i < 500; i++) {
        const runs = [yield* Task.fork(job("often")), yield* Task.fork(job(`once ${i}`))]
        yield* TestClock.adjust(10)
        yield* TaskRun.awaitAll(runs)
      }
      assert.isAtMost(keysKnown(probe), 5)
      for (let i = 0; i < 500; i++) {
        const run = yield* Task.fork(job(`alone ${i}`))
        yield* TestClock.adjust(10)
        yield* TaskRun.join(run)
      }
      assert.isAtMost(keysKnown(probe), 10)
      order.length = 0
      yield* Task.fork(job("holder"))
      yield* Task.fork(job("holder"))
      for (let i = 0; i < 40; i++) {
        yield* Task.fork(job("new"))
        yield* Task.fork(job("often"))
      }
      yield* TestClock.adjust(200)
      assert.isAtLeast(order.slice(0, 30).filter((key) => key === "often").length, 10, order.join())
      yield* Concurrency.resume("paused")
      yield* TestClock.adjust("1 minute")
      yield* TaskRun.join(probe)
    }).pipe(
      (effect) => Effect.andThen(Concurrency.pause("paused"), effect),
      Effect.provide(pool(2, { interruptTimeout: 0 }))
    ))

  it.effect("that comes back has no credit for the time it was away, and no debt", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const job = (key: string) =>
        Task.fork(Task.make(key, Effect.andThen(Effect.sync(() => void order.push(key)), Effect.sleep(10)), { key }))
      yield* job("b")
      for (let i = 0; i < 200; i++) yield* job("a")
      yield* TestClock.adjust(1000)
      order.length = 0
      for (let i = 0; i < 30; i++) yield* job("b")
      yield* TestClock.adjust(400)
      const first = order.slice(0, 40)
      assert.isAtMost(Math.abs(first.filter((key) => key === "b").length - 20), 1)
      assert.isFalse(/(b){3}/.test(first.join("")))
    }).pipe(Effect.provide(pool(1, { interruptTimeout: 0 }))))

  it.effect("never runs more than keyLimit at once, and holds up nobody else", () =>
    Effect.gen(function*() {
      const running = new Map<string, number>()
      let most = 0
      const job = (key: string, weight: number) => {
        const move = (by: number) =>
          Effect.sync(() => {
            const now = (running.get(key) ?? 0) + by
            running.set(key, now)
            most = Math.max(most, now)
          })
        const busy = Effect.suspend(() => Effect.sleep(random.int(1, 20)))
        return Task.make(
          key,
          Effect.acquireUseRelease(move(weight), () => busy, () => move(-weight)),
          { key, weight }
        )
      }
      const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
      for (let i = 0; i < 500; i++) runs.push(yield* Task.fork(job("big", random.int(1, 3))))
      yield* quiet
      assert.isAtMost(running.get("big")!, 3)
      for (let i = 0; i < 300; i++) {
        runs.push(yield* Task.fork(job(`key ${random.int(1, 40)}`, random.int(1, 3))))
        if (random.chance(0.1)) yield* random.pick(runs).interrupt
        yield* TestClock.adjust(random.int(0, 3))
      }
      const other = yield* Task.fork(job("other", 1))
      yield* quiet
      yield* TestClock.adjust(200)
      assert.strictEqual(yield* tagOf(other), "Finished")
      yield* TestClock.adjust("1 minute")
      yield* TaskRun.awaitAll(runs)
      assert.strictEqual(most, 3)
      for (const count of running.values()) assert.strictEqual(count, 0)
    }).pipe(Effect.provide(pool(24, { keyLimit: 3 }))))

  it.effect("at its keyLimit lends to its children, at any depth", () =>
    Effect.gen(function*() {
      const nested = (depth: number): Task.Task<number> =>
        Task.make(
          "nested",
          depth === 0
            ? Effect.succeed(1)
            : Effect.map(Task.all([nested(depth - 1), nested(depth - 1)]), ([a, b]) => a + b)
        )
      assert.strictEqual(yield* Task.withKey("tenant")(nested(5)), 32)
    }).pipe(Effect.provide(pool(4, { keyLimit: 1 }))))

  it.effect("at its keyLimit takes back what it lent from that limit, not from another", () =>
    Effect.gen(function*() {
      const [outside, inside] = [yield* Latch.make(), yield* Latch.make()]
      const lends = Effect.andThen(Concurrency.lend(outside.await), inside.await)
      const lender = yield* Task.fork(Task.make("lender", lends, { key: "k" }))
      yield* quiet
      const other = yield* Task.fork(Task.make("other", inside.await, { key: "k" }))
      yield* quiet
      yield* outside.open
      yield* quiet
      assert.deepStrictEqual([yield* tagOf(lender), yield* tagOf(other)], ["Suspended", "Running"])
      yield* inside.open
      yield* TaskRun.awaitAll([lender, other])
      assert.isAtMost(keysKnown(lender), 2)
    }).pipe(Effect.provide(pool(4, { keyLimit: 1 }))))

  it.effect("says so when it waits for its keyLimit, and more than that is refused", () =>
    Effect.gen(function*() {
      const holder = yield* Task.fork(Task.make("holder", Effect.never, { key: "k" }))
      const waiting = yield* Task.fork(Task.make("waiting", Effect.never, { key: "k" }))
      yield* quiet
      assert.deepStrictEqual(yield* waiting.state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "keyLimit" }] })
      yield* Task.make("other", Effect.void, { key: "other" })
      yield* Task.make("none", Effect.void)
      yield* holder.interrupt
      yield* quiet
      assert.strictEqual(yield* tagOf(waiting), "Running")
    }).pipe(Effect.provide(pool(4, { keyLimit: 1, interruptTimeout: 0 }))))

  for (const keyLimit of [undefined, 2]) {
    it.effect(`is forgotten once it is idle; keyLimit ${keyLimit}`, () =>
      Effect.gen(function*() {
        const probe = yield* Task.fork(Task.make("probe", Effect.never))
        const job = (key: string) =>
          Task.fork(Task.make("job", Effect.suspend(() => Effect.sleep(random.int(0, 9))), { key }))
        // None of them waits.
        for (let i = 0; i < 2000; i++) {
          yield* job(`idle ${i}`)
          yield* job(`idle ${i} too`)
          yield* TestClock.adjust(10)
        }
        assert.isAtMost(keysKnown(probe), 5)
        // All of them do.
        const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
        for (let i = 0; i < 20_000; i++) runs.push(yield* job(`busy ${i % 7000}`))
        assert.isAtMost(keysKnown(probe), 7001)
        for (const run of runs) if (random.chance(0.3)) yield* run.interrupt
        yield* TestClock.adjust("2 minutes")
        yield* TaskRun.awaitAll(runs)
        assert.isAtMost(keysKnown(probe), 5)
        // Refused and dropped, and waiting only to be given up.
        for (let i = 0; i < 500; i++) {
          const key = `gone ${i}`
          yield* Effect.exit(Task.make("refused", Effect.void, { key, tags: ["shut"] }))
          yield* Effect.exit(Task.make("full", Effect.void, { key, weight: 9, whenFull: "fail" }))
          yield* Effect.exit(Task.make("drop", Effect.void, { key, weight: 9, whenFull: "drop" }))
          yield* (yield* job(key)).interrupt
        }
        yield* TestClock.adjust("1 minute")
        assert.isAtMost(keysKnown(probe), 5)
      }).pipe(Effect.provide(pool(9, { keyLimit, interruptTimeout: 0, tagLimits: { shut: 0 } }))), 60_000)
  }

  it.effect("of a withSlot is forgotten too", () =>
    Effect.gen(function*() {
      const { regions } = (yield* Concurrency.Concurrency) as unknown as {
        readonly regions: { readonly keys: { readonly size: number } }
      }
      const slot = (key: string, demand: Concurrency.Demand = {}) =>
        Concurrency.withSlot({ tags: ["db"], key, ...demand })
      for (let i = 0; i < 500; i++) yield* slot(`key ${i}`)(Effect.void)
      for (let i = 0; i < 500; i++) yield* Effect.forkDetach(slot(`key ${i}`)(Effect.sleep(5)))
      yield* quiet
      for (let i = 0; i < 500; i++) {
        yield* Effect.exit(slot(`full ${i}`, { whenFull: "fail" })(Effect.void))
        yield* Concurrency.withSlotIfAvailable({ tags: ["db"], key: `not ${i}` })(Effect.void)
      }
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([(yield* usage("db")).active, (yield* usage("db")).waiting], [0, 0])
      assert.isAtMost(regions.keys.size, 2)
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 2 } }))))

  for (const bad of [0, -1, NaN, Infinity]) {
    it.effect(`of weight ${bad} is a defect that names it`, () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(Task.make("task", Effect.void, { key: "k" }))
        assert.include(String(exit), "keyWeight")
        yield* Task.make("other", Effect.void)
      }).pipe(Effect.provide(pool(1, { keyWeight: () => bad }))))
  }
})

describe("a run that needs the whole pool", () => {
  for (const size of [1, 2, 3, 4, 7, 16, 64, 100]) {
    for (const keyed of [false, true]) {
      it.effect(`of ${size} starts within (64 / ${size} rounded up + 1) of the longest body among small ones${keyed ? " of other keys" : ""}`, () =>
        Effect.gen(function*() {
          const longest = 100
          let [next, started] = [0, -1]
          const small = Task.make("small", Effect.suspend(() => Effect.sleep(random.int(1, longest))))
          const feed = Effect.suspend(() => Task.fork(keyed ? Task.withKey(`key ${next++ % 50}`)(small) : small))
          for (let i = 0; i < size; i++) yield* feed
          yield* TestClock.adjust(random.int(0, 50))
          const since = yield* Clock.currentTimeMillis
          const big = yield* Task.fork(Task.make(
            "big",
            Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => started = now - since)),
            keyed ? { weight: size, key: "big" } : { weight: size }
          ))
          const feeder = yield* Effect.forkChild(Effect.forever(Effect.andThen(
            Effect.gen(function*() {
              while ((yield* Scheduler.stats).queued < 2 * size + 1) yield* feed
            }),
            Effect.sleep(1)
          )))
          yield* TestClock.adjust((Math.ceil(64 / size) + 1) * longest)
          yield* quiet
          assert.isAtLeast(started, 0, `${yield* tagOf(big)}`)
          yield* Fiber.interrupt(feeder)
        }).pipe(Effect.provide(pool(size, { interruptTimeout: 0 }))))
    }
  }

  it.effect("of a key served before starts among customers nobody has seen", () =>
    Effect.gen(function*() {
      let [next, started] = [0, -1]
      const small = Task.make("small", Effect.suspend(() => Effect.sleep(random.int(1, 100))))
      const feed = Effect.suspend(() => Task.fork(Task.withKey(`customer ${next++}`)(small)))
      for (let i = 0; i < 8; i++) yield* feed
      yield* Task.fork(Task.withKey("tenant")(small))
      yield* Task.fork(Task.withKey("tenant")(small))
      const feeder = yield* Effect.forkChild(Effect.forever(Effect.andThen(
        Effect.gen(function*() {
          while ((yield* Scheduler.stats).queued < 9) yield* feed
        }),
        Effect.sleep(1)
      )))
      yield* TestClock.adjust("1 second")
      const since = yield* Clock.currentTimeMillis
      yield* Task.fork(Task.make(
        "big",
        Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => started = now - since)),
        { weight: 4, key: "tenant" }
      ))
      yield* TestClock.adjust("10 seconds")
      assert.isAtLeast(started, 0)
      yield* Fiber.interrupt(feeder)
    }).pipe(Effect.provide(pool(4, { interruptTimeout: 0 }))))
})

describe("lines that wait at a limit", () => {
  it("the best is that which a search of all finds, whatever comes, goes, is served or gets an older first", () => {
    for (let round = 0; round < 300; round++) {
      const counter = new Counter("tag", "tag", 1, false)
      const heap = new LineHeap(counter, 1)
      const parked: Array<Line> = []
      const alike = random.chance(0.5)
      // Some keys have several lines: those that were not served with the others sink once they are on top.
      const keys = Array.from({ length: random.int(1, 12) }, (_, i) => ({
        name: `${i}`,
        waiting: 1,
        virtual: 0,
        weight: alike ? 1 : random.int(1, 3)
      }))
      let seq = 1_000_000
      const asks = (line: Line, seq: number) => {
        line.first = { rootSeq: random.chance(0.8) ? seq : random.int(0, seq), depth: random.int(0, 2), seq } as Slot
      }
      const rank = (line: Line) => {
        const { depth, rootSeq, seq } = line.first!
        return [line.resume ? 0 : 1, line.priority, line.key.virtual, rootSeq, -depth, seq]
      }
      const isBefore = (a: ReadonlyArray<number>, b: ReadonlyArray<number>) => {
        const at = a.findIndex((n, i) => n !== b[i])
        return at >= 0 && a[at]! < b[at]!
      }
      for (let step = 0; step < 200; step++) {
        const dice = random.next()
        if (dice < 0.4 || parked.length === 0) {
          const resume = !alike && random.chance(0.1)
          const key = resume ? idleKey : random.pick(keys)
          const line = new Line(
            { counters: [counter], weights: [1], holds: false },
            resume,
            alike ? 20 : random.int(0, 2),
            key
          )
          asks(line, seq++)
          heap.add(line)
          parked.push(line)
        } else if (dice < 0.5) {
          const [line] = parked.splice(random.int(0, parked.length - 1), 1)
          heap.remove(line!)
        } else if (dice < 0.6) {
          const line = random.pick(parked)
          asks(line, random.chance(0.5) ? seq++ : random.int(0, 999_999))
          heap.moved(line)
        } else {
          const best = heap.top()!
          const expected = parked.reduce((a, b) => isBefore(rank(b), rank(a)) ? b : a)
          assert.deepStrictEqual(rank(best), rank(expected))
          const key = keys.find((one) => one === best.key)
          if (key !== undefined) key.virtual += 1 / key.weight
          asks(best, seq++)
          heap.moved(best)
        }
        assert.strictEqual(counter.parked, parked.length)
      }
    }
  })
})
