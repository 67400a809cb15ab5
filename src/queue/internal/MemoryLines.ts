/**
 * Who may be claimed next: jobs in lines, lines in piles, and only the head of a line is ever looked at.
 *
 * A line holds what is alike in all that claims look at, so that what is in the way of its head is in the way of all of it. It lies in one place:
 * that of its queue, which is ordered by heads, or, when something was found in its way, in one there, which goes back into the queue's
 * as a whole once there may be room. So what is blocked costs nothing until it may not be. In each place lines lie by kind, which is what filters
 * ask for, so that what they leave out is passed over kind by kind.
 */
import { Heap, type Spot } from "./MemoryHeap.ts"
import { isBefore, type Job } from "./MemoryJob.ts"
import type { ClaimFilter, NewJob } from "./StorePort.ts"

/** Ordered by the job at its head. */
export interface Ordered {
  readonly head: Job
  /** What it lies in, and where in there. */
  pile: Pile | undefined
  spot: Spot<Ordered> | undefined
}

export class Pile implements Ordered {
  private readonly heap = new Heap<Ordered>((a, b) => isBefore(a.head, b.head))
  pile: Pile | undefined = undefined
  spot: Spot<Ordered> | undefined = undefined

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
    item.spot = this.heap.add(item)
    this.changed()
  }

  remove(item: Ordered): void {
    this.heap.remove(item.spot!)
    item.pile = undefined
    item.spot = undefined
    if (!this.isEmpty) return this.changed()
    this.pile?.remove(this)
    this.emptied()
  }

  private changed(): void {
    if (this.pile === undefined) return
    this.pile.heap.moved(this.spot!)
    this.pile.changed()
  }

  protected emptied(): void {}
}

/** The jobs of a queue that are alike in name, priority, tags, weight and key. */
export class Line extends Pile {
  readonly of: NewJob
  readonly kind: string
  private readonly dropped: () => void
  constructor(of: NewJob, dropped: () => void) {
    super()
    this.of = of
    this.kind = JSON.stringify([of.name, of.priority, of.tags])
    this.dropped = dropped
  }

  protected override emptied(): void {
    this.dropped()
  }
}

/** Of the lines in one place, those alike in name, priority and tags. */
export class Kind extends Pile {
  readonly of: NewJob
  readonly in: Place
  private readonly dropped: () => void
  constructor(of: NewJob, place: Place, dropped: () => void) {
    super()
    this.of = of
    this.in = place
    this.dropped = dropped
  }

  protected override emptied(): void {
    this.dropped()
  }
}

export class Place extends Pile {
  private readonly kinds = new Map<string, Kind>()

  put(line: Line): void {
    let kind = this.kinds.get(line.kind)
    if (kind === undefined) {
      kind = new Kind(line.of, this, () => {
        this.kinds.delete(line.kind)
        if (this.kinds.size === 0) this.left()
      })
      this.kinds.set(line.kind, kind)
    }
    kind.add(line)
    if (kind.pile === undefined) this.putBack(kind)
  }

  /** It was passed over. */
  putBack(kind: Kind): void {
    this.add(kind)
  }

  /** The last line has left, those included that were passed over. */
  protected left(): void {}
}

/** The lines of a queue that lack room for the same weight at the same limit. Among the queue's own while there may be some. */
export class Parking extends Place {
  private readonly ready: Place
  private readonly dropped: () => void
  private awake = false
  /** When the rates of its limit have what it asks for, and that alone was in the way. */
  wakesAt: number | undefined = undefined
  timer: Spot<Parking> | undefined = undefined
  constructor(ready: Place, dropped: () => void) {
    super()
    this.ready = ready
    this.dropped = dropped
  }

  /** There may be room. False: that was known. */
  wake(): boolean {
    if (this.awake) return false
    this.awake = true
    this.ready.add(this)
    return true
  }

  /** There is none for the weight: for none of its lines. */
  sleep(): void {
    this.awake = false
    this.pile?.remove(this)
  }

  override putBack(kind: Kind): void {
    super.putBack(kind)
    if (this.awake && this.pile === undefined) this.ready.add(this)
  }

  protected override left(): void {
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
