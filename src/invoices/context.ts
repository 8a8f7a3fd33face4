/** What the invoice use cases stand on; put together in app.ts. */
import type { Chain } from '../chains/chain.ts'
import type { Catalogue } from '../credits/packs.ts'
import type { Db } from '../db/db.ts'
import { BursarError } from '../errors.ts'
import type { Asset } from '../money.ts'
import type { Rates } from '../rates/rates.ts'
import type { Runtime } from '../runtime.ts'
import type { Changes } from './changes.ts'
import type { TillKey } from './till-key.ts'

export interface InvoiceContext {
  readonly db: Db
  readonly runtime: Runtime
  /** By chain id, in the order of the configuration. */
  readonly chains: ReadonlyMap<string, Chain>
  readonly rates: Rates
  readonly catalogue: Catalogue
  readonly tillKey: TillKey
  readonly changes: Changes
  /** How long the rate of an invoice holds, milliseconds. */
  readonly lockMs: number
  /** How many open invoices without a payment one account may have; absent: any number. */
  readonly maxOpen?: number
  /**
   * Whether the chain can be read now, where that is known: what would be sold on another could not be credited.
   * @throws {BursarError} chain_unavailable; invalid_config: the endpoint serves another chain.
   */
  readonly readable?: (chain: Chain) => Promise<void>
  /**
   * Whether an address was used before it was issued, where that can be found out; such an address is skipped and
   * stays watched, without an invoice.
   */
  readonly hasHistory?: (chain: Chain, address: string) => Promise<boolean>
}

export interface Rail {
  readonly id: string
  readonly chain: Chain
  readonly asset: Asset
}

/** Every chain and asset that an invoice can be paid on. */
export function railsOf(chains: InvoiceContext['chains']): Rail[] {
  return [...chains.values()].flatMap((chain) =>
    chain.assets.map((asset) => ({ id: `${chain.id}:${asset.symbol}`, chain, asset })),
  )
}

/** @throws {BursarError} not_found, with the rails that exist. */
export function railNamed(chains: InvoiceContext['chains'], id: string): Rail {
  const rails = railsOf(chains)
  const rail = rails.find((each) => each.id === id)
  if (rail) return rail
  const known = rails.map((each) => each.id)
  throw new BursarError('not_found', `There is no rail ${JSON.stringify(id).slice(0, 80)}.`, {
    remedy:
      known.length > 0 ? `Choose one of: ${known.join(', ')}.` : 'The seller has to configure a chain first.',
    details: { rails: known },
  })
}
