import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getPayment, getPaymentOf, payInvoice } from '../../src/purse/pay.ts'
import type { Purse } from '../../src/purse/purse.ts'
import { resume } from '../../src/purse/resume.ts'
import { statusOf } from '../../src/purse/view.ts'
import type { SignedInvoice } from '../../src/signed-invoice.ts'
import { freshAddress, makeInvoice, makeTill, now } from './support/fixture.ts'
import { ETHER, startWorld, type World } from './support/world.ts'

let world: World
beforeAll(async () => {
  world = await startWorld()
})
afterAll(() => world.stop())

describe('a payment', () => {
  it('of native coin arrives to the wei, and ends at its true cost', async () => {
    const purse = await world.makePurse()
    const recipient = freshAddress()
    const paid = await world.payAndMine(purse, {
      signed: makeInvoice(world.till, { recipient, amount: '1000000000000001' }),
    })
    expect(paid).toMatchObject({
      state: 'broadcast',
      note: null,
      payee: 'Test till',
      amount_display: '0.001000000000000001 ETH',
      // $2.000000000000002 rounds up: a budget is never told less than the truth.
      usd: '2.000001',
      replayed: false,
    })
    expect(await world.balance(recipient)).toBe(1_000_000_000_000_001n)
    await world.anvil.mine()
    expect(await resume(purse)).toEqual({ open: 0, troubles: [] })
    const after = await getPayment(purse, paid.id)
    const receipt = await world.anvil.rpc<{
      gasUsed: string
      effectiveGasPrice: string
      blockNumber: string
    }>('eth_getTransactionReceipt', [paid.txid])
    // 1 ETH is $2,000: one wei is 2 * 10^-9 micro-dollars, rounded up.
    const feeUsd =
      (BigInt(receipt.gasUsed) * BigInt(receipt.effectiveGasPrice) * 2n + 999_999_999n) / 10n ** 9n
    expect(after).toMatchObject({ state: 'confirmed', block: Number(receipt.blockNumber) })
    const charged = BigInt(after.charged_usd.replace('.', '').padEnd(7, '0'))
    expect(charged).toBe(2_000_001n + feeUsd)
    expect(Number(after.charged_usd)).toBeLessThan(Number(paid.charged_usd))
    expect(Number(after.budget_left.day_usd)).toBeCloseTo(100 - Number(after.charged_usd), 6)
  })

  it('of a token moves exactly that token', async () => {
    const purse = await world.makePurse()
    await world.mint(purse.wallet.address, 5_000_000n)
    const recipient = freshAddress()
    const paid = await world.payAndMine(purse, { signed: world.usdcInvoice({ recipient }) })
    expect(paid).toMatchObject({ state: 'broadcast', usd: '2.00', amount_display: '2 USDC' })
    expect(await world.token.balance(recipient)).toBe(2_000_000n)
    expect(await world.token.balance(purse.wallet.address)).toBe(3_000_000n)
    expect(await world.balance(recipient)).toBe(0n)
  })

  it('is not confirmed before its depth, and waits again after a reorganisation took its block', async () => {
    const purse = await world.makePurse()
    const recipient = freshAddress()
    const { id, txid } = await world.payAndMine(purse, { signed: makeInvoice(world.till, { recipient }) })
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({
      state: 'broadcast',
      block: await world.anvil.height(),
    })
    await world.anvil.reorg(1)
    expect(await world.balance(recipient)).toBe(0n)
    // Nobody knows it any more: the same bytes are sent again.
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({ state: 'broadcast', block: null })
    await expect.poll(() => world.balance(recipient)).toBe(1_000_000_000_000_000n)
    await world.anvil.mine()
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({ state: 'confirmed', txid })
  })

  it('that the chain reverts costs only its fee, once that is final', async () => {
    const purse = await world.makePurse()
    await world.mint(purse.wallet.address, 2_000_000n)
    await world.anvil.automine(false)
    try {
      const { id } = await payInvoice(purse, { signed: world.usdcInvoice() })
      // The tokens are gone before the payment is mined.
      const wallet = purse.wallet.address
      await world.anvil.rpc('anvil_setStorageAt', [
        world.token.address,
        await balanceSlot(wallet),
        `0x${'0'.repeat(64)}`,
      ])
      await world.anvil.mine()
      await resume(purse)
      expect(await getPayment(purse, id)).toMatchObject({
        state: 'broadcast',
        charged_usd: expect.stringMatching(/^2\./),
      })
      await world.anvil.mine(3)
      await resume(purse)
      const failed = await getPayment(purse, id)
      expect(failed).toMatchObject({ state: 'failed', note: expect.stringContaining('fee') })
      expect(Number(failed.charged_usd)).toBeGreaterThan(0)
      expect(Number(failed.charged_usd)).toBeLessThan(1)
    } finally {
      await world.anvil.automine(true)
    }
  })

  /** A payment whose nonce was taken by the same key, used elsewhere at a higher fee; in the newest block. */
  async function displace(purse: Purse, signed: SignedInvoice): Promise<string> {
    await world.anvil.automine(false)
    try {
      const { id } = await payInvoice(purse, { signed })
      const rival = await purse.wallet.sign({
        type: 'eip1559',
        chainId: 31337,
        nonce: 0,
        to: freshAddress(),
        value: 1n,
        gas: 21_000n,
        maxFeePerGas: 10n ** 11n,
        maxPriorityFeePerGas: 10n ** 11n,
      })
      await world.anvil.sendRaw(rival)
      await world.anvil.mine()
      return id
    } finally {
      await world.anvil.automine(true)
    }
  }

  it('displaced by another transaction with its nonce gives everything back, once that is final', async () => {
    const purse = await world.makePurse()
    const signed = makeInvoice(world.till)
    const id = await displace(purse, signed)
    await resume(purse)
    await world.anvil.mine(3)
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({
      state: 'broadcast',
      charged_usd: expect.stringMatching(/^2\./),
    })
    await world.anvil.mine()
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({
      state: 'failed',
      charged_usd: '0.00',
      note: expect.stringContaining('took its place'),
      budget_left: { day_usd: '100.00', month_usd: '1000.00' },
    })
    // Never paid a second time, either.
    expect(await payInvoice(purse, { signed })).toMatchObject({ id, state: 'failed', replayed: true })
    expect(await payInvoice(purse, { signed: makeInvoice(world.till) })).toMatchObject({ state: 'broadcast' })
  })

  it('displaced, then given its place back by a reorganisation, is sent again and counts its depth anew', async () => {
    const purse = await world.makePurse()
    const recipient = freshAddress()
    const id = await displace(purse, makeInvoice(world.till, { recipient }))
    await resume(purse)
    await world.anvil.reorg(1)
    await resume(purse)
    await expect.poll(() => world.balance(recipient)).toBe(1_000_000_000_000_000n)
    const [row] = await purse.db.query('SELECT displaced_at FROM payment WHERE id = ?', [id])
    expect(row).toEqual({ displaced_at: null })
    await world.anvil.mine()
    await resume(purse)
    expect(await getPayment(purse, id)).toMatchObject({ state: 'confirmed' })
  })
})

