/**
 * The hosts of a runner: started, handed out one call at a time, replaced, reclaimed, stopped.
 *
 * Its scheduler decides how many calls there are; a call that comes here has its slot and gets a host as soon as there is one. So the pool
 * has no limit of its own: a suspended run keeps its host and lends its slot, and whoever gets the slot gets another host.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import type { AnyJob, JobCrashedError, JobInfo, Reply } from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import { Call } from "./Call.ts"
import type { Carrier, Gone, Start } from "./Carrier.ts"
import { HostStartError, type StartReason } from "./HostErrors.ts"
import { say } from "./Logs.ts"
import { checkedOf, rawOf } from "./Unseen.ts"
import { type Answer, type Env, type FromHost, isReply, type Run, type ToHost } from "./Wire.ts"

export interface PoolOptions {
  /** `tasklayer-<lane or id>`: the hosts are this and a number. */
  readonly name: string
  /** The id of the runner. */
  readonly runner: string
  readonly lane: string | undefined
  /** For messages. */
  readonly entry: string
  readonly start: Start
  readonly spares: number
  readonly keepAlive: number
  readonly killAfter: number
  readonly startTimeout: number
  /** How long one that answers may take to end. */
  readonly stopTimeout: number
  /** Of one call. Processes only. */
  readonly env?: ((job: string, payload: unknown) => Env) | undefined
}

export interface Size {
  readonly minSize: number
  readonly maxSize: number
}

/** After so many failed starts in a row, calls that wait for a host fail. */
const TOO_MANY_FAILURES = 5
const BACK_OFF = 50
const LONGEST_BACK_OFF = 5_000

export class Pool {
  readonly options: PoolOptions
  readonly context: Context.Context<never>
  readonly hosts = new Set<Host>()
  jobs: ReadonlyMap<string, JobInfo> = new Map()
  size: Size
  /** Lowest number first: the others are reclaimed. */
  private readonly free: Array<Host> = []
  private readonly waiting: Array<Call> = []
  private started = 0
  private calls = 0
  private state: "opening" | "open" | "closing" | "closed" = "opening"
  /** Starts that failed since one succeeded. */
  private failures = 0
  private backOff: NodeJS.Timeout | undefined
  private reclaiming: NodeJS.Timeout | undefined
  /** The size was lowered, and there may be more than that: they end as they become free. */
  private shrinking = false
  private readonly raws = new Map<string, AnyJob>()
  private readonly found = new WeakMap<JobInfo, JobRunner.Found>()
  private onOpen: ((failure?: HostStartError) => void) | undefined
  private onEmpty: (() => void) | undefined

  constructor(options: PoolOptions, size: Size, context: Context.Context<never>) {
    this.options = options
    this.size = size
    this.context = context
  }

  // ─── opening and closing

  /** Starts the first hosts and waits until one is ready. */
  readonly open: Effect.Effect<void, HostStartError> = Effect.callback((resume) => {
    this.onOpen = (failure) => {
      this.onOpen = undefined
      resume(failure === undefined ? Effect.void : Effect.fail(failure))
    }
    const count = Math.max(1, this.size.minSize) + this.options.spares
    for (let i = 0; i < count; i++) this.start()
  })

  /** Every host closes its Layer and ends; those that do not answer are killed. */
  readonly close: Effect.Effect<void> = Effect.callback((resume) => {
    this.state = "closing"
    clearTimeout(this.backOff)
    clearTimeout(this.reclaiming)
    this.onEmpty = () => {
      this.state = "closed"
      resume(Effect.void)
    }
    for (const host of this.hosts) host.stop()
    if (this.hosts.size === 0) this.onEmpty()
  })

  // ─── calls

  /** Runs one attempt on a host. Interrupted, it returns when nothing of it runs any more. */
  perform(call: JobRunner.Call): Effect.Effect<Reply, JobCrashedError> {
    return Effect.withFiber((fiber: Fiber.Fiber<unknown, unknown>) =>
      Effect.callback<Reply, JobCrashedError>((resume) => {
        const it = new Call(this, ++this.calls, call, fiber, resume)
        this.begin(it)
        return Effect.callback<void>((done) => it.interrupt(() => done(Effect.void)))
      })
    )
  }

