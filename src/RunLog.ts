/**
 * What runs do, as log lines, and as progress on a terminal.
 *
 * Put it under the runner, `Scheduler.layer().pipe(Layer.provideMerge(RunLog.layer))`, and it hears that scheduler and every one built inside.
 * Each Layer adds itself to the listeners it finds, so stack them with `provideMerge`: side by side in `Layer.mergeAll` only the last is heard.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type { Scope } from "effect/Scope"
import * as RunEvent from "./RunEvent.ts"
import type * as TaskRun from "./TaskRun.ts"

/** Log lines handed to `write`, each with its time and without a line break. */
export const layerWith = (options?: { readonly write?: ((line: string) => void) | undefined }): Layer.Layer<never> =>
  listen(Effect.gen(function*() {
    const console = yield* Console.Console
    const write = options?.write ?? ((line) => console.log(line))
    return logging((line, at) => write(`${time(at)} | ${line}`))
  }))

/** Log lines on the console: `13:46:58.865 | Beginning flow run 'olivine-swan' for flow 'my-flow'...`, in UTC. */
export const layer: Layer.Layer<never> = layerWith()

/** Log lines through Effect's loggers, at level Info. */
export const layerLogger: Layer.Layer<never> = listen(Effect.gen(function*() {
  const run = Effect.runForkWith(yield* Effect.context())
  return logging((line) => run(Effect.logInfo(line)))
}))

export interface ProgressOptions {
  /** Default: standard error, or the console where there is none. */
  readonly write?: ((text: string) => unknown) | undefined
  /** Whether one line may be redrawn in place. Default: whether standard error is a terminal; `false` with a `write` of one's own. */
  readonly isTTY?: boolean | undefined
}

/**
 * `3 waiting, 4 running, 12 done, 0 failed, ETA 5s`: one line redrawn ten times a second on a terminal, a plain line every five seconds elsewhere.
 * A run that waits for other runs counts as waiting; `stopped` are the aborted, interrupted and abandoned. The last line stays,
 * when the outermost runner has stopped.
 */
export const progress = (options?: ProgressOptions): Layer.Layer<never> =>
  listen(Effect.gen(function*() {
    const stderr = standardError()
    const isTTY = options?.isTTY ?? (options?.write === undefined && stderr?.isTTY === true)
    const write = options?.write ?? ((text) => stderr ? stderr.write(text) : globalThis.console.error(text.trimEnd()))
    const latch = Latch.makeUnsafe()
    let tally = new Tally()
    let shown = ""

    const draw = (now: number, end = "") => {
      const line = tally.line(now)
      const text = isTTY ? `\r\x1b[K${line}${end}` : line === shown ? "" : `${line}\n`
      shown = end === "" ? line : ""
      try {
        if (text !== "") write(text)
      } catch {
        // A terminal that went away is no reason to end the drawing, or a run.
      }
    }
    const finish = (now: number) => {
      if (tally.isEmpty) return
      draw(now, "\n")
      tally = tally.next()
    }

    yield* Effect.addFinalizer(() => Effect.map(Clock.currentTimeMillis, finish))
    yield* latch.await.pipe(
      Effect.andThen(Effect.sleep(isTTY ? Duration.millis(100) : Duration.seconds(5))),
      Effect.andThen(Clock.currentTimeMillis),
      Effect.map((now) => {
        if (tally.live === 0) latch.closeUnsafe()
        if (!tally.isEmpty) draw(now)
      }),
      Effect.forever,
      Effect.forkScoped
    )
    return (event) => {
      tally.add(event)
      if (event._tag === "RunnerStopped" && tally.isOver) finish(DateTime.toEpochMillis(event.at))
      else if ("run" in event) latch.openUnsafe()
    }
  }))

function listen(make: Effect.Effect<RunEvent.Listener, never, Scope>): Layer.Layer<never> {
  return Layer.effect(
    RunEvent.Listeners,
    Effect.gen(function*() {
      return [...yield* RunEvent.Listeners, yield* make]
    })
  )
}

/** The lines of Prefect's page, for each fact that has one there. */
const logging = (write: (line: string, at: DateTime.Utc) => void): RunEvent.Listener => {
  const runners = new Map<string, Names>()
  const label = (event: RunEvent.RunEvent & { readonly run: RunEvent.RunInfo }) => {
    let names = runners.get(event.scheduler)
    if (names === undefined) runners.set(event.scheduler, names = new Names())
    return names.label(event.run)
  }
  const line = (event: RunEvent.RunEvent): string | undefined => {
    switch (event._tag) {
      case "FlowStarted":
        return `Beginning ${kind(event)} run '${event.name}' for flow '${event.flow}'...`
      case "RunnerStarted":
        return `Starting task runner \`${event.name}\`...`
      case "Submitted":
        return `Submitting task run '${label(event)}' to task runner...`
      case "AttemptFailed":
        return `Task run '${label(event)}' will be retried at ${time(event.retryAt)}: ${reason(event.cause)}`
      case "Finished": {
        const name = label(event)
        runners.get(event.scheduler)?.forget(event.run)
        return `Task run '${name}' finished in state ${state(event.outcome, "None")}`
      }
      case "RunnerStopped":
        runners.delete(event.scheduler)
        return `Shutting down task runner \`${event.name}\`...`
      case "FlowFinished": {
        const [first, ...rest] = kind(event)
        const end = state(event.outcome, "'All states completed.'")
        return `${first!.toUpperCase()}${rest.join("")} run '${event.name}' finished in state ${end}`
      }
      default:
        return undefined
    }
  }
  return (event) => {
    const text = line(event)
    if (text !== undefined) write(text, event.at)
  }
}

