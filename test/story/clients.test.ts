/** What every MCP client may expect, held against the real programs: `bursar mcp` with a purse, and `bursar serve`. */
import { afterAll, beforeAll } from 'vitest'
import { inspectorSuite } from '../support/mcp-inspector.ts'
import { mcpSuite } from '../support/mcp-suite.ts'
import { BIN, type Server } from '../support/program.ts'
import { type Stage, setStage } from '../support/stage.ts'
import { startEmulator } from '../support/upstream.ts'

const RAIL = 'ethereum:USDC'

let stage: Stage
let server: Server
let accounts = 0

beforeAll(async () => {
  const upstream = await startEmulator([
    { asked: 'hello', text: 'Good day.', usage: { prompt_tokens: 9, completion_tokens: 3 } },
  ])
  stage = await setStage({ upstream })
  server = await stage.serve()
})

afterAll(() => stage?.stop())

/** An account without credits and invoices. */
function fresh(): string {
  accounts += 1
  return `account-${accounts}`
}

async function http(account: string) {
  const authorization = `Bearer ${await stage.key(account)}`
  return { kind: 'http', url: `${server.url}/mcp`, headers: { authorization } } as const
}

mcpSuite('bursar mcp', { purse: true }, async () => ({
  endpoint: stage.stdio(fresh()),
  rail: RAIL,
  pack: 'starter',
  model: stage.model,
  tooDear: '5000',
}))

mcpSuite(
  'bursar mcp with a remote till',
  { purse: true, generations: ['2026-07-28', 'first-generation SDK'] },
  async () => {
    const { kind, command, env } = stage.stdio()
    return {
      endpoint: {
        kind,
        command,
        args: [BIN, 'mcp'],
        env: {
          ...env,
          BURSAR_URL: server.url,
          BURSAR_KEY: await stage.key(fresh()),
          // It needs none: to open this would fail.
          BURSAR_DB: stage.folder,
        },
      },
      rail: RAIL,
      pack: 'starter',
      model: stage.model,
      tooDear: '5000',
    }
  },
)

mcpSuite('bursar serve', { purse: false }, async () => ({
  endpoint: await http(fresh()),
  async pay({ address, amount }) {
    const { token, chain, wallet } = stage
    await chain.rpc('anvil_impersonateAccount', [wallet])
    await token.transfer(wallet, String(address), BigInt(String(amount)))
  },
  rail: RAIL,
  pack: 'starter',
  model: stage.model,
}))

inspectorSuite('bursar mcp', { purse: true, rail: RAIL }, () => stage.stdio())

let inspected: Awaited<ReturnType<typeof http>>
beforeAll(async () => {
  inspected = await http(fresh())
})
inspectorSuite('bursar serve', { purse: false, rail: RAIL }, () => inspected)
