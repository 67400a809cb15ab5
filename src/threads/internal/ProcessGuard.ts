/**
 * What a host process runs before anything else: it cannot outlive its parent, and says what it died of.
 *
 * Both go over one socket, which only the two have (descriptor 4). When it closes, the parent is gone, even by SIGKILL: a thread of its own then kills
 * the process group, however busy the process is. The thread must not block in a read: `process.exit` would wait for it forever.
 */

/** Its place in `stdio`. */
export const GUARD_FD = 4

const watchdog = `
const { Socket } = require("node:net")
const end = () => process.kill(process.platform === "win32" ? process.pid : -process.pid, "SIGKILL")
new Socket({ fd: ${GUARD_FD} }).on("error", end).on("close", end).resume()
`

// The arguments that bring it are taken away, or what the host forks would have them too. A thread of the host has them in any case.
// What is printed is written at once: node would keep what a pipe has no room for, and lose it where the process exits or spins.
const guard = (name: string) => `
import { writeSync } from "node:fs"
import { isMainThread, Worker } from "node:worker_threads"
if (isMainThread) {
  process.execArgv.splice(0, 2)
  process.title = ${JSON.stringify(name)}
  process[Symbol.for("tasklayer/host")] = ${JSON.stringify(name)}
  process.on("uncaughtExceptionMonitor", (error) => {
    try { writeSync(${GUARD_FD}, String(error?.stack ?? error).slice(0, 4096)) } catch {}
  })
  for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true)
  new Worker(${JSON.stringify(watchdog)}, { eval: true, name: "tasklayer-watchdog", execArgv: [], env: {} }).unref()
}
`

/** The arguments for node, to be its first. They are text, so no bundler loses them. */
export const guardArgs = (name: string): ReadonlyArray<string> => [
  "--import",
  `data:text/javascript,${encodeURIComponent(guard(name))}`
]

/** What the host is called, in the main thread of a guarded process. */
export const guardedName = (): string | undefined => (process as any)[Symbol.for("tasklayer/host")]
