/** I want a limit around code that is no task: two requests render at once, the next is told to come back. */
import { Effect, Latch, ManagedRuntime, Option } from "effect"
import { once } from "node:events"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Concurrency } from "../src/index.ts"

const runtime = ManagedRuntime.make(Concurrency.layer({ tagLimits: { render: 2 } }))
const latch = Latch.makeUnsafe()
const render = (url: string) => Effect.as(latch.await, `<h1>${url}</h1>`)

// `withSlot` would wait for its turn; `withSlotIfAvailable` never waits.
const server = createServer(async (request, response) => {
  const page = await runtime.runPromise(
    render(request.url ?? "/").pipe(Concurrency.withSlotIfAvailable({ tags: ["render"] }))
  )
  response.writeHead(Option.isSome(page) ? 200 : 503).end(Option.getOrElse(page, () => "busy"))
}).listen(0, "127.0.0.1")
await once(server, "listening")

const get = async (path: string) => {
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`)
  return `${response.status} ${await response.text()}`
}

// Three at once: whichever comes last to the server finds both slots taken, and the others are done once the latch opens.
const requests = ["/a", "/b", "/c"].map(get)
const refused = await Promise.race(requests)
console.log("while two render:", refused)
latch.openUnsafe()
const answers = await Promise.all(requests)
console.log("rendered:", answers.filter((answer) => answer.startsWith("200")).length)

const usage = await runtime.runPromise(Concurrency.read("render"))
console.log("slots taken now:", Option.getOrThrow(usage).active)
server.close()
await runtime.dispose()
