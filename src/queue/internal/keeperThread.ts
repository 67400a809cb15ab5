/** The thread that renews one lease: see `Keeper.ts`. Nothing but the store's own keeper module is loaded in it. */
import { parentPort, workerData } from "node:worker_threads"
import { alive, type KeeperData, monotonic, until } from "./KeeperShared.ts"
import type { Renewing } from "./StorePort.ts"

const { keeper, lasts, maxBlocked, shared, worker } = workerData as KeeperData
const { keep } = await import(keeper.module) as { readonly keep: (options: unknown) => Promise<Renewing> }

let renewing: Renewing | undefined
for (let wait = 0;;) {
  await new Promise((resolve) => setTimeout(resolve, wait))
  wait = lasts / 12
  // Blocked for so long it may be for ever: somebody else is to have what it has.
  if (monotonic() - shared[alive]! > maxBlocked) continue
  const asked = monotonic()
  try {
    renewing ??= await keep(keeper.options)
    if (!await renewing.renew(worker)) break
    shared[until] = asked + lasts
    wait = lasts / 3
  } catch {
    await renewing?.close().catch(() => {})
    renewing = undefined
  }
}
await renewing.close().catch(() => {})
parentPort!.postMessage("ended")
