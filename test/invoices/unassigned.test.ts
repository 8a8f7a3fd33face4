/** Payments to addresses without an invoice: kept, listed, and credited once to whom a human gives them. */
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { statement } from '../../src/db/db.ts'
import { assignPayment, listUnassigned } from '../../src/invoices/unassigned.ts'
import { at, book, CREDIT, close, market, open, pay, T0, take, till, view } from './counter.ts'
import { blockAt, stepTo, transferTo } from './till.ts'

const ETH = 10n ** 18n
let skipped: string

async function setUp(): Promise<void> {
  await open()
  await till.account('other')
  skipped = await skip('local', 5)
}
beforeEach(setUp)
afterEach(close)

/** An address that is watched and has no invoice, as one that was issued after a backup. */
async function skip(chainId: string, index: number): Promise<string> {
  const chain = till.chain(chainId)
  const { address, path } = chain.recipient(index)
  await till.db.commit([
    statement(
      'INSERT INTO deriving_key (fingerprint, family, next_index, created_at) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING',
      [chain.keyFingerprint, chain.family, 100n],
    ),
    statement('INSERT INTO address VALUES (?, ?, ?, ?, ?, 0)', [
      address,
      chain.family,
      chain.keyFingerprint,
      BigInt(index),
      path,
    ]),
  ])
  return address
}

const arrives = (height: number, amount: bigint, txid = '0xaa') =>
  at({ height, transfers: [transferTo(skipped, amount, { txid, block: blockAt(height, T0 + height) })] })

const assign = (payment: string, account = 'acc') => assignPayment(till.ctx, { payment, account })
const key = (txid = '0xaa') => `local:${txid}:trace:`

