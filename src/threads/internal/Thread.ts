/** A host that is a worker thread. */
import * as Effect from "effect/Effect"
import * as path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { MessageChannel, type MessagePort, type ResourceLimits, Worker } from "node:worker_threads"
import type { Carrier, Gone, Start } from "./Carrier.ts"
import { Link, makeMemory } from "./Link.ts"
import { Patience } from "./Patience.ts"
import { marked } from "./Port.ts"
import type { FromHost, ToHost } from "./Wire.ts"

/** Should a test replace it, what has been said is heard all the same. */
const { setImmediate } = globalThis

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
    const memory = makeMemory()
    const worker = opened(port, () =>
      new Worker(options.entry, {
        name,
        workerData: marked({ name, data: options.data, port: port2, memory }),
        transferList: [port2],
        ...(options.env === undefined ? {} : { env: options.env as NodeJS.ProcessEnv }),
        ...(options.resourceLimits === undefined ? {} : { resourceLimits: options.resourceLimits })
      }))
    worker.unref()
    let error: unknown
    let gone = false
    const ended = new Set<() => void>()
    const link = new Link<ToHost, FromHost>(port, memory, "runner")
    const ear = new Ear(port, link, onMessage, (unreadable) => {
      error = unreadable
      void worker.terminate()
    })
    port.unref()
    worker.once("error", (uncaught) => {
      error = uncaught
    })
    worker.once("exit", (code) => {
      gone = true
      ear.end()
      port.close()
      onGone(reasonOf(error, code))
      for (const end of ended) end()
    })
    return {
      name,
      post: (message, transfer) => {
        link.post(message, transfer)
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
  private readonly link: Link<ToHost, FromHost>
  private readonly onMessage: (message: FromHost) => void
  private readonly onUnreadable: (error: unknown) => void
  private readonly patience = new Patience()
  /** How many messages there were, and were when something was posted last. */
  private count = 0
  private before = -1
  private isLooking = false

  constructor(
    port: MessagePort,
    link: Link<ToHost, FromHost>,
    onMessage: (message: FromHost) => void,
    onUnreadable: (error: unknown) => void
  ) {
    this.link = link
    this.onMessage = onMessage
    this.onUnreadable = onUnreadable
    port.on("message", (message: FromHost | null) => link.heard(message, this.heard))
    port.on("messageerror", onUnreadable)
  }

  /** Something was posted. */
  listen(): void {
    if (!this.patience.begin()) return
    this.before = this.count
    if (this.isLooking) return
    this.isLooking = true
    this.link.look()
    setImmediate(this.look)
  }

  /** The thread is gone: what it said before. */
  end(): void {
    while (this.receive(true));
  }

  private receive(isGone = false): boolean {
    let next: { readonly message: FromHost } | undefined
    try {
      next = isGone ? this.link.receiveLast() : this.link.receive()
    } catch (error) {
      this.onUnreadable(error)
    }
    if (next === undefined) return false
    this.heard(next.message)
    return true
  }

  private readonly look = (): void => {
    while (this.receive());
    if (this.count === this.before && this.patience.lasts()) return void setImmediate(this.look)
    this.isLooking = false
    this.link.rest()
    for (let { unheard } = this.link; unheard > 0 && this.receive(); unheard--);
  }

  private readonly heard = (message: FromHost): void => {
    if (this.isLooking && this.count === this.before) this.patience.came()
    this.count = (this.count + 1) | 0
    try {
      this.onMessage(message)
    } catch (error) {
      // Nobody's but whoever waited for it: what else was said is heard.
      queueMicrotask(() => {
        throw error
      })
    }
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
