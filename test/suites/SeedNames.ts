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
