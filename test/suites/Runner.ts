/** The in-process runners a law is run over. */
import type * as Layer from "effect/Layer"
import { type Concurrency, Scheduler } from "../../src/index.ts"

export type Runner = Layer.Layer<Scheduler.Scheduler | Concurrency.Concurrency>

export const pool = (maxParallelism: Concurrency.Limit, options?: Scheduler.LayerOptions): Runner =>
  Scheduler.layer({ ...options, maxParallelism })

/** Those with fibers and a queue of their own. */
export const queueing: ReadonlyArray<readonly [string, Runner]> = [
  ["layer", pool(4)],
  ["layer of one", pool(1)],
  ["layerSequential", Scheduler.layerSequential],
  ["layerUnbounded", Scheduler.layerUnbounded]
]

export const every: ReadonlyArray<readonly [string, Runner]> = [...queueing, ["layerInline", Scheduler.layerInline]]
