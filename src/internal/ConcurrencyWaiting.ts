/** A fiber that waits: which slots it has, and how they are lent and come back. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Admission } from "./ConcurrencyAdmission.ts"
import { findDeadlock } from "./ConcurrencyDeadlock.ts"
import { Held, type Needs, Slot, type Wait } from "./ConcurrencyLine.ts"

/** The `withSlot` region a fiber is in, if any. */
export const CurrentRegion: Context.Reference<Slot | undefined> = Context.Reference<Slot | undefined>(
  "tasklayer/Concurrency/CurrentRegion",
  { defaultValue: () => undefined }
)

/** The key of `TaskRun.CurrentRun`, whose value is the run's slot. */
export const CurrentRunKey = "tasklayer/CurrentRun"

/** */
export const RunKey: Context.Key<never, unknown> = Context.Service<never, unknown>(CurrentRunKey)

/** The slot a fiber works in: its innermost `withSlot` region, or its run. */
export const innermost = (context: Context.Context<never>): Slot | undefined => {
  const run = runSlot(context)
  const region = Context.get(context, CurrentRegion)
  return region !== undefined && region.run === run ? region : run
}

export const runSlot = (context: Context.Context<never>): Slot | undefined => {
  const run: unknown = Context.getOrUndefined(context, RunKey)
  return run instanceof Slot ? run : undefined
}

/** The slots that wait when a fiber waits: its regions, then its run. */
export const chainOf = (context: Context.Context<never>): ReadonlyArray<Slot> => {
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

export const none: ReadonlyArray<Slot> = []

/** One fiber's wait over all its slots, which may belong to several Concurrencies. */
export class Waits {
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
    this.waits.forEach((wait, i) => this.admissions[i]!.lending.beginWait(wait))
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
    admission.lending.endWait(this.waits[next]!)
    admission.drain()
  }

  over(): void {
    this.phase = "over"
    for (const slot of this.chain) if (slot.phase === Held) slot.resumed()
    this.onOver?.()
  }

  /** What to do when a changed limit makes this wait endless; outside every slot it cannot. */
  onDenied(deny: (cycle: ReadonlyArray<string>) => void): void {
    const first = this.waits[0]
    if (first !== undefined) first.deny = deny
  }

  get wait(): Wait {
    return this.waits[0]!
  }

  /** Ends the wait and returns when the slots are back. */
  readonly ended: Effect.Effect<void> = Effect.callback((resume) => this.end(() => resume(Effect.void)))

  /**
   * After an interruption: an interrupted run ends without its slot, a run that goes on has it back first. That one may be interrupted in turn,
   * and this fiber, which cannot be any more, is told by `forgo`.
   */
  readonly settled: Effect.Effect<void> = Effect.callback((resume) => {
    const then = () => resume(Effect.void)
    if (this.phase === "over") return then()
    this.onOver = then
    if (this.phase === "retaking" && this.chain.some((slot) => slot.uncounted)) return this.forgo()
    for (const wait of this.waits) wait.forgo = () => this.forgo()
    if (this.phase === "waiting") this.end(then)
  })

  private forgo(): void {
    if (this.phase !== "retaking") return
    this.phase = "over"
    this.waits.forEach((wait, i) => this.admissions[i]!.lending.abandon(wait))
    this.onOver?.()
  }
}

export const admissionOf = (slot: Slot): Admission => slot.admission as Admission