  private begin(call: Call): void {
    const host = this.free.shift()
    if (host !== undefined) host.take(call)
    else {
      this.waiting.push(call)
      // However little else there is to do, it is waited for.
      for (const host of this.hosts) host.hold()
      this.backOff?.ref()
    }
    this.fill()
  }

  /** It was interrupted before it had a host. */
  leave(call: Call): void {
    const index = this.waiting.indexOf(call)
    if (index >= 0) this.waiting.splice(index, 1)
  }

  /** A job as its hosts submit it: encoded there. */
  raw(name: string): AnyJob {
    let job = this.raws.get(name)
    if (job === undefined) this.raws.set(name, job = rawOf(name, { timeout: this.jobs.get(name)?.timeout }))
    return job
  }

  /** What is known of a job to whoever has its name alone. */
  find(name: string): JobRunner.Found | undefined {
    const info = this.jobs.get(name)
    if (info === undefined) return undefined
    let found = this.found.get(info)
    if (found === undefined) this.found.set(info, found = { ...info, job: checkedOf(info) })
    return found
  }

  // ─── hosts

  /** How many hosts run a call that has its slot. */
  get working(): number {
    let working = 0
    for (const host of this.hosts) if (host.call !== undefined && host.call.waits === 0) working++
    return working
  }

  private get starting(): number {
    let starting = 0
    for (const host of this.hosts) if (host.isStarting) starting++
    return starting
  }

  get idle(): number {
    return this.free.length
  }

  /** How many can be counted on. */
  get alive(): number {
    let alive = 0
    for (const host of this.hosts) if (!host.isEnding) alive++
    return alive
  }

  resize(size: Size): void {
    const before = this.size
    this.size = size
    this.shrinking = size.maxSize < before.maxSize
    if (this.shrinking) {
      const idle = [...this.hosts].filter((host) => host.isStarting).concat(this.free)
      for (let host = idle.shift(); host !== undefined && this.isExcessive; host = idle.shift()) {
        const at = this.free.indexOf(host)
        if (at >= 0) this.free.splice(at, 1)
        host.stop()
      }
    }
    this.fill()
  }

  /** More than the size allows, but for those whose run is suspended. */
  private get isExcessive(): boolean {
    return this.working + this.free.length + this.starting > this.size.maxSize + this.options.spares
  }

  /** Starts what is missing: hosts for those who wait, the minimum, the spares. */
  private fill(): void {
    if (this.state !== "open" || this.backOff !== undefined) return
    const { starting, waiting: { length: waiting }, working } = this
    const missing = waiting + this.options.spares + Math.max(0, this.size.minSize - working - waiting) - starting -
      this.free.length
    for (let i = 0; i < missing; i++) this.start()
  }

  private start(): void {
    const host = new Host(this, ++this.started)
    this.hosts.add(host)
    host.start(this.options.start)
    if (this.state === "opening" || this.waiting.length > 0) host.hold()
  }

  ready(host: Host, jobs: ReadonlyArray<JobInfo>): void {
    this.failures = 0
    if (this.jobs.size === 0) this.jobs = new Map(jobs.map((job) => [job.name, job]))
    this.freed(host)
    if (this.state !== "opening") return
    this.state = "open"
    this.onOpen?.()
  }

  /** It has nothing to do: the next call, or among the idle. */
  freed(host: Host): void {
    const next = this.waiting.shift()
    if (next !== undefined) return host.take(next)
    host.rest()
    let at = this.free.length
    while (at > 0 && this.free[at - 1]!.number > host.number) at--
    this.free.splice(at, 0, host)
    if (this.shrinking) {
      if (this.isExcessive) {
        this.free.splice(at, 1)
        host.stop()
      } else this.shrinking = false
    }
    if (this.reclaiming === undefined) this.reclaimLater(this.options.keepAlive)
  }

