/** The scheduler under its Layers: submits, launches, settles, closes. The pool and the inline runner differ only in how a body is run. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as References from "effect/References"
import { MixedScheduler, Scheduler as RuntimeScheduler, type SchedulerDispatcher } from "effect/Scheduler"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Dependencies, ForkOptions, LayerOptions, Stats, Why } from "../Scheduler.ts"
import * as Supervisor from "../Supervisor.ts"
import * as TaskRun from "../TaskRun.ts"
import { Events } from "./SchedulerEvents.ts"
import { type Origin, Run } from "./SchedulerRun.ts"
import { Turns } from "./SchedulerTurns.ts"

/** Starts in one turn of the dispatcher before the event loop is let in. */
const STARTS_A_TURN = 1024

/** How often runs start between two turns of the dispatcher: the event loop is let in after so many. */
const EARLY_STARTS = 8

export class Core {
  readonly id: string
  readonly limits: Concurrency.RunnerLimits
  readonly members: Supervisor.Members
  readonly budget: Supervisor.CheckedBudget
  readonly events: Events
  queued = 0
  readonly tasks = new Map<string, number>()
  private readonly ids = new Map<string, Run<any, any>>()
  private readonly maxQueued: number
  private readonly failsWhenFull: boolean
  private readonly submitters: Array<() => void> = []
  private starting: Array<Run<any, any>> = []
  private running = false
  /** Runs that are being settled, which is followed by starting what that lets in. */
  private settling = 0
  private scheduled = false
  private dispatcher: SchedulerDispatcher | undefined
  private origin: Origin | undefined
  readonly name: string
  readonly lane: string | undefined
  readonly self: { service: unknown; key: Context.Key<any, any> }
  readonly inline: boolean

  constructor(
    where: string,
    name: string,
    options: LayerOptions,
    limits: Concurrency.RunnerLimits,
    context: Context.Context<never>,
    self: { service: unknown; key: Context.Key<any, any> },
    inline: boolean
  ) {
    this.name = name
    this.lane = options.lane
    this.self = self
    this.inline = inline
    this.id = options.id ?? Supervisor.freshId()
    this.limits = limits
    this.budget = Supervisor.checkBudget(where, options)
    this.members = new Supervisor.Members(this.id)
    this.failsWhenFull = checkWhenQueueFull(where, options.whenQueueFull) === "fail"
    const most = options.maxQueued === undefined
      ? Infinity
      : Concurrency.checkLimit(where, "maxQueued", 0, options.maxQueued)
    // Submitters are let in as runs leave the queue: without a place there, nobody ever leaves it.
    this.maxQueued = this.failsWhenFull ? most : Math.max(1, most)
    this.events = new Events(this.id, name, context)
    limits.admission.sources.add(this.members as unknown as Iterable<Run<any, any>>)
    this.members.atOnce = (f) => limits.admission.atOnce(f)
    this.members.onStopped = (report) => {
      for (const submit of this.submitters.splice(0)) submit()
      this.events.runnerStopped(report)
    }
    this.events.runnerStarted()
  }

  // ─── submitting

  /** Checks and records; `undefined` where the queue is full and the submitter has to wait. */
  makeRun<A, E, R>(
    context: Context.Context<never>,
    effect: Effect.Effect<A, E, R>,
    options: ForkOptions | undefined
  ): Run<A, E> {
    const asked = options ?? noOptions
    const name = asked.name ?? "task"
    let origin = this.origin
    if (origin === undefined || origin.context !== context) origin = this.origin = this.originOf(context)
    const profile = this.limits.profile("Scheduler.fork", asked, name)
    const run = new Run<A, E>(effect as Effect.Effect<A, E>, origin, profile, name, ++this.limits.admission.seq)
    const parent = origin.parent
    const priority = asked.priority
    if (priority !== undefined) run.priority = Concurrency.checkPriority("Scheduler.fork", priority)
    else if (parent !== undefined) run.priority = parent.priority
    const key = asked.key ?? parent?.key
    if (key !== undefined) run.key = key
    if (asked.refusable === true) run.set({ refusable: true })
    if (asked.attempt !== undefined) run.set({ attemptsBefore: asked.attempt - 1 })
    if (asked.id !== undefined) this.claim(run, asked.id)
    if (this.events.listening) run.submittedAt = Concurrency.since(origin.clock)
    return run
  }

