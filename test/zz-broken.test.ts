import { Context, Effect, Layer } from "effect"
import { Scheduler, Task, TaskRun, RunEvent } from "../src/index.ts"
import { schedulerSuite } from "../src/testing/index.ts"
const S = Scheduler.Scheduler
type Sv = Scheduler.Scheduler["Service"]
const broken = (name: string, f: (s: Sv, wrap: (o: (o: any) => any, b?: (b: any, options?: any) => any) => Sv) => Sv, inner: any = Scheduler.layer({ maxParallelism: 3 })) =>
  schedulerSuite("broken: " + name, Layer.effectContext(Effect.gen(function*() {
    const context: any = yield* Layer.build(inner as any)
    const s: Sv = Context.get(context, S) as Sv
    let made: Sv
    const wrap = (o: (o: any) => any, b: any = (x: any) => x) => {
      const body = (x: any, opts: any) => Effect.provideService(b(x, opts), S, made)
      return { ...s, fork: (e: any, opts: any) => s.fork(body(e, opts), o(opts)), run: (e: any, opts: any) => s.run(body(e, opts), o(opts)) } as Sv
    }
    made = f(s, wrap)
    return Context.add(context, S, made) as any
  })) as any)
const omit = (key: string) => (o: any) => { const { [key]: _, ...rest } = o ?? {}; return rest }
broken("none (control)", (_, w) => w((o) => o))
for (const k of ["tags", "weight", "priority", "key", "name", "id", "limit", "refusable", "whenFull", "admissionTimeout"]) broken("no " + k, (_, w) => w(omit(k)))
broken("polls", (_, w) => w((o) => o, (b) => Effect.andThen(Effect.sleep("10 millis"), b)))
broken("scope outside", (_, w) => w((o) => o, (b) => Effect.flatMap(Effect.context<any>(), () => Effect.tap(Effect.exit(b), () => Effect.void).pipe(Effect.flatMap((e: any) => e)))))
broken("swallows defects", (_, w) => w((o) => o, (b) => Effect.catchDefect(b, (d) => Effect.fail(d))))
broken("uninterruptible", (_, w) => w((o) => o, (b) => Effect.uninterruptible(b)))
broken("leaks", (_, w) => w((o) => o, (b) => Effect.andThen(Effect.forkDetach(Effect.never), b)))
broken("close is lazy", (s) => ({ ...s, close: Effect.succeed({ drained: 0, interrupted: 0, abandoned: 0, stragglers: [] }), closeWith: () => Effect.succeed({ drained: 0, interrupted: 0, abandoned: 0, stragglers: [] }) }))
broken("runs free", (s) => ({ ...s, run: (e: any, o: any) => Effect.scoped(Effect.provideService(e, S, s)) as any }))
broken("joins without lending", (_, w) => ({ ...w((o) => o), run: (e: any, o: any) => Effect.flatMap(Effect.forkDetach(Effect.void), () => w((o: any) => o).run(e, o)) as any }))
broken("silent", (_, w) => w((o) => o), Layer.provide(Scheduler.layer({ maxParallelism: 3 }), Layer.succeed(RunEvent.Listeners, [])))
broken("lossy fork", (_, w) => { const s2 = w((o) => o); return { ...s2, fork: (e: any, o: any) => Effect.tap(s2.fork(e, o), () => Effect.yieldNow) as any } })