  gone(host: Host, phase: Phase, gone: Gone, reason: StartReason | undefined): void {
    this.hosts.delete(host)
    const at = this.free.indexOf(host)
    if (at >= 0) this.free.splice(at, 1)
    if (phase === "starting") {
      this.startFailed(reason ?? { _tag: "Ended", ...gone })
    } else if (phase === "ready" && host.call === undefined) {
      const how = gone.detail ?? (gone.signal === undefined ? `with code ${gone.exitCode}` : `by ${gone.signal}`)
      this.log(Effect.logWarning(`${host.name} ended while it had nothing to do: ${how}`))
    }
    this.fill()
    if (this.hosts.size === 0) this.onEmpty?.()
  }

  private startFailed(reason: StartReason): void {
    if (this.state === "opening") {
      return this.onOpen?.(new HostStartError({ entry: this.options.entry, reason }))
    }
    if (this.state !== "open") return
    this.failures++
    const delay = Math.min(LONGEST_BACK_OFF, BACK_OFF * 2 ** (this.failures - 1))
    this.log(Effect.logWarning(
      `${new HostStartError({ entry: this.options.entry, reason }).message}; again in ${delay} ms`
    ))
    if (this.failures >= TOO_MANY_FAILURES) {
      const detail = new HostStartError({ entry: this.options.entry, reason }).message
      for (const call of this.waiting.splice(0)) call.crashed({ reason: "error", detail })
    }
    this.backOff = setTimeout(() => {
      this.backOff = undefined
      this.fill()
    }, delay)
    if (this.waiting.length === 0) this.backOff.unref()
  }

  // ─── reclaiming

  /** Idle hosts beyond the minimum and the spares end when they have been idle for `keepAlive`. */
  private reclaimLater(delay: number): void {
    if (this.state !== "open" || delay === Infinity) return
    this.reclaiming = later(() => {
      this.reclaiming = undefined
      this.reclaim()
    }, delay).unref()
  }

  private reclaim(): void {
    const { keepAlive, spares } = this.options
    const now = performance.now()
    let surplus = this.free.length - spares - Math.max(0, this.size.minSize - this.working)
    let next = Infinity
    for (let i = this.free.length - 1; i >= 0 && surplus > 0; i--, surplus--) {
      const host = this.free[i]!
      const left = host.idleSince + keepAlive - now
      if (left > 0) next = Math.min(next, left)
      else {
        this.free.splice(i, 1)
        host.stop()
      }
    }
    this.reclaimLater(Math.ceil(next))
  }

  log(line: Effect.Effect<void>): void {
    Effect.runForkWith(this.context)(line)
  }
}

type Phase = "starting" | "ready" | "stopping" | "gone"

export class Host {
  readonly number: number
  readonly name: string
  call: Call | undefined
  idleSince = 0
  private readonly pool: Pool
  private carrier: Carrier | undefined
  private phase: Phase = "starting"
  private notReady: StartReason | undefined
  private pings = 0
  private answered = 0
  private timer: NodeJS.Timeout | undefined
  private killed = false

  constructor(pool: Pool, number: number) {
    this.pool = pool
    this.number = number
    this.name = `${pool.options.name}-${number}`
  }

  get isStarting(): boolean {
    return this.phase === "starting" && !this.killed
  }

  get isEnding(): boolean {
    return this.phase === "stopping" || this.killed
  }

  start(start: Start): void {
    const { startTimeout } = this.pool.options
    const starting = start({
      name: this.name,
      onMessage: (message) => this.received(message),
      onGone: (gone) => this.gone(gone)
    })
    if (startTimeout !== Infinity) {
      this.timer = later(() => {
        this.notReady = { _tag: "Timeout", after: startTimeout }
        this.kill()
      }, startTimeout)
    }
    Effect.runForkWith(this.pool.context)(starting).addObserver((exit) => {
      if (exit._tag === "Failure") return this.gone({ reason: "error", detail: String(exit.cause) })
      this.carrier = exit.value
      if (this.held) this.carrier.hold(true)
      if (this.killed) this.kill()
    })
  }

  /** Somebody waits for it. */
  hold(): void {
    this.held = true
    if (this.phase === "starting") this.carrier?.hold(true)
  }
  private held = false

  /** Given to one that is free. */
  take(call: Call): void {
    this.call = call
    this.carrier!.hold(true)
    call.taken(this)
  }

