/**
 * A Hono API that streams test data and sells it by the row. The most that a request can cost is held before it runs;
 * each row is charged as it is sent. A buyer who leaves in the middle pays for the rows up to there, and gets the rest
 * of the hold back.
 *
 *     npm install bursar hono @hono/node-server
 *     BURSAR_URL=http://127.0.0.1:8402 node examples/hono.ts
 *
 *     curl -N 'http://127.0.0.1:3000/people?rows=20' -H "Authorization: Bearer $BURSAR_KEY"
 *
 * The handler is of the fetch kind, so Next.js, Workers, Deno and Bun take it as it is.
 */
import { serve } from '@hono/node-server'
import { createClient, meter } from 'bursar'
import { type Context, Hono } from 'hono'
import { stream } from 'hono/streaming'

const till = createClient({ url: process.env.BURSAR_URL ?? 'http://127.0.0.1:8402' })

const ROW_MICRO_CREDITS = 150
const MOST_ROWS = 1_000_000

const people = meter(
  { till, price: ({ url }) => credits(rowsOf(url) * ROW_MICRO_CREDITS), name: 'people' },
  ({ url }, { charge }, c: Context) => {
    c.header('content-type', 'application/x-ndjson')
    return stream(c, async (out) => {
      for (let row = 0; row < rowsOf(url) && !out.aborted; row++) {
        charge(credits(ROW_MICRO_CREDITS))
        await out.writeln(JSON.stringify(person(row)))
      }
    })
  },
)

const app = new Hono()
app.get('/people', (c) => people(c.req.raw, c))

serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env.PORT ?? 3000) }, ({ port }) =>
  console.log(`GET http://127.0.0.1:${port}/people costs ${credits(ROW_MICRO_CREDITS)} credits a row`),
)

function rowsOf(url: string): number {
  const rows = Number(new URL(url).searchParams.get('rows') ?? 100)
  return Number.isInteger(rows) && rows > 0 ? Math.min(rows, MOST_ROWS) : 0
}

/** Credits as the till takes them: decimal text with six places. Money is counted in whole micro-credits. */
function credits(micro: number): string {
  const digits = String(micro).padStart(7, '0')
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`
}

const FIRST = ['Ada', 'Bela', 'Chidi', 'Dana', 'Emil', 'Fatima', 'Goran']
const LAST = ['Abe', 'Berg', 'Costa', 'Diaz', 'Eze', 'Fox', 'Gupta', 'Hahn', 'Ito', 'Jung', 'Kaya']

/** What is really sold: people who do not exist, the same for the same row. */
function person(row: number) {
  const [first, last] = [FIRST[row % FIRST.length], LAST[row % LAST.length]]
  const email = `${first}.${last}.${row + 1}@example.com`.toLowerCase()
  return { id: row + 1, name: `${first} ${last}`, email }
}
