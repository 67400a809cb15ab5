/** A binary heap, whose items can be moved and taken out by the places they were given. */

export interface Place<A> {
  readonly item: A
  at: number
}

export class Heap<A> {
  private readonly places: Array<Place<A>> = []
  private readonly before: (a: A, b: A) => boolean
  constructor(before: (a: A, b: A) => boolean) {
    this.before = before
  }

  get first(): A | undefined {
    return this.places[0]?.item
  }

  get isEmpty(): boolean {
    return this.places.length === 0
  }

  add(item: A): Place<A> {
    const place = { item, at: this.places.length }
    this.places.push(place)
    this.moved(place)
    return place
  }

  remove(place: Place<A>): void {
    const last = this.places.pop()!
    if (last === place) return
    this.put(last, place.at)
    this.moved(last)
  }

  /** What it is ordered by has changed. */
  moved(place: Place<A>): void {
    this.rise(place)
    this.sink(place)
  }

  private rise(place: Place<A>): void {
    while (place.at > 0) {
      const above = this.places[(place.at - 1) >> 1]!
      if (!this.before(place.item, above.item)) return
      this.swap(place, above)
    }
  }

  private sink(place: Place<A>): void {
    for (;;) {
      const left = this.places[2 * place.at + 1]
      const right = this.places[2 * place.at + 2]
      if (left === undefined) return
      const below = right !== undefined && this.before(right.item, left.item) ? right : left
      if (!this.before(below.item, place.item)) return
      this.swap(below, place)
    }
  }

  private swap(a: Place<A>, b: Place<A>): void {
    const at = a.at
    this.put(a, b.at)
    this.put(b, at)
  }

  private put(place: Place<A>, at: number): void {
    place.at = at
    this.places[at] = place
  }
}
