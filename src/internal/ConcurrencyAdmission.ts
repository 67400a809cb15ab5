/**
 * Who may go next. One `Admission` serves every scheduler that shares a `Concurrency`.
 *
 * The invariant everything rests on: a line that waits is parked at a counter that has no room for it, or at one listed in `dirty`. So what
 * just came may go at once if its own counters have room, a returned slot looks at the best lines parked at what it freed and at nothing
 * else, and the best of those that fit is the best of all that fit. Everything here is synchronous; what is granted is started after the
 * loops have ended (`flush`), so nobody's code runs inside them.
 */
import type * as Clock from "effect/Clock"
import { Ageing } from "./ConcurrencyAgeing.ts"
import { endEndless } from "./ConcurrencyEndless.ts"
import type { Facts } from "./ConcurrencyFacts.ts"
import type { FairKey } from "./ConcurrencyKeys.ts"
import { Lending } from "./ConcurrencyLending.ts"
import {
  Away,
  before,
  Counter,
  current,
  Held,
  Line,
  LineHeap,
  type Needs,
  Pending,
  Retaking,
  Returned,
  since,
  skipped,
  type Slot,
  takenOf,
  toMillis,
  Waiting
} from "./ConcurrencyLine.ts"
import { Overtaking } from "./ConcurrencyOvertaking.ts"
import type { Pace } from "./ConcurrencyPace.ts"
import { interruptInTheWay } from "./ConcurrencyReplace.ts"
import { Saturation } from "./ConcurrencySaturation.ts"

export class Admission {
  readonly lending = new Lending(this)
  seq = 0
  /** Counts limits that came or went, so that resolved demands know when they are stale. */
  version = 0
  /** Those somebody waits in. No set: what came and went is kept alive by its old tables until a full collection. */
  readonly lines: Array<Line> = []
  /** How many slots hold on to limits while they wait; while none does, nobody looks for shares. */
  holding = 0
  /** The age of the youngest slot that a lowered limit may have surprised: one that was admitted, or asked, under more. */
  loweredAt = 0
  /** A wait that had an end may have none now. */
  tightened = false
  private readonly dirty: Array<Counter> = []
  /** In turns with another: one made for every grant ends up where only a full collection finds it. */
  private granted: Array<Slot> = []
  private spare: Array<Slot> = []
  private draining = false
  private paused = 0
  private flushing = false
  /** The time on `clock`, while no time passes. */
  instant: number | undefined
  clock: Clock.Clock | undefined
  /** Slots that wait for the place of others. */
  readonly replacers = new Set<Slot>()
  private readonly ageing = new Ageing(this)
  private saturation: Saturation | undefined
  /** Somebody is told of all that becomes of the limits. */
  facts: Facts | undefined
  private readonly overtaking = new Overtaking((counter) => this.touch(counter))
  /** Never full: where lines without a limit are put to be picked up. */
  readonly always = new Counter("tag", "", Infinity, false)
  /** Where slots are to be found that may hold something: the live runs of each scheduler, the `withSlot` regions. */
  readonly sources = new Set<Iterable<Slot>>()

