/** What a runner and its hosts say to each other. Everything here can be cloned. */
import type * as Concurrency from "../../Concurrency.ts"
import type { ExecuteOptions, JobInfo, Reply } from "../../Job.ts"
import type * as RunEvent from "../../RunEvent.ts"

/** A host runs one call at a time. */
export type ToHost =
  | Run
  | { readonly _tag: "Interrupt"; readonly call: number }
  /** Answered at once by a host whose event loop turns. */
  | { readonly _tag: "Ping"; readonly ping: number }
  | { readonly _tag: "Answer"; readonly request: number; readonly answer: Answer }
  /** Close the Layer of handlers, then end. */
  | { readonly _tag: "Stop" }

export interface Run {
  readonly _tag: "Run"
  readonly call: number
  readonly job: string
  readonly payload: unknown
  readonly run: RunEvent.RunInfo & { readonly attempt: number }
  /** What is below is not even sent. */
  readonly minimumLogLevel: string
  /** The span the run is inside of; left out where there is none. */
  readonly span?: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
  /** Somebody wants to know of spans. */
  readonly traced: boolean
  /** For the time of this call. Processes only. */
  readonly env?: Env | undefined
}

/** `undefined` takes a variable away. */
export type Env = Readonly<Record<string, string | undefined>>

export type FromHost =
  | { readonly _tag: "Ready"; readonly jobs: ReadonlyArray<JobInfo> }
  | { readonly _tag: "NotReady"; readonly error: string }
  | { readonly _tag: "Reply"; readonly call: number; readonly reply: Reply }
  | { readonly _tag: "Pong"; readonly ping: number }
  | Log
  /** Asked by the handler of a call; answered with the same number, once. */
  | { readonly _tag: "Request"; readonly call: number; readonly request: number; readonly ask: Ask }
  /** Who asked was interrupted: the answer follows when what was asked for has ended. */
  | { readonly _tag: "Cancel"; readonly call: number; readonly request: number }

export interface Log {
  readonly _tag: "Log"
  /** `"current"`: of whatever runs there, if anything does. */
  readonly call: number | "current" | undefined
  readonly level: string
  readonly at: number
  readonly message: ReadonlyArray<unknown>
  /** Encoded; left out where there is none. */
  readonly cause?: unknown
  readonly annotations: Readonly<Record<string, unknown>>
  readonly spans: ReadonlyArray<readonly [label: string, since: number]>
}

/** What a handler may want of the runner it is run by. */
export type Ask =
  | { readonly _tag: "Progress"; readonly value: unknown }
  | { readonly _tag: "Fork" | "Execute"; readonly job: string; readonly payload: unknown; readonly options: AskOptions }
  | { readonly _tag: "Exit" | "Interrupt" | "State"; readonly run: string }

export type AskOptions = Omit<ExecuteOptions, "onProgress"> & Concurrency.Demand

export type Answer = unknown
