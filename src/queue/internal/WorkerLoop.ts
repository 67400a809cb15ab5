/**
 * What a worker does: under one lease after another, turn after turn. Each turn says how attempts ended and takes as many jobs as there is room
 * for; while one is under way, ends gather for the next, so that a busy worker writes many at a time and an idle one at once.
 *
 *     joining → working → joining      its lease has ended: what it has is interrupted, and nobody is told of how it ends
 *     working → flushing → left        it was stopped: what it has ends or goes back, and its lease is given up
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import * as Tracer from "effect/Tracer"
import * as Job from "../../Job.ts"
import * as Supervisor from "../../Supervisor.ts"
import { CurrentJob } from "./CurrentJob.ts"
import { Signal } from "./Signal.ts"
import { type Claimed, type ClaimFilter, type End, JobStoreError, type Store, type StoredLimit } from "./StorePort.ts"
import { abandoned, endOf, type Known, succeeded } from "./WorkerAttempt.ts"
import { millisOf, millisUntil, WorkerLease } from "./WorkerLease.ts"

export interface Plan {
  readonly name: string
  readonly store: Store
  readonly runner: Job.Runner
  readonly filter: ClaimFilter
  readonly concurrency: number
  readonly prefetch: number
  /** In milliseconds. */
  readonly lease: number
  /** In milliseconds. */
  readonly maxBlocked: number
  readonly known: (job: string) => Known | undefined
  /** Set where the store has none: those of the jobs themselves. */
  readonly limits: ReadonlyArray<StoredLimit>
  /** The ids of the runs that wait for their scheduler: what they run has not begun. */
  readonly queued: Effect.Effect<ReadonlySet<string>>
  /** Whether what runs jobs has ended, and interrupted them. */
  readonly isOver: Effect.Effect<boolean>
  readonly context: Context.Context<never>
}

/** A job it has: claimed, and not yet known to have ended. */
class Held implements Supervisor.Owned {
  before: Supervisor.Owned | undefined = undefined
  after: Supervisor.Owned | undefined = undefined
  exempt = false
  told = false
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** Why it was interrupted, if it was by us. */
  interruptedAs: "Unbegun" | "Returned" | "Cancelled" | undefined = undefined
  readonly since: number
  readonly claimed: Claimed
  private readonly giveUp: (held: Held) => void
  constructor(claimed: Claimed, since: number, giveUp: (held: Held) => void) {
    this.claimed = claimed
    this.since = since
    this.giveUp = giveUp
  }
  get name(): string {
    return `${this.claimed.name} ${this.claimed.id}`
  }
  /** Of its run. */
  get run(): string {
    return `${this.claimed.id}/${this.claimed.token}`
  }
  interruptUnsafe(): void {
    this.interruptedAs ??= "Returned"
    this.fiber?.interruptUnsafe()
  }
  abandon(): void {
    this.giveUp(this)
  }
}

/** Begun at a time: of many that end at once the first are told of to the store while the others run. */
const slice = 50

/** What it has under one lease. */
class Tenure {
  readonly held = new Map<string, Held>()
  /** Claimed, and not begun. */
  waiting: Array<Held> = []
  ends: Array<End> = []
  running = 0
  isBeginning = false
  /** How many more may begin before others have a turn. */
  slice = slice
  /** The answer to a turn was lost: the store may think that it has more. */
  isUncertain = false
  /** How often that was so: a turn that was given up and is done all the same must not claim after the one that followed it. */
  epoch = 0
  /** It is to leave, and tries for so long to say what it has to say. */
  flushUntil: number | undefined = undefined
  isOver = false
  readonly lease: WorkerLease
  constructor(lease: WorkerLease) {
    this.lease = lease
  }
}

/** What the store was asked and has not answered. */
interface Question {
  readonly since: number
  readonly giveUp: () => void
}

/** At most so many ends a turn. */
const maxEnds = 1000

export type LoopStatus = { readonly _tag: "Starting" | "Running" | "Draining" | "Stopped" } | {
  readonly _tag: "Degraded"
  readonly since: number
  readonly error: JobStoreError
}

