/** What outlives the Layer. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Durably, job, jobs, succeeded } from "./SuiteWorld.ts"

export const durability = (law: Durably): void => {
  describe("two Layers at one place", () => {
    law("are one store, one after the other", function*(reopen) {
      const now = yield* Effect.scoped(Effect.gen(function*() {
        const world = yield* reopen({ tagLimits: { t: 1, u: 2 }, queues: { default: { keyLimit: 1 } } })
        const worker = yield* world.worker({ lease: 1000 })
        yield* world.put(...jobs("a b", { tags: ["t"] }), job("late", { due: { in: 500 } }), job("x", { id: "x" }))
        yield* world.put(job("once", { unique: { key: "u", while: "active", conflict: "ignore" } }))
        assert.strictEqual(yield* worker.names(1), "a")
        yield* world.limit("t", 2)
        yield* world.store.removeLimit("u")
        yield* world.store.setQueue("mail", { paused: true })
        return yield* world.now
      }))
      const world = yield* reopen({
        tagLimits: { t: 1, u: 3 },
        queues: { default: { keyLimit: 5, maxQueued: 9 }, mail: { paused: false } }
      })
      assert.deepStrictEqual((yield* world.store.limits).map(({ limit, tag }) => [tag, limit]).toSorted(), [[
        "t",
        2
      ], ["u", 3]])
      assert.deepInclude((yield* world.countsOf("default"))!, { keyLimit: 1, maxQueued: 9 })
      assert.deepInclude((yield* world.countsOf("mail"))!, { paused: true })
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "b x once")
      assert.strictEqual(
        (yield* world.putOne(job("d", { unique: { key: "u", while: "active", conflict: "ignore" } }))).as,
        "existing"
      )
      assert.strictEqual((yield* world.refusal(job("x", { id: "x" })))._tag, "DuplicateKeyError")
      yield* world.advance(499)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      const late = yield* worker.one()
      assert.deepStrictEqual([late.name, late.dueAt], ["late", now + 500])
      yield* world.advance(500)
      const a = yield* worker.one()
      assert.deepStrictEqual([a.name, a.attempt, a.token], ["a", 2, 2])
    })

    law("are one store, side by side", function*(reopen) {
      const [one, two] = yield* Effect.all([reopen(), reopen()], { concurrency: 2 })
      yield* one.limit("t", 3)
      const woken = Effect.scoped(
        two.wakes(one.put(...Array.from({ length: 40 }, () => job("a", { tags: ["t"] }))))
      )
      yield* woken
      const workers = [yield* one.worker(), yield* two.worker()]
      const ids = new Set<string>()
      for (let round = 0; round < 5; round++) {
        const claims = yield* Effect.forEach(workers, (worker) => worker.claim(10), { concurrency: "unbounded" })
        assert.strictEqual(claims.flat().length, 3)
        for (const { id } of claims.flat()) ids.add(id)
        yield* Effect.forEach(workers, (worker, i) => worker.ends(...claims[i]!.map((claim) => succeeded(claim))), {
          concurrency: "unbounded"
        })
      }
      assert.strictEqual(ids.size, 15)
      assert.deepStrictEqual(yield* one.store.counts, yield* two.store.counts)
    })
  })
}
