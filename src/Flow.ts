/**
 * A named program with a runner of its own.
 *
 * The runner is built fresh for each run of the flow, started before its first task and shut down after its last, however the flow ends. A flow
 * inside a flow switches runner and back. What flows share (one database limit, one connection pool) is provided around them, in `R`.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as RunEvent from "./RunEvent.ts"
import * as TaskRun from "./TaskRun.ts"

/** One run of a flow. */
export interface FlowRun {
  /** The name given to `make`. */
  readonly flow: string
  readonly id: string
  /** A generated name, such as `olivine-swan`; the same again under the same `Random.withSeed`. */
  readonly name: string
  /** The id of the flow run this one is inside of. */
  readonly parent: string | undefined
}

/** The flow run an effect is inside of, if any. */
export const CurrentFlow: Context.Reference<FlowRun | undefined> = Context.Reference<FlowRun | undefined>(
  "tasklayer/Flow/CurrentFlow",
  { defaultValue: () => undefined }
)

/**
 * Runs `effect` on a runner of its own: any Layer that provides a `Scheduler`. `Layer.succeed(Scheduler, pool)` lends one, which is not stopped.
 *
 * The whole runner is built fresh, so that two flows which name one constant Layer have a pool each: a Layer `Layer.provide`d to the runner is
 * built for this flow as well. Runs that `effect` started and did not wait for are drained within the runner's `gracePeriod` (default: none).
 */
export const make = <A, E, R, ROut, E2, R2>(
  name: string,
  effect: Effect.Effect<A, E, R>,
  runner: Layer.Layer<ROut, E2, R2>
): Effect.Effect<A, E | E2, Exclude<R, ROut> | R2> =>
  Effect.acquireUseRelease(
    begin(name),
    (run) => Effect.provide(effect, Layer.fresh(runner)).pipe(Effect.provideService(CurrentFlow, run)),
    (run, exit) =>
      publish((at) => ({ _tag: "FlowFinished", at, scheduler: "", ...run, outcome: TaskRun.outcomeOf(exit, false) }))
  )

const begin = Effect.fnUntraced(function*(flow: string) {
  const parent = yield* CurrentFlow
  const name = `${yield* pick(adjectives)}-${yield* pick(nouns)}`
  const run: FlowRun = { flow, id: `flow-${++flows}`, name, parent: parent?.id }
  yield* publish((at) => ({ _tag: "FlowStarted", at, scheduler: "", ...run }))
  return run
})

// Ids only have to differ within a process, and taking them from Random would let a seed make two alike.
let flows = 0

const publish = Effect.fnUntraced(function*(event: (at: DateTime.Utc) => RunEvent.RunEvent) {
  const listeners = yield* RunEvent.Listeners
  if (listeners.length > 0) RunEvent.publish(listeners, Object.freeze(event(yield* DateTime.now)))
})

const pick = (words: ReadonlyArray<string>) =>
  Effect.map(Random.nextIntBetween(0, words.length, { halfOpen: true }), (i) => words[i]!)

const adjectives = (
  "amber ancient azure bold brave brisk bronze calm cedar clever coral crimson daring dapper discreet eager " +
  "fabulous fearless gentle gilded glad golden graceful hazel honest humble indigo ivory jade jolly keen kind " +
  "lively lucky lunar mellow merry mighty nimble noble olive olivine opal patient pearl placid proud quick quiet " +
  "ruby rustic scarlet serene silver solar steady swift tidy topaz upbeat velvet vivid witty zesty"
).split(" ")

const nouns = (
  "badger bear beaver bison bobcat buzzard camel caracal condor coyote crane deer dolphin dove eagle falcon ferret " +
  "finch fox gazelle gecko goose hare hawk heron hornbill ibex jackal jaguar kestrel kiwi koala lark lemur leopard " +
  "lizard llama lynx marmot marten moose narwhal ocelot octopus osprey otter owl panda peacock pelican puffin quail " +
  "rabbit raven robin salmon seal sparrow starling swan tiger turtle walrus wombat"
).split(" ")
