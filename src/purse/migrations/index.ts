/** The purse's migrations, oldest first. A released one never changes: what comes after it is a new one. */
import type { Migration } from '../../db/migrate.ts'
import { first } from './0001-first.ts'

export const purseMigrations: readonly Migration[] = [{ version: 1, name: 'first', sql: first }]
