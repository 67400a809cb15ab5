/**
 * A pool that remembers: every run in order of submission, every event, and runs held back until the test lets them go.
 *
 * It is `Scheduler.layer` in all else. A held run has been admitted: it has its slot, counts as Running and was Started, but nothing of its body
 * (nor of its timeout) has begun. So a hold fills a pool, and what waits behind it is really waiting. A stop interrupts held runs like others.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Concurrency from "../Concurrency.ts"
import * as RunEvent from "../RunEvent.ts"
import * as Scheduler from "../Scheduler.ts"
import * as TaskRun from "../TaskRun.ts"

export interface LayerOptions extends Scheduler.LayerOptions {
  /** Holds every run from the start. Default: none. */
  readonly held?: boolean | undefined
}

type Run = TaskRun.TaskRun<unknown, unknown>

interface Service {
  /** Every run there ever was, in order of submission. */
  readonly runs: Effect.Effect<ReadonlyArray<Run>>
  /** Those admitted whose bodies wait for `release`, in order of submission. */
  readonly held: Effect.Effect<ReadonlyArray<Run>>
  /** Holds the runs of this name, or all, whose bodies have not begun, from now on. */
  readonly hold: (name?: string) => Effect.Effect<void>
  /** Holds the runs of this name, or any, no more. */
  readonly release: (name?: string) => Effect.Effect<void>
  readonly events: Effect.Effect<ReadonlyArray<RunEvent.RunEvent>>
}

/** What a test sees and moves of the scheduler in context. */
export class TestScheduler extends Context.Service<TestScheduler, Service>()("tasklayer/testing/TestScheduler") {}

/** A pool to test with. */
export const layer = (
  options?: LayerOptions
): Layer.Layer<TestScheduler | Scheduler.Scheduler | Concurrency.Concurrency> =>
  Layer.effectContext(Effect.gen(function*() {
    const runs: Array<Run> = []
    const events: Array<RunEvent.RunEvent> = []
    const gate = new Gate(options?.held === true)

    const listen: RunEvent.Listener = (event) => {
      events.push(event)
      // A run is the youngest of the live ones at the instant it is Submitted: its handle, however it was asked for.
      if (event._tag === "Submitted") runs.push(Effect.runSync(pool.runs).at(-1)!)
    }
    const context = yield* Layer.build(Scheduler.layer(options)).pipe(
      Effect.provideService(RunEvent.Listeners, [...yield* RunEvent.Listeners, listen])
    )
    const pool = Context.get(context, Scheduler.Scheduler)

    // The pool puts itself into the context of what it runs; the children are to come through here too.
    const watched = <A, E, R>(body: Effect.Effect<A, E, R>) =>
      gate.before(Effect.provideService(body, Scheduler.Scheduler, scheduler)) as Effect.Effect<A, E, R>
    const watchedOptions = (options: Scheduler.ForkOptions | undefined): Scheduler.ForkOptions | undefined => {
      const after = options?.after
      if (after === undefined) return options
      const next: Scheduler.Dependencies["next"] = (exits) => {
        const decided = after.next(exits)
        return Exit.isExit(decided) ? decided : { ...decided, effect: watched(decided.effect) }
      }
      return { ...options, after: { ...after, next } }
    }
    const scheduler: Scheduler.Scheduler["Service"] = {
      ...pool,
      fork: (effect, options) => pool.fork(watched(effect), watchedOptions(options)),
      run: (effect, options) => pool.run(watched(effect), watchedOptions(options))
    }

    return Context.add(context, Scheduler.Scheduler, scheduler).pipe(Context.add(TestScheduler, {
      runs: Effect.sync(() => [...runs]),
      held: Effect.suspend(() => Effect.filter(runs.filter((run) => gate.holds(run)), isRunning)),
      hold: (name) => Effect.sync(() => gate.hold(name)),
      release: (name) => Effect.sync(() => gate.release(name)),
      events: Effect.sync(() => [...events])
    }))
  }))

/** Every run there ever was, in order of submission. */
export const runs: Effect.Effect<ReadonlyArray<Run>, never, TestScheduler> = TestScheduler.use((test) => test.runs)

/** Those admitted whose bodies wait for `release`, in order of submission. */
export const held: Effect.Effect<ReadonlyArray<Run>, never, TestScheduler> = TestScheduler.use((test) => test.held)

/** Holds the runs of this name, or all, whose bodies have not begun, from now on. */
export const hold = (name?: string): Effect.Effect<void, never, TestScheduler> =>
  TestScheduler.use((test) => test.hold(name))

/** Holds the runs of this name, or any, no more. */
export const release = (name?: string): Effect.Effect<void, never, TestScheduler> =>
  TestScheduler.use((test) => test.release(name))

/** What the scheduler told so far; `RunnerStarted` comes first. */
export const events: Effect.Effect<ReadonlyArray<RunEvent.RunEvent>, never, TestScheduler> = TestScheduler.use(
  (test) => test.events
)

const isRunning = (run: Run): Effect.Effect<boolean> => Effect.map(run.state, (state) => state._tag === "Running")

/** Stands before the bodies. All names are held, or none, but for the exceptions. */
class Gate {
  private readonly exceptions = new Set<string>()
  private readonly begun = new WeakSet<Run>()
  private readonly waiting = new Map<Run, () => void>()
  private all: boolean
  constructor(all: boolean) {
    this.all = all
  }

  holds(run: Run): boolean {
    return !this.begun.has(run) && this.all !== this.exceptions.has(run.name)
  }

  before<A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | TaskRun.CurrentRun> {
    return Effect.flatMap(TaskRun.CurrentRun, (run) => {
      const begin = Effect.suspend(() => (this.begun.add(run), body))
      if (!this.holds(run)) return begin
      const released = Effect.callback<void>((resume) => {
        this.waiting.set(run, () => resume(Effect.void))
        return Effect.sync(() => void this.waiting.delete(run))
      })
      return Effect.andThen(released, begin)
    })
  }

  hold(name: string | undefined): void {
    this.except(name, true)
  }

  release(name: string | undefined): void {
    this.except(name, false)
    for (const [run, resume] of this.waiting) {
      if (this.holds(run)) continue
      this.waiting.delete(run)
      this.begun.add(run)
      resume()
    }
  }

  private except(name: string | undefined, held: boolean): void {
    if (name === undefined) {
      this.all = held
      this.exceptions.clear()
    } else if (this.all === held) this.exceptions.delete(name)
    else this.exceptions.add(name)
  }
}
