/**
 * Workers, producers and bad luck, all drawn from one seed, on a clock that only the simulation moves; and a witness beside the store, who writes
 * down what was really claimed, begun and ended, and says what should not have been.
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as EffectRandom from "effect/Random"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Job, JobRunner, Scheduler, Task, TaskRun } from "../../src/index.ts"
import * as JobQueue from "../../src/queue/JobQueue.ts"
import { JobStore, JobStoreError, type Store } from "../../src/queue/JobStore.ts"
import * as JobStoreMemory from "../../src/queue/JobStoreMemory.ts"
import * as JobWorker from "../../src/queue/JobWorker.ts"
import { turns } from "./Quiet.ts"
import type { Random } from "./Random.ts"

type Claimed = NonNullable<Context.Service.Shape<typeof JobWorker.CurrentJob>>
type End = Parameters<Store["turn"]>[0]["ends"][number]

const lease = 3_000
const limits = { db: 3, api: 2, slow: 2 } as const
const tags = Object.keys(limits)
const keyLimit = 2

// ─── the jobs

class Unlucky extends Schema.TaggedError<Unlucky>()("Unlucky", { n: Schema.Int }) {}

const payload = { n: Schema.Int }
const options = { payload, success: Schema.Int, error: Unlucky }
const jobs = [
  Job.make("plain", options),
  Job.make("retried", { ...options, retry: Schedule.spaced("700 millis").pipe(Schedule.upTo({ times: 3 })) }),
  Job.make("at-once", { ...options, retry: { times: 2 } }),
  Job.make("timed", { ...options, timeout: "2 seconds", retry: { times: 1 } }),
  Job.make("scarce", { ...options, limit: 2 }),
  Job.make("picky", {
    ...options,
    retry: { while: (error) => error instanceof Unlucky && error.n % 2 === 0, times: 5 }
  })
] as const

/** One attempt that a handler has begun. */
interface Attempt {
  readonly claimed: Claimed
  readonly node: Node
  /** It does not end when it is interrupted: it counts for no limit. */
  isDeaf: boolean
  exit: Exit.Exit<unknown, unknown> | undefined
}

interface Claim {
  readonly lease: string
  readonly at: number
}

// ─── the witness

/** What is true, as those tell it who do it. */
export class Witness {
  readonly wrong: Array<string> = []
  readonly log: Array<string> = []
  readonly accepted = new Map<string, { readonly delivery: string; readonly unique: boolean }>()
  readonly attempts: Array<Attempt> = []
  readonly running = new Set<Attempt>()
  readonly claims = new Map<string, Claim>()
  readonly cancelled = new Set<string>()
  readonly redriven = new Set<string>()
  readonly succeeded = new Set<string>()
  /** By lease: until when its worker may be sure of it. */
  readonly certain = new Map<string, number>()
  readonly limitsSince: Record<string, Array<{ readonly at: number; readonly limit: number }>> = {}
  listeners = 0
  sleeping = 0
  private readonly clock: Clock.Clock

  constructor(clock: Clock.Clock) {
    this.clock = clock
    for (const [tag, limit] of [...Object.entries(limits), ["job:scarce", 2] as const]) {
      this.limitsSince[tag] = [{ at: 0, limit }]
    }
  }

  get now(): number {
    return this.clock.currentTimeMillisUnsafe()
  }

  say(line: string): void {
    this.log.push(`${this.now.toFixed(1)} ${line}`)
  }

  blame(what: string): void {
    this.say(`WRONG ${what}`)
    this.wrong.push(what)
  }

  /** Around the store itself: nothing is done to it that is not seen. */
  around(store: Store): Store {
    return {
      ...store,
      listen: (wake) =>
        Effect.andThen(
          Effect.acquireRelease(Effect.sync(() => this.listeners++), () => Effect.sync(() => this.listeners--)),
          store.listen(wake)
        ),
      enqueue: (jobs) =>
        Effect.tap(store.enqueue(jobs), (answers) =>
          Effect.sync(() =>
            answers.forEach(({ as, id }, i) => {
              const { delivery, unique } = jobs[i]!
              if (as !== "existing") this.accepted.set(id, { delivery, unique: unique !== undefined })
              if (unique?.conflict === "replace") { for (const id of this.accepted.keys()) this.cancelled.add(id) }
            })
          )),
      turn: (turn) =>
        Effect.tap(store.turn(turn), ({ jobs, refused }) =>
          Effect.sync(() => {
            for (const end of turn.ends) {
              if (!refused.includes(end.id)) this.ended(end)
            }
            for (const { id, token } of jobs) {
              this.say(`claim ${id}/${token} by lease ${turn.worker}`)
              this.claims.set(`${id}/${token}`, { lease: turn.worker, at: this.now })
            }
          })),
      leave: (worker) => Effect.andThen(Effect.sync(() => this.say(`leave ${worker}`)), store.leave(worker))
    }
  }

