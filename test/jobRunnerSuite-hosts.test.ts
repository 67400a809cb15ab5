/** The laws of every JobRunner, over the runners whose hosts are elsewhere. */
import "./suites/Processes.ts"
import { jobRunnerSuite } from "../src/testing/index.ts"
import { ProcessRunner, ThreadRunner } from "../src/threads/index.ts"

const entry = new URL("fixtures/suite-entry.ts", import.meta.url)

jobRunnerSuite("ProcessRunner.layer", ProcessRunner.layer({ entry, size: 2 }), { realTime: true, timeout: 60_000 })
jobRunnerSuite("ThreadRunner.layer", ThreadRunner.layer({ entry, size: 2 }), { realTime: true, timeout: 60_000 })
