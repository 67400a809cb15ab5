/** What becomes of a job: attempts, time, and those who look after it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { cancelled, dead, job, jobs, type Law, retry, returned, soonest, succeeded } from "./SuiteWorld.ts"

export const lives = (law: Law): void => {
  describe("an attempt", () => {
    law("that succeeded leaves its result", function*(world) {
      const now = yield* world.now
      const [id] = yield* world.put(job("a", { tags: ["t"], key: "k", expires: { in: 500 } }))
      const worker = yield* world.worker()
      yield* world.advance(5)
      const claim = yield* worker.one()
      const active = (yield* world.record(id!))!
      assert.deepStrictEqual(active, {
        id: id!,
        name: "a",
        state: "Active",
        queue: "default",
        tags: ["t"],
        key: "k",
        priority: 20,
        weight: 1,
        payload: "\"a\"",
        delivery: "atLeastOnce",
        attempt: 1,
        crashes: 0,
        errors: [],
        enqueuedAt: now,
        dueAt: now,
        expiresAt: now + 500,
        worker: worker.id,
        claimedAt: now + 5,
        endedAt: undefined,
        reason: undefined,
        result: undefined
      })
      yield* world.advance(5)
      yield* worker.ends(succeeded(claim, "[1]"))
      assert.deepStrictEqual(yield* world.record(id!), {
        ...active,
        state: "Succeeded",
        worker: undefined,
        endedAt: now + 10,
        result: "[1]"
      })
    })

    law("that is retried waits until it is due, to the millisecond", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      yield* worker.ends(retry(yield* worker.one(), 1234))
      assert.strictEqual(yield* world.state(id!), "Scheduled")
      soonest((yield* worker.turn()).next, 1234)
      yield* world.advance(1233)
      assert.strictEqual(yield* worker.names(), "")
      yield* world.advance(1)
      const again = yield* worker.one()
      assert.deepStrictEqual([again.attempt, again.errors.length], [2, 1])
    })

    law("that is retried at once waits at once, and its errors are told", function*(world) {
      yield* world.put(job("a"))
      const worker = yield* world.worker()
      const first = yield* worker.one()
      const error = { attempt: 1, at: 5, reason: "TimedOut" as const, message: "äh \n'", cause: "{\"x\":1}" }
      const { jobs: [second] } = yield* worker.turn({
        ends: [{ _tag: "Retry", id: first.id, token: first.token, after: 0, error }]
      })
      assert.deepStrictEqual(second!.errors, [error])
      yield* worker.ends(retry(second!, 0, "two"))
      const third = yield* worker.one()
      assert.deepStrictEqual(third.errors.map(({ message }) => message), ["äh \n'", "two"])
      assert.strictEqual(third.attempt, 3)
    })

    law("leaves its error among the last hundred", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      let claim = yield* worker.one()
      for (let n = 1; n <= 103; n++) {
        const { jobs: [next] } = yield* worker.turn({ ends: [retry(claim, 0, `${n}`)], want: 1 })
        claim = next!
      }
      assert.strictEqual(claim.attempt, 104)
      const { errors } = (yield* world.record(id!))!
      assert.deepStrictEqual([errors.length, errors[0]!.message, errors.at(-1)!.message], [100, "4", "103"])
      assert.deepStrictEqual(claim.errors, errors)
    })

    law(
      "that was returned is not counted, and its job is at the head of its line",
      function*(world) {
        yield* world.put(...jobs("a b"))
        const worker = yield* world.worker()
        const claim = yield* worker.one()
        yield* worker.ends(returned(claim))
        const record = (yield* world.record(claim.id))!
        assert.deepStrictEqual([record.state, record.attempt, record.crashes], ["Waiting", 0, 0])
        assert.isUndefined(record.worker)
        const again = yield* worker.one()
        assert.deepStrictEqual([again.name, again.attempt, again.errors], ["a", 1, []])
      }
    )

    law("that is dead says why, with an error or without", function*(world) {
      const ids = yield* world.put(...jobs("a b"))
      const worker = yield* world.worker()
      const [a, b] = yield* worker.claim()
      yield* worker.ends(dead(a!, "Aborted"), {
        _tag: "Dead",
        id: b!.id,
        token: b!.token,
        reason: "UnknownJob",
        error: undefined
      })
      assert.deepStrictEqual(yield* world.states(ids), ["Dead Aborted", "Dead UnknownJob"])
      const records = yield* Effect.forEach(ids, (id) => world.record(id))
      assert.deepStrictEqual(records.map((record) => record!.errors.length), [1, 0])
    })

    law("that was cancelled ends as cancelled", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      yield* worker.ends(cancelled(yield* worker.one()))
      assert.strictEqual(yield* world.state(id!), "Cancelled")
    })
  })

  describe("time", () => {
    law("a job that is delayed is due to the millisecond", function*(world) {
      const now = yield* world.now
      const [id] = yield* world.put(job("a", { due: { in: 1500 } }))
      assert.strictEqual((yield* world.record(id!))!.dueAt, now + 1500)
      assert.strictEqual(yield* world.state(id!), "Scheduled")
      const worker = yield* world.worker()
      soonest((yield* worker.turn()).next, 1500)
      yield* world.advance(1499)
      const { jobs, next } = yield* worker.turn()
      assert.deepStrictEqual(jobs, [])
      soonest(next, 1)
      yield* world.advance(1)
      assert.strictEqual((yield* worker.one()).dueAt, now + 1500)
    })

    law("a job runs at its time, and at once when that has passed", function*(world) {
      const now = yield* world.now
      yield* world.put(
        job("later", { due: { at: now + 10 } }),
        job("past", { due: { at: now - 10_000 } }),
        job("now", { due: { at: now } })
      )
      const worker = yield* world.worker()
      assert.strictEqual(yield* worker.names(), "past now")
      yield* world.advance(10)
      assert.strictEqual(yield* worker.names(), "later")
    })

    law("what comes due is there by a sweep alone", function*(world) {
      const [id] = yield* world.put(job("a", { due: { in: 10 } }))
      yield* world.advance(10)
      yield* world.store.sweep
      assert.strictEqual(yield* world.state(id!), "Waiting")
    })

    law("many come due at once, in order", function*(world) {
      const names = Array.from({ length: 250 }, (_, i) => `${i}`)
      yield* world.put(...names.map((name) => job(name, { due: { in: 10 } })))
      const worker = yield* world.worker()
      yield* world.advance(10)
      let claimed = ""
      for (let turn = 0; turn < 10; turn++) claimed += `${yield* worker.names(1000)} `
      assert.strictEqual(claimed.trim(), names.join(" "))
    })

    law("a job that has not started by its expiry is dead", function*(world) {
      const now = yield* world.now
      const ids = yield* world.put(
        job("in", { expires: { in: 10 } }),
        job("at", { expires: { at: now + 10 } }),
        job("due", { due: { in: 100 }, expires: { in: 10 } }),
        job("later", { expires: { in: 11 } })
      )
      const worker = yield* world.worker()
      yield* world.advance(9)
      yield* world.store.sweep
      assert.deepStrictEqual(yield* world.states(ids), ["Waiting", "Waiting", "Scheduled", "Waiting"])
      yield* world.advance(1)
      assert.strictEqual(yield* worker.names(), "later")
      assert.deepStrictEqual(yield* world.states(ids), ["Dead Expired", "Dead Expired", "Dead Expired", "Active"])
    })

    law("a job that was put in too late is never run", function*(world) {
      const now = yield* world.now
      const [id] = yield* world.put(job("a", { expires: { at: now } }))
      assert.strictEqual(yield* (yield* world.worker()).names(), "")
      assert.strictEqual(yield* world.state(id!), "Dead Expired")
    })

    law("a job that has started does not expire, unless it was returned", function*(world) {
      const ids = yield* world.put(...jobs("active retried returned", { expires: { in: 10 } }))
      const worker = yield* world.worker()
      const claims = yield* worker.claim()
      yield* worker.ends(retry(claims[1]!, 5), returned(claims[2]!))
      yield* world.advance(10)
      yield* world.store.sweep
      assert.deepStrictEqual(yield* world.states(ids), ["Active", "Waiting", "Dead Expired"])
    })
  })

  describe("cancel", () => {
    law("ends what waits or is scheduled", function*(world) {
      const ids = yield* world.put(job("a"), job("b", { due: { in: 10 } }), job("c"))
      assert.isTrue(yield* world.store.cancel(ids[0]!))
      assert.isTrue(yield* world.store.cancel(ids[1]!))
      yield* world.advance(10)
      assert.strictEqual(yield* (yield* world.worker()).names(), "c")
      assert.deepStrictEqual(yield* world.states(ids), ["Cancelled", "Cancelled", "Active"])
    })

    law("tells the worker of what is active, until that has ended", function*(world) {
      const [id] = yield* world.put(job("a"))
      const [worker, other] = [yield* world.worker(), yield* world.worker()]
      const claim = yield* worker.one()
      assert.isTrue(yield* world.store.cancel(id!))
      assert.isTrue(yield* world.store.cancel(id!))
      assert.strictEqual(yield* world.state(id!), "Active")
      assert.deepStrictEqual((yield* other.turn()).cancelled, [])
      assert.deepStrictEqual((yield* worker.turn()).cancelled, [id])
      assert.deepStrictEqual((yield* worker.turn()).cancelled, [id])
      const last = yield* worker.turn({ ends: [cancelled(claim)] })
      assert.deepStrictEqual([last.cancelled, last.refused], [[], []])
      assert.strictEqual(yield* world.state(id!), "Cancelled")
    })

    law("is kept by what does not succeed or die: it does not run again", function*(world) {
      const ids = yield* world.put(...jobs("a b c d e"))
      const worker = yield* world.worker()
      const [a, b, c, d, e] = yield* worker.claim()
      yield* Effect.forEach(ids, (id) => world.store.cancel(id))
      yield* worker.ends(retry(a!), retry(b!, 100), returned(c!), succeeded(d!), dead(e!))
      assert.deepStrictEqual(yield* world.states(ids), [
        "Cancelled",
        "Cancelled",
        "Cancelled",
        "Succeeded",
        "Dead Failed"
      ])
    })

    law("is kept when the worker is gone, or leaves, or does not hold it", function*(world) {
      const ids = yield* world.put(job("a"), job("b"), job("c", { delivery: "atMostOnce" }))
      const [leaver, forgetful, lost] = [
        yield* world.worker(),
        yield* world.worker(),
        yield* world.worker({ lease: 10 })
      ]
      for (const worker of [leaver, forgetful, lost]) yield* worker.one()
      yield* Effect.forEach(ids, (id) => world.store.cancel(id))
      yield* world.store.leave(leaver.id)
      yield* forgetful.turn({ holds: [] })
      yield* world.advance(10)
      yield* world.store.sweep
      assert.deepStrictEqual(yield* world.states(ids), ["Cancelled", "Cancelled", "Cancelled"])
    })

    law("is false of what has ended", function*(world) {
      const ids = yield* world.put(...jobs("a b c"))
      const worker = yield* world.worker()
      const [a, b, c] = yield* worker.claim()
      yield* worker.ends(succeeded(a!), dead(b!), cancelled(c!))
      for (const id of ids) assert.isFalse(yield* world.store.cancel(id))
      assert.deepStrictEqual(yield* world.states(ids), ["Succeeded", "Dead Failed", "Cancelled"])
    })
  })

  describe("redrive", () => {
    law("lets the dead wait again, from zero, with their errors", function*(world) {
      const [id] = yield* world.put(job("a", { maxCrashes: 2, expires: { in: 5 } }))
      const lost = yield* world.worker({ lease: 10 })
      yield* lost.one()
      yield* world.advance(10)
      const worker = yield* world.worker()
      yield* worker.ends(dead(yield* worker.one()))
      assert.strictEqual(yield* world.store.redrive({ ids: [id!] }), 1)
      const record = (yield* world.record(id!))!
      assert.deepInclude(record, {
        state: "Waiting",
        attempt: 0,
        crashes: 0,
        reason: undefined,
        endedAt: undefined
      })
      assert.strictEqual(record.errors.length, 2)
      assert.strictEqual((yield* worker.one()).attempt, 1)
    })

    law("lets what expired run after all", function*(world) {
      const [id] = yield* world.put(job("a", { due: { in: 50 }, expires: { in: 5 } }))
      yield* world.advance(5)
      yield* world.store.sweep
      assert.strictEqual(yield* world.state(id!), "Dead Expired")
      assert.strictEqual(yield* world.store.redrive({ reason: "Expired" }), 1)
      assert.strictEqual(yield* (yield* world.worker()).names(), "a")
    })

    law("forgets that a job was to be cancelled", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      const first = yield* worker.one()
      yield* world.store.cancel(id!)
      yield* worker.ends(dead(first))
      yield* world.store.redrive({ ids: [id!] })
      const { cancelled: told, jobs: [second] } = yield* worker.turn()
      assert.deepStrictEqual(told, [])
      yield* worker.ends(retry(second!, 5))
      assert.strictEqual(yield* world.state(id!), "Scheduled")
    })

    law("is of the dead alone, and of those that all its parts name", function*(world) {
      const ids = yield* world.put(job("a"), job("b"), job("a", { queue: "other" }), ...jobs("c d e"))
      const worker = yield* world.worker()
      const claims = yield* worker.claim()
      yield* worker.ends(
        dead(claims[0]!, "Died"),
        dead(claims[1]!, "Failed"),
        dead(claims[2]!, "Failed"),
        succeeded(claims[3]!),
        cancelled(claims[4]!)
      )
      const { redrive } = world.store
      assert.strictEqual(yield* redrive({ ids: ids.slice(3) }), 0)
      assert.strictEqual(yield* redrive({ ids: [] }), 0)
      assert.strictEqual(yield* redrive({ name: "a", reason: "Crashed" }), 0)
      assert.strictEqual(yield* redrive({ ids: ids.slice(1, 3), name: "a" }), 1)
      assert.strictEqual(yield* worker.names(), "a")
      assert.strictEqual(yield* redrive({ queue: "default", reason: "Died" }), 1)
      assert.strictEqual(yield* redrive({}), 1)
      assert.strictEqual(yield* worker.names(), "a b")
    })
  })

  describe("what has ended", () => {
    const retention = { succeeded: 100, cancelled: 0, dead: "1 second" } as const

    law("is kept for as long as its kind is, and then pruned", function*(world) {
      const ids = yield* world.put(...jobs("a b c d"))
      const worker = yield* world.worker()
      const [a, b, c] = yield* worker.claim(3)
      yield* worker.ends(succeeded(a!), dead(b!), cancelled(c!))
      const prune = Effect.gen(function*() {
        let pruned = 0
        for (;;) {
          const more = yield* world.store.prune
          if (more === 0) return pruned
          pruned += more
        }
      })
      assert.deepStrictEqual(yield* world.states(ids), ["Succeeded", "Dead Failed", "gone", "Waiting"])
      yield* world.advance(99)
      assert.strictEqual(yield* prune, 0)
      yield* world.advance(1)
      assert.strictEqual(yield* prune, 1)
      assert.deepStrictEqual(yield* world.states(ids), ["gone", "Dead Failed", "gone", "Waiting"])
      yield* world.advance(900)
      assert.strictEqual(yield* prune, 1)
      assert.deepStrictEqual(yield* world.states(ids), ["gone", "gone", "gone", "Waiting"])
    }, { retention })

    law("and was redriven is pruned from its new end on", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      yield* worker.ends(dead(yield* worker.one()))
      yield* world.advance(900)
      yield* world.store.redrive({})
      yield* worker.ends(dead(yield* worker.one()))
      yield* world.advance(900)
      assert.strictEqual(yield* world.store.prune, 0)
      assert.strictEqual(yield* world.state(id!), "Dead Failed")
    }, { retention })

    law("and is kept for no time is gone at once, with its queue and its id", function*(world) {
      const ids = yield* world.put(...jobs("a b c d"))
      const worker = yield* world.worker()
      const [a, b, c] = yield* worker.claim(3)
      yield* worker.ends(succeeded(a!), dead(b!), cancelled(c!))
      yield* world.store.cancel(ids[3]!)
      assert.deepStrictEqual(yield* world.states(ids), ["gone", "gone", "gone", "gone"])
      assert.deepStrictEqual(yield* world.store.counts, [])
    }, { retention: { succeeded: 0, cancelled: 0, dead: 0 } })
  })

  describe("what can be seen", () => {
    law("a list is newest first, and its pages have each job once", function*(world) {
      const ids = yield* world.put(
        ...Array.from({ length: 25 }, (_, i) => job(`${i}`, { priority: i % 4, key: `${i % 3}` }))
      )
      const worker = yield* world.worker()
      yield* worker.ends(...(yield* worker.claim(7)).map((claim) => succeeded(claim)))
      assert.deepStrictEqual((yield* world.store.list()).map(({ id }) => id), ids.toReversed())
      const seen: Array<string> = []
      for (;;) {
        const page = yield* world.store.list({ limit: 10, before: seen.at(-1) })
        seen.push(...page.map(({ id }) => id))
        if (page.length < 10) break
        // What comes in meanwhile is on no later page.
        yield* world.put(job("newer"))
      }
      assert.deepStrictEqual(seen, ids.toReversed())
    })

    law("a list has a hundred unless it is asked for more", function*(world) {
      yield* world.put(...Array.from({ length: 120 }, () => job("a")))
      assert.strictEqual((yield* world.store.list()).length, 100)
      assert.strictEqual((yield* world.store.list({ limit: 1000 })).length, 120)
      assert.strictEqual((yield* world.store.list({ limit: 0 })).length, 0)
    })

    law("a list has what all parts of its filter name", function*(world) {
      yield* world.put(
        job("a", { tags: ["x", "y"], key: "k" }),
        job("b", { tags: ["y"], queue: "other" }),
        job("a", { due: { in: 10 } }),
        job("c", { key: "l" })
      )
      yield* (yield* world.worker()).one()
      const list = (filter: Parameters<typeof world.store.list>[0]) =>
        Effect.map(
          world.store.list(filter),
          (records) => records.map(({ name, state }) => name + state[0]).join(" ")
        )
      assert.strictEqual(yield* list({}), "cW aS bW aA")
      assert.strictEqual(yield* list({ name: "a" }), "aS aA")
      assert.strictEqual(yield* list({ states: ["Waiting"] }), "cW bW")
      assert.strictEqual(yield* list({ states: ["Waiting", "Active"] }), "cW bW aA")
      assert.strictEqual(yield* list({ states: [] }), "")
      assert.strictEqual(yield* list({ queue: "other" }), "bW")
      assert.strictEqual(yield* list({ tags: ["x"] }), "aA")
      assert.strictEqual(yield* list({ tags: ["x", "y"] }), "bW aA")
      assert.strictEqual(yield* list({ key: "l" }), "cW")
      assert.strictEqual(
        yield* list({ name: "a", key: "k", states: ["Active"], tags: ["y"], queue: "default" }),
        "aA"
      )
      assert.strictEqual(yield* list({ name: "b", key: "k" }), "")
    })

    law("the counts are by queue and state, with what is set of a queue", function*(world) {
      yield* world.put(...jobs("a b c d e"), job("f", { due: { in: 10 } }), job("g", { queue: "other" }))
      yield* world.store.setQueue("empty", { maxQueued: 5 })
      const worker = yield* world.worker()
      const claims = yield* worker.claim(4)
      yield* worker.ends(succeeded(claims[0]!), dead(claims[1]!), cancelled(claims[2]!))
      const none = { scheduled: 0, waiting: 0, active: 0, succeeded: 0, dead: 0, cancelled: 0 }
      const counts = (yield* world.store.counts).toSorted((a, b) => a.queue < b.queue ? -1 : 1)
      assert.deepStrictEqual(counts.map(({ keyLimit: _, maxQueued: _m, paused: _p, ...rest }) => rest), [
        { queue: "default", scheduled: 1, waiting: 1, active: 1, succeeded: 1, dead: 1, cancelled: 1 },
        { ...none, queue: "empty" },
        { ...none, queue: "other", waiting: 1 }
      ])
      assert.deepStrictEqual(counts.map(({ maxQueued }) => maxQueued), [undefined, 5, undefined])
    })

    law(
      "what is left out of a queue's settings stays, and what is there stays if so asked",
      function*(world) {
        const settings = Effect.map(
          world.countsOf("q"),
          (counts) => [counts?.paused, counts?.maxQueued, counts?.keyLimit]
        )
        yield* world.store.setQueue("q", { maxQueued: 5 })
        yield* world.store.setQueue("q", { paused: true })
        assert.deepStrictEqual(yield* settings, [true, 5, undefined])
        yield* world.store.setQueue("q", { paused: false, maxQueued: 7, keyLimit: 2 }, { ifAbsent: true })
        assert.deepStrictEqual(yield* settings, [true, 5, 2])
        yield* world.store.setQueue("q", { maxQueued: undefined, keyLimit: "unbounded" })
        assert.deepStrictEqual(yield* settings, [true, 5, "unbounded"])
      }
    )
  })
}
