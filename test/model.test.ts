/** Random steps against one Concurrency, and what must hold after every one of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import { Concurrency, RunEvent, Scheduler, Task, TaskRun } from "../src/index.ts"
import * as Journal from "./suites/Journal.ts"
import { turns } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"

const ROUNDS = 700
const STEPS = 150
const BATCH = 50
/** What has not settled after so many turns of the dispatcher never will. */
const TURNS = 5_000

const SEED = Random.seedOf("model")
/** One round alone, by its number. */
const ONLY = process.env["ROUND"] === undefined ? undefined : Number(process.env["ROUND"])

const names = ["a", "b", "c", "d"]

interface Tag {
  /** Counts limits that came anew: those do not know who ran before. */
  epoch: number
  limit: number | undefined
  hold: boolean
  /** Every limit it ever had, by the step it was set. */
  readonly history: Array<{ readonly step: number; readonly limit: number }>
  /** The most that may be taken: the limit, or what was taken when it was lowered. */
  cap: number
}

/** What a body says of itself. */
interface Report {
  readonly run: string
  readonly root: boolean
  readonly tags: ReadonlyArray<string>
  readonly weight: number
  readonly epochs: ReadonlyArray<number>
  readonly since: number
  running: boolean
}

class Round {
  readonly random: Random.Random
  readonly tags = new Map<string, Tag>()
  readonly reports = new Set<Report>()
  readonly handles: Array<TaskRun.TaskRun<unknown, unknown>> = []
  readonly latches = Array.from({ length: 6 }, () => Latch.makeUnsafe(false))
  readonly fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  readonly facts = new Map<string, Array<RunEvent.RunEvent["_tag"]>>()
  schedulers: Array<{ readonly scope: Scope.Closeable; readonly context: Context.Context<Env> }> = []
  step = 0
  wrong: string | undefined = undefined
  constructor(number: number) {
    this.random = Random.make(SEED, number)
  }

  set(name: string, limit: number | undefined, hold: boolean, active: number): void {
    const old = this.tags.get(name)
    const anew = old === undefined || old.limit === undefined || limit === undefined || old.hold !== hold
    this.tags.set(name, {
      epoch: (old?.epoch ?? 0) + (anew ? 1 : 0),
      limit,
      hold,
      history: [...old?.history ?? [], { step: this.step, limit: limit ?? Infinity }],
      cap: limit === undefined ? Infinity : anew ? limit : Math.max(limit, active)
    })
  }
}

type Env = Scheduler.Scheduler | Concurrency.Concurrency
type Program = Effect.Effect<unknown, unknown, Env>

// ─── what runs

const demand = (round: Round, depth: number) => {
  const { random } = round
  return {
    tags: random.some(names, 0.35),
    weight: random.chance(0.75) ? 1 : random.int(1, 3),
    priority: random.chance(0.3) ? random.pick(["critical", "high", "low", 7] as const) : undefined,
    key: random.chance(0.2) ? random.pick(["x", "y"]) : undefined,
    whenFull: random.chance(0.08) ? "fail" as const : undefined,
    admissionTimeout: random.chance(0.05) ? "10 millis" as const : undefined,
    limit: random.chance(0.05) ? random.int(1, 2) : undefined,
    name: `depth ${depth}`
  }
}

/** A task of random operations. `around`: tags that something around it may keep, so that it may live on a part of them. */
const task = (round: Round, depth: number, around: ReadonlySet<string>): Task.Task<unknown, unknown, Env> => {
  const { random } = round
  const { limit, name, ...asked } = demand(round, depth)
  const kept = new Set([...around, ...asked.tags])
  const ops = Array.from({ length: random.int(0, 3) }, () => operation(round, depth, kept))
  const ending = random.next()
  const body = Effect.gen(function*() {
    const run = yield* TaskRun.CurrentRun
    const report: Report = {
      run: run.id,
      root: around.size === 0 || !asked.tags.some((tag) => around.has(tag)),
      tags: asked.tags,
      weight: asked.weight,
      epochs: asked.tags.map((tag) => round.tags.get(tag)?.epoch ?? 0),
      since: round.step,
      running: true
    }
    round.reports.add(report)
    yield* Effect.forEach(ops, (op) => op(report), { discard: true }).pipe(
      Effect.ensuring(Effect.sync(() => round.reports.delete(report)))
    )
    if (ending < 0.1) return yield* Effect.fail("failed")
    if (ending < 0.15) return yield* Effect.die("died")
    if (ending < 0.18) return yield* Task.abort("aborted")
    return 1
  })
  let made: Task.Task<unknown, unknown, Env> = Task.make(name, body, limit === undefined ? asked : { ...asked, limit })
  if (random.chance(0.1)) made = Task.withRetry({ times: 1 })(made)
  return made
}

