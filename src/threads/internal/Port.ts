/** How a host talks to its runner, seen from inside. */
import { parentPort, type TransferListItem, workerData } from "node:worker_threads"
import type { FromHost, ToHost } from "./Wire.ts"

export interface Port {
  /** Its own. */
  readonly name: string
  /** What the runner was given as `data`. */
  readonly data: unknown
  /** Throws when a value cannot be cloned. */
  readonly post: (message: FromHost, transfer: ReadonlyArray<unknown>) => void
  readonly onMessage: (listener: (message: ToHost) => void) => void
  /** Nothing more is said or heard: it ends, unless something of the user's keeps it. */
  readonly close: () => void
}

const Mark = "tasklayer/host"

interface Given {
  readonly name: string
  readonly data: unknown
}

/** What tells our threads from those of others. */
export const marked = (given: Given): Readonly<Record<string, Given>> => ({ [Mark]: given })

/** `undefined`: this thread was not started by a runner. */
export const threadPort = (): Port | undefined => {
  const given: Given | undefined = typeof workerData === "object" && workerData !== null ? workerData[Mark] : undefined
  if (given === undefined || parentPort === null) return undefined
  const port = parentPort
  return {
    ...given,
    post: (message, transfer) => port.postMessage(message, transfer as ReadonlyArray<TransferListItem>),
    onMessage: (listener) => void port.on("message", listener),
    close: () => port.close()
  }
}
