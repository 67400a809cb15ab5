/**
 * The laws every job store keeps, as vitest tests. A new place to keep jobs is a Layer of `JobStore`; this is how it proves itself.
 *
 * No law sleeps: time is the store's own, and passes when the suite says so. The last of them lets random histories happen to the store and to a
 * plain list that obviously does what it should, and compares all they answer.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import type { StoreOptions } from "./internal/StoreOptions.ts"
import { histories } from "./internal/SuiteHistories.ts"
import { cancelled, dead, job, jobs, retry, returned, succeeded, type Worker, World } from "./internal/SuiteWorld.ts"
import { JobStore, type NewJob, type Turn, type Unique } from "./JobStore.ts"

export interface Options {
  /**
   * A store at a place: a name of letters, digits and `_`, new for each law. What the store is given besides are the options that every store has.
   */
  readonly layer: (place: string, options?: StoreOptions) => Layer.Layer<JobStore, unknown>
  /** Moves the time of the store at a place. Between two of these it stands still. */
  readonly advance: (millis: number, place: string) => Effect.Effect<void, unknown>
  /** A second Layer at the same place is the same store. Default false. */
  readonly durable?: boolean | undefined
  /** The laws run on the machine's clock, for stores that wait for sockets. Default: on a test clock. */
  readonly realTime?: boolean | undefined
  /** How many random histories; `ROUNDS` in the environment goes before. Default 100. */
  readonly rounds?: number | undefined
  /** For each law, in milliseconds. Default: vitest's. */
  readonly timeout?: number | undefined
}

type Story<A = void> = Generator<Effect.Effect<any, unknown, Scope>, A, never>
type Opening = Effect.Effect<World, never, Scope>

/** Declares the laws of a store. */
export const jobStoreSuite = (name: string, options: Options): void => {
  const { advance, durable = false, layer, realTime = false, timeout } = options
  const run = realTime ? it.live : it.effect
  const open = (place: string, storeOptions?: StoreOptions): Opening =>
    Layer.build(Layer.fresh(layer(place, storeOptions))).pipe(
      Effect.map((context) =>
        new World(Context.get(context, JobStore), (millis) => Effect.orDie(advance(millis, place)))
      ),
      Effect.orDie
    )
  const law = (title: string, story: (world: World) => Story, storeOptions?: StoreOptions): void =>
    run(
      title,
      () => Effect.flatMap(open(newPlace(), storeOptions), (world) => Effect.gen(() => story(world))),
      timeout
    )
  const durably = (title: string, story: (reopen: (options?: StoreOptions) => Opening) => Story): void =>
    run(title, () =>
      Effect.gen(() => {
        const place = newPlace()
        return story((storeOptions) => open(place, storeOptions))
      }), timeout)

  describe(name, () => {
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

    describe("who listens is woken", () => {
      /** By what the story comes to. */
      const woken = (title: string, story: (world: World, worker: Worker) => Story<Effect.Effect<unknown, unknown>>) =>
        law(title, function*(world) {
          const worker = yield* world.worker()
          yield* world.wakes(yield* Effect.gen(() => story(world, worker)))
        })

      woken("when something is put in", function*(world) {
        return world.put(job("a"))
      })
      woken("when something is put in for later", function*(world) {
        return world.put(job("a", { due: { in: 10 } }))
      })
      woken("when a job is replaced", function*(world) {
        const unique = { key: "u", while: "active", conflict: "replace" } as const
        yield* world.put(job("a", { unique, due: { in: 1000 } }))
        return world.put(job("a", { unique }))
      })
      woken("when what is active is cancelled", function*(world, worker) {
        const [id] = yield* world.put(job("a"))
        yield* worker.one()
        return world.store.cancel(id!)
      })
      woken("when a job is returned", function*(world, worker) {
        yield* world.put(job("a"))
        const claim = yield* worker.one()
        return worker.ends(returned(claim))
      })
      woken("when an end makes room under a limit", function*(world, worker) {
        yield* world.limit("t", 1)
        yield* world.put(...jobs("a b", { tags: ["t"] }))
        const [claim] = yield* worker.claim()
        return worker.ends(succeeded(claim!))
      })
      woken("when an end makes room under the cap of a key", function*(world, worker) {
        yield* world.store.setQueue("default", { keyLimit: 1 })
        yield* world.put(...jobs("a b", { key: "k" }))
        const [claim] = yield* worker.claim()
        return worker.ends(succeeded(claim!))
      })
      woken("when a worker leaves", function*(world, worker) {
        yield* world.put(job("a"))
        yield* worker.one()
        return world.store.leave(worker.id)
      })
      woken("when a sweep takes back what a lease had", function*(world) {
        yield* world.put(job("a"))
        const lost = yield* world.worker({ lease: 10 })
        yield* lost.one()
        yield* world.advance(10)
        return world.store.sweep
      })
      woken("when a sweep finds what is due", function*(world) {
        yield* world.put(job("a", { due: { in: 10 } }))
        yield* world.advance(10)
        return world.store.sweep
      })
      woken("when a limit is raised", function*(world, worker) {
        yield* world.limit("t", 0)
        yield* world.put(job("a", { tags: ["t"] }))
        yield* worker.claim()
        return world.limit("t", 1)
      })
      woken("when a limit is removed", function*(world, worker) {
        yield* world.limit("t", 0)
        yield* world.put(job("a", { tags: ["t"] }))
        yield* worker.claim()
        return world.store.removeLimit("t")
      })
      woken("when a pause is ended", function*(world, worker) {
        yield* world.store.pauseLimit("t", 1_000_000)
        yield* world.put(job("a", { tags: ["t"] }))
        yield* worker.claim()
        return world.store.pauseLimit("t", 0)
      })
      woken("when a queue goes on", function*(world, worker) {
        yield* world.store.setQueue("default", { paused: true })
        yield* world.put(job("a"))
        yield* worker.claim()
        return world.store.setQueue("default", { paused: false })
      })
      woken("when the cap of keys is raised", function*(world, worker) {
        yield* world.store.setQueue("default", { keyLimit: 1 })
        yield* world.put(...jobs("a b", { key: "k" }))
        yield* worker.claim()
        return world.store.setQueue("default", { keyLimit: 2 })
      })
      woken("when the dead are redriven", function*(world, worker) {
        yield* world.put(job("a"))
        yield* worker.ends(dead(yield* worker.one()))
        return world.store.redrive({})
      })

      law("each of them, and none any more when its scope is closed", function*(world) {
        let stopped = 0
        yield* Effect.scoped(world.wakes(world.put(job("a"))))
        yield* Effect.scoped(world.store.listen(() => void stopped++))
        const before = stopped
        yield* Effect.all([world.wakes(world.put(job("b"))), world.wakes(world.put(job("c")))])
        assert.strictEqual(stopped, before)
      })
    })

    describe.runIf(durable)("two Layers at one place", () => {
      durably("are one store, one after the other", function*(reopen) {
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

      durably("are one store, side by side", function*(reopen) {
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

    histories(run, (retention) => open(newPlace(), { retention }), options.rounds ?? 100)
  })
}

let places = 0
const newPlace = (): string => `law_${process.pid}_${places++}`

/** Not later than it is, and not at once. */
const soonest = (next: number | undefined, millis: number): void => {
  assert.isDefined(next)
  assert.isTrue(next! > 0 && next! <= millis, `next is ${next}, and there is something in ${millis}`)
}
