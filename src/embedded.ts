/** The interface that agents see, answered in this process for one account and, where the key has one, one agent. */
import type { Bursar, Offers } from './bursar.ts'
import { discountPercent } from './credits/packs.ts'
import { awaitPayment } from './invoices/await.ts'
import { type InvoiceContext, railsOf } from './invoices/context.ts'
import { createInvoice, fromWire } from './invoices/create.ts'
import { getInvoice } from './invoices/view.ts'
import { balanceView } from './ledger/balance.ts'
import type { AccountPrincipal } from './ledger/keys.ts'
import type { Ledger } from './ledger/ledger.ts'
import { callModel } from './models/call.ts'
import { modelOffers } from './models/catalogue.ts'
import { mayCall } from './models/listing.ts'
import type { CallContext, Caller } from './models/reserve.ts'
import { listUsage } from './models/usage.ts'
import { formatCredits, formatUsd } from './money.ts'
import { DAY_MS } from './time.ts'

export interface Engine {
  readonly seller: string
  readonly ledger: Ledger
  readonly invoices: InvoiceContext
  readonly calls: CallContext
}

/** A caller sees and spends nothing of another account. */
export function embeddedBursar(engine: Engine, principal: AccountPrincipal): Bursar {
  const { ledger, invoices, calls } = engine
  const { account } = principal
  const caller: Caller = principal.scope === 'agent' ? { account, agent: principal.agent } : { account }
  return {
    listOffers: () => offers(engine, caller),
    createInvoice: (input) => createInvoice(invoices, fromWire(account, input)),
    getInvoice: (id) => getInvoice(invoices, { account, id }),
    awaitPayment: ({ timeout_ms: timeoutMs, ...rest }) =>
      awaitPayment(invoices, { account, timeoutMs, ...rest }),
    getBalance: () => balanceView(ledger, account, caller.agent),
    callModel: (input) => callModel(calls, caller, input),
    listUsage: (input) => listUsage(ledger.db, account, input),
  }
}

/** An agent sees the models that its allowance lets it call. */
async function offers({ seller, ledger, invoices, calls }: Engine, caller: Caller): Promise<Offers> {
  const { usdPerCredit, packs } = invoices.catalogue
  const offered = await mayCall(calls, caller)
  return {
    seller,
    payee: invoices.tillKey.payee,
    credit_usd: formatUsd(usdPerCredit),
    packs: [...packs.values()].map((pack) => ({
      id: pack.pack,
      credits: formatCredits(pack.credits),
      usd: formatUsd(pack.usd),
      discount_percent: discountPercent(pack, usdPerCredit),
      expires_after_days: pack.lifetimeMs === null ? null : pack.lifetimeMs / DAY_MS,
    })),
    rails: railsOf(invoices.chains).map(({ id, chain, asset }) => ({
      id,
      asset: asset.symbol,
      decimals: asset.decimals,
      network: chain.network,
    })),
    models: modelOffers(calls.models, ledger.runtime.now()).filter(({ id }) => offered(id)),
  }
}
