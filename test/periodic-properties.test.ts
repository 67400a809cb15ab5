/**
 * Random periodics against a model of what is promised: each overlap with each missed policy, with random intervals, bodies and stalls of the
 * process, and hands that pause, skip, trigger and stop. The model walks from millisecond to millisecond and shares no line with `src`.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import { Periodic, Scheduler, Supervisor, Task, Trigger } from "../src/index.ts"
import * as Plan from "../src/internal/PeriodicPlan.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"
import { type Stall, stalling } from "./suites/StallingClock.ts"

const SEED = Random.seedOf("periodic-properties")
const ROUNDS = Number(process.env["ROUNDS"] ?? 25)
/** One round alone, by its number. */
const ONLY = process.env["ROUND"] === undefined ? undefined : Number(process.env["ROUND"])
const HORIZON = 6_000
const PATIENCE = 60_000 + ROUNDS * 1_000

const overlaps = ["skip", "queue", "replace", "allow"] as const
const misseds = ["skip", "once", "all"] as const

type Hand = "pause" | "resume" | "skip" | "trigger" | "stop"

interface Case {
  readonly overlap: (typeof overlaps)[number]
  readonly missed: (typeof misseds)[number]
  readonly first: number
  readonly interval: number
  readonly tolerance: number
  readonly maxMissed: number
  readonly maxQueued: number
  readonly times: number
  readonly stalls: ReadonlyArray<Stall>
  /** Of the runs in order: how long the body takes, and how long it takes to clean up when it is interrupted. */
  readonly lengths: ReadonlyArray<readonly [body: number, cleanUp: number]>
  readonly hands: ReadonlyArray<readonly [at: number, hand: Hand]>
}

const draw = (random: Random.Random, overlap: Case["overlap"], missed: Case["missed"], handy: boolean): Case => {
  const interval = random.int(20, 400)
  const longest = Math.ceil(interval * random.pick([0.3, 0.9, 2, 5]))
  const stalls: Array<Stall> = []
  for (let from = random.int(1, 1_500); from < HORIZON - 1_000; from += random.int(100, 2_500)) {
    const to = from + random.int(1, random.chance(0.3) ? 2_000 : 3 * interval)
    stalls.push([from, to])
    from = to
  }
  const hands: Array<readonly [number, Hand]> = []
  if (handy) {
    for (let at = random.int(1, 800); at < HORIZON; at += random.int(1, 900)) {
      const hand = random.chance(0.03)
        ? "stop"
        : random.pick(["pause", "resume", "resume", "skip", "trigger", "trigger"] as const)
      if (!stalls.some(([from, to]) => from <= at && at <= to)) hands.push([at, hand])
    }
  }
  return {
    overlap,
    missed,
    first: random.int(1, 500),
    interval,
    tolerance: random.pick([0, 50, 1_000]),
    maxMissed: random.pick([1, 3, 100]),
    maxQueued: random.pick([0, 2, Infinity]),
    times: random.chance(0.2) ? random.int(1, 12) : Infinity,
    stalls,
    lengths: Array.from(
      { length: 400 },
      () => [random.int(1, longest), random.chance(0.3) ? random.int(1, longest) : 0]
    ),
    hands
  }
}

// ─── the model

interface Ran {
  readonly due: number
  readonly start: number
  end: number | undefined
  how: "Success" | "Failure" | undefined
}

interface Counts {
  readonly runs: number
  readonly missed: number
  readonly skipped: number
  readonly queued: number
  readonly running: number
  readonly next: number | undefined
}

class Model {
  readonly ran: Array<Ran> = []
  /** The live runs, with when they would end. */
  private live: Array<{ readonly run: Ran; ends: number; interrupted: boolean; readonly cleanUp: number }> = []
  private waiting: Array<number> = []
  /** How many grid points have been dealt with. */
  private passed = 0
  private missed = 0
  private skipped = 0
  private life: "active" | "paused" | "stopped" = "active"
  /** Something may come in the very millisecond a stall ends. */
  private unclear = false
  private readonly c: Case
  constructor(c: Case) {
    this.c = c
  }

  private get grid(): number {
    return this.c.first + this.passed * this.c.interval
  }

  /** How many more runs there may be. */
  private get room(): number {
    return this.c.times - this.ran.length - this.waiting.length
  }

