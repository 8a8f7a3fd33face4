/** A till that sells calls over HTTP until it is killed. Arguments: database, upstream, account. Prints URL and key. */
import { openDb } from '../../src/db/client.ts'
import { startHttp } from '../../src/http/server.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { systemRuntime } from '../../src/runtime.ts'
import { memoryTill } from '../support/memory-bursar.ts'
import { modelsOver } from '../support/models.ts'

const [url = '', baseUrl = '', account = ''] = process.argv.slice(2)
const runtime = systemRuntime()
const ledger = openLedger({ db: await openDb({ url, runtime }), runtime })
const keys = keyring(ledger)
const memory = memoryTill()
const server = await startHttp({
  runtime,
  version: '0.0.0-test',
  host: '127.0.0.1',
  port: 0,
  allowedHosts: [],
  checks: [],
  authenticate: (key) => keys.authenticate(key),
  bursarFor: (principal) => memory.forAccount(principal.account),
  calls: { ledger, models: modelsOver(baseUrl) },
})
const { key } = await createKey(ledger, { scope: 'account', account, name: 'test' })
console.log(`serving ${server.url} ${key}`)
