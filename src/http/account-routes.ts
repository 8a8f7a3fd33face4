/**
 * Accounts, agents and keys over HTTP. The seller manages all of them, an account its own agents and keys, an agent
 * nothing. What belongs to another account is not there.
 */
import { getConnInfo } from '@hono/node-server/conninfo'
import { type Context, Hono } from 'hono'
import { checkInput } from '../../tools/tool.ts'
import { BursarError, invalid } from '../errors.ts'
import { createAccount, freezeAccount, getAccount, listAccounts } from '../ledger/accounts.ts'
import { createAgent, getAgent, listAgents, updateAgent } from '../ledger/agents.ts'
import { getBalance } from '../ledger/balance.ts'
import {
  createKey,
  getKey,
  type KeyHolder,
  type Keyring,
  listKeys,
  type Principal,
  registerKey,
  revokeKey,
} from '../ledger/keys.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { signUp } from '../ledger/signup.ts'
import { HOUR_MS } from '../time.ts'
import {
  accountsQuery,
  allowanceOf,
  changeAccountInput,
  changeAgentInput,
  createAccountInput,
  createAgentInput,
  createKeyInput,
  keysQuery,
  notThere,
  paged,
  pageQuery,
  printOf,
} from './account-inputs.ts'
import { wireAccount, wireAgent, wireKey } from './account-views.ts'
import { jsonOf } from './body.ts'
import { clientAddress, networkOf } from './client-address.ts'
import { problemResponse } from './problem.ts'
import { type RateLimiter, rateLimited, rateLimiter } from './rate-limit.ts'
import { type Authenticate, authenticated, challenge, type HttpEnv, onlyMethods } from './security.ts'

export interface AccountService {
  readonly ledger: Ledger
  readonly keys: Pick<Keyring, 'forget'>
  readonly signup: SignupPolicy
  /** Trusted proxies in front of this server. */
  readonly proxies: number
}

export interface SignupPolicy {
  readonly open: boolean
  readonly perHourPerAddress: number
  /** From all addresses. */
  readonly perHour: number
}

export interface AccountRoutesOptions extends AccountService {
  readonly authenticate: Authenticate
}

type Ctx = Context<HttpEnv>

/** Mounted at `/v1`. */
export function accountRoutes(options: AccountRoutesOptions): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>()
  const key = authenticated(options.authenticate)
  const open = signupLimits(options)
  app.use('/accounts', onlyMethods('GET', 'HEAD', 'POST'))
  app.use('/accounts/:id', onlyMethods('GET', 'HEAD', 'PATCH'), key)
  app.use('/accounts/:id/agents', onlyMethods('GET', 'HEAD', 'POST'), key)
  app.use('/accounts/:id/agents/:agent', onlyMethods('GET', 'HEAD', 'PATCH'), key)
  app.use('/keys', onlyMethods('GET', 'HEAD', 'POST'), key)
  app.use('/keys/:id', onlyMethods('DELETE'), key)

  app.post(
    '/accounts',
    async (c, next) => {
      if (c.req.header('authorization') === undefined && c.req.header('x-api-key') === undefined) {
        return openSignup(options, open, c)
      }
      return (await key(c, next)) ?? c.res
    },
    (c) => sellerSignup(options, c),
  )
  app.get('/accounts', key, (c) => accountsPage(options, c))
  addAccountRoutes(app, options)
  addAgentRoutes(app, options)
  addKeyRoutes(app, options)
  return app
}

function addAccountRoutes(app: Hono<HttpEnv>, { ledger }: AccountService): void {
  app.get('/accounts/:id', async (c) => {
    const id = manages(c.get('principal'), c.req.param('id'))
    return c.json(await accountWithBalance(ledger, id))
  })
  app.patch('/accounts/:id', async (c) => {
    onlySeller(c.get('principal'))
    const id = c.req.param('id')
    const { frozen } = await inputOf(c, changeAccountInput)
    await freezeAccount(ledger, id, frozen)
    return c.json(await accountWithBalance(ledger, id))
  })
}

