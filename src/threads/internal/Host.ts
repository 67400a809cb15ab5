/** One host as its pool sees it: from its start until it is gone. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { performance } from "node:perf_hooks"
import type { Call } from "./Call.ts"
import type { Carrier, Gone, Start } from "./Carrier.ts"
import type { StartReason } from "./HostErrors.ts"
import { say } from "./Logs.ts"
import type { Pool } from "./Pool.ts"
import { type Answer, type FromHost, isReply, type Run, type ToHost } from "./Wire.ts"

/** Stopping: it was asked to end. */
export type Phase = "starting" | "ready" | "stopping" | "gone"

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
  private held = false
  /** When one that is to end is killed, though it answers. */
  private deadline = Infinity
  /** What it was told last. */
  private minimumLogLevel = ""
  private traced = false

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
    // One that is being killed may still have said something.
    if (this.phase !== "ready" || this.killed) return
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
        if (this.phase !== "starting") return
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
export const later = (f: () => void, delay: number): NodeJS.Timeout => setTimeout(f, Math.min(delay, 2 ** 31 - 1))

const annotated = (context: Context.Context<never>, host: string): Context.Context<never> =>
  Context.add(context, References.CurrentLogAnnotations, {
    ...Context.get(context, References.CurrentLogAnnotations),
    host
  })
