/** Who listens for news, in this process and, of what other processes do to the file, by looking. */
import type { DatabaseSync } from "node:sqlite"

/** Asking whether anybody else has written takes a few microseconds. */
const LOOK_EVERY_MILLIS = 50

export class Watch {
  private readonly listeners = new Set<() => void>()
  private timer: NodeJS.Timeout | undefined = undefined
  private seen = 0
  private readonly version
  private readonly db: DatabaseSync
  private readonly news: () => number
  constructor(db: DatabaseSync, news: () => number) {
    this.db = db
    this.news = news
    this.version = db.prepare("PRAGMA data_version")
  }

  /** Returns how to stop. */
  listen(wake: () => void): () => void {
    // Each its own, also of two that are given the same function.
    const listener = () => wake()
    this.listeners.add(listener)
    // In real time, whatever the Clock: other processes know no other. It keeps nobody alive.
    this.timer ??= setInterval(this.look, LOOK_EVERY_MILLIS).unref()
    return () => {
      this.listeners.delete(listener)
      if (this.listeners.size === 0) this.close()
    }
  }

  readonly wake = (): void => {
    for (const listener of [...this.listeners]) listener()
  }

  private close(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private lastVersion: unknown = undefined

  private readonly look = (): void => {
    if (!this.db.isOpen) return this.close()
    // In a transaction the file is as it was when that began.
    if (this.db.isTransaction) return
    try {
      const version = this.version.get()!["data_version"]
      if (version === this.lastVersion) return
      const before = this.lastVersion
      this.lastVersion = version
      const news = this.news()
      const isNew = news !== this.seen
      this.seen = news
      if (isNew && before !== undefined) this.wake()
    } catch {
      // A file that cannot be read now may have news once it can.
      this.wake()
    }
  }
}
