/** Numbers in shared memory: latches between threads, without polling. */
import * as Effect from "effect/Effect"

export type Cells = Int32Array<SharedArrayBuffer>

/** Given to threads as `data`: `cells.buffer`. */
export const make = (count = 64): Cells => new Int32Array(new SharedArrayBuffer(count * 4))

export const get = (cells: Cells, cell: number): number => Atomics.load(cells, cell)

export const add = (cells: Cells, cell: number, by = 1): void => {
  Atomics.add(cells, cell, by)
  Atomics.notify(cells, cell)
}

/** Waits until the cell has at least this value. */
export const reached = (cells: Cells, cell: number, value: number): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let waiting = true
    const look = (): void => {
      if (!waiting) return
      const now = get(cells, cell)
      if (now >= value) return resume(Effect.void)
      const wait = Atomics.waitAsync(cells, cell, now)
      if (wait.async) void wait.value.then(look)
      else look()
    }
    look()
    return Effect.sync(() => {
      waiting = false
      // Who waits in vain would keep its thread alive.
      Atomics.notify(cells, cell)
    })
  })
