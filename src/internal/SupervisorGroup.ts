/** One supervisor at work: a list of members a phase, stopped in order within one budget. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Addition, Budget, ForkOptions, Member, Phase, Report, State, SupervisorEvent } from "../Supervisor.ts"
import { type CheckedBudget, Deadline } from "./SupervisorDeadline.ts"
import { NameTakenError, SupervisorClosed, SupervisorFailed } from "./SupervisorErrors.ts"
import { Members, type Owned } from "./SupervisorMembers.ts"

export const phases: ReadonlyArray<Phase> = ["triggers", "workers", "lanes", "pool"]

/** A fiber of the supervisor. */
class SupervisedFiber implements Owned {
  before: Owned | undefined
  after: Owned | undefined
  exempt = false
  told = false
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly group: Group
  readonly phase: Phase
  readonly name: string
  readonly since: number
  readonly essential: boolean
  /** The addition it is the `run` of. */
  readonly of: Added | undefined
  constructor(group: Group, phase: Phase, name: string, since: number, essential: boolean, of: Added | undefined) {
    this.group = group
    this.phase = phase
    this.name = name
    this.since = since
    this.essential = essential
    this.of = of
  }
  readonly interruptUnsafe = (): void => this.fiber?.interruptUnsafe()
  readonly abandon = (): void => {}
}

/** A call of somebody's `stop`: waited for like a member, and no work of its own. */
class StopCall implements Owned {
  before: Owned | undefined
  after: Owned | undefined
  exempt = false
  told = false
  readonly notWork = true
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly group: Group
  readonly phase: Phase
  readonly name: string
  readonly since: number
  readonly of: Added
  constructor(group: Group, since: number, of: Added) {
    this.group = group
    this.phase = of.phase
    this.name = of.addition.name
    this.since = since
    this.of = of
  }
  // One that was told the budget ends by itself, and has a report to bring.
  readonly interruptUnsafe = (): void =>
    typeof this.of.addition.stop === "function" ? undefined : this.fiber?.interruptUnsafe()
  readonly abandon = (): void => this.fiber?.interruptUnsafe()
}

/** What was given to `Supervisor.add`, as long as it is there. */
interface Added {
  readonly addition: Addition<any>
  readonly phase: Phase
  readonly since: number
  stopping: StopCall | undefined
  /** Its scope has closed: what is left of it is the end of its `run`. */
  isRemoved: boolean
}

/** The supervised fibers a fiber is inside of, or the call of a `stop`. */
const CurrentMembers: Context.Reference<ReadonlyArray<SupervisedFiber | StopCall>> = Context.Reference<
  ReadonlyArray<SupervisedFiber | StopCall>
>("tasklayer/Supervisor/CurrentMembers", { defaultValue: () => [] })

export class Group {
  readonly id: string
  readonly budget: CheckedBudget
  /** What stopped the group, where that was not a plain stop. */
  failure: SupervisorFailed | undefined
  private readonly oneForAll: boolean
  private readonly lists: Record<Phase, Members>
  private readonly added = new Map<string, Added>()
  private readonly listeners = new Set<(event: SupervisorEvent) => void>()
  private readonly readers = new Set<() => void>()
  private readonly done = Deferred.makeUnsafe<Report>()
  private life: "running" | "stopping" | "closed" = "running"
  /** How many phases have begun to stop. */
  private begun = 0
  /** Where a stop was asked for. Something that is stopped may be what asks: it is told in each of these. */
  private readonly askers = new Set<Context.Context<never>>()
  private readonly deadline = new Deadline()
  private readonly counted = { drained: 0, interrupted: 0, abandoned: 0 }
  private readonly stragglers: Array<string> = []
  private readonly home: Context.Context<never>
  constructor(home: Context.Context<never>, id: string, budget: CheckedBudget, oneForAll: boolean) {
    this.home = home
    this.id = id
    this.budget = budget
    this.oneForAll = oneForAll
    this.lists = {
      triggers: new Members(id),
      workers: new Members(id),
      lanes: new Members(id),
      pool: new Members(id)
    }
  }

  get size(): number {
    let size = 0
    for (const phase of phases) size += this.lists[phase].size
    return size
  }

