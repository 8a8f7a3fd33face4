/**
 * Writes src/models/prices/list.json from @pydantic/genai-prices: `npm run prices:seed`, after its version was raised.
 * What Bursar cannot price exactly is left out, so that it stays unpriced: models billed by image, audio, search or
 * request, and names that only a pattern would match.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { findProvider, type MatchLogic, type ModelInfo, type ModelPrice } from '@pydantic/genai-prices'
import type { ListedModel, ListedPeriod, ListedProvider, PriceListFile } from '../src/models/prices/list.ts'

/** Those that sell over an OpenAI- or Anthropic-compatible API of their own. */
const PROVIDERS = [
  'anthropic',
  'openai',
  'openrouter',
  'deepseek',
  'groq',
  'mistral',
  'x-ai',
  'google',
  'together',
  'fireworks',
  'cerebras',
  'moonshotai',
  'minimax',
  'zai',
  'novita',
  'baseten',
]

const COLUMNS = {
  input_mtok: 0,
  output_mtok: 1,
  cache_read_mtok: 2,
  cache_write_mtok: 3,
  cache_write_1h_mtok: 4,
  output_reasoning_mtok: 5,
} as const
const OUTPUT = COLUMNS.output_mtok

/** Priced beside tokens, but never sold: hosted searches and audio are refused before a call is sent. */
const REFUSED = new Set([
  'web_searches_kcount',
  'storage_searches_kcount',
  'input_audio_mtok',
  'cache_audio_read_mtok',
])

/** These bill something else beside their tokens, whatever their price says; or take no text. */
const NOT_BY_TOKEN =
  /search|research|sonar|audio|voice|realtime|live|transcri|tts|whisper|image|video|:batch|:online|^ft:|\.ft-/i
const WITHOUT_OUTPUT = /embed|rerank|moderation/i

/**
 * OpenRouter lists what Google takes for five minutes of storage as its price of a cache write; the tokens themselves
 * cost what input costs, on top (openrouter.ai/docs, "Prompt caching", Google Gemini).
 */
const STORAGE_ONLY = /^~?google\//

/**
 * What a Claude model writes to a cache for an hour costs twice its input, whoever passes it on (Anthropic, "Prompt
 * caching"; openrouter.ai/docs, "Prompt caching"); the source has that for Anthropic alone.
 */
const WRITES_FOR_AN_HOUR = /claude/

const TARGET = fileURLToPath(new URL('../src/models/prices/list.json', import.meta.url))
const PACKAGE = new URL('../node_modules/@pydantic/genai-prices/', import.meta.url)

/** @param seeded the date to put on it, `2026-11-26`. */
export function seedPrices(seeded: string): PriceListFile {
  const { version } = JSON.parse(readFileSync(new URL('package.json', PACKAGE), 'utf8')) as {
    version: string
  }
  return {
    source: `@pydantic/genai-prices ${version}`,
    seeded,
    unit: 'micro-USD per million tokens',
    columns: ['input', 'output', 'cached_input', 'cache_write', 'cache_write_1h', 'reasoning'],
    licence: readFileSync(new URL('LICENSE', PACKAGE), 'utf8'),
    providers: PROVIDERS.map(providerOf),
  }
}

function providerOf(id: string): ListedProvider {
  const provider = findProvider({ providerId: id })
  if (provider?.id !== id) throw new Error(`There is no provider ${id} any more.`)
  const taken = new Set<string>()
  const models = provider.models.flatMap((model): ListedModel[] => {
    const periods = periodsOf(model)
    // The first model that has a name keeps it, as in the source.
    const names = [...new Set(namesOf(model.match))].filter((name) => !taken.has(name))
    for (const name of names) taken.add(name)
    return periods && names.length > 0 ? [{ names, periods }] : []
  })
  return { id, api: provider.api_pattern, models }
}

/** Null: it cannot be priced by its tokens alone. */
function periodsOf({ id, prices }: ModelInfo): ListedPeriod[] | null {
  if (NOT_BY_TOKEN.test(id)) return null
  const list = Array.isArray(prices) ? prices : [{ prices }]
  const periods = list.map(
    ({ constraint, prices: price }: (typeof list)[number] & { constraint?: Constraint }) => {
      const rates = ratesOf(price, WITHOUT_OUTPUT.test(id))
      if (rates && STORAGE_ONLY.test(id)) addInputToWrites(rates.rates)
      if (rates && WRITES_FOR_AN_HOUR.test(id)) {
        for (const each of [rates.rates, ...(rates.tiers ?? []).map(([, tier]) => tier)])
          addHourlyWrites(each)
      }
      return rates && { ...whenOf(constraint), ...rates }
    },
  )
  return periods.every((period) => period !== null) ? periods : null
}

type Constraint = NonNullable<Extract<ModelInfo['prices'], readonly unknown[]>[number]['constraint']>

