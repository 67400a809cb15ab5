/**
 * Work that has waited too long, noticed. Nothing is kept for it of those that wait: now and then the age of the youngest is noted down, and
 * whoever is no younger than an old enough note has waited as long.
 */
import type { Admission } from "./ConcurrencyAdmission.ts"
import type { Counter, Slot } from "./ConcurrencyLine.ts"

export class Saturation {
  private readonly notes: Array<{ readonly at: number; readonly seq: number }> = []
  private readonly told = new Set<Counter>()
  private timed = false
  private readonly admission: Admission
  private readonly threshold: number
  private readonly tell: (counter: Counter, slot: Slot) => void
  constructor(admission: Admission, threshold: number, tell: (counter: Counter, slot: Slot) => void) {
    this.admission = admission
    this.threshold = threshold
    this.tell = tell
  }

  /** Somebody waits where nobody did. */
  began(slot: Slot): void {
    if (this.timed) return
    this.timed = true
    this.note(slot)
    this.arm(slot)
  }

  private note(slot: Slot): number {
    const at = slot.clock.currentTimeMillisUnsafe()
    this.notes.push({ at, seq: this.admission.seq })
    return at
  }

  private arm(slot: Slot): void {
    this.admission.at(Math.max(1, this.threshold / 4), slot, () => {
      const now = this.note(slot)
      while (this.notes.length > 1 && this.notes[1]!.at <= now - this.threshold) this.notes.shift()
      const old = this.notes[0]!
      if (old.at <= now - this.threshold) this.look(old.seq)
      for (const counter of this.told) if (counter.waiting === 0) this.told.delete(counter)
      if (this.admission.lines.length > 0) this.arm(slot)
      else this.rest()
    }, () => this.rest())
  }

  private rest(): void {
    this.timed = false
    this.notes.length = 0
    this.told.clear()
  }

  private look(seq: number): void {
    for (const line of this.admission.lines) {
      const counter = line.at?.counter
      const slot = line.first
      if (counter === undefined || slot === undefined || slot.seq > seq || this.told.has(counter)) continue
      this.told.add(counter)
      this.tell(counter, slot)
    }
  }
}
