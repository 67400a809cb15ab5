import { assert, it } from "@effect/vitest"
import { fileURLToPath } from "node:url"
import { start } from "./suites/ChildProcess.ts"

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}.ts`, import.meta.url))

const inOrder = (text: string, lines: ReadonlyArray<string>) => {
  const positions = lines.map((line) => text.indexOf(line))
  assert.notInclude(positions, -1, text)
  assert.deepStrictEqual(positions, positions.toSorted((a, b) => a - b), text)
}

const report = (text: string) => JSON.parse(/^report: (.*)$/m.exec(text)![1]!)

it("SIGTERM under runMain: drain, then interruption, then the report", async () => {
  const child = start(fixture("launch"))
  for (const name of ["quick", "slow", "deaf"]) await child.printed(`${name}: begun`)
  child.kill("SIGTERM")
  const { code } = await child.ended
  inOrder(child.stdout(), ["receipt: started while draining", "quick: finished", "slow: interrupted", "report: "])
  assert.deepInclude(report(child.stdout()), { interrupted: 1, abandoned: 1, stragglers: ["deaf"] })
  // runMain's own code for an interrupted program
  assert.strictEqual(code, 130)
})

it("SIGTERM under ManagedRuntime.dispose: what is awaited ends at once, what was forked is drained", async () => {
  const child = start(fixture("managed-runtime"))
  for (const name of ["quick", "slow", "deaf", "awaited"]) await child.printed(`${name}: begun`)
  child.kill("SIGTERM")
  const { code } = await child.ended
  inOrder(child.stdout(), [
    "disposing",
    "awaited: interrupted",
    "receipt: started while draining",
    "quick: finished",
    "slow: interrupted",
    "report: ",
    "disposed"
  ])
  assert.deepInclude(report(child.stdout()), { interrupted: 1, abandoned: 1, stragglers: ["deaf"] })
  assert.strictEqual(code, 143)
})