  get next(): number | undefined {
    return this.life === "active" && this.room > 0 ? this.grid : undefined
  }

  /** The live run is to make room for another. */
  get replaced(): boolean {
    return this.live.some(({ interrupted }) => interrupted)
  }

  get counts(): Counts {
    return {
      runs: this.ran.length,
      missed: this.missed,
      skipped: this.skipped,
      queued: this.waiting.length,
      running: this.live.length,
      next: this.next
    }
  }

  /** What happens next of itself: a run ends, or a grid point comes; `undefined`: which of them is first cannot be told. */
  private upcoming(): { readonly at: number; readonly what: "due" | "end" } | undefined {
    const ends = this.live.map(({ ends }) => ends)
    const end = Math.min(...ends)
    const due = this.next ?? Infinity
    if (ends.filter((one) => one === end).length > 1 || end === due) return undefined
    return end < due ? { at: end, what: "end" } : { at: due, what: "due" }
  }

  /** When something will come, as far as that is clear. */
  private clear(at: number): number {
    if (this.c.stalls.some(([, to]) => to === at)) this.unclear = true
    return at
  }

  /** Everything until the horizon, hands in between; false where two things are due in one millisecond. */
  play(onHand: (at: number) => void): boolean {
    const hands = [...this.c.hands]
    for (let now = 0; now <= HORIZON; now++) {
      if (this.c.stalls.some(([from, to]) => from <= now && now < to)) continue
      for (;;) {
        const event = this.upcoming()
        if (event === undefined || this.unclear) return false
        if (event.at > now) break
        if (event.at === hands[0]?.[0]) return false
        if (event.what === "due") this.due(now)
        else this.ended(now)
      }
      if (hands[0]?.[0] === now) {
        this.hand(hands.shift()![1], now)
        onHand(now)
      }
    }
    return true
  }

  due(now: number): void {
    const all: Array<number> = []
    for (; this.grid <= now; this.passed++) all.push(this.clear(this.grid))
    const { maxMissed, missed, overlap, tolerance } = this.c
    if (overlap === "skip" && this.live.length > 0) {
      this.skipped += all.length
      return
    }
    const last = all.at(-1)!
    const chosen = missed === "all"
      ? all.slice(-maxMissed)
      : missed === "once" || now - last <= tolerance
      ? [last]
      : []
    this.missed += all.length - chosen.length
    this.wanted(chosen, now)
  }

  private wanted(dues: Array<number>, now: number): void {
    const { maxQueued, overlap } = this.c
    if (dues.length === 0) return
    if (overlap === "replace" && this.live.length > 0) {
      this.skipped += this.waiting.length
      this.waiting = []
      for (const one of [...this.live]) {
        if (one.interrupted) continue
        one.interrupted = true
        one.ends = this.clear(now + one.cleanUp)
        if (one.cleanUp === 0) this.remove(one, now)
      }
    }
    for (const due of dues) {
      if (this.room <= 0) this.skipped++
      else if (overlap === "allow" || this.live.length === 0) this.start(due, now)
      else if (overlap === "queue" && this.waiting.length >= maxQueued) this.skipped++
      else this.waiting.push(due)
    }
  }

  private start(due: number, now: number): void {
    const [body, cleanUp] = this.c.lengths[this.ran.length]!
    const run: Ran = { due, start: now, end: undefined, how: undefined }
    this.ran.push(run)
    this.live.push({ run, ends: this.clear(now + body), interrupted: false, cleanUp })
  }

  private remove(one: (typeof this.live)[number], now: number): void {
    one.run.end = now
    one.run.how = one.interrupted ? "Failure" : "Success"
    this.live.splice(this.live.indexOf(one), 1)
  }

  /** The live run that is first to end ends now. */
  ended(now: number): void {
    this.remove(this.live.reduce((a, b) => a.ends < b.ends ? a : b), now)
    if (this.live.length === 0 && this.waiting.length > 0) this.start(this.waiting.shift()!, now)
  }

