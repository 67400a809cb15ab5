/** Code that is no task, under tag limits: a slot without a pool, held until the code ends. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import type { AdmissionReason, Demand } from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Admission } from "./ConcurrencyAdmission.ts"
import { checkDuration, checkPriority, holding, originOf, type Profile } from "./ConcurrencyDemand.ts"
import { limitName } from "./ConcurrencyHolders.ts"
import { Away, type Counter, Held, type Line, type Needs, Slot } from "./ConcurrencyLine.ts"
import { makeRoom } from "./ConcurrencyReplace.ts"
import type { Shared } from "./ConcurrencyShared.ts"
import { admissionOf, chainOf, CurrentRegion, innermost, runSlot, Waits } from "./ConcurrencyWaiting.ts"

/** A piece of code under tag limits. */
export class Region extends Slot {
  readonly id: string
  readonly name: string
  readonly rootSeq: number
  readonly depth: number
  readonly clock: Clock.Clock
  readonly run: Slot | undefined
  readonly admission: Admission
  readonly profile: Profile
  readonly enclosing: Slot | undefined
  /** Tags that slots around it have: those lend them no more while this region lasts. */
  readonly pinned: Array<[Slot, Counter]> = []
  /** Whose code it is. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** Only rates are asked for. */
  readonly rateOnly: boolean
  granted: () => void = () => {}
  refused: (reason: AdmissionReason) => void = () => {}
  constructor(
    admission: Admission,
    profile: Profile,
    enclosing: Slot | undefined,
    run: Slot | undefined,
    fiber: Fiber.Fiber<unknown, unknown>,
    rateOnly: boolean,
    name: string | undefined
  ) {
    super()
    this.fiber = fiber
    this.rateOnly = rateOnly
    this.enclosing = enclosing
    this.admission = admission
    this.profile = profile
    this.run = run
    this.clock = Context.get(fiber.context, Clock.Clock)
    this.seq = ++admission.seq
    this.rootSeq = run === undefined ? this.seq : run.rootSeq
    this.depth = run === undefined ? 0 : run.depth + 1
    this.id = `slot-${this.seq}`
    this.name = name ?? profile.tags.join("+")
  }
  override get region(): boolean {
    return true
  }
  lineFor(needs: Needs): Line {
    return this.profile.lineOf(needs, this.priority, undefined)
  }
  /** How it alone is ended, where it may be replaced. */
  cut: (() => void) | undefined
  interruptUnsafe(): void {
    if (this.cut === undefined) this.fiber.interruptUnsafe()
    else this.cut()
  }
  start(): void {
    this.granted()
  }
  /** What it no longer asks for since its run, which has it, came back with it. */
  override tookBack(): void {
    for (const slot of this.rateOnly ? [] : this.together ?? []) {
      for (const counter of slot.needs?.counters ?? []) {
        if (
          !this.profile.tags.includes(counter.name) ||
          this.needs!.counters.some((one) => originOf(one) === originOf(counter))
        ) continue
        if (slot.region || holding(slot, originOf(counter)) === undefined) continue
        this.pinned.push([slot, counter])
        this.admission.lending.pin(slot, counter)
      }
    }
  }
  refuse(reason: AdmissionReason): void {
    this.refused(reason)
  }
  resolve(): Needs | AdmissionReason {
    if (this.rateOnly) return tooMuch(this.needs!, this.profile.weight) ?? this.needs!
    const needs = this.profile.resolve(this, false, undefined)
    if ("_tag" in needs) return needs
    const counters = needs.counters.filter((counter) => !ownHas(this, originOf(counter)))
    return { counters, weights: counters.map(() => this.profile.weight), holds: true }
  }
}

