/**
 * A cron expression, read. Five fields (minute, hour, day, month, weekday), or six with the second in front.
 *
 * The grammar is that of effect/Cron, and ranges may wrap besides: `22-2`, `fri-mon`, `nov-feb`.
 */
import type * as Cron from "effect/Cron"
import { InvalidOptionError } from "../InvalidOptionError.ts"
import type { Fields } from "./TriggerCalendar.ts"

interface Field {
  readonly name: string
  readonly min: number
  readonly max: number
  /** How many different values there are: a range that wraps goes on from the first after the last. */
  readonly size: number
  readonly names: ReadonlyArray<string>
}

const monthNames = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
const weekdayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

const second: Field = { name: "second", min: 0, max: 59, size: 60, names: [] }
const minute: Field = { name: "minute", min: 0, max: 59, size: 60, names: [] }
const hour: Field = { name: "hour", min: 0, max: 23, size: 24, names: [] }
const dayOfMonth: Field = { name: "day", min: 1, max: 31, size: 31, names: [] }
const month: Field = { name: "month", min: 1, max: 12, size: 12, names: monthNames }
/** 7 is Sunday as well. */
const weekday: Field = { name: "weekday", min: 0, max: 7, size: 7, names: weekdayNames }

const shorthands: Readonly<Record<string, string>> = {
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
  "@monthly": "0 0 1 * *",
  "@weekly": "0 0 * * 0",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@hourly": "0 * * * *"
}

const invalid = (field: string, rule: string, value: unknown): never => {
  throw new InvalidOptionError({ where: "Trigger.cron", field, rule, value })
}

/** Throws an `InvalidOptionError` that names the field and what is wrong in it. */
export const parse = (expression: string): Fields => {
  if (typeof expression !== "string") return invalid("expression", "must be a string or a Cron", expression)
  const text = expression.trim().toLowerCase()
  const parts = (Object.hasOwn(shorthands, text) ? shorthands[text]! : text).split(/\s+/)
  if (parts.length !== 5 && parts.length !== 6) {
    return invalid(
      "expression",
      `must have 5 fields (minute hour day month weekday), 6 (a second in front), or be one of ${
        Object.keys(shorthands).join(", ")
      }`,
      expression
    )
  }
  const [s, m, h, d, mo, w] = parts.length === 5 ? ["0", ...parts] : parts
  const days = parseField(dayOfMonth, d!)
  const weekdays = parseField(weekday, w!)
  return {
    seconds: parseField(second, s!),
    minutes: parseField(minute, m!),
    hours: parseField(hour, h!),
    months: parseField(month, mo!),
    days,
    weekdays,
    dayRule: isAny(d!)
      ? isAny(w!) ? "any" : "weekdays"
      : isAny(w!)
      ? "days"
      : d!.startsWith("*") || w!.startsWith("*")
      ? "both"
      : "either"
  }
}

/** `*`, also as the first of a list, leaves a field unrestricted. */
const isAny = (text: string): boolean => /^\*(\/0*1)?(,|$)/.test(text)

const parseField = (field: Field, text: string): ReadonlySet<number> => {
  const values = new Set<number>()
  for (const item of text.split(",")) {
    for (const value of parseItem(field, item)) values.add(field.min + (value - field.min) % field.size)
  }
  return values
}

/** The values of one entry of a list: `*`, `5`, `5-9`, `5/15` (from 5 on), `5-9/2`. Where a range wraps they go on beyond the last one. */
const parseItem = (field: Field, item: string): ReadonlyArray<number> => {
  const [range = "", step, ...rest] = item.split("/")
  const [left = "", right, ...more] = range.split("-")
  if (range === "" || rest.length > 0 || more.length > 0) {
    return invalid(field.name, `must be a list of values, ranges and "*", each with an optional step`, item)
  }
  const by = step === undefined ? 1 : parseStep(field, step, item)
  let from = field.min
  let to = field.max
  if (range !== "*") {
    from = parseValue(field, left, item)
    if (right !== undefined) to = parseValue(field, right, item)
    else if (step === undefined) to = from
    if (to < from) to += field.size
  }
  return Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, i) => from + i * by)
}

const parseStep = (field: Field, text: string, item: string): number => {
  const step = /^\d+$/.test(text) ? Number(text) : 0
  if (step >= 1 && step <= field.max) return step
  return invalid(field.name, `must have a step from 1 to ${field.max}`, item)
}

const parseValue = (field: Field, text: string, item: string): number => {
  const named = field.names.indexOf(text)
  if (named >= 0) return named + field.min
  const value = /^\d+$/.test(text) ? Number(text) : -1
  if (value >= field.min && value <= field.max) return value
  const names = field.names.length === 0 ? "" : ` or ${field.names[0]} to ${field.names.at(-1)}`
  return invalid(field.name, `must be from ${field.min} to ${field.max}${names}`, item)
}

const all = (field: Field): ReadonlySet<number> => new Set(Array.from({ length: field.size }, (_, i) => field.min + i))

/** What a `Cron` of effect allows. It says no restriction with an empty set. */
export const fromCron = (cron: Cron.Cron): Fields => {
  const or = (values: ReadonlySet<number>, field: Field) => values.size === 0 ? all(field) : values
  return {
    seconds: or(cron.seconds, second),
    minutes: or(cron.minutes, minute),
    hours: or(cron.hours, hour),
    months: or(cron.months, month),
    days: or(cron.days, dayOfMonth),
    weekdays: or(cron.weekdays, weekday),
    dayRule: cron.days.size === 0
      ? cron.weekdays.size === 0 ? "any" : "weekdays"
      : cron.weekdays.size === 0
      ? "days"
      : needsBoth(cron)
      ? "both"
      : "either"
  }
}

/** Days and weekdays both have to match: in the value (and in its JSON), not in its type. */
const needsBoth = (cron: Cron.Cron): boolean => (cron as unknown as { readonly and: boolean }).and
