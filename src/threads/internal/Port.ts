/** How a host talks to its runner, seen from inside. */
import { performance } from "node:perf_hooks"
import { type MessagePort, receiveMessageOnPort, type TransferListItem, workerData } from "node:worker_threads"
import { type Bell, Patience, TO_HOST, TO_RUNNER } from "./Bell.ts"
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
    post: (message, transfer) => {
      port.postMessage(message, transfer as ReadonlyArray<TransferListItem>)
      Atomics.add(bell, TO_RUNNER, 1)
    },
    onMessage: (listener, isIdle) => {
      const ear = new Ear(port, bell, listener, isIdle)
      port.on("message", (message: ToHost) => ear.heard(message))
    },
    close: () => port.close()
  }
}

// ─── waiting for the next call

/** For how long an idle thread then sleeps until the bell rings, before it goes back to its event loop, which takes longer to wake. */
const LINGER_MILLIS = 1
/** After so long the event loop has its turn, whatever there is to do. */
const TURN_MILLIS = 10

class Ear {
  private readonly port: MessagePort
  private readonly bell: Bell
  private readonly listener: (message: ToHost) => void
  private readonly isIdle: () => boolean
  private readonly patience = new Patience()
  /** How many messages; as many as the bell was rung, there is none to receive. */
  private count = 0

  constructor(port: MessagePort, bell: Bell, listener: (message: ToHost) => void, isIdle: () => boolean) {
    this.port = port
    this.bell = bell
    this.listener = listener
    this.isIdle = isIdle
  }

  /** From the event loop, which is left out while one message follows the other. */
  heard(message: ToHost): void {
    this.pass(message)
    const until = performance.now() + TURN_MILLIS
    while (this.isIdle() && this.rang()) {
      const received = receiveMessageOnPort(this.port)
      if (received === undefined) return
      this.pass(received.message)
      if (performance.now() >= until) return
    }
  }

  private rang(): boolean {
    if (this.patience.begin()) {
      do {
        if (Atomics.load(this.bell, TO_HOST) !== this.count) {
          this.patience.came()
          return true
        }
      } while (this.patience.lasts())
    }
    return Atomics.wait(this.bell, TO_HOST, this.count, LINGER_MILLIS) !== "timed-out"
  }

  private pass(message: ToHost): void {
    this.count = (this.count + 1) | 0
    this.listener(message)
  }
}
