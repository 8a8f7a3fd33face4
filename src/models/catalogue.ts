/** The models on sale: each with its upstream and price, read from the configuration once, at start. */
import type { ModelOffer } from '../bursar.ts'
import type { ConfigFile, UpstreamConfig } from '../config-schema.ts'
import { describePrice, type Price, readPrice } from '../credits/prices.ts'
import { BursarError } from '../errors.ts'
import { formatCredits, parseUsd } from '../money.ts'

export interface Upstream extends UpstreamConfig {
  readonly name: string
  /** `base_url`, taken apart once. */
  readonly origin: string
  /** Without a slash at its end. */
  readonly pathname: string
}

export interface Model {
  readonly id: string
  /** What the upstream calls it. */
  readonly upstreamModel: string
  readonly upstream: Upstream
  readonly price: Price
  /** The same as receipts keep it. */
  readonly priceText: string
  readonly maxOutputTokens: number
  /** The request's member that bounds the output. */
  readonly tokenLimitField: 'max_tokens' | 'max_completion_tokens'
  /** The most input tokens that one image can count; 0: images are refused. */
  readonly imageTokens: number
  /** The same for a file. */
  readonly fileTokens: number
}

/** By id, in the configuration's order. Null: named, but without a price, so not for sale. */
export type Models = ReadonlyMap<string, Model | null>

const SHOWN_MODELS = 20
/**
 * The most that an image counts at the largest size each scales it down to: 4,784 tokens (Anthropic, "Vision"), 48,169
 * on the OpenAI model that counts the most for one (gpt-4o-mini, "Calculating costs"). Rounded up.
 */
const IMAGE_TOKENS = { anthropic: 5_000, openai: 50_000 } as const

/** @throws {BursarError} invalid_config: a model names no configured upstream, or has an impossible price. */
export function readModels(config: Pick<ConfigFile, 'credit' | 'models' | 'upstreams'>): Models {
  const usdPerCredit = creditPrice(config.credit.usd)
  return new Map(
    Object.entries(config.models).map(([id, model]) => {
      const upstream = Object.hasOwn(config.upstreams, model.upstream) && config.upstreams[model.upstream]
      if (!upstream) {
        throw new BursarError(
          'invalid_config',
          `models.${id} names the upstream ${model.upstream}, which is not configured.`,
          {
            remedy: `Add upstreams.${model.upstream} with its base_url, or correct the name.`,
          },
        )
      }
      const price = readPrice(model, usdPerCredit, id)
      return [
        id,
        price && {
          id,
          upstreamModel: model.upstream_model ?? id,
          upstream: upstreamOf(model.upstream, upstream),
          price,
          priceText: describePrice(price),
          maxOutputTokens: model.max_output_tokens,
          tokenLimitField: model.token_limit_field ?? 'max_tokens',
          imageTokens: model.image_tokens ?? IMAGE_TOKENS[upstream.format],
          fileTokens: model.file_tokens ?? 0,
        },
      ]
    }),
  )
}

function upstreamOf(name: string, config: UpstreamConfig): Upstream {
  const { origin, pathname } = new URL(config.base_url)
  return { ...config, name, origin, pathname: pathname.replace(/\/+$/, '') }
}

/** @throws {BursarError} unknown_model, with the models there are; unpriced_model. */
export function modelOf(models: Models, id: string): Model {
  const model = models.get(id)
  if (model) return model
  if (model === null) {
    throw new BursarError('unpriced_model', `The model ${quoted(id)} has no price, so it is not sold.`, {
      remedy: 'Choose another model; the seller can price this one in the configuration.',
      details: { models: available(models) },
    })
  }
  const names = available(models)
  throw new BursarError('unknown_model', `There is no model called ${quoted(id)} here.`, {
    remedy:
      names.length > 0 ? `Choose one of: ${names.join(', ')}.` : 'This seller has configured no models.',
    details: { models: names },
  })
}

/** What each model costs, as `list_offers` shows it. */
export function modelOffers(models: Models): ModelOffer[] {
  return [...models.values()].flatMap((model) => (model ? [offerOf(model)] : []))
}

function offerOf({ id, price, maxOutputTokens }: Model): ModelOffer {
  const cost =
    price.kind === 'call'
      ? { credits_per_call: formatCredits(price.microPerCall) }
      : {
          credits_per_million_input: formatCredits(price.microPerMillionInput),
          credits_per_million_output: formatCredits(price.microPerMillionOutput),
        }
  return { id, ...cost, max_output_tokens: maxOutputTokens }
}

function available(models: Models): string[] {
  const names: string[] = []
  for (const [id, model] of models) {
    if (names.length === SHOWN_MODELS) break
    if (model) names.push(id)
  }
  return names
}

function quoted(id: string): string {
  return JSON.stringify(id.slice(0, 80))
}

function creditPrice(usd: string): bigint {
  try {
    return parseUsd(usd, 'credit.usd')
  } catch (cause) {
    throw new BursarError('invalid_config', 'credit.usd must be a decimal with at most six decimals.', {
      remedy: 'Set credit.usd to a price such as "0.10".',
      cause,
    })
  }
}
