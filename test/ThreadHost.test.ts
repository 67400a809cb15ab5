/** What an entry may be made of. */
import { assert, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type { Job } from "../src/index.ts"
import { ThreadHost, ThreadRunner } from "../src/threads/index.ts"
import { LeaveBehind, Peak, Started } from "./fixtures/thread-plain-jobs.ts"

const lines: Array<readonly [message: string, host: unknown]> = []
const leftBehind = Latch.makeUnsafe()
const logger = Logger.make(({ fiber, message }) => {
  const text = [message].flat().join(" ")
  lines.push([text, fiber.getRef(References.CurrentLogAnnotations)["host"]])
  if (text.startsWith("left behind")) leftBehind.openUnsafe()
})

const plain = ThreadRunner.layer({
  entry: new URL("fixtures/thread-plain.ts", import.meta.url),
  size: 1,
  spares: 0,
  id: "plain",
  data: { words: ["a", "b"] }
})

layer(Layer.provide(plain, Logger.layer([logger])), { timeout: 60_000 })("an entry", (it) => {
  it.effect("has handlers, what they need, the data of the runner, and what is done first, once", () =>
    Effect.gen(function*() {
      const expected = { started: "a,b", words: ["a", "b"] }
      assert.deepStrictEqual(yield* Started.execute(undefined), expected)
      assert.deepStrictEqual(yield* Started.execute(undefined), expected)
    }))

  it.effect("may bring the scheduler of the tasks in its handlers", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Peak.execute({ tasks: 5 }), 2)
    }))

  it.effect("is heard by the loggers of the runner, under its own name where no run is concerned", () =>
    Effect.sync(() => {
      assert.deepStrictEqual(lines[0], ["the Layer is built", "tasklayer-plain-1"])
    }))

  it.effect("may leave fibers behind, which have no run any more: what they ask for is interrupted", () =>
    Effect.gen(function*() {
      yield* LeaveBehind.execute(undefined)
      yield* leftBehind.await
      assert.deepStrictEqual(lines.at(-1), ["left behind Failure", "tasklayer-plain-1"])
      assert.deepStrictEqual((yield* Started.execute(undefined)).words, ["a", "b"])
    }))
})

it("run outside of a host says so", () => {
  const nothing = Layer.succeedContext(Context.empty()) as Layer.Layer<Job.Registry>
  assert.throws(() => ThreadHost.run(nothing), "ThreadHost.run: no runner started this thread or process")
})

it.effect("outside of a host there are no data", () => Effect.map(ThreadHost.data, (data) => assert.isUndefined(data)))