/** One thing a body does. While it may wait it does not count as running. */
const operation = (round: Round, depth: number, kept: ReadonlySet<string>): (report: Report) => Program => {
  const { random } = round
  const away = (effect: Program) => (report: Report) =>
    Effect.suspend(() => {
      report.running = false
      return Effect.tap(effect, () => Effect.sync(() => void (report.running = true)))
    })
  const latch = random.pick(round.latches)
  const dice = random.next()
  if (dice < 0.25) return () => latch.await
  if (dice < 0.35) return () => turns(random.int(1, 3))
  if (dice < 0.4) return () => Effect.uninterruptible(turns(2))
  if (dice < 0.47) return away(Concurrency.lend(latch.await))
  if (dice < 0.62) {
    const tags = random.some(names, 0.4)
    const inside = depth < 3 && random.chance(0.5) ? task(round, depth + 1, new Set([...kept, ...tags])) : latch.await
    return away(Effect.exit(Concurrency.withSlot({ tags, weight: random.chance(0.8) ? 1 : 2 })(inside)))
  }
  if (depth >= 3) return () => Effect.yieldNow
  const child = task(round, depth + 1, kept)
  const fork = Effect.tap(Task.fork(child), (run) => Effect.sync(() => round.handles.push(run)))
  if (dice < 0.72) return away(child)
  if (dice < 0.78) return away(Effect.exit(child))
  if (dice < 0.84) return () => fork
  if (dice < 0.88) return away(Effect.flatMap(fork, TaskRun.join))
  if (dice < 0.92) {
    const other = task(round, depth + 1, kept)
    return away(Effect.flatMap(
      Effect.all([fork, Effect.tap(Task.fork(other), (run) => Effect.sync(() => round.handles.push(run)))]),
      (runs): Effect.Effect<unknown> => random.chance(0.5) ? TaskRun.awaitAny(runs) : TaskRun.awaitAll(runs)
    ))
  }
  const others = [child, task(round, depth + 1, kept), task(round, depth + 1, kept)]
  if (dice < 0.97) return away(Task.all(others))
  return away(Effect.all(others, { concurrency: 2 }))
}

// ─── the steps

const open = (round: Round, concurrency: Concurrency.Concurrency["Service"]) =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { random } = round
    const layer = Scheduler.layer({
      maxParallelism: random.int(1, 4),
      gracePeriod: random.chance(0.3) ? "5 millis" : undefined,
      ...(random.chance(0.2) ? { maxQueued: random.int(1, 5), whenQueueFull: "fail" as const } : {})
    })
    const context = yield* Layer.buildWithScope(Layer.fresh(layer), scope).pipe(
      Effect.provideService(Concurrency.Concurrency, concurrency)
    )
    round.schedulers.push({ scope, context: context as Context.Context<Env> })
  })

const spawn = <A, E>(round: Round, effect: Effect.Effect<A, E>) =>
  Effect.tap(Effect.forkDetach(effect), (fiber) => Effect.sync(() => round.fibers.push(fiber)))

