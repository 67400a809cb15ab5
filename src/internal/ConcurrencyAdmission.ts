/**
 * Who may go next. One `Admission` serves every scheduler that shares a `Concurrency`.
 *
 * The invariant everything rests on: a line that waits is parked at a counter that has no room for it, or at one listed in `dirty`. So what
 * just came may go at once if its own counters have room, a returned slot looks at the best lines parked at what it freed and at nothing
 * else, and the best of those that fit is the best of all that fit. Everything here is synchronous; what is granted is started after the
 * loops have ended (`flush`), so nobody's code runs inside them.
 */
import { endEndless } from "./ConcurrencyEndless.ts"
import {
  Away,
  before,
  type Bucket,
  Counter,
  current,
  Held,
  type Key,
  Line,
  LineHeap,
  type Needs,
  Pending,
  Retaking,
  Returned,
  since,
  type Slot,
  type Wait,
  Waiting
} from "./ConcurrencyLine.ts"
import { Overtaking } from "./ConcurrencyOvertaking.ts"

export class Admission {
  seq = 0
  /** Counts limits that came or went, so that resolved demands know when they are stale. */
  version = 0
  readonly lines = new Set<Line>()
  /** How many slots hold on to limits while they wait; while none does, nobody looks for shares. */
  holding = 0
  /** Some share was dissolved: what a slot needs may have to be followed to where it counts today. */
  private forwards = false
  /** The age of the youngest slot that a lowered limit may have surprised: one that was admitted, or asked, under more. */
  private loweredAt = 0
  /** A wait that had an end may have none now. */
  private tightened = false
  private readonly dirty: Array<Counter> = []
  private granted: Array<Slot> = []
  private draining = false
  private paused = 0
  private flushing = false
  private readonly overtaking = new Overtaking((counter) => this.touch(counter))
  /** Never full: where lines without a limit are put to be picked up. */
  private readonly always = new Counter("tag", "", Infinity, false)
  /** Where slots are to be found that may hold something: the live runs of each scheduler, the `withSlot` regions. */
  readonly sources = new Set<Iterable<Slot>>()

  /** Takes what the slot needs at once, or queues it in `line`. True when taken. */
  enter(slot: Slot, line: Line): boolean {
    const first = line.first
    if (first === undefined || before(line, slot, line, first)) {
      const blocker = this.blocker(line, slot)
      if (blocker === undefined) {
        this.admit(slot, line)
        return true
      }
      this.queue(slot, line)
      if (line.at === undefined) this.park(line, blocker)
      else if (line.at.counter === blocker) line.at.moved(line)
      else {
        line.at.remove(line)
        this.park(line, blocker)
      }
    } else this.queue(slot, line)
    return false
  }