  private ended(end: End): void {
    const { id, token } = end
    this.say(`end ${id}/${token} ${end._tag}${"reason" in end ? ` ${end.reason}` : ""}`)
    const attempt = this.attempts.find(({ claimed }) => claimed.id === id && claimed.token === token)
    const exit = attempt?.exit
    const isInterrupted = exit !== undefined && Exit.isFailure(exit) && Exit.hasInterrupts(exit)
    // Interrupted when the handler had ended, and its run had not.
    const isBetween = attempt?.node.isSlow === true &&
      (end._tag === "Returned" || (end._tag === "Dead" && end.reason === "Lost"))
    const wrong = (why: string) => this.blame(`${id}/${token} ended as ${end._tag}, and ${why}`)
    switch (end._tag) {
      case "Succeeded":
        if (this.succeeded.has(id)) wrong("had succeeded before")
        this.succeeded.add(id)
        if (exit === undefined || !Exit.isSuccess(exit)) wrong("its handler did not")
        else if (end.result !== JSON.stringify(exit.value)) wrong("not with what its handler returned")
        return
      case "Returned":
        if (attempt !== undefined && !attempt.isDeaf && !isInterrupted && !isBetween) wrong("was not interrupted")
        if (attempt !== undefined && attempt.claimed.delivery === "atMostOnce") wrong("had begun, to run once")
        return
      case "Cancelled":
        if (!this.cancelled.has(id)) wrong("nobody cancelled it")
        if (attempt !== undefined && exit === undefined) wrong("still runs")
        return
      case "Retry":
        if (attempt === undefined) wrong("had not begun")
        else if (exit === undefined || Exit.isSuccess(exit)) wrong("its handler did not fail")
        return
      case "Dead":
        if (attempt === undefined) {
          // Its run may have, though not yet the handler.
          if (end.reason !== "Lost") wrong("had not begun")
        } else if (exit !== undefined && Exit.isSuccess(exit) && !isBetween) wrong("its handler succeeded")
        else if (exit === undefined && !(end.reason === "Lost" && attempt.isDeaf)) wrong("still runs")
    }
  }

  begin(claimed: Claimed, attempt: number, node: Node): Attempt {
    const { delivery, id, key, queue, token } = claimed
    const begun: Attempt = { claimed, node, isDeaf: false, exit: undefined }
    this.say(`begin ${id}/${token} attempt ${claimed.attempt} on ${node.name}`)
    if (attempt !== claimed.attempt) this.blame(`${id}/${token} is attempt ${claimed.attempt}, its run says ${attempt}`)
    if (!this.accepted.has(id)) this.blame(`${id} was never put in`)
    const before = this.attempts.filter(({ claimed }) => claimed.id === id)
    if (before.some(({ claimed }) => claimed.token === token)) this.blame(`${id}/${token} begins twice`)
    if (delivery === "atMostOnce" && before.length > 0 && !this.redriven.has(id)) {
      this.blame(`${id} is to run at most once, and begins again as ${token}`)
    }
    this.attempts.push(begun)
    this.running.add(begun)
    // In the very instant of its end, timers go off in any order.
    if (!this.isCertain(begun, 1)) this.blame(`${id}/${token} begins without a lease`)
    for (const tag of claimed.tags) {
      const holders = [...this.running].filter((one) => this.isCertain(one) && one.claimed.tags.includes(tag))
      const since = Math.min(...holders.map((one) => this.claimOf(one)?.at ?? 0))
      const weight = holders.reduce((sum, { claimed }) => sum + claimed.weight, 0)
      if (weight > this.mostSince(tag, since)) {
        this.blame(
          `${tag} has ${weight}: ${holders.map(({ claimed, node }) => `${claimed.id}/${claimed.token}@${node.name}`)}`
        )
      }
    }
    if (queue === "capped" && key !== undefined) {
      const weight = [...this.running]
        .filter((one) => this.isCertain(one) && one.claimed.queue === queue && one.claimed.key === key)
        .reduce((sum, { claimed }) => sum + claimed.weight, 0)
      if (weight > keyLimit) this.blame(`key ${key} has ${weight}`)
    }
    return begun
  }

