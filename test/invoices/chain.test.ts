/** Whole payments on real chains: two local EVM networks and a Bitcoin regtest node, through the same code. */
import { createServer } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { InvoiceView } from '../../src/bursar.ts'
import type { Chain } from '../../src/chains/chain.ts'
import { awaitPayment } from '../../src/invoices/await.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { getInvoice } from '../../src/invoices/view.ts'
import { type Watch, watchChain } from '../../src/invoices/watch.ts'
import { type Anvil, startAnvil } from '../support/anvil.ts'
import { type BitcoinNode, bitcoinNode, startBitcoin } from '../support/litecoind.ts'
import { PATIENCE_MS } from '../support/patience.ts'
import { deployToken, type TestToken } from '../support/token.ts'
import { openTill, type Till } from './till.ts'

const CREDIT = 1_000_000n

let local: Anvil
let side: Anvil
let token: TestToken
beforeAll(async () => {
  ;[local, side] = await Promise.all([startAnvil(), startAnvil({ chainId: 31338 })])
  token = await deployToken(local)
  await local.mined(await token.mint(payer(), 1_000_000_000n))
})
afterAll(() => Promise.all([local?.stop(), side?.stop()]))

let till: Till
let stop: AbortController
let watches: Watch[]
beforeEach(async () => {
  const evm = { confirmations: [{ blocks: 3 }], finality_blocks: 12, poll_ms: 50 }
  till = await openTill({
    config: {
      chains: {
        local: {
          ...evm,
          chain_id: 31337,
          rpc: [local.url],
          assets: ['ETH', 'USDC'],
          tokens: { USDC: { contract: token.address, decimals: 6 } },
        },
        side: { ...evm, chain_id: 31338, rpc: [side.url], assets: ['ETH'] },
      },
    },
  })
  await till.account('acc')
  stop = new AbortController()
  watches = [...till.ctx.chains.values()].map((chain) => watchChain(till.ctx, chain, stop.signal))
  await Promise.all(watches.map((watch) => watch.ready))
})
afterEach(async () => {
  stop.abort()
  await Promise.all(watches.map((watch) => watch.ended))
  await till.close()
})

const payer = () => local.accounts[1]?.address ?? ''
const ask = (over: object = {}) =>
  createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '100', ...over })
const wait = (invoice: InvoiceView, onProgress?: (view: InvoiceView) => void) =>
  awaitPayment(till.ctx, {
    account: 'acc',
    invoice: invoice.id,
    timeoutMs: PATIENCE_MS,
    ...(onProgress ? { onProgress } : {}),
  })

/** Resolves with the first view that looks as expected. */
async function until(invoice: InvoiceView, holds: (view: InvoiceView) => boolean): Promise<InvoiceView> {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  while (true) {
    const change = till.ctx.changes.wait(invoice.id, signal)
    change.catch(() => undefined)
    const view = await getInvoice(till.ctx, { account: 'acc', id: invoice.id })
    if (holds(view)) return view
    await change
  }
}

