/** Who is next: the heads of all lines in order, each taken that may run; what is in the way of one keeps no other from it. */
import type { Gates } from "./SqliteGates.ts"
import type { Limits } from "./SqliteLimits.ts"
import {
  type Group,
  isBefore,
  type Line,
  type Lines,
  type Place,
  type Position,
  positionOf,
  READY
} from "./SqliteLines.ts"
import type { Queues } from "./SqliteQueues.ts"
import type { ClaimFilter } from "./StorePort.ts"

export interface Tables {
  readonly lines: Lines
  readonly gates: Gates
  readonly limits: Limits
  readonly queues: Queues
}

/** A turn that found so many lines blocked leaves the rest to the next: they are parked, so that none is looked at twice. */
const BLOCKED_AT_ONCE = 500

/** Takes at most `want`. Returns whether another claim would find more at once. */
export const claim = (tables: Tables, want: number, filter: ClaimFilter, take: (seq: number) => void): boolean => {
  const { gates, limits, lines, queues } = tables
  const { to = Infinity } = filter.priorities ?? {}
  lines.flush()
  const opened = gates.opened.map((id): Gate => ({ id, isShut: false }))
  const hand = new Hand()
  for (const source of sourcesOf(tables, [{ id: READY, isShut: false }, ...opened], filter)) {
    hand.add(source.next(), source)
  }
  let taken = 0
  let blocked = 0
  let hasMore = false
  for (let next = hand.take(); next !== undefined && !hasMore; next = hand.take()) {
    const { line, source } = next
    // And so is all of its source that comes after.
    if (source?.gate.isShut === true || line.priority > to) continue
    hand.add(source?.next(), source)
    const queue = queues.get(line.queue)
    const places = next.places ?? new Places(lines, line, want - taken)
    for (;;) {
      const obstacle = limits.obstacle(line, queue)
      if (obstacle !== undefined) {
        lines.park(line, obstacle)
        // Whoever else is behind it asks for as much.
        if (source !== undefined && line.gate === source.gate.id) source.gate.isShut = true
        hasMore = ++blocked === BLOCKED_AT_ONCE
        break
      }
      if (taken === want) {
        hasMore = true
        break
      }
      const { rank, seq } = line.head!
      take(seq)
      taken++
      limits.take(line, queue, seq)
      queues.claimed(queue, rank)
      lines.moveTo(line, places.next())
      if (line.head === undefined) break
      if (hand.isBefore(line)) {
        hand.add(line, undefined, places)
        break
      }
    }
  }
  lines.flush()
  if (!hasMore) { for (const { id } of opened) gates.drop(id) }
  return hasMore
}

/** Lines behind one gate, or all that are ready. */
interface Gate {
  readonly id: number
  isShut: boolean
}

/** Where heads are to be looked for: what a filter leaves out is passed over group by group, as are queues that are paused. */
function* sourcesOf({ lines, queues }: Tables, gates: ReadonlyArray<Gate>, filter: ClaimFilter): Iterable<Source> {
  const { names, priorities: { from = -Infinity } = {}, tags } = filter
  const asked = filter.queues && [...new Set(filter.queues)].sort(byBytes)
  const start = (queue: string, name: string): Group => ({ queue, name, tags: tags && "" })
  for (const gate of gates) {
    const left = asked?.slice()
    let at = start("", "")
    for (;;) {
      if (left !== undefined) {
        while (left.length > 0 && byBytes(left[0]!, at.queue) < 0) left.shift()
        if (left.length === 0) break
        if (left[0] !== at.queue) at = start(left[0]!, "")
      }
      const group = lines.nextGroup(gate.id, at)
      if (group === undefined) break
      if (left !== undefined && group.queue !== left[0]) at = start(group.queue, "")
      else if (queues.get(group.queue).paused === 1) at = start(group.queue, last)
      else if (names?.includes(group.name) === false) at = tags === undefined ? group : { ...group, tags: last }
      else {
        at = group
        const ofGroup = tags === undefined ? undefined : JSON.parse(group.tags!) as ReadonlyArray<string>
        if (tags?.some((tag) => ofGroup!.includes(tag)) !== false) {
          yield new Source(gate, [from, -1, -1], (after, limit) => lines.inOrder(gate.id, group, after, limit))
        }
      }
    }
  }
}

/** Lines in order, a few at a time. */
class Source {
  readonly gate: Gate
  private after: Position
  private readonly read: (after: Position, limit: number) => ReadonlyArray<Line>
  private lines: ReadonlyArray<Line> = []
  private at = 0
  private size = 1
  private isOver = false
  constructor(gate: Gate, after: Position, read: Source["read"]) {
    this.gate = gate
    this.after = after
    this.read = read
  }

  next(): Line | undefined {
    if (this.at < this.lines.length) return this.lines[this.at++]
    if (this.isOver) return undefined
    this.size = Math.min(64, this.size * 4)
    this.lines = this.read(this.after, this.size)
    this.isOver = this.lines.length < this.size
    // Where the last of them stands in the table: its head may move on before the next are read.
    if (!this.isOver) this.after = positionOf(this.lines.at(-1)!)
    this.at = 1
    return this.lines[0]
  }
}

interface Held {
  readonly line: Line
  /** Where the next is to be had. */
  readonly source: Source | undefined
  /** Set where some of it were taken. */
  readonly places: Places | undefined
}

/** Lines, the first of them at the end. */
class Hand {
  private readonly held: Array<Held> = []

  take() {
    return this.held.pop()
  }

  add(line: Line | undefined, source: Source | undefined, places?: Places): void {
    if (line === undefined) return
    let low = 0
    let high = this.held.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (isBefore(line, this.held[middle]!.line)) low = middle + 1
      else high = middle
    }
    this.held.splice(low, 0, { line, source, places })
  }

  /** Whether its first comes before this one. */
  isBefore(line: Line): boolean {
    const first = this.held.at(-1)
    return first !== undefined && isBefore(first.line, line)
  }
}

/** The places behind the head of a line, more and more at a time. */
class Places {
  private readonly lines: Lines
  private readonly line: Line
  private readonly most: number
  private places: ReadonlyArray<Place> = []
  private at = 0
  private size = 1
  private isOver = false
  constructor(lines: Lines, line: Line, most: number) {
    this.lines = lines
    this.line = line
    this.most = most
  }

  next(): Place | undefined {
    if (this.at < this.places.length) return this.places[this.at++]
    if (this.isOver) return undefined
    this.size = Math.min(this.most + 1, this.size * 8)
    this.places = this.lines.placesAfter(this.line, this.places.at(-1) ?? this.line.head, this.size)
    this.isOver = this.places.length < this.size
    this.at = 1
    return this.places[0]
  }
}

/** After every text. */
const last = "\u{10FFFF}"

/** As SQLite compares text. */
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
