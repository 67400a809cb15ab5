/** What can be wrong with the hosts of a runner. */
import * as Data from "effect/Data"
import type { Gone } from "./Carrier.ts"

/** Why a host did not come up. */
export type StartReason =
  /** Its Layer or its `initialise` failed. */
  | { readonly _tag: "Failed"; readonly detail: string }
  /** It ended first: its file cannot be loaded, throws, or is no host at all. */
  | { readonly _tag: "Ended" } & Gone
  /** It did not say that it was ready. */
  | { readonly _tag: "Timeout"; readonly after: number }

/** No host of this entry comes up. */
export class HostStartError extends Data.TaggedError("HostStartError")<{
  readonly entry: string
  readonly reason: StartReason
}> {
  override get message(): string {
    return `a host of ${this.entry} did not start: ${describe(this.reason)}`
  }
}

const describe = (reason: StartReason): string => {
  switch (reason._tag) {
    case "Failed":
      return reason.detail
    case "Ended":
      return reason.detail ?? (reason.signal !== undefined
        ? `it was killed by ${reason.signal}`
        : `it ended with code ${reason.exitCode} before it was ready. Does it call ThreadHost.run?`)
    case "Timeout":
      return `it was not ready within ${reason.after} ms`
  }
}