function addAgentRoutes(app: Hono<HttpEnv>, { ledger }: AccountService): void {
  app.post('/accounts/:id/agents', async (c) => {
    const account = manages(c.get('principal'), c.req.param('id'))
    const { name, allowance } = await inputOf(c, createAgentInput)
    const limits = allowance === undefined ? {} : { allowance: allowanceOf(allowance) }
    return c.json(wireAgent(await createAgent(ledger, { account, name, ...limits })), 201)
  })
  app.get('/accounts/:id/agents', async (c) => {
    const account = manages(c.get('principal'), c.req.param('id'))
    const query = checkInput({ name: c.req.path, input: pageQuery }, c.req.query())
    await getAccount(ledger, account)
    const { page, ...rest } = await paged(query, (at) => listAgents(ledger, { account, ...at }))
    return c.json({ agents: page.map(wireAgent), ...rest })
  })
  app.get('/accounts/:id/agents/:agent', async (c) => {
    const account = manages(c.get('principal'), c.req.param('id'))
    return c.json(wireAgent(await getAgent(ledger, { account, agent: c.req.param('agent') })))
  })
  app.patch('/accounts/:id/agents/:agent', async (c) => {
    const account = manages(c.get('principal'), c.req.param('id'))
    const { allowance, frozen } = await inputOf(c, changeAgentInput)
    const changed = await updateAgent(ledger, {
      account,
      agent: c.req.param('agent'),
      ...(allowance === undefined ? {} : { allowance: allowanceOf(allowance) }),
      ...(frozen === undefined ? {} : { frozen }),
    })
    return c.json(wireAgent(changed))
  })
}

function addKeyRoutes(app: Hono<HttpEnv>, { ledger, keys }: AccountService): void {
  app.post('/keys', async (c) => {
    const input = await inputOf(c, createKeyInput)
    const holder = holderOf(c.get('principal'), input)
    const given = { ...holder, name: input.name ?? holder.scope }
    const print = printOf(input)
    if (print)
      return c.json({ ...wireKey(await registerKey(ledger, { ...given, ...print })), key: null }, 201)
    const { id, key } = await createKey(ledger, given)
    return c.json({ ...wireKey(await getKey(ledger, id)), key }, 201)
  })
  app.get('/keys', async (c) => {
    const { account: asked, ...query } = checkInput({ name: c.req.path, input: keysQuery }, c.req.query())
    const principal = c.get('principal')
    const account = principal.scope === 'seller' ? asked : manages(principal, asked ?? principal.account)
    const whose = account === undefined ? {} : { account }
    const { page, ...rest } = await paged(query, (at) => listKeys(ledger, { ...whose, ...at }))
    return c.json({ keys: page.map(wireKey), ...rest })
  })
  app.delete('/keys/:id', async (c) => {
    const principal = c.get('principal')
    const whose = principal.scope === 'seller' ? {} : { account: manages(principal, principal.account) }
    const revoked = await revokeKey(ledger, { id: c.req.param('id'), ...whose })
    keys.forget()
    return c.json(wireKey(revoked))
  })
}

async function accountWithBalance(ledger: Ledger, id: string): Promise<ReturnType<typeof wireAccount>> {
  const [account, balance] = await Promise.all([getAccount(ledger, id), getBalance(ledger, id)])
  return wireAccount(account, balance)
}

async function accountsPage({ ledger }: AccountService, c: Ctx): Promise<Response> {
  onlySeller(c.get('principal'))
  const { external_id: externalId, ...query } = checkInput(
    { name: c.req.path, input: accountsQuery },
    c.req.query(),
  )
  const named = externalId === undefined ? {} : { externalId }
  const { page, ...rest } = await paged(query, (at) => listAccounts(ledger, { ...named, ...at }))
  return c.json({ accounts: page.map((each) => wireAccount(each, each)), ...rest })
}

