/**
 * How long things live: the owner of fibers. What it forks ends with its scope, or is reported as abandoned.
 *
 * Stopping is one time budget: new work is refused, accepted work drains for `gracePeriod`, the rest is interrupted all at once and given
 * `interruptTimeout` to clean up, and what ignores that is abandoned by name. Every caller of a stop gets the same report. Members stop in
 * phases: triggers, workers, lanes, pool.
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { NameTakenError, SupervisorFailed } from "./internal/SupervisorErrors.ts"
import { Group } from "./internal/SupervisorGroup.ts"
import {
  checkBudget,
  type CheckedBudget,
  freshId,
  logReport,
  logStop,
  Members,
  type Owned
} from "./internal/SupervisorMembers.ts"
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
  /** `"one-for-all"`: a member that fails stops the group. Default `"one-for-one"`: the others go on. */
  readonly strategy?: "one-for-one" | "one-for-all" | undefined
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

/** When a member stops. Each phase drains before the next begins to stop; when the grace period is over, all are interrupted at once. */
export type Phase = "triggers" | "workers" | "lanes" | "pool"

/** One entry of the status, and what is below it. */
export interface Member {
  readonly name: string
  readonly since: DateTime.Utc
  readonly phase: Phase
  /** `"running"`, unless the member has a word of its own for it. */
  readonly state: string
  readonly members: ReadonlyArray<Member>
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
  /** Runs the effect again after it failed or died, while the schedule lasts. Default: never. */
  readonly restart?: Schedule.Schedule<unknown, unknown, never, never> | undefined
  /** Default `"pool"`. */
  readonly phase?: Phase | undefined
  /** Its end, even a good one, stops the group. Default false. */
  readonly essential?: boolean | undefined
}

/** Something to supervise that has a life of its own, such as a scheduler that is not ours. */
export interface Addition<in out R = never> extends Omit<ForkOptions, "name"> {
  /** Unique among what was added. */
  readonly name: string
  /** Runs as a fiber of the supervisor. */
  readonly run?: Effect.Effect<unknown, unknown, R> | undefined
  /**
   * Called when its phase stops, and interrupted with the rest when the grace period is over. Given as a function, it is told what is left of
   * the budget, again whenever somebody else asks for the stop, and is waited for until the interrupt timeout. A `Report` it returns is
   * added to the report.
   */
  readonly stop?: Effect.Effect<unknown> | ((left: Budget) => Effect.Effect<unknown>) | undefined
  /** Its word in the status tree. */
  readonly status?: Effect.Effect<string> | undefined
  /** What is below it in the status tree. */
  readonly members?: Effect.Effect<ReadonlyArray<Member>> | undefined
}

interface Fact {
  readonly at: DateTime.Utc
  /** The id of the supervisor. */
  readonly supervisor: string
}

interface MemberFact extends Fact {
  readonly name: string
  readonly phase: Phase
}

/** A fact about a supervisor. */
export type SupervisorEvent =
  | MemberFact & { readonly _tag: "MemberStarted" }
  | Fact & { readonly _tag: "MemberRestarted"; readonly name: string; readonly cause: Cause.Cause<unknown> }
  | MemberFact & { readonly _tag: "MemberEnded"; readonly exit: Exit.Exit<unknown, unknown> }
  | Fact & { readonly _tag: "PhaseStarted"; readonly phase: Phase }
  | Fact & { readonly _tag: "PhaseEnded"; readonly phase: Phase }
  | Fact & { readonly _tag: "Stopped"; readonly report: Report }

interface Service {
  readonly id: string
  /** What its own stop may take; lanes and workers without one of their own take it over. */
  readonly budget: Budget
  /** Resources acquired into it are released after the members ended. */
  readonly scope: Scope.Scope
  readonly fork: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    options?: ForkOptions
  ) => Effect.Effect<Fiber.Fiber<A, E>, never, R>
  readonly add: <R = never>(addition: Addition<R>) => Effect.Effect<void, NameTakenError, R | Scope.Scope>
  /** How many fibers it owns. */
  readonly size: Effect.Effect<number>
  readonly members: Effect.Effect<ReadonlyArray<Member>>
  readonly state: Effect.Effect<State>
  /** Every fact from the subscription on; ends after `Stopped`. */
  readonly events: Stream.Stream<SupervisorEvent>
  /** Waits until it owns no fiber. */
  readonly awaitEmpty: Effect.Effect<void>
  /** Stops within the budget it was made with. */
  readonly shutdown: Effect.Effect<Report>
  /** Stops within this budget; while a stop is going on it can only shorten it. */
  readonly shutdownWith: (budget: Budget) => Effect.Effect<Report>
  /** Waits for the stop. Fails with what stopped the group, where that was not a plain stop. */
  readonly block: Effect.Effect<Report, SupervisorFailed>
  readonly bailOut: (reason: string, code?: number) => Effect.Effect<void>
}

