import { assert, describe, it } from "@effect/vitest"
import { View } from "../src/queue/internal/PostgresView.ts"

const at = (line: string, seq: number) => ({ line, priority: 20, rank: 0, seq })

/** Has looked at time 0, for so long, and found one line. */
const viewOf = (looked: number): View => {
  const view = new View()
  assert.isUndefined(view.begin(true, 0))
  view.end({ looked, dueIn: undefined, heads: [at("1", 10)] }, 0)
  return view
}

describe("what is known of where lines begin", () => {
  it("a quick look is always taken", () => {
    assert.isUndefined(viewOf(0.1).begin(true, 0.01))
  })

  it("a slow one takes no more than a twentieth of the time", () => {
    const view = viewOf(10)
    assert.deepStrictEqual(view.begin(true, 199), [at("1", 10)])
    assert.strictEqual(view.end({ looked: undefined, dueIn: undefined, heads: [at("1", 90)] }, 199), 1)
    assert.isUndefined(view.begin(true, 200))
  })

  it("sooner for what is somewhere, or due", () => {
    const view = viewOf(10)
    view.hear("")
    assert.isDefined(view.begin(true, 49))
    view.abandon()
    assert.isUndefined(view.begin(true, 50))
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
    assert.deepStrictEqual(view.begin(true, 1), [at("1", 10), at("2", 3)])
    view.hear("1,20,0,4")
    view.end({ looked: undefined, dueIn: undefined, heads: [at("1", 50), at("2", 3)] }, 2)
    assert.deepStrictEqual(view.begin(true, 3), [at("1", 4), at("2", 3)])
    view.end({ looked: undefined, dueIn: undefined, heads: [at("1", 60)] }, 4)
    assert.deepStrictEqual(view.begin(true, 5), [at("1", 60), at("2", 3)])
  })
})
