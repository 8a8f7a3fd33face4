/** The headers of answers and requests, as `/openapi.json` describes them. */

const credits = { type: 'string', pattern: '^-?\\d+\\.\\d{6}$' }

/** Of an answer. */
export const ANSWER_HEADERS = {
  'x-bursar-receipt': { description: 'The receipt, as usage lists it', schema: { type: 'string' } },
  'x-bursar-charged': { description: 'Credits charged; not with a stream', schema: credits },
  'x-bursar-balance': { description: 'Credits available after it; not with a stream', schema: credits },
  'x-bursar-replayed': {
    description: 'The answer to the first request with this Idempotency-Key, given again',
    schema: { type: 'string', const: 'true' },
  },
  'x-bursar-max-tokens': {
    description: 'The output limit that the call was sent with',
    schema: { type: 'string', pattern: '^\\d+$' },
  },
  'x-bursar-left-out': {
    description: 'Members of the request that were not passed on, with commas between',
    schema: { type: 'string' },
  },
} as const

export type AnswerHeader = keyof typeof ANSWER_HEADERS

/** What a call that was charged says of it. */
export const CHARGED = [
  'x-bursar-receipt',
  'x-bursar-charged',
  'x-bursar-balance',
  'x-bursar-replayed',
] as const

/** Of any refusal, where they apply. */
export const REFUSAL_HEADERS = {
  'x-should-retry': {
    description: 'Whether asking again can help; absent: as the status says',
    schema: { type: 'string', enum: ['true', 'false'] },
  },
  'retry-after': { description: 'Seconds to wait before', schema: { type: 'string', pattern: '^\\d+$' } },
} as const

/** Of a request to a model endpoint. */
export const FIT = {
  name: 'x-bursar-fit',
  in: 'header',
  description:
    'How far the output limit may shrink to what the balance affords: down to this many tokens, or "off"',
  schema: { type: 'string', pattern: '^(off|\\d{1,8})$' },
} as const
