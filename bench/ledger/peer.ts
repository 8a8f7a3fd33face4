/**
 * The peer: the same ledger by hand on better-sqlite3, as one would write it for one process and one purpose. The
 * same tables with the same indexes and checks, prepared statements, no JSON, no triggers; what an account has is read
 * once a transaction, moved in memory, and written back once.
 */
import { monotonicFactory } from 'ulid'
import { openSqlite, type Sqlite } from './better-sqlite3.ts'
import {
  BODY_HASH,
  type Call,
  type Engine,
  LIFETIME_MS,
  MODEL,
  PRICE,
  RESPONSE,
  ROUTE,
  UPSTREAM,
  USAGE,
} from './shape.ts'

interface Item {
  readonly call: Call
  readonly ref: string
  /** Holds first, then captures. */
  readonly phase: 0 | 1
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

interface Account {
  available: number
  held: number
  charged: number
}

/** @param grouped one transaction for all that wait; otherwise one for each write */
export async function openPeer(file: string, grouped: boolean): Promise<Engine> {
  const db = await openSqlite(file)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.pragma('foreign_keys = ON')
  // As Bursar's own connection has them (src/db/local.ts).
  db.pragma('cache_size = -65536')
  db.pragma('wal_autocheckpoint = 4000')
  for (const { name } of db.prepare(`SELECT name FROM sqlite_schema WHERE type = 'trigger'`).all() as {
    name: string
  }[]) {
    db.exec(`DROP TRIGGER ${name}`)
  }
  const commit = committer(db)
  const ulid = monotonicFactory()
  let waiting: Item[] = []
  let scheduled = false

  function flush(group: readonly Item[]): void {
    try {
      commit(group)
      for (const { resolve } of group) resolve()
    } catch (thrown) {
      for (const { reject } of group) reject(thrown)
    }
  }

  function add(call: Call, ref: string, phase: 0 | 1): Promise<void> {
    return new Promise((resolve, reject) => {
      const item = { call, ref, phase, resolve, reject }
      if (!grouped) {
        setImmediate(flush, [item])
        return
      }
      waiting.push(item)
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        const group = waiting
        waiting = []
        scheduled = false
        flush(group)
      })
    })
  }

  return {
    async pair(call) {
      const ref = `hold_${ulid()}`
      await add(call, ref, 0)
      await add(call, ref, 1)
    },
    close() {
      db.close()
      return Promise.resolve()
    },
  }
}

function committer(db: Sqlite): (group: readonly Item[]) => void {
  const begin = db.prepare('BEGIN IMMEDIATE')
  const end = db.prepare('COMMIT')
  const rollback = db.prepare('ROLLBACK')
  const one = operations(db)
  return (group) => {
    begin.run()
    try {
      const at = Date.now()
      const accounts = new Map<string, Account>()
      for (const item of group) {
        if (item.phase === 0) one.hold(item, one.accountOf(accounts, item.call.account), at)
        else one.capture(item, one.accountOf(accounts, item.call.account), at)
      }
      for (const [id, account] of accounts) one.writeBack(id, account, at)
      end.run()
    } catch (thrown) {
      rollback.run()
      throw thrown
    }
  }
}

interface Lot {
  readonly ref: string
  readonly remaining: number
}

/** Numbers are exact here: everything stays below 2^53. A production ledger would bind bigints, and be slower. */
function operations(db: Sqlite) {
  const readAccount = db.prepare('SELECT available, held FROM account WHERE id = ? AND frozen_at IS NULL')
  const readKey = db.prepare('SELECT 1 FROM idempotency WHERE account = ? AND route = ? AND key = ?')
  const insertHold = db.prepare(
    'INSERT INTO hold (ref, account, amount, lapse_charge, at, expires_at) VALUES (?, ?, ?, 0, ?, ?)',
  )
  const insertPosting = db.prepare(
    `INSERT INTO posting (ref, phase, kind, account, available, held, book, counter, at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const insertKey = db.prepare(
    'INSERT INTO idempotency (account, route, key, body_hash, ref, at) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const insertReceipt = db.prepare(
    `INSERT INTO receipt (account, id, route, model, upstream, price, state, held, started_at)
     VALUES (?, ?, ?, ?, ?, ?, 'pending', ?, ?)`,
  )
  const readHold = db.prepare('SELECT amount FROM hold WHERE ref = ?')
  const deleteHold = db.prepare('DELETE FROM hold WHERE ref = ?')
  const updateReceipt = db.prepare(
    `UPDATE receipt SET state = 'charged', charged = ?, usage = ?, finished_at = ? WHERE account = ? AND id = ?`,
  )
  const updateKey = db.prepare(
    'UPDATE idempotency SET response = ? WHERE account = ? AND route = ? AND key = ?',
  )
  const updateAccount = db.prepare('UPDATE account SET available = ?, held = ? WHERE id = ?')
  const addSpend = db.prepare(
    `INSERT INTO spend (account, hour, charged) VALUES (?, ?, ?)
     ON CONFLICT (account, hour) DO UPDATE SET charged = charged + excluded.charged`,
  )
  const openLots = db.prepare(
    'SELECT ref, remaining FROM lot WHERE account = ? AND remaining > 0 ORDER BY expires_at, ref',
  )
  const updateLot = db.prepare('UPDATE lot SET remaining = ? WHERE ref = ?')

  return {
    accountOf(accounts: Map<string, Account>, id: string): Account {
      const known = accounts.get(id)
      if (known) return known
      const row = readAccount.get(id) as Pick<Account, 'available' | 'held'> | undefined
      if (!row) throw new Error('There is no such account.')
      const account = { available: row.available, held: row.held, charged: 0 }
      accounts.set(id, account)
      return account
    },
    hold({ call, ref }: Item, account: Account, at: number): void {
      const amount = Number(call.amount)
      if (account.available < amount) throw new Error('The account cannot cover it.')
      if (readKey.get(call.account, ROUTE, call.key)) throw new Error('The key was used before.')
      account.available -= amount
      account.held += amount
      insertHold.run(ref, call.account, amount, at, at + LIFETIME_MS)
      insertPosting.run(ref, 0, 'hold', call.account, -amount, amount, null, 0, at)
      insertKey.run(call.account, ROUTE, call.key, BODY_HASH, ref, at)
      insertReceipt.run(call.account, ref, ROUTE, MODEL, UPSTREAM, PRICE, amount, at)
    },
    capture({ call, ref }: Item, account: Account, at: number): void {
      const held = readHold.get(ref) as { amount: number } | undefined
      if (!held) throw new Error('There is no such hold.')
      const cost = Math.min(Number(call.cost), held.amount)
      account.available += held.amount - cost
      account.held -= held.amount
      account.charged += cost
      updateReceipt.run(cost, USAGE, at, call.account, ref)
      updateKey.run(RESPONSE, call.account, ROUTE, call.key)
      insertPosting.run(
        ref,
        1,
        'capture',
        call.account,
        held.amount - cost,
        -held.amount,
        'revenue',
        cost,
        at,
      )
      deleteHold.run(ref)
    },
    writeBack(id: string, { available, held, charged }: Account, at: number): void {
      updateAccount.run(available, held, id)
      if (charged === 0) return
      addSpend.run(id, at - (at % 3_600_000), charged)
      let due = charged
      for (const { ref, remaining } of openLots.all(id) as Lot[]) {
        if (due === 0) break
        const taken = Math.min(remaining, due)
        updateLot.run(remaining - taken, ref)
        due -= taken
      }
    },
  }
}
