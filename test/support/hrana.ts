/**
 * A libSQL server as far as Bursar uses one: Hrana 2 over HTTP with JSON (shapes from the published Hrana
 * specification), on SQLite in this process. It can lose answers and delay requests, as networks do.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'

type Value =
  | { readonly type: 'null' }
  | { readonly type: 'integer'; readonly value: string }
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'text'; readonly value: string }
type Condition =
  | { readonly type: 'ok'; readonly step: number }
  | { readonly type: 'error'; readonly step: number }
  | { readonly type: 'not'; readonly cond: Condition }
  | { readonly type: 'and'; readonly conds: readonly Condition[] }
  | { readonly type: 'or'; readonly conds: readonly Condition[] }
interface Stmt {
  readonly sql?: string
  readonly sql_id?: number
  readonly args: readonly Value[]
}
interface Request {
  readonly type: 'batch' | 'execute' | 'store_sql' | 'close_sql' | 'close'
  readonly sql_id?: number
  readonly sql?: string
  readonly stmt?: Stmt
  readonly batch?: { readonly steps: readonly { readonly condition?: Condition; readonly stmt: Stmt }[] }
}
interface Failed {
  readonly message: string
  readonly code: string
}

/**
 * What happens to the next write: `answer` is lost after it was applied; `request` is lost on the way; `late`: it
 * seems lost, and is applied right before the next write after the client has looked for it; `silence`: it is applied,
 * and the connection stays open without a word; `half`: it is applied, and half of the answer arrives; `gateway`: it is
 * applied, and what stands before the server says 502; `gone`: it is not, and 503 is said; `page`: it is not, and 200 with
 * a page for people is said.
 */
export type Accident = 'answer' | 'request' | 'late' | 'silence' | 'half' | 'gateway' | 'gone' | 'page'

export interface HranaServer {
  readonly url: string
  /** Batches that write, as they arrived. */
  readonly writes: () => number
  lose(...accidents: Accident[]): void
  /** The same for the next requests of any kind, reads and looks for an operation too. */
  loseAny(...accidents: Accident[]): void
  /** After so many more requests it answers every one with this status and nothing else. */
  decline(status: number, after?: number): void
  /** What the last request was authorized with. */
  readonly authorization: () => string | undefined
  /** From now on it answers nothing, reads neither. Tells how often it was asked since. */
  fallSilent(): () => number
  /** No more accidents. */
  recover(): void
  close(): Promise<void>
}

export async function startHrana(path: string): Promise<HranaServer> {
  const db = new DatabaseSync(path)
  db.exec('PRAGMA journal_mode = WAL')
  const accidents: Accident[] = []
  const anyAccidents: Accident[] = []
  let declining: { status: number; after: number } | undefined
  let authorization: string | undefined
  const delayed: (readonly Request[])[] = []
  let writes = 0
  let silent: { asked: number } | undefined

  function answer(requests: readonly Request[]): { text: string; accident?: Accident | undefined } {
    const write = isWrite(requests)
    if (write) writes++
    const accident = anyAccidents.shift() ?? (write ? accidents.shift() : undefined)
    if (accident === 'late' && write) delayed.push(requests)
    if (accident !== undefined && UNDONE.has(accident)) return { text: '', accident }
    if (write) for (const late of delayed.splice(0)) pipeline(db, late)
    const results = pipeline(db, requests)
    return { text: JSON.stringify({ baton: null, base_url: null, results }), accident }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url !== '/v2/pipeline') {
      response.writeHead(404).end()
      return
    }
    const { requests } = await readJson(request)
    authorization = request.headers.authorization
    if (silent) {
      silent.asked++
      return
    }
    if (declining && declining.after-- <= 0) {
      response
        .writeHead(declining.status, { location: 'http://127.0.0.1:9/' })
        .end('A token that nobody may see.')
      return
    }
    const { text, accident } = answer(requests)
    const type = accident === 'page' ? 'text/html' : 'application/json'
    if (accident === 'silence') return
    if (accident === 'gateway') response.writeHead(502).end()
    else if (accident === 'gone') response.writeHead(503).end()
    else if (accident === 'half') {
      response.writeHead(200, { 'content-type': type, 'content-length': text.length })
      response.write(text.slice(0, text.length / 2), () => request.socket.destroy())
    } else if (accident === undefined || accident === 'page') {
      response.setHeader('content-type', type).end(accident ? '<html>Welcome</html>' : text)
    } else request.socket.destroy()
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    writes: () => writes,
    lose: (...next) => void accidents.push(...next),
    loseAny: (...next) => void anyAccidents.push(...next),
    decline(status, after = 0) {
      declining = { status, after }
    },
    authorization: () => authorization,
    fallSilent() {
      const counting = { asked: 0 }
      silent = counting
      return () => counting.asked
    },
    recover() {
      silent = undefined
      declining = undefined
      accidents.splice(0)
      anyAccidents.splice(0)
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
      db.close()
    },
  }
}

