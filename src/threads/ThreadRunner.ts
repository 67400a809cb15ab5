/**
 * Runs jobs on worker threads: one at a time on each, so that ending one harms no other.
 *
 * A job that computes without end is interrupted like any other: its thread is killed if it does not answer, and a spare takes its place. Limits,
 * priorities, fairness, lending and draining are those of a Scheduler of its own, which shares the Concurrency in context. Threads live in real
 * time: a test clock moves none of their times.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { ResourceLimits } from "node:worker_threads"
import type { InvalidOptionError } from "../InvalidOptionError.ts"
import type * as JobRunner from "../JobRunner.ts"
import type { HostStartError } from "./internal/HostErrors.ts"
import type { Size } from "./internal/Pool.ts"
import * as Runner from "./internal/Runner.ts"
import { entryOf, nameOf, startThread } from "./internal/Thread.ts"

export interface Options extends Runner.Options {
  /** Memory a thread may take: a job that needs more dies as out of memory, and nothing else does. */
  readonly resourceLimits?: ResourceLimits | undefined
  /** The environment of the threads. Default: a copy of this process's. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
}

export type Stats = Runner.Stats

/** The threads. */
export class ThreadRunner extends Context.Service<ThreadRunner, Runner.Service>()("tasklayer/ThreadRunner") {}

/**
 * Runs jobs on threads of `entry`, a file that calls `ThreadHost.run`. Named `tasklayer-<lane or id>-<n>`. Where no thread comes up, the Layer
 * fails with `HostStartError`.
 */
export const layer = (options: Options): Layer.Layer<ThreadRunner | JobRunner.JobRunner, HostStartError> => {
  const { env, resourceLimits, ...shared } = options
  return Runner.layer(ThreadRunner, "ThreadRunner.layer", shared, () => {
    const entry = entryOf(options.entry)
    return {
      prefix: "threads",
      entry: nameOf(entry),
      start: startThread({ entry, data: options.data, env, resourceLimits })
    }
  })
}

/** The threads there are. */
export const stats: Effect.Effect<Stats, never, ThreadRunner> = ThreadRunner.use((runner) => runner.stats)

/** Changes how many there are while running: raised, waiting runs start at once; lowered, running ones finish. */
export const resize = (size: number | Partial<Size>): Effect.Effect<void, InvalidOptionError, ThreadRunner> =>
  ThreadRunner.use((runner) => runner.resize(size))

export { HostStartError } from "./internal/HostErrors.ts"