  private originOf(context: Context.Context<never>): Origin {
    const run: unknown = Context.getOrUndefined(context, Concurrency.RunKey)
    const parent = run instanceof Run ? run : undefined
    const service = Context.getOrUndefined(context, this.self.key)
    const served = service === this.self.service ? context : Context.add(context, this.self.key, this.self.service)
    const base = Context.add(
      this.lane === undefined ? served : annotated(served, this.lane),
      RuntimeScheduler,
      this.sharing(Context.get(context, RuntimeScheduler))
    )
    return {
      core: this,
      context,
      base,
      clock: Context.get(context, Clock.Clock),
      enclosing: Concurrency.innermost(context),
      parent,
      rootSeq: parent === undefined ? 0 : parent.rootSeq,
      depth: parent === undefined ? 0 : parent.depth + 1
    }
  }

  /**
   * One dispatcher for all runs instead of one a fiber: runs that yield in the same turn share one `setImmediate`. Everything is left to the
   * ambient scheduler, or a test clock would lose sight of the runs.
   */
  private sharing(ambient: RuntimeScheduler): RuntimeScheduler {
    if (ambient === this.shared || ambient === this.ambient) return this.shared!
    const turns = new Turns(ambient.makeDispatcher(), () => this.tellWaiters())
    this.turns = turns
    this.ambient = ambient
    return this.shared = {
      executionMode: ambient.executionMode,
      shouldYield: (fiber) => ambient.shouldYield(fiber),
      makeDispatcher: () => turns
    }
  }
  private turns: Turns | undefined
  private shared: RuntimeScheduler | undefined
  private ambient: RuntimeScheduler | undefined

  private claim(run: Run<any, any>, id: string): void {
    const where = "Scheduler.fork"
    if (typeof id !== "string" || id === "") {
      throw new InvalidOptionError({ where, field: "id", rule: "must be a string that is not empty", value: id })
    }
    const taken = this.ids.has(id) ||
      (id.startsWith(`${this.id}-`) && [...this.members].some((member) => (member as Run<any, any>).id === id))
    if (taken) throw new InvalidOptionError({ where, field: "id", rule: "must not be the id of a live run", value: id })
    run.set({ id })
    this.ids.set(id, run)
  }

  /** Whether new work from this fiber is taken: while stopping, only the children of what was accepted. */
  private accepts(run: Run<any, any>, awaited: boolean): boolean {
    const state = this.members.state
    if (state === "running") return true
    if (state === "interrupting" && !awaited) return false
    for (let around = run.origin.parent; around !== undefined; around = around.origin.parent) {
      if (around.core === this && around.settled === undefined) return state !== "closed" || around.exempt
    }
    return false
  }

  /** Accepts the run, or refuses it on the spot. */
  submit(run: Run<any, any>, awaited: boolean, options: ForkOptions | undefined): void {
    this.members.add(run)
    if (this.limits.trees !== undefined) this.enterTree(run)
    if (run.name !== this.lastName) this.seen(run.name)
    if (this.events.listening) this.events.submitted(run)
    if (!this.accepts(run, awaited)) return run.refuse({ _tag: "SchedulerClosed", scheduler: this.id })
    if (options?.after !== undefined) this.dependOn(run, options.after, options)
    else this.enqueue(run, options, run.submittedAt)
  }

  private lastName: string | undefined
  private seen(name: string): void {
    this.lastName = name
    if (this.tasks.size > 1000) this.tasks.clear()
    this.tasks.set(name, 0)
  }

  /** Holds nothing until the others have ended, then becomes what `next` says. */
  private dependOn(run: Run<any, any>, after: Dependencies, options: ForkOptions): void {
    const targets = after.runs.filter(isHandle)
    const wait = { chain: [run], targets, any: false, acquire: undefined, proceed: () => {} }
    run.set({ deps: after.runs })
    run.waits = [wait]
    for (const target of targets) target.awaited++
    if (this.events.listening) {
      this.events.emit({
        _tag: "Waiting",
        ...this.events.fact(run),
        for: [{ _tag: "Runs", runs: after.runs.map((dep) => dep.id) }]
      })
    }
    const waiting = Effect.runForkWith(run.origin.context)(
      Effect.updateContext(TaskRun.awaitAll(after.runs), outside) as Effect.Effect<Array<Exit.Exit<unknown, unknown>>>
    )
    run.set({ timer: () => waiting.interruptUnsafe() })
    waiting.addObserver((exit) => {
      for (const target of targets) target.awaited--
      run.waits = undefined
      run.set({ timer: undefined, deps: undefined })
      if (run.settled !== undefined || Exit.isFailure(exit)) return
      const next = after.next(exit.value)
      if (Exit.isExit(next)) return this.settle(run, next)
      const asked = { ...next.options, ...defined(options) }
      try {
        checkOptions(asked)
        run.name = asked.name ?? run.name
        run.described = undefined
        run.effect = next.effect as Effect.Effect<any, any>
        run.profile = this.limits.profile("Scheduler.fork", asked, run.name)
        if (asked.priority !== undefined) run.priority = Concurrency.checkPriority("Scheduler.fork", asked.priority)
        run.set({ refusable: asked.refusable === true })
        if (asked.key !== undefined) run.key = asked.key
      } catch (error) {
        return this.settle(run, Exit.die(error))
      }
      this.enqueue(run, { ...asked, after: undefined })
    })
  }

