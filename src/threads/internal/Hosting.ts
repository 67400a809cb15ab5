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
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as Transferable from "effect/workers/Transferable"
import type * as Concurrency from "../../Concurrency.ts"
import * as Job from "../../Job.ts"
import * as Scheduler from "../../Scheduler.ts"
import * as TaskRun from "../../TaskRun.ts"
import { CurrentHostRun } from "./HostRun.ts"
import { CallRunner, HostRunner } from "./HostRunner.ts"
import { CurrentCall, toRunner } from "./Logs.ts"
import { isDone, movable } from "./Movable.ts"
import type { Port } from "./Port.ts"
import { putEnv } from "./ProcessEnv.ts"
import * as Spans from "./Spans.ts"
import { plainOf } from "./Unseen.ts"
import { isRun, type Run, type ToHost, type Usual } from "./Wire.ts"

/** What the runner was given as `data`. */
export const Data: Context.Reference<unknown> = Context.Reference<unknown>("tasklayer/ThreadHost/Data", {
  defaultValue: () => undefined
})

export const hosting = <ROut>(
  port: Port,
  layer: Layer.Layer<ROut, unknown>,
  initialise: Effect.Effect<unknown, unknown, ROut> | undefined
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const host = new Hosting(port)
    // From the start: it may be asked to stop before it is ready.
    port.onMessage((message) => host.received(message), () => host.isIdle)
    const life = Effect.gen(function*() {
      const context = yield* Layer.build(Layer.provideMerge(layer, Layer.merge(Job.layerRegistry, unbounded)))
      if (initialise !== undefined) yield* Effect.provideContext(initialise, context)
      const outer = yield* Effect.context<never>()
      host.open(
        Context.get(context, Job.Registry),
        Context.makeUnsafe(new Map([...outer.mapUnsafe, ...context.mapUnsafe]))
      )
      yield* Effect.addFinalizer(() => host.end)
      return yield* Effect.never
    })
    return Effect.scoped(life).pipe(
      Effect.catchCause((cause) =>
        Effect.sync(() => port.post({ _tag: "NotReady", error: Cause.pretty(cause) }, nothing))
      ),
      Effect.raceFirst(Deferred.await(host.stopped)),
      Effect.andThen(Effect.sync(() => port.close())),
      Effect.provideService(Data, port.data),
      Effect.provideService(References.CurrentLoggers, new Set([toRunner(port)]))
    )
  })

/** For tasks in a handler where the Layer brings no scheduler. Nobody needs its report. */
const unbounded = Layer.provide(Scheduler.layerUnbounded, Layer.succeed(References.MinimumLogLevel, "None"))

class Hosting {
  readonly stopped: Deferred.Deferred<void> = Deferred.makeUnsafe()
  private readonly port: Port
  private isStopping = false
  private isOpen = false
  /** From `open` on. */
  private registry!: Job.Registry["Service"]
  private base!: Context.Context<never>
  /** With what is usual: Effect derives what it reads often from a context once, for all that differ in nothing it reads often. */
  private among!: Context.Context<never>
  private runner!: HostRunner
  private usual: Usual = { _tag: "Usual", runner: "", lane: undefined, minimumLogLevel: "Info", traced: false }
  private call: number | undefined
  private fiber: Fiber.Fiber<unknown, unknown> | undefined

  constructor(port: Port) {
    this.port = port
  }

  /** Says what it can do, and takes calls. */
  open(registry: Job.Registry["Service"], base: Context.Context<never>): void {
    this.isOpen = true
    this.registry = registry
    this.base = base
    this.setUsual(this.usual)
    this.runner = new HostRunner(this.port, registry)
    this.port.post({ _tag: "Ready", jobs: this.runner.jobs }, nothing)
  }

  received(message: ToHost): void {
    if (isRun(message)) return this.run(message)
    switch (message._tag) {
      case "Usual":
        return this.setUsual(message)
      case "Interrupt":
        if (message.call === this.call) this.fiber?.interruptUnsafe()
        return
      case "Ping":
        return this.port.post({ _tag: "Pong", ping: message.ping }, nothing)
      case "Answer":
        return this.runner.answered(message.request, message.answer)
      case "Query":
        return this.runner.query(message.call, message.query, message.request, message.about)
      case "Stop":
        this.isStopping = true
        return void Deferred.doneUnsafe(this.stopped, Effect.void)
    }
  }

