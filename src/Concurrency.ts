/**
 * How much at once: the tag limits in force, who holds them and who waits for them.
 *
 * A `Concurrency` is a service like any other: every scheduler built below it counts against the same limits, so two runners share one
 * database limit of 10 by sharing the Layer. Limits are created, resized, read and removed at run time, and code that is no task takes part
 * with `withSlot`. There is no hidden global.
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { findDeadlock } from "./internal/ConcurrencyDeadlock.ts"
import {
  checkDuration,
  checkLimit,
  checkPriority,
  checkTagLimit,
  type Limits,
  Profile,
  TagTable,
  windowsOf
} from "./internal/ConcurrencyDemand.ts"
import type { Listener } from "./internal/ConcurrencyFacts.ts"
import { holdersOf, limitName, toLimit, usage } from "./internal/ConcurrencyHolders.ts"
import { keepLease, LeaseLostError, makeLease } from "./internal/ConcurrencyLease.ts"
import { Counter, type Line, type Needs, Slot } from "./internal/ConcurrencyLine.ts"
import { checkWhenFull, enterRegion } from "./internal/ConcurrencyRegion.ts"
import { makeRoom } from "./internal/ConcurrencyReplace.ts"
import { pausedFor, Shared } from "./internal/ConcurrencyShared.ts"
import { chainOf, CurrentRegion, CurrentRunKey, innermost, none, RunKey, Waits } from "./internal/ConcurrencyWaiting.ts"
import { explain } from "./internal/ConcurrencyWhy.ts"
import { type InvalidOptionError, orDie, orFail } from "./InvalidOptionError.ts"

/** How much may be taken at once. */
export type Limit = number | "unbounded"

/** The limit of one tag. */
export interface TagLimit {
  /** An integer >= 0; zero closes the tag: what asks for it is refused. */
  readonly limit: Limit
  /** What happens to the tag while its run waits for another run. Default `"lend"`; `"hold"` for a real resource. */
  readonly whileWaiting?: "lend" | "hold" | undefined
  /** How often work may start under it; of several, all must have room. */
  readonly rate?: Rate | ReadonlyArray<Rate> | undefined
  /** False: declared, and counting nothing until `enable`. Default true. */
  readonly enabled?: boolean | undefined
}

/** At most `count` starts per `per`, as an exact token bucket. A weight takes as many tokens. */
export interface Rate {
  /** A number > 0. */
  readonly count: number
  readonly per: Duration.Input
  /** How much may start at once. A number >= 1; default: `count`, at least 1. */
  readonly burst?: number | undefined
}

/** Limits by tag, or a function that knows the limit of any tag (asked once a tag). */
export type TagLimits = Readonly<Record<string, Limit | TagLimit>> | ((tag: string) => Limit | TagLimit | undefined)

/** 0, 10, 20, 30 by name, or any finite number; lower goes first. Default `"normal"`. */
export type Priority = number | "critical" | "high" | "normal" | "low"

/** What one piece of work asks for. */
export interface Demand {
  /** All of them must have room. A tag without a limit is a label. */
  readonly tags?: ReadonlyArray<string> | undefined
  /** How much of each limit it takes. An integer >= 1; default 1. */
  readonly weight?: number | undefined
  readonly priority?: Priority | undefined
  /** Work with different keys shares the scheduler fairly. */
  readonly key?: string | undefined
  /**
   * When a limit is reached: `"wait"` (the default), `"fail"` is refused with reason `WouldWait`, `"drop"` ends as if interrupted, and
   * `"replace"` interrupts the oldest holders that are in the way, and those who wait to do the same: the newest wins. A `withSlot` that asked
   * to replace is ended alone; a plain one with the fiber it is in.
   */
  readonly whenFull?: "wait" | "fail" | "drop" | "replace" | undefined
  /** Refused with reason `Timeout` when the whole wait lasts longer. Default: no bound. */
  readonly admissionTimeout?: Duration.Input | undefined
  /** Every tag must have a limit, on or off: refused with reason `MissingLimits` otherwise. Default false. */
  readonly strict?: boolean | undefined
}

/** Who has some of a limit: a run, or a `withSlot` region. */
export interface Holder {
  readonly id: string
  readonly name: string
  readonly weight: number
  readonly since: DateTime.Utc
}

/** `active` is the weight taken, `waiting` counts those who wait for it. */
export interface Usage {
  readonly limit: Limit
  readonly active: number
  readonly waiting: number
}

