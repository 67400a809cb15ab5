/**
 * What a slot does while its holder waits: it is lent, some of it is held on to, descendants live on a share of what is held, and it comes back
 * before new work. The lines and the counters are `Admission`'s.
 */
import type { Admission } from "./ConcurrencyAdmission.ts"
import { weightHeld } from "./ConcurrencyHolders.ts"
import { type FairKey, idleKey } from "./ConcurrencyKeys.ts"
import {
  Away,
  Counter,
  current,
  Held,
  Line,
  type Needs,
  Pending,
  Retaking,
  skipped,
  type Slot,
  takenOf,
  type Wait
} from "./ConcurrencyLine.ts"

export class Lending {
  /** Some share was dissolved: what a slot needs may have to be followed to where it counts today. */
  private forwards = false
  private readonly admission: Admission
  constructor(admission: Admission) {
    this.admission = admission
  }

  giveUpHolds(slot: Slot, needs: Needs, held: boolean): void {
    const shares = slot.shares
    slot.shares = undefined
    // First of all: those who ask again below must not find it holding what it is giving up.
    slot.phase = Pending
    if (shares !== undefined) { for (const share of shares.values()) this.dissolve(share, held) }
    if (needs.holds) this.admission.holding--
    if (slot.pins !== undefined) this.admission.holding -= slot.pins.size
    for (let i = 0; i < needs.counters.length; i++) {
      const counter = needs.counters[i]!
      current(counter).heldBy?.delete(slot)
      if (counter.kind !== "tree" && (held || this.persists(slot, counter)) && !skipped(slot, counter)) {
        const now = current(counter)
        now.active -= takenOf(slot, counter, needs.weights[i]!)
        this.admission.touch(now)
      }
    }
    slot.pins = undefined
  }

  /** A share ends with its holder: what descendants still take of it counts where it came from. */
  private dissolve(share: Counter, held: boolean): void {
    const origin = current(shareOrigin.get(share)!)
    if (held) share.active -= share.limit
    origin.active += share.active
    share.forward = origin
    this.forwards = true
    share.removed = true
    if (this.admission.loweredAt > 0 && (share.active > 0 || share.waiting > 0)) this.admission.tightened = true
    if (share.heldBy !== undefined) {
      for (const holder of share.heldBy) (origin.heldBy ??= new Set()).add(holder)
    }
    this.admission.relineAll((line) => line.needs.counters.includes(share))
    this.admission.touch(origin)
    if (this.admission.facts !== undefined) this.admission.facts.lookAll()
  }

  /** What stays taken while the slot's run waits. */
  persists(slot: Slot, counter: Counter): boolean {
    return counter.hold || slot.region || slot.pins?.has(counter) === true
  }

  /** The part of a held limit that descendants of its holder live on; open only while the holder waits. */
  share(slot: Slot, counter: Counter): Counter {
    const shares = slot.shares ??= new Map()
    let share = shares.get(counter)
    if (share === undefined) {
      const needs = slot.needs!
      const weight = needs.weights[needs.counters.indexOf(counter)]!
      share = new Counter("share", counter.name, weight, counter.hold)
      shareOrigin.set(share, counter)
      if (slot.phase === Held) share.active = weight
      shares.set(counter, share)
      if (slot.phase === Retaking) {
        const retaker = slot.retaker
        const lead = retaker === undefined ? slot : this.leadOf(retaker) ?? slot
        this.admission.reline(lead)
      } else if (slot.phase === Away) this.relineAcquires(slot)
    }
    return share
  }

  pin(slot: Slot, counter: Counter): void {
    const pins = slot.pins ??= new Map()
    const count = pins.get(counter) ?? 0
    if (count === 0) this.admission.holding++
    pins.set(counter, count + 1)
  }

  unpin(slot: Slot, counter: Counter): void {
    const count = slot.pins?.get(counter)
    if (count === undefined) return
    if (count > 1) return void slot.pins!.set(counter, count - 1)
    slot.pins!.delete(counter)
    if (slot.pins!.size === 0) slot.pins = undefined
    this.admission.holding--
    if (counter.hold) return
    const share = slot.shares?.get(counter)
    if (share !== undefined) {
      slot.shares!.delete(counter)
      this.dissolve(share, slot.phase === Held)
    }
    current(counter).heldBy?.delete(slot)
    if ((slot.phase === Away || slot.phase === Retaking) && !skipped(slot, counter)) {
      const needs = slot.needs!
      const now = current(counter)
      now.active -= needs.weights[needs.counters.indexOf(counter)]!
      this.admission.touch(now)
      if (slot.phase === Retaking) this.admission.reline(this.leadOf(slot.retaker!) ?? slot)
      else this.relineAcquires(slot)
      if (this.admission.facts !== undefined) this.admission.facts.look(slot)
    }
    this.admission.drain()
  }