  /** Asks for the slot of an attempt, `now` where the clock was just read. */
  enqueue(run: Run<any, any>, options?: ForkOptions, now?: number): void {
    const { admission } = this.limits
    const needs = run.resolve()
    if ("_tag" in needs) return run.refuse(needs)
    run.needs = needs
    const line = run.lineFor(needs)
    const admitted = admission.enter(run, line)
    if (!admitted) {
      const cycle = run.rarely.onReadmitted === undefined ? undefined : Concurrency.deadlockOf(run, needs)
      if (cycle !== undefined) {
        admission.leave(run)
        return run.refuse({ _tag: "Deadlock", cycle })
      }
      if (options?.whenFull === "drop" || options?.whenFull === "fail") {
        const limits = run.waitingFor().map((reason) => reason._tag === "Limit" ? reason.limit : "")
        admission.leave(run)
        if (options.whenFull === "fail") return run.refuse({ _tag: "WouldWait", limits })
        admission.facts?.denied(run, run.tags, { _tag: "WouldWait", limits })
        return run.interruptUnsafe()
      }
      if (this.maxQueued !== Infinity && this.isFull(run)) {
        admission.leave(run)
        return run.refuse({ _tag: "QueueFull", maxQueued: this.maxQueued })
      }
      this.queued++
      run.isQueued = true
      if (admission.facts !== undefined) admission.facts.waited(run, run.tags)
      if (options?.admissionTimeout !== undefined) this.bound(run, options.admissionTimeout)
    }
    if (this.events.listening) {
      this.events.waiting(run, admitted ? noReasons : run.waitingFor(), now ?? Concurrency.since(run.clock))
    }
    if (admitted) run.start()
    else if (options?.whenFull === "replace") Concurrency.makeRoom(admission, run)
  }

  private isFull(run: Run<any, any>): boolean {
    return run.attempt === 0 && this.failsWhenFull && !this.isChild(run) && this.queued >= this.maxQueued
  }

  private isChild(run: Run<any, any>): boolean {
    for (let around = run.origin.parent; around !== undefined; around = around.origin.parent) {
      if (around.core === this) return true
    }
    return false
  }

  private bound(run: Run<any, any>, input: Duration.Input): void {
    const after = Duration.fromInputUnsafe(input)
    if (!Duration.isFinite(after)) return
    const sleep = Effect.runForkWith(run.origin.context)(Effect.sleep(after))
    run.set({ timer: () => sleep.interruptUnsafe() })
    sleep.addObserver((exit) => {
      if (Exit.isFailure(exit) || run.line === undefined) return
      run.set({ timer: undefined })
      this.limits.admission.leave(run)
      run.refuse({ _tag: "Timeout", after })
    })
  }

  /** Leaves the queue: there is room for a submitter that waits. */
  unqueued(run: Run<any, any>): void {
    if (!run.isQueued) return
    run.isQueued = false
    this.queued--
    while (this.submitters.length > 0 && this.queued < this.maxQueued) this.submitters.shift()!()
  }

  /** For the inline runner: checked and recorded, not yet submitted. */
  prepare<A, E, R>(
    context: Context.Context<never>,
    effect: Effect.Effect<A, E, R>,
    options: ForkOptions | undefined
  ): Effect.Effect<Run<A, E>> {
    try {
      if (options !== undefined) checkOptions(options)
      return Effect.succeed(this.makeRun(context, effect, options))
    } catch (error) {
      return Effect.die(error)
    }
  }

