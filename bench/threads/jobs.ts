/** The same work as jobs. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Transferable from "effect/workers/Transferable"
import { Job } from "../../src/index.ts"
import { crunch, double, touch } from "./work.ts"

export const Double = Job.make("double", { payload: { n: Schema.Number }, success: Schema.Number })
export const Touch = Job.make("touch", { payload: Transferable.Uint8Array, success: Transferable.Uint8Array })
export const Crunch = Job.make("crunch", { payload: { turns: Schema.Number }, success: Schema.Number })

export const handlers = Layer.mergeAll(
  Double.toLayer((payload) => Effect.succeed(double(payload))),
  Touch.toLayer((bytes) => Effect.succeed(touch(bytes))),
  Crunch.toLayer(({ turns }) => Effect.sync(() => crunch(turns)))
)