  hand(hand: Hand, now: number): void {
    if (this.life === "stopped") return
    switch (hand) {
      case "pause":
      case "stop":
        if (hand === "pause" && this.life === "paused") return
        this.life = hand === "pause" ? "paused" : "stopped"
        this.skipped += this.waiting.length
        this.waiting = []
        return
      case "resume":
        if (this.life !== "paused") return
        this.life = "active"
        for (; this.grid <= now; this.passed++) this.skipped++
        return
      case "skip":
        if (this.room <= 0) return
        this.passed++
        this.skipped++
        return
      case "trigger":
        if (this.c.overlap === "skip" && this.live.length > 0) return
        if (this.c.overlap === "queue" && this.live.length > 0 && this.waiting.length >= this.c.maxQueued) return
        if (this.room <= 0) {
          if (this.c.overlap !== "replace" || this.waiting.length === 0) return
          for (; this.grid <= now; this.passed++) this.skipped++
        }
        return this.wanted([now], now)
    }
  }
}

// ─── the real one

const play = (c: Case) =>
  Effect.gen(function*() {
    const ran: Array<Ran> = []
    const task = Task.make(
      "random",
      Effect.gen(function*() {
        const due = (yield* Periodic.DueAt)!.epochMilliseconds
        const [body, cleanUp] = c.lengths[ran.length]!
        const run: Ran = { due, start: yield* Clock.currentTimeMillis, end: undefined, how: undefined }
        ran.push(run)
        yield* Effect.sleep(body).pipe(
          Effect.onInterrupt(() => Effect.sleep(cleanUp)),
          Effect.onExit((exit) =>
            Effect.map(Clock.currentTimeMillis, (now) => {
              run.end = now
              run.how = exit._tag
            })
          )
        )
      })
    )
    const periodic = yield* Periodic.make(task, Trigger.every(c.interval, { delay: c.first }), {
      overlap: c.overlap,
      missed: c.missed,
      tolerance: c.tolerance,
      maxMissed: c.maxMissed,
      maxQueued: c.maxQueued,
      times: c.times
    })
    const counts: Array<Counts> = []
    const count = Effect.map(periodic.status, ({ missed, next, queued, running, runs, skipped }) => {
      counts.push({ runs, missed, skipped, queued, running, next: next?.epochMilliseconds })
    })
    let now = 0
    for (const [at, hand] of [...c.hands, [HORIZON, undefined] as const]) {
      yield* TestClock.adjust(at - now)
      now = at
      if (hand === undefined) break
      yield* periodic[hand]
      yield* quiet
      yield* count
    }
    yield* count
    // So that it ends with the test: without a hand, bodies may go on for long.
    yield* periodic.stop
    yield* TestClock.adjust("1 minute")
    const end = ran.length === 0 ? 0 : HORIZON
    return {
      ran: ran.map((run) => run.end !== undefined && run.end > end ? { ...run, end: undefined, how: undefined } : run),
      counts
    }
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(Supervisor.layer(), Scheduler.layerUnbounded)),
    stalling(c.stalls),
    Effect.provide(TestClock.layer())
  )

// ─── what must hold, whatever the model says

const broken = (c: Case, ran: ReadonlyArray<Ran>, counts: Counts): string | undefined => {
  const byHand = new Set(c.hands.filter(([, hand]) => hand === "trigger").map(([at]) => at))
  const overlapping = ran.some((run, i) => i > 0 && (ran[i - 1]!.end ?? Infinity) > run.start)
  if (overlapping && c.overlap !== "allow") return "runs overlap"
  const ofGrid = ran.filter(({ due }) => !byHand.has(due))
  if (ofGrid.some(({ due }) => (due - c.first) % c.interval !== 0)) return "a run off the grid"
  if (ofGrid.some(({ due }, i) => i > 0 && due <= ofGrid[i - 1]!.due)) {
    return "an instant that ran twice, or late ones out of order"
  }
  if (ran.some(({ due, start }) => start < due)) return "a run before its time"
  const ofStall = ([from, to]: Stall) => ofGrid.filter(({ due }) => from <= due && due < to).length
  if (c.missed !== "all" && c.stalls.some((stall) => ofStall(stall) > 1)) return "a burst"
  const late = ofGrid.filter(({ due, start }) => start - due > c.tolerance)
  if (c.missed === "skip" && c.overlap !== "queue" && c.overlap !== "replace" && late.length > 0) {
    return "a run that was missed"
  }
  if (ran.length > c.times) return "more runs than times"
  if (counts.next !== undefined && (counts.next - c.first) % c.interval !== 0) return "the grid was left"
  const pastGrid = counts.next === undefined ? undefined : (counts.next - c.first) / c.interval
  const told = counts.runs + counts.missed + counts.skipped + counts.queued
  const triggered = c.hands.filter(([, hand]) => hand === "trigger").length
  if (pastGrid !== undefined && (told < pastGrid || told > pastGrid + triggered)) {
    return `${pastGrid} instants are past, ${told} were counted`
  }
  return undefined
}

