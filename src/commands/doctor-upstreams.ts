/** What the doctor says about models and their upstreams: who answers, takes the key, and has the models. */
import { request } from 'undici'
import type { UpstreamConfig } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import { asRecord, collector, errorCode, type JsonObject, parseObject } from '../models/answer.ts'
import { type Models, placed, readModels } from '../models/catalogue.ts'
import { ANTHROPIC_VERSION } from '../models/chat.ts'
import type { Context } from './command.ts'
import { counted } from './counted.ts'
import { type Check, tryOpen } from './doctor-check.ts'

const ANSWER_MS = 10_000
/** The longest list on sale anywhere is well below. */
const MAX_LIST_BYTES = 16 * 1024 * 1024
const SHOWN = 5

/** @throws {BursarError} invalid_config: a model has no price, so it is not sold. */
export function modelsText(models: Models): string {
  const unpriced = [...models].filter(([, sold]) => sold === null).map(([id]) => id)
  if (unpriced.length > 0) {
    throw new BursarError('invalid_config', `No price is known for ${unpriced.join(', ')}: not sold.`, {
      remedy:
        'Give each usd_per_million_input and _output, or credits_per_call; or name its price_list and upstream_model.',
    })
  }
  return [...models.keys()].join(', ') || 'none'
}

export async function checkUpstreams(context: Context, check: Check): Promise<void> {
  const { config } = context.settings
  const sold = tryOpen(() => [...readModels(config).values()]).flatMap((model) =>
    model ? placed(model) : [],
  )
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    const wanted = sold.filter((place) => place.upstream.name === name).map((place) => place.upstreamModel)
    await check(`upstream ${name}`, () => askUpstream(context, upstream, new Set(wanted)))
  }
}

/** Asks for the list of models, which costs nothing. Whatever comes back, its prose and the key stay here. */
async function askUpstream(
  context: Context,
  upstream: UpstreamConfig,
  wanted: ReadonlySet<string>,
): Promise<string> {
  const { base_url: url } = upstream
  const { status, answer } = await listModels(context, upstream)
  if (status === 401 || status === 403) {
    throw new BursarError('upstream_error', `${url} refuses the key (${status}).`, {
      remedy: upstream.api_key === undefined ? 'Give it an api_key.' : 'Check its api_key.',
    })
  }
  if (status > 299) {
    const code = errorCode(answer)
    return `${url} answers, and has no list of models (${status}${code === null ? '' : `, ${code}`})`
  }
  const listed = idsOf(answer)
  if (listed === null) {
    throw new BursarError('upstream_error', `${url} answers something that is no list of models.`, {
      remedy: 'Check base_url: it goes up to and with /v1.',
    })
  }
  // Ollama lists what it takes without its tag with it.
  const missing = [...wanted].filter((id) => !listed.has(id) && !listed.has(`${id}:latest`))
  if (missing.length > 0 && answer?.['has_more'] !== true) {
    throw new BursarError(
      'upstream_error',
      `${url} answers, and does not list ${missing.slice(0, SHOWN).join(', ')}${missing.length > SHOWN ? ' and others' : ''}.`,
      { remedy: 'Check upstream_model of these models; an alias that is not listed may work all the same.' },
    )
  }
  return `${url} answers, with ${counted(listed.size, 'model')}`
}

async function listModels(
  { runtime, signal }: Context,
  { base_url: url, api_key: key, format }: UpstreamConfig,
): Promise<{ readonly status: number; readonly answer: JsonObject | null }> {
  const credentials = format === 'anthropic' ? { 'x-api-key': key } : { authorization: `Bearer ${key}` }
  const limit = new AbortController()
  const cancel = runtime.after(ANSWER_MS, () => limit.abort())
  try {
    const { statusCode, body } = await request(
      `${url}/models${format === 'anthropic' ? '?limit=1000' : ''}`,
      {
        dispatcher: runtime.network,
        headers: {
          ...(format === 'anthropic' ? ANTHROPIC_VERSION : {}),
          ...(key === undefined ? {} : credentials),
        },
        signal: AbortSignal.any([signal, limit.signal]),
      },
    )
    return { status: statusCode, answer: parseObject(await textOf(body)) }
  } catch (cause) {
    throw new BursarError('upstream_error', `${url} does not answer.`, {
      remedy: 'Check base_url and the network.',
      cause,
    })
  } finally {
    cancel()
  }
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const whole = collector(MAX_LIST_BYTES)
  for await (const chunk of body) if (!whole.add(chunk)) throw new Error('The list of models is too long.')
  return whole.bytes().toString('utf8')
}

/** Both formats have `data`, with an `id` in each. */
function idsOf(answer: JsonObject | null): ReadonlySet<string> | null {
  const data = answer?.['data']
  if (!Array.isArray(data)) return null
  return new Set(
    data.flatMap((one) => {
      const id = asRecord(one)?.['id']
      return typeof id === 'string' ? [id] : []
    }),
  )
}
