/** Two tills with different configurations on one database: what they must agree on, and what is their own. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openChains } from '../../src/chains/index.ts'
import { readCatalogue } from '../../src/credits/packs.ts'
import { statement } from '../../src/db/db.ts'
import { createInvoice } from '../../src/invoices/create.ts'
import { acceptDeployment, bindDeployment, readDeployment } from '../../src/invoices/deployment.ts'
import { SHOP_KEY } from '../invoices/shop.ts'
import { BITCOIN_TPUB, NOWHERE, openTill, type Till, testConfig } from '../invoices/till.ts'

let till: Till
beforeEach(async () => {
  till = await openTill()
  await till.account('acc')
})
afterEach(() => till.close())

type Over = Record<string, unknown>

const chainOf = (chain_id: number, over: Over = {}) => ({
  chain_id,
  rpc: [NOWHERE],
  assets: ['ETH'],
  ...over,
})

function termsOf(over: Over = {}) {
  const config = testConfig(over)
  return {
    chains: openChains({ config, runtime: till.ctx.runtime }),
    usdPerCredit: readCatalogue(config).usdPerCredit,
  }
}

const bind = (over: Over = {}) => bindDeployment(till.ctx, termsOf(over))

/** An invoice on each family, as the first till sells them. */
async function sell(): Promise<void> {
  await till.seedCursor('local')
  await till.seedCursor('bitcoin')
  for (const rail of ['local:ETH', 'bitcoin:BTC']) {
    await createInvoice(till.ctx, { account: 'acc', rail, credits: '100' })
  }
}

const mainnet = {
  rates: {},
  chains: { ethereum: { rpc: [NOWHERE], assets: ['ETH'] } },
  keys: { evm: SHOP_KEY },
}

const REFUSED: [string, Over, RegExp][] = [
  [
    'another EVM key',
    { keys: { evm: SHOP_KEY, bitcoin: BITCOIN_TPUB } },
    /evm key .+ whose first address is 0x.+ keys\.evm is .+ 0x/,
  ],
  [
    'another chain id',
    { chains: { local: chainOf(31_399) } },
    /chain local is the network eip155:31337; .+ eip155:31399/,
  ],
  [
    'another price of a credit',
    { credit: { usd: '0.25' } },
    /a credit costs 0\.10 USD; credit\.usd is 0\.25/,
  ],
  ['main networks beside test networks', mainnet, /belongs to test networks; .+ main networks/],
]

describe('a till that shares a database', () => {
  test.each(REFUSED)('with %s is refused, naming both', async (_, over, message) => {
    await bind()
    await sell()
    const before = await readDeployment(till.db)
    const refusal = await bind(over).catch((thrown: unknown) => thrown)
    expect(refusal).toMatchObject({ code: 'invalid_config', remedy: expect.stringMatching(/\S/) })
    expect((refusal as Error).message).toMatch(message)
    expect(await readDeployment(till.db)).toEqual(before)
    await bind()
  })

  test.each<[string, Over]>([
    ['packs', { packs: [{ id: 'other', credits: '5' }] }],
    [
      'models and margins',
      { models: { m: { upstream: 'u', credits_per_call: '2' } }, upstreams: { u: { base_url: NOWHERE } } },
    ],
    [
      'endpoints and confirmations',
      { chains: { local: chainOf(31_337, { confirmations: [{ blocks: 9 }] }) } },
    ],
    ['an additional chain', { chains: { local: chainOf(31_337), third: chainOf(31_339) } }],
    ['the same key in another form', { keys: { evm: SHOP_KEY }, chains: {} }],
    ['rates', { rates: { fixed: { ETH: '3000', BTC: '60000' } } }],
  ])('may differ in %s', async (_, over) => {
    await bind()
    await sell()
    await expect(bind(over)).resolves.toBeUndefined()
  })

  test.each(REFUSED.slice(0, 3))(
    'and that nothing rests on yet is corrected by starting again: %s',
    async (_, over) => {
      await bind()
      await bind(over)
      await expect(bind(over)).resolves.toBeUndefined()
    },
  )

  test('binds one of two that start at once, and the other hears of it', async () => {
    await sell()
    const outcomes = await Promise.allSettled([bind(), bind({ credit: { usd: '0.25' } })])
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('issues nothing on terms that another till has replaced before anything rested on them', async () => {
    await bind()
    await bind({ keys: { evm: SHOP_KEY, bitcoin: BITCOIN_TPUB } })
    await till.seedCursor('local')
    const asked = createInvoice(till.ctx, { account: 'acc', rail: 'local:ETH', credits: '1' })
    await expect(asked).rejects.toMatchObject({ code: 'chain_unavailable' })
    expect(await till.db.query('SELECT 1 FROM address')).toEqual([])
  })
})

describe('a human', () => {
  test('moves a database to another key and price; addresses of the old key stay watched', async () => {
    await bind()
    await sell()
    const over = { keys: { evm: SHOP_KEY, bitcoin: BITCOIN_TPUB }, credit: { usd: '0.25' } }
    const changed = await acceptDeployment(till.ctx, termsOf(over))
    expect(changed.map(({ name }) => name)).toEqual(['key:evm', 'credit_usd'])
    await bind(over)
    await expect(bind()).rejects.toMatchObject({ code: 'invalid_config' })
    expect(await till.db.query("SELECT 1 FROM address WHERE family = 'evm'")).toHaveLength(1)
    expect(await acceptDeployment(till.ctx, termsOf(over))).toEqual([])
  })

  test('cannot move it to another network', async () => {
    await bind()
    await sell()
    const before = await readDeployment(till.db)
    for (const over of [{ chains: { local: chainOf(31_399) } }, mainnet]) {
      await expect(acceptDeployment(till.ctx, termsOf(over))).rejects.toMatchObject({
        code: 'invalid_config',
      })
    }
    expect(await readDeployment(till.db)).toEqual(before)
  })
})

test('a database from before terms were recorded is bound to what it was used with', async () => {
  await sell()
  // As its migration does.
  const { terms } = await import('../../src/db/migrations/0005-terms.ts')
  const seeds = terms.match(/^INSERT INTO[\s\S]+?;$/gm) ?? []
  expect(seeds).toHaveLength(3)
  await till.db.commit(seeds.map((sql) => statement(sql)))
  for (const [, over] of REFUSED.slice(0, 3)) {
    await expect(bind(over)).rejects.toMatchObject({ code: 'invalid_config' })
  }
  await expect(bind()).resolves.toBeUndefined()
})
