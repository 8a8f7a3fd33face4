/** A backup that is taken while the till works, the loss of everything after it, and the way back. */
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openSnapshot } from '../../src/db/snapshot.ts'
import { seededRuntime } from '../support/chance.ts'
import { readLog } from './acknowledged.ts'
import { compare } from './compare.ts'
import { createDice } from './dice.ts'
import { type Load, startLoad } from './load.ts'
import { type Stage, setStage } from './stage.ts'

let folder: string
let stage: Stage
let load: Load

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bursar-backup-'))
  stage = await setStage(folder, createDice(7))
  load = startLoad(stage, createDice(8))
})
afterAll(async () => {
  await Promise.all([load?.buyers.till.kill(), load?.buyers.teller.kill()])
  await stage?.stop()
  rmSync(folder, { recursive: true, force: true, maxRetries: 50 })
})

async function rows<T>(sql: string): Promise<T[]> {
  const snapshot = await openSnapshot({ url: `file:${stage.database}`, runtime: seededRuntime() })
  try {
    return await snapshot.query<T>(sql)
  } finally {
    snapshot.close()
  }
}

test('a backup under load holds all that was acknowledged before it, and comes back frozen', async () => {
  const { buyers } = load
  const { log, till, invoices, problems } = buyers
  await log.heardFromTill(60)

  const backup = join(folder, 'backup.db')
  const heardBefore = log.count
  // The till goes on meanwhile, and is not held up.
  const [made] = await Promise.all([stage.command(['backup', backup]), log.heardFromTill(log.fromTill + 1)])
  expect(made).toMatchObject({ ok: true, path: backup })
  expect(await stage.command(['backup', backup])).toMatchObject({ code: 'conflict' })

  // What comes after it will be lost: more load, and an invoice that is made and paid.
  await log.heardFromTill(log.fromTill + 20)
  await load.stop()
  const lost = await till.ask((sessions) =>
    sessions.alice.call('create_invoice', { rail: 'ethereum:ETH', credits: '5' }),
  )
  const address = String(lost.data['address'])
  const hash = await stage.chain.send({ to: address, value: BigInt(String(lost.data['amount'])) })
  await stage.chain.mined(hash)
  await stage.chain.mine(5)
  await Promise.all([till.kill(), buyers.teller.kill()])
  expect(problems).toEqual([])

  const copy = join(folder, 'copy.db')
  copyFileSync(backup, copy)
  const { problems: missing } = await compare(copy, readLog(log.path, heardBefore))
  expect(missing).toEqual([])

  expect(await stage.command(['restore', backup])).toMatchObject({ code: 'conflict' })
  for (const end of ['', '-wal', '-shm']) renameSync(stage.database + end, join(folder, `lost.db${end}`))
  expect(await stage.command(['restore', backup])).toMatchObject({ frozen: true })
  expect(await stage.command(['restore', backup])).toMatchObject({ code: 'conflict' })

  const grants = "SELECT count(*) AS n FROM posting WHERE kind IN ('grant', 'discount', 'reverse')"
  const before = await rows(`${grants} UNION ALL SELECT height FROM chain_cursor`)
  load.restart('serve', 60_000)
  const asked = await till.ask(async ({ alice }) => [
    await alice.call('create_invoice', { rail: 'ethereum:ETH', credits: '5' }),
    await alice.call('call_model', { model: 'fixed', messages: [{ role: 'user', content: 'call-1' }] }),
    await alice.call('get_balance'),
  ])
  expect(asked.map(({ data }) => data['code'])).toEqual(['frozen', 'frozen', undefined])
  // Its watcher has looked, and stands still.
  await expect
    .poll(() => readFileSync(join(folder, 'till.log'), 'utf8'))
    .toContain('the till was restored from a backup')
  expect(await rows(`${grants} UNION ALL SELECT height FROM chain_cursor`)).toEqual(before)

  // More than there were invoices.
  const skip = invoices.length + 10
  const report = await stage.command(['restore', '--check', '--skip', String(skip)])
  expect(report).toMatchObject({ frozen: true, skip, keys: [{ family: 'evm', watched: true }] })
  const [chain] = report['chains'] as {
    arrived: { address: string; invoice: string | null; txid: string }[]
  }[]
  expect(chain?.arrived).toContainEqual(expect.objectContaining({ address, invoice: null, txid: hash }))

  expect(await stage.command(['restore', '--confirm', '--skip', String(skip)])).toMatchObject({
    frozen: false,
  })
  expect(await stage.command(['restore', '--confirm'])).toMatchObject({ code: 'conflict' })

  // The same process goes on: no address is issued again, and the lost invoice's payment is kept for the seller.
  const next = await till.ask((sessions) =>
    sessions.alice.call('create_invoice', { rail: 'ethereum:ETH', credits: '5' }),
  )
  const issued = [...invoices.map((invoice) => invoice.address), address]
  expect(next.data['address']).toMatch(/^0x[0-9a-fA-F]{40}$/)
  expect(issued).not.toContain(next.data['address'])
  await expect
    .poll(() => rows(`SELECT address, invoice, credits FROM payment WHERE txid = '${hash}'`))
    .toEqual([{ address, invoice: null, credits: 0n }])
  await expect
    .poll(() => rows("SELECT key FROM payment WHERE state IN ('seen', 'confirming') AND invoice IS NOT NULL"))
    .toEqual([])
  await till.kill()
  expect(await stage.command(['verify'])).toMatchObject({ ok: true })
})
