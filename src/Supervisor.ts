/**
 * How long things live: the owner of fibers. What it forks ends with its scope, or is reported as abandoned.
 *
 * Stopping is one time budget: new work is refused, accepted work drains for `gracePeriod`, the rest is interrupted all at once and given
 * `interruptTimeout` to clean up, and what ignores that is abandoned by name. Every caller of a stop gets the same report.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { InvalidOptionError } from "./InvalidOptionError.ts"

/** The time a stop may take. */
export interface Budget {
  /** How long accepted work may go on by itself. Default zero: it is interrupted at once. `"Infinity"` waits for all of it. */
  readonly gracePeriod?: Duration.Input | undefined
  /** How long interrupted work may clean up before it is abandoned. Default: no bound. */
  readonly interruptTimeout?: Duration.Input | undefined
}

export interface Options extends Budget {
  /** Shown in log lines. Default: a fresh one. */
  readonly id?: string | undefined
}

/** How a stop went. */
export interface Report {
  /** Ended by themselves after the stop began. */
  readonly drained: number
  /** Ended after they were interrupted. */
  readonly interrupted: number
  /** Ignored interruption and were given up. */
  readonly abandoned: number
  /** The names of what was abandoned. */
  readonly stragglers: ReadonlyArray<string>
}

export type State = "running" | "draining" | "interrupting" | "closed"

export interface Member {
  readonly name: string
  readonly since: DateTime.Utc
}

export interface Status {
  readonly id: string
  readonly state: State
  readonly size: number
  readonly members: ReadonlyArray<Member>
}

export interface ForkOptions {
  /** For status, logs and the report. Default `"fiber"`. */
  readonly name?: string | undefined
  /** Forks the effect again after it failed or died, while the schedule lasts. Default: never. */
  readonly restart?: Schedule.Schedule<unknown, unknown, never, never> | undefined
}

interface Service {
  readonly id: string
  /** Resources acquired into it are released after the members ended. */
  readonly scope: Scope.Scope
  readonly fork: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ForkOptions
  ) => Effect.Effect<Fiber.Fiber<A, E>, never, R>
  readonly size: Effect.Effect<number>
  readonly members: Effect.Effect<ReadonlyArray<Member>>
  readonly state: Effect.Effect<State>
  /** Waits until no member is left. */
  readonly awaitEmpty: Effect.Effect<void>
  /** Stops within the budget it was made with. */
  readonly shutdown: Effect.Effect<Report>
  /** Stops within this budget; while a stop is going on it can only shorten it. */
  readonly shutdownWith: (budget: Budget) => Effect.Effect<Report>
}

/** The owner of fibers. */
export class Supervisor extends Context.Service<Supervisor, Service>()("tasklayer/Supervisor") {}

/** A supervisor that stops when the scope closes. */
export const make = (options?: Options): Effect.Effect<Supervisor["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const budget = yield* Effect.sync(() => checkBudget("Supervisor.make", options))
    const scope = yield* Scope.make("sequential")
    const members = new Members(options?.id ?? freshId())
    yield* Effect.addFinalizer((exit) =>
      Effect.ensuring(
        Effect.flatMap(members.stop(budget, undefined), (report) => logReport("supervisor", members, report)),
        Scope.close(scope, exit)
      )
    )
    return serviceOf(members, budget, scope)
  })

/** A supervisor that lives as long as the Layer. */
export const layer = (options?: Options): Layer.Layer<Supervisor> => Layer.effect(Supervisor, make(options))

/** Forks a fiber the supervisor owns. Given to a closed supervisor: the defect `SupervisorClosed`. */
export const fork = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: ForkOptions
): Effect.Effect<Fiber.Fiber<A, E>, never, R | Supervisor> =>
  Supervisor.use((supervisor) => supervisor.fork(effect, options))

/** Waits until no member is left. */
export const awaitEmpty: Effect.Effect<void, never, Supervisor> = Supervisor.use((supervisor) => supervisor.awaitEmpty)

/** Stops the supervisor. */
export const shutdown: Effect.Effect<Report, never, Supervisor> = Supervisor.use((supervisor) => supervisor.shutdown)

