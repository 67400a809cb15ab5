/**
 * What becomes of the limits, told as it happens: who came to hold a tag and who let go of it, who had to wait and who was denied, and what a
 * limit became.
 *
 * Nothing is derived from what the admission did: after each change the slot is looked at, and what differs from what was told is told. So the
 * holders told of are the holders that `Concurrency.read` lists, however they came and went.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { AdmissionReason, ConcurrencyEvent } from "../Concurrency.ts"
import type { Admission } from "./ConcurrencyAdmission.ts"
import type { TagTable } from "./ConcurrencyDemand.ts"
import { limitName, toLimit, weightHeld } from "./ConcurrencyHolders.ts"
import { type Slot, toMillis } from "./ConcurrencyLine.ts"

/** Told of each fact, at once and in order. */
export type Listener = (event: ConcurrencyEvent) => void

/**
 * Who listens, from the edge inwards (default: nobody). `Metrics` adds itself by Layer; every `Concurrency` built below tells them of the limits
 * it is made with, and of all that follows. Not the place to change limits: that takes a fiber of its own.
 */
export const Listeners: Context.Reference<ReadonlyArray<Listener>> = Context.Reference<ReadonlyArray<Listener>>(
  "tasklayer/Concurrency/Listeners",
  { defaultValue: () => [] }
)

interface Taken {
  readonly weight: number
  readonly since: number
}

/** The facts of one `Concurrency`. `admission.facts` is set while somebody listens, which is all that it costs otherwise. */
export class Facts {
  /** As was told: who holds what, and the limits in force. */
  private readonly held = new Map<Slot, Map<string, Taken>>()
  private readonly limits = new Map<string, number>()
  /** The shared limits, then those that schedulers keep for themselves. */
  private readonly tables: Set<TagTable>
  private readonly outer: ReadonlyArray<Listener>
  private readonly inner = new Set<Listener>()
  private readonly admission: Admission
  private readonly shared: TagTable
  private readonly clock: Clock.Clock
  constructor(admission: Admission, shared: TagTable, context: Context.Context<never>) {
    this.admission = admission
    this.shared = shared
    this.tables = new Set([shared])
    this.clock = Context.get(context, Clock.Clock)
    this.outer = Context.get(context, Listeners)
    this.watch(shared)
    if (this.outer.length > 0) {
      admission.facts = this
      for (const tag of shared.counters.keys()) this.limitChanged(tag, false)
    }
  }

  // ─── listening

  /** Tells the listener of the limits in force and of their holders, then of each fact. Returns how to stop. */
  listen(listener: Listener): () => void {
    const stop = this.add(listener)
    for (const [tag, limit] of this.limits) this.publish([listener], this.created(tag, limit))
    for (const [slot, tags] of this.held) {
      for (const [tag, taken] of tags) this.publish([listener], this.came(slot, tag, taken))
    }
    return stop
  }

  private add(listener: Listener): () => void {
    if (this.admission.facts === undefined) {
      for (const tag of this.tags()) this.limits.set(tag, this.limitOf(tag)!)
      for (const slot of this.admission.holders) this.look(slot, false)
      this.admission.facts = this
    }
    this.inner.add(listener)
    return () => {
      this.inner.delete(listener)
      if (this.outer.length > 0 || this.inner.size > 0) return
      this.admission.facts = undefined
      this.held.clear()
      this.limits.clear()
    }
  }

  /** From the subscription on; a slow reader misses none. */
  readonly stream: Stream.Stream<ConcurrencyEvent> = Stream.unwrap(Effect.gen({ self: this }, function*() {
    const queue = yield* Queue.unbounded<ConcurrencyEvent>()
    yield* Effect.acquireRelease(
      Effect.sync(() => this.add((event) => void Queue.offerUnsafe(queue, event))),
      (stop) => Effect.sync(stop)
    )
    return Stream.fromQueue(queue)
  }))

  emit(event: ConcurrencyEvent): void {
    if (this.admission.facts === undefined) return
    Object.freeze(event)
    // Nobody's code runs inside the loops of the admission.
    if (this.admission.busy) this.admission.later(() => this.tell(event))
    else this.tell(event)
  }

  private tell(event: ConcurrencyEvent): void {
    this.publish(this.outer, event)
    if (this.inner.size > 0) this.publish([...this.inner], event)
  }

  private publish(listeners: ReadonlyArray<Listener>, event: ConcurrencyEvent): void {
    for (const listener of listeners) {
      try {
        listener(event)
      } catch (error) {
        // A throwing listener is a bug worth one line, not a line an event.
        if (++reported <= 3) globalThis.console.error("tasklayer: a Concurrency listener threw", error)
      }
    }
  }

  // ─── holders

  /** Something that this slot holds may have changed. */
  look(slot: Slot, tells = true): void {
    let had = this.held.get(slot)
    if (had !== undefined) {
      for (const [tag, taken] of had) {
        if (this.weightOf(slot, tag) > 0) continue
        this.forget(slot, tag, had)
        this.emit(this.left("Released", slot, tag, taken))
      }
    }
    const { needs } = slot
    if (needs === undefined) return
    for (let i = 0; i < needs.counters.length; i++) {
      const { kind, name } = needs.counters[i]!
      if ((kind !== "tag" && kind !== "share") || had?.has(name) === true) continue
      const weight = this.weightOf(slot, name)
      if (weight === 0) continue
      const taken = { weight, since: tells ? slot.clock.currentTimeMillisUnsafe() : toMillis(slot.since) }
      had ??= new Map()
      had.set(name, taken)
      this.held.set(slot, had)
      if (tells) this.emit(this.came(slot, name, taken))
    }
  }

