import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, Layer, Logger, Metric, References, Schedule, Scope } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import {
  Concurrency,
  Flow,
  Lanes,
  Metrics,
  RunEvent,
  RunLog,
  Scheduler,
  Supervisor,
  Task,
  TaskRun
} from "../src/index.ts"
import { quiet } from "./suites/Quiet.ts"
import * as Random from "./suites/Random.ts"

/** Every series there is: `tasklayer_runs_running{task="a"}`, and its value; of a histogram, `…_count` and `…_sum`. Those at 0 are left out. */
const series = Effect.map(Metric.snapshot, (snapshot) => {
  const values: Record<string, number> = {}
  const set = (name: string, value: number) => value === 0 ? undefined : values[name] = value
  for (const { attributes = {}, id, state, type } of snapshot) {
    const labels = Object.entries(attributes).filter(([key]) => key !== "unit").map(([key, value]) =>
      `${key}="${value}"`
    )
    const at = `{${labels.join(",")}}`
    if (type === "Counter") set(id + at, Number(state.count))
    if (type === "Gauge") set(id + at, Number(state.value))
    if (type === "Histogram") {
      set(`${id}_count${at}`, state.count)
      set(`${id}_sum${at}`, Math.round(state.sum * 1000) / 1000)
    }
  }
  return values
})

/** Those whose name has this in it. */
const some = (part: string) =>
  Effect.map(series, (all) => Object.fromEntries(Object.entries(all).filter(([name]) => name.includes(part))))

const silent = Logger.layer([])

/** A scheduler that is counted, in a registry of its own. */
const counted = (options?: Scheduler.LayerOptions, metrics: Layer.Layer<never> = Metrics.layer) => {
  const inside = Scheduler.layer({ maxParallelism: 8, ...options }).pipe(
    Layer.provideMerge(Layer.fresh(metrics)),
    Layer.provideMerge(silent)
  )
  return <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.suspend(() =>
      Effect.provide(effect, inside).pipe(Effect.scoped, Effect.provideService(Metric.MetricRegistry, new Map()))
    )
}