/** One tag limit and who holds it. */
export interface LimitInfo extends Usage {
  readonly tag: string
  readonly holders: ReadonlyArray<Holder>
  /** False: it counts nothing until `enable`. */
  readonly enabled: boolean
  /** Its rates, and how much may start now under each. */
  readonly rates: ReadonlyArray<{
    readonly count: number
    readonly per: Duration.Duration
    readonly burst: number
    readonly available: number
  }>
  /** Nothing starts before; `"resumed"`: before `resume`. */
  readonly pausedUntil: DateTime.Utc | "resumed" | undefined
}

interface Service {
  readonly create: (tag: string, limit: Limit | TagLimit) => Effect.Effect<LimitInfo, InvalidOptionError>
  readonly read: (tag: string) => Effect.Effect<Option.Option<LimitInfo>>
  readonly list: Effect.Effect<ReadonlyArray<LimitInfo>>
  readonly remove: (tag: string) => Effect.Effect<boolean>
  readonly switchTo: (tag: string, on: boolean) => Effect.Effect<boolean>
  readonly pauseUntil: (
    tag: string,
    until: (now: number, before: number) => number
  ) => Effect.Effect<void, InvalidOptionError>
  readonly revoke: (tag: string, id: string | undefined) => Effect.Effect<number>
  readonly leases: ReadonlyMap<string, Lease>
  readonly events: Stream.Stream<ConcurrencyEvent>
  /** Tells the limits in force and their holders, then each fact, at once. Returns how to stop. */
  readonly listen: (listener: Listener) => () => void
  /** For runners: warns of work that has waited longer. */
  readonly watch: (where: string, saturation: Duration.Input, context: Context.Context<never>) => void
  /** The limits a scheduler of these options works under, together with these. For runners. */
  readonly limitsFor: (options: LimitsOptions) => RunnerLimits
  /** For runners: their own limits are gone; with `undefined` all are, as nobody can ask for them any more. */
  readonly close: (limits: RunnerLimits | undefined) => void
}

/** The tag limits in force and who holds them. Explicit, no hidden global: whoever manages limits has it in `R`. */
export class Concurrency extends Context.Service<Concurrency, Service>()("tasklayer/Concurrency") {}

/** Limits that every scheduler and `withSlot` below shares. */
export const layer = (options?: { readonly tagLimits?: TagLimits | undefined }): Layer.Layer<Concurrency> =>
  Layer.effect(
    Concurrency,
    Effect.acquireRelease(
      Effect.contextWith((context: Context.Context<never>) =>
        orDie(() => makeUnsafe("Concurrency.layer", options?.tagLimits, context))
      ),
      (concurrency) => Effect.sync(() => concurrency.close(undefined))
    )
  )

/** Creates the limit of a tag, or resizes it: holders finish undisturbed, waiters are looked at again at once. */
export const create = (
  tag: string,
  limit: Limit | TagLimit
): Effect.Effect<LimitInfo, InvalidOptionError, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.create(tag, limit))

/** The limit of a tag and its holders; `None` when the tag has none. */
export const read = (tag: string): Effect.Effect<Option.Option<LimitInfo>, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.read(tag))

/** Every limit, by tag. */
export const list: Effect.Effect<ReadonlyArray<LimitInfo>, never, Concurrency> = Concurrency.use((concurrency) =>
  concurrency.list
)

/** Removes the limit of a tag: those who waited for it go on. False when there was none. */
export const remove = (tag: string): Effect.Effect<boolean, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.remove(tag))

/** Switches a limit on: it counts those admitted from now on. False: there is none. */
export const enable = (tag: string): Effect.Effect<boolean, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.switchTo(tag, true))

/** Switches a limit off: it counts nothing, and those who waited for it go on. False: there is none. */
export const disable = (tag: string): Effect.Effect<boolean, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.switchTo(tag, false))

/** Starts nothing that asks for the tag until `resume`; holders go on. A tag without a limit can be paused too. */
export const pause = (tag: string): Effect.Effect<void, never, Concurrency> =>
  Effect.orDie(Concurrency.use((concurrency) => concurrency.pauseUntil(tag, () => Infinity)))

/** Starts nothing that asks for the tag for so long: what a `Retry-After` asks for. */
export const pauseFor = (tag: string, duration: Duration.Input): Effect.Effect<void, InvalidOptionError, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.pauseUntil(tag, pausedFor("Concurrency.pauseFor", duration)))

