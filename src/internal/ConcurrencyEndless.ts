/**
 * Waits that a lowered limit made endless, ended.
 *
 * A wait is looked at when it begins, and what others may take can only grow after that, save when a limit is lowered. Then runs that were let
 * in under more may wait for each other: those that take back what they lent go on without it, as holders of a lowered limit do; of the rest
 * one is told of the cycle.
 */
import type { Admission } from "./ConcurrencyAdmission.ts"
import { findDeadlock } from "./ConcurrencyDeadlock.ts"
import { current, Retaking, type Slot } from "./ConcurrencyLine.ts"

export const endEndless = (admission: Admission): void => {
  const slots = [...admission.holders]
  for (const slot of slots) if (slot.phase === Retaking && slot.line !== undefined) goWithout(admission, slot)
  admission.drain()
  for (const slot of slots) {
    if (slot.waits === undefined || !(slot.region || slot.pins !== undefined || slot.needs?.holds === true)) continue
    for (const wait of [...slot.waits]) {
      const cycle = wait.deny === undefined ? undefined : findDeadlock(wait, undefined)
      if (cycle !== undefined) wait.deny!(cycle)
    }
  }
  admission.drain()
}

const goWithout = (admission: Admission, lead: Slot): void => {
  const members = [lead, ...(lead.together ?? [])]
  const wait = { chain: members, targets: [], any: false, acquire: undefined, proceed: () => {} }
  if (findDeadlock(wait, undefined) === undefined) return
  for (const slot of members) {
    const { counters, weights } = slot.needs!
    counters.forEach((counter, i) => {
      const now = current(counter)
      if (now.kind !== "tag" || admission.lending.persists(slot, counter) || now.active + weights[i]! <= now.limit) {
        return
      }
      const skips = slot.skips ??= []
      if (!skips.includes(counter)) skips.push(counter)
    })
  }
  admission.reline(lead)
}
