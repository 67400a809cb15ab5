/** How a host talks to its runner, seen from inside. */
import { type MessagePort, receiveMessageOnPort, type TransferListItem, workerData } from "node:worker_threads"
import type { FromHost, ToHost } from "./Wire.ts"

export interface Port {
  /** Its own. */
  readonly name: string
  /** What the runner was given as `data`. */
  readonly data: unknown
  /** Throws when a value cannot be cloned. */
  readonly post: (message: FromHost, transfer: ReadonlyArray<unknown>) => void
  /** `isIdle`: nothing is running; whoever listens may wait for the next message in his own way. */
  readonly onMessage: (listener: (message: ToHost) => void, isIdle: () => boolean) => void
  /** Nothing more is said or heard: it ends, unless something of the user's keeps it. */
  readonly close: () => void
}

const Mark = "tasklayer/host"

interface Given {
  readonly name: string
  readonly data: unknown
  readonly port: MessagePort
  /** Counts what was posted. */
  readonly bell: Bell
}

/** What tells our threads from those of others. */
export const marked = (given: Given): Readonly<Record<string, Given>> => ({ [Mark]: given })

/** `undefined`: this thread was not started by a runner. */
export const threadPort = (): Port | undefined => {
  const given: Given | undefined = typeof workerData === "object" && workerData !== null ? workerData[Mark] : undefined
  if (given === undefined) return undefined
  const { bell, data, name, port } = given
  return {
    name,
    data,
    post: (message, transfer) => port.postMessage(message, transfer as ReadonlyArray<TransferListItem>),
    onMessage: (listener, isIdle) =>
      void port.on("message", (message: ToHost) => {
        listener(message)
        if (isIdle()) linger(port, bell, listener, isIdle)
      }),
    close: () => port.close()
  }
}

// ─── waiting for the next call

type Bell = Int32Array<SharedArrayBuffer>

export const makeBell = (): Bell => new Int32Array(new SharedArrayBuffer(4))

export const ring = (bell: Bell): void => {
  Atomics.add(bell, 0, 1)
  Atomics.notify(bell, 0)
}

/** For how long an idle thread waits for the bell, before it goes back to its event loop, which takes longer to wake. */
const LINGER_MILLIS = 1
/** After so long the event loop has its turn, whatever there is to do. */
const TURN_MILLIS = 10

const linger = (
  port: MessagePort,
  bell: Bell,
  listener: (message: ToHost) => void,
  isIdle: () => boolean
): void => {
  const until = performance.now() + TURN_MILLIS
  do {
    const seen = Atomics.load(bell, 0)
    const received = receiveMessageOnPort(port)
    if (received !== undefined) listener(received.message)
    else if (Atomics.wait(bell, 0, seen, LINGER_MILLIS) === "timed-out") return
  } while (isIdle() && performance.now() < until)
}
