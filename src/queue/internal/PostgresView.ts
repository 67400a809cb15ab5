/**
 * What a store knows of where the lines begin, so that a turn need not look for it.
 *
 * What was claimed leaves dead entries at the head of an index. Mostly PostgreSQL clears them away as they are found; while somebody holds an old
 * snapshot (a transaction that is idle for minutes, a backup) it cannot, and each look from the very beginning steps over all of them. So a turn
 * begins where the last one did, and looks from the beginning only as often as that takes no more than a hundredth of the time: always, while it
 * is quick. What comes in before (committed late, put back, more urgent) is told by notifications; what no notification told of, the next look
 * finds.
 */
import type { Alike, Known, Position, Seen } from "./PostgresRows.ts"

/** A look that takes no longer is always taken, in milliseconds. */
const quick = 0.5
/** Of the time, the part that looking may take: where nothing speaks for it, and where something does. */
const share = 1 / 100
const shareIfBlind = 1 / 5
const mostLines = 100

type Claimed = NonNullable<Seen["passed"]>[number]

export class View {
  private readonly lines = new Map<string, Position>()
  private alike: Alike | undefined = undefined
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
  begin(isHearing: boolean, now: number): Known | undefined {
    this.turns++
    const lines = [...this.lines.values()]
    const { alike } = this
    const isKnown = alike !== undefined && lines.every(({ line }) => alike.lines.has(line))
    const mustLook = !isHearing || lines.length === 0 || lines.length > mostLines || (this.cost <= quick && !isKnown) ||
      now >= this.lookAt
    if (!mustLook) return { lines, alike: isKnown ? alike : undefined }
    this.isBlind = false
    return undefined
  }

  private get lookAt(): number {
    const cost = Math.max(this.cost, quick)
    const soonest = this.lookedAt + cost / shareIfBlind
    return this.isBlind ? soonest : Math.min(this.lookedAt + cost / share, Math.max(soonest, this.dueAt))
  }

  /** Returns in how many milliseconds another turn may find what this one did not look for. */
  end({ alike, dueIn, heads, isStale, looked, passed }: Seen, now: number, known?: Known): number | undefined {
    if (looked !== undefined) {
      this.cost = looked
      this.lookedAt = now
      this.dueAt = Infinity
      this.lines.clear()
    }
    this.dueAt = Math.min(this.dueAt, now + (dueIn ?? Infinity))
    if (isStale) this.lookedAt = -Infinity
    for (const head of heads) this.lines.set(head.line, head)
    if (passed === undefined && (looked !== undefined || heads.length > 0)) this.alike = alike
    else if (passed !== undefined && known?.alike !== undefined) this.pass(passed, known.alike.lines)
    for (const position of this.told) this.lower(position)
    this.abandon()
    return looked === undefined && !isStale ? Math.max(1, this.lookAt - now) : undefined
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

  /** The lines begin after what was claimed. */
  private pass(claimed: ReadonlyArray<Claimed>, lanes: Alike["lines"]): void {
    const last = new Map(claimed.map((job) => [job.key, job]))
    for (const [line, { key }] of lanes) {
      // Where there is but one line its jobs may have any key.
      const job = lanes.size === 1 ? claimed.at(-1) : last.get(key)
      const known = this.lines.get(line)
      if (job === undefined || known === undefined) continue
      const position = { line, priority: job.priority, rank: job.rank, seq: job.seq + 1 }
      if (isBefore(known, position)) this.lines.set(line, position)
    }
  }

  private lower(position: Position): void {
    const known = this.lines.get(position.line)
    if (known === undefined || isBefore(position, known)) this.lines.set(position.line, position)
  }
}

const isBefore = (a: Position, b: Position): boolean =>
  a.priority !== b.priority ? a.priority < b.priority : a.rank !== b.rank ? a.rank < b.rank : a.seq < b.seq
