import { Logger, makeWorkerUtils, run, type Runner } from "graphile-worker"
import { chunks, concurrency, range, type Rival } from "./rival.ts"

const logger = new Logger(() => () => {})

/** Batched as its own benchmark has it: a local queue of 500, and acknowledgements that gather while one is under way. */
const batched = { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }

export const graphile = async (connectionString: string, isBatched: boolean): Promise<Rival> => {
  const utils = await makeWorkerUtils({ connectionString, logger })
  await utils.migrate()
  let runner: Runner | undefined
  return {
    add: (n) => utils.addJob("job", { n }),
    addAll: (count) =>
      chunks(count, (from, to) => utils.addJobs(range(from, to, (n) => ({ identifier: "job", payload: { n } })))),
    work: async (onJob) => {
      runner = await run({
        connectionString,
        logger,
        concurrency,
        maxPoolSize: concurrency,
        noHandleSignals: true,
        taskList: { job: async (payload) => onJob((payload as { readonly n: number }).n) },
        preset: { worker: isBatched ? batched : {} }
      })
    },
    stop: async () => {
      await runner?.stop()
      runner = undefined
    }
  }
}
