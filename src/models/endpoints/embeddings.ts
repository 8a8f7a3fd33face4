/** `POST /v1/embeddings` (OpenAI API reference, "Embeddings"): all input, no output. */
import { invalid } from '../../errors.ts'
import { readUsage } from '../meter.ts'
import { emptyTally, inputTokens, partsOf } from './content.ts'
import type { Endpoint } from './endpoint.ts'
import { EMBEDDINGS_RULES, refuseUnbounded } from './refusals.ts'

export const embeddings: Endpoint = {
  route: '/v1/embeddings',
  format: 'openai',
  path: '/embeddings',
  // A hundred texts as long vectors of decimal numbers.
  maxAnswerBytes: 64 * 1024 * 1024,
  plan(model, body) {
    const { input } = body.fields
    refuseUnbounded(body.fields, EMBEDDINGS_RULES)
    if (typeof input !== 'string' && !Array.isArray(input)) {
      throw invalid('input must be a text or a list.')
    }
    // Some servers take images so, by their address.
    if (partsOf(input).length > 0) {
      throw invalid('input must be made of texts or tokens: nothing bounds what anything else counts.', {
        remedy: 'Send text instead.',
      })
    }
    // A token that is given as a number takes at least two bytes, with its comma.
    const messages = Array.isArray(input) && typeof input[0] !== 'number' ? input.length : 1
    return {
      stream: false,
      inputTokens: inputTokens(model, body.bytes, { ...emptyTally(), messages }),
      output: null,
      wantsUsage: false,
      body: () => body.with({ model: JSON.stringify(model.upstreamModel) }),
    }
  },
  usageOf: readUsage,
  outputBytesOf: (answer) => (Array.isArray(answer['data']) ? 0 : null),
  meter: null,
}
