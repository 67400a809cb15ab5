/** How payloads and results cross a boundary: as JSON, by each schema's canonical codec. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import { TaskAborted } from "../TaskRun.ts"

/** How a handler ended, encoded. */
export type Reply =
  | { readonly _tag: "Success"; readonly value: unknown }
  | { readonly _tag: "Failure"; readonly cause: unknown }
  /** By `Task.abort`: an outcome of its own, which a defect that crosses would not be. */
  | { readonly _tag: "Aborted"; readonly reason: string }

type Coder = (value: unknown) => Effect.Effect<any, Schema.SchemaError>

/** The codecs of one job, made once. */
export class Codec {
  readonly encodePayload: Coder
  readonly decodePayload: Coder
  private readonly encodeSuccess: Coder
  private readonly decodeSuccess: Coder
  private readonly encodeCause: Coder
  private readonly decodeCause: Coder

  constructor(payload: Schema.Top, success: Schema.Top, error: Schema.Top) {
    const [encode, decode] = codersOf(payload)
    this.encodePayload = (value) =>
      Effect.flatMap(Effect.mapError(payload.makeEffect(value), (issue) => new Schema.SchemaError(issue)), encode)
    this.decodePayload = decode
    ;[this.encodeSuccess, this.decodeSuccess] = codersOf(success)
    ;[this.encodeCause, this.decodeCause] = codersOf(Schema.Cause(error, Schema.Defect({ includeStack: true })))
  }

  /** A result its schema does not fit is a defect of the handler. */
  encodeExit(exit: Exit.Exit<unknown, unknown>): Effect.Effect<Reply> {
    if (Exit.isSuccess(exit)) {
      return Effect.matchCauseEffect(this.encodeSuccess(exit.value), {
        onSuccess: (value) => Effect.succeed<Reply>({ _tag: "Success", value }),
        onFailure: (cause) => this.encodeFailure(Cause.die(Cause.squash(cause)))
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
    const encoded = Effect.catch(this.encodeCause(cause), (error) => this.encodeCause(Cause.die(error)))
    return Effect.map(Effect.orDie(encoded), (cause) => ({ _tag: "Failure", cause }))
  }

  decodeReply(reply: Reply): Effect.Effect<unknown, unknown> {
    switch (reply._tag) {
      case "Success":
        return Effect.orDie(this.decodeSuccess(reply.value))
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