/** Where token.sol keeps the balance of an owner: found by looking, not by assuming the layout. */
async function balanceSlot(owner: string): Promise<string> {
  const data = `0x70a08231${owner.slice(2).toLowerCase().padStart(64, '0')}`
  const { accessList } = await world.anvil.rpc<{ accessList: { address: string; storageKeys: string[] }[] }>(
    'eth_createAccessList',
    [{ to: world.token.address, data }, 'latest'],
  )
  const key = accessList.find(({ address }) => address.toLowerCase() === world.token.address.toLowerCase())
    ?.storageKeys[0]
  if (!key) throw new Error('the token keeps no balance')
  return key
}

describe('a repeat', () => {
  it('returns the first payment, with and without a key, and pays once', async () => {
    const purse = await world.makePurse()
    const signed = makeInvoice(world.till)
    const first = await world.payAndMine(purse, { signed, idempotencyKey: 'k1' })
    for (const repeat of [{ signed }, { signed, idempotencyKey: 'k1' }, { signed, idempotencyKey: 'k2' }]) {
      expect(await payInvoice(purse, repeat)).toMatchObject({
        id: first.id,
        txid: first.txid,
        replayed: true,
      })
    }
    expect(await world.sentBy(purse)).toBe(1)
    const { invoice } = JSON.parse(signed.payload) as { invoice: string }
    expect(await getPaymentOf(purse, world.till.payee, invoice)).toMatchObject({ id: first.id })
    expect(await getPaymentOf(purse, makeTill().payee, invoice)).toBeNull()
  })
  it('with the key of another invoice is refused', async () => {
    const purse = await world.makePurse()
    await world.payAndMine(purse, { signed: makeInvoice(world.till), idempotencyKey: 'k' })
    const other = { signed: makeInvoice(world.till), idempotencyKey: 'k' }
    await expect(payInvoice(purse, other)).rejects.toMatchObject({ code: 'idempotency_conflict' })
    expect(await world.sentBy(purse)).toBe(1)
  })
  it('still answers after the invoice has expired', async () => {
    let at = now()
    const purse = await world.makePurse({ now: () => at })
    const signed = makeInvoice(world.till, { expires_at: at + 60_000 })
    const { id } = await payInvoice(purse, { signed })
    at += 120_000
    expect(await payInvoice(purse, { signed })).toMatchObject({ id, replayed: true })
  })
  it.each(['', 'x'.repeat(256), 'line\nbreak'])(
    'with a malformed key is refused: %j',
    async (idempotencyKey) => {
      const purse = await world.makePurse({ ether: 0n })
      const refused = payInvoice(purse, { signed: makeInvoice(world.till), idempotencyKey })
      await expect(refused).rejects.toMatchObject({ code: 'invalid_request' })
    },
  )
})

