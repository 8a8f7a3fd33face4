/**
 * An agent (Vercel AI SDK) that buys its own credits. It calls a model through a till by base URL and key alone. When
 * its credits run out, the till answers 402: the agent asks for an invoice, lets its purse pay that on-chain within
 * the budget that a human set, waits for settlement, and makes again the very call that was refused.
 *
 *     npm install bursar ai @ai-sdk/openai @modelcontextprotocol/client zod
 *     BURSAR_URL=http://127.0.0.1:8402 BURSAR_KEY=bk_... BURSAR_CONFIG=bursar.config.json \
 *       node examples/ai-sdk-agent.ts 'In one sentence: why do agents prepay?'
 *
 * BURSAR_CONFIG names the purse: its wallet, its budget, and the tills that it may pay. Only `bursar mcp` reads it;
 * nothing that the agent can ask for raises the budget.
 */
import { fileURLToPath } from 'node:url'
import { createOpenAI } from '@ai-sdk/openai'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { APICallError, type LanguageModelMiddleware, ToolLoopAgent, tool, wrapLanguageModel } from 'ai'
import { createClient, type InvoiceView } from 'bursar'
import { z } from 'zod'

const { BURSAR_URL: url = 'http://127.0.0.1:8402', BURSAR_KEY: key = '' } = process.env
const till = createClient({ url, key })

/** How much is bought at a time. */
const TOP_UP = '10'

/** `bursar mcp` asks the till for invoices, and the purse to pay them. */
const bursar = new Client({ name: 'agent', version: '1.0.0' })
const program = fileURLToPath(new URL('bin/bursar.js', import.meta.resolve('bursar/package.json')))
const transport = new StdioClientTransport({
  command: process.execPath,
  args: [program, 'mcp'],
  env: { ...(process.env as Record<string, string>), BURSAR_URL: url, BURSAR_KEY: key },
})

/** @throws the till's or the purse's refusal, such as budget_exceeded, with what a human can do about it. */
async function use<T>(name: string, input: Record<string, unknown>): Promise<T> {
  const { isError, structuredContent } = await bursar.callTool(
    { name, arguments: input },
    { timeout: 120_000 },
  )
  if (isError !== true) return structuredContent as T
  const { code, detail, remedy } = structuredContent as Record<string, string>
  throw new Error(`${name}: ${code}: ${detail} ${remedy}`)
}

async function topUp(): Promise<void> {
  const rail = (await till.offers()).rails.find(({ asset }) => asset === 'USDC')?.id
  const { id, usd } = await use<InvoiceView>('create_invoice', { rail, credits: TOP_UP })
  // An invoice is paid once, however often this is asked.
  const { txid } = await use<{ txid: string }>('pay_invoice', { invoice: id })
  console.log(`Out of credits. Paid ${usd} USD for ${TOP_UP} more: ${txid}`)
  for (;;) {
    const { invoice, timed_out } = await use<{ invoice: InvoiceView; timed_out: boolean }>('await_payment', {
      invoice: id,
    })
    if (invoice.state === 'paid') return
    if (!timed_out) throw new Error(`The invoice ${id} is ${invoice.state}.`)
  }
}

/** Calls that run out together buy once. */
let buying: Promise<void> | null = null

/** Makes a call that was refused for want of credits again, once they are there. */
async function paid<T>(call: () => PromiseLike<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (!ranOut(error)) throw error
    buying ??= topUp().finally(() => {
      buying = null
    })
    await buying
    return await call()
  }
}

/** Not where other calls hold what is missing, nor where the allowance of this agent is spent. */
function ranOut(error: unknown): boolean {
  if (!APICallError.isInstance(error) || error.statusCode !== 402) return false
  const { code, reason } = JSON.parse(error.responseBody ?? '{}') as { code?: string; reason?: string }
  return code === 'insufficient_credits' && reason === 'empty'
}

const selfFunding: LanguageModelMiddleware = {
  wrapGenerate: ({ doGenerate }) => paid(doGenerate),
  wrapStream: ({ doStream }) => paid(doStream),
}

await bursar.connect(transport)
try {
  const { models } = await till.offers()
  const openai = createOpenAI({
    baseURL: `${till.url}/v1`,
    apiKey: key,
    // Near the end of the credits a till shortens answers to what they afford; this agent would rather buy more.
    headers: { 'x-bursar-fit': 'off' },
  })
  const agent = new ToolLoopAgent({
    model: wrapLanguageModel({
      model: openai.chat(process.env.MODEL ?? models[0]?.id ?? ''),
      middleware: selfFunding,
    }),
    maxOutputTokens: 2_000, // what a call holds: the worst case
    tools: {
      credits_left: tool({
        description: 'How many prepaid credits this agent has left.',
        inputSchema: z.object({}),
        execute: () => till.balance(),
      }),
    },
  })
  const { text } = await agent.generate({
    prompt: process.argv[2] ?? 'In one sentence: why do agents prepay?',
  })
  console.log(text)
  console.log(`${(await till.balance()).available} credits are left.`)
} finally {
  await bursar.close()
}
