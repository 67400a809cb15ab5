/** What may be moved to another thread instead of being copied. */
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { isMarkedAsUntransferable } from "node:worker_threads"

/** Each once, without what cannot be: memory that is shared, or that Node keeps for its small buffers. */
export const movable = (collected: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  if (collected.length === 0) return collected
  return [...new Set(collected)].filter((one) =>
    !(one instanceof SharedArrayBuffer) && !(typeof one === "object" && one !== null && isMarkedAsUntransferable(one))
  )
}

/** Nearly all schemas need neither services nor time: what they make of a value is there at once, and nothing of it was collected. */
export const isDone = <A, E>(coded: Effect.Effect<A, E>): coded is Exit.Success<A, E> =>
  Exit.isExit(coded) && coded._tag === "Success"
