import * as Context from "effect/Context"
import type { Claimed } from "./StorePort.ts"

/** The attempt of a kept job that an effect is inside of, in the process of its worker. */
export const CurrentJob: Context.Reference<Claimed | undefined> = Context.Reference<Claimed | undefined>(
  "tasklayer/JobWorker/CurrentJob",
  { defaultValue: () => undefined }
)
