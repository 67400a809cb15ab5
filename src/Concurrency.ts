/**
 * How much at once: the tag limits in force, who holds them and who waits for them.
 *
 * A `Concurrency` is a service like any other: every scheduler built below it counts against the same limits, so two runners share one
 * database limit of 10 by sharing the Layer. Limits are created, resized, read and removed at run time, and code that is no task takes part
 * with `withSlot`. There is no hidden global.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { Admission } from "./internal/ConcurrencyAdmission.ts"
import { findDeadlock } from "./internal/ConcurrencyDeadlock.ts"
import {
  checkDuration,
  checkLimit,
  checkPriority,
  holding,
  Limits,
  makeTag,
  originOf,
  Profile,
  setRate,
  shareHolder,
  TagTable
} from "./internal/ConcurrencyDemand.ts"
import { Away, Counter, Held, type Lane, type Needs, Slot, type Wait, Waiting } from "./internal/ConcurrencyLane.ts"
import { InvalidOptionError } from "./InvalidOptionError.ts"

/** How much may be taken at once. */
export type Limit = number | "unbounded"

/** The limit of one tag. */
export interface TagLimit {
  /** An integer >= 0; zero closes the tag: what asks for it is refused. */
  readonly limit: Limit
  /** What happens to the tag while its run waits for another run. Default `"lend"`; `"hold"` for a real resource. */
  readonly whileWaiting?: "lend" | "hold" | undefined
  /** At most `count` starts per `per`, as an exact token bucket. `burst`, what may start at once, defaults to `count` (at least 1). */
  readonly rate?: {
    readonly count: number
    readonly per: Duration.Input
    readonly burst?: number | undefined
  } | undefined
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
  /** When a limit is reached: wait (the default), or be refused with reason `WouldWait`. */
  readonly whenFull?: "wait" | "fail" | undefined
  /** Refused with reason `Timeout` when the whole wait lasts longer. Default: no bound. */
  readonly admissionTimeout?: Duration.Input | undefined
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
}

interface Service {
  readonly create: (tag: string, limit: Limit | TagLimit) => Effect.Effect<LimitInfo, InvalidOptionError>
  readonly read: (tag: string) => Effect.Effect<Option.Option<LimitInfo>>
  readonly list: Effect.Effect<ReadonlyArray<LimitInfo>>
  readonly remove: (tag: string) => Effect.Effect<boolean>
  /** The limits a scheduler of these options works under, together with these. For runners. */
  readonly limitsFor: (options: LimitsOptions) => RunnerLimits
}

/** The tag limits in force and who holds them. Explicit, no hidden global: whoever manages limits has it in `R`. */
export class Concurrency extends Context.Service<Concurrency, Service>()("tasklayer/Concurrency") {}

/** Limits that every scheduler and `withSlot` below shares. */
export const layer = (options?: { readonly tagLimits?: TagLimits | undefined }): Layer.Layer<Concurrency> =>
  Layer.effect(Concurrency, Effect.suspend(() => orDie(() => new Shared(new TagTable("Concurrency.layer", options?.tagLimits)))))

/** Creates the limit of a tag, or resizes it: holders finish undisturbed, waiters are looked at again at once. */
export const create = (tag: string, limit: Limit | TagLimit): Effect.Effect<LimitInfo, InvalidOptionError, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.create(tag, limit))

/** The limit of a tag and its holders; `None` when the tag has none. */
export const read = (tag: string): Effect.Effect<Option.Option<LimitInfo>, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.read(tag))

/** Every limit, by tag. */
export const list: Effect.Effect<ReadonlyArray<LimitInfo>, never, Concurrency> = Concurrency.use((concurrency) => concurrency.list)

/** Removes the limit of a tag: those who waited for it go on. False when there was none. */
export const remove = (tag: string): Effect.Effect<boolean, never, Concurrency> =>
  Concurrency.use((concurrency) => concurrency.remove(tag))

