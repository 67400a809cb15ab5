/** The tables of the SQLite store, and how a file comes to have them. */
import type { DatabaseSync } from "node:sqlite"

/** Each is applied once, in this order. One that was released is never changed. */
export const migrations: ReadonlyArray<{ readonly name: string; readonly sql: string }> = [{
  name: "jobs",
  sql: `
-- Counts ids, and what others may want to know of.
CREATE TABLE tasklayer_store (last_seq INTEGER NOT NULL, news INTEGER NOT NULL);
INSERT INTO tasklayer_store VALUES (0, 0);

-- state: 0 Scheduled, 1 Waiting, 2 Active, 3 Succeeded, 4 Dead, 5 Cancelled
CREATE TABLE tasklayer_job (
  seq INTEGER PRIMARY KEY,
  id TEXT,                      -- as given; otherwise it is seq
  state INTEGER NOT NULL,
  line INTEGER,                 -- while Waiting
  rank INTEGER,                 -- its place between keys, from when it first waited
  token INTEGER NOT NULL DEFAULT 0,
  worker TEXT,                  -- while Active
  cancel INTEGER NOT NULL DEFAULT 0, -- while Active: its worker is to interrupt it
  attempts INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0,
  name TEXT NOT NULL,
  queue TEXT NOT NULL,
  priority REAL NOT NULL,
  weight INTEGER NOT NULL,
  tags TEXT NOT NULL,           -- JSON
  key TEXT,
  payload TEXT NOT NULL,        -- JSON
  at_most_once INTEGER NOT NULL,
  max_crashes INTEGER NOT NULL,
  unique_key TEXT,              -- while it has it
  unique_while INTEGER,         -- 0 waiting, 1 active, 2 for a time
  trace TEXT,
  enqueued_at REAL NOT NULL,    -- times are in milliseconds since 1970
  due_at REAL NOT NULL,
  expires_at REAL,
  claimed_at REAL,
  ended_at REAL,
  reason TEXT,
  errors TEXT,                  -- JSON
  result TEXT                   -- JSON
);
CREATE UNIQUE INDEX tasklayer_job_id ON tasklayer_job (id) WHERE id IS NOT NULL;
CREATE INDEX tasklayer_job_line ON tasklayer_job (line, rank, seq) WHERE line IS NOT NULL;
CREATE INDEX tasklayer_job_due ON tasklayer_job (due_at, seq) WHERE state = 0;
CREATE INDEX tasklayer_job_expires ON tasklayer_job (expires_at)
  WHERE expires_at IS NOT NULL AND attempts = 0 AND state < 2;
CREATE INDEX tasklayer_job_worker ON tasklayer_job (worker) WHERE worker IS NOT NULL;
CREATE INDEX tasklayer_job_cancel ON tasklayer_job (worker) WHERE cancel = 1;
CREATE INDEX tasklayer_job_failed ON tasklayer_job (state) WHERE state > 3;
CREATE INDEX tasklayer_job_ended ON tasklayer_job (state, ended_at) WHERE state > 2;

-- Waiting jobs that are alike in all that a claim looks at. gate: what was found in the way of its head, 0: nothing, none: the cap of its key.
CREATE TABLE tasklayer_line (
  id INTEGER PRIMARY KEY,
  gate INTEGER,
  queue TEXT NOT NULL,
  name TEXT NOT NULL,
  priority REAL NOT NULL,
  weight INTEGER NOT NULL,
  tags TEXT NOT NULL,
  key TEXT NOT NULL,            -- "=" and the key, or nothing
  head_rank INTEGER NOT NULL,
  head_seq INTEGER NOT NULL,
  next_rank INTEGER NOT NULL    -- where one more of its key comes in, at least
);
CREATE UNIQUE INDEX tasklayer_line_alike ON tasklayer_line (queue, key, name, priority, weight, tags);
CREATE INDEX tasklayer_line_order ON tasklayer_line (gate, queue, name, priority, head_rank, head_seq)
  WHERE gate IS NOT NULL;
CREATE INDEX tasklayer_line_tagged ON tasklayer_line (gate, queue, name, tags, priority, head_rank, head_seq)
  WHERE gate IS NOT NULL;
CREATE INDEX tasklayer_line_next ON tasklayer_line (queue, key, next_rank);

-- Where lines wait for room under a tag for their weight. opens_at: there may be some by then.
CREATE TABLE tasklayer_gate (
  id INTEGER PRIMARY KEY,
  tag TEXT NOT NULL,
  weight INTEGER NOT NULL,
  opens_at REAL,
  UNIQUE (tag, weight)
);
CREATE INDEX tasklayer_gate_opens ON tasklayer_gate (opens_at) WHERE opens_at IS NOT NULL;

-- What active jobs have of limits.
CREATE TABLE tasklayer_slot (
  need TEXT NOT NULL,
  seq INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  PRIMARY KEY (need, seq)
) WITHOUT ROWID;

CREATE TABLE tasklayer_limit (
  tag TEXT PRIMARY KEY,
  declared INTEGER NOT NULL,    -- 0: it is paused and that is all
  amount INTEGER,               -- none: unbounded
  rates TEXT NOT NULL,          -- JSON, with what is left of each
  enabled INTEGER NOT NULL,
  paused_until REAL
) WITHOUT ROWID;
CREATE INDEX tasklayer_limit_paused ON tasklayer_limit (paused_until) WHERE paused_until IS NOT NULL;

CREATE TABLE tasklayer_queue (
  name TEXT PRIMARY KEY,
  paused INTEGER,
  max_queued INTEGER,           -- -1: unbounded
  key_limit INTEGER,            -- -1: unbounded
  keyed INTEGER NOT NULL DEFAULT 0,
  claimed_rank INTEGER NOT NULL DEFAULT 0,
  scheduled INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0,
  active INTEGER NOT NULL DEFAULT 0,
  succeeded INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE tasklayer_unique (
  key TEXT PRIMARY KEY,
  seq INTEGER NOT NULL,
  id TEXT NOT NULL,
  until REAL                    -- of a window
) WITHOUT ROWID;
CREATE INDEX tasklayer_unique_until ON tasklayer_unique (until) WHERE until IS NOT NULL;

CREATE TABLE tasklayer_worker (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  joined_at REAL NOT NULL,
  lasts REAL NOT NULL,
  expires_at REAL NOT NULL,
  epoch INTEGER NOT NULL        -- of its turns
) WITHOUT ROWID;
`
}]

/** In a transaction, so that of several processes one applies them. */
export const migrate = (db: DatabaseSync, now: number): void => {
  db.exec(`CREATE TABLE IF NOT EXISTS tasklayer_migration (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  applied_at REAL NOT NULL
)`)
  const { version } = db.prepare("SELECT coalesce(max(version), 0) AS version FROM tasklayer_migration")
    .get() as { version: number }
  if (version > migrations.length) {
    throw new Error(`the file has tables of version ${version}, this tasklayer knows ${migrations.length}`)
  }
  for (const [i, { name, sql }] of migrations.entries()) {
    if (i < version) continue
    db.exec(sql)
    db.prepare("INSERT INTO tasklayer_migration VALUES (?, ?, ?)").run(i + 1, name, now)
  }
}
