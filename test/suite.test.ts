/** What is promised of every runner, asked of each of ours. */
import { Scheduler } from "../src/index.ts"
import { schedulerSuite, TestScheduler } from "../src/testing/index.ts"

schedulerSuite("layer of one", Scheduler.layer({ maxParallelism: 1 }))
schedulerSuite("layer of four", Scheduler.layer({ maxParallelism: 4 }))
schedulerSuite("layerSequential", Scheduler.layerSequential)
schedulerSuite("layerUnbounded", Scheduler.layerUnbounded)
schedulerSuite("layerInline", Scheduler.layerInline, { inline: true })
schedulerSuite("TestScheduler", TestScheduler.layer())
