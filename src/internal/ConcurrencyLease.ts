/** Slots for holders that are no fiber: held by a token for a time, and reclaimed when nobody renews them. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { AdmissionReason, Lease, LeaseOptions, WithLeaseOptions } from "../Concurrency.ts"
import { InvalidOptionError, orFail } from "../InvalidOptionError.ts"
import { checkDuration } from "./ConcurrencyDemand.ts"
import { Held } from "./ConcurrencyLine.ts"
import { enterRegion, type Region } from "./ConcurrencyRegion.ts"
import type { Shared } from "./ConcurrencyShared.ts"
import { CurrentRegion, RunKey } from "./ConcurrencyWaiting.ts"

/** A lease is no longer held: it expired, or its tags were taken away. */
export class LeaseLostError extends Data.TaggedError("LeaseLostError")<{
  readonly token: string
  readonly tags: ReadonlyArray<string>
  readonly reason: "expired" | "released" | "revoked"
}> {
  override get message(): string {
    return `the lease of ${this.tags.map((tag) => `"${tag}"`).join(", ")} is lost: ${this.reason}`
  }
}

/** `Held` until the first of: released, expired, revoked. */
export class HeldLease implements Lease {
  readonly token: string = crypto.randomUUID()
  readonly tags: ReadonlyArray<string>
  private ended: LeaseLostError["reason"] | undefined
  private expires = Infinity
  private fiber: Fiber.Fiber<unknown> | undefined
  private region: Region | undefined
  private readonly over = Deferred.makeUnsafe<void>()
  private readonly shared: Shared
  private readonly ttl: number
  constructor(shared: Shared, tags: ReadonlyArray<string>, ttl: number) {
    this.shared = shared
    this.tags = tags
    this.ttl = ttl
  }

  /** Somebody took a tag of it away: the rest is worth nothing. */
  private get isRevoked(): boolean {
    const { region } = this
    return region !== undefined && (region.phase !== Held || (region.skips !== undefined && region.skips.length > 0))
  }

  /** Asks for the slot in a fiber of its own, and returns when it is there. */
  take<E>(options: LeaseOptions, refused: (reason: AdmissionReason, name: string) => E): Effect.Effect<Lease, E> {
    const granted = Deferred.makeUnsafe<void, E>()
    const holding = Effect.uninterruptibleMask((restore) =>
      Effect.withFiber((fiber) =>
        enterRegion(
          this.shared,
          fiber,
          restore,
          "Concurrency.acquire",
          options,
          this.hold(granted),
          (reason, name) => Effect.sync(() => void Deferred.doneUnsafe(granted, Exit.fail(refused(reason, name)))),
          { name: options.name, entered: (region) => this.region = region }
        )
      )
    )
    return Effect.gen({ self: this }, function*() {
      const fiber = this.fiber = yield* Effect.forkDetach(Effect.updateContext(holding, outside))
      fiber.addObserver((exit) => {
        this.shared.leases.delete(this.token)
        this.ended ??= "revoked"
        if (Exit.isFailure(exit)) Deferred.doneUnsafe(granted, exit as Exit.Exit<never, never>)
      })
      yield* Effect.onInterrupt(Deferred.await(granted), () => Effect.sync(() => fiber.interruptUnsafe()))
      return this
    })
  }

  private hold<E>(granted: Deferred.Deferred<void, E>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const clock = yield* Clock.Clock
      this.expires = clock.currentTimeMillisUnsafe() + this.ttl
      this.shared.leases.set(this.token, this)
      Deferred.doneUnsafe(granted, Exit.void)
      while (this.ended === undefined) {
        const left = this.expires - clock.currentTimeMillisUnsafe()
        if (left <= 0) return this.expire(clock.currentTimeMillisUnsafe())
        yield* Effect.timeoutOption(Deferred.await(this.over), Duration.millis(left))
      }
    })
  }

  private expire(now: number): void {
    this.ended = "expired"
    this.shared.facts.emit({ _tag: "LeaseExpired", at: DateTime.makeUnsafe(now), token: this.token, tags: this.tags })
  }

  readonly expiresAt: Effect.Effect<DateTime.Utc> = Effect.sync(() => DateTime.makeUnsafe(this.expires))

  readonly renew: Effect.Effect<void, LeaseLostError> = Effect.withFiber((fiber) => {
    const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
    // Its time is up, even where nobody has looked yet.
    const reason = this.ended ?? (this.isRevoked ? "revoked" : now >= this.expires ? "expired" : undefined)
    if (reason !== undefined) return Effect.fail(new LeaseLostError({ token: this.token, tags: this.tags, reason }))
    this.expires = now + this.ttl
    return Effect.void
  })

  readonly release: Effect.Effect<boolean> = Effect.suspend(() => {
    if (this.ended !== undefined) return Effect.succeed(false)
    const held = !this.isRevoked
    this.ended = "released"
    Deferred.doneUnsafe(this.over, Exit.void)
    const { fiber } = this
    // Free when this returns.
    return Effect.as(fiber === undefined ? Effect.void : Fiber.await(fiber), held)
  })
}

export const makeLease = (where: string, shared: Shared, options: LeaseOptions): HeldLease => {
  const ttl = Duration.toMillis(checkDuration(where, "ttl", options.ttl))
  if (!(ttl > 0)) {
    throw new InvalidOptionError({ where, field: "ttl", rule: "must be a duration > 0", value: options.ttl })
  }
  return new HeldLease(shared, [...new Set(options.tags ?? [])], ttl)
}

/** The effect, and the heart that beats for its lease. */
export const keepLease = <A, E, R>(
  lease: Lease,
  options: WithLeaseOptions,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | LeaseLostError | InvalidOptionError, R> =>
  Effect.gen(function*() {
    const where = "Concurrency.withLease"
    const { attempts = 3, renewEvery, whenLost = "fail" } = options
    const every = yield* orFail(() => {
      if (!(Number.isInteger(attempts) && attempts >= 1)) {
        throw new InvalidOptionError({ where, field: "attempts", rule: "must be an integer >= 1", value: attempts })
      }
      if (whenLost !== "fail" && whenLost !== "continue") {
        const rule = `must be "fail" or "continue"`
        throw new InvalidOptionError({ where, field: "whenLost", rule, value: whenLost })
      }
      return renewEvery === undefined
        ? Duration.millis(Duration.toMillis(Duration.fromInputUnsafe(options.ttl)) / 3)
        : checkDuration(where, "renewEvery", renewEvery)
    })
    const renew = options.renew ?? ((lease: Lease) => lease.renew)
    let failed = 0
    const beat = Effect.matchCauseEffect(Effect.andThen(Effect.sleep(every), Effect.suspend(() => renew(lease))), {
      onSuccess: () => Effect.sync(() => void (failed = 0)),
      onFailure: (cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
        if (++failed < attempts) return Effect.void
        const lost = cause.reasons.find((one) => one._tag === "Fail")?.error
        return Effect.fail(
          lost instanceof LeaseLostError
            ? lost
            : new LeaseLostError({ token: lease.token, tags: lease.tags, reason: "expired" })
        )
      }
    })
    const beats = Effect.forever(beat)
    const heart = whenLost === "fail" ?
      beats :
      Effect.catch(
        beats,
        (error) => Effect.andThen(Effect.logWarning(`${error.message}; what ran under it goes on`), Effect.never)
      )
    return yield* Effect.raceFirst(effect, heart)
  })

const outside = (context: Context.Context<never>): Context.Context<never> =>
  Context.omit(RunKey)(Context.add(context, CurrentRegion, undefined)) as Context.Context<never>