  end(attempt: Attempt, exit: Exit.Exit<unknown, unknown>): void {
    const { id, token } = attempt.claimed
    this.say(`over ${id}/${token} ${Exit.isSuccess(exit) ? "done" : String(exit.cause).split("\n")[0]!.slice(0, 60)}`)
    attempt.exit = exit
    this.running.delete(attempt)
  }

  private claimOf({ claimed: { id, token } }: Attempt): Claim | undefined {
    return this.claims.get(`${id}/${token}`)
  }

  private isCertain(attempt: Attempt, slack = 0): boolean {
    const claim = this.claimOf(attempt)
    return !attempt.isDeaf && claim !== undefined && (this.certain.get(claim.lease) ?? 0) > this.now - slack
  }

  private mostSince(tag: string, at: number): number {
    const history = this.limitsSince[tag] ?? []
    const before = history.findLast((one) => one.at < at)
    const since = history.filter((one) => one.at >= at)
    const all = before === undefined ? since : [before, ...since]
    return all.length === 0 ? Infinity : Math.max(...all.map(({ limit }) => limit))
  }

  /** When nothing happens any more in this instant. */
  checkInstant(): void {
    for (const one of this.running) {
      if (one.isDeaf || this.isCertain(one)) continue
      this.blame(`${one.claimed.id}/${one.claimed.token} on ${one.node.name} runs without a lease`)
    }
  }
}

// ─── nodes

type Fault = "none" | "before" | "after" | "late" | "slow" | "never"

/** One worker, and what is between it and the store. */
class Node {
  isDead = false
  /** Its fibers yield every few steps. */
  isSlow = false
  /** How what it asks goes wrong, and how often. */
  turnFault: Fault = "none"
  renewFault: Fault = "none"
  otherFault: Fault = "none"
  probability = 1
  readonly name: string
  readonly scope: Scope.Closeable
  worker: Context.Context<JobWorker.JobWorker> | undefined
  stopping: Fiber.Fiber<unknown, unknown> | undefined
  private readonly witness: Witness
  private readonly random: Random
  private readonly latency: number

  constructor(name: string, witness: Witness, random: Random, scope: Scope.Closeable) {
    this.name = name
    this.witness = witness
    this.random = random
    this.scope = scope
    this.latency = random.pick([0, 0, 1, 20])
  }

  heal(): void {
    this.turnFault = this.renewFault = this.otherFault = "none"
  }

  around(store: Store): Store {
    const { witness } = this
    const sure = <A extends { readonly worker: string; readonly lasts: number }, E>(answer: Effect.Effect<A, E>) =>
      Effect.suspend(() => {
        const asked = witness.now
        return Effect.tap(answer, ({ lasts, worker }) =>
          Effect.sync(() => {
            witness.say(`${this.name} is sure of ${worker} until ${asked + lasts}`)
            witness.certain.set(worker, asked + lasts)
          }))
      })
    return {
      ...store,
      keeper: undefined,
      enqueue: (jobs) => this.asked("enqueue", this.otherFault, store.enqueue(jobs)),
      setLimit: (limit, options) => this.asked("setLimit", this.otherFault, store.setLimit(limit, options)),
      join: (joining) => sure(this.asked("join", this.otherFault, store.join(joining))),
      renew: (worker) => sure(this.asked("renew", this.renewFault, store.renew(worker))),
      turn: (turn) => this.asked("turn", this.turnFault, store.turn(turn)),
      leave: (worker) => this.asked("leave", this.otherFault, store.leave(worker))
    }
  }

