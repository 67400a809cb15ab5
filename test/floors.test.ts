import { assert, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.join(import.meta.dirname, "..")

const check = (folder: string) => {
  const { status, stderr, stdout } = spawnSync(
    process.execPath,
    [path.join(root, "scripts/check-floors.ts"), folder],
    { encoding: "utf8" }
  )
  return { status, output: stdout + stderr }
}

/** The real tree with some files written over it, then checked. */
const planted = (files: Record<string, string>) => {
  const copy = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-floors-"))
  try {
    if (fs.existsSync(path.join(root, "src"))) {
      fs.cpSync(path.join(root, "src"), path.join(copy, "src"), { recursive: true })
    }
    for (const [name, text] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(copy, name)), { recursive: true })
      fs.writeFileSync(path.join(copy, name), text)
    }
    return check(copy)
  } finally {
    fs.rmSync(copy, { recursive: true })
  }
}

const violations: Record<string, readonly [files: Record<string, string>, message: string]> = {
  "an import from a higher floor": [
    { "src/TaskRun.ts": `import { make } from "./Scheduler.ts"`, "src/Scheduler.ts": "" },
    "src/TaskRun.ts (floor 1) must not import src/Scheduler.ts (floor 3)"
  ],
  "a type from a higher floor": [
    { "src/Concurrency.ts": `import type {\n  TaskRun\n} from "./TaskRun.ts"`, "src/TaskRun.ts": "" },
    "src/Concurrency.ts (floor 0) must not import src/TaskRun.ts (floor 1)"
  ],
  "a type written in place": [
    { "src/Concurrency.ts": `export type A = import("./TaskRun.ts").TaskRun`, "src/TaskRun.ts": "" },
    "src/Concurrency.ts (floor 0) must not import src/TaskRun.ts (floor 1)"
  ],
  "an import from the same floor": [
    { "src/Supervisor.ts": `import * as Concurrency from "./Concurrency.ts"`, "src/Concurrency.ts": "" },
    "src/Supervisor.ts (floor 0) must not import src/Concurrency.ts (floor 0)"
  ],
  "two folders on one floor": [
    { "src/queue/JobQueue.ts": `export * from "../threads/ThreadHost.ts"`, "src/threads/ThreadHost.ts": "" },
    "src/queue/JobQueue.ts (floor 7) must not import src/threads/ThreadHost.ts (floor 7)"
  ],
  "a circle": [
    { "src/queue/A.ts": `import "./B.ts"`, "src/queue/B.ts": `import { A } from "./A.ts"` },
    "circle: src/queue/A.ts → src/queue/B.ts → src/queue/A.ts"
  ],
  "an internal file of another module": [
    { "src/Task.ts": `import { queue } from "./internal/SchedulerQueue.ts"`, "src/internal/SchedulerQueue.ts": "" },
    "src/Task.ts (floor 4) must not import src/internal/SchedulerQueue.ts: it belongs to src/Scheduler.ts alone"
  ],
  "an internal file above its module's floor": [
    { "src/internal/TaskRun/state.ts": `import * as Task from "../../Task.ts"`, "src/Task.ts": "" },
    "src/internal/TaskRun/state.ts (floor 1) must not import src/Task.ts (floor 4)"
  ],
  "an internal file of nobody": [
    { "src/internal/helpers.ts": "" },
    "src/internal/helpers.ts must be named after the module it belongs to"
  ],
  "a module without a floor": [{ "src/Utils.ts": "" }, "src/Utils.ts stands on no floor"],
  "a folder of Effect": [
    { "src/RunEvent.ts": `import * as Sql from "effect/sql/SqlClient"` },
    "src/RunEvent.ts (floor 2) must not import effect/sql/SqlClient: it is not stable"
  ],
  "an unstable module of Effect": [
    { "src/RunEvent.ts": `import { LayerMap } from "effect"` },
    "src/RunEvent.ts (floor 2) must not import effect/LayerMap: it is not stable"
  ],
  "an unstable member of a stable module": [
    { "src/Metrics.ts": `import * as Metric from "effect/Metric"\nexport const a = Metric.removeUnsafe` },
    "src/Metrics.ts (floor 5) must not use removeUnsafe of effect/Metric: it is not stable"
  ],
  "another package": [
    { "src/RunLog.ts": `import * as fs from "node:fs"` },
    "src/RunLog.ts (floor 5) must not import the package node:fs: floors 0–6 stand on effect alone"
  ],
  "testing inside the house": [
    { "src/Flow.ts": `import * as T from "./testing/TestScheduler.ts"`, "src/testing/TestScheduler.ts": "" },
    "src/Flow.ts (floor 5) must not import src/testing/TestScheduler.ts (testing)"
  ],
  "a barrel with code": [{ "src/index.ts": "export const a = 1" }, "src/index.ts must re-export and nothing else"],
  "a barrel that pulls in a sub-path": [
    { "src/index.ts": `export * as JobQueue from "./queue/JobQueue.ts"`, "src/queue/JobQueue.ts": "" },
    "src/index.ts must not re-export ./queue/JobQueue.ts: the barrel holds floors 0–6"
  ]
}

it("the tree keeps its floors", () => {
  const { output, status } = check(root)
  assert.strictEqual(status, 0, output)
})

for (const [name, [files, message]] of Object.entries(violations)) {
  it(`the check fails on ${name}`, () => {
    const { output, status } = planted(files)
    assert.strictEqual(status, 1, output)
    assert.include(output, message)
  })
}

it("a module and its internal files may know each other's types", () => {
  const { output } = planted({
    "src/Trigger.ts": `import { a } from "./internal/TriggerCron.ts"`,
    "src/internal/TriggerCron.ts": `import type { Trigger } from "../Trigger.ts"`
  })
  assert.notInclude(output, "Trigger")
})

it("an import in a comment or a string is no import", () => {
  const { output, status } = planted({
    "src/Concurrency.ts":
      `// import "./Task.ts"\n/** import { a } from "./Task.ts" */\nexport const a = \`\nimport "./Task.ts"\``,
    "src/Task.ts": ""
  })
  assert.notInclude(output, "src/Concurrency.ts (floor 0)", String(status))
})
