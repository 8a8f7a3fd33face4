/** Accounts, agents and keys as they go over the wire: credits as decimals with six places, times as ISO 8601. */
import { z } from 'zod'
import type { AccountView, AgentView, KeyView as WireKey } from '../accounts.ts'
import type { Account } from '../ledger/accounts.ts'
import type { Agent } from '../ledger/agents.ts'
import { type AllowanceStanding, isLimited, leftOf } from '../ledger/allowance.ts'
import type { KeyView } from '../ledger/keys.ts'
import { formatCredits, type MicroCredits } from '../money.ts'
import { isoTime } from '../time.ts'

const text = z.string()
const limit = text.nullable().describe('credits; null is no limit')

export const accountView = z.object({
  id: text,
  external_id: text.nullable().describe("the seller's own name for it"),
  frozen: z.boolean(),
  created_at: text,
  available: text.describe('credits'),
  held: text.describe('credits'),
}) satisfies z.ZodType<AccountView>

export const agentView = z.object({
  id: text,
  account: text,
  name: text,
  frozen: z.boolean(),
  created_at: text,
  allowance: z
    .object({
      per_call: limit,
      per_day: limit,
      per_month: limit,
      models: z.array(text).nullable().describe('null allows all'),
      day_left: limit.describe('of per_day, until midnight UTC'),
      month_left: limit.describe('of per_month, until the month ends in UTC'),
    })
    .nullable(),
}) satisfies z.ZodType<AgentView>

export const keyView = z.object({
  id: text,
  prefix: text.describe('the beginning of the key'),
  name: text,
  scope: z.enum(['seller', 'account', 'agent']),
  account: text.nullable(),
  agent: text.nullable(),
  created_at: text,
  last_used_at: text.nullable().describe('to the minute or so'),
  revoked_at: text.nullable(),
}) satisfies z.ZodType<WireKey>

export function wireAccount(
  account: Account,
  { available, held }: { readonly available: MicroCredits; readonly held: MicroCredits },
): AccountView {
  return {
    id: account.id,
    external_id: account.externalId,
    frozen: account.frozen,
    created_at: isoTime(account.createdAt),
    available: formatCredits(available),
    held: formatCredits(held),
  }
}

export function wireAgent(agent: Agent): AgentView {
  return {
    id: agent.id,
    account: agent.account,
    name: agent.name,
    frozen: agent.frozen,
    created_at: isoTime(agent.createdAt),
    allowance: wireAllowance(agent.allowance),
  }
}

function wireAllowance(standing: AllowanceStanding): AgentView['allowance'] {
  if (!isLimited(standing)) return null
  const left = leftOf(standing)
  return {
    per_call: creditsOrNull(standing.perCall),
    per_day: creditsOrNull(standing.perDay),
    per_month: creditsOrNull(standing.perMonth),
    models: standing.models === null ? null : [...standing.models],
    day_left: creditsOrNull(left.perDay),
    month_left: creditsOrNull(left.perMonth),
  }
}

export function wireKey(key: KeyView): WireKey {
  return {
    id: key.id,
    prefix: key.prefix,
    name: key.name,
    scope: key.scope,
    account: key.account,
    agent: key.agent,
    created_at: isoTime(key.createdAt),
    last_used_at: key.lastUsedAt === null ? null : isoTime(key.lastUsedAt),
    revoked_at: key.revokedAt === null ? null : isoTime(key.revokedAt),
  }
}

function creditsOrNull(credits: MicroCredits | null): string | null {
  return credits === null ? null : formatCredits(credits)
}
