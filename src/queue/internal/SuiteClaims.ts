/** What is claimed, in which order, and when there is more. */
import { assert, describe } from "@effect/vitest"
import { job, jobs, type Law, retry, returned, soonest } from "./SuiteWorld.ts"

export const claims = (law: Law): void => {
  describe("order", () => {
    law("what was put in first is claimed first", function*(world) {
      yield* world.put(...jobs("a b"))
      yield* world.put(...jobs("c d"))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(3), "a b c")
      assert.strictEqual(yield* worker.names(3), "d")
      assert.strictEqual(yield* worker.names(3), "")
    })

    law("nobody is given more than it wants", function*(world) {
      yield* world.put(...jobs("a b c"))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(0), "")
      assert.strictEqual(yield* worker.names(1), "a")
      assert.strictEqual(yield* worker.names(1), "b")
    })

    law("a claim has all that was put in", function*(world) {
      const now = yield* world.now
      const more = {
        payload: `{"a":"\\u0000 ✓ '\\"\\\\ \\n"}`,
        tags: ["x", "y, z"],
        weight: 2,
        priority: -1.5,
        key: "k",
        trace: "00-1-2-03"
      }
      const [id] = yield* world.put(job("all", { ...more, delivery: "atMostOnce", queue: "q'\"" }))
      const claim = yield* (yield* world.worker()).one()
      assert.deepStrictEqual(claim, {
        ...more,
        id: id!,
        name: "all",
        queue: "q'\"",
        delivery: "atMostOnce",
        token: claim.token,
        attempt: 1,
        errors: [],
        enqueuedAt: now,
        dueAt: now
      })
    })

    law("the lower priority goes first, whenever it came", function*(world) {
      yield* world.put(
        job("low1", { priority: 30 }),
        job("low2", { priority: 30 }),
        job("high1", { priority: 10 }),
        job("high2", { priority: 10 }),
        job("medium", { priority: 20 }),
        job("between", { priority: 19.5 }),
        job("first", { priority: -7 })
      )
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "first high1 high2 between medium low1 low2")
    })

    law("keys share a queue in turn, and no key is a key too", function*(world) {
      yield* world.put(...jobs("a1 a2 a3 a4", { key: "a" }), ...jobs("b1 b2", { key: "b" }), ...jobs("n1 n2"))
      assert.strictEqual(yield* (yield* world.worker()).names(), "a1 b1 n1 a2 b2 n2 a3 a4")
    })

    law("a key that is served more weight has its next turn later", function*(world) {
      yield* world.put(
        job("a1", { key: "a", weight: 3 }),
        job("a2", { key: "a" }),
        ...jobs("b1 b2 b3 b4", { key: "b" })
      )
      assert.strictEqual(yield* (yield* world.worker()).names(), "a1 b1 b2 b3 a2 b4")
    })

    law("a key that comes later comes in where the others are", function*(world) {
      yield* world.put(...jobs("a1 a2 a3 a4 a5 a6", { key: "a" }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(3), "a1 a2 a3")
      yield* world.put(...jobs("b1 b2", { key: "b" }))
      assert.strictEqual(yield* worker.names(), "b1 a4 b2 a5 a6")
    })

    law("a backlog of one key does not keep another waiting", function*(world) {
      yield* world.put(...Array.from({ length: 500 }, () => job("many", { key: "many" })))
      yield* world.put(...jobs("one two", { key: "few" }))
      assert.strictEqual(yield* (yield* world.worker()).names(4), "many one many two")
    })

    law("what was active as the first key came counts when it is back", function*(world) {
      yield* world.put(job("n1"))
      const worker = yield* world.worker()
      const n1 = yield* worker.one()
      yield* world.put(...jobs("a1 a2", { key: "a" }))
      yield* worker.ends(returned(n1))
      yield* world.put(job("n2"))
      assert.strictEqual(yield* worker.names(), "n1 a1 a2 n2")
    })

    law("keys of one queue are nothing to another", function*(world) {
      yield* world.put(...jobs("a1 a2 a3", { key: "a", queue: "other" }))
      yield* world.put(...jobs("b1 b2", { key: "a" }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(1, { queues: ["default"] }), "b1")
      assert.strictEqual(yield* worker.names(), "a1 a2 b2 a3")
    })

    law("where nothing has a key, age alone counts", function*(world) {
      yield* world.put(job("a", { weight: 5 }), ...jobs("b c"), job("d", { queue: "other" }), job("e"))
      assert.strictEqual(yield* (yield* world.worker()).names(), "a b c d e")
    })

    law("what comes back has the place it had", function*(world) {
      yield* world.put(...jobs("a1 a2 a3 a4", { key: "a" }), ...jobs("b1 b2 b3 b4", { key: "b" }))
      const worker = yield* world.worker()
      const [a1, b1, a2] = yield* worker.claim(3)
      yield* worker.ends(returned(a2!), retry(b1!), returned(a1!))
      assert.strictEqual(yield* worker.names(), "a1 b1 a2 b2 a3 b3 a4 b4")
    })

    law("what comes due comes in among its key as if it were new", function*(world) {
      yield* world.put(
        job("late", { key: "a", due: { in: 10 } }),
        ...jobs("a1 a2", { key: "a" }),
        ...jobs("b1 b2 b3 b4", { key: "b" })
      )
      yield* world.advance(10)
      assert.strictEqual(yield* (yield* world.worker()).names(), "a1 b1 a2 b2 late b3 b4")
    })

    law("without keys what comes due is as old as it is", function*(world) {
      yield* world.put(job("old", { due: { in: 10 } }), ...jobs("a b"))
      yield* world.advance(10)
      assert.strictEqual(yield* (yield* world.worker()).names(), "old a b")
    })
  })

  describe("a filter", () => {
    const all = [
      job("a", { queue: "x", tags: ["red"], priority: 10 }),
      job("b", { queue: "y", tags: ["blue"], priority: 20 }),
      job("a", { queue: "z", tags: ["blue", "red"], priority: 30 }),
      job("c", { queue: "x" })
    ]
    const filters = [
      [{}, "ax by cx az"],
      [{ queues: ["x"] }, "ax cx"],
      [{ queues: ["z", "x", "nowhere"] }, "ax cx az"],
      [{ queues: [] }, ""],
      [{ tags: ["red"] }, "ax az"],
      [{ tags: ["blue", "red"] }, "ax by az"],
      [{ tags: [] }, ""],
      [{ names: ["a"] }, "ax az"],
      [{ names: [] }, ""],
      [{ priorities: { from: 20 } }, "by cx az"],
      [{ priorities: { to: 20 } }, "ax by cx"],
      [{ priorities: { from: 11, to: 20 } }, "by cx"],
      [{ queues: ["x", "z"], tags: ["blue"], names: ["a"], priorities: { from: 0 } }, "az"],
      [{ queues: ["y"], names: ["a"] }, ""]
    ] as const
    for (const [filter, expected] of filters) {
      law(`of ${JSON.stringify(filter)} lets through what all its parts do`, function*(world) {
        yield* world.put(...all)
        const worker = yield* world.worker()
        const claimed = yield* worker.claim(100, filter)
        assert.strictEqual(claimed.map(({ name, queue }) => name + queue).join(" "), expected)
        // What it leaves out is left to others.
        assert.strictEqual((yield* worker.claim()).length, all.length - claimed.length)
      })
    }

    law("changes nothing of what it leaves out", function*(world) {
      yield* world.limit("t", 1)
      yield* world.put(...jobs("a1 a2", { key: "a", tags: ["t"] }), ...jobs("b1 b2", { key: "b", queue: "other" }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(5, { names: ["none"] }), "")
      assert.strictEqual(yield* worker.names(5, { names: ["b2", "a2"] }), "a2 b2")
      assert.strictEqual(yield* worker.names(), "b1")
    })
  })

  describe("a turn", () => {
    law("says that there is more at once when it was given all it wanted", function*(world) {
      yield* world.put(...jobs("a b c"))
      const worker = yield* world.worker()
      assert.strictEqual((yield* worker.turn({ want: 2 })).next, 0)
      assert.isUndefined((yield* worker.turn({ want: 2 })).next)
    })

    law("does not say so of what cannot run", function*(world) {
      yield* world.limit("shut", 0)
      yield* world.put(job("a", { tags: ["shut"] }), job("b", { tags: ["shut"], weight: 2 }), job("c"))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "c")
      assert.isUndefined((yield* worker.turn()).next)
    })

    law("names the earliest of all that time alone brings", function*(world) {
      const worker = yield* world.worker()
      yield* world.rate("t", 1, 1000)
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      yield* worker.one()
      soonest((yield* worker.turn()).next, 1000)
      yield* world.put(job("c", { due: { in: 900 } }))
      soonest((yield* worker.turn()).next, 900)
      yield* world.put(job("d", { due: { in: 2000 }, expires: { in: 800 } }))
      soonest((yield* worker.turn()).next, 800)
      const other = yield* world.worker({ lease: 700 })
      soonest((yield* worker.turn()).next, 700)
      yield* world.put(job("e", { tags: ["p"] }))
      yield* world.store.pauseLimit("p", 600)
      soonest((yield* worker.turn()).next, 600)
      yield* world.advance(600)
      assert.strictEqual(yield* worker.names(), "e")
      yield* world.store.leave(other.id)
      soonest((yield* worker.turn()).next, 200)
    })
  })
}
