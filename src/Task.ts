/**
 * A named Effect program that runs on the Scheduler in its context.
 *
 * Yield a task and it runs: under the limits its demand names, with a slot, a scope and a handle of its own. Every Effect combinator composes
 * it. Wrapping changes nothing else: `E` is the program's own, and `R` is what it needs less what a run is given, plus `Scheduler`.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Predicate from "effect/Predicate"
import type * as Schedule from "effect/Schedule"
import type * as Concurrency from "./Concurrency.ts"
import { attempts, timed, toSchedule } from "./internal/TaskAttempt.ts"
import { collect, type Submit } from "./internal/TaskCollect.ts"
import { fork as forkEffect, Scheduler } from "./Scheduler.ts"
import type { Dependencies, ForkOptions, Provided } from "./Scheduler.ts"
import * as TaskRun from "./TaskRun.ts"

const TypeId = "~tasklayer/Task"

/** An effect with a name and a demand; yielding it runs it. */
export interface Task<out A, out E = never, out R = never> extends Effect.Effect<A, E, R | Scheduler> {
  readonly [TypeId]: typeof TypeId
  readonly name: string
  readonly demand: Concurrency.Demand
}

export interface Options extends Concurrency.Demand {
  /** How many runs of this one task may run at once. An integer >= 1. */
  readonly limit?: Concurrency.Limit | undefined
}

export const isTask = (u: unknown): u is Task<unknown, unknown, unknown> => Predicate.hasProperty(u, TypeId)

/** A task from an effect. */
export const make = <A, E, R>(
  name: string,
  effect: Effect.Effect<A, E, R>,
  options?: Options
): Task<A, E, Exclude<R, Provided>> => new TaskImpl(effect, { ...options, name }) as any

/** `Effect.fn` for tasks: a function of its arguments that returns a task each call. */
export const fn: (name: string, options?: Options) => {
  <Eff extends Effect.Effect<any, any, any>, A, Args extends Array<any>>(
    body: (...args: Args) => Generator<Eff, A, never>
  ): (...args: Args) => Task<A, Effect.Error<Eff>, Exclude<Effect.Services<Eff>, Provided>>
  <A, E, R, Args extends Array<any>>(
    body: (...args: Args) => Effect.Effect<A, E, R>
  ): (...args: Args) => Task<A, E, Exclude<R, Provided>>
} = (name, options) => {
  const shared: ForkOptions = { ...options, name }
  return (body: (...args: Array<any>) => any) => (...args: Array<any>): any =>
    new TaskImpl(
      Effect.suspend(() => {
        const result = body(...args)
        return Effect.isEffect(result) ? result : Effect.gen(() => result)
      }),
      shared
    )
}

// ─── each returns a task

/** Adds tags to those it has. */
export const withTags = (...tags: ReadonlyArray<string>) => <A, E, R>(self: Task<A, E, R>): Task<A, E, R> =>
  change(self, (options) => ({ tags: [...new Set([...options.tags ?? [], ...tags])] }))

export const withPriority = (priority: Concurrency.Priority) => <A, E, R>(self: Task<A, E, R>): Task<A, E, R> =>
  change(self, () => ({ priority }))

export const withWeight = (weight: number) => <A, E, R>(self: Task<A, E, R>): Task<A, E, R> =>
  change(self, () => ({ weight }))

/** Work with different keys shares the scheduler fairly. */
export const withKey = (key: string) => <A, E, R>(self: Task<A, E, R>): Task<A, E, R> => change(self, () => ({ key }))

/** Changes the program and keeps the name and the demand. */
export const transform = <A, E, R, A2, E2, R2>(
  f: (effect: Effect.Effect<A, E, R | Provided>) => Effect.Effect<A2, E2, R2>
) =>
(self: Task<A, E, R>): Task<A2, E2, Exclude<R2, Provided>> => {
  const task = self as unknown as TaskImpl
  return new TaskImpl(f(task.program as never), task.options) as any
}

