/** A metered service that never answers. Argument: the URL of the till. Prints its own URL, and each request. */
import { serve } from '@hono/node-server'
import { createClient } from '../../../src/sdk/client.ts'
import { meter } from '../../../src/sdk/meter.ts'

const [url = ''] = process.argv.slice(2)
const metered = meter({ till: createClient({ url }), price: '0.5', lifetimeSeconds: 30 }, () => {
  console.log('running')
  return new Promise<Response>(() => undefined)
})
const server = serve({ fetch: metered, port: 0, hostname: '127.0.0.1' }, ({ port }) =>
  console.log(`serving http://127.0.0.1:${port}`),
)
server.ref()
