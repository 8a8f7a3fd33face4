/** `/openapi.json` against the server that it describes, and the SDK against both. */
import { Validator } from '@seriousme/openapi-schema-validator'
import { beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { Bursar, Holds } from '../../src/bursar.ts'
import { STATUS } from '../../src/errors.ts'
import { accountRoutes } from '../../src/http/account-routes.ts'
import { claimRoutes } from '../../src/http/claim-routes.ts'
import { holdRoutes } from '../../src/http/holds-routes.ts'
import { operations } from '../../src/http/openapi.ts'
import { tillRoutes } from '../../src/http/till-routes.ts'
import { ENDPOINTS } from '../../src/models/endpoints/index.ts'
import type { Accounts, Agents, Keys } from '../../src/sdk/accounts.ts'
import { type Client, createClient } from '../../src/sdk/client.ts'
import { callSuite } from '../support/calls.ts'

const calls = callSuite()

interface Described {
  readonly operationId: string
  readonly security?: unknown[]
  readonly parameters?: { name: string; in: string; required?: boolean }[]
  readonly requestBody?: { readonly required: boolean }
  readonly responses: Record<
    string,
    { headers?: Record<string, object>; content: Record<string, { schema: object }> }
  >
}

let document: {
  readonly openapi: string
  readonly servers: { url: string }[]
  readonly paths: Record<string, Record<string, Described>>
  readonly components: { schemas: { Problem: { properties: { code: { enum: string[] } } } } }
}

beforeEach(async () => {
  // Without a key.
  const response = await fetch(`${calls.till.url}/openapi.json`)
  expect(response.status).toBe(200)
  document = (await response.json()) as typeof document
})

describe('the description', () => {
  test('is valid OpenAPI 3.1', async () => {
    expect(document.openapi).toBe('3.1.0')
    const validator = new Validator()
    const { valid, errors } = await validator.validate(structuredClone(document))
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(document.servers).toEqual([{ url: calls.till.url }])
  })

  test('has every operation once, with its path parameters and every code of a refusal', () => {
    const described = Object.values(document.paths).flatMap((path) => Object.values(path))
    expect(described.map(({ operationId }) => operationId).toSorted()).toEqual(
      operations.map(({ id }) => id).toSorted(),
    )
    expect(new Set(described.map(({ operationId }) => operationId)).size).toBe(described.length)
    for (const [path, methods] of Object.entries(document.paths)) {
      const named = path.match(/(?<=\{)\w+(?=\})/g) ?? []
      for (const { parameters = [] } of Object.values(methods)) {
        const required = parameters.filter(({ in: where }) => where === 'path')
        expect(required.map(({ name }) => name)).toEqual(named)
      }
    }
    expect(document.components.schemas.Problem.properties.code.enum).toEqual(Object.keys(STATUS))
  })

  test('has every route that is served', () => {
    const refuse = () => Promise.reject(new Error('nobody asks'))
    const bursarFor = (): Bursar => {
      throw new Error('nobody asks')
    }
    const { ledger, runtime } = calls.till
    const keys = { forget: () => undefined }
    const signup = { open: false, perHourPerAddress: 1, perHour: 1 }
    const served = [
      accountRoutes({ ledger, keys, signup, proxies: 0, authenticate: refuse }),
      claimRoutes({ runtime, authenticate: refuse, claimPayment: refuse }),
      holdRoutes({ ledger, authenticate: refuse }),
      tillRoutes({ runtime, authenticate: refuse, bursarFor, stopping: AbortSignal.abort() }),
    ].flatMap(({ routes }) => routes.filter(({ method }) => method !== 'ALL'))
    const described = operations.filter((each) => !modelOperations.includes(each))
    expect([...new Set(served.map(({ method, path }) => `${method} /v1${path}`))].toSorted()).toEqual(
      described
        .map(({ method, path }) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`)
        .toSorted(),
    )
  })

  test.each(operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const))(
    '%s is there, asks for a key, and refuses as described',
    async (_, { method, path, key, body }) => {
      const url = `${calls.till.url}${path.replaceAll(/\{\w+\}/g, 'x_1')}`
      const init = { method: method.toUpperCase(), ...(body ? { body: '{}' } : {}) }
      const headers = { 'content-type': 'application/json' }
      const described = document.paths[path]?.[method]
      const without = await fetch(url, { ...init, headers })
      if (key !== 'none') expect(without.status).toBe(401)
      const answer = await fetch(url, { ...init, headers: { ...headers, 'x-api-key': calls.till.key } })
      expect(answer.status).not.toBe(405)
      expect(described?.responses).toHaveProperty(String(answer.status))
      const response = described?.responses[answer.status]
      const ours = [...answer.headers.keys()].filter((name) => /^(x-bursar-|x-should-)/.test(name))
      // A receipt and a balance can be said of a refusal as well; its body has both.
      if (answer.ok) expect(Object.keys(response?.headers ?? {})).toEqual(expect.arrayContaining(ours))
      else expect(response?.headers).toHaveProperty('x-should-retry')
      if (answer.ok) return
      const problem = (await answer.json()) as { code: string; detail: string }
      expect(document.components.schemas.Problem.properties.code.enum).toContain(problem.code)
      // A route that is not there answers so too, and says it otherwise.
      expect(problem.detail).not.toMatch(/There is nothing at/)
    },
  )

  test.each(operations.filter(({ body }) => body).map((operation) => [operation.id, operation] as const))(
    '%s takes no body only where that is described',
    async (_, { path, method }) => {
      const url = `${calls.till.url}${path.replaceAll(/\{\w+\}/g, 'x_1')}`
      const keys = [calls.till.key, await calls.till.sellerKey()]
      const details = await Promise.all(
        keys.map(async (key) => {
          const answer = await fetch(url, { method: method.toUpperCase(), headers: { 'x-api-key': key } })
          return ((await answer.json()) as { detail: string }).detail
        }),
      )
      const missed = details.some((detail) => /not valid JSON/.test(detail))
      expect(document.paths[path]?.[method]?.requestBody?.required).toBe(missed)
    },
  )
})

/** What each method of the SDK asks, and how to make it, by a buyer and the seller. */
const methods: Record<
  | Exclude<keyof Client, 'url' | 'holds' | 'accounts' | 'agents' | 'keys'>
  | `holds.${keyof Holds}`
  | `accounts.${keyof Accounts}`
  | `agents.${keyof Agents}`
  | `keys.${keyof Keys}`,
  readonly [operation: string, call: (client: Client, seller: Client) => Promise<unknown>]
> = {
  offers: ['listOffers', (client) => client.offers()],
  createInvoice: ['createInvoice', (client) => client.createInvoice({ rail: 'ethereum:ETH', pack: 'small' })],
  getInvoice: ['getInvoice', async (client) => client.getInvoice((await invoice(client)).id)],
  awaitPayment: [
    'watchInvoice',
    async (client) => {
      const { id } = await invoice(client)
      calls.till.memory.pay(id)
      return (await Array.fromAsync(client.awaitPayment(id))).map((view) => JSON.stringify(view)).join()
    },
  ],
  claimPayment: [
    'claimPayment',
    async (client, seller) => {
      const { id } = await invoice(client)
      return seller.claimPayment(id, { txid: calls.till.memory.txidOf(id) })
    },
  ],
  balance: ['getBalance', (client) => client.balance()],
  usage: [
    'listUsage',
    async (client) => {
      await funded(client)
      return client.usage({ limit: 5 }).page()
    },
  ],
  callModel: ['callModel', (client) => funded(client)],
  'holds.create': ['createHold', (client) => client.holds.create({ amount: '0.1' })],
  'holds.get': [
    'getHold',
    async (client) => client.holds.get((await client.holds.create({ amount: '0.1' })).id),
  ],
  'holds.capture': [
    'captureHold',
    async (client) =>
      client.holds.capture((await client.holds.create({ amount: '0.1' })).id, { amount: '0.1' }),
  ],
  'holds.release': [
    'releaseHold',
    async (client) => client.holds.release((await client.holds.create({ amount: '0.1' })).id),
  ],
  'accounts.create': ['createAccount', (_, { accounts }) => accounts.create({ external_id: 'alice' })],
  'accounts.signUp': [
    'createAccount',
    async (_, { accounts }) => {
      const account = await accounts.signUp()
      const { key: __, ...shown } = account.key
      return { ...account, key: shown }
    },
  ],
  'accounts.get': ['getAccount', (client) => client.accounts.get(calls.till.buyer)],
  'accounts.list': ['listAccounts', (_, { accounts }) => accounts.list({ limit: 1 }).page()],
  'accounts.change': [
    'changeAccount',
    (_, { accounts }) => accounts.change(calls.till.buyer, { frozen: true }),
  ],
  'agents.create': ['createAgent', (client) => agent(client)],
  'agents.get': ['getAgent', async (client) => client.agents.get(calls.till.buyer, (await agent(client)).id)],
  'agents.list': [
    'listAgents',
    async (client) => {
      await agent(client)
      return client.agents.list(calls.till.buyer, { limit: 1 }).page()
    },
  ],
  'agents.change': [
    'changeAgent',
    async (client) =>
      client.agents.change(calls.till.buyer, (await agent(client)).id, { allowance: { per_call: '1' } }),
  ],
  'keys.create': ['createKey', (client) => client.keys.create({ name: 'laptop' })],
  'keys.register': [
    'createKey',
    (client) => client.keys.register({ key_hash: 'ab'.repeat(32), key_prefix: 'bk_aaaaaaaa' }),
  ],
  'keys.list': ['listKeys', (client) => client.keys.list({ limit: 1 }).page()],
  'keys.revoke': [
    'revokeKey',
    async (client) => client.keys.revoke((await client.keys.create({ name: 'old' })).id),
  ],
}

/** Of the providers' own APIs, for which buyers have those providers' SDKs. */
const modelOperations = operations.filter(
  ({ path }) => path.startsWith('/v1/models') || ENDPOINTS.some(({ route }) => route === path),
)

const invoice = (client: Client) => client.createInvoice({ rail: 'ethereum:ETH', pack: 'small' })
const agent = ({ agents }: Client) =>
  agents.create(calls.till.buyer, { name: 'coder', allowance: { per_day: '5', models: ['gpt'] } })

async function funded(client: Client): Promise<unknown> {
  const { id } = await invoice(client)
  calls.till.memory.pay(id)
  for await (const _ of client.awaitPayment(id));
  return client.callModel({ model: 'echo', messages: [{ role: 'user', content: 'Good day?' }] })
}

describe('the SDK', () => {
  test('has a method for every operation but those of the providers', () => {
    const described = Object.values(document.paths).flatMap((path) => Object.values(path))
    const models = new Set(modelOperations.map(({ id }) => id))
    const asked = Object.values(methods).map(([id]) => id)
    expect(models.size).toBe(ENDPOINTS.length + 2)
    expect([...new Set(asked)].toSorted()).toEqual(
      described
        .map(({ operationId }) => operationId)
        .filter((id) => !models.has(id))
        .toSorted(),
    )
  })

  test.each(Object.entries(methods))('%s is an operation, whose answer its schema takes', async (_, each) => {
    const [id, call] = each
    const operation = operations.find((one) => one.id === id)
    const asked: { method: string; path: string }[] = []
    const clientOf = (key: string) =>
      createClient({
        url: calls.till.url,
        key,
        fetch: (input, init) => {
          const request = new Request(input, init)
          asked.push({ method: request.method, path: new URL(request.url).pathname })
          return fetch(request)
        },
      })
    const answer = await call(clientOf(calls.till.key), clientOf(await calls.till.sellerKey()))
    const pattern = new RegExp(`^${operation?.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`)
    const last = asked.at(-1)
    expect(last?.method.toLowerCase()).toBe(operation?.method)
    expect(last?.path).toMatch(pattern)
    // Exactly: an answer has no member that is not described.
    const schema = operation?.output instanceof z.ZodObject ? operation.output.strict() : operation?.output
    expect(schema?.parse(answer)).toEqual(answer)
  })
})
