/** Why a slot waits: the limit that binds it, who has it, and when that may end. */
import type { Holder } from "../Concurrency.ts"
import type { Admission } from "./ConcurrencyAdmission.ts"
import { holdersOf, limitName } from "./ConcurrencyHolders.ts"
import type { Counter, Line, Slot } from "./ConcurrencyLine.ts"

/** Times in milliseconds on the slot's clock. */
export interface Reason {
  readonly limit: string
  readonly cause: "full" | "reserved" | "rate" | "paused" | "kept" | "order"
  readonly holders: ReadonlyArray<Holder>
  /** For whom the limit is kept. */
  readonly keptFor: string | undefined
  readonly position: number
  readonly readyAt: number | undefined
  readonly estimate: number | undefined
}

/** `undefined`: it does not wait for a limit. */
export const explain = (admission: Admission, slot: Slot): Reason | undefined => {
  const { line } = slot
  if (line === undefined) return undefined
  const now = slot.clock.currentTimeMillisUnsafe()
  const found = binding(admission, line, slot, now)
  if (found === undefined) return undefined
  const { cause, counter, keptFor, readyAt } = found
  const holders = holdersOf(admission, counter)
  const position = admission.position(slot, counter)
  return {
    limit: limitName(counter),
    cause,
    holders,
    keptFor,
    position,
    readyAt,
    estimate: readyAt === undefined
      ? estimated(holders, position, now)
      : readyAt === Infinity
      ? undefined
      : readyAt - now
  }
}

interface Binding {
  readonly counter: Counter
  readonly cause: Reason["cause"]
  readonly keptFor?: string
  readonly readyAt?: number
}

/** The first of its limits that would not let it in now; where all would, the one at which others go before it. */
const binding = (admission: Admission, line: Line, slot: Slot, now: number): Binding | undefined => {
  const { counters, weights } = line.needs
  for (let i = 0; i < counters.length; i++) {
    const counter = counters[i]!
    const weight = counter.take(weights[i]!)
    const back = line.resume || i >= line.backFrom
    if (counter.active + weight > counter.limit && !(back && weight > counter.limit)) {
      return { counter, cause: counter.kind === "class" ? "reserved" : "full" }
    }
    const readyAt = counter.pace === undefined || back ? now : counter.pace.readyAt(weight, now)
    if (readyAt > now) return { counter, cause: counter.pace!.pausedUntil > now ? "paused" : "rate", readyAt }
    const other = admission.keptFor(counter, line, slot)
    if (other !== undefined) return { counter, cause: "kept", keptFor: other.id }
  }
  const counter = line.at?.counter
  return counter === undefined ? undefined : { counter, cause: "order" }
}

/** Holders go on as long again as they have, and leave one after another. */
const estimated = (holders: ReadonlyArray<Holder>, position: number, now: number): number | undefined => {
  if (holders.length === 0) return undefined
  const age = holders.reduce((sum, { since }) => sum + Math.max(0, now - since.epochMilliseconds), 0) / holders.length
  return age * Math.ceil(position / holders.length)
}
