/** What a till refuses, as the same error that it threw: its code, status, remedy and facts. */
import { BursarError, type ErrorCode, STATUS } from '../errors.ts'

/** Nobody reads a longer error. */
const MAX_TEXT = 100_000

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
    const text = await response.text()
    const value: unknown = JSON.parse(text.slice(0, MAX_TEXT))
    if (typeof value !== 'object' || value === null) return null
    const fields = value as Fields
    return typeof fields['code'] === 'string' && typeof fields['detail'] === 'string' ? fields : null
  } catch {
    return null
  }
}

/** A newer till may have codes that this version does not know: then the status says what kind it is. */
function fromProblem(problem: Fields, status: number): BursarError {
  const { code, detail, remedy, title: _, status: __, ...facts } = problem
  const known = Object.hasOwn(STATUS, String(code))
  const details = known ? facts : { ...facts, code_given: code, http_status: status }
  return new BursarError(known ? (code as ErrorCode) : codeOf(status), String(detail), {
    details,
    ...(typeof remedy === 'string' ? { remedy } : {}),
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
