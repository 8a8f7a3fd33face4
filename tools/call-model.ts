import { z } from 'zod'
import { idempotencyKey } from './fields.ts'
import { usage } from './list-usage.ts'
import { defineTool } from './tool.ts'

const text = z.string()

export const callModel = defineTool({
  name: 'call_model',
  title: 'Call a model',
  description:
    'Asks a model of list_offers and pays in credits: the worst case is held, the true cost charged, the rest released. With the same idempotency_key a repeat returns the first answer, uncharged. Where credits are short, max_tokens shrinks to what they cover, down to bursar_fit.',
  input: z.strictObject({
    model: z.string().min(1).max(200),
    messages: z
      .array(
        z.strictObject({
          role: z.enum(['system', 'user', 'assistant']),
          content: z.string().max(1_000_000),
        }),
      )
      .min(1)
      .max(1000),
    max_tokens: z.int().min(1).max(10_000_000).exactOptional(),
    temperature: z.number().min(0).max(2).exactOptional(),
    bursar_fit: z
      .union([z.int().min(0).max(10_000_000), z.literal('off')], {
        error: 'expected "off" or a number of tokens',
      })
      .describe('fewest output tokens you take; "off": no fewer than asked')
      .exactOptional(),
    idempotency_key: idempotencyKey,
  }),
  output: z.object({
    text,
    model: text,
    finish_reason: text,
    max_tokens: z.int().exactOptional(),
    usage,
    held: text,
    charged: text,
    available: text,
    receipt: text,
    replayed: z.boolean(),
  }),
  hints: { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: true },
  needs: 'till',
  async handler({ bursar }, input) {
    const result = await bursar.callModel(input)
    const { input_tokens, output_tokens } = result.usage
    const price = result.replayed
      ? `Answered before, not charged again (receipt ${result.receipt}).`
      : `Charged ${result.charged} credits for ${input_tokens} tokens in and ${output_tokens} out (receipt ${result.receipt}).`
    const { max_tokens: limit } = result
    const fitted =
      limit !== undefined && limit < (input.max_tokens ?? 0) ? ` max_tokens was lowered to ${limit}.` : ''
    return { data: result, text: [result.text, `${price} ${result.available} credits available.${fitted}`] }
  },
})
