/**
 * An Express API that sells its own endpoint for prepaid credits. The price is held before the handler runs, charged
 * when the answer is there, and given back when the handler throws or answers 400 or above. A buyer with too few
 * credits gets the till's 402, which says how to top up, and the handler does not run.
 *
 *     npm install bursar express
 *     BURSAR_URL=http://127.0.0.1:8402 node examples/express.ts
 *
 *     curl -i http://127.0.0.1:3000/keywords -H "Authorization: Bearer $BURSAR_KEY" \
 *       -H 'content-type: application/json' -d '{"text":"Prepaid credits keep agents within their credits."}'
 */
import type { AddressInfo } from 'node:net'
import { createClient, meter } from 'bursar'
import express, { type Request, type Response } from 'express'

// The service needs no key of its own: each request brings its buyer's, and the meter passes that on to the till.
const till = createClient({ url: process.env.BURSAR_URL ?? 'http://127.0.0.1:8402' })

const app = express()
// Before the meter, which binds a buyer's Idempotency-Key to the parsed body.
app.use(express.json())

app.post(
  '/keywords',
  meter.express({ till, price: '0.05', name: 'keywords' }, (req: Request, res: Response) => {
    const { text } = Object(req.body) as { text?: unknown }
    if (typeof text === 'string') res.json({ keywords: keywordsOf(text) })
    else res.status(400).json({ error: 'Send {"text": "..."}.' }) // not charged
  }),
)

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  console.log(`POST http://127.0.0.1:${port}/keywords costs 0.05 credits of ${till.url}`)
})

/** What is really sold: the five words that a text says most often, the longer ones first among equals. */
function keywordsOf(text: string): string[] {
  const counts = new Map<string, number>()
  for (const word of text.toLowerCase().match(/\p{L}{4,}/gu) ?? []) {
    counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return [...counts]
    .toSorted(([a, m], [b, n]) => n - m || b.length - a.length || a.localeCompare(b))
    .slice(0, 5)
    .map(([word]) => word)
}
