/** What the PostgreSQL stores of a test hear and know of where jobs wait. How long ago they looked is for the test to say. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { afterAll, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { View } from "../../src/queue/internal/PostgresView.ts"
import { JobStore } from "../../src/queue/JobStore.ts"
import * as JobStorePostgres from "../../src/queue/JobStorePostgres.ts"
import * as Postgres from "./Postgres.ts"

export interface Ears {
  /** What was told, in order. */
  readonly told: Array<string>
  /** How many turns claimed from what was known of lines that differ in nothing but their keys. */
  known: number
  /** The time stands. */
  still: boolean
  /** A minute passes: it is time to look. */
  readonly pass: () => void
  /** What was said before has been heard. */
  readonly hears: (pg: PgClient, schema: string) => Effect.Effect<void>
}

/** For all tests of a file. */
export const ears = (): Ears => {
  const barriers = new Map<string, () => void>()
  let barrierCount = 0
  const { begin, hear } = View.prototype
  const now = performance.now.bind(performance)
  let ahead = 0
  let last = 0
  const spies = [
    vi.spyOn(View.prototype, "hear").mockImplementation(function(this: View, payload) {
      const barrier = barriers.get(payload)
      if (barrier !== undefined) return barrier()
      ears.told.push(payload)
      hear.call(this, payload)
    }),
    vi.spyOn(View.prototype, "begin").mockImplementation(function(this: View, ...args) {
      const result = begin.apply(this, args)
      if (result?.alike !== undefined) ears.known++
      return result
    }),
    vi.spyOn(performance, "now").mockImplementation(() => ears.still ? last : last = now() + ahead)
  ]
  afterAll(() => spies.forEach((spy) => spy.mockRestore()))
  const ears: Ears = {
    told: [],
    known: 0,
    still: false,
    pass: () => void (ahead += 60_000),
    hears: (pg, schema) =>
      Effect.callback<void>((resume) => {
        const barrier = ++barrierCount
        let sent = 0
        let heard = 0
        let last: number | undefined
        // Those who are woken by it come first.
        const end = () => heard === last && setImmediate(() => resume(Effect.void))
        const notify = Effect.suspend(() => {
          const number = ++sent
          const name = `barrier ${barrier} ${number}`
          barriers.set(name, () => {
            heard = number
            fiber.interruptUnsafe()
            end()
          })
          return pg.unsafe(`select pg_notify('tasklayer:' || hashtext($1), $2)`, [`"${schema}"`, name])
        })
        // Whether anybody listens already it cannot know; once somebody does, none that was sent may come later.
        const fiber = Effect.runFork(
          Effect.forever(Effect.andThen(Effect.uninterruptible(Effect.orDie(notify)), Effect.sleep(200)))
        )
        fiber.addObserver(() => {
          last = sent
          end()
        })
        return Effect.sync(() => fiber.interruptUnsafe())
      }).pipe(Effect.timeout("20 seconds"), Effect.orDie)
  }
  return ears
}

/** A store with a pool of its own, as another process would have it. */
export const openStore = (schema: string) =>
  Effect.map(
    Layer.build(
      Layer.fresh(JobStorePostgres.layer({ schema }).pipe(Layer.provide(Postgres.client({ maxConnections: 4 }))))
    ),
    Context.get(JobStore)
  )