  get state(): State {
    if (this.life !== "stopping") return this.life
    return phases.some((phase) => this.lists[phase].state === "interrupting") ? "interrupting" : "draining"
  }

  get stopped(): Effect.Effect<Report> {
    return Deferred.await(this.done)
  }

  get names(): ReadonlyArray<string> {
    return [...this.added.keys(), ...this.fibers.map((member) => member.name)]
  }

  private get fibers(): ReadonlyArray<SupervisedFiber> {
    return phases.flatMap((phase) =>
      [...this.lists[phase]].filter((owned): owned is SupervisedFiber =>
        owned instanceof SupervisedFiber && owned.of === undefined
      )
    )
  }

  readonly members: Effect.Effect<ReadonlyArray<Member>> = Effect.suspend(() =>
    Effect.forEach([...this.added.values()], (added) =>
      Effect.all([
        added.addition.status ?? Effect.succeed("running"),
        added.addition.members ?? Effect.succeed<ReadonlyArray<Member>>([])
      ]).pipe(Effect.map(([state, members]) => memberOf(added.addition.name, added, state, members))))
      .pipe(Effect.map((added) => [
        ...added,
        ...this.fibers.map((fiber) => memberOf(fiber.name, fiber, "running", []))
      ]))
  )

  readonly awaitEmpty: Effect.Effect<void> = Effect.suspend((): Effect.Effect<void> => {
    const some = phases.find((phase) => !this.lists[phase].isEmpty)
    return some === undefined ? Effect.void : Effect.andThen(this.lists[some].awaitEmpty, this.awaitEmpty)
  })

  // ─── events

  private emit(event: SupervisorEvent): void {
    for (const listener of [...this.listeners]) listener(Object.freeze(event))
  }

  private at(): { at: DateTime.Utc; supervisor: string } {
    return { at: DateTime.makeUnsafe(this.clock.currentTimeMillisUnsafe()), supervisor: this.id }
  }
  /** That of whoever acted last; facts are told at the time of those they are about. */
  private clock: Clock.Clock = Context.get(Context.empty(), Clock.Clock)

  readonly events: Stream.Stream<SupervisorEvent> = Stream.unwrap(Effect.gen({ self: this }, function*() {
    const queue = yield* Queue.unbounded<SupervisorEvent, Cause.Done>()
    const listener = (event: SupervisorEvent) => void Queue.offerUnsafe(queue, event)
    const end = () => void Queue.endUnsafe(queue)
    if (this.life === "closed") end()
    yield* Effect.acquireRelease(
      Effect.sync(() => {
        this.listeners.add(listener)
        this.readers.add(end)
      }),
      () =>
        Effect.sync(() => {
          this.listeners.delete(listener)
          this.readers.delete(end)
        })
    )
    return Stream.fromQueue(queue)
  }))

  // ─── joining

