/** A run as its scheduler sees it: one record from submission to settlement, with a fiber only while it is admitted. */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Concurrency from "../Concurrency.ts"
import type * as RunEvent from "../RunEvent.ts"
import type * as Supervisor from "../Supervisor.ts"
import * as TaskRun from "../TaskRun.ts"
import type { Core } from "./SchedulerCore.ts"

/** What a run takes from the fiber that submitted it; one for all submissions from one context. */
export interface Origin {
  readonly core: Core
  readonly context: Context.Context<never>
  /** The same, with the scheduler in it: what a run's own context is built on. */
  readonly base: Context.Context<never>
  readonly clock: Clock.Clock
  readonly enclosing: Concurrency.Slot | undefined
  readonly parent: Run<any, any> | undefined
  /** The age of the root of what is submitted here; 0 where that is its own root. */
  readonly rootSeq: number
  readonly depth: number
}

/** The scope of one run; nothing but an empty state until something is acquired. */
class RunScope {
  declare readonly strategy: "sequential"
  declare readonly parent: undefined
  state: Scope.Scope["state"] = emptyScope
}
const emptyScope: Scope.Scope["state"] = { _tag: "Empty" }
{
  const made = Scope.makeUnsafe()
  for (const key of Object.keys(made)) {
    if (key !== "state") Object.defineProperty(RunScope.prototype, key, { value: (made as any)[key], enumerable: true })
  }
}

const reasonOf = (limit: string) => ({ _tag: "Limit" as const, limit })

class Seldom extends Concurrency.RareSlot {
  /** Given by the caller. */
  id: string | undefined = undefined
  refusal: Concurrency.AdmissionError | undefined = undefined
  /** The next attempt is due then (milliseconds). */
  retryAt = 0
  /** Holds nothing until these have ended. */
  deps: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>> | undefined = undefined
  /** Live runs of the tree; kept by the root of a sequential scheduler. */
  tree = 0
  ownsTree = false
  /** How many waits of runs are for its end. */
  expectedBy = 0
  /** Where it is not the first time that it is run. */
  attemptsBefore = 0
  /** Told that it is suspended. */
  away = false
  /** Stops what waits for a time on its behalf. */
  timer: (() => void) | undefined = undefined
  onReadmitted: ((reason: Concurrency.AdmissionReason | undefined) => void) | undefined = undefined
  onInline: (() => void) | undefined = undefined
  refusable = false
  exempt = false
  told = false
}
const none = Object.freeze(new Seldom())

export class Run<A, E> extends TaskRun.Handle<A, E> implements Supervisor.Owned {
  attempt = 0
  fiber: Fiber.Fiber<A, E> | undefined = undefined
  before: Supervisor.Owned | undefined = undefined
  after: Supervisor.Owned | undefined = undefined
  /** A flag set: timed out, interrupted before its fiber was known, refused, abandoned. */
  ending: "" | "timedOut" | "interrupt" | "refused" | "abandoned" = ""
  /** Read off the clock only while somebody listens. */
  submittedAt = Concurrency.NEVER
  startedAt = Concurrency.NEVER
  isQueued = false
  /** What the facts told of it share, from the first to the last. */
  described: RunEvent.RunInfo | undefined = undefined
  /** Of fairness. */
  key: string | undefined = undefined
  effect: Effect.Effect<A, E, never>
  origin: Origin
  profile: Concurrency.Profile
  name: string
  private scope: RunScope | undefined = undefined

  constructor(
    effect: Effect.Effect<A, E, never>,
    origin: Origin,
    profile: Concurrency.Profile,
    name: string,
    seq: number
  ) {
    super()
    this.effect = effect
    this.origin = origin
    this.profile = profile
    this.name = name
    this.seq = seq
  }

  /** What few runs have; made when first set. */
  get rarely(): Seldom {
    return this.rare === undefined ? none : this.rare as Seldom
  }
  set(values: Partial<Seldom>): void {
    Object.assign(this.rare ?? this.makeRare(), values)
  }
  protected override makeRare(): Seldom {
    const made = new Seldom()
    this.rare = made
    return made
  }
  get exempt(): boolean {
    return this.rarely.exempt
  }
  set exempt(exempt: boolean) {
    this.set({ exempt })
  }
  get told(): boolean {
    return this.rarely.told
  }
  set told(told: boolean) {
    this.set({ told })
  }
  get rootSeq(): number {
    const { rootSeq } = this.origin
    return rootSeq === 0 ? this.seq : rootSeq
  }
  get depth(): number {
    return this.origin.depth
  }

