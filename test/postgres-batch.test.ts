/** What is put in while a worker waits goes in with its turn. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { Batch } from "../src/queue/internal/PostgresBatch.ts"
import { JobStoreError, type NewJob } from "../src/queue/JobStore.ts"

const job = (name: string) => ({ name }) as NewJob
const namesOf = (jobs: ReadonlyArray<NewJob>) => jobs.map(({ name }) => name).join("+")
const lost = new JobStoreError({ kind: "test", operation: "turn", cause: "lost" })
const undone = new JobStoreError({ kind: "test", operation: "turn", cause: "undone" })

/** A batch, and a worker that takes a turn when it is woken, if it is there. */
const makeBatch = (both?: JobStoreError) => {
  const done: Array<string> = []
  const state = { isThere: true, isAlone: true }
  const turns: Array<Fiber.Fiber<string, JobStoreError>> = []
  const enqueued = (jobs: ReadonlyArray<NewJob>) => jobs.map(({ name }) => ({ id: name, as: "new" as const }))
  const batch: Batch<string> = new Batch({
    put: (jobs) =>
      Effect.sync(() => {
        done.push(`put ${namesOf(jobs)}`)
        return enqueued(jobs)
      }),
    turn: (params) =>
      Effect.sync(() => {
        done.push(`turn ${params}`)
        return "apart"
      }),
    putAndTurn: (jobs, params) =>
      Effect.suspend(() => {
        done.push(`put ${namesOf(jobs)} and turn ${params}`)
        return both === undefined
          ? Effect.succeed({ put: Exit.succeed(enqueued(jobs)), turned: "together" })
          : Effect.fail(both)
      }),
    isUndone: (error) => error === undone,
    wake: () => {
      done.push("wake")
      if (state.isThere) turns.push(Effect.runFork(Effect.andThen(Effect.yieldNow, batch.turn("1", ["w"]))))
      state.isThere = false
    },
    isAlone: () => state.isAlone
  })
  return { batch, done, state, turns }
}

describe("Batch", () => {
  it.live("the turn of a worker that waits goes along, and nobody is woken again", () =>
    Effect.gen(function*() {
      const { batch, done, turns } = makeBatch()
      batch.waits("1")
      const both = yield* Effect.all([batch.enqueue([job("a")]), batch.enqueue([job("b"), job("c")])], {
        concurrency: 2
      })
      assert.deepStrictEqual(both.map((some) => some.map(({ id }) => id)), [["a"], ["b", "c"]])
      assert.strictEqual(yield* Fiber.join(turns[0]!), "together")
      assert.deepStrictEqual(done, ["wake", "put a+b+c and turn w"])
    }))

  it.live("the others who listen here are woken when it is done", () =>
    Effect.gen(function*() {
      const { batch, done, state } = makeBatch()
      state.isAlone = false
      batch.waits("1")
      yield* batch.enqueue([job("a")])
      assert.deepStrictEqual(done, ["wake", "put a and turn w", "wake"])
    }))

  it.live("where nobody waits nobody is waited for", () =>
    Effect.gen(function*() {
      const { batch, done, state } = makeBatch()
      state.isThere = false
      yield* batch.enqueue([job("a")])
      assert.deepStrictEqual(done, ["put a", "wake"])
      assert.strictEqual(yield* batch.turn("1", ["x"]), "apart")
    }))

  it.live("who waited and does not come is waited for once", () =>
    Effect.gen(function*() {
      const { batch, done, state } = makeBatch()
      state.isThere = false
      batch.waits("1")
      yield* batch.enqueue([job("a")])
      yield* batch.enqueue([job("b")])
      assert.deepStrictEqual(done, ["wake", "put a", "wake", "put b", "wake"])
    }))

  it.live("what was undone is done by each for itself", () =>
    Effect.gen(function*() {
      const { batch, done, turns } = makeBatch(undone)
      batch.waits("1")
      assert.deepStrictEqual(yield* batch.enqueue([job("a")]), [{ id: "a", as: "new" }])
      assert.strictEqual(yield* Fiber.join(turns[0]!), "apart")
      assert.sameMembers(done, ["wake", "put a and turn w", "turn w", "put a"])
    }))

  it.live("what may have been done is done again by nobody", () =>
    Effect.gen(function*() {
      const { batch, done, turns } = makeBatch(lost)
      batch.waits("1")
      assert.strictEqual(yield* Effect.flip(batch.enqueue([job("a")])), lost)
      assert.strictEqual(yield* Effect.flip(Fiber.join(turns[0]!)), lost)
      assert.deepStrictEqual(done, ["wake", "put a and turn w"])
    }))

  it.live("a turn is taken though who put something in has gone", () =>
    Effect.gen(function*() {
      const { batch, done, turns } = makeBatch()
      batch.waits("1")
      const putting = yield* Effect.forkChild(batch.enqueue([job("a")]), { startImmediately: true })
      yield* Fiber.interrupt(putting)
      const come = yield* Latch.make()
      yield* Effect.forkChild(Effect.andThen(Effect.yieldNow, Effect.andThen(Effect.yieldNow, come.open)))
      yield* come.await
      assert.strictEqual(yield* Fiber.join(turns[0]!), "apart")
      assert.deepStrictEqual(done.filter((one) => one !== "wake"), ["turn w"])
    }))

  it.live("nothing is put in for who has gone", () =>
    Effect.gen(function*() {
      const { batch, done, state } = makeBatch()
      state.isThere = false
      batch.waits("1")
      const putting = yield* Effect.forkChild(batch.enqueue([job("a")]), { startImmediately: true })
      yield* Fiber.interrupt(putting)
      for (let i = 0; i < 10; i++) yield* Effect.yieldNow
      yield* batch.enqueue([job("b")])
      assert.deepStrictEqual(done.filter((one) => one !== "wake"), ["put b"])
    }))
})
