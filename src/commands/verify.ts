import { invalid } from '../errors.ts'
import type { PublishedHead } from '../ledger/verify/chain.ts'
import { type Progress, type Verified, verifyDatabase } from '../ledger/verify/verify.ts'
import type { Runtime } from '../runtime.ts'
import { action, type Registers, type Shell } from './command.ts'
import { counted } from './counted.ts'

/** How often a long run says where it is, on stderr. */
const SAY_EVERY_MS = 2_000

/** Exits with 1 when something is found. Safe beside a running till, and on a copy of its database. */
export const verify: Registers = (program, shell) => {
  program
    .command('verify')
    .description(
      'recompute the ledger from its database: balances, holds, lots, payments, the chain of seals',
    )
    .option('--head <seal:hash>', 'a head that an earlier run printed: it must still be in the chain')
    .action(
      action(shell, async ({ settings, runtime, signal, answer }, { head }: { readonly head?: string }) => {
        try {
          const verified = await verifyDatabase({
            url: settings.database,
            runtime,
            signal,
            onProgress: progressOn(shell, runtime),
            ...(head === undefined ? {} : { published: parseHead(head) }),
          })
          if (!verified.ok) process.exitCode = 1
          answer(verified, textOf(verified))
        } catch (thrown) {
          if (!signal.aborted) throw thrown
          process.exitCode = 130
          shell.err('Stopped before the end: nothing is known.\n')
        }
      }),
    )
}

function progressOn(shell: Shell, runtime: Runtime): (progress: Progress) => void {
  let said = runtime.now()
  return ({ step, done, total }) => {
    if (runtime.now() - said < SAY_EVERY_MS) return
    said = runtime.now()
    shell.err(`verifying: ${step} ${done} of ${total}\n`)
  }
}

function parseHead(text: string): PublishedHead {
  const match = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text)
  if (!match?.[1] || !match[2]) {
    throw invalid('--head must be a seal and its hash, such as 12:9f86d081...', {
      remedy: 'Give it as an earlier bursar verify printed it.',
    })
  }
  return { seal: BigInt(match[1]), hash: match[2] }
}

function textOf({ ok, head, counts, findings, more }: Verified): string {
  const lines = findings.map(({ kind, message }) => `${kind}: ${message}`)
  if (!head || !counts) {
    return [
      ...lines,
      'The database file is damaged: nothing in it was recomputed, and there may be more. Stop the till, keep a copy ' +
        'of the file, and put a backup in its place with bursar restore.',
    ].join('\n')
  }
  const unsealed = counts.postings - counts.sealed_postings
  return [
    ...lines,
    ...(more ? ['There are more findings of the same kinds.'] : []),
    `${counted(counts.accounts, 'account')}, ${counted(counts.postings, 'posting')} (${Math.max(0, unsealed)} not sealed yet), ` +
      `${counted(counts.lots, 'lot')}, ${counted(counts.open_holds, 'open hold')}, ` +
      `${counted(counts.payments, 'payment')}, ${counted(counts.invoices, 'invoice')}`,
    `head ${head.seal}:${head.hash}`,
    ok
      ? 'The ledger is right.'
      : 'The ledger is not right. Stop the till, keep a copy of the database, and look at the findings above.',
  ].join('\n')
}