/** In one step, uninterruptible: what it finds out first must still be so when it asks. */
export const enterRegion = <A, E, R, A2>(
  shared: Shared,
  fiber: Fiber.Fiber<unknown, unknown>,
  restore: <A3, E3, R3>(effect: Effect.Effect<A3, E3, R3>) => Effect.Effect<A3, E3, R3>,
  where: string,
  demand: Demand,
  effect: Effect.Effect<A, E, R>,
  refused: (reason: AdmissionReason, name: string) => Effect.Effect<A2>,
  {
    entered,
    name,
    rateOnly = false
  }: {
    readonly rateOnly?: boolean
    readonly name?: string | undefined
    readonly entered?: (region: Region) => void
  } = {}
): Effect.Effect<A | A2, E, R> => {
  const { context } = fiber
  const around = innermost(context)
  const run = runSlot(context)
  let region: Region
  let key: string | undefined
  let timeout: Duration.Duration | undefined
  try {
    region = new Region(
      shared.admission,
      shared.regions.profile(where, demand, ""),
      around,
      run,
      fiber,
      rateOnly,
      name
    )
    region.priority = demand.priority === undefined ? run?.priority ?? 20 : checkPriority(where, demand.priority)
    key = demand.key
    timeout = demand.admissionTimeout === undefined
      ? undefined
      : checkDuration(where, "admissionTimeout", demand.admissionTimeout)
    checkWhenFull(where, demand.whenFull)
  } catch (error) {
    return Effect.die(error)
  }
  entered?.(region)
  const admission = shared.admission
  const { pinned } = region
  for (const tag of rateOnly ? [] : region.profile.tags) {
    const counter = shared.table.get(tag)
    const has = counter === undefined ? undefined : ownHas(region, counter)
    if (has === undefined || has.region) continue
    pinned.push([has, holding(has, counter!)!])
  }
  const needs = resolveRegion(region, shared)
  const denied = (reason: AdmissionReason) => {
    admission.facts?.denied(region, region.profile.tags, reason)
    return demand.whenFull === "drop" && reason._tag === "WouldWait" ? Effect.interrupt : refused(reason, region.name)
  }
  if ("_tag" in needs) return denied(needs)
  const body = needs.counters.length === 0 ? effect : Effect.provideService(effect, CurrentRegion, region as Slot)
  for (const [slot, counter] of pinned) admission.lending.pin(slot, counter)
  if (needs.counters.length > 0) shared.open.add(region)
  const leave = () => {
    if (needs.counters.length > 0) admission.end(region)
    shared.open.delete(region)
    for (const [slot, counter] of pinned) admission.lending.unpin(slot, counter)
    admission.drain()
  }
  const warned = rateOnly ? Effect.void : warnOfMissing(shared, where, region.profile.tags)
  let inner = body
  if (demand.whenFull === "replace") {
    // Who comes to replace may be replaced: without the rest of its fiber.
    const cut = Deferred.makeUnsafe<never>()
    region.cut = () => Deferred.doneUnsafe(cut, Exit.interrupt())
    inner = Effect.raceFirst(body, Deferred.await(cut))
  }
  const use = Effect.onExit(
    restore(warned === Effect.void ? inner : Effect.andThen(warned, inner)),
    () => Effect.sync(leave)
  )
  if (needs.counters.length === 0) return use
  const line = shared.regions.keys.get(key)
  if (admission.tryAcquire(region, needs, line)) return use
  const no = (reason: AdmissionReason) => Effect.suspend(() => (leave(), denied(reason)))
  if (demand.whenFull === "drop" || demand.whenFull === "fail") {
    return no({ _tag: "WouldWait", limits: admission.lacking(needs, region).map(limitName) })
  }
  const chain = chainOf(context)
  const waiting = new Waits(chain, [], false, region)
  const cycle = waiting.cycle(needs)
  if (cycle !== undefined) return no({ _tag: "Deadlock", cycle })
  const { version } = admission
  const cutBody = region.cut
  const acquired = Effect.callback<AdmissionReason | undefined>((resume) => {
    region.granted = () => {
      for (const slot of chain) {
        slot.waits?.splice(slot.waits.indexOf(waiting.wait), 1)
        if (slot.waits?.length === 0) slot.waits = undefined
      }
      waiting.over()
      region.cut = cutBody
      resume(Effect.succeed(undefined))
    }
    if (cutBody !== undefined) {
      region.cut = () => {
        admission.leave(region)
        waiting.end(() => resume(Effect.interrupt))
      }
    }
    region.refused = (reason) => waiting.end(() => resume(Effect.succeed(reason)))
    waiting.onDenied((cycle) => {
      admission.leave(region)
      region.refused({ _tag: "Deadlock", cycle })
    })
    let admitted = false
    let reason: AdmissionReason | undefined
    // What it lends goes to others once it has asked itself: what it was told it needs must not end in between.
    admission.atOnce(() => {
      waiting.begin()
      const together = chain.filter((slot) =>
        slot.phase === Away && slot.waits?.length === 1 && !slot.uncounted && admissionOf(slot) === admission
      )
      region.together = together.length === 0 ? undefined : together
      // What comes back with it is not asked for twice, and limits may have come or gone on the way here.
      const same = region.together === undefined && admission.version === version
      const asked = same ? needs : resolveRegion(region, shared)
      if ("_tag" in asked) reason = asked
      else admitted = admission.lending.acquire(region, asked, region.together, line)
    })
    if (reason !== undefined) {
      region.together = undefined
      return region.refused(reason)
    }
    if (admitted) return region.granted()
    admission.facts?.waited(region, region.profile.tags)
    if (demand.whenFull === "replace") makeRoom(admission, region)
    return Effect.suspend(() => {
      if (region.phase === Held) return Effect.void
      admission.leave(region)
      return waiting.settled
    })
  })
  const bounded = timeout === undefined ? restore(acquired) : restore(acquired).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => Effect.succeed<AdmissionReason>({ _tag: "Timeout", after: timeout })
    })
  )
  return Effect.flatMap(
    Effect.onExit(bounded, (exit) => Exit.isFailure(exit) ? Effect.sync(leave) : Effect.void),
    (reason): Effect.Effect<A | A2, E, R> => reason === undefined ? use : no(reason)
  )
}

