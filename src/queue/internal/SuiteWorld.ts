/** What the laws of job stores are told with: jobs, workers, and how a store answers them. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import type { Scope } from "effect/Scope"
import type { Limit } from "../../Concurrency.ts"
import type { StoreOptions } from "./StoreOptions.ts"
import type {
  Claimed,
  ClaimFilter,
  DeadReason,
  End,
  Enqueued,
  JobRecord,
  Lease,
  NewJob,
  QueueCounts,
  Store,
  StoredLimit,
  StoredLimitInfo,
  Turn,
  Turned
} from "./StorePort.ts"

export type Story<A = void> = Generator<Effect.Effect<any, unknown, Scope>, A, never>

/** A law, told of a store of its own. */
export type Law = (title: string, story: (world: World) => Story, options?: StoreOptions) => void

export type Opening = Effect.Effect<World, never, Scope>

/** A law told of Layers at one place. */
export type Durably = (title: string, story: (open: (options?: StoreOptions) => Opening) => Story) => void

/** A job as plain as can be, and what it has more. */
export const job = (name: string, more: Partial<NewJob> = {}): NewJob => ({
  name,
  payload: JSON.stringify(name),
  queue: "default",
  tags: [],
  weight: 1,
  priority: 20,
  key: undefined,
  id: undefined,
  due: undefined,
  expires: undefined,
  delivery: "atLeastOnce",
  maxCrashes: 100,
  unique: undefined,
  trace: undefined,
  ...more
})

export const jobs = (names: string, more: Partial<NewJob> = {}): ReadonlyArray<NewJob> =>
  names.split(" ").map((name) => job(name, more))

/** One store, and the time it reads. */
export class World {
  readonly store: Store
  /** Lets so much of its time pass. */
  readonly advance: (millis: number) => Effect.Effect<void>
  constructor(store: Store, advance: (millis: number) => Effect.Effect<void>) {
    this.store = store
    this.advance = advance
  }

  get now(): Effect.Effect<number> {
    const { store } = this
    return Effect.gen(function*() {
      const { worker } = yield* store.join({ name: "what time is it", lease: 1000 })
      const record = (yield* store.workers).find(({ id }) => id === worker)!
      yield* store.leave(worker)
      return record.joinedAt
    }).pipe(Effect.orDie)
  }

  put(...jobs: ReadonlyArray<NewJob>): Effect.Effect<ReadonlyArray<string>> {
    return Effect.map(Effect.orDie(this.store.enqueue(jobs)), (all) => all.map(({ id }) => id))
  }

  /** How one was put in. */
  putOne(job: NewJob): Effect.Effect<Enqueued> {
    return Effect.map(Effect.orDie(this.store.enqueue([job])), ([enqueued]) => enqueued!)
  }

  /** Why it could not be put in. */
  refusal(...jobs: ReadonlyArray<NewJob>) {
    return Effect.flip(this.store.enqueue(jobs)).pipe(Effect.orDie)
  }

  worker(options: { readonly name?: string; readonly lease?: number } = {}): Effect.Effect<Worker> {
    const { lease = 10_000_000, name = "worker" } = options
    return Effect.map(Effect.orDie(this.store.join({ name, lease })), (joined) => new Worker(this.store, joined))
  }

  record(id: string): Effect.Effect<JobRecord | undefined> {
    return Effect.map(Effect.orDie(this.store.get(id)), Option.getOrUndefined)
  }

  /** `"gone"`: there is no such job. A dead one says why. */
  state(id: string): Effect.Effect<string> {
    return Effect.map(
      this.record(id),
      (record) =>
        record === undefined ? "gone" : record.reason === undefined ? record.state : `${record.state} ${record.reason}`
    )
  }

  states(ids: ReadonlyArray<string>): Effect.Effect<ReadonlyArray<string>> {
    return Effect.forEach(ids, (id) => this.state(id))
  }

  limit(tag: string, limit: Limit, more: Partial<StoredLimit> = {}): Effect.Effect<void> {
    return Effect.orDie(this.store.setLimit({ tag, limit, rates: [], enabled: true, ...more }))
  }

  /** A limit of starts alone. */
  rate(tag: string, count: number, per: number, burst = count): Effect.Effect<void> {
    return this.limit(tag, "unbounded", { rates: [{ count, per, burst }] })
  }

