/**
 * What a thread or process of a runner runs: the two lines of an entry.
 *
 *     ThreadHost.run(Layer.mergeAll(resize, hash))
 *
 * The Layer has the handlers and what they need; each thread or process builds its own. The same file can be the entry of a `ThreadRunner` and of a
 * `ProcessRunner`.
 */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { Data, hosting } from "./internal/Hosting.ts"
import { threadPort } from "./internal/Port.ts"
import { processPort } from "./internal/ProcessPort.ts"

export interface Options<R> {
  /** Runs once, before the first job. */
  readonly initialise?: Effect.Effect<unknown, unknown, R> | undefined
}

/** Hosts these handlers for the runner that started this thread or process. Throws in any other. */
export const run = <ROut, E>(layer: Layer.Layer<ROut, E>, options?: Options<ROut>): void => {
  const port = threadPort() ?? processPort()
  if (port === undefined) {
    throw new Error(
      "ThreadHost.run: no runner started this thread or process. Name this file as the `entry` of a ThreadRunner or ProcessRunner; do not import it"
    )
  }
  const found = port instanceof Promise ? Effect.promise(() => port) : Effect.succeed(port)
  Effect.runFork(Effect.flatMap(found, (port) => hosting(port, layer, options?.initialise)))
}

/** What the runner was given as `data`, in the Layer, in `initialise` and in handlers. */
export const data: Effect.Effect<unknown> = Effect.withFiber((fiber) => Effect.succeed(fiber.getRef(Data)))
