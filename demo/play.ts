/** The whole purchase, as an agent lives it: every line below `agent.call` is what an MCP client received. */
import { formatCredits, parseCredits } from '../src/money.ts'
import type { DemoAgent } from './agent.ts'
import type { Printer } from './print.ts'
import type { DemoResult } from './result.ts'
import type { Stage } from './stage.ts'

const PACK = 'starter'
const RAIL = 'ethereum:USDC'

interface Purchase {
  invoice: DemoResult['invoice']
  payment: DemoResult['payment']
  before: string
  granted: string
}

export async function play(stage: Stage, agent: DemoAgent, print: Printer): Promise<DemoResult> {
  const ms: Record<string, number> = {}
  const timed = async <T>(name: string, act: () => Promise<T>): Promise<T> => {
    const start = performance.now()
    const result = await act()
    ms[name] = Math.round(performance.now() - start)
    return result
  }

  await timed('offers', () => showOffers(agent, print))
  const purchase = await timed('purchase', () => buy(stage, agent, print))
  const call = await timed('call', () => callModel(stage, agent, print))
  const after = await timed('balance', () => showBalance(agent, print, 'The balance, to the micro-credit'))
  const refusals = await timed('refusals', () => beRefused(stage, agent, print))
  const reorg = await timed('reorg', () => reorganise(stage, agent, print, purchase))

  return {
    invoice: purchase.invoice,
    payment: purchase.payment,
    credits: { before: purchase.before, granted: purchase.granted, charged: call.charged, after },
    call,
    refusals,
    reorg,
    rpc: stage.rpc,
    database: stage.database,
    ms,
  }
}

async function showOffers(agent: DemoAgent, print: Printer): Promise<void> {
  print.step('The agent asks what is for sale (list_offers)')
  const { data } = await ask(agent, 'list_offers')
  const packs = list(data.packs)
  for (const pack of packs)
    print.fact(text(pack.id), `${text(pack.credits)} credits for ${text(pack.usd)} USD`)
  print.fact(
    'pay with',
    list(data.rails)
      .map((rail) => text(rail.id))
      .join(', '),
  )
  print.fact(
    'spend on',
    list(data.models)
      .map((model) => text(model.id))
      .join(', '),
  )
  print.fact('till key', text(data.payee))
}

async function buy(stage: Stage, agent: DemoAgent, print: Printer): Promise<Purchase> {
  const before = text((await ask(agent, 'get_balance')).data.available)

  print.step('It asks for an invoice (create_invoice)')
  const created = await ask(agent, 'create_invoice', {
    pack: PACK,
    rail: RAIL,
    idempotency_key: 'demo-invoice',
  })
  const invoice = invoiceOf(created.data)
  print.fact('invoice', text(invoice.id))
  print.fact('exactly', `${text(invoice.amount_display)} = ${text(invoice.usd)} USD`)
  print.fact('to', text(invoice.address))
  print.fact('QR', `${created.images.join(', ')} for the agent; for you:`)
  print.qr(text(invoice.payment_uri))

  print.step('Its purse pays, within the budget a human set (pay_invoice)')
  const paid = await ask(agent, 'pay_invoice', { invoice: text(invoice.id), idempotency_key: 'demo-payment' })
  const txid = text(paid.data.txid)
  print.fact('transaction', txid)
  const left = paid.data.budget_left as Record<string, unknown> | undefined
  print.fact('budget left', `${text(left?.day_usd)} USD today, ${text(left?.month_usd)} this month`)

  print.step('It waits for settlement (await_payment)')
  await awaitPaid(stage, agent, print, text(invoice.id))
  const settled = invoiceOf((await ask(agent, 'get_invoice', { invoice: text(invoice.id) })).data)
  expectState(settled, 'paid')
  const payment = list(settled.payments)[0] ?? {}
  print.fact('credited', `${text(settled.credits_granted)} credits`)
  return {
    invoice: {
      id: text(invoice.id),
      rail: text(invoice.rail),
      amount: text(invoice.amount),
      amount_display: text(invoice.amount_display),
      usd: text(invoice.usd),
      address: text(invoice.address),
    },
    payment: {
      chain: text(payment.rail).split(':')[0] ?? '',
      txid,
      block: Number(payment.block),
      confirmations: Number(payment.confirmations),
    },
    before,
    granted: text(settled.credits_granted),
  }
}

/** One wait is bounded: whoever is told that nothing has happened yet waits again. */
async function awaitPaid(stage: Stage, agent: DemoAgent, print: Printer, invoice: string): Promise<void> {
  const settled = async (): Promise<boolean> => {
    const told = (message: string): void => print.fact('progress', message)
    return (await ask(agent, 'await_payment', { invoice }, told)).data.timed_out === false
  }
  await stage.mineWhile(() => stage.until(settled, 'the payment'))
}

