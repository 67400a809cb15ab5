import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as EffectRandom from "effect/Random"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Job, JobRunner, Scheduler } from "../src/index.ts"
import { Heap } from "../src/queue/internal/MemoryHeap.ts"
import { MemoryStore } from "../src/queue/internal/MemoryStore.ts"
import { job, retry, returned, succeeded } from "../src/queue/internal/SuiteWorld.ts"
import * as JobQueue from "../src/queue/JobQueue.ts"
import { JobStore, type Turned } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import { jobStoreSuite } from "../src/queue/jobStoreSuite.ts"
import * as JobWorker from "../src/queue/JobWorker.ts"
import { leakGuard } from "../src/testing/index.ts"
import { Faults } from "./suites/FaultyStore.ts"
import { quiet, turns } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"

jobStoreSuite("JobStoreMemory", {
  layer: (_, options) => JobStoreMemory.layer(options),
  advance: (millis) => TestClock.adjust(millis)
})

const SEED = Random.seedOf("JobStoreMemory")
const STORMS = Number(process.env["STORMS"] ?? 15)

// ─── what it keeps

describe("JobStoreMemory keeps", () => {
  const retention = { succeeded: 0, cancelled: 0, dead: 50 }

  /** How much there is of everything. */
  const sizes = (of: object): Record<string, number> =>
    Object.fromEntries(
      Object.entries(of).flatMap(([name, value]) =>
        value instanceof Map || value instanceof Set
          ? [[name, value.size]]
          : value instanceof Heap
          ? [[name, value.isEmpty ? 0 : 1]]
          : []
      )
    )

  it("nothing of what has ended, nor of lines, keys, tags and queues that nobody uses", () => {
    const random = Random.make(SEED)
    const memory = new MemoryStore(retention)
    let now = 0
    const turned = (turn: unknown): Turned => turn as Turned
    for (let round = 0; round < 200; round++) {
      const { worker } = memory.join({ name: "it", lease: 100 }, now)
      memory.setLimit({ tag: "shut", limit: round % 2, rates: [], enabled: true }, {}, now)
      memory.setLimit({ tag: "p0", limit: 9, rates: [{ count: 1, per: 20, burst: 3 }], enabled: true }, {}, now)
      memory.pauseLimit(`p${round % 3}`, random.int(0, 20), now)
      memory.setQueue("capped", { keyLimit: 1 }, {})
      memory.enqueue(
        Array.from({ length: random.int(1, 20) }, (_, i) =>
          job(`n${random.int(0, 3)}`, {
            queue: random.pick(["capped", `q${round}`, "default"]),
            tags: random.some(["shut", `t${round}`, "p0", "p1"], 0.4),
            key: random.pick([undefined, "k", `k${round}`]),
            weight: random.int(1, 3),
            due: random.pick([undefined, { in: random.int(0, 30) }]),
            expires: random.pick([undefined, undefined, { in: random.int(0, 30) }]),
            maxCrashes: 2,
            unique: random.pick([undefined, {
              key: `u${i % 4}`,
              while: random.pick(["waiting", "active", { window: 20 }] as const),
              conflict: random.pick(["ignore", "replace"] as const)
            }])
          })),
        now
      )
      const { jobs } = turned(memory.turn({ worker, ends: [], want: 10, filter: {} }, now))
      now += random.int(0, 20)
      const ends = random.some(jobs, 0.6).map((claim) => random.pick([succeeded, returned, retry])(claim))
      memory.turn({ worker, ends, want: 3, filter: { names: ["n1"] } }, now)
      if (random.chance(0.5)) memory.leave(worker, now)
    }
    memory.removeLimit("shut", now)
    memory.removeLimit("p0", now)
    memory.setQueue("capped", { keyLimit: "unbounded" }, {})
    for (let more = true; more;) {
      now += 200
      const { worker } = memory.join({ name: "it", lease: 100 }, now)
      const { jobs } = turned(memory.turn({ worker, ends: [], want: 1000, filter: {} }, now))
      memory.turn({ worker, ends: jobs.map((claim) => succeeded(claim)), want: 0, filter: {} }, now)
      memory.leave(worker, now)
      memory.prune(now)
      more = jobs.length > 0
    }
    // Its settings are there to stay.
    assert.deepStrictEqual(memory.counts.map(({ queue }) => queue), ["capped"])
    const left = sizes(memory)
    assert.deepStrictEqual(left, { ...Object.fromEntries(Object.keys(left).map((name) => [name, 0])), queues: 1 })
    const queues: ReadonlyMap<string, object> = Object(memory).queues
    assert.deepStrictEqual(sizes(queues.get("capped")!), { lines: 0, keys: 0 })
  })

  it("what is blocked out of the way of what is not, however much there is", () => {
    const cost = (blocked: number): number => {
      const memory = new MemoryStore(retention)
      const { worker } = memory.join({ name: "it", lease: 1e9 }, 0)
      memory.setLimit({ tag: "shut", limit: 0, rates: [], enabled: true }, {}, 0)
      memory.enqueue(
        Array.from({ length: blocked }, (_, i) => job("blocked", { tags: ["shut"], key: `${i}`, priority: i % 5 })),
        0
      )
      memory.turn({ worker, ends: [], want: 1, filter: {} }, 0)
      memory.enqueue(Array.from({ length: 2000 }, () => job("free")), 0)
      const began = performance.now()
      for (let i = 0; i < 2000; i++) memory.turn({ worker, ends: [], want: 1, filter: {} }, 0)
      return performance.now() - began
    }
    cost(100)
    const [few, many] = [cost(100), cost(50_000)]
    // Were they looked at, it would be hundreds of times as much.
    assert.isBelow(many, 20 * few + 100)
  })
})