/** A case that can be told, and what the model says of it. */
const cases = (number: number, overlap: Case["overlap"], missed: Case["missed"], handy: boolean) => {
  for (let attempt = 0;; attempt++) {
    const c = draw(Random.make(SEED, number, attempt), overlap, missed, handy)
    const model = new Model(c)
    const counts: Array<Counts> = []
    if (!model.play(() => counts.push(model.counts))) continue
    counts.push(model.counts)
    return { c, ran: model.ran, counts }
  }
}

describe("periodics at random", () => {
  for (const [i, overlap] of overlaps.entries()) {
    for (const [j, missed] of misseds.entries()) {
      for (const handy of [false, true]) {
        it.effect(`overlap ${overlap}, missed ${missed}${handy ? ", and hands" : ""}`, () =>
          Effect.gen(function*() {
            let stalled = 0
            for (let round = 0; round < ROUNDS; round++) {
              const number = ((i * 3 + j) * 2 + (handy ? 1 : 0)) * 1_000_000 + round
              if (ONLY !== undefined && ONLY !== number) continue
              const told = cases(number, overlap, missed, handy)
              const real = yield* play(told.c)
              const where = `SEED=${SEED} ROUND=${number}`
              assert.deepStrictEqual(real.ran, told.ran, where)
              assert.deepStrictEqual(real.counts, told.counts, where)
              assert.isUndefined(broken(told.c, real.ran, real.counts.at(-1)!), where)
              if (told.counts.at(-1)!.missed > 0) stalled++
            }
            if (ONLY === undefined && missed !== "all" && overlap !== "skip") assert.isAbove(stalled, 0)
          }), PATIENCE)
      }
    }
  }

  it.effect("a fixed delay counts from the end of each run, whatever the policies", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 2 * ROUNDS; round++) {
        const number = 100_000_000 + round
        if (ONLY !== undefined && ONLY !== number) continue
        const random = Random.make(SEED, number)
        const c = draw(random, random.pick(overlaps), random.pick(misseds), false)
        const ran: Array<Ran> = []
        const task = Task.make(
          "delayed",
          Effect.gen(function*() {
            const run: Ran = {
              due: (yield* Periodic.DueAt)!.epochMilliseconds,
              start: yield* Clock.currentTimeMillis,
              end: undefined,
              how: "Success"
            }
            ran.push(run)
            yield* Effect.sleep(c.lengths[ran.length]![0])
            run.end = yield* Clock.currentTimeMillis
          })
        )
        const status = yield* Effect.gen(function*() {
          yield* Periodic.make(task, Trigger.after(c.interval, { delay: c.first }), {
            overlap: c.overlap,
            missed: c.missed,
            tolerance: c.tolerance
          })
          yield* TestClock.adjust(HORIZON)
          return yield* Periodic.status("delayed")
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.mergeAll(Supervisor.layer(), Scheduler.layerUnbounded)),
          stalling(c.stalls),
          Effect.provide(TestClock.layer())
        )
        const where = `SEED=${SEED} ROUND=${number}`
        let after = c.first - c.interval
        for (const run of ran) {
          const waited = run.due - after
          // A due instant that was missed altogether moves on by a delay from when that was noticed.
          if (c.missed !== "skip") assert.strictEqual(waited, c.interval, where)
          else assert.isAtLeast(waited, c.interval, where)
          assert.isTrue(run.start === run.due || c.stalls.some(([, to]) => to === run.start), where)
          after = run.end ?? Infinity
        }
        assert.strictEqual(status.runs, ran.length, where)
      }
    }), PATIENCE)
})

