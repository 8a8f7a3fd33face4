import { z } from 'zod'
import type { ModelOffer } from '../src/bursar.ts'
import { defineTool, readOnly } from './tool.ts'

const text = z.string()

export const listOffers = defineTool({
  name: 'list_offers',
  title: 'List offers',
  description:
    'Credit packs, rails (chain:ASSET) to pay with, and models with prices in credits. Start here, then create_invoice.',
  input: z.strictObject({}),
  output: z.object({
    seller: text,
    payee: text.describe('the public key that signs invoices'),
    credit_usd: text,
    packs: z.array(
      z.object({
        id: text,
        credits: text,
        usd: text,
        discount_percent: text,
        expires_after_days: z.int().nullable(),
      }),
    ),
    rails: z.array(z.object({ id: text, asset: text, decimals: z.int(), network: text })),
    models: z.array(
      z.object({
        id: text,
        credits_per_million_input: text.exactOptional(),
        credits_per_million_output: text.exactOptional(),
        credits_per_million_cached_input: text.exactOptional(),
        tiers: z.array(z.looseObject({ above_input_tokens: z.int() })).exactOptional(),
        credits_per_call: text.exactOptional(),
        max_output_tokens: z.int(),
      }),
    ),
  }),
  hints: readOnly,
  needs: 'till',
  async handler({ bursar }) {
    const offers = await bursar.listOffers()
    const lines = [
      `${offers.seller}: 1 credit costs $${offers.credit_usd}.`,
      ...offers.packs.map(
        (pack) =>
          `Pack ${pack.id}: ${pack.credits} credits for $${pack.usd}, ${pack.expires_after_days === null ? 'they never expire' : `valid for ${pack.expires_after_days} days`}.`,
      ),
      `Rails: ${offers.rails.map((rail) => rail.id).join(', ') || 'none'}.`,
      ...offers.models.map((model) => `Model ${model.id}: ${priceOf(model)}.`),
      ...(offers.models.length === 0 ? ['No model that you may call.'] : []),
      offers.rails.length === 0
        ? 'Nothing can be bought here: the seller has to configure chains and keys first. bursar doctor shows what is missing.'
        : 'Next: create_invoice with a rail and a pack, or any amount of credits.',
    ]
    return { data: offers, text: [lines.join('\n')] }
  },
})

function priceOf(model: ModelOffer): string {
  if (model.credits_per_call !== undefined) return `${model.credits_per_call} credits a call`
  const base = `${model.credits_per_million_input} credits per million tokens in, ${model.credits_per_million_output} out`
  const dearer = (model.tiers ?? []).map(
    (tier) =>
      `; above ${tier.above_input_tokens} in: ${tier.credits_per_million_input} in, ${tier.credits_per_million_output} out`,
  )
  return base + dearer.join('')
}
