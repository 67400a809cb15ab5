/** What the PostgreSQL store needs in its database, in versions: each is applied once, in order, whoever comes first. */
import { enqueueing, enqueueParams, literal } from "./PostgresEnqueue.ts"
import { leasing } from "./PostgresLeases.ts"
import { passing } from "./PostgresPass.ts"
import { tables } from "./PostgresTables.ts"
import { turnColumns, turning, turnParams } from "./PostgresTurn.ts"

/** Where its tables are, if nobody says. */
export const defaultSchema = "tasklayer"

export interface Migration {
  readonly version: number
  readonly name: string
  readonly sql: string
}

const quote = (schema: string): string => `"${schema.replaceAll("\"", "\"\"")}"`

/** Changed by nothing but a new one after the last. */
export const migrations = (schema: string): ReadonlyArray<Migration> => {
  const s = quote(schema)
  const of = (version: number, name: string, sql: string): Migration => ({
    version,
    name,
    sql: `${sql.trim()}\ninsert into ${s}.migration(version, name) values (${version}, ${literal(name)});\n`
  })
  return [
    of(
      1,
      "jobs",
      `${clock(s)}${tables(s)}${enqueueing(s)}${turning(s)}${passing(s, enqueueParams, turnParams, turnColumns)}${
        leasing(s)
      }`
    )
  ]
}

/** Before the first: where it is written which have been applied. */
export const preamble = (schema: string): string => {
  const s = quote(schema)
  return `create schema if not exists ${s};
create table if not exists ${s}.migration(version int primary key, name text not null, applied timestamptz not null default now());
`
}

/** All times are its. */
const clock = (s: string): string => `
create function ${s}.clock() returns double precision language sql volatile as $$
  select floor(extract(epoch from clock_timestamp()) * 1000)::float8
$$;
`

/** One at a time, whichever process it is. */
export const migrationLock = (schema: string): string => `hashtext(${literal(`tasklayer migrate ${schema}`)})`

export { quote }

/** All of it as one statement. */
export const atOnce = (sql: string): string => `do $migration$ begin\n${sql}\nend $migration$`
