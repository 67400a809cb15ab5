/**
 * What a periodic does next, decided purely: of a plan and an instant, what starts, what was missed or skipped, and the next plan.
 *
 * Instants are milliseconds since 1970. Nothing here runs, sleeps or reads a clock.
 */
import * as DateTime from "effect/DateTime"
import type { Cursor, Trigger } from "../Trigger.ts"

/** What was asked for; it never changes. */
export interface Policy {
  readonly overlap: "skip" | "queue" | "replace" | "allow"
  readonly missed: "skip" | "once" | "all"
  readonly maxMissed: number
  readonly maxQueued: number
  readonly tolerance: number
  readonly times: number
  /** Nothing is due before. */
  readonly from: number
  /** How long after it was due a run is to start. */
  readonly lateBy: (due: number) => number
}

/**
 * Where a periodic stands. A due instant that was dealt with is counted once: it is one of `runs`, of `missed` or of `skipped`, or it waits in
 * `queue`. Unless overlap is allowed, at most one run is live, and nothing waits while none is.
 */
export interface Plan {
  /** What it is due at has not been dealt with, or is `taken`. */
  readonly cursor: Cursor
  /** By how much the clock was set back since: the cursor's instants are later than the clock's by that. */
  readonly ahead: number
  readonly live: number
  /** The due instants of the runs to come, oldest first. */
  readonly queue: ReadonlyArray<number>
  readonly runs: number
  readonly missed: number
  readonly skipped: number
  /** The cursor's due instant has its run: a fixed delay stays there until that has ended. */
  readonly taken: boolean
  /** Skips of instants that are not known until then. */
  readonly toSkip: number
  readonly life: "active" | "paused" | "stopped"
}

/** What follows: interrupt what is live if it is to be replaced, then start a run for each of these due instants. */
export interface Step {
  readonly plan: Plan
  readonly replace: boolean
  readonly start: ReadonlyArray<number>
}

/** So many due instants at once are counted one by one. Of more, the latest are found by halving, and all count as so many. */
const COUNTED = 100_000

/** Starts a trigger now. `immediate`: a first run is due then, and the trigger goes on as it would have. */
export const begin = (trigger: Trigger, now: number, immediate: number | undefined): Plan => {
  const first = trigger.begin(utc(now))
  const cursor = immediate === undefined || (first.due !== undefined && millis(first.due) <= immediate)
    ? first
    : immediately(trigger, utc(immediate), first)
  return {
    cursor,
    ahead: 0,
    live: 0,
    queue: none,
    runs: 0,
    missed: 0,
    skipped: 0,
    taken: false,
    toSkip: 0,
    life: "active"
  }
}

const immediately = (trigger: Trigger, start: DateTime.Utc, then: Cursor): Cursor => ({
  due: start,
  fixedDelay: then.fixedDelay,
  // A fixed delay counts from the end of this run too.
  advance: (now, ended) => then.fixedDelay ? trigger.begin(ended ?? now) : then.advance(now, ended),
  step: (n = 1) => n === 0 ? immediately(trigger, start, then) : then.step(n - 1),
  count: (now, max = Infinity) => millis(now) < millis(start) || max < 1 ? 0 : 1 + then.count(now, max - 1)
})

/** When it is due next by the clock; `undefined`: never, or not before something else happens. */
export const nextDue = (plan: Plan, policy: Policy): number | undefined =>
  plan.life !== "active" || isHeld(plan) || room(plan, policy) <= 0 || plan.cursor.due === undefined
    ? undefined
    : millis(plan.cursor.due) - plan.ahead

/** When there is something to decide. */
export const firesAt = (plan: Plan, policy: Policy): number | undefined => {
  const due = nextDue(plan, policy)
  return due === undefined ? undefined : due + policy.lateBy(due + plan.ahead)
}

