/** Who listens hears of it. */
import { assert, describe } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { dead, job, jobs, type Law, returned, type Story, succeeded, type Worker, type World } from "./SuiteWorld.ts"

export const wakes = (law: Law): void => {
  describe("who listens is woken", () => {
    /** By what the story comes to. */
    const woken = (title: string, story: (world: World, worker: Worker) => Story<Effect.Effect<unknown, unknown>>) =>
      law(title, function*(world) {
        const worker = yield* world.worker()
        yield* world.wakes(yield* Effect.gen(() => story(world, worker)))
      })

    woken("when something is put in", function*(world) {
      return world.put(job("a"))
    })
    woken("when something is put in for later", function*(world) {
      return world.put(job("a", { due: { in: 10 } }))
    })
    woken("when a job is replaced", function*(world) {
      const unique = { key: "u", while: "active", conflict: "replace" } as const
      yield* world.put(job("a", { unique, due: { in: 1000 } }))
      return world.put(job("a", { unique }))
    })
    woken("when what is active is cancelled", function*(world, worker) {
      const [id] = yield* world.put(job("a"))
      yield* worker.one()
      return world.store.cancel(id!)
    })
    woken("when a job is returned", function*(world, worker) {
      yield* world.put(job("a"))
      const claim = yield* worker.one()
      return worker.ends(returned(claim))
    })
    woken("when an end makes room under a limit", function*(world, worker) {
      yield* world.limit("t", 1)
      yield* world.put(...jobs("a b", { tags: ["t"] }))
      const [claim] = yield* worker.claim()
      return worker.ends(succeeded(claim!))
    })
    woken("when an end makes room under the cap of a key", function*(world, worker) {
      yield* world.store.setQueue("default", { keyLimit: 1 })
      yield* world.put(...jobs("a b", { key: "k" }))
      const [claim] = yield* worker.claim()
      return worker.ends(succeeded(claim!))
    })
    woken("when a worker leaves", function*(world, worker) {
      yield* world.put(job("a"))
      yield* worker.one()
      return world.store.leave(worker.id)
    })
    woken("when a sweep takes back what a lease had", function*(world) {
      yield* world.put(job("a"))
      const lost = yield* world.worker({ lease: 10 })
      yield* lost.one()
      yield* world.advance(10)
      return world.store.sweep
    })
    woken("when a sweep finds what is due", function*(world) {
      yield* world.put(job("a", { due: { in: 10 } }))
      yield* world.advance(10)
      return world.store.sweep
    })
    woken("when a limit is raised", function*(world, worker) {
      yield* world.limit("t", 0)
      yield* world.put(job("a", { tags: ["t"] }))
      yield* worker.claim()
      return world.limit("t", 1)
    })
    woken("when a limit is removed", function*(world, worker) {
      yield* world.limit("t", 0)
      yield* world.put(job("a", { tags: ["t"] }))
      yield* worker.claim()
      return world.store.removeLimit("t")
    })
    woken("when a pause is ended", function*(world, worker) {
      yield* world.store.pauseLimit("t", 1_000_000)
      yield* world.put(job("a", { tags: ["t"] }))
      yield* worker.claim()
      return world.store.pauseLimit("t", 0)
    })
    woken("when a queue goes on", function*(world, worker) {
      yield* world.store.setQueue("default", { paused: true })
      yield* world.put(job("a"))
      yield* worker.claim()
      return world.store.setQueue("default", { paused: false })
    })
    woken("when the cap of keys is raised", function*(world, worker) {
      yield* world.store.setQueue("default", { keyLimit: 1 })
      yield* world.put(...jobs("a b", { key: "k" }))
      yield* worker.claim()
      return world.store.setQueue("default", { keyLimit: 2 })
    })
    woken("when the dead are redriven", function*(world, worker) {
      yield* world.put(job("a"))
      yield* worker.ends(dead(yield* worker.one()))
      return world.store.redrive({})
    })

    law("each of them, and none any more when its scope is closed", function*(world) {
      let stopped = 0
      yield* Effect.scoped(world.wakes(world.put(job("a"))))
      yield* Effect.scoped(world.store.listen(() => void stopped++))
      const before = stopped
      yield* Effect.all([world.wakes(world.put(job("b"))), world.wakes(world.put(job("c")))])
      assert.strictEqual(stopped, before)
    })
  })
}
