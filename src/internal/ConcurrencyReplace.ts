/** The newest wins: room made by interrupting who came before. */
import type { Admission } from "./ConcurrencyAdmission.ts"
import { current, type Slot } from "./ConcurrencyLine.ts"
import { weightHeld } from "./ConcurrencyShared.ts"

/** Slots on their way out: what they hold comes free without another interruption. */
const leaving = new WeakSet<Slot>()
/** Slots that wait because they are to replace others. */
const replacing = new WeakSet<Slot>()

/** Interrupts the oldest holders of the limits that have no room for a waiting slot, as many as it takes, but none that it runs inside of. */
export const makeRoom = (admission: Admission, slot: Slot): void => {
  const line = slot.line
  if (line === undefined) return
  const around = new Set<Slot>()
  for (let one: Slot | undefined = slot; one !== undefined; one = one.enclosing) around.add(one)
  const out: Array<Slot> = line.slots().filter((other) => other !== slot && replacing.has(other))
  replacing.add(slot)
  const holders = [...admission.holders].filter((holder) => !around.has(holder)).sort((a, b) =>
    a.since !== b.since ? a.since - b.since : a.seq - b.seq
  )
  line.needs.counters.forEach((counter, i) => {
    const now = current(counter)
    let over = now.active + now.take(line.needs.weights[i]!) - now.limit
    for (const holder of holders) {
      const weight = over > 0 ? weightHeld(holder, now) : 0
      if (weight === 0) continue
      over -= weight
      if (!leaving.has(holder)) out.push(holder)
      leaving.add(holder)
    }
  })
  admission.atOnce(() => {
    for (const other of out) other.interruptUnsafe()
  })
}
