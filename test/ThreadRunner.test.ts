/** Jobs on worker threads: what a thread may do to itself harms no other, and its limits, lineage and outcomes are those of any run. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { ThreadRunner } from "../src/threads/index.ts"
import { Add, Spin } from "./fixtures/thread-jobs.ts"
import * as Cells from "./suites/Cells.ts"

const entry = new URL("./fixtures/thread-host.ts", import.meta.url)
const threads = (options?: Partial<ThreadRunner.Options>) => ThreadRunner.layer({ entry, size: 1, ...options })

describe("a job on a thread", () => {
  it.effect("returns its result", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Add.execute({ a: 1, b: 2 }), 3)
    }).pipe(Effect.provide(threads())))

  it.effect("in an endless loop is interrupted, and the next one runs", () =>
    Effect.gen(function*() {
      const cells = Cells.make()
      yield* Effect.gen(function*() {
        const spinning = yield* Effect.forkChild(Spin.execute({ began: 0 }))
        yield* Cells.reached(cells, 0, 1)
        yield* Fiber.interrupt(spinning)
        assert.strictEqual(yield* Add.execute({ a: 1, b: 2 }), 3)
      }).pipe(Effect.provide(threads({ data: cells.buffer })))
    }))
})
