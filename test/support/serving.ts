/** `bursar serve`, one or several on one database, and buyers whose credits were paid for: whole processes only. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Db } from '../../src/db/db.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { settle } from '../../src/invoices/settle.ts'
import { createKey } from '../../src/ledger/keys.ts'
import { openLedger } from '../../src/ledger/open.ts'
import type { Verified } from '../../src/ledger/verify/verify.ts'
import { blockAt, openTill, stepTo, type Till, transferTo } from '../invoices/till.ts'
import { answerOf, type Environment, type Server, serve } from './program.ts'

export interface Serving {
  readonly tills: readonly Server[]
  readonly folder: string
  readonly db: Db
  /** A new account with a key, that has paid for so many credits. */
  buyer(credits: string): Promise<Buyer>
  balance(account: string): Promise<Balance>
  /** Ends the tills as an operator would; then `bursar verify` reads what they have left. */
  verified(): Promise<Verified>
  readonly close: () => Promise<void>
}

export interface Buyer {
  readonly account: string
  readonly key: string
}

/** Micro-credits. */
export interface Balance {
  readonly available: bigint
  readonly held: bigint
}

/** @param config upstreams, models and calls; the rest is set here. */
export async function startServing(config: object, count = 1): Promise<Serving> {
  const till = await openTill()
  const tills: Server[] = []
  const stop = () => Promise.all(tills.splice(0).map((server) => server.stop()))
  const close = async () => {
    await stop()
    await till.close()
  }
  try {
    const env = await environment(till, config)
    tills.push(...(await Promise.all(Array.from({ length: count }, () => serve(env)))))
    return {
      tills: [...tills],
      folder: till.dir,
      db: till.db,
      buyer: buyers(till),
      async balance(account) {
        const [row] = await till.db.query<{ available: bigint; held: bigint }>(
          'SELECT available, held FROM account WHERE id = ?',
          [account],
        )
        return row ?? { available: 0n, held: 0n }
      },
      async verified() {
        await stop()
        return answerOf<Verified>(['verify'], env)
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function environment(till: Till, config: object): Promise<Environment> {
  const path = join(till.dir, 'bursar.config.json')
  await writeFile(path, JSON.stringify(config))
  return {
    HOME: till.dir,
    PATH: process.env['PATH'] ?? '',
    BURSAR_CONFIG: path,
    BURSAR_DATA: till.dir,
    BURSAR_DB: till.url,
    PORT: '0',
  }
}

/** Each pays an invoice in a block of its own: grants that no payment accounts for are a finding of `bursar verify`. */
function buyers(till: Till): Serving['buyer'] {
  const { ctx, db } = till
  const ledger = openLedger({ db, runtime: ctx.runtime })
  let height = 100
  return async (credits) => {
    const account = await till.account(ctx.runtime.id('acc'))
    if (height === 100) await till.seedCursor('local', height)
    height += 3
    const { address, amount } = await createInvoice(ctx, { account, rail: 'local:ETH', credits })
    const block = blockAt(height - 2, ctx.runtime.now())
    const paid = transferTo(address, BigInt(amount), { txid: `0x${height.toString(16)}`, block })
    await settle(ctx, till.chain('local'), stepTo({ height, transfers: [paid] }), await till.lease('local'))
    const { key } = await createKey(ledger, { scope: 'account', account, name: 'test' })
    return { account, key }
  }
}
