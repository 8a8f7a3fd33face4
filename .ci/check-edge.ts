/**
 * Runs a bundle of the SDK, built for no platform, where there is nothing but what every place with `fetch` has: no
 * `process`, no `Buffer`, no `require`. A till that is played here answers it.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createContext, runInContext } from 'node:vm'

interface Worker {
  fetch(request: Request): Promise<Response>
  readonly till: { balance(options: { key: string }): Promise<{ available: string }> }
  readonly BursarError: new (...args: never[]) => Error
}

const [path = ''] = process.argv.slice(2)
const bundle = readFileSync(path, 'utf8')
assert(!/\b(?:require\(|from ?["']|import ?["'(])/.test(bundle), 'the bundle asks for a module')

/** What the minimum common API of web platforms has, of all that a Node program sees. */
const COMMON = [
  'AbortController',
  'AbortSignal',
  'Headers',
  'ReadableStream',
  'Request',
  'Response',
  'TextDecoder',
  'TextDecoderStream',
  'TextEncoder',
  'URL',
  'URLSearchParams',
  'atob',
  'btoa',
  'clearTimeout',
  'console',
  'crypto',
  'setTimeout',
] as const
const edge = createContext(Object.fromEntries(COMMON.map((name) => [name, globalThis[name]])))
const { createWorker } = runInContext(`${bundle}\nworker`, edge) as {
  createWorker(ask: typeof fetch): Worker
}

const asked: string[] = []
const worker = createWorker(async (...given) => {
  const request = new Request(...given)
  const { pathname } = new URL(request.url)
  const sent = await request.text()
  const body = sent === '' ? {} : (JSON.parse(sent) as Record<string, string>)
  asked.push(`${request.method} ${pathname} ${body['amount'] ?? ''}`.trimEnd())
  const hold = {
    id: 'hold_1',
    state: 'held',
    amount: '0.050000',
    charged: body['amount'],
    available: '1.000000',
  }
  return Response.json(
    pathname === '/v1/balance' ? { available: '1.000000' } : { ...hold, lock: body['lock'] },
  )
})

assert.equal((await worker.till.balance({ key: 'bk_any' })).available, '1.000000')
const [key, body] = [{ authorization: 'Bearer bk_any' }, 'a long text']
const sold = await worker.fetch(
  new Request('https://edge.example/summarize', { method: 'POST', headers: key, body }),
)
assert.equal(await sold.text(), 'a lo')
assert.equal(sold.headers.get('x-bursar-receipt'), 'hold_1')
const refused = await worker.fetch(new Request('https://edge.example/summarize', { method: 'POST', body }))
assert.equal(refused.status, 401)
assert.deepEqual(asked, [
  'GET /v1/balance',
  'POST /v1/holds 0.050000',
  'POST /v1/holds/hold_1/capture 0.020000',
])
console.log(`edge: ${bundle.length} bytes without Node`)
