/** Writes bursar.config.schema.json, which editors complete from and which says what each field takes. */
import { writeFileSync } from 'node:fs'
import { configJsonSchema } from '../src/config-schema.ts'

writeFileSync(
  new URL('../bursar.config.schema.json', import.meta.url),
  `${JSON.stringify(configJsonSchema(), null, 2)}\n`,
)
