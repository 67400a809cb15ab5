/**
 * What runs and limits do, as Effect metrics: for Prometheus, OTLP or `Metric.snapshot`.
 *
 * Put it under the runner, `Scheduler.layer().pipe(Layer.provideMerge(Metrics.layer))`, and it counts every scheduler built inside and the limits
 * they work under, in the registry in context; two schedulers add up. Each Layer adds itself to the listeners it finds, so stack them with
 * `provideMerge`: side by side in `Layer.mergeAll` only the last is heard.
 *
 * Series are told apart by task and by tag and never by run. Where names or tags have no end (`tenant:4711`), say what they count as.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Concurrency from "./Concurrency.ts"
import { InvalidOptionError, orDie } from "./InvalidOptionError.ts"
import * as RunEvent from "./RunEvent.ts"

export interface Options {
  /** What a task is counted as. Default: its name. */
  readonly task?: ((name: string) => string) | undefined
  /** What a tag is counted as; `undefined`: not at all. Default: itself. */
  readonly tag?: ((tag: string) => string | undefined) | undefined
  /** How many tasks, and how many tags, are told apart: those that come later count as `(other)`. An integer >= 1; default 200. */
  readonly maxNames?: number | undefined
  /** Upper bounds of the histograms' buckets, in seconds. Default: `boundaries`. */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/** From a millisecond to an hour, in seconds. */
export const boundaries: ReadonlyArray<number> = Object.freeze(
  [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600]
)

/** Counts under other names, or in other buckets. Where another counts in the same registry already, it adds nothing. */
export const layerWith = (options?: Options): Layer.Layer<never> =>
  Layer.effectContext(Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const ofRuns = Context.get(context, RunEvent.Listeners)
    const ofLimits = Context.get(context, Concurrency.Listeners)
    const listening = (runs: ReadonlyArray<RunEvent.Listener>, limits: ReadonlyArray<Concurrency.Listener>) =>
      Context.make(RunEvent.Listeners, runs).pipe(Context.add(Concurrency.Listeners, limits))
    const where = {
      registry: Context.get(context, Metric.MetricRegistry),
      attributes: Context.get(context, Metric.CurrentMetricAttributes)
    }
    // A flow whose runner brings its own Metrics is not counted twice.
    if (ofRuns.some((one) => isSame(countsIn.get(one), where))) return listening(ofRuns, ofLimits)
    const { hearLimit, hearRun } = yield* Effect.acquireRelease(
      orDie(() => new Counting(where, options ?? {})),
      (counting) => Effect.sync(() => counting.close())
    )
    countsIn.set(hearRun, where)
    const above = Context.getOrUndefined(context, Concurrency.Concurrency)
    if (above !== undefined) {
      yield* Effect.acquireRelease(Effect.sync(() => above.listen(hearLimit)), (stop) => Effect.sync(stop))
    }
    return listening([...ofRuns, hearRun], [...ofLimits, hearLimit])
  }))

/** Counts in the registry in context. */
export const layer: Layer.Layer<never> = layerWith()

// ─── what is counted

const counter = (id: string, description: string) => Metric.counter(id, { description, incremental: true })
const gauge = (id: string, description: string) => Metric.gauge(id, { description })
/** The exporters of `effect` know the unit by this attribute; Prometheus is not shown it. */
const seconds = (id: string, description: string) =>
  Metric.histogram(id, { description, boundaries, attributes: { unit: "seconds" } })