  fork<A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options: ForkOptions | undefined
  ): Effect.Effect<Fiber.Fiber<A, E>, never, R> {
    return Effect.withFiber((asking) => {
      const phase = options?.phase ?? "pool"
      try {
        checkPhase("Supervisor.fork", phase)
        return Effect.succeed(this.own(asking, effect, options?.name ?? "fiber", phase, options, undefined))
      } catch (error) {
        return Effect.die(error)
      }
    })
  }

  /** In one step: a stop or an interruption finds either no fiber or one that has its place. */
  private own<A, E, R>(
    asking: Fiber.Fiber<unknown, unknown>,
    effect: Effect.Effect<A, E, R>,
    name: string,
    asked: Phase,
    options: Pick<ForkOptions, "restart" | "essential"> | undefined,
    addition: Added | undefined
  ): Fiber.Fiber<A, E> {
    const around = asking.getRef(CurrentMembers)
    const inside = around.some((member) => member instanceof SupervisedFiber && member.group === this && isLive(member))
    // Forked from inside after its phase has ended: the last one still waits for it.
    const phase = this.lists[asked].state === "closed" ? "pool" : asked
    const list = this.lists[phase]
    if (this.state !== "running" && !(this.state === "draining" && inside && list.state !== "closed")) {
      throw new SupervisorClosed({ supervisor: this.id })
    }
    const clock = this.clock = asking.getRef(Clock.Clock)
    const now = clock.currentTimeMillisUnsafe()
    const member = new SupervisedFiber(this, phase, name, now, options?.essential === true, addition)
    list.add(member)
    if (this.listeners.size > 0) this.emit({ _tag: "MemberStarted", ...this.at(), name, phase })
    const body = options?.restart === undefined ? effect : this.restarting(effect, options.restart, name)
    const owned = Effect.provideService(body, CurrentMembers, [...around, member])
    const started = Effect.callback<A, E, R>((resume) => {
      asking.currentDispatcher.scheduleTask(() => resume(owned), 0)
    })
    // Read now: a fiber that has ended has none.
    const { context } = asking
    const fiber = member.fiber = Effect.runForkWith(context as Context.Context<R>)(started)
    fiber.addObserver((exit) => {
      this.clock = clock
      if (this.listeners.size > 0) this.emit({ _tag: "MemberEnded", ...this.at(), name, phase, exit })
      if (addition !== undefined && this.added.get(name) === addition) this.added.delete(name)
      list.remove(member)
      this.ended(member, exit, context)
    })
    return fiber
  }

  private ended(member: SupervisedFiber, exit: Exit.Exit<unknown, unknown>, context: Context.Context<never>): void {
    const { name } = member
    const failed = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
    if (failed) {
      Effect.runForkWith(context)(Effect.logError(`"${name}" of supervisor "${this.id}" failed`, exit.cause))
    }
    if (failed && (this.oneForAll || member.essential)) {
      this.fail({ name, reason: "it failed", code: 2, cause: exit.cause })
    } else if (member.essential && !removals.has(member)) {
      const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
      this.fail({ name, reason: "it ended", code: 1, cause })
    }
  }

  /** Defects restart too: the whole cause is what the schedule sees. */
  private restarting<A, E, R>(
    effect: Effect.Effect<A, E, R>,
    restart: Schedule.Schedule<unknown, unknown, never, never>,
    name: string
  ): Effect.Effect<A, E, R> {
    const again = Schedule.tap(restart, (step) =>
      Effect.withFiber((fiber) => {
        const cause = step.input as Cause.Cause<E>
        this.clock = fiber.getRef(Clock.Clock)
        if (this.listeners.size > 0) this.emit({ _tag: "MemberRestarted", ...this.at(), name, cause })
        return Effect.logWarning(`"${name}" failed and restarts`, cause)
      }))
    return effect.pipe(
      Effect.catchCause((cause): Effect.Effect<never, Cause.Cause<E>> =>
        Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : Effect.fail(cause)
      ),
      Effect.retry(again),
      Effect.catch((cause) => Effect.failCause(cause))
    )
  }

  add<R>(addition: Addition<R>): Effect.Effect<void, NameTakenError, R | Scope.Scope> {
    return Effect.acquireRelease(
      Effect.withFiber((asking): Effect.Effect<Added, NameTakenError> => {
        const { name, phase = "pool", run } = addition
        if (this.life === "running" && this.added.has(name)) {
          return Effect.fail(new NameTakenError({ supervisor: this.id, name }))
        }
        try {
          checkPhase("Supervisor.add", phase)
          if (this.life !== "running") throw new SupervisorClosed({ supervisor: this.id })
        } catch (error) {
          return Effect.die(error)
        }
        const clock = this.clock = asking.getRef(Clock.Clock)
        const since = clock.currentTimeMillisUnsafe()
        const added: Added = {
          addition: addition as Addition<any>,
          phase,
          since,
          stopping: undefined,
          isRemoved: false
        }
        this.added.set(name, added)
        if (run !== undefined) this.own(asking, run, name, phase, addition, added)
        else if (this.listeners.size > 0) this.emit({ _tag: "MemberStarted", ...this.at(), name, phase })
        return Effect.succeed(added)
      }) as Effect.Effect<Added, NameTakenError, R>,
      (added) => this.remove(added)
    ).pipe(Effect.asVoid)
  }

  private remove(added: Added): Effect.Effect<void> {
    return Effect.withFiber((asking) => {
      if (this.added.get(added.addition.name) !== added) return Effect.void
      added.isRemoved = true
      this.clock = asking.getRef(Clock.Clock)
      for (const owned of this.lists[added.phase]) {
        if (!(owned instanceof SupervisedFiber) || owned.of !== added) continue
        removals.add(owned)
        owned.interruptUnsafe()
        // Removed from inside itself: nobody waits for the fiber that asks. Nor for one that a stop has given up.
        if (asking.getRef(CurrentMembers).includes(owned)) return Effect.void
        return Effect.asVoid(first([Fiber.await(owned.fiber!), this.stopped]))
      }
      this.leave(added, Exit.void)
      return Effect.void
    })
  }

  /** What has no `run` is there until it is removed or has been stopped. */
  private leave(added: Added, exit: Exit.Exit<unknown, unknown>): void {
    const { name, run } = added.addition
    if (run !== undefined || this.added.get(name) !== added) return
    this.added.delete(name)
    if (this.listeners.size > 0) this.emit({ _tag: "MemberEnded", ...this.at(), name, phase: added.phase, exit })
  }

  // ─── stopping

  /** Stops the group because of what happened to a member, or what one asked for. Nobody waits for it, so nobody is exempt from it. */
  fail(what: Pick<SupervisorFailed, "name" | "reason" | "code"> & { readonly cause: Cause.Cause<unknown> }): void {
    if (this.life !== "running" || this.failure !== undefined) return
    const failure = this.failure = new SupervisorFailed({ supervisor: this.id, ...what })
    Effect.runForkWith(Context.add(this.home, Clock.Clock, this.clock))(
      Effect.andThen(Effect.logError(failure.message), this.stop(this.budget))
    )
  }

  bailOut(reason: string, code: number): Effect.Effect<void> {
    return Effect.withFiber((fiber) => {
      this.clock = fiber.getRef(Clock.Clock)
      this.fail({ name: "bailOut", reason, code, cause: Cause.empty })
      return Effect.void
    })
  }

  /** Stops once. The members that ask from inside are neither awaited, interrupted nor counted. */
  stop(budget: CheckedBudget): Effect.Effect<Report> {
    return Effect.withFiber((fiber) => {
      const { context } = fiber
      const clock = this.clock = fiber.getRef(Clock.Clock)
      const asking = fiber.getRef(CurrentMembers).filter((member) => member.group === this && isLive(member))
      for (const phase of phases) this.lists[phase].expectStop(asking.filter((member) => member.phase === phase))
      const shorter = this.deadline.shorten(clock, budget)
      // A `stop` that asks is told by itself: it would ask again.
      const anew = !this.askers.has(context) && !asking.some((member) => member instanceof StopCall)
      if (anew && this.life !== "closed") this.askers.add(context)
      if (this.life === "running") {
        this.life = "stopping"
        Effect.runForkWith(context)(Effect.uninterruptible(this.drive(clock)))
      } else if (this.life === "stopping" && (shorter || anew)) {
        for (const phase of phases.slice(0, this.begun)) this.tell(phase, context, clock)
      }
      return this.stopped
    })
  }

  /** Those that asked for the stop from inside were left alone by it; the scope does not leave them behind. */
  leaveNobody(): void {
    for (const phase of phases) for (const owned of this.lists[phase]) owned.interruptUnsafe()
  }

  /** Phase after phase while there is grace; then all that are left at once, still in order. */
  private drive(clock: Clock.Clock): Effect.Effect<void> {
    const group = this
    return Effect.gen(function*() {
      let ended = 0
      while (ended < phases.length) {
        if (group.begun === ended) group.begin(phases[group.begun++]!, clock)
        const { state, stopped } = group.lists[phases[ended]!]
        const over = group.deadline.left(clock).grace <= 0
        if (over && state !== "closed") {
          while (group.begun < phases.length) group.begin(phases[group.begun++]!, clock)
        }
        if (state === "closed" || over) {
          group.count(yield* stopped)
          group.emit({ _tag: "PhaseEnded", ...group.at(), phase: phases[ended++]! })
        } else yield* group.deadline.wait(stopped, "grace", clock)
      }
      group.finish()
    })
  }

  private begin(phase: Phase, clock: Clock.Clock): void {
    this.emit({ _tag: "PhaseStarted", ...this.at(), phase })
    const list = this.lists[phase]
    const [asker, ...others] = this.askers
    for (const added of [...this.added.values()]) {
      if (added.phase !== phase || added.isRemoved) continue
      if (added.addition.stop === undefined) {
        this.leave(added, Exit.void)
        continue
      }
      const call = added.stopping = new StopCall(this, clock.currentTimeMillisUnsafe(), added)
      list.add(call)
      call.fiber = this.callStop(added, asker!, clock)
      call.fiber.addObserver((exit) => {
        if (Exit.isSuccess(exit) && isReport(exit.value) && !call.exempt) this.count(exit.value)
        this.leave(added, exit)
        list.remove(call)
      })
    }
    Effect.runForkWith(asker!)(list.stop(this.deadline.left(clock), []))
    for (const other of others) this.tell(phase, other, clock)
  }

  /** Those that were told the budget are told what is left of it, and where that was asked for. */
  private tell(phase: Phase, context: Context.Context<never>, clock: Clock.Clock): void {
    const list = this.lists[phase]
    if (list.state === "closed") return
    for (const added of [...this.added.values()]) {
      const { addition: { stop }, isRemoved } = added
      if (added.phase === phase && !isRemoved && typeof stop === "function") this.callStop(added, context, clock)
    }
    Effect.runForkWith(context)(list.stop(this.deadline.left(clock), []))
  }

  private callStop({ addition: { name, stop }, stopping }: Added, context: Context.Context<never>, clock: Clock.Clock) {
    const called = Effect.suspend((): Effect.Effect<unknown, unknown> =>
      typeof stop === "function" ? stop(budgetOf(this.deadline.left(clock))) : stop!
    )
    return Effect.runForkWith(Context.add(context, CurrentMembers, [stopping!]))(
      Effect.tapCause(called, (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logError(`stopping "${name}" of supervisor "${this.id}" failed`, cause))
    )
  }

  private count(report: Report): void {
    this.counted.drained += report.drained
    this.counted.interrupted += report.interrupted
    this.counted.abandoned += report.abandoned
    this.stragglers.push(...report.stragglers)
  }

  private finish(): void {
    this.life = "closed"
    const report = { ...this.counted, stragglers: [...this.stragglers] }
    this.emit({ _tag: "Stopped", ...this.at(), report })
    for (const end of [...this.readers]) end()
    Deferred.doneUnsafe(this.done, Exit.succeed(report))
  }
}