/** Deals with all that is due by now. */
export const onDue = (plan: Plan, policy: Policy, now: number): Step => {
  const at = firesAt(plan, policy)
  if (at === undefined || at > now) return stay(plan)
  const { cursor } = plan
  const until = reach(plan, policy, now)
  const count = cursor.count(utc(until), COUNTED)
  const after = { ...plan, cursor: cursor.advance(utc(until)) }
  if (policy.overlap === "skip" && plan.live > 0) return stay({ ...after, skipped: plan.skipped + count })
  const chosen = choose(cursor, policy, until, cursor.fixedDelay ? 1 : count).map((due) => due - plan.ahead)
  if (cursor.fixedDelay && chosen.length > 0) return accept({ ...plan, taken: true }, policy, chosen)
  return accept({ ...after, missed: plan.missed + count - chosen.length }, policy, chosen)
}

/** A run has ended: the next one in the queue, if any. */
export const onEnd = (plan: Plan, now: number): Step => {
  const live = plan.live - 1
  const [next, ...rest] = plan.queue
  if (live === 0 && next !== undefined) return started({ ...plan, live, queue: rest }, [next])
  if (live > 0 || !plan.cursor.fixedDelay) return stay({ ...plan, live })
  const ended = utc(now + plan.ahead)
  // What else was due beside the delay meanwhile (of a union) was due while a run was live.
  const others = Math.max(0, plan.cursor.count(ended, COUNTED) - (plan.taken ? 1 : 0))
  const cursor = plan.cursor.advance(ended, ended).step(plan.toSkip)
  return stay({ ...plan, live, cursor, skipped: plan.skipped + others + plan.toSkip, taken: false, toSkip: 0 })
}

/** Asked for by hand: what is due is left as it is, and what cannot be had is not counted. */
export const onTrigger = (plan: Plan, policy: Policy, now: number): Step => {
  const { overlap } = policy
  const full = plan.live > 0 &&
    (overlap === "skip" || (overlap === "queue" && plan.queue.length >= policy.maxQueued))
  const left = room(plan, policy)
  const replaced = overlap === "replace" ? plan.queue.length : 0
  if (plan.life === "stopped" || full || left + replaced <= 0) return stay(plan)
  // What it replaces was the last there was to be: what came due since then is not made up.
  return accept(left <= 0 ? passedBy(plan, now) : plan, policy, [now])
}

/** The next due instant is passed over. */
export const skip = (plan: Plan, policy: Policy): Plan => {
  const { cursor } = plan
  if (plan.life === "stopped" || cursor.due === undefined || room(plan, policy) <= 0) return plan
  return isHeld(plan)
    ? { ...plan, toSkip: plan.toSkip + 1 }
    : { ...plan, cursor: cursor.step(), skipped: plan.skipped + 1 }
}

/** Nothing more starts by itself; what waits in the queue is skipped. */
export const pause = (plan: Plan): Plan => plan.life === "active" ? cleared(plan, "paused") : plan

/** What was due meanwhile is skipped. */
export const resume = (plan: Plan, now: number): Plan =>
  plan.life === "paused" ? { ...passedBy(plan, now), life: "active" } : plan

/** The end: live runs go on, nothing else starts. */
export const stop = (plan: Plan): Plan => plan.life === "stopped" ? plan : cleared(plan, "stopped")

/**
 * The clock was set back. What counts from its start keeps its rhythm, but not before `from`; what is due by the calendar is not due again
 * before the clock has come to where it was.
 */
export const setBack = (plan: Plan, policy: Policy, trigger: Trigger, now: number, by: number): Plan => {
  const due = nextOf(trigger, now)
  const byCalendar = due === undefined || nextOf(trigger, due - 1) === due
  const early = plan.cursor.due !== undefined && millis(plan.cursor.due) - plan.ahead - by < policy.from
  return byCalendar || early ? plan : { ...plan, ahead: plan.ahead + by }
}

/** In one word. */
export const stateOf = (
  plan: Plan,
  policy: Policy
): "waiting" | "running" | "paused" | "stopped" | "done" =>
  plan.life !== "active"
    ? plan.life
    : plan.live > 0
    ? "running"
    : nextDue(plan, policy) === undefined
    ? "done"
    : "waiting"

// ─── how it is decided

const none: ReadonlyArray<number> = []

const utc = (millis: number): DateTime.Utc => DateTime.makeUnsafe(millis)

const millis = (instant: DateTime.Utc): number => instant.epochMilliseconds

const nextOf = (trigger: Trigger, start: number): number | undefined => trigger.begin(utc(start)).due?.epochMilliseconds

