/** The version of this program, as package.json has it; the same from source and from `dist`. */
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { z } from 'zod'

export function readVersion(): string {
  const file = findPackageJSON(import.meta.url)
  if (file === undefined) return '0.0.0'
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8'))).version
}