describe('at the same time', () => {
  it('many asks for one invoice make one transaction', async () => {
    const purse = await world.makePurse()
    const recipient = freshAddress()
    const signed = makeInvoice(world.till, { recipient })
    const all = await Promise.all(Array.from({ length: 12 }, () => world.payAndMine(purse, { signed })))
    expect(new Set(all.map(({ id }) => id)).size).toBe(1)
    expect(all.filter(({ replayed }) => !replayed)).toHaveLength(1)
    expect(await world.sentBy(purse)).toBe(1)
    expect(await world.balance(recipient)).toBe(1_000_000_000_000_000n)
  })
  it('many invoices take their nonces in turn and the budget to its last cent', async () => {
    // Each costs $2 and at most some cents for its fee: the sixth would pass $12.
    const budget = { per_payment: '10', per_day: '12', per_month: '1000' }
    const purse = await world.makePurse({ budget })
    const recipients = Array.from({ length: 10 }, freshAddress)
    const results = await Promise.allSettled(
      recipients.map((recipient) =>
        world.payAndMine(purse, { signed: makeInvoice(world.till, { recipient }) }),
      ),
    )
    const paid = results.filter(({ status }) => status === 'fulfilled')
    const refused = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as unknown] : [],
    )
    expect(paid).toHaveLength(5)
    expect(refused).toHaveLength(5)
    for (const error of refused)
      expect(error).toMatchObject({ code: 'budget_exceeded', details: { limit: 'per_day' } })
    expect(await world.sentBy(purse)).toBe(5)
    const received = await Promise.all(recipients.map(world.balance))
    expect(received.filter((wei) => wei > 0n)).toHaveLength(5)
    const nonces = await purse.db.query<{ nonce: bigint }>('SELECT nonce FROM payment ORDER BY nonce')
    expect(nonces.map(({ nonce }) => nonce)).toEqual([0n, 1n, 2n, 3n, 4n])
  })
})

describe('a chain that also charges for its parent chain', () => {
  const ORACLE = '0x420000000000000000000000000000000000000F'
  it('has twice the present bound of that fee reserved', async () => {
    const plain = await world.makePurse()
    const { fee_usd: without } = await payInvoice(plain, { signed: makeInvoice(world.till) })
    // PUSH4 11 22 33 44, MSTORE at 0, RETURN 32 bytes: every question is answered with 0x11223344 wei.
    await world.anvil.rpc('anvil_setCode', [ORACLE, '0x631122334460005260206000f3'])
    try {
      const purse = await world.makePurse()
      const { fee_usd: reserved, id } = await payInvoice(purse, { signed: makeInvoice(world.till) })
      const [row] = await purse.db.query<{ max_fee: string; gas: bigint; max_fee_per_gas: string }>(
        'SELECT max_fee, gas, max_fee_per_gas FROM payment WHERE id = ?',
        [id],
      )
      if (!row) throw new Error('the payment has a row')
      // Data fee and operator fee, doubled.
      expect(BigInt(row.max_fee) - row.gas * BigInt(row.max_fee_per_gas)).toBe(4n * 0x11223344n)
      expect(Number(without)).toBeGreaterThan(0)
      expect(Number(reserved)).toBeGreaterThan(0)
    } finally {
      await world.anvil.rpc('anvil_setCode', [ORACLE, '0x'])
    }
  })
})

describe('the status', () => {
  it('shows address, balances, budget and payees', async () => {
    const purse = await world.makePurse()
    await world.mint(purse.wallet.address, 7_000_000n)
    expect(await statusOf(purse)).toEqual({
      address: purse.wallet.address,
      per_payment_usd: '10.00',
      budget_left: { day_usd: '100.00', month_usd: '1000.00' },
      payees: [{ name: 'Test till', key: world.till.payee }],
      balances: [
        { rail: 'local:ETH', network: 'eip155:31337', amount: ETHER.toString(), amount_display: '1 ETH' },
        { rail: 'local:USDC', network: 'eip155:31337', amount: '7000000', amount_display: '7 USDC' },
      ],
    })
  })
  it('of an unknown payment is not found', async () => {
    await expect(getPayment(await world.makePurse({ ether: 0n }), 'pay_x')).rejects.toMatchObject({
      code: 'not_found',
    })
  })
})
