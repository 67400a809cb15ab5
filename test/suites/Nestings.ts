/** Nestings made from a seed, run on a real scheduler and watched from inside the bodies. */
// @effect-diagnostics multipleEffectProvide:off
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import { Concurrency, Flow, Scheduler, Task } from "../../src/index.ts"
import {
  explore,
  kept,
  type ModelSlot,
  type Nesting,
  type Node,
  type NodePlan,
  type Plan,
  plan,
  type TagSpec
} from "./NestingModel.ts"
import * as Random from "./Random.ts"
import * as Refusal from "./Refusal.ts"

/** A nesting that has not ended after so many turns of the dispatcher hangs. */
const TURNS = 20_000
const MOST_STATES = 4_000

/**
 * `plain`: no hold, no `withSlot`. `held`: some, and whatever runs at once keeps no two limits between them, so that no schedule matters.
 * `crossed`: some, in any order, so that one schedule may end and another get stuck.
 */
type Kind = "plain" | "held" | "crossed"
type RunnerName = "pool" | "sequential" | "unbounded" | "inline"

export interface Case {
  readonly number: number
  readonly kind: Kind
  readonly runner: RunnerName
  readonly nesting: Nesting
  readonly planned: Plan
  readonly depth: number
}

// ─── generating

export const generate = (seed: number, number: number): Case => {
  const random = Random.make(seed, number)
  const dice = random.next()
  const kind: Kind = dice < 0.4 ? "plain" : dice < 0.8 ? "held" : "crossed"
  const which = random.next()
  const tight = kind === "crossed" && random.chance(0.7)
  const runner: RunnerName = which < 0.8 ? "pool" : which < 0.87 ? "sequential" : which < 0.93 ? "unbounded" : "inline"
  const names = ["a", "b", "c"].slice(0, random.int(0, 3))
  const specs = (among: ReadonlyArray<string>): Record<string, TagSpec> =>
    Object.fromEntries(
      among.map((
        tag
      ) => [tag, { limit: random.int(1, tight ? 2 : 4), hold: kind !== "plain" && random.chance(tight ? 0.8 : 0.5) }])
    )
  const tags = specs(names)
  const max = random.int(1, 4)
  const schedulers: Array<{ max: number | undefined; own: Record<string, TagSpec> }> = [
    { max: runner === "pool" ? max : runner === "sequential" ? 1 : undefined, own: {} }
  ]
  const beside = random.chance(0.15) ? schedulers.push({ max: random.int(1, 4), own: {} }) - 1 : undefined
  const most = random.chance(0.5) ? 4 : 8
  let left = most === 4 ? random.int(2, 9) : random.int(4, 20)
  let id = 0
  let depth = 0

  const weightFor = (among: ReadonlyArray<string>): number => {
    if (random.chance(0.6)) return 1
    const room = Math.min(4, ...among.flatMap((tag) => tags[tag]?.limit ?? []))
    return random.int(1, kind === "plain" || random.chance(0.9) ? room : 4)
  }
  const node = (level: number, ambient: number): Node => {
    depth = Math.max(depth, level)
    left--
    const scheduler = beside !== undefined && random.chance(0.3) ? (ambient === beside ? 0 : beside) : ambient
    const mine = random.some(names, level > 4 ? 0.25 : 0.45)
    const own = schedulers[scheduler]!.own
    const room = Math.min(4, ...mine.flatMap((tag) => own[tag]?.limit ?? []))
    const weight = Math.min(weightFor(mine), kind === "plain" ? room : 4)
    const regions = kind === "plain" || names.length === 0 ? [] : Array.from(
      { length: random.chance(0.3) ? random.int(1, 2) : 0 },
      () => {
        const asked = random.some(names, 0.5)
        return { tags: asked, weight: weightFor(asked) }
      }
    )
    let flow: number | undefined
    const inner = random.chance(0.1)
    if (inner && runner !== "inline" && left > 0 && level < most) {
      flow = schedulers.push({ max: random.int(1, 4), own: random.chance(0.3) ? specs(random.some(names, 0.5)) : {} }) -
        1
    }
    const children: Array<Node> = []
    const wide = random.int(0, level === 1 ? 4 : random.int(1, 3))
    const mineId = id++
    if (level < most) { while (children.length < wide && left > 0) children.push(node(level + 1, flow ?? scheduler)) }
    return {
      id: mineId,
      scheduler,
      tags: mine,
      weight,
      regions,
      flow,
      together: random.chance(0.5),
      yields: random.int(0, 2),
      children
    }
  }
  const roots = [node(1, 0)]
  const others = random.chance(tight ? 0.8 : 0.35) ? random.int(1, 2) : 0
  for (let i = 0; i < others; i++) {
    left = Math.max(left, random.int(1, 4))
    roots.push(node(1, 0))
  }
  let nesting: Nesting = { schedulers, tags, roots }
  let planned = plan(nesting)
  if (kind === "held") {
    // Whatever is at once must not keep two limits between them.
    const calm = (one: NodePlan): void => {
      if (one.node.together && one.children.length > 1 && kept(one.children).size > 1) one.node.together = false
      one.children.forEach(calm)
    }
    planned.roots.forEach(calm)
    if (roots.length > 1 && kept(planned.roots).size > 1) {
      nesting = { ...nesting, roots: [roots[0]!] }
      planned = plan(nesting)
    }
  }
  return { number, kind, runner, nesting, planned, depth }
}

