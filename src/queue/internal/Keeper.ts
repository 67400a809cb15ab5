/** A lease renewed from another thread, for as long as the event loop of this one is not blocked for too long. */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { Worker } from "node:worker_threads"
import { alive, type KeeperData, monotonic, until } from "./KeeperShared.ts"
import type { Keeper } from "./StorePort.ts"

export interface Kept {
  /** When the lease ends, as far as is known, in monotonic milliseconds. */
  readonly until: number
  /** Returns when it renews no more: the lease has ended, or the thread has. */
  readonly stopped: Effect.Effect<"ended" | "failed">
}

export interface Asked {
  readonly worker: string
  readonly lasts: number
  readonly until: number
  readonly maxBlocked: number
}

/** The thread ends with the scope. */
export const keep = (keeper: Keeper, asked: Asked): Effect.Effect<Kept, never, Scope> =>
  Effect.gen(function*() {
    const shared = new Float64Array(new SharedArrayBuffer(16))
    shared[until] = asked.until
    shared[alive] = monotonic()
    let how: "ended" | "failed" | undefined
    let tell = () => {}
    const stop = (as: "ended" | "failed") => {
      how ??= as
      tell()
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const workerData: KeeperData = { keeper, shared, ...asked }
        // Nothing of how this process was started is for a thread that does but one thing.
        const thread = new Worker(new URL(`./keeperThread${extension}`, import.meta.url), { workerData, execArgv: [] })
        thread.unref()
        thread.on("message", () => stop("ended"))
        thread.on("error", () => stop("failed"))
        thread.on("exit", () => stop("failed"))
        return thread
      }),
      (thread) => Effect.promise(() => thread.terminate())
    )
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        const turn = () => void (shared[alive] = monotonic())
        return setInterval(turn, Math.min(500, asked.maxBlocked / 4)).unref()
      }),
      (timer) => Effect.sync(() => clearInterval(timer))
    )
    return {
      get until() {
        return shared[until]!
      },
      stopped: Effect.callback<"ended" | "failed">((resume) => {
        tell = () => resume(Effect.succeed(how!))
        if (how !== undefined) tell()
      })
    }
  })

/** From source or compiled. */
const extension = import.meta.url.slice(import.meta.url.lastIndexOf("."))