const runsBy = (prefix: string, whose: string) => ({
  /** Runs whose first attempt began. */
  started: counter(`${prefix}s_started_total`, `Runs ${whose} whose first attempt began`),
  /** By `outcome`: `Succeeded`, `Failed`, … */
  finished: counter(`${prefix}s_finished_total`, `Runs ${whose} that ended, by outcome`),
  /** By `reason`: `WouldWait`, `LimitClosed`, … They count as finished too. */
  refused: counter(`${prefix}s_refused_total`, `Runs ${whose} that were refused, by reason`),
  /** Attempts that failed and were followed by another. */
  retried: counter(`${prefix}s_retried_total`, `Attempts ${whose} that failed and were followed by another`),
  /** Accepted and not started, or between two attempts. */
  waiting: gauge(`${prefix}s_waiting`, `Runs ${whose} that wait for their start or their next attempt`),
  running: gauge(`${prefix}s_running`, `Runs ${whose} that have their slot`),
  /** Their slots are lent while they wait for other runs. */
  suspended: gauge(`${prefix}s_suspended`, `Runs ${whose} that lent their slot while they wait`),
  /** From submission to the first start, or to the end of a run that never started. Each run once. */
  wait: seconds(`${prefix}_wait_seconds`, `From the submission of runs ${whose} to their start`),
  /** From the first start to the end, retries and waits in between included. Each run that started, once. */
  duration: seconds(`${prefix}_duration_seconds`, `From the start of runs ${whose} to their end`)
})

/** By `task`, and by `lane` where there is one. Read one with `Metric.value(Metric.withAttributes(Metrics.byTask.started, { task: "save" }))`. */
export const byTask = runsBy("tasklayer_run", "of a task")

/** By `tag`. A run counts under each of its tags. */
export const byTag = runsBy("tasklayer_tag_run", "with a tag")

/** By `tag`: what runs, `withSlot` regions and leases take of its limits. */
export const limits = {
  /** How much may be taken at once. Limits of the same tag add up; an unbounded one counts as 0. */
  slots: gauge("tasklayer_limit_slots", "How much of a tag may be taken at once"),
  active: gauge("tasklayer_limit_active", "How much of a tag is taken"),
  /** For how long each holder had it at a stretch: not while it lends it. */
  hold: seconds("tasklayer_limit_hold_seconds", "For how long the holders of a tag had it"),
  waited: counter("tasklayer_limit_waited_total", "How often somebody had to wait for room in a tag"),
  /** By `reason`. */
  denied: counter("tasklayer_limit_denied_total", "How often somebody was denied a tag, by reason")
}

// ─── counting

interface Where {
  readonly registry: Metric.MetricRegistry
  readonly attributes: Metric.Metric.AttributeSet
}

const countsIn = new WeakMap<RunEvent.Listener, Where>()

const isSame = (one: Where | undefined, other: Where): boolean =>
  one?.registry === other.registry && one.attributes === other.attributes

/** A run that has not ended. */
interface Live {
  readonly name: string
  readonly tags: ReadonlyArray<string>
  readonly series: ReadonlyArray<RunSeries>
  /** Milliseconds. */
  readonly submitted: number
  state: "waiting" | "running" | "suspended"
  isStarted: boolean
}

class Counting {
  /** By scheduler and id: two schedulers may have runs of one id. */
  private readonly live = new Map<string, Map<string, Live>>()
  private readonly tasks: Names<RunSeries>
  private readonly tags: Names<RunSeries>
  private readonly limits: Names<LimitSeries>
  private readonly taskOf: (name: string) => string
  private readonly tagOf: (tag: string) => string | undefined
  private readonly book: Book
  private isClosed = false

  constructor(where: Where, options: Options) {
    const book = this.book = new Book(where, options)
    const { maxNames = 200 } = options
    if (!(Number.isInteger(maxNames) && maxNames >= 1)) {
      invalid("maxNames", "must be an integer >= 1", maxNames)
    }
    this.tasks = new Names(maxNames, (task, lane) => book.runs(byTask, lane === undefined ? { task } : { task, lane }))
    this.tags = new Names(maxNames, (tag) => book.runs(byTag, { tag }))
    this.limits = new Names(maxNames, (tag) => book.limit({ tag }))
    this.taskOf = options.task ?? ((name) => name)
    this.tagOf = options.tag ?? ((tag) => tag)
  }

  /** Nobody tells of what is left: it goes from the gauges. */
  close(): void {
    this.isClosed = true
    for (const level of this.book.levels) level.add(-level.value)
  }

