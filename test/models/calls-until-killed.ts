/** A process that calls a model whose upstream never answers, until it is killed. Arguments: database, upstream, account. */
import { openDb } from '../../src/db/client.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { callModel } from '../../src/models/call.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { modelsOver } from '../support/models.ts'

const [url = '', baseUrl = '', account = ''] = process.argv.slice(2)
const runtime = systemRuntime()
const ledger = openLedger({ db: await openDb({ url, runtime }), runtime })
await callModel(
  { ledger, models: modelsOver(baseUrl) },
  { account },
  {
    model: 'per-token',
    messages: [{ role: 'user', content: 'Good day?' }],
    idempotency_key: 'interrupted',
  },
)
