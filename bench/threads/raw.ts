/** No pool at all: what a message there and one back cost. */
import { parentPort } from "node:worker_threads"
import { crunch, double, touch } from "./work.ts"

parentPort!.on("message", ([id, name, payload]: [number, string, any]) => {
  if (name === "double") return parentPort!.postMessage([id, double(payload)])
  if (name === "crunch") return parentPort!.postMessage([id, crunch(payload.turns)])
  const bytes = touch(payload)
  parentPort!.postMessage([id, bytes], [bytes.buffer])
})
