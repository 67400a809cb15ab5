/** Renews leases from another thread, over a connection of its own: `Keeper` of the port. Goes by the clock of the machine. */
import { DatabaseSync } from "node:sqlite"
import { RENEW } from "./SqliteWorkers.ts"
import type { Renewing } from "./StorePort.ts"

export interface KeeperOptions {
  readonly filename: string
  readonly busyMillis: number
}

export const keep = async ({ busyMillis, filename }: KeeperOptions): Promise<Renewing> => {
  // It has nothing else to do than to wait for the file.
  const db = new DatabaseSync(filename, { timeout: busyMillis })
  const renew = db.prepare(RENEW)
  return {
    renew: async (worker) => {
      const now = Date.now()
      return renew.get(now, worker, now) !== undefined
    },
    close: async () => db.close()
  }
}
