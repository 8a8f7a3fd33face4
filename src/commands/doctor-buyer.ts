/** What the doctor looks at for whoever buys: the purse, and with BURSAR_URL the till of somebody else. */
import type { Offers, PurseStatus } from '../bursar.ts'
import type { Settings } from '../config.ts'
import { BursarError } from '../errors.ts'
import { connectPurse } from '../purse/client.ts'
import { purseNetworks } from '../purse/open.ts'
import { purseConfig } from '../purse/settings.ts'
import { walletAddress } from '../purse/wallet.ts'
import type { Context } from './command.ts'
import { counted } from './counted.ts'
import { type Check, tryOpen } from './doctor-check.ts'
import { checkRates } from './doctor-rates.ts'
import { tillClient } from './till-client.ts'

/** A buyer has no till here: no database is opened, no key made, and chains are only what the purse pays on. */
export async function examineBuyer(
  context: Context,
  till: NonNullable<Settings['till']>,
  check: Check,
): Promise<void> {
  const { settings, runtime, signal } = context
  const asked: Pick<Offers, 'seller' | 'payee'>[] = []
  await check('till', async () => {
    const client = tillClient(till, runtime, { retries: 0 })
    const { available } = await client.balance({ signal })
    const offers = await client.offers({ signal })
    asked.push(offers)
    return `${offers.seller} at ${client.url}, ${available} credits available`
  })
  if (!settings.config.purse) return
  for (const network of tryOpen(() => purseNetworks(settings, runtime))) {
    await check(`chain ${network.id}`, async () => {
      const height = await network.client(signal).getBlockNumber()
      return `${network.network}, ${network.assets.map(({ symbol }) => symbol).join(', ')}; at block ${height}`
    })
  }
  await checkRates(context, [], check)
  const payees = await examinePurse(context, check)
  if (!payees) return
  for (const { seller, payee } of asked) await check('payee', () => pinnedAs(payees, seller, payee))
}

/** Whom the purse may pay; null where there is no purse, or it does not answer. */
type Payees = PurseStatus['payees'] | null

export async function examinePurse(context: Context, check: Check): Promise<Payees> {
  const { settings, runtime } = context
  const { purse } = settings.config
  if (!purse) return null
  if (!purse.wallet) return examineOther(context, purse.url, check)
  await check('wallet', () => walletAddress(purseConfig(settings).wallet))
  await check('budget', () => {
    purseNetworks(settings, runtime)
    const { budget, payees } = purseConfig(settings)
    return `${budget.per_payment} USD a payment, ${budget.per_day} a day, ${budget.per_month} a month; ${counted(payees.length, 'payee')}`
  })
  return purse.payees
}

/** A purse that somebody else runs has payees of its own: those here would say nothing. */
async function examineOther(context: Context, url: string | undefined, check: Check): Promise<Payees> {
  const found: PurseStatus[] = []
  await check('purse', async () => {
    const status = await askPurse(context)
    found.push(status)
    const { address, per_payment_usd: most, payees } = status
    return `${url}, wallet ${address}; ${most} USD a payment; ${counted(payees.length, 'payee')}`
  })
  return found[0]?.payees ?? null
}

async function askPurse({ settings, runtime }: Context): Promise<PurseStatus> {
  const purse = connectPurse({ settings: () => settings, runtime })
  try {
    return await purse.status()
  } finally {
    await purse.close()
  }
}

/** @throws {BursarError} unknown_payee */
function pinnedAs(payees: PurseStatus['payees'], seller: string, payee: string): string {
  const pinned = payees.find(({ key }) => key === payee)
  if (pinned) return `the till signs as ${pinned.name}, which the purse may pay`
  throw new BursarError('unknown_payee', `The till of ${seller} signs with ${payee}, which is not pinned.`, {
    remedy: "If the seller has given you this key by another way, add it to the purse's payees.",
  })
}
