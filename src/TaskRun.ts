/**
 * One execution of a task: identity and handle.
 *
 * A handle is not an Effect; `join` is how one waits for it. Inside a run, waiting for another run lends the waiter's slot, so nested work
 * cannot deadlock on the very slot its parent sits on.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Stream from "effect/Stream"
import * as Concurrency from "./Concurrency.ts"
import type { InvalidOptionError } from "./InvalidOptionError.ts"

const TypeId = "~tasklayer/TaskRun"

/** A handle on one execution. */
export interface TaskRun<out A, out E = never> {
  readonly [TypeId]: { readonly _A: (_: never) => A; readonly _E: (_: never) => E }
  readonly id: string
  readonly name: string
  readonly tags: ReadonlyArray<string>
  /** The id of the run it was submitted from, if any. */
  readonly parent: string | undefined
  /** The id of the oldest ancestor; its own where it has none. */
  readonly root: string
  /** The lane whose scheduler runs it, if that is one of `Lanes`. */
  readonly lane?: string | undefined
  readonly state: Effect.Effect<RunState>
  /** Waits for the end, lending the caller's slot; readable after the scheduler closed. */
  readonly exit: Effect.Effect<Exit.Exit<A, E>>
  /** Interrupts it and waits until it has ended; a waiting run is removed at once. */
  readonly interrupt: Effect.Effect<void>
}

/** Why a run waits: for room in a limit (`"maxParallelism"` or a tag), for a time, or for other runs (ids). */
export type WaitReason =
  | { readonly _tag: "Limit"; readonly limit: string }
  | { readonly _tag: "Retry"; readonly at: DateTime.Utc }
  | { readonly _tag: "Due"; readonly at: DateTime.Utc }
  | { readonly _tag: "Runs"; readonly runs: ReadonlyArray<string> }

/** How a run ended. */
export type Outcome =
  | { readonly _tag: "Succeeded" }
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "Died"; readonly cause: Cause.Cause<unknown> }
  | { readonly _tag: "Interrupted"; readonly cause: Cause.Cause<unknown> }
  /** `Task.withTimeout` passed. */
  | { readonly _tag: "TimedOut"; readonly cause: Cause.Cause<unknown> }
  /** By the task itself; not a failure, never retried. */
  | { readonly _tag: "Aborted"; readonly reason: string; readonly cause: Cause.Cause<unknown> }
  /** Never admitted; nothing of it ran. */
  | { readonly _tag: "Refused"; readonly error: Concurrency.AdmissionError; readonly cause: Cause.Cause<unknown> }
  /** Ignored interruption when its scheduler stopped. */
  | { readonly _tag: "Abandoned"; readonly cause: Cause.Cause<unknown> }

export type RunState =
  | { readonly _tag: "Waiting"; readonly for: ReadonlyArray<WaitReason> }
  | { readonly _tag: "Running"; readonly attempt: number }
  /** Its slot is away while it waits for these runs (ids). */
  | { readonly _tag: "Suspended"; readonly on: ReadonlyArray<string> }
  | { readonly _tag: "Finished"; readonly outcome: Outcome }

/** The run an effect is inside of; outside one, a type error. */
export class CurrentRun extends Context.Service<CurrentRun, TaskRun<unknown, unknown> & { readonly attempt: number }>()(
  "tasklayer/CurrentRun"
) {}

export const isTaskRun = (u: unknown): u is TaskRun<unknown, unknown> => Predicate.hasProperty(u, TypeId)

/** Waits for the result; what the run failed with, the joiner fails with. Interrupting the joiner leaves the run alone. */
export const join = <A, E>(self: TaskRun<A, E>): Effect.Effect<A, E> =>
  self instanceof Handle
    ? Effect.withFiber((fiber) => self.joined(fiber.context, undefined))
    : Effect.flatten(Concurrency.lend(self.exit))

/** Waits for all, whatever became of them, in the order given. */
export const awaitAll = <A, E>(runs: Iterable<TaskRun<A, E>>): Effect.Effect<Array<Exit.Exit<A, E>>> =>
  Effect.suspend(() => {
    const all = [...runs]
    return Effect.andThen(
      awaitHandles(all, false),
      Effect.forEach(
        all,
        (run): Effect.Effect<Exit.Exit<A, E>> => run instanceof Handle ? Effect.succeed(run.settled!) : run.exit
      )
    )
  })

/** Waits for the first to end. Of none: never. */
export const awaitAny = <A, E>(runs: Iterable<TaskRun<A, E>>): Effect.Effect<TaskRun<A, E>> =>
  Effect.suspend((): Effect.Effect<TaskRun<A, E>> => {
    const all = [...runs]
    if (all.length === 0) return Effect.never
    if (all.every((run) => run instanceof Handle)) {
      return Effect.map(awaitHandles(all, true), () => all.find((run) => (run as Handle<A, E>).settled !== undefined)!)
    }
    return Concurrency.lend(Effect.raceAllFirst(all.map((run) => Effect.as(run.exit, run))))
  })

