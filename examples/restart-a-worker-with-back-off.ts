/** I want something done every 20 ms, and after a failure tried again: soon at first, then later and later. */
import { Effect, Latch, Layer, Schedule } from "effect"
import { Scheduler, Worker } from "../src/index.ts"

const start = performance.now()
const done = Latch.makeUnsafe()
let polls = 0

const poll = Effect.gen(function*() {
  const n = ++polls
  console.log(`poll ${n}`)
  if (n === 2 || n === 3) return yield* Effect.fail("the service is down")
  if (n < 5) return
  yield* Worker.stopSelf
  yield* done.open
})

// Without a policy the first failure is the end of the worker. An `onError` would deal with it, and the worker go on as before.
const poller = Worker.interval("poller", "20 millis", poll, {
  restart: Schedule.exponential("40 millis").pipe(Schedule.upTo({ times: 5 }))
})

const Pollers = Worker.layer(poller).pipe(Layer.provide(Scheduler.layer({ maxParallelism: 2 })))

await Effect.runPromise(Effect.provide(done.await, Pollers))

// 20 ms to the second poll, 40 to the third, 80 to the fourth, 20 to the fifth.
console.log("after 160 ms:", performance.now() - start >= 155)
