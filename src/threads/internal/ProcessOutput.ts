/** What a process prints, as lines. */
import { StringDecoder } from "node:string_decoder"

/** A longer line comes in pieces, so that output without a newline takes no more memory than this. */
export const MAX_LINE = 65_536

export class Lines {
  private readonly decoder = new StringDecoder("utf8")
  private readonly onLine: (line: string) => void
  private rest = ""

  constructor(onLine: (line: string) => void) {
    this.onLine = onLine
  }

  push(chunk: Buffer): void {
    const text = this.rest + this.decoder.write(chunk)
    let from = 0
    for (let to = text.indexOf("\n"); to >= 0; to = text.indexOf("\n", from)) {
      this.emit(text.slice(from, text[to - 1] === "\r" ? to - 1 : to))
      from = to + 1
    }
    for (; text.length - from >= MAX_LINE; from += MAX_LINE) this.onLine(text.slice(from, from + MAX_LINE))
    this.rest = text.slice(from)
  }

  /** The last line need not end with a newline. */
  flush(): void {
    const { rest } = this
    this.rest = ""
    if (rest !== "") this.onLine(rest)
  }

  private emit(line: string): void {
    for (let from = 0; from === 0 || from < line.length; from += MAX_LINE) {
      this.onLine(line.slice(from, from + MAX_LINE))
    }
  }
}
