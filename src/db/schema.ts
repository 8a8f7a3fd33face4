/**
 * The till's tables for typed reads; a test holds them against the migrated database. Amounts of credits and USD are
 * bigint (micro-units); times (Unix milliseconds), heights and counts are numbers. On-chain amounts are decimal text.
 */
import { customType, primaryKey, sqliteTable, text } from 'drizzle-orm/sqlite-core'

/** Micro-credits or micro-USD. */
const micro = customType<{ data: bigint; driverData: bigint }>({ dataType: () => 'integer' })

/** A time, height or count: far below 2^53. */
const integer = customType<{ data: number; driverData: bigint }>({
  dataType: () => 'integer',
  fromDriver: Number,
  toDriver: BigInt,
})

export const schemaVersion = sqliteTable('schema_version', {
  version: integer().primaryKey(),
  name: text().notNull(),
  appliedAt: integer('applied_at').notNull(),
})

export const account = sqliteTable('account', {
  id: text().primaryKey(),
  externalId: text('external_id'),
  available: micro().notNull(),
  held: micro().notNull(),
  nextExpiry: integer('next_expiry').notNull(),
  frozenAt: integer('frozen_at'),
  createdAt: integer('created_at').notNull(),
})

export const agent = sqliteTable('agent', {
  id: text().primaryKey(),
  account: text().notNull(),
  name: text().notNull(),
  frozenAt: integer('frozen_at'),
  createdAt: integer('created_at').notNull(),
  perCall: micro('per_call'),
  perDay: micro('per_day'),
  perMonth: micro('per_month'),
  /** JSON. */
  models: text(),
  countedAfter: integer('counted_after'),
})

export const agentSpend = sqliteTable(
  'agent_spend',
  {
    agent: text().notNull(),
    day: integer().notNull(),
    held: micro().notNull(),
    charged: micro().notNull(),
  },
  (t) => [primaryKey({ columns: [t.agent, t.day] })],
)

export const apiKey = sqliteTable('api_key', {
  id: text().primaryKey(),
  hash: text().notNull(),
  prefix: text().notNull(),
  name: text().notNull(),
  scope: text({ enum: ['seller', 'account', 'agent'] }).notNull(),
  account: text(),
  agent: text(),
  createdAt: integer('created_at').notNull(),
  lastUsedAt: integer('last_used_at'),
  revokedAt: integer('revoked_at'),
})

export const posting = sqliteTable('posting', {
  id: integer().primaryKey(),
  ref: text().notNull(),
  phase: integer().notNull(),
  kind: text().notNull(),
  account: text().notNull(),
  agent: text(),
  available: micro().notNull(),
  held: micro().notNull(),
  book: text(),
  counter: micro().notNull(),
  at: integer().notNull(),
})

export const hold = sqliteTable('hold', {
  ref: text().primaryKey(),
  account: text().notNull(),
  agent: text(),
  amount: micro().notNull(),
  lapseCharge: micro('lapse_charge').notNull(),
  at: integer().notNull(),
  expiresAt: integer('expires_at').notNull(),
})

export const lot = sqliteTable('lot', {
  ref: text().primaryKey(),
  account: text().notNull(),
  granted: micro().notNull(),
  remaining: micro().notNull(),
  expired: micro().notNull(),
  expiredAt: integer('expired_at'),
  expiresAt: integer('expires_at').notNull(),
  at: integer().notNull(),
})

export const spend = sqliteTable(
  'spend',
  {
    account: text().notNull(),
    hour: integer().notNull(),
    charged: micro().notNull(),
  },
  (t) => [primaryKey({ columns: [t.account, t.hour] })],
)

