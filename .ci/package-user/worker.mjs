/** A worker that sells an endpoint and asks a till: what runs at the edge, without anything of Node's. */
import { BursarError, createClient, meter } from 'bursar'

/** `ask` stands for the network. */
export function createWorker(ask) {
  const till = createClient({ url: 'https://till.example', fetch: ask })
  const summarize = meter({ till, price: '0.05' }, async (request, { charge }) => {
    charge('0.02')
    return new Response((await request.text()).slice(0, 4))
  })
  return { fetch: (request) => summarize(request), till, BursarError }
}
