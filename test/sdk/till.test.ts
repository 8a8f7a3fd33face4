/** A till in the process of a service, opened as a service opens it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openDb } from '../../src/db/client.ts'
import { grantStatements } from '../../src/ledger/grant.ts'
import { createKey, keyring } from '../../src/ledger/keys.ts'
import { openLedger } from '../../src/ledger/open.ts'
import { meter } from '../../src/sdk/meter.ts'
import { openTill } from '../../src/till.ts'
import { seededRuntime } from '../support/chance.ts'

test('serves on the database of the till, for keys and for accounts by their name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'bursar-in-process-'))
  const config = join(folder, 'bursar.config.json')
  await writeFile(config, '{ "seller": { "name": "The service" }, "database": "till.db" }')
  const till = await openTill({ config, env: { BURSAR_DATA: folder, BURSAR_LOG: 'silent' } })
  try {
    const alice = await till.bursarOf('alice')
    expect(await alice.listOffers()).toMatchObject({ seller: 'The service' })
    const { account } = await alice.getBalance()

    // The seller's own process, beside it.
    const runtime = seededRuntime()
    const ledger = openLedger({
      db: await openDb({ url: `file:${join(folder, 'till.db')}`, runtime }),
      runtime,
    })
    const at = runtime.now()
    const granted = {
      ref: 'grant_1',
      account,
      credits: 1_000_000n,
      kind: 'grant' as const,
      expiresAt: null,
      at,
    }
    await ledger.db.commit(grantStatements(granted))
    const { key } = await createKey(ledger, { scope: 'account', account, name: 'alice' })
    expect(await keyring(ledger).authenticate(key)).toMatchObject({ account })
    await ledger.close()

    const sold = meter({ till, price: '0.4' }, () => new Response('short'))
    const ask = () =>
      new Request('http://service.example/summarize', { headers: { authorization: `Bearer ${key}` } })
    const answers = []
    for (let call = 0; call < 3; call++) answers.push(await sold(ask()))
    expect(await Promise.all(answers.map((answer) => answer.text()))).toMatchObject([
      'short',
      'short',
      expect.stringContaining('insufficient_credits'),
    ])
    const held = await till.holds.create({ amount: '0.2', external_id: 'alice' })
    expect(await till.holds.capture(held.id, { amount: '0.2' })).toMatchObject({ available: '0.000000' })
    expect((await alice.listUsage({})).calls.map(({ charged }) => charged)).toEqual([
      '0.200000',
      '0.400000',
      '0.400000',
    ])
  } finally {
    await till.close()
    await rm(folder, { recursive: true })
  }
})
