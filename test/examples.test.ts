import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { run } from "./suites/ChildProcess.ts"

const folder = fileURLToPath(new URL("../examples/", import.meta.url))

// What each prints, from its first line to its last.
const prints: Record<string, string | RegExp> = {
  "ask-why-a-task-waits.ts": `state: Waiting
query-1 waits for "db", held by backup
backup: Running
query: Waiting
state: Finished
`,
  "count-what-runs.ts": `tasklayer_limit_slots{tag="db"} 2
tasklayer_limit_waited_total{tag="db"} 3
tasklayer_runs_started_total{task="save"} 5
tasklayer_run_wait_seconds_count{task="save"} 5
tasklayer_tag_runs_started_total{tag="db"} 5
tasklayer_tag_run_wait_seconds_count{tag="db"} 5
tasklayer_runs_finished_total{task="save",outcome="Succeeded"} 4
tasklayer_runs_finished_total{task="save",outcome="Failed"} 1
tasklayer_run_duration_seconds_count{task="save"} 5
tasklayer_tag_runs_finished_total{tag="db",outcome="Succeeded"} 4
tasklayer_tag_runs_finished_total{tag="db",outcome="Failed"} 1
tasklayer_tag_run_duration_seconds_count{tag="db"} 5
tasklayer_limit_hold_seconds_count{tag="db"} 6
tasklayer_limit_denied_total{tag="db",reason="WouldWait"} 1
the runs of save waited a little
`,
  "depend-on-other-tasks.ts": `5 users, 6 orders
not started, for broken failed
1 of 2 succeeded
reading the config
`,
  "enqueue-in-the-transaction-of-a-request.ts": `nail 201 order 1
unicorn 409 sold out
hammer 201 order 2
confirmed: [ 1, 2 ]
`,
  "from-plain-javascript.mjs": `contents of /a
download job-17: contents of /b
saved in the background
[ 'contents of /c', 'contents of /d', 'contents of /e' ]
total: 6
`,
  "handle-refusals.ts": `busy: db
Timeout
LimitClosed
rows
closed
`,
  "hold-a-slot-in-an-http-handler.ts": `while two render: 503 busy
rendered: 2
slots taken now: 0
`,
  "interrupt-an-endless-loop.ts": `spin: Interrupted
sum up to 10: 55
sum up to 100: 5050
0 active, 2 allocated
`,
  "isolate-a-job-in-a-process.ts":
    /^it said: attempt 1 of acme\/invoice\nit said: attempt 2 of acme\/invoice\nacme\/invoice for acme\nprocesses: 1\nit said: scheduler ".*\n$/,
  "keep-blocking-work-in-a-lane.ts": `exports: 1 active, 4 queued
a page, in lane web
cleaner: waiting
a page, in lane mail
there is no lane "nowhere": "web", "exports", "mail"
a page, in lane exports
web, the default
exports
mail
`,
  "limit-by-tag.ts": `at most in the database: 2
at most on the web: 10
db: 0 of 5
`,
  "nested-tasks.ts": `pages: 1 2 3 4 5
all of them two levels down: true
`,
  "pause-and-trigger-by-hand.ts": `at first: waiting, due within 1 h; 0 runs, 0 skipped
next one passed over: waiting, due within 2 h; 0 runs, 1 skipped
paused: paused, nothing due; 0 runs, 1 skipped
resumed: waiting, due within 2 h; 0 runs, 1 skipped
once more at once: false
triggered: running, due within 2 h; 1 runs, 1 skipped
the backup: 3 files
there is no periodic "backups": there are "backup"
`,
  "prioritise.ts": `critical: the alarm
5: between critical and high
normal, Ann: 1
normal, Bob: 1
normal, Ann: 2
low: the monthly report
`,
  "resize-while-running.ts": `at first: 2 active of 2, 4 queued
after resize(5): 4 active of 5, 2 queued
after resize(1): 4 active of 1, 2 queued
unbounded, and 6 in the database: 6 active of unbounded, 0 queued
at the end: 0 active of unbounded, 0 queued
`,
  "restart-a-worker-with-back-off.ts": `poll 1
poll 2
poll 3
poll 4
poll 5
after 160 ms: true
`,
  "resume-a-report-after-a-kill.ts": `killed before the end: true
packages: 60 different: 60
`,
  "retry-and-time-out.ts": `attempt 1
attempt 2
attempt 3
it worked
given up after two attempts
`,
  "run-a-cron-job-in-a-time-zone.ts": `at 07:00, Monday to Friday, Europe/Madrid
due 2026-03-27T06:00:00.000Z
due 2026-03-30T05:00:00.000Z
due 2026-03-31T05:00:00.000Z
a report, due on the second: true
`,
  "run-flows.ts": /hello Ann\n[^]*hello Bob\n[^]*hello Carol\n[^]*hello Dave\n/,
  "show-progress.ts": /39 done[^]*1 failed/,
  "slow-down-a-producer.ts": `saved a
saved b
saved c
all offered, waiting at most: 2
saved d
saved e
saved f
after the stop: WorkerStoppedError
the queue of worker "strict" is full: 2 items wait
given back: [ 'h', 'i' ]
`,
  "stop-gracefully.ts": `SIGTERM: no new work
quick: done
endless: interrupted
report: 1 drained, 1 interrupted, 0 abandoned
`,
  "supervise-a-scheduler-that-is-not-ours.ts": `triggers: reminders
pool: mailer
pool: watcher
reminders: closed
mailer: interrupted
stopped by bailOut: reminders: no disk; exit code 3
`,
  "swap-the-runner-in-a-test.ts": `four at once: one begins, three begins, one ends, three ends
one by one: one begins, one ends, three begins, three ends
in the test's own fiber: one begins, one ends, three begins, three ends
`,
  "wait-for-the-first.ts": `race: fast answer
first to end: fast
after 10 ms: 1 done, 1 pending
completed: fast answer
completed: slow answer
`
}

describe.concurrent("examples", () => {
  it("each is run by a test", () => {
    const files = fs.readdirSync(folder).filter((name) => /\.[mc]?[jt]s$/.test(name))
    // test/dependency-report.test.ts has the main job.
    assert.deepStrictEqual(files.toSorted(), ["dependency-report.ts", ...Object.keys(prints)].toSorted())
  })

  for (const [name, expected] of Object.entries(prints)) {
    it(`${name} prints what it says`, async () => {
      const { code, stderr, ...printed } = await run(folder + name)
      assert.strictEqual(code, 0, stderr)
      // What schedulers and supervisors log is not the example's own.
      const stdout = printed.stdout.replaceAll(
        /^\[[\d:.]+\] (?:INFO|WARN|ERROR) \(#\d+\): (?:scheduler |supervisor |worker )?".*\n/gm,
        ""
      )
      if (typeof expected === "string") assert.strictEqual(stdout, expected, stderr)
      else assert.match(stdout, expected)
    })
  }
})
