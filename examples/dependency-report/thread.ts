import { ThreadHost } from "../../src/threads/index.ts"
import { handlers } from "./files.ts"

ThreadHost.run(handlers)
