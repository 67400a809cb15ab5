/**
 * Claim, lease, renewal, end, sweep, cancel: every order of steps of two workers, three jobs and one tag, and what each rule is there for.
 * `LEASES=all` for two mishaps at a time instead of one: minutes.
 */
import { assert, describe, it } from "@effect/vitest"
import { explore, type Rules, rules, world } from "./suites/LeaseModel.ts"

const isThorough = process.env["LEASES"] === "all"
const mischief = isThorough ? 2 : 1

describe("no order of steps breaks a law", () => {
  for (const limit of [1, 2]) {
    for (
      const [what, jobs] of Object.entries({
        "plain jobs": {},
        "one that fails": { fails: [0] },
        "one that is interrupted": { returns: [0] },
        "one that is cancelled": { cancels: [0] },
        "one that runs at most once": { once: [0] }
      })
    ) {
      if (limit === 2 && what !== "plain jobs" && what !== "one that runs at most once" && !isThorough) continue
      it(`${what}, limit ${limit}`, () => {
        const { broken, states } = explore(world(limit, mischief, jobs), rules)
        assert.deepStrictEqual(broken, undefined)
        assert.isAbove(states, 3_000)
      }, 600_000)
    }
  }
})

/** What is not as it should be, the law that breaks, where it shows, and the rule that is wrong. */
const faults: ReadonlyArray<readonly [string, string, Parameters<typeof world>, Partial<Rules>]> = [
  ["an end is taken whatever its token", "no stale end is taken", [1, 1, { fails: [0] }], {
    accepts: (job, _, lease) => job.state === "Active" && job.lease === lease
  }],
  ["an end is taken from anybody", "no stale end is taken", [1, 1, { fails: [0] }], {
    accepts: (job) => job.state === "Active"
  }],
  ["an end is taken of a job that has ended", "what has ended ends once", [1, 1], {
    accepts: (job, end) => job.token === end.token
  }],
  ["a claim keeps the token", "no stale end is taken", [1, 1, { fails: [0] }], {
    claimed: (job, lease) => ({ ...job, state: "Active", lease })
  }],
  ["a counter instead of leases", "every job ends", [1, 1], {
    count: (counter, change, why) =>
      why === "claimed" ? counter + change : why === "ended" ? counter - change : counter,
    usage: ({ counter }) => counter
  }],
  ["a lease that has ended is renewed", "a lease that has ended is not renewed", [1, 1], { renews: () => true }],
  ["a turn is allowed under a lease that has ended", "a lease that has ended allows nothing", [1, 1], {
    turns: () => true
  }],
  ["a claim counts its own lease alone", "the limit is kept", [1, 0], {
    usage: ({ jobs }, lease) => jobs.filter((job) => job.lease === lease).length
  }],
  ["a claim is one too many", "the limit is kept", [2, 0], {
    usage: ({ jobs }) => jobs.filter((job) => job.state === "Active").length - 1
  }],
  ["cancelling forgets what is active", "what was cancelled is not claimed", [1, 0, { cancels: [0], fails: [0] }], {
    cancelled: (job) => job.state === "Waiting" ? rules.cancelled(job) : job
  }],
  ["cancelling ends what is active at once", "the limit is kept", [1, 0, { cancels: [0] }], {
    cancelled: (job) => rules.cancelled({ ...job, state: "Waiting" })
  }],
  ["the answer to a turn does not say what is cancelled", "every job ends", [1, 0, { cancels: [0] }], {
    tells: () => false
  }],
  ["what was cancelled is tried again", "what was cancelled is not claimed", [1, 0, { cancels: [0], fails: [0] }], {
    retried: (job) => ({ ...rules.retried({ ...job, isCancelAsked: false }), isCancelAsked: job.isCancelAsked })
  }],
  ["what was cancelled is started again when its worker is lost", "what was cancelled waits no more", [1, 1, {
    cancels: [0]
  }], {
    lost: (job, ...more) => ({
      ...rules.lost({ ...job, isCancelAsked: false }, ...more),
      isCancelAsked: job.isCancelAsked
    })
  }],
  ["a worker does not stop at its deadline", "a job runs once at a time", [2, 1], { stops: false }],
  ["a deadline is measured from the answer", "a job runs once at a time", [2, 1, { lasts: 3 }], {
    deadline: (lasts) => lasts
  }],
  ["a sweep by a clock that is ahead", "a lease that has ended allows nothing", [2, 1], {
    sweeps: (left) => left === 0 || left === 1
  }],
  ["a sweep ends the lease and leaves the jobs", "every job ends", [1, 1], { lost: (job) => ({ ...job, lease: -2 }) }],
  ["what returns is charged an attempt", "attempts are those that failed or crashed", [1, 0, { returns: [0] }], {
    returned: (job) => rules.returned({ ...job, attempts: job.attempts + 1 })
  }],
  ["what crashed is not charged an attempt", "attempts are those that failed or crashed", [1, 1], {
    lost: (job, ...more) => ({ ...rules.lost(job, ...more), attempts: job.attempts })
  }],
  ["what runs at most once waits again", "what is to run at most once starts once", [1, 1, { once: [0] }], {
    lost: (job, _, maxCrashes) => rules.lost(job, false, maxCrashes)
  }],
  ["after a turn without an answer, a worker does not say what it has", "every job ends", [1, 1], { saysHolds: false }],
  ["a turn that was given up claims when it comes late", "every job ends", [2, 1, { capacity: 1 }], {
    hears: () => true
  }],
  ["the ends of a turn without an answer are not sent again", "what is to run at most once starts once", [1, 1, {
    once: [0]
  }], { saysAgain: false }],
  ["a lease is left while its jobs run", "a job runs once at a time", [2, 1], { leaves: () => true }]
]

describe("a fault is found", () => {
  for (const [fault, law, args, change] of faults) {
    it(`${fault}: not "${law}"`, () => {
      const { broken, states } = explore(world(...args), { ...rules, ...change })
      assert.include(broken?.law ?? `nothing in ${states} states`, law)
      if (process.env["LEASES"] === "trace") {
        console.log([`${states} states`, broken?.law, ...broken!.trace].join("\n  "))
      }
    })
  }
})
