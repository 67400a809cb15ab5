/** A store that can be taken away: what is asked of it fails, before it is done or after. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { JobStore, JobStoreError, type Store } from "../../src/queue/JobStore.ts"

export class Faults {
  /** `"before"`: nothing is done. `"after"`: it is done, and the answer is lost. */
  turn: "before" | "after" | undefined
  renew: "before" | "after" | undefined
  join: "before" | undefined
  enqueue: "before" | undefined
  /** What was asked, in order. */
  readonly asked: Array<string> = []

  set all(fault: "before" | undefined) {
    this.turn =
      this.renew =
      this.join =
      this.enqueue =
        fault
  }

  /** Around the store in context. */
  get layer(): Layer.Layer<JobStore, never, JobStore> {
    return Layer.effect(JobStore, Effect.map(JobStore, (store) => this.around(store)))
  }

  around(store: Store): Store {
    const faulty = <A, E>(operation: "turn" | "renew" | "join" | "enqueue", effect: Effect.Effect<A, E>) =>
      Effect.suspend((): Effect.Effect<A, E | JobStoreError> => {
        this.asked.push(operation)
        const fault = this[operation]
        const lost = Effect.fail(new JobStoreError({ kind: "faulty", operation, cause: new Error("away") }))
        return fault === undefined ? effect : fault === "before" ? lost : Effect.andThen(Effect.exit(effect), lost)
      })
    return {
      ...store,
      // Another thread would go around it.
      keeper: undefined,
      enqueue: (jobs) => faulty("enqueue", store.enqueue(jobs)),
      join: (worker) => faulty("join", store.join(worker)),
      renew: (worker) => faulty("renew", store.renew(worker)),
      turn: (turn) => faulty("turn", store.turn(turn))
    }
  }
}
