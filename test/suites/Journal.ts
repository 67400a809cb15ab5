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
