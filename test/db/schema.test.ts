import { getTableColumns } from 'drizzle-orm'
import { getTableConfig, type SQLiteTable } from 'drizzle-orm/sqlite-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import * as schema from '../../src/db/schema.ts'
import { type TestLedger, testLedger } from '../support/database.ts'

let t: TestLedger
beforeAll(async () => {
  t = await testLedger()
})
afterAll(() => t.close())

interface Column {
  readonly name: string
  readonly type: string
  readonly required: boolean
  readonly key: boolean
}

const tables: readonly SQLiteTable[] = Object.values(schema)

function declared(table: SQLiteTable): Column[] {
  const { columns, primaryKeys } = getTableConfig(table)
  const keys = new Set(primaryKeys.flatMap((key) => key.columns.map(({ name }) => name)))
  return columns.map((column) => ({
    name: column.name,
    type: column.getSQLType().toUpperCase(),
    required: column.notNull,
    key: column.primary || keys.has(column.name),
  }))
}

test('the typed schema is the migrated database: tables, columns, types, nullability, keys', async () => {
  const names = await t.db.query<{ name: string }>(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
  )
  expect(tables.map((table) => getTableConfig(table).name).sort()).toEqual(names.map(({ name }) => name))
  for (const table of tables) {
    const { name } = getTableConfig(table)
    const real = await t.db.query<{ name: string; type: string; notnull: bigint; pk: bigint }>(
      'SELECT name, type, "notnull", pk FROM pragma_table_info(?)',
      [name],
    )
    const migrated = real.map((column) => ({
      name: column.name,
      type: column.type,
      required: column.notnull === 1n || column.pk > 0n,
      key: column.pk > 0n,
    }))
    expect(declared(table), name).toEqual(migrated)
  }
})

test('typed reads give amounts as bigint and times as numbers', async () => {
  const id = await t.account(2n ** 53n / 10n)
  const [row] = await (await t.db.typed()).select().from(schema.account).limit(1)
  expect(row).toEqual({
    id,
    externalId: null,
    available: 2n ** 53n / 10n,
    held: 0n,
    nextExpiry: 253_402_300_799_999,
    frozenAt: null,
    createdAt: t.clock.now(),
  })
  expect(Object.keys(row ?? {})).toEqual(Object.keys(getTableColumns(schema.account)))
})
