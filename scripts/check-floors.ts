/**
 * The floors of the house: each module imports lower floors only, types included, and modules on one floor do not know each other.
 *
 *     node scripts/check-floors.ts [folder that holds src/]
 *
 * Imports are read with regular expressions over comment-free source, so the check needs no compiler and sees type imports too.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

/** A module is a file of src/ or a whole sub-folder (with its slash). A new one takes its place here and in CONTRIBUTING.md. */
const floors: ReadonlyArray<ReadonlyArray<string>> = [
  ["InvalidOptionError"], // the ground
  ["Concurrency", "Supervisor", "Trigger"],
  ["TaskRun"],
  ["RunEvent"],
  ["Scheduler"],
  ["Task"],
  ["Flow", "Lanes", "RunLog", "Metrics", "Job"],
  ["Periodic", "Worker", "JobRunner"],
  ["queue/", "threads/", "cluster/"],
  ["control/"],
  ["cli/", "dashboard/"]
]
const ground = -1
const lastStableFloor = 6
/** Beside the house: may import floors 0–6, and nobody in src imports it. */
const testing = "testing/"
const testingPackages = ["effect", "@effect/vitest", "vitest"]

const floorOf = new Map(floors.flatMap((names, i) => names.map((name) => [name, i - 1] as const)))

interface Import {
  readonly from: string
  readonly clause: string
  /** `import type` and `export type`, which leave nothing behind. */
  readonly erased: boolean
}

interface File {
  /** Relative to the root, with forward slashes: `src/Task.ts`. */
  readonly path: string
  readonly module: string | undefined
  readonly internal: boolean
  readonly code: string
  readonly imports: ReadonlyArray<Import>
}

// ─── Reading

