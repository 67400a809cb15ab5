/** What a runner and its hosts say to each other. Everything here can be cloned. */
import type * as Concurrency from "../../Concurrency.ts"
import type { ExecuteOptions, JobInfo, Reply } from "../../Job.ts"
import type * as RunEvent from "../../RunEvent.ts"
import type { RunState } from "../../TaskRun.ts"

/** A host runs one call at a time. */
export type ToHost =
  | {
    readonly _tag: "Run"
    readonly call: number
    readonly job: string
    readonly payload: unknown
    readonly run: RunEvent.RunInfo & { readonly attempt: number }
    /** The span the run is inside of; left out where nobody traces. */
    readonly span?: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
    /** For the time of this call. Processes only. */
    readonly env?: Readonly<Record<string, string>> | undefined
  }
  | { readonly _tag: "Interrupt"; readonly call: number }
  /** Answered at once by a host whose event loop turns. */
  | { readonly _tag: "Ping"; readonly ping: number }
  | { readonly _tag: "Answer"; readonly request: number; readonly answer: unknown }
  /** Close the Layer of handlers, then end. */
  | { readonly _tag: "Stop" }

export type FromHost =
  | { readonly _tag: "Ready"; readonly jobs: ReadonlyArray<JobInfo> }
  | { readonly _tag: "NotReady"; readonly error: string }
  | { readonly _tag: "Reply"; readonly call: number; readonly reply: Reply }
  | { readonly _tag: "Pong"; readonly ping: number }
  | {
    readonly _tag: "Log"
    readonly call: number | undefined
    readonly level: string
    readonly at: number
    readonly message: ReadonlyArray<unknown>
    readonly annotations: Readonly<Record<string, unknown>>
    readonly spans: ReadonlyArray<readonly [label: string, since: number]>
  }
  /** Asked by the handler of a call; answered with the same number. */
  | { readonly _tag: "Request"; readonly call: number; readonly request: number; readonly ask: Ask }
// Spans: added by whoever builds them.

/** What a handler may want of the runner it is run by. */
export type Ask =
  | { readonly _tag: "Progress"; readonly value: unknown }
  | {
    readonly _tag: "Fork"
    readonly job: string
    readonly payload: unknown
    readonly options: Omit<ExecuteOptions, "onProgress"> & Concurrency.Demand
  }
  | { readonly _tag: "Exit" | "Interrupt" | "State"; readonly run: string }

export type { RunState }
