/** A host that is a worker thread. */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type ResourceLimits,
  type TransferListItem,
  Worker
} from "node:worker_threads"
import { type Bell, makeBell, Patience, ring, TO_HOST, TO_RUNNER } from "./Bell.ts"
import type { Carrier, Gone, Start } from "./Carrier.ts"
import { marked } from "./Port.ts"
import type { FromHost } from "./Wire.ts"

export interface ThreadOptions {
  readonly entry: URL
  readonly data?: unknown
  readonly env?: Readonly<Record<string, string | undefined>> | undefined
  readonly resourceLimits?: ResourceLimits | undefined
}

/** A file by its URL: given as a URL, as its text, or as a path (relative ones to the working directory). */
export const entryOf = (entry: string | URL): URL =>
  entry instanceof URL ? entry : /^(file|data|node):/.test(entry) ? new URL(entry) : pathToFileURL(path.resolve(entry))

/** For messages. */
export const nameOf = (entry: URL): string => entry.protocol === "file:" ? fileURLToPath(entry) : entry.href

export const startThread = (options: ThreadOptions): Start => ({ name, onGone, onMessage }) =>
  Effect.sync((): Carrier => {
    const { port1: port, port2 } = new MessageChannel()
    const bell = makeBell()
    const worker = opened(port, () =>
      new Worker(options.entry, {
        name,
        workerData: marked({ name, data: options.data, port: port2, bell }),
        transferList: [port2],
        ...(options.env === undefined ? {} : { env: options.env as NodeJS.ProcessEnv }),
        ...(options.resourceLimits === undefined ? {} : { resourceLimits: options.resourceLimits })
      }))
    worker.unref()
    let error: unknown
    let gone = false
    const ended = new Set<() => void>()
    const ear = new Ear(port, bell, onMessage, (unreadable) => {
      error = unreadable
      void worker.terminate()
    })
    port.unref()
    worker.once("error", (uncaught) => {
      error = uncaught
    })
    worker.once("exit", (code) => {
      gone = true
      // What it said before.
      ear.drain()
      port.close()
      onGone(reasonOf(error, code))
      for (const end of ended) end()
    })
    return {
      name,
      post: (message, transfer) => {
        port.postMessage(message, transfer as ReadonlyArray<TransferListItem>)
        ring(bell, TO_HOST)
        ear.listen()
      },
      hold: (held) => held ? worker.ref() : worker.unref(),
      kill: Effect.callback((resume) => {
        if (gone) return resume(Effect.void)
        ended.add(() => resume(Effect.void))
        // Its end must be waited for, however little else there is to do.
        worker.ref()
        void worker.terminate()
      })
    }
  })

/** Hears what a thread says: from the event loop and, while an answer may come soon, by looking for it in each of its turns. */
class Ear {
  private readonly port: MessagePort
  private readonly bell: Bell
  private readonly onMessage: (message: FromHost) => void
  private readonly onUnreadable: (error: unknown) => void
  private readonly patience = new Patience()
  /** How many messages there were, and were when something was posted last. */
  private count = 0
  private before = -1
  private isLooking = false

  constructor(
    port: MessagePort,
    bell: Bell,
    onMessage: (message: FromHost) => void,
    onUnreadable: (error: unknown) => void
  ) {
    this.port = port
    this.bell = bell
    this.onMessage = onMessage
    this.onUnreadable = onUnreadable
    port.on("message", (message: FromHost) => this.heard(message))
    port.on("messageerror", onUnreadable)
  }

  /** Something was posted. */
  listen(): void {
    if (!this.patience.begin()) return
    this.before = this.count
    if (this.isLooking) return
    this.isLooking = true
    setImmediate(this.look)
  }

  drain(): void {
    for (let next = this.receive(); next !== undefined; next = this.receive()) this.heard(next.message)
  }

  private receive(): { readonly message: FromHost } | undefined {
    try {
      return receiveMessageOnPort(this.port)
    } catch (error) {
      this.onUnreadable(error)
      return undefined
    }
  }

  private readonly look = (): void => {
    if (Atomics.load(this.bell, TO_RUNNER) !== this.count) this.drain()
    if (this.count === this.before && this.patience.lasts()) setImmediate(this.look)
    else this.isLooking = false
  }

  private heard(message: FromHost): void {
    if (this.isLooking && this.count === this.before) this.patience.came()
    this.count = (this.count + 1) | 0
    this.onMessage(message)
  }
}

/** What throws leaves no port open. */
const opened = (port: MessagePort, open: () => Worker): Worker => {
  try {
    return open()
  } catch (error) {
    port.close()
    throw error
  }
}

const reasonOf = (error: unknown, exitCode: number): Gone => {
  if (error === undefined) return { reason: "exit", exitCode }
  const { code, stack } = error as { code?: string; stack?: string }
  return code === "ERR_WORKER_OUT_OF_MEMORY"
    ? { reason: "outOfMemory", detail: (error as Error).message }
    : { reason: "error", detail: stack ?? String(error) }
}
