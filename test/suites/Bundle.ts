/** An entry of fixtures/ as one file, as one would deploy it: a thread of it is there in a fifth of the time. */
import { afterAll } from "@effect/vitest"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { build } from "vite"

export const bundled = async (fixture: string): Promise<URL> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "tasklayer-bundle-"))
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))
  await build({
    configFile: false,
    logLevel: "error",
    ssr: { noExternal: true },
    build: {
      ssr: path.join(import.meta.dirname, `../fixtures/${fixture}.ts`),
      outDir: folder,
      emptyOutDir: true,
      target: "node22",
      minify: false,
      rolldownOptions: { output: { entryFileNames: "entry.mjs" } }
    }
  })
  return pathToFileURL(path.join(folder, "entry.mjs"))
}
