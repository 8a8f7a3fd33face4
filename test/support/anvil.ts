/**
 * A real local EVM chain: anvil, from npm. Self-contained, so that the demo uses it as well as the tests.
 *
 * By default every transaction is mined at once in a block of its own; `automine(false)` leaves that to `mine()`. The
 * node tells its hash before it mines it, so whatever changes the chain by hand waits for that block first: else the
 * transaction would sometimes be in a block made by hand, and there would be one less, or an empty one more.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { toHex } from 'viem'
import { mnemonicToAccount } from 'viem/accounts'
import { PATIENCE_MS } from './patience.ts'
import { printed, start } from './process.ts'

/** The well-known mnemonic of local development chains. Its accounts are funded here and refused on a main network. */
export const ANVIL_MNEMONIC = 'test test test test test test test test test test test junk'

export interface TestAccount {
  readonly address: `0x${string}`
  readonly privateKey: `0x${string}`
}

export interface AnvilOptions {
  /** 31337 by default. */
  readonly chainId?: number
  /** Blocks per epoch: `safe` is this many below the tip, `finalized` twice as many. 32 by default. */
  readonly slotsInAnEpoch?: number
  /** Seconds between blocks; without it a block is mined per transaction. */
  readonly blockTimeSeconds?: number
}

export interface Anvil {
  readonly url: string
  readonly chainId: number
  /** Ten accounts with 10,000 ETH each; anvil also signs for them itself (`send`). */
  readonly accounts: readonly TestAccount[]
  /** Any JSON-RPC method; throws an Error with the node's message. */
  rpc<T = unknown>(method: string, params?: readonly unknown[]): Promise<T>
  height(): Promise<number>
  mine(blocks?: number): Promise<void>
  automine(on: boolean): Promise<void>
  /** Sends from one of `accounts` (the first by default), signed by anvil. Returns the transaction hash. */
  send(request: SendRequest): Promise<`0x${string}`>
  /**
   * Resolves with the receipt once a transaction is mined: even with automatic mining the hash comes first.
   * Rejects when it takes too long.
   */
  mined(hash: string): Promise<Receipt>
  /** The signed bytes of a transaction, to bring it back after a fork dropped it. */
  rawTransaction(hash: string): Promise<string>
  sendRaw(raw: string): Promise<`0x${string}`>
  /** Replaces the newest `depth` blocks by empty ones; their transactions are dropped for good unless sent again. */
  reorg(depth: number): Promise<void>
  /** Takes the newest `depth` blocks away and puts none in their place. */
  shorten(depth: number): Promise<void>
  /** Remembers the chain as it is now. */
  snapshot(): Promise<string>
  /** Goes back to a snapshot, once. Mine afterwards: a shorter chain is not yet another one. */
  revert(snapshot: string): Promise<void>
  readonly stop: () => Promise<void>
}

export interface Receipt {
  readonly status: '0x0' | '0x1'
  readonly blockHash: string
  readonly blockNumber: string
  readonly contractAddress: `0x${string}` | null
}

export interface SendRequest {
  readonly from?: string
  readonly to?: string
  /** wei */
  readonly value?: bigint
  readonly data?: string
  /** Set it to let a transaction into a block that is known to revert. */
  readonly gas?: bigint
}

/** Starts anvil on a free port of 127.0.0.1. */
export async function startAnvil(options: AnvilOptions = {}): Promise<Anvil> {
  const chainId = options.chainId ?? 31337
  const args = ['--host', '127.0.0.1', '--port', '0', '--chain-id', String(chainId), '--color', 'never']
  if (options.slotsInAnEpoch !== undefined) args.push('--slots-in-an-epoch', String(options.slotsInAnEpoch))
  if (options.blockTimeSeconds !== undefined) args.push('--block-time', String(options.blockTimeSeconds))
  const started = start(anvilBinary(), args)
  const match = await printed(started, /Listening on (127\.0\.0\.1:\d+)/).catch(async (error) => {
    await started.stop('SIGKILL')
    throw error
  })
  const automatic = options.blockTimeSeconds === undefined
  return client(`http://${match[1]}`, { chainId, automatic, stop: () => started.stop() })
}

