import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { fileURLToPath } from "node:url"
import type { Carrier, Gone } from "../src/threads/internal/Carrier.ts"
import { type ProcessOptions, startProcess } from "../src/threads/internal/ProcessCarrier.ts"
import { type FromHost, isReply, type Log } from "../src/threads/internal/Wire.ts"
import * as ChildProcess from "./suites/ChildProcess.ts"
import * as Processes from "./suites/Processes.ts"

// Processes take their time to start where others do, too.
vi.setConfig({ testTimeout: 60_000 })

const fixture = (name: string) => new URL(`fixtures/${name}.ts`, import.meta.url)

// ─── a process, without a runner

interface Started {
  readonly carrier: Carrier
  readonly pid: number
  readonly ready: Promise<void>
  readonly gone: Promise<Gone>
  readonly logs: ReadonlyArray<Log>
  readonly messages: ReadonlyArray<FromHost>
  /** What a run of the act replies; rejects with why the process is gone. */
  readonly act: (name: string, payload?: unknown) => Promise<any>
  readonly kill: () => Promise<void>
}

const started = new Set<Started>()
afterEach(async () => {
  for (const each of started) await each.kill()
  started.clear()
})

const start = async (options: Partial<ProcessOptions> = {}): Promise<Started> => {
  const messages: Array<FromHost> = []
  const ready = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<Gone>()
  const calls = new Map<number, PromiseWithResolvers<unknown>>()
  let count = 0
  const carrier = await Effect.runPromise(
    startProcess({ entry: fixture("process-host"), killAfter: 100, ...options })({
      name: "tasklayer-test-1",
      onMessage: (message) => {
        messages.push(message)
        if (isReply(message)) calls.get(message[0])!.resolve(message[1])
        else if (message._tag === "Ready") ready.resolve()
      },
      onGone: (reason) => {
        gone.resolve(reason)
        ready.reject(reason)
        for (const call of calls.values()) call.reject(reason)
      }
    })
  )
  carrier.hold(true)
  ready.promise.catch(() => {})
  const it: Started = {
    carrier,
    pid: (carrier as any).child.pid,
    ready: ready.promise,
    gone: gone.promise,
    messages,
    get logs() {
      return messages.filter((message): message is Log => !isReply(message) && message._tag === "Log")
    },
    act: (job, payload) => {
      const call = Promise.withResolvers<unknown>()
      call.promise.catch(() => {})
      calls.set(++count, call)
      carrier.post([count, job, payload, "", 1, undefined], [])
      return call.promise
    },
    kill: () => Effect.runPromise(carrier.kill)
  }
  started.add(it)
  return it
}

const ready = async (options?: Partial<ProcessOptions>): Promise<Started> => {
  const process = await start(options)
  await process.ready
  return process
}

const lines = ({ logs }: Started, stream = "stdout") =>
  logs.filter(({ annotations }) => annotations["stream"] === stream).map(({ message }) => message[0] as string)

describe("a host in a process", () => {
  it("answers, with what crosses as it is", async () => {
    const host = await ready({ data: { since: new Date(0) } })
    const payload = { n: 1, text: "é", bytes: new Uint8Array([1, 2]), none: undefined, big: 1n, map: new Map([[1, 2]]) }
    assert.deepStrictEqual(await host.act("echo", payload), payload)
    assert.deepStrictEqual(await host.act("data"), { since: new Date(0) })
  })

  it("is called by its name, and has the arguments, the environment and the directory it is given", async () => {
    const host = await ready({ execArgv: ["--no-warnings"], cwd: "/", env: { TASKLAYER_TEST: "1", HOME: undefined } })
    assert.deepStrictEqual(await host.act("about"), {
      name: "tasklayer-test-1",
      title: "tasklayer-test-1",
      execArgv: ["--no-warnings"],
      cwd: "/"
    })
    assert.strictEqual(await host.act("env", "TASKLAYER_TEST"), "1")
    assert.strictEqual(await host.act("env", "HOME"), undefined)
    assert.strictEqual(await host.act("env", "PATH"), process.env["PATH"])
  })

  it("has the arguments of the process here, but not its program and not its debugger", async () => {
    const parent = await ChildProcess.run("--no-warnings", [
      "--inspect=127.0.0.1:0",
      "--input-type=module",
      "--eval",
      `process.argv[2] = "about"; await import(${JSON.stringify(fixture("process-parent").href)})`
    ])
    assert.deepStrictEqual(JSON.parse(parent.stdout).execArgv, ["--no-warnings"], parent.stderr)
  })

  it("is not confused by what a job sends by itself", async () => {
    const host = await ready()
    for (const sent of [null, "ready", 7, { type: "ready" }]) await host.act("send", sent)
    assert.lengthOf(host.messages.filter(isReply), 4)
    assert.lengthOf(host.messages, 5)
  })

  it("takes and gives 10 MB", async () => {
    const host = await ready()
    assert.strictEqual(await host.act("size", new Uint8Array(10_000_000)), 10_000_000)
    assert.strictEqual((await host.act("fill", 10_000_000)).length, 10_000_000)
  })

  it("what cannot be cloned throws where it is posted, and the process goes on", async () => {
    const host = await ready()
    assert.throws(() => host.carrier.post([0, "echo", () => {}, "", 1, undefined], []))
    assert.strictEqual(await host.act("echo", 1), 1)
    const error = await start({ data: () => {} }).catch(String)
    assert.include(error, "could not be cloned")
    assert.lengthOf(Processes.children(), 1)
  })
})