  /** Submits from a fiber. With a bounded queue that is full, the fiber waits for room first. */
  fork<A, E, R>(
    fiber: Fiber.Fiber<unknown, unknown>,
    effect: Effect.Effect<A, E, R>,
    options: ForkOptions | undefined,
    awaited: boolean,
    then: (run: Run<A, E>) => Effect.Effect<any, any>
  ): Effect.Effect<any, any> {
    const context = fiber.context
    let run: Run<A, E>
    try {
      if (options !== undefined) checkOptions(options)
      run = this.makeRun(context, effect, options)
    } catch (error) {
      return Effect.die(error)
    }
    if (this.maxQueued !== Infinity && !this.failsWhenFull && this.mustWait(run)) {
      return Concurrency.lend(this.waitForRoom(run, awaited, options)).pipe(Effect.flatMap(then))
    }
    this.submit(run, awaited, options)
    return then(run)
  }

  /** Submits once the queue has room. The time until then counts as waiting for admission. */
  private waitForRoom<A, E>(
    run: Run<A, E>,
    awaited: boolean,
    options: ForkOptions | undefined
  ): Effect.Effect<Run<A, E>> {
    return Effect.callback<Run<A, E>>((resume) => {
      const { clock } = run
      const timeout = options?.admissionTimeout
      const until = timeout === undefined
        ? Infinity
        : clock.currentTimeMillisUnsafe() + Duration.toMillis(Duration.fromInputUnsafe(timeout))
      const leave = () => void this.submitters.splice(this.submitters.indexOf(go), 1)
      const go = () => {
        timer?.interruptUnsafe()
        const left = until === Infinity
          ? undefined
          : Duration.millis(Math.max(0, until - clock.currentTimeMillisUnsafe()))
        this.submit(run, awaited, left === undefined ? options : { ...options, admissionTimeout: left })
        resume(Effect.succeed(run))
      }
      this.submitters.push(go)
      const timer = until === Infinity
        ? undefined
        : Effect.runForkWith(run.origin.context)(Effect.sleep(Duration.millis(until - clock.currentTimeMillisUnsafe())))
      timer?.addObserver((exit) => {
        if (Exit.isFailure(exit)) return
        leave()
        this.refuseUnqueued(run, { _tag: "Timeout", after: Duration.fromInputUnsafe(timeout!) })
        resume(Effect.succeed(run))
      })
      return Effect.sync(() => {
        timer?.interruptUnsafe()
        leave()
        // It was never a member: nobody else frees the id.
        if (run.rarely.id !== undefined) this.ids.delete(run.rarely.id)
      })
    })
  }

  /** Refused before it came into the queue: Submitted and Finished all the same. */
  private refuseUnqueued(run: Run<any, any>, reason: Concurrency.AdmissionReason): void {
    this.members.add(run)
    if (this.limits.trees !== undefined) this.enterTree(run)
    if (this.events.listening) this.events.submitted(run)
    run.refuse(reason)
  }

  private mustWait(run: Run<any, any>): boolean {
    if (this.members.state !== "running" || this.isChild(run)) return false
    if (this.submitters.length > 0) return true
    if (this.queued < this.maxQueued) return false
    const needs = run.resolve()
    if ("_tag" in needs) return false
    const line = run.lineFor(needs)
    this.limits.admission.letGo(line.key as never)
    return line.size > 0 || this.limits.admission.blocker(line, run) !== undefined
  }

  // ─── launching

  launch(run: Run<any, any>): void {
    if (this.inline) return run.rarely.onInline!()
    this.starting.push(run)
    if (this.running || this.settling > 0) return
    const current = Fiber.getCurrent()
    // A turn that comes later is of no use to one that must end in this one.
    if (this.scheduled && current?.cache.scheduler.executionMode !== "sync") return
    this.scheduled = true
    const dispatcher = current !== undefined
      ? current.currentDispatcher
      : this.dispatcher ??= Context.get(run.origin.context, RuntimeScheduler).makeDispatcher()
    dispatcher.scheduleTask(this.startAll, 0)
  }

  private readonly startAll = (): void => {
    this.scheduled = false
    this.early = 0
    this.startNow()
  }

  /**
   * Whoever is about to wait for what it has submitted gives way then: most need not wait for the dispatcher's turn. Of a scheduler that is not
   * Effect's own, as that of a test clock, who knows only what it dispatched itself, all do.
   */
  startSoon(): void {
    if (this.starting.length === 0 || this.early >= EARLY_STARTS) return
    if (!(this.ambient instanceof MixedScheduler) || this.ambient.executionMode !== "async") return
    this.early++
    queueMicrotask(() => this.startNow())
  }
  private early = 0

