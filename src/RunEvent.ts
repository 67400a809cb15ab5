/**
 * Facts about runs, runners and flows, in the past tense: what happened, when, on which scheduler.
 *
 * Each fact is told once and in order. A listener is a plain function, called at once; one that throws or is slow hurts neither runs nor the
 * other listeners, and an event is not even built while nobody listens.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import type * as Supervisor from "./Supervisor.ts"
import type * as TaskRun from "./TaskRun.ts"

/** Whose fact it is: a snapshot of the run's identity. */
export interface RunInfo {
  readonly id: string
  readonly name: string
  readonly tags: ReadonlyArray<string>
  readonly parent: string | undefined
  readonly root: string
  /** The lane whose scheduler runs it; left out where that is none of `Lanes`. */
  readonly lane?: string | undefined
}

interface Fact {
  readonly at: DateTime.Utc
  /** The id of the scheduler; `""` for the facts of flows. */
  readonly scheduler: string
}

interface RunFact extends Fact {
  readonly run: RunInfo
}

/** The run was accepted, or refused on the spot. */
export interface Submitted extends RunFact {
  readonly _tag: "Submitted"
}

/** An attempt asked for its slot. `for` is empty when it was admitted at once. */
export interface Waiting extends RunFact {
  readonly _tag: "Waiting"
  readonly for: ReadonlyArray<TaskRun.WaitReason>
}

/** The body of an attempt (counted from 1) began. */
export interface Started extends RunFact {
  readonly _tag: "Started"
  readonly attempt: number
}

/** The run gave its slot away to wait for other runs (`on`, by id). */
export interface Suspended extends RunFact {
  readonly _tag: "Suspended"
  readonly on: ReadonlyArray<string>
}

/** The run took its slot back. */
export interface Resumed extends RunFact {
  readonly _tag: "Resumed"
}

/** An attempt failed and another will follow at `retryAt`. */
export interface AttemptFailed extends RunFact {
  readonly _tag: "AttemptFailed"
  readonly attempt: number
  readonly cause: Cause.Cause<unknown>
  readonly retryAt: DateTime.Utc
}

/** The end of the run, once. */
export interface Finished extends RunFact {
  readonly _tag: "Finished"
  readonly outcome: TaskRun.Outcome
  /** From submission to the first start, or to the end of a run that never started. */
  readonly inQueue: Duration.Duration
  /** From the first start to the end; zero for a run that never started. */
  readonly duration: Duration.Duration
  readonly total: Duration.Duration
}

/** A scheduler began to accept work. */
export interface RunnerStarted extends Fact {
  readonly _tag: "RunnerStarted"
  readonly name: string
}

/** A scheduler has stopped, and how that went. */
export interface RunnerStopped extends Fact {
  readonly _tag: "RunnerStopped"
  readonly name: string
  readonly report: Supervisor.Report
}

interface FlowFact extends Fact {
  /** The name given to `Flow.make`. */
  readonly flow: string
  readonly id: string
  /** The generated name of this flow run. */
  readonly name: string
  /** The id of the flow run this one is inside of. */
  readonly parent: string | undefined
}

/** A flow began; its runner starts next. */
export interface FlowStarted extends FlowFact {
  readonly _tag: "FlowStarted"
}

/** A flow ended, after its runner had stopped. */
export interface FlowFinished extends FlowFact {
  readonly _tag: "FlowFinished"
  readonly outcome: TaskRun.Outcome
}

/** Any fact. */
export type RunEvent =
  | Submitted
  | Waiting
  | Started
  | Suspended
  | Resumed
  | AttemptFailed
  | Finished
  | RunnerStarted
  | RunnerStopped
  | FlowStarted
  | FlowFinished

/** Told of each event, at once and in order. */
export type Listener = (event: RunEvent) => void

/**
 * Who listens, from the edge inwards (default: nobody). `RunLog`, `Metrics` and a dashboard add themselves by Layer; every scheduler and flow
 * built below publishes there as well as to its own `events`.
 */
export const Listeners: Context.Reference<ReadonlyArray<Listener>> = Context.Reference<ReadonlyArray<Listener>>(
  "tasklayer/RunEvent/Listeners",
  { defaultValue: () => [] }
)

/** Tells each listener, in order; what one of them throws stops nobody. */
export const publish = (listeners: ReadonlyArray<Listener>, event: RunEvent): void => {
  for (let i = 0; i < listeners.length; i++) {
    try {
      listeners[i]!(event)
    } catch (error) {
      reportThrow(error)
    }
  }
}

let reported = 0

// A throwing listener is a bug worth one line, not a line an event.
const reportThrow = (error: unknown): void => {
  if (++reported <= 3) globalThis.console.error("tasklayer: a RunEvent listener threw", error)
}
