/** When the next iteration of a worker is due, in milliseconds. Told what happens; it neither waits nor reads a clock. */

/** No waiting at all: also the base of the others. */
export class Pace {
  /** Whether it is to be told the time at all. */
  readonly timed: boolean = false
  /** The loop begins, for the first time or again. What triggered it before still counts. */
  begin(_now: number): void {}
  /** How long until the next iteration; `Infinity`: until something happens. */
  wait(_now: number): number {
    return 0
  }
  /** An iteration began: what was due until now, and asked for until now, is served by it. */
  began(_now: number): void {}
  /** It ended. */
  ended(_now: number): void {}
  /** Brings the next iteration forward to now. False: there is nothing to bring forward. */
  trigger(): boolean {
    return false
  }
  /** Waits anew, as if an iteration were running now. */
  rewind(_now: number): boolean {
    return false
  }
  /** Passes over the next iteration. */
  skip(): boolean {
    return false
  }
}

/** Runs while there are items. */
export class Queued extends Pace {
  private readonly queue: { readonly size: number }
  constructor(queue: { readonly size: number }) {
    super()
    this.queue = queue
  }
  override wait(_now: number): number {
    return this.queue.size > 0 ? 0 : Infinity
  }
}

/** Runs when triggered. Triggers while it runs are one. */
export class Event extends Pace {
  protected triggered = false
  override wait(_now: number): number {
    return this.triggered ? 0 : Infinity
  }
  override began(_now: number): void {
    this.triggered = false
  }
  override trigger(): boolean {
    return this.triggered = true
  }
  override rewind(_now: number): boolean {
    return this.skip()
  }
  override skip(): boolean {
    const was = this.triggered
    this.triggered = false
    return was
  }
}

/** On the grid `start + n * interval`, computed and not summed. What a long iteration missed of it is left out. */
export class Interval extends Event {
  override readonly timed = true
  private start = 0
  /** The point of the grid that is due next. */
  private n = 0
  private readonly interval: number
  private readonly immediate: boolean
  constructor(interval: number, immediate: boolean) {
    super()
    this.interval = interval
    this.immediate = immediate
  }
  private get due(): number {
    // Not `0 * Infinity`.
    return this.n === 0 ? this.start : this.start + this.n * this.interval
  }
  override begin(now: number): void {
    this.start = now
    this.n = this.immediate ? 0 : 1
  }
  override wait(now: number): number {
    return this.triggered ? 0 : this.due - now
  }
  override began(now: number): void {
    // A timer may be early by a fraction of a millisecond: without a trigger it was this point all the same.
    if (!this.triggered || this.due <= now) this.n++
    this.triggered = false
  }
  override ended(now: number): void {
    if (this.due < now) this.n = Math.ceil((now - this.start) / this.interval)
  }
  override rewind(now: number): boolean {
    this.triggered = false
    this.start = now
    this.n = 1
    return true
  }
  override skip(): boolean {
    if (!super.skip()) this.n++
    return true
  }
}

/** So long after the end of the last. */
export class Delay extends Event {
  override readonly timed = true
  private due = 0
  private skipped = 0
  private readonly delay: number
  private readonly immediate: boolean
  constructor(delay: number, immediate: boolean) {
    super()
    this.delay = delay
    this.immediate = immediate
  }
  override begin(now: number): void {
    this.due = this.immediate ? now : now + this.delay
    this.skipped = 0
  }
  override wait(now: number): number {
    return this.triggered ? 0 : this.due + this.skipped * this.delay - now
  }
  override began(now: number): void {
    this.skipped = 0
    super.began(now)
  }
  override ended(now: number): void {
    this.due = now + this.delay
  }
  override rewind(now: number): boolean {
    this.triggered = false
    this.due = now + this.delay
    this.skipped = 0
    return true
  }
  override skip(): boolean {
    if (!super.skip()) this.skipped++
    return true
  }
}
