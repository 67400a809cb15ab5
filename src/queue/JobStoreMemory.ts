/**
 * Durable jobs in memory: gone with the process, and in all else what the other stores are. For tests and development, and for work that may be
 * lost. Reads the `Clock`, so a test clock drives it.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { orDie } from "../InvalidOptionError.ts"
import { MemoryStore } from "./internal/MemoryStore.ts"
import { checkStoreOptions, type StoreOptions } from "./internal/StoreOptions.ts"
import { JobStore, type Store } from "./internal/StorePort.ts"

export type Options = StoreOptions

/** One store for all who are given the same Layer. */
export const layer = (options?: Options): Layer.Layer<JobStore> => Layer.effect(JobStore, make(options))

export const make = (options?: Options): Effect.Effect<Store> =>
  Clock.clockWith((clock) =>
    orDie(() => {
      const { limits, queues, retention } = checkStoreOptions("JobStoreMemory.layer", options)
      const memory = new MemoryStore(retention)
      for (const limit of limits) memory.setLimit(limit, {}, clock.currentTimeMillisUnsafe())
      for (const [name, settings] of queues) memory.setQueue(name, settings, {})
      return toStore(memory)
    })
  )

const toStore = (memory: MemoryStore): Store => {
  /** One step, at one time; then those who listen hear of it. */
  const step = <A>(f: (now: number) => A): Effect.Effect<A> =>
    Clock.clockWith((clock) =>
      Effect.sync(() => {
        const answer = f(clock.currentTimeMillisUnsafe())
        memory.announce()
        return answer
      })
    )
  const orFail = <A>(effect: Effect.Effect<A>): Effect.Effect<Exclude<A, Error>, Extract<A, Error>> =>
    Effect.flatMap(
      effect,
      (answer) =>
        answer instanceof Error
          ? Effect.fail(answer as Extract<A, Error>)
          : Effect.succeed(answer as Exclude<A, Error>)
    )
  return {
    kind: "memory",
    enqueue: (jobs) => orFail(step((now) => memory.enqueue(jobs, now))),
    join: (joining) => step((now) => memory.join(joining, now)),
    renew: (worker) => orFail(step((now) => memory.renew(worker, now))),
    turn: (turn) => orFail(step((now) => memory.turn(turn, now))),
    leave: (worker) => step((now) => memory.leave(worker, now)),
    sweep: step((now) => memory.sweep(now)),
    listen: (wake) =>
      Effect.asVoid(Effect.acquireRelease(Effect.sync(() => memory.listen(wake)), (stop) => Effect.sync(stop))),
    // The event loop that is blocked is the one the store lives on.
    keeper: undefined,
    get: (id) => step(() => Option.fromUndefinedOr(memory.get(id))),
    list: (filter = {}) => step(() => memory.list(filter)),
    counts: step(() => memory.counts),
    workers: step((now) => memory.workers(now)),
    cancel: (id) => step((now) => memory.cancel(id, now)),
    redrive: (filter) => step((now) => memory.redrive(filter, now)),
    prune: step((now) => memory.prune(now)),
    setLimit: (limit, options = {}) => step((now) => memory.setLimit(limit, options, now)),
    pauseLimit: (tag, until) => step((now) => memory.pauseLimit(tag, until, now)),
    limits: step((now) => memory.limits(now)),
    removeLimit: (tag) => step((now) => memory.removeLimit(tag, now)),
    setQueue: (name, settings, options = {}) => step(() => memory.setQueue(name, settings, options))
  }
}
