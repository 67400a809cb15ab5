/** What a keeper's thread and whoever started it agree on. */
import type { Keeper } from "./StorePort.ts"

/** Where in the shared memory stands until when the lease is certain, and when the event loop was last known to turn: monotonic milliseconds. */
export const until = 0
export const alive = 1

export interface KeeperData {
  readonly keeper: Keeper
  readonly shared: Float64Array
  readonly worker: string
  readonly lasts: number
  readonly maxBlocked: number
}

export const monotonic = (): number => Number(process.hrtime.bigint() / 1000n) / 1000
