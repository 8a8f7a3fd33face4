/** Holds a copy of the database against what was acknowledged: all of it must be there, and nothing twice. */
import { openDb } from '../../src/db/client.ts'
import type { Db } from '../../src/db/db.ts'
import { verifyDatabase } from '../../src/ledger/verify/verify.ts'
import { parseCredits } from '../../src/money.ts'
import { systemRuntime } from '../../src/runtime.ts'
import type { Acknowledged } from './acknowledged.ts'

const runtime = systemRuntime('silent')

export interface Compared {
  readonly problems: readonly string[]
  /** The journal, a line a posting. */
  readonly journal: readonly string[]
}

/** Opens the copy as a till would, verifies it, and looks for everything that was acknowledged. */
export async function compare(path: string, acknowledged: readonly Acknowledged[]): Promise<Compared> {
  const url = `file:${path}`
  const db = await openDb({ url, runtime })
  try {
    const found = await load(db)
    const missing = acknowledged.flatMap((said) => {
      const problem = problemOf(said, found)
      return problem === null ? [] : [`${problem}: ${JSON.stringify(said)}`]
    })
    const { findings } = await verifyDatabase({ url, runtime })
    return {
      problems: [...findings.map(({ kind, row, message }) => `${kind} ${row}: ${message}`), ...missing],
      journal: found.journal,
    }
  } finally {
    await db.close()
  }
}

interface Posting {
  readonly id: bigint
  readonly ref: string
  readonly phase: bigint
  readonly kind: string
  readonly account: string
  readonly available: bigint
  readonly held: bigint
  readonly counter: bigint
}

interface Found {
  readonly journal: readonly string[]
  /** By ref, in order. */
  readonly postings: ReadonlyMap<string, readonly Posting[]>
  /** What grants of a transaction granted. */
  readonly grants: ReadonlyMap<string, readonly bigint[]>
  readonly claims: ReadonlyMap<string, { readonly ref: string; readonly response: string | null }>
  readonly receipts: ReadonlyMap<string, { readonly state: string; readonly charged: bigint }>
  readonly invoices: ReadonlyMap<string, { readonly address: string; readonly amount: string }>
}

async function load(db: Db): Promise<Found> {
  const postings = await db.query<Posting>(
    'SELECT id, ref, phase, kind, account, available, held, counter FROM posting ORDER BY id',
  )
  const claims = await db.query<{ key: string; ref: string; response: string | null }>(
    'SELECT key, ref, response FROM idempotency',
  )
  const receipts = await db.query<{ id: string; state: string; charged: bigint }>(
    'SELECT id, state, charged FROM receipt',
  )
  const invoices = await db.query<{ id: string; address: string; amount: string }>(
    'SELECT id, address, amount FROM invoice',
  )
  const granted = postings.filter(({ kind }) => kind === 'grant')
  return {
    journal: postings.map((posting) => stringify(posting)),
    postings: Map.groupBy(postings, ({ ref }) => ref),
    grants: new Map(
      [...Map.groupBy(granted, ({ ref }) => ref.split(':')[2] ?? '')].map(([txid, all]) => [
        txid,
        all.map(({ available }) => available),
      ]),
    ),
    claims: new Map(claims.map(({ key, ...claim }) => [key, claim])),
    receipts: new Map(receipts.map(({ id, ...receipt }) => [id, receipt])),
    invoices: new Map(invoices.map(({ id, ...invoice }) => [id, invoice])),
  }
}

/** What is missing of one acknowledgement, or null. */
function problemOf(said: Acknowledged, found: Found): string | null {
  if (said.kind === 'invoiced') {
    const invoice = found.invoices.get(said.id)
    if (!invoice) return 'the invoice is lost'
    if (invoice.address !== said.address || invoice.amount !== said.amount) return 'the invoice is another'
    return found.claims.get(said.key)?.ref === said.id ? null : "the invoice's idempotency key is lost"
  }
  if (said.kind === 'credited') {
    const granted = found.grants.get(said.txid)?.includes(parseCredits(said.credits))
    return granted ? null : 'the grant is lost'
  }
  if (said.kind === 'dispatched') {
    const claim = found.claims.get(said.key)
    return claim && found.postings.has(claim.ref) ? null : 'the call was sent without a durable hold'
  }
  if (said.kind === 'held') {
    const [opened] = found.postings.get(said.ref) ?? []
    return opened?.kind === 'hold' && opened.held === BigInt(said.micro) ? null : 'the hold is lost'
  }
  if (said.kind === 'closed') {
    const closed = found.postings.get(said.ref)?.[1]
    return closed?.kind === said.as && closed.counter === BigInt(said.micro) ? null : 'the outcome is lost'
  }
  const claim = found.claims.get(said.key)
  if (claim?.ref !== said.receipt) return "the call's idempotency key is lost"
  if (said.kind === 'called' && claim.response === null) return 'the stored answer is lost'
  const charged = parseCredits(said.charged)
  const receipt = found.receipts.get(said.receipt)
  if (!receipt || receipt.state === 'pending' || receipt.charged !== charged) return 'the receipt is lost'
  return found.postings.get(said.receipt)?.[1]?.counter === charged ? null : 'the charge is lost'
}

function stringify(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? String(each) : each))
}
