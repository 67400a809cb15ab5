/**
 * Durable delivery as a model small enough to try everything: a store, two workers, and a network that loses, delays and answers late.
 *
 * A step is one atomic operation of the store, or one of a worker on its own. Nobody reads a clock: a state has how many ticks each lease
 * still lasts, in the store and as its worker believes, and a worker that does nothing for a while is a state that only ticks. What a store
 * and a worker must decide is in `rules`, a line each; `explore` breaks none of them, or one, and looks at every state there can be.
 */

export type Ended = "Succeeded" | "Dead" | "Cancelled"

export interface Job {
  readonly state: "Waiting" | "Active" | Ended
  /** Whose, while it is active. */
  readonly lease: number
  readonly token: number
  /** How often it was claimed: what the token is to tell. */
  readonly claims: number
  /** Counted ones. */
  readonly attempts: number
  readonly retries: number
  readonly crashes: number
  readonly isCancelAsked: boolean
  /** Somebody was told that it will be. */
  readonly wasCancelled: boolean
  /** Of what runs at most once. */
  readonly hasStarted: boolean
}

/** What a worker says of an attempt, or has to say once it can. */
export interface End {
  readonly job: number
  readonly token: number
  readonly claim: number
  readonly as: "Succeeded" | "Retry" | "Returned" | "Cancelled"
}

interface Attempt {
  readonly job: number
  readonly token: number
  readonly claim: number
  /** `undefined`: it runs. */
  readonly end: End["as"] | undefined
}

export interface Request {
  readonly lease: number
  readonly ends: ReadonlyArray<End>
  /** All the worker has beyond that: said after a turn without an answer. */
  readonly holds: ReadonlyArray<number> | undefined
  /** How many of its turns had no answer. */
  readonly epoch: number
  readonly want: number
}

interface Reply {
  readonly hasLeaseEnded: boolean
  readonly claimed: ReadonlyArray<Attempt>
  readonly told: ReadonlyArray<number>
}

export interface Store {
  readonly jobs: ReadonlyArray<Job>
  /** How long each lasts: zero when it has ended and nobody swept it, `free` when there is none. */
  readonly leases: ReadonlyArray<number>
  /** The highest heard of each. */
  readonly epochs: ReadonlyArray<number>
  /** What a store would think that counts. */
  readonly counter: number
}

interface Worker {
  /** `none`, or `gone`: one it believes in that is no more. */
  readonly lease: number
  /** How long it believes to have it. */
  readonly deadline: number
  readonly has: ReadonlyArray<Attempt>
  /** Its last turn had no answer. */
  readonly isUncertain: boolean
  readonly epoch: number
  readonly turn: (Request & { readonly reply: Reply | undefined }) | undefined
  /** Ticks since it was asked for, and whether it was granted. */
  readonly renewal: { readonly age: number; readonly granted: boolean | undefined } | undefined
}

export interface State extends Store {
  readonly workers: ReadonlyArray<Worker>
  /** Requests that nobody waits for any more. */
  readonly late: ReadonlyArray<Request>
  /** Renewals nobody waits for, by lease. */
  readonly lateRenewals: ReadonlyArray<number>
  /** Crashes and lost messages still to come. */
  readonly mischief: number
  readonly cancels: number
}

export interface World {
  readonly limit: number
  /** Ticks a lease lasts. */
  readonly lasts: number
  /** How many jobs a worker has at once. */
  readonly capacity: number
  readonly maxCrashes: number
  /** How often a worker crashes or stalls, or a message is lost or late. */
  readonly mischief: number
  /** Jobs whose first attempt may fail; is interrupted by its worker; that may be cancelled; that run at most once. */
  readonly fails: ReadonlyArray<number>
  readonly returns: ReadonlyArray<number>
  readonly cancels: ReadonlyArray<number>
  readonly once: ReadonlyArray<number>
}

/** Three jobs of one tag. */
export const world = (limit: number, mischief: number, jobs: Partial<World> = {}): World => ({
  limit,
  lasts: 2,
  capacity: 2,
  maxCrashes: 2,
  mischief,
  fails: [],
  returns: [],
  cancels: [],
  once: [],
  ...jobs
})

const free = -1
const none = -2
const gone = -1

// ─── the rules

