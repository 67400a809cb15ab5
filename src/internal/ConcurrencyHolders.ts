/** Limits as a user sees them: what they are called, how much is taken, and by whom. */
import * as DateTime from "effect/DateTime"
import type { Holder, Limit, Usage } from "../Concurrency.ts"
import { Away, type Counter, current, Held, type Slot, takenOf, toMillis } from "./ConcurrencyLine.ts"

export const usage = (counter: Counter): Usage => ({
  limit: toLimit(counter.limit),
  active: counter.active,
  waiting: counter.waiting
})

/** Who holds `counter` itself: those on a share of it are covered by its holder. */
export const holdersOf = (admission: { readonly holders: Iterable<Slot> }, counter: Counter): ReadonlyArray<Holder> => {
  const holders: Array<Holder> = []
  for (const slot of admission.holders) {
    const weight = weightHeld(slot, counter)
    if (weight > 0) {
      holders.push({ id: slot.id, name: slot.name, weight, since: DateTime.makeUnsafe(toMillis(slot.since)) })
    }
  }
  return holders
}

export const weightHeld = (slot: Slot, counter: Counter): number => {
  const needs = slot.needs
  if (needs === undefined) return 0
  const at = needs.counters.findIndex((one) => current(one) === counter)
  if (at < 0 || slot.skips?.includes(needs.counters[at]!) === true) return 0
  const keeps = counter.hold || slot.region || slot.pins?.has(needs.counters[at]!) === true
  if (slot.phase !== Held && !(keeps && (slot.phase === Away || slot.retaker !== undefined))) return 0
  return takenOf(slot, counter, needs.weights[at]!)
}

/** The name a user knows a limit by. */
export const limitName = (counter: Counter): string =>
  counter.kind === "pool" || counter.kind === "tree"
    ? "maxParallelism"
    : counter.kind === "key"
    ? "keyLimit"
    : counter.name

export const toLimit = (limit: number): Limit => limit === Infinity ? "unbounded" : limit
