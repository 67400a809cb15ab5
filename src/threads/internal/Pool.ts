/**
 * The hosts of a runner: started, handed out one call at a time, replaced, reclaimed, stopped.
 *
 * Its scheduler decides how many calls there are; a call that comes here has its slot and gets a host as soon as there is one. So the pool
 * has no limit of its own: a suspended run keeps its host and lends its slot, and whoever gets the slot gets another host.
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { JobCrashedError, JobInfo, Reply } from "../../Job.ts"
import type * as JobRunner from "../../JobRunner.ts"
import { Call } from "./Call.ts"
import type { Gone, Start } from "./Carrier.ts"
import { Host, later, type Phase } from "./Host.ts"
import { HostStartError, type StartReason } from "./HostErrors.ts"
import { checkedOf } from "./Unseen.ts"
import type { Env } from "./Wire.ts"

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
    return Effect.callback<Reply, JobCrashedError>((resume) => {
      const it = new Call(this, ++this.calls, call, Fiber.getCurrent()!, resume)
      this.begin(it)
      return Effect.callback<void>((done) => it.interrupt(() => done(Effect.void)))
    })
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
    for (const host of this.hosts) if (host.call?.isWaiting === false) working++
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
    if (this.reclaiming === undefined) this.reclaimLater(this.options.keepAlive)
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
    } else if (phase === "ready" && host.call === undefined && !host.isEnding) {
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
    clearTimeout(this.backOff)
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
