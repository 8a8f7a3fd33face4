/**
 * The load: buyers who call models, create invoices and look at them over MCP, and a service that holds and captures
 * through a teller. Each asks again until it is answered, and writes down what it was told.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { formatCredits, parseCredits } from '../../src/money.ts'
import type { CalledTool } from '../support/mcp-clients.ts'
import type { Log, Said } from './acknowledged.ts'
import type { Dice } from './dice.ts'
import type { Lives } from './lives.ts'
import type { Invoice } from './payer.ts'
import { type AccountName, type Sessions, type Stage } from './stage.ts'
import { Refused, type Teller } from './teller.ts'
import { answerTo, replyTo } from './upstream.ts'

type Called = Extract<Said, { kind: 'called' }>

export interface Buyers {
  readonly stage: Stage
  readonly log: Log
  readonly till: Lives<Sessions>
  readonly teller: Lives<Teller>
  readonly invoices: Invoice[]
  /** Calls that were running when their process died: asked again when their holds have lapsed. */
  readonly interrupted: Call[]
  /** Calls that have an outcome. */
  readonly answered: Call[]
  /** By key: a call with an outcome has exactly one. */
  readonly outcomes: Map<string, Called | Extract<Said, { kind: 'lapsed' }>>
  /** What holds of the teller cost each account, micro-credits. */
  readonly metered: Record<AccountName, bigint>
  readonly problems: string[]
  /** How often which answer came. */
  readonly tally: Map<string, number>
  readonly stopping: AbortSignal
}

export interface Call {
  readonly name: AccountName
  readonly input: CallInput
}

export interface CallInput {
  readonly [field: string]: unknown
  readonly model: string
  readonly idempotency_key: string
}

let numbers = 0

/** Calls models, one after the other; some of them a second time. */
export async function callModels(buyers: Buyers, name: AccountName, dice: Dice): Promise<void> {
  while (!buyers.stopping.aborted) {
    const [some, ...others] = buyers.answered.filter((call) => call.name === name)
    const again = some && dice.chance(10) ? dice.pick([some, ...others]) : null
    const input = again ? again.input : callInput(dice)
    const ended = await callOnce(buyers, name, input)
    if (!ended) await delay(50)
    else if (!again) buyers.answered.push({ name, input })
  }
}

function callInput(dice: Dice): CallInput {
  const key = `call-${++numbers}`
  const model = dice.chance(20) ? 'fixed' : 'per-token'
  return { model, messages: [{ role: 'user', content: key }], max_tokens: 30, idempotency_key: key }
}

/** Returns whether the call has an outcome. */
export async function callOnce(buyers: Buyers, name: AccountName, input: CallInput): Promise<boolean> {
  const { stage, till, tally, interrupted } = buyers
  const answered = await till.ask((sessions) => sessions[name].call('call_model', input))
  const { isError, data } = answered
  const code = isError ? String(data['code']) : 'answered'
  count(tally, data['replayed'] === true ? 'replayed' : code)
  const key = input.idempotency_key
  const account = stage.accounts[name]
  if (!isError || (code === 'upstream_error' && data['reason'] !== 'unreachable')) {
    const said: Called = {
      kind: 'called',
      account,
      key,
      receipt: String(data['receipt']),
      charged: String(data['charged']),
      answer: isError ? code : String(data['text']),
    }
    keepOutcome(buyers, said, data['replayed'] === true)
    checkPrice(buyers, input, said)
    return true
  }
  if (code === 'conflict') {
    interrupted.push({ name, input })
  } else if (code === 'idempotency_conflict') {
    const receipt = String(data['receipt'])
    const charged = await chargeOf(buyers, name, receipt)
    keepOutcome(buyers, { kind: 'lapsed', account, key, receipt, charged }, true)
    return true
  } else if (code !== 'insufficient_credits') {
    buyers.problems.push(`call ${key} was refused with ${code}: ${answered.text}`)
  }
  return false
}

function keepOutcome(
  { outcomes, problems, log }: Buyers,
  said: Called | Extract<Said, { kind: 'lapsed' }>,
  replayed: boolean,
): void {
  const earlier = outcomes.get(said.key)
  if (earlier && JSON.stringify(earlier) !== JSON.stringify(said)) {
    problems.push(`call ${said.key} had another outcome before: ${JSON.stringify([earlier, said])}`)
  }
  if (earlier && !replayed) problems.push(`call ${said.key} ran a second time`)
  outcomes.set(said.key, said)
  log.add(said)
}

/** Per token 10 and 20 micro-credits; a fixed call a quarter of a credit; a refused one nothing. */
function checkPrice({ problems }: Buyers, { model }: CallInput, { key, charged, answer }: Called): void {
  const { kind, inputTokens, outputTokens } = replyTo(key)
  if (kind === 'cuts') return
  const cost = model === 'fixed' ? 250_000n : BigInt(10 * inputTokens + 20 * outputTokens)
  const expected = kind === 'answers' ? [formatCredits(cost), answerTo(key)] : ['0.000000', 'upstream_error']
  if (charged !== expected[0] || answer !== expected[1]) {
    problems.push(`call ${key} should be ${expected.join(', ')}, and is ${charged}, ${answer}`)
  }
}

