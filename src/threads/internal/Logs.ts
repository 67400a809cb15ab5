/** What is logged in a host, said by the loggers of the run. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import { decodeCause, encodeCause } from "./Causes.ts"
import type { Port } from "./Port.ts"
import type { Log } from "./Wire.ts"

/** The call a fiber of a host works for. */
export const CurrentCall: Context.Reference<number | undefined> = Context.Reference<number | undefined>(
  "tasklayer/ThreadHost/CurrentCall",
  { defaultValue: () => undefined }
)

/** Inside a host: what is logged goes to the runner. */
export const toRunner = (port: Port): Logger.Logger<unknown, void> =>
  Logger.make(({ cause, date, fiber, logLevel, message }) => {
    const encoded = cause.reasons.length === 0 ? undefined : encodeCause(cause)
    port.post({
      _tag: "Log",
      call: fiber.getRef(CurrentCall),
      level: logLevel,
      at: date.getTime(),
      message: (Array.isArray(message) ? message : [message]).map(sayable),
      annotations: mapped(fiber.getRef(References.CurrentLogAnnotations), sayable),
      spans: fiber.getRef(References.CurrentLogSpans),
      ...(encoded === undefined ? {} : { cause: encoded })
    }, [])
  })

/** Logs it as the fiber of this context and this id would, at the time it was said. */
export const say = (context: Context.Context<never>, log: Log, id?: number): void => {
  const level = log.level as LogLevel.Severity
  if (LogLevel.isGreaterThan(Context.get(context, References.MinimumLogLevel), level)) return
  const annotations = { ...Context.get(context, References.CurrentLogAnnotations), ...mapped(log.annotations, heard) }
  const spans = [...log.spans, ...Context.get(context, References.CurrentLogSpans)] as Array<[string, number]>
  const annotated = context.pipe(
    Context.add(References.CurrentLogAnnotations, annotations),
    Context.add(References.CurrentLogSpans, spans)
  )
  Effect.runForkWith(annotated)(Effect.withFiber((fiber) => {
    const options: Logger.Options<unknown> = {
      fiber: id === undefined ? fiber : Object.create(fiber, { id: { value: id } }),
      cause: log.cause === undefined ? Cause.empty : decodeCause(log.cause),
      date: new Date(log.at),
      logLevel: level,
      message: log.message.map(heard)
    }
    for (const logger of fiber.getRef(Logger.CurrentLoggers)) logger.log(options)
    return Effect.void
  }))
}

// ─── the parts of a message

const ErrorKey = "~tasklayer/error"

/** What can be cloned and says the same: errors with what they carry, other objects as the JSON they are printed as, secrets redacted. */
export const sayable = (part: unknown): unknown => {
  switch (typeof part) {
    case "function":
    case "symbol":
      return Formatter.format(part)
    case "object":
      if (part === null) return part
      if (!(part instanceof Error)) return json(part)
      return { [ErrorKey]: { ...json(part) as object, name: part.name, message: part.message, stack: part.stack } }
    default:
      return part
  }
}

const heard = (part: unknown): unknown => {
  if (typeof part !== "object" || part === null || !(ErrorKey in part)) return part
  const { message, stack, ...fields } = part[ErrorKey] as Error
  return Object.assign(new Error(message), fields, { stack })
}

const json = (value: object): unknown => {
  try {
    return JSON.parse(Formatter.formatJson(value))
  } catch {
    return Formatter.format(value)
  }
}

const mapped = (record: Readonly<Record<string, unknown>>, f: (value: unknown) => unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]))
