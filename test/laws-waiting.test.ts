/** What must hold, by the numbers of the design: 6 and 7, on what waits. */
// What must not type-check is written down here on purpose.
// @effect-diagnostics missingEffectContext:off
// @effect-diagnostics missingEffectError:off
// @effect-diagnostics floatingEffect:off
// @effect-diagnostics missingReturnYieldStar:off
import { assert, describe, it } from "@effect/vitest"
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Concurrency, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import { elapsed, quiet, turns } from "./suites/Quiet.ts"
import { active, held, outcomeOf, tagOf, usage } from "./suites/Reading.ts"
import * as Refusal from "./suites/Refusal.ts"
import { pool } from "./suites/Runner.ts"

describe("law 6: waiting lends", () => {
  it.effect(
    "a tree that has its turn may wait for what only a run of another scheduler can end, which waits for one behind it",
    () =>
      Effect.gen(function*() {
        const sequential = yield* Scheduler.Scheduler
        const beside = Layer.fresh(Scheduler.layer({ maxParallelism: 1 }))
        const order: Array<string> = []
        const say = (name: string) => Effect.sync(() => void order.push(name))
        const child = Effect.provideService(Task.make("child", say("child")), Scheduler.Scheduler, sequential)
        const [kept, asked] = [yield* Latch.make(), yield* Latch.make()]
        const rooted = (name: string) =>
          Task.fork(Task.make(name, Effect.andThen(kept.await, Concurrency.withSlot({ tags: ["a"] })(say(name)))))
        const roots = [yield* rooted("first"), yield* rooted("second")]
        const inside = Effect.andThen(kept.open, Effect.andThen(asked.await, child))
        const keeping = yield* Effect.forkChild(
          Task.make("keeper", Concurrency.withSlot({ tags: ["a"] })(inside)).pipe(Effect.provide(beside))
        )
        yield* quiet
        assert.strictEqual((yield* usage("a")).waiting, 1)
        yield* asked.open
        yield* Fiber.join(keeping)
        yield* TaskRun.awaitAll(roots)
        assert.deepStrictEqual(order, ["child", "first", "second"])
      }).pipe(
        Effect.provide(Layer.provideMerge(Scheduler.layerSequential, Concurrency.layer({ tagLimits: { a: 1 } })))
      ),
    2_000
  )

  for (
    const [what, wait] of Object.entries<(child: TaskRun.TaskRun<void>) => Effect.Effect<void, never, any>>({
      "was taking the slot back": (child) => TaskRun.join(child),
      "was waiting for a tag and the slot": () => Concurrency.withSlot({ tags: ["b"] })(Effect.never)
    })
  ) {
    it.effect(
      `an attempt that fails while another of its fibers ${what} has the slot of the next one once`,
      () =>
        Effect.gen(function*() {
          const [child, fail, holder, end] = yield* Effect.all(Arr.range(1, 4).map(() => Latch.make()))
          const beside = yield* Task.fork(Task.make("child", child!.await, { tags: ["b"], weight: 2 }))
          const twice = yield* Task.fork(
            Task.make(
              "twice",
              Effect.gen(function*() {
                const { attempt } = yield* TaskRun.CurrentRun
                if (attempt === 2) return yield* end!.await
                yield* Effect.forkChild(wait(beside))
                yield* fail!.await
                return yield* Effect.fail("again")
              }),
              { tags: ["a"] }
            ).pipe(Task.withRetry({ times: 1 }))
          )
          yield* quiet
          const holding = yield* Task.fork(Task.make("holder", holder!.await, { tags: ["a"], weight: 2 }))
          yield* quiet
          yield* child!.open
          yield* quiet
          yield* fail!.open
          yield* quiet
          yield* holder!.open
          yield* TaskRun.awaitAll<unknown, string>([holding, beside])
          yield* quiet
          assert.deepStrictEqual(yield* twice.state, { _tag: "Running", attempt: 2 })
          assert.strictEqual((yield* usage("a")).active, 1)
          yield* end!.open
          yield* TaskRun.awaitAll<unknown, string>([twice])
          yield* quiet
          assert.strictEqual(yield* outcomeOf(twice), "Succeeded")
          assert.deepStrictEqual([(yield* usage("a")).active, (yield* usage("b")).active], [0, 0])
          assert.strictEqual((yield* Scheduler.stats).active, 0)
        }).pipe(
          Effect.provide(
            Scheduler.layer({ maxParallelism: 4 }).pipe(
              Layer.provideMerge(Concurrency.layer({ tagLimits: { a: 2, b: 2 } }))
            )
          )
        ),
      2_000
    )
  }

  it.effect("a run that has ended takes nothing back with a fiber it left behind", () =>
    Effect.gen(function*() {
      const [began, kept] = [yield* Latch.make(), yield* Latch.make()]
      const keeper = yield* Task.fork(Task.make("keeper", kept.await, { tags: ["b"] }))
      const leaving = yield* Task.fork(
        Task.make(
          "leaving",
          Effect.andThen(Effect.forkDetach(Concurrency.withSlot({ tags: ["b"] })(Effect.void)), began.await),
          { tags: ["a"] }
        )
      )
      yield* quiet
      assert.strictEqual((yield* usage("b")).waiting, 1)
      yield* began.open
      yield* TaskRun.join(leaving)
      yield* kept.open
      yield* TaskRun.join(keeper)
      yield* quiet
      assert.deepStrictEqual([(yield* usage("a")).active, (yield* usage("b")).active], [0, 0])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(
      Effect.provide(
        Scheduler.layer({ maxParallelism: 4 }).pipe(
          Layer.provideMerge(Concurrency.layer({ tagLimits: { a: 1, b: 1 } }))
        )
      )
    ))

  it.effect("nesting of any depth runs on one slot, by every way of waiting", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const deep = (n: number): Task.Task<number> =>
        Task.make(
          `depth ${n}`,
          Effect.gen(function*() {
            yield* gauge.inside(Effect.yieldNow)
            if (n === 0) return 0
            switch (n % 7) {
              case 0:
                return 1 + (yield* deep(n - 1))
              case 1:
                return 1 + (yield* Task.all([deep(n - 1)]))[0]
              case 2:
                return 1 + (yield* Task.forEach([n - 1], deep))[0]!
              case 3:
                return 1 + (yield* TaskRun.join(yield* TaskRun.awaitAny([yield* Task.fork(deep(n - 1))])))
              case 4: {
                const [exit] = yield* TaskRun.awaitAll([yield* Task.fork(deep(n - 1))])
                return 1 + (Exit.isSuccess(exit!) ? exit.value : NaN)
              }
              case 5: {
                const done = yield* Stream.runCollect(TaskRun.asCompleted([yield* Task.fork(deep(n - 1))]))
                return 1 + (yield* TaskRun.join(done[0]!))
              }
              default:
                return 1 +
                  (yield* Task.after(
                    [yield* Task.fork(deep(n - 1))],
                    ([below]) => Task.make("after", Effect.succeed(below))
                  ))
            }
          }).pipe(Effect.orDie)
        )
      assert.strictEqual(yield* deep(100), 100)
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a plain effect that waits for a run in forEach lends as well", () =>
    Effect.gen(function*() {
      const parent = Task.make(
        "parent",
        Task.forEach([1, 2, 3], (n) => Effect.map(Task.make("child", Effect.succeed(n)), (n) => n * 2))
      )
      assert.deepStrictEqual(yield* parent, [2, 4, 6])
    }).pipe(Effect.provide(pool(1))))

  it.effect("a suspended run is seen as such, waiting on its child, and holds no slot and no lent tag", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let child: string | undefined
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("child", latch.await))
          child = run.id
          yield* TaskRun.join(run)
        }),
        { tags: ["db"] }
      ))
      yield* quiet
      assert.deepStrictEqual(yield* parent.state, { _tag: "Suspended", on: [child!] })
      const stats = yield* Scheduler.stats
      assert.deepStrictEqual([stats.active, stats.suspended, yield* active("db")], [1, 1, 0])
      yield* latch.open
      yield* TaskRun.join(parent)
    }).pipe(Effect.provide(pool(2, { tagLimits: { db: 1 } }))))

  it.effect("of several fibers of one run, the slot is away from the first wait to the end of the last", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const [one, two, filling] = [yield* Latch.make(), yield* Latch.make(), yield* Latch.make()]
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.all([
          Effect.andThen(Concurrency.lend(one.await), Effect.sync(() => order.push("one"))),
          Effect.andThen(Concurrency.lend(two.await), Effect.sync(() => order.push("two")))
        ], { concurrency: 2 })
      ))
      yield* quiet
      const filler = yield* Task.fork(Task.make("filler", filling.await))
      yield* quiet
      assert.strictEqual(yield* tagOf(filler), "Running")
      yield* one.open
      yield* quiet
      assert.deepStrictEqual(order, ["one"])
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      yield* two.open
      yield* quiet
      assert.deepStrictEqual(order, ["one"])
      yield* filling.open
      yield* TaskRun.join(run)
      assert.deepStrictEqual(order, ["one", "two"])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a fiber of the run that does not wait goes on while another one's wait has the slot away", () =>
    Effect.gen(function*() {
      const [waits, works] = [yield* Latch.make(), yield* Latch.make()]
      let worked = false
      const run = yield* Task.fork(Task.make(
        "run",
        Effect.all([
          Task.make("child", waits.await),
          Effect.andThen(
            works.await,
            Effect.sync(() => {
              worked = true
            })
          )
        ], { concurrency: 2 })
      ))
      yield* quiet
      yield* works.open
      yield* quiet
      assert.isTrue(worked)
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      yield* waits.open
      yield* TaskRun.join(run)
    }).pipe(Effect.provide(pool(1))))

  it.effect("a wait that is interrupted takes the slot back before its fiber goes on", () =>
    Effect.gen(function*() {
      const gauge = Gauge.make()
      const other = Task.make("other", gauge.inside(Effect.sleep("1 second")))
      const parent = Task.make(
        "parent",
        Effect.gen(function*() {
          yield* Effect.timeoutOption(Task.make("slow", Effect.sleep("1 hour")), "100 millis")
          yield* gauge.inside(Effect.sleep("1 second"))
        })
      )
      const all = yield* Effect.forkChild(Task.all([parent, other, other]))
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(all)
      assert.strictEqual(gauge.peak, 1)
    }).pipe(Effect.provide(pool(1))))

  it.effect("waiting across two schedulers that share a Concurrency lends the outer slot and tags too", () =>
    Effect.gen(function*() {
      const inner = Task.make("inner", Effect.succeed("inner"), { tags: ["db"] })
      const flow = inner.pipe(Effect.provide(Layer.fresh(Scheduler.layer({ maxParallelism: 1 }))))
      const outer = Task.make("outer", flow, { tags: ["db"] })
      assert.strictEqual(yield* outer, "inner")
      assert.deepStrictEqual(yield* Task.all([outer, outer, outer]), ["inner", "inner", "inner"])
    }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

  describe("held tags", () => {
    const tags = ["connection"]
    const one = pool(8, { tagLimits: { connection: held } })

    it.effect("a held tag stays taken while its holder waits", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const parent = yield* Task.fork(Task.make("parent", Task.make("child", latch.await), { tags }))
        yield* quiet
        assert.strictEqual(yield* tagOf(parent), "Suspended")
        const other = yield* Task.fork(Task.make("other", Effect.succeed(1), { tags }))
        yield* quiet
        assert.deepStrictEqual(yield* other.state, { _tag: "Waiting", for: [{ _tag: "Limit", limit: "connection" }] })
        const info = yield* usage("connection")
        assert.deepStrictEqual([info.active, info.holders.map((holder) => holder.id)], [1, [parent.id]])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(other), 1)
        yield* TaskRun.join(parent)
      }).pipe(Effect.provide(one)))

    it.effect("descendants of a waiting holder run under its hold, one weight among them all", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        let most = 0
        const leaf = Task.make(
          "leaf",
          gauge.inside(Effect.gen(function*() {
            most = Math.max(most, yield* active("connection"))
            yield* Effect.sleep("1 second")
          })),
          { tags }
        )
        const middle = Task.make("middle", Task.all([leaf, leaf]))
        const parent = Task.make("parent", Task.all([leaf, middle, leaf]), { tags })
        const all = yield* Effect.forkChild(Task.all([parent, parent]))
        yield* TestClock.adjust("8 seconds")
        yield* Fiber.join(all)
        assert.deepStrictEqual([gauge.peak, most, yield* active("connection")], [1, 1, 0])
      }).pipe(Effect.provide(one)))

    it.effect("the descendants share the weight held, not the limit", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const leaf = Task.make("leaf", gauge.inside(Effect.sleep("1 second")), { tags })
        const parent = Task.make("parent", Task.all(Arr.replicate(leaf, 6)), { tags, weight: 2 })
        const all = yield* Effect.forkChild(elapsed(parent))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([yield* Fiber.join(all), gauge.peak], [3000, 2])
      }).pipe(Effect.provide(pool(16, { tagLimits: { connection: { limit: 5, whileWaiting: "hold" } } }))))

    it.effect("a descendant nobody waits for waits until the holder waits or ends", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        let child: TaskRun.TaskRun<string> | undefined
        const parent = yield* Task.fork(Task.make(
          "parent",
          Effect.gen(function*() {
            child = yield* Task.fork(Task.make("child", Effect.succeed("ran"), { tags }))
            yield* latch.await
          }),
          { tags }
        ))
        yield* quiet
        assert.deepStrictEqual([yield* tagOf(parent), yield* tagOf(child!)], ["Running", "Waiting"])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(child!), "ran")
      }).pipe(Effect.provide(one)))

    it.effect("a descendant asking for more than is held is refused", () =>
      Effect.gen(function*() {
        const child = Task.make("child", Effect.void, { tags, weight: 2 })
        const exit = yield* Effect.exit(Task.make("parent", child, { tags }))
        assert.isDefined(Refusal.died(exit))
        assert.strictEqual(yield* active("connection"), 0)
      }).pipe(Effect.provide(pool(8, { tagLimits: { connection: { limit: 3, whileWaiting: "hold" } } }))))

    it.effect("a withSlot in the body is held too: descendants run under it, and no wait gives it away", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const child = Task.make("child", Effect.andThen(latch.await, active("db")), { tags: ["db"] })
        const parent = yield* Task.fork(Task.make("parent", Concurrency.withSlot({ tags: ["db"] })(child)))
        yield* quiet
        const outside = yield* Task.fork(Task.make("outside", Effect.succeed("outside"), { tags: ["db"] }))
        yield* quiet
        assert.deepStrictEqual([yield* tagOf(parent), yield* tagOf(outside)], ["Suspended", "Waiting"])
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(parent), 1)
        assert.strictEqual(yield* TaskRun.join(outside), "outside")
      }).pipe(Effect.provide(pool(8, { tagLimits: { db: 1 } }))))
  })

  describe("a wait that closes a cycle is refused at once", () => {
    it.effect("a run that joins itself", () =>
      Effect.gen(function*() {
        const run = yield* Task.fork(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, (run) => TaskRun.join(run))))
        const reason = Refusal.died(yield* run.exit)
        assert.strictEqual(reason?._tag, "Deadlock")
        assert.include(reason?._tag === "Deadlock" ? reason.cycle.join(" ") : "", "self")
      }).pipe(Effect.provide(pool(2))))

    const ways: Record<string, (run: TaskRun.TaskRun<unknown, unknown>) => Effect.Effect<unknown, unknown>> = {
      exit: (run) => run.exit,
      awaitAll: (run) => TaskRun.awaitAll([run]),
      awaitAny: (run) => TaskRun.awaitAny([run]),
      asCompleted: (run) => Stream.runDrain(TaskRun.asCompleted([run]))
    }
    for (const [way, wait] of Object.entries(ways)) {
      it.effect(`a run that waits for itself by ${way}`, () =>
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, wait)))
          yield* quiet
          assert.strictEqual(yield* tagOf(run), "Finished")
          assert.strictEqual(Refusal.died(yield* run.exit)?._tag, "Deadlock")
        }).pipe(Effect.provide(pool(2))))
    }

    it.effect("but not one that waits for any of itself and another", () =>
      Effect.gen(function*() {
        const other = yield* Task.fork(Task.make("other", Effect.sleep("1 second")))
        const either = yield* Task.fork(
          Task.make(
            "either",
            Effect.flatMap(TaskRun.CurrentRun, (run) => TaskRun.awaitAny<unknown, unknown>([run, other]))
          )
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* TaskRun.join(either)).id, other.id)
      }).pipe(Effect.provide(pool(1))))

    it.effect("two runs that join each other: the second one's wait dies, and it may go on", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const runs: Record<string, TaskRun.TaskRun<string>> = {}
        const joins = (other: string) => Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(runs[other]!)))
        runs["a"] = yield* Task.fork(Task.make("a", joins("b")))
        runs["b"] = yield* Task.fork(
          Task.make("b", Effect.map(Effect.exit(joins("a")), (exit) => Refusal.died(exit)?._tag ?? "none"))
        )
        yield* gate.open
        const [a, b] = yield* TaskRun.awaitAll([runs["a"]!, runs["b"]!])
        // Whoever waited second was refused: b tells, and a got what b told; or a itself died of it.
        if (Exit.isSuccess(a!)) assert.deepStrictEqual([a, b], [Exit.succeed("Deadlock"), Exit.succeed("Deadlock")])
        else assert.strictEqual(Refusal.died(a!)?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(2))))

    it.effect("a circle of three, none of them hanging", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const runs: Array<TaskRun.TaskRun<unknown, unknown>> = []
        for (let i = 0; i < 3; i++) {
          runs.push(
            yield* Task.fork(Task.make(
              `r${i}`,
              Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(runs[(i + 1) % 3]!)))
            ))
          )
        }
        yield* gate.open
        for (const exit of yield* TaskRun.awaitAll(runs)) assert.strictEqual(Refusal.died(exit)?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(3))))

    it.effect("a child that joins its waiting parent", () =>
      Effect.gen(function*() {
        const parent = Task.make(
          "parent",
          Effect.gen(function*() {
            const self = yield* TaskRun.CurrentRun
            return yield* Task.make("child", Effect.andThen(Effect.yieldNow, TaskRun.join(self)))
          })
        )
        assert.strictEqual(Refusal.died(yield* Effect.exit(parent))?._tag, "Deadlock")
      }).pipe(Effect.provide(pool(2))))

    it.effect("a holder that waits for a stranger who waits for its held tag", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        let stranger: TaskRun.TaskRun<string> | undefined
        const holder = yield* Task.fork(Task.make(
          "holder",
          Effect.andThen(gate.await, Effect.suspend(() => TaskRun.join(stranger!))),
          { tags: ["connection"] }
        ))
        stranger = yield* Task.fork(Task.make("stranger", Effect.succeed("ran"), { tags: ["connection"] }))
        yield* quiet
        yield* gate.open
        const reason = Refusal.died(yield* holder.exit)
        assert.strictEqual(reason?._tag, "Deadlock")
        assert.include(reason?._tag === "Deadlock" ? reason.cycle.join(" ") : "", "connection")
        assert.strictEqual(yield* TaskRun.join(stranger), "ran")
      }).pipe(Effect.provide(pool(4, { tagLimits: { connection: held } }))))

    it.effect("two holders, each waiting for a child that needs the other's tag", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const parent = (own: string, other: string) =>
          Task.fork(
            Task.make(own, Effect.andThen(gate.await, Task.make("child", Effect.succeed(own), { tags: [other] })), {
              tags: [own]
            })
          )
        const [left, right] = [yield* parent("left", "right"), yield* parent("right", "left")]
        yield* quiet
        yield* gate.open
        const exits = yield* TaskRun.awaitAll([left, right])
        assert.deepStrictEqual(exits.map((exit) => Refusal.died(exit)?._tag).sort(), ["Deadlock", undefined])
      }).pipe(Effect.provide(pool(8, { tagLimits: { left: held, right: held } }))))

    it.effect("withSlot nested in opposite orders", () =>
      Effect.gen(function*() {
        const gate = yield* Latch.make()
        const nested = (outer: string, inner: string) =>
          Task.fork(Task.make(
            outer,
            Effect.succeed(outer).pipe(
              Concurrency.withSlot({ tags: [inner] }),
              (inside) => Effect.andThen(gate.await, inside),
              Concurrency.withSlot({ tags: [outer] })
            )
          ))
        const [left, right] = [yield* nested("left", "right"), yield* nested("right", "left")]
        yield* quiet
        yield* gate.open
        const exits = yield* TaskRun.awaitAll([left, right])
        assert.deepStrictEqual(exits.map((exit) => Refusal.died(exit)?._tag).sort(), ["Deadlock", undefined])
        assert.deepStrictEqual([yield* active("left"), yield* active("right")], [0, 0])
      }).pipe(Effect.provide(pool(4, { tagLimits: { left: 1, right: 1 } }))))
  })

  describe("withSlot", () => {
    it.effect("outside of a run it bounds plain effects, and is free again inside itself", () =>
      Effect.gen(function*() {
        const gauge = Gauge.make()
        const slot = Concurrency.withSlot({ tags: ["db"] })
        const job = slot(slot(gauge.inside(Effect.andThen(Effect.sleep("1 second"), active("db")))))
        const all = yield* Effect.forkChild(Effect.all([job, job, job], { concurrency: "unbounded" }))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(all), [2, 2, 1])
        assert.deepStrictEqual([gauge.peak, yield* active("db")], [2, 0])
      }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 2 } }))))

    it.effect("waiting for it lends the run's slot", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(latch.await))
        yield* quiet
        const waiting = yield* Task.fork(
          Task.make("waiting", Concurrency.withSlot({ tags: ["db"] })(Effect.succeed(1)))
        )
        yield* quiet
        assert.strictEqual(yield* Task.make("other", Effect.succeed(2)), 2)
        yield* latch.open
        assert.strictEqual(yield* TaskRun.join(waiting), 1)
      }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))

    it.effect("withSlotIfAvailable never waits: none means it did not run", () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        let ran = 0
        const attempt = Concurrency.withSlotIfAvailable({ tags: ["db"] })(Effect.sync(() => ++ran))
        const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(latch.await))
        yield* quiet
        assert.isTrue(Option.isNone(yield* attempt))
        yield* latch.open
        yield* Fiber.join(holder)
        assert.deepStrictEqual(yield* attempt, Option.some(1))
        assert.strictEqual(yield* active("db"), 0)
      }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

    it.effect("lend outside of a run is the effect itself", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Concurrency.lend(Effect.succeed(1)), 1)
        assert.strictEqual(yield* Effect.flip(Concurrency.lend(Effect.fail("no"))), "no")
      }))
  })
})

