/**
 * What is in a dependency tree: licences, sizes, gzip sizes, several versions of one package, files with equal content.
 *
 *     npm start -- [folder] [--json] [--out <folder>] [--parallel <n>] [--threads <n>] [--grace "3 seconds"]
 *
 * One task a package, nested tasks a file, and one more for each content to compress. Ctrl-C or SIGTERM lets the packages that have begun
 * finish within the grace period, then writes what there is and says that it is partial.
 */
import { Cause, Duration, Effect, Exit, Layer, Logger, ManagedRuntime, Option, References, Schema } from "effect"
import type { Dirent } from "node:fs"
import * as fs from "node:fs/promises"
import { availableParallelism } from "node:os"
import { basename, dirname, join, relative, resolve, sep } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { Concurrency, RunEvent, RunLog, Scheduler, type Supervisor, Task } from "../src/index.ts"
import * as Files from "./dependency-report/files.ts"
import { io, Unreadable } from "./dependency-report/files.ts"

// ─── What is found

interface FileRow {
  readonly path: string
  readonly bytes: number
  readonly gzipBytes: number
  readonly sha256: string
}

interface PackageRow {
  readonly name: string
  readonly version: string
  readonly license: string
  readonly path: string
  readonly files: number
  readonly bytes: number
  readonly gzipBytes: number
  readonly contents: ReadonlyArray<FileRow>
}

interface Problem {
  readonly path: string
  readonly problem: string
}

const License = Schema.Union([Schema.String, Schema.Struct({ type: Schema.String })])

const Manifest = Schema.fromJsonString(Schema.Struct({
  name: Schema.optional(Schema.String),
  version: Schema.optional(Schema.String),
  license: Schema.optional(License),
  licenses: Schema.optional(Schema.Array(License))
}))

type Manifest = typeof Manifest.Type

const licenseOf = (manifest: Manifest) =>
  [...(manifest.license === undefined ? [] : [manifest.license]), ...(manifest.licenses ?? [])]
    .map((license) => typeof license === "string" ? license : license.type)
    .join(" OR ") || "none given"

// ─── Never more than this at once

const openFiles = 32

/** Node reads and compresses on four threads: one is left to read. */
const compression = 3

/** A larger file is compressed in parts of this size, as pigz does it, so that the largest one does not keep all others waiting. */
const part = 8 * 1024 * 1024

// ─── The tree as tasks

class Tree {
  readonly packages: Array<PackageRow> = []
  readonly problems: Array<Problem> = []
  /** The packages known and not read yet; `undefined` until the first are known. */
  unread: Set<string> | undefined
  peak = 0
  readonly root: string
  readonly maxParallelism: number
  private readonly files: Files.Files["Service"]
  private readonly seen = new Set<string>()
  private readonly compressed = new Map<string, Effect.Effect<number, Unreadable, Scheduler.Scheduler>>()

  constructor(root: string, maxParallelism: number, files: Files.Files["Service"]) {
    this.root = root
    this.maxParallelism = maxParallelism
    this.files = files
  }