const settle = (job: Job, state: Ended): Job => ({
  ...job,
  state,
  lease: none,
  attempts: 0,
  retries: 0,
  crashes: 0,
  isCancelAsked: false,
  wasCancelled: false,
  hasStarted: false
})

const wait = (job: Job): Job => job.isCancelAsked ? settle(job, "Cancelled") : { ...job, state: "Waiting", lease: none }

export interface Rules {
  /** Whether a lease that lasts so long can be renewed. */
  readonly renews: (left: number) => boolean
  /** Whether it allows a turn. */
  readonly turns: (left: number) => boolean
  /** Whether its jobs are taken back. */
  readonly sweeps: (left: number) => boolean
  /** An end is taken. */
  readonly accepts: (job: Job, end: End, lease: number) => boolean
  readonly retried: (job: Job) => Job
  readonly returned: (job: Job) => Job
  /** What becomes of a job whose worker was lost. */
  readonly lost: (job: Job, isOnce: boolean, maxCrashes: number) => Job
  readonly claimed: (job: Job, lease: number) => Job
  /** How much of the tag is taken, as a claim under a lease sees it. */
  readonly usage: (store: Store, lease: number) => number
  readonly cancelled: (job: Job) => Job
  /** What the answer to a turn says is cancelled. */
  readonly tells: (job: Job) => boolean
  /** What the counter comes to when so many are lost. Nobody looks at it. */
  readonly count: (counter: number, change: number, why: "claimed" | "ended" | "lost") => number
  /** A worker's deadline when its lease was renewed, by an answer so many ticks after the request. */
  readonly deadline: (lasts: number, age: number) => number
  /** It stops then. */
  readonly stops: boolean
  /** After a turn without an answer a worker says what it has. */
  readonly saysHolds: boolean
  /** And says the ends of that turn again. */
  readonly saysAgain: boolean
  /** A turn that was given up before is refused. */
  readonly hears: (epoch: number, heard: number) => boolean
  /** A lease may be left. */
  readonly leaves: (has: ReadonlyArray<unknown>) => boolean
}

const lives = (store: Store, job: Job): boolean => job.state === "Active" && store.leases[job.lease]! > 0

export const rules: Rules = {
  renews: (left) => left > 0,
  turns: (left) => left > 0,
  sweeps: (left) => left === 0,
  accepts: (job, end, lease) => job.state === "Active" && job.lease === lease && job.token === end.token,
  retried: (job) => wait({ ...job, attempts: job.attempts + 1, retries: job.retries + 1 }),
  returned: wait,
  lost: (job, isOnce, maxCrashes) => {
    if (job.isCancelAsked) return settle(job, "Cancelled")
    return isOnce || job.crashes + 1 === maxCrashes
      ? settle(job, "Dead")
      : wait({ ...job, attempts: job.attempts + 1, crashes: job.crashes + 1 })
  },
  claimed: (job, lease) => ({ ...job, state: "Active", lease, token: job.token + 1 }),
  usage: (store) => store.jobs.filter((job) => lives(store, job)).length,
  cancelled: (job) => job.state === "Waiting" ? settle(job, "Cancelled") : { ...job, isCancelAsked: true },
  tells: (job) => job.isCancelAsked,
  count: () => 0,
  deadline: (lasts, age) => lasts - age,
  stops: true,
  saysHolds: true,
  saysAgain: true,
  hears: (epoch, heard) => epoch >= heard,
  leaves: (has) => has.length === 0
}

// ─── the store

/** What must never be done, thrown by the step that does it. */
export class Violation extends Error {}

const must = (isRight: boolean, law: string, about: number): void => {
  if (!isRight) throw new Violation(`${law} (${about})`)
}

const change = (store: Store, index: number, job: Job): Store => ({ ...store, jobs: store.jobs.with(index, job) })

/** What has a lease, and the lease itself, are given up. */
const release = (store: Store, lease: number, become: (job: Job, index: number) => Job): Store => ({
  ...store,
  jobs: store.jobs.map((job, i) => job.state === "Active" && job.lease === lease ? become(job, i) : job),
  leases: store.leases.with(lease, free),
  epochs: store.epochs.with(lease, 0)
})

