/** A supervisor under random hands, beside a model that says beforehand when each phase and each member ends, and what is reported. */
import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { Supervisor } from "../src/index.ts"
import * as Gauge from "./suites/Gauge.ts"
import * as LogBook from "./suites/LogBook.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"

const cases = 400
const phases: ReadonlyArray<Supervisor.Phase> = ["triggers", "workers", "lanes", "pool"]

interface Member {
  readonly name: string
  readonly phase: Supervisor.Phase
  readonly start: number
  /** `never` ends by interruption alone, and takes `cleanUp` for it; `deaf` ignores it. */
  readonly kind: "succeeds" | "fails" | "never" | "deaf" | "restarts"
  readonly length: number
  readonly cleanUp: number
  readonly essential: boolean
  /** Added instead of forked, removed then, and with a hook. */
  readonly added: { readonly remove: number; readonly hook: Hook | undefined; readonly runs: boolean } | undefined
  /** Forked from inside, so long after the start. */
  readonly child: { readonly after: number; readonly length: number; readonly phase: Supervisor.Phase } | undefined
}

interface Hook {
  readonly form: "effect" | "function"
  readonly length: number
}

interface Stop {
  readonly at: number
  readonly bailOut: boolean
  readonly grace: number
  readonly kill: number
}

interface Plan {
  readonly oneForAll: boolean
  readonly grace: number
  readonly kill: number
  readonly members: ReadonlyArray<Member>
  readonly stops: ReadonlyArray<Stop>
}

// Members begin and are removed at whole seconds, stops come between; lengths are unique to the millisecond, sums of them are not.
const planOf = (random: Random.Random): Plan => {
  let unique = 1
  const length = (max: number) => random.int(0, max) * 1000 + 3 * unique++
  const seconds = (max: number) => random.int(0, max) * 1000
  const members: Array<Member> = []
  for (let i = random.int(1, 9); i > 0; i--) {
    const start = seconds(6)
    const phase = random.pick(phases)
    const kind = random.pick(["succeeds", "succeeds", "fails", "never", "never", "deaf", "restarts"] as const)
    const own = length(12)
    members.push({
      name: `member ${i}`,
      phase,
      start,
      kind,
      length: kind === "restarts" ? own * 3 : own,
      cleanUp: random.chance(0.5) ? 0 : length(4),
      essential: random.chance(0.1),
      added: random.chance(0.6)
        ? {
          remove: random.chance(0.3) ? start + 1000 + seconds(12) : Infinity,
          hook: random.chance(0.6)
            ? { form: random.pick(["effect", "function"] as const), length: random.chance(0.3) ? 0 : length(6) }
            : undefined,
          runs: random.chance(0.7)
        }
        : undefined,
      child: kind !== "deaf" && kind !== "restarts" && random.chance(0.3)
        ? { after: length(6), length: length(8), phase: random.chance(0.5) ? "pool" : phase }
        : undefined
    })
  }
  const budget = () => ({
    grace: random.chance(0.3) ? 0 : random.chance(0.1) ? Infinity : seconds(8),
    kill: random.chance(0.5) ? Infinity : seconds(4)
  })
  const stops = [...Array(random.int(1, 4))].map(() => ({
    at: seconds(14) + 500,
    bailOut: random.chance(0.2),
    ...budget()
  }))
  // Never two at once.
  const times = new Set(stops.map(({ at }) => at))
  return {
    oneForAll: random.chance(0.3),
    ...budget(),
    members,
    stops: [...times].sort((a, b) => a - b).map((at) => stops.find((stop) => stop.at === at)!)
  }
}

// ─── what has to come of it

interface Expected {
  readonly report: Supervisor.Report
  readonly code: number | undefined
  readonly phases: ReadonlyArray<readonly [string, number]>
  /** When each member ends by itself or by interruption; those that outlive the stop are left out. */
  readonly ends: Readonly<Record<string, number>>
  readonly end: number
  readonly times: ReadonlyArray<number>
}

interface Life {
  readonly name: string
  readonly phase: Supervisor.Phase
  readonly start: number
  readonly end: number
  readonly cleanUp: number
  readonly deaf: boolean
  readonly removed: number
}

