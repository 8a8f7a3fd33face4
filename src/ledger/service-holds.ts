/**
 * Holds of services that meter themselves: named, found again by their id, and so settled by any process. What a
 * closure remembers for a model call is here kept in the hold's receipt.
 */
import { createHash } from 'node:crypto'
import type { CaptureHold, CreateHold, HoldOptions, Holds, HoldView, ReleaseHold } from '../bursar.ts'
import { BursarError, invalid } from '../errors.ts'
import { formatCredits, type MicroCredits, parseCredits } from '../money.ts'
import { checkName } from './accounts.ts'
import { hold } from './hold.ts'
import type { AccountPrincipal, Principal } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { unbookedLapse } from './lots.ts'

const ROUTE = '/v1/holds'
const DEFAULT_NAME = 'hold'
const DEFAULT_LIFETIME_S = 300
export const MAX_LIFETIME_S = 86_400

/** Who asks: an API key's holder, or somebody who has only the secret of the hold's lock. */
export type Asker = Principal | null

/** The receipt's price: what applied when the hold was made. JSON. */
interface Terms {
  readonly kind: 'hold'
  /** Unix milliseconds. */
  readonly expires_at: number
  readonly lock: string | null
}

interface HoldRow {
  readonly id: string
  readonly account: string
  readonly agent: string | null
  readonly name: string
  readonly state: 'pending' | 'charged' | 'released'
  readonly held: MicroCredits
  readonly charged: MicroCredits
  readonly started_at: bigint
  readonly finished_at: bigint | null
  readonly price: string
  readonly available: MicroCredits
}

/** The same for a service in the till's own process: it speaks as the seller, or as the buyer whose key it names. */
export function holdsOf(ledger: Ledger, authenticate: (key: string) => Promise<Principal>): Holds {
  const asker = async ({ key }: HoldOptions = {}): Promise<Principal> =>
    key === undefined ? { scope: 'seller', key: 'local' } : authenticate(key)
  return {
    create: async (input, options) => createServiceHold(ledger, await asker(options), input),
    get: async (id, options) => getServiceHold(ledger, await asker(options), id),
    capture: async (id, input, options) =>
      captureServiceHold(ledger, input.unlock === undefined ? await asker(options) : null, id, input),
    release: async (id, input = {}, options) =>
      releaseServiceHold(ledger, input.unlock === undefined ? await asker(options) : null, id, input),
  }
}

/**
 * Holds `amount` of an account; a repeated idempotency key finds the hold of the first request, whatever became of
 * it. A released one has freed its key, as nothing was charged: then the request is a new one.
 *
 * @throws {BursarError} as `Holds.create` in src/bursar.ts
 */
export async function createServiceHold(
  ledger: Ledger,
  principal: Principal,
  input: CreateHold,
): Promise<HoldView> {
  const { name = DEFAULT_NAME, lifetime_seconds: lifetime = DEFAULT_LIFETIME_S, lock = null } = input
  checkName(name, 'name', 200)
  if (!Number.isInteger(lifetime) || lifetime < 1 || lifetime > MAX_LIFETIME_S) {
    throw invalid(`lifetime_seconds must be a whole number from 1 to ${MAX_LIFETIME_S}.`)
  }
  const amount = parseCredits(input.amount, 'amount')
  const lifetimeMs = lifetime * 1000
  const key = input.idempotency_key
  const terms: Terms = { kind: 'hold', expires_at: ledger.runtime.now() + lifetimeMs, lock }
  const made = await hold(ledger, {
    ...(await holderOf(ledger, principal, input)),
    amount,
    lifetimeMs,
    receipt: { route: ROUTE, model: name, upstream: 'own service', price: JSON.stringify(terms) },
    ...(key === undefined
      ? {}
      : { idempotency: { route: ROUTE, key, bodyHash: bodyHash(input, amount, lifetime, name) } }),
  })
  return viewOf(await mustFind(ledger, made.kind === 'held' ? made.hold.ref : made.ref))
}

/** @throws {BursarError} not_found: no such hold, or one of somebody else. */
export async function getServiceHold(ledger: Ledger, principal: Principal, id: string): Promise<HoldView> {
  const row = await find(ledger, id)
  if (!row || !owns(principal, row)) throw unknownHold()
  return viewOf(row)
}

/** @throws {BursarError} as `Holds.capture` in src/bursar.ts */
export async function captureServiceHold(
  ledger: Ledger,
  asker: Asker,
  id: string,
  { amount, unlock }: CaptureHold,
): Promise<HoldView> {
  const row = await settleable(ledger, asker, id, unlock)
  const cost = parseCredits(amount, 'amount')
  if (cost > row.held) {
    throw invalid(`This hold is for ${formatCredits(row.held)} credits: no more can be charged.`, {
      remedy: 'Charge at most what is held; hold the worst case first.',
      details: { held: formatCredits(row.held), required: formatCredits(cost) },
    })
  }
  const ended = await settle(ledger, row, 'capture', cost)
  if (ended.state === 'charged' && ended.charged === cost) return viewOf(ended)
  throw closed(ended)
}

/** @throws {BursarError} as `Holds.release` in src/bursar.ts */
export async function releaseServiceHold(
  ledger: Ledger,
  asker: Asker,
  id: string,
  { unlock }: ReleaseHold = {},
): Promise<HoldView> {
  const ended = await settle(ledger, await settleable(ledger, asker, id, unlock), 'release', 0n)
  if (ended.state === 'released') return viewOf(ended)
  throw closed(ended)
}

