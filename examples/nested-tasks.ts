/** I want tasks that wait for tasks, and never a deadlock, not even with one slot. */
import { Effect } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

const page = Task.fn("page")(function*(n: number) {
  const { parent, root } = yield* TaskRun.CurrentRun
  return { n, nested: parent !== undefined && parent !== root }
})

const chapter = Task.fn("chapter")(function*(pages: ReadonlyArray<number>) {
  return yield* Task.forEach(pages, page)
})

const book = Task.make("book", Task.all({ intro: chapter([1, 2]), body: chapter([3, 4, 5]) }))

// A run that waits for another lends it the slot, so three levels fit into one.
const { body, intro } = await Effect.runPromise(Effect.provide(book, Scheduler.layerSequential))
console.log("pages:", [...intro, ...body].map((page) => page.n).join(" "))
console.log("all of them two levels down:", [...intro, ...body].every((page) => page.nested))
