/** How many open invoices an account may have. */
import { encodeTime } from 'ulid'
import { guard, type Statement } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import type { InvoiceContext } from './context.ts'

/** Before the chain and the rates are asked; the commit asks again. @throws {BursarError} rate_limited */
export async function refuseTooMany(ctx: InvoiceContext, account: string): Promise<void> {
  for (const { sql, args, error } of roomOf(ctx, account)) {
    const [row] = await ctx.db.query<{ fits: bigint }>(`SELECT ${sql} AS fits`, args)
    if (row?.fits !== 1n) throw error
  }
}

export function roomForOne(ctx: InvoiceContext, account: string): Statement[] {
  return roomOf(ctx, account).map(({ sql, args, error }) => guard(sql, args, () => error))
}

/**
 * Whether an account has room for one more open invoice. Each takes an address, which is watched long after; whoever
 * signs up could otherwise have any number. An id begins with its time, so that older ones are not looked at.
 */
function roomOf({ runtime, lockMs, maxOpen }: InvoiceContext, account: string) {
  if (maxOpen === undefined) return []
  const now = runtime.now()
  const oldest = `inv_${encodeTime(Math.max(0, now - lockMs), 10)}`
  return [
    {
      sql: `(SELECT count(*) FROM invoice i WHERE i.account = ? AND i.id >= ? AND i.expires_at > ?
         AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.invoice = i.id)) < ?`,
      args: [account, oldest, BigInt(now), BigInt(maxOpen)],
      error: new BursarError('rate_limited', `This account has ${maxOpen} open invoices without a payment.`, {
        remedy: 'Pay one of them, or wait until they have expired.',
      }),
    },
  ]
}