  /** The first limit that has no room for the slot, if any. */
  blocker(line: Line, slot: Slot): Counter | undefined {
    const { counters, weights } = line.needs
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      const weight = counter.take(weights[i]!)
      if (counter.active + weight > counter.limit) {
        if ((line.resume || i >= line.backFrom) && weight > counter.limit) continue
        if (counter.active < counter.limit && line.size > 0) this.overtaking.contend(line, counter)
        return counter
      }
      if (counter.bucket !== undefined && !line.resume && !this.hasTokens(counter, counter.bucket, weight, slot)) {
        return counter
      }
      if (counter.contenders !== undefined && this.overtaking.reservedAgainst(counter, line, slot)) return counter
    }
    return undefined
  }

  /** Every limit that has no room for the slot now. */
  blockers(line: Line, slot: Slot): Array<Counter> {
    const { counters, weights } = line.needs
    return counters.filter((counter, i) => {
      const weight = counter.take(weights[i]!)
      if (counter.active + weight > counter.limit) {
        return !((line.resume || i >= line.backFrom) && weight > counter.limit)
      }
      return counter === line.at?.counter ||
        (counter.contenders !== undefined && this.overtaking.reservedAgainst(counter, line, slot))
    })
  }

  /** Leaves the queue as if it had never asked. */
  leave(slot: Slot): void {
    const line = slot.line
    if (line === undefined) return
    const wasFirst = line.first === slot
    this.unqueue(slot, line)
    slot.phase = slot.phase === Retaking ? Away : Pending
    if (line.size === 0) this.close(line)
    else if (wasFirst) {
      line.at!.moved(line)
      this.overtaking.reserving.delete(line)
    }
    if (line.contends !== undefined) this.overtaking.touchContended(line)
    this.drain()
  }

  /** Gives back all that the slot holds, for good or until a new attempt. */
  giveUp(slot: Slot): void {
    const needs = slot.needs
    if (needs === undefined) return
    const phase = slot.phase
    if (phase === Held || phase === Away) {
      const plain = !needs.holds && slot.shares === undefined && slot.pins === undefined
      if (plain) {
        if (phase === Held) this.untake(slot, needs)
      } else this.giveUpHolds(slot, needs, phase === Held)
    }
    slot.skips = undefined
    slot.phase = Pending
  }

  /** The slot's work has ended. */
  end(slot: Slot): void {
    if (slot.retaker !== undefined) this.cancelRetake(slot)
    if (slot.line !== undefined) this.leave(slot)
    this.giveUp(slot)
    slot.phase = Returned
  }

  private giveUpHolds(slot: Slot, needs: Needs, held: boolean): void {
    const shares = slot.shares
    slot.shares = undefined
    // First of all: those who ask again below must not find it holding what it is giving up.
    slot.phase = Pending
    if (shares !== undefined) { for (const share of shares.values()) this.dissolve(share, held) }
    if (needs.holds) this.holding--
    if (slot.pins !== undefined) this.holding -= slot.pins.size
    for (let i = 0; i < needs.counters.length; i++) {
      const counter = needs.counters[i]!
      current(counter).heldBy?.delete(slot)
      if (counter.kind !== "tree" && (held || this.persists(slot, counter)) && !skipped(slot, counter)) {
        const now = current(counter)
        now.active -= counter.kind === "pool" ? slot.poolTaken : needs.weights[i]!
        this.touch(now)
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
    if (this.loweredAt > 0 && (share.active > 0 || share.waiting > 0)) this.tightened = true
    if (share.heldBy !== undefined) {
      for (const holder of share.heldBy) (origin.heldBy ??= new Set()).add(holder)
    }
    this.relineAll((line) => line.needs.counters.includes(share))
    this.touch(origin)
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
        this.reline(lead)
      } else if (slot.phase === Away && slot.waits !== undefined) {
        // Taken back together with a `withSlot` inside: now with this share too.
        for (const { acquire } of slot.waits) if (acquire?.together?.includes(slot) === true) this.reline(acquire)
      }
    }
    return share
  }

  pin(slot: Slot, counter: Counter): void {
    const pins = slot.pins ??= new Map()
    const count = pins.get(counter) ?? 0
    if (count === 0) this.holding++
    pins.set(counter, count + 1)
  }

  unpin(slot: Slot, counter: Counter): void {
    const count = slot.pins?.get(counter)
    if (count === undefined) return
    if (count > 1) return void slot.pins!.set(counter, count - 1)
    slot.pins!.delete(counter)
    if (slot.pins!.size === 0) slot.pins = undefined
    this.holding--
    if (counter.hold) return
    const share = slot.shares?.get(counter)
    if (share !== undefined) {
      slot.shares!.delete(counter)
      this.dissolve(share, slot.phase === Held)
    }
    current(counter).heldBy?.delete(slot)
    if (slot.phase === Away || slot.phase === Retaking) {
      const needs = slot.needs!
      const now = current(counter)
      now.active -= needs.weights[needs.counters.indexOf(counter)]!
      this.touch(now)
      if (slot.phase === Retaking) this.reline(this.leadOf(slot.retaker!) ?? slot)
    }
    this.drain()
  }

  // ─── waiting lends

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
      const gate = wait.chain.length === 0 ? undefined : target.gate
      if (gate === undefined) continue
      gate.limit++
      ;(wait.gates ??= []).push(gate)
      this.touch(gate)
    }
    this.drain()
  }

  /** One fiber's wait ends; the last takes the slots back before it goes on (`wait.proceed`), the others go on uncounted. */
  endWait(wait: Wait): void {
    for (const target of wait.targets) target.awaited--
    if (wait.gates !== undefined) { for (const gate of wait.gates) gate.limit-- }
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
    if (back === undefined) return this.later(() => wait.proceed())
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
    if (this.enter(lead, line)) {
      for (const slot of back) slot.retaker = undefined
      this.later(() => wait.proceed())
    } else if (back.some((slot) => slot.seq <= this.loweredAt)) this.tightened = true
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
      counters.push(this.always)
      weights.push(1)
    }
    return { counters, weights, holds: true }
  }

  /** Takes what the slot needs if it can be had now. */
  tryAcquire(slot: Slot, needs: Needs, key: FairKey): boolean {
    slot.needs = needs
    const line = new Line(needs, false, slot.priority, key)
    if (this.blocker(line, slot) !== undefined) return false
    this.admit(slot, line)
    return true
  }

  /** The fiber that was taking slots back is gone, its run interrupted: they stay away. */
  abandon(wait: Wait): void {
    const lead = this.leadOf(wait)
    if (lead === undefined) return
    const members = [lead, ...(lead.together ?? [])]
    this.drop(lead)
    lead.together = undefined
    for (const slot of members) {
      slot.phase = Away
      slot.retaker = undefined
    }
    this.drain()
  }

  /** A `withSlot` inside runs asks for its tags and, together with them, for the slots that wait for nothing else. */
  acquire(slot: Slot, needs: Needs, together: Array<Slot> | undefined, key: FairKey | undefined): boolean {
    slot.needs = needs
    slot.together = together
    const line = new Line(together === undefined ? needs : this.backNeeds(slot), false, slot.priority, key ?? idleKey)
    if (together !== undefined) line.backFrom = needs.counters.length
    return this.enter(slot, line)
  }

  /** Another fiber of the run began to wait: the one that was taking the slot back goes on without it. */
  private cancelRetake(slot: Slot): void {
    const wait = slot.retaker
    slot.phase = Away
    slot.retaker = undefined
    if (wait === undefined) return
    const lead = slot.line !== undefined ? slot : this.leadOf(wait)
    if (lead === undefined) return
    const rest = [...(lead.together ?? []), lead].filter((member) => member !== slot)
    if (lead.line !== undefined) this.drop(lead)
    lead.together = undefined
    if (rest.length === 0) this.later(() => wait.proceed())
    else this.retake(rest, wait)
  }

  private leadOf(wait: Wait): Slot | undefined {
    return wait.chain.find((slot) => slot.retaker === wait && slot.line !== undefined)
  }

  /** A `withSlot` that waits takes the run's slot back together with its tags, if it is the run's only wait. */
  attach(slot: Slot, acquire: Slot): void {
    if (acquire.line === undefined || slot.phase !== Away || slot.uncounted) return
    ;(acquire.together ??= []).push(slot)
    this.reline(acquire)
  }

  private detach(slot: Slot, wait: Wait): void {
    const acquire = wait.acquire
    if (acquire?.together === undefined) return
    acquire.together = acquire.together.filter((member) => member !== slot)
    if (acquire.together.length === 0) acquire.together = undefined
    this.reline(acquire)
  }

  private readonly todo: Array<() => void> = []

  /** Runs `f` once the loops have ended. */
  private later(f: () => void): void {
    this.todo.push(f)
  }

  get holders(): Iterable<Slot> {
    return [...this.sources].flatMap((source) => [...source])
  }

  private lend(slot: Slot): void {
    slot.phase = Away
    const needs = slot.needs!
    slot.suspended()
    if (!needs.holds && slot.shares === undefined && slot.pins === undefined) return this.untake(slot, needs)
    for (let i = 0; i < needs.counters.length; i++) {
      const counter = needs.counters[i]!
      if (skipped(slot, counter)) continue
      if (this.persists(slot, counter)) {
        if (counter.kind !== "tree") (current(counter).heldBy ??= new Set()).add(slot)
      } else {
        const now = current(counter)
        now.active -= counter.kind === "pool" ? slot.poolTaken : needs.weights[i]!
        this.touch(now)
      }
    }
    slot.skips = undefined
    if (slot.shares !== undefined) {
      for (const share of slot.shares.values()) {
        share.active -= share.limit
        this.touch(share)
      }
    }
  }

  private untake(slot: Slot, needs: Needs): void {
    const { counters, weights } = needs
    for (let i = 0; i < counters.length; i++) {
      let counter = counters[i]!
      if (slot.skips !== undefined && skipped(slot, counter)) continue
      const weight = counter.kind === "pool" ? slot.poolTaken : weights[i]!
      if (counter.forward !== undefined) counter = current(counter)
      counter.active -= weight
      if (counter.parked > 0 && !counter.dirty) this.touch(counter)
    }
    slot.skips = undefined
  }

  // ─── granting

  private admit(slot: Slot, line: Line): void {
    const clock = (line.key as FairKey).clock
    if (clock !== undefined && clock.size > 1) this.serve(line, clock)
    const counters = line.needs.counters
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.contenders !== undefined) this.overtaking.overtake(counter, line, slot)
      if (counter.bucket !== undefined && !line.resume) counter.bucket.tokens -= line.needs.weights[i]!
    }
    if (slot.phase === Retaking) this.takeBack(slot)
    else {
      const needs = slot.needs!
      this.takeAll(slot, needs.counters, needs.weights)
      if (needs.holds) this.holding++
      slot.phase = Held
    }
    if (slot.together !== undefined) {
      for (const member of slot.together) {
        this.takeBack(member)
        member.retaker = undefined
      }
      slot.tookBack()
      slot.together = undefined
    }
    slot.since = since(slot.clock)
  }

  private takeAll(slot: Slot, counters: ReadonlyArray<Counter>, weights: ReadonlyArray<number>): void {
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.kind === "pool") counter.active += slot.poolTaken = counter.take(weights[i]!)
      else counter.active += weights[i]!
    }
  }

  private takeBack(slot: Slot): void {
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
      if (counter.kind === "pool") slot.poolTaken = weight
      now.active += weight
    }
    if (slot.shares !== undefined) { for (const share of slot.shares.values()) share.active += share.limit }
  }

  private serve(line: Line, clock: KeyClock): void {
    const key = line.key = clock.get(line.key.name)
    const start = key.virtual > clock.virtual ? key.virtual : clock.virtual
    clock.virtual = start
    key.virtual = start + (line.needs.weights[0] ?? 1)
  }

  private queue(slot: Slot, line: Line): void {
    if (slot.phase !== Retaking) slot.phase = Waiting
    if (line.size === 0) {
      this.lines.add(line)
      const clock = (line.key as FairKey).clock
      if (clock !== undefined) {
        const key = line.key = clock.get(line.key.name)
        if (key.waiting === 0 && key.virtual < clock.virtual) key.virtual = clock.virtual
      }
    }
    line.key.waiting++
    const wasFirst = line.first
    line.push(slot)
    if (line.at !== undefined && line.first !== wasFirst) line.at.moved(line)
    const counters = line.needs.counters
    for (let i = 0; i < counters.length; i++) counters[i]!.waiting++
  }

  private unqueue(slot: Slot, line: Line): void {
    line.remove(slot)
    line.key.waiting--
    const counters = line.needs.counters
    for (let i = 0; i < counters.length; i++) counters[i]!.waiting--
  }

  /** Takes a slot out of its line without saying it left. */
  private drop(slot: Slot): void {
    const line = slot.line!
    this.unqueue(slot, line)
    if (line.size === 0) this.close(line)
    else line.at?.moved(line)
  }

  private close(line: Line): void {
    line.at?.remove(line)
    this.lines.delete(line)
    if (line.contends !== undefined) this.overtaking.withdraw(line)
    line.overtaken = 0
    const key = line.key as FairKey
    if (key.waiting === 0 && key.clock !== undefined) key.clock.idle(key)
  }

  private park(line: Line, counter: Counter): void {
    const at = line.needs.counters.indexOf(counter)
    const weight = line.needs.weights[at] ?? 1
    let heap = counter.heaps.length === 1 && counter.heaps[0]!.weight === weight ? counter.heaps[0]! : undefined
    if (heap === undefined) {
      heap = counter.heaps.find((one) => one.weight === weight)
      if (heap === undefined) counter.heaps.push(heap = new LineHeap(counter, weight))
    }
    heap.add(line)
    if (counter.active < counter.limit && weight > 1) this.overtaking.contend(line, counter)
  }

  /** Something of this counter came free: its lines are to be looked at. */
  touch(counter: Counter): void {
    if (counter.parked > 0 && !counter.dirty) {
      counter.dirty = true
      this.dirty.push(counter)
    }
  }

  private best(counter: Counter): Line | undefined {
    let best: Line | undefined
    const heaps = counter.heaps
    for (let i = 0; i < heaps.length; i++) {
      const heap = heaps[i]!
      const line = heap.lines.length === 0 ? undefined : heap.top()
      if (line === undefined) continue
      const weight = counter.take(heap.weight)
      if (counter.active + weight > counter.limit && !(line.resume && weight > counter.limit)) {
        if (counter.active < counter.limit) this.overtaking.contend(line, counter)
        continue
      }
      if (best === undefined || before(line, line.first!, best, best.first!)) best = line
    }
    return best
  }

  /** Makes several changes count as one instant: nothing is granted before all are made. */
  atOnce(f: () => void): void {
    this.pause()
    try {
      f()
    } finally {
      this.proceed()
    }
  }
  pause(): void {
    this.paused++
  }
  proceed(): void {
    if (--this.paused === 0) this.drain()
  }

  /** Grants all that can be granted, best first. The one place that wakes. */
  drain(): void {
    if (this.draining || this.paused > 0) return
    this.draining = true
    if (this.overtaking.reserving.size > 0) {
      for (const line of this.overtaking.reserving) this.overtaking.touchContended(line)
    }
    const dirty = this.dirty
    while (dirty.length > 0) {
      let best: Line | undefined
      let from: Counter | undefined
      for (let i = dirty.length - 1; i >= 0; i--) {
        const counter = dirty[i]!
        const line = this.best(counter)
        if (line === undefined) this.clean(counter, i)
        else if (best === undefined || before(line, line.first!, best, best.first!)) {
          best = line
          from = counter
        }
      }
      if (best === undefined) break
      const slot = best.first!
      const blocker = this.blocker(best, slot)
      if (blocker === undefined) {
        const line = best
        this.unqueue(slot, line)
        this.admit(slot, line)
        if (line.contends !== undefined && this.overtaking.reserving.delete(line)) this.overtaking.touchContended(line)
        if (line.size === 0) this.close(line)
        else line.at!.moved(line)
        this.granted.push(slot)
      } else if (blocker === from) this.clean(from, dirty.indexOf(from))
      else {
        if (tagsOf(best.needs) > 1) {
          this.overtaking.contend(best, from!)
          this.overtaking.contend(best, blocker)
        }
        best.at!.remove(best)
        this.park(best, blocker)
      }
    }
    this.draining = false
    if (this.granted.length > 0 || this.todo.length > 0) this.flush()
    if (!this.tightened || this.flushing) return
    this.tightened = false
    if (this.holding > 0) endEndless(this)
  }

  /** How many wait for `counter` before this one, and itself. */
  position(slot: Slot, counter: Counter): number {
    const line = slot.line!
    let position = 1
    for (const other of this.lines) {
      if (!other.needs.counters.includes(counter)) continue
      for (const one of other.slots()) if (one !== slot && before(other, one, line, slot)) position++
    }
    return position
  }

  private clean(counter: Counter, index: number): void {
    counter.dirty = false
    const last = this.dirty.pop()!
    if (last !== counter) this.dirty[index] = last
  }

  private flush(): void {
    if (this.flushing) return
    this.flushing = true
    while (this.granted.length > 0 || this.todo.length > 0) {
      const granted = this.granted
      this.granted = []
      for (let i = 0; i < granted.length; i++) {
        const slot = granted[i]!
        const retaker = slot.retaker
        if (retaker !== undefined) {
          slot.retaker = undefined
          retaker.proceed()
        } else slot.start()
      }
      if (this.todo.length > 0) { for (const f of this.todo.splice(0)) f() }
    }
    this.flushing = false
  }

  // ─── limits that come, go and change

  /** A tag's limit changed: what can never be admitted under it is refused, the rest looked at again. */
  resized(counter: Counter, lowered: boolean): void {
    if (lowered) {
      this.loweredAt = this.seq
      this.tightened = true
    }
    for (const line of [...this.lines]) {
      if (!line.needs.counters.includes(counter)) continue
      if (line.resume) this.repark(line)
      else this.relineLine(line)
    }
    this.touch(counter)
    this.drain()
  }

  /** Limits came or went: every line that `concerns` asks anew. */
  relineAll(concerns: (line: Line) => boolean): void {
    for (const line of [...this.lines]) if (concerns(line)) this.relineLine(line)
  }

  private relineLine(line: Line): void {
    let into: Line | undefined
    for (const slot of line.slots()) {
      if (slot.line === line) into = this.ask(slot, line, into)
    }
    if (line.size > 0) this.repark(line)
  }

  /** Asks again for one slot whose demand or whose limits changed. */
  reline(slot: Slot): void {
    const line = slot.line
    if (line === undefined) return
    this.ask(slot, line, undefined)
    if (slot.line === line) this.repark(line)
  }

  private ask(slot: Slot, line: Line, into: Line | undefined): Line | undefined {
    let needs: Needs
    if (slot.phase === Retaking) needs = this.backNeeds(slot)
    else {
      const resolved = slot.resolve()
      // Asking may cut a share from a slot that is being taken back with this one, which asks for both anew.
      if (slot.line !== line) return into
      if ("_tag" in resolved) {
        this.drop(slot)
        slot.phase = Pending
        this.later(() => slot.refuse(resolved))
        return into
      }
      slot.needs = resolved
      needs = slot.together === undefined ? resolved : this.backNeeds(slot)
    }
    if (sameNeeds(line.needs, needs)) return into
    this.drop(slot)
    const fresh = into?.needs === needs ? into : new Line(needs, line.resume, line.priority, line.key)
    if (slot.together !== undefined && !line.resume) fresh.backFrom = slot.needs!.counters.length
    this.queue(slot, fresh)
    this.repark(fresh)
    return fresh
  }

  private repark(line: Line): void {
    line.at?.remove(line)
    this.place(line)
  }

  private place(line: Line): void {
    const blocker = this.blocker(line, line.first!)
    const counter = blocker ?? line.needs.counters[0] ?? this.always
    this.park(line, counter)
    if (blocker === undefined) this.touch(counter)
  }

  // ─── rates

  private hasTokens(counter: Counter, bucket: Bucket, weight: number, slot: Slot): boolean {
    const now = slot.clock.currentTimeMillisUnsafe()
    if (now > bucket.at) {
      bucket.tokens = Math.min(bucket.burst, bucket.tokens + (now - bucket.at) * bucket.perMilli)
      bucket.at = now
    }
    // Floating point: a token that is due to the last bit is there.
    if (bucket.tokens + 1e-9 >= weight) return true
    if (!bucket.timer) {
      bucket.timer = true
      this.onToken(Math.max(1, Math.ceil((weight - bucket.tokens) / bucket.perMilli - 1e-6)), slot, () => {
        bucket.timer = false
        this.touch(counter)
        this.drain()
      })
    }
    return false
  }

  /** Runs `f` after so many milliseconds on the slot's clock; set by the module that knows effects. */
  onToken: (millis: number, slot: Slot, f: () => void) => void = () => {}
}

