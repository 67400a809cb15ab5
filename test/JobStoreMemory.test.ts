import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"
import { JobStore, type NewJob } from "../src/queue/JobStore.ts"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"

const job = (name: string, more: Partial<NewJob> = {}): NewJob => ({
  name,
  payload: "null",
  queue: "default",
  tags: [],
  weight: 1,
  priority: 20,
  key: undefined,
  id: undefined,
  due: undefined,
  expires: undefined,
  delivery: "atLeastOnce",
  maxCrashes: 3,
  unique: undefined,
  trace: undefined,
  ...more
})

describe("JobStoreMemory", () => {
  it.effect("a job is claimed, and ends", () =>
    Effect.gen(function*() {
      const store = yield* JobStore
      yield* store.setLimit({ tag: "t", limit: 1, rates: [], enabled: true })
      yield* store.enqueue([
        job("a", { tags: ["t"], key: "k" }),
        job("b", { tags: ["t"] }),
        job("c"),
        job("d", { due: { in: 5 } })
      ])
      const { worker } = yield* store.join({ name: "w", lease: 1000 })
      const one = yield* store.turn({ worker, ends: [], want: 10, filter: {} })
      assert.deepStrictEqual(one.jobs.map(({ name }) => name), ["a", "c"])
      assert.strictEqual(one.next, 5)
      yield* TestClock.adjust(5)
      const two = yield* store.turn({
        worker,
        ends: [{ _tag: "Succeeded", id: one.jobs[0]!.id, token: 1, result: undefined }],
        want: 10,
        filter: {}
      })
      assert.deepStrictEqual(two.jobs.map(({ name }) => name), ["b", "d"])
      yield* TestClock.adjust(1000)
      assert.strictEqual(yield* store.sweep, 1)
    }).pipe(Effect.provide(JobStoreMemory.layer())))
})
