/**
 * The laws every runner keeps, as vitest tests. A new way to run closures is a Layer of `Scheduler`; this is how it proves itself.
 *
 * Nothing here asks how much runs at once, or sleeps for real. Each law also leaves no fiber behind.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import * as RunEvent from "../RunEvent.ts"
import * as Scheduler from "../Scheduler.ts"
import * as Task from "../Task.ts"
import * as TaskRun from "../TaskRun.ts"
import { leakGuard } from "./leakGuard.ts"
import { brokenLives } from "./lives.ts"

export interface Options {
  /** The runner runs a body in the fiber that asked: what needs a queue (order, drain, handles of live runs) is left out. Default: false. */
  readonly inline?: boolean | undefined
}

type Services = Scheduler.Scheduler | Concurrency.Concurrency

/** Declares the laws of a runner. The layer is built anew for each of them and must be usable with its defaults: no bounded queue. */
export const schedulerSuite = (name: string, layer: Layer.Layer<Services>, options?: Options): void => {
  const law = <A, E>(title: string, program: () => Effect.Effect<A, E, Services | Scope>) =>
    it.effect(title, () => leakGuard(Effect.provide(Effect.suspend(program), layer)))
  /** For what runs beside the fiber that asked. */
  const queueLaw: typeof law = (title, program) => options?.inline === true ? undefined : law(title, program)

  describe(name, () => {
    describe("wrapping changes nothing", () => {
      const exits: Record<string, Effect.Effect<unknown, unknown>> = {
        "a success": Effect.succeed(1),
        "a failure": Effect.fail("failure"),
        "a defect": Effect.die("defect"),
        "a failure after some turns": Effect.andThen(turns(3), Effect.fail("late"))
      }
      for (const [title, program] of Object.entries(exits)) {
        law(`${title} is the same within a task, and within a task of a task`, () =>
          Effect.gen(function*() {
            const plain = yield* Effect.exit(program)
            const task = Task.make("task", program)
            assert.deepStrictEqual(yield* Effect.exit(task), plain)
            assert.deepStrictEqual(yield* Effect.exit(Task.make("outer", task)), plain)
            assert.deepStrictEqual(yield* Effect.exit(Effect.flatMap(Task.fork(task), TaskRun.join)), plain)
          }))
      }

      law("a body that interrupts itself is interrupted for who waits", () =>
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("task", Effect.interrupt))
          const exit = yield* run.exit
          assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
          assert.strictEqual(yield* stateOf(run), "Interrupted")
        }))

      law(
        "interrupting who waits for a task interrupts its body, and waits for the finalizers",
        () =>
          Effect.gen(function*() {
            let cleaned = false
            const body = Effect.onInterrupt(
              Effect.never,
              () => Effect.andThen(turns(3), Effect.sync(() => cleaned = true))
            )
            const waiter = yield* Effect.forkChild(Task.make("outer", Task.make("task", body)))
            yield* quiet
            yield* Fiber.interrupt(waiter)
            assert.isTrue(cleaned)
          })
      )

      law("a body has the services of who asked, and its own run, runner and scope", () =>
        Effect.gen(function*() {
          const order: Array<string> = []
          const inner = Task.make(
            "inner",
            Effect.gen(function*() {
              yield* Effect.addFinalizer(() => Effect.sync(() => order.push("closed")))
              order.push((yield* TaskRun.CurrentRun).name)
              return yield* Word
            })
          )
          const outer = Task.make("outer", Effect.tap(inner, () => Effect.sync(() => order.push("outer"))))
          assert.strictEqual(yield* Effect.provideService(outer, Word, "word"), "word")
          assert.deepStrictEqual(order, ["inner", "closed", "outer"])
        }))

      law("runs know their parent and their root", () =>
        Effect.gen(function*() {
          const child = Task.make("child", TaskRun.CurrentRun)
          const run = yield* Task.fork(Task.make("root", Effect.flatMap(child, (run) => Effect.succeed(run))))
          const below = yield* TaskRun.join(run)
          assert.deepStrictEqual([run.parent, run.root], [undefined, run.id])
          assert.deepStrictEqual([below.parent, below.root], [run.id, run.id])
        }))

      law("many collect in the order given, and fail fast with the rest interrupted", () =>
        Effect.gen(function*() {
          const task = Task.fn("task")(function*(n: number) {
            yield* turns(n % 3)
            if (n === 7) return yield* Effect.fail(n)
            return n
          })
          assert.deepStrictEqual(yield* Task.forEach([5, 1, 4, 2], (n) => task(n)), [5, 1, 4, 2])
          const never = Task.make("never", options?.inline === true ? Effect.void : Effect.never)
          assert.deepStrictEqual(yield* Effect.exit(Task.all([task(7), never])), Exit.fail(7))
        }))

      law("a retried task is one run, and ends as its last attempt", () =>
        Effect.gen(function*() {
          let attempts = 0
          const run = yield* Task.fork(
            Task.make("task", Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.succeed(attempts)))
              .pipe(
                Task.withRetry({ times: 5 })
              )
          )
          assert.strictEqual(yield* TaskRun.join(run), 3)
        }))
    })

    describe("limits are exact", () => {
      law("of the runner, of a tag, and of weights", () =>
        Effect.gen(function*() {
          const { maxParallelism } = yield* Scheduler.stats
          yield* Concurrency.create("three", 3)
          const [all, three] = [new Gauge(), new Gauge()]
          yield* Task.forEach(numbers(40), (n) => {
            const weight = n % 7 === 0 ? 3 : n % 3 === 0 ? 2 : 1
            const body = n % 2 === 0 ? all.inside(turns(n % 5)) : all.inside(three.inside(turns(n % 5), weight))
            // The pool grants a weight above its size all of it, so only how many are inside is asked of it.
            return Task.make("task", body, n % 2 === 0 ? {} : { tags: ["three"], weight })
          })
          assert.isAtMost(three.peak, 3)
          assert.isAtMost(all.peak, maxParallelism === "unbounded" ? Infinity : maxParallelism)
        }))

      law("when suspended runs resume together", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("db", 2)
          const gauge = new Gauge()
          const latch = yield* Latch.make()
          const all = yield* Effect.forkChild(Task.make(
            "all",
            Effect.gen(function*() {
              const shared = yield* Task.fork(Task.make("shared", Concurrency.lend(latch.await)))
              const waiting = Task.make("waiting", Effect.andThen(TaskRun.join(shared), gauge.inside(turns(3))), {
                tags: ["db"]
              })
              yield* Task.forEach(numbers(8), () => waiting)
            })
          ))
          yield* quiet
          yield* latch.open
          yield* Fiber.join(all)
          assert.isAtMost(gauge.peak, 2)
          assert.deepStrictEqual(yield* usage("db"), { limit: 2, active: 0, waiting: 0 })
        }))

      law(
        "across a resize: holders finish, and nobody starts above the limit of the moment",
        () =>
          Effect.gen(function*() {
            let limit = 3
            let running = 0
            let broken = 0
            yield* Concurrency.create("db", limit)
            const body = Effect.acquireUseRelease(
              Effect.sync(() => {
                if (++running > limit) broken++
              }),
              () => turns(4),
              () => Effect.sync(() => running--)
            )
            const all = yield* Effect.forkChild(
              Task.forEach(numbers(60), () => Task.make("task", body, { tags: ["db"] }))
            )
            for (const next of [1, 2, 1, 5, 3]) {
              yield* turns(6)
              limit = next
              yield* Concurrency.create("db", limit)
            }
            yield* Fiber.join(all)
            assert.strictEqual(broken, 0)
          })
      )

      law("a limit of one task, and a region of a plain effect", () =>
        Effect.gen(function*() {
          const [one, region] = [new Gauge(), new Gauge()]
          yield* Concurrency.create("region", 2)
          const slot = Concurrency.withSlot({ tags: ["region"] })
          const task = Task.make("limited", Effect.andThen(one.inside(turns(2)), slot(region.inside(turns(2)))), {
            limit: 1
          })
          const other = Task.make("tagged", region.inside(turns(2)), { tags: ["region"] })
          yield* Task.all([task, other, task, other, task, other])
          assert.deepStrictEqual([one.peak, region.peak <= 2], [1, true])
        }))
    })

    describe("admission is all or nothing", () => {
      law(
        "what waits for one tag holds none of the others, and holds up nobody who does without",
        () =>
          Effect.gen(function*() {
            yield* Concurrency.create("a", 1)
            yield* Concurrency.create("b", 1)
            const latch = yield* Latch.make()
            const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["b"] })(latch.await))
            yield* quiet
            const both = yield* Effect.forkChild(Task.make("both", Effect.succeed("both"), { tags: ["a", "b"] }))
            yield* quiet
            assert.strictEqual((yield* usage("a")).active, 0)
            assert.strictEqual((yield* Scheduler.stats).active, 0)
            assert.strictEqual(yield* Task.make("a", Effect.succeed("a"), { tags: ["a"], priority: "low" }), "a")
            yield* latch.open
            assert.strictEqual(yield* Fiber.join(both), "both")
            yield* Fiber.join(holder)
          })
      )
    })

    describe("no waiting is polled", () => {
      law(
        "two hundred behind one tag, and a slot that passes to a plain effect and back, take no time",
        () =>
          Effect.gen(function*() {
            yield* Concurrency.create("one", 1)
            const task = Task.make("task", Effect.yieldNow, { tags: ["one"] })
            const slot = Concurrency.withSlot({ tags: ["one"] })(Effect.yieldNow)
            const program = Effect.all([Task.forEach(numbers(200), () => task), slot, task, slot], {
              concurrency: "unbounded"
            })
            assert.strictEqual(yield* elapsed(program), 0)
          })
      )
    })

    describe.skipIf(options?.inline === true)("order", () => {
      /** Queues all behind one tag, below one root, and returns the order in which they ran. */
      const orderOf = (tasks: (ran: (name: string) => Effect.Effect<void>) => ReadonlyArray<Task.Task<unknown>>) =>
        Effect.gen(function*() {
          yield* Concurrency.create("line", 1)
          const order: Array<string> = []
          const latch = yield* Latch.make()
          const program = Effect.gen(function*() {
            const first = yield* Task.fork(Task.make("first", latch.await, { tags: ["line"], priority: -1 }))
            const runs = yield* Effect.forEach(
              tasks((name) => Effect.sync(() => void order.push(name))),
              (task) => Task.fork(Task.withTags("line")(task))
            )
            yield* latch.open
            yield* TaskRun.awaitAll([first, ...runs])
          })
          yield* Task.make("root", program)
          return order
        })

      queueLaw("priority first, then age", () =>
        Effect.gen(function*() {
          const priorities = ["low", "normal", 5, "high", "critical", "normal", "critical"] as const
          const order = yield* orderOf((ran) =>
            priorities.map((priority, i) => Task.make("task", ran(`${priority} ${i}`), { priority }))
          )
          assert.deepStrictEqual(order, ["critical 4", "critical 6", "5 2", "high 3", "normal 1", "normal 5", "low 0"])
        }))

      queueLaw("keys share fairly", () =>
        Effect.gen(function*() {
          const order = yield* orderOf((ran) => [
            ...numbers(20).map((n) => Task.make("task", ran(`a${n}`), { key: "a" })),
            ...numbers(3).map((n) => Task.make("task", ran(`b${n}`), { key: "b" }))
          ])
          assert.deepStrictEqual(order.slice(0, 6).filter((name) => name.startsWith("b")), ["b1", "b2", "b3"])
        }))

      queueLaw("deeper before younger: a tree runs depth-first", () =>
        Effect.gen(function*() {
          const order = yield* orderOf((ran) =>
            numbers(3).map((n) =>
              Task.make(
                `${n}`,
                Effect.andThen(ran(`${n}`), Task.make("child", ran(`${n}'s child`), { tags: ["line"] }))
              )
            )
          )
          assert.deepStrictEqual(order, ["1", "1's child", "2", "2's child", "3", "3's child"])
        }))
    })

    describe("waiting lends", () => {
      law("nesting of any depth runs under one tag of one, by every way of waiting", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("one", 1)
          const gauge = new Gauge()
          const deep = (n: number): Task.Task<number> => {
            const below = Effect.suspend((): Effect.Effect<number, never, Scheduler.Scheduler> => {
              const task = deep(n - 1)
              switch (n % 5) {
                case 0:
                  return task
                case 1:
                  return Effect.map(Task.all([task]), ([value]) => value)
                case 2:
                  return Effect.flatMap(Task.fork(task), TaskRun.join)
                case 3:
                  return Effect.flatMap(Task.fork(task), (run) => Effect.flatten(run.exit))
                default:
                  return Effect.flatMap(Task.fork(task), (run) => Effect.flatMap(TaskRun.awaitAny([run]), TaskRun.join))
              }
            })
            const body = n === 0 ? Effect.succeed(0) : Effect.map(below, (value) => value + 1)
            return Task.make(`depth ${n}`, Effect.andThen(gauge.inside(Effect.yieldNow), body), { tags: ["one"] })
          }
          assert.strictEqual(yield* deep(60), 60)
          assert.strictEqual(gauge.peak, 1)
        }))

      law("a held tag stays taken and is open to descendants alone, who share it", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("connection", { limit: 1, whileWaiting: "hold" })
          const tags = ["connection"]
          const below = Task.make("below", Effect.map(usage("connection"), (usage) => usage.active), { tags })
          assert.deepStrictEqual(yield* Task.make("holder", Task.all([below, below, below]), { tags }), [1, 1, 1])
          assert.strictEqual((yield* usage("connection")).active, 0)
        }))

      law("a wait that can never end dies at once, naming the cycle", () =>
        Effect.gen(function*() {
          const exit = yield* Effect.exit(Task.make("self", Effect.flatMap(TaskRun.CurrentRun, TaskRun.join)))
          assert.strictEqual(refusalOf(exit)?._tag, "Deadlock")
        }))
    })

    describe("interrupting a waiter leaves no trace", () => {
      for (const delay of numbers(8)) {
        law(`${delay} turns after what it waited for ended`, () =>
          Effect.gen(function*() {
            yield* Concurrency.create("db", 1)
            const latch = yield* Latch.make()
            const holder = yield* Effect.forkChild(Task.make("holder", latch.await, { tags: ["db"] }))
            yield* quiet
            const body = Task.make("child", turns(2), { tags: ["db"] })
            const waiter = yield* Effect.forkChild(
              Task.make("waiter", Effect.andThen(body, turns(2)), { tags: ["db"] })
            )
            yield* quiet
            latch.openUnsafe()
            yield* turns(delay - 1)
            yield* Fiber.interrupt(waiter)
            yield* Fiber.join(holder)
            assert.deepStrictEqual(yield* usage("db"), { limit: 1, active: 0, waiting: 0 })
            const { active, queued, suspended } = yield* Scheduler.stats
            assert.deepStrictEqual([active, queued, suspended], [0, 0, 0])
            assert.strictEqual(yield* Task.make("next", Effect.succeed(1), { tags: ["db"] }), 1)
          }))
      }

      law("before anything ended", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("db", 1)
          const latch = yield* Latch.make()
          const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["db"] })(latch.await))
          yield* quiet
          const waiter = yield* Effect.forkChild(Task.make("waiter", Effect.void, { tags: ["db"] }))
          yield* quiet
          assert.strictEqual((yield* usage("db")).waiting, 1)
          yield* Fiber.interrupt(waiter)
          assert.deepStrictEqual(yield* usage("db"), { limit: 1, active: 1, waiting: 0 })
          yield* latch.open
          yield* Fiber.join(holder)
        }))

      queueLaw("interrupting who joins a handle leaves the run alone", () =>
        Effect.gen(function*() {
          const latch = yield* Latch.make()
          const run = yield* Task.fork(Task.make("task", Effect.as(latch.await, "ran")))
          const joining = yield* Effect.forkChild(TaskRun.join(run))
          yield* quiet
          yield* Fiber.interrupt(joining)
          assert.strictEqual(yield* stateOf(run), "Running")
          yield* latch.open
          assert.strictEqual(yield* TaskRun.join(run), "ran")
        }))

      queueLaw("a slot is freed only after the run's finalizers, those of its scope too", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("one", 1)
          const order: Array<string> = []
          const finalizer = (name: string) => Effect.andThen(turns(5), Effect.sync(() => order.push(name)))
          const body = Effect.andThen(
            Effect.addFinalizer(() => finalizer("scope")),
            Effect.onInterrupt(Effect.never, () => finalizer("body"))
          )
          const run = yield* Task.fork(Task.make("closing", body, { tags: ["one"] }))
          const next = yield* Task.fork(Task.make("next", Effect.sync(() => order.push("next")), { tags: ["one"] }))
          yield* quiet
          yield* run.interrupt
          yield* TaskRun.join(next)
          assert.deepStrictEqual(order, ["body", "scope", "next"])
        }))
    })

    describe("one life", () => {
      it.effect("each run is Submitted once, Waiting then Started at most once an attempt, Finished once", () => {
        const events: Array<RunEvent.RunEvent> = []
        let attempts = 0
        const tags = ["db"]
        const tasks: Record<string, readonly [Task.Task<unknown, unknown>, outcome: string]> = {
          ok: [Task.make("ok", Effect.succeed(1), { tags }), "Succeeded"],
          failing: [Task.make("failing", Effect.fail("e"), { tags }), "Failed"],
          dying: [Task.make("dying", Effect.die("d")), "Died"],
          interrupting: [Task.make("interrupting", Effect.interrupt), "Interrupted"],
          aborting: [Task.make("aborting", Task.abort("r")), "Aborted"],
          refused: [Task.make("refused", Effect.void, { tags: ["shut"] }), "Refused"],
          late: [Task.withTimeout(1)(Task.make("late", Effect.never)), "TimedOut"],
          parent: [
            Task.make("parent", Task.all([Task.make("child", turns(2), { tags }), Effect.void]), { tags }),
            "Succeeded"
          ],
          losing: [Task.make("losing", Task.all([Task.make("lost", turns(2)), Effect.fail("b")])), "Failed"],
          again: [
            Task.make("again", Effect.suspend(() => ++attempts < 3 ? Effect.fail("again") : Effect.void), { tags })
              .pipe(
                Task.withRetry({ times: 3 })
              ),
            "Succeeded"
          ]
        }
        return Effect.gen(function*() {
          yield* Concurrency.create("db", 1)
          yield* Concurrency.create("shut", 0)
          const names = Object.keys(tasks)
          const forked = yield* Effect.forkChild(Effect.forEach(names, (name) => Task.fork(tasks[name]![0])))
          yield* quiet
          yield* TestClock.adjust(10)
          const runs = yield* Fiber.join(forked)
          const waiting = yield* Effect.forkChild(TaskRun.awaitAll(runs))
          yield* quiet
          yield* TestClock.adjust(10)
          yield* Fiber.join(waiting)
          assert.deepStrictEqual(yield* Effect.forEach(runs, stateOf), names.map((name) => tasks[name]![1]))
        }).pipe(
          Effect.provide(layer),
          Effect.provideService(RunEvent.Listeners, [(event) => void events.push(event)]),
          leakGuard,
          Effect.tap(() =>
            Effect.sync(() => {
              assert.deepStrictEqual(brokenLives(events), [])
              // Those above, and one below "parent" and "losing" each.
              assert.strictEqual(
                events.filter((event) => event._tag === "Finished").length,
                Object.keys(tasks).length + 2
              )
            })
          )
        )
      })

      queueLaw("an id is its own, or the one supplied; that of a live run is invalid", () =>
        Effect.gen(function*() {
          const latch = yield* Latch.make()
          const task = Task.make("task", latch.await)
          const run = yield* Task.fork(task, { id: "mine" })
          assert.strictEqual(run.id, "mine")
          assert.strictEqual(invalidOf(yield* Effect.exit(Task.fork(task, { id: "mine" })))?.field, "id")
          yield* latch.open
          yield* TaskRun.join(run)
        }))
    })

    describe("stop", () => {
      const sleeper = Task.make("sleeper", Effect.sleep("10 seconds"))

      queueLaw("what ends within the grace period is drained", () =>
        Effect.gen(function*() {
          const run = yield* Task.fork(sleeper)
          yield* quiet
          const stop = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "1 minute" }))
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* Fiber.join(stop), report({ drained: 1 }))
          assert.strictEqual(yield* stateOf(run), "Succeeded")
        }))

      queueLaw("what does not is interrupted, together, and its finalizers are awaited", () =>
        Effect.gen(function*() {
          const runs = yield* Effect.forEach(numbers(3), () =>
            Task.fork(Task.make("slow", Effect.onInterrupt(Effect.never, () => Effect.sleep("1 second")))))
          yield* quiet
          const stop = yield* Effect.forkChild(elapsed(Scheduler.closeWith({ gracePeriod: "2 seconds" })))
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual(yield* Fiber.join(stop), 3000)
          assert.deepStrictEqual(yield* Scheduler.close, report({ interrupted: 3 }))
          assert.deepStrictEqual(yield* Effect.forEach(runs, stateOf), ["Interrupted", "Interrupted", "Interrupted"])
        }))

      queueLaw("what ignores interruption is abandoned, and named", () =>
        Effect.gen(function*() {
          const run = yield* Task.fork(Task.make("deaf", Effect.uninterruptible(Effect.sleep("10 seconds"))))
          yield* quiet
          const stop = yield* Effect.forkChild(elapsed(Scheduler.closeWith({ interruptTimeout: "1 second" })))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* Fiber.join(stop), 1000)
          assert.deepStrictEqual(yield* Scheduler.close, report({ abandoned: 1, stragglers: ["deaf"] }))
          assert.strictEqual(yield* stateOf(run), "Abandoned")
          yield* TestClock.adjust("9 seconds")
        }))

      queueLaw("new work is refused while the children of what was accepted still start", () =>
        Effect.gen(function*() {
          const child = Task.make("child", Effect.succeed("child"))
          const parent = yield* Task.fork(Task.make("parent", Effect.andThen(Effect.sleep("1 second"), child)))
          yield* quiet
          const stop = yield* Effect.forkChild(Scheduler.closeWith({ gracePeriod: "1 minute" }))
          yield* quiet
          assert.strictEqual(refusalOf(yield* Effect.exit(child))?._tag, "SchedulerClosed")
          assert.isTrue((yield* Scheduler.stats).isClosed)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* TaskRun.join(parent), "child")
          assert.strictEqual((yield* Fiber.join(stop)).interrupted, 0)
        }))

      queueLaw("all callers get the same report", () =>
        Effect.gen(function*() {
          yield* Task.fork(sleeper)
          yield* quiet
          const reports = yield* Effect.all([Scheduler.close, Scheduler.close], { concurrency: 2 })
          assert.deepStrictEqual(reports, [report({ interrupted: 1 }), report({ interrupted: 1 })])
          assert.deepStrictEqual(yield* Scheduler.close, reports[0])
        }))

      law(
        "from inside a run, that run and its ancestors are neither awaited, interrupted nor counted",
        () =>
          Effect.gen(function*() {
            const inner = Task.make("inner", Effect.andThen(Effect.yieldNow, Scheduler.close))
            const outer = yield* Task.fork(Task.make("outer", Effect.map(inner, (report) => report)))
            assert.deepStrictEqual(yield* TaskRun.join(outer), report({}))
          })
      )

      it.effect("a layer that closes settles every handle, and each is readable after", () =>
        Effect.gen(function*() {
          const runs = yield* Effect.gen(function*() {
            const done = yield* Task.fork(Task.make("done", Effect.succeed("done")))
            yield* TaskRun.join(done)
            if (options?.inline === true) return [done]
            const runs = yield* Effect.forEach(numbers(3), () => Task.fork(Task.make("never", Effect.never)))
            yield* quiet
            return [done, ...runs]
          }).pipe(Effect.provide(layer))
          const states = yield* Effect.forEach(runs, stateOf)
          assert.deepStrictEqual(
            [...new Set(states)].sort(),
            options?.inline === true ? ["Succeeded"] : ["Interrupted", "Succeeded"]
          )
        }).pipe(leakGuard))
    })

    describe("refusals", () => {
      /** How the task ends, plainly and when it asks for its refusal. */
      const refused = (task: Task.Task<unknown, unknown>) =>
        Effect.gen(function*() {
          const plain = refusalOf(yield* Effect.exit(task))
          const error = yield* Effect.flip(Task.refusable(task))
          assert.instanceOf(error, Concurrency.AdmissionError)
          assert.deepStrictEqual((error as Concurrency.AdmissionError).reason, plain)
          return plain
        })
      const never = Task.make("refused", Effect.die("it ran"))

      law("a closed tag, more than a limit: at once, as a defect, or in E for who asks", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("shut", 0)
          yield* Concurrency.create("two", 2)
          assert.deepStrictEqual(yield* refused(Task.withTags("shut")(never)), { _tag: "LimitClosed", limit: "shut" })
          assert.deepStrictEqual(yield* refused(never.pipe(Task.withTags("two"), Task.withWeight(3))), {
            _tag: "ExceedsLimit",
            limit: "two",
            weight: 3,
            max: 2
          })
          const ran = Task.make("all of it", Effect.succeed("ran"), { weight: 1_000_000 })
          assert.strictEqual(yield* ran, "ran")
        }))

      law("who does not wait, or not for so long", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("one", 1)
          const latch = yield* Latch.make()
          const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["one"] })(latch.await))
          yield* quiet
          const failing = Task.make("failing", Effect.void, { tags: ["one"], whenFull: "fail" })
          assert.deepStrictEqual(yield* refused(failing), { _tag: "WouldWait", limits: ["one"] })
          const impatient = yield* Effect.forkChild(
            elapsed(Effect.exit(Task.make("impatient", Effect.void, { tags: ["one"], admissionTimeout: "1 second" })))
          )
          yield* TestClock.adjust("5 seconds")
          assert.strictEqual(yield* Fiber.join(impatient), 1000)
          yield* latch.open
          yield* Fiber.join(holder)
        }))

      law(
        "a limit that is lowered below who waits refuses it there; a stop ends it without it having run",
        () =>
          Effect.gen(function*() {
            yield* Concurrency.create("lowered", 1)
            yield* Concurrency.create("one", 1)
            const latch = yield* Latch.make()
            const holder = yield* Effect.forkChild(Concurrency.withSlot({ tags: ["lowered", "one"] })(latch.await))
            yield* quiet
            const lowered = yield* Effect.forkChild(Effect.exit(Task.withTags("lowered")(never)))
            const stopped = yield* Effect.forkChild(Effect.exit(Task.withTags("one")(never)))
            yield* quiet
            yield* Concurrency.create("lowered", 0)
            assert.strictEqual(refusalOf(yield* Fiber.join(lowered))?._tag, "LimitClosed")
            yield* Scheduler.close
            const exit = yield* Fiber.join(stopped)
            assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
            yield* latch.open
            yield* Fiber.join(holder)
          })
      )

      law("a child's refusal is not its parent's", () =>
        Effect.gen(function*() {
          yield* Concurrency.create("shut", 0)
          const parent = Task.make("parent", Task.withTags("shut")(never))
          const exit = yield* Effect.exit(Task.refusable(parent))
          assert.strictEqual(refusalOf(exit)?._tag, "LimitClosed")
        }))

      law("invalid values are a defect that names field, rule and value", () =>
        Effect.gen(function*() {
          for (const weight of [0, -1, 1.5, NaN]) {
            const error = invalidOf(yield* Effect.exit(Task.withWeight(weight)(never)))
            assert.deepStrictEqual([error?.field, error?.value], ["weight", weight])
          }
          assert.strictEqual(invalidOf(yield* Effect.exit(Task.withPriority(NaN)(never)))?.field, "priority")
        }))
    })
  })
}

