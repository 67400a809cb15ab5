/** What the seeds have a function for and Effect says in a line: that line, with tasks on a scheduler. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Array, Cache, Cause, Context, Effect, Fiber, Latch, Layer, Option, PubSub, Semaphore, Stream } from "effect"
import { ChildProcess } from "effect/process"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Supervisor, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as Processes from "./suites/Processes.ts"
import { quiet } from "./suites/Quiet.ts"

layer(Scheduler.layer({ maxParallelism: 2, tagLimits: { db: 1 } }))("plain Effect", (it) => {
  it.effect("Stream.mapEffect of a task is a pipeline, in order, under the limits", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const double = Task.fn("double")((n: number) => gauge.inside(Effect.as(Effect.sleep(n), n * 2)))
      const fiber = yield* Stream.make(5, 4, 3, 2, 1).pipe(
        Stream.mapEffect(double, { concurrency: 5 }),
        Stream.filter((n) => n > 2),
        Stream.runCollect,
        Effect.forkChild
      )
      yield* quiet
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [10, 8, 6, 4])
      assert.strictEqual(gauge.peak, 2)
    }))

  it.effect("Effect.cachedWithTTL keeps a task's result for a while", () =>
    Effect.gen(function*() {
      let runs = 0
      const rates = Task.make("rates", Effect.sync(() => ++runs))
      const cached = yield* Effect.cachedWithTTL(rates, "1 minute")
      assert.deepStrictEqual(yield* Effect.all([cached, cached], { concurrency: 2 }), [1, 1])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* cached, 2)
    }))

  it.effect("Cache keeps a task's results by key", () =>
    Effect.gen(function*() {
      const looked: Array<string> = []
      const rate = Task.fn("rate", { tags: ["db"] })((of: string) => Effect.sync(() => looked.push(of)))
      const rates = yield* Cache.make({ lookup: rate, capacity: 10, timeToLive: "1 minute" })
      yield* Effect.forEach(["EUR", "USD", "EUR", "EUR"], (of) => Cache.get(rates, of), { concurrency: 4 })
      assert.deepStrictEqual(looked.toSorted(), ["EUR", "USD"])
    }))

  it.effect("Semaphore is a local lock inside tasks", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const lock = Semaphore.makeUnsafe(1)
      const write = Task.make("write", lock.withPermit(gauge.inside(Effect.yieldNow)))
      yield* Task.all(Array.replicate(write, 5))
      assert.strictEqual(gauge.peak, 1)
    }))

  it.effect("Latch lets tasks wait for an event, and lend gives their slots away meanwhile", () =>
    Effect.gen(function*() {
      const ready = Latch.makeUnsafe()
      const wait = Task.make("wait", Effect.as(Concurrency.lend(ready.await), "ready"))
      const runs = yield* Effect.replicateEffect(Task.fork(wait), 3)
      assert.strictEqual(yield* Task.make("work", Effect.succeed("work")), "work")
      yield* ready.open
      assert.deepStrictEqual(yield* Effect.forEach(runs, TaskRun.join), ["ready", "ready", "ready"])
    }))

  it.effect("withSlotIfAvailable is acquire-or-fail", () =>
    Effect.gen(function*() {
      const query = Concurrency.withSlotIfAvailable({ tags: ["db"] })
      const latch = Latch.makeUnsafe()
      const first = yield* Effect.forkChild(query(Effect.as(latch.await, "first")))
      yield* quiet
      assert.deepStrictEqual(yield* query(Effect.succeed("second")), Option.none())
      yield* latch.open
      assert.deepStrictEqual(yield* Fiber.join(first), Option.some("first"))
      assert.deepStrictEqual(yield* query(Effect.succeed("third")), Option.some("third"))
    }))

  it.effect("PubSub tells several tasks the same news", () =>
    Effect.gen(function*() {
      const news = yield* PubSub.unbounded<string>()
      const reader = Task.make(
        "reader",
        Effect.gen(function*() {
          const subscription = yield* PubSub.subscribe(news)
          return yield* Concurrency.lend(PubSub.take(subscription))
        })
      )
      const runs = yield* Effect.replicateEffect(Task.fork(reader), 3)
      yield* quiet
      yield* PubSub.publish(news, "extra")
      assert.deepStrictEqual(yield* Effect.forEach(runs, TaskRun.join), ["extra", "extra", "extra"])
    }))

  it.effect("Effect.delay outside a task is a delayed start, which holds nothing", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const say = (word: string) => Task.make(word, Effect.sync(() => void order.push(word)), { tags: ["db"] })
      const later = yield* Effect.forkChild(Effect.delay(say("later"), "1 minute"))
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* Scheduler.stats).active, 0)
      yield* say("now")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(later)
      assert.deepStrictEqual(order, ["now", "later"])
    }))

  it.effect("Effect.race of two tasks takes the first success and ends the other run", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      const slow = Task.make("slow", Effect.onInterrupt(Effect.never, () => Effect.sync(() => void ended.push("slow"))))
      const fast = Task.make("fast", Effect.succeed("fast"))
      assert.strictEqual(yield* Effect.race(slow, fast), "fast")
      assert.deepStrictEqual(ended, ["slow"])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }))

  it.effect("a run that waits for another is counted as suspended", () =>
    Effect.gen(function*() {
      const child = Task.make("child", Scheduler.stats)
      const { active, suspended } = yield* Task.make("parent", child)
      assert.deepStrictEqual([active, suspended], [1, 1])
    }))

  it.effect("an idle pool holds nothing: no fiber, no thread, no timer", () =>
    Effect.gen(function*() {
      yield* Task.make("work", Effect.void)
      const { active, queued, suspended } = yield* Scheduler.stats
      assert.deepStrictEqual([active, queued, suspended], [0, 0, 0])
      assert.deepStrictEqual(yield* Scheduler.runs, [])
    }))

  it.effect("Effect.sync in a task is a thread pool's submit, and its handle the future", () =>
    Effect.gen(function*() {
      const run = yield* Scheduler.fork(Effect.sync(() => 6 * 7), { name: "answer" })
      assert.strictEqual(yield* TaskRun.join(run), 42)
    }))
})

layer(Concurrency.layer({ tagLimits: { api: 2 } }))("limits", (it) => {
  it.effect("limits are created, read with their holders, listed and removed", () =>
    Effect.gen(function*() {
      const created = yield* Concurrency.create("small_instance", 10)
      assert.deepStrictEqual([created.tag, created.limit, created.active, created.waiting], [
        "small_instance",
        10,
        0,
        0
      ])
      const held = yield* Task.make("holder", Concurrency.read("small_instance"), { tags: ["small_instance"] })
      const holders = Option.getOrThrow(held).holders
      assert.deepStrictEqual(holders.map((holder) => [holder.name, holder.weight]), [["holder", 1]])
      assert.deepStrictEqual((yield* Concurrency.list).map((limit) => limit.tag).toSorted(), ["api", "small_instance"])
      assert.isTrue(yield* Concurrency.remove("small_instance"))
      assert.isFalse(yield* Concurrency.remove("small_instance"))
      assert.deepStrictEqual(yield* Concurrency.read("small_instance"), Option.none())
    }).pipe(Effect.provide(Scheduler.layer())))
})

class Database extends Context.Service<Database, { readonly url: string }>()("test/Database") {}

layer(Layer.empty)("R and Layers", (it) => {
  it.effect("block waits for the stop, and status tells how it stands", () =>
    Effect.gen(function*() {
      const watcher = yield* Effect.forkChild(Supervisor.block)
      yield* Supervisor.fork(Effect.never, { name: "worker" })
      const before = yield* Supervisor.status
      assert.deepStrictEqual([before.state, before.members.map((member) => member.name)], ["running", ["worker"]])
      const report = yield* Supervisor.shutdown
      assert.deepStrictEqual(yield* Fiber.join(watcher), report)
      yield* Supervisor.awaitEmpty
      assert.strictEqual((yield* Supervisor.status).state, "closed")
    }).pipe(Effect.provide(Supervisor.layer())))

  it.effect("R names a task's dependencies, and a Layer provides them to all", () =>
    Effect.gen(function*() {
      const url = Task.make("url", Effect.map(Database, (database) => database.url))
      const typed: Effect.Effect<Array<string>, never, Database | Scheduler.Scheduler> = Task.forEach([1, 2], () => url)
      const live = Layer.merge(Scheduler.layer(), Layer.succeed(Database, { url: "db://" }))
      assert.deepStrictEqual(yield* Effect.provide(typed, live), ["db://", "db://"])
    }))

  it.effect("a resource entered with the supervisor outlives its fibers", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const say = (word: string) => Effect.sync(() => void order.push(word))
      const database = Layer.effect(
        Database,
        Effect.acquireRelease(
          Effect.succeed({ url: "db://" }),
          () => say("database closed")
        )
      )
      const program = Effect.gen(function*() {
        yield* Supervisor.fork(Effect.onInterrupt(Effect.andThen(Database, Effect.never), () => say("member ended")))
        yield* Effect.yieldNow
      })
      yield* program.pipe(Effect.provide(Layer.provideMerge(Supervisor.layer(), database)))
      assert.deepStrictEqual(order, ["member ended", "database closed"])
    }))
})

layer(Layer.merge(Scheduler.layer({ maxParallelism: 1 }), NodeServices.layer), { excludeTestServices: true })(
  "a command in a task",
  (it) => {
    /** Runs a shell, and keeps its pid when it has printed something. */
    const shell = (name: string, script: string) => {
      const pids: Array<number> = []
      const body = Effect.gen(function*() {
        const command = ChildProcess.make("sh", ["-c", script], { forceKillAfter: "400 millis" })
        const handle = yield* command
        yield* Stream.runHead(handle.stdout)
        pids.push(handle.pid)
        return yield* handle.exitCode
      })
      return { pids, task: Task.make(name, Effect.scoped(body)) }
    }
    const outcomeOf = (run: TaskRun.TaskRun<unknown, unknown>) =>
      Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)

    it.effect("FL-12 a command over its timeout is terminated, and its pid is gone", () =>
      Effect.gen(function*() {
        const { pids, task } = shell("obedient", "echo; exec sleep 1000")
        const run = yield* Task.fork(Task.withTimeout("2 seconds")(task))
        // One slot: this begins when that has been given back.
        const next = yield* Task.fork(Task.make("next", Effect.sync(() => pids.map(Processes.isAlive))))
        assert.isTrue(Cause.isTimeoutError(yield* Effect.flip(TaskRun.join(run))))
        assert.deepStrictEqual(yield* TaskRun.join(next), [false])
        assert.strictEqual(yield* outcomeOf(run), "TimedOut")
      }))

    it.effect("FL-12 a command that does not end is killed after the grace, and its pid is gone", () =>
      Effect.gen(function*() {
        const { pids, task } = shell("deaf", "trap '' TERM; echo; while :; do sleep 0.02; done")
        const run = yield* Task.fork(task)
        yield* Effect.promise(() => Processes.eventually("begun", () => pids.length === 1))
        const before = performance.now()
        yield* run.interrupt
        assert.isAtLeast(performance.now() - before, 395)
        assert.deepStrictEqual(pids.map(Processes.isAlive), [false])
        assert.strictEqual(yield* outcomeOf(run), "Interrupted")
      }))

    it.effect("a command gives what it prints, and how it ended", () =>
      Effect.gen(function*() {
        const { task } = shell("quick", "echo; exit 3")
        assert.strictEqual(yield* task, 3)
      }))
  }
)
