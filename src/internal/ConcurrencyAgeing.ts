/** Runs that wait long enough rank one level higher, and again: with it, nothing starves. */
import type { Admission } from "./ConcurrencyAdmission.ts"
import { type Slot, Waiting } from "./ConcurrencyLine.ts"

interface Entry {
  readonly slot: Slot
  readonly at: number
}

/** Those that wait for the same time, in the order they began to. */
interface Queue {
  readonly entries: Array<Entry>
  head: number
  timed: boolean
}

const levels = [20, 10, 0]

export class Ageing {
  /** By how long it takes. */
  private readonly queues = new Map<number, Queue>()
  private readonly admission: Admission
  constructor(admission: Admission) {
    this.admission = admission
  }

  wait(slot: Slot, millis: number): void {
    if (slot.priority <= 0) return
    let queue = this.queues.get(millis)
    if (queue === undefined) this.queues.set(millis, queue = { entries: [], head: 0, timed: false })
    const entry = { slot, at: slot.clock.currentTimeMillisUnsafe() + millis }
    slot.aged = entry
    queue.entries.push(entry)
    this.arm(queue, millis)
  }

  private arm(queue: Queue, millis: number): void {
    if (queue.timed) return
    const { entries } = queue
    // Those that have left by now need no timer.
    while (queue.head < entries.length && !isWaiting(entries[queue.head]!)) queue.head++
    if (queue.head > 1024 && queue.head * 2 > entries.length) {
      entries.splice(0, queue.head)
      queue.head = 0
    }
    const first = entries[queue.head]
    if (first === undefined) return void this.queues.delete(millis)
    queue.timed = true
    const { clock } = first.slot
    const cancelled = () => void this.queues.delete(millis)
    this.admission.at(Math.max(0, first.at - clock.currentTimeMillisUnsafe()), first.slot, () => {
      queue.timed = false
      this.raise(queue, clock.currentTimeMillisUnsafe())
      this.arm(queue, millis)
      this.admission.drain()
    }, cancelled)
  }

  private raise(queue: Queue, now: number): void {
    const { entries } = queue
    while (queue.head < entries.length && entries[queue.head]!.at <= now) {
      const entry = entries[queue.head++]!
      if (!isWaiting(entry)) continue
      const { slot } = entry
      // Its class stays: what is reserved for others is not opened by waiting.
      slot.grade ??= slot.priority
      slot.priority = levels.find((level) => level < slot.priority)!
      const needs = slot.resolve()
      if ("_tag" in needs) continue
      slot.needs = needs
      this.admission.move(slot, slot.lineFor(needs))
    }
  }
}

/** It has been waiting all the while. */
const isWaiting = (entry: Entry): boolean =>
  entry.slot.aged === entry && entry.slot.phase === Waiting && entry.slot.line !== undefined
