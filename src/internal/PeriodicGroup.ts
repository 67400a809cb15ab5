/** All periodics of one supervisor: by name, and on one timer. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Supervisor } from "../Supervisor.ts"
import type { Ticker } from "./PeriodicTicker.ts"
import { Timer } from "./PeriodicTimer.ts"

export class Group {
  readonly periodics = new Map<string, Ticker<any, any>>()
  readonly timer: Timer = new Timer((by) => this.setBack(by))
  readonly supervisor: Supervisor["Service"]
  private seq = 0
  constructor(supervisor: Supervisor["Service"]) {
    this.supervisor = supervisor
  }

  nextSeq(): number {
    return this.seq++
  }

  private setBack(by: number): void {
    for (const periodic of this.periodics.values()) periodic.setBack(by)
    const [any] = this.periodics.values()
    if (any === undefined) return
    const took = Duration.format(Duration.millis(Math.round(by)))
    Effect.runForkWith(any.context)(Effect.logWarning(
      `the clock was set back by ${took}: what is due by the calendar waits until it is there again`
    ))
  }
}

const groups = new WeakMap<Supervisor["Service"], Group>()

export const groupOf = (supervisor: Supervisor["Service"]): Group => {
  let group = groups.get(supervisor)
  if (group === undefined) groups.set(supervisor, group = new Group(supervisor))
  return group
}
