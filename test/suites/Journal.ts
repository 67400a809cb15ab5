/** Everything that happened below, as the run events that told of it. */
import * as Effect from "effect/Effect"
import { RunEvent } from "../../src/index.ts"

export interface Journal {
  readonly events: ReadonlyArray<RunEvent.RunEvent>
  /** The facts of one run, in order, by their names. */
  readonly facts: (run: { readonly id: string }) => Array<RunEvent.RunEvent["_tag"]>
  readonly of: (run: { readonly id: string }) => Array<RunEvent.RunEvent>
  /** Every scheduler built inside publishes here. */
  readonly listen: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const make = (): Journal => {
  const events: Array<RunEvent.RunEvent> = []
  const of = (run: { readonly id: string }) => events.filter((event) => "run" in event && event.run?.id === run.id)
  return {
    events,
    of,
    facts: (run) => of(run).map((event) => event._tag),
    listen: Effect.provideService(RunEvent.Listeners, [(event) => void events.push(event)])
  }
}

/** What may follow each fact of one run. */
export const afterFact: Record<string, ReadonlyArray<string>> = {
  "": ["Submitted"],
  // Refused on the spot, a run never waited.
  Submitted: ["Waiting", "Finished"],
  Waiting: ["Started", "Finished"],
  Started: ["Suspended", "AttemptFailed", "Finished"],
  Suspended: ["Resumed", "Finished"],
  Resumed: ["Suspended", "AttemptFailed", "Finished"],
  AttemptFailed: ["Waiting", "Finished"],
  Finished: []
}

/** The first run whose life does not read as law 8 says, or `undefined`: no two attempts open at once, one end, in order. */
export const brokenLife = (journal: Journal): string | undefined => {
  const runs = new Set(journal.events.flatMap((event) => "run" in event && event.run ? [event.run.id] : []))
  for (const id of runs) {
    const facts = journal.facts({ id })
    let last = ""
    for (const fact of facts) {
      if (!afterFact[last]!.includes(fact)) return `${id}: ${facts.join(" ")}`
      last = fact
    }
    if (last !== "Finished") return `${id}: ${facts.join(" ")}`
  }
  return undefined
}