// ─── with workers

const Work = Job.make("work", {
  payload: { n: Schema.Int, millis: Schema.Int, fails: Schema.Int },
  error: Schema.String,
  retry: { times: 2 }
})

const limits = { a: 2, b: 3 } as const
const keyLimit = 2

interface Demand {
  readonly tags: ReadonlyArray<string>
  readonly key: string
  readonly weight: number
}

interface Run extends Demand {
  readonly n: number
  readonly since: number
  until: number
  isDone: boolean
}

/** What the jobs say of themselves. */
class Log {
  readonly demands = new Map<number, Demand>()
  readonly runs: Array<Run> = []

  readonly handler = Work.toLayer(({ fails, millis, n }) =>
    Effect.gen({ self: this }, function*() {
      const run: Run = {
        ...this.demands.get(n)!,
        n,
        since: yield* Clock.currentTimeMillis,
        until: Infinity,
        isDone: false
      }
      this.runs.push(run)
      yield* Effect.sleep(Duration.millis(millis)).pipe(
        Effect.onExit((exit) =>
          Effect.map(Clock.currentTimeMillis, (now) => {
            run.until = now
            run.isDone = Exit.isSuccess(exit)
          })
        )
      )
      const attempt = (yield* JobWorker.CurrentJob)!.attempt
      if (attempt <= fails) {
        run.isDone = false
        return yield* Effect.fail("not yet")
      }
    })
  )

  done(n: number): number {
    return this.runs.filter((run) => run.n === n && run.isDone).length
  }

  /** Who ran when somebody began: a lease that runs out ends here and there in the same instant, and that is no overlap. */
  get wrong(): ReadonlyArray<string> {
    return this.runs.flatMap(({ key, n, since }) => {
      const running = this.runs.filter((run) => run.since <= since && since < run.until)
      const of = (which: (run: Run) => boolean) => running.filter(which).reduce((sum, { weight }) => sum + weight, 0)
      const active = Object.entries(limits).map(([tag, limit]) => [tag, of(({ tags }) => tags.includes(tag)), limit])
      return [...active, [`key ${key}`, of((run) => run.key === key), keyLimit] as const]
        .filter(([, active, limit]) => active! > limit!)
        .map(([what, active]) => `${active} of ${what} at ${since}`)
        .concat(running.filter((run) => run.n === n).length > 1 ? [`${n} runs twice at ${since}`] : [])
    })
  }
}