function whenOf(constraint: Constraint | undefined): Pick<ListedPeriod, 'from' | 'daily'> {
  if (!constraint) return {}
  return constraint.type === 'start_date'
    ? { from: constraint.start_date }
    : { daily: [timeOf(constraint.start_time), timeOf(constraint.end_time)] }
}

function timeOf(text: string): string {
  const found = /^(\d\d:\d\d):00Z$/.exec(text)?.[1]
  if (found === undefined) throw new Error(`${text} is no whole minute of UTC.`)
  return found
}

type Rates = (number | null)[]

function ratesOf(
  price: ModelPrice,
  withoutOutput: boolean,
): { rates: Rates; tiers?: [number, Rates][] } | null {
  const entries = Object.entries(price).filter(([key, value]) => value !== undefined && !REFUSED.has(key))
  if (entries.some(([key]) => !Object.hasOwn(COLUMNS, key))) return null
  const starts = new Set(
    entries.flatMap(([, value]) => (typeof value === 'object' ? value.tiers.map(({ start }) => start) : [])),
  )
  const at = (above: number): Rates => {
    const rates: Rates = []
    for (const [key, value] of entries) {
      const tier =
        typeof value === 'object' ? value.tiers.filter(({ start }) => start <= above).at(-1) : undefined
      const usd = tier?.price ?? (typeof value === 'object' ? value.base : value)
      rates[COLUMNS[key as keyof typeof COLUMNS]] = microUsd(usd ?? Number.NaN)
    }
    if (withoutOutput) rates[OUTPUT] ??= 0
    return Array.from(rates, (rate) => rate ?? null)
  }
  const rates = at(-1)
  // Without one of these it has no price, or another one than by tokens.
  if (typeof rates[0] !== 'number' || typeof rates[OUTPUT] !== 'number') return null
  const tiers = [...starts].sort((a, b) => a - b).map((start): [number, Rates] => [start, at(start)])
  return { rates, ...(tiers.length > 0 ? { tiers } : {}) }
}

/**
 * Exact for every decimal price, whatever the noise of its double (0.18000000000000002 is 0.18). A fraction without an
 * end, a twelfth of an hour's storage, rounds up.
 */
function microUsd(usd: number): number {
  const micro = usd * 1_000_000
  if (!Number.isFinite(micro) || micro < 0) throw new Error(`${usd} is no price.`)
  if (Math.abs(micro - Math.round(micro)) < 1e-6) return Math.round(micro)
  if (Number(usd.toFixed(12)) === usd) {
    throw new Error(
      `${usd} USD per million tokens is finer than a micro-USD: the unit has to become smaller.`,
    )
  }
  return Math.ceil(micro)
}

function addInputToWrites(rates: Rates): void {
  const [input, write] = [rates[0], rates[COLUMNS.cache_write_mtok]]
  if (typeof input === 'number' && typeof write === 'number') rates[COLUMNS.cache_write_mtok] = input + write
}

function addHourlyWrites(rates: Rates): void {
  const [input, write] = [rates[0], rates[COLUMNS.cache_write_mtok]]
  if (typeof input === 'number' && typeof write === 'number') {
    rates[COLUMNS.cache_write_1h_mtok] ??= 2 * input
  }
}

/** `claude-opus-5`: just this. `claude-opus-5*`: also with a date behind it. `claude-opus-5-*`: only so. */
function namesOf(match: MatchLogic): string[] {
  if ('or' in match) return match.or.flatMap(namesOf)
  if ('equals' in match) return named(match.equals, '')
  if ('starts_with' in match) {
    const base = match.starts_with.replace(/(?:[-@]|-20\d\d)$/, '')
    return named(base, base === match.starts_with ? '*' : '-*')
  }
  if ('regex' in match) {
    const dated = /^\^([\w\\.:/-]+?)-(?:\\d\{8\}|\\d\{4\}-\\d\{2\}-\\d\{2\})\$$/.exec(match.regex)?.[1]
    return dated === undefined ? [] : named(dated.replaceAll('\\', ''), '-*')
  }
  return []
}

function named(name: string, suffix: string): string[] {
  const lower = name.toLowerCase()
  return NOT_BY_TOKEN.test(lower) || !/^[\w.:/@~-]+$/.test(lower) ? [] : [lower + suffix]
}

/** One model a line, so that a change of prices can be read as a difference. */
export function formatPrices({ providers, ...head }: PriceListFile): string {
  const lines = providers.map(
    ({ models, ...provider }) =>
      `${JSON.stringify(provider).slice(0, -1)},"models":[\n${models.map((model) => JSON.stringify(model)).join(',\n')}\n]}`,
  )
  return `${JSON.stringify(head).slice(0, -1)},"providers":[\n${lines.join(',\n')}\n]}\n`
}

if (import.meta.main) {
  const list = seedPrices(new Date().toISOString().slice(0, 10))
  const text = formatPrices(list)
  writeFileSync(TARGET, text)
  const models = list.providers.reduce((sum, { models }) => sum + models.length, 0)
  process.stdout.write(`${models} models of ${list.providers.length} providers, ${text.length} bytes\n`)
}
