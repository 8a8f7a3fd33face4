/**
 * Runs the demo as a user would and believes nothing of what it says: the payment is read from the chain, the
 * credits are summed from the database, both by this file alone.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createClient } from '@libsql/client'
import { createPublicClient, decodeEventLog, http, parseAbi } from 'viem'
import type { DemoResult } from '../demo/result.ts'

const transferAbi = parseAbi(['event Transfer(address indexed from, address indexed to, uint256 value)'])

/** A temporary folder of its own: others may play the demo at the same time. */
const folder = mkdtempSync(join(tmpdir(), 'bursar-ci-'))
const env = { ...process.env, TMPDIR: folder }

await playsForPeople()
const demo = await startKept()
try {
  const paid = await checkChain(demo.result)
  await checkDatabase(demo.result, paid)
  checkArithmetic(demo.result)
} finally {
  await demo.stop()
}
assert(!existsSync(demo.result.database), 'the demo left its database behind')
rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
console.log('demo ok:', JSON.stringify(demo.result.credits))

/** Without options it prints every step, exits 0 by itself and leaves nothing in the temporary folder. */
async function playsForPeople(): Promise<void> {
  const started = performance.now()
  const child = spawn('npm', ['run', 'demo'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk.toString()
  })
  const [code] = (await once(child, 'close')) as [number]
  const seconds = (performance.now() - started) / 1000
  assert.equal(code, 0, `npm run demo exited with ${code}`)
  for (const word of [
    'list_offers',
    'create_invoice',
    'pay_invoice',
    'await_payment',
    'call_model',
    'budget_exceeded',
    'insufficient_credits',
    'reorganises',
  ]) {
    assert(printed.includes(word), `the demo does not show ${word}:\n${printed}`)
  }
  assert.deepEqual(leftovers(), [], 'the demo left something in the temporary folder')
  console.log(`npm run demo: ${seconds.toFixed(1)} s`)
}

async function startKept(): Promise<{ result: DemoResult; stop(): Promise<void> }> {
  const child = spawn(process.execPath, ['demo/main.ts', '--json', '--keep'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  for await (const line of createInterface(child.stdout)) {
    const stop = async (): Promise<void> => {
      child.kill('SIGTERM')
      const [code] = await exited
      assert.equal(code, 0, `the demo exited with ${String(code)} when asked to stop`)
    }
    return { result: JSON.parse(line) as DemoResult, stop }
  }
  throw new Error('the demo printed nothing')
}

/** The transfer as the chain has it: recipient, amount, block and confirmations. Returns the atomic amount. */
async function checkChain({ rpc, invoice, payment }: DemoResult): Promise<bigint> {
  const chain = createPublicClient({ transport: http(rpc) })
  const receipt = await chain.getTransactionReceipt({ hash: payment.txid as `0x${string}` })
  assert.equal(receipt.status, 'success')
  const transfers = receipt.logs
    .map((log) => decodeEventLog({ abi: transferAbi, data: log.data, topics: log.topics }).args)
    .filter(({ to }) => to.toLowerCase() === invoice.address.toLowerCase())
  assert.equal(transfers.length, 1)
  assert.equal(transfers[0]?.value, BigInt(invoice.amount))
  assert(payment.confirmations >= 3, `${payment.confirmations} confirmations`)
  const head = await chain.getBlockNumber()
  assert(head >= BigInt(payment.block) + BigInt(payment.confirmations) - 1n)
  return BigInt(invoice.amount)
}

/** Journal, balance, lots, payment and receipt, from the database file. */
async function checkDatabase(
  { database, invoice, payment, credits, call, reorg }: DemoResult,
  paid: bigint,
): Promise<void> {
  const db = createClient({ url: `file:${database}`, intMode: 'bigint' })
  const one = async (sql: string, args: string[] = []): Promise<Record<string, unknown>> => {
    const { rows } = await db.execute({ sql, args })
    assert.equal(rows.length, 1, `${sql} gives ${rows.length} rows`)
    return rows[0] ?? {}
  }
  const account = (await one('SELECT account FROM invoice WHERE id = ?', [invoice.id])).account as string
  const journal = await one(
    `SELECT sum(available) AS available, sum(held) AS held, sum(available + held + counter) AS zero,
            sum(CASE WHEN book = 'payments' THEN -counter ELSE 0 END) AS granted,
            sum(CASE WHEN book = 'revenue' THEN counter ELSE 0 END) AS charged
     FROM posting WHERE account = ?`,
    [account],
  )
  const balance = await one('SELECT available, held FROM account WHERE id = ?', [account])
  const lots = await one('SELECT sum(remaining) AS remaining FROM lot WHERE account = ?', [account])
  assert.equal(journal.zero, 0n, 'a posting does not sum to zero')
  assert.equal(balance.available, journal.available)
  assert.equal(balance.held, 0n)
  assert.equal(journal.held, 0n)
  assert.equal(lots.remaining, balance.available)
  assert.equal(balance.available, micro(credits.after))
  assert.equal(balance.available, micro(reorg.final))
  assert.equal(journal.granted, micro(credits.granted))
  assert.equal(journal.charged, micro(credits.charged))

  const stored = await one('SELECT amount, state, epoch, credits FROM payment WHERE txid = ?', [payment.txid])
  assert.deepEqual(
    { amount: stored.amount, state: stored.state, epoch: stored.epoch, credits: stored.credits },
    { amount: String(paid), state: 'credited', epoch: 2n, credits: micro(credits.granted) },
  )
  const receipt = await one(
    `SELECT held, charged, state FROM receipt WHERE account = ? AND state = 'charged'`,
    [account],
  )
  assert.deepEqual(receipt.held, micro(call.held))
  assert.deepEqual(receipt.charged, micro(call.charged))
  db.close()
}

function checkArithmetic({ credits, call, refusals, reorg, invoice }: DemoResult): void {
  assert.equal(micro(credits.after), micro(credits.before) + micro(credits.granted) - micro(credits.charged))
  assert.equal(credits.charged, call.charged)
  assert(micro(call.charged) > 0n && micro(call.charged) <= micro(call.held))
  assert(call.text.length > 0)
  assert.deepEqual(refusals, { budget: 'budget_exceeded', credits: 'insufficient_credits' })
  assert.equal(reorg.reversed, credits.granted)
  assert.equal(micro(reorg.balance), micro(credits.after) - micro(credits.granted))
  assert.equal(reorg.regranted, credits.granted)
  assert.equal(reorg.final, credits.after)
  assert.equal(invoice.rail, 'ethereum:USDC')
}

function micro(credits: string): bigint {
  const match = /^(-?)(\d+)\.(\d{6})$/.exec(credits)
  assert(match, `${credits} is not credits with six decimals`)
  return BigInt(`${match[1]}${match[2]}${match[3]}`)
}

function leftovers(): string[] {
  return readdirSync(folder).filter((name) => name.startsWith('bursar-demo-'))
}
