/** One worker's lease: for all it has, until it ends. */
import type { Spot } from "./MemoryHeap.ts"
import type { Job } from "./MemoryJob.ts"

export class Lease {
  readonly id: string
  readonly name: string
  readonly lasts: number
  readonly joinedAt: number
  expiresAt: number
  /** Of the last turn: one of a lower epoch comes too late. */
  epoch = 0
  readonly jobs = new Set<Job>()
  /** Of its jobs: those it is to interrupt. */
  readonly cancelled = new Set<Job>()
  spot: Spot<Lease> | undefined = undefined
  constructor(id: string, name: string, lasts: number, now: number) {
    this.id = id
    this.name = name
    this.lasts = lasts
    this.joinedAt = now
    this.expiresAt = now + lasts
  }

  /** It ends at this instant, whether anybody has looked or not. */
  isAlive(now: number): boolean {
    return now < this.expiresAt
  }
}