const worker = (log: Log, faults: Faults, isSlow: boolean) =>
  JobWorker.layer({ concurrency: 4, prefetch: 0, lease: 300, gracePeriod: 50 }).pipe(
    Layer.provide(Layer.mergeAll(log.handler, JobRunner.layerLocal)),
    Layer.provide(Scheduler.layer({ maxParallelism: 100 })),
    Layer.provide(isSlow ? Layer.provide(faults.layer, slow) : faults.layer)
  )

const store = JobQueue.layer().pipe(Layer.provideMerge(JobStoreMemory.layer({
  tagLimits: limits,
  queues: { default: { keyLimit }, bounded: { maxQueued: 5 } }
})))

const quietly = Effect.provide(Logger.layer([]))

/** A store that takes its time to hear, and to answer. */
const slow: Layer.Layer<JobStore, never, JobStore> = Layer.effect(
  JobStore,
  Effect.map(JobStore, (fast) => {
    const late = <A, E>(effect: Effect.Effect<A, E>) => Effect.andThen(turns(2), Effect.tap(effect, () => turns(3)))
    return {
      ...fast,
      join: (joining) => late(fast.join(joining)),
      renew: (worker) => late(fast.renew(worker)),
      turn: (turn) => late(fast.turn(turn)),
      leave: (worker) => late(fast.leave(worker))
    }
  })
)

/** What is under way gets there before the clock moves on. */
const pass = Effect.fnUntraced(function*(millis: number) {
  for (let rest = millis; rest >= 0; rest -= 50) {
    yield* quiet
    yield* TestClock.adjust(Math.min(50, rest))
  }
})