/** As the account's own list of receipts says. */
async function chargeOf({ till }: Buyers, name: AccountName, receipt: string): Promise<string> {
  let cursor: string | undefined
  do {
    const page = await till.ask((sessions) =>
      sessions[name].call('list_usage', { limit: 100, ...(cursor === undefined ? {} : { cursor }) }),
    )
    const calls = page.data['calls'] as { receipt: string; charged: string }[]
    const found = calls.find((call) => call.receipt === receipt)
    if (found) return found.charged
    cursor = (page.data['next_cursor'] as string | null) ?? undefined
  } while (cursor !== undefined)
  throw new Error(`${name} has no receipt ${receipt}`)
}

/** Creates invoices, and looks at earlier ones for what was credited. */
export async function askForInvoices(buyers: Buyers, name: AccountName, dice: Dice): Promise<void> {
  const { stopping, invoices, till, log, problems } = buyers
  const requests: Record<string, unknown>[] = []
  const first = new Map<unknown, Invoice>()
  while (!stopping.aborted) {
    const again = requests.length > 0 && dice.chance(15)
    const request = again ? (requests[dice.between(0, requests.length - 1)] ?? {}) : invoiceRequest(dice)
    const answer = await till.ask((sessions) => sessions[name].call('create_invoice', request))
    if (answer.data['code'] === 'chain_unavailable') {
      // A node that reorganises may not know its own tip for a moment: nothing was promised, so it is asked again.
      count(buyers.tally, 'chain_unavailable')
      await delay(200)
      continue
    }
    if (answer.isError) {
      problems.push(`create_invoice was refused: ${answer.text}`)
      return
    }
    const said = invoiced(buyers.stage.accounts[name], request, answer)
    const earlier = first.get(request['idempotency_key'])
    if (earlier && JSON.stringify(earlier) !== JSON.stringify(said)) {
      problems.push(`the invoice of ${said.key} is another one than before`)
    }
    log.add(said)
    if (!earlier) {
      first.set(said.key, said)
      requests.push(request)
      invoices.push(said)
    }
    await look(dice.pick([said, ...first.values()]))
    await delay(dice.between(50, 250))
  }

  async function look(invoice: Invoice): Promise<void> {
    const { data } = await till.ask((sessions) => sessions[name].call('get_invoice', { invoice: invoice.id }))
    for (const { state, txid, credits } of data['payments'] as Record<string, string>[]) {
      if (state !== 'credited' || txid === undefined || credits === undefined) continue
      log.add({ kind: 'credited', invoice: invoice.id, txid, credits })
    }
  }
}

function invoiceRequest(dice: Dice): Record<string, unknown> {
  const what = dice.chance(40) ? { pack: 'sale' } : { credits: String(dice.between(1, 12)) }
  const rail = dice.pick(['ethereum:ETH', 'ethereum:USDC'])
  return { rail, ...what, idempotency_key: `invoice-${++numbers}` }
}

function invoiced(account: string, request: Record<string, unknown>, { data }: CalledTool): Invoice {
  const text = (field: string): string => String(data[field])
  return {
    kind: 'invoiced',
    account,
    key: String(request['idempotency_key']),
    id: text('id'),
    rail: text('rail'),
    amount: text('amount'),
    credits: text('credits'),
    pack: request['pack'] !== undefined,
    address: text('address'),
  }
}

const OUTCOMES = ['capture', 'capture', 'capture', 'release', 'forget'] as const

/** Holds, and then captures, releases or forgets. A forgotten hold costs what it was opened with. */
export async function meter(buyers: Buyers, name: AccountName, dice: Dice): Promise<void> {
  const { stage, stopping, teller, log, metered, problems, tally } = buyers
  const account = stage.accounts[name]
  while (!stopping.aborted) {
    const key = `meter-${++numbers}`
    const micro = BigInt(dice.between(1_000, 400_000))
    const lapse = BigInt(dice.between(0, 500))
    const outcome = dice.pick(OUTCOMES)
    const cost = BigInt(dice.between(0, Number(micro)))
    try {
      const { ref } = await teller.ask((desk) =>
        desk.ask({ kind: 'hold', account, key, micro: String(micro), lapseMicro: String(lapse) }),
      )
      log.add({ kind: 'held', account, key, ref, micro: String(micro) })
      if (outcome === 'forget') {
        metered[name] += lapse
        continue
      }
      const { charged } = await teller.ask((desk) =>
        desk.ask(
          outcome === 'capture'
            ? { kind: 'capture', account, ref, micro: String(cost) }
            : { kind: 'release', account, ref },
        ),
      )
      const expected = outcome === 'capture' ? cost : 0n
      if (BigInt(charged) !== expected) problems.push(`${ref} cost ${charged} instead of ${expected}`)
      metered[name] += expected
      log.add({ kind: 'closed', ref, as: outcome, micro: charged })
    } catch (thrown) {
      if (!(thrown instanceof Refused)) throw thrown
      count(tally, `hold: ${thrown.code}`)
      if (thrown.code !== 'insufficient_credits') problems.push(`a hold was refused with ${thrown.code}`)
      await delay(100)
    }
    await delay(dice.between(10, 80))
  }
}

function count(tally: Map<string, number>, what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1)
}

/** What an account has been charged so far, micro-credits. */
export function chargedTo({ outcomes, metered, stage }: Buyers, name: AccountName): bigint {
  const account = stage.accounts[name]
  const calls = [...outcomes.values()].filter((said) => said.account === account)
  return calls.reduce((sum, { charged }) => sum + parseCredits(charged), metered[name])
}
