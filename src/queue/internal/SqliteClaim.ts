/** Who is next: the heads of all lines in order, each taken that may run; what is in the way of one keeps no other from it. */
import type { Limits } from "./SqliteLimits.ts"
import { isBefore, type Line, type Lines, type Place, type Source } from "./SqliteLines.ts"
import type { Queues } from "./SqliteQueues.ts"
import type { ClaimFilter } from "./StorePort.ts"

/** A turn that found so many lines blocked leaves the rest to the next: they are parked, so that none is looked at twice. */
const BLOCKED_AT_ONCE = 1000

/** Takes at most `want`. Returns whether another claim would find more at once. */
export const claim = (
  lines: Lines,
  limits: Limits,
  queues: Queues,
  want: number,
  filter: ClaimFilter,
  take: (seq: number) => void
): boolean => {
  const { from = -Infinity, to = Infinity } = filter.priorities ?? {}
  lines.flush()
  const sources = [...lines.sources(filter.queues, (queue) => queues.get(queue).paused === 1, from)]
  const hand = new Hand()
  for (const source of sources) hand.add(source.next(), source)
  let taken = 0
  let blocked = 0
  let hasMore = false
  for (let next = hand.take(); next !== undefined; next = hand.take()) {
    const { line, source } = next
    hand.add(source?.next(), source)
    if (source?.isShut === true || line.priority > to) continue
    const queue = queues.get(line.queue)
    if (queue.paused === 1 || !matches(filter, line)) {
      // Where it is parked there may be room: whoever has use for it is to find it elsewhere, so that the room is seen by those behind it.
      if (line.need !== null) lines.unpark(line)
      continue
    }
    const places = new Places(lines, line, want - taken)
    for (;;) {
      const obstacle = limits.obstacle(line, queue)
      if (obstacle !== undefined) {
        if (source !== undefined && obstacle.need === source.gate?.need) source.isShut = true
        lines.park(line, obstacle)
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
      lines.changedHead(line, places.next())
      if (line.head === undefined) break
      if (hand.isBefore(line)) {
        hand.add(line, undefined)
        break
      }
    }
    if (hasMore) break
  }
  lines.flush()
  if (!hasMore) {
    for (const { gate } of sources) if (gate !== null) lines.dropGate(gate)
  }
  return hasMore
}

const matches = (filter: ClaimFilter, { name, queue, tagList }: Line): boolean =>
  (filter.queues?.includes(queue) ?? true) && (filter.names?.includes(name) ?? true) &&
  (filter.tags?.some((tag) => tagList.includes(tag)) ?? true)

/** Lines, the first of them at the end. */
class Hand {
  private readonly held: Array<{ readonly line: Line; readonly source: Source | undefined }> = []

  take() {
    return this.held.pop()
  }

  add(line: Line | undefined, source: Source | undefined): void {
    if (line === undefined) return
    let low = 0
    let high = this.held.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (isBefore(line, this.held[middle]!.line)) low = middle + 1
      else high = middle
    }
    this.held.splice(low, 0, { line, source })
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
    this.places = this.lines.places(this.line, this.places.at(-1) ?? this.line.head, this.size)
    this.isOver = this.places.length < this.size
    this.at = 1
    return this.places[0]
  }
}
