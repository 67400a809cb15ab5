/** The handlers there are, by name. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Concurrency from "../Concurrency.ts"
import type { AnyJob } from "../Job.ts"
import type { Within } from "./JobContext.ts"
import { DuplicateJobError } from "./JobErrors.ts"

export interface Registered {
  readonly job: AnyJob
  readonly demand: Concurrency.Demand
  /** What the user gave: the same one again is the same registration. */
  readonly handler: (payload: any) => Effect.Effect<unknown, unknown, any>
  /** The same with its services. Takes the payload decoded. */
  readonly handle: (payload: unknown) => Effect.Effect<unknown, unknown>
  /** Provides what the Layer of the handler was built with, for what its schemas need. */
  readonly within: Within
  /** By no Layer: it stays, in the place of the one before. */
  readonly kept?: boolean
}

export class Handlers {
  /** Of one name one handler, as often as it is registered. Never empty. */
  private readonly entries = new Map<string, Array<Registered>>()

  get(name: string): Registered | undefined {
    const known = this.entries.get(name)
    return known === undefined ? undefined : inUse(known)
  }

  get names(): ReadonlyArray<string> {
    return [...this.entries.keys()]
  }

  get all(): ReadonlyArray<Registered> {
    return Array.from(this.entries.values(), inUse)
  }

  add(registered: Registered): Effect.Effect<void, DuplicateJobError> {
    return Effect.suspend(() => {
      const { name } = registered.job
      const known = this.entries.get(name)
      if (known === undefined) this.entries.set(name, [registered])
      else if (known[0]!.handler !== registered.handler) return Effect.fail(new DuplicateJobError({ job: name }))
      else if (registered.kept !== true) known.push(registered)
      else {
        const at = known.findIndex(({ kept }) => kept)
        if (at >= 0) known[at] = registered
      }
      return Effect.void
    })
  }

  remove(registered: Registered): Effect.Effect<void> {
    return Effect.sync(() => {
      const { name } = registered.job
      const left = this.entries.get(name)?.filter((other) => other !== registered) ?? []
      if (left.length > 0) this.entries.set(name, left)
      else this.entries.delete(name)
    })
  }
}

/** The oldest whose Layer lives. */
const inUse = (known: ReadonlyArray<Registered>): Registered => known.find(({ kept }) => kept !== true) ?? known[0]!

/** The registry in context; where there is none, one for all that is built together and asks for it so. */
export const inContext = <I>(key: Context.Key<I, Handlers>): Layer.Layer<I> => {
  const shared = Layer.effect(key, Effect.sync(() => new Handlers()))
  return Layer.unwrap(Effect.map(Effect.context<never>(), (context) => {
    const given = Context.getOrUndefined(context, key)
    return given === undefined ? shared : Layer.succeed(key, given)
  }))
}
