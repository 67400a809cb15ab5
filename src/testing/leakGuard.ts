/** Fails a test that leaves fibers behind. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type { Scope } from "effect/Scope"
import * as TaskRun from "../TaskRun.ts"

/** What is about to start or to end does so within these turns of the dispatcher; what is alive after them waits for something. */
const TURNS = 64

/**
 * Runs the effect in a fiber and a scope of its own and dies with `FiberLeak` when a fiber started below is alive after both have ended. An
 * effect that did not succeed keeps its own exit. Put it outside of what owns fibers: `program.pipe(Effect.provide(runner), leakGuard)`.
 */
export const leakGuard = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, Exclude<R, Scope>> =>
  Effect.gen(function*() {
    const outer = yield* Metric.FiberRuntimeMetrics
    const alive = new Map<string, number>()
    const count = (context: Context.Context<never>, by: 1 | -1) => {
      const name = Context.getOption(context as Context.Context<TaskRun.CurrentRun>, TaskRun.CurrentRun)
      const where = name._tag === "None" ? "" : name.value.name
      const left = (alive.get(where) ?? 0) + by
      if (left === 0) alive.delete(where)
      else alive.set(where, left)
    }
    const counting: Metric.FiberRuntimeMetricsService = {
      recordFiberStart: (context) => {
        count(context, 1)
        outer?.recordFiberStart(context)
      },
      recordFiberEnd: (context, exit) => {
        count(context, -1)
        outer?.recordFiberEnd(context, exit)
      }
    }
    const fiber = yield* Effect.forkChild(Effect.scoped(effect)).pipe(
      Effect.provideService(Metric.FiberRuntimeMetrics, counting)
    )
    const exit = yield* Effect.onInterrupt(Fiber.await(fiber), () => Fiber.interrupt(fiber))
    for (let turn = 0; turn < TURNS; turn++) yield* Effect.yieldNow
    if (alive.size > 0 && Exit.isSuccess(exit)) return yield* Effect.die(new FiberLeak({ fibers: new Map(alive) }))
    return yield* exit
  })

/** Fibers were left behind: how many of the runs of each name, `""` being those outside of any run. */
export class FiberLeak extends Data.TaggedError("FiberLeak")<{ readonly fibers: ReadonlyMap<string, number> }> {
  get count(): number {
    return [...this.fibers.values()].reduce((sum, n) => sum + n, 0)
  }
  override get message(): string {
    const parts = [...this.fibers].map(([name, n]) => `${n} ${name === "" ? "outside of runs" : `in "${name}"`}`)
    return `${this.count} fiber${this.count === 1 ? "" : "s"} left behind: ${parts.join(", ")}`
  }
}
