/**
 * `/openapi.json`: the API as machines read it (OpenAPI 3.1), made from the very schemas that check requests. The model
 * endpoints are those of their providers; they are named here, not described again.
 */
import { z } from 'zod'
import { type ErrorCode, STATUS } from '../errors.ts'
import { ENDPOINTS } from '../models/endpoints/index.ts'
import { accountOperations } from './account-operations.ts'
import { claimOperations } from './claim-routes.ts'
import { holdOperations } from './holds-routes.ts'
import { ANSWER_HEADERS, CHARGED, FIT, REFUSAL_HEADERS } from './openapi-headers.ts'
import { CALL_REFUSALS, type Operation } from './operation.ts'
import { tillOperations } from './till-routes.ts'

const PROVIDERS = { openai: 'OpenAI', anthropic: 'Anthropic' } as const
const anything = z.looseObject({})

const modelOperations: readonly Operation[] = [
  ...ENDPOINTS.map(
    ({ route, format }): Operation => ({
      id: operationId(route),
      method: 'post',
      path: route,
      summary: `The endpoint of ${PROVIDERS[format]}'s API, streamed or not, paid in credits; refusals carry an error member in its format too`,
      key: 'buyer',
      body: anything,
      idempotent: true,
      fits: true,
      status: 200,
      headers: [...CHARGED, 'x-bursar-max-tokens', 'x-bursar-left-out'],
      output: anything,
      errors: CALL_REFUSALS,
    }),
  ),
  {
    id: 'listModels',
    method: 'get',
    path: '/v1/models',
    summary:
      "The models on sale, as OpenAI lists them; with an anthropic-version header as Anthropic's API does",
    key: 'buyer',
    status: 200,
    output: anything,
    errors: [],
  },
  {
    id: 'getModel',
    method: 'get',
    path: '/v1/models/{id}',
    summary: 'One of them',
    key: 'buyer',
    status: 200,
    output: anything,
    errors: ['unknown_model', 'unpriced_model'],
  },
]

export const operations: readonly Operation[] = [
  ...accountOperations,
  ...tillOperations,
  ...claimOperations,
  ...holdOperations,
  ...modelOperations,
]

/** Refusals that any route may answer with. */
const EVERYWHERE: readonly ErrorCode[] = [
  'invalid_request',
  'unauthorized',
  'forbidden',
  'rate_limited',
  'internal',
  'database_unavailable',
]

type Json = Record<string, unknown>

let described: Record<string, Json> | undefined

/** The paths, made when they are first asked for: that takes milliseconds, and anybody may ask. */
function paths(): Record<string, Json> {
  if (described) return described
  described = {}
  for (const operation of operations)
    (described[operation.path] ??= {})[operation.method] = describe(operation)
  return described
}

/** @param server where this till is: `https://till.example`. */
export function openapi(version: string, server: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Bursar',
      version,
      summary: 'Prepaid credits for AI agents, paid in crypto.',
      description:
        'Credits and USD are decimal text, on-chain amounts whole atomic units as text. Errors are problem details (RFC 9457); branch on their code. x-should-retry says whether asking again can help.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: server }],
    security: [{ bearer: [] }, { apiKey: [] }],
    paths: paths(),
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'An API key: bk_...' },
        apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
      },
      schemas: { Problem: PROBLEM },
    },
  }
}

const PROBLEM: Json = {
  type: 'object',
  description: 'Problem details, with facts beside the text: available, required, receipt and others.',
  required: ['code', 'title', 'status', 'detail'],
  properties: {
    code: { type: 'string', enum: Object.keys(STATUS) },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'what is wrong' },
    remedy: { type: 'string', description: 'what to do about it' },
  },
  additionalProperties: true,
}

function describe(operation: Operation): Json {
  const { id, summary, key, body, status, output, headers, media = 'application/json' } = operation
  const parameters = parametersOf(operation)
  return {
    operationId: id,
    summary,
    ...(key === 'none' ? { security: [] } : { description: KEYS[key] }),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body
      ? {
          requestBody: {
            required: !operation.bodyless,
            content: { 'application/json': { schema: withoutKey(schemaOf(body, 'input')) } },
          },
        }
      : {}),
    responses: {
      [status]: {
        description: 'Done',
        ...(headers
          ? { headers: Object.fromEntries(headers.map((name) => [name, ANSWER_HEADERS[name]])) }
          : {}),
        content: { [media]: { schema: schemaOf(output, 'output') } },
      },
      ...refusals(operation),
    },
  }
}

const KEYS: Readonly<Record<Exclude<Operation['key'], 'none'>, string>> = {
  any: 'With any API key; what it reaches depends on whose it is.',
  buyer: 'With the key of an account or of an agent.',
  account: 'With the key of an account.',
  seller: 'With the key of the seller.',
  seller_or_account: 'With the key of the seller, or of the account itself.',
}

function parametersOf({ path, query, idempotent, fits }: Operation): Json[] {
  const names = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name = '']) => name)
  const asked = query
    ? (schemaOf(query, 'input') as { properties?: Record<string, Json>; required?: string[] })
    : {}
  return [
    ...names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } })),
    ...Object.entries(asked.properties ?? {}).map(([name, { description, ...schema }]) => ({
      name,
      in: 'query',
      required: asked.required?.includes(name) ?? false,
      ...(description === undefined ? {} : { description }),
      schema,
    })),
    ...(idempotent
      ? [
          {
            name: 'Idempotency-Key',
            in: 'header',
            description: 'The same key and body get the first answer again, and are not charged again.',
            schema: { type: 'string', pattern: '^[!-~]{1,128}$' },
          },
        ]
      : []),
    ...(fits ? [FIT] : []),
  ]
}

/** By status: what a refusal with it can be. */
function refusals({ errors }: Operation): Json {
  const codes = new Set([...EVERYWHERE, ...errors])
  const byStatus = Map.groupBy(codes, (code) => STATUS[code])
  return Object.fromEntries(
    Array.from(byStatus, ([status, each]) => [
      String(status),
      {
        description: each.join(', '),
        headers: REFUSAL_HEADERS,
        content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    ]),
  )
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as Json
  return rest
}

/** Over HTTP it is a header. */
function withoutKey(schema: Json): Json {
  const { idempotency_key: _, ...properties } = (schema['properties'] ?? {}) as Json
  return 'properties' in schema ? { ...schema, properties } : schema
}

function operationId(route: string): string {
  return route.replace(/^\/v1\//, '').replaceAll(/[/_](\w)/g, (_, letter: string) => letter.toUpperCase())
}
