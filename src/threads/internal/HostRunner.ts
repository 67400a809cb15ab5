/** Inside a host: the JobRunner and the CurrentRun of a handler, which are those of the runner it is run by. */
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Job from "../../Job.ts"
import type * as TaskRun from "../../TaskRun.ts"
import type { Port } from "./Port.ts"
import type { Ask, Run } from "./Wire.ts"

/** What is asked of the runner and not answered yet. */
export class HostRunner {
  private readonly port: Port
  private readonly registry: Job.Registry["Service"]
  private readonly asked = new Map<number, (answer: unknown) => void>()
  private requests = 0

  constructor(port: Port, registry: Job.Registry["Service"]) {
    this.port = port
    this.registry = registry
  }

  of(call: number): CallRunner {
    return new CallRunner(this, call)
  }

  get jobs(): ReadonlyArray<Job.JobInfo> {
    return this.registry.all.map(({ demand, job }) => Job.infoOf(job, demand))
  }

  ask(call: number, ask: Ask): Effect.Effect<any> {
    return Effect.callback((resume) => {
      const request = ++this.requests
      this.asked.set(request, (answer) => resume(Effect.succeed(answer)))
      this.port.post({ _tag: "Request", call, request, ask }, [])
      return Effect.callback<void>((done) => {
        this.asked.set(request, () => done(Effect.void))
        this.port.post({ _tag: "Cancel", call, request }, [])
      })
    })
  }

  answered(request: number, answer: unknown): void {
    const then = this.asked.get(request)
    this.asked.delete(request)
    then?.(answer)
  }
}

/** The runner as the handler of one call sees it. */
class CallRunner implements Job.Runner {
  private readonly host: HostRunner
  private readonly call: number
  constructor(host: HostRunner, call: number) {
    this.host = host
    this.call = call
  }
  get id(): string {
    return "todo"
  }
  get jobs(): Effect.Effect<ReadonlyArray<Job.JobInfo>> {
    return Effect.sync(() => this.host.jobs)
  }
  execute(_request: Job.Request): Effect.Effect<unknown, unknown> {
    return Effect.die("todo")
  }
  fork(_request: Job.Request): Effect.Effect<never> {
    return Effect.die("todo")
  }
  readonly progress = (value: unknown): Effect.Effect<void> => this.ask({ _tag: "Progress", value })

  ask(ask: Ask): Effect.Effect<any> {
    return this.host.ask(this.call, ask)
  }
}

/** A run of the runner, seen from a host. */
export class HostRun implements TaskRun.TaskRun<unknown, unknown> {
  declare readonly "~tasklayer/TaskRun": TaskRun.TaskRun<unknown, unknown>["~tasklayer/TaskRun"]
  readonly id: string
  readonly name: string
  readonly tags: ReadonlyArray<string>
  readonly parent: string | undefined
  readonly root: string
  readonly lane: string | undefined
  readonly attempt: number
  private readonly runner: CallRunner
  constructor(runner: CallRunner, { attempt, id, lane, name, parent, root, tags }: Run["run"]) {
    this.runner = runner
    this.id = id
    this.name = name
    this.tags = tags
    this.parent = parent
    this.root = root
    this.lane = lane
    this.attempt = attempt
  }
  get state(): Effect.Effect<TaskRun.RunState> {
    return this.runner.ask({ _tag: "State", run: this.id })
  }
  get exit(): Effect.Effect<Exit.Exit<unknown, unknown>> {
    return this.runner.ask({ _tag: "Exit", run: this.id })
  }
  get interrupt(): Effect.Effect<void> {
    return this.runner.ask({ _tag: "Interrupt", run: this.id })
  }
}

Object.defineProperty(HostRun.prototype, "~tasklayer/TaskRun", { value: {} })