/** Each attempt is interrupted so long after it started; waiting does not count. Retried like any failure. */
export const withTimeout =
  (limit: Duration.Input) => <A, E, R>(self: Task<A, E, R>): Task<A, E | Cause.TimeoutError, R> => {
    const task = self as unknown as TaskImpl
    return new TaskImpl(task.body, task.options, [...task.timeouts, limit], task.retries) as any
  }

/**
 * Retries within one run, with the argument of `Effect.retry`: each attempt is admitted anew, and slot and tags are free in between. What
 * died, aborted, was refused or interrupted is not retried.
 */
export const withRetry: {
  <E, O extends Effect.Retry.Options<E>>(
    options: O
  ): <A, R>(
    self: Task<A, E, R>
  ) => Effect.Retry.Return<R, E, A, O> extends Effect.Effect<infer A2, infer E2, infer R2> ? Task<A2, E2, R2> : never
  <B, E, Error, Env>(
    policy: Schedule.Schedule<B, NoInfer<E>, Error, Env>
  ): <A, R>(self: Task<A, E, R>) => Task<A, E | Error, R | Env>
  <B, E, Error, Env>(
    builder: (
      $: <O, SE, R>(_: Schedule.Schedule<O, NoInfer<E>, SE, R>) => Schedule.Schedule<O, E, SE, R>
    ) => Schedule.Schedule<B, NoInfer<E>, Error, Env>
  ): <A, R>(self: Task<A, E, R>) => Task<A, E | Error, R | Env>
} = ((policy: any) => (self: any) => {
  const task = self as TaskImpl
  return new TaskImpl(task.body, task.options, task.timeouts, [...task.retries, policy])
}) as any

/** Moves the task's own refusal (never a child's) from the defects into `E`. */
export const refusable = <A, E, R>(self: Task<A, E, R>): Task<A, E | Concurrency.AdmissionError, R> =>
  change(self, () => ({ refusable: true })) as any

// ─── running

/** Submits the task and returns its handle. The run outlives the fiber that submitted it, and is drained when the scheduler stops. */
export const fork = <A, E, R>(
  self: Task<A, E, R>,
  options?: { readonly id?: string | undefined }
): Effect.Effect<TaskRun.TaskRun<A, E>, never, R | Scheduler> => {
  const task = self as unknown as TaskImpl
  const given = options?.id === undefined ? task.options : { ...task.options, id: options.id }
  return forkEffect(task.program as Effect.Effect<A, E, R>, given) as Effect.Effect<
    TaskRun.TaskRun<A, E>,
    never,
    R | Scheduler
  >
}

/** Ends the current run for a reason that is no failure: outcome `Aborted`, never retried. */
export const abort = (reason: string): Effect.Effect<never, never, TaskRun.CurrentRun> =>
  Effect.andThen(TaskRun.CurrentRun, Effect.die(new TaskRun.TaskAborted({ reason })))

interface CollectOptions {
  /** How many are submitted at once. Default: all of them, for the scheduler to limit. */
  readonly concurrency?: number | "unbounded" | undefined
}

/** Runs all of a tuple, iterable or record at once and collects the results in its shape. Fails fast, with the rest interrupted. */
export const all = <
  const Arg extends Iterable<Effect.Effect<any, any, any>> | Record<string, Effect.Effect<any, any, any>>
>(
  tasks: Arg,
  options?: CollectOptions
): Effect.Effect<
  Effect.Success<Effect.All.Return<Arg, {}>>,
  Effect.Error<Effect.All.Return<Arg, {}>>,
  Effect.Services<Effect.All.Return<Arg, {}>> | Scheduler
