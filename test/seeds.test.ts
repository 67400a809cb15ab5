/** Keeps docs/from-the-seeds.md complete and honest: every name of the seed pages has a row, every row a test that exists. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, readFileSync } from "node:fs"
import { names } from "./fixtures/seed-names.ts"
import * as SeedNames from "./suites/SeedNames.ts"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

interface Row {
  readonly section: string
  readonly theirs: string
  readonly test: string
}

const rowsOf = (page: string): ReadonlyArray<Row> =>
  page.split(/^## /m).slice(1).flatMap((part) => {
    const [section, ...lines] = part.split("\n")
    const cells = lines.filter((line) => line.startsWith("|")).map((line) => line.split("|").map((cell) => cell.trim()))
    return cells.slice(2).map((row) => ({ section: section!, theirs: row[1]!, test: row.at(-2)! }))
  })

/** A test is there when its file declares one whose title begins so, and goes on with another word or not at all. */
const exists = (test: string, source: (file: string) => string | undefined): boolean => {
  const [, file, title] = /^`(\S+\.test\.ts): (.+)`$/.exec(test) ?? []
  const text = file === undefined ? undefined : source(file)
  if (text === undefined) return false
  const escaped = title!.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  return new RegExp(`\\b(?:it|test)(?:\\.(?:effect|live|prop|each|scoped))*\\(\\s*(["'\`])${escaped}(?!\\w)`).test(text)
}

const sourceOf = (file: string): string | undefined =>
  existsSync(new URL(file, import.meta.url)) ? read(file) : undefined

const rows = rowsOf(read("../docs/from-the-seeds.md"))

describe("docs/from-the-seeds.md", () => {
  it("has a test for each row", () => {
    assert.isAbove(rows.length, 60)
    assert.deepStrictEqual(rows.filter((row) => !exists(row.test, sourceOf)), [])
  })

  for (const [section, theirs] of Object.entries(names)) {
    it(`has a row for each name of ${section}`, () => {
      const told = new Set(
        rows.filter((row) => row.section === section).flatMap((row) =>
          [...row.theirs.matchAll(/`([^`]+)`/g)].map((match) => match[1])
        )
      )
      assert.deepStrictEqual(theirs.filter((name) => !told.has(name)), [])
    })
  }

  it("would fail on a row whose test does not exist", () => {
    const source = (file: string) =>
      file === "a.test.ts" ? "it.effect(\"PF-14 two at once\", () => …); it.skip(\"RT-1 x\")" : undefined
    assert.isTrue(exists("`a.test.ts: PF-14`", source))
    assert.isFalse(exists("`a.test.ts: PF-1`", source))
    assert.isFalse(exists("`a.test.ts: RT-1`", source))
    assert.isFalse(exists("`b.test.ts: PF-14`", source))
    assert.isFalse(exists("see the tests", source))
  })
})

// The pages themselves are not ours to ship. Where they lie beside the repository, the names are read from them again.
const pages = {
  "runtime.threading": ["runtime-threading-concurrent-task-scheduler.txt", SeedNames.ofReference],
  Prefect: ["prefect-task-runners-and-tag-limits.txt", SeedNames.ofGuide],
  neotasker: ["neotasker-task-supervisor.txt", SeedNames.ofText],
  "aio-fluid": ["aio-fluid-task-scheduler.txt", SeedNames.ofWorkers]
} as const

for (const [section, [file, namesOf]] of Object.entries(pages)) {
  const path = `../../shared/seeds/${file}`
  it.skipIf(!existsSync(new URL(path, import.meta.url)))(`the names of ${section} are those of its page`, () => {
    assert.deepStrictEqual(names[section as keyof typeof names], namesOf(read(path)))
  })
}
