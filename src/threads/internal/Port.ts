/** How a host talks to its runner, seen from inside. */
import { performance } from "node:perf_hooks"
import { type MessagePort, workerData } from "node:worker_threads"
import { Link, type Memory } from "./Link.ts"
import { Patience } from "./Patience.ts"
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
  readonly memory: Memory
}

/** What tells our threads from those of others. */
export const marked = (given: Given): Readonly<Record<string, Given>> => ({ [Mark]: given })

/** `undefined`: this thread was not started by a runner. */
export const threadPort = (): Port | undefined => {
  const given: Given | undefined = typeof workerData === "object" && workerData !== null ? workerData[Mark] : undefined
  if (given === undefined) return undefined
  const { data, memory, name, port } = given
  const link = new Link<FromHost, ToHost>(port, memory, "host")
  return {
    name,
    data,
    post: (message, transfer) => link.post(message, transfer),
    onMessage: (listener, isIdle) => {
      const ear = new Ear(link, listener, isIdle)
      port.on("message", (message: ToHost | null) => ear.heard(message))
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
  private readonly link: Link<FromHost, ToHost>
  private readonly listener: (message: ToHost) => void
  private readonly isIdle: () => boolean
  private readonly patience = new Patience()

  constructor(link: Link<FromHost, ToHost>, listener: (message: ToHost) => void, isIdle: () => boolean) {
    this.link = link
    this.listener = listener
    this.isIdle = isIdle
  }

  /** From the event loop, which is left out while one message follows the other. */
  heard(message: ToHost | null): void {
    const { link } = this
    link.heard(message, this.listener)
    const until = performance.now() + TURN_MILLIS
    link.look()
    while (this.isIdle() && this.rang() && this.receive() && performance.now() < until);
    link.rest()
    for (let { unheard } = link; unheard > 0 && this.receive(); unheard--);
  }

  private receive(): boolean {
    const next = this.link.receive()
    if (next !== undefined) this.listener(next.message)
    return next !== undefined
  }

  private rang(): boolean {
    if (this.patience.begin()) {
      do {
        if (this.link.unheard !== 0) {
          this.patience.came()
          return true
        }
      } while (this.patience.lasts())
    }
    this.link.sleep(LINGER_MILLIS)
    return this.link.unheard !== 0
  }
}
