/** Inside a host: builds the Layer of handlers, says so, and runs what it is given, one call at a time. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Transferable from "effect/workers/Transferable"
import * as Job from "../../Job.ts"
import * as Scheduler from "../../Scheduler.ts"
import * as TaskRun from "../../TaskRun.ts"
import { HostRun, HostRunner } from "./HostRunner.ts"
import { movable } from "./Movable.ts"
import type { Port } from "./Port.ts"
import { putEnv } from "./ProcessEnv.ts"
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
    const registered = Layer.provideMerge(layer, Layer.merge(Job.layerRegistry, Scheduler.layerUnbounded))
    const context = yield* Layer.build(registered)
    if (initialise !== undefined) yield* Effect.provideContext(initialise, context)
    const registry = Context.get(context, Job.Registry)
    const host = new Hosting(port, registry, () => Deferred.doneUnsafe(stopped, Effect.void))
    port.onMessage((message) => host.received(message))
    const jobs = registry.all.map(({ demand, job }) => Job.infoOf(job, demand))
    port.post({ _tag: "Ready", jobs }, nothing)
    yield* Deferred.await(stopped)
  })
  return Effect.scoped(built).pipe(
    Effect.catchCause((cause) =>
      Effect.sync(() => port.post({ _tag: "NotReady", error: Cause.pretty(cause) }, nothing))
    ),
    Effect.andThen(Effect.sync(() => port.close())),
    Effect.provideService(Data, port.data)
  )
}

class Hosting {
  private readonly port: Port
  private readonly registry: Job.Registry["Service"]
  private readonly stop: () => void
  private readonly runner: HostRunner
  private call: number | undefined
  private fiber: Fiber.Fiber<unknown, unknown> | undefined

  constructor(port: Port, registry: Job.Registry["Service"], stop: () => void) {
    this.port = port
    this.registry = registry
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
      case "Stop":
        return this.stop()
    }
  }

  private run(message: Run): void {
    const { job, handle } = this.registry.get(message.job)!
    const context = this.contextOf(message)
    const restore = putEnv(message.env)
    const handled = Effect.flatMap(Effect.orDie(Job.decodePayload(job, message.payload)), handle)
    const fiber = this.fiber = Effect.runForkWith(context)(Effect.scoped(handled))
    this.call = message.call
    fiber.addObserver((exit) => {
      restore()
      this.call = undefined
      this.fiber = undefined
      this.reply(message.call, job, exit)
    })
  }

  private reply(call: number, job: Job.AnyJob, exit: Exit.Exit<unknown, unknown>): void {
    const collector = Transferable.makeCollectorUnsafe()
    const encoded = Effect.provideService(Job.encodeExit(job, exit), Transferable.Collector, collector)
    Effect.runFork(encoded).addObserver((encoded) => {
      if (Exit.isFailure(encoded)) return this.reply(call, job, encoded)
      try {
        this.port.post({ _tag: "Reply", call, reply: encoded.value }, movable(collector.readUnsafe()))
      } catch (error) {
        // What its schema lets through cannot be cloned.
        this.reply(call, job, Exit.die(error))
      }
    })
  }

  private contextOf({ call, minimumLogLevel, run }: Run): Context.Context<never> {
    const runner = this.runner.of(call)
    return Context.make(TaskRun.CurrentRun, new HostRun(runner, run)).pipe(
      Context.add(Job.JobRunner, runner),
      Context.add(Job.CurrentProgress, runner.progress),
      Context.add(References.MinimumLogLevel, minimumLogLevel as "Info")
    ) as Context.Context<never>
  }
}

const nothing: ReadonlyArray<unknown> = []
