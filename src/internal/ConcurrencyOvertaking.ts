/**
 * The bound on overtaking (law 5). A line that small work passes by, because it asks for more than is free, is a contender at the limits where
 * that happens; when its head was passed over often enough, those limits admit nothing that ranks after it until it starts.
 */
import { before, type Counter, type Line, type Slot } from "./ConcurrencyLine.ts"

/** A run passed over this often for its size reserves the limits it needs. */
const MAX_OVERTAKES = 64
/** How many overtaken lines are counted at one limit; the best-ranking ones. */
const MAX_CONTENDERS = 8

export class Overtaking {
  /** Lines that keep limits free. */
  readonly reserving = new Set<Line>()
  private readonly touch: (counter: Counter) => void
  constructor(touch: (counter: Counter) => void) {
    this.touch = touch
  }

  /** The line was passed over at `counter`, which had some room. */
  contend(line: Line, counter: Counter): void {
    const contends = line.contends ??= new Map()
    if (contends.has(counter)) return
    const contenders = counter.contenders ??= []
    if (contenders.length >= MAX_CONTENDERS) {
      let worst = 0
      for (let i = 1; i < contenders.length; i++) {
        if (before(contenders[worst]!, contenders[worst]!.first!, contenders[i]!, contenders[i]!.first!)) worst = i
      }
      const out = contenders[worst]!
      if (line.first === undefined || !before(line, line.first, out, out.first!)) return
      contenders.splice(worst, 1)
      out.contends!.delete(counter)
    }
    contends.set(counter, 0)
    contenders.push(line)
  }

  /** The line has nobody left who waits. */
  withdraw(line: Line): void {
    this.reserving.delete(line)
    for (const counter of line.contends!.keys()) {
      const contenders = counter.contenders!
      contenders.splice(contenders.indexOf(line), 1)
      if (contenders.length === 0) counter.contenders = undefined
      this.touch(counter)
    }
    line.contends = undefined
  }

  /** Has everybody looked at again that is parked where the line was passed over. */
  touchContended(line: Line): void {
    if (line.contends !== undefined) { for (const counter of line.contends.keys()) this.touch(counter) }
  }

  /** `slot` was admitted at `counter`: those ranking before it that are passed over there count it. */
  overtake(counter: Counter, line: Line, slot: Slot): void {
    for (const other of counter.contenders!) {
      if (other === line || other.first === undefined || !before(other, other.first, line, slot)) continue
      other.contends!.set(counter, other.contends!.get(counter)! + 1)
      // One admission is one overtaking, however many limits it takes.
      if (other.overtaker === slot) continue
      other.overtaker = slot
      if (++other.overtaken - other.first.overtakenBefore >= MAX_OVERTAKES) this.reserving.add(other)
    }
  }

  /** Whether an older slot passed over too often keeps `counter` for itself. */
  reservedAgainst(counter: Counter, line: Line, slot: Slot): boolean {
    return this.keptFor(counter, line, slot) !== undefined
  }

  /** The older slot that keeps `counter` for itself. */
  keptFor(counter: Counter, line: Line, slot: Slot): Slot | undefined {
    for (const other of counter.contenders!) {
      if (other === line || other.first === undefined) continue
      if (other.overtaken - other.first.overtakenBefore < MAX_OVERTAKES) continue
      if (before(other, other.first, line, slot) && this.reserves(other)) return other.first
    }
    return undefined
  }

  /** Keeping limits free helps only if nothing else it lacks is taken by someone who waits, or has not moved at all. */
  private reserves(line: Line): boolean {
    const { counters, weights } = line.needs
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.active + counter.take(weights[i]!) <= counter.limit) continue
      if (counter.heldBy !== undefined && counter.heldBy.size > 0) return false
      if (!(line.contends!.get(counter)! > 0)) return false
    }
    return true
  }
}
