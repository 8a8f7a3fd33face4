/** What `bursar verify` found: a stable kind for programs, the row concerned, and a sentence for people. */
export interface Finding {
  readonly kind: FindingKind
  readonly table: string
  /** Key of the row concerned, or the range of them. */
  readonly row: string
  readonly message: string
}

export type FindingKind =
  // the file and its schema
  | 'file_corrupt'
  | 'constraint_broken'
  | 'schema_changed'
  | 'reference_missing'
  | 'unreadable'
  // the journal and its seals
  | 'posting_missing'
  | 'journal_truncated'
  | 'posting_malformed'
  | 'posting_unmatched'
  | 'posting_altered'
  | 'posting_reordered'
  | 'seal_missing'
  | 'seal_altered'
  | 'seal_chain_broken'
  | 'head_missing'
  // accounts, holds and lots
  | 'balance_mismatch'
  | 'overdrawn'
  | 'charge_mismatch'
  | 'hold_missing'
  | 'hold_mismatch'
  | 'receipt_mismatch'
  | 'idempotency_dangling'
  | 'lot_missing'
  | 'lot_mismatch'
  | 'lapse_mismatch'
  | 'spend_mismatch'
  | 'agent_spend_mismatch'
  // payments and invoices
  | 'grant_without_payment'
  | 'grant_missing'
  | 'payment_mismatch'
  | 'payment_value'
  | 'discount_mismatch'
  | 'invoice_altered'
  | 'address_reused'
  | 'address_unissued'

export interface Findings {
  add(finding: Finding): void
  readonly list: readonly Finding[]
  /** There are more of some kind than the list holds. */
  readonly more: boolean
}

/** Enough to see what is wrong; a database that is wrong throughout does not fill the memory with it. */
export const KEPT_PER_KIND = 50

export function createFindings(): Findings {
  const list: Finding[] = []
  const counts = new Map<string, number>()
  let more = false
  return {
    list,
    get more() {
      return more
    },
    add(finding) {
      const count = (counts.get(finding.kind) ?? 0) + 1
      counts.set(finding.kind, count)
      if (count > KEPT_PER_KIND) more = true
      else list.push(finding)
    },
  }
}