  private asked<A, E>(
    operation: string,
    fault: Fault,
    effect: Effect.Effect<A, E>
  ): Effect.Effect<A, E | JobStoreError> {
    const { random, witness } = this
    const lost = Effect.suspend(() => {
      witness.say(`${this.name}: ${operation} is lost`)
      return Effect.fail(new JobStoreError({ kind: "simulated", operation, cause: new Error("away") }))
    })
    const delay = Effect.suspend(() => this.latency === 0 ? Effect.void : Effect.sleep(random.int(0, this.latency)))
    const now = Effect.andThen(
      delay,
      Effect.suspend((): Effect.Effect<A, E | JobStoreError> => this.isDead ? lost : effect)
    )
    const answered: Effect.Effect<A, E | JobStoreError> = Effect.flatMap(
      Effect.exit(now),
      (exit): Effect.Effect<A, E | JobStoreError> => this.isDead ? lost : Effect.andThen(delay, exit)
    )
    return Effect.suspend((): Effect.Effect<A, E | JobStoreError> => {
      if (this.isDead) return lost
      switch (random.chance(this.probability) ? fault : "none") {
        case "none":
          return answered
        case "before":
          return lost
        case "after":
          return Effect.andThen(Effect.exit(now), lost)
        case "late":
          return Effect.andThen(
            Effect.forkDetach(Effect.delay(Effect.exit(effect), random.int(1, 3 * lease))),
            lost
          )
        case "slow":
          return Effect.flatMap(
            Effect.exit(Effect.delay(now, random.int(1, lease / 2))),
            (exit) => Effect.delay(exit, random.int(1, random.pick([lease / 2, 3 * lease])))
          )
        case "never":
          return Effect.andThen(random.chance(0.5) ? Effect.exit(now) : Effect.void, Effect.never)
      }
    })
  }
}

// ─── the simulation

export interface Outcome {
  readonly wrong: ReadonlyArray<string>
  readonly log: ReadonlyArray<string>
  readonly attempts: number
  readonly jobs: number
}

/** One history: `steps` events, then all is well again and everything has to come to its end. */
export const simulate = (random: Random, steps: number): Effect.Effect<Outcome> =>
  Effect.gen(function*() {
    const testClock = yield* Clock.Clock
    const witness = new Witness(testClock)
    // A timer that somebody left behind is one that is slept on when all is closed.
    const clock: Clock.Clock = {
      ...testClock,
      sleep: (duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => witness.sleeping++),
          () => testClock.sleep(duration),
          () => Effect.sync(() => witness.sleeping--)
        )
    }
    yield* history(random, steps, witness).pipe(
      Effect.provideService(Clock.Clock, clock),
      Effect.provide(Logger.layer([])),
      EffectRandom.withSeed(random.int(0, 1e9))
    )
    return { wrong: witness.wrong, log: witness.log, attempts: witness.attempts.length, jobs: witness.accepted.size }
  })