async function callModel(stage: Stage, agent: DemoAgent, print: Printer): Promise<DemoResult['call']> {
  print.step('It spends them on a model call (call_model)')
  print.fact('upstream', stage.upstream.description)
  const { data } = await ask(agent, 'call_model', {
    model: stage.model,
    messages: [{ role: 'user', content: 'In one sentence: why do agents prepay?' }],
    max_tokens: 200,
    idempotency_key: 'demo-call',
  })
  print.fact('answer', text(data.text))
  print.fact('held', `${text(data.held)} credits before the call, the worst case`)
  print.fact('charged', `${text(data.charged)} credits after it, the true cost`)
  return {
    model: text(data.model),
    upstream: stage.upstream.description,
    held: text(data.held),
    charged: text(data.charged),
    text: text(data.text),
  }
}

async function showBalance(agent: DemoAgent, print: Printer, title: string): Promise<string> {
  print.step(`${title} (get_balance)`)
  const { data } = await ask(agent, 'get_balance')
  print.fact('available', `${text(data.available)} credits, ${text(data.held)} held`)
  return text(data.available)
}

async function beRefused(stage: Stage, agent: DemoAgent, print: Printer): Promise<DemoResult['refusals']> {
  print.step('A payment over the budget is refused (pay_invoice)')
  const large = invoiceOf((await ask(agent, 'create_invoice', { credits: '5000', rail: RAIL })).data)
  const budget = await agent.call('pay_invoice', { invoice: text(large.id) })
  if (!budget.refused) throw new Error('a payment over the budget was not refused')
  printRefusal(print, budget.data)

  print.step('A call that the credits do not cover is refused (call_model)')
  const credits = await agent.call('call_model', {
    model: stage.model,
    messages: [{ role: 'user', content: 'Write a very long book.' }],
    max_tokens: 2_000_000,
    bursar_fit: 'off',
  })
  if (!credits.refused) throw new Error('a call beyond the credits was not refused')
  printRefusal(print, credits.data)
  return { budget: text(budget.data.code), credits: text(credits.data.code) }
}

async function reorganise(
  stage: Stage,
  agent: DemoAgent,
  print: Printer,
  { invoice, payment, granted }: Purchase,
): Promise<DemoResult['reorg']> {
  print.step('The chain reorganises and drops the payment')
  const final = text((await ask(agent, 'get_balance')).data.available)
  const raw = await stage.dropTransaction(payment.txid)
  await stage.until(async () => {
    const seen = invoiceOf((await ask(agent, 'get_invoice', { invoice: invoice.id })).data)
    return seen.state === 'reversed'
  }, 'the reversal')
  const balance = text((await ask(agent, 'get_balance')).data.available)
  const reversed = formatCredits(parseSigned(final) - parseSigned(balance))
  print.fact('taken back', `${reversed} credits, exactly what was granted`)
  print.fact('available', `${balance} credits: what was spent stays spent, and spending stops`)

  print.step('The payment is mined again, and granted again, once')
  await stage.resend(raw)
  await awaitPaid(stage, agent, print, invoice.id)
  const returned = text((await ask(agent, 'get_balance')).data.available)
  const regranted = formatCredits(parseSigned(returned) - parseSigned(balance))
  print.fact('available', `${returned} credits`)
  if (returned !== final || regranted !== granted) throw new Error(`expected ${final} again, got ${returned}`)
  return { reversed, balance, regranted, final: returned }
}

/** Calls a tool that must succeed. */
async function ask(
  agent: DemoAgent,
  tool: string,
  input: Record<string, unknown> = {},
  onProgress?: (message: string) => void,
): ReturnType<DemoAgent['call']> {
  const answer = await agent.call(tool, input, onProgress)
  if (answer.refused) throw new Error(`${tool} was refused: ${JSON.stringify(answer.data)}`)
  return answer
}

function printRefusal(print: Printer, problem: Record<string, unknown>): void {
  print.fact(text(problem.code), text(problem.detail))
  print.fact('remedy', text(problem.remedy))
}

function expectState(invoice: Record<string, unknown>, state: string): void {
  if (invoice.state !== state) throw new Error(`the invoice is ${text(invoice.state)}, not ${state}`)
}

function invoiceOf(data: Record<string, unknown>): Record<string, unknown> {
  return (data.invoice as Record<string, unknown> | undefined) ?? data
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? (value as Record<string, unknown>[]) : []
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function parseSigned(credits: string): bigint {
  return credits.startsWith('-') ? -parseCredits(credits.slice(1)) : parseCredits(credits)
}
