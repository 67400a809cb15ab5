/** What schedulers and runs look like to the engine, kept while there are none. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { MixedScheduler, Scheduler as RuntimeScheduler } from "effect/Scheduler"
import * as Concurrency from "../Concurrency.ts"
import * as RunEvent from "../RunEvent.ts"
import { Core } from "./SchedulerCore.ts"

let kept: object | undefined

/**
 * When a full collection finds no instance of a class, V8 forgets its layout, and with it all code that was compiled for it: a scheduler that had
 * been idle, or is made anew as a flow's is, would begin its next burst as slowly as its first. So one is kept that nobody knows. It has run and
 * still runs and has waiting some work under every kind of limit, as a layout also says which numbers were whole.
 */
export const keepLayouts = (key: Context.Key<any, any>): void => {
  if (kept !== undefined) return
  const where = "Scheduler.layer"
  const tag = "kept"
  const limits = Concurrency.makeUnsafe(where, { [tag]: { limit: 3, rate: { count: 1_000_000, per: 1 } } }).limitsFor({
    where,
    maxParallelism: 3,
    tagLimits: undefined,
    owner: true,
    inline: false,
    sequential: false,
    keyLimit: 2
  })
  const facts: Array<RunEvent.RunEvent> = []
  const listened = Context.make(RunEvent.Listeners, [(fact) => void facts.push(fact)])
  const core = new Core(where, tag, {}, limits, listened, { service: undefined, key }, false)
  kept = { core, facts }
  // Nothing of it is left to the event loop.
  const context = Context.make(RuntimeScheduler, new MixedScheduler("sync", () => () => {}))
  const submit = (effect: Effect.Effect<void>, key: string) =>
    core.submit(core.makeRun(context, effect, { name: tag, tags: [tag], key }), false, undefined)
  for (let i = 0; i < 12; i++) submit(i < 6 ? Effect.void : Effect.never, `${i % 3}`)
  core.startNow()
  submit(Effect.never, "late")
}
