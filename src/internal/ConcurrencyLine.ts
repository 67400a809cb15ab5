/**
 * Who waits for what, as data. A `Counter` is one limit and what is taken of it, a `Slot` one piece of work that asks, holds, lends and returns,
 * a `Line` the slots that ask for the same, and only the head of a line is ever looked at.
 */
import type * as Clock from "effect/Clock"
import type { AdmissionReason } from "../Concurrency.ts"
import type { Pace } from "./ConcurrencyPace.ts"

export type CounterKind = "pool" | "class" | "tag" | "task" | "key" | "share" | "tree"

/** One limit, the weight taken of it, and the lines that were found to lack room in it. */
export class Counter {
  active = 0
  waiting = 0
  /** Lines parked here: the first of its heaps, one a weight. */
  heap: LineHeap | undefined = undefined
  parked = 0
  dirty = false
  removed = false
  /** Where a dissolved share's takings count now. */
  forward: Counter | undefined = undefined
  /** Lines passed over here while there was some room (law 5's bound on overtaking). */
  contenders: Array<Line> | undefined = undefined
  /** Slots that keep this limit taken while they wait for something. */
  heldBy: Set<Slot> | undefined = undefined
  /** How often, beside how much at once. */
  pace: Pace | undefined = undefined
  /** Forgotten when idle: the slots that have it, or lent it and take it back, are counted, and its key is told when none is left. */
  tracked = false
  live = 0
  key: { readonly idle: () => void } | undefined = undefined
  /** That it alone is waited for, said once. */
  reasons: ReadonlyArray<{ readonly _tag: "Limit"; readonly limit: string }> | undefined = undefined
  readonly kind: CounterKind
  readonly name: string
  limit: number
  hold: boolean
  constructor(kind: CounterKind, name: string, limit: number, hold: boolean) {
    this.kind = kind
    this.name = name
    this.limit = limit
    this.hold = hold
  }
  /** What a demand of `weight` takes: a pool never asks for more than all of it. */
  take(weight: number): number {
    return this.kind === "pool" && weight > this.limit ? this.limit : weight
  }
}

/** Follows dissolved shares to the counter that counts today. */
export const current = (counter: Counter): Counter => {
  while (counter.forward !== undefined) counter = counter.forward
  return counter
}

/** What is asked for: `weights[i]` of `counters[i]`, all or nothing. */
export interface Needs {
  readonly counters: ReadonlyArray<Counter>
  readonly weights: ReadonlyArray<number>
  /** Some counter stays taken while its holder waits. */
  readonly holds: boolean
}

/** A fairness key: the virtual time up to which it was served. */
export interface Key {
  readonly name: string | undefined
  virtual: number
  waiting: number
}

/**
 * Times are kept in milliseconds since this was loaded: small integers, which a million waiting slots hold without a box each. `NEVER` is before
 * all of them.
 */
const LOADED = Date.now()
export const NEVER = -0x40000000
export const since = (clock: Clock.Clock): number => {
  const millis = clock.currentTimeMillisUnsafe() - LOADED
  // A difference of doubles is kept in a box until it is made an integer again; a clock that was moved far is kept as it is.
  const small = millis | 0
  return small === millis ? small : millis
}
export const toMillis = (time: number): number => time + LOADED

/** Where a slot is in its life. `Pending` waits for runs or a time, outside every line. */
export const Pending = 0
export const Waiting = 1
export const Held = 2
export const Away = 3
export const Retaking = 4
export const Returned = 5
export type Phase = 0 | 1 | 2 | 3 | 4 | 5

/** The permission to run, granted whole, returned at the end; in between it may be lent while its holder waits. */
export abstract class Slot {
  phase: Phase = Pending
  /** Age: the order of submission. */
  seq = 0
  priority = 20
  needs: Needs | undefined = undefined
  line: Line | undefined = undefined
  prev: Slot | undefined = undefined
  next: Slot | undefined = undefined
  heapIndex = -1
  /** How many waits of other slots this one's end would help. */
  awaited = 0
  protected rare: RareSlot | undefined = undefined
  /** Since when it has what it holds. */
  since = NEVER

  /** A `withSlot` region: all it has stays taken until it ends. */
  get region(): boolean {
    return false
  }

  /** Told, inside the core's loops, when it was taken with others that came back. */
  tookBack(): void {}

  /** Told when it was lent because its holder waits. */
  suspended(): void {}

