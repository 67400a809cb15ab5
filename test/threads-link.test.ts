import { assert, describe, it } from "@effect/vitest"
import { isDeepStrictEqual } from "node:util"
import { MessageChannel, Worker } from "node:worker_threads"
import { vi } from "vitest"
import { Link, makeMemory } from "../src/threads/internal/Link.ts"
import * as Random from "./suites/Random.ts"

/** Both ends in one thread. What comes by an event of a port is kept until that end hears it. */
const open = () => {
  const { port1, port2 } = new MessageChannel()
  const memory = makeMemory()
  const end = (port: typeof port1, side: "runner" | "host") => {
    const link = new Link<unknown, unknown>(port, memory, side)
    const events: Array<unknown> = []
    port.on("message", (message) => events.push(message))
    return { link, events }
  }
  const [runner, host] = [end(port1, "runner"), end(port2, "host")]
  return {
    runner,
    host,
    close: () => {
      port1.close()
      port2.close()
    }
  }
}

const turn = () => new Promise<void>((resume) => setImmediate(resume))

const circular: Record<string, unknown> = {}
circular["self"] = circular

/** Short and plain: what a box is for. */
const plain: ReadonlyArray<ReadonlyArray<unknown>> = [
  [],
  [1],
  [1, undefined],
  [1, "double", { n: 1.5, of: [true, null, "ä€😀\ud800\u2028\"\\\0"] }, "id", 1, undefined],
  [{ ["__proto__"]: 1 }],
  ["€".repeat(2_000)]
]

/** Each is lost or changed by JSON, or too long. */
const other: ReadonlyArray<unknown> = [
  "no list",
  { _tag: "Ping", ping: 1 },
  [[1, undefined]],
  [{ a: undefined }],
  [NaN],
  [-0],
  [Infinity],
  [1n],
  // oxlint-disable-next-line no-sparse-arrays
  [[1, , 2]],
  [new Date(0)],
  [new Map([[1, 2]])],
  [new Uint8Array([1, 2])],
  [Object.create(null)],
  [circular],
  ["x".repeat(3_000)],
  [Array.from({ length: 3_000 }, (_, i) => i)],
  [{ ["x".repeat(3_000)]: 1 }],
  ["\u0001".repeat(1_000)]
]