const held = (store: Store, lease: number): number =>
  store.jobs.filter((job) => job.state === "Active" && job.lease === lease).length

export const sweep = (store: Store, world: World, rules: Rules): Store =>
  store.leases.reduce((store: Store, left, lease) => {
    if (left === free || !rules.sweeps(left)) return store
    const counter = rules.count(store.counter, held(store, lease), "lost")
    return release({ ...store, counter }, lease, (job, i) => rules.lost(job, world.once.includes(i), world.maxCrashes))
  }, store)

export const leave = (store: Store, lease: number, rules: Rules): Store =>
  store.leases[lease]! > 0
    ? release({ ...store, counter: rules.count(store.counter, held(store, lease), "ended") }, lease, rules.returned)
    : store

export interface Turned {
  readonly store: Store
  /** `undefined`: the lease has ended. */
  readonly claimed: ReadonlyArray<number> | undefined
  readonly refused: ReadonlyArray<number>
  readonly told: ReadonlyArray<number>
}

/** `sweeps: false`: so much was to be swept that it is left to the next turn. */
export const turn = (before: Store, request: Request, world: World, rules: Rules, sweeps = true): Turned => {
  const { lease } = request
  let store = before
  if (
    lease === gone || store.leases[lease] === free || !rules.turns(store.leases[lease]!) ||
    !rules.hears(request.epoch, store.epochs[lease]!)
  ) {
    return { store, claimed: undefined, refused: [], told: [] }
  }
  store = { ...store, epochs: store.epochs.with(lease, request.epoch) }
  const refused: Array<number> = []
  for (const end of request.ends) {
    const job = store.jobs[end.job]!
    if (!rules.accepts(job, end, lease)) {
      refused.push(end.job)
      continue
    }
    must(job.state === "Active", "what has ended ends once", end.job)
    must(job.claims === end.claim && job.lease === lease && lives(store, job), "no stale end is taken", end.job)
    const next = end.as === "Retry"
      ? rules.retried(job)
      : end.as === "Returned"
      ? rules.returned(job)
      : settle(job, end.as)
    store = change({ ...store, counter: rules.count(store.counter, 1, "ended") }, end.job, next)
  }
  if (request.holds !== undefined) {
    const unknown = (job: Job, i: number) =>
      job.state === "Active" && job.lease === lease && !request.holds!.includes(i)
    const counter = rules.count(store.counter, store.jobs.filter(unknown).length, "ended")
    store = { ...store, counter, jobs: store.jobs.map((job, i) => unknown(job, i) ? rules.returned(job) : job) }
  }
  if (sweeps) store = sweep(store, world, rules)
  const claimed: Array<number> = []
  store.jobs.forEach((job, i) => {
    if (job.state !== "Waiting" || claimed.length === request.want || rules.usage(store, lease) >= world.limit) return
    must(!job.wasCancelled, "what was cancelled is not claimed", i)
    must(store.leases[lease]! > 0, "a lease that has ended allows nothing", i)
    const next = { ...rules.claimed(job, lease), claims: job.claims + 1 }
    store = change({ ...store, counter: rules.count(store.counter, 1, "claimed") }, i, next)
    claimed.push(i)
  })
  const told = store.jobs.flatMap((job, i) =>
    job.state === "Active" && job.lease === lease && rules.tells(job) ? [i] : []
  )
  return { store, claimed, refused, told }
}

// ─── the steps

const idle: Worker = {
  lease: none,
  deadline: 0,
  has: [],
  isUncertain: false,
  epoch: 0,
  turn: undefined,
  renewal: undefined
}

export const start = (world: World): State => ({
  jobs: [0, 1, 2].map(() => ({
    state: "Waiting",
    lease: none,
    token: 0,
    claims: 0,
    attempts: 0,
    retries: 0,
    crashes: 0,
    isCancelAsked: false,
    wasCancelled: false,
    hasStarted: false
  })),
  leases: [free, free],
  epochs: [0, 0],
  counter: 0,
  workers: [idle, idle],
  late: [],
  lateRenewals: [],
  mischief: world.mischief,
  cancels: 1
})

interface Step {
  readonly name: string
  readonly to: State
  /** What is done next where nothing goes wrong any more: the lowest; `undefined` is never. */
  readonly calm: number | undefined
}