  /** Told of waits of other slots for its end: so many more. */
  expected(_more: number): void {}

  /** Told when it was taken back after a wait. */
  resumed(): void {}

  /** The `Admission` it is under. */
  abstract readonly admission: object
  abstract readonly id: string
  abstract readonly name: string
  /** The age of the root and the depth below it make trees run depth-first. */
  abstract readonly rootSeq: number
  abstract readonly depth: number
  abstract readonly clock: Clock.Clock
  /** The nearest slot around this one: the parent run's, or a `withSlot` region. */
  abstract readonly enclosing: Slot | undefined

  // What few slots have is kept apart: a waiting run is held by the million.
  protected makeRare(): RareSlot {
    return this.rare = new RareSlot()
  }
  /** The waits of its fibers. */
  get waits(): Array<Wait> | undefined {
    return this.rare === undefined ? undefined : this.rare.waits
  }
  set waits(value: Array<Wait> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).waits = value
  }
  /** Interrupted while its slot was away: it ends without taking it back. */
  get uncounted(): boolean {
    return this.rare !== undefined && this.rare.uncounted
  }
  set uncounted(value: boolean) {
    if (value || this.rare !== undefined) (this.rare ?? this.makeRare()).uncounted = value
  }
  /** What it really took of its pool, if not its weight: above the limit it takes all of it. */
  get poolTaken(): number | undefined {
    return this.rare === undefined ? undefined : this.rare.poolTaken
  }
  set poolTaken(value: number | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).poolTaken = value
  }
  /** How often its line had been overtaken when it came. */
  get overtakenBefore(): number {
    return this.rare === undefined ? 0 : this.rare.overtakenBefore
  }
  set overtakenBefore(value: number) {
    if (value !== 0 || this.rare !== undefined) (this.rare ?? this.makeRare()).overtakenBefore = value
  }
  /** The wait that ends when this slot is taken back. */
  get retaker(): Wait | undefined {
    return this.rare === undefined ? undefined : this.rare.retaker
  }
  set retaker(value: Wait | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).retaker = value
  }
  /** The slots taken back with it. */
  get together(): Array<Slot> | undefined {
    return this.rare === undefined ? undefined : this.rare.together
  }
  set together(value: Array<Slot> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).together = value
  }
  /** Held limits as seen by descendants. */
  get shares(): Map<Counter, Counter> | undefined {
    return this.rare === undefined ? undefined : this.rare.shares
  }
  set shares(value: Map<Counter, Counter> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).shares = value
  }
  /** Limits it holds on to for a `withSlot` inside it, with how many ask so. */
  get pins(): Map<Counter, number> | undefined {
    return this.rare === undefined ? undefined : this.rare.pins
  }
  set pins(value: Map<Counter, number> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).pins = value
  }
  /** What it waits for until it ranks higher. */
  get aged(): object | undefined {
    return this.rare === undefined ? undefined : this.rare.aged
  }
  set aged(value: object | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).aged = value
  }
  /** Limits an operator took from it, for good. */
  get revoked(): Array<Counter> | undefined {
    return this.rare === undefined ? undefined : this.rare.revoked
  }
  set revoked(value: Array<Counter> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).revoked = value
  }
  /** The priority it was given, where it has risen since. */
  get grade(): number | undefined {
    return this.rare === undefined ? undefined : this.rare.grade
  }
  set grade(value: number | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).grade = value
  }
  /** Limits it did not take back, because they closed or went away meanwhile. */
  get skips(): Array<Counter> | undefined {
    return this.rare === undefined ? undefined : this.rare.skips
  }
  set skips(value: Array<Counter> | undefined) {
    if (value !== undefined || this.rare !== undefined) (this.rare ?? this.makeRare()).skips = value
  }
  /** Ends its work, for others to take its place. */
  abstract interruptUnsafe(by?: number): void
  /** Granted for the first time, or for a new attempt. Called outside the core's own loops. */
  abstract start(): void
  /** Will not be granted. */
  abstract refuse(reason: AdmissionReason): void
  /** The demand, asked anew after limits came or went. */
  abstract resolve(): Needs | AdmissionReason
  /** The line of those that ask for `needs` as it does. */
  abstract lineFor(needs: Needs): Line
  /** The run this slot is or is inside of; a `withSlot` region outside every run has none. */
  abstract readonly run: Slot | undefined
}