  /** All of it. What has begun goes on when this fiber is interrupted: it belongs to the scheduler, whose grace period drains it. */
  read() {
    return Effect.gen({ self: this }, function*() {
      const first = yield* this.roots()
      this.unread = new Set(first)
      yield* Effect.forEach(first, (folder) =>
        Effect.gen({ self: this }, function*() {
          const run = yield* Task.fork(this.package(folder))
          const exit = yield* run.exit
          if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
            this.problems.push({ path: this.show(folder), problem: Cause.pretty(exit.cause) })
          }
        }), { concurrency: this.maxParallelism * 2, discard: true })
    })
  }

  /** The packages to begin with: those of `node_modules`, the one package itself, or a folder of packages. */
  private roots() {
    return Effect.gen({ self: this }, function*() {
      const entries = yield* io(this.root, () => fs.readdir(this.root, { withFileTypes: true }))
      const has = (name: string) => entries.some((entry) => entry.name === name)
      if (basename(this.root) !== "node_modules") {
        if (has("node_modules")) return yield* this.packagesIn(join(this.root, "node_modules"))
        if (has("package.json")) return this.once([this.root])
      }
      return yield* this.packagesIn(this.root)
    })
  }

  private package(folder: string): Task.Task<void, never, Concurrency.Concurrency> {
    return Task.make(
      `package ${this.show(folder)}`,
      Effect.gen({ self: this }, function*() {
        yield* this.observe
        const manifest = yield* this.manifest(folder)
        const { files, packages } = yield* this.contents(folder)
        for (const nested of packages) this.unread?.add(nested)
        const rows = yield* Task.forEach(files, (path) => this.file(path))
        const contents = rows.filter((row) => row !== undefined)
        this.packages.push({
          name: manifest.name ?? this.nameOf(folder),
          version: manifest.version ?? "none given",
          license: licenseOf(manifest),
          path: this.show(folder),
          files: contents.length,
          bytes: sum(contents, (row) => row.bytes),
          gzipBytes: sum(contents, (row) => row.gzipBytes),
          contents
        })
        this.unread?.delete(folder)
        yield* Task.forEach(packages, (nested) => this.package(nested))
      })
    )
  }

  /** A file keeps its place among the open files while its content waits to be compressed: that is the bound on memory. */
  private file(path: string) {
    return Task.make(
      "file",
      Effect.gen({ self: this }, function*() {
        yield* this.observe
        const { bytes, sha256, whole } = yield* this.files.read(path)
        const gzipBytes = yield* yield* this.compress(sha256, path, bytes, whole)
        // From here on the number is enough: the task would keep the content.
        this.compressed.set(sha256, Effect.succeed(gzipBytes))
        return { path: this.show(path), bytes, gzipBytes, sha256 }
      }).pipe(Effect.catchTag("Unreadable", (error) => this.problem(error))),
      { tags: ["open files"] }
    )
  }

  /** Equal contents are compressed once. */
  private compress(sha256: string, path: string, bytes: number, whole: Buffer | undefined) {
    return Effect.gen({ self: this }, function*() {
      const known = this.compressed.get(sha256)
      if (known !== undefined) return known
      const task = (start: number) => {
        const range = { path, start, end: Math.min(start + part, bytes) }
        return Task.make("compress", Effect.andThen(this.observe, this.files.gzip(whole ?? range)), {
          tags: ["compression"]
        })
      }
      const once = yield* Task.once(
        bytes <= part ? task(0) : Task.make(
          "compress parts",
          Effect.map(
            Task.forEach(Array.from({ length: Math.ceil(bytes / part) }, (_, i) => i * part), task),
            (sizes) => sum(sizes, (size) => size)
          )
        )
      )
      this.compressed.set(sha256, once)
      return once
    })
  }

  private manifest(folder: string) {
    const path = join(folder, "package.json")
    return io(path, (signal) => fs.readFile(path, { encoding: "utf8", signal })).pipe(
      Concurrency.withSlot({ tags: ["open files"] }),
      Effect.flatMap((text) => Schema.decodeUnknownEffect(Manifest)(text.replace(/^\uFEFF/, ""))),
      Effect.catch((error) =>
        Effect.as(
          this.problem(
            error._tag === "Unreadable"
              ? error
              : new Unreadable({ path, problem: `broken manifest: ${error.message.replaceAll(/\s+/g, " ")}` })
          ),
          {} as Manifest
        )
      )
    )
  }

  /** The files of one package, and the packages in the `node_modules` folders inside it. */
  private contents(folder: string) {
    return Effect.gen({ self: this }, function*() {
      const files: Array<string> = []
      const packages: Array<string> = []
      for (const folders = [folder]; folders.length > 0;) {
        const current = folders.pop()!
        for (const entry of yield* this.entries(current)) {
          const path = join(current, entry.name)
          if (entry.isDirectory()) {
            if (entry.name === "node_modules") packages.push(...(yield* this.packagesIn(path)))
            else folders.push(path)
          } else if (entry.isFile()) files.push(path)
          else if (entry.isSymbolicLink()) yield* this.follow(path)
          else yield* this.problem(new Unreadable({ path, problem: "not a file, a folder or a link" }))
        }
      }
      return { files, packages }
    })
  }

  /** The packages of one `node_modules` or `@scope` folder, each package of the tree once, whatever links to it. */
  private packagesIn(folder: string): Effect.Effect<Array<string>, never, Concurrency.Concurrency> {
    return Effect.gen({ self: this }, function*() {
      const found: Array<string> = []
      if (this.once([folder]).length === 0) return found
      for (const entry of yield* this.entries(folder)) {
        const path = join(folder, entry.name)
        if (entry.name === ".pnpm") {
          for (const { name } of yield* this.entries(path)) {
            const inner = join(path, name, "node_modules")
            if (yield* Effect.promise(() => fs.stat(inner).then((info) => info.isDirectory(), () => false))) {
              found.push(...(yield* this.packagesIn(inner)))
            }
          }
        } else if (!entry.name.startsWith(".")) {
          const target = entry.isSymbolicLink() ? yield* this.follow(path) : entry.isDirectory() ? path : undefined
          if (target === undefined) continue
          if (entry.name.startsWith("@")) found.push(...(yield* this.packagesIn(target)))
          else found.push(...this.once([target]))
        }
      }
      return found
    })
  }

  /** The folder a link leads to. A link that leads nowhere, or to a folder it is inside of, is a problem. */
  private follow(path: string) {
    return Effect.gen({ self: this }, function*() {
      const target = yield* io(path, () => fs.realpath(path))
      if ((dirname(path) + sep).startsWith(target === sep ? sep : target + sep)) {
        return yield* new Unreadable({ path, problem: "a link in a circle" })
      }
      return (yield* io(path, () => fs.stat(target))).isDirectory() ? target : undefined
    }).pipe(Effect.catchTag("Unreadable", (error) => this.problem(error)))
  }

  private entries(folder: string) {
    return io(folder, () => fs.readdir(folder, { withFileTypes: true })).pipe(
      Concurrency.withSlot({ tags: ["open files"] }),
      Effect.catchTag("Unreadable", (error) => Effect.as(this.problem(error), Array<Dirent>()))
    )
  }

  private problem({ path, problem }: Problem) {
    return Effect.sync(() => void this.problems.push({ path: this.show(path), problem }))
  }

  /** Work starts nowhere else than in these tasks, so the highest number active is there to see as one of them starts. */
  private readonly observe = Effect.suspend(() =>
    this.peak === this.maxParallelism ? Effect.void : Effect.map(Scheduler.stats, ({ active }) => {
      this.peak = Math.max(this.peak, active)
    })
  )

  private once(folders: ReadonlyArray<string>) {
    return folders.filter((folder) => !this.seen.has(folder) && this.seen.add(folder))
  }

  private nameOf(folder: string) {
    const scope = basename(dirname(folder))
    return scope.startsWith("@") ? `${scope}/${basename(folder)}` : basename(folder)
  }

  private show(path: string) {
    return relative(this.root, path) || "."
  }
}

