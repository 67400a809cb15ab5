/** Every store, each with the time it lives in: what holds of one is tested over all. */
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { type JobStore, layerUrl } from "../../src/queue/JobStore.ts"
import * as JobStoreMemory from "../../src/queue/JobStoreMemory.ts"
import * as JobStorePostgres from "../../src/queue/JobStorePostgres.ts"
import { freshSchema, serverUrl } from "./Postgres.ts"

export interface Kit {
  readonly name: string
  /** A fresh one, gone with the scope. */
  readonly layer: Layer.Layer<JobStore, unknown>
  readonly test: (name: string, body: Effect.Effect<unknown, unknown, never>) => void
  readonly pass: (millis: number) => Effect.Effect<void>
}

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-store-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
)

const live = {
  test: (name, body) => it.live(name, () => body),
  pass: (millis) => Effect.sleep(millis)
} satisfies Partial<
  Kit
>

export const kits: ReadonlyArray<Kit> = [
  {
    name: "memory",
    layer: JobStoreMemory.layer(),
    test: (name, body) => it.effect(name, () => body),
    pass: (millis) => TestClock.adjust(millis)
  },
  {
    name: "sqlite",
    layer: Layer.unwrap(Effect.map(folder, (folder) => layerUrl(`sqlite:${path.join(folder, "jobs.db")}`))),
    ...live
  },
  {
    name: "postgres",
    layer: Layer.unwrap(
      Effect.map(Effect.promise(serverUrl), (url) => JobStorePostgres.layerUrl(url, { schema: freshSchema() }))
    ),
    ...live
  }
]

/** Lets time pass until it is so. */
export const until = <E, R>({ pass }: Kit, what: string, isSo: Effect.Effect<boolean, E, R>) =>
  Effect.gen(function*() {
    for (let i = 0; i < 1000; i++) {
      if (yield* isSo) return
      yield* pass(10)
    }
    return yield* Effect.die(new Error(`never came to be: ${what}`))
  })
