/** What a trigger is made of. Instants are epoch milliseconds, whole numbers. */
import * as DateTime from "effect/DateTime"
import { pipeArguments } from "effect/Pipeable"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Trigger } from "../Trigger.ts"
import { millisOf, Numbered, type Sequence, utcOf, type Walking } from "./TriggerCursor.ts"

export const TypeId = "~tasklayer/Trigger"

export interface Parts {
  readonly description: string
  readonly error?: InvalidOptionError | undefined
  /** What is due depends on the start. */
  readonly relative?: boolean | undefined
  /** The earliest start there can be. */
  readonly origin?: number | undefined
  /** First due after `start`; with `from` also at `start`. */
  readonly begin: (start: number, from: boolean) => Walking
  readonly previous: (before: number) => number | undefined
}

export class Made implements Trigger {
  readonly [TypeId] = TypeId
  readonly parts: Parts
  constructor(parts: Parts) {
    this.parts = parts
  }
  get description(): string {
    return this.parts.description
  }
  readonly next = (after: DateTime.Utc) => beginAfter(this.parts, millisOf(after)).due
  readonly previous = (before: DateTime.Utc) => utcOf(this.parts.previous(Math.ceil(before.epochMilliseconds)))
  readonly begin = (start: DateTime.Utc) => this.parts.begin(millisOf(start), false)
  pipe() {
    return pipeArguments(this, arguments)
  }
  toString() {
    return `Trigger(${this.description})`
  }
  toJSON() {
    return { _id: "Trigger", description: this.description }
  }
}

export const trigger = (build: () => Parts): Trigger => {
  try {
    return new Made(build())
  } catch (error) {
    if (!(error instanceof InvalidOptionError)) throw error
    const fail = () => {
      throw error
    }
    return new Made({ description: `invalid: ${error.message}`, error, begin: fail, previous: fail })
  }
}

/** Throws the error of an invalid one, which makes invalid whatever is built of it. */
export const partsOf = (self: Trigger): Parts => {
  const { parts } = self as Made
  if (parts.error !== undefined) throw parts.error
  return parts
}

export const absolute = (description: string, sequence: Sequence): Parts => ({
  description,
  begin: (start, from) => new Numbered(sequence, sequence.after(from ? start - 1 : start)),
  previous: (before) => sequence.at(sequence.after(before - 1) - 1)
})

export const beginAfter = (parts: Parts, after: number): Walking => {
  const cursor = parts.begin(after, false)
  return cursor.due !== undefined && cursor.due.epochMilliseconds <= after ? cursor.step() : cursor
}

/** The latest of a started trigger before an instant. What a fixed delay brought is not known without its runs. */
export const latest = (cursor: Walking, before: number): number | undefined => {
  const count = cursor.fixedDelay ? 0 : cursor.count(toUtc(before - 1))
  return count === 0 ? undefined : cursor.step(count - 1).due?.epochMilliseconds
}

/** At the beginning of time, a millisecond before it is taken for it. */
export const toUtc = (instant: number): DateTime.Utc => DateTime.makeUnsafe(Math.max(instant, -8_640_000_000_000_000))