const valueOf = (node: Node): number => node.children.reduce((sum, child) => sum + valueOf(child), node.id + 1)

// ─── running, and watching from inside the bodies

class Watch {
  readonly counted = new Map<ModelSlot, Array<number>>()
  readonly used = new Map<string, number>()
  readonly problems: Array<string> = []
  readonly planned: Plan
  constructor(planned: Plan) {
    this.planned = planned
  }
  /** What of each of the slot's takes is in use now, and whether it has its shares for itself. */
  set(slot: ModelSlot, inUse: (keptFrom: number) => boolean, shares: boolean): void {
    let counted = this.counted.get(slot)
    if (counted === undefined) {
      this.counted.set(slot, counted = new Array(slot.takes.length + slot.shares.length).fill(0))
    }
    slot.takes.forEach((take, i) => this.change(counted, i, take.key, inUse(take.keptFrom) ? take.weight : 0))
    slot.shares.forEach((key, i) =>
      this.change(counted, slot.takes.length + i, key, shares ? this.planned.capacity.get(key)! : 0)
    )
  }
  private change(counted: Array<number>, i: number, key: string, to: number): void {
    const used = (this.used.get(key) ?? 0) + to - counted[i]!
    counted[i] = to
    this.used.set(key, used)
    const most = this.planned.capacity.get(key)!
    if (used > most) this.problems.push(`${key}: ${used} in use of ${most}`)
  }
}

type Service = Scheduler.Scheduler["Service"]
type Env = Scheduler.Scheduler | Concurrency.Concurrency

const limitOf = (spec: TagSpec): Concurrency.TagLimit => ({
  limit: spec.limit,
  whileWaiting: spec.hold ? "hold" : "lend"
})
const limitsOf = (specs: Readonly<Record<string, TagSpec>>): Record<string, Concurrency.TagLimit> =>
  Object.fromEntries(Object.entries(specs).map(([tag, spec]) => [tag, limitOf(spec)]))

const turns = (n: number) => {
  let left = n
  return Effect.whileLoop({ while: () => left-- > 0, body: () => Effect.yieldNow, step: () => {} })
}

