/**
 * Evenly spaced instants, each computed from its number and none from the one before, so that nothing adds up: in nanoseconds, as integers.
 */
import type { Sequence } from "./TriggerCursor.ts"

const milli = 1_000_000n
const latest = 8_640_000_000_000_000

/** All in nanoseconds. */
export interface GridOptions {
  /** Of the tick with number 0. */
  readonly first: bigint
  readonly interval: bigint
  readonly jitter: bigint
  readonly seed: number
  /** Of a start, it has no ticks before number 0 and gaps from `interval` to `interval + jitter`. Else it has a tick up to `jitter` after every grid point. */
  readonly started: boolean
}

export class Grid implements Sequence {
  private readonly first: bigint
  private readonly period: bigint
  /** Each tick is late by 0 to `spread`. */
  private readonly spread: bigint
  private readonly seed: number
  private readonly started: boolean
  constructor(options: GridOptions) {
    // With ticks late by up to half of the jitter, and half of the jitter in the period, two of them are never nearer than the interval.
    this.spread = options.started ? options.jitter / 2n : options.jitter
    this.period = options.interval + (options.started ? this.spread : 0n)
    this.first = options.first
    this.seed = options.seed
    this.started = options.started
  }

  /** To the nearest millisecond. */
  at(number: number): number | undefined {
    if (number < 0 && this.started) return undefined
    const nanos = this.first + BigInt(number) * this.period + this.lateness(number)
    const millis = Number(floor(nanos + milli / 2n, milli))
    return Math.abs(millis) <= latest ? millis : undefined
  }

  after(instant: number): number {
    // What rounds to a later millisecond is at least half of one later.
    const least = BigInt(instant) * milli + milli / 2n
    let number = Number(-floor(this.first + this.spread - least, this.period))
    if (this.started) number = Math.max(0, number)
    if (this.spread > 0n) { while (this.at(number)! <= instant) number++ }
    return number
  }

  private lateness(number: number): bigint {
    if (this.spread === 0n || (number === 0 && this.started)) return 0n
    return BigInt(Math.floor(fraction(this.seed, number) * (Number(this.spread) + 1)))
  }
}

/** Rounded down, also below zero. */
const floor = (a: bigint, b: bigint): bigint => a >= 0n ? a / b : (a + 1n) / b - 1n

/** From 0 to 1, and the same again for the same seed and number. The mixing is the finalizer of MurmurHash3 (Austin Appleby, public domain), twice. */
export const fraction = (seed: number, number: number): number => {
  const high = Math.floor(number / 2 ** 32)
  return mix(mix(mix(seed ^ 0x9e3779b9) ^ number) ^ high) / 2 ** 32
}

const mix = (n: number): number => {
  n = Math.imul(n ^ n >>> 16, 0x85ebca6b)
  n = Math.imul(n ^ n >>> 13, 0xc2b2ae35)
  return (n ^ n >>> 16) >>> 0
}
