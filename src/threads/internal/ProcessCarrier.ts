/**
 * A host in a process of its own, leader of its process group: what a job starts there ends with it.
 *
 * Everything here is about another process, so time is the machine's and not that of a `Clock`.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { type ChildProcess, fork } from "node:child_process"
import type { Socket } from "node:net"
import { fileURLToPath } from "node:url"
import { serialize } from "node:v8"
import type { Carrier, Gone, Listening, Start } from "./Carrier.ts"
import { GUARD_FD, guardArgs } from "./ProcessGuard.ts"
import { Lines } from "./ProcessOutput.ts"
import { type FromHost, isReply, type ToHost } from "./Wire.ts"

export interface ProcessOptions {
  readonly entry: URL
  /** Milliseconds between SIGTERM and SIGKILL. */
  readonly killAfter: number
  readonly data?: unknown
  /** Added to the environment of this process; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  /** The arguments for node. Default: those of this process, without a debugger's. */
  readonly execArgv?: ReadonlyArray<string> | undefined
  readonly cwd?: string | URL | undefined
}

export const startProcess = (options: ProcessOptions): Start => (listening) =>
  Effect.sync(() => new Process(options, listening))

/** How often a process group is asked whether somebody is left. */
const POLL_MILLIS = 10
/** How long one that closed its channel has to exit: most do so because they exit. */
const EXIT_MILLIS = 1_000
/** How long after its end the last output may come: a process that left the group may keep the pipe open. */
const OUTPUT_MILLIS = 100
const TAIL = 4_096

class Process implements Carrier {
  readonly name: string
  /** SIGTERM, then SIGKILL where that does not end it, to the whole group. */
  readonly kill: Effect.Effect<void>
  private readonly child: ChildProcess
  private readonly guard: Socket | undefined
  private readonly killAfter: number
  private readonly listening: Listening
  private readonly stdout: Lines
  private readonly stderr: Lines
  /** Ending once its group is signalled, because it is to end or because it lost its leader; gone when all that it said was passed on. */
  private life: "live" | "ending" | "gone" = "live"
  private exited: Pick<Gone, "exitCode" | "signal"> | undefined
  /** When what is left of the group is killed. */
  private deadline = Infinity
  private timer: NodeJS.Timeout | undefined
  /** A reply that waits for what was printed before it, and what came after. */
  private held: Array<FromHost> = []
  private isDeaf = false
  private uncaught = ""
  private stderrTail = ""
  private readonly onGone: Array<() => void> = []

