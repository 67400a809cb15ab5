/** What can go wrong with a worker. */
import * as Data from "effect/Data"

/** A worker that stops, or has stopped, takes no items. */
export class WorkerStoppedError extends Data.TaggedError("WorkerStoppedError")<{ readonly worker: string }> {
  override get message(): string {
    return `worker "${this.worker}" has stopped and takes no items`
  }
}

/** The queue holds as many items as it may, and `whenFull` is `"fail"`. */
export class QueueFullError extends Data.TaggedError("QueueFullError")<{
  readonly worker: string
  readonly capacity: number
}> {
  override get message(): string {
    return `the queue of worker "${this.worker}" is full: ${this.capacity} items wait`
  }
}

/** No worker of that name is active under this supervisor. */
export class UnknownWorkerError extends Data.TaggedError("UnknownWorkerError")<{
  readonly name: string
  readonly known: ReadonlyArray<string>
}> {
  override get message(): string {
    const known = this.known.map((name) => `"${name}"`).join(", ")
    return `no worker "${this.name}" is active: ${known === "" ? "none is" : known}`
  }
}
