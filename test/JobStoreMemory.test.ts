import { TestClock } from "effect/testing"
import * as JobStoreMemory from "../src/queue/JobStoreMemory.ts"
import { jobStoreSuite } from "../src/queue/jobStoreSuite.ts"

jobStoreSuite("JobStoreMemory", {
  layer: (_, options) => JobStoreMemory.layer(options),
  advance: (millis) => TestClock.adjust(millis)
})