/** Ends a pause. */
export const resume = (tag: string): Effect.Effect<void, never, Concurrency> =>
  Effect.orDie(Concurrency.use((concurrency) => concurrency.pauseUntil(tag, (now) => now)))

/** Takes the tag from everybody who holds it; they go on uncounted, and what they release later changes nothing. Returns how many. */
export const reset = (tag: string): Effect.Effect<number, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.revoke(tag, undefined))

/** Takes the tag from one holder, by the id that `read` shows. False: it does not hold it. */
export const releaseHolder = (tag: string, id: string): Effect.Effect<boolean, never, Concurrency> =>
  Effect.map(Concurrency.use((concurrency) => concurrency.revoke(tag, id)), (revoked) => revoked > 0)

/**
 * Any effect under tag limits: tags only, no pool slot. Held until the effect ends: neither `join` nor `lend` gives it away, and descendants
 * run under it. Tags its run or an enclosing `withSlot` has are free again. Waiting for it lends the run's slot, taken back together with
 * the tags. What cannot be had is the defect `AdmissionError`.
 */
export const withSlot =
  (demand: Demand) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Concurrency> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber<A, E, R | Concurrency>((fiber) =>
        enterRegion(
          sharedIn(fiber.context),
          fiber,
          restore,
          "Concurrency.withSlot",
          demand,
          effect,
          (reason, name) => Effect.die(refusal("", name, reason))
        )
      )
    )

/** Never waits: `None` means it did not run. */
export const withSlotIfAvailable =
  (demand: Demand) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R | Concurrency> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiber<Option.Option<A>, E, R | Concurrency>((fiber) =>
        enterRegion(
          sharedIn(fiber.context),
          fiber,
          restore,
          "Concurrency.withSlotIfAvailable",
          { ...demand, whenFull: "fail" },
          Effect.asSome(effect),
          (reason, name) => reason._tag === "WouldWait" ? Effect.succeedNone : Effect.die(refusal("", name, reason))
        )
      )
    )

/**
 * Waits until the rates of the tags let one more start (or `weight` of them), and takes no slot: for calls inside a task that has the tag. A tag
 * without a rate is the defect `AdmissionError` with reason `MissingLimits`.
 */
export const rateLimit = (
  demand: Pick<Demand, "tags" | "weight" | "priority" | "whenFull" | "admissionTimeout">
): Effect.Effect<void, never, Concurrency> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.withFiber((fiber) =>
      enterRegion(
        sharedIn(fiber.context),
        fiber,
        restore,
        "Concurrency.rateLimit",
        demand,
        Effect.void,
        (reason, name) => Effect.die(refusal("", name, reason)),
        { rateOnly: true }
      )
    )
  )

/** What a holder that is no fiber asks for. */
export interface LeaseOptions extends Omit<Demand, "key"> {
  /** How long it is held without being renewed. */
  readonly ttl: Duration.Input
  /** For `holders`. Default: the tags. */
  readonly name?: string | undefined
}

/** Tags held by a token, by whoever knows it. */
export interface Lease {
  readonly token: string
  readonly tags: ReadonlyArray<string>
  readonly expiresAt: Effect.Effect<DateTime.Utc>
  /** From now on it is held for its `ttl` again. */
  readonly renew: Effect.Effect<void, LeaseLostError>
  /** Free when this returns. False: it was not held any more, and nothing changed. */
  readonly release: Effect.Effect<boolean>
}

/** Waits for tags and holds them for `ttl`, whatever becomes of the fiber. Not renewed in time, they go to others and `LeaseExpired` says so. */
export const acquire = (
  options: LeaseOptions
): Effect.Effect<Lease, AdmissionError | InvalidOptionError, Concurrency> =>
  Effect.withFiber((fiber) =>
    Effect.flatMap(
      orFail(() => makeLease("Concurrency.acquire", sharedIn(fiber.context), options)),
      (lease) => lend(lease.take(options, (reason, name) => refusal("", name, reason)))
    )
  )

/** Renews a lease by its token. */
export const renew = (token: string): Effect.Effect<void, LeaseLostError, Concurrency> =>
  Concurrency.use((concurrency) =>
    concurrency.leases.get(token)?.renew ?? Effect.fail(new LeaseLostError({ token, tags: [], reason: "expired" }))
  )

