/** What the doctor looks at for whoever buys: the purse, and with BURSAR_URL the till of somebody else. */
import type { PurseStatus } from '../bursar.ts'
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
  await check('till', async () => {
    const client = tillClient(till, runtime, { retries: 0 })
    const { available } = await client.balance({ signal })
    const { seller, payee } = await client.offers({ signal })
    if (settings.config.purse) mustBePinned(await payeesOf(context), seller, payee)
    return `${seller} at ${client.url}, ${available} credits available`
  })
  if (!settings.config.purse) return
  for (const network of tryOpen(() => purseNetworks(settings, runtime))) {
    await check(`chain ${network.id}`, async () => {
      const height = await network.client(signal).getBlockNumber()
      return `${network.network}, ${network.assets.map(({ symbol }) => symbol).join(', ')}; at block ${height}`
    })
  }
  await checkRates(context, [], check)
  await examinePurse(context, check)
}

export async function examinePurse(context: Context, check: Check): Promise<void> {
  const { settings, runtime } = context
  if (!settings.config.purse) return
  if (!settings.config.purse.wallet) {
    await check('purse', async () => {
      const { address, per_payment_usd: most, payees } = await askPurse(context)
      return `${settings.config.purse?.url}, wallet ${address}; ${most} USD a payment; ${counted(payees.length, 'payee')}`
    })
    return
  }
  await check('wallet', () => walletAddress(purseConfig(settings).wallet))
  await check('budget', () => {
    purseNetworks(settings, runtime)
    const { budget, payees } = purseConfig(settings)
    return `${budget.per_payment} USD a payment, ${budget.per_day} a day, ${budget.per_month} a month; ${counted(payees.length, 'payee')}`
  })
}

/** A purse that somebody else runs has payees of its own: those here would say nothing. */
async function payeesOf(context: Context): Promise<readonly { readonly key: string }[]> {
  const { settings } = context
  return settings.config.purse?.wallet ? purseConfig(settings).payees : (await askPurse(context)).payees
}

async function askPurse({ settings, runtime }: Context): Promise<PurseStatus> {
  const purse = connectPurse({ settings: () => settings, runtime })
  try {
    return await purse.status()
  } finally {
    await purse.close()
  }
}

function mustBePinned(payees: readonly { readonly key: string }[], seller: string, payee: string): void {
  if (payees.some(({ key }) => key === payee)) return
  throw new BursarError('unknown_payee', `The till of ${seller} signs with ${payee}, which is not pinned.`, {
    remedy: 'If the seller has given you this key by another way, add it to purse.payees.',
  })
}
