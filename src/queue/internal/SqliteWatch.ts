/** Who listens for news, in this process and, of what other processes do to the file, by looking. */
import type { DatabaseSync } from "node:sqlite"

/** Asking whether anybody else has written takes a few microseconds. */
const LOOK_EVERY_MILLIS = 50

export class Watch {
  private readonly listeners = new Set<() => void>()
  private timer: NodeJS.Timeout | undefined = undefined
  private seen = 0
  private version: unknown = undefined
  private readonly readVersion
  private readonly db: DatabaseSync
  private readonly news: () => number
  constructor(db: DatabaseSync, news: () => number) {
    this.db = db
    this.news = news
    this.readVersion = db.prepare("PRAGMA data_version")
  }

  /** Returns how to stop. */
  listen(wake: () => void): () => void {
    if (this.timer === undefined) this.start()
    // Each its own, also of two that are given the same function.
    const listener = () => wake()
    this.listeners.add(listener)
    return () => {
      this.listeners.delete(listener)
      if (this.listeners.size === 0) this.stop()
    }
  }

  readonly wake = (): void => {
    for (const listener of [...this.listeners]) listener()
  }

  private start(): void {
    this.seen = this.news()
    this.version = this.readVersion.get()!["data_version"]
    // In real time, whatever the Clock: other processes know no other. It keeps nobody alive.
    this.timer = setInterval(this.look, LOOK_EVERY_MILLIS).unref()
  }

  private stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private readonly look = (): void => {
    if (!this.db.isOpen) return this.stop()
    // In a transaction the file is as it was when that began.
    if (this.db.isTransaction) return
    try {
      const { data_version: version } = this.readVersion.get()!
      if (version === this.version) return
      // News that comes in between these two is seen now, and the version it made once more.
      this.version = version
      const news = this.news()
      if (news === this.seen) return
      this.seen = news
    } catch {
      // A file that cannot be read now may have news once it can.
    }
    this.wake()
  }
}