/** `undefined` where two things fall on one instant, and either order would do. */
const expected = (plan: Plan): Expected | undefined => {
  const natural = (member: Member): number => {
    const { added, cleanUp, kind, length, start } = member
    if (kind === "deaf") return start + length
    const end = kind === "never" ? Infinity : start + length
    const remove = added?.remove ?? Infinity
    return remove < end ? remove + (kind === "never" ? cleanUp : 0) : end
  }
  const ended = ({ added, kind, length, start }: Member) =>
    kind === "never" || (added?.remove ?? Infinity) < start + length ? Infinity : start + length

  // What stops the group first.
  let begin = { ...plan.stops[0]!, code: plan.stops[0]!.bailOut ? 1 : undefined } as Stop & { code: number | undefined }
  if (begin.bailOut) begin = { ...begin, grace: plan.grace, kill: plan.kill }
  for (const member of plan.members) {
    if (member.added?.runs === false) continue
    const fails = member.kind === "fails" || member.kind === "restarts"
    const at = ended(member)
    if (!(member.essential || (plan.oneForAll && fails)) || at > begin.at) continue
    begin = { at, bailOut: false, grace: plan.grace, kill: plan.kill, code: fails ? 2 : 1 }
  }
  const t0 = begin.at
  let grace = t0 + begin.grace
  let kill = grace + begin.kill
  const lives: Array<Life> = []
  for (const member of plan.members) {
    if (member.start >= t0 || member.added?.runs === false) continue
    const { child, cleanUp, kind, name, phase, start } = member
    const end = natural(member)
    const removed = member.added?.remove ?? Infinity
    const deaf = kind === "deaf"
    lives.push({ name, phase, start, end, cleanUp: kind === "never" ? cleanUp : 0, deaf, removed })
    const at = start + (child?.after ?? Infinity)
    if (child === undefined || at >= end) continue
    const end2 = at + child.length
    const name2 = `child of ${name}`
    lives.push({ name: name2, phase: child.phase, start: at, end: end2, cleanUp: 0, deaf: false, removed: Infinity })
  }

  const outcome = () => {
    const report = { drained: 0, interrupted: 0, abandoned: 0, stragglers: [] as Array<string> }
    const ends: Record<string, number> = {}
    const times: Array<number> = []
    const told: Array<readonly [string, number]> = []
    const given = new Set<string>()
    const upTo = { triggers: 0, workers: 0, lanes: 0, pool: 0 }
    const giveUp = (name: string) => {
      if (given.has(name)) return
      given.add(name)
      report.abandoned++
      report.stragglers.push(name)
    }
    for (const { cleanUp, deaf, end, name, phase, removed, start } of lives) {
      // Never forked: its parent was interrupted before.
      if (start >= grace) continue
      times.push(end, removed)
      if (end <= grace) {
        ends[name] = end
        if (end > t0) report.drained++
        upTo[phase] = Math.max(upTo[phase], end)
        continue
      }
      const last = deaf || removed < grace ? end : grace + cleanUp
      times.push(last)
      if (last <= kill) {
        ends[name] = last
        report.interrupted++
      } else giveUp(name)
      upTo[phase] = Math.max(upTo[phase], Math.min(last, kill))
    }
    let began = t0
    let over = t0
    for (const phase of phases) {
      let list = Math.max(began, upTo[phase])
      for (const { added, name, phase: of, start } of plan.members) {
        if (added?.hook === undefined || of !== phase || start >= t0 || added.remove < began) continue
        const runs = lives.find((life) => life.name === name)
        if (added.runs && runs !== undefined && runs.end <= began) continue
        const end = began + added.hook.length
        times.push(end)
        if (added.hook.form === "effect") list = Math.max(list, Math.min(end, Math.max(began, grace)))
        else if (end <= kill) list = Math.max(list, end)
        else {
          list = Math.max(list, kill)
          giveUp(name)
        }
      }
      over = Math.max(over, list)
      told.push([`PhaseStarted ${phase}`, began], [`PhaseEnded ${phase}`, over])
      began = list > grace ? Math.max(began, grace) : list
    }
    return { report, ends, times, told, end: over }
  }
  for (const stop of plan.stops) {
    if (stop.at <= t0 || stop.bailOut) continue
    // One that comes after the end shortens nothing.
    if (outcome().end < stop.at) break
    grace = Math.min(grace, stop.at + stop.grace)
    kill = Math.min(kill, stop.at + stop.grace + stop.kill)
  }
  const { end, ends, report, times, told } = outcome()
  const edges = [grace, kill, ...plan.stops.map(({ at }) => at)]
  // The end that began the stop is the one that may fall on an edge.
  if (times.some((time) => Number.isFinite(time) && edges.includes(time) && time !== t0)) return undefined
  if (lives.filter((life) => life.end === t0).length > 1) return undefined
  if (!Number.isFinite(end)) return undefined
  return {
    report,
    code: begin.code,
    phases: told,
    ends,
    end,
    times: [t0, ...times, ...edges, ...told.map(([, at]) => at)]
  }
}

