import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { createHash } from "node:crypto"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { nobodyMayRun, run, start } from "./suites/ChildProcess.ts"

const program = fileURLToPath(new URL("../examples/dependency-report.ts", import.meta.url))

let home: string
let trees = 0

beforeAll(() => {
  home = fs.mkdtempSync(join(tmpdir(), "tasklayer-report-"))
  fs.chmodSync(home, 0o777)
})
afterAll(() => fs.rmSync(home, { recursive: true, force: true }))

/** A folder with these files; a value that begins with `->` is a link. */
const tree = (files: Record<string, string>) => {
  const root = join(home, `tree-${++trees}`)
  fs.mkdirSync(root)
  fs.chmodSync(root, 0o777)
  for (const [path, content] of Object.entries(files)) {
    const file = join(root, path)
    fs.mkdirSync(dirname(file), { recursive: true })
    if (content.startsWith("->")) fs.symlinkSync(content.slice(2), file)
    else fs.writeFileSync(file, content)
  }
  return root
}

const manifest = (name: string, version: string, more: object = { license: "MIT" }) =>
  JSON.stringify({ name, version, ...more })

const report = (root: string) => JSON.parse(fs.readFileSync(join(root, "out/report.json"), "utf8"))

const ordinary = {
  "node_modules/a/package.json": manifest("a", "1.0.0"),
  "node_modules/a/index.js": "export const a = 1\n",
  "node_modules/a/lib/copy.js": "export const a = 1\n",
  "node_modules/a/node_modules/b/package.json": manifest("b", "1.0.0", { license: { type: "ISC" } }),
  "node_modules/b/package.json": manifest("b", "2.0.0", { licenses: [{ type: "MIT" }, { type: "BSD" }] }),
  "node_modules/b/index.js": "export const a = 1\n",
  "node_modules/@scope/c/package.json": manifest("@scope/c", "3.0.0", {}),
  "node_modules/@scope/c/empty": "",
  "node_modules/.bin/tool": "->../a/index.js",
  "node_modules/.package-lock.json": "{}"
}