/** Each run once it has ended, in the order they end. */
export const asCompleted = <A, E>(runs: Iterable<TaskRun<A, E>>): Stream.Stream<TaskRun<A, E>> =>
  Stream.unwrap(Effect.withFiber((fiber) => {
    const pending = new Set([...runs].map((run) => ({ run })))
    const ended: Array<TaskRun<A, E>> = []
    let next = 0
    let tell: (() => void) | undefined
    const all = pending.size
    for (const entry of pending) {
      const end = () => {
        pending.delete(entry)
        ended.push(entry.run)
        tell?.()
      }
      if (entry.run instanceof Handle) entry.run.observe(end, true)
      else Effect.runForkWith(fiber.context)(entry.run.exit).addObserver(end)
    }
    const another = Effect.withFiber<void>((fiber) => {
      // Named only where a wait could close a cycle: inside a run.
      const inside = Concurrency.innermost(fiber.context) !== undefined
      const targets = inside ? [...pending].map(({ run }) => run).filter((run) => run instanceof Handle) : []
      return Concurrency.waitFor(fiber.context, targets, true, (done) => {
        tell = done
        return () => {
          tell = undefined
        }
      }, () => Effect.void)
    })
    return Effect.succeed(Stream.unfold(undefined, () =>
      Effect.suspend(() => {
        if (next === all) return Effect.succeed(undefined)
        const emit = Effect.sync(() => [ended[next++]!, undefined] as const)
        return next < ended.length ? emit : Effect.andThen(another, emit)
      })))
  }))

/** Waits so long at most, and says who has ended and who has not; nobody is interrupted. */
export const awaitFor = <A, E>(
  runs: Iterable<TaskRun<A, E>>,
  limit: Duration.Input
): Effect.Effect<
  { readonly done: ReadonlyArray<TaskRun<A, E>>; readonly pending: ReadonlyArray<TaskRun<A, E>> },
  InvalidOptionError
> =>
  Effect.gen(function*() {
    const duration = yield* Concurrency.orFail(() => Concurrency.checkDuration("TaskRun.awaitFor", "limit", limit))
    const all = [...runs]
    yield* Effect.timeoutOption(awaitAll(all), duration)
    const done: Array<TaskRun<A, E>> = []
    const pending: Array<TaskRun<A, E>> = []
    for (const run of all) {
      const state = yield* run.state
      ;(state._tag === "Finished" ? done : pending).push(run)
    }
    return { done, pending }
  })

/** A task ended itself for a reason that is no failure. Arrives as a defect; never retried. */
export class TaskAborted extends Data.TaggedError("TaskAborted")<{ readonly reason: string }> {
  override get message(): string {
    return `aborted: ${this.reason}`
  }
}

// ─── for runners

type Observer = () => void

/** The part of a handle that waiting stands on. @internal */
export abstract class Handle<A, E> extends Concurrency.Slot implements TaskRun<A, E> {
  declare readonly [TypeId]: TaskRun<A, E>[typeof TypeId]
  /** Set once, at the end. */
  settled: Exit.Exit<A, E> | undefined = undefined
  /** Somebody looked, or waits: a failure is not silent. */
  observed = false
  /** Those that take slots back, told before freed slots go to new work; then everybody else. */
  private early: Observer | Array<Observer> | undefined = undefined
  private late: Observer | Array<Observer> | undefined = undefined

  abstract readonly tags: ReadonlyArray<string>
  abstract readonly parent: string | undefined
  abstract readonly root: string
  abstract readonly state: Effect.Effect<RunState>
  abstract override interruptUnsafe(by?: number): void

  get exit(): Effect.Effect<Exit.Exit<A, E>> {
    return Effect.withFiber((fiber) => {
      this.observed = true
      return this.settled !== undefined
        ? Effect.succeed(this.settled)
        : this.wait(fiber.context, () => Effect.succeed(this.settled!), undefined)
    })
  }