const program = (nesting: Nesting, planned: Plan, watch: Watch): Effect.Effect<ReadonlyArray<number>, never, Env> =>
  Effect.gen(function*() {
    const services: Array<Service> = [yield* Scheduler.Scheduler]
    const task = (one: NodePlan, ambient: number): Effect.Effect<number, never, Env> => {
      const { node, regions, run } = one
      /** Running in so many of its regions; else waiting, with so many asked for. */
      let isAway = false
      const running = (entered: number) => {
        isAway = false
        watch.set(run, () => true, true)
        regions.forEach((region, j) => watch.set(region, () => j < entered, j < entered))
      }
      const waiting = (entered: number, asked: number) => {
        isAway = true
        watch.set(run, (keptFrom) => keptFrom <= asked, false)
        regions.forEach((region, j) => watch.set(region, () => j < entered, false))
      }
      const within = node.flow ?? node.scheduler
      const all = one.children.map((child) => task(child, within))
      const many = regions.length
      const children: Effect.Effect<number, never, Env> = Effect.gen(function*() {
        if (all.length === 0) return 0
        let sum = 0
        if (node.together) {
          waiting(many, many)
          for (const value of yield* Task.all(all)) sum += value
          running(many)
        } else {
          for (const child of all) {
            waiting(many, many)
            sum += yield* child
            running(many)
            yield* turns(node.yields)
          }
        }
        return sum
      })
      let inner = children
      if (node.flow !== undefined) {
        const { max, own } = nesting.schedulers[node.flow]!
        const runner: Layer.Layer<Env> = Scheduler.layer({ maxParallelism: max, tagLimits: limitsOf(own) })
        inner = Flow.make(
          "flow",
          Effect.gen(function*() {
            services[node.flow!] = yield* Scheduler.Scheduler
            return yield* children
          }),
          runner
        )
      }
      for (let j = many - 1; j >= 0; j--) {
        const asked = node.regions[j]!
        const body = inner
        const entered = Effect.suspend(() => {
          running(j + 1)
          return body
        })
        // What is interrupted while it waits does not take back what it lent, nor keeps what it kept for a region that has ended.
        const exited = (exit: Exit.Exit<unknown>) =>
          Effect.sync(() => {
            if (Exit.isSuccess(exit)) return running(j)
            for (const region of regions.slice(j)) watch.set(region, () => false, false)
            if (isAway) watch.set(run, (keptFrom) => keptFrom <= j, false)
          })
        const region = Concurrency.withSlot(asked)(Effect.onExit(entered, exited))
        inner = Effect.suspend(() => {
          if (regions[j]!.takes.length > 0) waiting(j, j + 1)
          return region
        })
      }
      const body = Effect.gen(function*() {
        running(0)
        yield* turns(node.yields)
        const sum = yield* inner
        return sum + node.id + 1
      })
      const left = Effect.sync(() => {
        watch.set(run, () => false, false)
        for (const region of regions) watch.set(region, () => false, false)
      })
      const made = Task.make(`task ${node.id}`, Effect.ensuring(body, left), { tags: node.tags, weight: node.weight })
      if (node.scheduler === ambient) return made
      return Effect.suspend(() => Effect.provideService(made, Scheduler.Scheduler, services[node.scheduler]!))
    }
    const main = Effect.gen(function*() {
      const beside = nesting.schedulers.length > 1 && isBeside(nesting) ? 1 : undefined
      const go = Task.all(planned.roots.map((root) => task(root, 0)))
      if (beside === undefined) return yield* go
      return yield* Effect.gen(function*() {
        const outer = services[0]!
        services[1] = yield* Scheduler.Scheduler
        const values = yield* Effect.provideService(go, Scheduler.Scheduler, outer)
        yield* idle(nesting.schedulers[1]!.max)
        return values
      }).pipe(Effect.provide(Scheduler.layer({ maxParallelism: nesting.schedulers[1]!.max })))
    })
    const exit = yield* Effect.exit(main)
    yield* idle(nesting.schedulers[0]!.max)
    return yield* exit
  })

/** The second scheduler stands beside the first, unless a flow starts it. */
const isBeside = (nesting: Nesting): boolean => {
  const starts = (node: Node): boolean => node.flow === 1 || node.children.some(starts)
  return !nesting.roots.some(starts)
}

class Left extends Error {}

