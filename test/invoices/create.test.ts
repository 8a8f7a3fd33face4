import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { statement } from '../../src/db/db.ts'
import type { BursarError } from '../../src/errors.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { settle } from '../../src/invoices/settle.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { verifyInvoice } from '../../src/signed-invoice.ts'
import { blockAt, openTill, stepTo, type Till, transferTo } from './till.ts'

const T0 = Date.UTC(2026, 10, 1)

let till: Till
beforeEach(async () => {
  till = await openTill({ at: T0 })
  await till.account('acc')
  for (const id of ['local', 'bitcoin']) await till.seedCursor(id)
})
afterEach(() => till.close())

const ask = (over: object = {}) =>
  createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100', ...over })

async function count(table: string): Promise<bigint> {
  const [row] = await till.db.query<{ n: bigint }>(`SELECT count(*) AS n FROM ${table}`)
  return row?.n ?? -1n
}

describe('open invoices', () => {
  it('that nobody pays are limited, also when they are asked for at once', async () => {
    const few = { ...till.ctx, maxOpen: 3 }
    const another = (over: object = {}) =>
      createInvoice(few, { account: 'acc', rail: 'local:ETH', credits: '100', ...over })
    const first = await another({ idempotencyKey: 'first' })
    const rest = await Promise.allSettled([another(), another(), another(), another()])
    expect(rest.filter(({ status }) => status === 'fulfilled')).toHaveLength(2)
    await expect(another()).rejects.toMatchObject({ code: 'rate_limited' })
    expect([await count('invoice'), await count('address')]).toEqual([3n, 3n])

    expect((await another({ idempotencyKey: 'first' })).id).toBe(first.id)
    await till.account('other')
    await another({ account: 'other' })

    const amount = BigInt(first.amount)
    const transfers = [transferTo(first.address, amount, { block: blockAt(101, T0, 'main') })]
    const step = stepTo({ height: 101, transfers })
    await settle(till.ctx, till.chain('local'), step, await till.lease('local'))
    await another()
    await expect(another()).rejects.toMatchObject({ code: 'rate_limited' })
    till.clock.now += till.ctx.lockMs
    await another()
  })
})