const requestOf = ({ ends, epoch, holds, lease, want }: Request): Request => ({ lease, ends, holds, epoch, want })

/** A worker begins anew. */
const abandon = (state: State, index: number): State => {
  const { lease, renewal } = state.workers[index]!
  const isOnItsWay = renewal !== undefined && renewal.granted === undefined && lease !== gone
  return {
    ...state,
    workers: state.workers.with(index, idle),
    lateRenewals: isOnItsWay ? [...state.lateRenewals, lease] : state.lateRenewals
  }
}

/** Nobody refers to a lease that is no more, so that its place can be another's. */
const forgetful = (state: State, rules: Rules): State => {
  const isGone = (lease: number) => lease >= 0 && state.leases[lease] === free
  const late = state.late.filter(({ epoch, lease }) =>
    !isGone(lease) && rules.turns(state.leases[lease]!) && rules.hears(epoch, state.epochs[lease]!)
  )
  const workers = state.workers.map((worker) => {
    const turn = worker.turn !== undefined && isGone(worker.turn.lease) ? { ...worker.turn, lease: gone } : worker.turn
    return isGone(worker.lease) || turn !== worker.turn
      ? { ...worker, lease: isGone(worker.lease) ? gone : worker.lease, turn }
      : worker
  })
  const lateRenewals = state.lateRenewals.filter((lease) => !isGone(lease) && rules.renews(state.leases[lease]!))
  return { ...state, late, lateRenewals, workers }
}

/** What a worker may come to say of what it has, when it next says something. */
const outcomes = (has: ReadonlyArray<Attempt>, world: World): ReadonlyArray<ReadonlyArray<Attempt>> =>
  has.reduce<ReadonlyArray<ReadonlyArray<Attempt>>>((all, attempt) => {
    const ends: Array<Attempt["end"]> = attempt.end === undefined ? [undefined, "Succeeded"] : [attempt.end]
    if (attempt.end === undefined && world.fails.includes(attempt.job) && attempt.claim === 1) ends.push("Retry")
    if (attempt.end === undefined && world.returns.includes(attempt.job) && attempt.claim === 1) ends.push("Returned")
    return all.flatMap((some) => ends.map((end) => [...some, { ...attempt, end }]))
  }, [[]])

