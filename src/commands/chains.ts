/** `bursar chains`: what the till knows about its chains, and how a halted one goes on. */
import type { Command } from 'commander'
import { openChains } from '../chains/index.ts'
import { BursarError, invalid } from '../errors.ts'
import { type ChainReport, reportChain, resumeChain } from '../invoices/resume.ts'
import { action, type Registers } from './command.ts'
import { counted } from './counted.ts'
import { withDb } from './ledger.ts'

interface ResumeOptions {
  readonly from?: string
}

export const chains: Registers = (program, shell) => {
  const group: Command = program.command('chains').description('the chains that are watched')

  group
    .command('list')
    .description('where each chain has been read to, what waits, and what its endpoints say')
    .action(
      action(
        shell,
        (context) =>
          withDb(context, async (db) => {
            const { settings, runtime, signal } = context
            const all = openChains({ config: settings.config, runtime })
            const reports = await Promise.all(all.map((chain) => reportChain({ db, runtime }, chain, signal)))
            context.answer(
              { chains: reports.map(wireReport) },
              reports.map(reportLines).join('\n') || 'No chains are configured.',
            )
          }),
        { quiet: true },
      ),
    )

  group
    .command('resume')
    .argument('<chain>', 'as bursar chains list shows it')
    .option('--from <height>', 'the last block before the fork, if the chain is still forked')
    .description('credit again on a chain that was halted')
    .action(
      action(shell, async (context, id: string, options: ResumeOptions) => {
        const { settings, runtime, signal, answer } = context
        const chain = openChains({ config: settings.config, runtime }).find((each) => each.id === id)
        if (!chain) throw unknownChain(id)
        const from = options.from === undefined ? {} : { from: heightOf(options.from) }
        await withDb(context, async (db) => {
          const resumed = await resumeChain({ db, runtime }, chain, { ...from, signal })
          answer(
            { chain: id, ...resumed },
            resumed.forked
              ? `${id} goes on. Everything above block ${resumed.height} is read again; what left the chain is taken back.`
              : `${id} goes on from block ${resumed.height}: the fork is gone.`,
          )
        })
      }),
    )
}

function unknownChain(id: string): BursarError {
  return new BursarError('not_found', `There is no chain ${JSON.stringify(id)}.`, {
    remedy: 'See: bursar chains list',
  })
}

function heightOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw invalid('--from must be a block height.')
  return Number(text)
}

function wireReport({ settledAt, ...report }: ChainReport): object {
  return { ...report, settled_at: settledAt === null ? null : new Date(settledAt).toISOString() }
}

function reportLines(report: ChainReport): string {
  const { chain, network, height, halted, waiting, stalled, endpoints } = report
  const read = height === null ? 'never read yet' : `read to block ${height}`
  return [
    `${chain}  ${network}, ${read}, ${counted(waiting, 'payment')} waiting`,
    ...(halted === null ? [] : [`  HALTED: ${halted}`, `  To go on: bursar chains resume ${chain}`]),
    ...(stalled ? ['  Finality has stalled: only payments in final blocks are credited.'] : []),
    ...endpoints.map(({ endpoint, height: tip, internal }) => {
      const what = internal === null ? '' : `, payments by contracts ${internal}`
      return `  ${endpoint}  ${tip === null ? 'does not answer' : `at block ${tip}${what}`}`
    }),
  ].join('\n')
}
