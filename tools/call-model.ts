import { z } from 'zod'
import { idempotencyKey } from './fields.ts'
import { usage } from './list-usage.ts'
import { defineTool } from './tool.ts'

const text = z.string()

export const callModel = defineTool({
  name: 'call_model',
  title: 'Call a model',
  description:
    'Asks a model of list_offers and pays in credits: the worst case is held, the true cost charged, the rest released. With the same idempotency_key a repeat returns the first answer, uncharged. Lower max_tokens if credits are short.',
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
    idempotency_key: idempotencyKey,
  }),
  output: z.object({
    text,
    model: text,
    finish_reason: text,
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
    return { data: result, text: [result.text, `${price} ${result.available} credits available.`] }
  },
})
