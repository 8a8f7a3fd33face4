/**
 * Accounts, agents and keys of a till. Repeated requests are safe, because each names what it wants: an account by the
 * seller's name, an agent by its own, a key by its hash, a change by its outcome.
 */
import type {
  AccountPage,
  AccountView,
  AgentPage,
  AgentView,
  ChangeAccount,
  ChangeAgent,
  CreateAccount,
  CreateAgent,
  KeyHolder,
  KeyPage,
  KeyPrint,
  KeyView,
  ListAccounts,
  ListAgents,
  ListKeys,
  OpenedAccount,
} from '../accounts.ts'
import { makeKey } from './key.ts'
import { listed, type Paged } from './pages.ts'
import type { RequestOptions, Transport } from './request.ts'

/** A key that this client made: the till has only its hash, and nobody can show it again. */
export interface CreatedKey extends KeyView {
  key: string
}

/** What the seller manages; an account's own key may `get` its own. */
export interface Accounts {
  /**
   * Opens the account that you call `external_id`, or finds it: the same name is the same account. Without a name and a
   * key's hash each request opens another account, so it is asked once and never repeated by itself.
   *
   * @throws {BursarError} forbidden (not the seller's key), conflict (the key is in use elsewhere, or was revoked)
   */
  create(input: CreateAccount, options?: RequestOptions): Promise<OpenedAccount>
  /**
   * Opens an account for whoever asks, at a till that is open to all; the client needs no key for it. The account's key
   * is made here: keep it.
   *
   * @throws {BursarError} unauthorized (sign-up is not open), rate_limited
   */
  signUp(options?: RequestOptions): Promise<AccountView & { key: CreatedKey }>
  /** @throws {BursarError} not_found, also for another account than the key's own; forbidden (an agent's key) */
  get(id: string, options?: RequestOptions): Promise<AccountView>
  /** All accounts, oldest first, with their balances. @throws {BursarError} forbidden (not the seller's key) */
  list(query?: ListAccounts, options?: RequestOptions): Paged<AccountView, AccountPage>
  /** Freezes it, or lifts the freeze. @throws {BursarError} not_found, forbidden (not the seller's key) */
  change(id: string, change: ChangeAccount, options?: RequestOptions): Promise<AccountView>
}

/** With the seller's key, or that of the account itself. */
export interface Agents {
  /**
   * Adds an agent. A name that is there already is that agent, with these limits.
   *
   * @throws {BursarError} invalid_request, not_found (the account), forbidden (an agent's key)
   */
  create(account: string, input: CreateAgent, options?: RequestOptions): Promise<AgentView>
  /** @throws {BursarError} not_found, forbidden */
  get(account: string, agent: string, options?: RequestOptions): Promise<AgentView>
  /** Oldest first. @throws {BursarError} not_found (the account), forbidden */
  list(account: string, query?: ListAgents, options?: RequestOptions): Paged<AgentView, AgentPage>
  /**
   * Changes the limits that are named, freezes it or lifts the freeze: from its next call on, in every process of the
   * till. What it holds already still settles.
   *
   * @throws {BursarError} invalid_request, not_found, forbidden
   */
  change(account: string, agent: string, change: ChangeAgent, options?: RequestOptions): Promise<AgentView>
}

/** With the seller's key, or that of the account whose keys they are. */
export interface Keys {
  /**
   * Makes a key here and sends the till its hash, so that a request whose answer got lost is repeated for the same key,
   * and no key exists that nobody has. Keep it: it cannot be shown again.
   *
   * @throws {BursarError} invalid_request, not_found (no such account, or agent of it), forbidden
   */
  create(holder: KeyHolder, options?: RequestOptions): Promise<CreatedKey>
  /**
   * Takes a key that its holder made elsewhere, by its hash. The same key for the same holder is the same key.
   *
   * @throws {BursarError} as `create`; conflict (it is somebody else's, or was revoked)
   */
  register(holder: KeyHolder & KeyPrint, options?: RequestOptions): Promise<KeyView>
  /** Oldest first, revoked ones included; the keys themselves are never shown. @throws {BursarError} forbidden */
  list(query?: ListKeys, options?: RequestOptions): Paged<KeyView, KeyPage>
  /**
   * Ends a key for good: at once in the process that answers, within a second in others. Where it is the key that asks,
   * and the first answer got lost, a repetition is refused as unauthorized: then it is revoked.
   *
   * @throws {BursarError} not_found, forbidden
   */
  revoke(id: string, options?: RequestOptions): Promise<KeyView>
}

export function accountsOver(transport: Transport): Accounts {
  const path = '/v1/accounts'
  const at = (id: string): string => `${path}/${encodeURIComponent(id)}`
  const open = <T>(body: CreateAccount, more: RequestOptions & { readonly once?: boolean }): Promise<T> =>
    transport.json<T>({ ...more, method: 'POST', path, body })
  return {
    create: (input, more) =>
      open(input, { ...more, once: input.external_id === undefined && input.key_hash === undefined }),
    async signUp(more = {}) {
      const { key, print } = await makeKey()
      const account = await open<AccountView & { key: KeyView }>(print, more)
      return { ...account, key: { ...account.key, key } }
    },
    get: (id, more) => transport.json({ ...more, method: 'GET', path: at(id) }),
    list: (query = {}, more = {}) =>
      listed(transport, { path, query, more }, ({ accounts }: AccountPage) => accounts),
    change: (id, body, more) => transport.json({ ...more, method: 'PATCH', path: at(id), body }),
  }
}

export function agentsOver(transport: Transport): Agents {
  const of = (account: string): string => `/v1/accounts/${encodeURIComponent(account)}/agents`
  const at = (account: string, agent: string): string => `${of(account)}/${encodeURIComponent(agent)}`
  return {
    create: (account, body, more) => transport.json({ ...more, method: 'POST', path: of(account), body }),
    get: (account, agent, more) => transport.json({ ...more, method: 'GET', path: at(account, agent) }),
    list: (account, query = {}, more = {}) =>
      listed(transport, { path: of(account), query, more }, ({ agents }: AgentPage) => agents),
    change: (account, agent, body, more) =>
      transport.json({ ...more, method: 'PATCH', path: at(account, agent), body }),
  }
}

export function keysOver(transport: Transport): Keys {
  const path = '/v1/keys'
  const register = (body: KeyHolder & KeyPrint, more: RequestOptions = {}): Promise<KeyView> =>
    transport.json({ ...more, method: 'POST', path, body })
  return {
    async create(holder, more) {
      const { key, print } = await makeKey()
      return { ...(await register({ ...holder, ...print }, more)), key }
    },
    register,
    list: (query = {}, more = {}) => listed(transport, { path, query, more }, ({ keys }: KeyPage) => keys),
    revoke: (id, more) =>
      transport.json({ ...more, method: 'DELETE', path: `${path}/${encodeURIComponent(id)}` }),
  }
}
