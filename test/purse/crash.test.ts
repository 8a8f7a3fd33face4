/** kill -9 between each two steps of a payment: it is taken up again, and paid once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { getPaymentOf, payInvoice } from '../../src/purse/pay.ts'
import { resume } from '../../src/purse/resume.ts'
import type { SignedInvoice } from '../../src/signed-invoice.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { drawWalletKey } from '../support/chance.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import type { CrashPlan } from './support/crashing-payer.ts'
import { type Endpoint, startEndpoint } from './support/endpoint.ts'
import {
  configOf,
  type Folder,
  freshAddress,
  makeFolder,
  makeInvoice,
  makeRuntime,
  makeTill,
  now,
  openTestPurse,
  settingsOf,
} from './support/fixture.ts'
import { fund } from './support/mined.ts'

const AMOUNT = 1_000_000_000_000_000n
const till = makeTill()
let anvil: Anvil
let token: TestToken
let endpoint: Endpoint
let folder: Folder
let config: object
let key: `0x${string}`
let wallet: string
let recipient: `0x${string}`
let signed: SignedInvoice
let invoice: string

beforeAll(async () => {
  anvil = await startAnvil()
  token = await deployToken(anvil)
})
afterAll(() => anvil.stop())

beforeEach(async () => {
  endpoint = await startEndpoint(anvil.url)
  folder = makeFolder()
  key = drawWalletKey()
  wallet = privateKeyToAccount(key).address
  config = configOf({ rpc: endpoint.url, payees: [till], wallet: { private_key: key } })
  await fund(anvil, wallet)
  recipient = freshAddress()
  signed = makeInvoice(till, { recipient })
  invoice = (JSON.parse(signed.payload) as { invoice: string }).invoice
})
afterEach(async () => {
  await endpoint.close()
  folder.remove()
})

const received = async () => BigInt(await anvil.rpc<string>('eth_getBalance', [recipient, 'latest']))
const sent = async () => Number(await anvil.rpc<string>('eth_getTransactionCount', [wallet, 'latest']))

/** Starts the payer; resolves with the signal that killed it, or null when it ended by itself. */
function crash(point: Pick<CrashPlan, 'commit' | 'when'>): { pid: number; dead: Promise<string | null> } {
  const plan = join(folder.path, 'plan.json')
  writeFileSync(plan, JSON.stringify({ config, dataDir: folder.path, signed, ...point } satisfies CrashPlan))
  const script = new URL('support/crashing-payer.ts', import.meta.url).pathname
  const child = spawn(process.execPath, [script, plan], { stdio: ['ignore', 'inherit', 'inherit'] })
  if (child.pid === undefined) throw new Error('the payer did not start')
  return { pid: child.pid, dead: once(child, 'exit').then(([, signal]) => signal as string | null) }
}

/** Lets the payer reach the moment of sending and kills it there, before or after the node took the transaction. */
async function crashWhileSending(taken: boolean): Promise<string | null> {
  let payer: ReturnType<typeof crash> | null = null
  endpoint.treat(async ({ method, params }) => {
    if (method !== 'eth_sendRawTransaction' || !payer) return 'pass'
    if (taken) await anvil.sendRaw(String(params[0]))
    process.kill(payer.pid, 'SIGKILL')
    await payer.dead
    return 'drop'
  })
  payer = crash({})
  const signal = await payer.dead
  endpoint.treat(() => 'pass')
  return signal
}

const states = { reserved: 1, signed: 2, unknown: 3, broadcast: 4 }

async function stateNow(): Promise<string | undefined> {
  const purse = await openTestPurse(settingsOf(config, folder.path))
  const payment = await getPaymentOf(purse, till.payee, invoice)
  await purse.close()
  return payment?.state
}

/** A new start takes the payment up; asking again is answered by it. */
async function expectPaidOnce(): Promise<void> {
  const purse = await openTestPurse(settingsOf(config, folder.path))
  expect(await resume(purse)).toMatchObject({ troubles: [] })
  const payment = await getPaymentOf(purse, till.payee, invoice)
  expect(payment).toMatchObject({ state: 'broadcast' })
  expect(await payInvoice(purse, { signed })).toMatchObject({
    id: payment?.id,
    txid: payment?.txid,
    replayed: true,
  })
  await expect.poll(received).toBe(AMOUNT)
  expect(await sent()).toBe(1)
  const [row] = await purse.db.query<{ count: bigint }>('SELECT count(*) AS count FROM payment')
  expect(row?.count).toBe(1n)
  await anvil.mine()
  await resume(purse)
  expect(await getPaymentOf(purse, till.payee, invoice)).toMatchObject({ state: 'confirmed' })
  await purse.close()
}