/** Releases a lease by its token. False: it was not held any more, and nothing changed. */
export const release = (token: string): Effect.Effect<boolean, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.leases.get(token)?.release ?? Effect.succeed(false))

export interface WithLeaseOptions extends LeaseOptions {
  /** Default: a third of the `ttl`. */
  readonly renewEvery?: Duration.Input | undefined
  /** How often in a row renewing may fail before the lease counts as lost. An integer >= 1; default 3. */
  readonly attempts?: number | undefined
  /** `"fail"` (the default) interrupts the effect and fails; `"continue"` logs a warning and lets it finish. */
  readonly whenLost?: "fail" | "continue" | undefined
  /** How to renew. Default: `lease.renew`. */
  readonly renew?: ((lease: Lease) => Effect.Effect<void, unknown>) | undefined
}

/** An effect under a lease that is renewed while it runs: for holders that others must be able to outlive. */
export const withLease = (options: WithLeaseOptions) =>
<A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | AdmissionError | InvalidOptionError | LeaseLostError, R | Concurrency> =>
  Effect.acquireUseRelease(
    acquire(options),
    (lease) => keepLease(lease, options, effect),
    (lease) => lease.release
  )

interface HolderFact {
  readonly at: DateTime.Utc
  readonly tag: string
  /** The id of a run, or of a `withSlot` region or a lease. */
  readonly holder: string
  readonly name: string
}

/** A fact about the limits. */
export type ConcurrencyEvent =
  /** It is among the holders now: let in, or back from a wait during which it had lent the tag. */
  | HolderFact & { readonly _tag: "Acquired"; readonly weight: number }
  /** It is not any more: ended, or waiting and lending. `held` is since it was `Acquired`. */
  | HolderFact & { readonly _tag: "Released"; readonly weight: number; readonly held: Duration.Duration }
  /** It asked for the tag, which had no room, and is in line now. */
  | HolderFact & { readonly _tag: "Waited" }
  /** It was refused, or dropped, because of the tag. */
  | HolderFact & { readonly _tag: "Denied"; readonly reason: AdmissionReason }
  /** Taken from its holder by an operator. */
  | HolderFact & { readonly _tag: "Revoked"; readonly weight: number; readonly held: Duration.Duration }
  /** The limit is in force now: made, or switched on. */
  | { readonly _tag: "Created"; readonly at: DateTime.Utc; readonly tag: string; readonly limit: Limit }
  | {
    readonly _tag: "Resized"
    readonly at: DateTime.Utc
    readonly tag: string
    readonly limit: Limit
    readonly before: Limit
  }
  /** The limit is not in force any more: removed, switched off, or gone with whoever had declared it. */
  | { readonly _tag: "Removed"; readonly at: DateTime.Utc; readonly tag: string; readonly before: Limit }
  | {
    readonly _tag: "Paused"
    readonly at: DateTime.Utc
    readonly tag: string
    readonly until: DateTime.Utc | undefined
  }
  | { readonly _tag: "Resumed"; readonly at: DateTime.Utc; readonly tag: string }
  | {
    readonly _tag: "LeaseExpired"
    readonly at: DateTime.Utc
    readonly token: string
    readonly tags: ReadonlyArray<string>
  }
  /** Somebody has waited for this limit longer than `saturation`; told once until nobody waits for it. */
  | {
    readonly _tag: "Saturated"
    readonly at: DateTime.Utc
    readonly limit: string
    readonly active: number
    readonly waiting: number
    /** Who waits, by id. */
    readonly run: string
  }

/** Every fact about the limits in context, from the subscription on. */
export const events: Stream.Stream<ConcurrencyEvent, never, Concurrency> = Stream.unwrap(
  Concurrency.useSync((concurrency) => concurrency.events)
)

export { type Listener, Listeners } from "./internal/ConcurrencyFacts.ts"

/** Gives the current slot to others while an effect waits for something outside, then takes it back ahead of new work. Outside a run: the effect itself. */
export const lend = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const chain = chainOf(fiber.context)
    return whileAway(chain, [], effect, (waiting) => {
      // Under a limit lowered meanwhile, what it lends may never come back.
      const cycle = waiting.cycle(undefined)
      if (cycle === undefined) return undefined
      const slot = chain[chain.length - 1]!
      return refusal(slot.id, slot.name, { _tag: "Deadlock", cycle })
    })
  })

