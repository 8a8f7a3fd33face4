/** A till somewhere else, as the tools see one: the same answers and the same refusals as in this process. */
import type { AwaitedInvoice, AwaitPayment, Bursar, InvoiceView } from '../bursar.ts'
import type { Client } from './client.ts'

export function remoteBursar(client: Client): Bursar {
  return {
    listOffers: () => client.offers(),
    createInvoice: (input) => client.createInvoice(input),
    getInvoice: (id) => client.getInvoice(id),
    awaitPayment: (input) => awaitFor(client, input),
    getBalance: () => client.balance(),
    callModel: (input) => client.callModel(input),
    listUsage: (input) => client.usage(input).page(),
  }
}

async function awaitFor(
  client: Client,
  { invoice: id, timeout_ms: timeoutMs, signal, onProgress }: AwaitPayment,
): Promise<AwaitedInvoice> {
  const limit = AbortSignal.timeout(timeoutMs)
  let last: InvoiceView | undefined
  try {
    const until = signal ? AbortSignal.any([signal, limit]) : limit
    for await (const invoice of client.awaitPayment(id, { signal: until })) {
      last = invoice
      onProgress?.(invoice)
    }
    return { invoice: last ?? (await client.getInvoice(id)), timed_out: false }
  } catch (thrown) {
    if (!limit.aborted || signal?.aborted) throw thrown
    return { invoice: last ?? (await client.getInvoice(id)), timed_out: true }
  }
}
