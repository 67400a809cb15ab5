/** The options of a periodic, checked and with their defaults, and the plan they begin with. */
import * as Duration from "effect/Duration"
import type * as Random from "effect/Random"
import * as Concurrency from "../Concurrency.ts"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Options } from "../Periodic.ts"
import * as Trigger from "../Trigger.ts"
import * as Plan from "./PeriodicPlan.ts"

/** What was asked for, as it starts now. */
export interface Started {
  readonly name: string
  readonly trigger: Trigger.Trigger
  readonly policy: Plan.Policy
  readonly plan: Plan.Plan
}

/** Throws the `InvalidOptionError` of `where` that names what cannot be. */
export const start = (
  where: string,
  task: string,
  trigger: Trigger.Trigger,
  options: Options,
  now: number,
  random: typeof Random.Random.Service
): Started => {
  const no = (field: keyof Options, rule: string): never => {
    throw new InvalidOptionError({ where, field, rule, value: options[field] })
  }
  const oneOf = <T extends string>(field: keyof Options, ...words: readonly [T, ...Array<T>]): T => {
    const word = (options[field] ?? words[0]) as T
    return words.includes(word) ? word : no(field, `must be one of ${words.map((word) => `"${word}"`).join(", ")}`)
  }
  const integer = (field: "maxMissed" | "maxQueued" | "times", least: number, otherwise: number): number => {
    const n = options[field] ?? otherwise
    return n === otherwise || (Number.isInteger(n) && n >= least) ? n : no(field, `must be an integer >= ${least}`)
  }
  const duration = (field: "tolerance" | "jitter", otherwise: number): number => {
    const input = options[field]
    return input === undefined ? otherwise : Duration.toMillis(Concurrency.checkDuration(where, field, input))
  }
  const date = (field: "startAt" | "endAt", otherwise: number): number => {
    const input = options[field]
    if (input === undefined) return otherwise
    return renamed(where, () => Trigger.next(Trigger.at(input), EARLIEST)!.epochMilliseconds, field)
  }
  const name = options.name ?? task
  if (typeof name !== "string" || name === "") no("name", "must be a string that is not empty")
  const from = date("startAt", -Infinity)
  const until = date("endAt", Infinity)
  if (until < from) no("endAt", "must not be before startAt")
  const jitter = duration("jitter", 0)
  if (jitter === Infinity) no("jitter", "must be finite")
  const policy: Plan.Policy = {
    overlap: oneOf("overlap", "skip", "queue", "replace", "allow"),
    missed: oneOf("missed", "once", "skip", "all"),
    maxMissed: integer("maxMissed", 1, 100),
    maxQueued: integer("maxQueued", 0, Infinity),
    tolerance: duration("tolerance", 1_000),
    times: integer("times", 1, Infinity),
    from,
    lateBy: jitter === 0 ? onTime : atRandom(jitter, random.nextIntUnsafe())
  }
  const begun = from === -Infinity ? trigger : Trigger.since(trigger, from)
  const bounded = until === Infinity ? begun : Trigger.until(begun, until)
  const first = Math.max(now, from)
  const immediate = options.immediate === true && first <= until ? first : undefined
  const plan = renamed(where, () => Plan.begin(bounded, now, immediate))
  return { name, trigger: bounded, policy: shared(policy), plan }
}

/** What is wrong with a trigger is told in its own name; here it was asked for under another. */
const renamed = <A>(where: string, f: () => A, as?: keyof Options): A => {
  try {
    return f()
  } catch (error) {
    if (!(error instanceof InvalidOptionError)) throw error
    const { field, rule, value } = error
    throw new InvalidOptionError({ where, field: as ?? field, rule, value })
  }
}

/** Many periodics in a row ask for the same: one policy for them. */
const shared = (policy: Plan.Policy): Plan.Policy => {
  const same = lately !== undefined &&
    (Object.keys(policy) as Array<keyof Plan.Policy>).every((key) => policy[key] === lately![key])
  return same ? lately! : lately = policy
}
let lately: Plan.Policy | undefined

/** Of all instants. */
const EARLIEST = -8_640_000_000_000_000

const onTime = () => 0

/** Of an instant always the same. The mixing is that of splitmix32. */
const atRandom = (most: number, seed: number) => (due: number): number => {
  let n = seed + (due / 2 ** 32 | 0) + Math.imul(due | 0, 0x9e3779b9)
  n = Math.imul(n ^ n >>> 16, 0x21f0aaad)
  n = Math.imul(n ^ n >>> 15, 0x735a2d97)
  return Math.floor(((n ^ n >>> 15) >>> 0) / 2 ** 32 * (most + 1))
}
