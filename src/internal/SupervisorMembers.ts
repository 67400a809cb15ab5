/** The members of one list, and the one place that stops them: drain, interrupt, abandon. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Budget, Report, State } from "../Supervisor.ts"
import { type CheckedBudget, Deadline } from "./SupervisorDeadline.ts"

export type { CheckedBudget }

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
  /** Waited for and not counted: a part of the stop itself, or a run that was refused. */
  readonly notWork?: boolean
  /** What both a member and the call that stops it stand for: given up together, they are one straggler. */
  readonly of?: object | undefined
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
  private driven = false
  private readonly deadline = new Deadline()
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
    else if (member.notWork !== true) {
      if (this.state === "draining") this.counted.drained++
      else if (this.state === "interrupting") this.counted[member.told ? "interrupted" : "drained"]++
    }
    if (this.empty.size > 0 && this.size === this.exempted) { for (const tell of [...this.empty]) tell() }
  }

  *[Symbol.iterator](): Generator<Owned> {
    for (let member = this.first; member !== undefined;) {
      const next: Owned | undefined = member.after
      yield member
      member = next
    }
  }

  /** Nobody is left but those that are exempt. */
  get isEmpty(): boolean {
    return this.size === this.exempted
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

  /** What ends from here on was drained. `exempt` are the members that ask from inside: nobody waits for them. */
  expectStop(exempt: Iterable<Owned>): void {
    if (this.state === "running") this.state = "draining"
    for (const member of exempt) {
      if (member.exempt || (member.before === undefined && this.first !== member)) continue
      member.exempt = true
      this.exempted++
    }
    if (this.size === this.exempted) { for (const tell of [...this.empty]) tell() }
  }

  /** Stops once. */
  stop(budget: CheckedBudget, exempt: Iterable<Owned>): Effect.Effect<Report> {
    return Effect.withFiber((fiber) => {
      this.expectStop(exempt)
      const clock = fiber.getRef(Clock.Clock)
      this.deadline.shorten(clock, budget)
      if (!this.driven) {
        this.driven = true
        if (this.size === this.exempted) this.finish()
        // Detached: whoever asked may be interrupted, the stop goes on.
        else Effect.runForkWith(fiber.context)(Effect.uninterruptible(this.drive(clock)))
      }
      return Deferred.await(this.done)
    })
  }

  private *drain(part: keyof CheckedBudget, clock: Clock.Clock): Generator<Effect.Effect<unknown>> {
    while (this.size > this.exempted && this.deadline.left(clock)[part] > 0) {
      yield this.deadline.wait(this.awaitEmpty, part, clock)
    }
  }

  private drive(clock: Clock.Clock): Effect.Effect<void> {
    const members = this
    return Effect.gen(function*() {
      for (const wait of members.drain("grace", clock)) yield* wait
      if (members.size > members.exempted) {
        members.state = "interrupting"
        const all = [...members].filter((member) => !member.exempt)
        for (const member of all) member.told = true
        members.atOnce(() => {
          for (const member of all) member.interruptUnsafe()
        })
        for (const wait of members.drain("kill", clock)) yield* wait
        const deaf = [...members].filter((member) => !member.exempt)
        const worked = new Set(deaf.flatMap(({ of, notWork }) => notWork === true ? [] : [of]))
        for (const member of deaf) {
          if (member.notWork !== true || !worked.has(member.of)) {
            members.counted.abandoned++
            members.stragglers.push(member.name)
          }
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
    const report = { ...this.counted, stragglers: [...this.stragglers] }
    this.onStopped(report)
    Deferred.doneUnsafe(this.done, Exit.succeed(report))
  }
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
export const logReport = (what: string, { id }: { readonly id: string }, report: Report): Effect.Effect<void> => {
  const { abandoned, drained, interrupted, stragglers } = report
  const names = stragglers.length === 0 ? "" : `: ${stragglers.join(", ")}`
  const line = `${what} "${id}" stopped: ${drained} drained, ${interrupted} interrupted, ${abandoned} abandoned${names}`
  return interrupted + abandoned > 0 ? Effect.logWarning(line) : Effect.logInfo(line)
}

/** @internal */
export const logStop = (what: string, id: string, names: ReadonlyArray<string>): Effect.Effect<void> => {
  if (names.length === 0) return Effect.void
  const more = names.length > 20 ? ` and ${names.length - 20} more` : ""
  return Effect.logInfo(`${what} "${id}" is stopping: ${names.slice(0, 20).join(", ")}${more}`)
}