export const invoice = sqliteTable('invoice', {
  id: text().primaryKey(),
  account: text().notNull(),
  rail: text().notNull(),
  pack: text(),
  amount: text().notNull(),
  usd: micro().notNull(),
  credits: micro().notNull(),
  discount: micro().notNull(),
  usdPerCredit: micro('usd_per_credit').notNull(),
  lotLifetime: integer('lot_lifetime'),
  priceE8: text('price_e8').notNull(),
  priceSource: text('price_source').notNull(),
  priceAt: integer('price_at').notNull(),
  address: text().notNull(),
  signed: text().notNull(),
  signature: text().notNull(),
  createdAt: integer('created_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
  discountEpoch: integer('discount_epoch').notNull(),
})

export const derivingKey = sqliteTable('deriving_key', {
  fingerprint: text().primaryKey(),
  family: text().notNull(),
  nextIndex: integer('next_index').notNull(),
  createdAt: integer('created_at').notNull(),
})

export const address = sqliteTable('address', {
  address: text().primaryKey(),
  family: text().notNull(),
  fingerprint: text().notNull(),
  derivationIndex: integer('derivation_index').notNull(),
  path: text().notNull(),
  createdAt: integer('created_at').notNull(),
})

export const payment = sqliteTable('payment', {
  key: text().primaryKey(),
  chain: text().notNull(),
  symbol: text().notNull(),
  txid: text().notNull(),
  address: text().notNull(),
  amount: text().notNull(),
  invoice: text(),
  state: text().notNull(),
  epoch: integer().notNull(),
  needed: integer().notNull(),
  height: integer(),
  blockHash: text('block_hash'),
  blockTime: integer('block_time'),
  seenAt: integer('seen_at').notNull(),
  creditedAt: integer('credited_at'),
  credits: micro().notNull(),
  pricing: text(),
})

export const chainCursor = sqliteTable('chain_cursor', {
  chain: text().primaryKey(),
  height: integer().notNull(),
  hash: text().notNull(),
  recent: text().notNull(),
  tipHeight: integer('tip_height').notNull(),
  halted: text(),
  updatedAt: integer('updated_at').notNull(),
})

export const lease = sqliteTable('lease', {
  name: text().primaryKey(),
  holder: text().notNull(),
  fence: integer().notNull(),
  expiresAt: integer('expires_at').notNull(),
})

export const outbox = sqliteTable('outbox', {
  id: integer().primaryKey(),
  type: text().notNull(),
  subject: text().notNull(),
  payload: text().notNull(),
  at: integer().notNull(),
  deliveredAt: integer('delivered_at'),
})

export const idempotency = sqliteTable(
  'idempotency',
  {
    account: text().notNull(),
    route: text().notNull(),
    key: text().notNull(),
    bodyHash: text('body_hash').notNull(),
    ref: text().notNull(),
    response: text(),
    at: integer().notNull(),
  },
  (t) => [primaryKey({ columns: [t.account, t.route, t.key] })],
)

export const receipt = sqliteTable(
  'receipt',
  {
    account: text().notNull(),
    id: text().notNull(),
    agent: text(),
    route: text().notNull(),
    model: text().notNull(),
    upstream: text().notNull(),
    price: text().notNull(),
    state: text().notNull(),
    usage: text(),
    held: micro().notNull(),
    charged: micro().notNull(),
    startedAt: integer('started_at').notNull(),
    finishedAt: integer('finished_at'),
    upstreamRequestId: text('upstream_request_id'),
    note: text(),
  },
  (t) => [primaryKey({ columns: [t.account, t.id] })],
)

export const operation = sqliteTable('operation', {
  id: text().primaryKey(),
  at: integer().notNull(),
})

export const guard = sqliteTable('guard', {
  failed: integer().notNull(),
})

export const seal = sqliteTable('seal', {
  number: integer().primaryKey(),
  firstPosting: integer('first_posting').notNull(),
  lastPosting: integer('last_posting').notNull(),
  digest: text().notNull(),
  checksum: integer().notNull(),
  previous: text().notNull(),
  hash: text().notNull(),
  at: integer().notNull(),
})

export const restore = sqliteTable('restore', {
  id: text().primaryKey(),
  backupAt: integer('backup_at').notNull(),
  confirmedAt: integer('confirmed_at'),
  skipped: integer(),
})

export const deployment = sqliteTable('deployment', {
  name: text().primaryKey(),
  value: text().notNull(),
  at: integer().notNull(),
})

export const waiting = sqliteTable('waiting', {
  subject: text().primaryKey(),
  reason: text().notNull(),
  since: integer().notNull(),
})
