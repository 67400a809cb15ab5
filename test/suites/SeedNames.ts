/** The names on a seed page: what its headings, tables, warnings, back-ticks and code call by name. */

const headings = new Set(["Example", "Constructors", "Properties", "Functions"])

const unique = (names: Iterable<string>): ReadonlyArray<string> => [...new Set(names)].filter((name) => name !== "")

const fences = /^```[^\n]*\n(.*?)^```$/gms

/** `task.result`, `client.create_concurrency_limit`, `from x import a, b`, `@flow`, `limit=`: the names that code uses. */
const inCode = (page: string): Array<string> =>
  [...page.matchAll(fences)].filter(([fence]) => fence.startsWith("```python")).flatMap(([, code]) => [
    ...[...code!.matchAll(/^from \S+ import (.+)$/gm)].flatMap((match) => match[1]!.split(", ")),
    ...[...code!.matchAll(/^@(\w+)/gm)].map((match) => match[1]!),
    ...[...code!.matchAll(/[(,] *(\w+) ?=/g)].map((match) => match[1]!),
    ...[...code!.matchAll(/\w[)\w]\.(\w+)(?=\(|$| *#)/gm)].map((match) => match[1]!)
  ])

const inProse = (page: string): Array<string> =>
  [...page.replace(fences, "").matchAll(/`([^`\n]+)`/g)].map((match) => match[1]!)

/** runtime.threading: `### name(…)`, and the parameters `- name `type`: …`. */
export const ofReference = (page: string): ReadonlyArray<string> =>
  unique([
    ...[...page.replace(fences, "").matchAll(/^#+ (\S+)/gm)].map((match) =>
      match[1]!.replaceAll("\\", "").replace(/\(.*/, "")
    ).filter((name) => !headings.has(name)),
    ...[...page.matchAll(/^- (\w+) `/gm)].map((match) => match[1]!),
    ...inProse(page).filter((name) => /[._(]/.test(name)),
    ...inCode(page)
  ])

/** Prefect's page: back-ticks, code, the commands of its CLI, its notes and warnings. */
export const ofGuide = (page: string): ReadonlyArray<string> =>
  unique([
    ...inProse(page),
    ...inCode(page),
    ...[...page.matchAll(/^\| (\w+) +\|/gm)].map((match) => match[1]!).filter((name) => name !== "Command"),
    ...[...page.matchAll(/^!!! \w+ (.+?) *$/gm)].map((match) => match[1]!)
  ])

/** neotasker's page, which is plain text: names in snake and camel case, methods, parameters, and what its list of parameters calls by name. */
export const ofText = (page: string): ReadonlyArray<string> =>
  unique([
    ...[...page.matchAll(/\b[a-z]+(?:_[a-z]+)+2?\b/g)].map((match) => match[0]),
    ...[...page.matchAll(/\b(?:[A-Z][a-z]+){2,}\b/g)].map((match) => match[0]),
    ...[...page.matchAll(/[a-z]\.(\w+)\(/g)].map((match) => match[1]!),
    ...[...page.matchAll(/(?<!\w)(\w+)=/g)].map((match) => match[1]!),
    ...[...page.matchAll(/\bmethods? (\w+) (?=is mapped)|thread_pool\.(\w+)/g)].map((match) => match[1] ?? match[2]!)
  ])

/** aio-fluid's page, of it the part of workers: the properties that come first, and what it shows of the sources of workers, with parameters. */
export const ofWorkers = (page: string): ReadonlyArray<string> => {
  const [properties = ""] = page.split(/^\w+ instance-attribute$/m)
  const shown =
    /^Source code in fluid\/(utils\/worker|scheduler\/consumer)\.py\n(?:@\w+\n)?(?:async )?def (\w+)\(([^)]*)\)/gm
  return unique([
    ...[...properties.matchAll(/^(\w+) property$/gm)].map((match) => match[1]!),
    ...[...page.matchAll(shown)]
      .filter(([, file, name]) => file === "utils/worker" || name === "on_shutdown" || name === "enter_async_context")
      .flatMap(([, , name, parameters]) => [name!, ...[...parameters!.matchAll(/(\w+):/g)].map((match) => match[1]!)])
  ])
}
