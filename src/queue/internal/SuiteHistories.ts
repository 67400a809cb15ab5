/**
 * Random histories: whatever happens in whatever order, a store answers as the model does. What fails prints its seed and the step; `SEED` and
 * `ROUNDS` in the environment run it again.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { ClaimFilter, End, NewJob, Retention, StoredLimit, Turn } from "./StorePort.ts"
import { Model } from "./SuiteModel.ts"
import { cancelled, dead, job, retry, returned, succeeded, type World } from "./SuiteWorld.ts"

const STEPS = 120
const retention: Retention = { succeeded: 64, cancelled: 0, dead: 256 }

export const histories = (
  run: (title: string, program: () => Effect.Effect<void, unknown, Scope>, timeout?: number) => void,
  open: (retention: Retention) => Effect.Effect<World, never, Scope>,
  roundsAsked: number
): void => {
  const rounds = Number(process.env["ROUNDS"] ?? roundsAsked)
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31))
  run(
    `answers as a plain list would, in ${rounds} random histories from SEED=${seed}`,
    () =>
      Effect.forEach(
        Array.from({ length: rounds }, (_, i) => seed + i),
        (seed) => Effect.scoped(Effect.flatMap(open(retention), (world) => history(world, seed))),
        { discard: true }
      ),
    60_000 + rounds * 5000
  )
}

/** mulberry32. */
class Random {
  private state: number
  constructor(seed: number) {
    this.state = Math.imul(seed, 0x9e3779b9)
  }
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  int(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from + 1))
  }
  chance(probability: number): boolean {
    return this.next() < probability
  }
  pick<A>(items: ReadonlyArray<A>): A {
    return items[this.int(0, items.length - 1)]!
  }
  some<A>(items: ReadonlyArray<A>, probability = 0.4): ReadonlyArray<A> {
    return items.filter(() => this.chance(probability))
  }
  /** Or nothing. */
  maybe<A>(probability: number, of: () => A): A | undefined {
    return this.chance(probability) ? of() : undefined
  }
}

const queues = ["p", "q"]
const names = ["one", "two"]
const tags = ["x", "y", "z"]
const keys = ["a", "b", "c"]
const priorities = [10, 20, 30]
const spans = { w: "waiting", a: "active", n: { window: 128 } } as const

interface Attempt {
  readonly id: string
  readonly token: number
  readonly attempt: number
  readonly worker: string
}

