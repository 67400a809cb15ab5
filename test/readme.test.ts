import { assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { run } from "./suites/ChildProcess.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

// Not below node_modules: node strips no types there. `npm run check` does not look here.
const folder = join(root, "out", "fences")

const pages = ["README.md", ...fs.globSync("docs/**/*.md", { cwd: root })]

const fences = pages.flatMap((page) => {
  const text = fs.readFileSync(join(root, page), "utf8")
  return [...text.matchAll(/^```(?:ts|js|typescript|javascript)\n([^]*?)^```$/gm)].map((match) => {
    const at = `${page}:${text.slice(0, match.index).split("\n").length}`
    return { at, code: match[1]!, file: join(folder, `${at.replaceAll(/\W/g, "-")}.ts`) }
  })
})

/** The package by its sources. */
const local = (code: string) =>
  code.replaceAll(
    /(from|import) "tasklayer(?:\/([\w/]+))?"/g,
    (_, word, module = "index") =>
      `${word} "../../src/${["queue", "testing", "threads"].includes(module) ? `${module}/index` : module}.ts"`
  )

describe.concurrent("docs", () => {
  beforeAll(() => {
    fs.rmSync(folder, { recursive: true, force: true })
    fs.mkdirSync(folder, { recursive: true })
    for (const { code, file } of fences) fs.writeFileSync(file, local(code))
    const compilerOptions = { noUnusedLocals: false }
    fs.writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../../tsconfig.json", include: ["."], exclude: [], compilerOptions })
    )
  })

  it("README.md has a program on its first screen", () => {
    assert.match(fences[0]!.at, /^README\.md:[1-9]$/)
  })

  it("every fence type-checks", async () => {
    const { code, stdout } = await run(join(root, "node_modules/typescript/bin/tsc"), ["-p", folder])
    assert.strictEqual(code, 0, stdout)
  }, 60_000)

  for (const { at, file } of fences) {
    it(`${at} is a complete program and runs`, async () => {
      const { code, stderr } = await run(file)
      assert.strictEqual(code, 0, stderr)
    })
  }
})