describe('a payment on an EVM chain', () => {
  it('in the native coin is seen, confirms block by block, and is credited', async () => {
    const invoice = await ask()
    const seen: string[] = []
    const looked = Promise.withResolvers<void>()
    const settled = wait(invoice, (view) => {
      const { state, confirmations } = view.payments[0] ?? { state: 'none', confirmations: 0 }
      seen.push(`${view.state} ${state} ${confirmations}`)
      looked.resolve()
    })
    await looked.promise
    const txid = await local.send({ to: invoice.address, value: BigInt(invoice.amount) })
    for (const confirmations of [1, 2]) {
      await until(invoice, (view) => view.payments[0]?.confirmations === confirmations)
      await expect.poll(() => seen).toContain(`processing confirming ${confirmations}`)
      await local.mine()
    }
    const { invoice: paid, timed_out } = await settled
    expect(timed_out).toBe(false)
    expect(paid).toMatchObject({
      state: 'paid',
      flags: [],
      credits_granted: '100.000000',
      missing: '0',
      payments: [{ txid, rail: 'local:ETH', state: 'credited', confirmations: 3, confirmations_needed: 3 }],
    })
    expect(seen.at(0)).toBe('open none 0')
    expect(seen.at(-1)).toBe('paid credited 3')
    expect(await till.available('acc')).toBe(100n * CREDIT)
  })

  it('in a token: too little, then the rest, then too much', async () => {
    const invoice = await ask({ rail: 'local:USDC', credits: undefined, pack: 'sale' })
    expect(invoice.amount).toBe('8000000')
    await token.transfer(payer(), invoice.address, 3_000_000n)
    await local.mine(2)
    const partial = await until(invoice, (view) => view.credits_granted !== '0.000000')
    expect(partial).toMatchObject({ state: 'partial', missing: '5000000', credits_granted: '30.000000' })
    await token.transfer(payer(), invoice.address, 5_000_000n)
    await local.mine(2)
    const { invoice: paid } = await wait(invoice)
    // $8 at $0.10, and the pack's discount.
    expect(paid).toMatchObject({ state: 'paid', missing: '0', credits_granted: '100.000000' })
    await token.transfer(payer(), invoice.address, 1_000_000n)
    await local.mine(2)
    const over = await until(invoice, (view) => view.credits_granted !== '100.000000')
    expect(over).toMatchObject({ state: 'paid', flags: ['over'], credits_granted: '110.000000' })
    expect(await till.available('acc')).toBe(110n * CREDIT)
  })

  it('two transfers in one block are two payments', async () => {
    const invoice = await ask()
    const half = BigInt(invoice.amount) / 2n
    await local.automine(false)
    await local.send({ to: invoice.address, value: half })
    await local.send({ to: invoice.address, value: half, from: payer() })
    await local.automine(true)
    await local.mine(3)
    const { invoice: paid } = await wait(invoice)
    expect(paid.payments.map((payment) => payment.credits)).toEqual(['50.000000', '50.000000'])
    expect(paid.payments[0]?.block).toBe(paid.payments[1]?.block)
  })

  it('in the wrong coin, or on the wrong chain, is credited at its rate', async () => {
    const invoice = await ask()
    await token.transfer(payer(), invoice.address, 4_000_000n)
    await local.mine(2)
    const elsewhere = await side.send({ to: invoice.address, value: (BigInt(invoice.amount) * 6n) / 10n })
    await side.mine(2)
    const { invoice: paid } = await wait(invoice)
    expect(paid).toMatchObject({ state: 'paid', credits_granted: '100.000000' })
    expect(paid.payments).toContainEqual(
      expect.objectContaining({ rail: 'local:USDC', credits: '40.000000', state: 'credited' }),
    )
    expect(paid.payments).toContainEqual(
      expect.objectContaining({ rail: 'side:ETH', credits: '60.000000', txid: elsewhere }),
    )
  })

  it('that a reorganisation drops is taken back, and granted again once when it is mined again', async () => {
    const invoice = await ask({ credits: undefined, pack: 'sale' })
    const txid = await local.send({ to: invoice.address, value: BigInt(invoice.amount) })
    const raw = await local.rawTransaction(txid)
    await local.mine(3)
    await wait(invoice)
    expect(await till.available('acc')).toBe(100n * CREDIT)

    await local.reorg(5)
    const reversed = await until(invoice, (view) => view.state === 'reversed')
    expect(reversed).toMatchObject({ credits_granted: '0.000000', missing: invoice.amount })
    expect(await till.available('acc')).toBe(0n)

    expect(await local.sendRaw(raw)).toBe(txid)
    await local.mine(3)
    const { invoice: again } = await wait(invoice)
    expect(again).toMatchObject({
      state: 'paid',
      payments: [{ txid, state: 'credited', credits: '80.000000' }],
    })
    await local.mine(3)
    expect(await till.available('acc')).toBe(100n * CREDIT)
    expect(await till.posted()).toEqual({
      grant: 160n * CREDIT,
      discount: 40n * CREDIT,
      reverse: -100n * CREDIT,
    })
    expect(await till.events()).toEqual([
      'invoice.detected',
      'invoice.paid',
      'invoice.reverted',
      'invoice.paid',
    ])
  })

  it('while nobody watched is found by whoever watches next', async () => {
    const invoice = await ask()
    stop.abort()
    await Promise.all(watches.map((watch) => watch.ended))
    await local.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await local.mine(5)
    stop = new AbortController()
    watches = [watchChain(till.ctx, till.chain('local'), stop.signal)]
    const { invoice: paid } = await wait(invoice)
    expect(paid.state).toBe('paid')
  })

  it('mined after the end of the lock is late, by the time of its block', async () => {
    const invoice = await ask()
    // Last, since the chain's clock never goes back.
    await local.rpc('evm_setNextBlockTimestamp', [Math.ceil(Date.parse(invoice.expires_at) / 1000)])
    await local.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await local.mine(2)
    const { invoice: paid } = await wait(invoice)
    expect(paid).toMatchObject({ state: 'paid', flags: ['late'], credits_granted: '100.000000' })
    expect(await till.events()).toEqual(['invoice.detected', 'invoice.paid_late'])
  })
})

