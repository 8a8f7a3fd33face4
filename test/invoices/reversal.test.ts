import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import { ask, at, book, CREDIT, close, LOCK_END, market, open, pay, T0, take, till, view } from './counter.ts'
import { blockAt, type StepParts, stepTo, transferTo } from './till.ts'

beforeEach(() => open())
afterEach(close)

describe('a fork', () => {
  const paid = async (over: object = {}) => {
    const invoice = await ask(over)
    await at({ height: 105, transfers: [pay(invoice, 101)] })
    return invoice
  }

  it('orphans what was not credited yet', async () => {
    const invoice = await ask()
    await at({ height: 101, transfers: [pay(invoice, 101)] })
    await at({ height: 101, branch: 'b', forkedAt: 100 })
    expect(await view(invoice.id)).toMatchObject({
      state: 'open',
      payments: [{ state: 'orphaned', block: null }],
    })
    expect(await till.posted()).toEqual({})
  })

  it('reverses what was credited, and grants it again, once, when it is mined again', async () => {
    const invoice = await paid()
    await at({ height: 106, branch: 'b', forkedAt: 100 })
    expect(await view(invoice.id)).toMatchObject({
      state: 'reversed',
      missing: invoice.amount,
      credits_granted: '0.000000',
      payments: [{ state: 'reversed', block: null, confirmations: 0, credits: '0.000000' }],
    })
    expect(await till.available('acc')).toBe(0n)
    const again = { block: blockAt(107, T0 + 700, 'b') }
    await at({ height: 107, branch: 'b', transfers: [pay(invoice, 107, again)] })
    expect((await view(invoice.id)).state).toBe('processing')
    await at({ height: 109, branch: 'b' })
    await at({ height: 112, branch: 'b' })
    expect((await view(invoice.id)).state).toBe('paid')
    const postings = await till.db.query('SELECT ref, phase, available FROM posting ORDER BY id')
    const ref = 'pay:local:0xaa:trace:'
    expect(postings).toEqual([
      { ref: `${ref}:1`, phase: 0n, available: 100n * CREDIT },
      { ref: `${ref}:1`, phase: 1n, available: -100n * CREDIT },
      { ref: `${ref}:2`, phase: 0n, available: 100n * CREDIT },
    ])
    expect(await till.events()).toEqual([
      'invoice.detected',
      'invoice.paid',
      'invoice.reverted',
      'invoice.paid',
    ])
  })

  it('may take a payment back again and again', async () => {
    const invoice = await paid()
    for (const [i, branch] of ['b', 'c', 'd'].entries()) {
      await at({ height: 106 + i, branch, forkedAt: 100 })
      expect(await till.available('acc')).toBe(0n)
      await at({
        height: 106 + i,
        branch: `${branch}2`,
        forkedAt: 100,
        transfers: [pay(invoice, 101, { block: blockAt(101, T0 + i, `${branch}2`) })],
      })
      expect(await till.available('acc')).toBe(100n * CREDIT)
    }
    const [row] = await till.db.query<{ epoch: bigint }>('SELECT epoch FROM payment')
    expect(row?.epoch).toBe(4n)
  })

  it('that only moves a payment to another block leaves its credits alone', async () => {
    const invoice = await paid()
    const moved = pay(invoice, 102, { block: blockAt(102, T0 + 50, 'b') })
    await at({ height: 106, branch: 'b', forkedAt: 100, transfers: [moved] })
    expect((await view(invoice.id)).payments[0]).toMatchObject({ state: 'credited', block: 102 })
    expect(await till.posted()).toEqual({ grant: 100n * CREDIT })
    // And a fork between its old and its new block finds it.
    await at({ height: 107, branch: 'c', forkedAt: 101 })
    expect((await view(invoice.id)).state).toBe('reversed')
  })

  it('that moves a payment past the end of the lock takes the lock and the discount away', async () => {
    const invoice = await paid({ credits: undefined, pack: 'sale' })
    expect(await till.available('acc')).toBe(100n * CREDIT)
    market.eth = 1250
    const late = pay(invoice, 101, { block: blockAt(101, LOCK_END, 'b') })
    await at({ height: 106, branch: 'b', forkedAt: 100, transfers: [late] })
    expect(await view(invoice.id)).toMatchObject({ flags: ['late'], credits_granted: '40.000000' })
    expect(await till.available('acc')).toBe(40n * CREDIT)
  })

  it('that makes the same transaction pay something else is followed', async () => {
    const invoice = await paid()
    const other = await ask()
    const block = blockAt(101, T0 + 1, 'b')
    await at({
      height: 106,
      branch: 'b',
      forkedAt: 100,
      transfers: [pay(invoice, 101, { block }, 10n ** 15n)],
    })
    expect((await view(invoice.id)).credits_granted).toBe('25.000000')
    expect(await till.available('acc')).toBe(25n * CREDIT)
    const elsewhere = pay(other, 101, { block: blockAt(101, T0 + 1, 'c') })
    await at({ height: 107, branch: 'c', forkedAt: 100, transfers: [elsewhere] })
    expect((await view(invoice.id)).payments).toEqual([])
    expect(await view(other.id)).toMatchObject({ state: 'paid', credits_granted: '100.000000' })
    expect(await till.available('acc')).toBe(100n * CREDIT)
  })

  it('takes the discount back, and gives it again', async () => {
    const invoice = await paid({ credits: undefined, pack: 'sale' })
    await at({ height: 106, branch: 'b', forkedAt: 100 })
    expect(await till.available('acc')).toBe(0n)
    await at({
      height: 112,
      branch: 'b',
      transfers: [pay(invoice, 107, { block: blockAt(107, T0 + 9, 'b') })],
    })
    expect(await till.available('acc')).toBe(100n * CREDIT)
    expect(await till.posted()).toEqual({
      grant: 160n * CREDIT,
      discount: 40n * CREDIT,
      reverse: -100n * CREDIT,
    })
  })

  it('gives the lock that a lost payment leaves to the one that had none', async () => {
    const invoice = await ask()
    market.eth = 1250
    const second = pay(invoice, 101, { txid: '0xbb', block: blockAt(101, T0 + 1) })
    await at({ height: 108, transfers: [second, pay(invoice, 105)] })
    expect(await till.available('acc')).toBe(150n * CREDIT)
    // Lower in the chain, the first one has used the lock; the fork takes the other, then the first.
    await at({ height: 109, branch: 'b', forkedAt: 103 })
    expect(await till.available('acc')).toBe(100n * CREDIT)
    await at({
      height: 115,
      branch: 'b',
      transfers: [pay(invoice, 110, { block: blockAt(110, T0 + 2, 'b') })],
    })
    expect(await till.available('acc')).toBe(150n * CREDIT)
    const moved = pay(invoice, 110, { block: blockAt(110, T0 + 2, 'c') })
    await at({ height: 118, branch: 'c', forkedAt: 104, transfers: [moved] })
    expect(await till.available('acc')).toBe(150n * CREDIT)
  })

  it('deeper than finality halts the chain: nothing is reversed, nothing is credited', async () => {
    const invoice = await paid()
    const before = await till.available('acc')
    await expect(at({ height: 130, branch: 'b', forkedAt: 92 })).resolves.toEqual({
      changed: true,
      halted: true,
    })
    await expect(at({ height: 131, branch: 'b' })).resolves.toEqual({ changed: false, halted: true })
    expect(await till.available('acc')).toBe(before)
    const [row] = await till.db.query('SELECT halted, height FROM chain_cursor WHERE chain = ?', ['local'])
    expect(row).toEqual({ halted: expect.stringMatching(/13 blocks, deeper than .* 12/), height: 105n })
    expect((await view(invoice.id)).state).toBe('paid')
  })
})

