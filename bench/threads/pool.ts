/** The work as piscina and tinypool want it. */
import { move as movePiscina } from "piscina"
import Tinypool from "tinypool"
import { crunch, double, touch } from "./work.ts"

export { double }
export const piscinaTouch = (bytes: Uint8Array<ArrayBuffer>) => movePiscina(touch(bytes))
export const tinypoolTouch = (bytes: Uint8Array<ArrayBuffer>) => Tinypool.move(touch(bytes))
export const crunchTurns = ({ turns }: { readonly turns: number }) => crunch(turns)