/** Stops the supervisor within this budget; while a stop is going on it can only shorten it. */
export const shutdownWith = (budget: Budget): Effect.Effect<Report, never, Supervisor> =>
  Supervisor.use((supervisor) => supervisor.shutdownWith(budget))

/** What it is doing and who its members are. */
export const status: Effect.Effect<Status, never, Supervisor> = Supervisor.use((supervisor) =>
  Effect.map(Effect.all([supervisor.state, supervisor.members]), ([state, members]) => ({
    id: supervisor.id,
    state,
    size: members.length,
    members
  }))
)

/** Waits until the supervisor has stopped. */
export const block: Effect.Effect<Report, never, Supervisor> = Supervisor.use((supervisor) =>
  membersOf.get(supervisor)?.stopped ?? Effect.never
)

/** A supervisor that has begun to stop takes no new fibers. */
export class SupervisorClosed extends Data.TaggedError("SupervisorClosed")<{ readonly supervisor: string }> {
  override get message(): string {
    return `supervisor "${this.supervisor}" takes no new work`
  }
}

// ─── for runners

/** What a stop knows of a member. @internal */
export interface Owned {
  readonly name: string
  readonly since: number
  before: Owned | undefined
  after: Owned | undefined
  /** Interrupts without waiting. */
  readonly interruptUnsafe: () => void
  /** Given up: settles for whoever waits. */
  readonly abandon: () => void
  /** The member, or what it belongs to, asked for the stop itself. */
  exempt: boolean
  told: boolean
}

/** The members of one supervisor: a list with an end, and the one place that stops it. @internal */
export class Members {
  size = 0
  state: State = "running"
  private first: Owned | undefined
  private last: Owned | undefined
  private counted = { drained: 0, interrupted: 0, abandoned: 0 }
  private stragglers: Array<string> = []
  private exempted = 0
  private readonly empty = new Set<() => void>()
  private readonly done = Deferred.makeUnsafe<Report>()
  private graceUntil = Infinity
  private killUntil = Infinity
  private shortened = new Set<() => void>()
  /** Interrupting one must not let another begin. */
  atOnce: (f: () => void) => void = (f) => f()
  /** What follows the report, before any caller has it. */
  onStopped: (report: Report) => void = () => {}
  readonly id: string
  constructor(id: string) {
    this.id = id
  }

  get stopped(): Effect.Effect<Report> {
    return Deferred.await(this.done)
  }

  add(member: Owned): void {
    this.size++
    member.before = this.last
    if (this.last === undefined) this.first = member
    else this.last.after = member
    this.last = member
  }

  remove(member: Owned): void {
    this.size--
    if (member.before === undefined) this.first = member.after
    else member.before.after = member.after
    if (member.after === undefined) this.last = member.before
    else member.after.before = member.before
    member.before = member.after = undefined
    if (member.exempt) this.exempted--
    else if (this.state === "draining") this.counted.drained++
    else if (this.state === "interrupting") this.counted[member.told ? "interrupted" : "drained"]++
    if (this.empty.size > 0 && this.size === this.exempted) { for (const tell of [...this.empty]) tell() }
  }

  *[Symbol.iterator](): Generator<Owned> {
    for (let member = this.first; member !== undefined;) {
      const next: Owned | undefined = member.after
      yield member
      member = next
    }
  }

  get list(): ReadonlyArray<Member> {
    return [...this].map((member) => ({ name: member.name, since: DateTime.makeUnsafe(member.since) }))
  }

  /** Waits until no member is left but those that are exempt. */
  readonly awaitEmpty: Effect.Effect<void> = Effect.suspend(() =>
    this.size === this.exempted ? Effect.void : Effect.callback<void>((resume) => {
      const tell = () => {
        this.empty.delete(tell)
        resume(Effect.void)
      }
      this.empty.add(tell)
      return Effect.sync(() => this.empty.delete(tell))
    })
  )

