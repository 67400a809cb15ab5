/** I want somebody else's scheduler stopped with the rest, in its turn, and everything stopped when it breaks. */
import { Effect } from "effect"
import { EventEmitter, once } from "node:events"
import { Supervisor } from "../src/index.ts"

// Theirs: it has timers of its own, says when it is broken, and has to be closed.
class Reminders extends EventEmitter {
  private readonly timer = setTimeout(() => this.emit("broken", "no disk"), 50)
  close() {
    clearTimeout(this.timer)
    console.log("reminders: closed")
  }
}

const say = (line: string) => Effect.sync(() => console.log(line))

const program = Effect.gen(function*() {
  const reminders = new Reminders()
  const broken = once(reminders, "broken")

  // `stop` is called when its phase comes; a `run` beside it would be a supervised fiber. Closing the scope removes it.
  yield* Supervisor.add({ name: "reminders", phase: "triggers", stop: Effect.sync(() => reminders.close()) })

  // Fibers of the group: one of them stops it all from inside.
  yield* Supervisor.fork(Effect.onInterrupt(Effect.never, () => say("mailer: interrupted")), { name: "mailer" })
  yield* Supervisor.fork(
    Effect.flatMap(Effect.promise(() => broken), ([why]) => Supervisor.bailOut(`reminders: ${why}`, 3)),
    {
      name: "watcher"
    }
  )

  for (const { name, phase } of (yield* Supervisor.status).members) console.log(`${phase}: ${name}`)

  // Waits for the end, and fails with what brought it about: a process under `NodeRuntime.runMain` exits with that code.
  yield* Supervisor.block
})

await program.pipe(
  Effect.catchTag(
    "SupervisorFailed",
    ({ code, name, reason }) => say(`stopped by ${name}: ${reason}; exit code ${code}`)
  ),
  Effect.scoped,
  Effect.provide(Supervisor.layer({ gracePeriod: "100 millis" })),
  Effect.runPromise
)
