/** The models on sale: each with its upstreams and prices, read from the configuration once, at start. */
import type { ModelOffer } from '../bursar.ts'
import type { ConfigFile, ModelConfig, PriceConfig, UpstreamConfig } from '../config-schema.ts'
import { type Price, type TokenPrice, worstCase } from '../credits/prices.ts'
import { type PriceSchedule, priceAt, readSchedule } from '../credits/schedule.ts'
import { BursarError } from '../errors.ts'
import { formatCredits, type MicroUsd, parseUsd } from '../money.ts'
import { type PriceList, priceList } from './prices/list.ts'
import { type Tokenizer, tokenizerOf } from './tokens.ts'

export interface Upstream extends UpstreamConfig {
  readonly name: string
  /** `base_url`, taken apart once. */
  readonly origin: string
  /** Without a slash at its end. */
  readonly pathname: string
}

/** A model at the upstream that is asked first. */
export interface Model {
  readonly id: string
  /** What the upstream calls it. */
  readonly upstreamModel: string
  readonly upstream: Upstream
  readonly prices: PriceSchedule
  readonly maxOutputTokens: number
  /** The request's member that bounds the output. */
  readonly tokenLimitField: 'max_tokens' | 'max_completion_tokens'
  /** The most input tokens that one image can count; 0: images are refused. */
  readonly imageTokens: number
  /** The same for a file. */
  readonly fileTokens: number
  /** Null: not public, or not known. */
  readonly tokenizer: Tokenizer | null
  /** The same model at its other upstreams, in the order in which they are asked; of the same format. */
  readonly fallbacks: readonly Model[]
}

/** By id, in the configuration's order. Null: named, but without a price, so not for sale. */
export type Models = ReadonlyMap<string, Model | null>

type Config = Pick<ConfigFile, 'calls' | 'credit' | 'models' | 'upstreams'>

const SHOWN_MODELS = 20
/**
 * The most that an image counts at the largest size each scales it down to: 4,784 tokens (Anthropic, "Vision"), 48,169
 * on the OpenAI model that counts the most for one (gpt-4o-mini, "Calculating costs"). Rounded up.
 */
const IMAGE_TOKENS = { anthropic: 5_000, openai: 50_000 } as const

/** @throws {BursarError} invalid_config: a model names no configured upstream, or has an impossible price. */
export function readModels(config: Config, list: () => PriceList = priceList): Models {
  const usdPerCredit = creditPrice(config.credit.usd)
  return new Map(
    Object.entries(config.models).map(([id, model]) => {
      const places = placesOf(id, model, config)
      const models = places.map(({ upstream, upstreamModel, price }): Model | null => {
        const terms = { usdPerCredit, margin: config.calls.margin_percent, name: `models.${id}` }
        const prices = readSchedule(price, terms, () =>
          list().find(listOf(upstream, list), upstream.base_url, upstreamModel),
        )
        return (
          prices && {
            id,
            upstreamModel,
            upstream,
            prices,
            maxOutputTokens: model.max_output_tokens,
            tokenLimitField: model.token_limit_field ?? limitFieldOf(upstream),
            imageTokens: model.image_tokens ?? IMAGE_TOKENS[upstream.format],
            fileTokens: model.file_tokens ?? 0,
            tokenizer: tokenizerOf(upstreamModel, upstream.format, model.tokenizer),
            fallbacks: [],
          }
        )
      })
      return [id, allOf(models)]
    }),
  )
}

/** Null, unless each has a price: a call must not become dearer than its hold, nor depend on chance to be sold. */
function allOf(models: readonly (Model | null)[]): Model | null {
  const [first, ...fallbacks] = models.filter((model) => model !== null)
  if (!first || fallbacks.length < models.length - 1) return null
  const alike = fallbacks.every(({ tokenizer }) => tokenizer === first.tokenizer)
  return { ...first, fallbacks, tokenizer: alike ? first.tokenizer : null }
}

/** A model's upstreams in order, with what is bought there. */
interface Place {
  readonly upstream: Upstream
  readonly upstreamModel: string
  readonly price: PriceConfig
}

