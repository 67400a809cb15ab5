/** Generated nestings of tasks: none hangs, limits hold, nothing is left, and only what no schedule can end is refused. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { generate, judge, type Totals } from "./suites/Nestings.ts"
import * as Random from "./suites/Random.ts"

const CASES = 24_000
const BATCH = 1_000

const SEED = Random.seedOf("nestings")
/** One case alone, by its number. */
const ONLY = process.env["CASE"] === undefined ? undefined : Number(process.env["CASE"])

describe("generated nestings", () => {
  const totals: Totals = { ended: 0, refused: 0, modelled: 0, modelledRefused: 0, deadlocks: 0 }
  for (let from = 0; from < CASES; from += BATCH) {
    it.effect(`${from} to ${from + BATCH - 1}`, () =>
      Effect.gen(function*() {
        const wrong: Array<string> = []
        for (let number = from; number < from + BATCH; number++) {
          if (ONLY !== undefined && number !== ONLY) continue
          const one = generate(SEED, number)
          const problem = yield* judge(one, totals)
          if (problem === undefined && ONLY === undefined) continue
          const { kind, nesting, runner } = one
          wrong.push(`SEED=${SEED} CASE=${number} (${kind}, ${runner}) ${problem}\n${JSON.stringify(nesting)}`)
        }
        if (ONLY !== undefined) return console.log(wrong.join("\n"))
        assert.deepStrictEqual(wrong.slice(0, 3), [], `${wrong.length} of ${BATCH}`)
      }), 60_000)
  }

  it("enough of them were compared with the model", () => {
    console.log(`nestings: ${JSON.stringify(totals)}`)
    if (ONLY !== undefined) return
    assert.isAtLeast(totals.modelled, 2_000)
    assert.isAtLeast(totals.deadlocks, 1)
  })
})
