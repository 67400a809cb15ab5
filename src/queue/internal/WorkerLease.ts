/**
 * The lease of a worker: begun, renewed while it lives, and known to be lost before anybody else may have what it covers.
 *
 * The time it lasts is counted from when it was asked for, on a clock that does not jump, so the worker's end of a lease is never later than the
 * store's. It is renewed by a second thread where the store has a keeper: a blocked event loop renews nothing.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { keep, type Kept } from "./Keeper.ts"
import type { JobStoreError, LeaseEndedError, Store } from "./StorePort.ts"

export interface Options {
  readonly name: string
  /** In milliseconds. */
  readonly lease: number
  /** An event loop that is blocked for longer has its lease no more, in milliseconds. */
  readonly maxBlocked: number
}

/** One lease, from `join` until it ends. */
export class WorkerLease {
  readonly worker: string
  /** Of another: something may have to be swept then. */
  onSweep: (millis: number) => void = () => {}
  private readonly store: Store
  private readonly clock: Clock.Clock
  private readonly lasts: number
  private until: number
  /** Until when the first was good. */
  private readonly joined: number
  private kept: Kept | undefined

  private constructor(store: Store, clock: Clock.Clock, worker: string, lasts: number, until: number) {
    this.store = store
    this.clock = clock
    this.worker = worker
    this.lasts = lasts
    this.until = this.joined = until
  }

  static readonly join = (
    store: Store,
    { lease, maxBlocked, name }: Options
  ): Effect.Effect<WorkerLease, JobStoreError, Scope> =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      const asked = millisOf(clock)
      const { lasts, worker } = yield* store.join({ name, lease })
      const joined = new WorkerLease(store, clock, worker, lasts, asked + lasts)
      if (store.keeper !== undefined) {
        joined.kept = yield* keep(store.keeper, { worker, lasts, until: joined.until, maxBlocked })
      }
      return joined
    })

  /** For how many milliseconds it is certain. */
  get left(): number {
    return millisUntil(this.clock, this.latest)
  }

  private get latest(): number {
    return this.kept === undefined ? this.until : Math.max(this.until, this.kept.until)
  }

  /** Returns when the lease has ended, however that is known. */
  get ended(): Effect.Effect<void> {
    return Effect.raceFirst(this.runsOut, this.renewing)
  }

  private get runsOut(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { left } = this
      return left <= 0 ? Effect.void : Effect.andThen(Effect.sleep(Duration.millis(left)), this.runsOut)
    })
  }

  private get renewing(): Effect.Effect<void> {
    const { kept } = this
    if (kept === undefined) return this.renewingHere(() => false)
    const thread = Effect.flatMap(kept.stopped, (how) => {
      if (how === "ended") return Effect.void
      this.until = this.latest
      this.kept = undefined
      return Effect.andThen(
        Effect.logWarning("the thread that renews the lease has ended: it is renewed from the event loop"),
        this.renewingHere(() => false)
      )
    })
    // A thread takes its time to start, on a busy machine longer than a lease may last.
    return Effect.raceFirst(thread, this.renewingHere(() => kept.until > this.joined))
  }

  /** What could not be asked is asked again soon: until it runs out there is time for several tries. Goes on until somebody else does it. */
  private renewingHere(isTakenOver: () => boolean): Effect.Effect<void> {
    const third = Duration.millis(this.lasts / 3)
    const soon = Duration.millis(this.lasts / 12)
    const next = (renewed: "renewed" | "unknown" | "ended"): Effect.Effect<void> =>
      renewed === "ended"
        ? Effect.void
        : Effect.andThen(
          Effect.sleep(renewed === "renewed" ? third : soon),
          Effect.suspend(() => isTakenOver() ? Effect.never : Effect.flatMap(this.renew, next))
        )
    return next("renewed")
  }

  private get renew(): Effect.Effect<"renewed" | "unknown" | "ended"> {
    const asked = millisOf(this.clock)
    return Effect.map(
      Effect.catch(
        this.store.renew(this.worker),
        (error: JobStoreError | LeaseEndedError) => Effect.succeed(error._tag)
      ),
      (renewed) => {
        if (typeof renewed === "string") return renewed === "LeaseEndedError" ? "ended" : "unknown"
        this.until = asked + renewed.lasts
        if (renewed.sweepIn !== undefined) this.onSweep(renewed.sweepIn)
        return "renewed"
      }
    )
  }
}

/** How long until then, to the microsecond that the clock knows: what is left of one may be too short to ever pass. */
export const millisUntil = (clock: Clock.Clock, at: number): number => Math.floor((at - millisOf(clock)) * 1000) / 1000

/** Of a clock that no wall clock moves. */
export const millisOf = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe() / 1000n) / 1000
