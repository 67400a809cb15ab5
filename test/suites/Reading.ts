/** Short questions to ask of a run or a tag in the middle of a story. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Concurrency, type Supervisor, type TaskRun } from "../../src/index.ts"

export const usage = (tag: string) => Effect.map(Concurrency.read(tag), Option.getOrThrow)

/** The weight taken of a tag. */
export const active = (tag: string) => Effect.map(usage(tag), (info) => info.active)

export const tagOf = (run: TaskRun.TaskRun<unknown, unknown>) => Effect.map(run.state, (state) => state._tag)

/** How a run ended, or what it does instead. */
export const outcomeOf = (run: TaskRun.TaskRun<unknown, unknown>) =>
  Effect.map(run.state, (state) => state._tag === "Finished" ? state.outcome._tag : state._tag)

/** One of a kind, like a connection: kept while its holder waits. */
export const held: Concurrency.TagLimit = { limit: 1, whileWaiting: "hold" }

/** What a stop reports: nothing but these. */
export const report = (counts: Partial<Supervisor.Report>): Supervisor.Report => ({
  drained: 0,
  interrupted: 0,
  abandoned: 0,
  stragglers: [],
  ...counts
})
