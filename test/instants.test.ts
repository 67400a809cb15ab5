// A fiber may yield to the event loop between any two operations: here nearly between all of them.
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, References } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"
import { quiet, turns } from "./suites/Quiet.ts"

const yielding = (ops: number) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.forkChild(Effect.provideService(effect, References.MaxOpsBeforeYield, ops))

const each = Effect.forEach(
  [4, 5, 6, 7, 9, 11, 13].flatMap((ops) => Array.from({ length: 30 }, (_, turn) => ({ ops, turn }))),
  Effect.succeed
)

it.effect("a join hears of the end, in whatever instant that comes", () =>
  Effect.gen(function*() {
    for (const { ops, turn } of yield* each) {
      const run = yield* Task.fork(Task.make("task", turns(20)))
      yield* turns(turn)
      const joining = yield* Effect.forEach([0, 1, 2, 3, 4, 5, 6], (steps) => {
        const late = Array.from({ length: steps }, () => Effect.void)
        return yielding(ops)(
          Effect.andThen(Effect.all(late, { discard: true }), Effect.suspend(() => TaskRun.join(run)))
        )
      })
      yield* quiet
      for (const fiber of joining) assert.isDefined(fiber.pollUnsafe(), `${ops} ops, ${turn} turns`)
    }
  }).pipe(Effect.provide(Scheduler.layer())))

it.effect("a task that is yielded ends with its fiber, in whatever instant that is interrupted", () =>
  Effect.gen(function*() {
    for (const { ops, turn } of yield* each) {
      const waiting = yield* yielding(ops)(Task.make("task", turns(20)))
      yield* turns(turn)
      yield* Fiber.interrupt(waiting)
      assert.strictEqual((yield* Scheduler.runs).length, 0, `${ops} ops, ${turn} turns`)
    }
  }).pipe(Effect.provide(Scheduler.layer())))

it.effect("the id of a run that never came into the queue is free", () =>
  Effect.gen(function*() {
    const holder = yield* Task.fork(Task.make("holder", Effect.never))
    const task = Task.make("task", Effect.void)
    const next = yield* Task.fork(task)
    const waiting = yield* Effect.forkChild(Task.fork(task, { id: "mine" }))
    yield* quiet
    yield* Fiber.interrupt(waiting)
    yield* holder.interrupt
    yield* TaskRun.join(next)
    const run = yield* Task.fork(task, { id: "mine" })
    yield* TaskRun.join(run)
  }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 1, maxQueued: 1 }))))

it.effect("a queue of no places lets one submitter after another in", () =>
  Effect.gen(function*() {
    const task = Task.make("task", turns(2))
    const all = yield* Effect.forEach([1, 2, 3, 4], () => Effect.forkChild(task))
    yield* quiet
    for (const fiber of all) assert.isDefined(fiber.pollUnsafe())
  }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: 1, maxQueued: 0 }))))