describe("runs", () => {
  it.effect("are counted by task, from submission to end", () =>
    Effect.gen(function*() {
      const work = Task.make("work", Effect.sleep("2 seconds"))
      yield* Task.fork(work)
      yield* Task.fork(work)
      yield* Task.fork(Task.make("other", Effect.void))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* series, {
        "tasklayer_runs_started_total{task=\"work\"}": 1,
        "tasklayer_runs_running{task=\"work\"}": 1,
        "tasklayer_runs_waiting{task=\"work\"}": 1,
        "tasklayer_runs_waiting{task=\"other\"}": 1,
        "tasklayer_run_wait_seconds_count{task=\"work\"}": 1
      })
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* series, {
        "tasklayer_runs_started_total{task=\"work\"}": 2,
        "tasklayer_runs_started_total{task=\"other\"}": 1,
        "tasklayer_runs_finished_total{task=\"work\",outcome=\"Succeeded\"}": 2,
        "tasklayer_runs_finished_total{task=\"other\",outcome=\"Succeeded\"}": 1,
        "tasklayer_run_wait_seconds_count{task=\"work\"}": 2,
        "tasklayer_run_wait_seconds_sum{task=\"work\"}": 2,
        "tasklayer_run_wait_seconds_count{task=\"other\"}": 1,
        "tasklayer_run_wait_seconds_sum{task=\"other\"}": 4,
        "tasklayer_run_duration_seconds_count{task=\"work\"}": 2,
        "tasklayer_run_duration_seconds_sum{task=\"work\"}": 4,
        "tasklayer_run_duration_seconds_count{task=\"other\"}": 1
      })
    }).pipe(counted({ maxParallelism: 1 })))

  it.effect("end by outcome, refusals by reason", () =>
    Effect.gen(function*() {
      const end = <A, E>(effect: Effect.Effect<A, E, TaskRun.CurrentRun>, demand?: Task.Options) =>
        Effect.exit(Task.make("t", effect, demand))
      yield* end(Effect.void)
      yield* end(Effect.fail("no"))
      yield* end(Effect.die("jam"))
      yield* end(Effect.interrupt)
      yield* end(Task.abort("holiday"))
      yield* end(Effect.void, { tags: ["closed"] })
      yield* end(Effect.void, { tags: ["none"], strict: true })
      const late = yield* Effect.forkChild(
        Effect.exit(Task.make("t", Effect.never).pipe(Task.withTimeout("1 second")))
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(late)
      assert.deepStrictEqual(yield* some("runs_finished"), {
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Succeeded\"}": 1,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Failed\"}": 1,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Died\"}": 1,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Interrupted\"}": 1,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Aborted\"}": 1,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"Refused\"}": 2,
        "tasklayer_runs_finished_total{task=\"t\",outcome=\"TimedOut\"}": 1,
        "tasklayer_tag_runs_finished_total{tag=\"closed\",outcome=\"Refused\"}": 1,
        "tasklayer_tag_runs_finished_total{tag=\"none\",outcome=\"Refused\"}": 1
      })
      assert.deepStrictEqual(yield* some("tasklayer_runs_refused"), {
        "tasklayer_runs_refused_total{task=\"t\",reason=\"LimitClosed\"}": 1,
        "tasklayer_runs_refused_total{task=\"t\",reason=\"MissingLimits\"}": 1
      })
      // Every run waited, if for no time; those refused never ran.
      assert.deepStrictEqual(yield* some("tasklayer_run_"), {
        "tasklayer_run_wait_seconds_count{task=\"t\"}": 8,
        "tasklayer_run_duration_seconds_count{task=\"t\"}": 6,
        "tasklayer_run_duration_seconds_sum{task=\"t\"}": 1
      })
    }).pipe(counted({ tagLimits: { closed: 0 } })))

  it.effect("that are retried wait in between, and start once", () =>
    Effect.gen(function*() {
      let left = 2
      const flaky = Task.make("flaky", Effect.suspend(() => left-- > 0 ? Effect.fail("busy") : Effect.void))
      yield* Task.fork(flaky.pipe(Task.withRetry(Schedule.spaced("1 second"))))
      yield* quiet
      assert.deepStrictEqual(yield* some("tasklayer_runs_"), {
        "tasklayer_runs_started_total{task=\"flaky\"}": 1,
        "tasklayer_runs_retried_total{task=\"flaky\"}": 1,
        "tasklayer_runs_waiting{task=\"flaky\"}": 1
      })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* series, {
        "tasklayer_runs_started_total{task=\"flaky\"}": 1,
        "tasklayer_runs_retried_total{task=\"flaky\"}": 2,
        "tasklayer_runs_finished_total{task=\"flaky\",outcome=\"Succeeded\"}": 1,
        "tasklayer_run_wait_seconds_count{task=\"flaky\"}": 1,
        "tasklayer_run_duration_seconds_count{task=\"flaky\"}": 1,
        "tasklayer_run_duration_seconds_sum{task=\"flaky\"}": 2
      })
    }).pipe(counted()))

  it.effect("that wait for others are suspended", () =>
    Effect.gen(function*() {
      const parent = Task.make("parent", Task.make("child", Effect.sleep("1 second")))
      const run = yield* Task.fork(parent)
      yield* quiet
      const gauges = Effect.map(
        series,
        (all) => Object.keys(all).filter((name) => /_(waiting|running|suspended)\{/.test(name))
      )
      assert.deepStrictEqual(yield* gauges, [
        "tasklayer_runs_suspended{task=\"parent\"}",
        "tasklayer_runs_running{task=\"child\"}"
      ])
      yield* run.interrupt
      assert.deepStrictEqual(yield* gauges, [])
    }).pipe(counted({ maxParallelism: 1 })))

  it.effect("that learn their name later are counted under it", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const first = yield* Task.fork(Task.make("first", latch.await))
      yield* Task.fork(Task.after([first], () => Task.make("second", Effect.never, { tags: ["late"] })))
      yield* quiet
      const { "tasklayer_runs_waiting{task=\"after\"}": waits } = yield* series
      assert.strictEqual(waits, 1)
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual(yield* some("ing{"), {
        "tasklayer_runs_running{task=\"second\"}": 1,
        "tasklayer_tag_runs_running{tag=\"late\"}": 1
      })
    }).pipe(counted()))

  it.effect("of two schedulers add up, and go from the gauges with the scheduler that abandons them", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const stubborn = Task.make("work", Effect.uninterruptible(latch.await))
      const scope = yield* Scope.make()
      const second = yield* Layer.buildWithScope(
        Layer.fresh(Scheduler.layer({ maxParallelism: 1, interruptTimeout: "1 second" })),
        scope
      )
      yield* Task.fork(stubborn)
      const fork = Effect.provideContext(Task.fork(stubborn), second)
      yield* Effect.all([fork, fork])
      yield* quiet
      assert.deepStrictEqual(yield* some("ing{"), {
        "tasklayer_runs_running{task=\"work\"}": 2,
        "tasklayer_runs_waiting{task=\"work\"}": 1
      })
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* some("ing{"), { "tasklayer_runs_running{task=\"work\"}": 1 })
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"work\",outcome=\"Abandoned\"}": 1,
        "tasklayer_runs_finished_total{task=\"work\",outcome=\"Interrupted\"}": 1
      })
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual(yield* some("ing{"), {})
    }).pipe(counted()))

  it.effect("that stop their own scheduler are counted to their end", () =>
    Effect.gen(function*() {
      const registry = yield* Metric.MetricRegistry
      const run = yield* Task.fork(Task.make("stopper", Effect.andThen(Scheduler.close, Effect.sleep("1 second"))))
      yield* TestClock.adjust("1 second")
      yield* TaskRun.join(run)
      assert.isAbove(registry.size, 0)
      assert.deepStrictEqual(yield* some("ing{"), {})
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"stopper\",outcome=\"Succeeded\"}": 1
      })
    }).pipe(counted()))

  it.effect("of a lane have its name", () =>
    Effect.gen(function*() {
      yield* Effect.provide(
        Task.make("page", Effect.void),
        Lanes.layer({ lanes: { web: {} }, default: "web" }).pipe(Layer.provide(Supervisor.layer()))
      )
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"page\",lane=\"web\",outcome=\"Succeeded\"}": 1
      })
    }).pipe(counted()))

  it("are counted where they run inline, and read in the same program", () => {
    const program = Effect.andThen(Task.make("work", Effect.void, { tags: ["db"] }), series)
    const values = Effect.runSync(
      program.pipe(
        Effect.provide(Layer.provideMerge(Scheduler.layerInline, Layer.fresh(Metrics.layer))),
        Effect.provideService(Metric.MetricRegistry, new Map())
      )
    )
    assert.strictEqual(values["tasklayer_runs_finished_total{task=\"work\",outcome=\"Succeeded\"}"], 1)
    assert.strictEqual(values["tasklayer_tag_runs_finished_total{tag=\"db\",outcome=\"Succeeded\"}"], 1)
  })
})