/** Every step there is from a state. */
export const stepsOf = (state: State, world: World, rules: Rules): ReadonlyArray<Step> => {
  const steps: Array<Step> = []
  const step = (calm: number | undefined, name: string, to: State) => {
    steps.push({ name, to: forgetful(to, rules), calm })
  }
  const withWorker = (i: number, change: Partial<Worker>, from = state): State => ({
    ...from,
    workers: from.workers.with(i, { ...from.workers[i]!, ...change })
  })
  const mischievous = (from: State): State => ({ ...from, mischief: from.mischief - 1 })
  const isSweepDue = state.leases.some((left) => left !== free && rules.sweeps(left))
  const isClaimable = state.jobs.some((job) => job.state === "Waiting")

  state.workers.forEach((worker, i) => {
    const who = `worker ${"AB"[i]}`
    const { deadline, epoch, has, isUncertain, lease, renewal, turn: asked } = worker

    if (lease === none) {
      // The workers are alike: the first to come is A.
      const isFirst = i === 0 || state.workers[0] !== idle || state.leases[0] !== free
      if (state.leases[i] === free && isFirst) {
        const joined = withWorker(i, { lease: i, deadline: world.lasts })
        step(5, `${who} joins`, { ...joined, leases: state.leases.with(i, world.lasts) })
      }
      return
    }

    if (asked === undefined) {
      for (const now of outcomes(has, world)) {
        const ends = now.flatMap(({ claim, end, job, token }) =>
          end === undefined ? [] : [{ job, token, claim, as: end }]
        )
        const want = world.capacity - (has.length - ends.length)
        const isToBeTold = now.some(({ end, job }) => end === undefined && state.jobs[job]!.wasCancelled)
        const holds = isUncertain && rules.saysHolds
          ? now.flatMap(({ end, job }) => end === undefined ? [job] : [])
          : undefined
        // Something wakes it.
        if (ends.length === 0 && !isToBeTold && !isUncertain && !(isClaimable && want > 0)) continue
        // Left alone, all that runs succeeds, but what was cancelled goes on for ever unless it is told.
        const isCalm = (ends.length > 0 || isToBeTold || isUncertain || rules.usage(state, lease) < world.limit) &&
          now.every((one, j) =>
            one.end === (has[j]!.end ?? (state.jobs[one.job]!.wasCancelled ? undefined : "Succeeded"))
          )
        const said = ends.map(({ as, job }) => ` job ${job} ${as},`).join("")
        step(
          isCalm ? 4 : undefined,
          `${who} asks for a turn:${said} wants ${want}`,
          withWorker(i, { has: now, turn: { lease, ends, holds, epoch, want, reply: undefined } })
        )
      }
      if (rules.leaves(has) && !isUncertain && state.mischief > 0) {
        const to: State = lease === gone ? state : { ...state, ...leave(state, lease, rules) }
        step(undefined, `${who} leaves`, withWorker(i, has.length === 0 ? idle : { lease: gone }, mischievous(to)))
      }
    } else if (asked.reply === undefined) {
      for (const sweeps of isSweepDue ? [true, false] : [true]) {
        const { claimed, store, told } = turn(state, asked, world, rules, sweeps)
        const reply: Reply = {
          hasLeaseEnded: claimed === undefined,
          claimed: (claimed ?? []).map((job) => ({
            job,
            token: store.jobs[job]!.token,
            claim: store.jobs[job]!.claims,
            end: undefined
          })),
          told
        }
        step(
          sweeps ? 0 : undefined,
          `the turn of ${who} is done${sweeps ? "" : ", without a sweep"}`,
          withWorker(i, { turn: { ...asked, reply } }, { ...state, ...store })
        )
      }
    } else if (asked.reply.hasLeaseEnded) {
      step(0, `${who} is answered: its lease has ended`, withWorker(i, idle))
    } else {
      const { claimed, told } = asked.reply
      const kept = has
        .filter(({ claim, job }) => !asked.ends.some((end) => end.job === job && end.claim === claim))
        .map((one) => one.end === undefined && told.includes(one.job) ? { ...one, end: "Cancelled" as const } : one)
      const jobs = claimed.reduce((jobs, { job }) => {
        if (!world.once.includes(job)) return jobs
        must(!jobs[job]!.hasStarted, "what is to run at most once starts once", job)
        return jobs.with(job, {
          ...jobs[job]!,
          hasStarted: jobs[job]!.state === "Waiting" || jobs[job]!.state === "Active"
        })
      }, state.jobs)
      step(
        0,
        `${who} is answered, and runs ${claimed.length === 0 ? "nothing new" : claimed.map(({ job }) => `job ${job}`)}`,
        withWorker(
          i,
          { turn: undefined, isUncertain: false, has: [...kept, ...claimed].sort((a, b) => a.job - b.job) },
          { ...state, jobs }
        )
      )
    }

    if (renewal === undefined) {
      // A lease that covers nothing may as well lapse: fewer states.
      const isNeeded = has.length > 0 || asked !== undefined || (lease !== gone && held(state, lease) > 0)
      if (deadline < world.lasts && isNeeded) {
        step(6, `${who} asks to renew`, withWorker(i, { renewal: { age: 0, granted: undefined } }))
      }
    } else if (renewal.granted === undefined) {
      const granted = lease !== gone && rules.renews(state.leases[lease]!)
      if (granted) must(state.leases[lease]! > 0, "a lease that has ended is not renewed", i)
      step(0, `the renewal of ${who} is ${granted ? "done" : "refused"}`, {
        ...withWorker(i, { renewal: { ...renewal, granted } }),
        leases: granted ? state.leases.with(lease, world.lasts) : state.leases
      })
    } else {
      const until = Math.max(deadline, rules.deadline(world.lasts, renewal.age))
      step(
        0,
        `${who} is answered: renewed ${renewal.granted ? `for ${until}` : "no more"}`,
        renewal.granted ? withWorker(i, { renewal: undefined, deadline: until }) : abandon(state, i)
      )
    }

    if (state.mischief > 0) {
      step(undefined, `${who} crashes`, mischievous(abandon(state, i)))
      if (renewal !== undefined) {
        step(undefined, `a renewal of ${who} is lost`, mischievous(withWorker(i, { renewal: undefined })))
      }
      if (asked !== undefined) {
        const isUnsent = ({ claim, job }: Attempt) =>
          rules.saysAgain || !asked.ends.some((end) => end.job === job && end.claim === claim)
        const unanswered = mischievous(withWorker(i, {
          turn: undefined,
          isUncertain: true,
          epoch: epoch + 1,
          has: has.filter(isUnsent)
        }))
        const what = asked.reply === undefined ? "a turn" : "the answer to a turn"
        step(undefined, `${what} of ${who} is lost`, unanswered)
        if (asked.reply === undefined && asked.lease !== gone) {
          const late = [...state.late, requestOf(asked)]
          step(undefined, `${who} waits no longer for its turn`, { ...unanswered, late })
        }
      }
    }
  })

  state.late.forEach((request, i) => {
    const { store } = turn(state, request, world, rules)
    step(0, "a turn nobody waits for is done", { ...state, ...store, late: state.late.toSpliced(i, 1) })
  })

  for (const lease of state.lateRenewals) {
    must(state.leases[lease]! > 0, "a lease that has ended is not renewed", lease)
    step(0, "a renewal nobody waits for is done", {
      ...state,
      leases: state.leases.with(lease, world.lasts),
      lateRenewals: state.lateRenewals.toSpliced(state.lateRenewals.indexOf(lease), 1)
    })
  }

  if (isSweepDue) step(7, "a sweep", { ...state, ...sweep(state, world, rules) })

  if (state.cancels > 0) {
    for (const i of world.cancels) {
      const job = state.jobs[i]!
      if (job.state !== "Waiting" && job.state !== "Active") continue
      const next = rules.cancelled(job)
      const to = change(state, i, { ...next, wasCancelled: next.state === "Waiting" || next.state === "Active" }).jobs
      step(undefined, `job ${i} is cancelled`, { ...state, jobs: to, cancels: state.cancels - 1 })
    }
  }

  // A worker that is busy and does nothing until its lease is over has been stalled.
  const stalls =
    state.workers.filter(({ deadline, has, turn }) => deadline === 1 && (has.length > 0 || turn !== undefined)).length
  if (stalls <= state.mischief) {
    step(stalls === 0 ? 8 : undefined, "a tick", { ...tick(state, world, rules), mischief: state.mischief - stalls })
  }
  return steps
}

