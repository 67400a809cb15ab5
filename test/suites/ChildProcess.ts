/** A program of ours in a process of its own, with what it prints. */
import { afterAll } from "@effect/vitest"
import { type ChildProcess as NodeChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"

export interface Options {
  readonly cwd?: string
  /** Give up root, which may read what nobody may. */
  readonly asNobody?: boolean
}

export interface ChildProcess {
  readonly stdout: () => string
  readonly stderr: () => string
  /** Resolves when either stream has printed it, rejects when the process ends without. */
  readonly printed: (text: string | RegExp) => Promise<void>
  readonly kill: (signal: NodeJS.Signals) => void
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

const nobody = 65534

/** Whether a process that gave up root can run a program of this repository: not in a clone below /root. */
export const nobodyMayRun = (file: string): boolean =>
  process.getuid?.() !== 0 || spawnSync(process.execPath, ["--check", file], { uid: nobody, gid: nobody }).status === 0

const live = new Set<NodeChildProcess>()

// A test that failed leaves no process behind.
afterAll(() => {
  for (const child of live) child.kill("SIGKILL")
})

export const start = (file: string, args: ReadonlyArray<string> = [], options: Options = {}): ChildProcess => {
  const child = spawn(process.execPath, [file, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.asNobody === true && process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {})
  })
  live.add(child)
  const text = { stdout: "", stderr: "" }
  const waiting = new Set<() => void>()
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (chunk: string) => {
      text[stream] += chunk
      for (const look of waiting) look()
    })
  }
  const ended = once(child, "close").then(([code, signal]) => {
    live.delete(child)
    return { code, signal }
  })
  return {
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    printed: (wanted) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const all = `${text.stdout}\n${text.stderr}`
          if (typeof wanted === "string" ? !all.includes(wanted) : !wanted.test(all)) return
          waiting.delete(look)
          resolve()
        }
        waiting.add(look)
        ended.then(() => reject(new Error(`ended without printing ${wanted}:\n${text.stdout}\n${text.stderr}`)))
        look()
      }),
    kill: (signal) => void child.kill(signal),
    ended
  }
}

/** Runs it to its end. */
export const run = async (file: string, args: ReadonlyArray<string> = [], options: Options = {}) => {
  const child = start(file, args, options)
  const { code, signal } = await child.ended
  return { code, signal, stdout: child.stdout(), stderr: child.stderr() }
}
