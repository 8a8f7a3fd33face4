/** Open sign-up: an account for whoever comes with the hash of a key. */
import { statement } from '../db/db.ts'
import { type Account, checkName, getAccount } from './accounts.ts'
import { checkPrint, getKey, type KeyPrint, type KeyView, takenKey } from './keys.ts'
import type { Ledger } from './ledger.ts'

export interface SignedUp {
  readonly account: Account
  readonly key: KeyView
}

/**
 * Opens an account with a key that its holder made, in one commit. The same key opens the same account, so a request
 * whose answer got lost is safe to repeat. Whoever has a hash need not have its key: of an account that the seller has
 * named, nothing is told.
 *
 * @throws {BursarError} invalid_request; conflict (the key was revoked, or is no account's that was opened so)
 */
export async function signUp(
  ledger: Ledger,
  { name, hash, prefix }: KeyPrint & { readonly name: string },
): Promise<SignedUp> {
  checkName(name, 'name', 80)
  checkPrint({ hash, prefix })
  const { db, runtime } = ledger
  const [account, at] = [runtime.id('acc'), BigInt(runtime.now())]
  await db.commit([
    statement(
      `INSERT INTO account (id, created_at) SELECT ?1, ?2
       WHERE NOT EXISTS (SELECT 1 FROM api_key WHERE hash = ?3)`,
      [account, at, hash],
    ),
    statement(
      `INSERT INTO api_key (id, hash, prefix, name, scope, account, created_at)
       SELECT ?1, ?2, ?3, ?4, 'account', id, ?5 FROM account WHERE id = ?6`,
      [runtime.id('key'), hash, prefix, name, at, account],
    ),
  ])
  const [row] = await db.query<{ id: string; account: string | null }>(
    `SELECT k.id, k.account FROM api_key k JOIN account a ON a.id = k.account
     WHERE k.hash = ? AND k.scope = 'account' AND k.revoked_at IS NULL AND a.external_id IS NULL`,
    [hash],
  )
  if (!row || row.account === null) throw takenKey()
  return { account: await getAccount(ledger, row.account), key: await getKey(ledger, row.id) }
}