describe("dependency-report", () => {
  it("--json prints one line with the summary and nothing else", async () => {
    const root = tree(ordinary)
    const { code, stderr, stdout } = await run(program, ["node_modules", "--json", "--parallel", "3"], { cwd: root })
    assert.strictEqual(code, 0, stderr)
    const sizes = Object.entries(ordinary).filter(([path]) => !path.includes("/.")).map(([, content]) => content)
    assert.match(stdout, /^\{.*\}\n$/)
    const summary = JSON.parse(stdout)
    assert.deepStrictEqual(Object.keys(summary), [
      "packages",
      "files",
      "bytes",
      "gzipBytes",
      "milliseconds",
      "maxParallelism",
      "peak"
    ])
    assert.deepInclude(summary, {
      packages: 4,
      files: 8,
      bytes: sizes.join("").length,
      gzipBytes: sizes.reduce((sum, content) => sum + gzipSync(content).length, 0),
      maxParallelism: 3
    })
    assert.isAtLeast(summary.peak, 1)
    assert.isAtMost(summary.peak, 3)
    assert.isAtLeast(summary.milliseconds, 0)
    assert.isFalse(report(root).partial)
  })

  it("report.json has licences, hashes, several versions of a package and files with equal content", async () => {
    const root = tree(ordinary)
    const { code, stderr, stdout } = await run(program, [root, "--out", join(root, "elsewhere")], { cwd: root })
    assert.strictEqual(code, 0, stderr)
    const found = JSON.parse(fs.readFileSync(join(root, "elsewhere/report.json"), "utf8"))
    assert.deepStrictEqual(
      found.packages.map((row: { name: string; license: string }) => [row.name, row.license]),
      [["@scope/c", "none given"], ["a", "MIT"], ["b", "ISC"], ["b", "MIT OR BSD"]]
    )
    assert.deepStrictEqual(found.duplicates, [
      { name: "b", versions: ["1.0.0", "2.0.0"], paths: ["node_modules/a/node_modules/b", "node_modules/b"] }
    ])
    assert.deepStrictEqual(found.equalFiles, [{
      sha256: createHash("sha256").update("export const a = 1\n").digest("hex"),
      bytes: 19,
      paths: ["node_modules/a/index.js", "node_modules/a/lib/copy.js", "node_modules/b/index.js"]
    }])
    assert.deepStrictEqual(found.problems, [])
    assert.match(stdout, /^package +version +licence +files +size +gzip$/m)
    assert.match(stdout, /^4 packages, 8 files/m)
  })

  it("a broken or missing manifest and links in a circle are rows, not crashes", async () => {
    const root = tree({
      "node_modules/broken/package.json": "{ \"name\": ",
      "node_modules/broken/index.js": "1",
      "node_modules/odd/package.json": JSON.stringify({ name: 7 }),
      "node_modules/bare/index.js": "2",
      "node_modules/self": "->self",
      "node_modules/project": "->..",
      "node_modules/gone": "->nowhere",
      "node_modules/fine/package.json": manifest("fine", "1.0.0"),
      "node_modules/fine/up": "->..",
      "node_modules/fine/node_modules/friend": "->../../friend",
      "node_modules/friend/package.json": manifest("friend", "1.0.0"),
      "node_modules/friend/node_modules/fine": "->../../fine",
      "node_modules/@scope": "->."
    })
    const { code, stderr, stdout } = await run(program, ["--json", root], { cwd: root })
    assert.strictEqual(code, 0, stderr)
    assert.deepInclude(JSON.parse(stdout), { packages: 5, files: 6 })
    const problems = new Map(
      report(root).problems.map(({ path, problem }: { path: string; problem: string }) => [path, problem])
    )
    assert.match(String(problems.get("node_modules/broken/package.json")), /^broken manifest/)
    assert.match(String(problems.get("node_modules/odd/package.json")), /^broken manifest/)
    assert.strictEqual(problems.get("node_modules/bare/package.json"), "does not exist")
    assert.strictEqual(problems.get("node_modules/self"), "a link in a circle")
    assert.strictEqual(problems.get("node_modules/project"), "a link in a circle")
    assert.strictEqual(problems.get("node_modules/fine/up"), "a link in a circle")
    assert.strictEqual(problems.get("node_modules/@scope"), "a link in a circle")
    assert.strictEqual(problems.get("node_modules/gone"), "does not exist")
    assert.strictEqual(problems.size, 8)
  })

  it.skipIf(!nobodyMayRun(program))(
    "what may not be read is a row, or a clear message when it is all of it",
    async () => {
      const root = tree({
        "node_modules/a/package.json": manifest("a", "1.0.0"),
        "node_modules/a/secret": "x",
        "node_modules/b/package.json": manifest("b", "1.0.0")
      })
      fs.chmodSync(join(root, "node_modules/a/secret"), 0)
      fs.chmodSync(join(root, "node_modules/b"), 0)
      const some = await run(program, [root, "--json"], { cwd: root, asNobody: true })
      assert.strictEqual(some.code, 0, some.stderr)
      const { packages, problems } = report(root)
      assert.deepStrictEqual(packages.map((row: { name: string; files: number }) => [row.name, row.files]), [["a", 1], [
        "b",
        0
      ]])
      assert.include(JSON.stringify(problems), `{"path":"node_modules/a/secret","problem":"permission denied"}`)
      assert.include(JSON.stringify(problems), `{"path":"node_modules/b","problem":"permission denied"}`)
      const all = await run(program, [join(root, "node_modules/b"), "--json"], { cwd: root, asNobody: true })
      assert.deepStrictEqual([all.code, all.stdout], [1, ""])
      assert.include(all.stderr, "permission denied")
      fs.chmodSync(join(root, "node_modules/b"), 0o755)
    }
  )

  it("a missing folder, a file for a folder and a bad option are one clear line", async () => {
    const root = tree({ "file": "", "loop": "->loop" })
    for (
      const [args, message] of [
        [["nowhere"], "nowhere: does not exist"],
        [["file"], "file: is not a folder"],
        [["loop"], "loop: a link in a circle"],
        [[root, "--parallel", "0"], "maxParallelism must be"],
        [[root, "--grace", "soon"], "--grace must be a duration"],
        [[root, root], "one folder at a time"]
      ] as const
    ) {
      const { code, stderr, stdout } = await run(program, [...args, "--json"], { cwd: root })
      assert.deepStrictEqual([code, stdout], [1, ""], stderr)
      assert.include(stderr, message)
      assert.strictEqual(stderr.trim().split("\n").length, 1, stderr)
    }
    const { code, stderr } = await run(program, ["--jsn"], { cwd: root })
    assert.strictEqual(code, 2)
    assert.include(stderr, "Usage:")
  })

  // A sparse file takes no room on the disk and minutes to compress.
  const endless = () => {
    const root = tree({ ...ordinary, "node_modules/z/package.json": manifest("z", "1.0.0") })
    fs.writeFileSync(join(root, "node_modules/z/huge"), "")
    fs.truncateSync(join(root, "node_modules/z/huge"), 64 * 2 ** 30)
    return root
  }

  describe.concurrent("stopped", () => {
    it.each([["SIGTERM", 143, []], ["SIGINT", 130, []], ["SIGTERM", 143, ["--threads", "2"]]] as const)(
      "%s drains, writes the partial report, prints the shutdown report and exits with %i %j",
      async (signal, code, threads) => {
        const root = endless()
        const child = start(program, [root, "--json", "--grace", "300 millis", ...threads], { cwd: root })
        // The first line of progress: all packages have begun, and one of them will not end.
        await child.printed(/ [1-9]\d* done/)
        child.kill(signal)
        // Once from the terminal, once passed on by npm.
        child.kill(signal)
        assert.deepStrictEqual(await child.ended, { code, signal: null }, child.stderr())
        const found = report(root)
        assert.deepInclude(found, { partial: true, stoppedBy: signal, unread: ["node_modules/z"] })
        assert.strictEqual(found.summary.packages, 4)
        assert.isAtLeast(found.shutdown.interrupted, 1)
        assert.match(child.stderr(), /^Shutdown: \d+ drained, \d+ interrupted, 0 abandoned/m)
        assert.deepInclude(JSON.parse(child.stdout()), { packages: 4, partial: true })
      }
    )

    it("a second signal exits at once", async () => {
      const root = endless()
      const child = start(program, [root, "--grace", "Infinity"], { cwd: root })
      await child.printed(/ [1-9]\d* done/)
      child.kill("SIGTERM")
      // Once more, and not within the half second in which npm passes the first one on.
      const again = setInterval(() => child.kill("SIGTERM"), 100)
      await child.ended
      clearInterval(again)
      assert.deepStrictEqual(await child.ended, { code: 143, signal: null })
      assert.isFalse(fs.existsSync(join(root, "out/report.json")))
    })
  })

  it("--threads hashes and compresses on threads, with the same result", async () => {
    const large = Array.from({ length: 600_000 }, (_, i) => `export const a${i} = ${(i * 7919) % 65_521}\n`).join("")
    assert.isAbove(large.length, 16 * 1024 * 1024)
    const root = tree({
      ...ordinary,
      "node_modules/b/large.js": large,
      "node_modules/b/middle.js": large.slice(0, 1_000_000),
      "node_modules/b/package.json": "{",
      "node_modules/b/nowhere": "->../c/index.js"
    })
    const results = []
    for (const threads of [[], ["--threads", "2"]]) {
      const { code, stderr, stdout } = await run(program, ["node_modules", "--json", ...threads], { cwd: root })
      assert.strictEqual(code, 0, stderr)
      assert.match(stdout, /^\{.*\}\n$/)
      const { shutdown: _, summary: { milliseconds: __, peak: ___, ...summary }, ...rest } = report(root)
      results.push({ ...rest, summary })
    }
    assert.deepStrictEqual(results[1], results[0])
    assert.lengthOf(results[0]!.problems, 2)
  }, 60_000)

  it("without arguments it reads the dependencies of this project", async () => {
    const root = tree({})
    const { code, stderr, stdout } = await run(program, [], { cwd: root })
    assert.strictEqual(code, 0, stderr)
    assert.match(stdout, /^effect +\d+\.\d+\.\d+ +MIT +\d+ /m)
    const { packages, partial, problems } = report(root)
    assert.isFalse(partial)
    assert.deepStrictEqual(problems, [])
    assert.includeMembers(packages.map((row: { name: string }) => row.name), ["effect", "typescript", "vitest"])
  }, 120_000)
})