describe('the mempool', () => {
  const bitcoin = (parts: StepParts) => book(stepTo(parts), 'bitcoin')
  const coin = (invoice: InvoiceView, over: object = {}) =>
    transferTo(invoice.address, BigInt(invoice.amount), {
      chain: 'bitcoin',
      symbol: 'BTC',
      txid: 'ab',
      key: 'bitcoin:ab:0',
      block: null,
      ...over,
    })
  beforeEach(async () => {
    await take('bitcoin')
  })

  it('shows a payment before it is mined, which is then in time for an hour', async () => {
    const invoice = await ask({ rail: 'bitcoin:BTC' })
    till.clock.now = LOCK_END - 1
    await bitcoin({ height: 100, pending: [coin(invoice)] })
    expect(await view(invoice.id)).toMatchObject({
      state: 'processing',
      payments: [{ state: 'seen', block: null, confirmations: 0, confirmations_needed: 2 }],
    })
    till.clock.now = LOCK_END + 60_000
    const mined = coin(invoice, { block: blockAt(101, LOCK_END + 50_000) })
    // Still listed as pending by a node that lags behind itself.
    await bitcoin({ height: 101, transfers: [mined], pending: [coin(invoice)] })
    await bitcoin({ height: 102 })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', flags: [], credits_granted: '100.000000' })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid'])
  })

  it('a replaced payment is replaced, its replacement counts from its own time', async () => {
    const invoice = await ask({ rail: 'bitcoin:BTC' })
    await bitcoin({ height: 100, pending: [coin(invoice)] })
    till.clock.now = LOCK_END + 1
    const bumped = { txid: 'cd', key: 'bitcoin:cd:0' }
    await bitcoin({ height: 100, pending: [coin(invoice, bumped)] })
    expect((await view(invoice.id)).payments.map(({ state }) => state)).toEqual(['replaced', 'seen'])
    await bitcoin({
      height: 103,
      transfers: [coin(invoice, { ...bumped, block: blockAt(101, LOCK_END + 2) })],
    })
    expect(await view(invoice.id)).toMatchObject({ state: 'paid', flags: ['late'] })
  })

  it('says nothing while the chain is being read, or the node lags', async () => {
    const invoice = await ask({ rail: 'bitcoin:BTC' })
    await bitcoin({ height: 101, pending: [coin(invoice)] })
    await bitcoin({ height: 102, caughtUp: false })
    // What a chain answers when its node is behind the cursor.
    await book({ ...stepTo({ height: 102, pendingWhole: false }), tip: blockAt(101, T0) }, 'bitcoin')
    expect((await view(invoice.id)).payments[0]?.state).toBe('seen')
    await bitcoin({ height: 102 })
    expect((await view(invoice.id)).payments[0]?.state).toBe('replaced')
    await bitcoin({ height: 102, pending: [coin(invoice)] })
    expect((await view(invoice.id)).payments[0]?.state).toBe('seen')
  })

  it('takes a payment back after a fork: reversed, on its way, and gone for good if it is replaced', async () => {
    const invoice = await ask({ rail: 'bitcoin:BTC' })
    await bitcoin({ height: 103, transfers: [coin(invoice, { block: blockAt(101, T0) })] })
    expect(await till.available('acc')).toBe(100n * CREDIT)
    await bitcoin({ height: 104, branch: 'b', forkedAt: 100, pending: [coin(invoice)] })
    expect(await view(invoice.id)).toMatchObject({ state: 'processing', payments: [{ state: 'seen' }] })
    expect(await till.available('acc')).toBe(0n)
    await bitcoin({ height: 105, branch: 'b' })
    expect(await view(invoice.id)).toMatchObject({ state: 'reversed', payments: [{ state: 'reversed' }] })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid', 'invoice.reverted'])
  })
})
