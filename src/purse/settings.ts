/** The purse's part of the configuration. Imports no key: the till's side reads it too. */

import { dirname, join } from 'node:path'
import { databaseUrl, type Settings } from '../config.ts'
import type { PurseConfig, PurseSection } from '../config-schema.ts'
import { BursarError } from '../errors.ts'
import type { Runtime } from '../runtime.ts'

/** @throws {BursarError} invalid_config: no purse is configured, or one that somebody else runs. */
export function purseConfig(settings: Settings): PurseConfig {
  const section = purseSection(settings)
  const { wallet, budget } = section
  if (wallet && budget) return { ...section, wallet, budget }
  throw new BursarError(
    'invalid_config',
    `The purse at ${section.url ?? 'purse.url'} has its wallet and budget in a configuration of its own.`,
    { remedy: 'Use that configuration, as the user who runs the purse.' },
  )
}

function purseSection({ config, path }: Settings): PurseSection {
  if (config.purse) return config.purse
  throw new BursarError('invalid_config', `${path ?? 'The configuration'} has no purse.`, {
    remedy: 'Add purse.wallet, purse.budget and purse.payees; the README shows a first one.',
  })
}

/** libSQL URL of the purse's own database: by default a file in the user's data folder. */
export function purseDatabase(settings: Settings): string {
  const base = settings.path === null ? settings.dataDir : dirname(settings.path)
  return databaseUrl(purseConfig(settings).database, base, join(settings.dataDir, 'purse.db'))
}

/**
 * A purse that the configuration names by URL and token, or null: then it is found, or started.
 *
 * @throws {BursarError} invalid_config: one without the other.
 */
export function configuredPurse(settings: Settings): { url: string; token: string } | null {
  const { url, token } = purseSection(settings)
  if (url === undefined && token === undefined) return null
  if (url !== undefined && token !== undefined) return { url: url.replace(/\/+$/, ''), token }
  throw new BursarError(
    'invalid_config',
    `purse.${url === undefined ? 'token' : 'url'} is set without purse.${url === undefined ? 'url' : 'token'}.`,
    { remedy: 'Set both for a purse at a fixed place, or neither: then it is found by itself.' },
  )
}

/**
 * Where a purse listens: a free port and a new token, or what the configuration fixes.
 *
 * @throws {BursarError} invalid_config: purse.url is of another machine.
 */
export function listenAt(
  settings: Settings,
  { random }: Pick<Runtime, 'random'>,
): { port: number; token: string } {
  const configured = configuredPurse(settings)
  if (!configured) return { port: 0, token: Buffer.from(random(32)).toString('base64url') }
  const { hostname, port, protocol } = new URL(configured.url)
  if (protocol === 'http:' && ['127.0.0.1', 'localhost'].includes(hostname)) {
    return { port: Number(port || 80), token: configured.token }
  }
  throw new BursarError('invalid_config', `purse.url is ${configured.url}, which is not on this machine.`, {
    remedy:
      'On the machine of the purse, set purse.url to http://127.0.0.1 with a port; reach it from elsewhere through a tunnel.',
  })
}
