/**
 * Caches that keep for an hour. Anthropic bills what is written to one at another price than what is kept for five
 * minutes, and so do those who pass it on (openrouter.ai/docs, "Prompt caching"); but the usage of a chat completion
 * has one number for both. `/v1/messages` tells them apart.
 */
import { asRecord, type JsonObject } from '../answer.ts'
import { type Model, placed } from '../catalogue.ts'
import { partsOf } from './content.ts'
import { notSold } from './refusals.ts'

/** @throws {BursarError} invalid_request: it asks for one, where what is written has a price. */
export function refuseHourlyCache(model: Model, fields: JsonObject): void {
  const messages = partsOf(fields['messages'])
  const parts = messages.flatMap(({ content }) => partsOf(content))
  if (![fields, ...messages, ...parts, ...partsOf(fields['tools'])].some(keepsLonger)) return
  if (!placed(model).some(billsWrites)) return
  throw notSold(
    'cache_control with a ttl',
    'nothing would tell how much was kept for an hour, at a price of its own',
    'Leave the ttl out, or ask for 5m.',
  )
}

function keepsLonger({ cache_control: control }: JsonObject): boolean {
  const ttl = asRecord(control)?.['ttl']
  return ttl !== undefined && ttl !== null && ttl !== '5m'
}

function billsWrites({ prices }: Model): boolean {
  return prices.periods.some(
    ({ price }) =>
      price.kind === 'tokens' &&
      [price, ...(price.tiers ?? [])].some((rates) => rates.microPerMillionCacheWrite !== undefined),
  )
}
