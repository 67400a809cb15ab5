/** What a handler sees: the services its Layer was built with, and of whoever executes it no more than what a run is given. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as Concurrency from "../Concurrency.ts"
import { Scheduler } from "../Scheduler.ts"
import { CurrentRun } from "../TaskRun.ts"

export type Within = <A, E>(effect: Effect.Effect<A, E, any>) => Effect.Effect<A, E>

type Keys = ReadonlyArray<Context.Key<any, any>>

/** Where and when a run runs, and who logs and traces it: the run's own, whatever they were when the Layer was built. */
const ofTheRun: Keys = [
  Clock.Clock,
  Concurrency.CurrentRegion,
  CurrentRun,
  Layer.CurrentMemoMap,
  Metric.FiberRuntimeMetrics,
  Scheduler,
  Scope.Scope,
  Tracer.ParentSpan,
  ...Object.values(References).filter((value: unknown) => Context.isReference(value as Context.Key<any, any>)) as Keys
]

/** Another process has no other services than the Layer's: neither has this one, lest a test pass that cheats. */
export const within = (built: Context.Context<any>, given: Keys): Within => {
  const own = Context.omit(...ofTheRun, ...given)(built) as Context.Context<any>
  const services = [...own.mapUnsafe]
  const isAt = (context: Context.Context<any>) =>
    services.every(([key, service]) => Context.getOrUndefined(context, { key } as Context.Key<any, any>) === service)
  return (effect) =>
    // Nearly always those who execute a job and those who handle it were given the same services.
    Effect.updateContext(effect, (context: Context.Context<any>) =>
      isAt(context) ? context : Context.merge(context, own)) as Effect.Effect<any, any>
}