/** Many put in, many take out, and all that can happen happens meanwhile. */
const storm = (seed: number, isFaulty: boolean) =>
  Effect.gen(function*() {
    const random = Random.make(seed)
    const log = new Log()
    const context = yield* Effect.context<JobStore>()
    const jobStore = Context.get(context, JobStore)
    const ids = new Map<number, string>()
    const cancelled = new Set<number>()
    let next = 0
    const put = Effect.gen(function*() {
      const batch = Array.from({ length: random.int(1, 6) }, () => {
        const n = next++
        const demand = {
          tags: random.some(["a", "b"], 0.4),
          key: random.pick(["x", "y", `${n}`]),
          weight: random.int(1, 2)
        }
        log.demands.set(n, demand)
        return { n, demand }
      })
      for (const { demand, n } of batch) {
        const { id } = yield* Work.enqueue(
          { n, millis: random.pick([0, 1, 5, 40]), fails: random.pick([0, 0, 0, 1, 2]) },
          {
            ...demand,
            priority: random.pick(["high", "normal", "low"] as const),
            delay: random.pick([0, 0, 7, 90]),
            queue: "default"
          }
        )
        ids.set(n, id)
      }
    })
    const workers: Array<readonly [Scope.Closeable, Faults]> = []
    const hire = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const faults = new Faults()
      yield* Layer.buildWithScope(Layer.fresh(worker(log, faults, random.chance(0.5))), scope)
      workers.push([scope, faults])
    })
    yield* hire
    const stops: Array<Fiber.Fiber<void>> = []
    for (let step = 0; step < 60; step++) {
      const dice = random.next()
      if (dice < 0.4) yield* put
      else if (dice < 0.5 && workers.length < 4) yield* hire
      else if (dice < 0.57 && workers.length > 0) {
        const [scope] = workers.splice(random.int(0, workers.length - 1), 1)[0]!
        stops.push(yield* Effect.forkDetach(Scope.close(scope, Exit.void)))
      } else if (dice < 0.67 && ids.size > 0) {
        const n = random.pick([...ids.keys()])
        if (yield* jobStore.cancel(ids.get(n)!)) cancelled.add(n)
      } else if (dice < 0.77 && isFaulty && workers.length > 0) {
        const [, faults] = random.pick(workers)
        const fault = random.pick([undefined, "before", "after"] as const)
        if (random.chance(0.5)) faults.turn = fault
        else faults.renew = fault
      } else yield* pass(random.pick([0, 1, 3, 20, 150]))
    }
    for (const [, faults] of workers) faults.turn = faults.renew = undefined
    if (workers.length === 0) yield* hire
    for (let i = 0; i < 200 && (yield* left(jobStore)) > 0; i++) yield* pass(500)
    assert.strictEqual(yield* left(jobStore), 0)
    yield* Effect.forEach(workers, ([scope]) => Effect.forkDetach(Scope.close(scope, Exit.void))).pipe(
      Effect.tap(() => pass(1000)),
      Effect.flatMap((fibers) => Effect.forEach([...fibers, ...stops], Fiber.join))
    )
    // A worker that is stopped while it joins leaves a lease that nobody renews.
    yield* pass(300)
    assert.deepStrictEqual(log.wrong, [])
    assert.isTrue(log.runs.every(({ until }) => until < Infinity))
    assert.deepStrictEqual((yield* jobStore.limits).map(({ active }) => active), [0, 0])
    assert.deepStrictEqual(yield* jobStore.workers, [])
    for (const [n, id] of ids) {
      const { state } = (yield* JobQueue.get(id).pipe(Effect.map((record) =>
        record._tag === "Some" ? record.value : undefined
      )))!
      const done = log.done(n)
      const problem = `${n} is ${state}, and was done ${done} times`
      if (state === "Succeeded") assert.isAtLeast(done, 1, problem)
      // Only what ended with the lease of its worker is done again.
      if (!isFaulty) assert.isAtMost(done, 1, problem)
      if (state === "Cancelled") assert.isTrue(cancelled.has(n), problem)
      else assert.strictEqual(state, "Succeeded", problem)
    }
  })

const left = (jobStore: JobStore["Service"]) =>
  Effect.map(
    jobStore.counts,
    (counts) => counts.reduce((sum, { active, scheduled, waiting }) => sum + active + scheduled + waiting, 0)
  )

