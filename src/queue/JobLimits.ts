/**
 * Limits that hold for all workers of a store together, whatever machine they are on.
 *
 * They are kept in the store and outlive every process: what a Layer says of them is set only where the store has nothing. A job takes its tags
 * when a worker claims it and gives them back when its end is known, or when its worker's lease ends; usage is counted from those who have
 * a job, and nowhere else. The words are those of `Concurrency`, whose limits hold for one process.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Limit, TagLimit } from "../Concurrency.ts"
import { type InvalidOptionError, orFail } from "../InvalidOptionError.ts"
import { checkMillis, toStoredLimit } from "./internal/StoreOptions.ts"
import { JobStore, type JobStoreError, type StoredLimitInfo } from "./JobStore.ts"

/** Creates the limit of a tag, or changes it: what runs goes on and counts, what waits is looked at again at once. Zero: what has the tag waits. */
export const create = (
  tag: string,
  limit: Limit | TagLimit
): Effect.Effect<void, InvalidOptionError | JobStoreError, JobStore> =>
  JobStore.use((store) =>
    Effect.flatMap(
      orFail(() => toStoredLimit("JobLimits.create", tag, limit)),
      (limit) => store.setLimit(limit)
    )
  )

/** The limit of a tag and who holds it; `None` when the tag has none. */
export const read = (tag: string): Effect.Effect<Option.Option<StoredLimitInfo>, JobStoreError, JobStore> =>
  Effect.map(list, (limits) => Option.fromUndefinedOr(limits.find((limit) => limit.tag === tag)))

/** Every limit, by tag. */
export const list: Effect.Effect<ReadonlyArray<StoredLimitInfo>, JobStoreError, JobStore> = JobStore.use((store) =>
  store.limits
)

/** Removes the limit of a tag: what waited for it goes on. False: there was none. */
export const remove = (tag: string): Effect.Effect<boolean, JobStoreError, JobStore> =>
  JobStore.use((store) => store.removeLimit(tag))

/** Starts nothing that has the tag for so long: what a `Retry-After` asks for. */
export const pauseFor = (
  tag: string,
  duration: Duration.Input
): Effect.Effect<void, InvalidOptionError | JobStoreError, JobStore> =>
  JobStore.use((store) =>
    Effect.flatMap(
      orFail(() => checkMillis("JobLimits.pauseFor", "duration", duration)),
      (millis) => store.pauseLimit(tag, millis)
    )
  )

/** Ends a pause. */
export const resume = (tag: string): Effect.Effect<void, JobStoreError, JobStore> =>
  JobStore.use((store) => store.pauseLimit(tag, 0))