const history = (world: World, seed: number): Effect.Effect<void> => {
  const random = new Random(seed)
  const { store } = world
  /** What was done, and to what. */
  const said: Array<readonly [what: string, to: unknown]> = []

  return Effect.gen(function*() {
    const model = new Model(yield* world.now, retention)
    const workers: Array<string> = []
    /** Every attempt there ever was: what is ended, or lost, is said again now and then. */
    const attempts: Array<Attempt> = []
    const epochs = new Map<string, number>()

    const newJob = (): NewJob => {
      const key = random.maybe(0.2, () => random.pick(Object.keys(spans) as Array<keyof typeof spans>))
      return job(random.pick(names), {
        payload: `${said.length}`,
        // A job that is replaced stays in its queue.
        queue: key === undefined ? random.pick(queues) : "q",
        tags: random.some(tags, 0.3),
        weight: random.chance(0.7) ? 1 : random.int(2, 3),
        priority: random.chance(0.6) ? 20 : random.pick(priorities),
        key: random.maybe(0.5, () => random.pick(keys)),
        id: random.maybe(0.1, () => `mine ${random.int(1, 30)}`),
        due: random.maybe(
          0.25,
          () => random.chance(0.5) ? { in: random.int(0, 200) } : { at: model.now + random.int(-50, 100) }
        ),
        expires: random.maybe(0.15, () => ({ in: random.int(0, 150) })),
        delivery: random.chance(0.8) ? "atLeastOnce" : "atMostOnce",
        maxCrashes: random.int(1, 3),
        unique: key === undefined
          ? undefined
          : { key, while: spans[key], conflict: random.pick(["ignore", "replace", "replace", "error"] as const) }
      })
    }

    const newLimit = (): StoredLimit => ({
      tag: random.pick(tags),
      limit: random.chance(0.2) ? "unbounded" : random.int(0, 4),
      // A power of two: tokens are exact in halves, and nothing is left to rounding.
      rates: random.chance(0.5) ? [] : random.some([
        { count: random.int(1, 3), per: 64, burst: random.int(1, 3) },
        { count: random.int(1, 5), per: 256, burst: random.int(1, 5) }
      ], 0.6),
      enabled: random.chance(0.85)
    })

    const newFilter = (): ClaimFilter =>
      random.chance(0.5) ? {} : {
        queues: random.maybe(0.4, () => random.some(queues, 0.6)),
        tags: random.maybe(0.3, () => random.some(tags, 0.6)),
        names: random.maybe(0.3, () => random.some(names, 0.6)),
        priorities: random.maybe(0.3, () => ({
          from: random.maybe(0.5, () => random.pick(priorities)),
          to: random.maybe(0.5, () => random.pick(priorities))
        }))
      }

    const newEnd = (attempt: Attempt): End => {
      const dice = random.next()
      if (dice < 0.4) return succeeded(attempt, random.maybe(0.5, () => "1"))
      if (dice < 0.65) return retry(attempt, random.chance(0.4) ? 0 : random.int(1, 100))
      if (dice < 0.8) return returned(attempt)
      if (dice < 0.9) return dead(attempt, random.pick(["Failed", "Died"] as const))
      return cancelled(attempt)
    }

    const newTurn = (worker: string): Turn => {
      const held = model.heldBy(worker).map(({ attempt, id, token }) => ({ id, token, attempt, worker }))
      const ends = [
        ...random.some(held, 0.4),
        ...random.chance(0.2) ? random.some(attempts.slice(-20), 0.1) : []
      ].map(newEnd)
      const last = epochs.get(worker) ?? 0
      const epoch = random.chance(0.9) ? last : random.int(last - 1, last + 2)
      epochs.set(worker, Math.max(last, epoch))
      return {
        worker,
        ends,
        epoch,
        holds: random.maybe(0.1, () =>
          random.some(
            held.filter(({ id }) => !ends.some((end) => end.id === id)).map(({ id }) => id),
            0.7
          )),
        want: random.int(0, 5),
        filter: newFilter()
      }
    }

    /** Says what it does; both answer the same. */
    const same = (what: string, to: unknown, store: unknown, model: unknown): void => {
      said.push([what, to])
      assert.deepStrictEqual(store, model)
    }

    const takeTurn = (turn: Turn) =>
      Effect.gen(function*() {
        const turned = yield* Effect.catchTag(store.turn(turn), "LeaseEndedError", () => Effect.undefined)
        const expected = model.turn(turn)
        const view = turned && {
          jobs: turned.jobs.map(({ errors, ...rest }) => ({ ...rest, errors: errors.map(({ reason }) => reason) })),
          refused: turned.refused.toSorted(),
          cancelled: turned.cancelled.toSorted()
        }
        same(
          "turn",
          turn,
          view,
          expected && {
            jobs: expected.jobs.map(({ errors, ...rest }) => ({ ...rest, errors: errors.map(({ reason }) => reason) })),
            refused: expected.refused.toSorted(),
            cancelled: expected.cancelled.toSorted()
          }
        )
        if (turned === undefined || expected === undefined) return
        for (const { attempt, id, token } of turned.jobs) attempts.push({ id, token, attempt, worker: turn.worker })
        const next = turned.next ?? Infinity
        if (expected.more) same("more at once", undefined, next, 0)
        else {
          same("next not later than", { next, due: expected.next }, next <= expected.next, true)
          if (turned.jobs.length < turn.want) same("next not at once", next, next > 0, true)
        }
      })

    const look = Effect.gen(function*() {
      same("sweep", undefined, yield* store.sweep, model.sweep())
      const records = yield* store.list({ limit: 10_000 })
      same(
        "look",
        undefined,
        records.map(({ delivery: _d, errors, key: _k, name: _n, priority: _p, queue: _q, weight: _w, ...rest }) => ({
          ...rest,
          errors: errors.map(({ attempt, reason }) => `${attempt} ${reason}`)
        })),
        model.records
      )
      const counts = (yield* store.counts).toSorted((a, b) => a.queue < b.queue ? -1 : 1)
      same("counts", undefined, counts, model.counts)
      const limits = (yield* store.limits).filter(({ tag }) => model.limits.has(tag))
      same(
        "limits",
        undefined,
        limits.map(({ holders, rates: _, ...rest }) => ({ ...rest, holders: holders.map(({ job }) => job).sort() }))
          .sort((a, b) => a.tag < b.tag ? -1 : 1),
        model.usage
      )
    })

    const anyId = () => random.chance(0.9) && model.jobs.length > 0 ? random.pick(model.jobs).id : "nobody"

    const step = Effect.gen(function*() {
      const dice = random.int(0, 99)
      if (dice < 25) {
        const batch = Array.from({ length: random.int(1, 4) }, newJob)
        const answers = yield* Effect.result(store.enqueue(batch))
        const answer = answers._tag === "Success" ? answers.success : undefined
        if (answers._tag === "Failure" && answers.failure._tag === "JobStoreError") return yield* answers.failure
        return same("enqueue", batch, answer, model.enqueue(batch, answer))
      }
      if (dice < 55) {
        if (workers.length > 0) yield* takeTurn(newTurn(random.pick(workers)))
        return
      }
      if (dice < 65) {
        const millis = random.chance(0.7) ? random.int(1, 40) : random.int(40, 200)
        yield* world.advance(millis)
        model.now += millis
        return void said.push(["advance", millis])
      }
      if (dice < 70) {
        if (workers.length >= 5) workers.shift()
        const lease = random.int(20, 300)
        const { worker } = yield* store.join({ name: "it", lease })
        model.join(worker, lease)
        workers.push(worker)
        return void said.push(["join", { worker, lease }])
      }
      if (dice < 74 && workers.length > 0) {
        const worker = random.pick(workers)
        const renewed = yield* Effect.result(store.renew(worker))
        return same("renew", worker, renewed._tag === "Success", model.renew(worker))
      }
      if (dice < 76 && workers.length > 0) {
        const worker = random.pick(workers)
        yield* store.leave(worker)
        model.leave(worker)
        return void said.push(["leave", worker])
      }
      if (dice < 80) {
        const id = anyId()
        return same("cancel", id, yield* store.cancel(id), model.cancel(id))
      }
      if (dice < 83) {
        const filter = {
          ids: random.maybe(0.3, () => [anyId(), anyId()]),
          queue: random.maybe(0.3, () => random.pick(queues)),
          name: random.maybe(0.3, () => random.pick(names)),
          reason: random.maybe(0.3, () => random.pick(["Failed", "Lost", "Expired"] as const))
        }
        return same("redrive", filter, yield* store.redrive(filter), model.redrive(filter))
      }
      if (dice < 87) {
        const limit = newLimit()
        const ifAbsent = random.chance(0.2)
        yield* store.setLimit(limit, { ifAbsent })
        model.setLimit(limit, { ifAbsent })
        return void said.push(["setLimit", { limit, ifAbsent }])
      }
      if (dice < 89) {
        const tag = random.pick(tags)
        return same("removeLimit", tag, yield* store.removeLimit(tag), model.limits.delete(tag))
      }
      if (dice < 91) {
        const tag = random.pick(tags)
        const millis = random.chance(0.2) ? 0 : random.int(1, 100)
        yield* store.pauseLimit(tag, millis)
        model.pauses.set(tag, model.now + millis)
        return void said.push(["pause", { tag, millis }])
      }
      if (dice < 94) {
        const queue = random.pick(queues)
        const settings = {
          paused: random.maybe(0.5, () => random.chance(0.3)),
          maxQueued: random.maybe(0.3, () => random.chance(0.5) ? "unbounded" as const : random.int(0, 12)),
          keyLimit: random.maybe(0.5, () => random.chance(0.4) ? "unbounded" as const : random.int(1, 4))
        }
        const ifAbsent = random.chance(0.2)
        yield* store.setQueue(queue, settings, { ifAbsent })
        model.setQueue(queue, settings, { ifAbsent })
        return void said.push(["setQueue", { queue, settings, ifAbsent }])
      }
      if (dice < 96) {
        let pruned = 0
        for (let more = yield* store.prune; more > 0; more = yield* store.prune) pruned += more
        return same("prune", undefined, pruned, model.prune())
      }
      const filter = {
        states: random.maybe(
          0.3,
          () => random.some(["Waiting", "Scheduled", "Active", "Succeeded", "Dead"] as const, 0.5)
        ),
        queue: random.maybe(0.3, () => random.pick(queues)),
        name: random.maybe(0.3, () => random.pick(names)),
        tags: random.maybe(0.3, () => random.some(tags, 0.5)),
        key: random.maybe(0.3, () => random.pick(keys)),
        limit: random.maybe(0.5, () => random.int(1, 10)),
        before: random.maybe(0.4, () => model.jobs.length > 0 ? random.pick(model.jobs).id : undefined)
      }
      same("list", filter, (yield* store.list(filter)).map(({ id }) => id), model.list(filter))
    })

    // A queue that has settings is not forgotten, nor that it had keys.
    for (const queue of queues) {
      yield* store.setQueue(queue, { paused: false })
      model.setQueue(queue, { paused: false }, {})
    }
    for (let at = 0; at < STEPS; at++) {
      yield* step
      if (at % 10 === 9) yield* look
    }

    // Nothing is lost: once nothing is in the way, all that waits is claimed.
    for (const tag of tags) {
      yield* store.removeLimit(tag)
      yield* store.pauseLimit(tag, 0)
      model.limits.delete(tag)
      model.pauses.delete(tag)
    }
    for (const queue of queues) {
      yield* store.setQueue(queue, { paused: false, keyLimit: "unbounded" })
      model.setQueue(queue, { paused: false, keyLimit: "unbounded" }, {})
    }
    yield* world.advance(1000)
    model.now += 1000
    const { worker } = yield* store.join({ name: "last", lease: 1000 })
    model.join(worker, 1000)
    yield* takeTurn({ worker, ends: [], want: 10_000, filter: {} })
    yield* look
    const { scheduled, waiting } = model.counts.reduce((a, b) => ({
      ...b,
      waiting: a.waiting + b.waiting,
      scheduled: a.scheduled + b.scheduled
    }))
    same("nothing is left", undefined, [waiting, scheduled], [0, 0])
  }).pipe(
    Effect.orDie,
    Effect.catchDefect((cause) => {
      const last = said.slice(-12).map(([what, to]) => `  ${what} ${JSON.stringify(to) ?? ""}`)
      const problem = cause instanceof Error ? cause.message : String(cause)
      return Effect.die(
        new Error([`SEED=${seed} ROUNDS=1, step ${said.length}:`, ...last, problem].join("\n"), { cause })
      )
    })
  )
}