describe("law 7: interrupting a waiter", () => {
  for (const delay of Arr.range(0, 9)) {
    it.effect(`a child interrupted ${delay} turns after its parent resumed leaves the limits as they were`, () =>
      Effect.gen(function*() {
        const latch = yield* Latch.make()
        const parent = yield* Task.fork(
          Task.make("parent", Effect.andThen(Task.make("child", latch.await, { tags: ["db"] }), Effect.never), {
            tags: ["db"]
          })
        )
        const filler = yield* Task.fork(Task.make("filler", Effect.sleep("1 second"), { tags: ["db"] }))
        yield* quiet
        yield* latch.open
        yield* turns(delay)
        yield* parent.interrupt
        yield* TestClock.adjust("1 second")
        yield* TaskRun.join(filler)
        const info = yield* usage("db")
        assert.deepStrictEqual([info.active, info.waiting, info.holders], [0, 0, []])
        const stats = yield* Scheduler.stats
        assert.deepStrictEqual([stats.active, stats.queued, stats.suspended], [0, 0, 0])
        assert.strictEqual(yield* Task.make("next", Effect.succeed(1), { tags: ["db"] }), 1)
      }).pipe(Effect.provide(pool(1, { tagLimits: { db: 1 } }))))
  }

  it.effect("a withSlot interrupted in the very turn of its grant gives it back", () =>
    Effect.gen(function*() {
      for (let delay = 0; delay < 10; delay++) {
        const latch = yield* Latch.make()
        const slot = Concurrency.withSlot({ tags: ["db"] })
        const holder = yield* Effect.forkChild(slot(latch.await))
        yield* turns(2)
        const waiter = yield* Effect.forkChild(slot(Effect.never))
        yield* turns(2)
        latch.openUnsafe()
        yield* turns(delay)
        yield* Fiber.interrupt(waiter)
        yield* Fiber.join(holder)
        const info = yield* usage("db")
        assert.deepStrictEqual([info.active, info.waiting], [0, 0])
      }
    }).pipe(Effect.provide(Concurrency.layer({ tagLimits: { db: 1 } }))))

  it.effect("a slot is freed only after the run's finalizers, those of its scope too", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const finalizer = (name: string) => Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => order.push(name)))
      const run = yield* Task.fork(Task.make(
        "closing",
        Effect.gen(function*() {
          yield* Effect.addFinalizer(() => finalizer("scope"))
          yield* Effect.onInterrupt(Effect.never, () => finalizer("body"))
        })
      ))
      const next = yield* Task.fork(Task.make("next", Effect.sync(() => order.push("next"))))
      yield* quiet
      const interrupting = yield* Effect.forkChild(run.interrupt)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(interrupting)
      yield* TaskRun.join(next)
      assert.deepStrictEqual(order, ["body", "scope", "next"])
    }).pipe(Effect.provide(pool(1))))

  it.effect("a suspended run that is interrupted ends without its slot; its finalizers run uncounted", () =>
    Effect.gen(function*() {
      let cleaned = false
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("child", Effect.never))
          yield* TaskRun.join(run)
        }).pipe(Effect.onInterrupt(() =>
          Effect.sync(() => {
            cleaned = true
          })
        ))
      ))
      yield* quiet
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      assert.strictEqual(yield* elapsed(parent.interrupt), 0)
      assert.isTrue(cleaned)
      assert.strictEqual(yield* outcomeOf(parent), "Interrupted")
      assert.strictEqual((yield* Scheduler.stats).suspended, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("held tags of an interrupted, suspended run are freed after its finalizers", () =>
    Effect.gen(function*() {
      const order: Array<string> = []
      const parent = yield* Task.fork(Task.make(
        "parent",
        Effect.onInterrupt(Task.make("child", Effect.never), () =>
          Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => order.push("finalizer")))),
        { tags: ["connection"] }
      ))
      const next = yield* Task.fork(Task.make(
        "next",
        Effect.sync(() =>
          order.push("next")
        ),
        { tags: ["connection"] }
      ))
      yield* quiet
      const interrupting = yield* Effect.forkChild(parent.interrupt)
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(yield* active("connection"), 1)
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupting)
      yield* TaskRun.join(next)
      assert.deepStrictEqual(order, ["finalizer", "next"])
    }).pipe(Effect.provide(pool(4, { tagLimits: { connection: held } }))))

  it.effect("one that timed out while its slot was away and is interrupted ends without it, its finalizers run", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      const child = Task.make("child", Effect.never)
      const parent = Task.make("parent", Effect.onExit(child, () => Effect.sync(() => void ended.push("finalizer"))))
        .pipe(
          Task.withTimeout("1 second")
        )
      const latch = yield* Latch.make()
      const run = yield* Task.fork(parent)
      yield* quiet
      const other = yield* Task.fork(Task.make("other", latch.await))
      // The slot of the child is the other's: what timed out wants its own back before it goes on.
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* tagOf(other), "Running")
      assert.deepStrictEqual([yield* tagOf(run), ended], ["Suspended", []])
      yield* run.interrupt
      assert.deepStrictEqual([yield* outcomeOf(run), ended], ["Interrupted", ["finalizer"]])
      assert.strictEqual(yield* tagOf(other), "Running")
      assert.strictEqual((yield* Scheduler.stats).active, 1)
      yield* latch.open
      yield* TaskRun.join(other)
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.timeout("1 minute"), Effect.provide(pool(1))))

  it.effect("interrupting who awaits a yielded task interrupts the task, waiting or running", () =>
    Effect.gen(function*() {
      const ended: Array<string> = []
      const task = Task.make("task", Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended.push("running"))))
      const running = yield* Effect.forkChild(task)
      const waiting = yield* Effect.forkChild(task)
      yield* quiet
      assert.deepStrictEqual([(yield* Scheduler.stats).active, (yield* Scheduler.stats).queued], [1, 1])
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* Scheduler.stats).queued, 0)
      yield* Fiber.interrupt(running)
      assert.deepStrictEqual(ended, ["running"])
      assert.strictEqual((yield* Scheduler.stats).active, 0)
    }).pipe(Effect.provide(pool(1))))

  it.effect("interrupting who joins a handle leaves the run alone; what was forked outlives its parent", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      let child: TaskRun.TaskRun<string> | undefined
      yield* Task.make(
        "parent",
        Effect.gen(function*() {
          child = yield* Task.fork(Task.make("child", Effect.as(latch.await, "outlived")))
        })
      )
      const joining = yield* Effect.forkChild(TaskRun.join(child!))
      yield* quiet
      yield* Fiber.interrupt(joining)
      assert.strictEqual(yield* tagOf(child!), "Running")
      yield* latch.open
      assert.strictEqual(yield* TaskRun.join(child!), "outlived")
    }).pipe(Effect.provide(pool(1))))
})
