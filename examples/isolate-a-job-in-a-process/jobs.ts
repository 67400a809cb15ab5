import { Effect, Schema } from "effect"
import { Job, TaskRun } from "../../src/index.ts"

/** It may exit, leak or change folders: nobody else is in its process. A crash is followed by another attempt. */
export const Convert = Job.make("convert", {
  payload: { file: Schema.String },
  success: Schema.String,
  retry: { times: 2 },
  retryCrashes: true
})

export const convert = Convert.toLayer(({ file }) =>
  Effect.gen(function*() {
    const { attempt } = yield* TaskRun.CurrentRun
    console.log(`attempt ${attempt} of ${file}`)
    if (attempt === 1) process.exit(3)
    return `${file} for ${process.env["CUSTOMER"]}`
  })
)
