import * as Layer from "effect/Layer"
import { JobRunner, Scheduler } from "../src/index.ts"
import { jobRunnerHandlers, jobRunnerSuite } from "../src/testing/index.ts"

const local = Layer.merge(jobRunnerHandlers, JobRunner.layerLocal)
jobRunnerSuite("JobRunner.layerLocal", local.pipe(Layer.provide(Scheduler.layer({ maxParallelism: 4 }))))
jobRunnerSuite("JobRunner.layerLocal of two", local.pipe(Layer.provide(Scheduler.layer({ maxParallelism: 2 }))))
jobRunnerSuite("JobRunner.layerLocal in real time", local.pipe(Layer.provide(Scheduler.layerUnbounded)), {
  realTime: true
})
