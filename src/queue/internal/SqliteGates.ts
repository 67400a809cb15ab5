/** Where lines wait for room under a tag: one gate for each weight that asked for it in vain, there for as long as somebody is behind it. */
import type { DatabaseSync } from "node:sqlite"

export class Gates {
  private now = 0
  /** Those that this transaction has shut. */
  private readonly shut = new Map<string, { readonly id: number; opensAt: number | null }>()
  private readonly statements
  constructor(db: DatabaseSync) {
    this.statements = {
      read: db.prepare("SELECT id, opens_at FROM tasklayer_gate WHERE tag = ? AND weight = ?"),
      shut: db.prepare(
        `INSERT INTO tasklayer_gate (tag, weight, opens_at) VALUES (?, ?, ?)
         ON CONFLICT (tag, weight) DO UPDATE SET opens_at = excluded.opens_at RETURNING id`
      ),
      open: db.prepare("UPDATE tasklayer_gate SET opens_at = 0 WHERE tag = ?"),
      opened: db.prepare("SELECT id FROM tasklayer_gate WHERE opens_at <= ?"),
      opensNext: db.prepare("SELECT min(opens_at) AS at FROM tasklayer_gate WHERE opens_at > ?"),
      drop: db.prepare(
        "DELETE FROM tasklayer_gate WHERE id = ? AND NOT EXISTS (SELECT 1 FROM tasklayer_line WHERE gate = tasklayer_gate.id)"
      )
    }
  }

  begin(now: number): void {
    this.now = now
    this.shut.clear()
  }

  /** There is no room for the weight; `opensAt`: before then, where that is known. */
  close(tag: string, weight: number, opensAt: number | null): number {
    const what = JSON.stringify([tag, weight])
    const shut = this.shut.get(what)
    if (shut?.opensAt === opensAt) return shut.id
    const id = this.statements.shut.get(tag, weight, opensAt)!["id"] as number
    this.shut.set(what, { id, opensAt })
    return id
  }

  /** One of these tags that is known to have no room for the weight. */
  closedOf(tags: ReadonlyArray<string>, weight: number): number | undefined {
    for (const tag of tags) {
      const gate = this.statements.read.get(tag, weight) as { id: number; opens_at: number | null } | undefined
      if (gate !== undefined && (gate.opens_at === null || gate.opens_at > this.now)) return gate.id
    }
    return undefined
  }

  /** There may be room. Whether anybody waits for it. */
  open(tag: string): boolean {
    return Number(this.statements.open.run(tag).changes) > 0
  }

  /** Behind these there may be somebody who may run. */
  get opened(): ReadonlyArray<number> {
    return this.statements.opened.all(this.now).map(({ id }) => id as number)
  }

  /** When the next opens by itself. */
  get opensNext(): number {
    return this.statements.opensNext.get(this.now)!["at"] as number | null ?? Infinity
  }

  /** Where nobody is behind it any more. All lines must be written. */
  drop(id: number): void {
    this.statements.drop.run(id)
  }
}