const step = (round: Round, concurrency: Concurrency.Concurrency["Service"]): Effect.Effect<unknown, unknown> => {
  const { random } = round
  const { context } = random.pick(round.schedulers)
  const dice = random.next()
  if (dice < 0.36) {
    return Task.fork(task(round, 1, new Set())).pipe(
      Effect.tap((run) => Effect.sync(() => round.handles.push(run))),
      Effect.provideContext(context)
    )
  }
  if (dice < 0.5) {
    const live = round.handles.slice(-30)
    return live.length === 0 ? Effect.void : spawn(round, random.pick(live).interrupt)
  }
  if (dice < 0.66) {
    const latch = random.pick(round.latches)
    return latch.release
  }
  if (dice < 0.72) return Effect.provideContext(Scheduler.resize(random.int(1, 4)), context)
  if (dice < 0.82) {
    const name = random.pick(names)
    const old = round.tags.get(name)
    const limit = random.chance(0.05) ? 0 : random.int(1, 4)
    const hold = random.chance(0.9) && old !== undefined ? old.hold : random.chance(0.5)
    return Effect.gen(function*() {
      const before = (yield* concurrency.list).find((info) => info.tag === name)?.active ?? 0
      round.set(name, limit, hold, before)
      yield* concurrency.create(name, { limit, whileWaiting: hold ? "hold" : "lend" })
      // Whoever was admitted under the old limit begins in this step, and says so.
      yield* turns(8)
    })
  }
  if (dice < 0.86) {
    const name = random.pick(names)
    return Effect.gen(function*() {
      round.set(name, undefined, round.tags.get(name)?.hold ?? false, 0)
      yield* concurrency.remove(name)
      yield* turns(8)
    })
  }
  if (dice < 0.92) {
    const latch = random.pick(round.latches)
    const tags = random.some(names, 0.5)
    const slot = Concurrency.withSlot({
      tags,
      weight: random.int(1, 2),
      priority: random.chance(0.3) ? "high" : undefined
    })
    const inside = random.chance(0.5) ? latch.await : task(round, 2, new Set(tags))
    return spawn(round, Effect.provideContext(slot(inside), context))
  }
  if (dice < 0.95) {
    const fiber = round.fibers.length === 0 ? undefined : random.pick(round.fibers)
    return Effect.sync(() => fiber?.interruptUnsafe())
  }
  if (dice < 0.97) return TestClock.adjust("3 millis")
  if (round.schedulers.length === 1 || random.chance(0.5)) {
    return round.schedulers.length < 3
      ? open(round, concurrency)
      : Effect.void
  }
  const [closed] = round.schedulers.splice(random.int(0, round.schedulers.length - 1), 1)
  return spawn(round, Scope.close(closed!.scope, Exit.void))
}

// ─── what must hold

const check = (round: Round, concurrency: Concurrency.Concurrency["Service"]): Effect.Effect<void> =>
  Effect.map(concurrency.list, (infos) => {
    const expect = (holds: boolean, what: () => string) => {
      if (!holds) round.wrong ??= `step ${round.step}: ${what()}`
    }
    for (const info of infos) {
      const tag = round.tags.get(info.tag)!
      const held = info.holders.reduce((sum, holder) => sum + holder.weight, 0)
      expect(
        held === info.active,
        () => `${info.tag}: active ${info.active}, its holders have ${held}: ${JSON.stringify(info.holders)}`
      )
      expect(info.active >= 0 && info.waiting >= 0, () => `${info.tag}: ${JSON.stringify(info)}`)
      expect(info.active <= tag.cap, () => `${info.tag}: active ${info.active}, and never more than ${tag.cap}`)
      tag.cap = Math.max(tag.limit!, Math.min(tag.cap, info.active))
    }
    for (const report of round.reports) {
      if (!report.running || !report.root) continue
      report.tags.forEach((name, i) => {
        const tag = round.tags.get(name)!
        if (tag.limit === undefined || tag.epoch !== report.epochs[i]) return
        // Admitted under the limit before, it began in the very step that changed it; or it goes on without what was lowered since.
        const { history } = tag
        if (
          history.some(({ limit, step }, i) =>
            step === report.since || (step > report.since && limit < (history[i - 1]?.limit ?? Infinity))
          )
        ) return
        const info = infos.find((one) => one.tag === name)!
        const mine = info.holders.find((holder) => holder.id === report.run)
        expect(
          mine !== undefined && mine.weight === report.weight,
          () =>
            `${name}: ${report.run} runs with ${report.weight}, and is not a holder of that: ${JSON.stringify(info)}`
        )
      })
    }
  })

