/** The environment of one call. */
import type { Env } from "./Wire.ts"

/** Puts these in force; what it returns puts back what was. */
export const putEnv = (env: Env | undefined): () => void => {
  if (env === undefined) return () => {}
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const)
  for (const name in env) put(name, env[name])
  return () => {
    for (const [name, value] of before) put(name, value)
  }
}

const put = (name: string, value: string | undefined): void => {
  if (value === undefined) delete process.env[name]
  else process.env[name] = value
}