/** Where a share was cut from. */
export const shareOrigin = new WeakMap<Counter, Counter>()

/** Virtual time of the keys of one scheduler: start-time fair queueing over the keys that wait. */
export class KeyClock {
  virtual = 0
  private readonly keys = new Map<string | undefined, FairKey>()
  get size(): number {
    return this.keys.size
  }
  get(name: string | undefined): FairKey {
    let key = this.keys.get(name)
    if (key === undefined) {
      key = { name, virtual: this.virtual, waiting: 0, clock: this }
      this.keys.set(name, key)
    }
    return key
  }
  /** A key nobody waits under is forgotten, unless it is ahead of the others. */
  idle(key: FairKey): void {
    if (key.name !== undefined && key.virtual <= this.virtual) this.keys.delete(key.name)
  }
}

export interface FairKey extends Key {
  readonly clock: KeyClock | undefined
}

const idleKey: FairKey = { name: undefined, virtual: 0, waiting: 0, clock: undefined }

const skipped = (slot: Slot, counter: Counter): boolean => slot.skips !== undefined && slot.skips.includes(counter)

const tagsOf = (needs: Needs): number => {
  let tags = 0
  for (const counter of needs.counters) if (counter.kind !== "pool" && counter.kind !== "tree") tags++
  return tags
}

const sameNeeds = (a: Needs, b: Needs): boolean =>
  a === b ||
  (a.counters.length === b.counters.length &&
    a.counters.every((c, i) => c === b.counters[i] && a.weights[i] === b.weights[i]))