describe("the plan alone", () => {
  const at = (millis: number) => DateTime.makeUnsafe(millis)

  it("is a value: the same question, the same answer, and the old plan is what it was", () => {
    const policy: Plan.Policy = {
      overlap: "queue",
      missed: "all",
      maxMissed: 2,
      maxQueued: Infinity,
      tolerance: 0,
      times: Infinity,
      from: -Infinity,
      lateBy: () => 0
    }
    const plan = Plan.begin(Trigger.every(10), 0, undefined)
    const print = ({ cursor, ...plan }: Plan.Plan) => JSON.stringify({ due: cursor.due?.epochMilliseconds, ...plan })
    const before = print(plan)
    const step = Plan.onDue(plan, policy, 35)
    assert.strictEqual(print(plan), before)
    assert.deepStrictEqual([step.start, step.plan.queue, step.plan.missed, step.replace], [[20], [30], 1, false])
    assert.strictEqual(print(step.plan), print(Plan.onDue(plan, policy, 35).plan))
    assert.strictEqual(
      print(step.plan),
      `{"due":40,"ahead":0,"live":1,"queue":[30],"runs":1,"missed":1,"skipped":0,"taken":false,"toSkip":0,"life":"active"}`
    )
  })

  /** Asks of the plan what the model is told, thousands of times, without an effect. */
  it("is what the model says, step by step", () => {
    for (let round = 0; round < 80 * ROUNDS; round++) {
      const number = 200_000_000 + round
      if (ONLY !== undefined && ONLY !== number) continue
      const random = Random.make(SEED, number)
      const c = {
        ...draw(random, random.pick(overlaps), random.pick(misseds), false),
        lengths: Array(500).fill([1, 1])
      }
      const model = new Model(c)
      const policy: Plan.Policy = { ...c, from: -Infinity, lateBy: () => 0 }
      let plan = Plan.begin(Trigger.every(c.interval, { delay: c.first }), 0, undefined)
      const started: Array<number> = []
      let replaced = false
      const take = (step: Plan.Step) => {
        plan = step.plan
        started.push(...step.start)
        replaced = step.replace || (replaced && step.start.length === 0 && plan.live > 0)
      }
      for (let now = 0, i = 0; i < 60; i++) {
        now += random.int(1, random.chance(0.2) ? 5 * c.interval : c.interval)
        const where = `SEED=${SEED} ROUND=${number} step ${i}`
        const act = random.int(0, 9)
        if (act < 5) {
          if (model.next !== undefined && model.next <= now) model.due(now)
          take(Plan.onDue(plan, policy, now))
        } else if (act < 7) {
          if (plan.live > 0) {
            model.ended(now)
            take(Plan.onEnd(plan, now))
          }
        } else {
          // What is due is dealt with before a hand comes.
          if (model.next !== undefined && model.next <= now) model.due(now)
          take(Plan.onDue(plan, policy, now))
          const hand = random.pick(["pause", "resume", "skip", "trigger", "trigger"] as const)
          model.hand(hand, now)
          if (hand === "pause") plan = Plan.pause(plan)
          else if (hand === "resume") plan = Plan.resume(plan, now)
          else if (hand === "skip") plan = Plan.skip(plan, policy)
          else take(Plan.onTrigger(plan, policy, now))
        }
        const { live, missed, queue, runs, skipped } = plan
        assert.deepStrictEqual(
          { runs, missed, skipped, queued: queue.length, running: live, next: Plan.nextDue(plan, policy) },
          model.counts,
          where
        )
        assert.deepStrictEqual(started, model.ran.map(({ due }) => due), where)
        assert.strictEqual(replaced, model.replaced, where)
        assert.isTrue(live > 0 || queue.length === 0, where)
      }
    }
  }, PATIENCE)

  it("finds the latest of more instants than are counted", () => {
    const policy = {
      overlap: "allow",
      missed: "all",
      maxMissed: 3,
      maxQueued: Infinity,
      tolerance: 0,
      times: Infinity,
      from: -Infinity,
      lateBy: () => 0
    } as const
    const now = Date.UTC(2026, 0, 1, 0, 0, 30)
    for (
      const trigger of [
        Trigger.cron("* * * * *"),
        Trigger.every("1 minute"),
        Trigger.make((after) => at(Math.floor(after.epochMilliseconds / 60_000 + 1) * 60_000))
      ]
    ) {
      const started = performance.now()
      const { plan, start } = Plan.onDue(Plan.begin(trigger, 0, undefined), policy, now)
      assert.deepStrictEqual(start, [2, 1, 0].map((minutes) => now - 30_000 - minutes * 60_000))
      assert.strictEqual(plan.missed, 100_000 - 3)
      assert.strictEqual(plan.cursor.due?.epochMilliseconds, now + 30_000)
      assert.isBelow(performance.now() - started, 5_000)
    }
  })
})