  constructor(options: ProcessOptions, listening: Listening) {
    this.name = listening.name
    this.listening = listening
    this.killAfter = options.killAfter
    this.stdout = new Lines((line) => this.printed("stdout", line))
    this.stderr = new Lines((line) => this.printed("stderr", line))
    this.kill = Effect.callback((resume) => {
      if (this.life === "gone") return resume(Effect.void)
      this.onGone.push(() => resume(Effect.void))
      this.end()
    })
    // Throws while there is nothing to clean up.
    serialize(options.data)
    const child = this.child = fork(fileURLToPath(options.entry), {
      detached: true,
      serialization: "advanced",
      stdio: ["ignore", "pipe", "pipe", "ipc", "pipe"],
      execArgv: [...guardArgs(this.name), ...options.execArgv ?? inherited(process.execArgv)],
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? undefined : { cwd: options.cwd })
    })
    // Undefined where it could not even be begun.
    this.guard = child.stdio?.[GUARD_FD] as Socket | undefined
    this.listen()
    this.hold(false)
    if (child.connected) child.send({ data: options.data }, ignore)
  }

  private listen(): void {
    const { child, guard } = this
    child.on("error", (error) => child.pid === undefined && this.gone({ reason: "error", detail: String(error) }))
    // What a job sends by itself is nothing of ours.
    child.on("message", (message: FromHost) => {
      if (Array.isArray(message) || Predicate.hasProperty(message, "_tag")) this.received(message)
    })
    child.on("exit", (code, signal) => {
      this.exited = { exitCode: code ?? undefined, signal: signal ?? undefined }
      if (this.life === "live") this.end()
      else this.look()
    })
    child.on("disconnect", () => this.disconnected())
    child.stdout?.on("data", (chunk: Buffer) => this.stdout.push(chunk)).on("error", ignore)
    child.stderr?.on("data", (chunk: Buffer) => {
      this.stderrTail = (this.stderrTail + chunk.toString("utf8", Math.max(0, chunk.length - TAIL))).slice(-TAIL)
      this.stderr.push(chunk)
    }).on("error", ignore)
    guard?.on("data", (chunk: Buffer) => {
      this.uncaught = (this.uncaught + chunk.toString()).slice(0, TAIL)
    }).on("error", ignore)
  }

  /** That the process is gone, and this with it, is told by its exit. */
  post(message: ToHost): void {
    if (this.child.connected) this.child.send(message, ignore)
  }

  hold(held: boolean): void {
    const { channel, stderr, stdout } = this.child
    for (const handle of [this.child, channel, stdout as Socket | null, stderr as Socket | null, this.guard]) {
      if (held || this.life === "ending") handle?.ref()
      else handle?.unref()
    }
  }

  // ─── what it says

  /**
   * What a call printed is told before its reply: it was in the pipes when the reply was sent, so it is read in the turn in which the reply is.
   */
  private received(message: FromHost): void {
    if (!isReply(message) && this.held.length === 0) this.listening.onMessage(message)
    else if (this.held.push(message) === 1) setImmediate(() => this.release())
  }

  private release(): void {
    for (const message of this.held.splice(0)) {
      if (isReply(message)) this.flush()
      this.listening.onMessage(message)
    }
  }

  private flush(): void {
    this.stdout.flush()
    this.stderr.flush()
  }

  private printed(stream: "stdout" | "stderr", line: string): void {
    this.listening.onMessage({
      _tag: "Log",
      call: "current",
      level: stream === "stdout" ? "Info" : "Warn",
      at: Date.now(),
      message: [line],
      annotations: { stream, pid: this.child.pid },
      spans: []
    })
  }

  // ─── how it ends

  /** Without its channel it is of no use. */
  private disconnected(): void {
    if (this.life !== "live") return
    this.timer = setTimeout(() => {
      this.isDeaf = true
      this.end()
    }, EXIT_MILLIS)
  }

  /** SIGTERM to the group, after `killAfter` SIGKILL to what is left of it, and then what is left in the pipes. */
  private end(): void {
    if (this.life !== "live") return
    this.life = "ending"
    this.hold(true)
    this.signal("SIGTERM")
    this.deadline = performance.now() + this.killAfter
    this.look()
  }

  private look(): void {
    clearTimeout(this.timer)
    const isLeft = this.exited === undefined || this.signal(0)
    if (isLeft && performance.now() < this.deadline) {
      this.timer = setTimeout(() => this.look(), POLL_MILLIS)
      return
    }
    if (isLeft) this.signal("SIGKILL")
    if (this.exited !== undefined) this.drain()
  }

  /** False where nobody is left. */
  private signal(signal: NodeJS.Signals | 0): boolean {
    try {
      return process.platform === "win32"
        ? this.exited === undefined && this.child.kill(signal)
        : process.kill(-this.child.pid!, signal)
    } catch (error) {
      // On macOS that is a group of zombies.
      return (error as NodeJS.ErrnoException).code === "EPERM"
    }
  }

  private drain(): void {
    const { child } = this
    const open = [child.stdout, child.stderr, this.guard].filter((stream) => stream?.closed === false).length
    let left = open + (child.connected ? 1 : 0)
    const closed = (): void => {
      if (--left > 0) return
      clearTimeout(timer)
      this.gone(this.reason())
    }
    const timer = setTimeout(() => {
      left = 1
      closed()
    }, OUTPUT_MILLIS)
    for (const stream of [child.stdout, child.stderr, this.guard]) stream?.once("close", closed)
    child.once("disconnect", closed)
    if (left === 0) closed()
  }

  private reason(): Gone {
    const { exitCode, signal } = this.exited!
    const outOfMemory = /FATAL ERROR: .*out of memory/.exec(this.stderrTail)
    if (this.isDeaf) return { reason: "error", exitCode, signal, detail: "it closed its channel" }
    // Node aborts then: a code where there are no signals.
    if (outOfMemory !== null && (signal !== undefined || exitCode === 134)) {
      return { reason: "outOfMemory", exitCode, signal, detail: outOfMemory[0] }
    }
    // One that was caught after all is not what it ended by.
    if (this.uncaught !== "" && exitCode) return { reason: "error", exitCode, signal, detail: this.uncaught }
    if (signal !== undefined) return { reason: "signal", signal }
    return { reason: "exit", exitCode }
  }

  private gone(gone: Gone): void {
    if (this.life === "gone") return
    this.release()
    this.flush()
    this.life = "gone"
    clearTimeout(this.timer)
    for (const stream of [this.child.stdout, this.child.stderr, this.guard]) stream?.destroy()
    this.listening.onGone(gone)
    for (const resume of this.onGone) resume()
  }
}

/** Arguments that mean this process alone: the program of `node -e`, which would run again, and the port of a debugger, which is taken. */
const inherited = (args: ReadonlyArray<string>): ReadonlyArray<string> =>
  args.filter((arg, i) =>
    !/^(-e|-p|-pe|--eval|--print)$/.test(arg) && !/^(-e|-p|-pe|--eval|--print)$/.test(args[i - 1] ?? "") &&
    !/^--(eval|print|input-type|inspect)\b/.test(arg)
  )

const ignore = (): void => {}
