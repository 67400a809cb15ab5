/** I want to test my program without threads of timing in it: the same program, another Layer. */
import { Effect } from "effect"
import { strictEqual } from "node:assert/strict"
import { Scheduler, Task } from "../src/index.ts"

const order: Array<string> = []
const step = (name: string) =>
  Task.make(
    name,
    Effect.gen(function*() {
      order.push(`${name} begins`)
      yield* Effect.yieldNow
      order.push(`${name} ends`)
      return name.length
    }),
    { tags: ["db"] }
  )

const program = Effect.map(Task.all([step("one"), step("three")]), ([a, b]) => a + b)

for (
  const [name, runner] of Object.entries({
    "four at once": Scheduler.layer({ maxParallelism: 4 }),
    "one by one": Scheduler.layerSequential,
    "in the test's own fiber": Scheduler.layerInline
  })
) {
  order.length = 0
  strictEqual(await Effect.runPromise(Effect.provide(program, runner)), 8)
  console.log(`${name}: ${order.join(", ")}`)
}
