/** What every queue in the bench can do. A job's payload is `{ n }`, and its handler calls back with `n`. */
export interface Rival {
  /** One job, kept when it resolves. */
  readonly add: (n: number) => Promise<unknown>
  /** Jobs 0 to count - 1, as fast as it goes. */
  readonly addAll: (count: number) => Promise<unknown>
  /** Begins to take and run jobs. */
  readonly work: (onJob: (n: number) => void, how: How) => Promise<void>
  /** No more. */
  readonly stop: () => Promise<void>
}

/**
 * `"batched"`: many taken and acknowledged at once, where there is such a way. `"acknowledged"`: no job is taken ahead, and each is acknowledged
 * before its place is another's. `"prompt"`: as soon as it is put in.
 */
export type How = "batched" | "acknowledged" | "prompt"

/** How many run at once, in every subject. */
export const concurrency = 24

/** How many jobs are put in by one call. */
export const chunk = 1_000

export const chunks = async (count: number, put: (from: number, to: number) => Promise<unknown>): Promise<void> => {
  for (let from = 0; from < count; from += chunk) await put(from, Math.min(count, from + chunk))
}

export const range = <A>(from: number, to: number, f: (n: number) => A): Array<A> =>
  Array.from({ length: to - from }, (_, i) => f(from + i))
