import { ThreadHost } from "../../src/threads/index.ts"
import { handlers } from "./jobs.ts"

ThreadHost.run(handlers)