describe("tags", () => {
  it.effect("count a run under each of them, with or without a limit", () =>
    Effect.gen(function*() {
      yield* Task.fork(Task.make("work", Effect.sleep("1 second"), { tags: ["db", "label", "db"] }))
      yield* quiet
      assert.deepStrictEqual(yield* some("ing{"), {
        "tasklayer_runs_running{task=\"work\"}": 1,
        "tasklayer_tag_runs_running{tag=\"db\"}": 1,
        "tasklayer_tag_runs_running{tag=\"label\"}": 1
      })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* some("tasklayer_tag_run_duration_seconds"), {
        "tasklayer_tag_run_duration_seconds_count{tag=\"db\"}": 1,
        "tasklayer_tag_run_duration_seconds_sum{tag=\"db\"}": 1,
        "tasklayer_tag_run_duration_seconds_count{tag=\"label\"}": 1,
        "tasklayer_tag_run_duration_seconds_sum{tag=\"label\"}": 1
      })
    }).pipe(counted({ tagLimits: { db: 1 } })))

  const tenants = Metrics.layerWith({
    task: (name) => name.replace(/\d+/, "N"),
    tag: (tag) => tag === "secret" ? undefined : tag.replace(/\d+/, "N")
  })

  it.effect("count as what they are said to count as, once a run", () =>
    Effect.gen(function*() {
      yield* Task.make("job 1", Effect.void, { tags: ["tenant 1", "tenant 2", "secret"] })
      yield* Task.make("job 2", Effect.void, { tags: ["tenant 3"] })
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"job N\",outcome=\"Succeeded\"}": 2,
        "tasklayer_tag_runs_finished_total{tag=\"tenant N\",outcome=\"Succeeded\"}": 2
      })
      // Each of them has a limit of its own, so one run may hold several.
      assert.deepStrictEqual(yield* some("limit_"), {
        "tasklayer_limit_slots{tag=\"tenant N\"}": 6,
        "tasklayer_limit_hold_seconds_count{tag=\"tenant N\"}": 3
      })
    }).pipe(counted({ tagLimits: () => 2 }, tenants)))

  it.effect("and tasks beyond so many count as others", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 5; i++) yield* Task.make(`job ${i}`, Effect.void, { tags: [`tag ${i}`] })
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"job 0\",outcome=\"Succeeded\"}": 1,
        "tasklayer_runs_finished_total{task=\"job 1\",outcome=\"Succeeded\"}": 1,
        "tasklayer_runs_finished_total{task=\"(other)\",outcome=\"Succeeded\"}": 3,
        "tasklayer_tag_runs_finished_total{tag=\"tag 0\",outcome=\"Succeeded\"}": 1,
        "tasklayer_tag_runs_finished_total{tag=\"tag 1\",outcome=\"Succeeded\"}": 1,
        "tasklayer_tag_runs_finished_total{tag=\"(other)\",outcome=\"Succeeded\"}": 3
      })
    }).pipe(counted({}, Metrics.layerWith({ maxNames: 2 }))))
})