/** @throws when this platform has no anvil package installed. */
function anvilBinary(): string {
  const name = `@foundry-rs/anvil-${platform()}-${arch() === 'x64' ? 'amd64' : arch()}`
  const file = platform() === 'win32' ? 'bin/anvil.exe' : 'bin/anvil'
  const require = createRequire(import.meta.url)
  let path: string
  try {
    path = require.resolve(`${name}/${file}`)
  } catch (cause) {
    throw new Error(`${name} is not installed: run npm ci on a platform that anvil supports.`, { cause })
  }
  if (!existsSync(path)) throw new Error(`${path} is missing: run npm ci again.`)
  return path
}

/** The first ten accounts of the well-known mnemonic, m/44'/60'/0'/0/0 to 9. */
export function anvilAccounts(): readonly TestAccount[] {
  return Array.from({ length: 10 }, (_, addressIndex) => {
    const account = mnemonicToAccount(ANVIL_MNEMONIC, { addressIndex })
    const key = account.getHdKey().privateKey
    if (!key) throw new Error('a mnemonic account has a private key')
    return { address: account.address, privateKey: toHex(key) }
  })
}

interface Starting {
  readonly chainId: number
  /** Every transaction is mined as it comes. */
  readonly automatic: boolean
  readonly stop: () => Promise<void>
}

function client(url: string, { chainId, automatic: atFirst, stop }: Starting): Anvil {
  const accounts = anvilAccounts()
  const rpc = jsonRpc(url)
  let automatic = atFirst
  let forks = 0
  /** Resolves when a block holds all that was sent. */
  const settled = async () => {
    if (!automatic) return
    const until = performance.now() + PATIENCE_MS
    while (true) {
      const { pending } = await rpc<{ pending: string }>('txpool_status')
      if (BigInt(pending) === 0n) return
      if (performance.now() > until) throw new Error('a transaction waits that is not mined by itself')
      await delay(2)
    }
  }
  /** Empty blocks of the same second would have the same hashes again: another proposer makes them differ. */
  const propose = async () => {
    forks += 1
    await rpc('anvil_setCoinbase', [toHex(forks, { size: 20 })])
  }
  return {
    url,
    chainId,
    accounts,
    rpc,
    stop,
    height: async () => Number(await rpc<string>('eth_blockNumber')),
    async mine(blocks = 1) {
      await settled()
      await rpc('anvil_mine', [toHex(blocks)])
    },
    async automine(on) {
      await settled()
      await rpc('evm_setAutomine', [on])
      automatic = on
    },
    send({ from = accounts[0]?.address, to, value, data, gas }) {
      const optional = {
        ...(to === undefined ? {} : { to }),
        ...(value === undefined ? {} : { value: toHex(value) }),
        ...(data === undefined ? {} : { data }),
        ...(gas === undefined ? {} : { gas: toHex(gas) }),
      }
      return rpc('eth_sendTransaction', [{ from, ...optional }])
    },
    async mined(hash) {
      const until = performance.now() + PATIENCE_MS
      while (performance.now() < until) {
        const receipt = await rpc<Receipt | null>('eth_getTransactionReceipt', [hash])
        if (receipt) return receipt
        await delay(10)
      }
      throw new Error(`${hash} was not mined: is automatic mining off?`)
    },
    rawTransaction: (hash) => rpc('eth_getRawTransactionByHash', [hash]),
    sendRaw: (raw) => rpc('eth_sendRawTransaction', [raw]),
    async shorten(depth) {
      await settled()
      await propose()
      await rpc('anvil_rollback', [depth])
    },
    async reorg(depth) {
      await settled()
      await propose()
      await rpc('anvil_reorg', [depth, []])
    },
    async snapshot() {
      await settled()
      return rpc('evm_snapshot')
    },
    async revert(snapshot) {
      await settled()
      if (!(await rpc<boolean>('evm_revert', [snapshot]))) throw new Error(`No snapshot ${snapshot}.`)
    },
  }
}

function jsonRpc(url: string): Anvil['rpc'] {
  let id = 0
  return async <T>(method: string, params: readonly unknown[] = []): Promise<T> => {
    id += 1
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id, method, params }),
    })
    const answer = (await response.json()) as { result?: T; error?: { message: string } }
    if (answer.error) throw new Error(`${method}: ${answer.error.message}`)
    return answer.result as T
  }
}
