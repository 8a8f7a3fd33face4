/**
 * Who owns credits and who spends them, as a till takes and shows it over HTTP: accounts, agents and keys. Types only,
 * in the shapes of the wire: credits as decimal text with six places, times as ISO 8601.
 */

export interface AccountView {
  id: string
  /** The seller's own name for it. */
  external_id: string | null
  frozen: boolean
  created_at: string
  available: string
  held: string
}

export interface OpenedAccount extends AccountView {
  /** The key that was taken with it; null where none was sent. */
  key: KeyView | null
}

export interface AccountPage {
  accounts: AccountView[]
  next_cursor: string | null
}

export interface CreateAccount {
  /** The seller's own name for the account, 200 characters at most. One that is there already is that account. */
  external_id?: string
  /** Of a key that somebody else made, and that is to open the account: see `KeyPrint`; both or neither. */
  key_hash?: string
  key_prefix?: string
}

export interface ChangeAccount {
  frozen: boolean
}

export interface ListAccounts {
  /** 1 to 1000; 100 by default. */
  limit?: number
  cursor?: string
  /** Only the account that the seller calls so. */
  external_id?: string
}

export interface AgentView {
  id: string
  account: string
  name: string
  frozen: boolean
  created_at: string
  /** Null: nothing limits it. */
  allowance: AllowanceView | null
}

/** Credits; null is no limit. */
export interface AllowanceView {
  per_call: string | null
  per_day: string | null
  per_month: string | null
  /** Null allows all. */
  models: string[] | null
  /** Of `per_day`, until midnight UTC. */
  day_left: string | null
  /** Of `per_month`, until the month ends in UTC. */
  month_left: string | null
}

export interface AgentPage {
  agents: AgentView[]
  next_cursor: string | null
}

/** What is left out stays as it is; null lifts that limit. */
export interface Allowance {
  /** The most that one call may hold, credits. */
  per_call?: string | null
  /** Credits a calendar day, UTC. */
  per_day?: string | null
  /** Credits a calendar month, UTC. */
  per_month?: string | null
  /** Ids of the models that it may call. */
  models?: string[] | null
}

export interface CreateAgent {
  /** One that is there already is that agent, with these limits. */
  name: string
  allowance?: Allowance
}

export interface ChangeAgent {
  /** Null lifts every limit. */
  allowance?: Allowance | null
  frozen?: boolean
}

export interface ListAgents {
  /** 1 to 1000; 100 by default. */
  limit?: number
  cursor?: string
}

export interface KeyView {
  id: string
  /** The beginning of the key. */
  prefix: string
  name: string
  scope: 'seller' | 'account' | 'agent'
  account: string | null
  agent: string | null
  created_at: string
  /** To the minute or so. */
  last_used_at: string | null
  revoked_at: string | null
}

export interface KeyPage {
  keys: KeyView[]
  next_cursor: string | null
}

/** Whose key, and what it is for. An account's key makes keys of that account without naming it. */
export interface KeyHolder {
  scope?: 'seller' | 'account' | 'agent'
  account?: string
  agent?: string
  name?: string
}

/** Of a key that its holder made: `bk_` and 43 characters of base64url, from 32 random bytes. */
export interface KeyPrint {
  /** SHA-256 of the whole key, hex in lower case. */
  key_hash: string
  /** Its first 11 characters. */
  key_prefix: string
}

export interface ListKeys {
  /** 1 to 1000; 100 by default. */
  limit?: number
  cursor?: string
  /** With the seller's key: only those of this account. */
  account?: string
}
