/** I want a task to start when others are done, with what they found, and not at all when one of them failed. */
import { Effect, Exit } from "effect"
import { Scheduler, Task, TaskRun } from "../src/index.ts"

const load = (name: string) => Task.make(`load ${name}`, Effect.succeed(name.length))
const broken = Task.make("broken", Effect.fail("no such table"))

const program = Effect.gen(function*() {
  const users = yield* Task.fork(load("users"))
  const orders = yield* Task.fork(load("orders"))
  const missing = yield* Task.fork(broken)

  // Waits holding nothing.
  const report = Task.after(
    { users, orders },
    ({ orders, users }) => Task.make("report", Effect.succeed(`${users} users, ${orders} orders`))
  )
  console.log(yield* report)

  const never = Task.after([users, missing], () => Task.make("never", Effect.sync(() => console.log("never printed"))))
  console.log(
    yield* never.pipe(Effect.catchTag("UpstreamError", ({ name }) => Effect.succeed(`not started, for ${name} failed`)))
  )

  // Whatever became of them.
  const cleanUp = Task.afterExit(
    [users, missing],
    (exits) =>
      Task.make("clean up", Effect.succeed(`${exits.filter(Exit.isSuccess).length} of ${exits.length} succeeded`))
  )
  console.log(yield* cleanUp)

  // Runs when it is first asked for, and once.
  const config = yield* Task.once(Task.make("config", Effect.sync(() => console.log("reading the config"))))
  yield* Effect.all([config, config])
  yield* TaskRun.awaitAll([users, orders, missing])
})

await Effect.runPromise(Effect.provide(program, Scheduler.layer({ maxParallelism: 2 })))
