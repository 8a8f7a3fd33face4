/**
 * The world of the demo, all of it real and local: an EVM chain (anvil), a USDC-like token, a seller's till with an
 * extended public key, a buyer's purse with a funded wallet, and an upstream that answers model calls.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Anvil } from '../test/support/anvil.ts'
import { setStage as setTestStage } from '../test/support/stage.ts'
import { startUpstream, type Upstream } from './upstream.ts'

const BUDGET = { per_payment: '25.00', per_day: '50.00', per_month: '200.00' }
const BLOCK_MS = 400
/** Some times as many as confirm a payment, and far fewer than make one final: what is to be reorganised must not be. */
const MOST_BLOCKS = 12

export interface Stage {
  readonly rpc: string
  readonly database: string
  readonly configPath: string
  readonly upstream: Upstream
  readonly model: string
  /** What `bursar` processes of this stage need in their environment. */
  readonly env: Record<string, string>
  /** Address of the till's HTTP server, and a key for an HTTP client, made when it is asked for. */
  readonly till: { readonly url: string; key(): Promise<string> }
  /** Mines a block now and then while `work` runs: enough of them to confirm what it waits for, however slow it is. */
  mineWhile<T>(work: () => Promise<T>): Promise<T>
  /** From here on a block every second, as on a chain that others use; faster would run ahead of the clock. */
  mineOn(): Promise<void>
  /** Asks `condition` again and again until it holds. */
  until(condition: () => Promise<boolean>, what: string): Promise<void>
  /** Reorganises the chain so that a transaction is gone; returns its raw bytes. */
  dropTransaction(txid: string): Promise<string>
  resend(raw: string): Promise<void>
  stop(): Promise<void>
}

export async function setStage(): Promise<Stage> {
  const upstream = await startUpstream(process.env)
  const stage = await setTestStage({
    upstream,
    name: 'Demo Credits',
    prefix: 'bursar-demo-',
    confirmations: 3,
    wallet: 'keystore',
    budget: BUDGET,
  })
  const { chain, database, configPath, stop } = stage
  // The key of the wallet is in its file: nothing here reads one from the environment.
  const { BURSAR_WALLET_KEY: _, ...env } = stage.env
  try {
    const { url } = await stage.serve()
    return {
      rpc: chain.url,
      database,
      configPath,
      upstream,
      model: upstream.model,
      env,
      till: { url, key: () => stage.key('demo') },
      ...chainActs(chain),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function chainActs(
  chain: Anvil,
): Pick<Stage, 'mineWhile' | 'mineOn' | 'until' | 'dropTransaction' | 'resend'> {
  return {
    async mineWhile(work) {
      const finished = new AbortController()
      const mining = (async () => {
        for (let mined = 0; mined < MOST_BLOCKS && !finished.signal.aborted; mined++) {
          await sleep(BLOCK_MS)
          await chain.mine()
        }
      })()
      try {
        return await work()
      } finally {
        finished.abort()
        await mining
      }
    },
    mineOn: async () => void (await chain.rpc('evm_setIntervalMining', [1])),
    async until(condition, what) {
      const deadline = performance.now() + 120_000
      while (!(await condition())) {
        if (performance.now() > deadline) throw new Error(`waited two minutes for ${what}`)
        await sleep(100)
      }
    },
    async dropTransaction(txid) {
      const raw = await chain.rawTransaction(txid)
      const receipt = await chain.rpc<{ blockNumber: string }>('eth_getTransactionReceipt', [txid])
      await chain.reorg((await chain.height()) - Number(receipt.blockNumber) + 1)
      await chain.mine()
      return raw
    },
    resend: async (raw) => void (await chain.sendRaw(raw)),
  }
}
