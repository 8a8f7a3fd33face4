/** Asks the endpoints of a chain about payments that were found before: whether two of them show each. */
import type { Transfer } from './chain.ts'
import { ChainMoved, type Header, type Reader } from './follow.ts'
import { askTips, type Context } from './tips.ts'

/** So many times `lagMs` a node that lags still has a say in what is credited. */
const LAG_SAY = 10

/**
 * The keys of those that two endpoints show as they are given, on their best chain; one, where only one answers.
 * @throws {BursarError} chain_unavailable
 */
export async function vouch<B extends Header>(
  context: Context<B>,
  transfers: readonly Transfer[],
  signal: AbortSignal | undefined,
): Promise<ReadonlySet<string>> {
  if (transfers.length === 0) return new Set()
  const { live, lagging } = await askTips(context, new Set(transfers.map(({ to }) => to)), signal)
  const say = [...live, ...lagging.filter(({ stillMs }) => stillMs < context.lagMs * LAG_SAY)]
  const voters = say.map(({ source, reader }) => ({ host: source.host, reader: readingOnce(reader) }))
  const found = new Set<string>()
  for (const transfer of transfers) {
    if (await isVouchedFor(context, voters, transfer, signal)) found.add(transfer.key)
  }
  return found
}

interface Voter<B extends Header> {
  readonly host: string
  readonly reader: Reader<B>
}

/** Keeps the blocks that were read, and what was found in them: many payments may be in one. */
function readingOnce<B extends Header>(reader: Reader<B>): Reader<B> {
  const blocks = new Map<number, Promise<B | null>>()
  const found = new Map<string, Promise<Transfer[]>>()
  return {
    ...reader,
    block: (height) => kept(blocks, height, () => reader.block(height)),
    transfers: (some, top) =>
      kept(found, `${top} ${some.map(({ hash }) => hash).join(' ')}`, () => reader.transfers(some, top)),
  }
}

function kept<K, V>(known: Map<K, V>, key: K, read: () => V): V {
  const value = known.get(key) ?? read()
  known.set(key, value)
  return value
}

async function isVouchedFor<B extends Header>(
  context: Context<B>,
  voters: readonly Voter<B>[],
  transfer: Transfer,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const yes: string[] = []
  const no: string[] = []
  for (const { reader, host } of voters) {
    if (yes.length >= 2) break
    try {
      const answers = (await showsTransfer(reader, transfer)) ? yes : no
      answers.push(host)
    } catch (error) {
      signal?.throwIfAborted()
      if (error instanceof ChainMoved) no.push(host)
    }
  }
  if (yes.length >= 2 || (yes.length === 1 && no.length === 0)) return true
  const facts = { payment: transfer.key, confirmed_by: yes, denied_by: no }
  context.say('error', 'payment_unconfirmed', facts, 'The endpoints do not confirm a payment: it waits.')
  return false
}

async function showsTransfer<B extends Header>(reader: Reader<B>, transfer: Transfer): Promise<boolean> {
  const { block } = transfer
  if (block === null) return false
  const own = await reader.block(block.height)
  if (own?.hash !== block.hash) return false
  const found = await reader.transfers([own], block.height)
  if (found.some((one) => isSame(one, transfer))) return true
  if (reader.sees?.(transfer) ?? true) return false
  return (await reader.evidence?.(transfer)) ?? false
}

/** Both say the same of the same payment. */
export function isSame(a: Transfer, b: Transfer | undefined): boolean {
  return (
    b !== undefined &&
    a.key === b.key &&
    a.symbol === b.symbol &&
    a.to === b.to &&
    a.amount === b.amount &&
    a.block?.hash === b.block?.hash
  )
}