const isBusy = (plan: Plan): boolean => plan.live > 0 || plan.queue.length > 0

const isHeld = (plan: Plan): boolean => plan.cursor.fixedDelay && isBusy(plan)

/** How many runs may still be accepted. */
const room = (plan: Plan, policy: Policy): number => policy.times - plan.runs - plan.queue.length

/** Nothing is to be done for it. */
export const stay = (plan: Plan): Step => ({ plan, replace: false, start: none })

const started = (plan: Plan, start: ReadonlyArray<number>): Step => ({
  plan: { ...plan, live: plan.live + start.length, runs: plan.runs + start.length },
  replace: false,
  start
})

const cleared = (plan: Plan, life: Plan["life"]): Plan => ({
  ...plan,
  life,
  queue: none,
  skipped: plan.skipped + plan.queue.length
})

/** All that is due by now is skipped. */
const passedBy = (plan: Plan, now: number): Plan => {
  const { ahead, cursor, skipped } = plan
  const time = utc(now + ahead)
  return isHeld(plan) || cursor.due === undefined || millis(cursor.due) > millis(time)
    ? plan
    : { ...plan, cursor: cursor.advance(time), skipped: skipped + cursor.count(time, COUNTED) }
}

/** The cursor's time until which its instants have come up by now, each as late as it is to be: none is left for a second look. */
const reach = ({ ahead, cursor }: Plan, policy: Policy, now: number): number => {
  const late = (due: DateTime.Utc) => now + ahead - policy.lateBy(millis(due))
  let until = late(cursor.due!)
  if (cursor.fixedDelay || until === now + ahead) return until
  for (;;) {
    const { due } = cursor.advance(utc(until))
    if (due === undefined || late(due) < millis(due)) return until
    until = Math.max(millis(due), late(due))
  }
}

/** Which of the `count` due instants get a run, by `missed`. */
const choose = (cursor: Cursor, policy: Policy, until: number, count: number): ReadonlyArray<number> => {
  if (policy.missed === "all") return newest(cursor, until, count, policy.maxMissed)
  const last = newest(cursor, until, count, 1)
  return policy.missed === "once" || until - last[0]! <= policy.tolerance ? last : none
}

/** The newest `n` at most, oldest first. */
const newest = (cursor: Cursor, until: number, count: number, n: number): ReadonlyArray<number> => {
  const dues: Array<number> = []
  if (count < COUNTED) {
    const wanted = Math.min(count, n)
    let at = cursor.step(count - wanted)
    dues.push(millis(at.due!))
    while (dues.length < wanted) dues.push(millis((at = at.step()).due!))
    return dues
  }
  for (let to = until; dues.length < Math.min(n, COUNTED); to = dues.at(-1)! - 1) dues.push(latest(cursor, to))
  return dues.reverse()
}

/** The latest due until then, which is far from where the cursor is. */
const latest = (cursor: Cursor, until: number): number => {
  let due = millis(cursor.due!)
  for (let from = due, to = until; from <= to;) {
    const middle = Math.floor((from + to) / 2)
    const next = cursor.advance(utc(middle)).due
    if (next === undefined || millis(next) > until) to = middle - 1
    else from = due = millis(next)
  }
  return due
}

/** Starts what may start and queues what has to wait, by `overlap`, as long as there is room; the others are skipped. */
const accept = (plan: Plan, policy: Policy, dues: ReadonlyArray<number>): Step => {
  const replace = policy.overlap === "replace" && plan.live > 0 && dues.length > 0
  const kept = replace ? cleared(plan, plan.life) : plan
  const most = room(kept, policy)
  const atOnce = policy.overlap === "allow" ? most : kept.live > 0 ? 0 : Math.min(1, most)
  const start = dues.slice(0, atOnce)
  const capacity = policy.overlap === "queue" ? policy.maxQueued - kept.queue.length : Infinity
  const queued = dues.slice(atOnce, atOnce + Math.min(capacity, most - start.length))
  const skipped = dues.length - start.length - queued.length
  const next = { ...kept, queue: [...kept.queue, ...queued], skipped: kept.skipped + skipped }
  return { ...started(next, start), replace }
}