// ─── what the laws are written with

class Word extends Context.Service<Word, string>()("tasklayer/testing/Word") {}

const numbers = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i + 1)

/** Lets `n` turns of the dispatcher pass. */
const turns = (n: number): Effect.Effect<void> => n <= 0 ? Effect.void : Effect.andThen(Effect.yieldNow, turns(n - 1))

/** Every other fiber has run until it waits; no time passes. */
const quiet = turns(64)

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    yield* effect
    return (yield* Clock.currentTimeMillis) - start
  })

/** How much is inside, at the most. */
class Gauge {
  peak = 0
  private current = 0
  inside<A, E, R>(effect: Effect.Effect<A, E, R>, weight = 1): Effect.Effect<A, E, R> {
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        this.current += weight
        this.peak = Math.max(this.peak, this.current)
      }),
      () => effect,
      () => Effect.sync(() => void (this.current -= weight))
    )
  }
}

const usage = (tag: string): Effect.Effect<Concurrency.Usage, never, Concurrency.Concurrency> =>
  Effect.map(Concurrency.read(tag), (info) => {
    const { active, limit, waiting } = Option.getOrThrow(info)
    return { limit, active, waiting }
  })

/** How a run ended, or what it does instead. */
const stateOf = (run: TaskRun.TaskRun<unknown, unknown>): Effect.Effect<string> =>
  Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)

const defectsOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  Exit.isSuccess(exit) ? [] : exit.cause.reasons.filter(Cause.isDieReason).map((reason) => reason.defect)

const refusalOf = (exit: Exit.Exit<unknown, unknown>): Concurrency.AdmissionReason | undefined =>
  defectsOf(exit).find((defect) => defect instanceof Concurrency.AdmissionError)?.reason

const invalidOf = (exit: Exit.Exit<unknown, unknown>): InvalidOptionError | undefined =>
  defectsOf(exit).find((defect) => defect instanceof InvalidOptionError)

const report = (some: object) => ({ drained: 0, interrupted: 0, abandoned: 0, stragglers: [], ...some })
