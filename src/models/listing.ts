/** `GET /v1/models`, as the clients of each format expect it: the models that they can call. */
import { type Model, type Models, modelOf } from './catalogue.ts'
import type { Format } from './endpoints/endpoint.ts'

/** When a model came out is nobody's business here, and both formats want a date. */
const CREATED_S = 1_735_689_600

/** The whole list, or one model. @throws {BursarError} unknown_model, unpriced_model */
export function modelList(
  { models }: { readonly models: Models },
  format: Format,
  id: string | null,
): object {
  if (id !== null) return described(format, modelOf(models, id))
  const data = [...models.values()].flatMap((model) =>
    model && model.upstream.format === format ? [described(format, model)] : [],
  )
  if (format === 'openai') return { object: 'list', data }
  return { data, has_more: false, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null }
}

function described(
  format: Format,
  { id }: Model,
): { readonly id: string; readonly [field: string]: unknown } {
  return format === 'openai'
    ? { id, object: 'model', created: CREATED_S, owned_by: 'bursar' }
    : { type: 'model', id, display_name: id, created_at: new Date(CREATED_S * 1000).toISOString() }
}