describe("limits", () => {
  it.effect("are counted for runs, withSlot and leases alike", () =>
    Effect.gen(function*() {
      const db = { tags: ["db"] }
      yield* Task.fork(Task.make("work", Effect.sleep("1 second"), db))
      yield* Effect.forkScoped(Concurrency.withSlot({ ...db, weight: 2 })(Effect.sleep("2 seconds")))
      yield* quiet
      assert.deepStrictEqual(yield* some("limit_"), {
        "tasklayer_limit_slots{tag=\"db\"}": 4,
        "tasklayer_limit_active{tag=\"db\"}": 3
      })
      yield* Effect.forkScoped(Effect.andThen(Concurrency.acquire({ ...db, ttl: "3 seconds" }), Effect.never))
      yield* quiet
      yield* Effect.exit(Concurrency.withSlot({ ...db, whenFull: "fail" })(Effect.void))
      yield* Effect.forkScoped(Concurrency.withSlot(db)(Effect.void))
      yield* quiet
      assert.deepStrictEqual(yield* some("limit_"), {
        "tasklayer_limit_slots{tag=\"db\"}": 4,
        "tasklayer_limit_active{tag=\"db\"}": 4,
        "tasklayer_limit_waited_total{tag=\"db\"}": 1,
        "tasklayer_limit_denied_total{tag=\"db\",reason=\"WouldWait\"}": 1
      })
      yield* Concurrency.create("db", 9)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* some("limit_"), {
        "tasklayer_limit_slots{tag=\"db\"}": 9,
        "tasklayer_limit_waited_total{tag=\"db\"}": 1,
        "tasklayer_limit_denied_total{tag=\"db\",reason=\"WouldWait\"}": 1,
        // The mean hold time: six seconds over four holders.
        "tasklayer_limit_hold_seconds_count{tag=\"db\"}": 4,
        "tasklayer_limit_hold_seconds_sum{tag=\"db\"}": 6
      })
    }).pipe(counted({ tagLimits: { db: 4, free: "unbounded" } })))

  it.effect("of a Concurrency above are counted from what is there on, and not after", () =>
    Effect.gen(function*() {
      const slot = Concurrency.withSlot({ tags: ["db"] })
      yield* Effect.forkScoped(slot(Effect.never))
      yield* quiet
      yield* Effect.gen(function*() {
        yield* Effect.forkScoped(slot(Effect.never))
        yield* quiet
        assert.deepStrictEqual(yield* series, {
          "tasklayer_limit_slots{tag=\"db\"}": 5,
          "tasklayer_limit_active{tag=\"db\"}": 2
        })
      }).pipe(Effect.provide(Layer.fresh(Metrics.layer)))
      assert.deepStrictEqual(yield* series, {})
      yield* slot(Effect.void)
      yield* Concurrency.create("db", 1)
      assert.deepStrictEqual(yield* series, {})
    }).pipe(
      Effect.scoped,
      Effect.provide(Concurrency.layer({ tagLimits: { db: 5 } })),
      Effect.provideService(Metric.MetricRegistry, new Map())
    ))

  it.effect("of flows come and go with them", () =>
    Effect.gen(function*() {
      const flow = Flow.make(
        "flow",
        Effect.andThen(Task.make("work", Effect.void, { tags: ["db"] }), some("limit_slots")),
        Scheduler.layer({ tagLimits: { db: 3 } })
      )
      const during = yield* Effect.all([flow, flow])
      assert.deepStrictEqual(during, Array(2).fill({ "tasklayer_limit_slots{tag=\"db\"}": 3 }))
      assert.deepStrictEqual(yield* some("limit_slots"), {})
      assert.deepStrictEqual(yield* some("finished"), {
        "tasklayer_runs_finished_total{task=\"work\",outcome=\"Succeeded\"}": 2,
        "tasklayer_tag_runs_finished_total{tag=\"db\",outcome=\"Succeeded\"}": 2
      })
    }).pipe(counted()))
})