  /** Takes what the slot needs at once, or queues it in `line`. True when taken. */
  enter(slot: Slot, line: Line): boolean {
    this.catchUp(line.needs)
    const first = line.first
    if (first === undefined || before(line, slot, line, first)) {
      const blocker = this.blocker(line, slot)
      if (blocker === undefined) {
        this.admit(slot, line)
        this.letGo(line.key as FairKey)
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

  /** A key that nobody waits under need not be known. */
  letGo(key: FairKey): void {
    if (key.name !== undefined && key.waiting === 0) key.clock?.idle(key)
  }

  /** Time makes room without telling: those that wait at a rate are looked at before anybody who just came. */
  private catchUp(needs: Needs): void {
    if (this.paused > 0 || this.draining) return
    let some = false
    for (let i = 0; i < needs.counters.length; i++) {
      const counter = needs.counters[i]!
      if (counter.pace === undefined || counter.parked === 0 || counter.active >= counter.limit) continue
      this.touch(counter)
      some = true
    }
    if (some) this.drain()
  }

  /** Every limit that has no room for what is asked now, whoever waits. */
  lacking(needs: Needs, slot: Slot): Array<Counter> {
    return needs.counters.filter((counter, i) => {
      const weight = counter.take(needs.weights[i]!)
      return counter.active + weight > counter.limit ||
        (counter.pace !== undefined && this.isTooSoon(counter, weight, slot))
    })
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
      if (counter.pace !== undefined && !line.resume && i < line.backFrom && this.isTooSoon(counter, weight, slot)) {
        return counter
      }
      if (counter.contenders !== undefined && this.overtaking.reservedAgainst(counter, line, slot)) return counter
    }
    return undefined
  }

  /** Whether this limit of a line has no room for the slot now. */
  blocks(counter: Counter, i: number, line: Line, slot: Slot): boolean {
    const asked = line.needs.weights[i]!
    const weight = counter.take(asked)
    const back = line.resume || i >= line.backFrom
    if (counter.active + weight > counter.limit) return !(back && weight > counter.limit)
    return counter === line.at?.counter ||
      (counter.pace !== undefined && !back && this.isTooSoon(counter, weight, slot)) ||
      (counter.contenders !== undefined && this.overtaking.reservedAgainst(counter, line, slot))
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
      } else this.lending.giveUpHolds(slot, needs, phase === Held)
      for (let i = 0; i < needs.counters.length; i++) {
        const counter = needs.counters[i]!
        if (counter.tracked && --counter.live === 0) counter.key?.idle()
      }
    }
    slot.revoked = undefined
    slot.skips = undefined
    slot.phase = Pending
    if (this.facts !== undefined) this.facts.look(slot)
  }

  /** It was let in and never began: as if it had not asked. */
  unstart(slot: Slot): void {
    // Later, what it took has come back by itself.
    if (slot.since !== since(slot.clock)) return
    slot.needs?.counters.forEach((counter, i) => {
      if (counter.pace === undefined) return
      counter.pace.giveBack(slot.needs!.weights[i]!)
      this.touchPace(counter.pace)
    })
  }

  /** An attempt has ended, and all it holds is free until the next one is admitted. */
  endAttempt(slot: Slot): void {
    this.lending.letBe(slot)
    if (slot.phase === Held || slot.phase === Away) this.giveUp(slot)
  }

  /** The slot's work has ended. */
  end(slot: Slot): void {
    this.lending.letBe(slot)
    if (slot.line !== undefined) this.leave(slot)
    this.giveUp(slot)
    slot.phase = Returned
  }

  // ─── waiting lends

  /** Takes what the slot needs if it can be had now. */
  tryAcquire(slot: Slot, needs: Needs, key: FairKey): boolean {
    slot.needs = needs
    this.catchUp(needs)
    const line = new Line(needs, false, slot.priority, key)
    const had = this.blocker(line, slot) === undefined
    if (had) this.admit(slot, line)
    this.letGo(key)
    return had
  }

  private readonly todo: Array<() => void> = []

  /** Inside the loops, or with several changes to be made at once. */
  get busy(): boolean {
    return this.draining || this.flushing || this.paused > 0
  }

  /** Runs `f` once the loops have ended. */
  later(f: () => void): void {
    this.todo.push(f)
  }

  get holders(): Iterable<Slot> {
    return [...this.sources].flatMap((source) => [...source])
  }

  untake(slot: Slot, needs: Needs): void {
    const { counters, weights } = needs
    for (let i = 0; i < counters.length; i++) {
      let counter = counters[i]!
      if (slot.skips !== undefined && skipped(slot, counter)) continue
      const weight = takenOf(slot, counter, weights[i]!)
      if (counter.forward !== undefined) counter = current(counter)
      counter.active -= weight
      if (counter.parked > 0 && !counter.dirty) this.touch(counter)
    }
    slot.skips = undefined
  }

