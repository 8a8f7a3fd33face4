/** Starts the given command as an MCP server over stdio, as a client would, and expects Bursar's tools from it. */
import assert from 'node:assert/strict'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'

const [command, ...args] = process.argv.slice(2)
assert(command, 'usage: check-mcp.ts COMMAND [ARG ...]')

const env = Object.fromEntries(
  Object.entries(process.env).filter((pair): pair is [string, string] => pair[1] !== undefined),
)
const client = new Client({ name: 'bursar-ci', version: '1.0.0' })
/** A machine with much else to do takes long even to start a program. */
const patient = { timeout: 240_000 }
await client.connect(new StdioClientTransport({ command, args, env }), patient)
const { tools } = await client.listTools(undefined, patient)
const names = tools.map((tool) => tool.name)
for (const name of [
  'list_offers',
  'create_invoice',
  'get_invoice',
  'await_payment',
  'get_balance',
  'call_model',
  'list_usage',
]) {
  assert(names.includes(name), `${name} is missing from ${names.join(', ')}`)
}
const offers = await client.callTool({ name: 'list_offers', arguments: {} }, patient)
assert.equal(offers.isError ?? false, false)
await client.close()
console.log(`${args.join(' ')}: ${names.length} tools`)