/**
 * Any effect under tag limits: tags only, no pool slot. Held until the effect ends: neither `join` nor `lend` gives it away, and descendants
 * run under it. Tags its run or an enclosing `withSlot` has are free again. Waiting for it lends the run's slot, taken back together with
 * the tags. What cannot be had is the defect `AdmissionError`.
 */
export const withSlot =
  (demand: Demand) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Concurrency> =>
    Effect.withFiber<A, E, R | Concurrency>((fiber) =>
      enterRegion(fiber.context, "Concurrency.withSlot", demand, effect, (reason, name) => Effect.die(refusal("", name, reason)))
    )

/** Never waits: `None` means it did not run. */
export const withSlotIfAvailable =
  (demand: Demand) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Option.Option<A>, E, R | Concurrency> =>
    Effect.withFiber<Option.Option<A>, E, R | Concurrency>((fiber) =>
      enterRegion(
        fiber.context,
        "Concurrency.withSlotIfAvailable",
        { ...demand, whenFull: "fail" },
        Effect.asSome(effect),
        (reason, name) => reason._tag === "WouldWait" ? Effect.succeedNone : Effect.die(refusal("", name, reason))
      )
    )

/** Gives the current slot to others while an effect waits for something outside, then takes it back ahead of new work. Outside a run: the effect itself. */
export const lend = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const chain = chainOf(fiber.context)
    if (chain.length === 0) return effect
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const waiting = new Waits(chain, [], false, undefined)
        waiting.begin()
        return Effect.flatMap(Effect.exit(restore(effect)), (exit) => Effect.andThen(restore(waiting.ended), exit).pipe(Effect.onInterrupt(() => waiting.settled)))
      })
    )
  })

/** Runs `effect`, which is what `target` does, while the slots of the fiber count as waiting for it. @internal */
export const lendTo = <A, E, R>(
  context: Context.Context<never>,
  target: Slot,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const chain = chainOf(context)
  if (chain.length === 0) return effect
  return Effect.uninterruptibleMask((restore) =>
    Effect.suspend(() => {
      const waiting = new Waits(chain, [target], false, undefined)
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
    case "WouldWait":
      return `no room in ${reason.limits.map((limit) => `"${limit}"`).join(", ")}`
    case "Timeout":
      return `no room within ${String(reason.after)}`
  }
}

// ─── for runners: what Scheduler and TaskRun stand on

/** The limits of a runner itself. */
export interface LimitsOptions {
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
/** @internal */
export { checkDuration, checkLimit, checkPriority, Counter, type Lane, type Needs, Profile, Slot }
/** @internal */
export { Away, Held, Pending, Retaking, Returned, Waiting } from "./internal/ConcurrencyLane.ts"

/** Makes the shared limits without a Layer. @internal */
export const makeUnsafe = (where: string, tagLimits: TagLimits | undefined): Service => new Shared(new TagTable(where, tagLimits))

/** The name a user knows a limit by. @internal */
export const limitName = (counter: Counter): string =>
  counter.kind === "pool" || counter.kind === "tree" ? "maxParallelism" : counter.name

/** @internal */
export const toLimit = (limit: number): Limit => limit === Infinity ? "unbounded" : limit

/** @internal */
export const refusal = (run: string, name: string, reason: AdmissionReason): AdmissionError => new AdmissionError({ run, name, reason })

/** Turns a thrown `InvalidOptionError` into a defect. @internal */
export const orDie = <A>(f: () => A): Effect.Effect<A> => {
  try {
    return Effect.succeed(f())
  } catch (error) {
    return Effect.die(error)
  }
}

/** Turns a thrown `InvalidOptionError` into a failure. @internal */
export const orFail = <A>(f: () => A): Effect.Effect<A, InvalidOptionError> => {
  try {
    return Effect.succeed(f())
  } catch (error) {
    return error instanceof InvalidOptionError ? Effect.fail(error) : Effect.die(error)
  }
}

/** The `withSlot` region a fiber is in, if any. @internal */
export const CurrentRegion: Context.Reference<Slot | undefined> = Context.Reference<Slot | undefined>(
  "tasklayer/Concurrency/CurrentRegion",
  { defaultValue: () => undefined }
)

/** The key of `TaskRun.CurrentRun`, whose value is the run's slot. @internal */
export const CurrentRunKey = "tasklayer/CurrentRun"

/** @internal */
export const RunKey: Context.Key<never, unknown> = Context.Service<never, unknown>(CurrentRunKey)

/** The slot a fiber works in: its innermost `withSlot` region, or its run. @internal */
export const innermost = (context: Context.Context<never>): Slot | undefined => {
  const run = runSlot(context)
  const region = Context.get(context, CurrentRegion)
  return region !== undefined && region.run === run ? region : run
}

const runSlot = (context: Context.Context<never>): Slot | undefined => {
  const run: unknown = Context.getOrUndefined(context, RunKey)
  return run instanceof Slot ? run : undefined
}

/** The slots that wait when a fiber waits: its regions, then its run. */
const chainOf = (context: Context.Context<never>): ReadonlyArray<Slot> => {
  let slot = innermost(context)
  if (slot === undefined) return none
  const run = slot.run
  if (slot === run) return [slot]
  const chain: Array<Slot> = []
  for (; slot !== undefined && slot.run === run; slot = slot.enclosing) {
    chain.push(slot)
    if (slot === run) break
  }
  return chain
}

const none: ReadonlyArray<Slot> = []

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
    return Effect.suspend(() => {
      off()
      return onInterrupt === undefined ? waiting.settled : Effect.andThen(onInterrupt(), waiting.settled)
    })
  })
}