const lives = (round: Round): string | undefined => {
  for (const [id, facts] of round.facts) {
    let last = ""
    for (const fact of facts) {
      if (!Journal.afterFact[last]!.includes(fact)) return `${id}: ${facts.join(" ")}`
      last = fact
    }
    if (last !== "Finished") return `${id} never ends: ${facts.join(" ")}`
  }
  return undefined
}

/** Waits for all that was started; how many never settle. */
const settle = (round: Round): Effect.Effect<number> =>
  Effect.gen(function*() {
    let left = 1
    for (let turn = 0; turn < TURNS && left > 0; turn++) {
      if (turn % 50 === 49) yield* TestClock.adjust("10 millis")
      yield* Effect.yieldNow
      const states = yield* Effect.forEach(round.handles, (one) => one.state)
      left = states.filter((state) => state._tag !== "Finished").length +
        round.fibers.filter((fiber) => fiber.pollUnsafe() === undefined).length
    }
    return left
  })

const play = (number: number): Effect.Effect<string | undefined> => {
  const round = new Round(number)
  const { random } = round
  const limits: Record<string, Concurrency.TagLimit> = {}
  for (const name of names.slice(0, 3)) {
    const limit = random.int(1, 4)
    const hold = random.chance(0.4)
    limits[name] = { limit, whileWaiting: hold ? "hold" : "lend" }
    round.set(name, limit, hold, 0)
  }
  round.set("d", undefined, false, 0)
  const listener = (event: RunEvent.RunEvent) => {
    if (!("run" in event) || event.run === undefined) return
    const facts = round.facts.get(event.run.id)
    if (facts === undefined) round.facts.set(event.run.id, [event._tag])
    else facts.push(event._tag)
  }
  return Effect.gen(function*() {
    const concurrency = yield* Concurrency.Concurrency
    yield* open(round, concurrency)
    yield* open(round, concurrency)
    for (let i = 0; i < STEPS && round.wrong === undefined; i++) {
      round.step = i
      const exit = yield* Effect.exit(step(round, concurrency))
      // No step fails: what it does to others arrives with them.
      if (Exit.isFailure(exit)) return `step ${i}: ${Cause.pretty(exit.cause)}`
      yield* check(round, concurrency)
      yield* turns(random.int(0, 3))
      yield* check(round, concurrency)
    }
    if (round.wrong !== undefined) return round.wrong
    for (const latch of round.latches) yield* latch.open
    const left = yield* settle(round)
    yield* check(round, concurrency)
    if (left > 0) {
      const states = yield* Effect.forEach(
        round.handles,
        (one) => Effect.map(one.state, (state) => [one.id, state] as const)
      )
      const stuck = states.filter(([, state]) => state._tag !== "Finished")
      return `${left} never settle: ${JSON.stringify(stuck)} ${JSON.stringify(yield* concurrency.list)}`
    }
    for (const { scope } of round.schedulers) yield* Scope.close(scope, Exit.void)
    if (round.wrong !== undefined) return round.wrong
    for (const info of yield* concurrency.list) {
      if (info.active !== 0 || info.waiting !== 0 || info.holders.length > 0) return `left: ${JSON.stringify(info)}`
    }
    return lives(round)
  }).pipe(
    Effect.provide(Concurrency.layer({ tagLimits: limits })),
    Effect.provideService(RunEvent.Listeners, [listener]),
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.catchCause((cause) => Effect.succeed(String(cause)))
  ) as Effect.Effect<string | undefined>
}

describe(`${ROUNDS * STEPS} random steps`, () => {
  for (let from = 0; from < ROUNDS; from += BATCH) {
    it.effect(`rounds ${from} to ${from + BATCH - 1}`, () =>
      Effect.gen(function*() {
        const wrong: Array<string> = []
        for (let number = from; number < from + BATCH; number++) {
          if (ONLY !== undefined && number !== ONLY) continue
          const problem = yield* play(number)
          if (problem !== undefined) wrong.push(`SEED=${SEED} ROUND=${number} ${problem}`)
        }
        assert.deepStrictEqual(wrong.slice(0, 3), [], `${wrong.length} of ${BATCH}`)
      }), 60_000)
  }
})
