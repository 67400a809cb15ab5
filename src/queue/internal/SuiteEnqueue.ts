/** What is put in, and what is there already. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { NewJob, Unique } from "./StorePort.ts"
import { cancelled, dead, job, jobs, type Law, retry, returned, succeeded } from "./SuiteWorld.ts"

export const enqueueing = (law: Law): void => {
  describe("a unique key", () => {
    const unique = (span: Unique["while"], conflict: Unique["conflict"] = "ignore"): Partial<NewJob> => ({
      unique: { key: "u", while: span, conflict }
    })
    const spans = [["waiting", "waiting"], ["active", "active"], ["a window", { window: 1000 }]] as const

    for (const [title, span] of spans) {
      law(`of ${title}: a second job is the first`, function*(world) {
        const first = yield* world.putOne(job("a", unique(span)))
        assert.strictEqual(first.as, "new")
        const second = yield* world.putOne(job("b", unique(span)))
        assert.deepStrictEqual(second, { id: first.id, as: "existing" })
        yield* world.put(job("c", { unique: { key: "other", while: span, conflict: "error" } }))
        assert.strictEqual(yield* (yield* world.worker()).names(), "a c")
      })

      law(
        `of ${title}: a second job is an error, and nothing of its batch is put in`,
        function*(world) {
          const [id] = yield* world.put(job("a", unique(span, "error")))
          const error = yield* world.refusal(job("b"), job("c", unique(span, "error")))
          assert.deepInclude(error, { _tag: "DuplicateKeyError", field: "unique", key: "u", job: id })
          assert.strictEqual(yield* (yield* world.worker()).names(), "a")
        }
      )

      law(
        `of ${title}: a second job gives the first what it has, at the place of the first`,
        function*(world) {
          const now = yield* world.now
          const [id] = yield* world.put(job("a", unique(span)), job("x", { priority: 10 }))
          yield* world.put(job("y", { priority: 10 }))
          yield* world.advance(3)
          const second = yield* world.putOne(job("a", {
            ...unique(span, "replace"),
            payload: "2",
            tags: ["t"],
            weight: 2,
            priority: 10,
            key: undefined,
            expires: { in: 100 },
            delivery: "atMostOnce"
          }))
          assert.deepStrictEqual(second, { id: id!, as: "replaced" })
          const record = (yield* world.record(id!))!
          assert.deepInclude(record, {
            state: "Waiting",
            payload: "2",
            tags: ["t"],
            weight: 2,
            priority: 10,
            dueAt: now + 3,
            expiresAt: now + 103,
            delivery: "atMostOnce"
          })
          assert.strictEqual(yield* (yield* world.worker()).names(), "a x y")
        }
      )

      law(`of ${title}: replaced, a job is due when the new one is`, function*(world) {
        const [id] = yield* world.put(job("a", unique(span)))
        const worker = yield* world.worker()
        yield* world.putOne(job("a", { ...unique(span, "replace"), due: { in: 50 } }))
        assert.strictEqual(yield* world.state(id!), "Scheduled")
        assert.strictEqual(yield* worker.names(), "")
        yield* world.advance(49)
        yield* world.putOne(job("a", { ...unique(span, "replace"), due: { in: 50 } }))
        yield* world.advance(49)
        assert.strictEqual(yield* worker.names(), "")
        yield* world.putOne(job("a", { ...unique(span, "replace"), payload: "last" }))
        assert.strictEqual((yield* worker.one()).payload, "last")
      })

      law(`of ${title}: in one batch, the first is there for the second`, function*(world) {
        const answers = yield* world.store.enqueue([
          job("a", unique(span)),
          job("b", unique(span)),
          job("c", { ...unique(span, "replace"), payload: "c" })
        ])
        assert.deepStrictEqual(answers.map(({ as }) => as), ["new", "existing", "replaced"])
        assert.strictEqual(new Set(answers.map(({ id }) => id)).size, 1)
        assert.strictEqual((yield* world.store.list()).length, 1)
        assert.strictEqual((yield* (yield* world.worker()).one()).payload, "c")
      })

      law(`of ${title}: enqueued from many sides at once is one job`, function*(world) {
        const answers = yield* Effect.forEach(
          Array.from({ length: 20 }),
          () => world.putOne(job("a", unique(span))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(answers.filter(({ as }) => as === "new").length, 1)
        assert.strictEqual(new Set(answers.map(({ id }) => id)).size, 1)
      })
    }

    law(
      "of waiting is free once it starts, and not taken again by what comes back",
      function*(world) {
        const first = yield* world.putOne(job("a", unique("waiting")))
        const worker = yield* world.worker()
        const claim = yield* worker.one()
        const second = yield* world.putOne(job("b", unique("waiting")))
        assert.strictEqual(second.as, "new")
        yield* worker.ends(returned(claim))
        assert.deepStrictEqual(yield* world.putOne(job("c", unique("waiting"))), { id: second.id, as: "existing" })
        assert.strictEqual((yield* worker.one()).id, first.id)
        assert.deepStrictEqual((yield* world.putOne(job("d", unique("waiting")))).as, "existing")
      }
    )

    law("of waiting is free when its job ends before it started", function*(world) {
      const [id] = yield* world.put(job("a", unique("waiting")))
      yield* world.store.cancel(id!)
      assert.strictEqual((yield* world.putOne(job("b", { ...unique("waiting"), expires: { in: 5 } }))).as, "new")
      yield* world.advance(5)
      yield* world.store.sweep
      assert.strictEqual((yield* world.putOne(job("c", unique("waiting")))).as, "new")
    })

    law("of active is free only when its job has ended for good", function*(world) {
      const worker = yield* world.worker()
      for (const end of [succeeded, dead, cancelled]) {
        const { as, id } = yield* world.putOne(job("a", unique("active")))
        assert.strictEqual(as, "new")
        const taken = Effect.map(world.putOne(job("b", unique("active"))), (there) => there.id === id)
        const first = yield* worker.one()
        assert.isTrue(yield* taken)
        yield* worker.ends(retry(first, 10))
        assert.isTrue(yield* taken)
        yield* world.advance(10)
        const second = yield* worker.one()
        yield* worker.ends(returned(second))
        assert.isTrue(yield* taken)
        yield* worker.ends(end(yield* worker.one()))
      }
      assert.strictEqual((yield* world.putOne(job("c", unique("active")))).as, "new")
    })

    law(
      "of active, replaced while it runs: the worker is told to stop, and the new one is new",
      function*(world) {
        const first = yield* world.putOne(job("a", unique("active")))
        const worker = yield* world.worker()
        const claim = yield* worker.one()
        const second = yield* world.putOne(job("b", unique("active", "replace")))
        assert.strictEqual(second.as, "new")
        assert.notStrictEqual(second.id, first.id)
        const { cancelled: told } = yield* worker.turn({ want: 0 })
        assert.deepStrictEqual(told, [first.id])
        // The key is the new one's: the end of the old one does not free it.
        yield* worker.ends(cancelled(claim))
        assert.deepStrictEqual(yield* world.putOne(job("c", unique("active"))), { id: second.id, as: "existing" })
        assert.strictEqual(yield* worker.names(), "b")
      }
    )

    law("of a window is free when that is over, whatever became of its job", function*(world) {
      const worker = yield* world.worker()
      const first = yield* world.putOne(job("a", unique({ window: 1000 })))
      yield* worker.ends(succeeded(yield* worker.one()))
      yield* world.advance(999)
      assert.deepStrictEqual(yield* world.putOne(job("b", unique({ window: 1000 }))), {
        id: first.id,
        as: "existing"
      })
      yield* world.advance(1)
      const second = yield* world.putOne(job("c", unique({ window: 1000 })))
      assert.strictEqual(second.as, "new")
      yield* world.advance(1000)
      // It still waits, and is not unique any more.
      assert.strictEqual((yield* world.putOne(job("d", unique({ window: 1000 }, "error")))).as, "new")
      assert.strictEqual(yield* worker.names(), "c d")
    })

    law("of a window is taken though its job is gone", function*(world) {
      const worker = yield* world.worker()
      const { id } = yield* world.putOne(job("a", unique({ window: 1000 })))
      yield* worker.ends(succeeded(yield* worker.one()))
      assert.strictEqual(yield* world.state(id), "gone")
      assert.deepStrictEqual(yield* world.putOne(job("b", unique({ window: 1000 }))), { id, as: "existing" })
      const error = yield* world.refusal(job("c", unique({ window: 1000 }, "error")))
      assert.deepInclude(error, { _tag: "DuplicateKeyError", field: "unique", job: id })
    }, { retention: { succeeded: 0 } })

    law("of a window that is over with the new one is free for the next of the batch", function*(world) {
      yield* world.put(job("a", unique({ window: 1000 })))
      yield* world.advance(500)
      const answers = yield* world.store.enqueue([
        job("b", unique({ window: 100 }, "replace")),
        job("c", unique({ window: 100 }))
      ])
      assert.deepStrictEqual(answers.map(({ as }) => as), ["replaced", "new"])
    })

    law("of a window, replaced after its job has ended, is a new one's", function*(world) {
      const worker = yield* world.worker()
      const first = yield* world.putOne(job("a", unique({ window: 1000 })))
      yield* worker.ends(succeeded(yield* worker.one()))
      yield* world.advance(500)
      const second = yield* world.putOne(job("b", unique({ window: 1000 }, "replace")))
      assert.strictEqual(second.as, "new")
      assert.notStrictEqual(second.id, first.id)
      yield* world.advance(999)
      assert.deepStrictEqual(yield* world.putOne(job("c", unique({ window: 1000 }))), {
        id: second.id,
        as: "existing"
      })
    })
  })

  describe("an id", () => {
    law("is given by the store, each once", function*(world) {
      const ids = yield* world.put(...jobs("a b c"))
      const more = yield* world.put(...jobs("d e"))
      assert.strictEqual(new Set([...ids, ...more]).size, 5)
    })

    law("can be one's own, once", function*(world) {
      const mine = { id: "order 'ü' 7" }
      assert.deepStrictEqual(yield* world.put(job("a", mine)), [mine.id])
      assert.strictEqual((yield* world.record(mine.id))!.name, "a")
      const error = yield* world.refusal(job("b"), job("c", mine))
      assert.deepInclude(error, { _tag: "DuplicateKeyError", field: "id", key: mine.id, job: mine.id })
      const twice = yield* world.refusal(job("d", { id: "twice" }), job("e", { id: "twice" }))
      assert.deepInclude(twice, { _tag: "DuplicateKeyError", field: "id", key: "twice" })
      const worker = yield* world.worker()
      const claim = yield* worker.one()
      assert.strictEqual(claim.id, mine.id)
      assert.deepStrictEqual(yield* worker.ends(succeeded(claim)), [])
      // For as long as it is remembered.
      assert.strictEqual((yield* world.refusal(job("f", mine)))._tag, "DuplicateKeyError")
      assert.strictEqual(yield* worker.names(), "")
    })

    law("is free again when its job is forgotten", function*(world) {
      const worker = yield* world.worker()
      for (let n = 0; n < 2; n++) {
        yield* world.put(job("a", { id: "mine" }))
        yield* worker.ends(succeeded(yield* worker.one()))
      }
    }, { retention: { succeeded: 0 } })

    law("that looks like a number is nobody else's", function*(world) {
      const [first] = yield* world.put(job("first"))
      const mine = Array.from({ length: 10 }, (_, i) => String(Number(first) + 1 + 2 * i))
      yield* world.put(...mine.map((id) => job("mine", { id })))
      const more = yield* world.put(...Array.from({ length: 20 }, () => job("theirs")))
      for (const id of mine) assert.strictEqual((yield* world.record(id))!.name, "mine")
      for (const id of more) assert.strictEqual((yield* world.record(id))!.name, "theirs")
      const worker = yield* world.worker()
      const claims = yield* worker.claim()
      assert.strictEqual(new Set(claims.map(({ id }) => id)).size, 31)
      assert.deepStrictEqual(yield* worker.ends(...claims.map((claim) => succeeded(claim))), [])
    })

    law("of nobody is nobody's", function*(world) {
      for (const id of ["", "7", "-1", "0", "1e3", "nobody", "99999999999999999999999"]) {
        assert.isTrue(Option.isNone(yield* world.store.get(id)))
        assert.isFalse(yield* world.store.cancel(id))
        assert.strictEqual(yield* world.store.redrive({ ids: [id] }), 0)
      }
    })
  })

  describe("a batch", () => {
    law("of nothing is nothing", function*(world) {
      assert.deepStrictEqual(yield* world.store.enqueue([]), [])
      assert.deepStrictEqual(yield* world.store.counts, [])
    })

    law("is put in in its order, and answered in it", function*(world) {
      const batch = Array.from(
        { length: 1000 },
        (_, i) => job(`${i}`, { key: i % 2 === 0 ? undefined : "k", queue: "q" })
      )
      const ids = yield* world.put(...batch)
      for (const at of [0, 1, 500, 999]) {
        assert.strictEqual((yield* world.record(ids[at]!))!.name, `${at}`)
      }
      const evens = yield* (yield* world.worker()).claim(1000)
      assert.deepStrictEqual(
        evens.map(({ name }) => Number(name)),
        batch.map((_, i) => i)
      )
    })
  })

  describe("a bounded queue", () => {
    law("refuses what would be too many, all of the batch", function*(world) {
      yield* world.store.setQueue("default", { maxQueued: 3 })
      yield* world.put(job("a"), job("b", { due: { in: 1000 } }))
      const error = yield* world.refusal(...jobs("c d"))
      assert.deepInclude(error, { _tag: "QueueFullError", queue: "default", maxQueued: 3 })
      yield* world.put(job("c"), job("elsewhere", { queue: "other" }))
      assert.strictEqual((yield* world.refusal(job("d")))._tag, "QueueFullError")
      const counts = (yield* world.countsOf("default"))!
      assert.deepStrictEqual([counts.waiting, counts.scheduled], [2, 1])
    })

    law(
      "has room again for what was claimed, and none is needed by what comes back",
      function*(world) {
        yield* world.store.setQueue("default", { maxQueued: 1 })
        const worker = yield* world.worker()
        yield* world.put(job("a"))
        const a = yield* worker.one()
        yield* world.put(job("b"))
        assert.deepStrictEqual(yield* worker.ends(retry(a, 5)), [])
        assert.strictEqual((yield* world.countsOf("default"))!.scheduled, 1)
        yield* world.advance(5)
        assert.strictEqual((yield* world.refusal(job("c")))._tag, "QueueFullError")
        assert.strictEqual(yield* worker.names(), "a b")
        yield* world.put(job("c"))
      }
    )

    law("does not count what its unique key names already", function*(world) {
      const unique = { key: "u", while: "active", conflict: "ignore" } as const
      yield* world.store.setQueue("default", { maxQueued: 1 })
      yield* world.put(job("a", { unique }))
      assert.strictEqual((yield* world.putOne(job("b", { unique }))).as, "existing")
      assert.strictEqual(
        (yield* world.putOne(job("b", { unique: { ...unique, conflict: "replace" } }))).as,
        "replaced"
      )
    })

    law("is not exceeded by producers at once", function*(world) {
      yield* world.store.setQueue("default", { maxQueued: 5 })
      yield* Effect.forEach(
        Array.from({ length: 20 }),
        () => Effect.ignore(world.store.enqueue([job("a")])),
        { concurrency: "unbounded" }
      )
      assert.strictEqual((yield* world.countsOf("default"))!.waiting, 5)
    })

    law("of zero takes nothing, and of \"unbounded\" all", function*(world) {
      yield* world.store.setQueue("default", { maxQueued: 0 })
      assert.strictEqual((yield* world.refusal(job("a")))._tag, "QueueFullError")
      yield* world.store.setQueue("default", { maxQueued: "unbounded" })
      yield* world.put(job("a"))
    })
  })
}
