/** One request to a purse and its answer; an error comes back as the BursarError that the purse threw. */
import { request } from 'undici'
import { z } from 'zod'
import { BursarError, type ErrorCode, STATUS } from '../errors.ts'
import type { Runtime } from '../runtime.ts'

export interface Target {
  readonly url: string
  readonly token: string
}

export interface Asked {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: object
  readonly signal?: AbortSignal
}

/** No purse answered. `reached`: the request may have arrived. */
export class NoAnswer extends Error {
  readonly reached: boolean

  constructor(reached: boolean, cause: unknown) {
    super('no answer from the purse', { cause })
    this.name = 'NoAnswer'
    this.reached = reached
  }
}

/** To be found alive is quick; to pay means to ask a chain several times, each with a limit of its own. */
const LIMIT_MS = { '/hello': 3_000, other: 120_000 }

/** @throws {NoAnswer}; {BursarError} what the purse threw */
export async function exchange(runtime: Runtime, target: Target, asked: Asked): Promise<unknown> {
  const limit = asked.path === '/hello' ? LIMIT_MS['/hello'] : LIMIT_MS.other
  let status: number
  let text: string
  try {
    const answer = await request(`${target.url}${asked.path}`, {
      method: asked.method,
      headers: { authorization: `Bearer ${target.token}`, 'content-type': 'application/json' },
      body: asked.body === undefined ? null : JSON.stringify(asked.body),
      dispatcher: runtime.network,
      headersTimeout: limit,
      bodyTimeout: limit,
      signal: asked.signal ?? null,
    })
    status = answer.statusCode
    text = await answer.body.text()
  } catch (cause) {
    throw new NoAnswer((cause as { code?: unknown }).code !== 'ECONNREFUSED', cause)
  }
  const body = parse(text)
  if (status === 200 && body !== undefined) return body
  throw errorOf(body) ?? new NoAnswer(true, new Error(`HTTP ${status} that is not a purse's`))
}

const problemSchema = z.looseObject({
  code: z.string().refine((code): code is ErrorCode => Object.hasOwn(STATUS, code)),
  title: z.string(),
  status: z.number(),
  detail: z.string(),
  remedy: z.string().optional(),
})

function errorOf(body: unknown): BursarError | null {
  const problem = problemSchema.safeParse(body)
  if (!problem.success) return null
  const { code, title: _title, status: _status, detail, remedy, ...details } = problem.data
  return new BursarError(code, detail, { ...(remedy === undefined ? {} : { remedy }), details })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