/** An RPC endpoint that can be away. */
async function startEndpoint(target: string) {
  let waiting: (() => void)[] = []
  const endpoint = {
    up: true,
    url: '',
    /** Resolves when somebody has asked in vain. */
    refused: () => new Promise<void>((resolve) => void waiting.push(resolve)),
    close: () => new Promise<void>((resolve) => void server.close(() => resolve())),
  }
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      if (!endpoint.up) {
        response.writeHead(503).end('away')
        for (const tell of waiting) tell()
        waiting = []
        return
      }
      const headers = { 'content-type': 'application/json' }
      fetch(target, { method: 'POST', headers, body: Buffer.concat(parts).toString() })
        .then(async (answer) => response.writeHead(answer.status, headers).end(await answer.text()))
        .catch(() => response.writeHead(502).end())
    })
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  endpoint.url = `http://127.0.0.1:${address.port}`
  return endpoint
}

describe('watching', () => {
  it('goes on after its endpoint was away, and skips nothing', async () => {
    const lone = await startAnvil({ chainId: 31339 })
    const endpoint = await startEndpoint(lone.url)
    const config = {
      chains: {
        lone: {
          rpc: [endpoint.url],
          chain_id: 31339,
          assets: ['ETH'],
          confirmations: [{ blocks: 1 }],
          poll_ms: 50,
        },
      },
    }
    const other = await openTill({ config })
    await other.account('acc')
    const controller = new AbortController()
    const watch = watchChain(other.ctx, other.chain('lone'), controller.signal)
    await watch.ready
    const invoice = await createInvoice(other.ctx, { account: 'acc', rail: 'lone:ETH', credits: '100' })
    endpoint.up = false
    await endpoint.refused()
    await lone.send({ to: invoice.address, value: BigInt(invoice.amount) })
    await lone.mine(30)
    endpoint.up = true
    const done = await awaitPayment(other.ctx, {
      account: 'acc',
      invoice: invoice.id,
      timeoutMs: PATIENCE_MS,
    })
    expect(done.invoice.state).toBe('paid')
    controller.abort()
    await watch.ended
    await other.close()
    await endpoint.close()
    await lone.stop()
  })

  it('finds a payment to an address that was issued while its block was being read', async () => {
    const config = {
      chains: {
        side: {
          rpc: [side.url],
          chain_id: 31338,
          assets: ['ETH'],
          confirmations: [{ blocks: 1 }],
          poll_ms: 50,
        },
      },
    }
    const other = await openTill({ config })
    await other.account('acc')
    const chain = other.chain('side')
    const issued = Promise.withResolvers<InvoiceView>()
    let raced = false
    // The watched addresses have been loaded by the time a chain is asked to follow.
    const racing: Chain = {
      ...chain,
      async follow(...given) {
        if (!raced) {
          raced = true
          const invoice = await createInvoice(other.ctx, { account: 'acc', rail: 'side:ETH', credits: '100' })
          await side.send({ to: invoice.address, value: BigInt(invoice.amount) })
          issued.resolve(invoice)
        }
        return chain.follow(...given)
      },
    }
    const controller = new AbortController()
    const watch = watchChain(other.ctx, racing, controller.signal)
    const { id } = await issued.promise
    const done = await awaitPayment(other.ctx, { account: 'acc', invoice: id, timeoutMs: PATIENCE_MS })
    expect(done).toMatchObject({ timed_out: false, invoice: { state: 'paid' } })
    controller.abort()
    await watch.ended
    await other.close()
  })

  it('an endpoint of another chain credits nothing and sells nothing', async () => {
    const other = await openTill({
      config: { chains: { wrong: { rpc: [side.url], chain_id: 4242, assets: ['ETH'], poll_ms: 50 } } },
    })
    await other.account('acc')
    const asked = createInvoice(other.ctx, { account: 'acc', rail: 'wrong:ETH', credits: '100' })
    await expect(asked).rejects.toMatchObject({
      code: 'chain_unavailable',
      message: expect.not.stringMatching(/rpc|\d{4}/),
    })
    const controller = new AbortController()
    const watch = watchChain(other.ctx, other.chain('wrong'), controller.signal)
    controller.abort()
    await watch.ended
    await expect(watch.ready).rejects.toMatchObject({ code: 'chain_unavailable' })
    expect(await other.db.query('SELECT * FROM chain_cursor')).toEqual([])
    await other.close()
  })
})