const isLive = (member: SupervisedFiber | StopCall): boolean => member.fiber?.pollUnsafe() === undefined

const checkPhase = (where: string, phase: Phase): void => {
  if (phases.includes(phase)) return
  const rule = `must be one of ${phases.map((phase) => `"${phase}"`).join(", ")}`
  throw new InvalidOptionError({ where, field: "phase", rule, value: phase })
}

// Interruptible on purpose: these are children of who waits, also where that is a finalizer.
const first = (waits: ReadonlyArray<Effect.Effect<unknown>>): Effect.Effect<unknown> =>
  Effect.raceAllFirst(waits.map((wait) => Effect.interruptible(wait)))

/** Members removed by the closing of their scope: no end that anybody is to be told of. */
const removals = new WeakSet<SupervisedFiber>()

const memberOf = (
  name: string,
  { phase, since }: { readonly phase: Phase; readonly since: number },
  state: string,
  members: ReadonlyArray<Member>
): Member => ({ name, since: DateTime.makeUnsafe(since), phase, state, members })

const budgetOf = ({ grace, kill }: CheckedBudget): Budget => ({
  gracePeriod: grace === Infinity ? Duration.infinity : Duration.millis(grace),
  interruptTimeout: kill === Infinity ? undefined : Duration.millis(kill)
})

const isReport = (u: unknown): u is Report =>
  typeof u === "object" && u !== null && "drained" in u && "interrupted" in u && "abandoned" in u && "stragglers" in u
