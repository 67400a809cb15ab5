/** Inside a host: builds the Layer of handlers, says so, and runs what it is given, one call at a time. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"
import * as Transferable from "effect/workers/Transferable"
import * as Job from "../../Job.ts"
import * as Scheduler from "../../Scheduler.ts"
import * as TaskRun from "../../TaskRun.ts"
import { CallRunner, CurrentHostRun, HostRunner } from "./HostRunner.ts"
import { CurrentCall, toRunner } from "./Logs.ts"
import { movable } from "./Movable.ts"
import type { Port } from "./Port.ts"
import { putEnv } from "./ProcessEnv.ts"
import * as Spans from "./Spans.ts"
import type { Run, ToHost } from "./Wire.ts"

/** What the runner was given as `data`. */
export const Data: Context.Reference<unknown> = Context.Reference<unknown>("tasklayer/ThreadHost/Data", {
  defaultValue: () => undefined
})

export const hosting = <ROut>(
  port: Port,
  layer: Layer.Layer<ROut, unknown>,
  initialise: Effect.Effect<unknown, unknown, ROut> | undefined
): Effect.Effect<void> => {
  const built = Effect.gen(function*() {
    const stopped = yield* Deferred.make<void>()
    const context = yield* Layer.build(Layer.provideMerge(layer, Layer.merge(Job.layerRegistry, unbounded)))
    if (initialise !== undefined) yield* Effect.provideContext(initialise, context)
    const registry = Context.get(context, Job.Registry)
    const base = Context.merge(yield* Effect.context<never>(), context)
    const host = new Hosting(port, registry, base, () => Deferred.doneUnsafe(stopped, Effect.void))
    port.onMessage((message) => host.received(message))
    const jobs = registry.all.map(({ demand, job }) => Job.infoOf(job, demand))
    port.post({ _tag: "Ready", jobs }, nothing)
    yield* Deferred.await(stopped)
    yield* host.end
  })
  return Effect.scoped(built).pipe(
    Effect.catchCause((cause) =>
      Effect.sync(() => port.post({ _tag: "NotReady", error: Cause.pretty(cause) }, nothing))
    ),
    Effect.andThen(Effect.sync(() => port.close())),
    Effect.provideService(Data, port.data),
    Effect.provideService(References.CurrentLoggers, new Set([toRunner(port)]))
  )
}

/** For tasks in a handler where the Layer brings no scheduler. Nobody needs its report. */
const unbounded = Layer.provide(Scheduler.layerUnbounded, Layer.succeed(References.MinimumLogLevel, "None"))

class Hosting {
  private readonly port: Port
  private readonly registry: Job.Registry["Service"]
  private readonly base: Context.Context<never>
  private readonly stop: () => void
  private readonly runner: HostRunner
  private call: number | undefined
  private fiber: Fiber.Fiber<unknown, unknown> | undefined

  constructor(port: Port, registry: Job.Registry["Service"], base: Context.Context<never>, stop: () => void) {
    this.port = port
    this.registry = registry
    this.base = base
    this.stop = stop
    this.runner = new HostRunner(port, registry)
  }

  received(message: ToHost): void {
    switch (message._tag) {
      case "Run":
        return this.run(message)
      case "Interrupt":
        if (message.call === this.call) this.fiber!.interruptUnsafe()
        return
      case "Ping":
        return this.port.post({ _tag: "Pong", ping: message.ping }, nothing)
      case "Answer":
        return this.runner.answered(message.request, message.answer)
      case "Query":
        return this.runner.query(message.call, message.query, message.request, message.about)
      case "Stop":
        return this.stop()
    }
  }

  /** Nothing runs any more. */
  readonly end: Effect.Effect<void> = Effect.suspend(() =>
    this.fiber === undefined ? Effect.void : Fiber.interrupt(this.fiber)
  )

  private run(message: Run): void {
    const registered = this.registry.get(message.job)!
    const { job, handle, within } = registered
    const restore = putEnv(message.env)
    const context = this.contextOf(message, job)
    const handled = within(Effect.flatMap(Effect.orDie(Job.decodePayload(job, message.payload)), handle))
    const fiber = this.fiber = Effect.runForkWith(context)(Effect.scoped(handled))
    this.call = message.call
    fiber.addObserver((exit) => {
      restore()
      this.call = undefined
      this.fiber = undefined
      this.runner.over()
      this.reply(message.call, registered, exit)
    })
  }

  private reply(call: number, registered: Job.Registered, exit: Exit.Exit<unknown, unknown>): void {
    const collector = Transferable.makeCollectorUnsafe()
    const encoded = registered.within(Job.encodeExit(registered.job, exit))
    const context = Context.add(this.base, Transferable.Collector, collector)
    Effect.runForkWith(context)(encoded).addObserver((encoded) => {
      if (Exit.isFailure(encoded)) return this.reply(call, registered, encoded)
      try {
        this.port.post({ _tag: "Reply", call, reply: encoded.value }, movable(collector.readUnsafe()))
      } catch (error) {
        // Its schema lets through what cannot be cloned.
        const { name: job } = registered.job
        const end = Exit.isSuccess(exit) ? "success" : "error"
        this.reply(call, registered, Exit.die(new Job.InvalidResultError({ job, end, issue: String(error) })))
      }
    })
  }

  private contextOf({ call, minimumLogLevel, run, runner: id, span, traced }: Run, job: Job.AnyJob) {
    const runner = new CallRunner(this.runner, id, call)
    const context = this.base.pipe(
      Context.add(TaskRun.CurrentRun, new CurrentHostRun(runner, job, run)),
      Context.add(Job.JobRunner, runner),
      Context.add(Job.CurrentProgress, runner.progress),
      Context.add(CurrentCall, call),
      Context.add(References.MinimumLogLevel, minimumLogLevel as LogLevel.LogLevel)
    )
    const spanned = span === undefined ? context : Context.add(context, Tracer.ParentSpan, Tracer.externalSpan(span))
    return traced ? Context.add(spanned, Tracer.Tracer, Spans.toRunner(this.port, call)) : spanned
  }
}

const nothing: ReadonlyArray<unknown> = []
