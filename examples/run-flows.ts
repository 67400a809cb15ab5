/** I want parts of my program to have a runner of their own, started and stopped with them, under one database limit. */
import { Effect, Layer } from "effect"
import { Concurrency, Flow, RunLog, Scheduler, Task } from "../src/index.ts"

const hello = (name: string) => Task.make("hello", Effect.sync(() => console.log(`hello ${name}`)), { tags: ["db"] })

const inner = Flow.make("in parallel", Task.all([hello("Bob"), hello("Carol")]), Scheduler.layer({ maxParallelism: 4 }))

const outer = Flow.make(
  "one by one",
  Effect.gen(function*() {
    yield* hello("Ann")
    yield* inner
    yield* hello("Dave")
  }),
  Scheduler.layerSequential
)

// Both runners read the limits of the one Concurrency outside them. RunLog prints what begins and ends.
await outer.pipe(
  Effect.provide(Concurrency.layer({ tagLimits: { db: 10 } }).pipe(Layer.provideMerge(RunLog.layer))),
  Effect.runPromise
)
