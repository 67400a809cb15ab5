/** The durable queue in bad weather: `SEED=… ROUND=…` runs one history again, `ROUNDS=…` so many. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { simulate } from "./suites/QueueSimulation.ts"
import * as Random from "./suites/Random.ts"

const seed = Random.seedOf("queue-simulation.test.ts")
const one = process.env["ROUND"]
const rounds = one === undefined
  ? Array.from({ length: Number(process.env["ROUNDS"] ?? 10) }, (_, round) => round)
  : [Number(one)]

describe("a queue in bad weather", () => {
  it.effect("loses nothing, runs nothing it may not, and comes to rest", () =>
    Effect.gen(function*() {
      let attempts = 0
      let jobs = 0
      for (const round of rounds) {
        const outcome = yield* simulate(Random.make(seed, round), 120)
        attempts += outcome.attempts
        jobs += outcome.jobs
        assert.deepStrictEqual(
          outcome.wrong,
          [],
          `SEED=${seed} ROUND=${round}\n${outcome.log.slice(one === undefined ? -40 : 0).join("\n")}`
        )
      }
      console.log(`${rounds.length} histories of ${jobs} jobs: ${attempts} attempts`)
    }), 3_600_000)
})
