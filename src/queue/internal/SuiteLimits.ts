/** What may not run yet: limits, rates, pauses, and the cap of a key. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cancelled, dead, job, jobs, type Law, retry, returned, soonest, succeeded } from "./SuiteWorld.ts"

export const limits = (law: Law): void => {
  describe("a limit", () => {
    law("is never exceeded, whatever queue and name", function*(world) {
      yield* world.limit("t", 2)
      yield* world.put(
        job("a", { tags: ["t"] }),
        job("b", { tags: ["t"], queue: "other" }),
        job("c", { tags: ["t"] })
      )
      const [one, two] = [yield* world.worker(), yield* world.worker()]
      const [a] = yield* one.claim(1)
      assert.strictEqual(yield* two.names(), "b")
      assert.strictEqual(yield* two.names(), "")
      yield* one.ends(succeeded(a!))
      assert.strictEqual(yield* two.names(), "c")
    })

    law("is never exceeded by workers that claim at once, and is used up", function*(world) {
      yield* world.limit("t", 5)
      yield* world.put(...Array.from({ length: 60 }, (_, i) => job(`${i}`, { tags: ["t"], key: `${i % 3}` })))
      const workers = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => world.worker())
      for (let round = 0; round < 4; round++) {
        const claims = yield* Effect.forEach(workers, (worker) => worker.claim(10), { concurrency: "unbounded" })
        const claimed = claims.flat()
        assert.strictEqual(claimed.length, 5)
        assert.strictEqual((yield* world.limitOf("t"))!.active, 5)
        yield* Effect.forEach(
          workers,
          (worker, i) => worker.ends(...claims[i]!.map((claim) => succeeded(claim))),
          { concurrency: "unbounded" }
        )
      }
    })

    law("counts weights, and what is too heavy now blocks nothing lighter", function*(world) {
      yield* world.limit("t", 3)
      const tags = ["t"]
      yield* world.put(job("a", { tags, weight: 2 }), job("b", { tags, weight: 2 }), job("c", { tags }))
      const worker = yield* world.worker()
      const [a, c] = yield* worker.claim()
      assert.deepStrictEqual([a?.name, c?.name], ["a", "c"])
      yield* worker.ends(succeeded(c!))
      assert.strictEqual(yield* worker.names(), "")
      yield* worker.ends(succeeded(a!))
      assert.strictEqual(yield* worker.names(), "b")
    })

    law("weighs each for itself, however alike they are", function*(world) {
      yield* world.limit("t", 3)
      const tags = ["t"]
      yield* world.put(job("a", { tags }), job("a", { tags, weight: 3 }), job("a", { tags, weight: 2 }))
      const claimed = yield* (yield* world.worker()).claim()
      assert.deepStrictEqual(claimed.map(({ weight }) => weight), [1, 2])
    })

    law("below a weight keeps it waiting until it is raised", function*(world) {
      yield* world.limit("t", 2)
      yield* world.put(job("big", { tags: ["t"], weight: 3 }), job("small", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "small")
      yield* world.limit("t", 3)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.limit("t", 4)
      assert.strictEqual(yield* worker.names(), "big")
    })

    law(
      "takes part in all or nothing: what waits for one tag holds none of the others",
      function*(world) {
        yield* world.limit("x", 1)
        yield* world.limit("y", 1)
        yield* world.put(
          job("y", { tags: ["y"] }),
          job("both", { tags: ["x", "y"] }),
          job("x", { tags: ["x"] }),
          job("free")
        )
        const worker = yield* world.worker()
        const [y, x, free] = yield* worker.claim()
        assert.deepStrictEqual([y?.name, x?.name, free?.name], ["y", "x", "free"])
        yield* worker.ends(succeeded(y!))
        assert.strictEqual(yield* worker.names(), "")
        yield* worker.ends(succeeded(x!))
        assert.strictEqual(yield* worker.names(), "both")
      }
    )

    law(
      "in the way of many is in the way of nobody else, however urgent they are",
      function*(world) {
        yield* world.limit("t", 0)
        yield* world.put(
          ...Array.from(
            { length: 300 },
            (_, i) => job("blocked", { tags: ["t"], priority: i % 3, key: `${i % 50}`, weight: 1 + i % 2 })
          )
        )
        yield* world.put(job("free", { priority: 1000 }))
        assert.strictEqual(yield* (yield* world.worker()).names(1), "free")
      }
    )

    law("of zero lets nothing through, and \"unbounded\" all", function*(world) {
      yield* world.limit("shut", 0)
      yield* world.limit("open", "unbounded")
      yield* world.put(job("a", { tags: ["shut"] }), job("b", { tags: ["open"], weight: 1000 }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "b")
      yield* world.limit("shut", "unbounded")
      assert.strictEqual(yield* worker.names(), "a")
    })

    law("that is off counts nothing, and all again when it is on", function*(world) {
      const rates = [{ count: 1, per: 1000, burst: 1 }]
      yield* world.limit("t", 1, { enabled: false, rates })
      yield* world.put(...jobs("a b c", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(2), "a b")
      assert.strictEqual((yield* world.limitOf("t"))!.active, 2)
      yield* world.limit("t", 2, { rates })
      assert.strictEqual(yield* worker.names(2), "")
      yield* world.limit("t", 3, { rates })
      assert.strictEqual(yield* worker.names(2), "c")
    })

    law("that is created while jobs wait and run counts those that run", function*(world) {
      yield* world.put(...jobs("a b c", { tags: ["t"] }))
      const worker = yield* world.worker()
      const [a, b] = yield* worker.claim(2)
      yield* world.limit("t", 2)
      assert.strictEqual(yield* worker.names(), "")
      yield* worker.ends(succeeded(a!))
      assert.strictEqual(yield* worker.names(), "c")
      assert.deepStrictEqual((yield* world.limitOf("t"))!.holders.map(({ name }) => name).sort(), ["b", "c"])
      yield* worker.ends(succeeded(b!))
    })

    law(
      "that is lowered lets those that run finish, and nothing in before there is room",
      function*(world) {
        yield* world.limit("t", 3)
        yield* world.put(...jobs("a b c d", { tags: ["t"] }))
        const worker = yield* world.worker()
        const [a, b, c] = yield* worker.claim()
        yield* world.limit("t", 1)
        yield* worker.ends(succeeded(a!), succeeded(b!))
        assert.strictEqual(yield* worker.names(), "")
        assert.deepStrictEqual(yield* worker.ends(succeeded(c!)), [])
        assert.strictEqual(yield* worker.names(), "d")
      }
    )

    law("that is removed is in nobody's way, and says whether it was there", function*(world) {
      yield* world.limit("t", 0)
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "")
      assert.isTrue(yield* world.store.removeLimit("t"))
      assert.isFalse(yield* world.store.removeLimit("t"))
      assert.strictEqual(yield* worker.names(), "a b")
      assert.deepStrictEqual(yield* world.store.limits, [])
    })

    law("of each tag counts, and a tag without one is a label", function*(world) {
      yield* world.limit("x", 2)
      yield* world.limit("y", 1)
      yield* world.put(
        job("a", { tags: ["label", "x", "y"] }),
        job("b", { tags: ["x", "y"] }),
        job("c", { tags: ["label", "x"] }),
        job("d", { tags: ["x"] }),
        job("e", { tags: ["label"] })
      )
      assert.strictEqual(yield* (yield* world.worker()).names(), "a c e")
    })

    law("frees what is ended in the same turn", function*(world) {
      yield* world.limit("t", 1)
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      const worker = yield* world.worker()
      const a = yield* worker.one()
      const { jobs: [b] } = yield* worker.turn({ ends: [succeeded(a)] })
      assert.strictEqual(b?.name, "b")
    })

    law("is freed by every end there is", function*(world) {
      yield* world.limit("t", 1)
      yield* world.put(...jobs("a b c d e", { tags: ["t"] }))
      const worker = yield* world.worker()
      const active = Effect.map(world.limitOf("t"), (limit) => limit!.active)
      for (const end of [succeeded, dead, cancelled, returned, retry]) {
        const claim = yield* worker.one()
        assert.strictEqual(yield* active, 1)
        yield* worker.ends(end(claim))
        assert.strictEqual(yield* active, 0)
      }
    })

    law("tells who has it", function*(world) {
      const now = yield* world.now
      yield* world.limit("t", 5, { rates: [{ count: 4, per: 100, burst: 8 }] })
      yield* world.put(job("a", { tags: ["s", "t"], weight: 2 }), job("b", { tags: ["t"] }), job("c"))
      yield* world.advance(7)
      const worker = yield* world.worker()
      const [a, b] = yield* worker.claim()
      const info = (yield* world.limitOf("t"))!
      assert.deepStrictEqual({ ...info, holders: [] }, {
        tag: "t",
        limit: 5,
        enabled: true,
        rates: [{ count: 4, per: 100, burst: 8 }],
        active: 3,
        holders: [],
        available: [5],
        pausedUntil: undefined
      })
      assert.sameDeepMembers([...info.holders], [
        { job: a!.id, name: "a", weight: 2, worker: worker.id, since: now + 7 },
        { job: b!.id, name: "b", weight: 1, worker: worker.id, since: now + 7 }
      ])
    })

    law("is derived from leases: what ends with a lease is free", function*(world) {
      yield* world.limit("t", 2)
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      const lost = yield* world.worker({ lease: 1000 })
      assert.strictEqual(yield* lost.names(), "a b")
      const other = yield* world.worker()
      yield* world.advance(999)
      assert.strictEqual(yield* other.names(), "")
      yield* world.advance(1)
      assert.strictEqual((yield* world.limitOf("t"))!.active, 0)
      assert.strictEqual(yield* other.names(), "a b")
      assert.strictEqual((yield* world.limitOf("t"))!.active, 2)
    })

    law("is left alone where it is there already, if so asked", function*(world) {
      const limit = (limit: number) => ({ tag: "t", limit, rates: [], enabled: true })
      yield* world.store.setLimit(limit(3), { ifAbsent: true })
      yield* world.store.setLimit(limit(5), { ifAbsent: true })
      assert.strictEqual((yield* world.limitOf("t"))!.limit, 3)
      yield* world.store.setLimit(limit(5))
      assert.strictEqual((yield* world.limitOf("t"))!.limit, 5)
    })

    law("given to the Layer is there", function*(world) {
      assert.deepInclude((yield* world.limitOf("a"))!, { limit: 3, rates: [], enabled: true })
      assert.deepInclude((yield* world.limitOf("b"))!, {
        limit: "unbounded",
        rates: [{ count: 10, per: 1000, burst: 10 }],
        enabled: false
      })
      const { keyLimit, maxQueued, paused } = (yield* world.countsOf("mail"))!
      assert.deepStrictEqual([keyLimit, maxQueued, paused], [1, 10, true])
    }, {
      tagLimits: { a: 3, b: { limit: "unbounded", rate: { count: 10, per: "1 second" }, enabled: false } },
      queues: { mail: { keyLimit: 1, maxQueued: 10, paused: true } }
    })
  })

  describe("a rate", () => {
    law(
      "starts full, and then lets one in as soon as there is a token, to the millisecond",
      function*(world) {
        yield* world.rate("t", 2, 100)
        yield* world.put(...jobs("a b c d e f g", { tags: ["t"] }))
        const worker = yield* world.worker()
        assert.strictEqual(yield* worker.names(), "a b")
        soonest((yield* worker.turn()).next, 50)
        yield* world.advance(49)
        const early = yield* worker.turn()
        assert.deepStrictEqual(early.jobs, [])
        soonest(early.next, 1)
        yield* world.advance(1)
        assert.strictEqual(yield* worker.names(), "c")
        yield* world.advance(75)
        assert.strictEqual(yield* worker.names(), "d")
        yield* world.advance(25)
        assert.strictEqual(yield* worker.names(), "e")
        // Never more than the burst, however long nothing came.
        yield* world.advance(100_000)
        assert.strictEqual(yield* worker.names(), "f g")
      }
    )

    law("has the burst it is given", function*(world) {
      yield* world.rate("t", 10, 1000, 1)
      yield* world.put(...jobs("a b c", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a")
      yield* world.advance(99)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "b")
    })

    law("keeps thirds exact", function*(world) {
      yield* world.rate("t", 3, 1000, 1)
      yield* world.put(...jobs("a b c d", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a")
      yield* world.advance(333)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "b")
      yield* world.advance(334)
      assert.strictEqual(yield* worker.names(), "c")
    })

    law("is spent by weight, and all of it by what is heavier", function*(world) {
      yield* world.rate("t", 4, 400)
      const tags = ["t"]
      yield* world.put(job("a", { tags, weight: 3 }), job("b", { tags, weight: 2 }), job("c", { tags, weight: 9 }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a")
      yield* world.advance(100)
      assert.strictEqual(yield* worker.names(), "b")
      yield* world.advance(399)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "c")
      assert.deepStrictEqual((yield* world.limitOf("t"))!.available, [0])
    })

    law("is not spent by what something else is in the way of", function*(world) {
      yield* world.rate("t", 1, 1000)
      yield* world.limit("shut", 0)
      yield* world.put(job("a", { tags: ["shut", "t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "")
      assert.deepStrictEqual((yield* world.limitOf("t"))!.available, [1])
      yield* world.limit("shut", 1)
      assert.strictEqual(yield* worker.names(), "a")
    })

    law("is nothing to others when what waited for it is gone", function*(world) {
      yield* world.rate("t", 1, 100)
      const ids = yield* world.put(...jobs("a b", { tags: ["t"] }), job("c", { tags: ["t"], expires: { in: 50 } }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a")
      yield* world.store.cancel(ids[1]!)
      yield* world.put(job("d", { due: { in: 100 } }), job("e", { tags: ["t"], due: { in: 100 } }))
      yield* world.advance(100)
      assert.strictEqual(yield* worker.names(), "d e")
    })

    law("of several must all have room", function*(world) {
      yield* world.limit("t", "unbounded", {
        rates: [{ count: 2, per: 10, burst: 2 }, { count: 3, per: 1000, burst: 3 }]
      })
      yield* world.put(...jobs("a b c d e", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a b")
      yield* world.advance(10)
      assert.strictEqual(yield* worker.names(), "c")
      yield* world.advance(323)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "d")
    })

    law("that is edited keeps what it had, within its new burst", function*(world) {
      yield* world.rate("t", 4, 100)
      yield* world.put(...jobs("a b c d", { tags: ["t"] }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(3), "a b c")
      yield* world.rate("t", 2, 100)
      assert.deepStrictEqual((yield* world.limitOf("t"))!.available, [1])
      yield* world.rate("t", 2, 200)
      assert.deepStrictEqual((yield* world.limitOf("t"))!.available, [2])
    })

    law("holds for all workers together, when they claim at once", function*(world) {
      yield* world.rate("t", 7, 1000)
      yield* world.put(...Array.from({ length: 40 }, () => job("a", { tags: ["t"] })))
      const workers = yield* Effect.forEach([1, 2, 3, 4], () => world.worker())
      const claims = yield* Effect.forEach(workers, (worker) => worker.claim(10), { concurrency: "unbounded" })
      assert.strictEqual(claims.flat().length, 7)
    })
  })

  describe("a pause", () => {
    law("of a tag lets nothing in until its time, with a limit or without", function*(world) {
      const now = yield* world.now
      yield* world.limit("t", 5)
      yield* world.store.pauseLimit("t", 100)
      yield* world.store.pauseLimit("label", 50)
      yield* world.put(job("a", { tags: ["t"] }), job("b", { tags: ["label"] }), job("c"))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "c")
      soonest((yield* worker.turn()).next, 50)
      assert.strictEqual((yield* world.limitOf("t"))!.pausedUntil, now + 100)
      yield* world.advance(50)
      const { jobs: [b], next } = yield* worker.turn()
      assert.strictEqual(b?.name, "b")
      soonest(next, 50)
      yield* world.advance(49)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "a")
      assert.isUndefined((yield* world.limitOf("t"))!.pausedUntil)
    })

    law("of a tag is ended by one of no time, and lets go on what runs", function*(world) {
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      const worker = yield* world.worker()
      const a = yield* worker.one()
      yield* world.store.pauseLimit("t", 1_000_000)
      assert.deepStrictEqual(yield* worker.ends(succeeded(a)), [])
      assert.strictEqual(yield* worker.names(), "")
      yield* world.store.pauseLimit("t", 0)
      assert.strictEqual(yield* worker.names(), "b")
    })

    law("of a queue lets nothing of it in, and all of others", function*(world) {
      yield* world.store.setQueue("shut", { paused: true })
      yield* world.put(job("a", { queue: "shut", priority: 0 }), job("b"))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "b")
      assert.strictEqual(yield* worker.names(1, { queues: ["shut"] }), "")
      yield* world.store.setQueue("shut", { paused: false })
      assert.strictEqual(yield* worker.names(), "a")
    })
  })

  describe("the cap of a key", () => {
    law("bounds what a key has active in its queue, and is in nobody else's way", function*(world) {
      yield* world.store.setQueue("default", { keyLimit: 1 })
      yield* world.put(...jobs("a1 a2", { key: "a" }), ...jobs("b1", { key: "b" }), ...jobs("n1 n2"))
      yield* world.put(...jobs("o1 o2", { key: "a", queue: "other", priority: 30 }))
      const worker = yield* world.worker()
      const claimed = yield* worker.claim()
      assert.strictEqual(claimed.map(({ name }) => name).join(" "), "a1 b1 n1 n2 o1 o2")
      yield* worker.ends(succeeded(claimed[1]!))
      assert.strictEqual(yield* worker.names(), "")
      yield* worker.ends(succeeded(claimed[0]!))
      assert.strictEqual(yield* worker.names(), "a2")
    })

    law("counts weights, and changes while jobs wait", function*(world) {
      yield* world.store.setQueue("default", { keyLimit: 3 })
      yield* world.put(job("a", { key: "k", weight: 2 }), job("b", { key: "k", weight: 2 }), job("c", { key: "k" }))
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "a c")
      yield* world.store.setQueue("default", { paused: false })
      assert.strictEqual(yield* worker.names(), "")
      yield* world.store.setQueue("default", { keyLimit: "unbounded" })
      assert.strictEqual(yield* worker.names(), "b")
    })

    law("that comes later counts those that run", function*(world) {
      yield* world.put(...jobs("a b", { key: "k" }))
      const worker = yield* world.worker()
      yield* worker.one()
      yield* world.store.setQueue("default", { keyLimit: 1 })
      assert.strictEqual(yield* worker.names(), "")
    })

    law("holds when workers claim at once", function*(world) {
      yield* world.store.setQueue("default", { keyLimit: 1 })
      yield* world.put(...Array.from({ length: 60 }, (_, i) => job(`${i}`, { key: `${i % 6}` })))
      const workers = yield* Effect.forEach([1, 2, 3, 4], () => world.worker())
      const claims = yield* Effect.forEach(workers, (worker) => worker.claim(10), { concurrency: "unbounded" })
      assert.deepStrictEqual(claims.flat().map(({ key }) => key).sort(), ["0", "1", "2", "3", "4", "5"])
    })
  })
}
