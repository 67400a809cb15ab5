/** Generated nestings of tasks: none hangs, limits hold, nothing is left, and only what no schedule can end is refused. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { plan } from "./suites/NestingModel.ts"
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

  it.effect("one that hung: both fibers of a region wait, and what its run must take back is in another's region", () =>
    Effect.gen(function*() {
      const [a, b] = [{ tags: ["a"], weight: 1 }, { tags: ["b"], weight: 1 }]
      const leaf = { tags: [], weight: 1, regions: [], flow: undefined, together: false, yields: 0, children: [] }
      const nesting = {
        schedulers: [{ max: 2, own: {} }, { max: 4, own: {} }],
        tags: { a: { limit: 1, hold: true }, b: { limit: 1, hold: false } },
        roots: [
          {
            ...{ ...leaf, id: 0, scheduler: 0, tags: ["b"], regions: [a], together: true },
            children: [{ ...leaf, id: 1, scheduler: 1 }, { ...leaf, id: 2, scheduler: 0 }]
          },
          { ...leaf, id: 3, scheduler: 1, regions: [b, a] }
        ]
      }
      const one = {
        ...generate(1, 1),
        kind: "crossed" as const,
        runner: "pool" as const,
        nesting,
        planned: plan(nesting)
      }
      assert.strictEqual(yield* judge(one, { ...totals }), undefined)
    }))

  it("enough of them were compared with the model", () => {
    console.log(`nestings: ${JSON.stringify(totals)}`)
    if (ONLY !== undefined) return
    assert.isAtLeast(totals.modelled, 2_000)
    assert.isAtLeast(totals.deadlocks, 1)
  })
})