  readonly hearRun = (event: RunEvent.RunEvent): void => {
    if (!("run" in event) || this.isClosed) return
    const at = DateTime.toEpochMillis(event.at)
    const runs = this.runsOf(event.scheduler)
    const run = this.find(runs, event.run, at)
    switch (event._tag) {
      case "Started":
        if (!run.isStarted) {
          run.isStarted = true
          for (const series of run.series) {
            series.started()
            series.wait((at - run.submitted) / 1000)
          }
        }
        return move(run, "running")
      case "Resumed":
        return move(run, "running")
      case "Suspended":
        return move(run, "suspended")
      case "AttemptFailed":
        for (const series of run.series) series.retried()
        return move(run, "waiting")
      case "Finished": {
        runs.delete(event.run.id)
        if (runs.size === 0) this.live.delete(event.scheduler)
        const { duration, inQueue, outcome } = event
        for (const series of run.series) {
          series[run.state].add(-1)
          series.finished(outcome._tag)
          if (outcome._tag === "Refused") series.refused(outcome.error.reason._tag)
          if (run.isStarted) series.duration(Duration.toSeconds(duration))
          else series.wait(Duration.toSeconds(inQueue))
        }
      }
    }
  }

  private runsOf(scheduler: string): Map<string, Live> {
    let runs = this.live.get(scheduler)
    if (runs === undefined) this.live.set(scheduler, runs = new Map())
    return runs
  }

  /** The run as it is known, under the name and the tags it has now: what comes after other runs is told later what it is. */
  private find(runs: Map<string, Live>, { id, lane, name, tags }: RunEvent.RunInfo, at: number): Live {
    const known = runs.get(id)
    if (known !== undefined && known.name === name && known.tags === tags) return known
    const series = [this.tasks.get(this.taskOf(name), lane), ...this.byTag(tags)]
    const run: Live = known === undefined
      ? { name, tags, series, submitted: at, state: "waiting", isStarted: false }
      : { ...known, name, tags, series }
    if (known !== undefined) { for (const one of known.series) one[run.state].add(-1) }
    for (const one of series) one[run.state].add(1)
    runs.set(id, run)
    return run
  }

  /** A run counts once under a name that several of its tags count as. */
  private byTag(tags: ReadonlyArray<string>): ReadonlyArray<RunSeries> {
    const names = new Set(tags.map((tag) => this.tagOf(tag)))
    return [...new Set([...names].flatMap((name) => name === undefined ? [] : [this.tags.get(name)]))]
  }

  readonly hearLimit = (event: Concurrency.ConcurrencyEvent): void => {
    if (!("tag" in event) || this.isClosed) return
    const tag = this.tagOf(event.tag)
    if (tag === undefined) return
    const limit = this.limits.get(tag)
    switch (event._tag) {
      case "Created":
        return limit.slots.add(bounded(event.limit))
      case "Resized":
        return limit.slots.add(bounded(event.limit) - bounded(event.before))
      case "Removed":
        return limit.slots.add(-bounded(event.before))
      case "Acquired":
        return limit.active.add(event.weight)
      case "Released":
      case "Revoked":
        limit.active.add(-event.weight)
        return limit.hold(Duration.toSeconds(event.held))
      case "Waited":
        return limit.waited()
      case "Denied":
        return limit.denied(event.reason._tag)
    }
  }
}

const move = (run: Live, to: Live["state"]): void => {
  if (run.state === to) return
  for (const series of run.series) {
    series[run.state].add(-1)
    series[to].add(1)
  }
  run.state = to
}

const bounded = (limit: Concurrency.Limit): number => limit === "unbounded" ? 0 : limit

