/** Who has what, until when, and what comes too late. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Turn } from "./StorePort.ts"
import { cancelled, dead, job, jobs, type Law, retry, returned, soonest, succeeded, type World } from "./SuiteWorld.ts"

export const leases = (law: Law): void => {
  describe("a lease", () => {
    law("lasts as long as it was asked for, and is renewed for as long again", function*(world) {
      const worker = yield* world.worker({ lease: 1000 })
      assert.strictEqual(worker.lease.lasts, 1000)
      yield* world.advance(600)
      const renewed = yield* world.store.renew(worker.id)
      assert.deepStrictEqual([renewed.worker, renewed.lasts], [worker.id, 1000])
      yield* world.advance(999)
      assert.deepStrictEqual(yield* worker.refusals, ["taken", "taken"])
    })

    law(
      "has ended at its last millisecond: it is not renewed, and no turn is taken",
      function*(world) {
        const worker = yield* world.worker({ lease: 1000 })
        yield* world.advance(1000)
        assert.deepStrictEqual(yield* worker.refusals, ["LeaseEndedError", "LeaseEndedError"])
        yield* world.store.sweep
        assert.deepStrictEqual(yield* worker.refusals, ["LeaseEndedError", "LeaseEndedError"])
      }
    )

    law("is one worker's alone", function*(world) {
      const [one, two] = [yield* world.worker({ name: "same" }), yield* world.worker({ name: "same" })]
      assert.notStrictEqual(one.id, two.id)
      yield* world.store.leave(one.id)
      assert.deepStrictEqual(yield* two.refusals, ["taken", "taken"])
    })

    law("that has ended takes its jobs back, each an attempt and a crash more", function*(world) {
      const now = yield* world.now
      const ids = yield* world.put(...jobs("a b"))
      const lost = yield* world.worker({ lease: 1000, name: "lost" })
      yield* lost.claim()
      const heir = yield* world.worker()
      yield* world.advance(1000)
      const claims = yield* heir.claim()
      assert.deepStrictEqual(
        claims.map(({ attempt, id, token }) => [id, token, attempt]),
        ids.map((id) => [id, 2, 2])
      )
      for (const { errors: [error], id } of claims) {
        assert.deepInclude(error!, { attempt: 1, at: now + 1000, reason: "Crashed" })
        const record = (yield* world.record(id))!
        assert.deepStrictEqual([record.crashes, record.attempt, record.worker], [1, 2, heir.id])
      }
    })

    law("that has ended is swept once, and counted", function*(world) {
      const [id] = yield* world.put(job("a"))
      const lost = [yield* world.worker({ lease: 10 }), yield* world.worker({ lease: 10 })]
      yield* lost[0]!.claim()
      assert.strictEqual(yield* world.store.sweep, 0)
      yield* world.advance(10)
      assert.strictEqual(yield* world.store.sweep, 2)
      assert.strictEqual(yield* world.state(id!), "Waiting")
      assert.strictEqual(yield* world.store.sweep, 0)
      assert.deepStrictEqual(yield* world.store.workers, [])
    })

    law("that has ended loses what comes after, even before anybody has looked", function*(world) {
      const [id] = yield* world.put(job("a"))
      const lost = yield* world.worker({ lease: 1000 })
      const claim = yield* lost.one()
      yield* world.advance(1000)
      const turn = world.store.turn({ worker: lost.id, ends: [succeeded(claim)], want: 1, filter: {} })
      assert.strictEqual((yield* Effect.flip(turn))._tag, "LeaseEndedError")
      yield* world.store.leave(lost.id)
      yield* world.store.sweep
      const record = (yield* world.record(id!))!
      assert.deepStrictEqual([record.state, record.attempt, record.crashes], ["Waiting", 1, 1])
    })

    law("tells when that of another ends", function*(world) {
      const first = yield* world.worker({ lease: 500 })
      assert.isUndefined(first.lease.sweepIn)
      yield* world.advance(100)
      const second = yield* world.worker({ lease: 1000 })
      assert.strictEqual(second.lease.sweepIn, 400)
      assert.strictEqual((yield* world.store.renew(first.id)).sweepIn, 1000)
      soonest((yield* second.turn()).next, 500)
    })

    law("that is left gives all back at once, at its place and uncharged", function*(world) {
      yield* world.put(...jobs("a b c"))
      const [leaver, other] = [yield* world.worker(), yield* world.worker()]
      yield* leaver.claim(2)
      yield* world.store.leave(leaver.id)
      const claims = yield* other.claim()
      assert.deepStrictEqual(claims.map(({ attempt, name, token }) => [name, attempt, token]), [
        ["a", 1, 2],
        ["b", 1, 2],
        ["c", 1, 1]
      ])
      assert.deepStrictEqual(yield* leaver.refusals, ["LeaseEndedError", "LeaseEndedError"])
      yield* world.store.leave(leaver.id)
      yield* world.store.leave("nobody")
      assert.deepStrictEqual(yield* other.names(), "")
    })

    law("is shown while it lasts", function*(world) {
      const now = yield* world.now
      yield* world.put(...jobs("a b"))
      const worker = yield* world.worker({ name: "it", lease: 1000 })
      yield* worker.claim()
      yield* world.advance(1)
      yield* world.store.renew(worker.id)
      assert.deepStrictEqual(yield* world.store.workers, [
        { id: worker.id, name: "it", joinedAt: now, expiresAt: now + 1001, active: 2 }
      ])
      yield* world.advance(1000)
      assert.deepStrictEqual(yield* world.store.workers, [])
    })

    law("of nobody is ended", function*(world) {
      const turn = world.store.turn({ worker: "nobody", ends: [], want: 1, filter: {} })
      assert.strictEqual((yield* Effect.flip(turn))._tag, "LeaseEndedError")
      assert.strictEqual((yield* Effect.flip(world.store.renew("nobody")))._tag, "LeaseEndedError")
    })

    law("gives back what its worker does not hold, when it says what it holds", function*(world) {
      const [a, b, c] = yield* world.put(...jobs("a b c"))
      const worker = yield* world.worker()
      const claims = yield* worker.claim()
      const turned = yield* worker.turn({ ends: [succeeded(claims[0]!)], holds: [c!], want: 0 })
      assert.deepStrictEqual(turned.refused, [])
      assert.deepStrictEqual(yield* world.states([a!, b!, c!]), ["Succeeded", "Waiting", "Active"])
      const again = yield* worker.one()
      assert.deepStrictEqual([again.id, again.attempt, again.token], [b!, 1, 2])
      yield* worker.turn({ holds: [], want: 0 })
      assert.deepStrictEqual(yield* world.states([b!, c!]), ["Waiting", "Waiting"])
    })
  })

  describe("an epoch", () => {
    const late = (world: World, turn: Turn) => Effect.map(Effect.flip(world.store.turn(turn)), ({ _tag }) => _tag)

    law("lower than one of its lease before is refused as a whole", function*(world) {
      const [id] = yield* world.put(job("a"), job("b"))
      const worker = yield* world.worker()
      const turn = { worker: worker.id, ends: [], want: 1, filter: {} }
      const claim = yield* worker.one()
      yield* worker.turn({ epoch: 2, holds: [id!], want: 0 })
      for (const epoch of [undefined, 0, 1]) {
        const refused = yield* late(world, { ...turn, epoch, ends: [succeeded(claim)], holds: [] })
        assert.strictEqual(refused, "LeaseEndedError")
      }
      assert.strictEqual(yield* world.state(id!), "Active")
      const { jobs: [b], refused } = yield* worker.turn({ epoch: 2, ends: [succeeded(claim)] })
      assert.deepStrictEqual([b?.name, refused], ["b", []])
      // Its lease has not ended.
      yield* world.store.renew(worker.id)
    })

    law("is one lease's alone", function*(world) {
      const [one, two] = [yield* world.worker(), yield* world.worker()]
      yield* one.turn({ epoch: 5 })
      yield* two.turn({ epoch: 1 })
      assert.strictEqual(
        yield* late(world, { worker: one.id, ends: [], want: 1, filter: {}, epoch: 4 }),
        "LeaseEndedError"
      )
    })
  })

  describe("a crash", () => {
    const crash = (world: World) =>
      Effect.gen(function*() {
        const worker = yield* world.worker({ lease: 10 })
        const claimed = yield* worker.claim()
        yield* world.advance(10)
        yield* world.store.sweep
        return claimed.length
      })

    law("too many make a job dead", function*(world) {
      const [id] = yield* world.put(job("a", { maxCrashes: 2 }))
      yield* crash(world)
      assert.strictEqual(yield* world.state(id!), "Waiting")
      yield* crash(world)
      assert.strictEqual(yield* world.state(id!), "Dead Crashed")
      const record = (yield* world.record(id!))!
      assert.deepStrictEqual([record.attempt, record.crashes], [2, 2])
      assert.deepStrictEqual(record.errors.map(({ attempt, reason }) => [attempt, reason]), [
        [1, "Crashed"],
        [2, "Crashed"]
      ])
    })

    law("is counted apart from attempts that failed and from what was returned", function*(world) {
      const [id] = yield* world.put(job("a", { maxCrashes: 2 }))
      const worker = yield* world.worker()
      yield* worker.ends(retry(yield* worker.one()))
      yield* crash(world)
      yield* worker.ends(returned(yield* worker.one()))
      yield* worker.ends(retry(yield* worker.one()))
      const record = (yield* world.record(id!))!
      assert.deepStrictEqual([record.state, record.attempt, record.crashes], ["Waiting", 3, 1])
      yield* crash(world)
      assert.strictEqual(yield* world.state(id!), "Dead Crashed")
    })

    law("of what runs at most once is the end of it, as lost", function*(world) {
      const ids = yield* world.put(job("a", { delivery: "atMostOnce" }), job("b", { delivery: "atMostOnce" }))
      const worker = yield* world.worker({ lease: 10 })
      yield* worker.one()
      yield* world.advance(10)
      yield* world.store.sweep
      assert.deepStrictEqual(yield* world.states(ids), ["Dead Lost", "Waiting"])
    })

    law(
      "is not what a worker does that leaves: what runs at most once is given back too",
      function*(world) {
        const [id] = yield* world.put(job("a", { delivery: "atMostOnce", maxCrashes: 1 }))
        const worker = yield* world.worker()
        yield* worker.one()
        yield* world.store.leave(worker.id)
        assert.strictEqual(yield* world.state(id!), "Waiting")
      }
    )
  })

  describe("a token", () => {
    law("grows with each claim of a job, whatever became of the last", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      let last = 0
      for (const end of [returned, retry, dead]) {
        const { token } = yield* worker.one()
        assert.isAbove(token, last)
        last = token
        yield* worker.ends(end({ id: id!, token }))
      }
      yield* world.store.redrive({ ids: [id!] })
      const lost = yield* world.worker({ lease: 10 })
      assert.isAbove((yield* lost.one()).token, last)
      yield* world.advance(10)
      assert.isAbove((yield* worker.one()).token, last + 1)
    })

    law("that is older than the last is refused, and changes nothing", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      const old = yield* worker.one()
      yield* worker.ends(returned(old))
      const now = yield* worker.one()
      const before = yield* world.record(id!)
      for (const end of [succeeded, retry, dead, returned, cancelled]) {
        assert.deepStrictEqual(yield* worker.ends(end(old)), [id])
      }
      assert.deepStrictEqual(yield* world.record(id!), before)
      assert.deepStrictEqual(yield* worker.ends(succeeded(now)), [])
    })

    law("of another worker is refused, though it is right", function*(world) {
      const [id] = yield* world.put(job("a"))
      const [one, two] = [yield* world.worker(), yield* world.worker()]
      const claim = yield* one.one()
      assert.deepStrictEqual(yield* two.ends(succeeded(claim)), [id])
      assert.strictEqual(yield* world.state(id!), "Active")
    })

    law("that has ended its job ends nothing twice", function*(world) {
      const [id] = yield* world.put(job("a"))
      const worker = yield* world.worker()
      const claim = yield* worker.one()
      assert.deepStrictEqual(yield* worker.ends(succeeded(claim), dead(claim)), [id])
      assert.deepStrictEqual(yield* worker.ends(retry(claim)), [id])
      assert.strictEqual(yield* world.state(id!), "Succeeded")
    })

    law("of the dead is refused when its job is somebody else's", function*(world) {
      const [id] = yield* world.put(job("a"))
      const lost = yield* world.worker({ lease: 10 })
      const stale = yield* lost.one()
      const heir = yield* world.worker()
      yield* world.advance(10)
      const claim = yield* heir.one()
      assert.deepStrictEqual(yield* heir.ends(succeeded(stale)), [id])
      assert.deepStrictEqual(yield* heir.ends(succeeded(claim)), [])
    })

    law("too late keeps nothing of the rest of its turn from being taken", function*(world) {
      const [a, b, c] = yield* world.put(...jobs("a b c"))
      const worker = yield* world.worker()
      const claims = yield* worker.claim()
      yield* worker.ends(returned(claims[0]!))
      const unknown = { id: "no such job", token: 1 }
      const refused = yield* worker.ends(
        succeeded(claims[1]!),
        succeeded(claims[0]!),
        dead(unknown),
        succeeded({ id: "999999", token: 1 }),
        dead(claims[2]!)
      )
      assert.sameMembers([...refused], [a!, "no such job", "999999"])
      assert.deepStrictEqual(yield* world.states([a!, b!, c!]), ["Waiting", "Succeeded", "Dead Failed"])
    })
  })
}