/** One fiber's wait over all its slots, which may belong to several Concurrencies. */
class Waits {
  private readonly waits: ReadonlyArray<Wait>
  private readonly admissions: ReadonlyArray<Admission>
  private phase: "waiting" | "retaking" | "over" = "waiting"
  private onOver: (() => void) | undefined
  private readonly lent: Array<Slot> = []
  private readonly chain: ReadonlyArray<Slot>
  constructor(chain: ReadonlyArray<Slot>, targets: ReadonlyArray<Slot>, any: boolean, acquire: Slot | undefined) {
    this.chain = chain
    const admissions: Array<Admission> = []
    for (const slot of chain) if (!admissions.includes(admissionOf(slot))) admissions.push(admissionOf(slot))
    this.admissions = admissions
    this.waits = admissions.map((admission, i) => ({
      chain: admissions.length === 1 ? chain : chain.filter((slot) => admissionOf(slot) === admission),
      targets: i === 0 ? targets : none,
      any,
      acquire,
      proceed: () => this.proceed(i + 1)
    }))
  }

  cycle(needs: Needs | undefined): ReadonlyArray<string> | undefined {
    for (const wait of this.waits) {
      const cycle = findDeadlock(wait.targets.length === 0 ? { ...wait, targets: this.waits[0]!.targets } : wait, needs)
      if (cycle !== undefined) return cycle
    }
    return undefined
  }

  begin(): void {
    for (const slot of this.chain) if (slot.phase === Held) this.lent.push(slot)
    this.waits.forEach((wait, i) => this.admissions[i]!.beginWait(wait))
  }

  /** The wait is over; `then` follows once the slots are back, or at once if others of the run still wait. */
  end(then: () => void): void {
    if (this.phase !== "waiting") return
    this.phase = "retaking"
    this.onOver = then
    this.proceed(0)
  }

  private proceed(next: number): void {
    if (this.phase !== "retaking") return
    if (next === this.waits.length) return this.over()
    const admission = this.admissions[next]!
    admission.endWait(this.waits[next]!)
    admission.drain()
  }

  over(): void {
    this.phase = "over"
    for (const slot of this.chain) if (slot.phase === Held) slot.resumed()
    this.onOver?.()
  }

  get wait(): Wait {
    return this.waits[0]!
  }

  /** Ends the wait and returns when the slots are back. */
  readonly ended: Effect.Effect<void> = Effect.callback((resume) => this.end(() => resume(Effect.void)))