describe("the Layer", () => {
  const work = Task.make("work", Effect.void, { tags: ["db"] })
  const finished = "tasklayer_runs_finished_total{task=\"work\",outcome=\"Succeeded\"}"

  it.effect("counts once, however often it stands above a scheduler", () =>
    Effect.gen(function*() {
      yield* Flow.make(
        "flow",
        work,
        Layer.provideMerge(
          Scheduler.layer({ tagLimits: { db: 1 } }),
          Layer.provideMerge(Metrics.layer, Metrics.layerWith())
        )
      )
      assert.strictEqual((yield* series)[finished], 1)
      assert.strictEqual((yield* series)["tasklayer_limit_hold_seconds_count{tag=\"db\"}"], 1)
    }).pipe(counted()))

  it.effect("counts in each registry it is given", () =>
    Effect.gen(function*() {
      const other: Metric.MetricRegistry = new Map()
      const inner = Layer.fresh(Metrics.layer).pipe(Layer.provide(Layer.succeed(Metric.MetricRegistry, other)))
      yield* Effect.provide(work, Layer.fresh(Layer.provideMerge(Scheduler.layer(), inner)))
      assert.strictEqual((yield* series)[finished], 1)
      assert.strictEqual((yield* Effect.provideService(series, Metric.MetricRegistry, other))[finished], 1)
    }).pipe(counted()))

  it.effect("adds the attributes in context to each series", () =>
    Effect.gen(function*() {
      const eu = Layer.fresh(Metrics.layer).pipe(
        Layer.provide(Layer.succeed(Metric.CurrentMetricAttributes, { region: "eu" }))
      )
      yield* Effect.provide(work, Layer.fresh(Layer.provideMerge(Scheduler.layer(), eu)))
      const both = yield* some("tasklayer_runs_finished")
      assert.deepStrictEqual(Object.keys(both), [
        finished,
        "tasklayer_runs_finished_total{task=\"work\",outcome=\"Succeeded\",region=\"eu\"}"
      ])
    }).pipe(counted()))

  it.effect("stands with RunLog, both heard", () =>
    Effect.gen(function*() {
      const lines: Array<string> = []
      yield* work.pipe(
        Effect.provide(
          Scheduler.layer().pipe(
            Layer.provideMerge(RunLog.layerWith({ write: (line) => lines.push(line) })),
            Layer.provideMerge(Layer.fresh(Metrics.layer)),
            Layer.provideMerge(silent)
          )
        )
      )
      assert.strictEqual(lines.length, 4)
      assert.strictEqual((yield* series)[finished], 1)
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("takes its share from the gauges when it closes", () =>
    Effect.gen(function*() {
      const latch = yield* Latch.make()
      const scope = yield* Scope.make()
      const scheduler = yield* Layer.buildWithScope(
        Scheduler.layer({ tagLimits: { db: 1 }, interruptTimeout: 0 }).pipe(
          Layer.provideMerge(Layer.fresh(Metrics.layer))
        ),
        scope
      )
      const stubborn = Task.make("work", Effect.uninterruptible(latch.await), { tags: ["db"] })
      yield* Effect.provideContext(Effect.all([Task.fork(stubborn), Task.fork(stubborn)]), scheduler)
      yield* quiet
      assert.strictEqual((yield* series)["tasklayer_limit_active{tag=\"db\"}"], 1)
      yield* Scope.close(scope, Exit.void)
      const gauges = Effect.map(series, (all) =>
        Object.keys(all).filter((name) => /(ing|suspended|active|slots)\{/.test(name)))
      assert.deepStrictEqual(yield* gauges, [])
      yield* latch.open
      yield* quiet
      assert.deepStrictEqual(yield* gauges, [])
    }).pipe(Effect.provide(silent), Effect.provideService(Metric.MetricRegistry, new Map())))

  it.effect("has its metrics by name", () =>
    Effect.gen(function*() {
      yield* work
      const started = yield* Metric.value(Metric.withAttributes(Metrics.byTask.started, { task: "work" }))
      assert.strictEqual(started.count, 1)
      const wait = yield* Metric.value(Metric.withAttributes(Metrics.byTag.wait, { tag: "db" }))
      assert.strictEqual(wait.count, 1)
      const hold = yield* Metric.value(Metric.withAttributes(Metrics.limits.hold, { tag: "db" }))
      assert.strictEqual(hold.count, 1)
      // Asking made no series beside those.
      assert.strictEqual((yield* some("started"))["tasklayer_runs_started_total{task=\"work\"}"], 1)
    }).pipe(counted({ tagLimits: { db: 1 } })))

  it.effect("goes out by OTLP, with units", () =>
    Effect.gen(function*() {
      const bodies: Array<string> = []
      const client = HttpClient.make((request) =>
        Effect.sync(() => {
          if (request.body._tag === "Uint8Array") bodies.push(new TextDecoder().decode(request.body.body))
          return HttpClientResponse.fromWeb(request, new Response("{}"))
        })
      )
      const exporter = OtlpMetrics.layer({ url: "http://localhost/v1/metrics", resource: { serviceName: "test" } })
        .pipe(
          Layer.provide(Layer.succeed(HttpClient.HttpClient, client)),
          Layer.provide(OtlpSerialization.layerJson)
        )
      yield* work.pipe(
        Effect.provide(
          Scheduler.layer({ tagLimits: { db: 1 } }).pipe(
            Layer.provideMerge(Layer.fresh(Metrics.layer)),
            Layer.provideMerge(exporter)
          )
        )
      )
      const [{ scopeMetrics: [{ metrics }] }] = JSON.parse(bodies.at(-1)!).resourceMetrics
      const units = new Map(metrics.map(({ name, unit }: { name: string; unit: string }) => [name, unit]))
      assert.strictEqual(units.get("tasklayer_run_wait_seconds"), "s")
      assert.strictEqual(units.get("tasklayer_runs_finished_total"), "1")
    }).pipe(Effect.provide(silent), Effect.provideService(Metric.MetricRegistry, new Map())))

  it("is documented by one table that has all of its metrics", () => {
    const page = fs.readFileSync(new URL("../docs/metrics.md", import.meta.url), "utf8")
    const rows = page.split("\n").filter((line) => line.startsWith("| `")).flatMap((line) => {
      const [, names, type, , unit] = line.split("|").map((cell) => cell.trim())
      return names!.split(", ").map((name) => `${name} ${type} ${unit === "seconds"}`)
    })
    const { byTag, byTask, limits } = Metrics
    const metrics: ReadonlyArray<Metric.Metric<number, unknown>> = [byTask, byTag, limits].flatMap(Object.values)
    const has = metrics.map(({ attributes, id, type }) =>
      `\`${id}\` ${type.toLowerCase()} ${attributes?.["unit"] === "seconds"}`
    )
    assert.deepStrictEqual(rows.toSorted(), has.toSorted())
  })

  it.effect("dies of options that cannot be", () =>
    Effect.gen(function*() {
      const message = (options: Metrics.Options) =>
        Effect.map(Effect.exit(Effect.provide(Effect.void, Metrics.layerWith(options))), (exit) =>
          Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)
      assert.include(String(yield* message({ maxNames: 0 })), "Metrics.layer: maxNames must be an integer >= 1, got 0")
      assert.include(
        String(yield* message({ boundaries: [1, NaN] })),
        "Metrics.layer: boundaries must be finite numbers"
      )
      assert.isUndefined(
        yield* message({ maxNames: undefined, boundaries: undefined, task: undefined, tag: undefined })
      )
    }))

  it.effect("writes what Prometheus reads", () =>
    Effect.gen(function*() {
      const job = Task.make("job \"1\"", Effect.sleep("300 millis"), { tags: ["db"] })
      const run = yield* Task.fork(job)
      yield* Task.fork(job)
      yield* TestClock.adjust("300 millis")
      yield* TaskRun.join(run)
      const page = yield* PrometheusMetrics.format()
      const lines = page.split("\n")
      const at = (name: string) => lines.filter((line) => line.startsWith(name))
      assert.deepStrictEqual(at("tasklayer_runs_finished_total"), [
        "tasklayer_runs_finished_total{task=\"job \\\"1\\\"\",outcome=\"Succeeded\"} 1"
      ])
      assert.include(lines, "# TYPE tasklayer_runs_finished_total counter")
      assert.include(lines, "# HELP tasklayer_runs_finished_total Runs of a task that ended, by outcome")
      assert.deepStrictEqual(at("tasklayer_limit_hold_seconds"), [
        ...[0.001, 0.005, 0.01].map((le) => `tasklayer_limit_hold_seconds_bucket{tag="db",le="${le}"} 0`),
        ...[0.3, 1].map((le) => `tasklayer_limit_hold_seconds_bucket{tag="db",le="${le}"} 1`),
        "tasklayer_limit_hold_seconds_bucket{tag=\"db\",le=\"+Inf\"} 1",
        "tasklayer_limit_hold_seconds_sum{tag=\"db\"} 0.3",
        "tasklayer_limit_hold_seconds_count{tag=\"db\"} 1"
      ])
      assert.include(lines, "# TYPE tasklayer_limit_hold_seconds histogram")
      assert.include(lines, "tasklayer_limit_active{tag=\"db\"} 1")
      // One name is one family, its lines together.
      const names = lines.filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2])
      assert.strictEqual(new Set(names).size, names.length)
    }).pipe(counted({ tagLimits: { db: 1 } }, Metrics.layerWith({ boundaries: [0.001, 0.005, 0.01, 0.3, 1] }))))
})

const SEED = Random.seedOf("Metrics")
const ROUNDS = 30
const STEPS = 60
const tags = ["x", "y", "held", "label"]

type Env = Scheduler.Scheduler | Concurrency.Concurrency
type Counts = Record<string, number>

const add = (counts: Counts, name: string, n = 1): void => void (counts[name] = (counts[name] ?? 0) + n)

/** What was told, counted without the help of Metrics. */
class Tally {
  readonly counts: Counts = {}
  private readonly started = new Set<string>()

  private each(run: RunEvent.RunInfo, f: (prefix: string, label: string) => void): void {
    f("tasklayer_run", `task="${run.name}"`)
    for (const tag of new Set(run.tags)) f("tasklayer_tag_run", `tag="${tag}"`)
  }

  readonly hearRun = (event: RunEvent.RunEvent): void => {
    if (!("run" in event)) return
    const { id } = event.run
    this.each(event.run, (prefix, label) => {
      if (event._tag === "Started" && !this.started.has(id)) {
        add(this.counts, `${prefix}s_started_total{${label}}`)
        add(this.counts, `${prefix}_duration_seconds_count{${label}}`)
      }
      if (event._tag === "AttemptFailed") add(this.counts, `${prefix}s_retried_total{${label}}`)
      if (event._tag !== "Finished") return
      add(this.counts, `${prefix}_wait_seconds_count{${label}}`)
      add(this.counts, `${prefix}s_finished_total{${label},outcome="${event.outcome._tag}"}`)
      if (event.outcome._tag !== "Refused") return
      add(this.counts, `${prefix}s_refused_total{${label},reason="${event.outcome.error.reason._tag}"}`)
    })
    if (event._tag === "Started") this.started.add(id)
  }

  readonly hearLimit = (event: Concurrency.ConcurrencyEvent): void => {
    if (event._tag === "Acquired") add(this.counts, `tasklayer_limit_hold_seconds_count{tag="${event.tag}"}`)
    if (event._tag === "Waited") add(this.counts, `tasklayer_limit_waited_total{tag="${event.tag}"}`)
    if (event._tag !== "Denied") return
    add(this.counts, `tasklayer_limit_denied_total{tag="${event.tag}",reason="${event.reason._tag}"}`)
  }
}

const task = (random: Random.Random, depth: number): Task.Task<unknown, unknown, Env> => {
  const child = () => task(random, depth + 1)
  const wait = random.int(0, 4)
  const ops: Array<() => Effect.Effect<unknown, unknown, Env | TaskRun.CurrentRun>> = [
    () => Effect.sleep(wait),
    () => Effect.yieldNow,
    () => Effect.never,
    () => Effect.fail("failed"),
    () => Effect.die("died"),
    () => Task.abort("aborted"),
    () => Concurrency.lend(Effect.sleep(wait)),
    () => Effect.uninterruptible(Effect.sleep(wait)),
    () => Concurrency.withSlot({ tags: random.some(tags, 0.5) })(Effect.sleep(wait)),
    ...depth < 3
      ? [
        () => child(),
        () => Effect.exit(child()),
        () => Task.fork(child()),
        () => Task.all([child(), child()]),
        () => Effect.flatMap(Task.fork(child()), (run) => Task.after([run], child)),
        () => Concurrency.withSlot({ tags: random.some(tags, 0.5) })(child())
      ]
      : []
  ]
  const body = Effect.forEach(Array.from({ length: random.int(0, 3) }, () => random.pick(ops)()), (op) => op)
  let made: Task.Task<unknown, unknown, Env> = Task.make(random.pick(["a", "b", "c"]), body, {
    tags: random.some(tags, 0.3),
    weight: random.chance(0.8) ? 1 : 2,
    whenFull: random.chance(0.2) ? random.pick(["fail", "drop", "replace"] as const) : undefined,
    admissionTimeout: random.chance(0.1) ? 3 : undefined
  })
  if (random.chance(0.2)) made = Task.withRetry({ times: 1, schedule: Schedule.spaced(random.int(0, 3)) })(made)
  if (random.chance(0.2)) made = Task.withTimeout(random.int(1, 6))(made)
  return made
}

/** The gauges as they should be: the states of the runs there are, and the limits as they are listed. */
const expected = (schedulers: Iterable<Scheduler.Scheduler["Service"]>) =>
  Effect.gen(function*() {
    const gauges: Counts = {}
    const states = { Waiting: "waiting", Running: "running", Suspended: "suspended" }
    for (const scheduler of schedulers) {
      for (const run of yield* scheduler.runs) {
        const { _tag } = yield* run.state
        if (_tag === "Finished") continue
        add(gauges, `tasklayer_runs_${states[_tag]}{task="${run.name}"}`)
        for (const tag of run.tags) add(gauges, `tasklayer_tag_runs_${states[_tag]}{tag="${tag}"}`)
      }
    }
    for (const { active, enabled, limit, tag } of yield* Concurrency.list) {
      if (!enabled) continue
      if (active > 0) add(gauges, `tasklayer_limit_active{tag="${tag}"}`, active)
      if (limit !== "unbounded" && limit > 0) add(gauges, `tasklayer_limit_slots{tag="${tag}"}`, limit)
    }
    return gauges
  })

const isGauge = (name: string) => /_(waiting|running|suspended|active|slots)\{/.test(name)
const isSum = (name: string) => /_sum\{/.test(name)
const only = (counts: Counts, which: (name: string) => boolean): Counts =>
  Object.fromEntries(Object.entries(counts).filter(([name]) => which(name)).toSorted(([a], [b]) => a < b ? -1 : 1))

const play = (number: number) => {
  const random = Random.make(SEED, number)
  const tally = new Tally()
  const all = new Set<Scheduler.Scheduler["Service"]>()
  const handles: Array<TaskRun.TaskRun<unknown, unknown>> = []
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
  return Effect.gen(function*() {
    const concurrency = yield* Concurrency.Concurrency
    const open = Effect.gen(function*() {
      const scope = yield* Scope.make()
      const options = {
        maxParallelism: random.int(1, 3),
        gracePeriod: random.chance(0.5) ? 2 : 0,
        interruptTimeout: random.chance(0.5) ? 2 : 0,
        ...(random.chance(0.3) ? { maxQueued: 2, whenQueueFull: "fail" as const } : {})
      }
      const context = yield* Layer.buildWithScope(Layer.fresh(Scheduler.layer(options)), scope)
      const service = yield* Effect.provideContext(Scheduler.Scheduler, context)
      all.add(service)
      return { scope, context }
    })
    const schedulers = [yield* open, yield* open]
    const spawn = <A, E>(effect: Effect.Effect<A, E>) =>
      Effect.map(Effect.forkDetach(Effect.exit(effect)), (fiber) => void fibers.push(fiber))
    const step = Effect.suspend((): Effect.Effect<unknown, unknown, Concurrency.Concurrency | Scope.Scope> => {
      const dice = random.next()
      const at = random.int(0, schedulers.length - 1)
      const { context, scope } = schedulers[at]!
      const tag = random.pick(tags.slice(0, 3))
      if (dice < 0.45) {
        return Effect.map(Effect.provideContext(Task.fork(task(random, 1)), context), (run) => void handles.push(run))
      }
      if (dice < 0.55) {
        const slot = Concurrency.withSlot({
          tags: random.some(tags, 0.5),
          whenFull: random.chance(0.3) ? random.pick(["fail", "drop"] as const) : undefined,
          admissionTimeout: random.chance(0.3) ? 2 : undefined
        })
        return spawn(Effect.provideContext(slot(Effect.sleep(random.int(0, 9))), context))
      }
      if (dice < 0.62) return handles.length === 0 ? Effect.void : spawn(random.pick(handles).interrupt)
      if (dice < 0.66) return Effect.sync(() => fibers.length === 0 ? undefined : random.pick(fibers).interruptUnsafe())
      if (dice < 0.85) return TestClock.adjust(random.int(1, 5))
      if (dice < 0.9) {
        return concurrency.create(tag, {
          limit: random.chance(0.1) ? "unbounded" : random.int(0, 3),
          whileWaiting: tag === "held" ? "hold" : "lend"
        })
      }
      if (dice < 0.92) return concurrency.remove(tag)
      if (dice < 0.94) return random.chance(0.5) ? Concurrency.enable(tag) : Concurrency.disable(tag)
      if (dice < 0.96) return Concurrency.reset(tag)
      return Effect.gen(function*() {
        yield* spawn(Scope.close(scope, Exit.void))
        schedulers[at] = yield* open
      })
    })
    const same = (what: string, is: Counts, should: Counts) =>
      assert.deepStrictEqual(is, only(should, () => true), `SEED=${SEED} round ${number} ${what}`)
    for (let i = 0; i < STEPS; i++) {
      yield* Effect.exit(step)
      yield* quiet
      same(`step ${i}`, only(yield* series, isGauge), yield* expected(all))
    }
    const closing = yield* Effect.forEach(schedulers, ({ scope }) => Effect.forkDetach(Scope.close(scope, Exit.void)))
    yield* TestClock.adjust("1 second")
    yield* Fiber.awaitAll(closing)
    yield* quiet
    yield* TestClock.adjust("1 second")
    yield* quiet
    same("gauges at the end", only(yield* series, isGauge), yield* expected([]))
    same("counts at the end", only(yield* series, (name) => !isGauge(name) && !isSum(name)), tally.counts)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Concurrency.layer({ tagLimits: { x: 1, y: 2, held: { limit: 2, whileWaiting: "hold" } } }).pipe(
        Layer.provideMerge(Layer.fresh(Metrics.layer)),
        Layer.provideMerge(Layer.mergeAll(
          silent,
          Layer.succeed(RunEvent.Listeners, [tally.hearRun]),
          Layer.succeed(Concurrency.Listeners, [tally.hearLimit])
        ))
      )
    ),
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.provideService(References.MinimumLogLevel, "None")
  )
}

describe(`${ROUNDS * STEPS} random steps`, () => {
  it.effect("every gauge is what there is, every count what was told", () =>
    Effect.gen(function*() {
      for (let number = 0; number < ROUNDS; number++) yield* play(number)
    }), 60_000)
})
