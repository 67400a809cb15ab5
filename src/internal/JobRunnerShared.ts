/** Runs that several wait for, by idempotency key. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Concurrency from "../Concurrency.ts"
import * as TaskRun from "../TaskRun.ts"

export type AnyRun = TaskRun.TaskRun<unknown, unknown>
export type OnProgress = (progress: any) => Effect.Effect<void>

/** Submits the run of a key. */
export interface Beginning {
  readonly submit: (shared: Shared) => Effect.Effect<AnyRun>
  /** The run, if it is live: its submitter was interrupted before it had the handle. */
  readonly find: Effect.Effect<AnyRun | undefined>
}

interface Listener {
  readonly onProgress: OnProgress
  readonly gone: Deferred.Deferred<void>
}

/** It ends with the last of those that executed it, unless somebody has its handle. */
export class Shared {
  run: AnyRun | undefined = undefined
  /** `undefined`: whoever was to begin it was interrupted before that. */
  readonly begun: Deferred.Deferred<AnyRun | undefined> = Deferred.makeUnsafe()
  waiting = 1
  kept = false
  /** Interrupted by the last who waited: nobody joins it any more. */
  ending = false
  readonly listeners = new Set<Listener>()
  private readonly onEnd: () => void

  constructor(onEnd: () => void) {
    this.onEnd = onEnd
  }

  /** From the submission, or from inside the run, whichever comes first. */
  began(run: AnyRun): void {
    if (this.run !== undefined) return
    this.run = run
    whenEnded(run, this.onEnd)
    Deferred.doneUnsafe(this.begun, Exit.succeed(run))
  }

  /** To all who listen now. Who is gone holds up nobody. */
  readonly progressed: OnProgress = (progress) =>
    Effect.forEach(
      [...this.listeners],
      ({ gone, onProgress }) => Effect.raceFirst(Effect.suspend(() => onProgress(progress)), Deferred.await(gone)),
      { discard: true }
    )

  listen(onProgress: OnProgress | undefined): Listener | undefined {
    if (onProgress === undefined) return undefined
    const listener = { onProgress, gone: Deferred.makeUnsafe<void>() }
    this.listeners.add(listener)
    return listener
  }

  leave(listener: Listener | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (listener !== undefined) {
        this.listeners.delete(listener)
        Deferred.doneUnsafe(listener.gone, Exit.void)
      }
      if (--this.waiting > 0 || this.kept || this.run === undefined) return Effect.void
      this.ending = true
      return this.run.interrupt
    })
  }
}

/** Counted as waiting when it returns, and only then. */
type Attending = Effect.Effect<readonly [Shared, Listener | undefined]>
type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

export class SharedRuns {
  private readonly live = new Map<string, Shared>()

  /** Waits for the run of this key, begun where there is none. */
  execute(
    key: string,
    beginning: Beginning,
    onProgress: OnProgress | undefined
  ): Effect.Effect<unknown, unknown> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        this.attend(key, beginning, onProgress, restore),
        ([shared, listener]) => Effect.onExit(restore(TaskRun.join(shared.run!)), () => shared.leave(listener))
      )
    )
  }

  /** The handle of the run of this key, begun where there is none: it ends by itself or by its handle. */
  fork(key: string, beginning: Beginning, onProgress: OnProgress | undefined): Effect.Effect<AnyRun> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.map(this.attend(key, beginning, onProgress, restore), ([shared]) => {
        shared.kept = true
        shared.waiting--
        return shared.run!
      })
    )
  }

  private attend(
    key: string,
    beginning: Beginning,
    onProgress: OnProgress | undefined,
    restore: Restore
  ): Attending {
    const again = Effect.suspend(() => this.attend(key, beginning, onProgress, restore))
    return Effect.suspend(() => {
      const known = this.live.get(key)
      if (known === undefined) return this.begin(key, beginning, onProgress, restore)
      if (known.ending) return Effect.andThen(restore(known.run!.exit), again)
      known.waiting++
      const listener = known.listen(onProgress)
      const attending: readonly [Shared, Listener | undefined] = [known, listener]
      if (known.run !== undefined) return Effect.succeed(attending)
      return Effect.flatMap(
        // Whoever begins it may wait for room in a bounded queue: not for the slot of who waits here.
        Effect.onInterrupt(restore(Concurrency.lend(Deferred.await(known.begun))), () => known.leave(listener)),
        (run) => run === undefined ? again : Effect.succeed(attending)
      )
    })
  }

  private begin(
    key: string,
    { find, submit }: Beginning,
    onProgress: OnProgress | undefined,
    restore: Restore
  ): Attending {
    const forget = () => {
      if (this.live.get(key) === shared) this.live.delete(key)
    }
    const shared: Shared = new Shared(forget)
    const listener = shared.listen(onProgress)
    this.live.set(key, shared)
    return Effect.flatMap(Effect.exit(restore(submit(shared))), (exit): Attending => {
      if (Exit.isSuccess(exit)) {
        shared.began(exit.value)
        return Effect.succeed([shared, listener])
      }
      const lost = shared.run === undefined && Cause.hasInterrupts(exit.cause) ? find : Effect.succeed(shared.run)
      return Effect.flatMap(lost, (run) => {
        if (run !== undefined) {
          shared.began(run)
          return Effect.andThen(shared.leave(listener), Effect.failCause(exit.cause))
        }
        forget()
        Deferred.doneUnsafe(shared.begun, Exit.succeed(undefined))
        return Effect.failCause(exit.cause)
      })
    })
  }
}

/** Without counting as somebody who looks: a failure nobody waits for is still told. */
const whenEnded = (run: AnyRun, f: () => void): void => {
  if (run instanceof TaskRun.Handle) {
    const { observed } = run
    run.observe(f, true)
    run.observed = observed
  } else Effect.runFork(run.exit).addObserver(f)
}
