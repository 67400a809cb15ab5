/**
 * What a store knows of where the lines begin, so that a turn need not look for it.
 *
 * What was claimed leaves dead entries at the head of an index. Mostly PostgreSQL clears them away as they are found; while somebody holds an old
 * snapshot (a transaction that is idle for minutes, a backup) it cannot, and each look from the very beginning steps over all of them. So a turn
 * begins where the last one did, and looks from the beginning only as often as that takes no more than a twentieth of the time: always, while it
 * is quick. What comes in before (committed late, put back, more urgent) is told by notifications; what no notification told of, the next look
 * finds.
 */
import type { Position, Seen } from "./PostgresRows.ts"

/** A look that takes no longer is always taken, in milliseconds. */
const quick = 0.5
const share = 20
const mostLines = 100

export class View {
  private readonly lines = new Map<string, Position>()
  /** How long the last look took. */
  private cost = 0
  private lookedAt = -Infinity
  private dueAt = Infinity
  /** Something is somewhere. */
  private isBlind = true
  private turns = 0
  /** What was told while turns were under way, which may not have seen it. */
  private told: Array<Position> = []

  /** `undefined`: it has to look. */
  begin(isHearing: boolean, now: number): ReadonlyArray<Position> | undefined {
    this.turns++
    const since = now - this.lookedAt
    const mustLook = !isHearing || this.lines.size === 0 || this.lines.size > mostLines || this.cost <= quick ||
      since >= this.cost * (this.isBlind || now >= this.dueAt ? share / 4 : share)
    if (!mustLook) return [...this.lines.values()]
    this.isBlind = false
    return undefined
  }

  /** Returns in how many milliseconds another turn may find what this one did not look for. */
  end({ dueIn, heads, looked }: Seen, now: number): number | undefined {
    if (looked !== undefined) {
      this.cost = looked
      this.lookedAt = now
      this.dueAt = now + (dueIn ?? Infinity)
      this.lines.clear()
    }
    for (const head of heads) this.lines.set(head.line, head)
    for (const position of this.told) this.lower(position)
    this.abandon()
    return looked === undefined && this.cost > quick ? Math.max(1, this.lookedAt + this.cost * share - now) : undefined
  }

  /** A turn has no answer. */
  abandon(): void {
    if (--this.turns === 0) this.told = []
  }

  /** Of what was put in: where it is, or (nothing) that it is somewhere. */
  hear(payload: string): void {
    if (payload === "") {
      this.isBlind = true
      return
    }
    for (const one of payload.split(";")) {
      const [line = "", priority, rank, seq] = one.split(",")
      const position = { line, priority: Number(priority), rank: Number(rank), seq: Number(seq) }
      if (this.turns > 0) this.told.push(position)
      this.lower(position)
    }
  }

  /** It was deaf for a while. */
  forget(): void {
    this.lookedAt = -Infinity
    this.lines.clear()
  }

  private lower(position: Position): void {
    const known = this.lines.get(position.line)
    if (known === undefined || isBefore(position, known)) this.lines.set(position.line, position)
  }
}

const isBefore = (a: Position, b: Position): boolean =>
  a.priority !== b.priority ? a.priority < b.priority : a.rank !== b.rank ? a.rank < b.rank : a.seq < b.seq