  private setUsual(usual: Usual): void {
    this.usual = usual
    this.among = Context.add(this.base, References.MinimumLogLevel, usual.minimumLogLevel as LogLevel.LogLevel)
  }

  /** Waits for a call, and nothing else of it does anything. */
  get isIdle(): boolean {
    return this.isOpen && !this.isStopping && this.call === undefined
  }

  /** Nothing runs any more. */
  readonly end: Effect.Effect<void> = Effect.suspend(() =>
    this.fiber === undefined ? Effect.void : Fiber.interrupt(this.fiber)
  )

  private run(run: Run): void {
    const [call, name, payload, , , more] = run
    const registered = this.registry.get(name)
    if (registered === undefined) return this.unknown(call, name)
    const restore = more?.env === undefined ? undefined : putEnv(more.env)
    const scope = Scope.makeUnsafe()
    const context = this.contextOf(run, registered, scope)
    this.call = call
    const decoded = Job.decodePayload(registered.job, payload)
    const handled = isDone(decoded)
      ? Effect.suspend(() => registered.handle(decoded.value))
      : registered.within(Effect.flatMap(Effect.orDie(decoded), registered.handle))
    const fiber = this.fiber = Effect.runForkWith(context)(
      Effect.onExitPrimitive(handled, (exit) => scope.state._tag === "Empty" ? undefined : Scope.close(scope, exit))
    )
    fiber.addObserver((exit) => {
      restore?.()
      this.fiber = undefined
      this.runner.over()
      this.encode(call, registered, exit)
    })
  }

  /** The entry is not what it was when the first host started. */
  private unknown(call: number, job: string): void {
    const error = new Job.UnknownJobError({ job, known: this.registry.names })
    const reply = Effect.runSync(Job.encodeExit(plainOf(job), Exit.die(error)))
    this.port.post([call, undefined, reply], nothing)
  }

  private encode(call: number, registered: Job.Registered, exit: Exit.Exit<unknown, unknown>): void {
    const encoding = Job.encodeExit(registered.job, exit)
    if (isDone(encoding)) return this.reply(call, registered, encoding.value, nothing)
    const collector = Transferable.makeCollectorUnsafe()
    const context = Context.add(this.base, Transferable.Collector, collector)
    Effect.runForkWith(context)(registered.within(encoding)).addObserver((encoded) =>
      Exit.isSuccess(encoded)
        ? this.reply(call, registered, encoded.value, movable(collector.readUnsafe()))
        : this.encode(call, registered, encoded)
    )
  }

  private reply(call: number, registered: Job.Registered, reply: Job.Reply, transfer: ReadonlyArray<unknown>): void {
    try {
      this.port.post(reply._tag === "Success" ? [call, reply.value] : [call, undefined, reply], transfer)
      this.call = undefined
    } catch (error) {
      // Its schema lets through what cannot be cloned.
      const { name: job } = registered.job
      const end = reply._tag === "Success" ? "success" : "error"
      this.encode(call, registered, Exit.die(new Job.InvalidResultError({ job, end, issue: String(error) })))
    }
  }

  private contextOf(
    [call, name, , id, attempt, more]: Run,
    { demand, job }: Job.Registered,
    scope: Scope.Scope
  ): Context.Context<never> {
    const { lane, runner: runnerId, traced } = this.usual
    const runner = new CallRunner(this.runner, runnerId, call)
    const tags = more?.tags ?? this.tagsOf(job, demand)
    const run = { id, name, tags, parent: more?.parent, root: more?.root ?? id, lane }
    let context = Context.add(this.among, Scope.Scope, scope)
    context = Context.add(context, TaskRun.CurrentRun, new CurrentHostRun(runner, job, run, attempt))
    context = Context.add(context, Job.JobRunner, runner)
    context = Context.add(context, Job.CurrentProgress, runner.progress)
    context = Context.add(context, CurrentCall, call)
    if (more?.span !== undefined) context = Context.add(context, Tracer.ParentSpan, Tracer.externalSpan(more.span))
    return traced ? Context.add(context, Tracer.Tracer, Spans.toRunner(this.port, call)) : context
  }

  private readonly tags = new Map<Job.AnyJob, ReadonlyArray<string>>()
  private tagsOf(job: Job.AnyJob, demand: Concurrency.Demand): ReadonlyArray<string> {
    let tags = this.tags.get(job)
    if (tags === undefined) this.tags.set(job, tags = Job.mergeDemands(job.demand, demand).tags ?? [])
    return tags
  }
}

const nothing: ReadonlyArray<unknown> = []
