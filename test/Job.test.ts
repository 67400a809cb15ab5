import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as Job from "../src/Job.ts"
import * as JobRunner from "../src/JobRunner.ts"
import * as Scheduler from "../src/Scheduler.ts"
import * as Task from "../src/Task.ts"
import * as TaskRun from "../src/TaskRun.ts"

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.Number }) {}

const Find = Job.make("find", { payload: { id: Schema.Number }, success: Schema.String, error: NotFound })
const find = Find.toLayer(({ id }) => id === 0 ? Effect.fail(new NotFound({ id })) : Effect.succeed(`item ${id}`))

const local = JobRunner.layerLocal.pipe(Layer.provideMerge(Scheduler.layer({ maxParallelism: 2, tagLimits: { db: 1 } })))

describe("a job", () => {
  it.effect("returns the typed result, and the typed error", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* Find.execute({ id: 7 }), "item 7")
      const error = yield* Effect.flip(Find.execute({ id: 0 }))
      assert.instanceOf(error, NotFound)
      assert.deepStrictEqual({ ...error }, { ...new NotFound({ id: 0 }) })
    }).pipe(Effect.provide(Layer.provideMerge(find, local))))
})