// ─── The report

const sum = <A>(items: Iterable<A>, f: (item: A) => number) => {
  let total = 0
  for (const item of items) total += f(item)
  return total
}

const reportOf = (tree: Tree, options: {
  readonly milliseconds: number
  readonly stoppedBy: string | undefined
  readonly shutdown: Supervisor.Report | undefined
}) => {
  const packages = tree.packages.toSorted((a, b) => a.path < b.path ? -1 : 1)
  const versions = Object.entries(Object.groupBy(packages, (row) => row.name)).map(([name, rows = []]) => ({
    name,
    versions: [...new Set(rows.map((row) => row.version))].toSorted(),
    paths: rows.map((row) => row.path)
  }))
  const files = packages.flatMap((row) => row.contents)
  const equal = Object.values(Object.groupBy(files, (file) => file.sha256)).flatMap((same = []) => {
    const [file] = same
    return file === undefined || same.length === 1 || file.bytes === 0
      ? []
      : [{ sha256: file.sha256, bytes: file.bytes, paths: same.map((file) => file.path) }]
  })
  return {
    folder: tree.root,
    /** Not everything was read: the program was stopped before. */
    partial: tree.unread === undefined || tree.unread.size > 0,
    stoppedBy: options.stoppedBy ?? null,
    unread: [...tree.unread ?? []].map((folder) => relative(tree.root, folder)).toSorted(),
    shutdown: options.shutdown ?? null,
    summary: {
      packages: packages.length,
      files: files.length,
      bytes: sum(files, (file) => file.bytes),
      gzipBytes: sum(files, (file) => file.gzipBytes),
      milliseconds: options.milliseconds,
      maxParallelism: tree.maxParallelism,
      peak: tree.peak
    },
    duplicates: versions.filter((entry) => entry.versions.length > 1),
    equalFiles: equal.toSorted((a, b) => b.bytes * (b.paths.length - 1) - a.bytes * (a.paths.length - 1)),
    problems: tree.problems.toSorted((a, b) => a.path < b.path ? -1 : 1),
    packages
  }
}

