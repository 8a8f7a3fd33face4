import type { EndpointReport } from '../chains/chain.ts'
import { openChains } from '../chains/index.ts'
import { readCatalogue } from '../credits/packs.ts'
import { toBursarError } from '../errors.ts'
import { readHalts } from '../invoices/cursor.ts'
import { checkDeployment } from '../invoices/deployment.ts'
import { haltedChain } from '../invoices/resume.ts'
import { openTillKey } from '../invoices/till-key.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { openRestore, refuseRestored } from '../ledger/restored.ts'
import { readModels } from '../models/catalogue.ts'
import { openTillLedger } from '../till-ledger.ts'
import { action, type Context, type Registers } from './command.ts'
import { examineBuyer, examinePurse } from './doctor-buyer.ts'
import { type Check, tryOpen } from './doctor-check.ts'
import { checkRates } from './doctor-rates.ts'
import { checkUpstreams, modelsText } from './doctor-upstreams.ts'

interface Finding {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly remedy?: string
}

/** Checks one thing after the other and goes on after a failure: a human wants to see all of them. */
export const doctor: Registers = (program, shell) => {
  program
    .command('doctor')
    .description('check configuration, keys, endpoints, rates, models, database and wallet')
    .action(
      action(
        shell,
        async (context) => {
          const findings: Finding[] = []
          const check: Check = async (name, look) => {
            try {
              findings.push({ name, ok: true, detail: await look() })
            } catch (thrown) {
              const { message, remedy } = toBursarError(thrown)
              findings.push({ name, ok: false, detail: message, ...(remedy ? { remedy } : {}) })
            }
          }
          await examine(context, check)
          if (findings.some(({ ok }) => !ok)) process.exitCode = 1
          context.answer({ ok: findings.every(({ ok }) => ok), findings }, findings.map(line).join('\n'))
        },
        { wallet: true, quiet: true },
      ),
    )
}

async function examine(context: Context, check: Check): Promise<void> {
  const { settings, runtime } = context
  const { config } = settings
  await check('configuration', () => settings.path ?? 'none found: everything is at its default')
  if (settings.till) return examineBuyer(context, settings.till, check)
  await examineDatabase(context, check)
  await check('till key', () => openTillKey({ dataDir: settings.dataDir, runtime }).payee)
  await check('packs', () => [...readCatalogue(config).packs.keys()].join(', ') || 'none')
  await check('models', () => modelsText(readModels(config)))
  await check('keys', () => {
    const first = openChains({ config, runtime }).map((chain) => {
      const { address, path } = chain.recipient(0)
      return `${chain.id} ${address} (${path})`
    })
    return first.length > 0
      ? `first addresses, compare them with your device: ${first.join('; ')}`
      : 'no chains configured'
  })
  const chains = tryOpen(() => openChains({ config, runtime }))
  for (const chain of chains) {
    await check(`chain ${chain.id}`, async () => {
      await chain.verify(context.signal)
      const endpoints = (await chain.endpoints(context.signal)).map(endpointText)
      return `${chain.network}, ${chain.assets.map((asset) => asset.symbol).join(', ')}; ${endpoints.join('; ')}`
    })
  }
  await checkRates(context, chains, check)
  await checkUpstreams(context, check)
  await examinePurse(context, check)
}

/** The file, and what in it keeps a till from selling or crediting: a restore, halted chains, other terms. */
async function examineDatabase({ settings, runtime }: Context, check: Check): Promise<void> {
  const { config } = settings
  const [ledger] = await opened()
  if (!ledger) return
  try {
    await check('restore', async () => {
      await refuseRestored(ledger.db)
      return 'not waiting to be confirmed'
    })
    const chains = tryOpen(() => openChains({ config, runtime }))
    await check('deployment', async () => {
      await checkDeployment(ledger, { chains, usdPerCredit: readCatalogue(config).usdPerCredit })
      return 'keys, networks and price of a credit are those of the database'
    })
    for (const { chain, height, halted } of await readHalts(ledger.db)) {
      // Frozen as a whole: said above.
      if (await openRestore(ledger.db)) break
      await check(`crediting ${chain}`, () => {
        if (halted !== null) throw haltedChain(chain, halted)
        return `read to block ${height}`
      })
    }
  } finally {
    await ledger.close()
  }

  async function opened(): Promise<Ledger[]> {
    const found: Ledger[] = []
    await check('database', async () => {
      found.push(await openTillLedger({ settings, runtime }))
      return settings.database
    })
    return found
  }
}

function endpointText({ endpoint, height, internal }: EndpointReport): string {
  if (height === null) return `${endpoint} does not answer`
  if (internal === null) return `${endpoint} at block ${height}`
  const how = internal === 'traced' ? 'found in block traces' : 'have to be claimed: no block traces'
  return `${endpoint} at block ${height}, payments by contracts ${how}`
}

function line({ name, ok, detail, remedy }: Finding): string {
  return `${ok ? 'ok  ' : 'FAIL'}  ${name.padEnd(18)} ${detail}${remedy && !ok ? `\n      ${remedy}` : ''}`
}