export class RareSlot {
  waits: Array<Wait> | undefined = undefined
  uncounted = false
  poolTaken: number | undefined = undefined
  overtakenBefore = 0
  retaker: Wait | undefined = undefined
  together: Array<Slot> | undefined = undefined
  shares: Map<Counter, Counter> | undefined = undefined
  pins: Map<Counter, number> | undefined = undefined
  skips: Array<Counter> | undefined = undefined
  aged: object | undefined = undefined
  grade: number | undefined = undefined
  revoked: Array<Counter> | undefined = undefined
}

/** One fiber waiting: for other slots (`targets`), for limits (`acquire`), or for something outside. */
export interface Wait {
  readonly chain: ReadonlyArray<Slot>
  readonly targets: ReadonlyArray<Slot>
  readonly any: boolean
  readonly acquire: Slot | undefined
  proceed: () => void
  /** Ends the wait because a changed limit made it endless. */
  deny?: (cycle: ReadonlyArray<string>) => void
  /** Of a fiber that was interrupted: ends what it waits for, without the slots. */
  forgo?: () => void
}

/** Slots that ask for the same: first come first, but for children, which go before what is younger than their root. */
export class Line {
  first: Slot | undefined = undefined
  size = 0
  head: Slot | undefined = undefined
  tail: Slot | undefined = undefined
  heap: Array<Slot> | undefined = undefined
  at: LineHeap | undefined = undefined
  /** Its neighbours there, or its place in the heap. */
  prev: Line | undefined = undefined
  next: Line | undefined = undefined
  index = -1
  /** Among the lines somebody waits in. */
  place = -1
  virtual = 0
  /** From this counter on it is what the slots taken back together had: a limit lowered meanwhile does not keep them. */
  backFrom = Infinity
  /** Milliseconds after which those that wait rank one level higher. */
  ageing: number | undefined = undefined
  /** How often its head was passed over, and by whom last. */
  overtaken = 0
  overtaker: Slot | undefined = undefined
  contends: Map<Counter, number> | undefined = undefined
  needs: Needs
  readonly resume: boolean
  readonly priority: number
  key: Key
  /** Lines of one slot or of a demand under a hold are thrown away when empty. */
  constructor(needs: Needs, resume: boolean, priority: number, key: Key) {
    this.needs = needs
    this.resume = resume
    this.priority = priority
    this.key = key
  }

  push(slot: Slot): void {
    slot.line = this
    slot.overtakenBefore = this.overtaken
    this.size++
    const tail = this.tail
    if (tail === undefined || olderThan(tail, slot)) {
      slot.prev = tail
      slot.next = undefined
      if (tail === undefined) this.head = slot
      else tail.next = slot
      this.tail = slot
    } else {
      const heap = this.heap ??= []
      slot.heapIndex = heap.length
      heap.push(slot)
      siftUp(heap, slot.heapIndex)
    }
    if (this.first === undefined || olderThan(slot, this.first)) this.first = slot
  }

  remove(slot: Slot): void {
    this.size--
    slot.line = undefined
    if (slot.heapIndex >= 0) {
      const heap = this.heap!
      const last = heap.pop()!
      if (last !== slot) {
        const index = slot.heapIndex
        heap[index] = last
        last.heapIndex = index
        siftDown(heap, index)
        siftUp(heap, last.heapIndex)
      }
      slot.heapIndex = -1
    } else {
      if (slot.prev === undefined) this.head = slot.next
      else slot.prev.next = slot.next
      if (slot.next === undefined) this.tail = slot.prev
      else slot.next.prev = slot.prev
      slot.prev = slot.next = undefined
    }
    if (this.first === slot) {
      const top = this.heap === undefined ? undefined : this.heap[0]
      const head = this.head
      this.first = top === undefined ? head : head === undefined || olderThan(top, head) ? top : head
    }
  }

  slots(): Array<Slot> {
    const all: Array<Slot> = this.heap === undefined ? [] : this.heap.slice()
    for (let slot = this.head; slot !== undefined; slot = slot.next) all.push(slot)
    return all
  }
}

/** Age of the root, then depth (deeper first), then age. */
const olderThan = (a: Slot, b: Slot): boolean =>
  a.rootSeq !== b.rootSeq ? a.rootSeq < b.rootSeq : a.depth !== b.depth ? a.depth > b.depth : a.seq < b.seq

