import { assert, describe, it } from "@effect/vitest"
import type { Lane, Position } from "../src/queue/internal/PostgresRows.ts"
import { View } from "../src/queue/internal/PostgresView.ts"

const at = (line: string, seq: number) => ({ line, priority: 20, rank: 0, seq })

const lines = (...lines: ReadonlyArray<Position>) => ({ lines, alike: undefined })
const seen = { looked: undefined, dueIn: undefined, heads: [], isStale: false, passed: undefined, alike: undefined }

/** Has looked at time 0, for so long, and found one line. */
const viewOf = (looked: number): View => {
  const view = new View()
  assert.isUndefined(view.begin(true, 0))
  view.end({ ...seen, looked, heads: [at("1", 10)] }, 0)
  return view
}

describe("what is known of where lines begin", () => {
  it("a quick look is always taken", () => {
    assert.isUndefined(viewOf(0.1).begin(true, 0.01))
  })

  it("a slow one takes no more than a hundredth of the time", () => {
    const view = viewOf(10)
    assert.deepStrictEqual(view.begin(true, 999), lines(at("1", 10)))
    assert.strictEqual(view.end({ ...seen, heads: [at("1", 90)] }, 999), 1)
    assert.isUndefined(view.begin(true, 1000))
  })

  it("sooner for what is somewhere, or due", () => {
    const view = viewOf(10)
    view.hear("")
    assert.isDefined(view.begin(true, 49))
    view.abandon()
    assert.isUndefined(view.begin(true, 50))
  })

  it("sooner for what a turn without a look puts back for later", () => {
    const view = viewOf(10)
    view.begin(true, 1)
    assert.strictEqual(view.end({ ...seen, dueIn: 100 }, 1), 100)
    assert.isDefined(view.begin(true, 100))
    view.abandon()
    assert.isUndefined(view.begin(true, 101))
  })

  it("at once after a turn that put something back and did not look", () => {
    const view = viewOf(10)
    view.begin(true, 1)
    assert.isUndefined(view.end({ ...seen, isStale: true }, 1))
    assert.isUndefined(view.begin(true, 1))
  })

  describe("lines that differ in nothing but their keys", () => {
    const lanes = [["1", { key: "a", name: "ka" }], ["2", { key: "b", name: "kb" }], ["3", {
      key: null,
      name: ""
    }]] as const
    const alike = { epoch: 1, queue: "q", tags: ["t"], weight: 1, lines: new Map<string, Lane>(lanes) }
    const of = (looked: number) => {
      const view = new View()
      view.begin(true, 0)
      view.end({ ...seen, looked, heads: [at("1", 10), at("2", 20), at("3", 30)], alike }, 0)
      return view
    }
    const claimed = (key: string | null, seq: number) => ({ key, priority: 20, rank: 0, seq })

    it("are known, and not looked for even where that is quick", () => {
      const view = of(0.1)
      assert.deepStrictEqual(view.begin(true, 49), { ...lines(at("1", 10), at("2", 20), at("3", 30)), alike })
      view.abandon()
      assert.isUndefined(view.begin(true, 50))
    })

    it("begin after what was claimed", () => {
      const view = of(10)
      const known = view.begin(true, 1)
      view.end({ ...seen, passed: [claimed(null, 31), claimed("a", 11), claimed("a", 12)] }, 1, known)
      assert.deepStrictEqual(view.begin(true, 2)?.lines, [at("1", 13), at("2", 20), at("3", 32)])
    })

    it("a line by itself begins after all that was claimed, whatever their keys", () => {
      const view = new View()
      view.begin(true, 0)
      view.end({
        ...seen,
        looked: 10,
        heads: [at("1", 10)],
        alike: { ...alike, lines: new Map([["1", { key: null, name: "" }]]) }
      }, 0)
      const known = view.begin(true, 1)
      view.end({ ...seen, passed: [claimed("a", 11), claimed("b", 12)] }, 1, known)
      assert.deepStrictEqual(view.begin(true, 2)?.lines, [at("1", 13)])
    })

    it("what comes in meanwhile is not passed", () => {
      const view = of(10)
      const known = view.begin(true, 1)
      view.hear("1,20,0,5")
      view.end({ ...seen, passed: [claimed("a", 11)] }, 1, known)
      assert.deepStrictEqual(view.begin(true, 2)?.lines[0], at("1", 5))
    })

    it("a turn that does not claim changes nothing, and a line that is new is not alike until a turn has seen it", () => {
      const view = of(10)
      view.begin(true, 1)
      view.end(seen, 1)
      assert.isDefined(view.begin(true, 2)?.alike)
      view.hear("4,20,0,40")
      assert.deepStrictEqual(view.begin(true, 3), lines(at("1", 10), at("2", 20), at("3", 30), at("4", 40)))
    })
  })

  it("who hears nothing looks, and who was deaf", () => {
    assert.isUndefined(viewOf(10).begin(false, 1))
    const view = viewOf(10)
    view.forget()
    assert.isUndefined(view.begin(true, 1))
  })

  it("what comes in before is told, also while a turn is under way that may not have seen it", () => {
    const view = viewOf(10)
    view.hear("1,20,0,12;2,20,0,3")
    assert.deepStrictEqual(view.begin(true, 1), lines(at("1", 10), at("2", 3)))
    view.hear("1,20,0,4")
    view.end({ ...seen, heads: [at("1", 50), at("2", 3)] }, 2)
    assert.deepStrictEqual(view.begin(true, 3), lines(at("1", 4), at("2", 3)))
    view.end({ ...seen, heads: [at("1", 60)] }, 4)
    assert.deepStrictEqual(view.begin(true, 5), lines(at("1", 60), at("2", 3)))
  })
})