const node = bitcoinNode()
const missing = 'missing' in node ? node.missing : null
if (missing !== null && process.env['CI'] !== 'true') console.warn(`skipped, Bitcoin payments: ${missing}`)

describe.skipIf(missing !== null && process.env['CI'] !== 'true')('a payment on Bitcoin', () => {
  let bitcoin: BitcoinNode
  let shop: Till
  let controller: AbortController
  let watch: Watch
  beforeAll(async () => {
    if ('missing' in node) throw new Error(node.missing)
    bitcoin = await startBitcoin(node)
    shop = await openTill({
      config: {
        chains: {
          bitcoin: {
            family: 'bitcoin',
            network: 'regtest',
            rpc: [bitcoin.url],
            bech32: bitcoin.bech32,
            confirmations: [{ blocks: 2 }],
            finality_blocks: 12,
            poll_ms: 50,
          },
        },
      },
    })
    await shop.account('acc')
    controller = new AbortController()
    watch = watchChain(shop.ctx, shop.chain('bitcoin'), controller.signal)
    await watch.ready
  })
  afterAll(async () => {
    controller?.abort()
    await watch?.ended
    await shop?.close()
    await bitcoin?.stop()
  })

  const look = async (id: string, holds: (view: InvoiceView) => boolean): Promise<InvoiceView> => {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    while (true) {
      const change = shop.ctx.changes.wait(id, signal)
      change.catch(() => undefined)
      const view = await getInvoice(shop.ctx, { account: 'acc', id })
      if (holds(view)) return view
      await change
    }
  }

  it('goes through the same code: mempool, block, confirmation, fork and return', async () => {
    const invoice = await createInvoice(shop.ctx, { account: 'acc', rail: 'bitcoin:BTC', pack: 'sale' })
    // $8 at $50,000
    expect(invoice).toMatchObject({ amount: '16000', asset: 'BTC', decimals: 8 })
    expect(invoice.address.startsWith(`${bitcoin.bech32}1q`)).toBe(true)
    const sent = await bitcoin.send([{ address: invoice.address, sats: 16_000n }])
    const seen = await look(invoice.id, (view) => view.payments.length > 0)
    expect(seen).toMatchObject({
      state: 'processing',
      payments: [{ state: 'seen', txid: sent.txid, block: null }],
    })

    await bitcoin.mine()
    await look(invoice.id, (view) => view.payments[0]?.confirmations === 1)
    await bitcoin.mine()
    const done = await awaitPayment(shop.ctx, { account: 'acc', invoice: invoice.id, timeoutMs: PATIENCE_MS })
    expect(done.invoice).toMatchObject({ state: 'paid', flags: [], credits_granted: '100.000000' })
    expect(await shop.available('acc')).toBe(100n * CREDIT)

    // The fork drops it to the mempool; from there it goes into a block again.
    await bitcoin.reorg(2)
    await look(invoice.id, (view) => view.state === 'processing')
    expect(await shop.available('acc')).toBe(0n)
    await bitcoin.mine(2)
    await look(invoice.id, (view) => view.state === 'paid')
    expect(await shop.available('acc')).toBe(100n * CREDIT)
    expect(await shop.posted()).toEqual({
      grant: 160n * CREDIT,
      discount: 40n * CREDIT,
      reverse: -100n * CREDIT,
    })
  })
})