> =>
  Effect.suspend((): Effect.Effect<any, any, any> => {
    if (Symbol.iterator in tasks) {
      return collect(
        [...tasks as Iterable<Effect.Effect<any, any, any>>],
        (task) => task,
        options?.concurrency,
        submitTask
      )
    }
    const keys = Object.keys(tasks)
    return Effect.map(
      collect(
        keys,
        (key) => (tasks as Record<string, Effect.Effect<any, any, any>>)[key]!,
        options?.concurrency,
        submitTask
      ),
      (values) => Object.fromEntries(keys.map((key, i) => [key, values[i]]))
    )
  })

/** Runs `f` of every item at once and collects the results in the order of the items. Fails fast, with the rest interrupted. */
export const forEach: {
  <A, B, E, R>(
    f: (a: A, i: number) => Effect.Effect<B, E, R>,
    options?: CollectOptions
  ): (items: Iterable<A>) => Effect.Effect<Array<B>, E, R | Scheduler>
  <A, B, E, R>(
    items: Iterable<A>,
    f: (a: A, i: number) => Effect.Effect<B, E, R>,
    options?: CollectOptions
  ): Effect.Effect<Array<B>, E, R | Scheduler>
} = dual(
  (args) => typeof args[0] !== "function",
  <A, B, E, R>(
    items: Iterable<A>,
    f: (a: A, i: number) => Effect.Effect<B, E, R>,
    options?: CollectOptions
  ): Effect.Effect<Array<B>, E, R | Scheduler> =>
    Effect.suspend(() => collect([...items], f, options?.concurrency, submitTask))
)

const submitTask: Submit = (effect) => isTask(effect) ? fork(effect) : undefined

type Runs = ReadonlyArray<TaskRun.TaskRun<any, any>> | Readonly<Record<string, TaskRun.TaskRun<any, any>>>
type Values<T> = { readonly [K in keyof T]: T[K] extends TaskRun.TaskRun<infer A, any> ? A : never }
type Exits<T> = { readonly [K in keyof T]: T[K] extends TaskRun.TaskRun<infer A, infer E> ? Exit.Exit<A, E> : never }

/**
 * A task that starts when these runs have succeeded, with their values; it holds nothing while it waits. When one did not succeed it never
 * starts and fails with `UpstreamError`.
 */
export const after = <const T extends Runs, A, E, R>(
  runs: T,
  f: (values: Values<T>) => Task<A, E, R>
): Task<A, E | UpstreamError, R> =>
  dependent(runs, (exits, handles) => {
    const at = exits.findIndex(Exit.isFailure)
    if (at >= 0) {
      const { cause } = exits[at] as Exit.Failure<unknown, unknown>
      return Exit.fail(new UpstreamError({ run: handles[at]!.id, name: handles[at]!.name, cause }))
    }
    return f(shapedLike(runs, exits.map((exit) => (exit as Exit.Success<unknown>).value)) as never)
  })

/** A task that starts when these runs have ended, whatever became of them, with their exits: a continuation by outcome. */
export const afterExit = <const T extends Runs, A, E, R>(
  runs: T,
  f: (exits: Exits<T>) => Task<A, E, R>
): Task<A, E, R> => dependent(runs, (exits) => f(shapedLike(runs, exits) as never))

/** An effect that runs the task the first time it is awaited, and shares that run with all who await it. */
export const once = <A, E, R>(task: Task<A, E, R>): Effect.Effect<Effect.Effect<A, E, R | Scheduler>> =>
  Effect.sync(() => {
    let run: TaskRun.TaskRun<A, E> | undefined
    return Effect.suspend(() =>
      run !== undefined ? TaskRun.join(run) : Effect.flatMap(fork(task), (handle) => TaskRun.join(run ??= handle))
    )
  })

// ─── what can go wrong

/** A run this one depended on did not succeed; `cause` says how it ended. */
export class UpstreamError extends Data.TaggedError("UpstreamError")<{
  /** The id of the run that did not succeed. */
  readonly run: string
  readonly name: string
  readonly cause: Cause.Cause<unknown>
}> {
  override get message(): string {
    return `"${this.name}" did not succeed: ${Cause.pretty(this.cause)}`
  }
}