describe("what it prints", () => {
  it("is told line by line, before the reply of the call that printed it", async () => {
    const host = await ready()
    for (let i = 0; i < 50; i++) await host.act("print", [`${i} a`, `${i} b`])
    const told = host.messages.flatMap((message) =>
      isReply(message) ? ["reply"] : message._tag === "Log" ? [message.message[0]] : []
    )
    assert.deepStrictEqual(told, Array.from({ length: 50 }, (_, i) => [`${i} a`, `${i} b`, "reply"]).flat())
    const [log] = host.logs
    assert.deepInclude(log, { level: "Info", call: "current", annotations: { stream: "stdout", pid: host.pid } })
  })

  it("on stderr is told as a warning", async () => {
    const host = await ready()
    await host.act("complain", "careful\nvery")
    assert.deepStrictEqual(lines(host, "stderr"), ["careful", "very"])
    assert.deepStrictEqual(host.logs.map(({ level }) => level), ["Warn", "Warn"])
  })

  it("without a newline is told at the end of the call, in pieces where it is long", async () => {
    const host = await ready()
    await host.act("write", "no newline")
    await host.act("write", "\r\nafter an empty line\r\n")
    assert.deepStrictEqual(lines(host), ["no newline", "", "after an empty line"])
    await host.act("write", "x".repeat(200_000))
    const pieces = lines(host).slice(3)
    assert.strictEqual(pieces.join(""), "x".repeat(200_000))
    assert.isAtMost(Math.max(...pieces.map((piece) => piece.length)), 65_536)
  })

  it("may cut a character in two", async () => {
    const host = await ready()
    const bytes = Buffer.from("a€b\n")
    await host.act("writeBytes", bytes.subarray(0, 2))
    await host.act("writeBytes", bytes.subarray(2))
    assert.strictEqual(lines(host).join(""), "a€b")
  })

  it("may be 50 MB: every line is told, in order", async () => {
    const host = await ready()
    await host.act("write much", { line: `${"y".repeat(999)}\n`, times: 50_000 })
    assert.lengthOf(host.logs, 50_000)
    assert.isTrue(host.logs.every(({ message: [line] }) => (line as string).length === 999))
  })

  it("last is told before it is gone", async () => {
    const host = await ready()
    await host.act("write", "")
    void host.act("print", Array.from({ length: 1_000 }, (_, i) => `line ${i}`))
    void host.act("exit", 0)
    await host.gone
    assert.strictEqual(lines(host).at(-1), "line 999")
  })
})

