/** Processes as the machine sees them. */
import { assert } from "@effect/vitest"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

// The processes of a test start in half the time.
process.env["NODE_COMPILE_CACHE"] ??= join(tmpdir(), "tasklayer-compile-cache")

/** What has ended and is not yet collected by its parent is gone: it runs nothing, and no signal changes that. */
export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  const stat = `/proc/${pid}/stat`
  try {
    return !existsSync(stat) || !/\) [ZX] /.test(readFileSync(stat, "utf8"))
  } catch {
    return false
  }
}

export const pause = (millis: number) => new Promise<void>((resume) => setTimeout(resume, millis))

/** Fails where it does not come true in time. */
export const eventually = async (what: string, isTrue: () => boolean, millis = 10_000): Promise<void> => {
  for (const deadline = performance.now() + millis; !isTrue(); await pause(5)) {
    assert.isBelow(performance.now(), deadline, `${what}: not within ${millis} ms`)
  }
}

export const allGone = (pids: ReadonlyArray<number>, millis = 2_000): Promise<void> =>
  eventually(`${pids.filter(isAlive)} gone`, () => !pids.some(isAlive), millis)

/** The children this process has. */
export const children = (): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(Number).filter((pid) => {
    try {
      return Number(/\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))![1]) === process.pid
    } catch {
      return false
    }
  })

/** What a process could leave behind here: descriptors, children, handles, listeners. */
export const held = () => ({
  fds: readdirSync("/proc/self/fd").length,
  children: children().length,
  handles: process.getActiveResourcesInfo().filter((name) => /Pipe|Process|Timeout|MessagePort/.test(name)).sort()
    .join(),
  listeners: process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
})

/** No more than before. */
export const allReleased = async (before: ReturnType<typeof held>, millis = 5_000): Promise<void> => {
  const more = () => Object.entries(held()).filter(([name, count]) => count > before[name as keyof typeof before])
  for (const deadline = performance.now() + millis; more().length > 0 && performance.now() < deadline;) await pause(20)
  assert.deepStrictEqual(more(), [], JSON.stringify(before))
}
