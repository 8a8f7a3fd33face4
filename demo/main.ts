/**
 * `npm run demo`: a whole purchase on a local chain, then exits 0 and leaves nothing behind.
 * `-- --keep` leaves it running and prints how to use it; `-- --json` prints the result as one JSON object.
 */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { shellWord } from '../src/shell-word.ts'
import { BIN } from '../test/support/program.ts'
import { type DemoAgent, startAgent } from './agent.ts'
import { play } from './play.ts'
import { type Printer, printer } from './print.ts'
import type { DemoResult } from './result.ts'
import { type Stage, setStage } from './stage.ts'

const { values } = parseArgs({ options: { keep: { type: 'boolean' }, json: { type: 'boolean' } } })
const keep = values.keep === true
const json = values.json === true

const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())

const print = printer(process.stdout, json)
const start = performance.now()
print.title('Bursar: an agent buys credits on a chain and spends them')
print.line(
  'Everything here is real and local: an EVM chain (anvil), a till, a purse, an MCP client over stdio.',
)

const stage = await setStage()
try {
  const ready = performance.now()
  const agent = await startAgent(stage.env)
  const result = await played(agent)
  const total = Math.round(performance.now() - start)
  result.ms = { setup: Math.round(ready - start), ...result.ms, total }
  if (json) process.stdout.write(`${JSON.stringify(result)}\n`)
  print.title(`Done in ${(total / 1000).toFixed(1)} s.`)
  if (keep) {
    if (!json) await explain(stage, print)
    // Payments to come are confirmed too.
    await stage.mineOn()
    if (!interrupted.signal.aborted) await once(interrupted.signal, 'abort')
    await agent.close()
  }
} finally {
  await stage.stop()
}

/** A demo that is not kept ends its agent first, also when it fails: the agent ends its purse. */
async function played(agent: DemoAgent): Promise<DemoResult> {
  try {
    return await Promise.race([play(stage, agent, print), abortion()])
  } finally {
    if (!keep) await agent.close()
  }
}

async function abortion(): Promise<never> {
  if (!interrupted.signal.aborted) await once(interrupted.signal, 'abort')
  throw new Error('interrupted')
}

async function explain(
  { rpc, till, database, configPath, env, model }: Stage,
  print: Printer,
): Promise<void> {
  const key = await till.key()
  print.line('It stays up until you press Ctrl-C; then everything is removed.\n')
  print.fact('chain', rpc)
  print.fact('till', `${till.url}/mcp (key ${key})`)
  print.fact('database', database)
  print.fact('configuration', configPath)
  const stdio = {
    command: process.execPath,
    args: [BIN, 'mcp'],
    env: { ...env, PATH: undefined, PORT: undefined },
  }
  const http = { type: 'http', url: `${till.url}/mcp`, headers: { Authorization: `Bearer ${key}` } }
  print.title('For examples/ and the bursar commands, in another shell:')
  const { PATH: _path, PORT: _port, ...variables } = env
  for (const [name, value] of Object.entries({ ...variables, BURSAR_URL: till.url, BURSAR_KEY: key }))
    print.line(`export ${name}='${value}'`)
  const client = JSON.stringify({ mcpServers: { bursar: stdio, 'bursar-http': http } }, null, 2)
  const clientPath = join(dirname(configPath), 'mcp.json')
  // It holds the wallet's password.
  await writeFile(clientPath, `${client}\n`, { mode: 0o600 })
  print.title(`For an MCP client, also in ${clientPath}:`)
  print.line(client.replaceAll('\n', '\n    '))
  print.line(
    'bursar has the purse and the credits of the demo; bursar-http is another account, with neither.',
  )
  print.title('Such as Claude Code, in another shell:')
  print.line(`claude --mcp-config ${shellWord(clientPath)}`)
  print.line(
    `> Buy the starter pack from bursar with USDC, wait for the payment, then ask ${model} something.`,
  )
  print.title('Or one tool at a time, in the clone:')
  print.line(
    `npx mcp-inspector --cli --config ${shellWord(clientPath)} --server bursar --method tools/call --tool-name get_balance`,
  )
}
