/**
 * Runs jobs in processes, one at a time in each: what a job does to its process, its memory and its environment is nobody else's business.
 *
 * It is a `ThreadRunner` with other walls, and takes the same entry. What a job prints is logged under its run. A job that is to end and does not
 * answer gets SIGTERM and, after `killAfter`, SIGKILL, and so does all that it started; when its run has ended, its process is gone or free for the next
 * job. A process does not outlive this one, however this one ends. What leaves the process group (a daemon) is on its own.
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { InvalidOptionError } from "../InvalidOptionError.ts"
import type * as JobRunner from "../JobRunner.ts"
import type { HostStartError } from "./internal/HostErrors.ts"
import type { Size } from "./internal/Pool.ts"
import { startProcess } from "./internal/ProcessCarrier.ts"
import * as Runner from "./internal/Runner.ts"
import { entryOf, nameOf } from "./internal/Thread.ts"
import type { Env } from "./internal/Wire.ts"

export type { Env }

export interface Options extends Runner.Options {
  /**
   * Added to the environment of this process; `undefined` takes a variable away. A function is asked for each attempt of a job, with its name and its
   * encoded payload, and what it answers is in force for that attempt alone.
   */
  readonly env?: Env | ((job: string, payload: unknown) => Env) | undefined
  /** The arguments for node, as `["--max-old-space-size=512"]`. Default: those of this process. */
  readonly execArgv?: ReadonlyArray<string> | undefined
  /** The working directory. Default: that of this process. */
  readonly cwd?: string | URL | undefined
}

export type Stats = Runner.Stats

/** The processes. */
export class ProcessRunner extends Context.Service<ProcessRunner, Runner.Service>()("tasklayer/ProcessRunner") {}

/**
 * Runs jobs in processes of `entry`, a file that calls `ThreadHost.run`. Named `tasklayer-<lane or id>-<n>`, also as the title of the process. Where none
 * comes up, the Layer fails with `HostStartError`.
 */
export const layer = (options: Options): Layer.Layer<ProcessRunner | JobRunner.JobRunner, HostStartError> => {
  const { cwd, env, execArgv, ...shared } = options
  return Runner.layer(ProcessRunner, "ProcessRunner.layer", shared, ({ killAfter }) => {
    const entry = entryOf(options.entry)
    const ofAll = typeof env === "function" ? undefined : env
    return {
      prefix: "processes",
      entry: nameOf(entry),
      start: startProcess({ entry, killAfter, data: options.data, env: ofAll, execArgv, cwd }),
      ...(typeof env === "function" ? { env } : undefined)
    }
  })
}

/** The processes there are. */
export const stats: Effect.Effect<Stats, never, ProcessRunner> = ProcessRunner.use((runner) => runner.stats)

/** Changes how many there are while running: raised, waiting runs start at once; lowered, running ones finish. */
export const resize = (size: number | Partial<Size>): Effect.Effect<void, InvalidOptionError, ProcessRunner> =>
  ProcessRunner.use((runner) => runner.resize(size))

export { HostStartError } from "./internal/HostErrors.ts"
