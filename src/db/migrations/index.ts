/** The till's migrations, oldest first. A released one never changes: what comes after it is a new one. */
import type { Migration } from '../migrate.ts'
import { first } from './0001-first.ts'
import { seal } from './0002-seal.ts'
import { restore } from './0003-restore.ts'
import { allowance } from './0004-allowance.ts'
import { terms } from './0005-terms.ts'

export const migrations: readonly Migration[] = [
  { version: 1, name: 'first', sql: first },
  { version: 2, name: 'seal', sql: seal },
  { version: 3, name: 'restore', sql: restore },
  { version: 4, name: 'allowance', sql: allowance },
  { version: 5, name: 'terms', sql: terms },
]
