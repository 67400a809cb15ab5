/** What the threads of every subject do. */

/** So many turns of a generator of random numbers: nothing but arithmetic. */
export const crunch = (turns: number): number => {
  let x = 1
  for (let i = 0; i < turns; i++) x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0
  return x
}

/** Changes one byte, so that the buffer must have been there. */
export const touch = (bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> => {
  bytes[0] = bytes[0]! + 1
  return bytes
}

export const double = ({ n }: { readonly n: number }): number => n * 2
