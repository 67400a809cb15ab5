/**
 * How two threads that talk to each other wait for an answer: awake, where it comes sooner than a sleeper is woken.
 *
 * To send one to sleep and to wake it takes 20 to 60 µs, several times a short job, and the waker pays its part of that.
 */
// The global one is looked up by a getter, each time.
import { performance } from "node:perf_hooks"

/** How long a wait is spent awake: more than it takes to wake the other side, or two that sleep would never begin to be awake together. */
const AWAKE_MILLIS = 0.1
/** So many waits are slept through at most, which is what waking in vain may cost: 1 to 2 µs a wait. */
const MOST_SLEEPS = 63

/**
 * Which waits are spent awake. After one in vain (long jobs, no processor for both sides) the next ones are slept through, more after each; after one
 * that was worth it, fewer.
 */
export class Patience {
  private sleeps = 0
  private left = 0
  private until = 0
  private waited = false

  /** A wait begins. False: it is to be slept through. */
  begin(): boolean {
    this.waited = false
    if (this.left > 0) {
      this.left--
      return false
    }
    this.until = performance.now() + AWAKE_MILLIS
    return true
  }

  /** Nothing came yet: whether to stay awake. */
  lasts(): boolean {
    this.waited = true
    if (performance.now() < this.until) return true
    this.left = this.sleeps = Math.min(MOST_SLEEPS, 2 * this.sleeps + 1)
    return false
  }

  /** It came. What was there at once says nothing: it would have been there for a sleeper too. */
  came(): void {
    if (this.waited) this.sleeps >>= 1
  }
}