/** After these nothing was done. */
const UNDONE: ReadonlySet<Accident> = new Set<Accident>(['request', 'late', 'gone', 'page'])

/** Whether it holds a batch that changes something. */
function isWrite(requests: readonly Request[]): boolean {
  const stored = requests.map(({ sql }) => sql ?? '')
  const steps = requests.flatMap(({ batch }) => batch?.steps ?? []).map(({ stmt }) => stmt.sql ?? '')
  return [...stored, ...steps].some((sql) => /^\s*(INSERT|UPDATE|DELETE|CREATE)/i.test(sql))
}

function pipeline(db: DatabaseSync, requests: readonly Request[]): unknown[] {
  const stored = new Map<number, string>()
  return requests.map((request) => {
    const { type } = request
    if (type === 'store_sql') stored.set(request.sql_id ?? -1, request.sql ?? '')
    if (type === 'batch') {
      return { type: 'ok', response: { type, result: runBatch(db, request.batch?.steps ?? [], stored) } }
    }
    if (type === 'execute' && request.stmt) {
      const result = run(db, request.stmt, stored)
      return 'code' in result ? { type: 'error', error: result } : { type: 'ok', response: { type, result } }
    }
    return { type: 'ok', response: { type } }
  })
}

function runBatch(
  db: DatabaseSync,
  steps: NonNullable<Request['batch']>['steps'],
  stored: ReadonlyMap<number, string>,
): unknown {
  const results: (object | null)[] = []
  const errors: (Failed | null)[] = []
  const holds = (condition: Condition): boolean => {
    if (condition.type === 'ok') return Boolean(results[condition.step])
    if (condition.type === 'error') return Boolean(errors[condition.step])
    if (condition.type === 'not') return !holds(condition.cond)
    return condition.type === 'and' ? condition.conds.every(holds) : condition.conds.some(holds)
  }
  for (const { condition, stmt } of steps) {
    const result = condition && !holds(condition) ? null : run(db, stmt, stored)
    const failed = result !== null && 'code' in result
    results.push(failed ? null : result)
    errors.push(failed ? (result as Failed) : null)
  }
  return { step_results: results, step_errors: errors }
}

function run(
  db: DatabaseSync,
  { sql, sql_id, args }: Stmt,
  stored: ReadonlyMap<number, string>,
): object | Failed {
  try {
    const statement = db.prepare(sql ?? stored.get(sql_id ?? -1) ?? '')
    statement.setReadBigInts(true)
    statement.setReturnArrays(true)
    const rows = statement.all(...args.map(fromValue)) as unknown as unknown[][]
    const cols = statement.columns().map(({ name }) => ({ name }))
    return { cols, rows: rows.map((row) => row.map(toValue)), affected_row_count: 0, last_insert_rowid: null }
  } catch (error) {
    const { message, errcode } = error as { message: string; errcode?: number }
    const codes: Record<number, string> = { 5: 'SQLITE_BUSY', 19: 'SQLITE_CONSTRAINT' }
    return { message, code: codes[(errcode ?? 1) & 0xff] ?? 'SQLITE_ERROR' }
  }
}

function fromValue(value: Value): SQLInputValue {
  if (value.type === 'null') return null
  return value.type === 'integer' ? BigInt(value.value) : value.value
}

function toValue(value: unknown): Value {
  if (value === null) return { type: 'null' }
  if (typeof value === 'bigint') return { type: 'integer', value: String(value) }
  if (typeof value === 'number') return { type: 'float', value }
  if (typeof value === 'string') return { type: 'text', value }
  throw new TypeError(`The server has no word for a ${typeof value}.`)
}

async function readJson(request: IncomingMessage): Promise<{ requests: readonly Request[] }> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) text += chunk
  return JSON.parse(text) as { requests: readonly Request[] }
}
