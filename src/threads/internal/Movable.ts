/** What may be moved to another thread instead of being copied. */
import { isMarkedAsUntransferable } from "node:worker_threads"

/** Each once, without what cannot be: memory that is shared, or that Node keeps for its small buffers. */
export const movable = (collected: ReadonlyArray<unknown>): ReadonlyArray<unknown> => {
  if (collected.length === 0) return collected
  return [...new Set(collected)].filter((one) =>
    !(one instanceof SharedArrayBuffer) && !(typeof one === "object" && one !== null && isMarkedAsUntransferable(one))
  )
}
