/** Law 8 read from events: each run is submitted once, waits and starts in turn, and finishes exactly once. */
import type * as RunEvent from "../RunEvent.ts"

/** What may follow each fact of a run. Refused on the spot, a run never waited. */
export const following: Record<string, ReadonlyArray<string>> = {
  "": ["Submitted"],
  Submitted: ["Waiting", "Finished"],
  Waiting: ["Started", "Finished"],
  Started: ["Suspended", "AttemptFailed", "Finished"],
  Suspended: ["Resumed", "AttemptFailed", "Finished"],
  Resumed: ["Suspended", "AttemptFailed", "Finished"],
  AttemptFailed: ["Waiting", "Finished"],
  Finished: []
}

/** The runs whose facts do not read as one life. */
export const brokenLives = (events: ReadonlyArray<RunEvent.RunEvent>): ReadonlyArray<string> => {
  const lives = new Map<string, Array<string>>()
  for (const event of events) {
    if (!("run" in event)) continue
    const { id, name } = event.run
    const facts = lives.get(`${name} ${id}`)
    if (facts === undefined) lives.set(`${name} ${id}`, [event._tag])
    else facts.push(event._tag)
  }
  return [...lives]
    .filter(([, facts]) =>
      facts.at(-1) !== "Finished" || facts.some((fact, i) => !following[facts[i - 1] ?? ""]!.includes(fact))
    )
    .map(([run, facts]) => `${run}: ${facts.join(" ")}`)
}
