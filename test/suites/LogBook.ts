/** What was logged, kept instead of printed. */
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"

export interface Line {
  readonly level: string
  readonly text: string
}

export interface LogBook {
  readonly lines: ReadonlyArray<Line>
  readonly keep: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const make = (): LogBook => {
  const lines: Array<Line> = []
  const logger = Logger.make(({ logLevel, message, cause }) => {
    const parts = (Array.isArray(message) ? message : [message]).map(textOf)
    lines.push({ level: logLevel, text: [...parts, ...cause.reasons.map(textOf)].join(" ") })
  })
  return { lines, keep: Effect.provide(Logger.layer([logger])) }
}

const textOf = (part: unknown): string =>
  typeof part === "string" ? part : part instanceof Error ? String(part) : JSON.stringify(part)