export class WorkerLoop {
  readonly members: Supervisor.Members
  status: LoopStatus = { _tag: "Starting" }
  tenure: Tenure | undefined
  private readonly plan: Plan
  private readonly clock: Clock.Clock
  private readonly signal = new Signal()
  private readonly idlers = new Set<() => void>()
  private readonly asked = Deferred.makeUnsafe<undefined>()
  private isStopping = false
  /** A turn may find something. */
  private mayFind = true
  private wakes = 0
  /** Of the wake-ups, those before the last turn. */
  private heard = 0
  /** When it last asked without having room. */
  private askedAt = -Infinity
  /** When a turn is due, if nothing happens before. */
  private nextAt = Infinity
  private failures = 0
  private readonly questions = new Set<Question>()

  constructor(plan: Plan, clock: Clock.Clock) {
    this.plan = plan
    this.clock = clock
    this.members = new Supervisor.Members(plan.name)
    this.members.atOnce = (f) => {
      this.interruptUnbegun([...this.members] as unknown as ReadonlyArray<Held>)
      f()
    }
  }

  readonly wake = (): void => {
    this.wakes++
    this.mayFind = true
    this.signal.give()
  }

  /** Takes no more, and gives back at once what it has not begun. */
  beginStop(): void {
    if (this.isStopping) return
    this.isStopping = true
    const { tenure } = this
    if (tenure !== undefined) { for (const held of [...tenure.waiting]) this.giveBack(tenure, held, "Returned") }
    if (this.status._tag !== "Degraded") this.status = { _tag: "Draining" }
    Deferred.doneUnsafe(this.asked, Exit.succeed(undefined))
    this.signal.give()
  }