  /** Starts what was admitted. Not re-entered: what a body's end admits is started by the loop that is already running. */
  startNow(): void {
    if (this.running || this.starting.length === 0) return
    this.running = true
    let started = 0
    try {
      while (this.starting.length > 0) {
        const batch = this.starting
        this.starting = []
        for (let i = 0; i < batch.length; i++) batch[i]!.begin()
        started += batch.length
        if (started >= STARTS_A_TURN && this.starting.length > 0) break
      }
    } finally {
      this.running = false
    }
    const next = this.starting[0]
    if (next !== undefined) {
      this.starting.shift()
      const rest = this.starting
      this.starting = []
      this.launch(next)
      for (const run of rest) this.starting.push(run)
    }
  }

  // ─── settling

  settle(run: Run<any, any>, exit: Exit.Exit<any, any>): void {
    const admission = this.limits.admission
    const wasSettled = run.settled !== undefined
    const abandoned = run.ending === "abandoned" && !wasSettled
    if (!wasSettled) run.settled = exit
    admission.pause()
    // What was given up keeps its slot until it truly ends.
    if (!abandoned) {
      if (this.limits.trees !== undefined) this.leaveTree(run)
      if (run.attempt === 0 && run.phase === Concurrency.Held) admission.unstart(run)
      admission.end(run)
    }
    if (!wasSettled) {
      if (run.rarely.id !== undefined) this.ids.delete(run.rarely.id)
      if (this.events.listening) {
        admission.instant = this.events.finished(run)
        admission.clock = run.clock
      }
    }
    // The last one out lets a stop go on, so it says first that it has finished.
    if (!abandoned) this.members.remove(run)
    if (!wasSettled) run.tellEarly()
    this.settling++
    admission.proceed()
    this.settling--
    admission.instant = undefined
    if (wasSettled) return this.startNow()
    if (this.inline) run.rarely.onInline?.()
    run.letGo()
    this.startNow()
    if (!run.observed && Exit.isFailure(exit)) this.nobodyCares(run)
    // Whoever waits for many is woken once a turn, and finds the others settled.
    if (this.turns !== undefined && this.turns.inside) this.toTell.push(run)
    else run.tellLate()
  }

  private toTell: Array<Run<any, any>> = []
  private tellWaiters(): void {
    const runs = this.toTell
    if (runs.length === 0) return
    this.toTell = []
    for (let i = 0; i < runs.length; i++) runs[i]!.tellLate()
  }

  private enterTree(run: Run<any, any>): void {
    const root = run.treeRoot
    root.set({ tree: root.rarely.tree + 1 })
  }

  private leaveTree(run: Run<any, any>): void {
    const root = run.treeRoot
    const { tree } = root.rarely
    // Granted, and ended before it was told so: the tree is its own all the same.
    const ownsTree = root.rarely.ownsTree ||
      (run === root && run.phase === Concurrency.Held && run.needs!.counters.includes(this.limits.trees!))
    root.set({ tree: tree - 1, ownsTree })
    if (tree > 1 || !ownsTree) return
    root.set({ ownsTree: false })
    const trees = this.limits.trees!
    trees.active--
    this.limits.admission.touch(trees)
  }

  private nobodyCares(run: Run<any, any>): void {
    const outcome = run.outcome
    if (outcome._tag === "Aborted" || outcome._tag === "Interrupted" || outcome._tag === "Succeeded") return
    // A turn later: whoever forked it may be about to wait for it.
    Effect.runForkWith(run.origin.context)(Effect.andThen(
      Effect.yieldNow,
      Effect.suspend(() => {
        if (run.observed) return Effect.void
        const line = `run "${run.name}" (${run.id}) ended as ${outcome._tag} and nobody was waiting for it`
        return outcome._tag === "Died" ? Effect.logError(line, outcome.cause) : Effect.logWarning(line, outcome.cause)
      })
    ))
  }

  // ─── operating

  resize(maxParallelism: Concurrency.Limit): Effect.Effect<void, InvalidOptionError> {
    return Effect.andThen(
      Concurrency.orFail(() => {
        const limit = Concurrency.checkLimit("Scheduler.resize", "maxParallelism", 1, maxParallelism)
        this.limits.resize("Scheduler.resize", limit)
        this.limits.admission.drain()
      }),
      Effect.void
    )
  }