/** Runs `effect`, which is what `target` does, while the slots of the fiber count as waiting for it. @internal */
export const lendTo = <A, E, R>(
  context: Context.Context<never>,
  target: Slot,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => whileAway(chainOf(context), [target], effect, () => undefined)

const whileAway = <A, E, R>(
  chain: ReadonlyArray<Slot>,
  targets: ReadonlyArray<Slot>,
  effect: Effect.Effect<A, E, R>,
  refused: (waiting: Waits) => AdmissionError | undefined
): Effect.Effect<A, E, R> => {
  if (chain.length === 0) return effect
  return Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const waiting = new Waits(chain, targets, false, undefined)
      const refusal = refused(waiting)
      if (refusal !== undefined) return Effect.die(refusal)
      waiting.begin()
      return Effect.flatMap(
        Effect.exit(restore(effect)),
        (exit) => Effect.andThen(restore(waiting.ended), exit).pipe(Effect.onInterrupt(() => waiting.settled))
      )
    })
  )
}

/** Why something was not admitted. */
export type AdmissionReason =
  /** The scheduler takes no new work. */
  | { readonly _tag: "SchedulerClosed"; readonly scheduler: string }
  /** A limit of zero. */
  | { readonly _tag: "LimitClosed"; readonly limit: string }
  /** More than a tag's limit, or than the holder's share of it. */
  | { readonly _tag: "ExceedsLimit"; readonly limit: string; readonly weight: number; readonly max: number }
  /** The wait would close a cycle of runs and tags. */
  | { readonly _tag: "Deadlock"; readonly cycle: ReadonlyArray<string> }
  /** The scheduler's queue is full, and `whenQueueFull` is `"fail"`. */
  | { readonly _tag: "QueueFull"; readonly maxQueued: number }
  /** `whenFull` is `"fail"`, and these limits have no room. */
  | { readonly _tag: "WouldWait"; readonly limits: ReadonlyArray<string> }
  /** The demand is `strict`, and these tags have no limit; of `rateLimit`: no rate. */
  | { readonly _tag: "MissingLimits"; readonly limits: ReadonlyArray<string> }
  /** `admissionTimeout` passed. */
  | { readonly _tag: "Timeout"; readonly after: Duration.Duration }

/** Not admitted: nothing of it ran. A defect, unless `Task.refusable` asks for it. `run` is the id of the run, `""` for `withSlot`. */
export class AdmissionError extends Data.TaggedError("AdmissionError")<{
  readonly run: string
  readonly name: string
  readonly reason: AdmissionReason
}> {
  override get message(): string {
    return `"${this.name}" was not admitted: ${describe(this.reason)}`
  }
}

const describe = (reason: AdmissionReason): string => {
  switch (reason._tag) {
    case "SchedulerClosed":
      return `scheduler "${reason.scheduler}" is closed`
    case "LimitClosed":
      return `the limit of "${reason.limit}" is 0`
    case "ExceedsLimit":
      return `it asks for ${reason.weight} of "${reason.limit}", which has ${reason.max}`
    case "Deadlock":
      return `it would wait for ever: ${reason.cycle.join(" -> ")}`
    case "QueueFull":
      return `the queue of ${reason.maxQueued} is full`
    case "MissingLimits":
      return `there is no limit for ${reason.limits.map((limit) => `"${limit}"`).join(", ")}`
    case "WouldWait":
      return `no room in ${reason.limits.map((limit) => `"${limit}"`).join(", ")}`
    case "Timeout":
      return `no room within ${String(reason.after)}`
  }
}

export { LeaseLostError } from "./internal/ConcurrencyLease.ts"

// ─── for runners: what Scheduler and TaskRun stand on

/** How the runs of one scheduler share it. */
export interface SharingOptions {
  /** How much of one fairness key may run at once, whatever the keys are. An integer >= 1; default: no cap. */
  readonly keyLimit?: Limit | undefined
  /** A key of weight 2 gets twice the share of a key of weight 1. A number > 0; default 1. */
  readonly keyWeight?: ((key: string) => number) | undefined
  /** Each time it has waited so long, a run ranks one level higher: low, normal, high, critical. Default: priorities are strict. */
  readonly ageing?: Duration.Input | undefined
  /** A warning and an event `Saturated` when work has waited for one limit longer than this. Default: never. */
  readonly saturation?: Duration.Input | undefined
  /**
   * Slots of `maxParallelism` that only work of that class or above may use; together fewer than `maxParallelism`. A numeric priority belongs
   * to the nearest class at or above it: up to 0 critical, up to 10 high, up to 20 normal.
   */
  readonly reserved?: {
    readonly critical?: number | undefined
    readonly high?: number | undefined
    readonly normal?: number | undefined
  } | undefined
}