describe('an invoice', () => {
  it('says exactly what to pay, where, until when, and what for', async () => {
    const invoice = await ask()
    expect(invoice).toEqual({
      id: expect.stringMatching(/^inv_[0-9A-Z]{26}$/),
      state: 'open',
      flags: [],
      rail: 'local:ETH',
      asset: 'ETH',
      decimals: 18,
      amount: '4000000000000000',
      amount_display: '0.004 ETH',
      usd: '10.00',
      credits: '100.000000',
      // m/44'/60'/0'/0/0 of the test mnemonic
      address: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
      payment_uri: 'ethereum:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266@31337?value=4000000000000000',
      rate: { usd: '2500.00', source: 'fixed', at: '2026-11-01T00:00:00.000Z' },
      created_at: '2026-11-01T00:00:00.000Z',
      expires_at: '2026-11-01T00:15:00.000Z',
      payments: [],
      missing: '4000000000000000',
      credits_granted: '0.000000',
      signed: expect.objectContaining({ payee: till.ctx.tillKey.payee }),
    })
    await expect(getInvoice(till.ctx, { account: 'acc', id: invoice.id })).resolves.toEqual(invoice)
  })

  it('is signed: recipient, amount, network and expiry', async () => {
    const invoice = await ask({ rail: 'local:USDC' })
    expect(verifyInvoice(invoice.signed)).toEqual({
      v: 1,
      payee: till.ctx.tillKey.payee,
      invoice: invoice.id,
      rail: 'local:USDC',
      network: 'eip155:31337',
      contract: '0x5FbDB2315678afecb367f032d93F642f64180aa3',
      recipient: invoice.address,
      amount: '10000000',
      expires_at: T0 + 900_000,
    })
    const forged = invoice.signed.payload.replace('"10000000"', '"10000001"')
    expect(() => verifyInvoice({ ...invoice.signed, payload: forged })).toThrow(/not signed by its payee/)
  })

  it('rounds what is owed up to the next atomic unit', async () => {
    // 33.333333 credits cost $3.3333333: 3.333334, and that is 6,666.668 satoshi at $50,000.
    const invoice = await ask({ rail: 'bitcoin:BTC', credits: '33.333333' })
    expect(invoice).toMatchObject({ usd: '3.333334', amount: '6667', asset: 'BTC' })
  })

  it('carries a pack with its own price', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    expect(invoice).toMatchObject({ usd: '8.00', credits: '100.000000', amount: '3200000000000000' })
  })

  it('promises no more than $1 for a stablecoin, whatever the market says', async () => {
    const rates = {
      quote: async (symbol: string) => ({ symbol, priceE8: 125_000_000n, source: 'test', at: T0 }),
    }
    const invoice = await createInvoice(
      { ...till.ctx, rates },
      { account: 'acc', rail: 'local:USDC', credits: '100' },
    )
    expect(invoice).toMatchObject({ amount: '10000000', rate: { usd: '1.00' } })
  })

  it('belongs to its account', async () => {
    const { id } = await ask()
    await till.account('other')
    const foreign = getInvoice(till.ctx, { account: 'other', id })
    await expect(foreign).rejects.toMatchObject({ code: 'not_found' })
    await expect(getInvoice(till.ctx, { account: 'acc', id: 'inv_none' })).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})

describe('what cannot be sold', () => {
  it.each([
    [{ rail: 'local:DOGE' }, 'not_found', /no rail "local:DOGE"/],
    [{ rail: 'bitcoin' }, 'not_found', /no rail/],
    [{ credits: undefined, pack: 'none' }, 'not_found', /no pack "none"/],
    [{ credits: '0' }, 'invalid_request', /more than zero/],
    [{ credits: '-5' }, 'invalid_request', /plain decimal/],
    [{ credits: '1.0000001' }, 'invalid_request', /7 decimals/],
    [{ credits: '100001' }, 'invalid_request', /at most 100000\.000000/],
    [{ credits: '1e9' }, 'invalid_request', /plain decimal/],
    [{ credits: '0.05' }, 'invalid_request', /too little to be paid on local:ETH/],
    [{ rail: 'bitcoin:BTC', credits: '2' }, 'invalid_request', /too little to be paid on bitcoin:BTC/],
    [{ pack: 'small' }, 'invalid_request', /one of: a pack/],
    [{ account: 'nobody' }, 'not_found', /no account/],
    [{ idempotencyKey: '' }, 'invalid_request', /idempotency key/],
    [{ idempotencyKey: 'a b' }, 'invalid_request', /idempotency key/],
  ])('%o is a clear error, and uses up nothing', async (over, code, message) => {
    await expect(ask(over)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    expect(await count('invoice')).toBe(0n)
    expect(await count('address')).toBe(0n)
    expect((await ask()).address).toBe('0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266')
  })

  it.each(['local:ETH', 'local:USDC', 'bitcoin:BTC'])(
    'too little on %s says how much is enough',
    async (rail) => {
      const refused = await ask({ rail, credits: '0.000001' }).catch((thrown: unknown) => thrown)
      const { details, remedy } = refused as BursarError
      const least = String(details['least_credits'])
      expect(remedy).toContain(`at least ${least} credits`)
      expect(await ask({ rail, credits: least })).toMatchObject({ credits: least })
    },
  )

  it('an unknown rail says which there are', async () => {
    await expect(ask({ rail: 'x:Y' })).rejects.toMatchObject({
      details: { rails: ['local:ETH', 'local:USDC', 'side:ETH', 'side:USDC', 'bitcoin:BTC'] },
    })
  })

  it('nothing without a rate', async () => {
    const config = { rates: { fixed: { ETH: '2500' } } }
    const poor = await openTill({ at: T0, config })
    await poor.account('acc')
    await poor.seedCursor('bitcoin')
    const asked = createInvoice(poor.ctx, { account: 'acc', rail: 'bitcoin:BTC', credits: '100' })
    await expect(asked).rejects.toMatchObject({ code: 'rate_unavailable' })
    await poor.close()
  })

  it('nothing on a chain that cannot be reached before it was ever watched', async () => {
    // A payment could be mined before the first cursor is set, and would never be found.
    await expect(ask({ rail: 'side:ETH' })).rejects.toMatchObject({ code: 'chain_unavailable' })
    expect(await count('address')).toBe(0n)
  })

  it('nothing on a halted chain', async () => {
    await till.db.commit([statement("UPDATE chain_cursor SET halted = 'deep fork' WHERE chain = 'local'")])
    await expect(ask()).rejects.toMatchObject({ code: 'chain_unavailable' })
    expect((await ask({ rail: 'bitcoin:BTC' })).state).toBe('open')
  })
})

describe('idempotency', () => {
  it('gives a repeated request its invoice, as it is now', async () => {
    const first = await ask({ idempotencyKey: 'k1' })
    till.clock.now += 900_000
    const again = await ask({ idempotencyKey: 'k1' })
    expect(again).toEqual({ ...first, state: 'expired' })
    expect(await count('invoice')).toBe(1n)
  })

  it('refuses the key for another body', async () => {
    const first = await ask({ idempotencyKey: 'k1' })
    for (const other of [{ credits: '101' }, { rail: 'local:USDC' }, { credits: undefined, pack: 'small' }]) {
      await expect(ask({ ...other, idempotencyKey: 'k1' })).rejects.toMatchObject({
        code: 'idempotency_conflict',
        details: { invoice: first.id },
      })
    }
  })

  it('keeps keys of accounts apart', async () => {
    await till.account('other')
    const mine = await ask({ idempotencyKey: 'k1' })
    const theirs = await ask({ idempotencyKey: 'k1', account: 'other' })
    expect(theirs.id).not.toBe(mine.id)
  })

  it('makes one invoice of concurrent repeats', async () => {
    const invoices = await Promise.all(Array.from({ length: 20 }, () => ask({ idempotencyKey: 'k1' })))
    expect(new Set(invoices.map((invoice) => invoice.id)).size).toBe(1)
    expect(await count('invoice')).toBe(1n)
    expect(await count('address')).toBe(1n)
  })

  it('lets one of concurrent bodies through', async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => ask({ idempotencyKey: 'k1', credits: String(10 + i) })),
    )
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'idempotency_conflict' })
    }
    expect(await count('invoice')).toBe(1n)
  })
})

