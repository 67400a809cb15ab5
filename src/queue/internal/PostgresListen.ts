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
import * as Scope from "effect/Scope"
import type { View } from "./PostgresView.ts"
import { Signal } from "./Signal.ts"

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
  private readonly doubts = new Signal()

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

  /** Nobody listens here, or one. */
  get isAlone(): boolean {
    return this.wakes.size <= 1
  }

  listen(wake: () => void): Effect.Effect<void, never, Scope.Scope> {
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

  /** Something went wrong elsewhere: whether anything is heard is found out now. */
  readonly doubt = (): void => this.doubts.give()

  private readonly run: Effect.Effect<void> = Effect.suspend(() =>
    Effect.raceFirst(
      Effect.forever(Effect.catchCause(this.hearWhileItLasts, () => this.deaf)),
      Effect.forever(Effect.andThen(jittered(this.poll), Effect.sync(this.wake)))
    )
  )

  /** The longer it lasts, the more seldom it tries. */
  private readonly deaf: Effect.Effect<void> = Effect.suspend(() => {
    this.isHearing = false
    return jittered(Duration.millis(Math.min(3000, 100 * 2 ** this.failures++)))
  })

  /** A connection that is dead is not waited for: to take leave of it takes until TCP gives it up. */
  private readonly hearWhileItLasts = Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Scope.make(), (scope) =>
      Effect.onExit(
        restore(Scope.provide(this.hear, scope)),
        (exit) => Effect.asVoid(Effect.forkDetach(Scope.close(scope, exit)))
      ))
  )

  private get hear(): Effect.Effect<never, unknown, Scope.Scope> {
    return Effect.flatMap(Effect.timeout(this.pg.listen(this.channel), patience), (heard) => {
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
        yield* this.doubts.take(Duration.toMillis(this.poll) * (0.75 + Math.random() / 2))
        if (!isSilent) return
        yield* Effect.forkDetach(Effect.ignore(this.pg.notify(this.channel, ping)))
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
const patience = Duration.seconds(2)

/** So that not all come at once. */
const jittered = (duration: Duration.Duration): Effect.Effect<void> =>
  Effect.suspend(() => Effect.sleep(Duration.times(duration, 0.75 + Math.random() / 2)))
