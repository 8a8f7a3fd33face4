/** The parts of the configuration about model calls: where they go, and what they cost. */
import { z } from 'zod'
import { decimal, name, positive, url } from './config-fields.ts'

export const upstream = z.strictObject({
  format: z
    .enum(['openai', 'anthropic'])
    .default('openai')
    .describe('What it speaks; its models are sold at the endpoints of the same format'),
  base_url: url.describe('Up to and with /v1'),
  api_key: z.string().min(1).optional().describe('"${OPENAI_API_KEY}"; left out where none is asked for'),
  price_list: name
    .optional()
    .describe(
      'Whose list prices its models have, such as "openrouter"; by default told by base_url. bursar prices --lists names them',
    ),
  timeout_ms: z
    .int()
    .min(100)
    .max(3_600_000)
    .default(120_000)
    .describe('For a whole answer; for a streamed one, the longest silence'),
  stream_timeout_ms: z
    .int()
    .min(100)
    .max(3_600_000)
    .default(1_800_000)
    .describe('For a streamed answer as a whole'),
  drain_ms: z
    .int()
    .min(0)
    .max(600_000)
    .default(5_000)
    .describe(
      'How long an answer is still read for its usage when its caller has gone; then it is broken off',
    ),
})

const tokenCap = z.int().min(0).max(10_000_000)

const rates1m = {
  usd_per_million_input: decimal.optional().describe('USD for a million tokens of input'),
  usd_per_million_output: decimal.optional().describe('USD for a million tokens of output'),
  usd_per_million_cached_input: decimal
    .optional()
    .describe('Input that a cache read; by default the price of input, as the next two'),
  usd_per_million_cache_write: decimal.optional().describe('Input that was written to a cache'),
  usd_per_million_cache_write_1h: decimal
    .optional()
    .describe('The same for an hour; by default the price of a cache write'),
  usd_per_million_reasoning: decimal
    .optional()
    .describe('Output that was reasoning; by default the price of output'),
}

const prices = {
  price: z
    .literal('list')
    .optional()
    .describe("The provider's list price, which is also the default: bursar prices shows it"),
  ...rates1m,
  tiers: z
    .array(
      z.strictObject({
        above_input_tokens: z
          .int()
          .min(1)
          .max(1_000_000_000)
          .describe('It applies where the input is larger than this'),
        ...rates1m,
      }),
    )
    .min(1)
    .refine((tiers) => tiers.every(hasRates), 'expected usd_per_million_input and _output in every tier')
    .refine(
      (tiers) => tiers.every((tier, i) => tier.above_input_tokens > (tiers[i - 1]?.above_input_tokens ?? 0)),
      'expected ascending above_input_tokens',
    )
    .optional()
    .describe('Prices of a whole call whose input is above a size'),
  margin_percent: decimal
    .optional()
    .describe('Added to the price per token; by default calls.margin_percent'),
  credits_per_call: positive.optional().describe('A fixed price instead of one per token'),
}

interface NamedPrice {
  readonly usd_per_million_input?: string | undefined
  readonly usd_per_million_output?: string | undefined
}

function hasRates(named: NamedPrice): boolean {
  return named.usd_per_million_input !== undefined && named.usd_per_million_output !== undefined
}

/** One kind of price: fixed, its own rates whole, or none of them, which is the list's. */
function isOnePrice(named: NamedPrice & Readonly<Record<string, unknown>>): boolean {
  const own = [...Object.keys(rates1m), 'tiers'].some((name) => named[name] !== undefined)
  const kinds = [own, named['credits_per_call'] !== undefined, named['price'] !== undefined]
  return kinds.filter(Boolean).length <= 1 && (!own || hasRates(named))
}
const ONE_PRICE =
  'expected credits_per_call, or usd_per_million_input and usd_per_million_output, or neither: the list price'

const upstreamModel = z.string().min(1).optional().describe('The name upstream, where it differs')

const candidate = z
  .strictObject({
    upstream: name.describe('One of upstreams'),
    upstream_model: upstreamModel,
    ...prices,
  })
  .refine(isOnePrice, { error: ONE_PRICE })

export const model = z
  .strictObject({
    upstream: name.optional().describe('One of upstreams'),
    upstreams: z
      .array(z.union([name, candidate]))
      .min(1)
      .max(8)
      .optional()
      .describe(
        'Several, in order: the next one is asked where the one before cannot be reached or is too busy. Each may have its own upstream_model and price',
      ),
    upstream_model: upstreamModel,
    ...prices,
    max_output_tokens: z
      .int()
      .min(1)
      .max(10_000_000)
      .default(4096)
      .describe('The most that one answer may have; what a caller asks beyond it is lowered'),
    tokenizer: z
      .enum(['o200k_base', 'cl100k_base', 'none'])
      .optional()
      .describe("The model's public tokeniser: by default as OpenAI names its models; none: bytes alone"),
    token_limit_field: z
      .enum(['max_tokens', 'max_completion_tokens'])
      .optional()
      .describe(
        'How the upstream takes the output limit; "max_completion_tokens" by default at api.openai.com, "max_tokens" elsewhere',
      ),
    image_tokens: tokenCap
      .optional()
      .describe(
        'The most input tokens that one image can count, held for each; 0 refuses images. By default 5000 for anthropic, 50000 for openai',
      ),
    file_tokens: tokenCap
      .optional()
      .describe(
        'The same for a file (PDF); by default files are refused, because nothing bounds their pages',
      ),
  })
  .refine(isOnePrice, { error: ONE_PRICE })
  .refine(({ upstream, upstreams }) => (upstream === undefined) !== (upstreams === undefined), {
    error: 'expected either upstream or upstreams',
  })

/** What a configuration says about a price. */
export type PriceConfig = Readonly<Partial<Omit<z.output<typeof candidate>, 'upstream' | 'upstream_model'>>>
