import { Queue, Worker } from "bullmq"
import { chunks, concurrency, range, type Rival } from "./rival.ts"

export const bullmq = async (port: number): Promise<Rival> => {
  const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null }
  const queue = new Queue("bench", { connection, defaultJobOptions: { removeOnComplete: true } })
  await queue.waitUntilReady()
  let worker: Worker | undefined
  return {
    add: (n) => queue.add("job", { n }),
    addAll: (count) =>
      chunks(count, (from, to) => queue.addBulk(range(from, to, (n) => ({ name: "job", data: { n } })))),
    work: async (onJob) => {
      worker = new Worker("bench", async (job) => onJob(job.data.n), { connection, concurrency })
      await worker.waitUntilReady()
    },
    stop: async () => {
      await worker?.close()
      worker = undefined
    }
  }
}
