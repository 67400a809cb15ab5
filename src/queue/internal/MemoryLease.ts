/** One worker's lease: for all it has, until it ends. */
import type { Place } from "./MemoryHeap.ts"
import type { Job } from "./MemoryJob.ts"

export class Lease {
  readonly id: string
  readonly name: string
  readonly lasts: number
  readonly joinedAt: number
  expiresAt: number
  readonly jobs = new Set<Job>()
  /** Of its jobs: those it is to interrupt. */
  readonly cancelled = new Set<Job>()
  place: Place<Lease> | undefined = undefined
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