describe('kill -9', () => {
  it('before the reservation leaves nothing, and a repeat pays', async () => {
    expect(await crash({ commit: 1, when: 'before' }).dead).toBe('SIGKILL')
    expect(await stateNow()).toBeUndefined()
    const purse = await openTestPurse(settingsOf(config, folder.path))
    expect(await resume(purse)).toEqual({ open: 0, troubles: [] })
    expect(await payInvoice(purse, { signed })).toMatchObject({ state: 'broadcast', replayed: false })
    await expect.poll(received).toBe(AMOUNT)
    await purse.close()
  })
  it.each(Object.entries(states))('when it is %s', async (state, commit) => {
    expect(await crash({ commit, when: 'after' }).dead).toBe('SIGKILL')
    expect(await stateNow()).toBe(state)
    await expect.poll(received).toBe(state === 'broadcast' ? AMOUNT : 0n)
    await expectPaidOnce()
  })
  it('while it is sent, before a node has it', async () => {
    expect(await crashWhileSending(false)).toBe('SIGKILL')
    expect(await stateNow()).toBe('unknown')
    expect(await received()).toBe(0n)
    await expectPaidOnce()
  })
  it('while it is sent, after a node has it', async () => {
    expect(await crashWhileSending(true)).toBe('SIGKILL')
    expect(await stateNow()).toBe('unknown')
    await expectPaidOnce()
  })
  it('after a node took it, before that is noted', async () => {
    expect(await crash({ commit: 4, when: 'before' }).dead).toBe('SIGKILL')
    expect(await stateNow()).toBe('unknown')
    await expect.poll(received).toBe(AMOUNT)
    await expectPaidOnce()
  })
})

describe('a start after the invoice has ended', () => {
  const later = () => now() + 3_600_000
  it.each(['reserved', 'signed'] as const)(
    'gives back what was only %s, and leaves no gap',
    async (state) => {
      expect(await crash({ commit: states[state], when: 'after' }).dead).toBe('SIGKILL')
      const purse = await openTestPurse(settingsOf(config, folder.path), {
        runtime: makeRuntime({ now: later }),
      })
      expect(await resume(purse)).toEqual({ open: 0, troubles: [] })
      const [row] = await purse.db.query('SELECT state, reason, usd, raw, nonce FROM payment')
      expect(row).toMatchObject({ state: 'failed', reason: 'expired', usd: 0n, raw: null, nonce: null })
      expect(await sent()).toBe(0)
      const next = makeInvoice(till, { recipient, expires_at: later() + 600_000 })
      expect(await payInvoice(purse, { signed: next })).toMatchObject({ state: 'broadcast' })
      await expect.poll(received).toBe(AMOUNT)
      expect(await sent()).toBe(1)
      await purse.close()
    },
  )
  it('keeps what may have been sent: only the chain can say', async () => {
    expect(await crashWhileSending(true)).toBe('SIGKILL')
    const purse = await openTestPurse(settingsOf(config, folder.path), {
      runtime: makeRuntime({ now: later }),
    })
    await resume(purse)
    expect(await getPaymentOf(purse, till.payee, invoice)).toMatchObject({ state: 'broadcast' })
    await purse.close()
  })
})

describe('a start with a configuration that no longer allows it', () => {
  const low = { per_payment: '10', per_day: '1', per_month: '1000' }
  const removed = () => ({
    assets: ['USDC'],
    tokens: { USDC: { contract: token.address, decimals: 6 } },
  })
  it.each([
    ['reserved', 'its payee was unpinned', () => ({ payees: [] })],
    ['signed', 'its payee was unpinned', () => ({ payees: [] })],
    ['signed', 'the day was given less', () => ({ budget: low })],
    [
      'reserved',
      'one payment was given less',
      () => ({ budget: { ...low, per_payment: '1', per_day: '100' } }),
    ],
    ['reserved', 'the month was given less', () => ({ budget: { ...low, per_day: '100', per_month: '1' } })],
    ['reserved', 'its asset was removed', () => ({ chain: removed() })],
  ] as const)('never sends what was only %s: %s', async (state, _why, change) => {
    expect(await crash({ commit: states[state], when: 'after' }).dead).toBe('SIGKILL')
    const pinned = { rpc: endpoint.url, payees: [till], wallet: { private_key: key } }
    const purse = await openTestPurse(settingsOf(configOf({ ...pinned, ...change() }), folder.path))
    endpoint.asked.length = 0
    await resume(purse)
    expect(await getPaymentOf(purse, till.payee, invoice)).toMatchObject({
      state: 'failed',
      charged_usd: '0.00',
      txid: null,
      note: expect.stringContaining('nothing was paid'),
    })
    expect(endpoint.asked.map(({ method }) => method)).not.toContain('eth_sendRawTransaction')
    await purse.close()
  })
})

describe('another wallet in the configuration', () => {
  it.each(['reserved', 'signed'] as const)(
    'sends what is signed and never signs for the old one: %s',
    async (state) => {
      expect(await crash({ commit: states[state], when: 'after' }).dead).toBe('SIGKILL')
      const replaced = configOf({ rpc: endpoint.url, payees: [till] })
      const purse = await openTestPurse(settingsOf(replaced, folder.path))
      await resume(purse)
      const after = await getPaymentOf(purse, till.payee, invoice)
      expect(after?.state).toBe(state === 'signed' ? 'broadcast' : 'reserved')
      await expect.poll(received).toBe(state === 'signed' ? AMOUNT : 0n)
      await purse.close()
    },
  )
})
