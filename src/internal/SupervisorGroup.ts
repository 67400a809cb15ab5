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
import { NameTakenError, SupervisorClosed, SupervisorFailed } from "./SupervisorErrors.ts"
import { type CheckedBudget, Members, type Owned } from "./SupervisorMembers.ts"

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
  readonly addition: Added | undefined
  constructor(
    group: Group,
    phase: Phase,
    name: string,
    since: number,
    essential: boolean,
    addition: Added | undefined
  ) {
    this.group = group
    this.phase = phase
    this.name = name
    this.since = since
    this.essential = essential
    this.addition = addition
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
  readonly uncounted = true
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly name: string
  readonly since: number
  private readonly interruptible: boolean
  constructor(name: string, since: number, interruptible: boolean) {
    this.name = name
    this.since = since
    this.interruptible = interruptible
  }
  // One that was told the budget ends by itself, and has a report to bring.
  readonly interruptUnsafe = (): void => this.interruptible ? this.fiber?.interruptUnsafe() : undefined
  readonly abandon = (): void => {}
}

/** What was given to `Supervisor.add`, as long as it is there. */
interface Added {
  readonly addition: Addition<any>
  readonly phase: Phase
  readonly since: number
}

/** The supervised fibers a fiber is inside of. */
const CurrentMembers: Context.Reference<ReadonlyArray<SupervisedFiber>> = Context.Reference<
  ReadonlyArray<SupervisedFiber>
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
  private readonly shortened = new Set<() => void>()
  private life: "running" | "stopping" | "closed" = "running"
  /** How many phases have begun to stop. */
  private begun = 0
  private exempt: ReadonlyArray<SupervisedFiber> = []
  private graceUntil = Infinity
  private killUntil = Infinity
  private readonly counted = { drained: 0, interrupted: 0, abandoned: 0 }
  private readonly stragglers: Array<string> = []
  constructor(id: string, budget: CheckedBudget, oneForAll: boolean) {
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
        owned instanceof SupervisedFiber && owned.addition === undefined
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
    options: ForkOptions | undefined,
    addition?: Added
  ): Effect.Effect<Fiber.Fiber<A, E>, never, R> {
    return Effect.withFiber((parent) => {
      const around = parent.getRef(CurrentMembers)
      const inside = around.some((member) => member.group === this && member.fiber?.pollUnsafe() === undefined)
      if (this.state !== "running" && !(this.state === "draining" && inside)) {
        return Effect.die(new SupervisorClosed({ supervisor: this.id }))
      }
      const clock = this.clock = parent.getRef(Clock.Clock)
      const asked = options?.phase ?? "pool"
      if (!phases.includes(asked)) {
        const rule = `must be one of ${phases.map((phase) => `"${phase}"`).join(", ")}`
        return Effect.die(new InvalidOptionError({ where: "Supervisor.fork", field: "phase", rule, value: asked }))
      }
      // Forked from inside after its phase has ended: the last one still waits for it.
      const phase = this.lists[asked].state === "closed" ? "pool" : asked
      const list = this.lists[phase]
      const name = options?.name ?? "fiber"
      const now = clock.currentTimeMillisUnsafe()
      const member = new SupervisedFiber(this, phase, name, now, options?.essential === true, addition)
      const restart = options?.restart
      const body = restart === undefined ? effect : this.restarting(effect, restart, name)
      const owned = Effect.provideService(body, CurrentMembers, [...around, member])
      return Effect.map(Effect.forkDetach(owned), (fiber) => {
        member.fiber = fiber
        list.add(member)
        if (this.listeners.size > 0) this.emit({ _tag: "MemberStarted", ...this.at(), name, phase })
        fiber.addObserver((exit) => {
          list.remove(member)
          if (addition !== undefined && this.added.get(name) === addition) this.added.delete(name)
          this.ended(member, exit, parent.context, clock)
        })
        return fiber
      })
    })
  }

  private ended(
    member: SupervisedFiber,
    exit: Exit.Exit<unknown, unknown>,
    context: Context.Context<never>,
    clock: Clock.Clock
  ): void {
    this.clock = clock
    const { name, phase } = member
    if (this.listeners.size > 0) this.emit({ _tag: "MemberEnded", ...this.at(), name, phase, exit })
    const failed = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
    if (failed) {
      Effect.runForkWith(context)(Effect.logError(`"${name}" of supervisor "${this.id}" failed`, exit.cause))
    }
    if (failed && (this.oneForAll || member.essential)) {
      this.fail({ name, reason: "it failed", code: 2, cause: exit.cause }, context)
    } else if (member.essential && !removals.has(member)) {
      const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
      this.fail({ name, reason: "it ended", code: 1, cause }, context)
    }
  }

  /** Defects restart too: the whole cause is what the schedule sees. */
  private restarting<A, E, R>(
    effect: Effect.Effect<A, E, R>,
    restart: Schedule.Schedule<unknown, unknown, never, never>,
    name: string
  ): Effect.Effect<A, E, R> {
    const again = Schedule.tap(restart, ({ input }) =>
      Effect.withFiber((fiber) => {
        const { cause } = input as Ended<E>
        this.clock = fiber.getRef(Clock.Clock)
        if (this.listeners.size > 0) this.emit({ _tag: "MemberRestarted", ...this.at(), name, cause })
        return Effect.logWarning(`"${name}" failed and restarts`, cause)
      }))
    return effect.pipe(
      Effect.catchCause((cause): Effect.Effect<never, E | Ended<E>> =>
        Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause) : Effect.fail(new Ended(cause))
      ),
      Effect.retry({ schedule: again, while: (error) => error instanceof Ended }),
      Effect.catchIf(
        (error): error is Ended<E> => error instanceof Ended,
        (error) => Effect.failCause(error.cause as Cause.Cause<E>)
      )
    ) as Effect.Effect<A, E, R>
  }

  add<R>(addition: Addition<R>): Effect.Effect<void, NameTakenError, R | Scope.Scope> {
    return Effect.acquireRelease(
      Effect.withFiber((fiber): Effect.Effect<Added, NameTakenError, R> => {
        if (this.life !== "running") return Effect.die(new SupervisorClosed({ supervisor: this.id }))
        const { name } = addition
        if (this.added.has(name)) return Effect.fail(new NameTakenError({ supervisor: this.id, name }))
        const clock = this.clock = fiber.getRef(Clock.Clock)
        const phase = addition.phase ?? "pool"
        const added: Added = { addition: addition as Addition<any>, phase, since: clock.currentTimeMillisUnsafe() }
        this.added.set(name, added)
        if (addition.run !== undefined) return Effect.as(this.fork(addition.run, { ...addition, phase }, added), added)
        if (this.listeners.size > 0) this.emit({ _tag: "MemberStarted", ...this.at(), name, phase })
        return Effect.succeed(added)
      }),
      (added) => this.remove(added)
    ).pipe(Effect.asVoid)
  }

  private remove(added: Added): Effect.Effect<void> {
    return Effect.withFiber((asking) => {
      const { name } = added.addition
      if (this.added.get(name) !== added) return Effect.void
      this.added.delete(name)
      for (const owned of this.lists[added.phase]) {
        if (!(owned instanceof SupervisedFiber) || owned.addition !== added) continue
        removals.add(owned)
        // Removed from inside itself: nobody waits for the fiber that asks.
        const inside = asking.getRef(CurrentMembers).includes(owned)
        return inside ? Effect.sync(owned.interruptUnsafe) : Fiber.interrupt(owned.fiber!)
      }
      this.clock = asking.getRef(Clock.Clock)
      if (this.listeners.size > 0) {
        this.emit({ _tag: "MemberEnded", ...this.at(), name, phase: added.phase, exit: Exit.void })
      }
      return Effect.void
    })
  }

  // ─── stopping

  /** Stops the group because of what happened to a member, or what one asked for. */
  fail(
    what: Pick<SupervisorFailed, "name" | "reason" | "code"> & { readonly cause: Cause.Cause<unknown> },
    context: Context.Context<never>
  ): void {
    if (this.life !== "running" || this.failure !== undefined) return
    const failure = this.failure = new SupervisorFailed({ supervisor: this.id, ...what })
    const say = Effect.logError(failure.message)
    Effect.runForkWith(context)(Effect.andThen(say, Effect.provideService(this.stop(this.budget), CurrentMembers, [])))
  }

  /** Stops once. The members that ask from inside are neither awaited, interrupted nor counted. */
  stop(budget: CheckedBudget): Effect.Effect<Report> {
    return Effect.withFiber((fiber) => {
      const clock = this.clock = fiber.getRef(Clock.Clock)
      const asking = fiber.getRef(CurrentMembers).filter((member) =>
        member.group === this && member.fiber?.pollUnsafe() === undefined
      )
      this.exempt = [...this.exempt, ...asking]
      this.shorten(clock.currentTimeMillisUnsafe(), budget)
      if (this.life === "running") {
        this.life = "stopping"
        Effect.runForkWith(fiber.context)(Effect.uninterruptible(this.drive(fiber.context, clock)))
      } else if (this.life === "stopping") {
        // Those whose phase has begun: shorter now, and without whoever asks.
        for (const phase of phases.slice(0, this.begun)) this.stopPhase(phase, fiber.context)
      }
      return this.stopped
    })
  }

  private shorten(now: number, budget: CheckedBudget): void {
    const grace = now + budget.grace
    const kill = grace + budget.kill
    const shorter = grace < this.graceUntil || kill < this.killUntil
    this.graceUntil = Math.min(this.graceUntil, grace)
    this.killUntil = Math.min(this.killUntil, kill)
    if (shorter) { for (const tell of [...this.shortened]) tell() }
  }

  /** What is left of the budget now. */
  private left(clock: Clock.Clock): CheckedBudget {
    const now = clock.currentTimeMillisUnsafe()
    const from = Math.max(now, this.graceUntil)
    return {
      grace: Math.max(0, this.graceUntil - now),
      kill: this.killUntil === Infinity ? Infinity : Math.max(0, this.killUntil - from)
    }
  }

  /** Phase after phase while there is grace; then all that are left at once, still in order. */
  private drive(context: Context.Context<never>, clock: Clock.Clock): Effect.Effect<void> {
    const group = this
    return Effect.gen(function*() {
      let ended = 0
      while (ended < phases.length) {
        if (group.begun === ended) group.begin(phases[group.begun++]!, context)
        const { state, stopped } = group.lists[phases[ended]!]
        const over = group.left(clock).grace <= 0
        if (over && state !== "closed") {
          while (group.begun < phases.length) group.begin(phases[group.begun++]!, context)
        }
        if (state === "closed" || over) {
          group.count(yield* stopped)
          group.emit({ _tag: "PhaseEnded", ...group.at(), phase: phases[ended++]! })
        } else yield* group.graceOr(stopped, clock)
      }
      group.finish()
    })
  }

  private graceOr(stopped: Effect.Effect<unknown>, clock: Clock.Clock): Effect.Effect<unknown> {
    const { grace } = this.left(clock)
    const changed = Effect.callback<void>((resume) => {
      const tell = () => {
        this.shortened.delete(tell)
        resume(Effect.void)
      }
      this.shortened.add(tell)
      return Effect.sync(() => this.shortened.delete(tell))
    })
    const waits = [stopped, changed, ...(Number.isFinite(grace) ? [Effect.sleep(Duration.millis(grace))] : [])]
    // Interruptible on purpose: these are children of the driver, not the finalizer that waits for it.
    return Effect.raceAllFirst(waits.map((wait) => Effect.interruptible(wait)))
  }

  private begin(phase: Phase, context: Context.Context<never>): void {
    this.emit({ _tag: "PhaseStarted", ...this.at(), phase })
    const list = this.lists[phase]
    for (const { addition } of [...this.added.values()].filter((added) => added.phase === phase)) {
      const { name, stop } = addition
      if (stop === undefined) continue
      const told = typeof stop === "function"
      const call = new StopCall(name, this.clock.currentTimeMillisUnsafe(), !told)
      list.add(call)
      call.fiber = this.callStop(name, told ? stop(budgetOf(this.left(this.clock))) : stop, context)
      call.fiber.addObserver(() => list.remove(call))
    }
    this.stopPhase(phase, context)
  }

  private callStop(name: string, stop: Effect.Effect<unknown>, context: Context.Context<never>) {
    const counted = Effect.map(stop, (report) => {
      if (isReport(report)) this.count(report)
    })
    return Effect.runForkWith(context)(
      Effect.catchCause(counted, (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.void
          : Effect.logError(`stopping "${name}" of supervisor "${this.id}" failed`, cause))
    )
  }

  private stopPhase(phase: Phase, context: Context.Context<never>): void {
    const list = this.lists[phase]
    if (list.state === "draining" || list.state === "interrupting") {
      // Those that were told the budget are told the shorter one.
      for (const { addition, phase: of } of this.added.values()) {
        if (of !== phase || typeof addition.stop !== "function") continue
        this.callStop(addition.name, Effect.asVoid(addition.stop(budgetOf(this.left(this.clock)))), context)
      }
    }
    const exempt = this.exempt.filter((member) => member.phase === phase)
    Effect.runForkWith(context)(list.stop(this.left(this.clock), exempt))
  }

  private count(report: Report): void {
    this.counted.drained += report.drained
    this.counted.interrupted += report.interrupted
    this.counted.abandoned += report.abandoned
    this.stragglers.push(...report.stragglers)
  }

  private finish(): void {
    this.life = "closed"
    const report = { ...this.counted, stragglers: this.stragglers }
    this.emit({ _tag: "Stopped", ...this.at(), report })
    for (const end of [...this.readers]) end()
    Deferred.doneUnsafe(this.done, Exit.succeed(report))
  }
}

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

class Ended<E> {
  readonly cause: Cause.Cause<E>
  constructor(cause: Cause.Cause<E>) {
    this.cause = cause
  }
}
