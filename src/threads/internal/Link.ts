/**
 * What two threads say to each other: through a port and, where that is enough, through memory they share.
 *
 * A message on a port costs either side several microseconds, as it also wakes an event loop. To one that is not in its event loop, but looks for
 * what comes, what is short and plain is said by a box instead, one for each direction, and a bell. All is heard in the order it was said in.
 */
import { Buffer } from "node:buffer"
import { type MessagePort, receiveMessageOnPort, type TransferListItem } from "node:worker_threads"

export type Memory = SharedArrayBuffer

/** Bytes of a box. */
const BOX = 8_192
/** Of each direction: how many messages were said, which of them is in the box (0: none), its bytes, and how who hears waits for it. */
const [RUNG, NUMBER, LENGTH, WAITS, OF_ONE] = [0, 1, 2, 3, 16] as const
/** In the event loop, awake, or asleep until the bell rings. */
const [ON_PORT, AWAKE, ASLEEP] = [0, 1, 2] as const

const LANE = 4 * OF_ONE + BOX

export const makeMemory = (): Memory => new SharedArrayBuffer(2 * LANE)

/** One direction. */
class Lane {
  readonly numbers: Int32Array
  readonly box: Buffer
  constructor(memory: Memory, index: 0 | 1) {
    this.numbers = new Int32Array(memory, index * LANE, OF_ONE)
    this.box = Buffer.from(memory, index * LANE + 4 * OF_ONE, BOX)
  }
}

/** One end. */
export class Link<Out, In> {
  private readonly port: MessagePort
  private readonly out: Lane
  private readonly in: Lane
  /** How many were heard. */
  private count = 0

  constructor(port: MessagePort, memory: Memory, side: "runner" | "host") {
    this.port = port
    this.out = new Lane(memory, side === "runner" ? 0 : 1)
    this.in = new Lane(memory, side === "runner" ? 1 : 0)
  }

  /** Throws when a value cannot be cloned. */
  post(message: Out, transfer: ReadonlyArray<unknown>): void {
    const { box, numbers } = this.out
    const number = next(numbers[RUNG]!)
    const mayBox = Atomics.load(numbers, WAITS) !== ON_PORT && Atomics.load(numbers, NUMBER) === 0 && number !== 0
    const text = mayBox && transfer.length === 0 ? textOf(message) : undefined
    if (text === undefined) {
      this.port.postMessage(message, transfer as ReadonlyArray<TransferListItem>)
      Atomics.add(numbers, RUNG, 1)
    } else {
      numbers[LENGTH] = box.write(text)
      Atomics.store(numbers, NUMBER, number)
      Atomics.add(numbers, RUNG, 1)
      // It went back to its event loop meanwhile.
      if (Atomics.load(numbers, WAITS) === ON_PORT) this.port.postMessage(null)
    }
    if (Atomics.load(numbers, WAITS) === ASLEEP) Atomics.notify(numbers, RUNG)
  }

  // ─── hearing

  /** How many messages were said and not heard. Below 0: some are heard before they are counted. */
  get unheard(): number {
    return (Atomics.load(this.in.numbers, RUNG) - this.count) | 0
  }

  /** From now on this end looks for what is said. */
  look(): void {
    Atomics.store(this.in.numbers, WAITS, AWAKE)
  }

  /** Of one that looks: sleeps until something is said. */
  sleep(millis: number): void {
    const { numbers } = this.in
    Atomics.store(numbers, WAITS, ASLEEP)
    Atomics.wait(numbers, RUNG, this.count, millis)
    Atomics.store(numbers, WAITS, AWAKE)
  }

  /** From now on what is said comes by the port's event; what is unheard now may not. */
  rest(): void {
    Atomics.store(this.in.numbers, WAITS, ON_PORT)
  }

  /** The next message, if one was said. Throws what the port does where it cannot be read. */
  receive(): { readonly message: In } | undefined {
    // Asked first: what comes by the port must be the next one, and not one after what has just been put in the box.
    const { unheard } = this
    if (this.isInBox) return { message: this.unbox() }
    return unheard > 0 ? this.take() : undefined
  }

  /** The same of an end that is gone: it may have posted what it never counted. */
  receiveLast(): { readonly message: In } | undefined {
    return this.isInBox ? { message: this.unbox() } : this.take()
  }

  private take(): { readonly message: In } | undefined {
    for (;;) {
      const received = receiveMessageOnPort(this.port)
      if (received === undefined) return undefined
      if (received.message === null) continue
      this.count = next(this.count)
      return received
    }
  }

  /** What the port's event brought, and before it what was said before it. */
  heard(message: In | null, hear: (message: In) => void): void {
    while (this.isInBox) hear(this.unbox())
    if (message === null) return
    this.count = next(this.count)
    hear(message)
  }

  private get isInBox(): boolean {
    const number = Atomics.load(this.in.numbers, NUMBER)
    return number !== 0 && number === next(this.count)
  }

  private unbox(): In {
    const { box, numbers } = this.in
    const message = JSON.parse(box.toString("utf8", 0, numbers[LENGTH]!))
    this.count = next(this.count)
    Atomics.store(numbers, NUMBER, 0)
    return message
  }
}

const next = (count: number): number => (count + 1) | 0

// ─── what fits into a box

/** Of characters: each is at most three bytes. */
const MOST = Math.floor(BOX / 3)

/** A list as JSON, where that says all there is and is short; what is undefined at its end is left out. */
const textOf = (message: unknown): string | undefined => {
  if (!Array.isArray(message)) return undefined
  let { length } = message
  while (length > 0 && message[length - 1] === undefined) length--
  left = MOST
  for (let i = 0; i < length; i++) if (!isPlain(message[i])) return undefined
  const text = JSON.stringify(length === message.length ? message : message.slice(0, length))
  return text.length <= MOST ? text : undefined
}

/** How many characters there is room for, about. */
let left = 0

const isPlain = (value: unknown): boolean => {
  left -= typeof value === "string" ? value.length : 1
  if (left < 0) return false
  switch (typeof value) {
    case "string":
    case "boolean":
      return true
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
    case "object":
      if (value === null) return true
      if (Array.isArray(value)) return isPlainList(value)
      return Object.getPrototypeOf(value) === Object.prototype && isPlainRecord(value as Record<string, unknown>)
    default:
      return false
  }
}

/** (`every` would pass over holes.) */
const isPlainList = (list: ReadonlyArray<unknown>): boolean => {
  for (let i = 0; i < list.length; i++) if (!isPlain(list[i])) return false
  return true
}

const isPlainRecord = (record: Readonly<Record<string, unknown>>): boolean => {
  for (const key in record) {
    left -= key.length
    if (!isPlain(record[key])) return false
  }
  return true
}
