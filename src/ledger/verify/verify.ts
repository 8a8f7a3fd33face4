/**
 * Recomputes the ledger from the database alone: every balance, hold, lot, grant and seal from the journal, and what
 * the journal rests on. Reads one snapshot, so it may run beside a till; it writes nothing.
 *
 * What it cannot know: whether the chain says the same as the payments (the watcher does that), and whether somebody
 * who could write every row rewrote all of it. Against the latter a published head is kept elsewhere and given as
 * `published`.
 */
import { migrations } from '../../db/migrations/index.ts'
import { openSnapshot, type Snapshot } from '../../db/snapshot.ts'
import type { Runtime } from '../../runtime.ts'
import { bookChecks } from './books.ts'
import { followSeals, type PublishedHead } from './chain.ts'
import { type Check, readable, runCheck } from './check.ts'
import { createFindings, type Finding, type Findings } from './finding.ts'
import { checkInvoices } from './invoices.ts'
import { readJournal } from './journal.ts'
import { paymentChecks } from './payments.ts'
import { replayJournal } from './replay.ts'
import { checkFile, checkSchema, referenceChecks, requireVersion } from './schema.ts'

export interface Verify {
  /** As for `openDb`; the file of a running till, or a copy. */
  readonly url: string
  readonly authToken?: string
  readonly runtime: Runtime
  /** A head of an earlier day that must still be in the chain. */
  readonly published?: PublishedHead
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

export interface Progress {
  /** What is being looked at. */
  readonly step: string
  readonly done: number
  readonly total: number
}

export interface Verified {
  /** Nothing was found. */
  readonly ok: boolean
  /**
   * The last seal: keep it elsewhere, and give it as `published` another day. Null, as are the counts: the file is so
   * damaged that nothing in it was read.
   */
  readonly head: { readonly seal: number; readonly hash: string } | null
  readonly counts: (Counts & { readonly seals: number; readonly sealed_postings: number }) | null
  readonly findings: readonly Finding[]
  /** There are more findings of some kind than are listed. */
  readonly more: boolean
}

interface Counts {
  readonly accounts: number
  readonly postings: number
  readonly open_holds: number
  readonly lots: number
  readonly payments: number
  readonly invoices: number
}

/**
 * @throws {BursarError} not_found (no such file), invalid_config (not a database of this version),
 *   database_unavailable; the signal's reason when it is aborted
 */
export async function verifyDatabase(given: Verify): Promise<Verified> {
  const snapshot = await openSnapshot(given)
  try {
    return await verifySnapshot(snapshot, given)
  } finally {
    snapshot.close()
  }
}

async function verifySnapshot(
  snapshot: Snapshot,
  { runtime, published, signal, onProgress }: Verify,
): Promise<Verified> {
  const findings = createFindings()
  const report = (step: string, done: number, total: number): void => onProgress?.({ step, done, total })

  report('file', 0, 1)
  // First of all: in a damaged file any query may run without end.
  if (!(await checkFile(snapshot, findings))) {
    return { ok: false, head: null, counts: null, findings: findings.list, more: true }
  }
  await requireVersion(snapshot, migrations)
  const counts = await countRows(snapshot, findings)
  await readable(findings, '', () => checkSchema(snapshot, findings, migrations))

  const seals = followSeals(snapshot, findings, published)
  const replay = replayJournal(snapshot, findings)
  await readable(findings, 'posting', async () => {
    await readJournal({
      snapshot,
      findings,
      runtime,
      followers: [seals, replay],
      signal,
      onPage: (read) => report('journal', read, counts.postings),
    })
  })
  let invoices = 0
  await readable(findings, 'invoice', () =>
    checkInvoices(snapshot, findings, async () => {
      if (++invoices % 1_000 === 0) await runtime.sleep(0, signal)
      report('invoices', invoices, counts.invoices)
    }),
  )
  await runChecks({ snapshot, findings, runtime, signal, report })
  const { head, seals: sealCount, sealedTo } = seals.summary()
  return {
    ok: findings.list.length === 0,
    head: { seal: Number(head.seal), hash: head.hash },
    counts: { ...counts, seals: sealCount, sealed_postings: Number(sealedTo) },
    findings: findings.list,
    more: findings.more,
  }
}

interface RunChecks {
  readonly snapshot: Snapshot
  readonly findings: Findings
  readonly runtime: Pick<Runtime, 'sleep'>
  readonly signal: AbortSignal | undefined
  readonly report: (step: string, done: number, total: number) => void
}

async function runChecks({ snapshot, findings, runtime, signal, report }: RunChecks): Promise<void> {
  const checks: readonly Check[] = [...bookChecks, ...paymentChecks, ...referenceChecks]
  for (const [index, check] of checks.entries()) {
    report('books', index, checks.length)
    await runCheck(snapshot, findings, check)
    await runtime.sleep(0, signal)
  }
}

async function countRows(snapshot: Snapshot, findings: Findings): Promise<Counts> {
  const count = async (table: string): Promise<number> => {
    let rows = 0n
    await readable(findings, table, async () => {
      const [row] = await snapshot.query<{ count: bigint }>(`SELECT count(*) AS count FROM ${table}`)
      rows = row?.count ?? 0n
    })
    return Number(rows)
  }
  return {
    accounts: await count('account'),
    postings: await count('posting'),
    open_holds: await count('hold'),
    lots: await count('lot'),
    payments: await count('payment'),
    invoices: await count('invoice'),
  }
}