  /** After an interruption: an interrupted run ends without its slot, a run that goes on has it back first. */
  readonly settled: Effect.Effect<void> = Effect.callback((resume) => {
    const then = () => resume(Effect.void)
    if (this.phase === "over") return then()
    if (this.chain.some((slot) => slot.uncounted) && this.phase === "retaking") {
      this.phase = "over"
      this.waits.forEach((wait, i) => this.admissions[i]!.abandon(wait))
      return then()
    }
    this.onOver = then
    if (this.phase === "waiting") this.end(then)
  })
}

const admissionOf = (slot: Slot): Admission => slot.admission as Admission

/** A piece of code under tag limits. */
class Region extends Slot {
  readonly id: string
  readonly name: string
  readonly clock: Clock.Clock
  readonly run: Slot | undefined
  readonly admission: Admission
  readonly profile: Profile
  readonly enclosing: Slot | undefined
  granted: () => void = () => {}
  refused: (reason: AdmissionReason) => void = () => {}
  constructor(admission: Admission, profile: Profile, enclosing: Slot | undefined, run: Slot | undefined, clock: Clock.Clock) {
    super()
    this.enclosing = enclosing
    this.admission = admission
    this.profile = profile
    this.run = run
    this.clock = clock
    this.seq = ++admission.seq
    this.id = `slot-${this.seq}`
    this.name = profile.tags.join("+")
  }
  override get region(): boolean {
    return true
  }
  start(): void {
    this.granted()
  }
  refuse(reason: AdmissionReason): void {
    this.refused(reason)
  }
  resolve(): Needs | AdmissionReason {
    const needs = this.profile.resolve(this.enclosing, false)
    if ("_tag" in needs) return needs
    const counters = needs.counters.filter((counter) => !ownHas(this, originOf(counter)))
    return { counters, weights: counters.map(() => this.profile.weight), holds: true }
  }
}

/** The slot of the same run around `slot` that has `counter` already. */
const ownHas = (slot: Slot, counter: Counter): Slot | undefined => {
  for (let around = slot.enclosing; around !== undefined && around.run === slot.run; around = around.enclosing) {
    if (holding(around, counter) !== undefined) return around
    if (around === around.run) return undefined
  }
  return undefined
}