describe('a payment to an address without an invoice', () => {
  it('is kept and listed, and credits nobody', async () => {
    await arrives(101, ETH)
    await at({ height: 130 })
    expect(await listUnassigned(till.ctx)).toEqual([
      {
        payment: key(),
        rail: 'local:ETH',
        amount: ETH.toString(),
        amount_display: '1 ETH',
        address: skipped,
        path: till.chain('local').recipient(5).path,
        txid: '0xaa',
        block: 101,
        seen_at: new Date(T0).toISOString(),
      },
    ])
    expect(await till.posted()).toEqual({})
  })

  it('is credited once to whom it is given, as a late payment, however often it is given', async () => {
    await arrives(101, ETH)
    await at({ height: 130 })
    const given = await Promise.allSettled(Array.from({ length: 6 }, () => assign(key())))
    expect(given.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(0)
    const { id } = await assign('0xaa')
    expect(await view(id)).toMatchObject({ state: 'processing', credits: '25000.000000', address: skipped })
    expect(await listUnassigned(till.ctx)).toEqual([])
    await take('local')
    await at({ height: 131 })
    await at({ height: 132 })
    expect(await view(id)).toMatchObject({
      state: 'paid',
      flags: ['late'],
      credits_granted: '25000.000000',
      payments: [{ state: 'credited', txid: '0xaa', waiting_for: null }],
    })
    expect(await till.available('acc')).toBe(25_000n * CREDIT)
    expect(await till.posted()).toEqual({ grant: 25_000n * CREDIT })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid_late'])
    expect((await assign(key())).id).toBe(id)
    expect(await till.db.query('SELECT 1 FROM invoice')).toHaveLength(1)
  })

  it('counts at the lower of the rates when it was given and when it is credited', async () => {
    await arrives(101, ETH)
    await assign(key())
    await take('local')
    market.eth = 2000
    await at({ height: 110 })
    expect(await till.available('acc')).toBe(20_000n * CREDIT)
  })

  it('counts so also when a later one to the same address was given first', async () => {
    till.clock.now = T0 + 60_000
    await arrives(101, ETH, '0xbb')
    await arrives(102, ETH, '0xaa')
    await assign(key('0xaa'))
    market.eth = 2000
    await assign(key('0xbb'))
    await take('local')
    await at({ height: 110 })
    expect(await till.available('acc')).toBe(40_000n * CREDIT)
  })

  it('is taken back when it leaves the chain, and granted again when it returns', async () => {
    await arrives(101, ETH)
    await assign(key())
    await take('local')
    await at({ height: 105 })
    expect(await till.available('acc')).toBe(25_000n * CREDIT)
    await at({ height: 106, branch: 'b', forkedAt: 100 })
    expect(await till.available('acc')).toBe(0n)
    const back = transferTo(skipped, ETH, { block: blockAt(107, T0 + 107, 'b') })
    await at({ height: 107, branch: 'b', transfers: [back] })
    await at({ height: 110, branch: 'b' })
    expect(await till.available('acc')).toBe(25_000n * CREDIT)
  })

  it('takes what else came, or comes, to its address along, and never to another account', async () => {
    await arrives(101, ETH)
    await arrives(102, 2n * ETH, '0xbb')
    const { id } = await assign(key())
    await expect(assign(key(), 'other')).rejects.toMatchObject({
      code: 'conflict',
      details: { account: 'acc' },
    })
    await expect(assign(key('0xbb'), 'other')).rejects.toMatchObject({ code: 'conflict' })
    expect((await assign(key('0xbb'))).id).toBe(id)
    await take('local')
    await arrives(103, 3n * ETH, '0xcc')
    await at({ height: 110 })
    expect(await till.available('acc')).toBe(150_000n * CREDIT)
    expect(await till.available('other')).toBe(0n)
  })

  it('on Bitcoin is late too, although it was seen before it was mined', async () => {
    const address = await skip('bitcoin', 3)
    await take('bitcoin')
    const transfer = (block: ReturnType<typeof blockAt> | null) =>
      transferTo(address, 100_000_000n, { chain: 'bitcoin', symbol: 'BTC', txid: 'aa', block })
    await book(stepTo({ height: 100, pending: [transfer(null)] }), 'bitcoin')
    await book(stepTo({ height: 101, transfers: [transfer(blockAt(101, T0 + 60_000))] }), 'bitcoin')
    const { id } = await assign('aa')
    await take('bitcoin')
    await book(stepTo({ height: 104 }), 'bitcoin')
    expect(await view(id)).toMatchObject({ state: 'paid', flags: expect.arrayContaining(['late']) })
    expect(await till.available('acc')).toBe(500_000n * CREDIT)
  })
})

describe('an assignment', () => {
  it('fences whoever was reading: a step that does not know of it is not written', async () => {
    await arrives(101, ETH)
    await assign(key())
    const again = transferTo(skipped, ETH, { block: blockAt(102, T0 + 102, 'b') })
    const stale = at({ height: 103, branch: 'b', forkedAt: 100, transfers: [again] })
    await expect(stale).rejects.toMatchObject({ code: 'conflict' })
    const [row] = await till.db.query<{ invoice: string | null }>('SELECT invoice FROM payment')
    expect(row?.invoice).not.toBeNull()
  })

  it('is refused for what is not there, has gone, is dust, has no rate, or while the till is frozen', async () => {
    await expect(assign('0xnone')).rejects.toMatchObject({ code: 'not_found' })
    await arrives(101, 1n)
    await expect(assign(key())).rejects.toMatchObject({ code: 'invalid_request' })
    await arrives(102, ETH, '0xbb')
    await expect(assign(key('0xbb'), 'nobody')).rejects.toMatchObject({ code: 'not_found' })
    market.eth = null
    await expect(assign(key('0xbb'))).rejects.toMatchObject({ code: 'rate_unavailable' })
    market.eth = 2500
    const restored = statement("INSERT INTO restore (id, backup_at) VALUES ('b', 1)")
    await till.db.commit([restored])
    await expect(assign(key('0xbb'))).rejects.toMatchObject({ code: 'frozen' })
    await till.db.commit([statement('DELETE FROM restore')])
    await at({ height: 103, branch: 'b', forkedAt: 100 })
    await expect(assign(key('0xbb'))).rejects.toMatchObject({ code: 'conflict' })
    expect(await till.db.query('SELECT 1 FROM invoice')).toEqual([])
    expect(await listUnassigned(till.ctx)).toEqual([])
  })

  it('of a payment to an invoice names its owner', async () => {
    const { id, address, amount } = await (await import('./counter.ts')).ask()
    await at({ height: 101, transfers: [pay({ address, amount } as never, 101)] })
    await expect(assign(key(), 'other')).rejects.toMatchObject({ code: 'conflict', details: { invoice: id } })
    expect((await assign(key())).id).toBe(id)
  })
})

it('whatever the amount and the rate, what is assigned verifies', async () => {
  await close()
  await fc.assert(
    fc.asyncProperty(
      fc.bigInt({ min: 10n ** 13n, max: 10n ** 21n }),
      fc.integer({ min: 1, max: 90_000 }),
      async (amount, usd) => {
        await setUp()
        market.eth = usd
        await arrives(101, amount)
        const worth = (amount * BigInt(usd)) / 10n ** 12n
        if (worth < 10_000n) {
          await expect(assign(key())).rejects.toMatchObject({ code: 'invalid_request' })
        } else {
          await assign(key())
          await take('local')
          await at({ height: 110 })
          // At $0.10 a credit; one division, rounding down.
          expect(await till.available('acc')).toBe((amount * BigInt(usd) * 10n) / 10n ** 12n)
        }
        await close()
      },
    ),
    { numRuns: 15 },
  )
  await setUp()
})
