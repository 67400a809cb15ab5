/** How payloads and results cross a boundary: as JSON, by each schema's canonical codec. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { TaskAborted } from "../TaskRun.ts"
import { InvalidPayloadError, InvalidResultError } from "./JobErrors.ts"

/** How a handler ended, encoded. */
export type Reply =
  | { readonly _tag: "Success"; readonly value: unknown }
  | { readonly _tag: "Failure"; readonly cause: unknown }
  /** By `Task.abort`: an outcome of its own, which a defect that crosses would not be. */
  | { readonly _tag: "Aborted"; readonly reason: string }

type Coder = (value: unknown) => Effect.Effect<any, Schema.SchemaError>

/** The codecs of one job, made once. */
export class Codec {
  private readonly job: string
  private readonly payload: Schema.Top
  private readonly encode: Coder
  private readonly decode: Coder
  private readonly encodeSuccess: Coder
  private readonly decodeSuccess: Coder
  private readonly encodeCause: Coder
  private readonly decodeCause: Coder

  constructor(job: string, payload: Schema.Top, success: Schema.Top, error: Schema.Top) {
    this.job = job
    this.payload = payload
    ;[this.encode, this.decode] = codersOf(payload)
    ;[this.encodeSuccess, this.decodeSuccess] = codersOf(success)
    ;[this.encodeCause, this.decodeCause] = codersOf(Schema.Cause(error, Schema.Defect({ includeStack: true })))
  }

  /** Validates what the payload is made of, defaults filled in. */
  makePayload(input: unknown): Effect.Effect<unknown, InvalidPayloadError> {
    return this.valid(() =>
      Effect.mapErrorEager(this.payload.makeEffect(input), (issue) => new Schema.SchemaError(issue))
    )
  }

  encodePayload(payload: unknown): Effect.Effect<unknown, InvalidPayloadError> {
    return this.valid(() => this.encode(payload))
  }

  decodePayload(payload: unknown): Effect.Effect<unknown, InvalidPayloadError> {
    return this.valid(() => this.decode(payload))
  }

  private valid(code: () => Effect.Effect<unknown, Schema.SchemaError>): Effect.Effect<unknown, InvalidPayloadError> {
    const coded = code()
    if (Exit.isExit(coded) && Exit.isSuccess(coded)) return coded as Exit.Exit<unknown>
    return Effect.catchCause(coded, (cause): Effect.Effect<never, InvalidPayloadError> => {
      const wrong = Cause.squash(cause)
      if (Schema.isSchemaError(wrong)) return Effect.fail(this.invalid(wrong.message))
      // What contains itself ends where the stack does.
      if (wrong instanceof RangeError) return Effect.fail(this.invalid("it is circular or nested too deeply"))
      return Effect.failCause(cause as Cause.Cause<never>)
    })
  }

  private invalid(issue: string): InvalidPayloadError {
    return new InvalidPayloadError({ job: this.job, issue })
  }

  /** A result its schema does not fit is a defect of the handler. */
  encodeExit(exit: Exit.Exit<unknown, unknown>): Effect.Effect<Reply> {
    if (Exit.isSuccess(exit)) {
      return Effect.matchCauseEffectEager(this.encodeSuccess(exit.value), {
        onSuccess: (value) => Effect.succeed<Reply>({ _tag: "Success", value }),
        onFailure: (cause) => this.encodeFailure(Cause.die(this.unfit("success", cause)))
      })
    }
    for (const reason of exit.cause.reasons) {
      if (reason._tag === "Die" && reason.defect instanceof TaskAborted) {
        return Effect.succeed<Reply>({ _tag: "Aborted", reason: reason.defect.reason })
      }
    }
    return this.encodeFailure(exit.cause)
  }

  private encodeFailure(cause: Cause.Cause<unknown>): Effect.Effect<Reply> {
    const encoded = Effect.catchCause(this.encodeCause(cause), (why) => {
      const reasons = cause.reasons.map((reason) =>
        reason._tag === "Fail" ? Cause.makeDieReason(this.unfit("error", why, reason.error)) : reason
      )
      return this.encodeCause(Cause.fromReasons(reasons))
    })
    return Effect.map(Effect.orDie(encoded), (cause) => ({ _tag: "Failure", cause }))
  }

  private unfit(end: "success" | "error", why: Cause.Cause<unknown>, cause?: unknown): InvalidResultError {
    const wrong = Cause.squash(why)
    const issue = Schema.isSchemaError(wrong) ? wrong.message : String(wrong)
    return new InvalidResultError({ job: this.job, end, issue, cause })
  }

  decodeReply(reply: Reply): Effect.Effect<unknown, unknown> {
    switch (reply._tag) {
      case "Success":
        return Effect.catchEager(this.decodeSuccess(reply.value), Effect.die)
      case "Failure":
        return Effect.flatMap(Effect.orDie(this.decodeCause(reply.cause)), Effect.failCause)
      case "Aborted":
        return Effect.die(new TaskAborted({ reason: reply.reason }))
    }
  }
}

const codersOf = (schema: Schema.Top): [encode: Coder, decode: Coder] => {
  const codec = Schema.toCodecJson(schema)
  return [Schema.encodeUnknownEffect(codec) as Coder, Schema.decodeUnknownEffect(codec) as Coder]
}

/** Progress is JSON and nothing else: what cannot leave the process is a defect here too. */
export const encodeProgress = (value: unknown): Effect.Effect<Schema.Json, Schema.SchemaError> =>
  Effect.mapEager(decodeJson(value), copy) as Effect.Effect<Schema.Json, Schema.SchemaError>

const decodeJson = Schema.decodeUnknownEffect(Schema.Json)

/** A copy as `structuredClone` makes it; JSON, which is nearly all there is, without its cost. */
export const copy = (value: unknown): unknown => {
  if (typeof value !== "object" && typeof value !== "function" && typeof value !== "symbol") return value
  if (value === null) return value
  if (Array.isArray(value)) return value.map(copy)
  if (Object.getPrototypeOf(value) !== Object.prototype) return structuredClone(value)
  const copied: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const part = copy((value as Record<string, unknown>)[key])
    if (key !== "__proto__") copied[key] = part
    else Object.defineProperty(copied, key, { value: part, enumerable: true, writable: true, configurable: true })
  }
  return copied
}