const enterRegion = <A, E, R, A2>(
  context: Context.Context<never>,
  where: string,
  demand: Demand,
  effect: Effect.Effect<A, E, R>,
  refused: (reason: AdmissionReason, name: string) => Effect.Effect<A2>
): Effect.Effect<A | A2, E, R | Concurrency> => {
  const shared = Context.getUnsafe(context as Context.Context<Concurrency>, Concurrency) as Shared
  const around = innermost(context)
  const run = runSlot(context)
  let region: Region
  let key: string | undefined
  let timeout: Duration.Duration | undefined
  try {
    region = new Region(shared.admission, shared.regions.profile(where, demand, ""), around, run, Context.get(context, Clock.Clock))
    region.priority = demand.priority === undefined ? run?.priority ?? 20 : checkPriority(where, demand.priority)
    key = demand.key
    timeout = demand.admissionTimeout === undefined ? undefined : checkDuration(where, "admissionTimeout", demand.admissionTimeout)
    checkWhenFull(where, demand.whenFull)
  } catch (error) {
    return Effect.die(error)
  }
  region.rootSeq = run === undefined ? region.seq : run.rootSeq
  region.depth = run === undefined ? 0 : run.depth + 1
  const admission = shared.admission
  // Tags the run has lend no more while this region lasts.
  const pinned: Array<[Slot, Counter]> = []
  for (const tag of region.profile.tags) {
    const counter = shared.table.get(tag)
    const has = counter === undefined ? undefined : ownHas(region, counter)
    if (has === undefined || has.region) continue
    pinned.push([has, holding(has, counter!)!])
  }
  const needs = resolveRegion(region, shared)
  if ("_tag" in needs) return refused(needs, region.name)
  const body = needs.counters.length === 0 ? effect : Effect.provideService(effect, CurrentRegion, region as Slot)
  return Effect.uninterruptibleMask((restore): Effect.Effect<A | A2, E, R> =>
    Effect.suspend((): Effect.Effect<A | A2, E, R> => {
      for (const [slot, counter] of pinned) admission.pin(slot, counter)
      if (needs.counters.length > 0) shared.open.add(region)
      const leave = () => {
        if (needs.counters.length > 0) admission.end(region)
        shared.open.delete(region)
        for (const [slot, counter] of pinned) admission.unpin(slot, counter)
        admission.drain()
      }
      const use = Effect.onExit(restore(body), () => Effect.sync(leave))
      if (needs.counters.length === 0) return use
      const lane = shared.regions.keys.get(key)
      if (admission.tryAcquire(region, needs, lane)) return use
      const no = (reason: AdmissionReason) => Effect.suspend(() => (leave(), refused(reason, region.name)))
      if (demand.whenFull === "fail") {
        const full = needs.counters.filter((counter, i) => counter.active + counter.take(needs.weights[i]!) > counter.limit)
        return no({ _tag: "WouldWait", limits: full.map(limitName) })
      }
      const chain = chainOf(context)
      const waiting = new Waits(chain, [], false, region)
      const cycle = waiting.cycle(needs)
      if (cycle !== undefined) return no({ _tag: "Deadlock", cycle })
      const acquired = Effect.callback<AdmissionReason | undefined>((resume) => {
        region.granted = () => {
          for (const slot of chain) {
            slot.waits?.splice(slot.waits.indexOf(waiting.wait), 1)
            if (slot.waits?.length === 0) slot.waits = undefined
          }
          waiting.over()
          resume(Effect.succeed(undefined))
        }
        region.refused = (reason) => waiting.end(() => resume(Effect.succeed(reason)))
        waiting.begin()
        const together = chain.filter((slot) =>
          slot.phase === Away && slot.waits?.length === 1 && !slot.uncounted && admissionOf(slot) === admission
        )
        if (admission.acquire(region, needs, together.length === 0 ? undefined : together, lane)) return region.granted()
        return Effect.suspend(() => {
          if (region.phase === Held) return Effect.void
          admission.leave(region)
          return waiting.settled
        })
      })
      const bounded = timeout === undefined ? restore(acquired) : restore(acquired).pipe(
        Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.succeed<AdmissionReason>({ _tag: "Timeout", after: timeout }) })
      )
      return Effect.flatMap(
        Effect.onExit(bounded, (exit) => Exit.isFailure(exit) ? Effect.sync(leave) : Effect.void),
        (reason): Effect.Effect<A | A2, E, R> => reason === undefined ? use : no(reason)
      )
    })
  )
}

const resolveRegion = (region: Region, shared: Shared): Needs | AdmissionReason => {
  // Tags that are free again cannot be refused.
  const asked = region.profile.tags.filter((tag) => {
    const counter = shared.table.get(tag)
    return counter !== undefined && ownHas(region, counter) === undefined
  })
  if (asked.length === 0) return { counters: [], weights: [], holds: true }
  const profile = asked.length === region.profile.tags.length ? region.profile : shared.regions.profile("Concurrency.withSlot", { tags: asked, weight: region.profile.weight }, "")
  const needs = profile.resolve(region.enclosing, false)
  return "_tag" in needs ? needs : { counters: needs.counters, weights: needs.weights, holds: true }
}

/** @internal */
export const checkWhenFull = (where: string, whenFull: unknown): void => {
  if (whenFull === undefined || whenFull === "wait" || whenFull === "fail") return
  throw new InvalidOptionError({ where, field: "whenFull", rule: `must be "wait" or "fail"`, value: whenFull })
}

/** The shared limits of one `Concurrency`. */
class Shared implements Service {
  readonly admission = new Admission()
  readonly table: TagTable
  /** What `withSlot` works under: tags, no pool. */
  readonly regions: Limits
  /** The regions that ask for something or have it. */
  readonly open = new Set<Slot>()
  constructor(table: TagTable) {
    this.table = table
    this.admission.sources.add(this.open)
    this.regions = new Limits(this.admission, table, undefined, undefined, undefined)
    this.admission.onToken = (millis, slot, f) => {
      const sleep = slot.clock.sleep(millisToDuration(millis))
      Effect.runForkWith(Context.make(Clock.Clock, slot.clock))(sleep).addObserver(f)
    }
  }