const history = (random: Random, steps: number, witness: Witness) =>
  Effect.gen(function*() {
    const store = witness.around(
      yield* JobStoreMemory.make({
        tagLimits: limits,
        queues: { capped: { keyLimit } },
        retention: { succeeded: "365 days", cancelled: "365 days", dead: "365 days" }
      })
    )
    const admin = <A, E>(effect: Effect.Effect<A, E, JobStore>) =>
      Effect.provideService(Effect.orDie(effect), JobStore, store)
    const ids = () => [...witness.accepted.keys()]
    const nodes = new Set<Node>()
    const closed: Array<Fiber.Fiber<unknown, unknown>> = []
    const idle: Array<Fiber.Fiber<unknown, unknown>> = []
    let made = 0
    let put = 0

    // ─── what happens

    /** Some of the fibers yield at every third step: until each has come to where it waits. */
    const settle = Effect.andThen(TestClock.adjust(0), turns(200))

    const pass = (millis: number) =>
      Effect.gen(function*() {
        yield* settle
        yield* TestClock.adjust(millis)
        yield* settle
        witness.checkInstant()
      })

    const behave = (node: Node, { n }: { readonly n: number }) =>
      Effect.acquireUseRelease(
        Effect.gen(function*() {
          const claimed = (yield* JobWorker.CurrentJob)!
          const { attempt } = yield* TaskRun.CurrentRun
          return witness.begin(claimed, attempt, node)
        }),
        (attempt) => Effect.as(behaviour(attempt, n), n),
        (attempt, exit) => Effect.sync(() => witness.end(attempt, exit))
      )

    const behaviour = (attempt: Attempt, n: number): Effect.Effect<unknown, Unlucky, Scheduler.Scheduler> =>
      Effect.suspend(() => {
        const unlucky = new Unlucky({ n })
        const some = random.int(1, random.pick([100, 1_000, 4_000]))
        const deaf = (effect: Effect.Effect<unknown>) => {
          attempt.isDeaf = true
          return effect
        }
        const behaviours: ReadonlyArray<() => Effect.Effect<unknown, Unlucky, any>> = [
          () => Effect.void,
          () => Effect.void,
          () => Effect.sleep(some),
          () => Effect.sleep(some),
          () => turns(random.int(1, 20)),
          () => Effect.fail(unlucky),
          () => Effect.delay(Effect.fail(unlucky), some),
          () => Effect.die(new Error("a bug")),
          () => Task.abort("enough"),
          () => Effect.sleep(random.int(lease, 5 * lease)),
          () => deaf(Effect.uninterruptible(Effect.sleep(random.int(1, 3 * lease)))),
          () => deaf(Effect.onInterrupt(Effect.sleep(some), () => Effect.sleep(random.int(1, lease)))),
          () => Task.make("inner", Effect.sleep(some)),
          () => JobWorker.CurrentJob
        ]
        const chosen = random.pick(behaviours)
        witness.say(`${attempt.claimed.id}/${attempt.claimed.token} does ${String(chosen).slice(6)}`)
        return chosen()
      })

    const start = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const node = new Node(`node-${++made}`, witness, random, scope)
      const handled = (job: typeof jobs[number]) => (job as typeof jobs[0]).toLayer((payload) => behave(node, payload))
      const handlers = jobs.map(handled).reduce<Layer.Layer<Job.Registry>>(
        (all, one) => Layer.merge(all, one),
        Job.layerRegistry
      )
      const budget = random.pick([
        {},
        { gracePeriod: random.int(1, 2_000) },
        { interruptTimeout: random.int(0, 500) },
        { gracePeriod: random.int(1, 2_000), interruptTimeout: random.int(1, 500) }
      ])
      const concurrency = random.pick([1, 1, 2, 4, 10])
      const prefetch = random.pick([0, 0, 1, 5])
      const maxParallelism = random.pick([1, 3, 100, 100])
      witness.say(`${node.name} starts: ${concurrency} + ${prefetch} on ${maxParallelism}, ${JSON.stringify(budget)}`)
      const layer = JobWorker.layer({ name: node.name, concurrency, prefetch, lease, ...budget }).pipe(
        Layer.provide(
          Layer.mergeAll(handlers, JobRunner.layerLocal)
        ),
        Layer.provide(Scheduler.layer({ maxParallelism })),
        Layer.provide(Layer.succeed(JobStore, node.around(store)))
      )
      const steps = random.pick([2048, 2048, 100, 13, 3])
      node.isSlow = steps < 2048
      node.worker = yield* Effect.provideService(
        Layer.buildWithScope(layer as Layer.Layer<JobWorker.JobWorker>, scope),
        References.MaxOpsBeforeYield,
        steps
      )
      nodes.add(node)
    })

    const close = (node: Node) =>
      Effect.gen(function*() {
        nodes.delete(node)
        closed.push(
          yield* Effect.forkDetach(Effect.andThen(
            Scope.close(node.scope, Exit.void),
            Effect.sync(() => witness.say(`${node.name} is closed`))
          ))
        )
      })

    const onNode = (f: (node: Node) => Effect.Effect<unknown>) =>
      Effect.suspend((): Effect.Effect<unknown> => nodes.size === 0 ? start : f(random.pick([...nodes])))

    const enqueue = Effect.gen(function*() {
      const job = random.pick(jobs)
      const count = random.int(1, 6)
      const tag = random.chance(0.5) ? [random.pick(tags)] : random.chance(0.2) ? tags : []
      const options: Job.EnqueueOptions = {
        queue: random.pick(["default", "capped", "other"]),
        tags: tag,
        weight: random.chance(0.2) ? 2 : 1,
        priority: random.pick(["high", "normal", 5]),
        key: random.pick([undefined, "a", "b"]),
        delay: random.pick([undefined, undefined, random.int(0, 5_000)]),
        expires: random.chance(0.05) ? random.int(1, 5_000) : undefined,
        delivery: random.chance(0.2) ? "atMostOnce" : "atLeastOnce",
        maxCrashes: random.pick([1, 3, 10]),
        unique: random.chance(0.1)
          ? {
            key: random.pick(["u", "v"]),
            while: random.pick(["waiting", "active"]),
            conflict: random.pick(["ignore", "replace"])
          }
          : undefined
      }
      const payloads = Array.from({ length: count }, () => ({ n: ++put }))
      witness.say(`enqueue ${count} ${job.name} ${JSON.stringify(options)}`)
      yield* Effect.orDie(job.enqueueAll(payloads, options)).pipe(
        Effect.provide(JobQueue.layer().pipe(Layer.provide(Layer.succeed(JobStore, store))))
      )
    })

    const setLimit = Effect.suspend(() => {
      const tag = random.pick(tags)
      const limit = random.int(0, 4)
      witness.say(`limit ${tag} is ${limit}`)
      witness.limitsSince[tag]!.push({ at: witness.now, limit })
      return store.setLimit({ tag, limit, rates: [], enabled: true })
    })

    const weather = onNode((node) =>
      Effect.gen(function*() {
        const faults: ReadonlyArray<Fault> = ["before", "after", "after", "late", "late", "slow", "never"]
        node.probability = random.pick([1, 0.4, 0.4])
        if (random.chance(0.6)) node.turnFault = random.pick(faults)
        if (random.chance(0.4)) node.renewFault = random.pick(faults)
        if (random.chance(0.2)) node.otherFault = random.pick(faults)
        witness.say(`${node.name}: turn ${node.turnFault}, renew ${node.renewFault}, other ${node.otherFault}`)
        yield* Effect.forkDetach(Effect.delay(Effect.sync(() => node.heal()), random.int(1, 3 * lease)))
      })
    )

    const event: ReadonlyArray<readonly [weight: number, effect: Effect.Effect<unknown, JobStoreError>]> = [
      [12, enqueue],
      [14, Effect.suspend(() => pass(random.int(0, 300)))],
      [6, Effect.suspend(() => pass(random.int(300, 3_000)))],
      [1, Effect.suspend(() => pass(random.int(lease, 4 * lease)))],
      [3, Effect.suspend(() => nodes.size < 4 ? start : Effect.void)],
      [9, weather],
      [2, Effect.sync(() => nodes.forEach((node) => node.heal()))],
      [
        1,
        onNode((node) =>
          Effect.suspend(() => {
            witness.say(`${node.name} crashes`)
            node.isDead = true
            return random.chance(0.5) ? close(node) : Effect.void
          })
        )
      ],
      [
        1,
        onNode((node) =>
          Effect.gen(function*() {
            if (node.worker === undefined) return
            witness.say(`${node.name} is to stop`)
            const stop = random.chance(0.5)
              ? JobWorker.stop
              : JobWorker.JobWorker.use(({ stopWith }) => stopWith({ gracePeriod: random.int(0, 3000) }))
            closed.push(yield* Effect.forkDetach(Effect.provide(stop, node.worker)))
          })
        )
      ],
      [1, onNode(close)],
      [
        1,
        onNode((node) =>
          Effect.gen(function*() {
            idle.push(yield* Effect.forkDetach(Effect.provide(JobWorker.awaitIdle, node.worker!)))
          })
        )
      ],
      [
        2,
        Effect.suspend(() => {
          if (witness.accepted.size === 0) return Effect.void
          const id = random.pick(ids())
          witness.say(`cancel ${id}`)
          witness.cancelled.add(id)
          return store.cancel(id)
        })
      ],
      [1, setLimit],
      [1, Effect.suspend(() => store.pauseLimit(random.pick(tags), random.int(0, 3_000)))],
      [1, Effect.suspend(() => admin(JobQueue.pause(random.pick(["default", "capped"]))))],
      [2, Effect.suspend(() => admin(JobQueue.resume(random.pick(["default", "capped"]))))],
      [
        1,
        Effect.gen(function*() {
          for (const { id } of yield* store.list({ states: ["Dead"], limit: 1000 })) witness.redriven.add(id)
          yield* store.redrive({})
        })
      ]
    ]
    const total = event.reduce((sum, [weight]) => sum + weight, 0)
    const next = () => {
      let at = random.int(1, total)
      return event.find(([weight]) => (at -= weight) <= 0)![1]
    }

    yield* start
    for (let step = 0; step < steps && witness.wrong.length === 0; step++) {
      yield* next()
      yield* random.chance(0.5) ? settle : turns(random.int(0, 3))
    }

    // ─── all is well again

    witness.say("all is well again")
    for (const node of nodes) node.heal()
    yield* admin(Effect.forEach(["default", "capped"], (queue) => JobQueue.resume(queue)))
    for (const tag of tags) {
      witness.limitsSince[tag]!.push({ at: witness.now, limit: 3 })
      yield* store.setLimit({ tag, limit: 3, rates: [], enabled: true })
    }
    yield* start
    const left = Effect.map(
      store.counts,
      (counts) => counts.reduce((sum, { active, scheduled, waiting }) => sum + active + scheduled + waiting, 0)
    )
    for (let i = 0; i < 600 && (yield* left) > 0; i++) yield* pass(500)
    if ((yield* left) > 0) {
      for (const { id, state, worker } of yield* store.list({ states: ["Active", "Waiting", "Scheduled"], limit: 9 })) {
        witness.blame(`${id} is still ${state}${worker === undefined ? "" : ` at ${worker}`}`)
      }
    }
    yield* judge(witness, store)
    for (const node of nodes) yield* close(node)
    for (let i = 0; i < 60; i++) yield* pass(2_000)
    for (const fiber of closed) if (fiber.pollUnsafe() === undefined) witness.blame("a stop has not returned")
    for (const fiber of idle) {
      if (fiber.pollUnsafe() === undefined) {
        witness.blame("somebody still waits until it is idle")
      }
    }
    if (witness.running.size > 0) witness.blame(`${witness.running.size} handlers run on`)
    if (witness.listeners > 0) witness.blame(`${witness.listeners} listeners are left`)
    if (witness.sleeping > 0) witness.blame(`${witness.sleeping} timers are left`)
    const workers = yield* store.workers
    if (workers.length > 0) witness.blame(`leases are left: ${workers.map(({ name }) => name)}`)
  }).pipe(Effect.orDie)

