/** How a host that is a process talks to its runner, seen from inside. */
import { once } from "node:events"
import type { Port } from "./Port.ts"
import { guardedName } from "./ProcessGuard.ts"

/** `undefined`: this process was not started by a runner. Otherwise it comes with the first message. */
export const processPort = (): Promise<Port> | undefined => {
  const name = guardedName()
  if (name === undefined || process.send === undefined) return undefined
  let sending = 0
  let closing = false
  const disconnect = (): void => {
    if (closing && sending === 0 && process.connected) process.disconnect()
  }
  const sent = (): void => {
    sending--
    disconnect()
  }
  return once(process, "message").then(([{ data }]) => ({
    name,
    data,
    post: (message) => {
      process.send!(message, sent)
      sending++
    },
    onMessage: (listener) => void process.on("message", listener as (message: unknown) => void),
    // What was posted is sent first.
    close: () => {
      closing = true
      disconnect()
    }
  }))
}
