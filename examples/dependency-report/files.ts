/** How files are read and compressed: in this process, or as jobs on threads. Swap the Layer and the report is the same. */
import { Context, Effect, Layer, Schema } from "effect"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import * as fs from "node:fs/promises"
import { pipeline } from "node:stream/promises"
import { promisify } from "node:util"
import * as zlib from "node:zlib"
import { Job, type JobRunner } from "../../src/index.ts"
import { ThreadRunner } from "../../src/threads/index.ts"

export class Unreadable
  extends Schema.TaggedError<Unreadable>()("Unreadable", { path: Schema.String, problem: Schema.String })
{
  override get message() {
    return `${this.path}: ${this.problem}`
  }
}

interface Read {
  readonly bytes: number
  readonly sha256: string
  /** The content, where it is here: what is to be compressed next. */
  readonly whole?: Buffer | undefined
}

/** A part of a file: `end` is the first byte after it. */
interface Range {
  readonly path: string
  readonly start: number
  readonly end: number
}

export class Files extends Context.Service<Files, {
  readonly read: (path: string) => Effect.Effect<Read, Unreadable>
  /** The size of a content, or of a part of a file, once it is compressed. */
  readonly gzip: (content: Buffer | Range) => Effect.Effect<number, Unreadable>
}>()("dependency-report/Files") {}

const reasons: Record<string, string> = {
  EACCES: "permission denied",
  ELOOP: "a link in a circle",
  ENOENT: "does not exist",
  ENOTDIR: "is not a folder",
  EPERM: "permission denied"
}

export const io = <A>(path: string, run: (signal: AbortSignal) => Promise<A>) =>
  Effect.tryPromise({
    try: run,
    catch: (error) => {
      const { code, message } = error as NodeJS.ErrnoException
      return new Unreadable({ path, problem: reasons[code ?? ""] ?? message })
    }
  })

// ─── in this process

/** A file up to this size is read whole; a larger one is streamed. With 32 files open that is 8 MB. */
const wholeFile = 256 * 1024

const chunks = { highWaterMark: 1024 * 1024 }

const readFile = async (path: string, signal: AbortSignal): Promise<Read> => {
  await using file = await fs.open(path)
  const { size } = await file.stat()
  const hash = createHash("sha256")
  if (size <= wholeFile) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(size), 0, size, 0)
    const whole = buffer.subarray(0, bytesRead)
    return { bytes: bytesRead, sha256: hash.update(whole).digest("hex"), whole }
  }
  let bytes = 0
  for await (const chunk of file.createReadStream({ ...chunks, autoClose: false, signal })) {
    bytes += chunk.length
    hash.update(chunk)
  }
  return { bytes, sha256: hash.digest("hex") }
}

const gzip = promisify(zlib.gzip)

const gzipRange = async ({ end, path, start }: Range, signal: AbortSignal) => {
  let bytes = 0
  const count = async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) bytes += chunk.length
  }
  await pipeline(createReadStream(path, { ...chunks, start, end: end - 1 }), zlib.createGzip(), count, { signal })
  return bytes
}

export const layer: Layer.Layer<Files> = Layer.succeed(Files, {
  read: (path) => io(path, (signal) => readFile(path, signal)),
  gzip: (content) =>
    Buffer.isBuffer(content)
      ? Effect.map(Effect.promise(() => gzip(content)), (zipped) => zipped.length)
      : io(content.path, (signal) => gzipRange(content, signal))
})

// ─── on threads

const Hash = Job.make("hash", {
  payload: { path: Schema.String },
  success: Schema.Struct({ bytes: Schema.Number, sha256: Schema.String }),
  error: Unreadable
})

const Gzip = Job.make("gzip", {
  payload: { path: Schema.String, start: Schema.Number, end: Schema.Number },
  success: Schema.Number,
  error: Unreadable
})

/** What a thread does: nothing else waits for it there, so it may block. */
export const handlers = Layer.mergeAll(
  Hash.toLayer(({ path }) =>
    Effect.map(io(path, (signal) => readFile(path, signal)), ({ bytes, sha256 }) => ({ bytes, sha256 }))
  ),
  Gzip.toLayer(({ end, path, start }) =>
    io(path, async () => {
      await using file = await fs.open(path)
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(end - start), 0, end - start, start)
      return zlib.gzipSync(buffer.subarray(0, bytesRead)).length
    })
  )
)

export const layerThreads = (size: number): Layer.Layer<Files, ThreadRunner.HostStartError> =>
  Layer.effect(
    Files,
    Effect.gen(function*() {
      const context = yield* Effect.context<JobRunner.JobRunner>()
      const run = <A>(job: Effect.Effect<A, Unreadable | Job.SubmitError, JobRunner.JobRunner>) =>
        Effect.provideContext(Effect.catchTag(job, ["UnknownJobError", "InvalidPayloadError"], Effect.die), context)
      return {
        read: (path) => run(Hash.execute({ path })),
        gzip: (content) =>
          Buffer.isBuffer(content) ? Effect.die("a content stays on its thread") : run(Gzip.execute(content))
      }
    })
  ).pipe(Layer.provide(ThreadRunner.layer({ entry: new URL("./thread.ts", import.meta.url), size })))
