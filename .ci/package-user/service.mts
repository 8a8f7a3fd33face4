/** A service as its developer writes one, against the installed package: it must compile, and run. */
import { BursarError, type Client, createClient, type InvoiceView, type Metered, meter } from 'bursar'
import type { TillInProcess } from 'bursar/till'

const till: Client = createClient({ url: 'http://127.0.0.1:9', key: 'bk_none', retries: 0 })

export const summarize = meter({ till, price: '0.05' }, async (request: Request, { charge }: Metered) => {
  charge('0.01')
  return new Response((await request.text()).slice(0, 100))
})

export const inProcess = (own: TillInProcess) =>
  meter.express({ till: own, price: () => '0.05' }, (_request, response) => response.setHeader('x', 'y'))

export async function pay(id: string): Promise<InvoiceView['state']> {
  for await (const { state } of till.awaitPayment(id)) if (state === 'paid') return state
  return 'expired'
}

export async function spent(): Promise<string[]> {
  const charges: string[] = []
  for await (const { charged } of till.usage({ limit: 100 })) charges.push(charged)
  return charges
}

const refused = await till.balance().catch((error: unknown) => error)
if (!(refused instanceof BursarError) || refused.code !== 'till_unavailable')
  throw new Error('the SDK does not run')
const unpaid = await summarize(new Request('http://service.example/', { method: 'POST', body: 'text' }))
if (unpaid.status !== 401) throw new Error(`the meter answered ${unpaid.status}`)
if (typeof (await import('bursar/till')).openTill !== 'function') throw new Error('there is no bursar/till')
