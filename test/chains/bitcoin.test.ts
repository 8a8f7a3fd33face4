import { hex } from '@scure/base'
import { OutScript, Transaction } from '@scure/btc-signer'
import * as fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { PRESETS } from '../../src/chains/bitcoin/presets.ts'
import { parseBlock, parseTransaction } from '../../src/chains/bitcoin/raw.ts'
import type { Chain } from '../../src/chains/chain.ts'
import { type Proxy, startProxy } from '../support/proxy.ts'
import { chainContract, keysOf, toTip, watch } from './contract.ts'
import { rejectionOf } from './support.ts'
import { type BitcoinWorld, bitcoinWorld, noBitcoin } from './worlds.ts'

describe.skipIf(noBitcoin() !== null)('bitcoin', () => {
  chainContract('bitcoin', bitcoinWorld)

  describe('on a node', () => {
    let world: BitcoinWorld
    let chain: Chain
    let proxy: Proxy
    let next = 100

    beforeAll(async () => {
      world = await bitcoinWorld()
      proxy = await startProxy(world.url)
      chain = world.open()
    })
    afterEach(() => {
      proxy.decide = () => 'pass'
      proxy.alter = (_, result) => result
    })
    afterAll(async () => {
      await proxy?.stop()
      await world?.stop()
    })

    const fresh = () => {
      next += 1
      return chain.recipient(next).address
    }

    it('sees a payment in the mempool, then mined, under one key', async () => {
      const address = fresh()
      const cursor = await chain.start()
      const txid = await world.pay([{ address, amount: 70_000n }])
      const seen = await chain.follow(cursor, watch(address))
      expect(seen.transfers).toEqual([])
      expect(seen.pending).toMatchObject([{ to: address, amount: 70_000n, txid, block: null }])
      const again = await chain.follow(seen.cursor, watch(address))
      expect(again.pending).toEqual(seen.pending)
      await world.mine()
      const mined = await chain.follow(again.cursor, watch(address))
      expect(mined.pending).toEqual([])
      expect(keysOf(mined.transfers)).toEqual(keysOf(seen.pending))
    })

    it('finds a waiting payment to an address that was issued while the mempool was read', async () => {
      const address = fresh()
      const cursor = await chain.start()
      const txid = await world.pay([{ address, amount: 70_000n }])
      const early = await chain.follow(cursor, watch())
      expect(early.pending).toEqual([])
      const again = await chain.follow(cursor, watch(address))
      expect(again.pending).toMatchObject([{ to: address, txid }])
      await world.mine()
    })

    it('shows a replacement instead of what it replaced (BIP-125)', async () => {
      const address = fresh()
      const cursor = await chain.start()
      const first = await world.node.send([{ address, sats: 80_000n }])
      const before = await chain.follow(cursor, watch(address))
      expect(before.pending.map(({ txid }) => txid)).toEqual([first.txid])
      const second = await world.node.send([{ address, sats: 50_000n }], {
        feeSats: 60_000n,
        spend: first.spent,
      })
      const after = await chain.follow(before.cursor, watch(address))
      expect(after.pending.map(({ txid, amount }) => [txid, amount])).toEqual([[second.txid, 50_000n]])
      await world.mine()
      expect((await toTip(chain, after.cursor, watch(address))).transfers).toHaveLength(1)
    })

    it('fetches each waiting transaction once', async () => {
      const address = fresh()
      const through = world.openWith({ rpc: [proxy.url] })
      const cursor = await through.start()
      await world.pay([{ address, amount: 70_000n }])
      await world.pay([{ address, amount: 71_000n }])
      let fetched = 0
      proxy.decide = ({ method }) => {
        fetched += method === 'getrawtransaction' ? 1 : 0
        return 'pass'
      }
      for (let i = 0; i < 3; i += 1) {
        const { pending } = await through.follow(cursor, watch(address))
        expect(pending.map(({ amount }) => amount)).toEqual(expect.arrayContaining([70_000n, 71_000n]))
        expect(pending).toHaveLength(2)
      }
      expect(fetched).toBe(2)
      await world.mine()
    })

    it('finds taproot payments, and leaves other scripts alone', async () => {
      const taproot = world.openWith({}, 'p2tr')
      const { address } = taproot.recipient(3)
      expect(address.startsWith(`${world.node.bech32}1p`)).toBe(true)
      const cursor = await taproot.start()
      await world.pay([
        { address, amount: 12_345_678n },
        { address: fresh(), amount: 10_000n },
      ])
      await world.mine()
      const everything = { has: () => true }
      const { transfers } = await toTip(taproot, cursor, watch(address))
      expect(transfers.map(({ to, amount }) => [to, amount])).toEqual([[address, 12_345_678n]])
      // The coinbase's commitment (OP_RETURN, no value) is no payment to anyone.
      const all = await toTip(taproot, cursor, everything)
      expect(all.transfers.every(({ amount, to }) => amount > 0n && to.startsWith(world.node.bech32))).toBe(
        true,
      )
    })

    it('reads every block as the node itself does', async () => {
      for (const height of [0, 1, 50, await world.height()]) {
        const hash = await world.node.rpc<string>('getblockhash', height)
        const told = await world.node.rpc<{ tx: string[]; time: number; previousblockhash?: string }>(
          'getblock',
          hash,
          1,
        )
        const parsed = parseBlock(hex.decode(await world.node.rpc<string>('getblock', hash, 0)))
        expect(parsed.hash).toBe(hash)
        expect(parsed.time).toBe(told.time)
        expect(parsed.parent).toBe(told.previousblockhash ?? '0'.repeat(64))
        expect(parsed.transactions.map((transaction) => transaction.txid())).toEqual(told.tx)
      }
    })

    it('mixes no two chains when one forks away between two requests', async () => {
      const address = fresh()
      const cursor = await chain.start()
      await world.mine()
      await world.pay([{ address, amount: 10_000n }])
      await world.mine()
      const racing = world.openWith({ rpc: [proxy.url] })
      await racing.verify()
      let forked = false
      proxy.decide = async ({ method }): Promise<'pass'> => {
        if (method === 'getblock' && !forked) {
          forked = true
          await world.fork(2)
        }
        return 'pass'
      }
      const step = await racing.follow(cursor, watch(address))
      expect(forked).toBe(true)
      // The node still serves the blocks of the old chain by their hash: then the step is wholly of that chain.
      expect(step.cursor.hash).toBe(step.tip.hash)
      const later = await toTip(racing, step.cursor, watch(address))
      expect(later.transfers).toEqual([])
      expect(later.cursor.hash).toBe(await world.hashAt(later.cursor.height))
      const paid = step.transfers[0]?.block?.height
      expect(paid === undefined || (later.forkedAt ?? paid) < paid).toBe(true)
    })

    it('reads a long fork to the old cursor in one step, so that a payment that moved far up is not reported gone', async () => {
      const address = fresh()
      const { node } = world
      await world.mine(2)
      const cursor = await chain.start()
      const txid = await world.pay([{ address, amount: 30_000n }])
      await world.mine(16)
      const before = await toTip(chain, cursor, watch(address))
      await world.shorten(16)
      await node.mineEmpty(13)
      await world.again(txid)
      await world.mine(5)
      const step = await chain.follow(before.cursor, watch(address))
      expect(step.forkedAt).toBe(cursor.height)
      expect(step.cursor.height).toBe(before.cursor.height)
      expect(keysOf(step.transfers)).toEqual(keysOf(before.transfers))
    })

    it('counts an output of nothing as no payment', async () => {
      const address = fresh()
      const cursor = await chain.start()
      const outputs = [
        { address, sats: 0n },
        { address, sats: 20_000n },
      ]
      const { hex: raw } = await world.node.send(outputs, { broadcast: false })
      await world.node.rpc('generateblock', fresh(), [raw])
      const { transfers } = await toTip(chain, cursor, watch(address))
      expect(transfers.map(({ amount }) => amount)).toEqual([20_000n])
    })

    it('takes a wrong password for an unreachable node, and repeats none of it', async () => {
      const url = world.url.replace(/u:\w+@/, 'someone:hunter2hunter2@')
      const error = await rejectionOf(world.open({ urls: [url] }).verify())
      expect(error.code).toBe('chain_unavailable')
      expect(JSON.stringify(error.toProblem()) + String(error.stack) + String(error.cause)).not.toMatch(
        /hunter2|someone/,
      )
    })

    it('refuses an address prefix that the node does not know', async () => {
      const error = await rejectionOf(world.openWith({ bech32: 'tb' }).verify())
      expect(error.code).toBe('invalid_config')
      expect(error.message).toMatch(/does not know addresses such as tb1/)
      await expect(world.openWith({}, 'p2tr').verify()).resolves.toBeUndefined()
    })

    it('sells nothing on a network whose node is still downloading it', async () => {
      const loading = world.openWith({ network: 'testnet', rpc: [proxy.url, 'http://u:p@127.0.0.1:9'] })
      let downloading = true
      // A regtest node that passes for one of testnet3: its first start has no end here.
      proxy.alter = ({ method, params }, result) => {
        if (method === 'getblockhash' && params[0] === 0) return PRESETS.testnet.genesis
        if (method === 'validateaddress') return { isvalid: true }
        if (method !== 'getblockchaininfo') return result
        return { ...(result as object), chain: 'test', initialblockdownload: downloading }
      }
      const error = await rejectionOf(loading.verify())
      expect(error.code).toBe('chain_unavailable')
      expect(error.message).toMatch(/still downloading/)
      downloading = false
      await expect(loading.verify()).resolves.toBeUndefined()
    })

    it('says which block a pruned node has deleted, and reads it from another one', async () => {
      const address = fresh()
      const cursor = await chain.start()
      await world.pay([{ address, amount: 70_000n }])
      await world.mine()
      proxy.decide = ({ method }) =>
        method === 'getblock' ? { error: { code: -1, message: 'Block not available (pruned data)' } } : 'pass'
      const pruned = world.openWith({ rpc: [proxy.url] })
      const error = await rejectionOf(pruned.follow(cursor, watch(address)))
      expect(error.code).toBe('chain_unavailable')
      expect(error.message).toMatch(new RegExp(`deleted block ${cursor.height + 1}`))
      const both = world.openWith({ rpc: [proxy.url, world.url] })
      expect((await both.follow(cursor, watch(address))).transfers).toHaveLength(1)
    })

    it('waits for a node that is still starting', async () => {
      const starting = world.openWith({ rpc: [proxy.url] })
      proxy.decide = () => ({ error: { code: -28, message: 'Loading block index...' } })
      expect((await rejectionOf(starting.start())).code).toBe('chain_unavailable')
      proxy.decide = () => 'pass'
      expect((await starting.start()).height).toBe(await world.height())
    })
  })
})

