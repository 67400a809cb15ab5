/** The progress of one attempt, on its way to who listens. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"

export type OnProgress = (progress: any) => Effect.Effect<void>

/** One at a time, in order; after the end, nothing. Listening cannot harm the job: what goes wrong there is logged. */
export class Progress {
  private readonly one = Semaphore.makeUnsafe(1)
  private isOver = false
  private readonly onProgress: OnProgress

  constructor(onProgress: OnProgress) {
    this.onProgress = onProgress
  }

  readonly report: OnProgress = (progress) =>
    this.one.withPermit(Effect.suspend(() =>
      this.isOver
        ? Effect.void
        : Effect.catchCause(
          Effect.suspend(() => this.onProgress(progress)),
          (cause) => Effect.logWarning("onProgress died", cause)
        )
    ))

  readonly end = (): undefined => {
    this.isOver = true
  }
}
