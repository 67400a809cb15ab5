/**
 * What a task costs here and elsewhere, in one run on one machine.
 *
 *     npm run bench -- core                                         every bench and subject, 5 rounds
 *     npm run bench -- limits                                       what limits add to a task
 *     npm run bench -- time                                         periodics and workers
 *     npm run bench -- threads                                      jobs on worker threads
 *     npm run bench -- queue                                        durable jobs
 *     npm run bench -- core --bench=sync,backlog --rounds=9         benches by the start of their name
 *     npm run bench -- core --subject="tasklayer,p-queue"           subjects by their whole name
 *     npm run --silent bench -- core --json                         one object, for a program
 *     npm run bench -- core --tasks=1000                            another size, to try the benches themselves
 *
 * Each sample comes from a fresh process; in every round each subject has its turn, so that a noisy minute hurts all alike. Medians are shown.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { parseArgs } from "node:util"
import * as core from "./core.ts"
import * as limits from "./limits.ts"
import * as queue from "./queue.ts"
import * as threads from "./threads.ts"
import * as time from "./time.ts"

/** What one process has measured: how many tasks there were, and numbers by name. */
export type Sample = Readonly<Record<string, number>> & { readonly tasks: number }

interface Column {
  readonly key: string
  readonly title: string
  /** Decimals; default none. */
  readonly digits?: number
}

/** Benches that are told of alike. Its file, run with the names of a bench and a subject, prints a Sample. */
export interface Suite {
  readonly benches: ReadonlyArray<string>
  readonly subjectsOf: (bench: string) => ReadonlyArray<string>
  /** Whose versions are printed. */
  readonly packages: ReadonlyArray<string>
  /** What a Sample may have, in the order it is shown. */
  readonly columns: ReadonlyArray<Column>
  /** What the others are compared with, by the first of these that was measured. */
  readonly baseline?: { readonly subject: string; readonly by: ReadonlyArray<string> }
}

/** Medians of the samples; `null` where none has the column. */
interface Row {
  readonly bench: string
  readonly subject: string
  readonly tasks: number
  readonly rounds: number
  readonly [column: string]: string | number | null
}

const suites = new Map<string, Suite>([
  ["core", core.suite],
  ["limits", limits.suite],
  ["time", time.suite],
  ["threads", threads.suite],
  ["queue", queue.suite]
])

const root = path.join(import.meta.dirname, "..")

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    bench: { type: "string" },
    subject: { type: "string" },
    rounds: { type: "string", default: "5" },
    tasks: { type: "string" }
  }
})

const fail = (message: string): never => {
  console.error(message)
  process.exit(1)
}

const [name = ""] = positionals
const suite = suites.get(name) ??
  fail(
    `usage: npm run bench -- ${
      [...suites.keys()].join("|")
    } [--json] [--bench=…] [--subject=…] [--rounds=5] [--tasks=…]`
  )

const list = (text: string | undefined) => text?.split(",").map((part) => part.trim())
const version = (folder: string): string =>
  JSON.parse(fs.readFileSync(path.join(root, folder, "package.json"), "utf8")).version

const median = (numbers: ReadonlyArray<number | undefined>): number | undefined => {
  const sorted = numbers.filter((n) => n !== undefined).sort((a, b) => a - b)
  if (sorted.length === 0) return undefined
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1]! + sorted[middle]!) / 2
}

const sample = (bench: string, subject: string): Sample => {
  const { signal, status, stderr, stdout } = spawnSync(
    process.execPath,
    [
      "--expose-gc",
      "--max-old-space-size=6144",
      path.join(import.meta.dirname, `${name}.ts`),
      bench,
      subject,
      ...(values.tasks === undefined ? [] : [values.tasks])
    ],
    { encoding: "utf8" }
  )
  if (status !== 0) fail(`${bench}, ${subject}: ${signal ?? `exit code ${status}`}\n${stderr}`)
  return JSON.parse(stdout)
}

const measure = (bench: string, subjects: ReadonlyArray<string>, rounds: number): ReadonlyArray<Row> => {
  const samples = new Map<string, Array<Sample>>(subjects.map((subject) => [subject, []]))
  for (let round = 1; round <= rounds; round++) {
    for (const [subject, of] of samples) {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${bench}, round ${round} of ${rounds}: ${subject}`)
      of.push(sample(bench, subject))
    }
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K")
  return [...samples].map(([subject, of]) => ({
    bench,
    subject,
    tasks: of[0]!.tasks,
    ...Object.fromEntries(suite.columns.map(({ digits = 0, key }) => {
      const middle = median(of.map((sample) => sample[key]))
      return [key, middle === undefined ? null : Number(middle.toFixed(digits))]
    })),
    rounds
  }))
}

const show = (rows: ReadonlyArray<Row>) => {
  const { baseline } = suite
  const columns = suite.columns.filter(({ key }) => rows.some((row) => row[key] !== null))
  const cost = (row: Row) => baseline!.by.map((key) => row[key]).find((n) => n !== null) as number
  const base = rows.find((row) => row.subject === baseline?.subject)
  const lines = [
    ["subject", ...columns.map(({ title }) => title), ...(base === undefined ? [] : [`× ${base.subject}`])],
    ...rows.map((row) => [
      row.subject,
      ...columns.map(({ digits = 0, key }) =>
        row[key]?.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }) ?? ""
      ),
      ...(base === undefined ? [] : [(cost(row) / cost(base)).toFixed(2)])
    ])
  ]
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  console.log(`\n${rows[0]!.bench} (${rows[0]!.tasks.toLocaleString("en")} tasks)`)
  for (const line of lines) {
    console.log("  " + line.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  "))
  }
}

const rounds = Number(values.rounds)
if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds must be an integer >= 1, got ${values.rounds}`)
if (values.tasks !== undefined && !(Number.isInteger(Number(values.tasks)) && Number(values.tasks) >= 1)) {
  fail(`--tasks must be an integer >= 1, got ${values.tasks}`)
}

const chosenBenches = list(values.bench)
const chosenSubjects = list(values.subject)
const plan = suite.benches
  .filter((bench) => chosenBenches?.some((name) => bench.startsWith(name)) ?? true)
  .map((bench) => [bench, suite.subjectsOf(bench).filter((s) => chosenSubjects?.includes(s) ?? true)] as const)
  .filter(([, subjects]) => subjects.length > 0)
if (plan.length === 0) fail(`nothing to measure; benches: ${suite.benches.join(", ")}`)

const machine = {
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.availableParallelism(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  os: `${os.type()} ${os.release()} ${os.arch()}`
}
const versions = {
  node: process.versions.node,
  tasklayer: version("."),
  ...Object.fromEntries(suite.packages.map((name) => [name, version(path.join("node_modules", name))]))
}

if (!values.json) {
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.os}`)
  console.log(Object.entries(versions).map(([name, v]) => `${name} ${v}`).join(", "))
  console.log(`medians of ${rounds}, a fresh process a sample`)
}
const rows = plan.flatMap(([bench, subjects]) => {
  const measured = measure(bench, subjects, rounds)
  if (!values.json) show(measured)
  return measured
})
if (values.json) console.log(JSON.stringify({ machine, versions, rows }, null, 2))
