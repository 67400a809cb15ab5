/** Jobs whose schemas are in the hosts: what crosses is passed on as it is. */
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaRepresentation from "effect/SchemaRepresentation"
import * as Job from "../../Job.ts"

const Raw = Schema.Any.annotate({
  toCodecJson: () =>
    Schema.link()(Schema.Any, { decode: SchemaGetter.passthrough(), encode: SchemaGetter.passthrough() })
})

/** Of what is encoded already, and to be decoded elsewhere. */
export const rawOf = (name: string, options: Job.Options<any>): Job.AnyJob =>
  Job.make(name, { ...options, payload: Raw, success: Raw, error: Raw } as {}) as Job.AnyJob

const plain = new Map<string, Job.AnyJob>()

/** One without options; of each name the same. */
export const plainOf = (name: string): Job.AnyJob => {
  let job = plain.get(name)
  if (job === undefined) plain.set(name, job = rawOf(name, {}))
  return job
}

/** Its payloads are checked by their JSON Schema, as far as that can be followed. */
export const checkedOf = (info: Job.JobInfo): Job.AnyJob => {
  const payload = Raw.check(Schema.makeFilter((value) => isJson(value) ? problemOf(value) : undefined))
  const problemOf = problemsOf(info.payload)
  return Job.make(info.name, { payload, success: Raw, error: Raw }) as Job.AnyJob
}

const isJson = Schema.is(Schema.Json)

const problemsOf = (document: Job.JobInfo["payload"]): (value: unknown) => string | undefined => {
  try {
    const schema = SchemaRepresentation.fromJsonSchemaDocument(document, { patterns: "apply" })
    const decode = Schema.decodeUnknownExit(schema as Schema.Codec<unknown>)
    return (value) => {
      const decoded = decode(value)
      return Exit.isSuccess(decoded) ? undefined : String(Exit.findError(decoded))
    }
  } catch {
    // Beyond what Effect imports: the host will say.
    return () => undefined
  }
}