async function sellerSignup({ ledger }: AccountService, c: Ctx): Promise<Response> {
  onlySeller(c.get('principal'))
  const input = await inputOf(c, createAccountInput)
  const { external_id: externalId } = input
  const print = printOf(input)
  if (externalId === undefined && print !== undefined) {
    const { account, key } = await signUp(ledger, { ...print, name: 'account' })
    return c.json({ ...(await accountWithBalance(ledger, account.id)), key: wireKey(key) }, 201)
  }
  const { id } = await createAccount(ledger, externalId === undefined ? {} : { externalId })
  const holder = { scope: 'account', account: id, name: 'account' } as const
  const key = print ? wireKey(await registerKey(ledger, { ...holder, ...print })) : null
  return c.json({ ...(await accountWithBalance(ledger, id)), key }, 201)
}

interface SignupLimits {
  readonly perAddress: RateLimiter
  readonly all: RateLimiter
}

function signupLimits({ ledger, signup }: AccountService): SignupLimits {
  const { perHourPerAddress, perHour } = signup
  const limiter = (count: number): RateLimiter =>
    rateLimiter(() => ledger.runtime.now(), { count, perMs: HOUR_MS, burst: count })
  return { perAddress: limiter(perHourPerAddress), all: limiter(perHour) }
}

async function openSignup(
  { ledger, signup, proxies }: AccountService,
  limits: SignupLimits,
  c: Ctx,
): Promise<Response> {
  if (!signup.open) {
    const error = new BursarError('unauthorized', "Sign-up is not open: this needs the seller's key.", {
      remedy: 'Ask the seller for an account and a key.',
    })
    return problemResponse(error, challenge(false))
  }
  const input = await inputOf(c, createAccountInput)
  const print = printOf(input)
  if (input.external_id !== undefined) {
    throw new BursarError('forbidden', 'Only the seller names accounts.', {
      remedy: 'Leave out external_id.',
    })
  }
  if (!print) {
    throw invalid('A sign-up needs key_hash and key_prefix.', {
      remedy: 'Make a key of your own and send its SHA-256; bursar signup does so.',
    })
  }
  const connection = getConnInfo(c).remote.address
  const client = networkOf(clientAddress(connection, c.req.header('x-forwarded-for'), proxies))
  const wait = Math.max(limits.perAddress.waitFor(client), limits.all.waitFor(''))
  if (wait > 0) throw rateLimited('There were too many sign-ups lately.', wait)
  limits.perAddress.take(client)
  limits.all.take('')
  const { account, key } = await signUp(ledger, { ...print, name: 'sign-up' })
  return c.json({ ...(await accountWithBalance(ledger, account.id)), key: wireKey(key) }, 201)
}

async function inputOf<Input extends Parameters<typeof checkInput>[0]['input']>(
  c: Ctx,
  input: Input,
): Promise<ReturnType<typeof checkInput<Input>>> {
  return checkInput({ name: c.req.path, input }, (await jsonOf(c.req.raw)) ?? [])
}

function onlySeller(principal: Principal): void {
  if (principal.scope === 'seller') return
  throw new BursarError('forbidden', "This needs the seller's key.", {
    remedy: 'Ask the seller, who makes such a key with bursar keys create --seller.',
  })
}

/** The account that is asked for. @throws {BursarError} forbidden (an agent's key), not_found (another account's) */
function manages(principal: Principal, account: string): string {
  if (principal.scope === 'seller') return account
  if (principal.scope === 'agent') {
    throw new BursarError('forbidden', "An agent's key manages nothing.", {
      remedy: "Use the account's own key, or the seller's.",
    })
  }
  if (principal.account !== account) throw notThere('account')
  return account
}

function holderOf(
  principal: Principal,
  {
    scope,
    account: asked,
    agent,
  }: { readonly scope?: string; readonly account?: string; readonly agent?: string },
): KeyHolder {
  if (scope === 'seller') {
    onlySeller(principal)
    if (asked === undefined && agent === undefined) return { scope }
    throw invalid("A seller's key goes without account and agent.")
  }
  const account = asked ?? (principal.scope === 'seller' ? undefined : principal.account)
  if (account === undefined) throw invalid('A key needs an account, or "scope": "seller".')
  manages(principal, account)
  if (agent !== undefined && scope !== 'account') return { scope: 'agent', account, agent }
  if (agent !== undefined || scope === 'agent')
    throw invalid('The scope "agent" and the field agent go together.')
  return { scope: 'account', account }
}