  /** Waits until it has nothing and the store nothing for it, or it has stopped. */
  readonly idle: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.status._tag === "Stopped") return resume(Effect.void)
    const tell = () => {
      this.idlers.delete(tell)
      resume(Effect.void)
    }
    this.idlers.add(tell)
    // What has just been put in is seen first.
    this.wake()
    return Effect.sync(() => this.idlers.delete(tell))
  })

  /** Returns when it was stopped and has left. */
  get run(): Effect.Effect<void> {
    const { limits, store } = this.plan
    const life = Effect.gen({ self: this }, function*() {
      yield* Effect.forkScoped(this.patience)
      yield* this.persistently("listen", store.listen(this.wake))
      yield* Effect.forEach(limits, (limit) => this.persistently("setLimit", store.setLimit(limit, { ifAbsent: true })))
      yield* Effect.forkScoped(this.pruning)
      while (!this.isStopping) yield* Effect.scoped(this.underOneLease)
    })
    return Effect.ensuring(
      Effect.scoped(life),
      Effect.sync(() => {
        this.status = { _tag: "Stopped" }
        for (const tell of [...this.idlers]) tell()
      })
    )
  }

  /** Deletes what has been kept long enough. Of many workers each does some of it: not all at the same time. */
  private get pruning(): Effect.Effect<void> {
    const once = Effect.ignore(this.plan.store.prune)
    const wait = Effect.flatMap(Random.next, (random) => Effect.sleep(Duration.seconds(30 + 60 * random)))
    return Effect.forever(Effect.andThen(wait, once))
  }

  /** What stands for an attempt that it has. */
  heldAs(claimed: Claimed | undefined): ReadonlyArray<Supervisor.Owned> {
    return claimed === undefined ? [] : [...this.members].filter((held) => (held as Held).claimed === claimed)
  }

  private get underOneLease() {
    return Effect.gen({ self: this }, function*() {
      const { name, store } = this.plan
      const lease = yield* this.persistently("join", WorkerLease.join(store, this.plan))
      if (lease === undefined) return
      const tenure = this.tenure = new Tenure(lease)
      lease.onSweep = (millis) => this.dueIn(millis)
      this.mayFind = true
      // What it runs has an end with its lease, also when it is a defect of the store that ends it.
      yield* Effect.ensuring(Effect.raceFirst(lease.ended, this.turns(tenure)), Effect.sync(() => this.end(tenure)))
      if (this.isStopping && tenure.held.size === 0 && tenure.ends.length === 0) {
        return yield* Effect.ignore(Effect.timeoutOption(store.leave(lease.worker), Duration.millis(this.plan.lease)))
      }
      yield* Effect.logWarning(`worker "${name}" lost its lease, and with it ${tenure.held.size} jobs`)
    })
  }

  private end(tenure: Tenure): void {
    this.tenure = undefined
    tenure.isOver = true
    for (const held of tenure.waiting.splice(0)) this.members.remove(held)
    const lost = [...tenure.held.values()]
    this.interruptUnbegun(lost)
    for (const held of lost) held.interruptUnsafe()
  }

  /** Those that wait for a slot come first: the slot of one that is interrupted would be theirs. */
  private interruptUnbegun(all: ReadonlyArray<Held>): void {
    const queued = Effect.runSyncExit(this.plan.queued)
    if (Exit.isFailure(queued) || queued.value.size === 0) return
    for (const held of all) {
      if (held.exempt || !queued.value.has(held.run)) continue
      held.interruptedAs ??= "Unbegun"
      held.interruptUnsafe()
    }
  }

  /** Until the lease has ended, or it was stopped and has nothing left. */
  private turns(tenure: Tenure): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { plan } = this
      const { worker } = tenure.lease
      while (true) {
        const want = this.isStopping ? 0 : Math.max(0, plan.concurrency + plan.prefetch - tenure.held.size)
        const wait = millisUntil(this.clock, this.dueAt(tenure, want))
        if (wait > 0) {
          if (tenure.held.size === 0) {
            if (this.isStopping) return
            for (const tell of [...this.idlers]) tell()
          }
          yield* this.signal.take(wait === Infinity ? undefined : wait)
          continue
        }
        const ends = tenure.ends.splice(0, maxEnds)
        const holds = tenure.isUncertain
          ? [...tenure.held.keys(), ...tenure.ends.map(({ id }) => id)]
          : undefined
        const wakes = this.heard = this.wakes
        if (want === 0) this.askedAt = this.now
        const turned = yield* Effect.result(this.answered(
          "turn",
          plan.store.turn({ worker, ends, want, filter: plan.filter, holds, epoch: tenure.epoch })
        ))
        if (Result.isFailure(turned)) {
          if (turned.failure._tag === "LeaseEndedError") return
          // Whether it was done nobody knows: it is said again, and what was said twice is refused.
          tenure.ends = [...ends, ...tenure.ends]
          tenure.isUncertain = true
          tenure.epoch++
          if (this.isStopping && tenure.held.size === 0) {
            tenure.flushUntil ??= this.now + plan.lease
            // By then its lease has run out, if nobody else renews it: what it says comes too late.
            if (this.now > tenure.flushUntil) return
          }
          yield* this.degraded(turned.failure)
          continue
        }
        const { cancelled, jobs, next, refused } = turned.success
        yield* this.recovered
        if (refused.length > 0 && !tenure.isUncertain) {
          yield* Effect.logWarning(
            `worker "${plan.name}" was late: the ends of jobs ${refused.join(", ")} were refused`
          )
        }
        tenure.isUncertain = false
        if (want > 0) {
          this.mayFind = this.wakes !== wakes || jobs.length >= want || next === 0
          this.nextAt = Infinity
          if (next !== undefined) this.dueIn(next)
        }
        for (const id of cancelled) this.cancel(tenure, id)
        for (const claimed of jobs) this.take(tenure, claimed)
        // They begin first, unless much has to be told: then they do while that is under way.
        if (tenure.ends.length < slice) {
          this.begin(tenure)
          if (jobs.length > 0) yield* Effect.yieldNow
        } else if (tenure.slice === slice) this.renew(tenure)
      }
    })
  }

  /** When it has something to ask the store, if nothing happens before. */
  private dueAt(tenure: Tenure, want: number): number {
    if (tenure.ends.length > 0 || tenure.isUncertain) return -Infinity
    if (want > 0) return this.mayFind ? -Infinity : this.nextAt
    // Without room it asks but for what was cancelled, and not each time that somebody puts something in.
    return this.wakes > this.heard && tenure.held.size > 0 ? this.askedAt + 1000 : Infinity
  }

  private get now(): number {
    return millisOf(this.clock)
  }

  private dueIn(millis: number): void {
    const at = this.now + millis
    if (at >= this.nextAt) return
    this.nextAt = at
    this.signal.give()
  }

  // ─── what it has

  private take(tenure: Tenure, claimed: Claimed): void {
    // It was stopped while the answer was on its way: those who interrupt what is left may have been here.
    if (this.isStopping) return void tenure.ends.push({ _tag: "Returned", id: claimed.id, token: claimed.token })
    const held = new Held(claimed, this.clock.currentTimeMillisUnsafe(), (held) => {
      this.forget(tenure, held)
      tenure.ends.push(abandoned(claimed, this.clock.currentTimeMillisUnsafe()))
      this.signal.give()
    })
    tenure.held.set(claimed.id, held)
    this.members.add(held)
    tenure.waiting.push(held)
  }

  private begin(tenure: Tenure): void {
    // What ends at once lets the next begin: not inside it.
    if (tenure.isBeginning) return
    tenure.isBeginning = true
    // Its timers may be late: what has its lease no more begins nothing.
    while (this.mayBegin(tenure)) {
      if (tenure.slice-- === slice) this.renew(tenure)
      const held = tenure.waiting.shift()!
      tenure.running++
      const fiber = held.fiber = Effect.runForkWith(this.plan.context)(this.attempt(tenure, held))
      fiber.addObserver(() => {
        tenure.running--
        this.forget(tenure, held)
        this.members.remove(held)
        this.begin(tenure)
        this.signal.give()
      })
    }
    tenure.isBeginning = false
  }

  private mayBegin({ lease, running, slice, waiting }: Tenure): boolean {
    return slice > 0 && running < this.plan.concurrency && waiting.length > 0 && lease.left > 0
  }

  /** Once the others have had their turn. */
  private renew(tenure: Tenure): void {
    const more = Effect.sync(() => {
      tenure.slice = slice
      this.begin(tenure)
    })
    Effect.runForkWith(this.plan.context)(Effect.andThen(Effect.yieldNow, more))
  }

  /** Runs it, and sees to it that its end is told. */
  private attempt(tenure: Tenure, held: Held): Effect.Effect<unknown, unknown> {
    const { claimed } = held
    const { attempt, key, name, priority, tags, trace, weight } = claimed
    const options: Job.ExecuteOptions = {
      id: held.run,
      tags,
      key,
      priority,
      weight,
      // It has been admitted by the store: here it waits, whatever it asks for elsewhere.
      whenFull: "wait",
      admissionTimeout: Duration.infinity
    }
    let run: Effect.Effect<unknown, unknown> = Effect.flatMap(
      parse(claimed),
      (payload) =>
        this.plan.runner.execute({
          job: name,
          payload,
          options,
          attempt,
          around: Effect.provideService(CurrentJob, claimed)
        })
    )
    const span = trace === undefined ? undefined : spanOf(trace)
    if (span !== undefined) run = Effect.withParentSpan(run, span)
    return Effect.onExit(run, (exit) => {
      if (tenure.isOver) return Effect.void
      if (Exit.isSuccess(exit)) return Effect.sync(() => void tenure.ends.push(succeeded(claimed, exit.value)))
      return Effect.gen({ self: this }, function*() {
        const isOver = yield* this.plan.isOver
        const interruptedAs = held.interruptedAs ?? (isOver ? "Returned" : "Lost")
        const end = yield* endOf(claimed, this.plan.known(name), exit, interruptedAs)
        if (!tenure.isOver) tenure.ends.push(end)
        // It could but take jobs and give them back.
        if (isOver) this.beginStop()
      })
    })
  }

  /** Once its end was told, it may be here again already. */
  private forget(tenure: Tenure, held: Held): void {
    if (tenure.held.get(held.claimed.id) === held) tenure.held.delete(held.claimed.id)
  }

  private cancel(tenure: Tenure, id: string): void {
    const held = tenure.held.get(id)
    if (held === undefined) return
    held.interruptedAs = "Cancelled"
    held.fiber?.interruptUnsafe()
    if (tenure.waiting.includes(held)) this.giveBack(tenure, held, "Cancelled")
  }

  private giveBack(tenure: Tenure, held: Held, as: "Returned" | "Cancelled"): void {
    const { id, token } = held.claimed
    tenure.waiting.splice(tenure.waiting.indexOf(held), 1)
    tenure.held.delete(id)
    this.members.remove(held)
    tenure.ends.push({ _tag: as, id, token })
  }

  // ─── the store away, and back

  /**
   * Fails when no answer comes for ten leases: who waits for ever can neither work nor say that he cannot. A worker that was stopped and has
   * nothing left waits for one.
   */
  private answered<A, E, R>(operation: string, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | JobStoreError, R> {
    const { kind } = this.plan.store
    return Effect.contextWith((context: Context.Context<R>) =>
      Effect.callback<A, E | JobStoreError>((resume) => {
        const asking = Effect.runForkWith(context)(effect)
        const question: Question = {
          since: this.now,
          giveUp: () => {
            resume(Effect.fail(new JobStoreError({ kind, operation, cause: new Error("no answer") })))
            asking.interruptUnsafe()
          }
        }
        this.questions.add(question)
        asking.addObserver((exit) => {
          this.questions.delete(question)
          resume(exit)
        })
        return Fiber.interrupt(asking)
      })
    )
  }

  /** Gives up what has no answer for too long. */
  private get patience(): Effect.Effect<never> {
    const { lease } = this.plan
    const look = (leases: number, from: number) =>
      Effect.forever(Effect.andThen(
        Effect.sleep(Duration.millis(lease / 2)),
        Effect.sync(() => {
          const before = this.now - leases * lease
          for (const { giveUp, since } of [...this.questions]) if (Math.max(since, from) <= before) giveUp()
        })
      ))
    return Effect.andThen(
      Effect.raceFirst(this.members.stopped, look(10, -Infinity)),
      Effect.suspend(() => look(1, this.now))
    )
  }

  /** Until it is done, or the worker is stopped: whoever stops it while the store is away waits for nothing. */
  private persistently<A, R>(
    operation: string,
    effect: Effect.Effect<A, JobStoreError, R>
  ): Effect.Effect<A | undefined, never, R> {
    const once = Effect.result(this.answered(operation, effect))
    const tried: Effect.Effect<A, never, R> = Effect.flatMap(once, (result) =>
      Result.isSuccess(result)
        ? Effect.as(this.recovered, result.success)
        : Effect.andThen(this.degraded(result.failure), tried))
    return Effect.raceFirst(tried, Deferred.await(this.asked))
  }

  private degraded(error: JobStoreError): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const isNew = this.status._tag !== "Degraded"
      const since = this.status._tag === "Degraded" ? this.status.since : this.clock.currentTimeMillisUnsafe()
      this.status = { _tag: "Degraded", since, error }
      if (isNew) yield* Effect.logWarning(`worker "${this.plan.name}" cannot reach its store: ${error.message}`)
      const most = Math.min(5000, 100 * 2 ** this.failures++)
      const wait = Effect.sleep(Duration.millis(most * (0.5 + (yield* Random.next) / 2)))
      yield* this.isStopping ? wait : Effect.raceFirst(wait, Deferred.await(this.asked))
    })
  }

  private get recovered(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { status } = this
      this.failures = 0
      this.status = { _tag: this.isStopping ? "Draining" : "Running" }
      if (status._tag !== "Degraded") return Effect.void
      const away = Duration.format(Duration.millis(this.clock.currentTimeMillisUnsafe() - status.since))
      return Effect.logInfo(`worker "${this.plan.name}" reaches its store again, after ${away}`)
    })
  }
}

/** JSON it is, unless somebody else wrote it. */
const parse = ({ name, payload }: Claimed): Effect.Effect<unknown, Job.InvalidPayloadError> => {
  try {
    return Effect.succeed(JSON.parse(payload))
  } catch (error) {
    return Effect.fail(new Job.InvalidPayloadError({ job: name, issue: String(error) }))
  }
}

/** From a `traceparent` of W3C Trace Context. */
const spanOf = (trace: string): Tracer.ExternalSpan | undefined => {
  const [, traceId, spanId, flags] = trace.split("-")
  return traceId === undefined || spanId === undefined
    ? undefined
    : Tracer.externalSpan({ traceId, spanId, sampled: flags === "01" })
}