/** The owner of fibers. */
export class Supervisor extends Context.Service<Supervisor, Service>()("tasklayer/Supervisor") {}

/** A supervisor that stops when the scope closes. */
export const make = (options?: Options): Effect.Effect<Supervisor["Service"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const home = yield* Effect.context<never>()
    const group = yield* Effect.sync(() => {
      const where = "Supervisor.make"
      const strategy = options?.strategy ?? "one-for-one"
      if (strategy !== "one-for-one" && strategy !== "one-for-all") {
        const rule = `must be "one-for-one" or "one-for-all"`
        throw new InvalidOptionError({ where, field: "strategy", rule, value: strategy })
      }
      return new Group(home, options?.id ?? freshId(), checkBudget(where, options), strategy === "one-for-all")
    })
    const scope = yield* Scope.make("sequential")
    yield* Effect.addFinalizer((exit) =>
      Effect.ensuring(
        Effect.flatMap(group.stop(group.budget), (report) => {
          group.leaveNobody()
          return logReport("supervisor", group, report)
        }),
        Scope.close(scope, exit)
      )
    )
    return serviceOf(group, scope, options ?? {})
  })

/** A supervisor that lives as long as the Layer. */
export const layer = (options?: Options): Layer.Layer<Supervisor> => Layer.effect(Supervisor, make(options))

const shared = layer()

/** The supervisor in context; where there is none, one for all that is built together and asks for it so. */
export const layerInContext = (): Layer.Layer<Supervisor> =>
  Layer.unwrap(Effect.map(Effect.context<never>(), (context) => {
    const given = Context.getOrUndefined(context, Supervisor)
    return given === undefined ? shared : Layer.succeed(Supervisor, given)
  }))

/** Forks a fiber the supervisor owns. Given to a closed supervisor: the defect `SupervisorClosed`. */
export const fork = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options?: ForkOptions
): Effect.Effect<Fiber.Fiber<A, E>, never, R | Supervisor> =>
  Supervisor.use((supervisor) => supervisor.fork(effect, options))

/** Supervises something until the scope closes. A name that is taken is a failure; a closed supervisor the defect `SupervisorClosed`. */
export const add = <R = never>(
  addition: Addition<R>
): Effect.Effect<void, NameTakenError, R | Supervisor | Scope.Scope> =>
  Supervisor.use((supervisor) => supervisor.add(addition))

/** Waits until the supervisor owns no fiber. */
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

/** Every fact of the supervisor in context, from the subscription on. */
export const events: Stream.Stream<SupervisorEvent, never, Supervisor> = Stream.unwrap(
  Supervisor.useSync((supervisor) => supervisor.events)
)

/** Waits until the supervisor has stopped. Fails with what stopped the group, so that `runMain` exits with its code. */
export const block: Effect.Effect<Report, SupervisorFailed, Supervisor> = Supervisor.use((supervisor) =>
  supervisor.block
)

/** Stops the group from inside and does not wait for it: `block` fails with the reason and the code (default 1). */
export const bailOut = (reason: string, code?: number): Effect.Effect<void, never, Supervisor> =>
  Supervisor.use((supervisor) => supervisor.bailOut(reason, code))

export { NameTakenError, SupervisorClosed, SupervisorFailed } from "./internal/SupervisorErrors.ts"

// ─── for runners

/** @internal */
export { checkBudget, type CheckedBudget, freshId, logReport, logStop, Members, type Owned }

const serviceOf = (
  group: Group,
  scope: Scope.Scope,
  { gracePeriod, interruptTimeout }: Budget
): Supervisor["Service"] => {
  const stop = (budget: CheckedBudget) =>
    Effect.suspend(() =>
      Effect.andThen(
        group.state === "running" ? logStop("supervisor", group.id, group.names) : Effect.void,
        group.stop(budget)
      )
    )
  return {
    id: group.id,
    budget: { gracePeriod, interruptTimeout },
    scope,
    fork: (effect, options) => group.fork(effect, options),
    add: (addition) => group.add(addition),
    size: Effect.sync(() => group.size),
    members: group.members,
    state: Effect.sync(() => group.state),
    events: group.events,
    awaitEmpty: group.awaitEmpty,
    shutdown: stop(group.budget),
    shutdownWith: (given) => Effect.suspend(() => stop(checkBudget("Supervisor.shutdownWith", given, group.budget))),
    block: Effect.flatMap(
      group.stopped,
      (report) => group.failure === undefined ? Effect.succeed(report) : Effect.fail(group.failure)
    ),
    bailOut: (reason, code = 1) => group.bailOut(reason, code)
  }
}
