/** `GET /v1/models`, as the clients of each format expect it: the models that they can call. */
import { readAllowance } from '../ledger/allowance.ts'
import { type Model, type Models, modelOf } from './catalogue.ts'
import type { Format } from './endpoints/endpoint.ts'
import type { CallContext, Caller } from './reserve.ts'

/** Tells whether a caller may call a model, by its id: an agent's allowance may name some. @throws {BursarError} not_found */
export async function mayCall(
  { ledger }: Pick<CallContext, 'ledger'>,
  { agent }: Caller,
): Promise<(model: string) => boolean> {
  const allowed = agent === undefined ? null : (await readAllowance(ledger, agent)).models
  return (model) => allowed?.includes(model) ?? true
}

/** When a model came out is nobody's business here, and both formats want a date. */
const CREATED_S = 1_735_689_600

export function modelList(models: Models, format: Format, offered: (model: string) => boolean): object {
  const data = [...models.values()].flatMap((model) =>
    model && model.upstream.format === format && offered(model.id) ? [described(format, model)] : [],
  )
  if (format === 'openai') return { object: 'list', data }
  return { data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null }
}

/** One of them, whoever may call it. @throws {BursarError} unknown_model, unpriced_model */
export function modelEntry(models: Models, format: Format, id: string): object {
  return described(format, modelOf(models, id))
}

function described(
  format: Format,
  { id }: Model,
): { readonly id: string; readonly [field: string]: unknown } {
  return format === 'openai'
    ? { id, object: 'model', created: CREATED_S, owned_by: 'bursar' }
    : { type: 'model', id, display_name: id, created_at: new Date(CREATED_S * 1000).toISOString() }
}
