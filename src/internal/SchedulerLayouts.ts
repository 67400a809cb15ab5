/** What schedulers and runs look like to the engine, kept while there are none. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { MixedScheduler, Scheduler as RuntimeScheduler } from "effect/Scheduler"
import * as Concurrency from "../Concurrency.ts"
import { Core } from "./SchedulerCore.ts"

let kept: Core | undefined

/**
 * When a full collection finds no instance of a class, V8 forgets its layout, and with it all code that was compiled for it: a scheduler that had
 * been idle, or is made anew as a flow's is, would begin its next burst as slowly as its first. So one is kept that nobody knows, which has run
 * something, runs something that never ends, and has something waiting.
 */
export const keepLayouts = (key: Context.Key<any, any>): void => {
  if (kept !== undefined) return
  const where = "Scheduler.layer"
  const tag = "kept"
  const limits = Concurrency.makeUnsafe(where, { [tag]: { limit: 2, rate: { count: 1_000_000, per: 1 } } }).limitsFor({
    where,
    maxParallelism: 2,
    tagLimits: undefined,
    owner: true,
    inline: false,
    sequential: false,
    keyLimit: 1
  })
  kept = new Core(where, tag, {}, limits, Context.empty(), { service: undefined, key }, false)
  // Nothing of it is left to the event loop.
  const context = Context.make(RuntimeScheduler, new MixedScheduler("sync", () => () => {}))
  for (const effect of [Effect.void, Effect.void, Effect.never, Effect.void]) {
    kept.submit(kept.makeRun(context, effect, { name: tag, tags: [tag], key: tag }), false, undefined)
  }
  kept.startNow()
}