const resolveRegion = (region: Region, shared: Shared): Needs | AdmissionReason => {
  if (region.rateOnly) return ratesOf(region, shared)
  const missing = region.profile.strict ? region.profile.tags.filter((tag) => !shared.isKnown(tag)) : []
  if (missing.length > 0) return { _tag: "MissingLimits", limits: missing }
  // Tags that are free again cannot be refused.
  const asked = region.profile.tags.filter((tag) => {
    const counter = shared.table.get(tag)
    return counter !== undefined && ownHas(region, counter) === undefined
  })
  if (asked.length === 0) return { counters: [], weights: [], holds: true }
  const profile = asked.length === region.profile.tags.length
    ? region.profile
    : shared.regions.profile("Concurrency.withSlot", { tags: asked, weight: region.profile.weight }, "")
  const needs = profile.resolve(region, false, undefined)
  return "_tag" in needs ? needs : { counters: needs.counters, weights: needs.weights, holds: true }
}

/** The slot of the same run around `slot` that has `counter` already. */
const ownHas = (slot: Slot, counter: Counter): Slot | undefined => {
  for (let around = slot.enclosing; around !== undefined && around.run === slot.run; around = around.enclosing) {
    const held = holding(around, counter)
    // Lent, while another fiber of the run waits, it is not there to be had again.
    const there = around.phase === Held || slot.together?.includes(around) === true
    if (held !== undefined && (there || admissionOf(around).lending.persists(around, held))) return around
    if (around === around.run) return undefined
  }
  return undefined
}

/** The rates alone, of limits that have one. */
const ratesOf = ({ profile }: Region, shared: Shared): Needs | AdmissionReason => {
  // What is switched off lets everything through.
  const tags = profile.tags.filter((tag) => !shared.table.disabled.has(tag))
  const missing = tags.filter((tag) => shared.rateOf(tag) === undefined)
  if (missing.length > 0) return { _tag: "MissingLimits", limits: missing }
  const counters = tags.map((tag) => shared.rateOf(tag)!)
  const needs = { counters, weights: counters.map(() => profile.weight), holds: true }
  return tooMuch(needs, profile.weight) ?? needs
}

/** More than ever starts at once. */
const tooMuch = ({ counters }: Needs, weight: number): AdmissionReason | undefined => {
  const least = counters.find(({ pace }) => pace !== undefined && pace.most < weight)
  return least && { _tag: "ExceedsLimit", limit: least.name, weight, max: least.pace!.most }
}

/** A tag without a limit is a label to a task; to `withSlot`, which asks for nothing else, likely a slip. Said once a tag. */
const warnOfMissing = (shared: Shared, where: string, tags: ReadonlyArray<string>): Effect.Effect<void> => {
  const missing = tags.filter((tag) => !shared.isKnown(tag) && !shared.warned.has(tag))
  if (missing.length === 0) return Effect.void
  if (shared.warned.size >= 1000) shared.warned.clear()
  for (const tag of missing) shared.warned.add(tag)
  return Effect.logWarning(`${where}: there is no limit for ${missing.map((tag) => `"${tag}"`).join(", ")}`)
}

const whenFulls: ReadonlyArray<unknown> = [undefined, "wait", "fail", "drop", "replace"]

export const checkWhenFull = (where: string, whenFull: unknown): void => {
  if (whenFulls.includes(whenFull)) return
  const rule = `must be "wait", "fail", "drop" or "replace"`
  throw new InvalidOptionError({ where, field: "whenFull", rule, value: whenFull })
}
