import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Listening } from "../src/threads/internal/Carrier.ts"
import { Pool } from "../src/threads/internal/Pool.ts"
import { quiet } from "./suites/Quiet.ts"

describe("a pool that closes", () => {
  it.effect("waits for a host that was starting, though it says that it is ready while it is being killed", () =>
    Effect.gen(function*() {
      const hosts: Array<Listening & { held: boolean }> = []
      const start = (listening: Listening) =>
        Effect.sync(() => {
          const host = { ...listening, held: false }
          hosts.push(host)
          return {
            name: listening.name,
            post: () => {},
            hold: (held: boolean) => void (host.held = held),
            kill: Effect.sync(() => void (host.held = true))
          }
        })
      const pool = new Pool(
        {
          name: "p",
          runner: "p",
          lane: undefined,
          entry: "p",
          start,
          spares: 1,
          keepAlive: 1000,
          killAfter: 1000,
          startTimeout: Infinity,
          stopTimeout: Infinity
        },
        { minSize: 1, maxSize: 1 },
        Context.empty()
      )
      const opening = yield* Effect.forkChild(pool.open)
      yield* quiet
      const [first, spare] = hosts
      first!.onMessage({ _tag: "Ready", jobs: [] })
      yield* Fiber.join(opening)
      const closing = yield* Effect.forkChild(pool.close)
      yield* quiet
      spare!.onMessage({ _tag: "Ready", jobs: [] })
      // Nothing else keeps this process from ending before it has closed.
      assert.isTrue(spare!.held)
      assert.isTrue(first!.held)
      for (const host of hosts) host.onGone({ reason: "exit", exitCode: 0 })
      yield* Fiber.join(closing)
    }))
})
