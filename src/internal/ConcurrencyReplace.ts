/** The newest wins: room made by interrupting who came before. */
import type { Admission } from "./ConcurrencyAdmission.ts"
import { weightHeld } from "./ConcurrencyHolders.ts"
import { type Counter, current, type Slot } from "./ConcurrencyLine.ts"

/** Slots on their way out: what they hold comes free without another interruption. */
const leaving = new WeakSet<Slot>()

/** A waiting slot is to have the place of others: of the older ones that wait for the same, and of the oldest holders, as many as it takes. */
export const makeRoom = (admission: Admission, slot: Slot): void => {
  if (slot.line === undefined) return
  const wanted = new Set(full(slot))
  const older = [...admission.replacers].filter((other) => full(other).some((counter) => wanted.has(counter)))
  admission.replacers.add(slot)
  admission.atOnce(() => {
    for (const other of older) {
      admission.replacers.delete(other)
      other.interruptUnsafe()
    }
  })
  interruptInTheWay(admission)
}

/** Interrupts the holders that keep waiting replacers out, also those let in past them; none that came later, and none they run inside of. */
export const interruptInTheWay = (admission: Admission): void => {
  const out: Array<Slot> = []
  for (const slot of [...admission.replacers]) {
    const { line } = slot
    if (line === undefined) {
      admission.replacers.delete(slot)
      continue
    }
    const around = new Set<Slot>()
    for (let one: Slot | undefined = slot; one !== undefined; one = one.enclosing) around.add(one)
    let holders: Array<Slot> | undefined
    // The narrow limits first: who gives room there often gives it in the pool too.
    const order = line.needs.counters.map((counter, i) => [counter, i] as const).sort(([a], [b]) => width(a) - width(b))
    for (const [counter, i] of order) {
      const now = current(counter)
      let over = now.active + now.take(line.needs.weights[i]!) - now.limit
      if (over <= 0) continue
      holders ??= [...admission.holders].sort(byAge)
      for (const holder of holders) if (leaving.has(holder)) over -= weightHeld(holder, now)
      for (const holder of holders) {
        if (over <= 0) break
        if (leaving.has(holder) || holder.seq >= slot.seq || around.has(holder)) continue
        const weight = weightHeld(holder, now)
        if (weight === 0) continue
        over -= weight
        out.push(holder)
        leaving.add(holder)
      }
    }
  }
  if (out.length === 0) return
  admission.atOnce(() => {
    for (const holder of out) holder.interruptUnsafe()
  })
}

const full = ({ line }: Slot) =>
  line === undefined ?
    [] :
    line.needs.counters.map(current).filter((counter, i) =>
      counter.active + counter.take(line.needs.weights[i]!) > counter.limit
    )

const width = ({ kind }: Counter): number => kind === "pool" ? 2 : kind === "class" ? 1 : 0

const byAge = (a: Slot, b: Slot): number => a.since !== b.since ? a.since - b.since : a.seq - b.seq