describe('raw transactions', () => {
  const output = fc.record({
    sats: fc.bigInt({ min: 0n, max: 2_100_000_000_000_000n }),
    hash: fc.uint8Array({ minLength: 20, maxLength: 20 }),
  })

  it('have the outputs and the id that the signer gave them, with and without witnesses', () => {
    fc.assert(
      fc.property(fc.array(output, { minLength: 1, maxLength: 300 }), fc.boolean(), (outputs, segwit) => {
        const tx = new Transaction({ allowUnknownInputs: true, allowUnknownOutputs: true })
        for (const { sats, hash } of outputs) {
          tx.addOutput({ script: OutScript.encode({ type: 'wpkh', hash }), amount: sats })
        }
        const proof = segwit
          ? { finalScriptWitness: [new Uint8Array(72), new Uint8Array(33)] }
          : { finalScriptSig: new Uint8Array(107) }
        const script = OutScript.encode({ type: 'wpkh', hash: new Uint8Array(20) })
        tx.addInput({
          txid: hex.decode('11'.repeat(32)),
          index: 1,
          witnessUtxo: { script, amount: 1n },
          ...proof,
        })
        const raw = tx.toBytes(true, segwit)
        const parsed = parseTransaction(raw)
        expect(parsed.txid()).toBe(tx.id)
        expect(parsed.outputs.map(({ sats }) => sats)).toEqual(outputs.map(({ sats }) => sats))
        const cut = raw.subarray(0, raw.length - 1)
        expect(() => parseTransaction(cut)).toThrow(RangeError)
      }),
      { numRuns: 50 },
    )
  })

  it('are refused when bytes are left over, or when they claim to be endless', () => {
    const raw = hex.decode(
      [
        '01000000',
        '01',
        '11'.repeat(32),
        '0100000000ffffffff',
        '01',
        '00e1f50500000000',
        '160014',
        '22'.repeat(20),
        '00000000',
      ].join(''),
    )
    expect(parseTransaction(raw).outputs[0]?.sats).toBe(100_000_000n)
    expect(() => parseTransaction(Uint8Array.from([...raw, 0]))).toThrow(RangeError)
    const endless = hex.decode(`01000000ff${'ff'.repeat(8)}`)
    expect(() => parseTransaction(endless)).toThrow(RangeError)
  })
})
