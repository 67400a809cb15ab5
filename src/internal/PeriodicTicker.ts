/** One periodic: what it does for its plan, on its supervisor's timer. */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Concurrency from "../Concurrency.ts"
import type { Periodic, Status } from "../Periodic.ts"
import type { Scheduler } from "../Scheduler.ts"
import type { Addition } from "../Supervisor.ts"
import * as Task from "../Task.ts"
import * as TaskRun from "../TaskRun.ts"
import type { Group } from "./PeriodicGroup.ts"
import type { Started } from "./PeriodicOptions.ts"
import * as Plan from "./PeriodicPlan.ts"
import type { Entry } from "./PeriodicTimer.ts"

/** When the run that an effect is inside of was due; outside of a periodic's runs `undefined`. One by hand was due when it was asked for. */
export const DueAt: Context.Reference<DateTime.Utc | undefined> = Context.Reference<DateTime.Utc | undefined>(
  "tasklayer/Periodic/DueAt",
  { defaultValue: () => undefined }
)

/** One run, from when it is started to when it has ended. */
interface Live<A, E> {
  readonly due: number
  readonly started: number
  ended: number | undefined
  /** Let go when it has ended: what is kept of it is small. */
  run: TaskRun.TaskRun<A, E> | undefined
  id: string | undefined
  outcome: TaskRun.Outcome | undefined
  fiber: Fiber.Fiber<void> | undefined
  /** Told when the run is known, or never will be. */
  tell: (() => void) | undefined
}

export class Ticker<A, E> implements Entry, Periodic<A, E> {
  at = 0
  place = -1
  readonly seq: number
  readonly name: string
  readonly context: Context.Context<never>
  private readonly group: Group
  private readonly task: Task.Task<A, E, any>
  private readonly when: Started["trigger"]
  private readonly policy: Plan.Policy
  private plan: Plan.Plan
  private last: Live<A, E> | undefined = undefined
  private live: Set<Live<A, E>> | undefined = undefined
  private closed = false
  /** Its scheduler is closed, and that was said. */
  private refused = false

  constructor(group: Group, context: Context.Context<never>, task: Task.Task<A, E, any>, asked: Started) {
    this.group = group
    this.seq = group.nextSeq()
    this.context = outside(context)
    this.name = asked.name
    this.task = task
    this.when = asked.trigger
    this.policy = asked.policy
    this.plan = asked.plan
  }

  /** To be read before the plan: when the clock turns out to have been set back, the plan changes. */
  private get now(): number {
    return this.group.timer.now(this.context)
  }

  // ─── what its owner and its timer say

  get open(): Effect.Effect<void> {
    return Effect.sync(() => {
      if (this.closed) return
      this.group.periodics.set(this.name, this)
      this.become(this.plan)
    })
  }

  /** Live runs are left to their scheduler. */
  get close(): () => Effect.Effect<void> {
    return () =>
      Effect.sync(() => {
        this.closed = true
        this.halt()
        if (this.group.periodics.get(this.name) === this) this.group.periodics.delete(this.name)
      })
  }

  halt(): void {
    this.become(Plan.stop(this.plan))
  }

  fire(now: number): void {
    this.decide(() => Plan.onDue(this.plan, this.policy, now))
  }

  setBack(by: number): void {
    this.decide(() => Plan.stay(Plan.setBack(this.plan, this.policy, this.when, this.now, by)))
  }

  // ─── what its handle can do

  get status(): Effect.Effect<Status> {
    return Effect.sync(() => {
      const { last, plan, policy } = this
      return {
        name: this.name,
        trigger: this.when.description,
        state: Plan.stateOf(plan, policy),
        next: instant(Plan.nextDue(plan, policy)),
        last: last && {
          due: DateTime.makeUnsafe(last.due),
          run: last.id,
          started: DateTime.makeUnsafe(last.started),
          ended: instant(last.ended),
          outcome: last.outcome
        },
        running: plan.live,
        queued: plan.queue.length,
        runs: plan.runs,
        missed: plan.missed,
        skipped: plan.skipped
      }
    })
  }

  get trigger(): Effect.Effect<Option.Option<TaskRun.TaskRun<A, E>>> {
    return Effect.suspend(() => {
      const { now } = this
      const live = this.apply(Plan.onTrigger(this.plan, this.policy, now))
      if (live === undefined) return Effect.succeedNone
      // A scheduler whose queue is full takes its time, perhaps for the slot of whoever asks.
      return Concurrency.lend(Effect.callback((resume) => {
        live.tell = () => resume(Effect.succeed(Option.fromUndefinedOr(live.run)))
        if (live.run !== undefined || live.ended !== undefined) live.tell()
      }))
    })
  }

  get skip(): Effect.Effect<void> {
    return Effect.sync(() => this.become(Plan.skip(this.plan, this.policy)))
  }
  get pause(): Effect.Effect<void> {
    return Effect.sync(() => this.become(Plan.pause(this.plan)))
  }
  get resume(): Effect.Effect<void> {
    return Effect.sync(() => {
      const { now } = this
      this.become(Plan.resume(this.plan, now))
    })
  }
  get stop(): Effect.Effect<void> {
    return Effect.sync(() => this.halt())
  }

  private become(plan: Plan.Plan): void {
    this.apply(Plan.stay(plan))
  }

