/** Models over a test's upstreams. */
import { configSchema } from '../../src/config-schema.ts'
import { type Models, readModels } from '../../src/models/catalogue.ts'

/** As Bursar sends it; no test may ever see it in an error, a receipt or the log. */
export const UPSTREAM_KEY = 'sk-upstream-secret'

/** How long the tests' upstreams may take: too long to be waited for (`TestRuntime.elapse` ends it). */
export const DEADLINE_MS = 110_000
/** How long a call whose client has left may go on. */
export const DRAIN_MS = 115_000

/** At $0.10 a credit: 10 and 20 micro-credits a token, or a quarter of a credit a call. */
export function modelsOver(baseUrl: string, upstream: Record<string, unknown> = {}): Models {
  const perToken = { upstream: 'main', usd_per_million_input: '1', usd_per_million_output: '2' }
  return readModels(
    configSchema.parse({
      upstreams: {
        main: { base_url: baseUrl, api_key: UPSTREAM_KEY, timeout_ms: DEADLINE_MS, ...upstream },
        claude: {
          format: 'anthropic',
          base_url: baseUrl,
          api_key: UPSTREAM_KEY,
          timeout_ms: DEADLINE_MS,
          ...upstream,
        },
      },
      models: {
        'per-token': { ...perToken, upstream_model: 'upstream-model', max_output_tokens: 100 },
        newer: { ...perToken, token_limit_field: 'max_completion_tokens' },
        fixed: { upstream: 'main', credits_per_call: '0.25', max_output_tokens: 50 },
        claude: {
          ...perToken,
          upstream: 'claude',
          upstream_model: 'upstream-claude',
          max_output_tokens: 100,
        },
        free: { ...perToken, usd_per_million_input: '0', usd_per_million_output: '0' },
      },
    }),
  )
}
