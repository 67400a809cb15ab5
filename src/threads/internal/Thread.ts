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
import type { Carrier, Gone, Start } from "./Carrier.ts"
import { makeBell, marked, ring } from "./Port.ts"

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
    port.on("message", onMessage)
    port.on("messageerror", (unreadable) => {
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
      for (let last = receiveMessageOnPort(port); last !== undefined; last = receiveMessageOnPort(port)) {
        onMessage(last.message)
      }
      port.close()
      onGone(reasonOf(error, code))
      for (const end of ended) end()
    })
    return {
      name,
      post: (message, transfer) => {
        port.postMessage(message, transfer as ReadonlyArray<TransferListItem>)
        ring(bell)
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
