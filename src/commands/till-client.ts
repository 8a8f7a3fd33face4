/** A client of the till that BURSAR_URL names, on this process' own network and timers. */
import { fetch as fetchThrough } from 'undici'
import type { Settings } from '../config.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'
import { type Client, createClient } from '../sdk/client.ts'

/** @throws {BursarError} invalid_config, invalid_request: there is no key, or what is given cannot be a URL or a key. */
export function tillClient(
  { url, key }: NonNullable<Settings['till']>,
  runtime: Runtime,
  { retries }: { readonly retries?: number } = {},
): Client {
  if (key === null) {
    throw new BursarError(
      'invalid_config',
      `BURSAR_URL names the till at ${url}, but there is no key for it.`,
      {
        remedy: 'Set BURSAR_KEY to an API key of that till, or unset BURSAR_URL.',
      },
    )
  }
  return createClient({
    url,
    key,
    fetch: ((input: string, init: object) =>
      fetchThrough(input, { ...init, dispatcher: runtime.network })) as unknown as typeof fetch,
    sleep: runtime.sleep,
    after: runtime.after,
    now: runtime.now,
    ...(retries === undefined ? {} : { retries }),
  })
}