/** What became of each job, against what was seen of it. */
const judge = (witness: Witness, store: Store) =>
  Effect.gen(function*() {
    for (const [id, { delivery }] of witness.accepted) {
      const record = yield* Effect.map(store.get(id), (found) => found._tag === "Some" ? found.value : undefined)
      if (record === undefined) {
        witness.blame(`${id} is gone`)
        continue
      }
      const { attempt, crashes, errors, reason, state } = record
      const wrong = (why: string) => witness.blame(`${id} is ${state} ${reason ?? ""} and ${why}`)
      const attempts = witness.attempts.filter(({ claimed }) => claimed.id === id)
      const last = attempts.at(-1)
      if ((state === "Succeeded") !== witness.succeeded.has(id)) wrong("nobody said so")
      if (state === "Cancelled" && !witness.cancelled.has(id)) wrong("nobody cancelled it")
      if (state === "Dead") {
        const failed = last?.exit !== undefined && Exit.isFailure(last.exit)
        if (["Failed", "Died", "TimedOut", "Aborted"].includes(reason!) && !failed) wrong("its handler did not fail")
        if (reason === "Refused" || reason === "UnknownJob" || reason === "InvalidPayload") wrong("was not")
        if (reason === "Lost" && delivery !== "atMostOnce") wrong("may run again")
        if (reason === "Crashed" && crashes === 0) wrong("never crashed")
        if (reason === "Expired" && attempt > 0) wrong("had been tried")
      }
      if (witness.redriven.has(id) || state === "Cancelled" || witness.cancelled.has(id)) continue
      const counted = errors.length + (state === "Succeeded" ? 1 : 0)
      if (attempt !== counted) wrong(`counts ${attempt} attempts, not ${counted}`)
      errors.forEach((error, i) => error.attempt === i + 1 || wrong(`error ${i + 1} is of attempt ${error.attempt}`))
      if (crashes !== errors.filter(({ message }) => message.startsWith("the lease of")).length) {
        if (delivery === "atLeastOnce") wrong(`counts ${crashes} crashes`)
      }
    }
  })