  /** What is taken back together with a `withSlot` inside changed. */
  private relineAcquires(slot: Slot): void {
    if (slot.waits === undefined) return
    for (const { acquire } of slot.waits) if (acquire?.together?.includes(slot) === true) this.admission.reline(acquire)
  }

  /** Takes a limit away from its holder, which goes on uncounted. False where it does not hold it. */
  revoke(slot: Slot, counter: Counter): boolean {
    const { needs } = slot
    const own = needs?.counters.find((one) => current(one) === counter)
    if (needs === undefined || own === undefined || skipped(slot, own)) return false
    const away = slot.phase === Away || slot.phase === Retaking
    if (slot.phase !== Held && !(away && this.persists(slot, own))) return false
    // First: those who ask again below must not find it holding what is taken from it.
    slot.skips = [...slot.skips ?? [], own]
    slot.revoked = [...slot.revoked ?? [], own]
    const share = slot.shares?.get(own)
    if (share !== undefined) {
      slot.shares!.delete(own)
      this.dissolve(share, slot.phase === Held)
    }
    counter.heldBy?.delete(slot)
    counter.active -= needs.weights[needs.counters.indexOf(own)]!
    this.admission.touch(counter)
    this.admission.drain()
    return true
  }

  /** One fiber begins to wait: its slots go away with the first of their waits. */
  beginWait(wait: Wait): void {
    for (const slot of wait.chain) {
      const waits = slot.waits ??= []
      waits.push(wait)
      if (slot.phase === Held) this.lend(slot)
      else if (slot.phase === Retaking) this.cancelRetake(slot)
      else if (slot.phase === Away && waits.length === 2) this.detach(slot, waits[0]!)
    }
    for (const target of wait.targets) {
      target.awaited++
      if (wait.chain.length > 0) target.expected(1)
    }
    this.admission.drain()
  }

  /** One fiber's wait ends; the last takes the slots back before it goes on (`wait.proceed`), the others go on uncounted. */
  endWait(wait: Wait): void {
    for (const target of wait.targets) {
      target.awaited--
      if (wait.chain.length > 0) target.expected(-1)
    }
    let back: Array<Slot> | undefined
    let attach: Array<Slot> | undefined
    for (const slot of wait.chain) {
      const waits = slot.waits!
      const index = waits.indexOf(wait)
      if (index < 0) continue
      waits.splice(index, 1)
      if (waits.length === 0) {
        slot.waits = undefined
        if (slot.phase === Away && !slot.uncounted) (back ??= []).push(slot)
      } else if (waits.length === 1 && waits[0]!.acquire !== undefined) (attach ??= []).push(slot)
    }
    if (attach !== undefined) { for (const slot of attach) this.attach(slot, slot.waits![0]!.acquire!) }
    if (back === undefined) return this.admission.later(() => wait.proceed())
    this.retake(back, wait)
  }

  private retake(back: ReadonlyArray<Slot>, wait: Wait): void {
    const lead = back[back.length - 1]!
    lead.together = back.length > 1 ? back.slice(0, -1) : undefined
    for (const slot of back) {
      slot.phase = Retaking
      slot.retaker = wait
    }
    const needs = this.backNeeds(lead)
    const line = new Line(needs, true, lead.priority, idleKey)
    if (this.admission.enter(lead, line)) {
      for (const slot of back) slot.retaker = undefined
      this.admission.later(() => wait.proceed())
    } else if (back.some((slot) => slot.seq <= this.admission.loweredAt)) this.admission.tightened = true
  }

  /** What `lead` and the slots with it need to go on after a wait. */
  backNeeds(lead: Slot): Needs {
    const plain = lead.together === undefined && !lead.needs!.holds && lead.shares === undefined &&
      lead.pins === undefined && lead.skips === undefined
    if (plain && !this.forwards) {
      return lead.needs!
    }
    const counters: Array<Counter> = []
    const weights: Array<number> = []
    const add = (slot: Slot) => {
      const needs = slot.needs!
      for (let i = 0; i < needs.counters.length; i++) {
        const counter = needs.counters[i]!
        const now = current(counter)
        if (this.persists(slot, counter) || now.removed || skipped(slot, counter)) continue
        counters.push(now)
        weights.push(needs.weights[i]!)
      }
      if (slot.shares !== undefined) {
        for (const share of slot.shares.values()) {
          counters.push(share)
          weights.push(share.limit)
        }
      }
    }
    if (lead.phase === Retaking) add(lead)
    else {
      counters.push(...lead.needs!.counters)
      weights.push(...lead.needs!.weights)
    }
    for (const slot of lead.together ?? []) add(slot)
    if (counters.length === 0) {
      counters.push(this.admission.always)
      weights.push(1)
    }
    return { counters, weights, holds: true }
  }

  /** The fiber that was taking slots back is gone, its run interrupted: they stay away. */
  abandon(wait: Wait): void {
    const lead = this.leadOf(wait)
    if (lead === undefined) return
    const members = [lead, ...(lead.together ?? [])]
    this.admission.drop(lead)
    lead.together = undefined
    for (const slot of members) {
      slot.phase = Away
      slot.retaker = undefined
    }
    this.admission.drain()
  }