  get core(): Core {
    return this.origin.core
  }
  get enclosing(): Concurrency.Slot | undefined {
    return this.origin.enclosing
  }
  get rootRun(): Run<any, any> {
    let run: Run<any, any> = this
    while (run.origin.parent !== undefined) run = run.origin.parent
    return run
  }
  /** The topmost ancestor in this scheduler. */
  get treeRoot(): Run<any, any> {
    let run: Run<any, any> = this
    while (run.origin.parent !== undefined && run.origin.parent.core === this.core) run = run.origin.parent
    return run
  }
  get id(): string {
    return this.rarely.id ?? `${this.core.id}-${this.seq}`
  }
  get tags(): ReadonlyArray<string> {
    return this.profile.tags
  }
  get parent(): string | undefined {
    return this.origin.parent?.id
  }
  get root(): string {
    return this.rootRun.id
  }
  get lane(): string | undefined {
    return this.core.lane
  }
  /** For the report of a stop: nothing of it ran. */
  get notWork(): boolean {
    return this.ending === "refused"
  }
  get clock(): Clock.Clock {
    return this.origin.clock
  }
  get admission(): object {
    return this.core.limits.admission
  }
  get run(): Concurrency.Slot {
    return this
  }
  get info(): RunEvent.RunInfo {
    if (this.described !== undefined) return this.described
    const info = this.describe()
    if (this.settled === undefined) this.described = info
    return info
  }
  describe(): RunEvent.RunInfo {
    const { id, name, parent, tags } = this
    const root = parent === undefined ? id : this.root
    const { lane } = this.core
    return Object.freeze(
      lane === undefined ? { id, name, tags, parent, root } : { id, name, tags, parent, root, lane }
    )
  }

  // ─── admission

  /** Where trees take turns, one that a run waits for has not to wait for its turn: that run may be what the turn is waiting for. */
  override expected(more: number): void {
    const { admission, trees } = this.core.limits
    if (trees === undefined || this.settled !== undefined) return
    const before = this.rarely.expectedBy
    this.set({ expectedBy: before + more })
    const changes = before === 0 || before + more === 0
    if (changes && this.treeRoot === this && !this.rarely.ownsTree) admission.reline(this)
  }

  resolve(): Concurrency.Needs | Concurrency.AdmissionReason {
    const { expectedBy, ownsTree } = this.rarely
    return this.profile.resolve(this, this.treeRoot === this && !ownsTree && expectedBy === 0, this.key)
  }
  lineFor(needs: Concurrency.Needs): Concurrency.Line {
    return this.profile.lineOf(needs, this.priority, this.key)
  }

  start(): void {
    this.cancelTimer()
    this.core.unqueued(this)
    if (this.settled !== undefined) return
    const { trees } = this.core.limits
    if (trees !== undefined && this.treeRoot === this && !this.rarely.ownsTree) {
      if (!this.needs!.counters.includes(trees)) trees.active++
      this.set({ ownsTree: true })
    }
    if (this.rarely.onReadmitted !== undefined) this.readmitted()
    else this.core.launch(this)
  }

  refuse(reason: Concurrency.AdmissionReason): void {
    // Interrupted in the same instant as it was refused: it has ended.
    if (this.settled !== undefined) return
    this.core.limits.admission.facts?.denied(this, this.tags, reason)
    this.cancelTimer()
    if (this.rarely.onReadmitted !== undefined) {
      const resume = this.rarely.onReadmitted
      this.set({ onReadmitted: undefined })
      return resume(reason)
    }
    this.core.unqueued(this)
    const error = Concurrency.refusal(this.id, this.name, reason)
    this.set({ refusal: error })
    this.ending = "refused"
    this.core.settle(this, this.rarely.refusable ? Exit.fail(error) as Exit.Exit<never, any> : Exit.die(error))
  }