describe("JobStoreMemory with workers", () => {
  for (const isFaulty of [false, true]) {
    it.effect(
      `a storm ${isFaulty ? "with a store that comes and goes " : ""}loses nothing and exceeds nothing`,
      () =>
        Effect.forEach(
          Array.from({ length: STORMS }, (_, i) => SEED + i),
          (seed) =>
            storm(seed, isFaulty).pipe(
              Effect.provide(store),
              leakGuard,
              EffectRandom.withSeed(seed),
              Effect.catchDefect((cause) => Effect.die(new Error(`SEED=${seed} STORMS=1: ${cause}`, { cause })))
            ),
          { discard: true }
        ).pipe(quietly),
      30_000 + STORMS * 1000
    )
  }

  it.effect("who waits for room in a queue goes on in the instant there is some", () =>
    Effect.gen(function*() {
      const jobStore = yield* JobStore
      const Any = Job.make("any")
      const put = Any.enqueueAll([undefined, undefined, undefined], { queue: "bounded" })
      yield* put
      const waits = yield* Effect.forkChild(put)
      yield* TestClock.adjust(0)
      const { worker } = yield* jobStore.join({ name: "it", lease: 1000 })
      yield* jobStore.turn({ worker, ends: [], want: 1, filter: {} })
      yield* TestClock.adjust(0)
      assert.isDefined(waits.pollUnsafe())
    }).pipe(Effect.provide(store)))

  it.effect("a worker that is full sleeps, though something comes due", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let reads = 0
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        monotonicTimeNanosUnsafe: () => {
          reads++
          return clock.monotonicTimeNanosUnsafe()
        }
      })
      const Long = Job.make("long")
      const full = JobWorker.layer({ concurrency: 1, lease: "1 hour" }).pipe(
        Layer.provide(Layer.mergeAll(Long.toLayer(() => Effect.sleep("10 seconds")), JobRunner.layerLocal)),
        Layer.provide(Scheduler.layer({ maxParallelism: 1 })),
        Layer.provide(Layer.succeed(Clock.Clock, counting))
      )
      yield* Effect.gen(function*() {
        yield* Long.enqueue(undefined)
        yield* Long.enqueue(undefined, { delay: "1 second" })
        yield* TestClock.adjust("9 seconds")
        assert.isBelow(reads, 100)
        yield* TestClock.adjust("11 seconds")
        assert.strictEqual(yield* left(yield* JobStore), 0)
      }).pipe(Effect.provide(full))
    }).pipe(Effect.provide(store), quietly))

  it.effect(
    "cancelled and stopped at any two instants of its life, a job ends once and for all",
    () =>
      Effect.gen(function*() {
        const outcomes = new Set<string>()
        for (let cancelAt = 0; cancelAt < 60; cancelAt++) {
          for (let stopAt = 0; stopAt < 30; stopAt += 1 + cancelAt % 3) {
            outcomes.add(yield* life(cancelAt, stopAt).pipe(Effect.provide(store), leakGuard))
          }
        }
        assert.deepStrictEqual([...outcomes].sort(), [
          "Cancelled, begun 0, done 0",
          "Cancelled, begun 1, done 0",
          "Cancelled, begun 2, done 0",
          "Succeeded, begun 1, done 1",
          "Succeeded, begun 2, done 1"
        ])
      }).pipe(quietly),
    60_000
  )
})

/** Of a job that is cancelled in one turn of the dispatcher, and its worker stopped in another; then there is a second worker. */
const life = (cancelAt: number, stopAt: number) =>
  Effect.gen(function*() {
    const jobStore = yield* JobStore
    let begun = 0
    let done = 0
    const Brief = Job.make("brief")
    const handler = Brief.toLayer(() =>
      Effect.gen(function*() {
        begun++
        yield* turns(8)
        done++
      })
    )
    const hired = (scope: Scope.Scope) =>
      Layer.buildWithScope(
        JobWorker.layer().pipe(
          Layer.provide(Layer.mergeAll(handler, JobRunner.layerLocal)),
          Layer.provide(Scheduler.layer({ maxParallelism: 1 })),
          Layer.provide(slow)
        ),
        scope
      )
    const [first, second] = [yield* Scope.make(), yield* Scope.make()]
    yield* hired(first)
    const { id } = yield* Brief.enqueue(undefined)
    const succession = yield* Effect.forkChild(
      turns(stopAt).pipe(Effect.andThen(Scope.close(first, Exit.void)), Effect.andThen(hired(second)))
    )
    yield* turns(cancelAt)
    const wasCancelled = yield* jobStore.cancel(id)
    yield* Fiber.join(succession)
    yield* TestClock.adjust("1 second")
    yield* Scope.close(second, Exit.void)
    const { attempt, state } = yield* Effect.map(JobQueue.get(id), Option.getOrThrow)
    const outcome = `${state}, begun ${begun}, done ${done}`
    const problem = `cancelled at ${cancelAt}, stopped at ${stopAt}: ${outcome}, attempt ${attempt}`
    assert.include(["Succeeded", "Cancelled"], state, problem)
    // What had ended by then was not cancelled; what a stop gave back was no attempt.
    if (!wasCancelled) assert.strictEqual(state, "Succeeded", problem)
    assert.isAtMost(attempt, 1, problem)
    return outcome
  })
