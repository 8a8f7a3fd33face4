/** Claude Code and Codex, as people run them, against `bursar serve`: what they get, what it costs, what they are shown. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Cli, type Errand, missingCli, runClaude, runCodex } from '../support/clis.ts'
import type { Ran } from '../support/program.ts'
import { CHARGE, saysNext } from '../support/scripted-model.ts'
import { type Buyer, type Serving, startServing } from '../support/serving.ts'
import { messageFrames, responseFrames, streams } from '../support/streams.ts'
import { startTap, type Tap } from '../support/tap.ts'
import {
  answers,
  type Behaviour,
  type Received,
  refuses,
  type ScriptedUpstream,
  startScriptedUpstream,
} from '../support/upstream.ts'

interface Client {
  readonly cli: Cli
  readonly model: string
  readonly path: string
  /** As the upstream gets it. */
  readonly limit: string
  readonly run: (errand: Errand) => Promise<Ran>
  /** A tool of its own that runs a command. */
  readonly command: { readonly tool: string; readonly input: object }
  readonly cut: readonly string[]
  readonly shows: Readonly<Record<Refusal, Shown>>
}

type Refusal = 'empty' | 'frozen' | 'unknown' | 'busy' | 'broken' | 'cut'
interface Shown {
  readonly says: RegExp
  /** The statuses of its calls, when it may ask again once. */
  readonly asks: readonly number[]
}

/** A result that only the run of it can give. */
const COMMAND = 'echo tool-ran-$((6*7))'

const CLIENTS: readonly Client[] = [
  {
    cli: 'claude',
    model: 'claude-opus-5-5',
    path: '/v1/messages?beta=true',
    limit: 'max_tokens',
    run: runClaude,
    command: { tool: 'Bash', input: { command: COMMAND, description: 'Counts' } },
    cut: messageFrames({ delta: null, stop: false }),
    shows: {
      empty: {
        says: /^API Error: 402 This call can cost up to .* Buy at least .* create_invoice/,
        asks: [402],
      },
      frozen: {
        says: /^Failed to authenticate\. API Error: 403 This account is frozen.* Ask the seller/,
        asks: [403],
      },
      unknown: { says: /issue with the selected model \(nobody\)/, asks: [404, 404] },
      busy: { says: /429.* it costs nothing\. .*wait a little/, asks: [429, 429] },
      broken: {
        says: /^API Error: 502 The upstream refused the call with status 500; it costs nothing/,
        asks: [502, 502],
      },
      cut: { says: /^Grüße 👋\nAPI Error: Server error mid-response/, asks: [200, 200, 200, 200] },
    },
  },
  {
    cli: 'codex',
    model: 'gpt-5.5',
    path: '/v1/responses',
    limit: 'max_output_tokens',
    run: runCodex,
    command: { tool: 'exec_command', input: { cmd: COMMAND } },
    cut: responseFrames({ last: null }),
    shows: {
      empty: {
        says: /status 402 Payment Required: This call can cost up to .* Buy at least .* create_invoice/,
        asks: [402, 402],
      },
      frozen: { says: /status 403 Forbidden: This account is frozen.* Ask the seller/, asks: [403, 403] },
      unknown: {
        says: /status 404 Not Found: There is no model called "nobody" here\. Choose one of/,
        asks: [404, 404],
      },
      busy: { says: /exceeded retry limit, last status: 429/, asks: [429, 429] },
      broken: {
        says: /status 502 Bad Gateway: The upstream refused the call with status 500; it costs nothing/,
        asks: [502, 502, 502, 502],
      },
      cut: {
        says: /stream disconnected before completion: The upstream broke off before .* charged anew/,
        asks: [200, 200],
      },
    },
  },
]

const BUSY = answers(
  429,
  { type: 'error', error: { type: 'rate_limit_error', message: 'x' } },
  { 'retry-after': '0' },
)