describe('addresses', () => {
  it('are shared by no two invoices, also over the chains of one key', async () => {
    await till.seedCursor('side')
    const rails = ['local:ETH', 'local:USDC', 'side:ETH', 'bitcoin:BTC']
    const invoices = await Promise.all(Array.from({ length: 40 }, (_, i) => ask({ rail: rails[i % 4] })))
    expect(new Set(invoices.map((invoice) => invoice.address)).size).toBe(40)
    const rows = await till.db.query<{ family: string; next_index: bigint }>(
      'SELECT family, next_index FROM deriving_key ORDER BY family',
    )
    // Without gaps: nothing was reserved that did not become an invoice.
    expect(rows).toEqual([
      { family: 'bitcoin', next_index: 10n },
      { family: 'evm', next_index: 30n },
    ])
  })

  it('with a history are skipped, and stay watched without an invoice', async () => {
    const used = ['0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266', '0x70997970C51812dc3A010C7d01b50e0d17dc79C8']
    const hasHistory = async (_: unknown, address: string) => used.includes(address)
    const invoice = await createInvoice(
      { ...till.ctx, hasHistory },
      { account: 'acc', rail: 'local:ETH', credits: '100' },
    )
    expect(invoice.address).toBe('0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC')
    const rows = await till.db.query<{ address: string }>(
      'SELECT address FROM address ORDER BY derivation_index',
    )
    expect(rows.map((row) => row.address)).toEqual([...used, invoice.address])
  })
})