function placesOf(id: string, model: ModelConfig, { upstreams }: Config): Place[] {
  const entries = model.upstreams ?? [model.upstream ?? '']
  const places = entries.map((entry): Place => {
    const {
      upstream: name,
      upstream_model: own,
      ...price
    } = typeof entry === 'string' ? { upstream: entry } : entry
    const upstream = Object.hasOwn(upstreams, name) && upstreams[name]
    if (!upstream) {
      throw new BursarError(
        'invalid_config',
        `models.${id} names the upstream ${name}, which is not configured.`,
        { remedy: `Add upstreams.${name} with its base_url, or correct the name.` },
      )
    }
    const { margin_percent = model.margin_percent, ...kind }: PriceConfig = price
    const named = Object.values(kind).some((value) => value !== undefined)
    return {
      upstream: upstreamOf(name, upstream),
      upstreamModel: own ?? model.upstream_model ?? id,
      price: { ...(named ? kind : model), margin_percent },
    }
  })
  const formats = new Set(places.map(({ upstream }) => upstream.format))
  if (formats.size > 1) {
    throw new BursarError('invalid_config', `The upstreams of models.${id} speak different formats.`, {
      remedy: 'Nothing is translated: give it upstreams of one format, and the others a model of their own.',
    })
  }
  return places
}

function upstreamOf(name: string, config: UpstreamConfig): Upstream {
  const { origin, pathname } = new URL(config.base_url)
  return { ...config, name, origin, pathname: pathname.replace(/\/+$/, '') }
}

/** OpenAI's own API takes the new name for every model, and newer ones refuse the old; others may know the old alone. */
function limitFieldOf({ origin }: Upstream): Model['tokenLimitField'] {
  return /^https:\/\/(?:[a-z0-9-]+\.)?api\.openai\.com$/.test(origin) ? 'max_completion_tokens' : 'max_tokens'
}

function listOf({ name, price_list: asked }: Upstream, list: () => PriceList): string | undefined {
  if (asked === undefined || list().providers.includes(asked)) return asked
  throw new BursarError('invalid_config', `upstreams.${name}.price_list names no list: ${asked}.`, {
    remedy: `Use one of: ${list().providers.join(', ')}.`,
  })
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

/** At every upstream, in the order in which they are asked. */
export function placed(model: Model): readonly Model[] {
  return [model, ...model.fallbacks]
}

/** What each model costs now, as `list_offers` shows it: at the dearest of its upstreams. */
export function modelOffers(models: Models, now: number): ModelOffer[] {
  return [...models.values()].flatMap((model) => (model ? [offerOf(model, now)] : []))
}

const SAMPLE = { inputTokens: 1_000_000, outputTokens: 1_000_000 }

function offerOf(model: Model, now: number): ModelOffer {
  const all = placed(model).map(({ prices }) => priceAt(prices, now).price)
  const dearest = all.reduce((a, b) => (worstCase(b, SAMPLE) > worstCase(a, SAMPLE) ? b : a))
  return { id: model.id, ...costOffer(dearest), max_output_tokens: model.maxOutputTokens }
}

function costOffer(price: Price): Omit<ModelOffer, 'id' | 'max_output_tokens'> {
  if (price.kind === 'call') return { credits_per_call: formatCredits(price.microPerCall) }
  return { ...ratesOffer(price), ...tiersOffer(price) }
}

function ratesOffer(rates: Omit<TokenPrice, 'kind'>) {
  const cached = rates.microPerMillionCachedInput
  return {
    credits_per_million_input: formatCredits(rates.microPerMillionInput),
    credits_per_million_output: formatCredits(rates.microPerMillionOutput),
    ...(cached === undefined ? {} : { credits_per_million_cached_input: formatCredits(cached) }),
  }
}

function tiersOffer({ tiers }: TokenPrice): Pick<ModelOffer, 'tiers'> {
  if (tiers === undefined) return {}
  return {
    tiers: tiers.map(({ aboveInputTokens, ...rates }) => ({
      above_input_tokens: aboveInputTokens,
      ...ratesOffer(rates),
    })),
  }
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

function creditPrice(usd: string): MicroUsd {
  try {
    return parseUsd(usd, 'credit.usd')
  } catch (cause) {
    throw new BursarError('invalid_config', 'credit.usd must be a decimal with at most six decimals.', {
      remedy: 'Set credit.usd to a price such as "0.10".',
      cause,
    })
  }
}
