/** Durable jobs: kept in a store until a worker, on any machine, has run them. */
export * as JobLimits from "./JobLimits.ts"
export * as JobQueue from "./JobQueue.ts"
export * as JobStore from "./JobStore.ts"
export * as JobStoreMemory from "./JobStoreMemory.ts"
export * as JobStorePostgres from "./JobStorePostgres.ts"
export * as JobStoreSqlite from "./JobStoreSqlite.ts"
export * as JobWorker from "./JobWorker.ts"