  /** A `withSlot` inside runs asks for its tags and, together with them, for the slots that wait for nothing else. */
  acquire(slot: Slot, needs: Needs, together: Array<Slot> | undefined, key: FairKey | undefined): boolean {
    slot.needs = needs
    slot.together = together
    const line = new Line(together === undefined ? needs : this.backNeeds(slot), false, slot.priority, key ?? idleKey)
    if (together !== undefined) line.backFrom = needs.counters.length
    return this.admission.enter(slot, line)
  }

  /** Another fiber of the run began to wait: the one that was taking the slot back goes on without it. */
  cancelRetake(slot: Slot): void {
    const wait = slot.retaker
    slot.phase = Away
    slot.retaker = undefined
    if (wait === undefined) return
    const lead = slot.line !== undefined ? slot : this.leadOf(wait)
    if (lead === undefined) return
    const rest = [...(lead.together ?? []), lead].filter((member) => member !== slot)
    if (lead.line !== undefined) this.admission.drop(lead)
    lead.together = undefined
    if (rest.length === 0) this.admission.later(() => wait.proceed())
    else this.retake(rest, wait)
  }

  /** It has ended, or this attempt of it: what other fibers of it wait for does not bring it back. */
  letBe(slot: Slot): void {
    if (slot.retaker !== undefined) this.cancelRetake(slot)
    if (slot.waits !== undefined) { for (const wait of slot.waits) this.detach(slot, wait) }
  }

  private leadOf(wait: Wait): Slot | undefined {
    return wait.chain.find((slot) => slot.retaker === wait && slot.line !== undefined)
  }

  /** A `withSlot` that waits takes the run's slot back together with its tags, if it is the run's only wait. */
  attach(slot: Slot, acquire: Slot): void {
    if (acquire.line === undefined || slot.phase !== Away || slot.uncounted) return
    ;(acquire.together ??= []).push(slot)
    this.admission.reline(acquire)
  }

  private detach(slot: Slot, wait: Wait): void {
    const acquire = wait.acquire
    if (acquire?.together?.includes(slot) !== true) return
    acquire.together = acquire.together.filter((member) => member !== slot)
    if (acquire.together.length === 0) acquire.together = undefined
    this.admission.reline(acquire)
  }

  private lend(slot: Slot): void {
    slot.phase = Away
    const needs = slot.needs!
    slot.suspended()
    const plain = !needs.holds && slot.shares === undefined && slot.pins === undefined && slot.skips === undefined
    if (plain) this.admission.untake(slot, needs)
    else this.lendSome(slot, needs)
    if (this.admission.facts !== undefined) this.admission.facts.look(slot)
  }

  private lendSome(slot: Slot, needs: Needs): void {
    for (let i = 0; i < needs.counters.length; i++) {
      const counter = needs.counters[i]!
      if (skipped(slot, counter)) continue
      if (this.persists(slot, counter)) {
        if (counter.kind !== "tree") (current(counter).heldBy ??= new Set()).add(slot)
      } else {
        const now = current(counter)
        now.active -= takenOf(slot, counter, needs.weights[i]!)
        this.admission.touch(now)
      }
    }
    if (slot.skips !== undefined) this.keepSkips(slot, slot.skips)
    if (slot.shares !== undefined) {
      for (const share of slot.shares.values()) {
        share.active -= share.limit
        this.admission.touch(share)
      }
    }
  }

  /** It takes back what it went without, but for what would have stayed, what an operator took, and what a `withSlot` inside it has asked for since. */
  private keepSkips(slot: Slot, skips: ReadonlyArray<Counter>): void {
    const inside = [...this.admission.holders].filter((one) => one.region && one.run === slot)
    const kept = skips.filter((counter) =>
      this.persists(slot, counter) || slot.revoked?.includes(counter) === true ||
      inside.some((one) => weightHeld(one, current(counter)) > 0)
    )
    slot.skips = kept.length === 0 ? undefined : kept
  }

  takeBack(slot: Slot): void {
    slot.phase = Held
    const { counters, weights } = slot.needs!
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (this.persists(slot, counter)) {
        current(counter).heldBy?.delete(slot)
        continue
      }
      if (skipped(slot, counter)) continue
      const now = current(counter)
      const weight = now.take(weights[i]!)
      if (now.removed || weight > now.limit) {
        ;(slot.skips ??= []).push(counter)
        continue
      }
      if (counter.kind === "pool") slot.poolTaken = weight === weights[i] ? undefined : weight
      now.active += weight
    }
    if (slot.shares !== undefined) { for (const share of slot.shares.values()) share.active += share.limit }
  }
}

/** Where a share was cut from. */
export const shareOrigin = new WeakMap<Counter, Counter>()
