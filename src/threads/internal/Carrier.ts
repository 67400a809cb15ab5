/** One thread or process that hosts handlers: what the pool needs of it, whichever it is. */
import type * as Effect from "effect/Effect"
import type { JobCrashedError } from "../../Job.ts"
import type { FromHost, ToHost } from "./Wire.ts"

export interface Carrier {
  /** As `tasklayer-<lane or runner>-<n>`; a thread is called so. */
  readonly name: string
  /** Throws when a value cannot be cloned. Given to one that is gone: nothing. */
  readonly post: (message: ToHost, transfer: ReadonlyArray<unknown>) => void
  /** Whether it keeps this process alive; only while it works. */
  readonly hold: (held: boolean) => void
  /** Ends it, whatever it is doing. Returns when it is gone; `onGone` was called before. */
  readonly kill: Effect.Effect<void>
}

/** Why it is gone, as far as that is known. */
export type Gone = Pick<JobCrashedError, "reason" | "exitCode" | "signal" | "detail">

export interface Listening {
  readonly name: string
  readonly onMessage: (message: FromHost) => void
  /** Once, after its last message. */
  readonly onGone: (gone: Gone) => void
}

/** Starts one. It is of use once it has said `Ready`. */
export type Start = (listening: Listening) => Effect.Effect<Carrier>