  // ─── granting

  private admit(slot: Slot, line: Line): void {
    const key = line.key as FairKey
    if (key.clock !== undefined && key.clock.size > 1) {
      const first = line.needs.counters[0]
      key.clock.serve(key, first === undefined ? 1 : first.take(line.needs.weights[0]!))
    }
    const counters = line.needs.counters
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.contenders !== undefined) this.overtaking.overtake(counter, line, slot)
      if (counter.pace !== undefined && !line.resume && i < line.backFrom) counter.pace.take(line.needs.weights[i]!)
    }
    if (slot.phase === Retaking) this.lending.takeBack(slot)
    else {
      const needs = slot.needs!
      this.takeAll(slot, needs.counters, needs.weights)
      if (needs.holds) this.holding++
      slot.phase = Held
    }
    if (slot.together !== undefined) {
      for (const member of slot.together) {
        this.lending.takeBack(member)
        member.retaker = undefined
        if (this.facts !== undefined) this.facts.look(member)
      }
      slot.tookBack()
      slot.together = undefined
    }
    slot.since = this.now(slot)
    if (this.facts !== undefined) this.facts.look(slot)
  }

  private takeAll(slot: Slot, counters: ReadonlyArray<Counter>, weights: ReadonlyArray<number>): void {
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.tracked) counter.live++
      const weight = weights[i]!
      const taken = counter.take(weight)
      counter.active += taken
      if (counter.kind === "pool") slot.poolTaken = taken === weight ? undefined : taken
    }
  }

  private queue(slot: Slot, line: Line): void {
    if (slot.phase !== Retaking) slot.phase = Waiting
    if (line.size === 0) {
      line.place = this.lines.push(line) - 1
      if (this.saturation !== undefined) this.saturation.began(slot)
      const key = line.key as FairKey
      if (key.clock !== undefined && key.waiting === 0) key.clock.busy(key)
    }
    line.key.waiting++
    const wasFirst = line.first
    line.push(slot)
    if (line.ageing !== undefined) this.ageing.wait(slot, line.ageing)
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
  drop(slot: Slot): void {
    const line = slot.line!
    this.unqueue(slot, line)
    if (line.size === 0) this.close(line)
    else line.at?.moved(line)
  }

  private close(line: Line): void {
    line.at?.remove(line)
    const last = this.lines.pop()!
    if (last !== line) {
      this.lines[line.place] = last
      last.place = line.place
    }
    if (this.lines.length === 0 && this.timers.size > 0) { for (const cancel of [...this.timers]) cancel() }
    if (line.contends !== undefined) this.overtaking.withdraw(line)
    line.overtaken = 0
    const key = line.key as FairKey
    if (key.waiting === 0 && key.clock !== undefined) key.clock.quiet(key)
  }

  private park(line: Line, counter: Counter): void {
    const at = line.needs.counters.indexOf(counter)
    const weight = line.needs.weights[at] ?? 1
    let heap = counter.heap
    while (heap !== undefined && heap.weight !== weight) heap = heap.next
    heap ??= new LineHeap(counter, weight)
    heap.add(line)
    if (counter.pace !== undefined) this.wakeAt(counter, line)
    if (counter.active < counter.limit && weight > 1) this.overtaking.contend(line, counter)
  }

  /** Takes a waiting slot to another line. */
  move(slot: Slot, line: Line): void {
    this.drop(slot)
    this.queue(slot, line)
    this.repark(line)
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
    for (let heap = counter.heap; heap !== undefined; heap = heap.next) {
      const line = heap.top()
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
      } else if (blocker === from) {
        if (from.pace !== undefined) this.wakeAt(from, best)
        this.clean(from, dirty.indexOf(from))
      } else {
        if (tagsOf(best.needs) > 1) {
          this.overtaking.contend(best, from!)
          this.overtaking.contend(best, blocker)
        }
        best.at!.remove(best)
        this.park(best, blocker)
      }
    }
    this.draining = false
    this.instant = undefined
    if (this.granted.length > 0 || this.todo.length > 0) this.flush()
    if (this.flushing) return
    if (this.replacers.size > 0) interruptInTheWay(this)
    if (!this.tightened) return
    this.tightened = false
    if (this.holding > 0) endEndless(this)
  }

  /** Whom `counter` is kept for, if this one may not have it for that reason. */
  keptFor(counter: Counter, line: Line, slot: Slot): Slot | undefined {
    return counter.contenders === undefined ? undefined : this.overtaking.keptFor(counter, line, slot)
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
      this.granted = this.spare
      for (let i = 0; i < granted.length; i++) {
        const slot = granted[i]!
        const retaker = slot.retaker
        if (retaker !== undefined) {
          slot.retaker = undefined
          retaker.proceed()
        } else slot.start()
      }
      granted.length = 0
      this.spare = granted
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
    if (slot.phase === Retaking) needs = this.lending.backNeeds(slot)
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
      needs = slot.together === undefined ? resolved : this.lending.backNeeds(slot)
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

  /** In the loops no time passes: there it is read once. */
  private now(slot: Slot): number {
    if (this.instant !== undefined && this.clock === slot.clock) return this.instant
    const now = since(slot.clock)
    if (this.draining) {
      this.instant = now
      this.clock = slot.clock
    }
    return now
  }

  private isTooSoon(counter: Counter, weight: number, slot: Slot): boolean {
    const now = toMillis(this.now(slot))
    return counter.pace!.readyAt(weight, now) > now
  }

  /** One timer a limit, for the best of those that wait there. */
  private wakeAt(counter: Counter, line: Line): void {
    const pace = counter.pace
    if (pace === undefined || line.resume) return
    const slot = line.first!
    const now = slot.clock.currentTimeMillisUnsafe()
    const weight = line.needs.weights[line.needs.counters.indexOf(counter)] ?? 1
    const at = pace.readyAt(weight, now)
    if (at <= now || at === Infinity || (pace.timer !== undefined && pace.timer.at <= at)) return
    pace.timer?.cancel()
    const cancel = this.at(at - now, slot, () => {
      pace.timer = undefined
      this.touchPace(pace)
      this.drain()
    }, () => pace.timer = undefined)
    pace.timer = { at, cancel }
  }

  /** From now on `tell` hears of limits somebody has waited for longer than so many milliseconds. */
  watch(threshold: number, tell: (counter: Counter, slot: Slot) => void): void {
    this.saturation = new Saturation(this, threshold, tell)
  }

  /** The pace changed. */
  touchPace(pace: Pace): void {
    pace.timer?.cancel()
    for (const counter of pace.counters) this.touch(counter)
  }

  /** Runs `f` after so many milliseconds, if somebody still waits then; when nobody does, a timer would only keep the process alive. */
  at(millis: number, slot: Slot, f: () => void, cancelled: () => void): () => void {
    const stop = this.onTime(millis, slot, () => {
      this.timers.delete(cancel)
      f()
    })
    const cancel = () => {
      this.timers.delete(cancel)
      stop()
      cancelled()
    }
    this.timers.add(cancel)
    return cancel
  }
  private readonly timers = new Set<() => void>()

  /** Runs `f` after so many milliseconds on the slot's clock, and returns how not to; set by the module that knows effects. */
  onTime: (millis: number, slot: Slot, f: () => void) => () => void = () => () => {}
}

const tagsOf = (needs: Needs): number => {
  let tags = 0
  for (const counter of needs.counters) if (counter.kind !== "pool" && counter.kind !== "tree") tags++
  return tags
}

const sameNeeds = (a: Needs, b: Needs): boolean =>
  a === b ||
  (a.counters.length === b.counters.length &&
    a.counters.every((c, i) => c === b.counters[i] && a.weights[i] === b.weights[i]))
