/** A binary heap, whose items can be moved and taken out by the spots they were given. */

export interface Spot<A> {
  readonly item: A
  at: number
}

export class Heap<A> {
  private readonly spots: Array<Spot<A>> = []
  private readonly before: (a: A, b: A) => boolean
  constructor(before: (a: A, b: A) => boolean) {
    this.before = before
  }

  get first(): A | undefined {
    return this.spots[0]?.item
  }

  get isEmpty(): boolean {
    return this.spots.length === 0
  }

  add(item: A): Spot<A> {
    const spot = { item, at: this.spots.length }
    this.spots.push(spot)
    this.moved(spot)
    return spot
  }

  remove(spot: Spot<A>): void {
    const last = this.spots.pop()!
    if (last === spot) return
    this.put(last, spot.at)
    this.moved(last)
  }

  /** What it is ordered by has changed. */
  moved(spot: Spot<A>): void {
    this.rise(spot)
    this.sink(spot)
  }

  private rise(spot: Spot<A>): void {
    while (spot.at > 0) {
      const above = this.spots[(spot.at - 1) >> 1]!
      if (!this.before(spot.item, above.item)) return
      this.swap(spot, above)
    }
  }

  private sink(spot: Spot<A>): void {
    for (;;) {
      const left = this.spots[2 * spot.at + 1]
      const right = this.spots[2 * spot.at + 2]
      if (left === undefined) return
      const below = right !== undefined && this.before(right.item, left.item) ? right : left
      if (!this.before(below.item, spot.item)) return
      this.swap(below, spot)
    }
  }

  private swap(a: Spot<A>, b: Spot<A>): void {
    const at = a.at
    this.put(a, b.at)
    this.put(b, at)
  }

  private put(spot: Spot<A>, at: number): void {
    spot.at = at
    this.spots[at] = spot
  }
}
