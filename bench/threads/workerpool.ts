import workerpool from "workerpool"
import { crunch, double, touch } from "./work.ts"

workerpool.worker({
  double,
  touch: (bytes: Uint8Array<ArrayBuffer>) => new workerpool.Transfer(touch(bytes), [bytes.buffer]),
  crunch: ({ turns }: { readonly turns: number }) => crunch(turns)
})