const siftUp = (heap: Array<Slot>, index: number): void => {
  const slot = heap[index]!
  while (index > 0) {
    const up = (index - 1) >> 1
    if (!olderThan(slot, heap[up]!)) break
    heap[index] = heap[up]!
    heap[index]!.heapIndex = index
    index = up
  }
  heap[index] = slot
  slot.heapIndex = index
}

const siftDown = (heap: Array<Slot>, index: number): void => {
  const slot = heap[index]!
  for (;;) {
    let down = 2 * index + 1
    if (down >= heap.length) break
    if (down + 1 < heap.length && olderThan(heap[down + 1]!, heap[down]!)) down++
    if (!olderThan(heap[down]!, slot)) break
    heap[index] = heap[down]!
    heap[index]!.heapIndex = index
    index = down
  }
  heap[index] = slot
  slot.heapIndex = index
}

/** Law 5: slots taken back, priority, fairness between keys, age of the root, depth, age. */
export const before = (a: Line, x: Slot, b: Line, y: Slot): boolean =>
  a.resume !== b.resume
    ? a.resume
    : a.priority !== b.priority
    ? a.priority < b.priority
    : a.virtual !== b.virtual
    ? a.virtual < b.virtual
    : olderThan(x, y)

const lineBefore = (a: Line, b: Line): boolean => before(a, a.first!, b, b.first!)

/**
 * Lines parked at one counter with one weight: a list of those that came in order, which most do, as a key that was served ranks last among its
 * like and so does a new one, and a heap of those that came before the last of these.
 */
export class LineHeap {
  private head: Line | undefined = undefined
  private tail: Line | undefined = undefined
  private readonly heap: Array<Line> = []
  readonly counter: Counter
  readonly weight: number
  /** That of another weight. */
  readonly next: LineHeap | undefined
  constructor(counter: Counter, weight: number) {
    this.counter = counter
    this.weight = weight
    this.next = counter.heap
    counter.heap = this
  }
  add(line: Line): void {
    line.at = this
    this.counter.parked++
    this.put(line)
  }
  remove(line: Line): void {
    this.take(line)
    line.at = undefined
    this.counter.parked--
  }
  moved(line: Line): void {
    this.take(line)
    this.put(line)
  }
  /** The best line, after those whose key was served meanwhile have sunk to where they belong. */
  top(): Line | undefined {
    for (;;) {
      const first = this.heap.length === 0 ? undefined : this.heap[0]!
      const head = this.head
      const line = first === undefined ? head : head === undefined || lineBefore(first, head) ? first : head
      if (line === undefined || line.virtual === line.key.virtual) return line
      this.moved(line)
    }
  }
  private put(line: Line): void {
    line.virtual = line.key.virtual
    const tail = this.tail
    if (tail !== undefined && !lineBefore(tail, line)) {
      this.heap.push(line)
      return this.up(line, this.heap.length - 1)
    }
    line.prev = tail
    if (tail === undefined) this.head = line
    else tail.next = line
    this.tail = line
  }
  private take(line: Line): void {
    const { index, next, prev } = line
    if (index >= 0) {
      line.index = -1
      const last = this.heap.pop()!
      if (last === line) return
      this.down(last, index)
      return this.up(last, last.index)
    }
    if (prev === undefined) this.head = next
    else prev.next = next
    if (next === undefined) this.tail = prev
    else next.prev = prev
    line.prev = line.next = undefined
  }
  private up(line: Line, index: number): void {
    const heap = this.heap
    while (index > 0) {
      const up = (index - 1) >> 1
      if (!lineBefore(line, heap[up]!)) break
      heap[index] = heap[up]!
      heap[index]!.index = index
      index = up
    }
    heap[index] = line
    line.index = index
  }
  private down(line: Line, index: number): void {
    const heap = this.heap
    for (;;) {
      let down = 2 * index + 1
      if (down >= heap.length) break
      if (down + 1 < heap.length && lineBefore(heap[down + 1]!, heap[down]!)) down++
      if (!lineBefore(heap[down]!, line)) break
      heap[index] = heap[down]!
      heap[index]!.index = index
      index = down
    }
    heap[index] = line
    line.index = index
  }
}

/** What it took of a counter it asked `weight` of. */
export const takenOf = (slot: Slot, counter: Counter, weight: number): number =>
  counter.kind === "pool" ? slot.poolTaken ?? weight : weight

/** It was not taken back: it closed, went away or was lowered meanwhile. */
export const skipped = (slot: Slot, counter: Counter): boolean =>
  slot.skips !== undefined && slot.skips.includes(counter)