  cancelTimer(): void {
    if (this.rarely.timer === undefined) return
    this.rarely.timer()
    this.set({ timer: undefined })
  }

  override resumed(): void {
    // Each of its fibers that waited says so; the slot came back once.
    if (!this.rarely.away) return
    this.set({ away: false })
    // Given up, it may come back all the same.
    if (!this.core.events.listening || this.settled !== undefined) return
    this.core.events.emit({ _tag: "Resumed", ...this.core.events.fact(this) })
  }

  override suspended(): void {
    // Back and away again in one instant, before anybody was told that it was back.
    if (!this.core.events.listening || this.rarely.away || this.settled !== undefined) return
    this.set({ away: true })
    this.core.events.emit({ _tag: "Suspended", ...this.core.events.fact(this), on: this.waitsFor() })
  }

  waitsFor(): ReadonlyArray<string> {
    return [...new Set((this.waits ?? []).flatMap((wait) => wait.targets.map((target) => target.id)))]
  }

  // ─── the body

  /** Forks the first attempt's fiber. */
  begin(): void {
    if (this.settled !== undefined) return
    const context = this.enter()
    // Context and scope are made here and not before: what waits is a record and nothing else.
    const fiber = Effect.runForkWith(context)(Effect.onExitPrimitive(this.effect, (exit) => this.leave(exit)))
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return this.core.settle(this, exit)
    this.fiber = fiber
    if (this.ending === "interrupt") fiber.interruptUnsafe()
    fiber.addObserver((exit) => this.core.settle(this, exit))
  }

  /** A settled run is a handle and nothing more: a kept handle keeps no fiber, no scope and no closure alive. */
  letGo(): void {
    this.effect = Effect.never
    this.described = undefined
    if (this.ending === "abandoned") return
    this.fiber = undefined
    this.scope = undefined
    this.needs = undefined
  }

  /** The context of the body; says that it starts. */
  enter(): Context.Context<any> {
    this.attempt += this.rarely.attemptsBefore + 1
    const scope = this.scope = new RunScope()
    if (this.core.events.listening) this.core.events.started(this)
    return Context.addUnsafe(
      Context.addUnsafe(this.origin.base, Concurrency.CurrentRunKey, this),
      Scope.Scope.key,
      scope
    )
  }