describe.each(CLIENTS)(
  '$cli',
  { timeout: 900_000 },
  ({ cli, model, path, limit, run, command, cut, shows }) => {
    const missing = missingCli(cli)
    if (missing !== null && process.env['CI'] !== 'true') console.warn(`skipped, ${cli}: ${missing}`)

    describe.skipIf(missing !== null && process.env['CI'] !== 'true')('by base URL alone', () => {
      let upstream: ScriptedUpstream
      let serving: Serving
      let tap: Tap
      let buyer: Buyer
      let before = 0

      beforeAll(async () => {
        if (missing !== null) throw new Error(missing)
        upstream = await startScriptedUpstream()
        serving = await startServing(configuration(upstream.baseUrl))
        tap = await startTap()
      })
      afterAll(async () => {
        await tap?.stop()
        await serving?.close()
        await upstream?.stop()
      })
      beforeEach(() => {
        before = upstream.received.length
        upstream.behave(saysNext(() => ({ text: 'Good day.' })))
        tap.turn(serving.tills[0]?.url ?? '')
      })

      const sent = (): readonly Received[] => upstream.received.slice(before)
      const asks = async (credits: string, over: Partial<Errand> = {}): Promise<Ran> => {
        buyer = await serving.buyer(credits)
        return run({ url: tap.url, key: buyer.key, model, prompt: 'Good day?', ...over })
      }
      /** The charge of a stream is written a moment after its end. */
      const expectLeft = (available: bigint) =>
        expect.poll(() => serving.balance(buyer.account)).toEqual({ available, held: 0n })

      test('answers a prompt, at its exact cost', async () => {
        const { status, stdout } = await asks('10')
        expect({ status, stdout: stdout.trim() }).toEqual({ status: 0, stdout: 'Good day.' })
        expect(sent()).toMatchObject([{ path, body: { [limit]: 128_000, stream: true } }])
        await expectLeft(10_000_000n - CHARGE)
      })

      test('runs a tool and goes on with what it gave', async () => {
        upstream.behave(
          saysNext(({ results }) => (results.length === 0 ? command : { text: `It gave ${results[0]}` })),
        )
        const { status, stdout } = await asks('10', { tools: true })
        expect({ status, stdout }).toEqual({
          status: 0,
          stdout: expect.stringMatching(/It gave .*tool-ran-42/),
        })
        expect(sent()).toHaveLength(2)
        await expectLeft(10_000_000n - 2n * CHARGE)
      })

      test('is given fewer tokens where the balance does not cover what it asks for', async () => {
        const { status, stdout } = await asks('1')
        expect({ status, stdout: stdout.trim() }).toEqual({ status: 0, stdout: 'Good day.' })
        const given = Number(sent()[0]?.body[limit])
        expect(given).toBeGreaterThanOrEqual(1024)
        expect(given).toBeLessThan(50_000)
        await expectLeft(1_000_000n - CHARGE)
      })

      test('shows that the credits do not suffice, and how to get more', async () => {
        await expectShown('empty', await asks('0.1', { retries: 1 }))
        expect(sent()).toEqual([])
        await expectLeft(100_000n)
      })

      test('shows that the account is frozen', async () => {
        const { account, key } = await serving.buyer('10')
        await serving.db.commit([{ sql: 'UPDATE account SET frozen_at = 1 WHERE id = ?', args: [account] }])
        await expectShown('frozen', await run({ url: tap.url, key, model, prompt: 'Good day?', retries: 1 }))
        expect(sent()).toEqual([])
      })

      test.each<[Refusal, string, Partial<Errand>, Behaviour]>([
        ['unknown', 'a model that is not sold', { model: 'nobody' }, BUSY],
        ['busy', 'a busy upstream', {}, BUSY],
        ['broken', 'an upstream that fails', {}, refuses(500, 'server_error')],
      ])('%s: shows %s, at no cost', async (refusal, _, over, behaviour) => {
        upstream.behave(behaviour)
        await expectShown(refusal, await asks('10', { retries: 1, ...over }))
        await expectLeft(10_000_000n)
      })

      test('shows a stream that ends early, and pays for what really ran', async () => {
        upstream.behave(streams(cut, { finish: 'cut' }))
        await expectShown('cut', await asks('10', { retries: 1 }))
        await expect.poll(() => serving.balance(buyer.account)).toMatchObject({ held: 0n })
        const receipts = 'SELECT count(*) AS n, sum(charged) AS charged FROM receipt WHERE account = ?'
        const [paid] = await serving.db.query<{ n: bigint; charged: bigint }>(receipts, [buyer.account])
        expect(paid?.n).toBe(BigInt(sent().length))
        const { available } = await serving.balance(buyer.account)
        expect(available).toBe(10_000_000n - (paid?.charged ?? 0n))
      })

      async function expectShown(refusal: Refusal, { status, stdout, stderr }: Ran): Promise<void> {
        const { says, asks: statuses } = shows[refusal]
        expect(cli === 'claude' ? stdout : stderr).toMatch(says)
        expect(status).toBe(1)
        expect(tap.statuses()).toEqual(statuses)
      }
    })
  },
)

function configuration(baseUrl: string): object {
  const sold = { usd_per_million_input: '1', usd_per_million_output: '2', max_output_tokens: 128_000 }
  return {
    upstreams: { openai: { base_url: baseUrl }, claude: { format: 'anthropic', base_url: baseUrl } },
    models: {
      'gpt-5.5': { upstream: 'openai', ...sold },
      'claude-opus-5-5': { upstream: 'claude', ...sold },
      'claude-haiku-5-5': { upstream: 'claude', ...sold },
    },
  }
}