  limitsFor(options: LimitsOptions): Limits {
    const { inline, maxParallelism, owner, sequential, tagLimits, where } = options
    const max = maxParallelism === undefined ? navigator.hardwareConcurrency : checkLimit(where, "maxParallelism", 1, maxParallelism)
    const own = tagLimits === undefined || owner ? undefined : new TagTable(where, tagLimits)
    const pool = inline ? undefined : new Counter("pool", "maxParallelism", max, false)
    const trees = sequential ? new Counter("tree", "maxParallelism", 1, true) : undefined
    return new Limits(this.admission, this.table, own, pool, trees)
  }

  create(tag: string, limit: Limit | TagLimit): Effect.Effect<LimitInfo, InvalidOptionError> {
    return Effect.suspend(() =>
      orFail(() => {
        const made = makeTag("Concurrency.create", tag, limit)
        const old = this.table.get(tag)
        if (old !== undefined && old.hold === made.hold) {
          old.limit = made.limit
          if (typeof limit === "object") setRate("Concurrency.create", old, limit)
          this.admission.version++
          this.admission.resized(old)
          return this.info(old)
        }
        if (old !== undefined) this.forget(old)
        this.table.counters.set(tag, made)
        this.changed()
        return this.info(made)
      })
    )
  }

  read(tag: string): Effect.Effect<Option.Option<LimitInfo>> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      return counter === undefined ? Option.none() : Option.some(this.info(counter))
    })
  }

  get list(): Effect.Effect<ReadonlyArray<LimitInfo>> {
    return Effect.sync(() => [...this.table.counters.values()].map((counter) => this.info(counter)).sort((a, b) => a.tag < b.tag ? -1 : 1))
  }

  remove(tag: string): Effect.Effect<boolean> {
    return Effect.sync(() => {
      const counter = this.table.get(tag)
      if (counter === undefined) return false
      this.forget(counter)
      this.table.remove(tag)
      this.changed()
      return true
    })
  }

  private forget(counter: Counter): void {
    counter.removed = true
    counter.limit = Infinity
    counter.bucket = undefined
    this.admission.touch(counter)
  }

  private changed(): void {
    this.admission.version++
    this.admission.relaneAll(() => true)
    this.admission.drain()
  }

  private info(counter: Counter): LimitInfo {
    return { tag: counter.name, ...usage(counter), holders: holdersOf(this.admission, counter) }
  }
}

const millisToDuration = (millis: number) => checkDuration("Concurrency", "rate", millis)

/** @internal */
export const usage = (counter: Counter): Usage => ({ limit: toLimit(counter.limit), active: counter.active, waiting: counter.waiting })

/** Who holds `counter` itself: those on a share of it are covered by its holder. @internal */
export const holdersOf = (admission: { readonly holders: Iterable<Slot> }, counter: Counter): ReadonlyArray<Holder> => {
  const holders: Array<Holder> = []
  for (const slot of admission.holders) {
    const weight = weightHeld(slot, counter)
    if (weight > 0) holders.push({ id: slot.id, name: slot.name, weight, since: DateTime.makeUnsafe(slot.since) })
  }
  return holders
}

const weightHeld = (slot: Slot, counter: Counter): number => {
  const needs = slot.needs
  if (needs === undefined || slot.skips?.includes(counter)) return 0
  const at = needs.counters.findIndex((one) => forwarded(one) === counter)
  if (at < 0) return 0
  const keeps = counter.hold || slot.region || slot.pins?.has(counter) === true
  if (slot.phase !== Held && !(keeps && (slot.phase === Away || slot.retaker !== undefined))) return 0
  return counter.kind === "pool" ? slot.poolTaken : needs.weights[at]!
}

const forwarded = (counter: Counter): Counter => {
  while (counter.forward !== undefined) counter = counter.forward
  return counter
}

export { shareHolder, Waiting as WaitingState }