const tick = (state: State, world: World, rules: Rules): State => {
  const ticked: State = {
    ...state,
    leases: state.leases.map((left) => left > 0 ? left - 1 : left),
    workers: state.workers.map((worker) =>
      worker.lease === none ? worker : {
        ...worker,
        deadline: Math.max(0, worker.deadline - 1),
        renewal: worker.renewal && { ...worker.renewal, age: Math.min(world.lasts, worker.renewal.age + 1) }
      }
    )
  }
  return ticked.workers.reduce(
    (state, { deadline, lease }, i) => lease !== none && deadline === 0 && rules.stops ? abandon(state, i) : state,
    ticked
  )
}

// ─── what must hold in every state

const check = (state: State, world: World): void => {
  const live = state.jobs.filter((job) => lives(state, job)).length
  if (live > world.limit) throw new Violation(`the limit is kept: ${live} of ${world.limit} are active`)
  // A worker that does not know better runs what it has.
  const running = state.workers.flatMap(({ has, lease }) =>
    lease === none ? [] : has.flatMap(({ end, job }) => end === undefined ? [job] : [])
  )
  for (const job of running) must(running.indexOf(job) === running.lastIndexOf(job), "a job runs once at a time", job)
  if (running.length > world.limit) throw new Violation(`the limit is kept: ${running.length} of ${world.limit} run`)
  state.jobs.forEach((job, i) => {
    must(job.attempts === job.retries + job.crashes, "attempts are those that failed or crashed", i)
    must(job.state !== "Waiting" || !job.wasCancelled, "what was cancelled waits no more", i)
  })
}

const isOver = (state: State): boolean => state.jobs.every((job) => job.state !== "Waiting" && job.state !== "Active")