const comments = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[\s\S]|[^`\\])*`/g
const clause = String.raw`(?:type\s+)?(?:[\w$]+\s*,\s*)?(?:\*(?:\s*as\s+[\w$]+)?|\{[^}]*\}|[\w$]+)`
const statements = new RegExp(
  String
    .raw`^[ \t]*(?:import|export)\b\s*(${clause})\s*\bfrom\s*["']([^"']+)["']|^[ \t]*import\s*["']([^"']+)["']|\bimport\s*\(\s*["']([^"']+)["']`,
  "gm"
)

/** Comments and templates go, strings stay. */
const strip = (source: string): string =>
  source.replace(comments, (text) => text.startsWith("/") ? " " : text.startsWith("`") ? "``" : text)

const readImports = (code: string): ReadonlyArray<Import> =>
  [...code.matchAll(statements)].map(([, clause = "", from, bare, called]) => ({
    clause,
    from: (from ?? bare ?? called)!,
    erased: /^type\s/.test(clause)
  }))

/** `src/internal/ConcurrencyLanes.ts` and `src/internal/Concurrency/Lanes.ts` belong to `src/Concurrency.ts`; the longest name wins. */
const ownerOfInternal = (name: string): string | undefined =>
  [...floorOf.keys()]
    .filter((module) => name.startsWith(module) && !/^[a-z0-9]/.test(name.slice(module.length)))
    .sort((a, b) => b.length - a.length)[0]

const locate = (relative: string): Pick<File, "module" | "internal"> => {
  const [first = "", second = ""] = relative.split("/")
  if (first === relative) return { module: first.replace(/\.ts$/, ""), internal: false }
  if (first === "internal") return { module: ownerOfInternal(second.replace(/\.ts$/, "")), internal: true }
  return { module: `${first}/`, internal: relative.includes("/internal/") }
}

const readFiles = (root: string): ReadonlyArray<File> =>
  fs.readdirSync(path.join(root, "src"), { recursive: true, encoding: "utf8" })
    .map((name) => name.split(path.sep).join("/"))
    .filter((name) => /\.[cm]?tsx?$/.test(name))
    .sort()
    .map((name) => {
      const code = strip(fs.readFileSync(path.join(root, "src", name), "utf8"))
      return { path: `src/${name}`, ...locate(name), code, imports: readImports(code) }
    })

// ─── What Effect calls stable

const effectSource = path.join(path.dirname(fileURLToPath(import.meta.resolve("effect/package.json"))), "src")

interface Stability {
  readonly stable: boolean
  readonly unstableMembers: ReadonlySet<string>
}

const stabilities = new Map<string, Stability | undefined>()

const stabilityOf = (effectModule: string): Stability | undefined => {
  if (!stabilities.has(effectModule)) {
    const file = path.join(effectSource, `${effectModule}.ts`)
    stabilities.set(effectModule, fs.existsSync(file) ? readStability(fs.readFileSync(file, "utf8")) : undefined)
  }
  return stabilities.get(effectModule)
}

/** A member is unstable when it is tagged, and nowhere (a type and a value may share a name) as stable. */
const readStability = (source: string): Stability => {
  const stable = new Set<string>()
  const tagged = new Set<string>()
  const docs =
    /\/\*\*(?:[^*]|\*(?!\/))*?@stability\s+(\w+)(?:[^*]|\*(?!\/))*\*\/\s*(?:export\s+(?:declare\s+|abstract\s+)*(?:const|let|function\*?|class|interface|type|namespace|enum)\s+([\w$]+)|export\s*\{\s*(?:type\s+)?([\w$]+)(?:\s+as\s+([\w$]+))?|(?:type\s+)?([\w$]+)\s+as\s+([\w$]+))/g
  for (const [, tag, declared, exported, exportedAs, , renamed] of source.matchAll(docs)) {
    const name = declared ?? exportedAs ?? exported ?? renamed
    if (name === undefined) continue
    tagged.add(name)
    if (tag === "stable") stable.add(name)
  }
  return {
    stable: /@stability\s+stable\b/.test(source),
    unstableMembers: new Set([...tagged].filter((name) => !stable.has(name)))
  }
}

// ─── The rules

const title = (file: { readonly path: string; readonly module: string | undefined }): string => {
  const floor = floorOf.get(file.module!)
  const where = floor === undefined
    ? file.module === testing ? "testing" : "no floor"
    : floor === ground
    ? "ground"
    : `floor ${floor}`
  return `${file.path} (${where})`
}

/** `a, b as c` → what is imported and what it is called here. */
const names = (clause: string): ReadonlyArray<readonly [imported: string, local: string]> =>
  (/\{([^}]*)\}/.exec(clause)?.[1] ?? "").split(",")
    .map((part) => part.trim().replace(/^type\s+/, ""))
    .filter((part) => part !== "")
    .map((part) => {
      const [imported = "", local = imported] = part.split(/\s+as\s+/)
      return [imported, local] as const
    })

function* checkHouse(file: File, target: File): Iterable<string> {
  const own = file.module === target.module
  if (target.internal && !own) {
    const owner = target.module?.endsWith("/") ? `src/${target.module}` : `src/${target.module}.ts`
    yield `${title(file)} must not import ${target.path}: it belongs to ${owner} alone`
    return
  }
  if (own) return
  if (target.module === "index") {
    yield `${title(file)} must not import the barrel src/index.ts`
    return
  }
  const floor = file.module === testing ? lastStableFloor + 1 : floorOf.get(file.module!)
  const below = floorOf.get(target.module!)
  if (floor === undefined || below === undefined || below >= floor) {
    yield `${title(file)} must not import ${title(target)}`
  }
}

/** Floors 0–6 stand on the stable part of `effect` and on nothing else. */
function* checkPackage(file: File, { clause, from }: Import): Iterable<string> {
  if (file.module === testing) {
    const name = from.split("/").slice(0, from.startsWith("@") ? 2 : 1).join("/")
    if (!testingPackages.includes(name)) yield `${title(file)} must not import the package ${from}`
    return
  }
  if ((floorOf.get(file.module!) ?? 0) > lastStableFloor) return
  if (from === "effect") {
    if (names(clause).length === 0) yield `${title(file)} must import effect's modules by name, not effect as a whole`
    for (const [imported, local] of names(clause)) yield* checkEffectModule(file, imported, local, [])
    return
  }
  if (!from.startsWith("effect/")) {
    yield `${title(file)} must not import the package ${from}: floors 0–6 stand on effect alone`
    return
  }
  const namespace = /\*\s*as\s+([\w$]+)/.exec(clause)?.[1]
  yield* checkEffectModule(file, from.slice("effect/".length), namespace, names(clause).map(([imported]) => imported))
}

function* checkEffectModule(
  file: File,
  effectModule: string,
  namespace: string | undefined,
  members: ReadonlyArray<string>
): Iterable<string> {
  const stability = effectModule.includes("/") ? undefined : stabilityOf(effectModule)
  if (stability === undefined || !stability.stable) {
    yield `${title(file)} must not import effect/${effectModule}: it is not stable`
    return
  }
  const used = namespace === undefined
    ? []
    : [...file.code.matchAll(new RegExp(String.raw`(?<![\w$.])${namespace}\s*\.\s*([\w$]+)`, "g"))].map((m) => m[1]!)
  for (const member of new Set([...members, ...used])) {
    if (stability.unstableMembers.has(member)) {
      yield `${title(file)} must not use ${member} of effect/${effectModule}: it is not stable`
    }
  }
}

function* checkBarrel(file: File): Iterable<string> {
  const rest = file.code.replace(statements, "").replace(/[\s;]/g, "")
  if (rest !== "" || /^[ \t]*import\b/m.test(file.code)) yield `${file.path} must re-export and nothing else`
  for (const { from } of file.imports) {
    const floor = floorOf.get(/^\.\/([\w$]+)\.ts$/.exec(from)?.[1] ?? "")
    if (floor === undefined || floor > lastStableFloor) {
      yield `${file.path} must not re-export ${from}: the barrel holds floors 0–6`
    }
  }
}

/** Each circle once, from its first file in order of name. */
function* checkCircles(edges: ReadonlyMap<string, ReadonlyArray<string>>): Iterable<string> {
  const done = new Set<string>()
  const trail: Array<string> = []
  function* visit(file: string): Iterable<string> {
    const at = trail.indexOf(file)
    if (at >= 0) {
      yield `circle: ${[...trail.slice(at), file].join(" → ")}`
      return
    }
    if (done.has(file)) return
    trail.push(file)
    for (const next of edges.get(file) ?? []) yield* visit(next)
    trail.pop()
    done.add(file)
  }
  for (const file of edges.keys()) yield* visit(file)
}

export function* check(files: ReadonlyArray<File>): Iterable<string> {
  const byPath = new Map(files.map((file) => [file.path, file]))
  const edges = new Map<string, Array<string>>()
  for (const file of files) {
    edges.set(file.path, [])
    if (file.path === "src/index.ts") {
      yield* checkBarrel(file)
      continue
    }
    if (file.module === undefined) {
      yield `${file.path} must be named after the module it belongs to`
    } else if (file.module !== testing && !floorOf.has(file.module)) {
      yield `${file.path} stands on no floor: give it one in scripts/check-floors.ts`
      continue
    }
    for (const one of file.imports) {
      if (!one.from.startsWith(".")) {
        yield* checkPackage(file, one)
        continue
      }
      const target = path.posix.join(path.posix.dirname(file.path), one.from)
      const found = byPath.get(target)
      if (found === undefined) {
        yield `${title(file)} must not import ${target}: no such file in src`
      } else {
        // Inside one module the files may know each other's types: nothing of that is left when they load.
        if (!(one.erased && found.module === file.module)) edges.get(file.path)!.push(target)
        yield* checkHouse(file, found)
      }
    }
  }
  yield* checkCircles(edges)
}

const root = path.resolve(process.argv[2] ?? ".")
const files = readFiles(root)
const violations = [...new Set(check(files))]
for (const violation of violations) console.error(violation)
if (violations.length > 0) process.exitCode = 1
else {console.log(`floors: ${files.length} files, ${
    files.reduce((n, file) => n + file.imports.length, 0)
  } imports, no violation`)}
