/** What a queue worker has accepted and not begun, and the offers that wait for room. */
import type * as Order from "effect/Order"

/** An item, and (of an offer that waits for room) how to tell that it was taken in, or that it is refused. */
interface Entry<A> {
  readonly item: A
  /** Ties are first come, first served. */
  readonly seq: number
  readonly settle: ((accepted: boolean) => void) | undefined
  before: Entry<A> | undefined
  after: Entry<A> | undefined
  index: number
}

/** Entries in the order they are to leave. */
interface Line<A> {
  readonly size: number
  readonly first: Entry<A> | undefined
  readonly push: (entry: Entry<A>) => void
  readonly remove: (entry: Entry<A>) => void
}

/** At most `capacity` items, and offers that wait only as long as there is no room or `admit` is still to be called. */
export class WorkerQueue<A> {
  private readonly items: Line<A>
  private readonly offers: Line<A>
  private seq = 0
  /** There is an item more. */
  onItem: () => void = () => {}
  readonly capacity: number
  constructor(capacity: number, order: Order.Order<A> | undefined) {
    this.capacity = capacity
    this.items = order === undefined ? new Arrival() : new Heap(order)
    this.offers = order === undefined ? new Arrival() : new Heap(order)
  }

  get size(): number {
    return this.items.size
  }

  /** For whoever comes now: those who wait go first. */
  get hasRoom(): boolean {
    return this.items.size < this.capacity && !this.isCrowded
  }

  /** Offers wait for room. */
  get isCrowded(): boolean {
    return this.offers.size > 0
  }

  /** Takes the item in, whether there is room or not. */
  push(item: A): void {
    this.items.push(this.entry(item, undefined))
    this.onItem()
  }

  /** Waits for room; `settle` is called once, unless the offer is withdrawn by what this returns. */
  wait(item: A, settle: (accepted: boolean) => void): () => void {
    const entry = this.entry(item, settle)
    this.offers.push(entry)
    return () => this.offers.remove(entry)
  }

  /** The next item. There must be one. Those who wait are let in by `admit`. */
  take(): A {
    const entry = this.items.first!
    this.items.remove(entry)
    return entry.item
  }

  /** All items, in order. Those who wait are let in by `admit`. */
  takeAll(): Array<A> {
    const all: Array<A> = []
    for (let entry = this.items.first; entry !== undefined; entry = this.items.first) {
      this.items.remove(entry)
      all.push(entry.item)
    }
    return all
  }

  /** Refuses the offers that wait. */
  refuse(): void {
    for (let offer = this.offers.first; offer !== undefined; offer = this.offers.first) {
      this.offers.remove(offer)
      offer.settle!(false)
    }
  }

  /** Lets offers in while there is room, and tells them, at once. */
  admit(): void {
    for (
      let offer = this.offers.first;
      offer !== undefined && this.items.size < this.capacity;
      offer = this.offers.first
    ) {
      this.offers.remove(offer)
      this.items.push(offer)
      this.onItem()
      offer.settle!(true)
    }
  }

  private entry(item: A, settle: Entry<A>["settle"]): Entry<A> {
    return { item, seq: ++this.seq, settle, before: undefined, after: undefined, index: -1 }
  }
}

/** First come, first served. */
class Arrival<A> implements Line<A> {
  size = 0
  first: Entry<A> | undefined = undefined
  private last: Entry<A> | undefined = undefined

  push(entry: Entry<A>): void {
    this.size++
    entry.before = this.last
    if (this.last === undefined) this.first = entry
    else this.last.after = entry
    this.last = entry
  }

  remove(entry: Entry<A>): void {
    this.size--
    if (entry.before === undefined) this.first = entry.after
    else entry.before.after = entry.after
    if (entry.after === undefined) this.last = entry.before
    else entry.after.before = entry.before
    entry.before = entry.after = undefined
  }
}

/** Best first. Entries are only ever swapped, so that an `order` that throws loses none. */
class Heap<A> implements Line<A> {
  private readonly entries: Array<Entry<A>> = []
  private readonly order: Order.Order<A>
  constructor(order: Order.Order<A>) {
    this.order = order
  }

  get size(): number {
    return this.entries.length
  }

  get first(): Entry<A> | undefined {
    return this.entries[0]
  }

  push(entry: Entry<A>): void {
    entry.index = this.entries.length
    this.entries.push(entry)
    this.up(entry.index)
  }

  remove(entry: Entry<A>): void {
    const { index } = entry
    const last = this.entries.length - 1
    this.swap(index, last)
    this.entries.pop()
    entry.index = -1
    if (index < last) this.up(this.down(index))
  }

  private up(index: number): void {
    while (index > 0) {
      const above = (index - 1) >> 1
      if (!this.goesBefore(index, above)) return
      this.swap(index, above)
      index = above
    }
  }

  private down(index: number): number {
    for (;;) {
      let below = 2 * index + 1
      if (below >= this.entries.length) return index
      if (below + 1 < this.entries.length && this.goesBefore(below + 1, below)) below++
      if (!this.goesBefore(below, index)) return index
      this.swap(index, below)
      index = below
    }
  }

  private goesBefore(a: number, b: number): boolean {
    const x = this.entries[a]!
    const y = this.entries[b]!
    const order = this.order(x.item, y.item)
    return order === 0 ? x.seq < y.seq : order < 0
  }

  private swap(a: number, b: number): void {
    const x = this.entries[a]!
    const y = this.entries[b]!
    this.entries[a] = y
    this.entries[b] = x
    y.index = a
    x.index = b
  }
}
