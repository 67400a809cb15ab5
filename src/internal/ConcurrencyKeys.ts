/** Fairness between keys: who is served next among those that wait under different ones. */
import type { Key } from "./ConcurrencyLine.ts"

/** Virtual time of the keys of one scheduler: start-time fair queueing over the keys that wait. */
export class KeyClock {
  virtual = 0
  private readonly keys = new Map<string | undefined, FairKey>()
  get size(): number {
    return this.keys.size
  }
  get(name: string | undefined): FairKey {
    let key = this.keys.get(name)
    if (key === undefined) {
      key = { name, virtual: this.virtual, waiting: 0, clock: this }
      this.keys.set(name, key)
    }
    return key
  }
  /** A key nobody waits under is forgotten, unless it is ahead of the others. */
  idle(key: FairKey): void {
    if (key.name !== undefined && key.virtual <= this.virtual) this.keys.delete(key.name)
  }
}

export interface FairKey extends Key {
  readonly clock: KeyClock | undefined
}

/** Of those that take back what they had: fairness was done when they were let in. */
export const idleKey: FairKey = { name: undefined, virtual: 0, waiting: 0, clock: undefined }