const kind = (flow: { readonly parent: string | undefined }) => flow.parent === undefined ? "flow" : "subflow"

const time = (at: DateTime.Utc): string => DateTime.formatIso(at).slice(11, 23)

/** The task run names of one runner: `hello-a087a829-0` is the first run of the task `hello`. */
class Names {
  private readonly counts = new Map<string, number>()
  private readonly live = new Map<string, string>()

  label(run: RunEvent.RunInfo): string {
    const known = this.live.get(run.id)
    if (known !== undefined) return known
    const index = this.counts.get(run.name) ?? 0
    this.counts.set(run.name, index + 1)
    const label = `${run.name}-${(Hash.string(run.name) >>> 0).toString(16).padStart(8, "0")}-${index}`
    this.live.set(run.id, label)
    return label
  }

  forget(run: RunEvent.RunInfo): void {
    this.live.delete(run.id)
  }
}

const state = (outcome: TaskRun.Outcome, completed: string): string => {
  switch (outcome._tag) {
    case "Succeeded":
      return `Completed(message=${completed}, type=COMPLETED)`
    case "Failed":
    case "TimedOut":
      return `${outcome._tag}(message=${quote(reason(outcome.cause))}, type=FAILED)`
    case "Refused":
      return `Refused(message=${quote(outcome.error.message)}, type=FAILED)`
    case "Died":
      return `Crashed(message=${quote(reason(outcome.cause))}, type=CRASHED)`
    case "Abandoned":
      return `Abandoned(message=None, type=CRASHED)`
    case "Aborted":
      return `Aborted(message=${quote(outcome.reason)}, type=CANCELLED)`
    case "Interrupted":
      return `Cancelled(message=None, type=CANCELLED)`
  }
}

const reason = (cause: Cause.Cause<unknown>): string =>
  Cause.prettyErrors(cause).map((error) => error.message || error.name).join("; ")

// One event is one line, whatever a message holds.
const quote = (message: string): string => `'${message.replaceAll("\n", "\\n")}'`

/** Runs by where they are. Pure bookkeeping: `waiting + running = live`. */
class Tally {
  live = 0
  private readonly running = new Set<string>()
  private readonly runners: Set<string>
  private done = 0
  private failed = 0
  private stopped = 0
  private since: number | undefined

  constructor(runners = new Set<string>()) {
    this.runners = runners
  }

  get isEmpty(): boolean {
    return this.since === undefined
  }

  get isOver(): boolean {
    return this.live === 0 && this.runners.size === 0
  }

  next(): Tally {
    return new Tally(this.runners)
  }

  add(event: RunEvent.RunEvent): void {
    switch (event._tag) {
      case "RunnerStarted":
        this.runners.add(event.scheduler)
        return
      case "RunnerStopped":
        this.runners.delete(event.scheduler)
        return
      case "FlowStarted":
      case "FlowFinished":
        return
    }
    const key = `${event.scheduler} ${event.run.id}`
    switch (event._tag) {
      case "Submitted":
        this.since ??= DateTime.toEpochMillis(event.at)
        this.live++
        return
      case "Started":
      case "Resumed":
        this.running.add(key)
        return
      case "Finished":
        this.live--
        if (event.outcome._tag === "Succeeded") this.done++
        else if (stopped.has(event.outcome._tag)) this.stopped++
        else this.failed++
    }
    this.running.delete(key)
  }

  line(now: number): string {
    const settled = this.done + this.failed + this.stopped
    const left = settled === 0 ? 0 : (now - (this.since ?? now)) / settled * this.live
    const running = this.running.size
    return `${this.live - running} waiting, ${running} running, ${this.done} done, ${this.failed} failed` +
      (this.stopped === 0 ? "" : `, ${this.stopped} stopped`) +
      (left === 0 ? "" : `, ETA ${Duration.format(Duration.seconds(Math.ceil(left / 1000)))}`)
  }
}

const stopped: ReadonlySet<TaskRun.Outcome["_tag"]> = new Set(["Aborted", "Interrupted", "Abandoned"])

// Not an import: this module also runs where there is no Node.
const standardError = () => (globalThis as { readonly process?: { readonly stderr?: Terminal } }).process?.stderr

interface Terminal {
  readonly isTTY?: boolean
  readonly write: (text: string) => unknown
}
