/** What a runner and its hosts say to each other. Everything here can be cloned. */
import type * as Duration from "effect/Duration"
import type { Limit } from "../../Concurrency.ts"
import type { ExecuteOptions, JobInfo, Reply } from "../../Job.ts"
import type * as RunEvent from "../../RunEvent.ts"
import type { WaitReason } from "../../TaskRun.ts"

/** A host runs one call at a time. */
export type ToHost =
  | Run
  | Usual
  | { readonly _tag: "Interrupt"; readonly call: number }
  /** Answered at once by a host whose event loop turns. */
  | { readonly _tag: "Ping"; readonly ping: number }
  | { readonly _tag: "Answer"; readonly request: number; readonly answer: Answer }
  /** Of what was asked for by this request. Answered by `Told` with the same number, once. */
  | {
    readonly _tag: "Query"
    readonly call: number
    readonly query: number
    readonly request: number
    readonly about: About
  }
  /** Close the Layer of handlers, then end. */
  | { readonly _tag: "Stop" }

/** Sent with every call, so it is as short as it can be: a record costs more to clone than a list. */
export type Run = readonly [
  call: number,
  job: string,
  payload: unknown,
  id: string,
  attempt: number,
  more: RunMore | undefined
]

export const isRun = (message: ToHost): message is Run => Array.isArray(message)

/** What is not as usual: no parent, the tags that every run of the job has, no span. */
export interface RunMore {
  readonly parent?: string | undefined
  readonly root?: string | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  /** The span the run is inside of. */
  readonly span?: SpanId | undefined
  /** For the time of this call. Processes only. */
  readonly env?: Env | undefined
}

/** How it is with the runs that follow. */
export interface Usual {
  readonly _tag: "Usual"
  /** The id of the runner. */
  readonly runner: string
  readonly lane: string | undefined
  /** What is below is not even sent. */
  readonly minimumLogLevel: string
  /** Somebody wants to know of spans. */
  readonly traced: boolean
}

/** `undefined` takes a variable away. */
export type Env = Readonly<Record<string, string | undefined>>

export type RunInfo = RunEvent.RunInfo

export interface SpanId {
  readonly traceId: string
  readonly spanId: string
  readonly sampled: boolean
}

export type FromHost =
  | { readonly _tag: "Ready"; readonly jobs: ReadonlyArray<JobInfo> }
  | { readonly _tag: "NotReady"; readonly error: string }
  | Replied
  | { readonly _tag: "Pong"; readonly ping: number }
  | Log
  | SpanStarted
  | SpanEnded
  /** Asked by the handler of a call; answered with the same number, once. */
  | { readonly _tag: "Request"; readonly call: number; readonly request: number; readonly ask: Ask }
  /** Who asked was interrupted: the answer follows when what was asked for has ended. */
  | { readonly _tag: "Cancel"; readonly call: number; readonly request: number }
  | { readonly _tag: "Told"; readonly call: number; readonly query: number; readonly delay?: number | undefined }

/** Of a success its value alone. */
export type Replied = readonly [call: number, value: unknown] | readonly [call: number, value: undefined, reply: Reply]

export const isReply = (message: FromHost): message is Replied => Array.isArray(message)

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

export interface SpanStarted {
  readonly _tag: "SpanStarted"
  readonly call: number
  readonly name: string
  readonly span: SpanId
  /** The id of its parent; left out where that is of another trace, or it has none. */
  readonly parent?: string | undefined
  readonly root: boolean
  readonly kind: "internal" | "server" | "client" | "producer" | "consumer"
  readonly startTime: bigint
  readonly links: ReadonlyArray<SpanLink>
}

export interface SpanLink {
  readonly span: SpanId
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface SpanEnded {
  readonly _tag: "SpanEnded"
  readonly call: number
  readonly spanId: string
  readonly endTime: bigint
  readonly attributes: ReadonlyArray<readonly [key: string, value: unknown]>
  readonly events: ReadonlyArray<readonly [name: string, at: bigint, attributes: Record<string, unknown>]>
  /** Those added since it started. */
  readonly links: ReadonlyArray<SpanLink>
  /** Encoded; left out where it succeeded. */
  readonly cause?: unknown
}

/** What a handler may want of the runner it is run by. */
export type Ask =
  | { readonly _tag: "Progress"; readonly value: unknown }
  | Submission & { readonly _tag: "Fork" | "Execute" }
  | { readonly _tag: "Exit" | "Interrupt" | "State"; readonly run: string }

/** A job and what its options come to. */
export interface Submission {
  readonly job: string
  readonly payload: unknown
  readonly options: Omit<ExecuteOptions, "onProgress">
  /** Of each attempt, in milliseconds. */
  readonly timeout: Duration.Input | undefined
  readonly limit: Limit | undefined
  readonly idempotencyKey?: string | undefined
  /** Whether another attempt follows is asked of the host. */
  readonly retries: boolean
  readonly retryCrashes: boolean
  /** Somebody listens to its progress. */
  readonly progress: boolean
}

export type About =
  /** An attempt ended so: whether another follows, and after how many milliseconds. */
  | { readonly _tag: "Retry"; readonly end: End }
  | { readonly _tag: "Progress"; readonly value: unknown }

export type Answer =
  | { readonly _tag: "Done" }
  /** Forked. */
  | { readonly _tag: "Run"; readonly run: RunInfo }
  | { readonly _tag: "End"; readonly end: End }
  | { readonly _tag: "State"; readonly state: State }
  /** It could not be asked for: the waiting fiber ends so. */
  | { readonly _tag: "Not"; readonly end: End }
  /** The call it was asked by is over. */
  | { readonly _tag: "Over" }

/** How something ended: as the job's schemas encode it, or by an error of ours. */
export type End =
  | { readonly _tag: "Reply"; readonly reply: Reply }
  | { readonly _tag: "Known"; readonly error: Known; readonly dies: boolean }

/** Our own errors, as plain records. */
export interface Known {
  readonly _tag: string
}

export type State =
  | { readonly _tag: "Waiting"; readonly for: ReadonlyArray<Waiting> }
  | { readonly _tag: "Running"; readonly attempt: number }
  | { readonly _tag: "Suspended"; readonly on: ReadonlyArray<string> }
  | { readonly _tag: "Finished"; readonly outcome: string; readonly end: End }

/** With its time as milliseconds. */
export type Waiting =
  | Exclude<WaitReason, { readonly at: unknown }>
  | { readonly _tag: "Retry" | "Due"; readonly at: number }