describe("its end", () => {
  it("by process.exit, and what of its own accord", async () => {
    const host = await ready()
    void host.act("exit", 3)
    assert.deepStrictEqual(await host.gone, { reason: "exit", exitCode: 3 })
  })

  for (const [act, message] of [["throw", "nobody catches this"], ["reject", "nobody handles this"]] as const) {
    it(`by an uncaught error (${act}) says which`, async () => {
      const host = await ready()
      void host.act(act)
      const gone = await host.gone
      assert.deepInclude(gone, { reason: "error", exitCode: 1 })
      assert.match(gone.detail!, new RegExp(`^Error: ${message}\n    at `))
    })
  }

  it("by a file that is not there, that throws, or that is no host", async () => {
    const missing = await start({ entry: fixture("process-missing") })
    assert.include((await missing.gone).detail, "Cannot find module")
    const none = await start({ entry: new URL("data:text/javascript,") }).catch(String)
    assert.include(none, "must be of scheme file")
    const idle = await start({ entry: fixture("seed-names") })
    assert.deepStrictEqual(await idle.gone, { reason: "exit", exitCode: 0 })
  })

  it("by want of memory", async () => {
    const host = await ready({ execArgv: ["--max-old-space-size=40"] })
    void host.act("hoard")
    const gone = await host.gone
    assert.deepInclude(gone, { reason: "outOfMemory", signal: "SIGABRT" })
    assert.include(gone.detail, "heap out of memory")
  })

  it("is not by what it only printed, or caught after all", async () => {
    const printing = await ready()
    await printing.act("complain", "FATAL ERROR: out of memory\n")
    void printing.act("exit", 1)
    assert.deepStrictEqual(await printing.gone, { reason: "exit", exitCode: 1 })
    const catching = await ready()
    await catching.act("throw, and catch")
    process.kill(catching.pid, "SIGKILL")
    assert.deepStrictEqual(await catching.gone, { reason: "signal", signal: "SIGKILL" })
  })

  it("by a SIGKILL from outside", async () => {
    const host = await ready()
    void host.act("spin")
    process.kill(host.pid, "SIGKILL")
    assert.deepStrictEqual(await host.gone, { reason: "signal", signal: "SIGKILL" })
  })

  it("by closing its channel", async () => {
    const host = await ready()
    void host.act("disconnect, and stay")
    assert.deepInclude(await host.gone, { reason: "error", detail: "it closed its channel" })
    assert.isFalse(Processes.isAlive(host.pid))
  })

  it("by SIGTERM, while it spins", async () => {
    const host = await ready()
    void host.act("spin")
    await Processes.pause(50)
    await host.kill()
    assert.isFalse(Processes.isAlive(host.pid))
    assert.deepStrictEqual(await host.gone, { reason: "signal", signal: "SIGTERM" })
  })

  it("by SIGKILL after killAfter, when it is deaf", async () => {
    const host = await ready({ killAfter: 300 })
    void host.act("spin, deaf to SIGTERM")
    await Processes.pause(200)
    const before = performance.now()
    await Promise.all([host.kill(), host.kill()])
    assert.isAtLeast(performance.now() - before, 295)
    assert.isFalse(Processes.isAlive(host.pid))
    assert.deepStrictEqual(await host.gone, { reason: "signal", signal: "SIGKILL" })
    await host.kill()
    host.carrier.post({ _tag: "Ping", ping: 1 }, [])
  })

  it("may come before it has begun", async () => {
    for (const millis of [0, 5, 20, 50]) {
      const host = await start()
      await Processes.pause(millis)
      await host.kill()
      assert.isFalse(Processes.isAlive(host.pid))
      assert.strictEqual((await host.gone).reason, "signal")
    }
  })

  for (const act of ["killed", "exit", "throw"]) {
    it(`is the end of what it started (${act})`, async () => {
      const host = await ready()
      const pids = await host.act("breed")
      assert.deepStrictEqual(pids.map(Processes.isAlive), [true, true, true, true])
      if (act === "killed") await host.kill()
      else void host.act(act)
      await host.gone
      await Processes.allGone(pids)
    })
  }

  it("does not wait for what left its group and holds its pipes", async () => {
    const host = await ready()
    const daemon = await host.act("breed, and leave the group")
    await host.kill()
    assert.isTrue(Processes.isAlive(daemon))
    process.kill(daemon, "SIGKILL")
  })

  it("leaves nothing here", async () => {
    await (await ready()).kill()
    await Processes.pause(20)
    const before = Processes.held()
    for (const act of ["exit", "throw", "disconnect", "spin", "breed"]) {
      const host = await ready()
      void host.act(act)
      if (act === "spin" || act === "breed") await host.kill()
      await host.gone
    }
    await Processes.allReleased(before)
  })
})

describe("no orphans", () => {
  const orphans = async (act: string) => {
    const parent = ChildProcess.start(fileURLToPath(fixture("process-parent")), [act])
    await parent.printed(/^\[.*\]$/m)
    const pids: ReadonlyArray<number> = JSON.parse(/^\[.*\]$/m.exec(parent.stdout())![0])
    return { parent, pids }
  }

  for (const act of ["spin", "spin, deaf to SIGTERM", "wait", "starting"]) {
    it(`when the runner's process is killed (${act})`, async () => {
      const { parent, pids } = await orphans(act)
      if (act !== "starting") await parent.printed("begun")
      assert.isTrue(pids.every(Processes.isAlive))
      parent.kill("SIGKILL")
      await parent.ended
      await Processes.allGone(pids, 2_000)
    })
  }

  it("when the runner's process ends by itself, which a host that has nothing to do lets it", async () => {
    const { parent, pids } = await orphans("idle")
    assert.deepStrictEqual(await parent.ended, { code: 0, signal: null })
    await Processes.allGone(pids, 2_000)
  })
})

it("a process that cannot be begun is gone at once, and says why", async () => {
  const parent = await ChildProcess.run(fileURLToPath(fixture("process-parent")), ["starved"])
  assert.deepStrictEqual(JSON.parse(parent.stdout), {
    reason: "error",
    detail: `Error: spawn ${process.execPath} EMFILE`
  }, parent.stderr)
})

it("none is left", () => Processes.eventually("no child", () => Processes.children().length === 0))
