/**
 * The bound on overtaking (law 5). A lane that small work passes by, because it asks for more than is free, is a contender at the limits where
 * that happens; when its head was passed over often enough, those limits admit nothing that ranks after it until it starts.
 */
import { before, type Counter, type Lane, type Slot } from "./ConcurrencyLane.ts"

/** A run passed over this often for its size reserves the limits it needs. */
const MAX_OVERTAKES = 64
/** How many overtaken lanes are counted at one limit; the best-ranking ones. */
const MAX_CONTENDERS = 8

export class Overtaking {
  /** Lanes that keep limits free. */
  readonly reserving = new Set<Lane>()
  private readonly touch: (counter: Counter) => void
  constructor(touch: (counter: Counter) => void) {
    this.touch = touch
  }

  /** The lane was passed over at `counter`, which had some room. */
  contend(lane: Lane, counter: Counter): void {
    const contends = lane.contends ??= new Map()
    if (contends.has(counter)) return
    const contenders = counter.contenders ??= []
    if (contenders.length >= MAX_CONTENDERS) {
      let worst = 0
      for (let i = 1; i < contenders.length; i++) {
        if (before(contenders[worst]!, contenders[worst]!.first!, contenders[i]!, contenders[i]!.first!)) worst = i
      }
      const out = contenders[worst]!
      if (lane.first === undefined || !before(lane, lane.first, out, out.first!)) return
      contenders.splice(worst, 1)
      out.contends!.delete(counter)
    }
    contends.set(counter, 0)
    contenders.push(lane)
  }

  /** The lane has nobody left who waits. */
  withdraw(lane: Lane): void {
    this.reserving.delete(lane)
    for (const counter of lane.contends!.keys()) {
      const contenders = counter.contenders!
      contenders.splice(contenders.indexOf(lane), 1)
      if (contenders.length === 0) counter.contenders = undefined
      this.touch(counter)
    }
    lane.contends = undefined
  }

  /** Has everybody looked at again that is parked where the lane was passed over. */
  touchContended(lane: Lane): void {
    if (lane.contends !== undefined) { for (const counter of lane.contends.keys()) this.touch(counter) }
  }

  /** `slot` was admitted at `counter`: those ranking before it that are passed over there count it. */
  overtake(counter: Counter, lane: Lane, slot: Slot): void {
    for (const other of counter.contenders!) {
      if (other === lane || other.first === undefined || !before(other, other.first, lane, slot)) continue
      other.contends!.set(counter, other.contends!.get(counter)! + 1)
      // One admission is one overtaking, however many limits it takes.
      if (other.overtaker === slot) continue
      other.overtaker = slot
      if (++other.overtaken - other.first.overtakenBefore >= MAX_OVERTAKES) this.reserving.add(other)
    }
  }

  /** Whether an older slot passed over too often keeps `counter` for itself. */
  reservedAgainst(counter: Counter, lane: Lane, slot: Slot): boolean {
    for (const other of counter.contenders!) {
      if (other === lane || other.first === undefined) continue
      if (other.overtaken - other.first.overtakenBefore < MAX_OVERTAKES) continue
      if (before(other, other.first, lane, slot) && this.reserves(other)) return true
    }
    return false
  }

  /** Keeping limits free helps only if nothing else it lacks is taken by someone who waits, or has not moved at all. */
  private reserves(lane: Lane): boolean {
    const { counters, weights } = lane.needs
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (counter.active + counter.take(weights[i]!) <= counter.limit) continue
      if (counter.heldBy !== undefined && counter.heldBy.size > 0) return false
      if (!(lane.contends!.get(counter)! > 0)) return false
    }
    return true
  }
}
