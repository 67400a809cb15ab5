/**
 * Who may be claimed next: jobs in lines, lines in piles, and only the head of a line is ever looked at.
 *
 * A line holds what is alike in all that claims look at, so that what is in the way of its head is in the way of all of it. It lies in one pile:
 * that of its queue, which is ordered by heads, or, when something was found in its way, in one there, which goes back into the queue's
 * as a whole once there may be room. So what is blocked costs nothing until it may not be.
 */
import { Heap, type Place } from "./MemoryHeap.ts"
import { isBefore, type Job } from "./MemoryJob.ts"
import type { Counter } from "./MemoryLimits.ts"
import type { ClaimFilter, NewJob } from "./StorePort.ts"

/** Ordered by the job at its head. */
export interface Ordered {
  readonly head: Job
  pile: Pile | undefined
  place: Place<Ordered> | undefined
}

export class Pile implements Ordered {
  private readonly heap = new Heap<Ordered>((a, b) => isBefore(a.head, b.head))
  pile: Pile | undefined = undefined
  place: Place<Ordered> | undefined = undefined

  get isEmpty(): boolean {
    return this.heap.isEmpty
  }

  get first(): Ordered | undefined {
    return this.heap.first
  }

  /** Of one that is not empty. */
  get head(): Job {
    return this.heap.first!.head
  }

  add(item: Ordered): void {
    item.pile = this
    item.place = this.heap.add(item)
    this.changed()
  }

  remove(item: Ordered): void {
    this.heap.remove(item.place!)
    item.pile = undefined
    item.place = undefined
    if (!this.isEmpty) return this.changed()
    this.pile?.remove(this)
    this.emptied()
  }

  private changed(): void {
    if (this.pile === undefined) return
    this.pile.heap.moved(this.place!)
    this.pile.changed()
  }

  protected emptied(): void {}
}

/** The jobs of a queue that are alike in name, priority, weight, tags and key. */
export class Line extends Pile {
  readonly of: NewJob
  private readonly dropped: () => void
  constructor(of: NewJob, dropped: () => void) {
    super()
    this.of = of
    this.dropped = dropped
  }

  protected override emptied(): void {
    this.dropped()
  }
}

/** The lines of a queue that lack room for the same weight at the same limit. In the queue's pile it is while there may be some. */
export class Parking extends Pile {
  readonly counter: Counter
  readonly ready: Pile
  readonly weight: number
  /** When the rates of its limit have what it asks for, and that alone was in the way. */
  wakesAt: number | undefined = undefined
  timer: Place<Parking> | undefined = undefined
  private readonly dropped: () => void
  constructor(counter: Counter, ready: Pile, weight: number, dropped: () => void) {
    super()
    this.counter = counter
    this.ready = ready
    this.weight = weight
    this.dropped = dropped
  }

  protected override emptied(): void {
    this.dropped()
  }
}

export const lineOf = ({ key, name, priority, tags, weight }: NewJob): string =>
  JSON.stringify([name, priority, weight, key ?? null, tags])

export const matches = (filter: ClaimFilter, { name, priority, tags }: NewJob): boolean =>
  (filter.names?.includes(name) ?? true) &&
  (filter.tags?.some((tag) => tags.includes(tag)) ?? true) &&
  priority >= (filter.priorities?.from ?? -Infinity) &&
  priority <= (filter.priorities?.to ?? Infinity)
