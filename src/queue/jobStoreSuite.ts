/**
 * The laws every job store keeps, as vitest tests. A new place to keep jobs is a Layer of `JobStore`; this is how it proves itself.
 *
 * No law sleeps: time is the store's own, and passes when the suite says so. The last of them lets random histories happen to the store and to a
 * plain list that obviously does what it should, and compares all they answer.
 */
import { describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { StoreOptions } from "./internal/StoreOptions.ts"
import { claims } from "./internal/SuiteClaims.ts"
import { durability } from "./internal/SuiteDurable.ts"
import { enqueueing } from "./internal/SuiteEnqueue.ts"
import { histories } from "./internal/SuiteHistories.ts"
import { leases } from "./internal/SuiteLeases.ts"
import { limits } from "./internal/SuiteLimits.ts"
import { lives } from "./internal/SuiteLives.ts"
import { wakes } from "./internal/SuiteWakes.ts"
import { type Durably, type Law, type Opening, World } from "./internal/SuiteWorld.ts"
import { JobStore } from "./JobStore.ts"

export interface Options {
  /**
   * A store at a place: a name of letters, digits and `_`, new for each law. What the store is given besides are the options that every store has.
   */
  readonly layer: (place: string, options?: StoreOptions) => Layer.Layer<JobStore, unknown>
  /** Moves the time of the store at a place. Between two of these it stands still. */
  readonly advance: (millis: number, place: string) => Effect.Effect<void, unknown>
  /** A second Layer at the same place is the same store. Default false. */
  readonly durable?: boolean | undefined
  /** The laws run on the machine's clock, for stores that wait for sockets. Default: on a test clock. */
  readonly realTime?: boolean | undefined
  /** How many random histories; `ROUNDS` in the environment goes before. Default 100. */
  readonly rounds?: number | undefined
  /** For each law, in milliseconds. Default: vitest's. */
  readonly timeout?: number | undefined
}

/** Declares the laws of a store. */
export const jobStoreSuite = (name: string, options: Options): void => {
  const { advance, durable = false, layer, realTime = false, timeout } = options
  const run = realTime ? it.live : it.effect
  const open = (place: string, storeOptions?: StoreOptions): Opening =>
    Layer.build(Layer.fresh(layer(place, storeOptions))).pipe(
      Effect.map((context) =>
        new World(Context.get(context, JobStore), (millis) => Effect.orDie(advance(millis, place)))
      ),
      Effect.orDie
    )
  const law: Law = (title, story, storeOptions) =>
    run(
      title,
      () => Effect.flatMap(open(newPlace(), storeOptions), (world) => Effect.gen(() => story(world))),
      timeout
    )
  const durably: Durably = (title, story) =>
    run(title, () =>
      Effect.gen(() => {
        const place = newPlace()
        return story((storeOptions) => open(place, storeOptions))
      }), timeout)

  describe(name, () => {
    claims(law)
    limits(law)
    enqueueing(law)
    lives(law)
    leases(law)
    wakes(law)
    if (durable) durability(durably)
    histories(run, (retention) => open(newPlace(), { retention }), options.rounds ?? 100)
  })
}

let places = 0
const newPlace = (): string => `law_${process.pid}_${places++}`