type Report = ReturnType<typeof reportOf>

const size = (bytes: number) =>
  bytes < 1000 ? `${bytes} B` : bytes < 999_500 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`

/** A name from a strange package must not move the cursor. */
const plain = (text: string) => text.replaceAll(/\p{Cc}/gu, "?")

const tableOf = (report: Report) => {
  const shown = 30
  const rows = [
    ["package", "version", "licence", "files", "size", "gzip"],
    ...report.packages.toSorted((a, b) => b.gzipBytes - a.gzipBytes).slice(0, shown).map((row) => [
      row.name,
      row.version,
      row.license,
      `${row.files}`,
      size(row.bytes),
      size(row.gzipBytes)
    ])
  ].map((row) => row.map((cell) => plain(cell).slice(0, 48)))
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  const line = (row: ReadonlyArray<string>) =>
    row.map((cell, i) => i < 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ")
  const list = <A>(title: string, items: ReadonlyArray<A>, show: (item: A) => string) =>
    items.length === 0 ? [] : [
      "",
      `${title}: ${items.length}`,
      ...items.slice(0, 10).map((item) => `  ${plain(show(item))}`),
      ...(items.length > 10 ? [`  … and ${items.length - 10} more`] : [])
    ]
  const { summary } = report
  return [
    ...(report.partial ? [`PARTIAL: stopped by ${report.stoppedBy} before everything was read`, ""] : []),
    line(rows[0]!),
    widths.map((width) => "─".repeat(width)).join("  "),
    ...rows.slice(1).map(line),
    ...(report.packages.length > shown ? [`… and ${report.packages.length - shown} smaller packages`] : []),
    "",
    `${summary.packages} packages, ${summary.files} files, ${size(summary.bytes)}, ${size(summary.gzipBytes)} gzipped, `
    + `in ${
      (summary.milliseconds / 1000).toFixed(1)
    } s; at most ${summary.peak} of ${summary.maxParallelism} tasks at once`,
    ...list("Several versions", report.duplicates, (entry) => `${entry.name} ${entry.versions.join(", ")}`),
    ...list("Equal files", report.equalFiles, (file) => `${file.paths.length} × ${size(file.bytes)} ${file.paths[0]}`),
    ...list("Problems", report.problems, (problem) => `${problem.path}: ${problem.problem}`),
    ...list("Not read", report.unread, (folder) => folder)
  ].join("\n")
}

// ─── The program

const usage = `Usage: npm start -- [folder] [options]

  folder            a node_modules folder, a project or a package (default: this project's node_modules)
  --json            print a one-line summary and nothing else on standard output
  --out <folder>    where report.json goes (default: out)
  --parallel <n>    how many tasks run at once (default: ${availableParallelism() * 4})
  --threads <n>     hash and compress on so many worker threads (default: none, with Node's own four)
  --grace <time>    how long begun packages may go on after Ctrl-C or SIGTERM (default: "3 seconds")`

const exitCodes = { SIGINT: 130, SIGTERM: 143 }

const fail = (message: string, code: number) => {
  console.error(`dependency-report: ${message}`)
  process.exitCode = code
}

const main = async () => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      out: { type: "string", default: "out" },
      parallel: { type: "string", default: `${availableParallelism() * 4}` },
      threads: { type: "string" },
      grace: { type: "string", default: "3 seconds" },
      help: { type: "boolean", default: false }
    }
  })
  if (values.help) return console.log(usage)
  if (positionals.length > 1) throw new Error(`one folder at a time, got ${positionals.join(", ")}`)
  const grace = Option.getOrThrowWith(
    Duration.fromInput(values.grace as Duration.Input),
    () => new Error(`--grace must be a duration like "3 seconds", got ${values.grace}`)
  )
  const maxParallelism = Number(values.parallel)
  const threads = values.threads === undefined ? undefined : Number(values.threads)
  const given = resolve(positionals[0] ?? fileURLToPath(new URL("../node_modules", import.meta.url)))
  const root = await Effect.runPromise(io(given, () => fs.realpath(given)))

  let shutdown: Supervisor.Report | undefined
  const stopped = Layer.succeed(RunEvent.Listeners, [(event: RunEvent.RunEvent) => {
    if (event._tag === "RunnerStopped") shutdown = event.report
  }])
  const runtime = ManagedRuntime.make(
    Scheduler.layer({
      maxParallelism,
      tagLimits: {
        "open files": { limit: openFiles, whileWaiting: "hold" },
        compression: threads === undefined ? compression : "unbounded"
      },
      gracePeriod: grace,
      interruptTimeout: "2 seconds"
    }).pipe(
      Layer.provideMerge(RunLog.progress()),
      Layer.provideMerge(stopped),
      // Outside the scheduler that uses it: closed after it.
      Layer.provideMerge(threads === undefined ? Files.layer : Files.layerThreads(threads)),
      Layer.provideMerge(Layer.succeed(References.MinimumLogLevel, "Error")),
      Layer.provideMerge(Logger.layer([Logger.withConsoleError(Logger.formatSimple)]))
    )
  )

  let stoppedBy: keyof typeof exitCodes | undefined
  let stoppedAt = 0
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stoppedBy !== undefined) {
        // Under `npm start` one Ctrl-C arrives twice: from the terminal, and passed on by npm.
        if (performance.now() - stoppedAt > 500) process.exit(exitCodes[signal])
        return
      }
      stoppedBy = signal
      stoppedAt = performance.now()
      console.error(
        `\n${signal}: what has begun may finish within ${Duration.format(grace)}; once more to stop at once`
      )
      void runtime.dispose()
    })
  }

  const tree = new Tree(root, maxParallelism, await runtime.runPromise(Files.Files))
  const began = performance.now()
  const exit = await runtime.runPromiseExit(tree.read())
  await runtime.dispose()
  if (stoppedBy === undefined && Exit.isFailure(exit)) throw Cause.squash(exit.cause)

  const milliseconds = Math.round(performance.now() - began)
  const report = reportOf(tree, { milliseconds, stoppedBy, shutdown })
  const file = join(resolve(values.out), "report.json")
  await Effect.runPromise(io(file, async () => {
    await fs.mkdir(dirname(file), { recursive: true })
    await fs.writeFile(file, JSON.stringify(report, null, 2) + "\n")
  }))
  if (values.json) console.log(JSON.stringify(report.partial ? { ...report.summary, partial: true } : report.summary))
  else console.log(tableOf(report))
  console.error(`${report.partial ? "Partial report" : "Report"} in ${relative(process.cwd(), file) || file}`)
  if (stoppedBy !== undefined) {
    if (shutdown !== undefined) {
      const names = shutdown.stragglers.length === 0 ? "" : ` (${shutdown.stragglers.map(plain).join(", ")})`
      console.error(
        `Shutdown: ${shutdown.drained} drained, ${shutdown.interrupted} interrupted, ${shutdown.abandoned} abandoned${names}`
      )
    }
    // What was abandoned must not keep the process.
    process.exit(exitCodes[stoppedBy])
  }
}

// A reader that goes away (`| head -1`) is no reason to crash.
process.stdout.on("error", () => process.exit())

main().catch((error: Error) => {
  if ("code" in error && String(error.code).startsWith("ERR_PARSE_ARGS")) fail(`${error.message}\n\n${usage}`, 2)
  else fail(error.message, 1)
})
