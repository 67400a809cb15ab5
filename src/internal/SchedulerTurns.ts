/** The turns of the event loop in which runs go on. */
import type { SchedulerDispatcher } from "effect/Scheduler"

/** One dispatcher for all runs, which knows when it is inside one of its turns and when that ends. */
export class Turns implements SchedulerDispatcher {
  inside = false
  private planned = false
  private buckets: Array<[priority: number, tasks: Array<() => void>]> = []
  private readonly dispatcher: SchedulerDispatcher
  private readonly atEnd: () => void
  constructor(dispatcher: SchedulerDispatcher, atEnd: () => void) {
    this.dispatcher = dispatcher
    this.atEnd = atEnd
  }
  scheduleTask(task: () => void, priority: number): void {
    if (!this.planned) {
      this.planned = true
      this.dispatcher.scheduleTask(this.turn, 0)
    }
    const { buckets } = this
    let at = 0
    while (at < buckets.length && buckets[at]![0] < priority) at++
    if (at < buckets.length && buckets[at]![0] === priority) buckets[at]![1].push(task)
    else buckets.splice(at, 0, [priority, [task]])
  }
  flush(): void {
    this.dispatcher.flush()
  }
  private readonly turn = (): void => {
    const { buckets } = this
    this.buckets = []
    this.planned = false
    this.inside = true
    for (const [, tasks] of buckets) for (let i = 0; i < tasks.length; i++) tasks[i]!()
    this.inside = false
    this.atEnd()
  }
}