/** The limits of a runner itself. */
export interface LimitsOptions extends SharingOptions {
  readonly where: string
  readonly maxParallelism: Limit | undefined
  readonly tagLimits: TagLimits | undefined
  /** The tag limits go to the shared table instead of a table of the runner's own. */
  readonly owner: boolean
  /** No pool: only tags count. */
  readonly inline: boolean
  /** One tree of runs at a time. */
  readonly sequential: boolean
}

/** @internal */
export type RunnerLimits = Limits
const sharedIn = (context: Context.Context<never>): Shared =>
  Context.getUnsafe(context as Context.Context<Concurrency>, Concurrency) as Shared

/** @internal */
export {
  checkDuration,
  checkLimit,
  checkPriority,
  checkTagLimit,
  Counter,
  type Line,
  type Needs,
  Profile,
  Slot,
  windowsOf
}
/** @internal */
export {
  checkWhenFull,
  CurrentRegion,
  CurrentRunKey,
  explain,
  holdersOf,
  innermost,
  limitName,
  makeRoom,
  orDie,
  orFail,
  RunKey,
  toLimit,
  usage
}
/** @internal */
export {
  Away,
  Held,
  NEVER,
  Pending,
  RareSlot,
  Retaking,
  Returned,
  since,
  toMillis,
  Waiting
} from "./internal/ConcurrencyLine.ts"

/** Makes the shared limits without a Layer, told of to the listeners in `context`. @internal */
export const makeUnsafe = (
  where: string,
  tagLimits: TagLimits | undefined,
  context: Context.Context<never> = Context.empty()
): Service => new Shared(new TagTable(where, tagLimits), context)

/** @internal */
export const refusal = (run: string, name: string, reason: AdmissionReason): AdmissionError =>
  new AdmissionError({ run, name, reason })

/**
 * Waits for slots to end, lending those the fiber has. `observe` calls its argument once when the wait is over and returns how to stop
 * observing; `result` is then the effect to go on with. A wait that can never end dies with the refusal of `whom`.
 * @internal
 */
export const waitFor = <A, E>(
  context: Context.Context<never>,
  targets: ReadonlyArray<Slot>,
  any: boolean,
  observe: (done: () => void, lends: boolean) => () => void,
  result: () => Effect.Effect<A, E>,
  onInterrupt?: (() => Effect.Effect<void>) | undefined
): Effect.Effect<A, E> => {
  const chain = chainOf(context)
  if (chain.length === 0) {
    return Effect.callback<A, E>((resume) => {
      const off = observe(() => resume(result()), false)
      return onInterrupt === undefined ? Effect.sync(off) : Effect.suspend(() => (off(), onInterrupt()))
    })
  }
  return Effect.callback<A, E>((resume) => {
    const waiting = new Waits(chain, targets, any, undefined)
    const cycle = waiting.cycle(undefined)
    if (cycle !== undefined) {
      const run = chain[chain.length - 1]!
      const death = Effect.die(refusal(run.id, run.name, { _tag: "Deadlock", cycle }))
      return resume(onInterrupt === undefined ? death : Effect.andThen(onInterrupt(), death))
    }
    waiting.begin()
    const off = observe(() => waiting.end(() => resume(result())), true)
    waiting.wait.deny = (cycle) => {
      off()
      const run = chain[chain.length - 1]!
      waiting.end(() => resume(Effect.die(refusal(run.id, run.name, { _tag: "Deadlock", cycle }))))
    }
    return Effect.suspend(() => {
      off()
      return onInterrupt === undefined ? waiting.settled : Effect.andThen(onInterrupt(), waiting.settled)
    })
  })
}

/** The cycle a slot closes by asking again for what others wait for it with. @internal */
export const deadlockOf = (slot: Slot, needs: Needs): ReadonlyArray<string> | undefined =>
  findDeadlock({ chain: [slot], targets: none, any: false, acquire: undefined, proceed: () => {} }, needs)
