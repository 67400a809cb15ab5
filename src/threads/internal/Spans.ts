/** Spans started in a host, as spans of the runner's tracer. */
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import { decodeCause, encodeCause } from "./Causes.ts"
import { sayable } from "./Logs.ts"
import type { Port } from "./Port.ts"
import type { SpanEnded, SpanId, SpanLink, SpanStarted } from "./Wire.ts"

const idOf = ({ sampled, spanId, traceId }: SpanId): SpanId => ({ traceId, spanId, sampled })

// ─── inside a host

/** What is traced while this call runs goes to the runner. */
export const toRunner = (port: Port, call: number): Tracer.Tracer =>
  Tracer.make({ span: (options) => new HostSpan(port, call, options) })

type Starting = Parameters<Tracer.Tracer["span"]>[0]

class HostSpan extends Tracer.NativeSpan {
  private readonly port: Port
  private readonly call: number
  private readonly told: number
  constructor(port: Port, call: number, options: Starting) {
    super(options)
    this.port = port
    this.call = call
    this.told = options.links.length
    const parent = Option.getOrUndefined(options.parent)
    port.post({
      _tag: "SpanStarted",
      call,
      name: options.name,
      span: idOf(this),
      parent: parent?.spanId,
      root: options.root,
      kind: options.kind,
      startTime: options.startTime,
      links: options.links.map(tellLink)
    }, [])
  }

  override end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    if (this.status._tag === "Ended") return
    super.end(endTime, exit)
    this.port.post({
      _tag: "SpanEnded",
      call: this.call,
      spanId: this.spanId,
      endTime,
      attributes: Array.from(this.attributes, ([key, value]) => [key, sayable(value)]),
      events: this.events.map(([name, at, attributes]) => [name, at, sayable(attributes) as Record<string, unknown>]),
      links: this.links.slice(this.told).map(tellLink),
      ...(Exit.isFailure(exit) ? { cause: encodeCause(exit.cause) } : {})
    }, [])
  }
}

const tellLink = ({ attributes, span }: Tracer.SpanLink): SpanLink => ({
  span: idOf(span),
  attributes: sayable(attributes) as Record<string, unknown>
})

// ─── in the runner

/** The spans of one call. Those its host never ended are ended with it. */
export class CallSpans {
  private readonly tracer: Tracer.Tracer
  private readonly above: Tracer.AnySpan | undefined
  private readonly open = new Map<string, Tracer.Span>()
  private readonly known = new Map<string, Tracer.Span>()
  constructor(tracer: Tracer.Tracer, above: Tracer.AnySpan | undefined) {
    this.tracer = tracer
    this.above = above
  }

  started(message: SpanStarted): void {
    const { kind, links, name, parent, root, span: { sampled, spanId, traceId }, startTime } = message
    const above = parent === undefined ? undefined : this.known.get(parent) ?? this.above
    const span = this.tracer.span({
      name,
      parent: Option.fromUndefinedOr(above),
      annotations: Context.empty(),
      links: links.map((link) => this.linked(link)),
      startTime,
      kind,
      root,
      sampled
    })
    // What was told to others of this span names it by the id it has there.
    assign(span, above === undefined ? { spanId, traceId } : { spanId })
    this.open.set(spanId, span)
    this.known.set(spanId, span)
  }

  ended(message: SpanEnded): void {
    const span = this.open.get(message.spanId)
    if (span === undefined) return
    this.open.delete(message.spanId)
    for (const [key, value] of message.attributes) span.attribute(key, value)
    for (const [name, at, attributes] of message.events) span.event(name, at, attributes)
    if (message.links.length > 0) span.addLinks(message.links.map((link) => this.linked(link)))
    span.end(message.endTime, message.cause === undefined ? Exit.void : Exit.failCause(decodeCause(message.cause)))
  }

  /** Its host is gone, or it left them open: they end now. */
  close(now: bigint): void {
    for (const span of this.open.values()) span.end(now, Exit.interrupt())
    this.open.clear()
  }

  private linked({ attributes, span }: SpanLink): Tracer.SpanLink {
    return { span: this.known.get(span.spanId) ?? Tracer.externalSpan(span), attributes }
  }
}

/** Where the tracer lets it be: ids are its own affair. */
const assign = (span: Tracer.Span, ids: Readonly<Record<string, string>>): void => {
  for (const [key, value] of Object.entries(ids)) {
    Reflect.defineProperty(span, key, { value, configurable: true, enumerable: true })
  }
}
