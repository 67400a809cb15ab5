/** What a worker is to do, checked: what is fixed when it is made. */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type * as Scheduler from "../Scheduler.ts"
import * as Supervisor from "../Supervisor.ts"
import type { Kind, QueueOptions, StopMode, WaitingOptions } from "../Worker.ts"
import { Delay, Event, Interval, Pace, Queued } from "./WorkerPace.ts"
import { WorkerQueue } from "./WorkerQueue.ts"

type Plain = Effect.Effect<unknown, unknown>

/** What its effects need is in the context they run in, and in the type of what makes the worker. */
export interface Plan {
  readonly name: string
  readonly kind: Kind
  readonly lane: string | undefined
  readonly demand: Scheduler.ForkOptions
  readonly pace: () => Pace
  readonly queue: WorkerQueue<unknown> | undefined
  /** One iteration, given the arguments of the start. */
  readonly body: (args: ReadonlyArray<unknown>) => Plain
  readonly times: number
  readonly onStop: StopMode
  readonly restart: "none" | "always" | Schedule.Schedule<unknown, Cause.Cause<unknown>>
  readonly essential: boolean
  /** Its own, where it has one; else that of its supervisor. */
  readonly budget: (of: Supervisor.Budget) => Supervisor.CheckedBudget
  readonly onError: ((cause: Cause.Cause<any>, ...args: ReadonlyArray<any>) => Plain) | undefined
  readonly onLeft: ((items: ReadonlyArray<any>) => Plain) | undefined
  readonly beforeStart: Plain | undefined
  readonly afterStart: Plain | undefined
  readonly beforeStop: Plain | undefined
  readonly afterStop: Plain | undefined
}

/** Any option of any worker. */
export interface Asked extends WaitingOptions<any, any>, QueueOptions<any, any, any> {
  readonly interval?: Duration.Input | undefined
  readonly delay?: Duration.Input | undefined
}

type Body =
  | Effect.Effect<unknown, unknown, any>
  | ((...args: ReadonlyArray<any>) => Effect.Effect<unknown, unknown, any>)

/** At an interval, after a delay, or back to back. Throws `InvalidOptionError`, as all of these do. */
export const loopPlan = (where: string, name: string, body: Body, asked: Asked): Plan => {
  const immediate = asked.immediate !== false
  const interval = duration(where, "interval", asked.interval)
  const delay = duration(where, "delay", asked.delay)
  const plan = { ...common(where, name, asked), body: applied(body), queue: undefined }
  if (interval !== undefined && delay !== undefined) {
    const value = { interval: asked.interval, delay: asked.delay }
    throw new InvalidOptionError({ where, field: "interval", rule: "must not be given together with delay", value })
  }
  if (interval !== undefined) return { ...plan, kind: "interval", pace: () => new Interval(interval, immediate) }
  if (delay !== undefined) return { ...plan, kind: "delay", pace: () => new Delay(delay, immediate) }
  return { ...plan, kind: "loop", pace: () => new Pace() }
}

export const eventPlan = (where: string, name: string, body: Body, asked: Asked): Plan => ({
  ...common(where, name, asked),
  kind: "event",
  body: applied(body),
  queue: undefined,
  pace: () => new Event()
})

export const queuePlan = (
  where: string,
  name: string,
  handler: (item: any, ...args: any) => Effect.Effect<unknown, unknown, any>,
  asked: Asked
): Plan => {
  oneOf(where, "whenFull", asked.whenFull, ["suspend", "fail", "drop"])
  const capacity = Concurrency.checkLimit(where, "capacity", 1, asked.capacity ?? "unbounded")
  const queue = new WorkerQueue<unknown>(capacity, asked.order)
  return {
    ...common(where, name, { ...asked, onStop: asked.onStop ?? "drain" }),
    kind: "queue",
    queue,
    pace: () => new Queued(queue),
    body: (args) =>
      Effect.withFiber((fiber) => {
        const item = queue.take()
        // A turn later: who is let in goes on at once, and must not get in between an item and its handler.
        if (queue.isCrowded) fiber.currentDispatcher.scheduleTask(() => queue.admit(), 0)
        return handler(item, ...args) as Plain
      })
  }
}

const common = (where: string, name: string, asked: Asked): Omit<Plan, "kind" | "body" | "pace" | "queue"> => {
  const { key, lane, priority, tags, times, weight } = asked
  if (typeof name !== "string" || name === "") {
    throw new InvalidOptionError({ where, field: "name", rule: "must be a string that is not empty", value: name })
  }
  if (priority !== undefined) Concurrency.checkPriority(where, priority)
  if (weight !== undefined) Concurrency.checkLimit(where, "weight", 1, weight)
  Supervisor.checkBudget(where, asked)
  const restart = asked.restart ?? "none"
  if (!Schedule.isSchedule(restart)) oneOf(where, "restart", restart, ["none", "always"])
  oneOf(where, "onStop", asked.onStop, ["drain", "finish", "interrupt"])
  return {
    name,
    lane,
    demand: { name, tags, priority, weight, key },
    times: times === undefined ? Infinity : Concurrency.checkLimit(where, "times", 1, times),
    onStop: asked.onStop ?? "finish",
    restart,
    essential: asked.essential === true,
    budget: (of) => Supervisor.checkBudget(where, asked, Supervisor.checkBudget(where, of)),
    onError: asked.onError as Plan["onError"],
    onLeft: asked.onLeft as Plan["onLeft"],
    beforeStart: asked.beforeStart as Plan["beforeStart"],
    afterStart: asked.afterStart as Plan["afterStart"],
    beforeStop: asked.beforeStop as Plan["beforeStop"],
    afterStop: asked.afterStop as Plan["afterStop"]
  }
}

const applied = (body: Body) => (args: ReadonlyArray<unknown>): Plain =>
  (typeof body === "function" ? body(...args) : body) as Plain

const oneOf = (where: string, field: string, value: string | undefined, values: ReadonlyArray<string>): void => {
  if (value === undefined || values.includes(value)) return
  const rule = `must be one of ${values.map((value) => `"${value}"`).join(", ")}`
  throw new InvalidOptionError({ where, field, rule, value })
}

const duration = (where: string, field: string, input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const millis = Duration.toMillis(Concurrency.checkDuration(where, field, input))
  if (millis > 0) return millis
  throw new InvalidOptionError({ where, field, rule: "must be a duration > 0", value: input })
}