/** What is kept by name, for so many names and for all others together. */
class Names<A> {
  private readonly known = new Map<string, A>()
  private readonly max: number
  private readonly make: (name: string, lane: string | undefined) => A
  constructor(max: number, make: (name: string, lane: string | undefined) => A) {
    this.max = max
    this.make = make
  }
  get(name: string, lane?: string): A {
    const key = lane === undefined ? name : `${name}\0${lane}`
    const known = this.known.get(key)
    if (known !== undefined) return known
    // The name of the others is not one of the names told apart.
    const others = this.known.size - (this.known.has(other) ? 1 : 0) >= this.max
    if (others && name !== other) return this.get(other)
    const made = this.make(name, lane)
    this.known.set(key, made)
    return made
  }
}

const other = "(other)"

type RunSeries = ReturnType<Book["runs"]>
type LimitSeries = ReturnType<Book["limit"]>

/** Series of one registry. Each shows there once something was counted. */
class Book {
  readonly levels: Array<Level> = []
  private readonly boundaries: ReadonlyArray<number>
  private readonly context: Context.Context<never>
  constructor(where: Where, options: Options) {
    this.context = Context.make(Metric.MetricRegistry, where.registry).pipe(
      Context.add(Metric.CurrentMetricAttributes, where.attributes)
    )
    this.boundaries = options.boundaries ?? boundaries
    if (this.boundaries.some((bound) => !Number.isFinite(bound))) {
      invalid("boundaries", "must be finite numbers", this.boundaries)
    }
  }

  runs(metrics: typeof byTask, attributes: Metric.Metric.AttributeSet) {
    return {
      started: this.count(metrics.started, attributes),
      finished: this.countBy("outcome", metrics.finished, attributes),
      refused: this.countBy("reason", metrics.refused, attributes),
      retried: this.count(metrics.retried, attributes),
      waiting: this.level(metrics.waiting, attributes),
      running: this.level(metrics.running, attributes),
      suspended: this.level(metrics.suspended, attributes),
      wait: this.observe(metrics.wait, attributes),
      duration: this.observe(metrics.duration, attributes)
    }
  }

  limit(attributes: Metric.Metric.AttributeSet) {
    return {
      slots: this.level(limits.slots, attributes),
      active: this.level(limits.active, attributes),
      hold: this.observe(limits.hold, attributes),
      waited: this.count(limits.waited, attributes),
      denied: this.countBy("reason", limits.denied, attributes)
    }
  }

  // Made anew with its attributes, a metric is the same series as one of `Metric.withAttributes`, which builds a context for each update.
  private count({ description, id }: Metric.Counter<number>, attributes: Metric.Metric.AttributeSet): () => void {
    const metric = Metric.counter(id, { description, attributes, incremental: true })
    return () => metric.updateUnsafe(1, this.context)
  }

  private countBy(key: string, base: Metric.Counter<number>, attributes: Metric.Metric.AttributeSet) {
    const counts = new Map<string, () => void>()
    return (value: string): void => {
      let count = counts.get(value)
      if (count === undefined) counts.set(value, count = this.count(base, { ...attributes, [key]: value }))
      count()
    }
  }

  private level({ description, id }: Metric.Gauge<number>, attributes: Metric.Metric.AttributeSet): Level {
    const metric = Metric.gauge(id, { description, attributes })
    const level = new Level((change) => metric.modifyUnsafe(change, this.context))
    this.levels.push(level)
    return level
  }

  private observe(base: Metric.Histogram<number>, attributes: Metric.Metric.AttributeSet): (seconds: number) => void {
    const { description, id } = base
    const metric = Metric.histogram(id, {
      description,
      boundaries: this.boundaries,
      attributes: { ...base.attributes, ...attributes }
    })
    return (seconds) => metric.updateUnsafe(seconds, this.context)
  }
}

/** What these schedulers and limits add to a gauge that others may add to as well. */
class Level {
  value = 0
  private readonly modify: (change: number) => void
  constructor(modify: (change: number) => void) {
    this.modify = modify
  }
  add(change: number): void {
    if (change === 0) return
    this.value += change
    this.modify(change)
  }
}

const invalid = (field: string, rule: string, value: unknown): never => {
  throw new InvalidOptionError({ where: "Metrics.layer", field, rule, value })
}