describe("a link of two threads", () => {
  it("to one that looks, what is short and plain is said without the port", async () => {
    const { close, host, runner } = open()
    host.link.look()
    for (const message of plain) {
      runner.link.post(message, [])
      await turn()
      assert.deepStrictEqual(host.events, [])
      assert.strictEqual(host.link.unheard, 1)
      const { message: received } = host.link.receive()!
      assert.deepStrictEqual([...received as Array<unknown>, undefined].slice(0, message.length), message)
    }
    close()
  })

  it("everything else goes by the port, and is what it was", async () => {
    const { close, host, runner } = open()
    host.link.look()
    for (const message of other) {
      runner.link.post(message, [])
      await turn()
      assert.strictEqual(host.events.length, 1)
      assert.deepStrictEqual(host.events.pop(), structuredClone(message))
      host.link.heard(1, () => {})
    }
    const bytes = new Uint8Array([1])
    runner.link.post([1], [bytes.buffer])
    assert.strictEqual(bytes.length, 0)
    await turn()
    assert.deepStrictEqual(host.events, [[1]])
    close()
  })

  it("to one in its event loop, so does everything", async () => {
    const { close, host, runner } = open()
    runner.link.post([1], [])
    host.link.look()
    host.link.rest()
    runner.link.post([2], [])
    await turn()
    assert.deepStrictEqual(host.events, [[1], [2]])
    close()
  })

  it("who is asleep is woken by what is said, and not by what was said before", () => {
    const { close, host, runner } = open()
    host.link.look()
    runner.link.post([1], [])
    host.link.sleep(60_000)
    assert.deepStrictEqual(host.link.receive(), { message: [1] })
    const from = performance.now()
    host.link.sleep(20)
    assert.isAtLeast(performance.now() - from, 19)
    close()
  })

  it("who goes back to its event loop in the moment in which something is said is told by the port", async () => {
    const { close, host, runner } = open()
    host.link.look()
    const add = vi.spyOn(Atomics as { add: (to: Int32Array, at: number, value: number) => number }, "add")
    add.mockImplementationOnce((to, at, value) => {
      host.link.rest()
      assert.strictEqual(host.link.unheard, 0)
      add.mockRestore()
      return Atomics.add(to, at, value)
    })
    runner.link.post([1], [])
    await turn()
    assert.deepStrictEqual(host.events, [null])
    const heard: Array<unknown> = []
    host.link.heard(null, (message) => heard.push(message))
    assert.deepStrictEqual(heard, [[1]])
    close()
  })

  it("what is put in the box after that was looked into is not overtaken by what is posted then", () => {
    const { close, host, runner } = open()
    host.link.look()
    const { load } = Atomics as { load: (of: Int32Array, at: number) => number }
    const spy = vi.spyOn(Atomics as { load: typeof load }, "load").mockImplementation((of, at) => {
      const was = load(of, at)
      if (at === 1) {
        spy.mockRestore()
        runner.link.post([1], [])
        runner.link.post({ _tag: "Pong" }, [])
      }
      return was
    })
    assert.isUndefined(host.link.receive())
    assert.deepStrictEqual(host.link.receive(), { message: [1] })
    assert.deepStrictEqual(host.link.receive(), { message: { _tag: "Pong" } })
    assert.strictEqual(host.link.unheard, 0)
    close()
  })

  it("another thread that sleeps is woken at once", async () => {
    const { port1, port2 } = new MessageChannel()
    const memory = makeMemory()
    const link = new Link<unknown, unknown>(port1, memory, "runner")
    const worker = new Worker(new URL("./fixtures/link-sleeper.ts", import.meta.url), {
      workerData: { port: port2, memory },
      transferList: [port2]
    })
    const said = () => new Promise((resolve) => port1.once("message", (message) => link.heard(message, resolve)))
    assert.deepStrictEqual(await said(), ["asleep soon"])
    await new Promise((resolve) => setTimeout(resolve, 50))
    const from = performance.now()
    link.post(["wake up"], [])
    assert.deepStrictEqual(await said(), ["woken by", ["wake up"]])
    assert.isBelow(performance.now() - from, 10_000)
    port1.close()
    await worker.terminate()
  })

  const seed = Random.seedOf("threads-link.test.ts")
  it(`all is heard, once and in order, in 300 random histories from SEED=${seed}`, async () => {
    for (let round = 0; round < 300; round++) {
      const random = Random.make(seed, round)
      const { close, host, runner } = open()
      const ends = [runner, host] as const
      const said: [Array<unknown>, Array<unknown>] = [[], []]
      const heard: [Array<unknown>, Array<unknown>] = [[], []]
      const looks = [false, false]
      const one = (at: 0 | 1): boolean => {
        const next = ends[at].link.receive()
        if (next !== undefined) heard[at].push(next.message)
        return next !== undefined
      }
      for (let step = 0; step < 60; step++) {
        const at = random.int(0, 1) as 0 | 1
        const { link } = ends[at]
        switch (random.int(0, 4)) {
          case 0:
          case 1: {
            const payload = random.pick<unknown>([
              step,
              undefined,
              { a: ["ä", null] },
              new Date(step),
              "y".repeat(3_000)
            ])
            const message = random.pick<unknown>([[step, payload], [step, payload], { _tag: "Log", step }])
            link.post(message, [])
            said[1 - at as 0 | 1].push(message)
            break
          }
          case 2:
            if (looks[at]) {
              link.rest()
              for (let { unheard } = link; unheard > 0 && one(at); unheard--);
            } else link.look()
            looks[at] = !looks[at]
            break
          case 3:
            if (looks[at] && link.unheard !== 0) one(at)
            break
          case 4:
            await turn()
        }
        // An event is heard when it comes.
        for (const end of [0, 1] as const) {
          for (const message of ends[end].events.splice(0)) {
            ends[end].link.heard(message, (message) => heard[end].push(message))
          }
        }
      }
      for (const at of [0, 1] as const) {
        while (one(at));
        const same = (message: unknown) =>
          Array.isArray(message) && message.at(-1) === undefined ? message.slice(0, -1) : message
        assert.isTrue(isDeepStrictEqual(heard[at].map(same), said[at].map(same)), `round ${round}`)
        assert.strictEqual(ends[at].link.unheard, 0)
      }
      close()
    }
  })
})