// ─── what comes of it

const body = (member: Member, gauge: Gauge.Gauge, supervisor: Supervisor.Supervisor["Service"]) => {
  const { child, cleanUp, kind, length } = member
  const sleep = Effect.sleep(length)
  const acts = {
    succeeds: sleep,
    fails: Effect.andThen(sleep, Effect.fail("broken")),
    never: Effect.onInterrupt(Effect.never, () => Effect.sleep(cleanUp)),
    deaf: Effect.uninterruptible(sleep),
    restarts: Effect.andThen(Effect.sleep(length / 3), Effect.fail("broken"))
  }[kind]
  if (child === undefined) return gauge.inside(acts)
  const forking = Effect.andThen(
    Effect.sleep(child.after),
    supervisor.fork(gauge.inside(Effect.sleep(child.length)), { name: `child of ${member.name}`, phase: child.phase })
  )
  return gauge.inside(Effect.andThen(Effect.forkChild(forking), acts))
}

const run = Effect.fnUntraced(function*(plan: Plan, times: ReadonlyArray<number>) {
  const supervisor = yield* Supervisor.Supervisor
  const gauge = Gauge.make()
  const events: Array<Supervisor.SupervisorEvent> = []
  const reading = yield* Effect.forkChild(
    Stream.runForEach(supervisor.events, (event) => Effect.sync(() => events.push(event))),
    { startImmediately: true }
  )
  const closings: Array<Fiber.Fiber<unknown>> = []
  const acts = new Map<number, Array<Effect.Effect<unknown>>>()
  const at = (time: number, act: Effect.Effect<unknown>) => {
    if (Number.isFinite(time)) acts.set(time, [...acts.get(time) ?? [], act])
  }
  for (const member of plan.members) {
    const { added, essential, kind, name, phase, start } = member
    const options = { phase, essential, restart: kind === "restarts" ? Schedule.recurs(2) : undefined }
    const effect = body(member, gauge, supervisor)
    if (added === undefined) {
      at(start, Effect.exit(supervisor.fork(effect, { name, ...options })))
      continue
    }
    const scope = Scope.makeUnsafe()
    const sleeping = Effect.sleep(added.hook?.length ?? 0)
    const stop = added.hook === undefined ? undefined : added.hook.form === "effect" ? sleeping : () => sleeping
    const adding = supervisor.add({ name, ...options, run: added.runs ? effect : undefined, stop })
    at(start, Effect.exit(Scope.provide(adding, scope)))
    const close = Effect.forkDetach(Scope.close(scope, Exit.void))
    at(added.remove, Effect.map(close, (fiber) => closings.push(fiber)))
  }
  const stops: Array<Fiber.Fiber<Supervisor.Report>> = []
  for (const { at: time, bailOut, grace, kill } of plan.stops) {
    const interruptTimeout = kill === Infinity ? "Infinity" : kill
    const stop = supervisor.shutdownWith({ gracePeriod: grace === Infinity ? "Infinity" : grace, interruptTimeout })
    at(time, bailOut ? supervisor.bailOut("model") : Effect.map(Effect.forkDetach(stop), (fiber) => stops.push(fiber)))
  }
  const until = Math.max(...times.filter(Number.isFinite), ...acts.keys()) + 60_000
  const instants = [...new Set([...times.filter(Number.isFinite), ...acts.keys(), until])].sort((a, b) => a - b)
  const origin = yield* Clock.currentTimeMillis
  for (const time of instants) {
    yield* TestClock.adjust(time - (yield* Clock.currentTimeMillis) + origin)
    yield* quiet
    for (const act of acts.get(time) ?? []) yield* act
    yield* quiet
  }
  const exit = yield* Effect.exit(supervisor.block)
  const reports = [yield* supervisor.shutdown]
  for (const fiber of stops) reports.push(yield* Fiber.join(fiber))
  for (const fiber of closings) yield* Fiber.join(fiber)
  yield* Fiber.join(reading)
  return { events, exit, left: gauge.current, origin, reports, status: yield* Supervisor.status }
})

