import { PgBoss } from "pg-boss"
import { chunk, chunks, concurrency, range, type Rival } from "./rival.ts"

interface Data {
  readonly n: number
}

export const pgboss = async (connectionString: string): Promise<Rival> => {
  const boss = new PgBoss({ connectionString, useListenNotify: true })
  boss.on("error", () => {})
  await boss.start()
  await boss.createQueue("job", { notify: true })
  return {
    add: (n) => boss.send("job", { n }),
    addAll: (count) => chunks(count, (from, to) => boss.insert("job", range(from, to, (n) => ({ data: { n } })))),
    work: async (onJob, how) => {
      const all = how === "batched"
        ? { batchSize: chunk, burstWhenBatchFull: true }
        : { batchSize: 1, localConcurrency: concurrency }
      await boss.work<Data>(
        "job",
        { ...all, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 },
        async (jobs) => {
          for (const { data } of jobs) onJob(data.n)
        }
      )
    },
    stop: () => boss.offWork("job")
  }
}