  get interrupt(): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      if (this.settled !== undefined) return Effect.void
      this.observed = true
      this.interruptUnsafe(fiber.id)
      return this.settled !== undefined ? Effect.void : this.ended(fiber.context)
    })
  }

  /** Waits for the end without asking whether it can come: the run is being interrupted. */
  ended(context: Context.Context<never>): Effect.Effect<void> {
    if (this.settled !== undefined) return Effect.void
    return Concurrency.waitFor(context, [], false, (done) => this.observe(done, true), () => Effect.void)
  }

  /** The result, once there; `onInterrupt` is what happens to the run when the waiter is interrupted. */
  joined(context: Context.Context<never>, onInterrupt: (() => Effect.Effect<void>) | undefined): Effect.Effect<A, E> {
    this.observed = true
    if (this.settled !== undefined) return this.settled
    if (onInterrupt !== undefined || Concurrency.innermost(context) !== undefined) {
      return this.wait(context, () => this.settled!, onInterrupt)
    }
    // The commonest wait, of a fiber outside every run: nothing is lent and no cycle can close.
    return Effect.callback((resume) => {
      // The fiber may have yielded since, and the run settled.
      if (this.settled !== undefined) return resume(this.settled)
      const done = () => resume(this.settled!)
      this.late = added(this.late, done)
      return Effect.sync(() => {
        this.late = removed(this.late, done)
      })
    })
  }

  private wait<A2, E2>(
    context: Context.Context<never>,
    result: () => Effect.Effect<A2, E2>,
    onInterrupt: (() => Effect.Effect<void>) | undefined
  ): Effect.Effect<A2, E2> {
    return Concurrency.waitFor(context, [this], false, (done, lends) => this.observe(done, lends), result, onInterrupt)
  }

  /** Calls `f` at the end, once; returns how to stop. */
  observe(f: Observer, early: boolean): () => void {
    if (this.settled !== undefined) {
      f()
      return noop
    }
    this.observed = true
    if (early) this.early = added(this.early, f)
    else this.late = added(this.late, f)
    return () => {
      this.early = removed(this.early, f)
      this.late = removed(this.late, f)
    }
  }

  tellEarly(): void {
    const early = this.early
    this.early = undefined
    tell(early)
  }

  tellLate(): void {
    const late = this.late
    this.late = undefined
    tell(late)
  }
}

Object.defineProperty(Handle.prototype, TypeId, { value: { _A: (_: never) => _, _E: (_: never) => _ } })

const noop = () => {}

const added = (list: Observer | Array<Observer> | undefined, f: Observer): Observer | Array<Observer> => {
  if (list === undefined) return f
  if (typeof list === "function") return [list, f]
  list.push(f)
  return list
}

const removed = (list: Observer | Array<Observer> | undefined, f: Observer): Observer | Array<Observer> | undefined => {
  if (list === f) return undefined
  if (typeof list === "object") {
    const index = list.indexOf(f)
    if (index >= 0) list.splice(index, 1)
  }
  return list
}

const tell = (list: Observer | Array<Observer> | undefined): void => {
  if (list === undefined) return
  if (typeof list === "function") return list()
  for (let i = 0; i < list.length; i++) list[i]!()
}

/** Waits for all of these, or for any. Handles that are not ours are waited for one after another. */
const awaitHandles = (runs: ReadonlyArray<TaskRun<unknown, unknown>>, any: boolean): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const handles: Array<Handle<unknown, unknown>> = []
    for (const run of runs) {
      if (run instanceof Handle) {
        run.observed = true
        if (run.settled === undefined) handles.push(run)
        else if (any) return Effect.void
      }
    }
    const foreign = runs.filter((run) => !(run instanceof Handle))
    const others = foreign.length === 0 || any
      ? Effect.void
      : Concurrency.lend(Effect.forEach(foreign, (run) => run.exit, { discard: true }))
    if (handles.length === 0) return others
    return Effect.andThen(
      Concurrency.waitFor(fiber.context, handles, any, (done, lends) => {
        let left = any ? 1 : handles.length
        const offs: Array<() => void> = []
        const one = () => {
          if (--left !== 0) return
          // Those that lost keep no trace of the wait.
          if (any) { for (const off of offs) off() }
          done()
        }
        for (const handle of handles) offs.push(handle.observe(one, lends))
        return () => {
          left = 0
          for (const off of offs) off()
        }
      }, () => Effect.void),
      others
    )
  })

/** What an exit says of a run that was admitted. @internal */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>, timedOut: boolean): Outcome => {
  if (Exit.isSuccess(exit)) return succeeded
  const cause = exit.cause
  for (const reason of cause.reasons) {
    if (reason._tag === "Die" && reason.defect instanceof TaskAborted) {
      return { _tag: "Aborted", reason: reason.defect.reason, cause }
    }
  }
  if (cause.reasons.some((reason) => reason._tag === "Die")) return { _tag: "Died", cause }
  if (cause.reasons.some((reason) => reason._tag === "Fail")) return { _tag: timedOut ? "TimedOut" : "Failed", cause }
  return cause.reasons.length === 0 ? { _tag: "Died", cause } : { _tag: "Interrupted", cause }
}

const succeeded: Outcome = { _tag: "Succeeded" }