/** The first outcome counts, whoever's it is; returns the hold as it has ended. */
async function settle(
  ledger: Ledger,
  row: HoldRow,
  kind: 'capture' | 'release',
  cost: MicroCredits,
): Promise<HoldRow> {
  if (row.state !== 'pending') return row
  const { id: ref, account } = row
  // Kept under the idempotency key: whoever repeats the request finds this hold again, and is not sold another.
  const outcome = kind === 'capture' ? { response: JSON.stringify({ hold: ref }) } : {}
  await ledger.changes.add({ kind, ref, account, cost, outcome })
  return mustFind(ledger, ref)
}

async function holderOf(
  ledger: Ledger,
  principal: Principal,
  { account, external_id: externalId }: CreateHold,
): Promise<{ readonly account: string; readonly agent?: string }> {
  if (principal.scope !== 'seller') return ownHolder(principal, { account, externalId })
  if ((account === undefined) === (externalId === undefined)) {
    throw invalid('With the key of a seller, name whose credits: either account or external_id.')
  }
  if (account !== undefined) return { account }
  const [row] = await ledger.db.query<{ id: string }>('SELECT id FROM account WHERE external_id = ?', [
    externalId ?? '',
  ])
  if (row) return { account: row.id }
  throw new BursarError('not_found', 'There is no account with this external_id.', {
    remedy: 'Open it first: POST /v1/accounts, or bursar keys create --account NAME.',
  })
}

function ownHolder(
  principal: AccountPrincipal,
  named: { readonly account: string | undefined; readonly externalId: string | undefined },
): { readonly account: string; readonly agent?: string } {
  const { account } = principal
  if (named.externalId !== undefined || (named.account !== undefined && named.account !== account)) {
    throw new BursarError('forbidden', 'This key holds the credits of its own account only.', {
      remedy: 'Leave out account and external_id, or use a key of the seller.',
    })
  }
  return principal.scope === 'agent' ? { account, agent: principal.agent } : { account }
}

/** What makes two requests the same one. With a hash of the request, prices may have moved in between. */
function bodyHash(input: CreateHold, amount: MicroCredits, lifetime: number, name: string): string {
  const same =
    input.request_hash === undefined ? [String(amount), lifetime, name] : [name, input.request_hash]
  return sha256(JSON.stringify(same))
}

/** The hold, if whoever asks may settle it. */
async function settleable(
  ledger: Ledger,
  asker: Asker,
  id: string,
  unlock: string | undefined,
): Promise<HoldRow> {
  const row = await find(ledger, id)
  if (!row) throw unknownHold()
  const { lock } = termsOf(row)
  if (unlock !== undefined && lock !== null && sha256(unlock) === lock) return row
  if (!asker || !owns(asker, row)) throw unknownHold()
  if (asker.scope === 'seller' || (lock === null && unlock === undefined)) return row
  throw new BursarError('forbidden', 'This hold is locked: it is settled by who made it.', {
    remedy: 'Send the secret of its lock as "unlock"; without an outcome it lapses by itself.',
  })
}

function owns(principal: Principal, { account, agent }: HoldRow): boolean {
  if (principal.scope === 'seller') return true
  return principal.account === account && (principal.scope === 'account' || principal.agent === agent)
}

async function find({ db, runtime }: Ledger, id: string): Promise<HoldRow | undefined> {
  // Only what was made here: the hold of a model call ends with its call.
  const [row] = await db.query<HoldRow>(
    `SELECT r.id, r.account, r.agent, r.model AS name, r.state, r.held, r.charged, r.started_at, r.finished_at, r.price,
       a.available - ${unbookedLapse('?3')} AS available
     FROM posting p JOIN receipt r ON r.account = p.account AND r.id = p.ref JOIN account a ON a.id = p.account
     WHERE p.ref = ?1 AND p.phase = 0 AND r.route = ?2`,
    [id, ROUTE, BigInt(runtime.now())],
  )
  return row
}

async function mustFind(ledger: Ledger, id: string): Promise<HoldRow> {
  const row = await find(ledger, id)
  if (row) return row
  throw new BursarError('internal', `The hold ${id} has disappeared.`)
}

function viewOf(row: HoldRow): HoldView {
  const { expires_at: expiresAt, lock } = termsOf(row)
  return {
    id: row.id,
    account: row.account,
    name: row.name,
    state: stateOf(row, expiresAt),
    amount: formatCredits(row.held),
    charged: formatCredits(row.charged),
    available: formatCredits(row.available),
    created_at: new Date(Number(row.started_at)).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
    lock,
  }
}

function stateOf({ state, finished_at: finishedAt }: HoldRow, expiresAt: number): HoldView['state'] {
  if (state === 'pending') return 'held'
  if (state === 'charged') return 'captured'
  return Number(finishedAt) >= expiresAt ? 'lapsed' : 'released'
}

function termsOf({ price }: HoldRow): Terms {
  return JSON.parse(price) as Terms
}

function unknownHold(): BursarError {
  return new BursarError('not_found', 'There is no such hold.', {
    remedy: 'Use the id that POST /v1/holds returned, with a key of its account.',
  })
}

function closed(row: HoldRow): BursarError {
  const { state, charged } = viewOf(row)
  const how = { captured: `charged ${charged} credits`, released: 'was released', lapsed: 'lapsed', held: '' }
  return new BursarError('hold_closed', `This hold has ended: it ${how[state]}.`, {
    remedy:
      state === 'lapsed'
        ? 'Hold again, with a lifetime_seconds that the work fits into.'
        : 'Its first outcome counts; repeat that one, or make a new hold.',
    details: { receipt: row.id, state, charged },
  })
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
