/** Servers of a sample's own, on free ports and in folders that go with it. */
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { startServer } from "../../test/suites/Postgres.ts"

const folder = (): string => fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-bench-"))

export interface Place<A> {
  readonly at: A
  readonly remove: () => Promise<void>
}

/** With its defaults: what is acknowledged is on the disk. */
export const postgresServer = async (): Promise<Place<string>> => {
  const server = await startServer(folder())
  return { at: server.url, remove: server.remove }
}

/** `everysec`: what was acknowledged in the last second may be lost with the machine. Without, all of it. */
export const redisServer = async (appendOnly: boolean): Promise<Place<number>> => {
  const dir = folder()
  const port = await new Promise<number>((resolve, reject) => {
    const server = net.createServer().once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })
  const file = appendOnly ? ["--appendonly", "yes", "--appendfsync", "everysec"] : ["--appendonly", "no"]
  const redis: ChildProcess = spawn("redis-server", ["--port", `${port}`, "--dir", dir, "--save", "", ...file], {
    stdio: "ignore"
  })
  const failed = new Promise<never>((_, reject) => redis.once("error", reject))
  const ended = new Promise<void>((resolve) => redis.once("close", () => resolve()))
  const answers = () =>
    new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => socket.end("PING\r\n"))
      socket.once("data", () => resolve(true)).once("error", () => resolve(false))
    })
  while (!await Promise.race([answers(), failed])) await sleep(20)
  return {
    at: port,
    remove: async () => {
      redis.kill("SIGKILL")
      await ended
      fs.rmSync(dir, { recursive: true, force: true })
    }
  }
}

export const sqliteFile = (): Place<string> => {
  const dir = folder()
  return {
    at: path.join(dir, "jobs.db"),
    remove: async () => fs.rmSync(dir, { recursive: true, force: true })
  }
}