  get stats(): Effect.Effect<Stats> {
    return Effect.sync(() => {
      const { pool, own, shared } = this.limits
      const tags: Record<string, Concurrency.Usage> = {}
      for (const [tag, counter] of shared.counters) tags[tag] = Concurrency.usage(counter)
      if (own !== undefined) { for (const [tag, counter] of own.counters) tags[tag] = Concurrency.usage(counter) }
      const tasks: Record<string, number> = {}
      for (const name of this.tasks.keys()) tasks[name] = 0
      let suspended = 0
      let active = 0
      for (const member of this.members) {
        const run = member as Run<any, any>
        if (run.phase === Concurrency.Held) {
          active++
          tasks[run.name] = (tasks[run.name] ?? 0) + 1
        } else if (run.phase === Concurrency.Away || run.phase === Concurrency.Retaking) suspended++
      }
      if (this.tasks.size > 1000) {
        for (const name of this.tasks.keys()) if (tasks[name] === 0) this.tasks.delete(name)
      }
      return {
        maxParallelism: pool === undefined ? "unbounded" : Concurrency.toLimit(pool.limit),
        active: pool === undefined ? active : pool.active,
        queued: this.queued,
        suspended,
        isClosed: this.members.state !== "running",
        tags,
        tasks
      }
    })
  }

  get runs(): ReadonlyArray<Run<any, any>> {
    return [...this.members] as unknown as ReadonlyArray<Run<any, any>>
  }

  why(id: string): Effect.Effect<Option.Option<Why>> {
    return Effect.sync(() => {
      const run = this.runs.find((run) => run.id === id)
      const reason = run === undefined ? undefined : Concurrency.explain(this.limits.admission, run)
      if (reason === undefined) return Option.none()
      const { estimate, readyAt } = reason
      return Option.some({
        run: id,
        ...reason,
        readyAt: readyAt === undefined || readyAt === Infinity ? undefined : DateTime.makeUnsafe(readyAt),
        estimate: estimate === undefined ? undefined : Duration.millis(estimate)
      })
    })
  }

  close(budget: Supervisor.Budget | undefined): Effect.Effect<Supervisor.Report> {
    return Effect.withFiber((fiber) => {
      let checked: Supervisor.CheckedBudget
      try {
        checked = budget === undefined
          ? this.budget
          : Supervisor.checkBudget("Scheduler.closeWith", budget, this.budget)
      } catch (error) {
        return Effect.die(error)
      }
      const inside: Array<Run<any, any>> = []
      const parent: unknown = Context.getOrUndefined(fiber.context, Concurrency.RunKey)
      for (let run = parent instanceof Run ? parent : undefined; run !== undefined; run = run.origin.parent) {
        if (run.core === this) inside.push(run)
      }
      const announce = this.members.state === "running"
        ? Supervisor.logStop("scheduler", this.id, [...this.members].map((member) => member.name))
        : Effect.void
      const stop = this.members.stop(checked, inside)
      return Effect.andThen(announce, inside.length === 0 ? stop : Concurrency.lend(stop))
    })
  }
}

const noOptions: ForkOptions = {}

const noReasons: ReadonlyArray<TaskRun.WaitReason> = Object.freeze([])

const annotated = (context: Context.Context<never>, lane: string): Context.Context<never> =>
  Context.add(context, References.CurrentLogAnnotations, {
    ...Context.get(context, References.CurrentLogAnnotations),
    lane
  })

const outside = (context: Context.Context<any>): Context.Context<any> =>
  Context.omit(TaskRun.CurrentRun)(Context.add(context, Concurrency.CurrentRegion, undefined)) as Context.Context<any>

const defined = (options: ForkOptions): ForkOptions =>
  Object.fromEntries(
    Object.entries(options).filter(([key, value]) => value !== undefined && key !== "after" && key !== "name")
  )

const checkOptions = (options: ForkOptions): void => {
  if (options.whenFull !== undefined) Concurrency.checkWhenFull("Scheduler.fork", options.whenFull)
  if (options.admissionTimeout !== undefined) {
    Concurrency.checkDuration("Scheduler.fork", "admissionTimeout", options.admissionTimeout)
  }
}

export const checkWhenQueueFull = (where: string, value: unknown): unknown => {
  if (value === undefined || value === "suspend" || value === "fail") return value
  throw new InvalidOptionError({ where, field: "whenQueueFull", rule: `must be "suspend" or "fail"`, value })
}

const isHandle = (run: TaskRun.TaskRun<unknown, unknown>): run is Run<unknown, unknown> => run instanceof Run
