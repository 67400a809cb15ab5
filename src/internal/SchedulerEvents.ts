/** The facts of one scheduler: told to the listeners at its edge and to the readers of its `events`, and not even built while there are none. */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as Concurrency from "../Concurrency.ts"
import * as RunEvent from "../RunEvent.ts"
import type * as Supervisor from "../Supervisor.ts"
import type * as TaskRun from "../TaskRun.ts"
import type { Run } from "./SchedulerRun.ts"

export class Events {
  /** Somebody listens. */
  listening: boolean
  private isClosed = false
  private readonly outer: ReadonlyArray<RunEvent.Listener>
  private readonly inner = new Set<RunEvent.Listener>()
  private readonly readers = new Set<() => void>()
  private readonly scheduler: string
  private readonly name: string
  private readonly context: Context.Context<never>
  constructor(scheduler: string, name: string, context: Context.Context<never>) {
    this.scheduler = scheduler
    this.name = name
    this.context = context
    this.outer = Context.get(context, RunEvent.Listeners)
    this.listening = this.outer.length > 0
  }

  runnerStarted(): void {
    if (this.listening) {
      this.emit({ _tag: "RunnerStarted", at: this.now(), scheduler: this.scheduler, name: this.name })
    }
  }

  /** The last fact. */
  runnerStopped(report: Supervisor.Report): void {
    if (this.listening) {
      this.emit({ _tag: "RunnerStopped", at: this.now(), scheduler: this.scheduler, name: this.name, report })
    }
    this.isClosed = true
    for (const end of this.readers) end()
  }

  private now(): DateTime.Utc {
    return DateTime.makeUnsafe(Context.get(this.context, Clock.Clock).currentTimeMillisUnsafe())
  }

  fact(run: Run<any, any>): { at: DateTime.Utc; scheduler: string; run: RunEvent.RunInfo } {
    return { at: this.at(run.clock.currentTimeMillisUnsafe()), scheduler: this.scheduler, run: run.info }
  }

  // The four facts of every run are written out: spreading costs as much as the rest of them.
  submitted(run: Run<any, any>): void {
    this.emit({
      _tag: "Submitted",
      at: this.at(Concurrency.toMillis(run.submittedAt)),
      scheduler: this.scheduler,
      run: run.info
    })
  }

  waiting(run: Run<any, any>, reasons: ReadonlyArray<TaskRun.WaitReason>, now: number): void {
    const at = this.at(Concurrency.toMillis(now))
    this.emit({ _tag: "Waiting", at, scheduler: this.scheduler, run: run.info, for: reasons })
  }

  started(run: Run<any, any>): void {
    const now = Concurrency.since(run.clock)
    if (run.startedAt === Concurrency.NEVER) run.startedAt = now
    this.emit({
      _tag: "Started",
      at: this.at(Concurrency.toMillis(now)),
      scheduler: this.scheduler,
      run: run.info,
      attempt: run.attempt
    })
  }

  // Facts of one millisecond share its time.
  private at(millis: number): DateTime.Utc {
    return millis === this.lastMillis
      ? this.lastAt
      : (this.lastMillis = millis, this.lastAt = DateTime.makeUnsafe(millis))
  }
  private lastMillis = 0
  private lastAt = DateTime.makeUnsafe(0)

  emit(event: RunEvent.RunEvent): void {
    Object.freeze(event)
    RunEvent.publish(this.outer, event)
    if (this.inner.size > 0) RunEvent.publish([...this.inner], event)
  }

  /** Never drops and never blocks a run: what a slow reader has not read yet waits in its own queue. */
  readonly stream: Stream.Stream<RunEvent.RunEvent> = Stream.unwrap(Effect.gen({ self: this }, function*() {
    const queue = yield* Queue.unbounded<RunEvent.RunEvent, Cause.Done>()
    const listener = (event: RunEvent.RunEvent) => void Queue.offerUnsafe(queue, event)
    const end = () => void Queue.endUnsafe(queue)
    if (this.isClosed) end()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        this.inner.add(listener)
        this.readers.add(end)
        this.listening = true
      }),
      () =>
        Effect.sync(() => {
          this.inner.delete(listener)
          this.readers.delete(end)
          this.listening = this.outer.length > 0 || this.inner.size > 0
        })
    )
    return Stream.fromQueue(queue)
  }))

  /** Returns the time it was. */
  finished(run: Run<any, any>): number {
    const now = Concurrency.since(run.clock)
    // Times are only taken while somebody listens; for who came later the admission is the best that is known.
    const admitted = run.attempt > 0 ? run.since : now
    const submitted = run.submittedAt === Concurrency.NEVER ? admitted : run.submittedAt
    const started = run.startedAt === Concurrency.NEVER ? admitted : run.startedAt
    this.emit({
      _tag: "Finished",
      at: this.at(Concurrency.toMillis(now)),
      scheduler: this.scheduler,
      run: run.info,
      outcome: run.outcome,
      inQueue: millis(started - submitted),
      duration: millis(now - started),
      total: millis(now - submitted)
    })
    return now
  }
}

/** Most durations are short, and equal ones may be one. */
const short: Array<Duration.Duration> = []
const millis = (time: number): Duration.Duration =>
  time >= 0 && time < 1000 && Number.isInteger(time) ? short[time] ??= Duration.millis(time) : Duration.millis(time)