// ─── the task itself

type Retries = ReadonlyArray<unknown>

const Base: new() => Effect.Effect<any, any, any> = (() => {
  const Base = function() {} as any
  Base.prototype = Effectable.Prototype<any>({
    label: "Task",
    evaluate(this: TaskImpl, fiber) {
      return Context.getUnsafe(fiber.context as Context.Context<any>, Scheduler).run(
        this.program,
        this.options
      ) as Effect.Effect<any, any, any>
    }
  })
  return Base
})()

class TaskImpl extends Base {
  declare readonly [TypeId]: typeof TypeId
  readonly body: Effect.Effect<any, any, any>
  readonly options: ForkOptions
  readonly timeouts: ReadonlyArray<Duration.Input>
  readonly retries: Retries
  /** The body with its timeouts around each attempt and its retries around those. */
  readonly program: Effect.Effect<any, any, any>
  constructor(
    body: Effect.Effect<any, any, any>,
    options: ForkOptions,
    timeouts: ReadonlyArray<Duration.Input> = nothing,
    retries: Retries = nothing
  ) {
    super()
    this.body = body
    this.options = options
    this.timeouts = timeouts
    this.retries = retries
    this.program = timeouts === nothing && retries === nothing
      ? body
      : retries.reduce<Effect.Effect<any, any, any>>(
        attempts,
        timeouts.reduce<Effect.Effect<any, any, any>>(timed, body)
      )
  }
  get name(): string {
    return this.options.name!
  }
  get demand(): Concurrency.Demand {
    const { admissionTimeout, key, priority, tags, weight, whenFull } = this.options
    return Object.fromEntries(
      Object.entries({ tags, weight, priority, key, whenFull, admissionTimeout }).filter(([, value]) =>
        value !== undefined
      )
    )
  }
}

const nothing: ReadonlyArray<never> = []

{
  const proto: object = TaskImpl.prototype
  Object.defineProperty(proto, TypeId, { value: TypeId })
}

const change = <A, E, R>(self: Task<A, E, R>, f: (options: ForkOptions) => ForkOptions): Task<A, E, R> => {
  const task = self as unknown as TaskImpl
  return new TaskImpl(task.body, { ...task.options, ...f(task.options) }, task.timeouts, task.retries) as any
}

const shapedLike = (runs: Runs, values: ReadonlyArray<unknown>): unknown =>
  Array.isArray(runs) ? values : Object.fromEntries(Object.keys(runs).map((key, i) => [key, values[i]]))

const dependent = (
  runs: Runs,
  next: (
    exits: ReadonlyArray<Exit.Exit<unknown, unknown>>,
    handles: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>>
  ) => Exit.Exit<unknown, unknown> | Task<any, any, any>
): Task<any, any, any> => {
  const handles: ReadonlyArray<TaskRun.TaskRun<unknown, unknown>> = Array.isArray(runs) ? runs : Object.values(runs)
  const decide: Dependencies["next"] = (exits) => {
    let decided: Exit.Exit<unknown, unknown> | Task<any, any, any>
    try {
      decided = next(exits, handles)
    } catch (defect) {
      return Exit.die(defect)
    }
    if (Exit.isExit(decided)) return decided
    const task = decided as unknown as TaskImpl
    if (task.options.after === undefined) return { effect: task.program, options: task.options }
    // A task that waits for runs of its own: it is run from inside.
    return { effect: task, options: { name: task.name } }
  }
  const waiting = Effect.flatMap(TaskRun.awaitAll(handles), (exits) => {
    const decided = decide(exits)
    return Exit.isExit(decided) ? decided : decided.effect
  })
  return new TaskImpl(waiting, { name: "after", after: { runs: handles, next: decide } }) as any
}

// ─── for runners

/** @internal */
export { toSchedule }
