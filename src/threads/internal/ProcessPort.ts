/** How a host that is a process talks to its runner, seen from inside. */
import type { Port } from "./Port.ts"
import { guardedName } from "./ProcessGuard.ts"
import type { ToHost } from "./Wire.ts"

/** `undefined`: this process was not started by a runner. Otherwise it comes with the first message. */
export const processPort = (): Promise<Port> | undefined => {
  const name = guardedName()
  if (name === undefined || process.send === undefined) return undefined
  let sending = 0
  let isClosing = false
  const disconnect = (): void => {
    if (isClosing && sending === 0 && process.connected) process.disconnect()
  }
  const sent = (): void => {
    sending--
    disconnect()
  }
  // Listens from now on, or what comes while its Layer is built would be lost, and nothing would keep the process until then.
  const early: Array<ToHost> = []
  let listener = (message: ToHost): void => void early.push(message)
  return new Promise((resolve) => {
    process.once("message", ({ data }: { readonly data: unknown }) => {
      process.on("message", (message: ToHost) => listener(message))
      resolve({
        name,
        data,
        post: (message) => {
          process.send!(message, sent)
          sending++
        },
        onMessage: (listen) => {
          listener = listen
          for (const message of early.splice(0)) listen(message)
        },
        // What was posted is sent first.
        close: () => {
          isClosing = true
          disconnect()
        }
      })
    })
  })
}