  limitOf(tag: string): Effect.Effect<StoredLimitInfo | undefined> {
    return Effect.map(Effect.orDie(this.store.limits), (limits) => limits.find((limit) => limit.tag === tag))
  }

  countsOf(queue: string): Effect.Effect<QueueCounts | undefined> {
    return Effect.map(Effect.orDie(this.store.counts), (counts) => counts.find((one) => one.queue === queue))
  }

  /** Returns when somebody who listens since before was woken. */
  wakes(act: Effect.Effect<unknown, unknown>): Effect.Effect<void, never, Scope> {
    const { store } = this
    return Effect.gen(function*() {
      const woken = Latch.makeUnsafe()
      yield* store.listen(() => void woken.openUnsafe())
      // Not what happened before.
      woken.closeUnsafe()
      yield* act
      yield* woken.await
    }).pipe(Effect.orDie)
  }
}

/** Somebody with a lease. */
export class Worker {
  readonly store: Store
  readonly lease: Lease
  constructor(store: Store, lease: Lease) {
    this.store = store
    this.lease = lease
  }

  get id(): string {
    return this.lease.worker
  }

  turn(turn: Partial<Turn> = {}): Effect.Effect<Turned> {
    return Effect.orDie(this.store.turn({ worker: this.id, ends: [], want: 100, filter: {}, ...turn }))
  }

  claim(want = 100, filter: ClaimFilter = {}): Effect.Effect<ReadonlyArray<Claimed>> {
    return Effect.map(this.turn({ want, filter }), ({ jobs }) => jobs)
  }

  /** The names of what it is given, in that order. */
  names(want = 100, filter: ClaimFilter = {}): Effect.Effect<string> {
    return Effect.map(this.claim(want, filter), (jobs) => jobs.map(({ name }) => name).join(" "))
  }

  one(filter: ClaimFilter = {}): Effect.Effect<Claimed> {
    return Effect.flatMap(
      this.claim(1, filter),
      ([claimed]) =>
        claimed === undefined ? Effect.die(new Error("there is nothing to claim")) : Effect.succeed(claimed)
    )
  }

  /** Says how attempts ended, and claims nothing. Returns the ids of those refused. */
  ends(...ends: ReadonlyArray<End>): Effect.Effect<ReadonlyArray<string>> {
    return Effect.map(this.turn({ ends, want: 0 }), ({ refused }) => refused)
  }

  /** What a turn that comes too late fails with, and a renewal. */
  get refusals(): Effect.Effect<ReadonlyArray<string>> {
    const turn = this.store.turn({ worker: this.id, ends: [], want: 0, filter: {} })
    const tagOf = (effect: Effect.Effect<unknown, { readonly _tag: string }>) =>
      Effect.matchEffect(effect, {
        onFailure: ({ _tag }) => Effect.succeed(_tag),
        onSuccess: () => Effect.succeed("taken")
      })
    return Effect.all([tagOf(turn), tagOf(this.store.renew(this.id))])
  }
}

type Attempt = Pick<Claimed, "id" | "token"> & { readonly attempt?: number }

const errorOf = ({ attempt = 1 }: Attempt, reason: DeadReason, message: string) => ({ attempt, at: 0, reason, message })

export const succeeded = ({ id, token }: Attempt, result?: string): End => ({ _tag: "Succeeded", id, token, result })
export const returned = ({ id, token }: Attempt): End => ({ _tag: "Returned", id, token })
export const cancelled = ({ id, token }: Attempt): End => ({ _tag: "Cancelled", id, token })
export const retry = (job: Attempt, after = 0, message = "no"): End => ({
  _tag: "Retry",
  id: job.id,
  token: job.token,
  after,
  error: errorOf(job, "Failed", message)
})
export const dead = (job: Attempt, reason: DeadReason = "Failed"): End => ({
  _tag: "Dead",
  id: job.id,
  token: job.token,
  reason,
  error: errorOf(job, reason, "no more")
})

/** Not later than it is, and not at once. */
export const soonest = (next: number | undefined, millis: number): void => {
  assert.isDefined(next)
  assert.isTrue(next! > 0 && next! <= millis, `next is ${next}, and there is something in ${millis}`)
}
