/** What a till refuses, as the same error that it threw: its code, status, remedy and facts. */
import { BursarError, type ErrorCode, STATUS } from '../errors.ts'

/** A problem that is larger is none of a till's. */
const MAX_BYTES = 100_000
/** What a till says ends up in front of an agent, which might take it for more than it is: a few sentences do. */
const MAX_SENTENCES = 2_000
const MAX_FACT = 200
const MAX_FACTS = 10_000

/** Reads a response that is no success. Never rejects for what is in it. */
export async function errorOf(response: Response, url: string): Promise<BursarError> {
  const problem = await problemIn(response)
  if (problem) return fromProblem(problem, response.status)
  const { origin } = new URL(url)
  const moved = response.status === 0 || (response.status >= 300 && response.status < 400)
  return new BursarError(
    response.status === 401 ? 'unauthorized' : 'till_unavailable',
    moved
      ? `${origin} sends its callers elsewhere${movedTo(response)}.`
      : `${origin} answered with status ${response.status}, and not as a till does.`,
    {
      remedy: moved
        ? 'Use the URL where it is now.'
        : 'Check the URL: it is what bursar serve prints, such as http://127.0.0.1:8402.',
      details: { http_status: response.status },
    },
  )
}

function movedTo(response: Response): string {
  const location = response.headers.get('location')
  return location !== null && URL.canParse(location) ? `, to ${new URL(location).origin}` : ''
}

type Fields = Readonly<Record<string, unknown>>

async function problemIn(response: Response): Promise<Fields | null> {
  if (!/json/i.test(response.headers.get('content-type') ?? '')) {
    await response.body?.cancel().catch(() => undefined)
    return null
  }
  try {
    const value: unknown = JSON.parse(await textWithin(response))
    if (typeof value !== 'object' || value === null) return null
    const fields = value as Fields
    return typeof fields['code'] === 'string' && typeof fields['detail'] === 'string' ? fields : null
  } catch {
    return null
  }
}

/** @throws {Error} it is longer than any problem */
async function textWithin(response: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  // Not `for await`: some browsers' streams cannot be iterated.
  const reader = response.body?.getReader()
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true }
    if (done) return text
    bytes += value.length
    if (bytes > MAX_BYTES) {
      await reader?.cancel()
      throw new Error('the answer is too long')
    }
    text += decoder.decode(value, { stream: true })
  }
}

/** On one line, as long as a till's own sentences are. */
function sentence(text: string, most = MAX_SENTENCES): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
  return line.length > most ? `${line.slice(0, most)}...` : line
}

/** Names, amounts, times, and lists of them, as far as there is room. */
function factsIn(given: Fields): Fields {
  const facts: Record<string, unknown> = {}
  let room = MAX_FACTS
  for (const [name, value] of Object.entries(given)) {
    const fact = Array.isArray(value) ? value.map((one) => factOf(one) ?? null) : factOf(value)
    room -= name.length + JSON.stringify(fact ?? null).length
    if (room < 0) break
    if (/^[a-z][a-z0-9_]*$/.test(name) && fact !== undefined) facts[name] = fact
  }
  return facts
}

/** Undefined: no plain value. */
function factOf(value: unknown): string | number | boolean | null | undefined {
  if (typeof value === 'string') return sentence(value, MAX_FACT)
  return typeof value === 'number' || typeof value === 'boolean' || value === null ? value : undefined
}

/** A newer till may have codes that this version does not know: then the status says what kind it is. */
function fromProblem(problem: Fields, status: number): BursarError {
  const { code, detail, remedy, title: _, status: __, ...given } = problem
  const known = Object.hasOwn(STATUS, String(code))
  const facts = factsIn(given)
  const details = known ? facts : { ...facts, code_given: factOf(code), http_status: status }
  return new BursarError(known ? (code as ErrorCode) : codeOf(status), sentence(String(detail)), {
    details,
    ...(typeof remedy === 'string' ? { remedy: sentence(remedy) } : {}),
  })
}

function codeOf(status: number): ErrorCode {
  const codes: Readonly<Record<number, ErrorCode>> = {
    401: 'unauthorized',
    402: 'insufficient_credits',
    403: 'forbidden',
    404: 'not_found',
    409: 'conflict',
    413: 'payload_too_large',
    429: 'rate_limited',
  }
  return codes[status] ?? (status < 500 ? 'invalid_request' : 'till_unavailable')
}
