import { jobRunnerSuite } from "../src/testing/index.ts"
import { ProcessRunner, ThreadRunner } from "../src/threads/index.ts"
import { bundled } from "./suites/Bundle.ts"

const entry = await bundled("suite-host")
const patiently = { realTime: true, timeout: 60_000 }

jobRunnerSuite("ThreadRunner.layer", ThreadRunner.layer({ entry, size: 4 }), patiently)
jobRunnerSuite("ThreadRunner.layer of two", ThreadRunner.layer({ entry, size: 2, spares: 0 }), patiently)
jobRunnerSuite("ProcessRunner.layer", ProcessRunner.layer({ entry, size: 2 }), patiently)