/** Nothing is taken and nobody waits: all of the pool can be had at once. */
const idle = (max: number | undefined): Effect.Effect<void, never, Env> =>
  Effect.gen(function*() {
    const stats = yield* Scheduler.stats
    if (stats.active + stats.queued + stats.suspended > 0) return yield* Effect.die(new Left(JSON.stringify(stats)))
    for (const info of yield* Concurrency.list) {
      if (info.active !== 0 || info.waiting !== 0 || info.holders.length > 0) {
        return yield* Effect.die(new Left(JSON.stringify(info)))
      }
    }
    const all = Task.make("all of it", Effect.void, { weight: max ?? 1, whenFull: "fail" })
    const exit = yield* Effect.exit(all)
    if (Exit.isFailure(exit)) return yield* Effect.die(new Left(`the pool: ${JSON.stringify(Refusal.died(exit))}`))
  })

const layerOf = (one: Case): Layer.Layer<Env> => {
  switch (one.runner) {
    case "pool":
      return Scheduler.layer({ maxParallelism: one.nesting.schedulers[0]!.max, tagLimits: limitsOf(one.nesting.tags) })
    case "sequential":
      return Scheduler.layerSequential
    case "unbounded":
      return Scheduler.layerUnbounded
    case "inline":
      return Scheduler.layerInline
  }
}

// ─── judging

export interface Totals {
  ended: number
  refused: number
  modelled: number
  modelledRefused: number
  deadlocks: number
}

export const judge = (one: Case, totals: Totals): Effect.Effect<string | undefined> =>
  Effect.gen(function*() {
    const { kind, nesting, planned } = one
    const watch = new Watch(planned)
    const whole = program(nesting, planned, watch).pipe(
      Effect.provide(layerOf(one)),
      Effect.provide(Concurrency.layer({ tagLimits: limitsOf(nesting.tags) }))
    )
    const fiber = yield* Effect.forkDetach(whole)
    let spent = 0
    yield* Effect.whileLoop({
      while: () => fiber.pollUnsafe() === undefined && spent++ < TURNS,
      body: () => Effect.yieldNow,
      step: () => {}
    })
    const exit = fiber.pollUnsafe()
    if (exit === undefined) {
      fiber.interruptUnsafe()
      return "hangs"
    }
    if (watch.problems.length > 0) return `a limit is exceeded: ${watch.problems[0]}`
    for (const [key, used] of watch.used) if (used !== 0) return `the watch still counts ${used} of ${key}`
    if (Exit.isSuccess(exit)) {
      totals.ended++
      const expected = nesting.roots.map(valueOf)
      if (JSON.stringify(exit.value) !== JSON.stringify(expected)) {
        return `gives ${JSON.stringify(exit.value)}, not ${expected}`
      }
    }
    const refusal = Refusal.died(exit)
    if (Exit.isFailure(exit) && refusal === undefined) return `fails: ${String(exit.cause)}`
    if (refusal !== undefined) {
      totals.refused++
      if (refusal._tag === "Deadlock") totals.deadlocks++
      if (refusal._tag !== "Deadlock" && refusal._tag !== "ExceedsLimit") return `is refused with ${refusal._tag}`
      if (kind === "plain") return `is refused: ${JSON.stringify(refusal)}`
      if (refusal._tag === "ExceedsLimit" && !planned.refused) {
        return `is refused, and all it asks for can be had: ${JSON.stringify(refusal)}`
      }
      if (kind === "held" && !planned.refused) return `is refused: ${JSON.stringify(refusal)}`
    } else if (planned.refused) return "ends, and it asks for more than can be had"
    if (kind === "plain" || one.depth > 4) return undefined
    const verdict = explore(planned, MOST_STATES)
    if (verdict === undefined) return undefined
    totals.modelled++
    if (refusal === undefined) return verdict.ends ? undefined : "ends, and the model says it cannot"
    totals.modelledRefused++
    if (kind === "held" && verdict.ends) return `is refused, and some schedule ends: ${JSON.stringify(refusal)}`
    if (!verdict.sticks && verdict.ends) return `is refused, and every schedule ends: ${JSON.stringify(refusal)}`
    return undefined
  })
