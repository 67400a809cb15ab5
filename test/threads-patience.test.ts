import { assert, describe, it } from "@effect/vitest"
import { afterAll, vi } from "vitest"
import { Patience } from "../src/threads/internal/Patience.ts"

let now = 0
const clock = vi.spyOn(performance, "now").mockImplementation(() => now)
afterAll(() => clock.mockRestore())

/** How many waits are slept through before the next one that is not. */
const sleeps = (patience: Patience): number => {
  let sleeps = 0
  while (!patience.begin()) sleeps++
  return sleeps
}
const inVain = (patience: Patience): number => {
  const slept = sleeps(patience)
  while (patience.lasts()) now += 0.01
  return slept
}

describe("Patience", () => {
  it("after waits in vain more and more are slept through, to a limit", () => {
    const patience = new Patience()
    assert.deepStrictEqual(Array.from({ length: 8 }, () => inVain(patience)), [0, 1, 3, 7, 15, 31, 63, 63])
  })

  it("one that was worth it is followed by others, and the next in vain costs half as many", () => {
    const patience = new Patience()
    for (let i = 0; i < 4; i++) inVain(patience)
    assert.strictEqual(sleeps(patience), 15)
    assert.isTrue(patience.lasts())
    patience.came()
    assert.strictEqual(inVain(patience), 0)
    assert.strictEqual(sleeps(patience), 15)
  })

  it("what was there at once says nothing", () => {
    const patience = new Patience()
    for (let i = 0; i < 3; i++) inVain(patience)
    assert.strictEqual(sleeps(patience), 7)
    patience.came()
    assert.strictEqual(inVain(patience), 0)
    assert.strictEqual(sleeps(patience), 15)
  })
})
