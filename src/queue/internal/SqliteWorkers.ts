/** The leases of workers, as the SQLite store keeps them: one ends at its instant, whether anybody has looked or not. */
import { randomUUID } from "node:crypto"
import type { DatabaseSync } from "node:sqlite"
import type { WorkerRecord } from "./StorePort.ts"

/** What the keeper's thread does too. */
export const RENEW =
  `UPDATE tasklayer_worker SET expires_at = ? + lasts WHERE id = ? AND expires_at > ? RETURNING lasts`

export class Workers {
  private readonly statements
  constructor(db: DatabaseSync) {
    this.statements = {
      join: db.prepare("INSERT INTO tasklayer_worker VALUES (?, ?, ?, ?, ?, 0)"),
      renew: db.prepare(RENEW),
      epoch: db.prepare("SELECT epoch FROM tasklayer_worker WHERE id = ? AND expires_at > ?"),
      setEpoch: db.prepare("UPDATE tasklayer_worker SET epoch = ? WHERE id = ?"),
      ended: db.prepare("SELECT id, name FROM tasklayer_worker WHERE expires_at <= ? ORDER BY expires_at"),
      nextEnd: db.prepare("SELECT min(expires_at) AS at FROM tasklayer_worker WHERE id <> ?"),
      alive: db.prepare(
        `SELECT id, name, joined_at AS joinedAt, expires_at AS expiresAt,
         (SELECT count(*) FROM tasklayer_job WHERE worker = tasklayer_worker.id) AS active
         FROM tasklayer_worker WHERE expires_at > ? ORDER BY joined_at`
      ),
      delete: db.prepare("DELETE FROM tasklayer_worker WHERE id = ?")
    }
  }

  join(name: string, lasts: number, now: number): string {
    const id = randomUUID()
    this.statements.join.run(id, name, now, lasts, now + lasts)
    return id
  }

  /** How long it lasts; `undefined`: it has ended. */
  renew(id: string, now: number): number | undefined {
    return this.statements.renew.get(now, id, now)?.["lasts"] as number | undefined
  }

  isAlive(id: string, now: number): boolean {
    return this.epoch(id, now) !== undefined
  }

  /** Whether a turn of that epoch is no late one. */
  admits(id: string, epoch: number, now: number): boolean {
    const seen = this.epoch(id, now)
    if (seen === undefined || epoch < seen) return false
    if (epoch > seen) this.statements.setEpoch.run(epoch, id)
    return true
  }

  private epoch(id: string, now: number): number | undefined {
    return this.statements.epoch.get(id, now)?.["epoch"] as number | undefined
  }

  ended(now: number): ReadonlyArray<{ readonly id: string; readonly name: string }> {
    return this.statements.ended.all(now) as unknown as Array<{ id: string; name: string }>
  }

  /** When the next lease but that one ends. */
  nextEnd(but: string): number | undefined {
    return this.statements.nextEnd.get(but)!["at"] as number | null ?? undefined
  }

  alive(now: number): ReadonlyArray<WorkerRecord> {
    return this.statements.alive.all(now).map((row) => ({ ...row })) as unknown as ReadonlyArray<WorkerRecord>
  }

  delete(id: string): void {
    this.statements.delete.run(id)
  }
}