  /** Stops once; `exempt` are the members that ask from inside. */
  stop(budget: CheckedBudget, exempt: Iterable<Owned> | undefined): Effect.Effect<Report> {
    return Effect.withFiber((fiber) => {
      if (exempt !== undefined) {
        for (const member of exempt) {
          if (member.exempt || (member.before === undefined && this.first !== member)) continue
          member.exempt = true
          this.exempted++
        }
        if (this.size === this.exempted) { for (const tell of [...this.empty]) tell() }
      }
      const clock = fiber.getRef(Clock.Clock)
      this.shorten(clock.currentTimeMillisUnsafe(), budget)
      if (this.state === "running") {
        this.state = "draining"
        if (this.size === this.exempted) this.finish()
        // Detached: whoever asked may be interrupted, the stop goes on.
        else Effect.runForkWith(fiber.context)(Effect.uninterruptible(this.drive(clock)))
      }
      return Deferred.await(this.done)
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

  private *drain(clock: Clock.Clock, until: () => number): Generator<Effect.Effect<unknown>> {
    while (this.size > this.exempted) {
      const left = until() - clock.currentTimeMillisUnsafe()
      if (left <= 0) return
      const changed = Effect.callback<void>((resume) => {
        const tell = () => {
          this.shortened.delete(tell)
          resume(Effect.void)
        }
        this.shortened.add(tell)
        return Effect.sync(() => this.shortened.delete(tell))
      })
      const waits = [this.awaitEmpty, changed, ...(Number.isFinite(left) ? [Effect.sleep(Duration.millis(left))] : [])]
      // Interruptible on purpose: these are children of the driver, not the finalizer that waits for it.
      yield Effect.raceAllFirst(waits.map((wait) => Effect.interruptible(wait)))
    }
  }

  private drive(clock: Clock.Clock): Effect.Effect<void> {
    const members = this
    return Effect.gen(function*() {
      for (const wait of members.drain(clock, () => members.graceUntil)) yield* wait
      if (members.size > members.exempted) {
        members.state = "interrupting"
        const all = [...members].filter((member) => !member.exempt)
        for (const member of all) member.told = true
        members.atOnce(() => {
          for (const member of all) member.interruptUnsafe()
        })
        for (const wait of members.drain(clock, () => members.killUntil)) yield* wait
        for (const member of [...members]) {
          if (member.exempt) continue
          members.counted.abandoned++
          members.stragglers.push(member.name)
          member.exempt = true
          members.exempted++
          member.abandon()
        }
      }
      members.finish()
    })
  }

  private finish(): void {
    this.state = "closed"
    const report = { ...this.counted, stragglers: this.stragglers }
    this.onStopped(report)
    Deferred.doneUnsafe(this.done, Exit.succeed(report))
  }
}

export interface CheckedBudget {
  readonly grace: number
  readonly kill: number
}

/** @internal */
export const checkBudget = (where: string, budget: Budget | undefined, defaults?: CheckedBudget): CheckedBudget => ({
  grace: budget?.gracePeriod === undefined
    ? defaults?.grace ?? 0
    : checkMillis(where, "gracePeriod", budget.gracePeriod),
  kill: budget?.interruptTimeout === undefined
    ? defaults?.kill ?? Infinity
    : checkMillis(where, "interruptTimeout", budget.interruptTimeout)
})

const checkMillis = (where: string, field: string, input: Duration.Input): number => {
  const duration = Duration.fromInput(input)
  const negative = (typeof input === "number" && !(input >= 0)) || (typeof input === "bigint" && input < 0n) ||
    (typeof input === "string" && input.trim().startsWith("-"))
  if (duration._tag === "Some" && !negative) return Duration.toMillis(duration.value)
  throw new InvalidOptionError({ where, field, rule: "must be a duration >= 0", value: input })
}

/** @internal */
export const freshId = (): string => crypto.randomUUID().slice(0, 8)

/** @internal */
export const logReport = (what: string, members: Members, report: Report): Effect.Effect<void> => {
  const { abandoned, drained, interrupted, stragglers } = report
  const names = stragglers.length === 0 ? "" : `: ${stragglers.join(", ")}`
  const line =
    `${what} "${members.id}" stopped: ${drained} drained, ${interrupted} interrupted, ${abandoned} abandoned${names}`
  return interrupted + abandoned > 0 ? Effect.logWarning(line) : Effect.logInfo(line)
}

/** @internal */
export const logStop = (what: string, members: Members): Effect.Effect<void> => {
  if (members.size === 0) return Effect.void
  const names = members.list.slice(0, 20).map((member) => member.name)
  const more = members.size > names.length ? ` and ${members.size - names.length} more` : ""
  return Effect.logInfo(`${what} "${members.id}" is stopping: ${names.join(", ")}${more}`)
}

class SupervisedFiber implements Owned {
  before: Owned | undefined
  after: Owned | undefined
  exempt = false
  told = false
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  readonly name: string
  readonly since: number
  constructor(name: string, since: number) {
    this.name = name
    this.since = since
  }
  readonly interruptUnsafe = (): void => this.fiber?.interruptUnsafe()
  readonly abandon = (): void => {}
}

/** The supervised fibers a fiber is inside of. */
const CurrentMembers: Context.Reference<ReadonlyArray<Owned>> = Context.Reference<ReadonlyArray<Owned>>(
  "tasklayer/Supervisor/CurrentMembers",
  { defaultValue: () => [] }
)

const membersOf = new WeakMap<Supervisor["Service"], Members>()

const serviceOf = (members: Members, budget: CheckedBudget, scope: Scope.Scope): Supervisor["Service"] => {
  const stop = (budget: CheckedBudget) =>
    Effect.withFiber<Report>((fiber) =>
      Effect.andThen(
        members.state === "running" ? logStop("supervisor", members) : Effect.void,
        members.stop(budget, fiber.getRef(CurrentMembers))
      )
    )
  const service: Supervisor["Service"] = {
    id: members.id,
    scope,
    fork: (effect, options) => forkOwned(members, effect, options),
    size: Effect.sync(() => members.size),
    members: Effect.sync(() => members.list),
    state: Effect.sync(() => members.state),
    awaitEmpty: members.awaitEmpty,
    shutdown: stop(budget),
    shutdownWith: (given) =>
      Effect.suspend(() => {
        try {
          return stop(checkBudget("Supervisor.shutdownWith", given, budget))
        } catch (error) {
          return Effect.die(error)
        }
      })
  }
  membersOf.set(service, members)
  return service
}

const forkOwned = <A, E, R>(
  members: Members,
  effect: Effect.Effect<A, E, R>,
  options: ForkOptions | undefined
): Effect.Effect<Fiber.Fiber<A, E>, never, R> =>
  Effect.withFiber((parent) => {
    const inside = parent.getRef(CurrentMembers).some((member) => [...members].includes(member))
    if (members.state !== "running" && !(members.state === "draining" && inside)) {
      return Effect.die(new SupervisorClosed({ supervisor: members.id }))
    }
    const member = new SupervisedFiber(options?.name ?? "fiber", parent.getRef(Clock.Clock).currentTimeMillisUnsafe())
    const restart = options?.restart
    const body = restart === undefined ? effect : restarting(effect, restart, member.name)
    const owned = Effect.provideService(body, CurrentMembers, [...parent.getRef(CurrentMembers), member])
    return Effect.map(Effect.forkDetach(owned), (fiber) => {
      member.fiber = fiber
      members.add(member)
      fiber.addObserver((exit) => {
        members.remove(member)
        if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) {
          Effect.runForkWith(parent.context)(
            Effect.logError(`"${member.name}" of supervisor "${members.id}" failed`, exit.cause)
          )
        }
      })
      return fiber
    })
  })

/** Defects restart too: the whole cause is what the schedule sees. */
const restarting = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  restart: Schedule.Schedule<unknown, unknown, never, never>,
  name: string
): Effect.Effect<A, E, R> =>
  effect.pipe(
    Effect.catchCause((cause): Effect.Effect<never, E | Ended<E>> =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.failCause(cause)
        : Effect.andThen(Effect.logWarning(`"${name}" failed and may restart`, cause), Effect.fail(new Ended(cause)))
    ),
    Effect.retry({ schedule: restart, while: (error) => error instanceof Ended }),
    Effect.catchIf((error): error is Ended<E> => error instanceof Ended, (error) =>
      Effect.failCause(error.cause as Cause.Cause<E>))
  ) as Effect.Effect<A, E, R>

class Ended<E> {
  readonly cause: Cause.Cause<E>
  constructor(cause: Cause.Cause<E>) {
    this.cause = cause
  }
}
