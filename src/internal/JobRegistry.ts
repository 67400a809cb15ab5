/** The handlers there are, by name. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Concurrency from "../Concurrency.ts"
import type { AnyJob } from "../Job.ts"
import { DuplicateJobError } from "./JobErrors.ts"

export interface Registered {
  readonly job: AnyJob
  readonly demand: Concurrency.Demand
  /** What the user gave: the same one again is the same registration. */
  readonly handler: unknown
  readonly handle: (payload: unknown) => Effect.Effect<unknown, unknown>
}

export class Handlers {
  private readonly entries = new Map<string, { readonly registered: Registered; uses: number }>()

  get(name: string): Registered | undefined {
    return this.entries.get(name)?.registered
  }

  get names(): ReadonlyArray<string> {
    return [...this.entries.keys()]
  }

  get all(): ReadonlyArray<Registered> {
    return Array.from(this.entries.values(), ({ registered }) => registered)
  }

  add(registered: Registered): Effect.Effect<void, DuplicateJobError> {
    return Effect.suspend(() => {
      const { name } = registered.job
      const known = this.entries.get(name)
      if (known === undefined) this.entries.set(name, { registered, uses: 1 })
      else if (known.registered.handler === registered.handler) known.uses++
      else return Effect.fail(new DuplicateJobError({ job: name }))
      return Effect.void
    })
  }

  remove(name: string): Effect.Effect<void> {
    return Effect.sync(() => {
      const known = this.entries.get(name)
      if (known !== undefined && --known.uses === 0) this.entries.delete(name)
    })
  }
}

/** The registry in context; where there is none, one for all that is built together and asks for it so. */
export const inContext = <I>(key: Context.Key<I, Handlers>): Layer.Layer<I> => {
  const shared = Layer.effect(key, Effect.sync(() => new Handlers()))
  return Layer.unwrap(Effect.map(Effect.context<never>(), (context) => {
    const given = Context.getOrUndefined(context, key)
    return given === undefined ? shared : Layer.succeed(key, given)
  }))
}