  /** Closes the scope; `undefined` where nothing is left to do for that. */
  leave(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> | undefined {
    const scope = this.scope!
    const { state } = scope
    if (state === emptyScope || state._tag === "Empty") return undefined
    if (state._tag === "Closed" || state.finalizer === undefined) {
      return Scope.close(scope as unknown as Scope.Closeable, exit)
    }
    // One finalizer, the commonest: what `Scope.close` does for it, less the way there.
    scope.state = { _tag: "Closed", exit }
    const { finalizer } = state
    // V8 may come to make such states in the old space (it takes them for long-lived when a full collection was under way as they were first made).
    // There a dead one keeps all that hangs on it alive, the context and closures of each run, until the next full collection.
    state.finalizer = state.finalizerKey = undefined
    const closing = finalizer(exit) as Effect.Effect<void>
    return Exit.isExit(closing) && Exit.isSuccess(closing) ? undefined : closing
  }

  interruptUnsafe(by?: number): void {
    if (this.settled !== undefined) return
    const fiber = this.fiber
    if (fiber !== undefined) {
      if (this.phase === Concurrency.Away || this.phase === Concurrency.Retaking) this.uncounted = true
      fiber.interruptUnsafe(by)
      if (this.uncounted) this.forgo()
      return
    }
    if (this.attempt > 0) return void (this.ending = "interrupt")
    this.cancelTimer()
    this.core.unqueued(this)
    this.core.settle(this, Exit.interrupt(by))
  }

  /** One of its fibers that was interrupted before, by a time limit say, may be waiting for the slot, or for those that come back with it. */
  private forgo(): void {
    this.retaker?.forgo?.()
    for (const wait of [...this.waits ?? []]) wait.forgo?.()
  }

  abandon(): void {
    if (this.settled !== undefined) return
    this.ending = "abandoned"
    this.core.settle(this, Exit.interrupt(undefined))
  }

  // ─── attempts

  /** The attempt failed and another follows after `delay`: all it holds is free meanwhile. */
  backOff(cause: Cause.Cause<unknown>, delay: Duration.Duration): void {
    const admission = this.core.limits.admission
    this.set({ retryAt: this.origin.clock.currentTimeMillisUnsafe() + Duration.toMillis(delay) })
    admission.endAttempt(this)
    if (this.rarely.away) this.set({ away: false })
    if (this.core.events.listening) {
      this.core.events.emit({
        _tag: "AttemptFailed",
        ...this.core.events.fact(this),
        attempt: this.attempt,
        cause,
        retryAt: DateTime.makeUnsafe(this.rarely.retryAt)
      })
    }
    admission.drain()
    this.core.startNow()
  }

  /** Closes the attempt's scope. */
  closeAttempt(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    const renew = Effect.sync(() => void (this.scope!.state = emptyScope))
    const closed = this.leave(exit)
    return closed === undefined ? renew : Effect.andThen(closed, renew)
  }

  /** Asks for the slot of the next attempt. */
  readmit(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.set({
        onReadmitted: (reason) =>
          resume(reason === undefined ? Effect.void : Effect.die(Concurrency.refusal(this.id, this.name, reason)))
      })
      this.core.enqueue(this)
      return Effect.sync(() => {
        this.set({ onReadmitted: undefined })
        this.core.limits.admission.leave(this)
        this.core.unqueued(this)
      })
    })
  }

  private readmitted(): void {
    const resume = this.rarely.onReadmitted!
    this.set({ onReadmitted: undefined })
    this.attempt++
    if (this.core.events.listening) this.core.events.started(this)
    resume(undefined)
  }

  // ─── what others see

  get state(): Effect.Effect<TaskRun.RunState> {
    return Effect.sync(() => this.stateUnsafe)
  }

  get stateUnsafe(): TaskRun.RunState {
    if (this.settled !== undefined) return { _tag: "Finished", outcome: this.outcome }
    switch (this.phase) {
      case Concurrency.Held:
        return { _tag: "Running", attempt: Math.max(1, this.attempt) }
      case Concurrency.Waiting:
        return { _tag: "Waiting", for: this.waitingFor() }
      case Concurrency.Pending:
        if (this.rarely.deps !== undefined) {
          return {
            _tag: "Waiting",
            for: [{ _tag: "Runs", runs: this.rarely.deps.map((dep) => dep.id) }]
          }
        }
        return { _tag: "Waiting", for: [{ _tag: "Retry", at: DateTime.makeUnsafe(this.rarely.retryAt) }] }
      default:
        return { _tag: "Suspended", on: this.waitsFor() }
    }
  }

  /** The limits that have no room for it now. */
  waitingFor(): ReadonlyArray<TaskRun.WaitReason> {
    const line = this.line
    if (line === undefined) return []
    const { admission } = this.core.limits
    const { counters } = line.needs
    let only: Concurrency.Counter | undefined
    let names: Set<string> | undefined
    for (let i = 0; i < counters.length; i++) {
      const counter = counters[i]!
      if (!admission.blocks(counter, i, line, this)) continue
      if (only === undefined) only = counter
      else (names ??= new Set([Concurrency.limitName(only)])).add(Concurrency.limitName(counter))
    }
    if (only === undefined) return []
    return names === undefined
      ? only.reasons ??= Object.freeze([reasonOf(Concurrency.limitName(only))])
      : [...names].map(reasonOf)
  }

  get outcome(): TaskRun.Outcome {
    const exit = this.settled!
    if (Exit.isFailure(exit)) {
      if (this.ending === "refused") return { _tag: "Refused", error: this.rarely.refusal!, cause: exit.cause }
      if (this.ending === "abandoned") return { _tag: "Abandoned", cause: exit.cause }
    }
    return TaskRun.outcomeOf(
      exit,
      this.ending === "timedOut" && Exit.isFailure(exit) &&
        exit.cause.reasons.some((r) => r._tag === "Fail" && Cause.isTimeoutError(r.error))
    )
  }
}
