/** Causes on the way to loggers and tracers: to be read, not to be handled. */
import * as Cause from "effect/Cause"
import * as Schema from "effect/Schema"

const Defect = Schema.Defect({ includeStack: true })
const Encoded = Schema.toCodecJson(Schema.Cause(Defect, Defect))
const encode = Schema.encodeUnknownSync(Encoded)
const decode = Schema.decodeUnknownSync(Encoded)

export const encodeCause = (cause: Cause.Cause<unknown>): unknown => {
  try {
    return encode(cause)
  } catch {
    return encode(Cause.die(Cause.pretty(cause)))
  }
}

export const decodeCause = (encoded: unknown): Cause.Cause<unknown> => decode(encoded)