  post(message: ToHost, transfer: ReadonlyArray<unknown> = nothing): void {
    this.carrier!.post(message, transfer)
  }

  rest(): void {
    this.idleSince = performance.now()
    this.carrier!.hold(false)
  }

  /** Its call is over. */
  finished(): void {
    this.call = undefined
    if (this.phase !== "ready") return
    this.unwatch()
    this.pool.freed(this)
  }

  run(run: Run, transfer: ReadonlyArray<unknown>): void {
    this.carrier!.post(run, transfer)
  }

  /** Told where it is not as it was. */
  usual(minimumLogLevel: string, traced: boolean): void {
    if (minimumLogLevel === this.minimumLogLevel && traced === this.traced) return
    this.minimumLogLevel = minimumLogLevel
    this.traced = traced
    const { lane, runner } = this.pool.options
    this.post({ _tag: "Usual", runner, lane, minimumLogLevel, traced })
  }
  private minimumLogLevel = ""
  private traced = false

  answer(request: number, answer: Answer): void {
    if (this.phase !== "gone") this.post({ _tag: "Answer", request, answer })
  }

  private received(message: FromHost): void {
    if (isReply(message)) {
      if (message[0] === this.call?.id) this.call.replied(message)
      return
    }
    switch (message._tag) {
      case "Pong":
        this.answered = message.ping
        return
      case "Ready":
        // Said before it noticed that it is being killed: it stays held until it is gone.
        if (this.phase !== "starting" || this.killed) return
        this.unwatch()
        this.phase = "ready"
        return this.pool.ready(this, message.jobs)
      case "NotReady":
        this.notReady = { _tag: "Failed", detail: message.error }
        return this.kill()
      default:
        if (this.call !== undefined && (message.call === this.call.id || message.call === "current")) {
          return this.call.received(message)
        }
        // Of a fiber that was left behind by a call, or of its Layer.
        if (message._tag === "Log") say(annotated(this.pool.context, this.name), message)
        else if (message._tag === "Request") this.answer(message.request, { _tag: "Over" })
    }
  }

  // ─── ending it

  /** Asks it to end by itself. */
  stop(): void {
    if (this.phase !== "ready" && this.phase !== "starting") return
    if (this.carrier === undefined) return this.kill()
    this.phase = "stopping"
    this.carrier.hold(true)
    this.post({ _tag: "Stop" })
    this.deadline = performance.now() + this.pool.options.stopTimeout
    this.unwatch()
    this.watch()
  }

  /** Kills it as soon as it does not answer for `killAfter`. */
  watch(): void {
    if (this.timer !== undefined) return
    const ping = ++this.pings
    this.post({ _tag: "Ping", ping })
    this.timer = later(() => {
      // This thread may be the slow one: what has come meanwhile is read first.
      setImmediate(() => {
        if (this.timer === undefined || this.pings !== ping) return
        this.timer = undefined
        if (this.answered === ping && performance.now() < this.deadline) this.watch()
        else this.kill()
      })
    }, Math.min(this.pool.options.killAfter, Math.max(0, this.deadline - performance.now())))
  }
  private deadline = Infinity

  private unwatch(): void {
    clearTimeout(this.timer)
    this.timer = undefined
    this.pings++
  }

  private kill(): void {
    this.killed = true
    if (this.carrier !== undefined) Effect.runForkWith(this.pool.context)(this.carrier.kill)
  }

  private gone(gone: Gone): void {
    const { call, phase } = this
    if (phase === "gone") return
    this.unwatch()
    this.phase = "gone"
    this.pool.gone(this, phase, gone, this.notReady)
    call?.crashed(this.killed ? { ...gone, reason: "unresponsive" } : gone)
  }
}

const nothing: ReadonlyArray<unknown> = []

/** Beyond what a timer of Node's can wait, it waits as long as that can. */
const later = (f: () => void, delay: number): NodeJS.Timeout => setTimeout(f, Math.min(delay, 2 ** 31 - 1))

const annotated = (context: Context.Context<never>, host: string): Context.Context<never> =>
  Context.add(context, References.CurrentLogAnnotations, {
    ...Context.get(context, References.CurrentLogAnnotations),
    host
  })
