/** Inside a host: runs of the runner. */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Job from "../../Job.ts"
import type * as TaskRun from "../../TaskRun.ts"
import { decodeEnd, decodeState } from "./Ends.ts"
import type { CallRunner } from "./HostRunner.ts"
import type { RunInfo } from "./Wire.ts"

/** A run of the runner, seen from a host. */
export class HostRun implements TaskRun.TaskRun<unknown, unknown> {
  declare readonly "~tasklayer/TaskRun": TaskRun.TaskRun<unknown, unknown>["~tasklayer/TaskRun"]
  readonly id: string
  readonly name: string
  readonly tags: ReadonlyArray<string>
  readonly parent: string | undefined
  readonly root: string
  readonly lane: string | undefined
  private readonly runner: CallRunner
  private readonly job: Job.AnyJob
  constructor(runner: CallRunner, job: Job.AnyJob, { id, lane, name, parent, root, tags }: RunInfo) {
    this.runner = runner
    this.job = job
    this.id = id
    this.name = name
    this.tags = tags
    this.parent = parent
    this.root = root
    this.lane = lane
  }

  get state(): Effect.Effect<TaskRun.RunState> {
    return Effect.flatMap(
      this.runner.ask({ _tag: "State", run: this.id }),
      (answer) => answer._tag === "State" ? decodeState(this.job, answer.state) : Effect.interrupt
    )
  }

  get exit(): Effect.Effect<Exit.Exit<unknown, unknown>> {
    return Effect.flatMap(this.runner.ask({ _tag: "Exit", run: this.id }), (answer) => {
      switch (answer._tag) {
        case "End":
          return Effect.exit(decodeEnd(this.job, answer.end))
        case "Not":
          return decodeEnd(this.job, answer.end) as Effect.Effect<never>
        default:
          return Effect.interrupt
      }
    })
  }

  get interrupt(): Effect.Effect<void> {
    return Effect.asVoid(this.runner.ask({ _tag: "Interrupt", run: this.id }))
  }
}

Object.defineProperty(HostRun.prototype, "~tasklayer/TaskRun", { value: {} })

/** The run a handler is inside of. */
export class CurrentHostRun extends HostRun {
  readonly attempt: number
  constructor(runner: CallRunner, job: Job.AnyJob, run: RunInfo, attempt: number) {
    super(runner, job, run)
    this.attempt = attempt
  }
}