  /** Where nobody would hear of a trigger that throws. */
  private decide(next: () => Plan.Step): void {
    try {
      this.apply(next())
    } catch (defect) {
      this.halt()
      this.log(Effect.logError(`periodic "${this.name}" stopped: its trigger died`, defect))
    }
  }

  /** The one place where the plan changes. Returns what it started last. */
  private apply({ plan, replace, start }: Plan.Step): Live<A, E> | undefined {
    this.plan = plan
    // Those that end at once change the plan again.
    if (replace) { for (const { fiber } of [...this.live ?? []]) fiber?.interruptUnsafe() }
    let begun: Live<A, E> | undefined
    for (const due of start) begun = this.begin(due)
    this.group.timer.set(this, Plan.firesAt(this.plan, this.policy))
    return begun
  }

  private begin(due: number): Live<A, E> {
    const live: Live<A, E> = {
      due,
      started: this.now,
      ended: undefined,
      run: undefined,
      id: undefined,
      outcome: undefined,
      fiber: undefined,
      tell: undefined
    }
    this.last = live
    this.live ??= new Set()
    this.live.add(live)
    // In the supervisor's pool, so that a stop drains it; from within, so that the run may ask for the stop itself.
    const forked = this.group.supervisor.fork(this.watch(live), { name: this.name, phase: "pool" })
    Effect.runForkWith(this.context)(forked).addObserver((exit) => {
      if (Exit.isFailure(exit)) return this.ended(live, exit)
      live.fiber = exit.value
      exit.value.addObserver((exit) => this.ended(live, exit))
    })
    return live
  }

  /** Submits the run and waits for it; interruption is passed on, unless the periodic is closed: then its scheduler ends the run. */
  private watch(live: Live<A, E>): Effect.Effect<void> {
    const task = Effect.provideService(Task.fork(this.task), DueAt, DateTime.makeUnsafe(live.due))
    const ticker = this
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*(): Effect.fn.Return<void, never, Scheduler> {
        const submitted = yield* Effect.exit(restore(task))
        if (Exit.isFailure(submitted)) {
          live.outcome = TaskRun.outcomeOf(submitted, false)
          return
        }
        const run = live.run = submitted.value
        live.id = run.id
        live.tell?.()
        const waited = yield* Effect.exit(restore(run.exit))
        if (Exit.isFailure(waited)) {
          if (ticker.closed) return void Effect.runForkWith(ticker.context)(ticker.leave(live, run))
          yield* run.interrupt
        }
        live.outcome = yield* outcomeOf(run)
      })
    ) as Effect.Effect<void>
  }

  private leave(live: Live<A, E>, run: TaskRun.TaskRun<A, E>): Effect.Effect<void> {
    return Effect.andThen(
      run.exit,
      Effect.map(outcomeOf(run), (outcome) => {
        live.outcome = outcome
        this.report(live)
      })
    )
  }

  private ended(live: Live<A, E>, exit: Exit.Exit<unknown>): void {
    live.ended = this.now
    if (Exit.isFailure(exit)) live.outcome ??= TaskRun.outcomeOf(exit, false)
    live.tell?.()
    live.run = live.fiber = live.tell = undefined
    this.live!.delete(live)
    if (this.live!.size === 0) this.live = undefined
    this.report(live)
    this.decide(() => Plan.onEnd(this.plan, live.ended!))
  }

  /** Nobody else hears of a run that failed. */
  private report({ due, outcome }: Live<A, E>): void {
    if (outcome === undefined) return
    const refused = outcome._tag === "Refused" && outcome.error.reason._tag === "SchedulerClosed"
    const said = refused && this.refused
    this.refused = refused
    if (said || !failed.has(outcome._tag)) return
    const line = `periodic "${this.name}": the run due at ${new Date(due).toISOString()} ended as ${outcome._tag}`
    const { cause } = outcome as { readonly cause: Cause.Cause<unknown> }
    this.log(outcome._tag === "Died" ? Effect.logError(line, cause) : Effect.logWarning(line, cause))
  }

  private log(line: Effect.Effect<void>): void {
    Effect.runForkWith(this.context)(line)
  }
}

/** What the supervisor is given: little, for there may be many. */
export class Membership implements Addition {
  private readonly ticker: Ticker<any, any>
  constructor(ticker: Ticker<any, any>) {
    this.ticker = ticker
  }
  get name(): string {
    return this.ticker.name
  }
  get phase(): "triggers" {
    return "triggers"
  }
  get stop(): Effect.Effect<void> {
    return this.ticker.stop
  }
  get status(): Effect.Effect<string> {
    return Effect.map(this.ticker.status, ({ state }) => state)
  }
}

const failed = new Set<TaskRun.Outcome["_tag"]>(["Failed", "Died", "TimedOut", "Refused", "Abandoned"])

const instant = (millis: number | undefined): DateTime.Utc | undefined =>
  millis === undefined ? undefined : DateTime.makeUnsafe(millis)

const outcomeOf = (run: TaskRun.TaskRun<unknown, unknown>): Effect.Effect<TaskRun.Outcome | undefined> =>
  Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome : undefined)

/** A run is nobody's child: the timer starts it. */
const outside = (context: Context.Context<never>): Context.Context<never> =>
  Concurrency.innermost(context) === undefined && Context.getOrUndefined(context, Concurrency.RunKey) === undefined
    ? context
    : Context.omit(TaskRun.CurrentRun)(
      Context.add(context, Concurrency.CurrentRegion, undefined) as Context.Context<TaskRun.CurrentRun>
    )
