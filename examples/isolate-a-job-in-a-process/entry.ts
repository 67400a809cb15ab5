import { ThreadHost } from "../../src/threads/index.ts"
import { convert } from "./jobs.ts"

ThreadHost.run(convert)