/** The parts of a state are shared between states, so each is put into words once. */
const cached = <A extends object>(toText: (part: A) => string) => {
  const texts = new WeakMap<A, string>()
  return (part: A): string => {
    let text = texts.get(part)
    if (text === undefined) texts.set(part, text = toText(part))
    return text
  }
}

const endKey = ({ as, job, token }: End) => `${job}${token}${as[1]}`
const attemptKey = ({ claim, end, job, token }: Attempt) => `${job}${token}${claim}${end?.[1] ?? ""}`
const requestKey = cached(({ ends, epoch, holds, lease, want }: Request) =>
  `${lease}e${epoch}${ends.map(endKey)}h${holds}w${want}`
)

const jobKey = cached((job: Job) =>
  `${
    job.state === "Waiting" || job.state === "Active" ? job.state[0] : "E"
  }${job.lease}t${job.token}c${job.claims}a${job.attempts}${job.retries}${job.crashes}${job.isCancelAsked ? "x" : ""}${
    job.wasCancelled ? "X" : ""
  }${job.hasStarted ? "s" : ""}`
)

const workerKey = cached(({ deadline, epoch, has, isUncertain, lease, renewal, turn }: Worker) => {
  if (lease === none) return ""
  const reply = turn?.reply
  return `${lease}d${deadline}${isUncertain ? "u" : ""}${epoch}${has.map(attemptKey)}${
    turn === undefined ? "" : requestKey(turn)
  }${reply === undefined ? "" : `r${reply.hasLeaseEnded}${reply.claimed.map(attemptKey)}x${reply.told}`}${
    renewal === undefined ? "" : `n${renewal.age}${renewal.granted}`
  }`
})

const keyOf = ({ cancels, counter, epochs, jobs, late, lateRenewals, leases, mischief, workers }: State): string =>
  `${counter} ${leases[0]} ${leases[1]} ${epochs[0]}${epochs[1]}${mischief}${cancels}|${jobKey(jobs[0]!)}|${
    jobKey(jobs[1]!)
  }|${jobKey(jobs[2]!)}|${workerKey(workers[0]!)}|${workerKey(workers[1]!)}|${
    late.length === 0 ? "" : late.map(requestKey).sort()
  }${lateRenewals}`

// ─── every order of steps

export interface Explored {
  readonly states: number
  /** The law that was broken, and the shortest way there. */
  readonly broken: { readonly law: string; readonly trace: ReadonlyArray<string> } | undefined
}

export const explore = (world: World, rules: Rules): Explored => {
  const first = start(world)
  const states: Array<State> = [first]
  const keys = new Map<string, number>([[keyOf(first), 0]])
  const parents = [-1]
  const names = [""]
  /** What comes next where nothing goes wrong any more; `over` where all jobs have ended. */
  const calm: Array<number> = []
  const over = -1

  const broken = (law: string, index: number): Explored => {
    const trace: Array<string> = []
    for (let i = index; i > 0; i = parents[i]!) trace.unshift(names[i]!)
    return { states: states.length, broken: { law, trace } }
  }

  /** The first state from which the calm goes round in a circle. */
  const endless = (): number | undefined => {
    const seen = new Uint8Array(calm.length)
    for (let i = 0; i < calm.length; i++) {
      const way: Array<number> = []
      let at = i
      for (; at !== over && at < calm.length && seen[at] === 0; at = calm[at]!) {
        seen[at] = 1
        way.push(at)
      }
      if (at !== over && at < calm.length && seen[at] === 1) return i
      for (const one of way) seen[one] = 2
    }
    return undefined
  }

  for (let at = 0; at < states.length; at++) {
    const state = states[at]!
    try {
      check(state, world)
      if (isOver(state)) {
        calm.push(over)
        continue
      }
      let next = over
      let soonest = Infinity
      for (const { calm, name, to } of stepsOf(state, world, rules)) {
        const key = keyOf(to)
        let index = keys.get(key)
        if (index === undefined) {
          keys.set(key, index = states.length)
          states.push(to)
          parents.push(at)
          names.push(name)
        }
        if (calm !== undefined && calm < soonest) {
          next = index
          soonest = calm
        }
      }
      calm.push(next)
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      return broken(error.message, at)
    }
  }
  const index = endless()
  if (index !== undefined) return broken("every job ends", index)
  return { states: states.length, broken: undefined }
}
