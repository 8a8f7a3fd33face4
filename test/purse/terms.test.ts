/** The purse that runs, and a configuration whose budget or payees have changed since it was started. */
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { connectPurse, type PurseConnection } from '../../src/purse/client.ts'
import { readNotices } from '../../src/purse/notice.ts'
import { createWallet } from '../../src/purse/wallet.ts'
import { drawWalletKey } from '../support/chance.ts'
import {
  configOf,
  type Fields,
  type Folder,
  makeFolder,
  makeInvoice,
  makeRuntime,
  makeTill,
  settingsOf,
} from './support/fixture.ts'

const script = new URL('support/purse-process.ts', import.meta.url).pathname
const wallet = { private_key: drawWalletKey() }
const [till, other] = [makeTill(), makeTill()]
const connections: PurseConnection[] = []
let folder: Folder
let file: string

beforeEach(() => {
  folder = makeFolder()
  file = join(folder.path, 'config.json')
})
afterEach(async () => {
  for (const connection of connections.splice(0)) await connection.close()
  folder.remove()
})

function configure(fields: Partial<Fields>): void {
  const config = configOf({ rpc: 'http://127.0.0.1:9', payees: [till], wallet, ...fields })
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
}

/** As `bursar mcp` makes it, which reads the configuration again when it looks for a purse. */
function connect(fields: Partial<Fields> = {}): PurseConnection {
  configure(fields)
  const connection = connectPurse({
    settings: () => settingsOf(JSON.parse(readFileSync(file, 'utf8')) as object, folder.path),
    runtime: makeRuntime(),
    spawn: { command: process.execPath, args: [script, file, folder.path, '--child'] },
  })
  connections.push(connection)
  return connection
}

function pid(): number {
  const [found] = readNotices(folder.path)
  if (!found) throw new Error('no purse has announced itself')
  return found.pid
}

async function ended(process_: number): Promise<void> {
  const alive = (): boolean => {
    try {
      return process.kill(process_, 0)
    } catch {
      return false
    }
  }
  await expect.poll(alive).toBe(false)
}

it.each([
  ['less budget', { budget: { per_payment: '1', per_day: '1', per_month: '1' } }],
  ['fewer payees', { payees: [] }],
])('nothing is paid through a purse that was started before there was %s', async (_what, change) => {
  const old = connect()
  await old.status()
  const started = pid()
  const edited = connect(change)
  await expect(edited.pay({ signed: makeInvoice(till) })).rejects.toMatchObject({
    code: 'purse_unavailable',
    remedy: expect.stringContaining(`process ${started}`),
  })
  await old.close()
  // The one that it starts now has what is configured now.
  expect(await edited.status()).toMatchObject(
    'payees' in change ? { payees: [] } : { per_payment_usd: '1.00' },
  )
})

it('who was there before the change finds the purse that was started after it', async () => {
  const purse = connect()
  await purse.status()
  // A payee is pinned and the purse ended, as the refusal of an unknown payee asks for.
  configure({ payees: [till, other] })
  const old = pid()
  process.kill(old)
  await ended(old)
  expect(await purse.status()).toMatchObject({ payees: [{ key: till.payee }, { key: other.payee }] })
})

it('the same in other words is no change', async () => {
  await connect({
    payees: [till, other],
    budget: { per_payment: '5', per_day: '20', per_month: '50' },
  }).status()
  const started = pid()
  const payees = [other, till].map(({ payee: key }) => ({ name: 'By another name', key }))
  const budget = { per_payment: '5.00', per_day: '20.0', per_month: '50.000' }
  await connect({ budget, purse: { payees } }).status()
  expect(pid()).toBe(started)
})

it('a keystore and a database are the same by whatever path, and another purse of the wallet is told at once', async () => {
  const [keystore, database] = [join(folder.path, 'wallet.json'), join(folder.path, 'own.db')]
  const password = 'a password of some length'
  await createWallet(makeRuntime(), { path: keystore, password })
  await connect({ wallet: { keystore, password }, purse: { database } }).status()
  const started = pid()
  const linked = join(folder.path, 'linked')
  symlinkSync(folder.path, linked)
  const same = { wallet: { keystore: join(linked, 'wallet.json'), password } }
  await connect({ ...same, purse: { database: join(linked, 'own.db') } }).status()
  expect(pid()).toBe(started)
  await expect(
    connect({ ...same, purse: { database: join(folder.path, 'else.db') } }).status(),
  ).rejects.toMatchObject({
    code: 'purse_unavailable',
    message: expect.stringContaining(`process ${started}`),
    remedy: expect.stringContaining('purse.database'),
  })
  const copied = join(folder.path, 'copy.json')
  copyFileSync(keystore, copied)
  await expect(
    connect({ wallet: { keystore: copied, password }, purse: { database } }).status(),
  ).rejects.toMatchObject({
    code: 'purse_unavailable',
    message: expect.stringContaining('another configuration'),
  })
})
