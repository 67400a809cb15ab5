/**
 * Hears what happens in the database: one connection for all who listen here, for as long as anybody does.
 *
 * A notification may be lost, with the connection or before there is one: all are woken when it is (back) there, and every so often. A connection
 * that is dead and does not know it is found by what it should have heard: a notification of our own.
 */
import type { PgClient } from "@effect/sql-pg/PgClient"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type { Scope } from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { View } from "./PostgresView.ts"

export class Listening {
  private readonly wakes = new Set<() => void>()
  private fiber: Fiber.Fiber<void> | undefined = undefined
  private readonly pg: PgClient
  private readonly channel: string
  private readonly poll: Duration.Duration
  private readonly view: View
  /** Whatever is said is heard. */
  isHearing = false
  private failures = 0

  constructor(pg: PgClient, channel: string, poll: Duration.Duration, view: View) {
    this.view = view
    this.pg = pg
    this.channel = channel
    this.poll = poll
  }

  /** Something may be new here. */
  readonly wake = (): void => {
    for (const wake of this.wakes) wake()
  }

  listen(wake: () => void): Effect.Effect<void, never, Scope> {
    // The same function may listen twice.
    const own = () => wake()
    return Effect.asVoid(Effect.acquireRelease(
      Effect.suspend(() => {
        this.wakes.add(own)
        if (this.fiber !== undefined) return Effect.void
        return Effect.map(Effect.forkDetach(this.run), (fiber) => void (this.fiber = fiber))
      }),
      () =>
        Effect.suspend(() => {
          this.wakes.delete(own)
          const { fiber } = this
          if (this.wakes.size > 0 || fiber === undefined) return Effect.void
          this.fiber = undefined
          this.isHearing = false
          return Fiber.interrupt(fiber)
        })
    ))
  }

  private readonly run: Effect.Effect<void> = Effect.suspend(() =>
    Effect.raceFirst(
      Effect.forever(Effect.catchCause(Effect.scoped(this.hear), () => this.deaf)),
      Effect.forever(Effect.andThen(jittered(this.poll), Effect.sync(this.wake)))
    )
  )

  /** The longer it lasts, the more seldom it tries. */
  private readonly deaf: Effect.Effect<void> = Effect.suspend(() => {
    this.isHearing = false
    return jittered(Duration.millis(Math.min(3000, 100 * 2 ** this.failures++)))
  })

  private get hear(): Effect.Effect<never, SqlError | Deaf, Scope> {
    return Effect.flatMap(this.pg.listen(this.channel), (heard) => {
      this.view.forget()
      this.isHearing = true
      this.failures = 0
      this.wake()
      let isSilent = true
      const ears = Effect.forever(Effect.map(Queue.take(heard), ({ payload }) => {
        isSilent = false
        if (payload === ping) return
        this.view.hear(payload)
        this.wake()
      }))
      const pulse = Effect.gen({ self: this }, function*() {
        isSilent = true
        yield* jittered(this.poll)
        if (!isSilent) return
        yield* this.pg.notify(this.channel, ping)
        yield* Effect.sleep(patience)
        if (isSilent) return yield* new Deaf()
      })
      return Effect.raceFirst(ears, Effect.forever(pulse))
    })
  }
}

/** The connection is there, and says nothing. */
class Deaf extends Data.TaggedError("Deaf") {}

const ping = "ping"
const patience = Duration.seconds(5)

/** So that not all come at once. */
const jittered = (duration: Duration.Duration): Effect.Effect<void> =>
  Effect.suspend(() => Effect.sleep(Duration.times(duration, 0.75 + Math.random() / 2)))