const seed = Random.seedOf("supervisor-model.test.ts")

it.effect(
  `${cases} random stops go as the model says: each member accounted for once, phases in order, nobody left`,
  () =>
    Effect.gen(function*() {
      let compared = 0
      for (let i = 0; compared < cases; i++) {
        const plan = planOf(Random.make(seed, i))
        const model = expected(plan)
        if (model === undefined) continue
        compared++
        const budget = {
          gracePeriod: plan.grace === Infinity ? "Infinity" as const : plan.grace,
          interruptTimeout: plan.kill === Infinity ? "Infinity" as const : plan.kill
        }
        const { events, exit, left, origin, reports, status } = yield* run(plan, model.times).pipe(
          Effect.provide(Supervisor.layer({ ...budget, strategy: plan.oneForAll ? "one-for-all" : "one-for-one" })),
          LogBook.make().keep
        )
        const about = `SEED=${seed}, case ${i}: ${JSON.stringify(plan)}`
        const told = events.map((event) => {
          const what = "name" in event ? ` ${event.name}` : "phase" in event ? ` ${event.phase}` : ""
          return [event._tag + what, event.at.epochMilliseconds - origin] as const
        })
        assert.deepStrictEqual(
          told.filter(([what]) => what.startsWith("Phase")).sort(inOrder),
          [...model.phases].sort(inOrder),
          about
        )
        assert.deepStrictEqual(told.at(-1), ["Stopped", model.end], about)
        const ends: Record<string, number> = {}
        for (const [what, time] of told) {
          const name = what.slice("MemberEnded ".length)
          if (!what.startsWith("MemberEnded") || runless(plan, name)) continue
          assert.notProperty(ends, name, about)
          ends[name] = time
        }
        assert.deepStrictEqual(sorted(ends), sorted(model.ends), about)
        const { stragglers, ...counts } = reports[0]!
        const { stragglers: named, ...counted } = model.report
        assert.deepStrictEqual(counts, counted, about)
        assert.deepStrictEqual([...stragglers].sort(), [...named].sort(), about)
        assert.isTrue(reports.every((report) => report === reports[0]), about)
        const code = Exit.isFailure(exit) ? failedWith(exit) : undefined
        assert.strictEqual(code, model.code, about)
        assert.deepStrictEqual([left, status.size, status.state], [0, 0, "closed"], about)
      }
    }),
  { timeout: 60_000 }
)

const inOrder = ([a, at]: readonly [string, number], [b, bt]: readonly [string, number]) => at - bt || (a < b ? -1 : 1)

const runless = (plan: Plan, name: string) =>
  plan.members.some((member) => member.name === name && member.added?.runs === false)

const sorted = (record: Readonly<Record<string, number>>) => Object.entries(record).sort(([a], [b]) => a < b ? -1 : 1)

const failedWith = (exit: Exit.Failure<unknown, Supervisor.SupervisorFailed>) => {
  const reason = exit.cause.reasons[0]!
  return reason._tag === "Fail" ? reason.error.code : undefined
}