  /** What many slots hold may have changed. */
  lookAll(): void {
    for (const slot of [...this.held.keys()]) this.look(slot)
    for (const slot of this.admission.holders) this.look(slot)
  }

  /** An operator took it. */
  revoked(slot: Slot, tag: string): void {
    const had = this.held.get(slot)
    const taken = had?.get(tag)
    if (had === undefined || taken === undefined) return
    this.forget(slot, tag, had)
    this.emit(this.left("Revoked", slot, tag, taken))
    this.look(slot)
  }

  private forget(slot: Slot, tag: string, had: Map<string, Taken>): void {
    had.delete(tag)
    if (had.size === 0) this.held.delete(slot)
  }

  /** Under a limit in force; what is taken of a share is covered by whose share it is. */
  private weightOf(slot: Slot, tag: string): number {
    for (const table of this.tables) {
      const counter = table.counters.get(tag)
      const weight = counter === undefined ? 0 : weightHeld(slot, counter)
      if (weight > 0) return weight
    }
    return 0
  }

  private came(slot: Slot, tag: string, { since, weight }: Taken): ConcurrencyEvent {
    return { _tag: "Acquired", at: this.at(since), tag, holder: slot.id, name: slot.name, weight }
  }

  private left(_tag: "Released" | "Revoked", slot: Slot, tag: string, { since, weight }: Taken): ConcurrencyEvent {
    const now = slot.clock.currentTimeMillisUnsafe()
    return { _tag, at: this.at(now), tag, holder: slot.id, name: slot.name, weight, held: Duration.millis(now - since) }
  }

  // ─── those that do not hold it

  /** It is in line now. Of the tags it asks for, those without room are told. */
  waited(slot: Slot, tags: ReadonlyArray<string>): void {
    const { line } = slot
    if (line === undefined) return
    const full = line.needs.counters
      .filter((counter, i) => this.admission.blocks(counter, i, line, slot))
      .map(limitName)
    for (const tag of tags) if (full.includes(tag)) this.emit({ _tag: "Waited", ...this.asker(slot, tag) })
  }

  denied(slot: Slot, tags: ReadonlyArray<string>, reason: AdmissionReason): void {
    const named = this.deniedBy(slot, reason)
    for (const tag of tags) if (named.includes(tag)) this.emit({ _tag: "Denied", ...this.asker(slot, tag), reason })
  }

  private deniedBy(slot: Slot, reason: AdmissionReason): ReadonlyArray<string> {
    if ("limits" in reason) return reason.limits
    if ("limit" in reason) return [reason.limit]
    const asked = reason._tag === "Timeout" || reason._tag === "Deadlock" ? slot.needs : undefined
    return asked === undefined ? [] : this.admission.lacking(asked, slot).map(limitName)
  }

  private asker(slot: Slot, tag: string) {
    return { at: this.at(slot.clock.currentTimeMillisUnsafe()), tag, holder: slot.id, name: slot.name }
  }

  // ─── limits

  /** A scheduler keeps limits of its own. */
  include(table: TagTable): void {
    this.tables.add(table)
    this.watch(table)
    if (this.admission.facts !== undefined) { for (const tag of table.counters.keys()) this.limitChanged(tag, false) }
  }

  /** It is gone, and its limits with it. */
  exclude(table: TagTable): void {
    if (!this.tables.delete(table) || this.admission.facts === undefined) return
    for (const tag of table.counters.keys()) this.limitChanged(tag, false)
    this.lookAll()
  }

  close(): void {
    for (const table of [...this.tables]) this.exclude(table)
  }

  private watch(table: TagTable): void {
    table.onChange = (tag, replaced) => this.admission.facts?.limitChanged(tag, replaced)
  }

  /** It may be another than was told. `replaced`: with nobody in it. */
  limitChanged(tag: string, replaced: boolean): void {
    const before = this.limits.get(tag)
    const limit = this.limitOf(tag)
    if (limit === undefined) this.limits.delete(tag)
    else this.limits.set(tag, limit)
    if (replaced) this.lookAll()
    if (limit === before) return
    if (before === undefined) return this.emit(this.created(tag, limit!))
    const was = { at: this.now(), tag, before: toLimit(before) }
    this.emit(limit === undefined ? { _tag: "Removed", ...was } : { _tag: "Resized", ...was, limit: toLimit(limit) })
  }

  private created(tag: string, limit: number): ConcurrencyEvent {
    return { _tag: "Created", at: this.now(), tag, limit: toLimit(limit) }
  }

  /** The shared limit where there is one; what several schedulers keep for themselves adds up. */
  private limitOf(tag: string): number | undefined {
    const shared = this.tables.has(this.shared) ? this.shared.counters.get(tag) : undefined
    if (shared !== undefined) return shared.limit
    let sum: number | undefined
    for (const table of this.tables) {
      const own = table.counters.get(tag)
      if (own !== undefined) sum = (sum ?? 0) + own.limit
    }
    return sum
  }

  private tags(): Set<string> {
    return new Set([...this.tables].flatMap((table) => [...table.counters.keys()]))
  }

  private now(): DateTime.Utc {
    return this.at(this.clock.currentTimeMillisUnsafe())
  }

  // Facts of one millisecond share its time.
  private at(millis: number): DateTime.Utc {
    return millis === this.lastMillis
      ? this.lastAt
      : (this.lastMillis = millis, this.lastAt = DateTime.makeUnsafe(millis))
  }
  private lastMillis = 0
  private lastAt = DateTime.makeUnsafe(0)
}

let reported = 0
